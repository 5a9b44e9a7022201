//! Table `signing_keys`.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::connect::{execute, query, query_first};
use super::failure::Failure;
use super::revocations;
use crate::clock::Timestamp;
use crate::protocol::jwt::Algorithm;
use crate::store::model::{Revocation, RevocationKind, StoredKey};
use crate::store::operation::{
    ActivateKey, ResealKeys, RetireKey, RetireKeyOutcome, StageKey, StageKeyOutcome,
};
use crate::store::trail::Notes;

/// Every signing key, oldest first.
pub(super) async fn all(db: &ClientWrapper) -> Result<Vec<StoredKey>, Failure> {
    const SQL: &str = "
        SELECT kid, algorithm, public_jwk, sealed_private, created_at, signs_from, retired_at,
               compromised
          FROM signing_keys ORDER BY created_at, kid";
    query(db, SQL, &[]).await?.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<StoredKey, Failure> {
    let kid: String = row.try_get("kid")?;
    let algorithm: String = row.try_get("algorithm")?;
    let retired_at: Option<i64> = row.try_get("retired_at")?;
    Ok(StoredKey {
        algorithm: Algorithm::parse(&algorithm)
            .ok_or_else(|| Failure::inconsistent(format!("key {kid} has an unknown algorithm")))?,
        kid,
        public_jwk: row.try_get("public_jwk")?,
        sealed_private: row.try_get("sealed_private")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        signs_from: Timestamp::from_millis(row.try_get("signs_from")?),
        retired_at: retired_at.map(Timestamp::from_millis),
        compromised: row.try_get("compromised")?,
    })
}

/// Whether a key is there.
pub(super) async fn exists(db: &ClientWrapper, kid: &str) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM signing_keys WHERE kid = $1";
    Ok(query_first(db, SQL, &[&kid]).await?.is_some())
}

/// See [`StageKey`]. One node at a time stages keys: the others wait here and then see its key.
pub(super) async fn stage(
    db: &ClientWrapper,
    notes: &mut Notes,
    stage: &StageKey,
) -> Result<StageKeyOutcome, Failure> {
    const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7307226941834552179)";
    const NEWEST: &str = "
        SELECT kid FROM signing_keys
         WHERE algorithm = $1 AND retired_at IS NULL AND NOT compromised
         ORDER BY signs_from DESC, kid COLLATE \"C\" DESC LIMIT 1";
    query(db, ONE_AT_A_TIME, &[]).await?;
    let algorithm = stage.key.algorithm.as_str();
    let newest: Option<String> = match query_first(db, NEWEST, &[&algorithm]).await? {
        Some(row) => Some(row.try_get("kid")?),
        None => None,
    };
    match newest {
        Some(other) if stage.newest.as_ref() != Some(&other) => {
            Ok(StageKeyOutcome::OtherIsNewer(other))
        }
        _ => {
            insert(db, &stage.key).await?;
            notes.add(&stage.audit);
            Ok(StageKeyOutcome::Staged)
        }
    }
}

async fn insert(db: &ClientWrapper, key: &StoredKey) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO signing_keys (kid, algorithm, public_jwk, sealed_private, created_at, signs_from,
                                  retired_at, compromised)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (algorithm, retired_at) = (key.algorithm.as_str(), key.retired_at.map(Timestamp::millis));
    execute(
        db,
        SQL,
        &[
            &key.kid,
            &algorithm,
            &key.public_jwk,
            &key.sealed_private,
            &key.created_at.millis(),
            &key.signs_from.millis(),
            &retired_at,
            &key.compromised,
        ],
    )
    .await?;
    Ok(())
}

/// See [`ActivateKey`]: whether the key was staged and now signs.
pub(super) async fn activate(
    db: &ClientWrapper,
    notes: &mut Notes,
    activate: &ActivateKey,
) -> Result<bool, Failure> {
    const SQL: &str = "
        UPDATE signing_keys SET signs_from = $2
         WHERE kid = $1 AND signs_from > $2 AND retired_at IS NULL";
    let changed = execute(db, SQL, &[&activate.kid, &activate.at.millis()]).await? == 1;
    if changed {
        notes.add(&activate.audit);
    }
    Ok(changed)
}

/// See [`RetireKey`].
pub(super) async fn retire(
    db: &ClientWrapper,
    notes: &mut Notes,
    retire: &RetireKey,
) -> Result<RetireKeyOutcome, Failure> {
    const SQL: &str = "
        UPDATE signing_keys SET retired_at = coalesce(retired_at, $2), compromised = compromised OR $3
         WHERE kid = $1 AND (retired_at IS NULL OR $3 AND NOT compromised)";
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&retire.kid, &retire.at.millis(), &retire.compromised];
    if execute(db, SQL, parameters).await? == 0 {
        return Ok(match exists(db, &retire.kid).await? {
            true => RetireKeyOutcome::AlreadyRetired,
            false => RetireKeyOutcome::Unknown,
        });
    }
    if retire.compromised {
        let revocation = Revocation {
            kind: RevocationKind::Key,
            id: retire.kid.clone(),
            until: retire.tokens_live_until,
        };
        revocations::store(db, &[revocation], retire.at).await?;
    }
    notes.add(&retire.audit);
    Ok(RetireKeyOutcome::Retired)
}

/// See [`ResealKeys`]: how many were resealed. A private half that was wiped does not come back.
pub(super) async fn reseal(
    db: &ClientWrapper,
    notes: &mut Notes,
    reseal: &ResealKeys,
) -> Result<u64, Failure> {
    const SQL: &str = "
        UPDATE signing_keys k SET sealed_private = n.sealed
          FROM unnest($1::text[], $2::text[]) AS n (kid, sealed)
         WHERE k.kid = n.kid AND k.sealed_private IS NOT NULL";
    let kids: Vec<&str> = reseal.sealed.iter().map(|(kid, _)| kid.as_str()).collect();
    let sealed: Vec<&str> = reseal.sealed.iter().map(|(_, sealed)| sealed.as_str()).collect();
    let resealed = execute(db, SQL, &[&kids, &sealed]).await?;
    notes.add(&reseal.audit);
    Ok(resealed)
}

/// Wipes private halves that are needed no more.
pub(super) async fn wipe(db: &ClientWrapper, kids: &[String]) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE signing_keys SET sealed_private = NULL
         WHERE kid = ANY ($1::text[]) AND sealed_private IS NOT NULL";
    if !kids.is_empty() {
        execute(db, SQL, &[&kids]).await?;
    }
    Ok(())
}
