//! `spent`: ids of sealed tickets that were used.

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::operation::Spent;

/// Whether the ticket was used before.
pub(super) fn is_spent(connection: &Connection, ticket: &Spent) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM spent WHERE id = ?1")?;
    Ok(statement.exists(params![ticket.id])?)
}

/// Uses the ticket.
pub(super) fn spend(connection: &Connection, ticket: &Spent) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO spent (id, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![ticket.id, ticket.until.millis()])?;
    Ok(())
}

/// Removes at most `limit` tickets that have expired anyway.
pub(super) fn remove_expired(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM spent WHERE id IN
                    (SELECT id FROM spent WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute(params![now.millis(), limit])?;
    Ok(removed as u64)
}
