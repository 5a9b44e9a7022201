//! `idempotent_requests`: what may be asked again without being done twice.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::operation::{ClaimOutcome, ClaimRequest, SettleRequest};

/// Claims a request, or says what became of it before.
pub(super) fn claim(
    connection: &Connection,
    request: &ClaimRequest,
) -> Result<ClaimOutcome, StoreError> {
    let ClaimRequest { id, fingerprint, now, until } = request;
    let mut statement = connection.prepare_cached(
        "SELECT fingerprint, answer FROM idempotent_requests WHERE id = ?1 AND until > ?2",
    )?;
    let found = statement
        .query_row(params![id, now.millis()], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .optional()?;
    match found {
        Some((known, _)) if known != *fingerprint => return Ok(ClaimOutcome::Different),
        Some((_, Some(answer))) => return Ok(ClaimOutcome::Answered(answer)),
        Some((_, None)) => return Ok(ClaimOutcome::UnderWay),
        None => {}
    }
    connection
        .prepare_cached(
            "INSERT INTO idempotent_requests (id, fingerprint, answer, until) VALUES (?1, ?2, NULL, ?3)
             ON CONFLICT (id) DO UPDATE
                SET fingerprint = excluded.fingerprint, answer = NULL, until = excluded.until",
        )?
        .execute(params![id, fingerprint, until.millis()])?;
    Ok(ClaimOutcome::Claimed)
}

/// Keeps the answer to a claimed request, or gives the claim back.
pub(super) fn settle(connection: &Connection, request: &SettleRequest) -> Result<(), StoreError> {
    match &request.answer {
        Some((answer, until)) => connection
            .prepare_cached("UPDATE idempotent_requests SET answer = ?2, until = ?3 WHERE id = ?1")?
            .execute(params![request.id, answer, until.millis()])?,
        None => connection
            .prepare_cached("DELETE FROM idempotent_requests WHERE id = ?1 AND answer IS NULL")?
            .execute(params![request.id])?,
    };
    Ok(())
}

/// Removes at most `limit` answers that are kept no longer.
pub(super) fn remove_expired(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM idempotent_requests WHERE id IN
                    (SELECT id FROM idempotent_requests WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute(params![now.millis(), limit])?;
    Ok(removed as u64)
}
