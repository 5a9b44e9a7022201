//! Tables `audit_events` and `audit_details`: the trail, and its personal part.

use deadpool_postgres::ClientWrapper;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connect::{Parameters, bigint, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::protocol::audit_chain::Digest;
use crate::store::AuditRow;
use crate::store::model::UserId;
use crate::store::trail::LinkedEntry;

/// The statement that writes entries at their places, whatever their number.
pub(super) const APPEND: &str = "
    WITH entry AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                             $7::text[], $8::uuid[], $9::bigint[], $10::bytea[], $11::bytea[],
                             $12::bytea[], $13::text[])
               AS e (id, at, actor, action, target, request_id, details, chain, position, hash,
                     commitment, salt, personal)
    ), event AS (
        INSERT INTO audit_events (id, at, actor, action, target, request_id, details, chain, position,
                                  hash, commitment)
        SELECT id, at, actor, action, target, request_id, details, chain, position, hash, commitment
          FROM entry
    )
    INSERT INTO audit_details (id, personal, salt)
    SELECT id, personal, salt FROM entry WHERE personal IS NOT NULL";

/// Entries as [`APPEND`] takes them: an array of each column.
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    times: Vec<i64>,
    actors: Vec<String>,
    actions: Vec<&'a str>,
    targets: Vec<&'a str>,
    requests: Vec<Option<&'a str>>,
    details: Vec<&'a str>,
    chains: Vec<Uuid>,
    positions: Vec<i64>,
    hashes: Vec<&'a [u8]>,
    commitments: Vec<Option<&'a [u8]>>,
    salts: Vec<Option<&'a [u8]>>,
    personal: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(linked: &'a [LinkedEntry]) -> Self {
        let entries = || linked.iter().map(|linked| &linked.entry);
        let personal = || linked.iter().map(|linked| linked.personal.as_ref());
        Self {
            ids: entries().map(|entry| entry.id).collect(),
            times: entries().map(|entry| entry.at.millis()).collect(),
            actors: entries().map(|entry| entry.actor.to_string()).collect(),
            actions: entries().map(|entry| entry.action).collect(),
            targets: entries().map(|entry| entry.target.as_str()).collect(),
            requests: entries().map(|entry| entry.request_id.as_deref()).collect(),
            details: linked.iter().map(|linked| linked.details.as_str()).collect(),
            chains: linked.iter().map(|linked| linked.place.chain).collect(),
            positions: linked.iter().map(|linked| bigint(linked.place.position)).collect(),
            hashes: linked.iter().map(|linked| linked.place.hash.0.as_slice()).collect(),
            commitments: linked.iter().map(|linked| bytes(linked.commitment.as_ref())).collect(),
            salts: personal().map(|kept| kept.map(|(salt, _)| salt.as_slice())).collect(),
            personal: personal().map(|kept| kept.map(|(_, personal)| personal.as_str())).collect(),
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.ids,
            &self.times,
            &self.actors,
            &self.actions,
            &self.targets,
            &self.requests,
            &self.details,
            &self.chains,
            &self.positions,
            &self.hashes,
            &self.commitments,
            &self.salts,
            &self.personal,
        ]
    }
}

fn bytes(digest: Option<&Digest>) -> Option<&[u8]> {
    digest.map(|digest| digest.0.as_slice())
}

/// Whether an entry is there: the proof that its transaction was committed.
pub(super) async fn exists(db: &ClientWrapper, id: Uuid) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM audit_events WHERE id = $1";
    Ok(query_first(db, SQL, &[&id]).await?.is_some())
}

/// The newest entries, newest first.
pub(super) async fn newest(db: &ClientWrapper, limit: u32) -> Result<Vec<AuditRow>, Failure> {
    const SQL: &str = "
        SELECT e.id, e.at, e.actor, e.action, e.target, e.request_id, e.details, d.personal
          FROM audit_events e LEFT JOIN audit_details d USING (id)
         ORDER BY e.at DESC, e.id DESC LIMIT $1";
    query(db, SQL, &[&i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// What a person did or was done to them, newest first, before the entry `before`.
pub(super) async fn about(
    db: &ClientWrapper,
    user: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRow>, Failure> {
    // Each half by its index; an entry in both is one.
    const SQL: &str = "
        SELECT e.id, e.at, e.actor, e.action, e.target, e.request_id, e.details, d.personal
          FROM (SELECT id FROM audit_events WHERE actor = $1
                 UNION SELECT id FROM audit_events WHERE target = $1) AS concerned
          JOIN audit_events e USING (id) LEFT JOIN audit_details d USING (id)
         WHERE e.id < $2 ORDER BY e.id DESC LIMIT $3";
    let before = before.unwrap_or(Uuid::max());
    let parameters: Parameters<'_> = &[&format!("user:{user}"), &before, &i64::from(limit)];
    query(db, SQL, parameters).await?.iter().map(from_row).collect()
}

/// Empties the personal part of every entry on what a person did or was done to them.
pub(super) async fn empty_details(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "
        DELETE FROM audit_details WHERE id IN
               (SELECT id FROM audit_events WHERE actor = $1
                 UNION SELECT id FROM audit_events WHERE target = $1)";
    execute(db, SQL, &[&format!("user:{user}")]).await?;
    Ok(())
}

fn from_row(row: &Row) -> Result<AuditRow, Failure> {
    let personal: Option<String> = row.try_get("personal")?;
    let mut personal = personal.as_deref().map(parse).transpose()?.unwrap_or(Value::Null);
    Ok(AuditRow {
        id: row.try_get("id")?,
        at: Timestamp::from_millis(row.try_get("at")?),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        request_id: row.try_get("request_id")?,
        address: personal.get("address").and_then(Value::as_str).map(ToOwned::to_owned),
        details: parse(row.try_get("details")?)?,
        personal: personal.get_mut("personal").map(Value::take).unwrap_or_default(),
    })
}

fn parse(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|_| Failure::inconsistent("an audit entry is not JSON"))
}

/// Removes at most `limit` entries of that age, with their personal part.
pub(super) async fn remove_old(
    db: &ClientWrapper,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = "
        DELETE FROM audit_events WHERE id IN
               (SELECT id FROM audit_events WHERE at <= $1 ORDER BY at LIMIT $2)";
    execute(db, SQL, &[&before.millis(), &i64::from(limit)]).await
}
