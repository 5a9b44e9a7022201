//! `revocations`: whose unexpired access tokens are refused.

use rusqlite::{Connection, params};

use super::row;
use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::model::{Revocation, RevocationKind};

/// Stores a revocation and returns it as it stands: one that already lasts longer keeps doing so.
pub(super) fn record(
    connection: &Connection,
    kind: RevocationKind,
    id: String,
    until: Timestamp,
    now: Timestamp,
) -> Result<Revocation, StoreError> {
    let until = connection
        .prepare_cached(
            "INSERT INTO revocations (kind, id, until, recorded_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, id) DO UPDATE
                SET until = max(until, excluded.until),
                    recorded_at = max(recorded_at, excluded.recorded_at)
             RETURNING until",
        )?
        .query_row(params![kind.as_str(), id, until.millis(), now.millis()], |row| {
            row::time(row, 0)
        })?;
    Ok(Revocation { kind, id, until })
}

/// Those stored at or after `since` that are in force at `now`.
pub(super) fn since(
    connection: &Connection,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Revocation>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, id, until FROM revocations
          WHERE recorded_at >= ?1 AND until > ?2 ORDER BY recorded_at, kind, id",
    )?;
    let rows = statement.query_map(params![since.millis(), now.millis()], |row| {
        Ok(Revocation {
            kind: row::word(row, 0, RevocationKind::parse)?,
            id: row.get(1)?,
            until: row::time(row, 2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes at most `limit` revocations that are over.
pub(super) fn remove_expired(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM revocations WHERE (kind, id) IN
                    (SELECT kind, id FROM revocations WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute(params![now.millis(), limit])?;
    Ok(removed as u64)
}
