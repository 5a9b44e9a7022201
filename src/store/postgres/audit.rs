//! Tables `audit_events` and `audit_details`: the trail, and its personal part.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::connect::{Parameters, TypedQuery, bigint, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::protocol::audit_chain::{Digest, Place, SALT_LENGTH};
use crate::store::AuditRow;
use crate::store::model::{AuditPage, ChainHead, ChainedRow, StoredCheckpoint, UserId};
use crate::store::operation::AppendCheckpoint;
use crate::store::trail::{Adoption, LinkedEntry, Notes, first_id_of};

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

/// The columns that [`from_row`] reads, and where they are from.
macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.at, e.actor, e.action, e.target, e.request_id, e.details, d.personal
               FROM audit_events e LEFT JOIN audit_details d USING (id) ",
            $rest
        )
    };
}

/// As it is indexed.
const ACTOR_AND_ACTION: &str = "e.actor || ' ' || e.action";

/// A page of entries.
pub(super) async fn page(db: &ClientWrapper, page: &AuditPage) -> Result<Vec<AuditRow>, Failure> {
    let AuditPage { actor, action, target, since, until, before, newer_than, limit } = page;
    // Ids begin with the time: all conditions on either are one range of the primary key.
    let start = since.map(first_id_of).unwrap_or(Uuid::nil());
    let end = [until.map(first_id_of), *before].into_iter().flatten().min().unwrap_or(Uuid::max());
    let (above, start) = match newer_than {
        Some(last_seen) if *last_seen >= start => (">", *last_seen),
        _ => (">=", start),
    };
    let mut query = TypedQuery::default();
    let (start, end) = (query.bind(start), query.bind(end));
    let mut filters = String::new();
    let both = actor.as_ref().zip(action.as_ref()).map(|(actor, action)| {
        // Has an index of its own for those who do much.
        format!("{actor} {action}")
    });
    let filtered =
        [("e.actor", actor), ("e.action", action), ("e.target", target), (ACTOR_AND_ACTION, &both)];
    for (column, value) in filtered {
        if let Some(value) = value {
            // PostgreSQL's text cannot hold it, and refuses the question.
            if value.contains('\0') {
                return Ok(Vec::new());
            }
            let value = query.bind(value.clone());
            filters = format!("{filters} AND {column} = {value}");
        }
    }
    let order = if newer_than.is_some() { "ASC" } else { "DESC" };
    let limit = query.bind(i64::from(*limit));
    let columns = entries!("");
    let sql = format!(
        "{columns} WHERE e.id {above} {start} AND e.id < {end}{filters}
          ORDER BY e.id {order} LIMIT {limit}"
    );
    query.run(db, &sql).await?.iter().map(from_row).collect()
}

/// What a person did or was done to them, newest first, before the entry `before`.
pub(super) async fn about(
    db: &ClientWrapper,
    user: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRow>, Failure> {
    // Each half by its index; an entry in both is one.
    const SQL: &str = entries!(
        "WHERE e.id IN (
              (SELECT id FROM audit_events WHERE actor = $1 AND id < $2 ORDER BY id DESC LIMIT $3)
               UNION
              (SELECT id FROM audit_events WHERE target = $1 AND id < $2 ORDER BY id DESC LIMIT $3))
          ORDER BY e.id DESC LIMIT $3"
    );
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

/// The columns that [`chained`] reads, and where they are from.
macro_rules! chained {
    ($rest:literal) => {
        concat!(
            "SELECT e.chain, e.position, e.hash, e.id, e.at, e.actor, e.action, e.target, e.request_id,
                    e.details, e.commitment, d.salt, d.personal
               FROM audit_events e LEFT JOIN audit_details d ON d.id = e.id ",
            $rest
        )
    };
}

fn chained(row: &Row) -> Result<ChainedRow, Failure> {
    let commitment: Option<&[u8]> = row.try_get("commitment")?;
    let salt: Option<&[u8]> = row.try_get("salt")?;
    let salt: Option<[u8; SALT_LENGTH]> = salt.and_then(|salt| salt.try_into().ok());
    let personal: Option<String> = row.try_get("personal")?;
    let chain: Option<Uuid> = row.try_get("chain")?;
    Ok(ChainedRow {
        place: chain.map(|chain| place(row, chain)).transpose()?,
        id: row.try_get("id")?,
        at: Timestamp::from_millis(row.try_get("at")?),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        request_id: row.try_get("request_id")?,
        details: row.try_get("details")?,
        commitment: commitment.map(digest).transpose()?,
        personal: salt.zip(personal),
    })
}

fn place(row: &Row, chain: Uuid) -> Result<Place, Failure> {
    let position: i64 = row.try_get("position")?;
    let position = u64::try_from(position)
        .map_err(|_| Failure::inconsistent("an audit entry has a negative position"))?;
    Ok(Place { chain, position, hash: digest(row.try_get("hash")?)? })
}

fn digest(bytes: &[u8]) -> Result<Digest, Failure> {
    Digest::from_slice(bytes).ok_or_else(|| Failure::inconsistent("an audit entry has no hash"))
}

/// The last entries of the chains that began at or after a moment.
pub(super) async fn chain_heads(
    db: &ClientWrapper,
    since: Option<Timestamp>,
) -> Result<Vec<ChainHead>, Failure> {
    const SQL: &str = "
        SELECT last.chain, last.position, last.hash, last.at
          FROM audit_events first
         CROSS JOIN LATERAL (SELECT * FROM audit_events e WHERE e.chain = first.chain
                              ORDER BY e.position DESC LIMIT 1) AS last
         WHERE first.position = 1 AND first.chain >= $1 ORDER BY first.chain";
    let since = since.map_or(Uuid::nil(), first_id_of);
    let rows = query(db, SQL, &[&since]).await?;
    let heads = rows.iter().map(|row| {
        let at = Timestamp::from_millis(row.try_get("at")?);
        Ok(ChainHead { place: place(row, row.try_get("chain")?)?, at })
    });
    heads.collect()
}

/// A chain's entries after a position.
pub(super) async fn chain(
    db: &ClientWrapper,
    chain: Uuid,
    after: u64,
    limit: u32,
) -> Result<Vec<ChainedRow>, Failure> {
    const SQL: &str =
        chained!("WHERE e.chain = $1 AND e.position > $2 ORDER BY e.position LIMIT $3");
    let rows = query(db, SQL, &[&chain, &bigint(after), &i64::from(limit)]).await?;
    rows.iter().map(chained).collect()
}

/// Entries without a place.
pub(super) async fn unchained(db: &ClientWrapper, limit: u32) -> Result<Vec<ChainedRow>, Failure> {
    const SQL: &str = chained!("WHERE e.chain IS NULL ORDER BY e.id LIMIT $1");
    query(db, SQL, &[&i64::from(limit)]).await?.iter().map(chained).collect()
}

/// The last signed statement.
pub(super) async fn last_checkpoint(
    db: &ClientWrapper,
) -> Result<Option<StoredCheckpoint>, Failure> {
    const LAST: &str = "
        SELECT number, entry_id, removed_before FROM audit_checkpoints
         ORDER BY number DESC LIMIT 1";
    const ENTRY: &str = chained!("WHERE e.id = $1");
    let Some(last) = query_first(db, LAST, &[]).await? else { return Ok(None) };
    let (number, id): (i64, Uuid) = (last.try_get("number")?, last.try_get("entry_id")?);
    let removed_before: Option<i64> = last.try_get("removed_before")?;
    let entry = query_first(db, ENTRY, &[&id]).await?;
    Ok(Some(StoredCheckpoint {
        number: u64::try_from(number)
            .map_err(|_| Failure::inconsistent("a checkpoint has a negative number"))?,
        removed_before: removed_before.map(Timestamp::from_millis),
        entry: entry.as_ref().map(chained).transpose()?,
    }))
}

/// Gives a place to every entry, if none has one: they were written before there were chains. The caller
/// has seen to it that nobody else does so at the same time.
pub(super) async fn adopt(client: &mut Client) -> Result<(), Failure> {
    const IS_CHAINED: &str = "SELECT FROM audit_events WHERE chain IS NOT NULL LIMIT 1";
    const PAGE: &str = chained!("WHERE e.chain IS NULL AND e.id > $1 ORDER BY e.id LIMIT 500");
    const PLACE: &str = "
        WITH given AS (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[],
                                 $6::bytea[]) AS g (id, chain, position, hash, commitment, salt)
        ), salted AS (
            UPDATE audit_details d SET salt = g.salt FROM given g WHERE d.id = g.id
        )
        UPDATE audit_events e SET chain = g.chain, position = g.position, hash = g.hash,
                                  commitment = g.commitment
          FROM given g WHERE e.id = g.id";
    let transaction = client.transaction().await?;
    if transaction.query_opt(IS_CHAINED, &[]).await?.is_some() {
        return Ok(());
    }
    let (page, place) = (transaction.prepare(PAGE).await?, transaction.prepare(PLACE).await?);
    let mut adoption = Adoption::default();
    let mut after = Uuid::nil();
    loop {
        let rows = transaction.query(&page, &[&after]).await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get("id")?;
        let mut ids = Vec::with_capacity(rows.len());
        let (mut chains, mut positions, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut commitments, mut salts) = (Vec::new(), Vec::new());
        for row in &rows {
            let (given, covered) = adoption.next(&chained(row)?, row.try_get("personal")?);
            ids.push(row.try_get::<_, Uuid>("id")?);
            chains.push(given.chain);
            positions.push(bigint(given.position));
            hashes.push(given.hash.0.to_vec());
            commitments.push(covered.map(|(_, commitment)| commitment.0.to_vec()));
            salts.push(covered.map(|(salt, _)| salt.to_vec()));
        }
        let given: Parameters<'_> = &[&ids, &chains, &positions, &hashes, &commitments, &salts];
        transaction.execute(&place, given).await?;
    }
    Ok(transaction.commit().await?)
}

/// See [`AppendCheckpoint`]: whether it was written. Runs alone.
pub(super) async fn append_checkpoint(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &AppendCheckpoint,
) -> Result<bool, Failure> {
    const SQL: &str = "
        INSERT INTO audit_checkpoints (number, entry_id, removed_before) VALUES ($1, $2, $3)
        ON CONFLICT (number) DO NOTHING";
    let AppendCheckpoint { number, removed_before, audit: entry } = operation;
    let removed_before = removed_before.map(Timestamp::millis);
    let parameters: Parameters<'_> = &[&bigint(*number), &entry.id, &removed_before];
    let is_written = execute(db, SQL, parameters).await? == 1;
    if is_written {
        notes.add(entry);
    }
    Ok(is_written)
}

/// Removes at most `limit` entries of chains whose last entry is of `before` or earlier. Each chain goes from
/// its end on: as long as there is anything of it, its first entry is there and tells of it.
pub(super) async fn remove(
    db: &ClientWrapper,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const OVER: &str = r#"
        SELECT first.chain, last.position
          FROM audit_events first
         CROSS JOIN LATERAL (SELECT e.position, e.at FROM audit_events e WHERE e.chain = first.chain
                              ORDER BY e.position DESC LIMIT 1) AS last
         WHERE first.position = 1 AND first.chain < $1 AND last.at <= $2
         ORDER BY first.chain LIMIT $3"#;
    const REMOVE: &str = "DELETE FROM audit_events WHERE chain = $1 AND position > $2";
    let began = first_id_of(before.plus(Duration::from_millis(1)));
    let parameters: Parameters<'_> = &[&began, &before.millis(), &i64::from(limit)];
    let (limit, mut removed) = (u64::from(limit), 0);
    for over in query(db, OVER, parameters).await? {
        let (chain, end): (Uuid, i64) = (over.try_get("chain")?, over.try_get("position")?);
        let down_to = end.saturating_sub(bigint(limit - removed)).max(0);
        removed += execute(db, REMOVE, &[&chain, &down_to]).await?;
        if removed >= limit {
            break;
        }
    }
    Ok(removed)
}
