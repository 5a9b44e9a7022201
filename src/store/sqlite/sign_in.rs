//! Signing in: what touches several tables. Everything is judged before anything is written, so
//! that a refusal leaves no trace.

use rusqlite::Connection;

use super::token_families::Opening;
use super::{identities, spent, token_families, users};
use crate::store::error::StoreError;
use crate::store::model::UserStatus;
use crate::store::operation::{
    CreateUser, CreateUserOutcome, IdentityRefresh, SignIn, SignInOutcome, Spent,
};
use crate::store::trail::Notes;

/// Opens a session for a person whose identity is known.
pub(super) fn sign_in(
    connection: &Connection,
    notes: &mut Notes,
    request: &SignIn,
) -> Result<SignInOutcome, StoreError> {
    if spent::is_spent(connection, &request.spends)? {
        return Ok(SignInOutcome::AlreadySpent);
    }
    let IdentityRefresh { provider, subject, .. } = &request.identity;
    let allowed = users::find_by_identity(connection, provider, subject)?
        .is_some_and(|user| user.id == request.family.user && user.status == UserStatus::Active);
    let opening = token_families::opening(connection, &request.family)?;
    if !allowed || matches!(opening, Opening::Refused) {
        return Ok(SignInOutcome::NotAllowed);
    }
    spent::spend(connection, &request.spends)?;
    identities::refresh(connection, &request.identity, request.family.created_at)?;
    if let Some(ends) = &request.ends {
        token_families::revoke(connection, notes, ends)?;
    }
    let opened = match opening {
        Opening::GoesOn => token_families::renew(connection, &request.family)?,
        Opening::New | Opening::Refused => token_families::insert(connection, &request.family)?,
    };
    notes.add(&request.audit);
    Ok(SignInOutcome::Opened(Box::new(opened)))
}

/// Creates a person with their first identity and session.
pub(super) fn create_user(
    connection: &Connection,
    notes: &mut Notes,
    request: &CreateUser,
) -> Result<CreateUserOutcome, StoreError> {
    let now = request.family.created_at;
    if any_spent(connection, &request.spends)? {
        return Ok(CreateUserOutcome::AlreadySpent);
    }
    if identities::owner(connection, &request.identity)?.is_some() {
        return Ok(CreateUserOutcome::IdentityTaken);
    }
    if !users::name_is_free(connection, &request.username_key, now)? {
        return Ok(CreateUserOutcome::UsernameTaken);
    }
    for ticket in &request.spends {
        spent::spend(connection, ticket)?;
    }
    users::insert(connection, &request.user, &request.username_key)?;
    identities::insert(connection, request.user.id, &request.identity, now)?;
    if let Some(ends) = &request.ends {
        token_families::revoke(connection, notes, ends)?;
    }
    let opened = token_families::insert(connection, &request.family)?;
    for entry in &request.audit {
        notes.add(entry);
    }
    Ok(CreateUserOutcome::Created(Box::new(opened)))
}

pub(super) fn any_spent(connection: &Connection, tickets: &[Spent]) -> Result<bool, StoreError> {
    for ticket in tickets {
        if spent::is_spent(connection, ticket)? {
            return Ok(true);
        }
    }
    Ok(false)
}
