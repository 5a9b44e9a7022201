//! Table `spent`: sealed tickets that were used.

use std::collections::HashSet;

use deadpool_postgres::ClientWrapper;

use super::connect::{execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::operation::Spent;

/// Spends all the tickets; `false` if one of them was spent before. Waits for a transaction that is
/// about to spend one; rows go in in the order of their ids, so that two such do not wait for each other.
pub(super) async fn spend(db: &ClientWrapper, tickets: &[Spent]) -> Result<bool, Failure> {
    const SQL: &str = r#"
        INSERT INTO spent (id, "until")
        SELECT t.id, t.until FROM unnest($1::text[], $2::bigint[]) AS t (id, until) ORDER BY t.id
        ON CONFLICT (id) DO NOTHING"#;
    let ids: Vec<&str> = tickets.iter().map(|ticket| ticket.id.as_str()).collect();
    let until: Vec<i64> = tickets.iter().map(|ticket| ticket.until.millis()).collect();
    Ok(execute(db, SQL, &[&ids, &until]).await? == tickets.len() as u64)
}

/// Spends each ticket that was not spent before, and returns the ids of these. One statement, whatever
/// their number; a ticket that is among them twice is spent once.
pub(super) async fn spend_each(
    db: &ClientWrapper,
    tickets: &[&Spent],
) -> Result<HashSet<String>, Failure> {
    const SQL: &str = r#"
        INSERT INTO spent (id, "until")
        SELECT t.id, t.until FROM unnest($1::text[], $2::bigint[]) AS t (id, until) ORDER BY t.id
        ON CONFLICT (id) DO NOTHING RETURNING id"#;
    if tickets.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<&str> = tickets.iter().map(|ticket| ticket.id.as_str()).collect();
    let until: Vec<i64> = tickets.iter().map(|ticket| ticket.until.millis()).collect();
    query(db, SQL, &[&ids, &until]).await?.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// Whether a ticket was spent.
pub(super) async fn is_spent(db: &ClientWrapper, id: &str) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM spent WHERE id = $1";
    Ok(query_first(db, SQL, &[&id]).await?.is_some())
}

/// Removes at most `limit` tickets that have expired.
pub(super) async fn remove_expired(
    db: &ClientWrapper,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = r#"
        DELETE FROM spent WHERE id IN
               (SELECT id FROM spent WHERE "until" <= $1 ORDER BY "until" LIMIT $2)"#;
    execute(db, SQL, &[&now.millis(), &i64::from(limit)]).await
}
