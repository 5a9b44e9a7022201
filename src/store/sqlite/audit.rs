//! `audit_events` and, apart from them, the personal values in `audit_details`.

use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension, Row, ToSql, params};
use serde_json::Value;
use uuid::Uuid;

use super::row;
use crate::clock::Timestamp;
use crate::protocol::audit_chain::{Digest, Place, SALT_LENGTH};
use crate::store::AuditRow;
use crate::store::error::StoreError;
use crate::store::model::{AuditPage, ChainHead, ChainedRow, StoredCheckpoint, UserId};
use crate::store::operation::AppendCheckpoint;
use crate::store::trail::{Adoption, LinkedEntry, Notes, first_id_of};

/// Writes entries at their places.
pub(super) fn append(connection: &Connection, entries: &[LinkedEntry]) -> Result<(), StoreError> {
    for LinkedEntry { entry, place, details, personal, commitment } in entries {
        connection
            .prepare_cached(
                "INSERT INTO audit_events (id, at, actor, action, target, request_id, details, chain,
                                           position, hash, commitment)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                entry.id.as_bytes(),
                entry.at.millis(),
                entry.actor.to_string(),
                entry.action,
                entry.target,
                entry.request_id,
                details,
                place.chain.as_bytes(),
                row::integer(place.position),
                place.hash.0,
                commitment.map(|commitment| commitment.0),
            ])?;
        if let Some((salt, personal)) = personal {
            connection
                .prepare_cached(
                    "INSERT INTO audit_details (id, personal, salt) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![entry.id.as_bytes(), personal, salt])?;
        }
    }
    Ok(())
}

/// A page of entries.
pub(super) fn page(connection: &Connection, page: &AuditPage) -> Result<Vec<AuditRow>, StoreError> {
    let AuditPage { actor, action, target, since, until, before, newer_than, limit } = page;
    // Ids begin with the time: all conditions on either are one range of the primary key.
    let start = since.map(first_id_of).unwrap_or(Uuid::nil());
    let end = [until.map(first_id_of), *before].into_iter().flatten().min().unwrap_or(Uuid::max());
    // One bound alone is followed from.
    let (above, start) = match newer_than {
        Some(last_seen) if *last_seen >= start => (">", *last_seen),
        _ => (">=", start),
    };
    let (start, end) = (start.as_bytes(), end.as_bytes());
    let mut parameters: Vec<&dyn ToSql> = vec![limit, &start, &end];
    let mut filters = String::new();
    let mut source = "audit_events";
    let does_much = matches!(actor.as_deref(), Some("anonymous" | "cli" | "system"));
    if does_much && action.is_some() && target.is_none() {
        // In the words of the index: otherwise it is not taken for theirs.
        filters.push_str(" AND actor IN ('anonymous', 'cli', 'system')");
        source = "audit_events INDEXED BY audit_events_actor_action";
    }
    for (column, value) in [("actor", actor), ("action", action), ("target", target)] {
        if let Some(value) = value {
            parameters.push(value);
            filters.push_str(&format!(" AND {column} = ?{}", parameters.len()));
        }
    }
    let order = if newer_than.is_some() { "ASC" } else { "DESC" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT at, actor, action, target, request_id, details, coalesce(personal, 'null'), id
           FROM {source} LEFT JOIN audit_details USING (id)
          WHERE id {above} ?2 AND id < ?3{filters} ORDER BY id {order} LIMIT ?1"
    ))?;
    let rows = statement.query_map(&*parameters, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a person did or was done to them, newest first, before the entry `before`.
pub(super) fn about(
    connection: &Connection,
    user: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    // Each half by its index; an entry in both is one.
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, target, request_id, details, coalesce(personal, 'null'), id
           FROM audit_events LEFT JOIN audit_details USING (id)
          WHERE id IN (SELECT id FROM audit_events WHERE actor = ?1
                        UNION SELECT id FROM audit_events WHERE target = ?1)
            AND id < ?2
          ORDER BY id DESC LIMIT ?3",
    )?;
    let before = before.unwrap_or(Uuid::max());
    let rows =
        statement.query_map(params![format!("user:{user}"), before.as_bytes(), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Empties the personal part of every entry on what a person did or was done to them.
pub(super) fn empty_details(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM audit_details WHERE id IN
                    (SELECT id FROM audit_events WHERE actor = ?1
                      UNION SELECT id FROM audit_events WHERE target = ?1)",
        )?
        .execute(params![format!("user:{user}")])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let mut kept_apart = row::json(row, 6)?;
    Ok(AuditRow {
        id: row::id(row, 7)?,
        at: row::time(row, 0)?,
        actor: row.get(1)?,
        action: row.get(2)?,
        target: row.get(3)?,
        request_id: row.get(4)?,
        address: kept_apart["address"].as_str().map(str::to_owned),
        details: row::json(row, 5)?,
        personal: kept_apart.get_mut("personal").map(Value::take).unwrap_or_default(),
    })
}

/// The last entries of the chains that began at or after a moment.
pub(super) fn chain_heads(
    connection: &Connection,
    since: Option<Timestamp>,
) -> Result<Vec<ChainHead>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT last.chain, last.position, last.hash, last.at
           FROM audit_events first
           JOIN audit_events last ON last.chain = first.chain
                AND last.position = (SELECT max(e.position) FROM audit_events e WHERE e.chain = first.chain)
          WHERE first.position = 1 AND first.chain >= ?1 ORDER BY first.chain",
    )?;
    let since = since.map_or(Uuid::nil(), first_id_of);
    let rows = statement.query_map(params![since.as_bytes()], |row| {
        Ok(ChainHead {
            place: read_place(row, 0)?.ok_or(Error::InvalidQuery)?,
            at: row::time(row, 3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The columns that [`read_chained`] takes.
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

/// A chain's entries after a position.
pub(super) fn chain(
    connection: &Connection,
    chain: Uuid,
    after: u64,
    limit: u32,
) -> Result<Vec<ChainedRow>, StoreError> {
    let mut statement = connection.prepare_cached(chained!(
        "WHERE e.chain = ?1 AND e.position > ?2 ORDER BY e.position LIMIT ?3"
    ))?;
    let parameters = params![chain.as_bytes(), row::integer(after), limit];
    let rows = statement.query_map(parameters, read_chained)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Entries without a place.
pub(super) fn unchained(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<ChainedRow>, StoreError> {
    let mut statement =
        connection.prepare_cached(chained!("WHERE e.chain IS NULL ORDER BY e.id LIMIT ?1"))?;
    let rows = statement.query_map(params![limit], read_chained)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_place(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Place>> {
    let Some(chain) = row.get::<_, Option<[u8; 16]>>(first)? else { return Ok(None) };
    Ok(Some(Place {
        chain: Uuid::from_bytes(chain),
        position: row::count(row, first + 1)?,
        hash: Digest(row.get(first + 2)?),
    }))
}

fn read_chained(row: &Row<'_>) -> rusqlite::Result<ChainedRow> {
    let salt: Option<[u8; SALT_LENGTH]> = row.get(11)?;
    let personal: Option<String> = row.get(12)?;
    Ok(ChainedRow {
        place: read_place(row, 0)?,
        id: row::id(row, 3)?,
        at: row::time(row, 4)?,
        actor: row.get(5)?,
        action: row.get(6)?,
        target: row.get(7)?,
        request_id: row.get(8)?,
        details: row.get(9)?,
        commitment: row.get::<_, Option<[u8; 32]>>(10)?.map(Digest),
        personal: salt.zip(personal),
    })
}

/// Writes a signed statement and its entry, unless there is one of this number.
pub(super) fn append_checkpoint(
    connection: &Connection,
    notes: &mut Notes,
    request: &AppendCheckpoint,
) -> Result<bool, StoreError> {
    let AppendCheckpoint { number, removed_before, audit: entry } = request;
    let written = connection
        .prepare_cached(
            "INSERT INTO audit_checkpoints (number, entry_id, removed_before) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            row::integer(*number),
            entry.id.as_bytes(),
            removed_before.map(Timestamp::millis)
        ])?;
    if written == 1 {
        notes.add(entry);
    }
    Ok(written == 1)
}

/// The last signed statement.
pub(super) fn last_checkpoint(
    connection: &Connection,
) -> Result<Option<StoredCheckpoint>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, removed_before, entry_id FROM audit_checkpoints ORDER BY number DESC LIMIT 1",
    )?;
    let last = statement.query_row([], |row| {
        Ok((row::count(row, 0)?, row::optional_time(row, 1)?, row::id(row, 2)?))
    });
    let Some((number, removed_before, id)) = last.optional()? else { return Ok(None) };
    let mut statement = connection.prepare_cached(chained!("WHERE e.id = ?1"))?;
    let entry = statement.query_row(params![id.as_bytes()], read_chained).optional()?;
    Ok(Some(StoredCheckpoint { number, removed_before, entry }))
}

/// Removes at most `limit` entries of chains whose last entry is of `before` or earlier. Each chain goes from
/// its end on: as long as there is anything of it, its first entry is there and tells of it.
pub(super) fn remove(
    connection: &Connection,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut chains = connection.prepare_cached(
        "SELECT first.chain, (SELECT max(e.position) FROM audit_events e WHERE e.chain = first.chain) AS end
           FROM audit_events first
          WHERE first.position = 1 AND first.chain < ?1
            AND (SELECT last.at FROM audit_events last WHERE last.chain = first.chain
                  ORDER BY last.position DESC LIMIT 1) <= ?2
          ORDER BY first.chain LIMIT ?3",
    )?;
    let began = first_id_of(before.plus(Duration::from_millis(1)));
    let over: Vec<([u8; 16], i64)> = chains
        .query_map(params![began.as_bytes(), before.millis(), limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut left = i64::from(limit);
    for (chain, end) in over {
        let down_to = end.saturating_sub(left);
        left -= removed_of(connection, &chain, down_to)?;
        if left <= 0 {
            break;
        }
    }
    let removed = i64::from(limit) - left;
    Ok(u64::try_from(removed).unwrap_or(0))
}

fn removed_of(connection: &Connection, chain: &[u8; 16], after: i64) -> Result<i64, StoreError> {
    let removed = connection
        .prepare_cached("DELETE FROM audit_events WHERE chain = ?1 AND position > ?2")?
        .execute(params![chain, after])?;
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

/// Gives a place to every entry, if none has one: they were written before there were chains.
pub(super) fn adopt(connection: &Connection) -> Result<(), StoreError> {
    let is_chained = connection
        .prepare("SELECT 1 FROM audit_events WHERE chain IS NOT NULL LIMIT 1")?
        .exists([])?;
    if is_chained {
        return Ok(());
    }
    let mut salt = connection.prepare("UPDATE audit_details SET salt = ?2 WHERE id = ?1")?;
    let mut place = connection.prepare(
        "UPDATE audit_events SET chain = ?2, position = ?3, hash = ?4, commitment = ?5 WHERE id = ?1",
    )?;
    let mut adoption = Adoption::default();
    let mut after = Uuid::nil();
    loop {
        let mut rows = connection.prepare_cached(chained!(
            "WHERE e.chain IS NULL AND e.id > ?1 ORDER BY e.id LIMIT 500"
        ))?;
        let rows: Vec<(ChainedRow, Option<String>)> = rows
            .query_map(params![after.as_bytes()], |row| Ok((read_chained(row)?, row.get(12)?)))?
            .collect::<Result<_, _>>()?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = last.id;
        for (row, personal) in &rows {
            let (given, covered) = adoption.next(row, personal.as_deref());
            if let Some(bytes) = covered.map(|(bytes, _)| bytes) {
                salt.execute(params![row.id.as_bytes(), bytes])?;
            }
            place.execute(params![
                row.id.as_bytes(),
                given.chain.as_bytes(),
                row::integer(given.position),
                given.hash.0,
                covered.map(|(_, commitment)| commitment.0),
            ])?;
        }
    }
}
