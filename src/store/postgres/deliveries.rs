//! Table `deliveries`: clients that are to be told that a session ended.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::protocol::random;
use crate::store::model::{Delivery, SessionId, UserId};
use crate::store::operation::{ClaimDeliveries, ReturnDelivery, SettleDelivery};
use crate::store::trail::Notes;

/// Adds a delivery for every client that has, or had, a grant in one of these sessions and wants to be
/// told.
pub(super) async fn add_for_sessions(
    db: &ClientWrapper,
    sessions: &[SessionId],
    now: Timestamp,
) -> Result<(), Failure> {
    const CONCERNED: &str = "
        SELECT DISTINCT f.session_id, f.client_id, f.user_id
          FROM token_families f JOIN clients c ON c.client_id = f.client_id
         WHERE f.session_id = ANY ($1::uuid[]) AND f.client_id <> 'latchkey'
           AND f.created_at >= c.created_at AND c.backchannel_logout_uri IS NOT NULL";
    const ADD: &str = "
        INSERT INTO deliveries (id, client_id, user_id, session_id, attempts, due_at, created_at)
        SELECT n.id, n.client_id, n.user_id, n.session_id, 0, $5, $5
          FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
               AS n (id, client_id, user_id, session_id)";
    if sessions.is_empty() {
        return Ok(());
    }
    let sessions: Vec<Uuid> = sessions.iter().map(|session| session.0).collect();
    let rows = query(db, CONCERNED, &[&sessions]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|_| random::uuid_v7(now)).collect();
    let clients: Vec<&str> = column(&rows, "client_id")?;
    let users: Vec<Uuid> = column(&rows, "user_id")?;
    let sessions: Vec<Uuid> = column(&rows, "session_id")?;
    execute(db, ADD, &[&ids, &clients, &users, &sessions, &now.millis()]).await?;
    Ok(())
}

fn column<'a, T>(rows: &'a [Row], name: &str) -> Result<Vec<T>, Failure>
where
    T: tokio_postgres::types::FromSql<'a>,
{
    rows.iter().map(|row| Ok(row.try_get(name)?)).collect()
}

/// Forgets what a client was to be told.
pub(super) async fn remove_all(db: &ClientWrapper, client_id: &str) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM deliveries WHERE client_id = $1";
    execute(db, SQL, &[&client_id]).await?;
    Ok(())
}

/// Whether anything is due.
pub(super) async fn any_due(db: &ClientWrapper, now: Timestamp) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM deliveries WHERE due_at <= $1 LIMIT 1";
    Ok(query_first(db, SQL, &[&now.millis()]).await?.is_some())
}

/// See [`ClaimDeliveries`]. What another node is taking just now is not waited for.
pub(super) async fn claim(
    db: &ClientWrapper,
    operation: &ClaimDeliveries,
) -> Result<Vec<Delivery>, Failure> {
    const SQL: &str = "
        WITH due AS (
            SELECT id FROM deliveries WHERE due_at <= $1 ORDER BY due_at, id LIMIT $3
               FOR UPDATE SKIP LOCKED
        )
        UPDATE deliveries d SET due_at = $2 FROM due WHERE d.id = due.id
        RETURNING d.id, d.client_id, d.user_id, d.session_id, d.attempts, d.created_at";
    let ClaimDeliveries { now, lease, limit } = operation;
    let parameters: Parameters<'_> = &[&now.millis(), &lease.millis(), &i64::from(*limit)];
    let rows = query(db, SQL, parameters).await?;
    let mut claimed: Vec<Delivery> = rows.iter().map(from_row).collect::<Result<_, _>>()?;
    claimed.sort_by_key(|delivery| delivery.id);
    Ok(claimed)
}

fn from_row(row: &Row) -> Result<Delivery, Failure> {
    let id = row.try_get("id")?;
    let attempts: i32 = row.try_get("attempts")?;
    Ok(Delivery {
        id,
        client_id: row.try_get("client_id")?,
        user: UserId(row.try_get("user_id")?),
        session: SessionId(row.try_get("session_id")?),
        attempts: u32::try_from(attempts).map_err(|_| {
            Failure::inconsistent(format!("delivery {id} was tried {attempts} times"))
        })?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
    })
}

/// See [`SettleDelivery`].
pub(super) async fn settle(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &SettleDelivery,
) -> Result<(), Failure> {
    const RETRY: &str = "UPDATE deliveries SET due_at = $2, attempts = attempts + 1 WHERE id = $1";
    const REMOVE: &str = "DELETE FROM deliveries WHERE id = $1";
    let SettleDelivery { id, retry_at, audit: entry } = operation;
    match retry_at {
        Some(retry_at) => execute(db, RETRY, &[id, &retry_at.millis()]).await?,
        None => execute(db, REMOVE, &[id]).await?,
    };
    entry.iter().for_each(|entry| notes.add(entry));
    Ok(())
}

/// See [`ReturnDelivery`].
pub(super) async fn give_back(
    db: &ClientWrapper,
    operation: &ReturnDelivery,
) -> Result<(), Failure> {
    const SQL: &str = "UPDATE deliveries SET due_at = $3 WHERE id = $1 AND due_at = $2";
    let ReturnDelivery { id, lease, now } = operation;
    execute(db, SQL, &[id, &lease.millis(), &now.millis()]).await?;
    Ok(())
}

/// Whether the delivery is as [`settle`] leaves it.
pub(super) async fn is_settled(
    db: &ClientWrapper,
    operation: &SettleDelivery,
) -> Result<bool, Failure> {
    const SQL: &str = "SELECT due_at FROM deliveries WHERE id = $1";
    let due_at: Option<i64> = match query_first(db, SQL, &[&operation.id]).await? {
        Some(row) => Some(row.try_get("due_at")?),
        None => None,
    };
    Ok(due_at == operation.retry_at.map(Timestamp::millis))
}
