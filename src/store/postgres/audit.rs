//! Tables `audit_events` and `audit_details`: the trail, and its personal part.

use deadpool_postgres::ClientWrapper;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::AuditRow;
use crate::store::model::{AuditEntry, UserId};

/// Appends entries, all in one statement.
pub(super) async fn append(db: &ClientWrapper, entries: &[&AuditEntry]) -> Result<(), Failure> {
    const SQL: &str = "
        WITH entry AS (
            SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[],
                                 $6::text[], $7::text[], $8::text[])
                   AS e (id, at, actor, action, target, request_id, details, personal)
        ), event AS (
            INSERT INTO audit_events (id, at, actor, action, target, request_id, details)
            SELECT id, at, actor, action, target, request_id, details FROM entry
        )
        INSERT INTO audit_details (id, personal) SELECT id, personal FROM entry";
    if !entries.is_empty() {
        execute(db, SQL, &Columns::of(entries).parameters()).await?;
    }
    Ok(())
}

/// Entries as statements take them: id, time, actor, action, target, request, details and personal part,
/// an array of each.
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    times: Vec<i64>,
    actors: Vec<String>,
    actions: Vec<&'a str>,
    targets: Vec<&'a str>,
    requests: Vec<Option<&'a str>>,
    details: Vec<String>,
    personal: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(entries: &[&'a AuditEntry]) -> Self {
        let (details, personal) = entries
            .iter()
            .map(|entry| {
                let (details, personal) = AuditRow::split(entry);
                (details.to_string(), personal.unwrap_or_default().to_string())
            })
            .unzip();
        Self {
            ids: entries.iter().map(|entry| entry.id).collect(),
            times: entries.iter().map(|entry| entry.at.millis()).collect(),
            actors: entries.iter().map(|entry| entry.actor.to_string()).collect(),
            actions: entries.iter().map(|entry| entry.action).collect(),
            targets: entries.iter().map(|entry| entry.target.as_str()).collect(),
            requests: entries.iter().map(|entry| entry.request_id.as_deref()).collect(),
            details,
            personal,
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.ids,
            &self.times,
            &self.actors,
            &self.actions,
            &self.targets,
            &self.requests,
            &self.details,
            &self.personal,
        ]
    }
}

/// Whether an entry is there: the proof that its transaction was committed.
pub(super) async fn exists(db: &ClientWrapper, id: Uuid) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM audit_events WHERE id = $1";
    Ok(query_first(db, SQL, &[&id]).await?.is_some())
}

/// The newest entries, newest first.
pub(super) async fn newest(db: &ClientWrapper, limit: u32) -> Result<Vec<AuditRow>, Failure> {
    const SQL: &str = "
        SELECT e.id, e.at, e.actor, e.action, e.target, e.request_id, e.details, d.personal
          FROM audit_events e LEFT JOIN audit_details d USING (id)
         ORDER BY e.at DESC, e.id DESC LIMIT $1";
    query(db, SQL, &[&i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// What a person did or was done to them, newest first, before the entry `before`.
pub(super) async fn about(
    db: &ClientWrapper,
    user: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRow>, Failure> {
    // Each half by its index; an entry in both is one.
    const SQL: &str = "
        SELECT e.id, e.at, e.actor, e.action, e.target, e.request_id, e.details, d.personal
          FROM (SELECT id FROM audit_events WHERE actor = $1
                 UNION SELECT id FROM audit_events WHERE target = $1) AS concerned
          JOIN audit_events e USING (id) LEFT JOIN audit_details d USING (id)
         WHERE e.id < $2 ORDER BY e.id DESC LIMIT $3";
    let before = before.unwrap_or(Uuid::max());
    let parameters: Parameters<'_> = &[&format!("user:{user}"), &before, &i64::from(limit)];
    query(db, SQL, parameters).await?.iter().map(from_row).collect()
}

/// Empties the personal part of every entry on what a person did or was done to them.
pub(super) async fn empty_details(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "
        DELETE FROM audit_details WHERE id IN
               (SELECT id FROM audit_events WHERE actor = $1
                 UNION SELECT id FROM audit_events WHERE target = $1)";
    execute(db, SQL, &[&format!("user:{user}")]).await?;
    Ok(())
}

fn from_row(row: &Row) -> Result<AuditRow, Failure> {
    let personal: Option<String> = row.try_get("personal")?;
    let mut personal = personal.as_deref().map(parse).transpose()?.unwrap_or(Value::Null);
    Ok(AuditRow {
        id: row.try_get("id")?,
        at: Timestamp::from_millis(row.try_get("at")?),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        request_id: row.try_get("request_id")?,
        address: personal.get("address").and_then(Value::as_str).map(ToOwned::to_owned),
        details: parse(row.try_get("details")?)?,
        personal: personal.get_mut("personal").map(Value::take).unwrap_or_default(),
    })
}

fn parse(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|_| Failure::inconsistent("an audit entry is not JSON"))
}

/// Removes at most `limit` entries of that age, with their personal part.
pub(super) async fn remove_old(
    db: &ClientWrapper,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = "
        DELETE FROM audit_events WHERE id IN
               (SELECT id FROM audit_events WHERE at <= $1 ORDER BY at LIMIT $2)";
    execute(db, SQL, &[&before.millis(), &i64::from(limit)]).await
}
