//! Writes of administrators and operators, and those that keep the audit trail whole.

use std::time::Duration;

use super::{Operation, Outcome, RevokeOutcome, Write};
use crate::clock::Timestamp;
use crate::store::model::{AuditEntry, FamilyId, FamilyWithUser, NewFamily, Role, User, UserId};

/// Gives a person another role. Runs alone. Of admins who are taken the role at once the last one keeps it.
#[derive(Clone, Debug)]
pub struct SetRole {
    /// Whose; locked or not, but no tombstone.
    pub user: UserId,
    /// The new one.
    pub role: Role,
    /// Only if there is no active admin: how the first one is made.
    pub only_first: bool,
    /// Written if it changed anything; its time is that of the change.
    pub audit: AuditEntry,
}

/// What became of a [`SetRole`]. Tested in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetRoleOutcome {
    /// The person has the role, since now or since before.
    Set(Box<User>),
    /// There is no such person.
    Unknown,
    /// There is an admin already; nothing changed.
    NotFirst,
    /// The person is the last active admin; nothing changed.
    LastAdmin,
}

/// Keeps a person out until they are unlocked. Runs alone; one transaction with the end of all their
/// families, as [`super::Revoke`] of [`super::RevokeTarget::User`] ends them. Nothing is deleted.
#[derive(Clone, Debug)]
pub struct LockUser {
    /// Whom.
    pub user: UserId,
    /// How long access tokens issued until now can live.
    pub tokens_live_for: Duration,
    /// Written if it changed anything; its time is that of the lock.
    pub audit: AuditEntry,
}

/// What became of a [`LockUser`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockUserOutcome {
    /// The person is locked, since now or since before; what ended with it.
    Locked(Box<User>, RevokeOutcome),
    /// There is no such person.
    Unknown,
    /// The person is the last active admin; nothing changed.
    LastAdmin,
}

/// Lets a locked person in again. Runs alone.
#[derive(Clone, Debug)]
pub struct UnlockUser {
    /// Whom.
    pub user: UserId,
    /// Written if it changed anything; its time is that of the change.
    pub audit: AuditEntry,
}

/// Opens a session whose refresh token nobody gets: it lives as long as one access token.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The first-party family to open, for an active person.
    pub family: NewFamily,
    /// When it counts as last used: so chosen that it is over with its access token.
    pub last_used: Timestamp,
    /// Written with it.
    pub audit: AuditEntry,
}

/// Ends all families that were opened before a moment, a bounded number at a time, in one transaction with
/// the revocation of their access tokens and one audit entry.
#[derive(Clone, Debug)]
pub struct EndSessionsBefore {
    /// Families opened before this end.
    pub before: Timestamp,
    /// Where the walk goes on: ids above this.
    pub after: Option<FamilyId>,
    /// How many families are looked at, at most.
    pub limit: u32,
    /// How long access tokens issued until now can live.
    pub tokens_live_for: Duration,
    /// Written if any ended, with their number as `families` in its details; its time is that of the end.
    pub audit: AuditEntry,
}

impl EndSessionsBefore {
    /// The audit entry for so many families.
    pub fn entry(&self, families: usize) -> AuditEntry {
        let mut entry = self.audit.clone();
        if let Some(details) = entry.details.as_object_mut() {
            details.insert("families".to_owned(), families.into());
        }
        entry
    }
}

/// What an [`EndSessionsBefore`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedSessions {
    /// What ended.
    pub ended: RevokeOutcome,
    /// Last family id looked at; `None` when the walk reached the end.
    pub after: Option<FamilyId>,
}

/// Writes a signed statement about the trail, unless another node wrote one of this number.
#[derive(Clone, Debug)]
pub struct AppendCheckpoint {
    /// One more than that of the last.
    pub number: u64,
    /// Which entries it says may be missing, since they were kept long enough.
    pub removed_before: Option<Timestamp>,
    /// The entry that holds the statement.
    pub audit: AuditEntry,
}

/// Claims a request that must not be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Of who asks, what for, and the key that they gave it.
    pub id: [u8; 32],
    /// Of what is asked exactly.
    pub fingerprint: [u8; 32],
    /// Now.
    pub now: Timestamp,
    /// From then on it may be claimed again, if it is not answered.
    pub until: Timestamp,
}

/// What became of a [`ClaimRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is the caller's to do.
    Claimed,
    /// It was done before: this was the answer, sealed.
    Answered(String),
    /// Somebody does it just now.
    UnderWay,
    /// The same key was given to something else.
    Different,
}

/// Keeps the answer to a claimed request, or gives the claim back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleRequest {
    /// As it was claimed.
    pub id: [u8; 32],
    /// The sealed answer and until when it is kept; `None` where nothing was done.
    pub answer: Option<(String, Timestamp)>,
}

impl Write for SetRole {
    type Outcome = SetRoleOutcome;
    fn into_operation(self) -> Operation {
        Operation::SetRole(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<SetRoleOutcome> {
        if let Outcome::SetRole(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for LockUser {
    type Outcome = LockUserOutcome;
    fn into_operation(self) -> Operation {
        Operation::LockUser(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<LockUserOutcome> {
        if let Outcome::LockUser(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for UnlockUser {
    /// The person, who can sign in; `None` if there is no such person.
    type Outcome = Option<Box<User>>;
    fn into_operation(self) -> Operation {
        Operation::UnlockUser(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Option<Box<User>>> {
        if let Outcome::UnlockUser(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for OpenSession {
    /// The session; `None` if the person is locked or deleted.
    type Outcome = Option<Box<FamilyWithUser>>;
    fn into_operation(self) -> Operation {
        Operation::OpenSession(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Option<Box<FamilyWithUser>>> {
        if let Outcome::OpenSession(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for EndSessionsBefore {
    type Outcome = EndedSessions;
    fn into_operation(self) -> Operation {
        Operation::EndSessionsBefore(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<EndedSessions> {
        if let Outcome::EndSessionsBefore(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for AppendCheckpoint {
    /// Whether it was written.
    type Outcome = bool;
    fn into_operation(self) -> Operation {
        Operation::AppendCheckpoint(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<bool> {
        if let Outcome::AppendCheckpoint(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ClaimRequest {
    type Outcome = ClaimOutcome;
    fn into_operation(self) -> Operation {
        Operation::ClaimRequest(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<ClaimOutcome> {
        if let Outcome::ClaimRequest(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for SettleRequest {
    type Outcome = ();
    fn into_operation(self) -> Operation {
        Operation::SettleRequest(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<()> {
        matches!(outcome, Outcome::SettleRequest).then_some(())
    }
}
