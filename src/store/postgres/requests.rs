//! Table `idempotent_requests`: what may be asked again without being done twice.

use deadpool_postgres::ClientWrapper;

use super::connect::{Parameters, execute, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::operation::{ClaimOutcome, ClaimRequest, SettleRequest};

/// See [`ClaimRequest`]. Runs alone. Of two who claim at once the second waits, and finds it claimed.
pub(super) async fn claim(
    db: &ClientWrapper,
    operation: &ClaimRequest,
) -> Result<ClaimOutcome, Failure> {
    const CLAIM: &str = r#"
        INSERT INTO idempotent_requests AS r (id, fingerprint, answer, "until")
        VALUES ($1, $2, NULL, $3)
        ON CONFLICT (id) DO UPDATE
           SET fingerprint = EXCLUDED.fingerprint, answer = NULL, "until" = EXCLUDED."until"
         WHERE r."until" <= $4"#;
    const FIND: &str = "SELECT fingerprint, answer FROM idempotent_requests WHERE id = $1";
    let ClaimRequest { id, fingerprint, now, until } = operation;
    let (id, fingerprint) = (id.as_slice(), fingerprint.as_slice());
    let parameters: Parameters<'_> = &[&id, &fingerprint, &until.millis(), &now.millis()];
    if execute(db, CLAIM, parameters).await? == 1 {
        return Ok(ClaimOutcome::Claimed);
    }
    // The row is locked even though it was left as it is.
    let found = query_first(db, FIND, &[&id]).await?;
    let row = found.ok_or_else(|| Failure::inconsistent("a claimed request is not there"))?;
    let answer: Option<String> = row.try_get("answer")?;
    Ok(match answer {
        _ if row.try_get::<_, &[u8]>("fingerprint")? != fingerprint => ClaimOutcome::Different,
        Some(answer) => ClaimOutcome::Answered(answer),
        None => ClaimOutcome::UnderWay,
    })
}

/// See [`SettleRequest`].
pub(super) async fn settle(db: &ClientWrapper, operation: &SettleRequest) -> Result<(), Failure> {
    const KEEP: &str = r#"UPDATE idempotent_requests SET answer = $2, "until" = $3 WHERE id = $1"#;
    const GIVE_BACK: &str = "DELETE FROM idempotent_requests WHERE id = $1 AND answer IS NULL";
    let id = operation.id.as_slice();
    match &operation.answer {
        Some((answer, until)) => execute(db, KEEP, &[&id, answer, &until.millis()]).await?,
        None => execute(db, GIVE_BACK, &[&id]).await?,
    };
    Ok(())
}

/// Removes at most `limit` answers that are kept no longer. Judged again when a row is locked: the request
/// may have been claimed once more.
pub(super) async fn remove_expired(
    db: &ClientWrapper,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = r#"
        DELETE FROM idempotent_requests r
         USING (SELECT id FROM idempotent_requests
                 WHERE "until" <= $1 ORDER BY "until" LIMIT $2) AS over
         WHERE r.id = over.id AND r."until" <= $1"#;
    execute(db, SQL, &[&now.millis(), &i64::from(limit)]).await
}
