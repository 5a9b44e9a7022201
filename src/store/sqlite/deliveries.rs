//! `deliveries`: clients that are to be told that a session ended.

use rusqlite::{Connection, params};

use super::row;
use crate::clock::Timestamp;
use crate::protocol::random;
use crate::store::error::StoreError;
use crate::store::model::{Delivery, SessionId, UserId};
use crate::store::operation::{ClaimDeliveries, ReturnDelivery, SettleDelivery};
use crate::store::trail::Notes;

/// Adds a delivery for every client that has, or had, a grant in one of these sessions and wants to be
/// told.
pub(super) fn add_for_sessions(
    connection: &Connection,
    sessions: &[SessionId],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut clients = connection.prepare_cached(
        "SELECT DISTINCT f.user_id, f.client_id
           FROM token_families f JOIN clients c ON c.client_id = f.client_id
          WHERE f.session_id = ?1 AND f.client_id <> 'latchkey'
            AND f.created_at >= c.created_at AND c.backchannel_logout_uri IS NOT NULL",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO deliveries (id, client_id, user_id, session_id, attempts, due_at, created_at)
         VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5)",
    )?;
    for session in sessions {
        let mut rows = clients.query(params![session.0.as_bytes()])?;
        while let Some(found) = rows.next()? {
            let (user, client): ([u8; 16], String) = (found.get(0)?, found.get(1)?);
            let id = random::uuid_v7(now);
            insert.execute(params![
                id.as_bytes(),
                client,
                user,
                session.0.as_bytes(),
                now.millis()
            ])?;
        }
    }
    Ok(())
}

/// Forgets what a client was to be told.
pub(super) fn remove_all(connection: &Connection, client_id: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM deliveries WHERE client_id = ?1")?
        .execute(params![client_id])?;
    Ok(())
}

/// Whether anything is due.
pub(super) fn any_due(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM deliveries WHERE due_at <= ?1 LIMIT 1")?;
    Ok(statement.exists(params![now.millis()])?)
}

/// Takes what is due.
pub(super) fn claim(
    connection: &Connection,
    request: &ClaimDeliveries,
) -> Result<Vec<Delivery>, StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE deliveries SET due_at = ?2
          WHERE id IN (SELECT id FROM deliveries WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?3)
          RETURNING id, client_id, user_id, session_id, attempts, created_at",
    )?;
    let rows = statement.query_map(
        params![request.now.millis(), request.lease.millis(), request.limit],
        |row| {
            Ok(Delivery {
                id: row::id(row, 0)?,
                client_id: row.get(1)?,
                user: UserId(row::id(row, 2)?),
                session: SessionId(row::id(row, 3)?),
                attempts: row.get(4)?,
                created_at: row::time(row, 5)?,
            })
        },
    )?;
    let mut claimed: Vec<Delivery> = rows.collect::<Result<_, _>>()?;
    claimed.sort_by_key(|delivery| delivery.id);
    Ok(claimed)
}

/// Says what became of one.
pub(super) fn settle(
    connection: &Connection,
    notes: &mut Notes,
    request: &SettleDelivery,
) -> Result<(), StoreError> {
    match request.retry_at {
        Some(retry_at) => connection
            .prepare_cached(
                "UPDATE deliveries SET due_at = ?2, attempts = attempts + 1 WHERE id = ?1",
            )?
            .execute(params![request.id.as_bytes(), retry_at.millis()])?,
        None => connection
            .prepare_cached("DELETE FROM deliveries WHERE id = ?1")?
            .execute(params![request.id.as_bytes()])?,
    };
    if let Some(entry) = &request.audit {
        notes.add(entry);
    }
    Ok(())
}

/// Gives back one that was taken.
pub(super) fn give_back(
    connection: &Connection,
    request: &ReturnDelivery,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE deliveries SET due_at = ?3 WHERE id = ?1 AND due_at = ?2")?
        .execute(params![request.id.as_bytes(), request.lease.millis(), request.now.millis()])?;
    Ok(())
}
