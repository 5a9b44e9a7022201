//! Table `revocations`: whose unexpired access tokens are refused.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::connect::{execute, query};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::model::{Revocation, RevocationKind};

/// Stores revocations, each once, and returns them as they stand; one that is there already is prolonged, never shortened. They go in in
/// order, so that two nodes that store the same do not wait for each other.
pub(super) async fn store(
    db: &ClientWrapper,
    revocations: &[Revocation],
    now: Timestamp,
) -> Result<Vec<Revocation>, Failure> {
    const SQL: &str = r#"
        INSERT INTO revocations AS r (kind, id, "until", recorded_at)
        SELECT n.kind, n.id, n.until, $4
          FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (kind, id, until)
         ORDER BY n.kind, n.id
        ON CONFLICT (kind, id) DO UPDATE
           SET "until" = greatest(r."until", EXCLUDED."until"), recorded_at = EXCLUDED.recorded_at
        RETURNING kind, id, "until" "#;
    if revocations.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<&str> = revocations.iter().map(|revocation| revocation.kind.as_str()).collect();
    let ids: Vec<&str> = revocations.iter().map(|revocation| revocation.id.as_str()).collect();
    let until: Vec<i64> = revocations.iter().map(|revocation| revocation.until.millis()).collect();
    query(db, SQL, &[&kinds, &ids, &until, &now.millis()]).await?.iter().map(from_row).collect()
}

/// Revocations stored at or after `since` and in force at `now`.
pub(super) async fn since(
    db: &ClientWrapper,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Revocation>, Failure> {
    const SQL: &str = r#"
        SELECT kind, id, "until" FROM revocations
         WHERE recorded_at >= $1 AND "until" > $2 ORDER BY recorded_at, kind, id"#;
    query(db, SQL, &[&since.millis(), &now.millis()]).await?.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<Revocation, Failure> {
    let (kind, id): (String, String) = (row.try_get("kind")?, row.try_get("id")?);
    Ok(Revocation {
        kind: RevocationKind::parse(&kind)
            .ok_or_else(|| Failure::inconsistent(format!("unknown kind of revocation {kind}")))?,
        id,
        until: Timestamp::from_millis(row.try_get("until")?),
    })
}

/// Removes at most `limit` revocations that are over. Judged again when a row is locked: it may have
/// been prolonged.
pub(super) async fn remove_expired(
    db: &ClientWrapper,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = r#"
        DELETE FROM revocations r
         USING (SELECT kind, id FROM revocations WHERE "until" <= $1 ORDER BY "until" LIMIT $2) AS over
         WHERE r.kind = over.kind AND r.id = over.id AND r."until" <= $1"#;
    execute(db, SQL, &[&now.millis(), &i64::from(limit)]).await
}
