//! `audit_events` and, apart from them, the personal values in `audit_details`.

use rusqlite::{Connection, Row, params};
use serde_json::Value;
use uuid::Uuid;

use super::row;
use crate::clock::Timestamp;
use crate::store::AuditRow;
use crate::store::error::StoreError;
use crate::store::model::{AuditEntry, UserId};

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
        "SELECT at, actor, action, target, request_id, details, coalesce(personal, 'null'), id
           FROM audit_events LEFT JOIN audit_details USING (id)
          ORDER BY at DESC, id DESC LIMIT ?1",
    )?;
    let rows = statement.query_map(params![limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a person did or was done to them, newest first, before the entry `before`.
pub(super) fn about(
    connection: &Connection,
    user: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    // Each half by its index; an entry in both is one.
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, target, request_id, details, coalesce(personal, 'null'), id
           FROM audit_events LEFT JOIN audit_details USING (id)
          WHERE id IN (SELECT id FROM audit_events WHERE actor = ?1
                        UNION SELECT id FROM audit_events WHERE target = ?1)
            AND id < ?2
          ORDER BY id DESC LIMIT ?3",
    )?;
    let before = before.unwrap_or(Uuid::max());
    let rows =
        statement.query_map(params![format!("user:{user}"), before.as_bytes(), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Empties the personal part of every entry on what a person did or was done to them.
pub(super) fn empty_details(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM audit_details WHERE id IN
                    (SELECT id FROM audit_events WHERE actor = ?1
                      UNION SELECT id FROM audit_events WHERE target = ?1)",
        )?
        .execute(params![format!("user:{user}")])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let mut kept_apart = row::json(row, 6)?;
    Ok(AuditRow {
        id: row::id(row, 7)?,
        at: row::time(row, 0)?,
        actor: row.get(1)?,
        action: row.get(2)?,
        target: row.get(3)?,
        request_id: row.get(4)?,
        address: kept_apart["address"].as_str().map(str::to_owned),
        details: row::json(row, 5)?,
        personal: kept_apart.get_mut("personal").map(Value::take).unwrap_or_default(),
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
