//! What administrators and operators change. Everything is judged before anything is written.

use rusqlite::{Connection, params};

use super::links::is_active;
use super::{row, token_families, users};
use crate::store::error::StoreError;
use crate::store::model::{FamilyId, FamilyWithUser, Role, User, UserId, UserStatus};
use crate::store::operation::{
    EndSessionsBefore, EndedSessions, LockUser, LockUserOutcome, OpenSession, Revoke,
    RevokeOutcome, RevokeTarget, SetRole, SetRoleOutcome, UnlockUser,
};
use crate::store::trail::Notes;

/// Gives a person another role.
pub(super) fn set_role(
    connection: &Connection,
    notes: &mut Notes,
    request: &SetRole,
) -> Result<SetRoleOutcome, StoreError> {
    let SetRole { user, role, only_first, audit: entry } = request;
    let Some(mut person) = find(connection, *user)? else { return Ok(SetRoleOutcome::Unknown) };
    if person.role == *role {
        return Ok(SetRoleOutcome::Set(Box::new(person)));
    }
    let has_other = users::has_other_admin(connection, *user)?;
    if *only_first && has_other {
        return Ok(SetRoleOutcome::NotFirst);
    }
    if is_last_admin(&person, has_other) {
        return Ok(SetRoleOutcome::LastAdmin);
    }
    connection
        .prepare_cached("UPDATE users SET role = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![user.0.as_bytes(), role.as_str(), entry.at.millis()])?;
    notes.add(entry);
    person.role = *role;
    Ok(SetRoleOutcome::Set(Box::new(person)))
}

/// Somebody who is no tombstone.
fn find(connection: &Connection, user: UserId) -> Result<Option<User>, StoreError> {
    let found = users::find(connection, user)?;
    Ok(found.filter(|person| person.status != UserStatus::Deleted))
}

fn is_last_admin(person: &User, has_other: bool) -> bool {
    person.role == Role::Admin && person.status == UserStatus::Active && !has_other
}

/// Keeps a person out, and ends what they are signed in to.
pub(super) fn lock(
    connection: &Connection,
    notes: &mut Notes,
    request: &LockUser,
) -> Result<LockUserOutcome, StoreError> {
    let LockUser { user, tokens_live_for, audit: entry } = request;
    let Some(mut person) = find(connection, *user)? else { return Ok(LockUserOutcome::Unknown) };
    if person.status == UserStatus::Locked {
        return Ok(LockUserOutcome::Locked(Box::new(person), RevokeOutcome::default()));
    }
    if is_last_admin(&person, users::has_other_admin(connection, *user)?) {
        return Ok(LockUserOutcome::LastAdmin);
    }
    users::set_status(connection, *user, UserStatus::Locked, entry.at)?;
    let revoke = Revoke {
        target: RevokeTarget::User(*user),
        only_if_reused: None,
        reason: "locked",
        now: entry.at,
        tokens_live_for: *tokens_live_for,
        audit: entry.clone(),
    };
    let ended = token_families::end_and_refuse(connection, &revoke)?;
    notes.add(entry);
    person.status = UserStatus::Locked;
    Ok(LockUserOutcome::Locked(Box::new(person), ended))
}

/// Lets a person in again.
pub(super) fn unlock(
    connection: &Connection,
    notes: &mut Notes,
    request: &UnlockUser,
) -> Result<Option<Box<User>>, StoreError> {
    let UnlockUser { user, audit: entry } = request;
    let Some(mut person) = find(connection, *user)? else { return Ok(None) };
    if person.status == UserStatus::Locked {
        users::set_status(connection, *user, UserStatus::Active, entry.at)?;
        notes.add(entry);
        person.status = UserStatus::Active;
    }
    Ok(Some(Box::new(person)))
}

/// Opens a session that nobody can refresh.
pub(super) fn open_session(
    connection: &Connection,
    notes: &mut Notes,
    request: &OpenSession,
) -> Result<Option<Box<FamilyWithUser>>, StoreError> {
    let OpenSession { family, last_used, audit: entry } = request;
    if !is_active(connection, family.user)? {
        return Ok(None);
    }
    let mut opened = token_families::insert(connection, family)?;
    connection
        .prepare_cached("UPDATE token_families SET rotated_at = ?2 WHERE id = ?1")?
        .execute(params![family.id.0.as_bytes(), last_used.millis()])?;
    opened.family.rotated_at = *last_used;
    notes.add(entry);
    Ok(Some(Box::new(opened)))
}

/// Ends the next families of the walk that were opened before a moment.
pub(super) fn end_sessions_before(
    connection: &Connection,
    notes: &mut Notes,
    request: &EndSessionsBefore,
) -> Result<EndedSessions, StoreError> {
    // The empty blob sorts before every id.
    let after = request.after.map_or(Vec::new(), |id| id.0.as_bytes().to_vec());
    let mut page = connection.prepare_cached(
        "SELECT id, created_at < ?3 AND revoked_at IS NULL FROM token_families
          WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let looked_at: Vec<(FamilyId, bool)> = page
        .query_map(params![after, request.limit, request.before.millis()], |row| {
            Ok((FamilyId(row::id(row, 0)?), row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut ended = RevokeOutcome::default();
    for (family, is_meant) in &looked_at {
        if !is_meant {
            continue;
        }
        let one = Revoke {
            target: RevokeTarget::Family(*family),
            only_if_reused: None,
            reason: "ended_by_operator",
            now: request.audit.at,
            tokens_live_for: request.tokens_live_for,
            audit: request.audit.clone(),
        };
        let RevokeOutcome { families, revocations } =
            token_families::end_and_refuse(connection, &one)?;
        ended.families.extend(families);
        ended.revocations.extend(revocations);
    }
    if !ended.families.is_empty() {
        notes.add(&request.entry(ended.families.len()));
    }
    let is_end = looked_at.len() < request.limit as usize;
    let after = looked_at.last().map(|(family, _)| *family).filter(|_| !is_end);
    Ok(EndedSessions { ended, after })
}
