//! `latchkey audit tail`: the newest entries, and those that come.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Tail;
use crate::cli::desk::{self, Absent};
use crate::cli::output::{DIM, moment, short};
use crate::cli::{Failure, Format, output};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Settings;
use crate::protocol::random;
use crate::store::model::AuditPage;
use crate::store::{AuditRow, ReadStore};

/// How often the store is asked for new entries.
const POLL: Duration = Duration::from_millis(500);

/// An entry may be committed so long after one that is newer.
const LATE: Duration = Duration::from_secs(10);

/// New entries in one step.
const STEP: u32 = 500;

/// Shows the newest entries, the last one at the end, and goes on with new ones if that is asked for.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn run(settings: &Settings, format: Format, options: Tail) -> Result<(), Failure> {
    let clock = Clock::system();
    let store = desk::open_store(settings, &clock, Absent::Refused).await?;
    let page = AuditPage {
        actor: options.actor,
        action: options.action,
        target: options.target,
        since: options.since.map(|since| since.at(&clock)),
        until: options.until.map(|until| until.at(&clock)),
        ..AuditPage::newest(options.limit)
    };
    let began = clock.now();
    let mut rows = store.read.audit(&page).await.map_err(Failure::of)?;
    rows.reverse();
    match (format, options.follow) {
        (Format::Json, false) => {
            output::json(&json!({ "items": rows.iter().map(document).collect::<Vec<_>>() }));
        }
        (Format::Json, true) => rows.iter().for_each(tell_as_json),
        (Format::Text, false) if rows.is_empty() => {
            output::line("The audit trail has no such entries.");
        }
        (Format::Text, _) => tell(&rows, clock.now(), true),
    }
    if options.follow {
        follow(store.read.as_ref(), &clock, format, page, rows, began).await?;
    }
    Ok(())
}

/// Shows what comes, until the process is ended.
async fn follow(
    read: &dyn ReadStore,
    clock: &Clock,
    format: Format,
    page: AuditPage,
    rows: Vec<AuditRow>,
    began: Timestamp,
) -> Result<(), Failure> {
    // What was shown, and what is older than all of it: none of that comes again.
    let mut shown: VecDeque<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut newest = shown.iter().max().copied().unwrap_or_else(|| random::uuid_v7(began));
    let first = first_of(began.minus(LATE)).max(shown.front().copied().unwrap_or_default());
    let mut interval = tokio::time::interval(POLL);
    loop {
        interval.tick().await;
        let mut after = late(newest).max(first);
        loop {
            let page = AuditPage { newer_than: Some(after), limit: STEP, ..page.clone() };
            let found = read.audit(&page).await.map_err(Failure::of)?;
            let is_full = found.len() == STEP as usize;
            after = found.last().map_or(after, |row| row.id);
            let new: Vec<AuditRow> =
                found.into_iter().filter(|row| !shown.contains(&row.id)).collect();
            shown.extend(new.iter().map(|row| row.id));
            newest = new.iter().map(|row| row.id).max().unwrap_or(newest).max(newest);
            match format {
                Format::Json => new.iter().for_each(tell_as_json),
                Format::Text => tell(&new, clock.now(), false),
            }
            if !is_full {
                break;
            }
        }
        let horizon = late(newest);
        shown.retain(|id| *id > horizon);
    }
}

/// The id before all that are so much older than this one that they come no more.
fn late(newest: Uuid) -> Uuid {
    let (seconds, nanoseconds) = newest.get_timestamp().map_or((0, 0), |time| time.to_unix());
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = Timestamp::from_seconds(seconds).plus(Duration::from_nanos(u64::from(nanoseconds)));
    first_of(at.minus(LATE))
}

fn first_of(moment: Timestamp) -> Uuid {
    let millis = u64::try_from(moment.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

/// An entry as the HTTP interface shows it.
fn document(row: &AuditRow) -> Value {
    json!({
        "id": row.id, "at": row.at, "actor": row.actor, "action": row.action, "target": row.target,
        "request_id": row.request_id, "address": row.address, "details": row.details,
        "personal": row.personal,
    })
}

fn tell_as_json(row: &AuditRow) {
    output::line(document(row));
}

fn tell(rows: &[AuditRow], now: Timestamp, has_headings: bool) {
    let line = |row: &AuditRow| {
        let mut further: Vec<String> = row.address.iter().cloned().collect();
        let details = [&row.details, &row.personal].map(|value| value.as_object());
        further.extend(details.into_iter().flatten().flatten().filter_map(member));
        vec![
            moment(row.at, now),
            row.action.clone(),
            named(&row.target),
            named(&row.actor),
            further.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    if has_headings {
        output::table(&["WHEN", "WHAT", "WHOM", "BY", "FURTHER"], &rows);
        return;
    }
    for row in rows {
        let [when, what, whom, by, further] = row.as_slice() else { continue };
        output::line(format_args!(
            "{when:<20}  {what:<26}  {whom:<18}  {by:<18}  {DIM}{further}{DIM:#}"
        ));
    }
}

/// One further fact; signatures are nothing to look at.
fn member((name, value): (&String, &Value)) -> Option<String> {
    let is_signature = name == "statement" || name == "seal";
    match value {
        Value::Null => None,
        _ if is_signature => None,
        Value::String(text) => Some(format!("{name}={text}")),
        value => Some(format!("{name}={value}")),
    }
}

/// `kind:id`; people by the whole id, to be copied, other things by its ends.
fn named(text: &str) -> String {
    match text.split_once(':') {
        Some(("user" | "client", _)) | None => text.to_owned(),
        Some((kind, id)) => format!("{kind}:{}", short(id)),
    }
}
