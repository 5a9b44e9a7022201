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
use crate::clock::Timestamp;
use crate::protocol::username::comparison_key;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Actor, AuditEntry, Revocation, Role, User, UserId, UserStatus};
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
    let found = match Uuid::parse_str(who) {
        Ok(id) => read.user(UserId(id)).await?,
        Err(_) => read.user_by_name(&comparison_key(who)).await?,
    };
    Ok(found.filter(|user| user.status != UserStatus::Deleted))
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
