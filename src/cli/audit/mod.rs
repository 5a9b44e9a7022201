//! `latchkey audit …`: the audit trail, to read, to take away, and to hold against what was signed.

pub mod export;
pub mod tail;
pub mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{Failure, Format};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Settings;
use crate::config::units::parse_duration;
use crate::protocol::audit_trail::statement::Moment;

/// What is done with the trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest entries
    #[command(after_help = "Examples:\n  \
        latchkey audit tail --follow\n  \
        latchkey audit tail --action family.reuse_detected --since 7d\n  \
        latchkey audit tail --actor cli --format json")]
    Tail(Tail),
    /// Write the whole trail as JSON Lines, closed by a signed statement
    #[command(
        after_help = "It holds personal values: network addresses, names. It works beside a live server, and is \
        itself noted in the trail.\n\nExample:\n  latchkey audit export --output trail.jsonl"
    )]
    Export {
        /// Where to; never overwrites. Without it, standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check an export, and name the first entry that was changed, removed or inserted
    #[command(
        after_help = "With --jwks neither configuration nor database is needed: keep a copy of the server's \
        /.well-known/jwks.json from the time of the export, where nobody of the server can change it.\n\n\
        Example:\n  latchkey audit verify trail.jsonl --jwks jwks.json"
    )]
    Verify {
        /// The export
        file: PathBuf,
        /// The keys to trust, as the server publishes them; without it, those of the configured store
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
    },
}

/// Which entries are shown.
#[derive(Debug, Args)]
pub struct Tail {
    /// Go on with new entries until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many, at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only what this actor did: user:ID, cli, system or anonymous
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as session.opened
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this, as kind:id
    #[arg(long)]
    target: Option<String>,
    /// Only from this moment on: RFC 3339, or how long ago (2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<When>,
    /// Only before this moment
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<When>,
}

/// A moment as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(Timestamp),
    Ago(std::time::Duration),
}

impl When {
    fn at(self, clock: &Clock) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::Ago(duration) => clock.now().minus(duration),
        }
    }
}

fn parse_time(text: &str) -> Result<When, String> {
    let moment = || Moment::parse(text).filter(|_| text.contains('T'));
    parse_duration(text)
        .map(When::Ago)
        .or_else(|| moment().map(|Moment(at)| When::At(at)))
        .ok_or_else(|| {
            "it is a time such as 2026-11-29T08:00:00Z, or how long ago, such as 2h".to_owned()
        })
}

/// Does what a command says.
///
/// # Errors
/// A sentence on what stood in the way, or on what is wrong with an export.
pub async fn run(
    settings: impl Fn() -> Result<Settings, Failure>,
    format: Format,
    command: AuditCommand,
) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(options) => tail::run(&settings()?, format, options).await,
        AuditCommand::Export { output } => {
            export::run(&settings()?, format, output.as_deref()).await
        }
        AuditCommand::Verify { file, jwks: Some(jwks) } => {
            verify::run(format, &file, verify::read_keys(&jwks)?)
        }
        AuditCommand::Verify { file, jwks: None } => {
            verify::run(format, &file, verify::stored_keys(&settings()?).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_how_long_ago() {
        assert_eq!(parse_time("2h"), Ok(When::Ago(std::time::Duration::from_secs(7_200))));
        let moment = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(When::At(moment)));
        assert_eq!(parse_time("2023-11-14T23:13:20+01:00"), Ok(When::At(moment)));
        for wrong in ["", "yesterday", "2023-11-14", "5ms", "1.5h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
