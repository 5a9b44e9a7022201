//! Giving a person a further identity, and taking one away. As in [`super::sign_in`], everything is
//! judged before anything is written.

use rusqlite::Connection;

use super::sign_in::any_spent;
use super::{identities, spent, token_families, users};
use crate::store::error::StoreError;
use crate::store::model::{FIRST_PARTY, FamilyId, UserId, UserStatus};
use crate::store::operation::{LinkIdentity, LinkOutcome, UnlinkIdentities, UnlinkOutcome};
use crate::store::trail::Notes;

/// Gives a person one more identity.
pub(super) fn link(
    connection: &Connection,
    notes: &mut Notes,
    request: &LinkIdentity,
) -> Result<LinkOutcome, StoreError> {
    if !is_active(connection, request.user)?
        || !is_live(connection, request.asked_in, request.user)?
    {
        return Ok(LinkOutcome::NotAllowed);
    }
    match identities::owner(connection, &request.identity)? {
        Some(owner) if owner == request.user => return Ok(LinkOutcome::AlreadyLinked),
        Some(_) => return Ok(LinkOutcome::IdentityTaken),
        None => {}
    }
    if any_spent(connection, &request.spends)? {
        return Ok(LinkOutcome::AlreadySpent);
    }
    for ticket in &request.spends {
        spent::spend(connection, ticket)?;
    }
    identities::insert(connection, request.user, &request.identity, request.now)?;
    if let Some(name) = &request.display_name {
        users::fill_display_name(connection, request.user, name, request.now)?;
    }
    if let Some(ends) = &request.ends {
        token_families::revoke(connection, notes, ends)?;
    }
    let opened = match &request.opens {
        Some(family) => Some(Box::new(token_families::insert(connection, family)?)),
        None => None,
    };
    for entry in &request.audit {
        notes.add(entry);
    }
    Ok(LinkOutcome::Linked(opened))
}

/// Takes identities from a person, but never the last one.
pub(super) fn unlink(
    connection: &Connection,
    notes: &mut Notes,
    request: &UnlinkIdentities,
) -> Result<UnlinkOutcome, StoreError> {
    if !is_active(connection, request.user)? {
        return Ok(UnlinkOutcome::NotAllowed);
    }
    let outcome = request.judge(&identities::of_user(connection, request.user)?);
    if outcome != UnlinkOutcome::Unlinked {
        return Ok(outcome);
    }
    identities::remove(connection, request.user, &request.provider, request.subject.as_deref())?;
    notes.add(&request.audit);
    Ok(UnlinkOutcome::Unlinked)
}

/// Whether the person can sign in.
pub(super) fn is_active(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    Ok(users::find(connection, user)?.is_some_and(|user| user.status == UserStatus::Active))
}

/// Whether the session that asks is the person's and live; recovery asks in none.
pub(super) fn is_live(
    connection: &Connection,
    asked_in: Option<FamilyId>,
    user: UserId,
) -> Result<bool, StoreError> {
    let Some(family) = asked_in else { return Ok(true) };
    let found = token_families::find(connection, family)?;
    Ok(found.is_some_and(|live| {
        live.family.user == user
            && live.family.client_id == FIRST_PARTY
            && live.family.revoked_at.is_none()
    }))
}
