//! What administrators and operators change. Whom it concerns is locked first, as in `accounts`.

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;

use super::accounts::{hold, is_last_admin};
use super::connect::{execute, query};
use super::failure::Failure;
use super::{token_families, users};
use crate::store::model::{FamilyWithUser, User, UserStatus};
use crate::store::operation::{
    EndSessionsBefore, EndedSessions, LockUser, LockUserOutcome, OpenSession, Revoke,
    RevokeOutcome, RevokeTarget, SetRole, SetRoleOutcome, UnlockUser,
};
use crate::store::trail::Notes;

/// See [`SetRole`]. Runs alone; nothing is written before it is decided.
pub(super) async fn set_role(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &SetRole,
) -> Result<SetRoleOutcome, Failure> {
    const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7307226941834552180)";
    const SQL: &str = "UPDATE users SET role = $2, updated_at = $3 WHERE id = $1";
    let SetRole { user, role, only_first, audit: entry } = operation;
    if *only_first {
        // Where there is no admin there is no row to wait for.
        query(db, ONE_AT_A_TIME, &[]).await?;
    }
    let (person, other_admins) = users::hold_with_admins(db, *user).await?;
    let Some(mut person) = person.filter(is_there) else { return Ok(SetRoleOutcome::Unknown) };
    if person.role == *role {
        return Ok(SetRoleOutcome::Set(Box::new(person)));
    }
    if *only_first && other_admins > 0 {
        return Ok(SetRoleOutcome::NotFirst);
    }
    if is_last_admin(&person, other_admins) {
        return Ok(SetRoleOutcome::LastAdmin);
    }
    execute(db, SQL, &[&user.0, &role.as_str(), &entry.at.millis()]).await?;
    notes.add(entry);
    person.role = *role;
    Ok(SetRoleOutcome::Set(Box::new(person)))
}

fn is_there(person: &User) -> bool {
    person.status != UserStatus::Deleted
}

/// See [`LockUser`]. Runs alone; nothing is written before it is decided.
pub(super) async fn lock(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &LockUser,
) -> Result<LockUserOutcome, Failure> {
    let (person, other_admins) = hold(db, operation.user).await?;
    let Some(mut person) = person.filter(is_there) else { return Ok(LockUserOutcome::Unknown) };
    if person.status == UserStatus::Locked {
        return Ok(LockUserOutcome::Locked(Box::new(person), RevokeOutcome::default()));
    }
    if is_last_admin(&person, other_admins) {
        return Ok(LockUserOutcome::LastAdmin);
    }
    let entry = &operation.audit;
    let revoke = ending_of(operation);
    let ((), ended) = try_join!(
        users::set_status(db, operation.user, UserStatus::Locked, entry.at),
        token_families::end_and_refuse(db, &revoke),
    )?;
    notes.add(entry);
    person.status = UserStatus::Locked;
    Ok(LockUserOutcome::Locked(Box::new(person), ended))
}

/// What ends with a lock.
pub(super) fn ending_of(LockUser { user, tokens_live_for, audit }: &LockUser) -> Revoke {
    Revoke {
        target: RevokeTarget::User(*user),
        only_if_reused: None,
        reason: "locked",
        now: audit.at,
        tokens_live_for: *tokens_live_for,
        audit: audit.clone(),
    }
}

/// See [`UnlockUser`]. Runs alone.
pub(super) async fn unlock(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &UnlockUser,
) -> Result<Option<Box<User>>, Failure> {
    let UnlockUser { user, audit: entry } = operation;
    let person = users::hold(db, *user).await?;
    let Some(mut person) = person.filter(is_there) else { return Ok(None) };
    if person.status == UserStatus::Locked {
        users::set_status(db, *user, UserStatus::Active, entry.at).await?;
        notes.add(entry);
        person.status = UserStatus::Active;
    }
    Ok(Some(Box::new(person)))
}

/// See [`OpenSession`]. Runs alone.
pub(super) async fn open_session(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &OpenSession,
) -> Result<Option<Box<FamilyWithUser>>, Failure> {
    const SQL: &str = "UPDATE token_families SET rotated_at = $2 WHERE id = $1";
    let OpenSession { family, last_used, audit: entry } = operation;
    let Some(user) = users::hold_active(db, family.user).await? else { return Ok(None) };
    let mut opened = token_families::open(db, family, user).await?;
    execute(db, SQL, &[&family.id.0, &last_used.millis()]).await?;
    opened.family.rotated_at = *last_used;
    notes.add(entry);
    Ok(Some(Box::new(opened)))
}

/// See [`EndSessionsBefore`]. Runs alone.
pub(super) async fn end_sessions_before(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &EndSessionsBefore,
) -> Result<EndedSessions, Failure> {
    let (ended, after) = token_families::end_before(db, operation).await?;
    if !ended.families.is_empty() {
        notes.add(&operation.entry(ended.families.len()));
    }
    Ok(EndedSessions { ended, after })
}
