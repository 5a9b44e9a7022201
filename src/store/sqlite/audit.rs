//! `audit_events` and, apart from them, the personal values in `audit_details`.

use rusqlite::{Connection, Row, params};

use super::row;
use crate::clock::Timestamp;
use crate::store::AuditRow;
use crate::store::error::StoreError;
use crate::store::model::AuditEntry;

/// Writes an entry.
pub(super) fn append(connection: &Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    let (details, personal) = AuditRow::split(entry);
    connection
        .prepare_cached(
            "INSERT INTO audit_events (id, at, actor, action, target, request_id, details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            entry.id.as_bytes(),
            entry.at.millis(),
            entry.actor.to_string(),
            entry.action,
            entry.target,
            entry.request_id,
            details.to_string(),
        ])?;
    if personal["address"].is_null() && personal["personal"].is_null() {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO audit_details (id, personal) VALUES (?1, ?2)")?
        .execute(params![entry.id.as_bytes(), personal.to_string()])?;
    Ok(())
}

/// The newest entries, newest first.
pub(super) fn newest(connection: &Connection, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, target, request_id, details, coalesce(personal, 'null')
           FROM audit_events LEFT JOIN audit_details USING (id)
          ORDER BY at DESC, id DESC LIMIT ?1",
    )?;
    let rows = statement.query_map(params![limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let kept_apart = row::json(row, 6)?;
    Ok(AuditRow {
        at: row::time(row, 0)?,
        actor: row.get(1)?,
        action: row.get(2)?,
        target: row.get(3)?,
        request_id: row.get(4)?,
        address: kept_apart["address"].as_str().map(str::to_owned),
        details: row::json(row, 5)?,
    })
}

/// Removes at most `limit` entries of `before` or earlier, with what is kept apart.
pub(super) fn remove(
    connection: &Connection,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM audit_events WHERE id IN
                    (SELECT id FROM audit_events WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![before.millis(), limit])?;
    Ok(removed as u64)
}
