//! Changing people's accounts on behalf of the service: what administrators, the command line and Latchkey
//! itself do alike.
//!
//! A change is judged and written with its line of the audit trail in one transaction. What this node
//! remembers of what ended is for the caller to add: the answers say what that is.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::actors::db_writer::{DbWriter, WriteError, apply};
use crate::actors::mailbox::Mailbox;
use crate::avatars::name::AvatarName;
use crate::avatars::storage::{AvatarStorage, StorageError};
use crate::clock::Timestamp;
use crate::protocol::username::comparison_key;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{
    Actor, AuditEntry, COMMAND_LINE, Email, KeyRange, Revocation, Role, User, UserId, UserSearch,
    UserStatus, refused_until,
};
use crate::store::operation::{
    DeleteUser, DeleteUserOutcome, LockUser, LockUserOutcome, Revoke, RevokeOutcome, RevokeTarget,
    SetRole, SetRoleOutcome, UnlockUser,
};

/// Who changes something, when and from where.
#[derive(Clone, Debug)]
pub struct By {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// The request that asks for it.
    pub request_id: Option<String>,
    /// The whole client address.
    pub address: Option<String>,
}

impl By {
    /// Somebody without a request: the command line, or Latchkey itself.
    pub fn local(actor: Actor, at: Timestamp) -> Self {
        Self { at, actor, request_id: None, address: None }
    }

    /// The line of the audit trail for what is done.
    pub fn entry(self, action: &'static str, target: String, details: Value) -> AuditEntry {
        let Self { at, actor, request_id, address } = self;
        let mut entry = AuditEntry::new(at, actor, action, target);
        entry.request_id = request_id;
        entry.address = address;
        entry.details = details;
        entry
    }
}

/// Why somebody's account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// There is no such person, or not any more.
    #[error("There is nobody with that id.")]
    Unknown,
    /// Without them nobody could run the service.
    #[error(
        "This is the only admin who can sign in, and nobody could run this service without one. Make somebody else an admin first."
    )]
    LastAdmin,
    /// The first admin was to be made, and there is one.
    #[error("There is an admin already.")]
    NotFirst,
    /// The writer did not confirm it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A person by username or id; no tombstones.
///
/// # Errors
/// [`StoreError`].
pub async fn find(read: &dyn ReadStore, who: &str) -> Result<Option<User>, StoreError> {
    let by_id = match Uuid::parse_str(who) {
        Ok(id) => read.user(UserId(id)).await?,
        Err(_) => None,
    };
    // A name may look like an id, and is then found where nobody has that id.
    let found = match by_id {
        None => read.user_by_name(&comparison_key(who)).await?,
        known => known,
    };
    Ok(found.filter(|user| user.status != UserStatus::Deleted))
}

/// Who is meant by the beginning of a username, a display name or a verified address.
pub fn search(beginning: &str) -> UserSearch {
    UserSearch {
        name: KeyRange::beginning_with(&comparison_key(beginning)),
        address: KeyRange::beginning_with(&Email::comparison_key(beginning)),
    }
}

fn about(user: UserId) -> String {
    format!("user:{user}")
}

/// Gives a person a role; `only_first` if that makes the first admin. The person as they are now.
///
/// # Errors
/// [`AdministrationError`].
pub async fn set_role(
    writer: &Mailbox<DbWriter>,
    by: By,
    user: UserId,
    role: Role,
    only_first: bool,
) -> Result<User, AdministrationError> {
    let audit = by.entry("user.role_changed", about(user), json!({ "role": role }));
    match apply(writer, SetRole { user, role, only_first, audit }).await? {
        SetRoleOutcome::Set(user) => Ok(*user),
        SetRoleOutcome::Unknown => Err(AdministrationError::Unknown),
        SetRoleOutcome::NotFirst => Err(AdministrationError::NotFirst),
        SetRoleOutcome::LastAdmin => Err(AdministrationError::LastAdmin),
    }
}

/// Keeps a person out until they are unlocked: what they are signed in to ends, nothing is deleted.
/// `tokens_live_for` is how long access tokens can live that were issued until now.
///
/// # Errors
/// [`AdministrationError`].
pub async fn lock(
    writer: &Mailbox<DbWriter>,
    by: By,
    user: UserId,
    tokens_live_for: Duration,
) -> Result<(User, RevokeOutcome), AdministrationError> {
    let audit = by.entry("user.locked", about(user), Value::Null);
    match apply(writer, LockUser { user, tokens_live_for, audit }).await? {
        LockUserOutcome::Locked(user, ended) => Ok((*user, ended)),
        LockUserOutcome::Unknown => Err(AdministrationError::Unknown),
        LockUserOutcome::LastAdmin => Err(AdministrationError::LastAdmin),
    }
}

/// Lets a locked person in again.
///
/// # Errors
/// [`AdministrationError`].
pub async fn unlock(
    writer: &Mailbox<DbWriter>,
    by: By,
    user: UserId,
) -> Result<User, AdministrationError> {
    let audit = by.entry("user.unlocked", about(user), Value::Null);
    let unlocked = apply(writer, UnlockUser { user, audit }).await?;
    unlocked.map(|user| *user).ok_or(AdministrationError::Unknown)
}

/// Ends everything that a person is signed in to, apps included.
///
/// # Errors
/// [`AdministrationError::Write`].
pub async fn revoke_sessions(
    writer: &Mailbox<DbWriter>,
    by: By,
    user: UserId,
    tokens_live_for: Duration,
) -> Result<RevokeOutcome, AdministrationError> {
    let now = by.at;
    let audit = by.entry("user.sessions_revoked", about(user), Value::Null);
    let target = RevokeTarget::User(user);
    let reason = "revoked_by_admin";
    let write = Revoke { target, only_if_reused: None, reason, now, tokens_live_for, audit };
    Ok(apply(writer, write).await?)
}

/// A token may be signed for a moment longer: by a refresh that was committed just before.
const BEING_SIGNED: Duration = Duration::from_secs(60);

/// The step in which the end of a hold is told.
const HOUR: Duration = Duration::from_secs(3_600);

/// Until when tokens can live of a person who is deleted now, those of the command line, too.
/// `tokens_live_for` is how long the others can that were issued until now.
pub fn tokens_live_until(now: Timestamp, tokens_live_for: Duration) -> Timestamp {
    refused_until(now, tokens_live_for, COMMAND_LINE).plus(BEING_SIGNED)
}

/// Until when a name is held that is given up now; `None` if it is not. Rounded up to the hour: to the
/// millisecond it would tell which of the deleted people had the name.
pub fn held_until(now: Timestamp, hold: Duration) -> Option<Timestamp> {
    let hour = i64::try_from(HOUR.as_secs()).ok()?;
    let end = now.plus(hold).plus(HOUR).minus(Duration::from_millis(1)).seconds();
    (!hold.is_zero()).then(|| Timestamp::from_seconds(end.div_euclid(hour) * hour))
}

/// Removes the pictures of a person who was deleted.
///
/// # Errors
/// [`StorageError`]. The account is gone all the same: what is left is no more than a file without an owner.
pub async fn remove_pictures(
    storage: &AvatarStorage,
    avatar: Option<&String>,
) -> Result<(), StorageError> {
    match avatar.and_then(|avatar| AvatarName::parse(avatar)) {
        Some(name) => storage.remove(name).await,
        None => Ok(()),
    }
}

/// What is left to do after a person was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The avatar's name: its objects are to be removed.
    pub avatar: Option<String>,
    /// What refuses the person's tokens.
    pub revocations: Vec<Revocation>,
}

/// Deletes a person, locked or not: only a tombstone stays. See [`DeleteUser`].
///
/// # Errors
/// [`AdministrationError`].
pub async fn delete(
    writer: &Mailbox<DbWriter>,
    by: By,
    user: UserId,
    held_until: Option<Timestamp>,
    tokens_live_until: Timestamp,
) -> Result<Deleted, AdministrationError> {
    let audit = by.entry("user.deleted", about(user), Value::Null);
    let write =
        DeleteUser { user, asked_in: None, by_admin: true, held_until, tokens_live_until, audit };
    match apply(writer, write).await? {
        DeleteUserOutcome::Deleted { avatar, revocations } => Ok(Deleted { avatar, revocations }),
        DeleteUserOutcome::NotAllowed => Err(AdministrationError::Unknown),
        DeleteUserOutcome::LastAdmin => Err(AdministrationError::LastAdmin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_with_a_full_hour_and_never_early() {
        let now = Timestamp::from_millis(3_600_000 * 10 + 1);
        for (hold, hours) in [(1, 11), (3_599, 11), (3_600, 12)] {
            let expected = Timestamp::from_seconds(3_600 * hours);
            assert_eq!(held_until(now, Duration::from_secs(hold)), Some(expected), "{hold}");
        }
        let full = Timestamp::from_seconds(36_000);
        assert_eq!(held_until(full, HOUR), Some(full.plus(HOUR)));
        assert_eq!(held_until(now, Duration::ZERO), None);
    }
}
