//! `token_families`: one row a family, at the generation of its one live token.
//!
//! Whoever changes a family holds SQLite's write lock from the start of the transaction, so what is
//! read here stays true until it is written.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use uuid::Uuid;

use super::users::user_columns;
use super::{deliveries, revocations, row, users};
use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::model::{
    FIRST_PARTY, Family, FamilyId, FamilyWithUser, NewFamily, RevocationKind, Session, SessionId,
    UserId, UserStatus, refused_until,
};
use crate::store::operation::{
    AdvanceFamily, AdvanceOutcome, RemoveExpired, Revoke, RevokeOutcome, RevokeTarget,
};
use crate::store::trail::Notes;

/// The columns of a family, from `token_families f`; with those of its person behind them, [`read`] reads
/// them.
macro_rules! family_columns {
    () => {
        "f.id, f.user_id, f.session_id, f.client_id, f.scope, f.generation, f.rotated_at, \
         f.created_at, f.auth_time, f.revoked_at, f.resource"
    };
}
pub(super) use family_columns;

const FIND: &str = concat!(
    "SELECT ",
    family_columns!(),
    ", ",
    user_columns!(),
    " FROM token_families f JOIN users u ON u.id = f.user_id WHERE f.id = ?1"
);

/// A family, revoked or not, with its person.
pub(super) fn find(
    connection: &Connection,
    id: FamilyId,
) -> Result<Option<FamilyWithUser>, StoreError> {
    let mut statement = connection.prepare_cached(FIND)?;
    Ok(statement.query_row(params![id.0.as_bytes()], read).optional()?)
}

/// Reads the columns that `family_columns!` and `user_columns!` name.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<FamilyWithUser> {
    let family = Family {
        id: FamilyId(row::id(row, 0)?),
        user: UserId(row::id(row, 1)?),
        session: SessionId(row::id(row, 2)?),
        client_id: row.get(3)?,
        scope: row.get(4)?,
        generation: row::count(row, 5)?,
        rotated_at: row::time(row, 6)?,
        created_at: row::time(row, 7)?,
        auth_time: row::time(row, 8)?,
        revoked_at: row::optional_time(row, 9)?,
        resource: row.get(10)?,
    };
    Ok(FamilyWithUser { family, user: users::read(row, 11)? })
}

/// Every family's id and generation that is not revoked.
pub(super) fn live(connection: &Connection) -> Result<Vec<(FamilyId, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, generation FROM token_families WHERE revoked_at IS NULL ORDER BY id",
    )?;
    let rows =
        statement.query_map([], |row| Ok((FamilyId(row::id(row, 0)?), row::count(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Moves a family on to the generation after the one presented, if it may move.
pub(super) fn advance(
    connection: &Connection,
    advance: &AdvanceFamily,
) -> Result<AdvanceOutcome, StoreError> {
    let Some(mut live) = find(connection, advance.family)? else {
        return Ok(AdvanceOutcome::Unmoved);
    };
    let Some(next) = next_generation(&live, advance) else { return Ok(AdvanceOutcome::Unmoved) };
    move_to(connection, advance.family, next, advance.now)?;
    let before = live.family.generation;
    live.family.generation = advance.presented + 1;
    live.family.rotated_at = advance.now;
    Ok(AdvanceOutcome::Moved { live: Box::new(live), before })
}

/// The generation that the family moves to, as the store keeps it; `None` if it may not move.
fn next_generation(live: &FamilyWithUser, advance: &AdvanceFamily) -> Option<i64> {
    let FamilyWithUser { family, user } = live;
    let alive = user.status == UserStatus::Active
        && family.revoked_at.is_none()
        && family.rotated_at > advance.idle_since
        && family.created_at > advance.created_after;
    let due = family.generation == advance.presented && family.rotated_at <= advance.rotated_before;
    let commits_were_lost = family.generation < advance.presented;
    if !alive || !(due || commits_were_lost) {
        return None;
    }
    i64::try_from(advance.presented).ok()?.checked_add(1)
}

fn move_to(
    connection: &Connection,
    id: FamilyId,
    generation: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE token_families SET generation = ?2, rotated_at = ?3 WHERE id = ?1")?
        .execute(params![id.0.as_bytes(), generation, now.millis()])?;
    Ok(())
}

/// What is to be done to open a family.
pub(super) enum Opening {
    /// There is none of its id yet.
    New,
    /// It is the live session of the same person, which goes on, so that the `sid` stays.
    GoesOn,
    /// It is somebody else's, or has ended.
    Refused,
}

/// How a family would be opened.
pub(super) fn opening(connection: &Connection, new: &NewFamily) -> Result<Opening, StoreError> {
    let Some(FamilyWithUser { family, .. }) = find(connection, new.id)? else {
        return Ok(Opening::New);
    };
    let goes_on = family.client_id == FIRST_PARTY
        && new.client_id == FIRST_PARTY
        && family.user == new.user
        && family.revoked_at.is_none();
    Ok(if goes_on { Opening::GoesOn } else { Opening::Refused })
}

/// Moves a session on, for a person who signed in again.
pub(super) fn renew(
    connection: &Connection,
    new: &NewFamily,
) -> Result<FamilyWithUser, StoreError> {
    connection
        .prepare_cached(
            "UPDATE token_families SET generation = generation + 1, rotated_at = ?2, auth_time = ?3,
                                       provider = ?4
              WHERE id = ?1",
        )?
        .execute(params![
            new.id.0.as_bytes(),
            new.created_at.millis(),
            new.auth_time.millis(),
            new.provider,
        ])?;
    read_back(connection, new)
}

/// Adds a family at generation 0.
pub(super) fn insert(
    connection: &Connection,
    new: &NewFamily,
) -> Result<FamilyWithUser, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO token_families (id, user_id, session_id, client_id, scope, offline,
                                         generation, rotated_at, created_at, auth_time, provider,
                                         user_agent, network, resource)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            new.id.0.as_bytes(),
            new.user.0.as_bytes(),
            new.session.0.as_bytes(),
            new.client_id,
            new.scope,
            new.is_offline(),
            new.created_at.millis(),
            new.auth_time.millis(),
            new.provider,
            new.user_agent,
            new.network,
            new.resource,
        ])?;
    read_back(connection, new)
}

fn read_back(connection: &Connection, new: &NewFamily) -> Result<FamilyWithUser, StoreError> {
    find(connection, new.id)?
        .ok_or_else(|| StoreError::Inconsistent(format!("family {} is not there", new.id)))
}

/// Ends families, refuses their access tokens, audits it.
pub(super) fn revoke(
    connection: &Connection,
    notes: &mut Notes,
    revoke: &Revoke,
) -> Result<RevokeOutcome, StoreError> {
    if let Some((family, presented)) = revoke.only_if_reused
        && !is_reused(connection, family, presented)?
    {
        return Ok(RevokeOutcome::default());
    }
    let outcome = end_and_refuse(connection, revoke)?;
    if !outcome.families.is_empty() {
        notes.add(&revoke.audit);
    }
    Ok(outcome)
}

/// Ends families and refuses their access tokens.
pub(super) fn end_and_refuse(
    connection: &Connection,
    revoke: &Revoke,
) -> Result<RevokeOutcome, StoreError> {
    let ended = end(connection, revoke)?;
    if !ended.is_empty() {
        let sessions: Vec<SessionId> =
            ended.iter().filter(|family| family.first_party).map(|family| family.session).collect();
        deliveries::add_for_sessions(connection, &sessions, revoke.now)?;
    }
    let revocations = refused(revoke, &ended)
        .into_iter()
        .map(|((kind, id), until)| {
            revocations::record(connection, kind, id.to_string(), until, revoke.now)
        })
        .collect::<Result<_, _>>()?;
    Ok(RevokeOutcome { families: ended.iter().map(|family| family.id).collect(), revocations })
}

fn is_reused(
    connection: &Connection,
    family: FamilyId,
    presented: u64,
) -> Result<bool, StoreError> {
    let found = find(connection, family)?;
    Ok(found
        .is_some_and(|live| live.family.revoked_at.is_none() && live.family.generation > presented))
}

/// A family that has just ended.
struct Ended {
    id: FamilyId,
    session: SessionId,
    first_party: bool,
    refused_until: Timestamp,
}

fn end(connection: &Connection, revoke: &Revoke) -> Result<Vec<Ended>, StoreError> {
    macro_rules! end_where {
        ($condition:literal) => {
            concat!(
                "UPDATE token_families SET revoked_at = ?2, revoke_reason = ?3
                  WHERE revoked_at IS NULL AND ",
                $condition,
                " RETURNING id, session_id, client_id, provider"
            )
        };
    }
    let (statement, id) = match revoke.target {
        RevokeTarget::Family(family) => (end_where!("id = ?1"), family.0),
        // A first-party family has the id of its session; the index holds only the others.
        RevokeTarget::Session(session) => (
            end_where!(
                "(id = ?1 AND client_id = 'latchkey'
                  OR session_id = ?1 AND client_id <> 'latchkey' AND NOT offline)"
            ),
            session.0,
        ),
        RevokeTarget::User(user) => (end_where!("user_id = ?1"), user.0),
        RevokeTarget::OtherSessions(user, _) => (
            end_where!(
                "user_id = ?1 AND session_id <> ?4 AND (client_id = 'latchkey' OR NOT offline)"
            ),
            user.0,
        ),
    };
    let (id, now) = (id.as_bytes(), revoke.now.millis());
    let kept = match revoke.target {
        RevokeTarget::OtherSessions(_, session) => Some(session.0.into_bytes()),
        _ => None,
    };
    let mut parameters: Vec<&dyn ToSql> = vec![&id, &now, &revoke.reason];
    parameters.extend(kept.iter().map(|kept| kept as &dyn ToSql));
    let mut statement = connection.prepare_cached(statement)?;
    let rows = statement.query_map(&*parameters, |row| {
        Ok(Ended {
            id: FamilyId(row::id(row, 0)?),
            session: SessionId(row::id(row, 1)?),
            first_party: row.get_ref(2)?.as_str()? == FIRST_PARTY,
            refused_until: refused_until(
                revoke.now,
                revoke.tokens_live_for,
                row.get_ref(3)?.as_str()?,
            ),
        })
    })?;
    let mut ended: Vec<Ended> = rows.collect::<Result<_, _>>()?;
    ended.sort_by_key(|family| family.id);
    Ok(ended)
}

/// What access tokens are refused by, and until when: the session of first-party families, the others
/// themselves.
fn refused(revoke: &Revoke, ended: &[Ended]) -> BTreeMap<(RevocationKind, Uuid), Timestamp> {
    let mut refused = BTreeMap::new();
    if let RevokeTarget::Session(session) = revoke.target {
        let until = revoke.now.plus(revoke.tokens_live_for);
        refused.insert((RevocationKind::Session, session.0), until);
    }
    for family in ended {
        let name = match family.first_party {
            true => (RevocationKind::Session, family.session.0),
            false => (RevocationKind::Family, family.id.0),
        };
        let until = refused.entry(name).or_insert(family.refused_until);
        *until = family.refused_until.max(*until);
    }
    refused
}

/// Removes everything that a person signed in to.
pub(super) fn remove_all(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM token_families WHERE user_id = ?1")?
        .execute(params![user.0.as_bytes()])?;
    Ok(())
}

/// A person's first-party families, ended ones too, the newest use first.
pub(super) fn sessions(connection: &Connection, user: UserId) -> Result<Vec<Session>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        family_columns!(),
        ", ",
        user_columns!(),
        ", f.provider, f.user_agent, f.network
           FROM token_families f JOIN users u ON u.id = f.user_id
          WHERE f.user_id = ?1 AND f.client_id = 'latchkey'
          ORDER BY f.rotated_at DESC, f.id DESC"
    );
    let mut statement = connection.prepare_cached(SQL)?;
    let rows = statement.query_map(params![user.0.as_bytes()], |row| {
        Ok(Session {
            family: read(row)?.family,
            provider: row.get("provider")?,
            user_agent: row.get("user_agent")?,
            network: row.get("network")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Looks at the next families of the walk and removes those that are over. Returns how many went,
/// and the last id that was looked at, unless the walk reached the end.
pub(super) fn remove_expired(
    connection: &Connection,
    remove: &RemoveExpired,
) -> Result<(u64, Option<FamilyId>), StoreError> {
    let mut looked_at = 0;
    let mut last = None;
    let mut over = Vec::new();
    // The empty blob sorts before every id.
    let after = remove.families_after.map_or(Vec::new(), |id| id.0.as_bytes().to_vec());
    let mut page = connection.prepare_cached(
        "SELECT id, rotated_at <= ?3 OR created_at <= ?4 OR coalesce(revoked_at <= ?5, 0)
           FROM token_families WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = page.query(params![
        after,
        remove.limit,
        remove.idle_since.millis(),
        remove.created_before.millis(),
        remove.revoked_before.millis(),
    ])?;
    while let Some(row) = rows.next()? {
        let id = row::id(row, 0)?;
        looked_at += 1;
        last = Some(FamilyId(id));
        if row.get(1)? {
            over.push(id);
        }
    }
    let mut delete = connection.prepare_cached("DELETE FROM token_families WHERE id = ?1")?;
    for id in &over {
        delete.execute(params![id.as_bytes()])?;
    }
    Ok((over.len() as u64, last.filter(|_| looked_at == remove.limit)))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::sqlite::{connection, migrations};

    #[test]
    fn a_family_is_found_by_a_plan_that_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        migrations::migrate(&path).unwrap();
        let connection = connection::open_for_writing(&path).unwrap();
        for number in 0..3 {
            assert_eq!(find(&connection, FamilyId(Uuid::from_u128(number))).unwrap(), None);
        }
        let statement = connection.prepare_cached(FIND).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
