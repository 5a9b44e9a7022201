//! What people change of themselves, and their end.
//!
//! The person's row is locked first, so that two changes, or a change and the end, come one after the
//! other: the second is judged by what the first left.

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;

use super::failure::Failure;
use super::{audit, deliveries, grants, identities, names, revocations, token_families, users};
use crate::store::model::{Role, SessionId, User, UserId, UserStatus};
use crate::store::operation::{
    ChangeUsername, ChangeUsernameOutcome, DeleteUser, DeleteUserOutcome, SetDisplayName,
};
use crate::store::trail::Notes;

/// See [`SetDisplayName`]. Runs alone.
pub(super) async fn set_display_name(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &SetDisplayName,
) -> Result<Option<Box<User>>, Failure> {
    let SetDisplayName { user, display_name, audit: entry } = operation;
    let Some(mut person) = users::hold_active(db, *user).await? else { return Ok(None) };
    if person.display_name != *display_name {
        users::set_display_name(db, *user, display_name.as_deref(), entry.at).await?;
        notes.add(entry);
        person.display_name.clone_from(display_name);
    }
    Ok(Some(Box::new(person)))
}

/// See [`ChangeUsername`]. Runs alone; unless it is [`ChangeUsernameOutcome::Changed`], all is rolled
/// back.
pub(super) async fn change_username(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &ChangeUsername,
) -> Result<ChangeUsernameOutcome, Failure> {
    let ChangeUsername { user, username, username_key, hold, audit: entry, .. } = operation;
    let Some(mut person) = users::hold_active(db, *user).await? else {
        return Ok(ChangeUsernameOutcome::NotAllowed);
    };
    let (last, former_key, owner, is_held) = try_join!(
        names::last_change(db, *user),
        users::username_key(db, *user),
        users::by_name(db, username_key),
        names::is_held_against(db, username_key, *user, entry.at),
    )?;
    if let Some(refusal) = operation.judge(&person, last) {
        return Ok(refusal);
    }
    // Spares those who come too late the writing. It proves nothing: others write at the same time.
    if is_held || owner.is_some_and(|owner| owner.id != *user) {
        return Ok(ChangeUsernameOutcome::UsernameTaken);
    }
    names::keep(db, *user, entry.at).await?;
    // The same name in another case stays the person's all the time: there is nothing to hold.
    let is_other_name = former_key != *username_key;
    if is_other_name && !hold.is_zero() {
        names::hold_present(db, *user, Some(*user), entry.at.plus(*hold)).await?;
    }
    // Waits for a transaction that is about to take the name, or to give it up.
    if !users::rename(db, *user, username, username_key, entry.at).await? {
        return Ok(ChangeUsernameOutcome::UsernameTaken);
    }
    if is_other_name {
        // Asked only now: having the name, nobody else can give it up any more.
        if names::is_held_against(db, username_key, *user, entry.at).await? {
            return Ok(ChangeUsernameOutcome::UsernameTaken);
        }
        names::release(db, username_key).await?;
    }
    notes.add(&operation.entry(&person.username));
    person.username.clone_from(username);
    Ok(ChangeUsernameOutcome::Changed(Box::new(person)))
}

/// See [`DeleteUser`]. Runs alone; nothing is written before it is decided.
pub(super) async fn delete(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &DeleteUser,
) -> Result<DeleteUserOutcome, Failure> {
    let DeleteUser { user, asked_in, by_admin, held_until, audit: entry, .. } = operation;
    let (Some(person), other_admins) = hold(db, *user).await? else {
        return Ok(DeleteUserOutcome::NotAllowed);
    };
    let may_go = match person.status {
        UserStatus::Active => true,
        UserStatus::Locked => *by_admin,
        UserStatus::Deleted => false,
    };
    if !may_go {
        return Ok(DeleteUserOutcome::NotAllowed);
    }
    if let Some(family) = asked_in
        && !token_families::hold_live(db, *family, *user).await?
    {
        return Ok(DeleteUserOutcome::NotAllowed);
    }
    if is_last_admin(&person, other_admins) {
        return Ok(DeleteUserOutcome::LastAdmin);
    }
    let sessions = token_families::sessions(db, *user).await?;
    let live: Vec<SessionId> = sessions
        .iter()
        .filter(|session| session.family.revoked_at.is_none())
        .map(|session| session.family.session)
        .collect();
    deliveries::add_for_sessions(db, &live, entry.at).await?;
    names::hold_for_nobody(db, *user).await?;
    if let Some(until) = held_until {
        names::hold_present(db, *user, None, *until).await?;
    }
    let revocations = vec![operation.revocation()];
    try_join!(
        names::forget(db, *user),
        identities::remove_all(db, *user),
        grants::remove_all(db, *user),
        token_families::remove_all(db, *user),
        users::bury(db, *user, entry.at),
        audit::empty_details(db, *user),
        revocations::store(db, &revocations, entry.at),
    )?;
    notes.add(entry);
    Ok(DeleteUserOutcome::Deleted { avatar: person.avatar, revocations })
}

/// The person, and how many other active admins there are, if the person is an admin. Until the transaction
/// ends nobody can change any of them: of two who go at once the second finds itself alone.
///
/// A person who becomes an admin just now is taken for the last one: the next try knows better.
pub(super) async fn hold(
    db: &ClientWrapper,
    user: UserId,
) -> Result<(Option<User>, usize), Failure> {
    match users::by_id(db, user).await? {
        Some(person) if person.role == Role::Admin => users::hold_with_admins(db, user).await,
        _ => Ok((users::hold(db, user).await?, 0)),
    }
}

/// Whether nobody administrates any more once this person does not.
pub(super) fn is_last_admin(person: &User, other_admins: usize) -> bool {
    person.role == Role::Admin && person.status == UserStatus::Active && other_admins == 0
}
