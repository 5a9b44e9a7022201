//! `signing_keys`: public halves with their times, private halves sealed.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{revocations, row};
use crate::protocol::jwt::Algorithm;
use crate::store::error::StoreError;
use crate::store::model::{RevocationKind, StoredKey};
use crate::store::operation::{
    ActivateKey, ResealKeys, RetireKey, RetireKeyOutcome, StageKey, StageKeyOutcome,
};
use crate::store::trail::Notes;

/// Publishes a new key, unless somebody else did in the meantime.
pub(super) fn stage(
    connection: &Connection,
    notes: &mut Notes,
    staging: &StageKey,
) -> Result<StageKeyOutcome, StoreError> {
    match newest(connection, staging.key.algorithm)? {
        Some(newest) if staging.newest.as_ref() != Some(&newest) => {
            Ok(StageKeyOutcome::OtherIsNewer(newest))
        }
        _ => {
            insert(connection, &staging.key)?;
            notes.add(&staging.audit);
            Ok(StageKeyOutcome::Staged)
        }
    }
}

fn newest(connection: &Connection, algorithm: Algorithm) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kid FROM signing_keys
          WHERE algorithm = ?1 AND retired_at IS NULL AND NOT compromised
          ORDER BY signs_from DESC, kid DESC LIMIT 1",
    )?;
    Ok(statement.query_row(params![algorithm.as_str()], |row| row.get(0)).optional()?)
}

fn insert(connection: &Connection, key: &StoredKey) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO signing_keys (kid, algorithm, public_jwk, sealed_private, created_at,
                                       signs_from, retired_at, compromised)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key.kid,
            key.algorithm.as_str(),
            key.public_jwk,
            key.sealed_private,
            key.created_at.millis(),
            key.signs_from.millis(),
            key.retired_at.map(|at| at.millis()),
            key.compromised,
        ])?;
    Ok(())
}

/// Lets a staged key sign; says whether it did.
pub(super) fn activate(
    connection: &Connection,
    notes: &mut Notes,
    activation: &ActivateKey,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE signing_keys SET signs_from = ?2
              WHERE kid = ?1 AND signs_from > ?2 AND retired_at IS NULL AND NOT compromised",
        )?
        .execute(params![activation.kid, activation.at.millis()])?;
    if changed > 0 {
        notes.add(&activation.audit);
    }
    Ok(changed > 0)
}

/// Retires a key by hand; the tokens of a compromised one are refused.
pub(super) fn retire(
    connection: &Connection,
    notes: &mut Notes,
    retirement: &RetireKey,
) -> Result<RetireKeyOutcome, StoreError> {
    let state = connection
        .prepare_cached(
            "SELECT retired_at IS NOT NULL, compromised FROM signing_keys WHERE kid = ?1",
        )?
        .query_row(params![retirement.kid], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((retired, compromised)): Option<(bool, bool)> = state else {
        return Ok(RetireKeyOutcome::Unknown);
    };
    if retired && (compromised || !retirement.compromised) {
        return Ok(RetireKeyOutcome::AlreadyRetired);
    }
    connection
        .prepare_cached(
            "UPDATE signing_keys SET retired_at = coalesce(retired_at, ?2), compromised = ?3
              WHERE kid = ?1",
        )?
        .execute(params![
            retirement.kid,
            retirement.at.millis(),
            compromised || retirement.compromised
        ])?;
    if retirement.compromised {
        let (kid, until) = (retirement.kid.clone(), retirement.tokens_live_until);
        revocations::record(connection, RevocationKind::Key, kid, until, retirement.at)?;
    }
    notes.add(&retirement.audit);
    Ok(RetireKeyOutcome::Retired)
}

/// Replaces the sealed private halves of keys that have one here; says of how many.
pub(super) fn reseal(
    connection: &Connection,
    notes: &mut Notes,
    resealing: &ResealKeys,
) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE signing_keys SET sealed_private = ?2
          WHERE kid = ?1 AND sealed_private IS NOT NULL",
    )?;
    let mut resealed = 0;
    for (kid, sealed) in &resealing.sealed {
        resealed += statement.execute(params![kid, sealed])? as u64;
    }
    notes.add(&resealing.audit);
    Ok(resealed)
}

/// Wipes the private half of a key.
pub(super) fn wipe(connection: &Connection, kid: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE signing_keys SET sealed_private = NULL WHERE kid = ?1")?
        .execute(params![kid])?;
    Ok(())
}

/// Every key, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<StoredKey>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kid, algorithm, public_jwk, sealed_private, created_at, signs_from, retired_at,
                compromised
           FROM signing_keys ORDER BY created_at, kid",
    )?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    Ok(StoredKey {
        kid: row.get(0)?,
        algorithm: row::word(row, 1, Algorithm::parse)?,
        public_jwk: row.get(2)?,
        sealed_private: row.get(3)?,
        created_at: row::time(row, 4)?,
        signs_from: row::time(row, 5)?,
        retired_at: row::optional_time(row, 6)?,
        compromised: row.get(7)?,
    })
}
