//! `latchkey sessions …`: everybody's sessions at once.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use time::Date;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::actors::db_writer::apply;
use crate::cli::desk::{Absent, Desk};
use crate::cli::progress::Progress;
use crate::cli::{Failure, Format, output};
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::config::units::parse_duration;
use crate::routes::session::tokens_live_for;
use crate::store::model::FamilyId;
use crate::store::operation::EndSessionsBefore;

/// How many families one transaction looks at: a server beside it does not wait long.
const STEP: u32 = 500;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// End all sessions, and all access of apps, that were opened before a moment
    #[command(after_help = "\
For the time after a restore: what was signed out since the backup lives again, and who had stolen a session \
has it again. People sign in anew; nothing else is lost. A running server refuses the tokens within a second.

TIME is a moment (RFC 3339), a date (its beginning in UTC), or how long ago: \"90m\", \"2h\", \"7d\"; 0 is now. \
Ctrl-C stops between two steps: what has ended stays ended, and the same command goes on.

Examples:
  latchkey sessions revoke --before 2h
  latchkey sessions revoke --before 2026-12-01
  latchkey sessions revoke --before 2026-12-01T10:00:00Z --format json")]
    Revoke {
        /// Whatever was opened before this ends
        #[arg(long, value_name = "TIME", value_parser = before)]
        before: Before,
    },
}

/// A moment, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// By its date and time.
    At(Timestamp),
    /// By how long ago it was.
    Ago(Duration),
}

const DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");

fn before(text: &str) -> Result<Before, String> {
    if let Some(ago) = parse_duration(text) {
        return Ok(Before::Ago(ago));
    }
    let midnight = || {
        let date = Date::parse(text, DATE).ok()?;
        Some(Timestamp::from_seconds(date.midnight().assume_utc().unix_timestamp()))
    };
    Timestamp::parse_rfc3339(text).or_else(midnight).map(Before::At).ok_or_else(|| {
        "write a moment such as 2026-12-01T10:00:00Z, a date, or how long ago, such as 2h"
            .to_owned()
    })
}

/// Does what the command says.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn run(
    settings: &Settings,
    format: Format,
    command: SessionsCommand,
) -> Result<(), Failure> {
    let desk = Desk::open(settings, format, Absent::Refused).await?;
    match command {
        SessionsCommand::Revoke { before } => revoke(&desk, before).await,
    }
}

async fn revoke(desk: &Desk<'_>, before: Before) -> Result<(), Failure> {
    let now = desk.clock.now();
    let before = match before {
        Before::At(moment) => moment,
        Before::Ago(ago) => now.minus(ago),
    };
    if before > now {
        return Err(Failure::usage(format!(
            "{} has not come yet. `--before 0` ends everything that was opened until now.",
            output::minute(before)
        )));
    }
    let writer = desk.writer();
    let mut progress = Progress::start()?;
    let (mut ended, mut after, mut first) = (0, None, None);
    let is_whole = loop {
        let details = json!({ "before": before });
        let audit = desk.by().entry("sessions.revoked", "sessions:all".to_owned(), details);
        let tokens_live_for = tokens_live_for(desk.settings.tokens.access_ttl);
        let step = EndSessionsBefore { before, after, limit: STEP, tokens_live_for, audit };
        let done = apply(&writer, step).await.map_err(|error| {
            Failure::new(format!("{} before this: {error}. The same command goes on.", told(ended)))
        })?;
        ended += done.ended.families.len() as u64;
        let Some(last) = done.after else { break true };
        after = Some(last);
        // Ids begin with the time at which they were made, so that they tell how far the walk is.
        let at = made_at(last);
        let begin = *first.get_or_insert(at);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (gone, whole) = (millis(at.since(begin)), millis(now.since(begin)));
        if !progress.step(gone, whole, || told(ended)) {
            break false;
        }
    };
    progress.finish();
    if !is_whole {
        return Err(Failure::new(format!("Stopped. {}; the same command goes on.", told(ended))));
    }
    match desk.format {
        Format::Json => output::json(&json!({ "before": before, "ended": ended })),
        Format::Text if ended == 0 => {
            output::line(format_args!(
                "Nothing was signed in that was opened before {}.",
                output::minute(before)
            ));
        }
        Format::Text => output::line(format_args!(
            "Ended {}, here and at apps, that were opened before {}.\nA running server refuses their tokens within a second.",
            output::count(ended, "sign-in"),
            output::minute(before)
        )),
    }
    Ok(())
}

fn told(ended: u64) -> String {
    format!("Ended {}, here and at apps", output::count(ended, "sign-in"))
}

fn made_at(id: FamilyId) -> Timestamp {
    let seconds = id.0.get_timestamp().map_or(0, |time| time.to_unix().0);
    Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_dates_and_durations_are_understood() {
        for (text, expected) in [
            ("2h", Before::Ago(Duration::from_secs(7_200))),
            ("0", Before::Ago(Duration::ZERO)),
            ("1970-01-02", Before::At(Timestamp::from_seconds(86_400))),
            ("1970-01-01T01:00:00+01:00", Before::At(Timestamp::from_seconds(0))),
        ] {
            assert_eq!(before(text), Ok(expected), "{text}");
        }
        for wrong in ["", "yesterday", "-2h", "2026-13-01", "2026-12-01T10:00", "12"] {
            assert!(before(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let now = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(made_at(FamilyId::new(now)), now);
    }
}
