//! What people change of themselves, and their end. Everything is judged before anything is written.

use rusqlite::Connection;

use super::links::is_live;
use super::{audit, deliveries, grants, identities, names, revocations, token_families, users};
use crate::store::error::StoreError;
use crate::store::model::{Role, SessionId, User, UserStatus};
use crate::store::operation::{
    ChangeUsername, ChangeUsernameOutcome, DeleteUser, DeleteUserOutcome, SetDisplayName,
};
use crate::store::trail::Notes;

/// Sets or clears a display name.
pub(super) fn set_display_name(
    connection: &Connection,
    notes: &mut Notes,
    request: &SetDisplayName,
) -> Result<Option<Box<User>>, StoreError> {
    let SetDisplayName { user, display_name, audit: entry } = request;
    let found = users::find(connection, *user)?;
    let Some(mut person) = found.filter(|person| person.status == UserStatus::Active) else {
        return Ok(None);
    };
    if person.display_name != *display_name {
        users::set_display_name(connection, *user, display_name.as_deref(), entry.at)?;
        notes.add(entry);
        person.display_name.clone_from(display_name);
    }
    Ok(Some(Box::new(person)))
}

/// Gives a person another username.
pub(super) fn change_username(
    connection: &Connection,
    notes: &mut Notes,
    request: &ChangeUsername,
) -> Result<ChangeUsernameOutcome, StoreError> {
    let ChangeUsername { user, username, username_key, hold, audit: entry, .. } = request;
    let found = users::find(connection, *user)?;
    let Some(mut person) = found.filter(|person| person.status == UserStatus::Active) else {
        return Ok(ChangeUsernameOutcome::NotAllowed);
    };
    if let Some(refusal) = request.judge(&person, names::last_change(connection, *user)?) {
        return Ok(refusal);
    }
    let former_key = users::username_key(connection, *user)?;
    // The same name in another case stays the person's all the time: there is nothing to hold.
    let is_other_name = former_key != *username_key;
    if is_other_name {
        let is_taken = users::find_by_name(connection, username_key)?.is_some()
            || names::is_held_against(connection, username_key, *user, entry.at)?;
        if is_taken {
            return Ok(ChangeUsernameOutcome::UsernameTaken);
        }
    }
    names::keep(connection, *user, entry.at)?;
    if is_other_name {
        names::release(connection, username_key)?;
        if !hold.is_zero() {
            names::hold(connection, &former_key, Some(*user), entry.at.plus(*hold))?;
        }
    }
    users::rename(connection, *user, username, username_key, entry.at)?;
    notes.add(&request.entry(&person.username));
    person.username.clone_from(username);
    Ok(ChangeUsernameOutcome::Changed(Box::new(person)))
}

/// Turns a person into a tombstone.
pub(super) fn delete(
    connection: &Connection,
    notes: &mut Notes,
    request: &DeleteUser,
) -> Result<DeleteUserOutcome, StoreError> {
    let DeleteUser { user, asked_in, by_admin, held_until, audit: entry, .. } = request;
    let Some(person) = users::find(connection, *user)? else {
        return Ok(DeleteUserOutcome::NotAllowed);
    };
    let may_go = match person.status {
        UserStatus::Active => true,
        UserStatus::Locked => *by_admin,
        UserStatus::Deleted => false,
    };
    if !may_go || (asked_in.is_some() && !is_live(connection, *asked_in, *user)?) {
        return Ok(DeleteUserOutcome::NotAllowed);
    }
    let is_active_admin = person.role == Role::Admin && person.status == UserStatus::Active;
    if is_active_admin && !users::has_other_admin(connection, *user)? {
        return Ok(DeleteUserOutcome::LastAdmin);
    }
    names::hold_for_nobody(connection, *user)?;
    if let Some(until) = held_until {
        names::hold(connection, &users::username_key(connection, *user)?, None, *until)?;
    }
    names::forget(connection, *user)?;
    identities::remove_all(connection, *user)?;
    let sessions = token_families::sessions(connection, *user)?;
    let live: Vec<SessionId> = sessions
        .iter()
        .filter(|session| session.family.revoked_at.is_none())
        .map(|session| session.family.session)
        .collect();
    deliveries::add_for_sessions(connection, &live, entry.at)?;
    grants::remove_all(connection, *user)?;
    token_families::remove_all(connection, *user)?;
    users::bury(connection, *user, entry.at)?;
    audit::empty_details(connection, *user)?;
    notes.add(entry);
    let refused = request.revocation();
    let stored =
        revocations::record(connection, refused.kind, refused.id, refused.until, entry.at)?;
    Ok(DeleteUserOutcome::Deleted { avatar: person.avatar, revocations: vec![stored] })
}
