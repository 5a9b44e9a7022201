//! The writes. Each is one struct with one outcome; only `DbWriter` hands them to a store.
//!
//! "Conflicts" that people cause (a taken name, a spent ticket) are outcomes, not errors: the
//! transaction is fine, the answer is no.

mod administration;
mod clients;

use std::time::Duration;

pub use administration::*;
pub use clients::*;

use crate::clock::Timestamp;
use crate::store::model::{
    AuditEntry, Delivery, Email, FamilyId, FamilyWithUser, Identity, NewFamily, Revocation,
    RevocationKind, SessionId, StoredKey, User, UserId,
};

/// A write that `DbWriter` takes, tied to its outcome.
pub trait Write: Send + 'static {
    /// What the caller gets to know.
    type Outcome: Send + 'static;

    /// Wraps the write for the store.
    fn into_operation(self) -> Operation;

    /// Unwraps the outcome; `None` if the store answered with another write's.
    fn unwrap_outcome(outcome: Outcome) -> Option<Self::Outcome>;
}

/// Any write.
#[derive(Clone, Debug)]
pub enum Operation {
    /// See [`AdvanceFamily`].
    AdvanceFamily(AdvanceFamily),
    /// See [`SignIn`].
    SignIn(Box<SignIn>),
    /// See [`CreateUser`].
    CreateUser(Box<CreateUser>),
    /// See [`LinkIdentity`].
    LinkIdentity(Box<LinkIdentity>),
    /// See [`UnlinkIdentities`].
    UnlinkIdentities(Box<UnlinkIdentities>),
    /// See [`Revoke`].
    Revoke(Box<Revoke>),
    /// See [`StageKey`].
    StageKey(Box<StageKey>),
    /// See [`ActivateKey`].
    ActivateKey(Box<ActivateKey>),
    /// See [`RetireKey`].
    RetireKey(Box<RetireKey>),
    /// See [`ResealKeys`].
    ResealKeys(ResealKeys),
    /// See [`AppendAudit`].
    AppendAudit(Box<AppendAudit>),
    /// See [`FillAvatar`].
    FillAvatar(Box<FillAvatar>),
    /// See [`SetDisplayName`].
    SetDisplayName(Box<SetDisplayName>),
    /// See [`ChangeUsername`].
    ChangeUsername(Box<ChangeUsername>),
    /// See [`DeleteUser`].
    DeleteUser(Box<DeleteUser>),
    /// See [`SetAvatar`].
    SetAvatar(Box<SetAvatar>),
    /// See [`RegisterClient`].
    RegisterClient(Box<RegisterClient>),
    /// See [`UpdateClient`].
    UpdateClient(Box<UpdateClient>),
    /// See [`RotateClientSecret`].
    RotateClientSecret(Box<RotateClientSecret>),
    /// See [`RemoveClient`].
    RemoveClient(Box<RemoveClient>),
    /// See [`RedeemCode`].
    RedeemCode(Box<RedeemCode>),
    /// See [`Spend`].
    Spend(Spend),
    /// See [`GiveConsent`].
    GiveConsent(Box<GiveConsent>),
    /// See [`WithdrawConsent`].
    WithdrawConsent(Box<WithdrawConsent>),
    /// See [`RecordRevocation`].
    RecordRevocation(Box<RecordRevocation>),
    /// See [`ClaimDeliveries`].
    ClaimDeliveries(ClaimDeliveries),
    /// See [`SettleDelivery`].
    SettleDelivery(Box<SettleDelivery>),
    /// See [`ReturnDelivery`].
    ReturnDelivery(ReturnDelivery),
    /// See [`SetRole`].
    SetRole(Box<SetRole>),
    /// See [`LockUser`].
    LockUser(Box<LockUser>),
    /// See [`UnlockUser`].
    UnlockUser(Box<UnlockUser>),
    /// See [`OpenSession`].
    OpenSession(Box<OpenSession>),
    /// See [`EndSessionsBefore`].
    EndSessionsBefore(Box<EndSessionsBefore>),
    /// See [`AppendCheckpoint`].
    AppendCheckpoint(Box<AppendCheckpoint>),
    /// See [`ClaimRequest`].
    ClaimRequest(ClaimRequest),
    /// See [`SettleRequest`].
    SettleRequest(SettleRequest),
    /// See [`RemoveExpired`].
    RemoveExpired(RemoveExpired),
}

impl Operation {
    /// Whether it can lose against another writer and so runs in a transaction of its own.
    pub fn runs_alone(&self) -> bool {
        matches!(
            self,
            Self::CreateUser(_)
                | Self::LinkIdentity(_)
                | Self::UnlinkIdentities(_)
                | Self::SetDisplayName(_)
                | Self::ChangeUsername(_)
                | Self::DeleteUser(_)
                | Self::SetAvatar(_)
                | Self::StageKey(_)
                | Self::ActivateKey(_)
                | Self::RetireKey(_)
                | Self::ResealKeys(_)
                | Self::RegisterClient(_)
                | Self::UpdateClient(_)
                | Self::RotateClientSecret(_)
                | Self::RemoveClient(_)
                | Self::GiveConsent(_)
                | Self::WithdrawConsent(_)
                | Self::SetRole(_)
                | Self::LockUser(_)
                | Self::UnlockUser(_)
                | Self::OpenSession(_)
                | Self::EndSessionsBefore(_)
                | Self::AppendCheckpoint(_)
                | Self::ClaimRequest(_)
        )
    }
}

/// The outcome of any write, in the order of [`Operation`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of [`AdvanceFamily`].
    AdvanceFamily(AdvanceOutcome),
    /// Of [`SignIn`].
    SignIn(SignInOutcome),
    /// Of [`CreateUser`].
    CreateUser(CreateUserOutcome),
    /// Of [`LinkIdentity`].
    LinkIdentity(LinkOutcome),
    /// Of [`UnlinkIdentities`].
    UnlinkIdentities(UnlinkOutcome),
    /// Of [`Revoke`].
    Revoke(RevokeOutcome),
    /// Of [`StageKey`].
    StageKey(StageKeyOutcome),
    /// Of [`ActivateKey`]: whether the key was staged and now signs.
    ActivateKey(bool),
    /// Of [`RetireKey`].
    RetireKey(RetireKeyOutcome),
    /// Of [`ResealKeys`]: how many were resealed.
    ResealKeys(u64),
    /// Of [`AppendAudit`].
    AppendAudit,
    /// Of [`FillAvatar`]: whether the person has the avatar now by this write.
    FillAvatar(bool),
    /// Of [`SetDisplayName`]: the person as they are now, unless they are locked or deleted.
    SetDisplayName(Option<Box<User>>),
    /// Of [`ChangeUsername`].
    ChangeUsername(ChangeUsernameOutcome),
    /// Of [`DeleteUser`].
    DeleteUser(DeleteUserOutcome),
    /// Of [`SetAvatar`].
    SetAvatar(SetAvatarOutcome),
    /// Of [`RegisterClient`].
    RegisterClient(RegisterClientOutcome),
    /// Of [`UpdateClient`].
    UpdateClient(UpdateClientOutcome),
    /// Of [`RotateClientSecret`]: whether there is such a client.
    RotateClientSecret(bool),
    /// Of [`RemoveClient`]: what was stored, if there was such a client.
    RemoveClient(Option<Revocation>),
    /// Of [`RedeemCode`].
    RedeemCode(RedeemOutcome),
    /// Of [`Spend`]: whether it had not been spent before.
    Spend(bool),
    /// Of [`GiveConsent`].
    GiveConsent(ConsentOutcome),
    /// Of [`WithdrawConsent`]: what ended, if the client had any access.
    WithdrawConsent(Option<RevokeOutcome>),
    /// Of [`RecordRevocation`]: the revocation as it stands.
    RecordRevocation(Revocation),
    /// Of [`ClaimDeliveries`]: those that are ours now.
    ClaimDeliveries(Vec<Delivery>),
    /// Of [`SettleDelivery`].
    SettleDelivery,
    /// Of [`ReturnDelivery`].
    ReturnDelivery,
    /// Of [`SetRole`].
    SetRole(SetRoleOutcome),
    /// Of [`LockUser`].
    LockUser(LockUserOutcome),
    /// Of [`UnlockUser`].
    UnlockUser(Option<Box<User>>),
    /// Of [`OpenSession`].
    OpenSession(Option<Box<FamilyWithUser>>),
    /// Of [`EndSessionsBefore`].
    EndSessionsBefore(EndedSessions),
    /// Of [`AppendCheckpoint`].
    AppendCheckpoint(bool),
    /// Of [`ClaimRequest`].
    ClaimRequest(ClaimOutcome),
    /// Of [`SettleRequest`].
    SettleRequest,
    /// Of [`RemoveExpired`].
    RemoveExpired(Removed),
}

/// Moves a family on to the generation after the one presented, if it may move.
///
/// It moves when the person is active, the family is not revoked and not expired
/// (`rotated_at > idle_since`, `created_at > created_after`), and either the row is at `presented`
/// and `rotated_at <= rotated_before` (the grace is over), or the row is below `presented` (a
/// failover lost commits: the MAC proves that we had advanced). Then `generation = presented + 1`
/// and `rotated_at = now`. Conditional, so of two nodes racing exactly one moves it.
///
/// The hot write: a batch of them is one statement on PostgreSQL. A batch holds a family once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvanceFamily {
    /// Which family.
    pub family: FamilyId,
    /// The generation that the client presented.
    pub presented: u64,
    /// Now.
    pub now: Timestamp,
    /// `now` less the grace of the family's kind.
    pub rotated_before: Timestamp,
    /// `now` less `refresh_ttl`.
    pub idle_since: Timestamp,
    /// `now` less `session_max_age`.
    pub created_after: Timestamp,
}

/// What became of an [`AdvanceFamily`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdvanceOutcome {
    /// The family moved: it is shown as it is now.
    Moved {
        /// With the new generation.
        live: Box<FamilyWithUser>,
        /// The generation that the row had before: below `presented` if commits had been lost.
        before: u64,
    },
    /// It did not move; read the family to learn why.
    Unmoved,
}

/// Opens a session for a person whose identity is known. One transaction: the ticket is spent, the
/// identity's addresses are refreshed, an earlier session ends, the family opens, all is audited.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The family to open at generation 0. If a first-party family of the same id exists, belongs
    /// to the same person and is live, it is kept (the `sid` stays): its `auth_time` and
    /// `provider` are set, its generation moves on by one, `rotated_at` is `created_at` of this.
    pub family: NewFamily,
    /// The sealed ticket (login state) that this spends.
    pub spends: Spent,
    /// The identity that signed in; its addresses replace those stored for it.
    pub identity: IdentityRefresh,
    /// A session of another person in the same browser, which ends.
    pub ends: Option<Revoke>,
    /// Written with it.
    pub audit: AuditEntry,
}

/// The id of a sealed ticket, which can be spent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The ticket's random id, as text of at most 64 characters.
    pub id: String,
    /// The ticket's sealed expiry and leeway: the row lives until then.
    pub until: Timestamp,
}

/// What a provider said this time about an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRefresh {
    /// Name of the provider in the configuration.
    pub provider: String,
    /// The provider's stable id of the person.
    pub subject: String,
    /// All addresses that it told.
    pub emails: Vec<Email>,
}

/// What became of a [`SignIn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// The session is open.
    Opened(Box<FamilyWithUser>),
    /// The ticket was spent before; nothing changed.
    AlreadySpent,
    /// The person is locked or deleted, or the identity is not theirs any more; nothing changed.
    NotAllowed,
}

/// Creates a person with their first identity and session, all or nothing.
#[derive(Clone, Debug)]
pub struct CreateUser {
    /// The person; status active.
    pub user: User,
    /// The name's comparison key: NFKC and case folding, made by the application.
    pub username_key: String,
    /// The identity and its addresses.
    pub identity: IdentityRefresh,
    /// The session to open.
    pub family: NewFamily,
    /// The tickets that this spends: the setup ticket and the login state behind it.
    pub spends: Vec<Spent>,
    /// A session of another person in the same browser, which ends.
    pub ends: Option<Revoke>,
    /// Written with it.
    pub audit: Vec<AuditEntry>,
}

/// What became of a [`CreateUser`]. Tested in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateUserOutcome {
    /// The person exists and is signed in.
    Created(Box<FamilyWithUser>),
    /// One of the tickets was spent before.
    AlreadySpent,
    /// The identity belongs to an account already.
    IdentityTaken,
    /// Another account has the name, or it is held.
    UsernameTaken,
}

/// Gives a person one more identity, all or nothing.
#[derive(Clone, Debug)]
pub struct LinkIdentity {
    /// Who gets it; must be active.
    pub user: UserId,
    /// The identity and its addresses.
    pub identity: IdentityRefresh,
    /// Becomes the person's display name, if they have none.
    pub display_name: Option<String>,
    /// The person's session that asks; must be live. `None` where a recovery link asks.
    pub asked_in: Option<FamilyId>,
    /// The tickets that this spends.
    pub spends: Vec<Spent>,
    /// A session to open with it.
    pub opens: Option<NewFamily>,
    /// A session of another person in the same browser, which ends.
    pub ends: Option<Revoke>,
    /// Now.
    pub now: Timestamp,
    /// Written with it; at least one.
    pub audit: Vec<AuditEntry>,
}

/// What became of a [`LinkIdentity`]. Tested in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    /// The identity is the person's; the session that was opened with it.
    Linked(Option<Box<FamilyWithUser>>),
    /// The person is locked or deleted, or the session that asks has ended; nothing changed.
    NotAllowed,
    /// The identity was the person's before; nothing changed.
    AlreadyLinked,
    /// The identity is somebody else's; nothing changed.
    IdentityTaken,
    /// One of the tickets was spent before; nothing changed.
    AlreadySpent,
}

/// Takes identities from a person, but never the last one.
#[derive(Clone, Debug)]
pub struct UnlinkIdentities {
    /// Whose they are; must be active.
    pub user: UserId,
    /// Of which provider.
    pub provider: String,
    /// Only this one of that provider.
    pub subject: Option<String>,
    /// The providers that people can sign in with at present: of these one must be left.
    pub usable: Vec<String>,
    /// Written if any was taken.
    pub audit: AuditEntry,
}

impl UnlinkIdentities {
    /// What becomes of it for an active person who holds these identities.
    pub fn judge(&self, held: &[Identity]) -> UnlinkOutcome {
        let is_meant = |identity: &&Identity| {
            identity.provider == self.provider
                && self.subject.as_ref().is_none_or(|subject| *subject == identity.subject)
        };
        let (meant, left): (Vec<_>, Vec<_>) = held.iter().partition(is_meant);
        let is_usable = |identity: &&Identity| self.usable.contains(&identity.provider);
        let takes_nothing_usable = !meant.iter().any(is_usable);
        match (meant.is_empty(), left.is_empty()) {
            (true, _) => UnlinkOutcome::NotLinked,
            (_, true) => UnlinkOutcome::Last,
            _ if takes_nothing_usable || left.iter().any(is_usable) => UnlinkOutcome::Unlinked,
            _ => UnlinkOutcome::Last,
        }
    }
}

/// What became of an [`UnlinkIdentities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlinkOutcome {
    /// They are gone.
    Unlinked,
    /// The person has none such.
    NotLinked,
    /// The person has no other: nothing changed.
    Last,
    /// The person is locked or deleted; nothing changed.
    NotAllowed,
}

/// What a [`Revoke`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeTarget {
    /// One family.
    Family(FamilyId),
    /// A session: its first-party family and its client families without `offline_access`.
    Session(SessionId),
    /// Everything of a person: all families.
    User(UserId),
    /// All sessions of a person but this one, each as if it were signed out.
    OtherSessions(UserId, SessionId),
}

/// Ends families. In one transaction with the revocation of their access tokens, the audit entry, and, where
/// a session ends, a [`Delivery`] for each client with a grant in it that wants to be told.
#[derive(Clone, Debug)]
pub struct Revoke {
    /// What ends.
    pub target: RevokeTarget,
    /// Only if this family is still live and its generation is above the one presented: reuse,
    /// judged again in the transaction.
    pub only_if_reused: Option<(FamilyId, u64)>,
    /// Kept with each family: `logout`, `logout_all`, `reuse`, `replaced`, …
    pub reason: &'static str,
    /// Now.
    pub now: Timestamp,
    /// How long access tokens issued until now can live: a [`Revocation`] is
    /// kept so long for each family and session that ends (kind `session` for first-party families,
    /// kind `family` for client families; for a session target always `session`, even if nothing is
    /// live any more).
    pub tokens_live_for: Duration,
    /// Written if anything ended.
    pub audit: AuditEntry,
}

/// What became of a [`Revoke`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokeOutcome {
    /// The families that ended with it.
    pub families: Vec<FamilyId>,
    /// The revocations that were stored.
    pub revocations: Vec<Revocation>,
}

/// Publishes a new signing key, unless somebody else did in the meantime.
#[derive(Clone, Debug)]
pub struct StageKey {
    /// The new key.
    pub key: StoredKey,
    /// The key of the algorithm with the latest `signs_from` that is neither retired by hand nor
    /// compromised, as the caller knows it; `None` if there is none. If the store has another, nothing is written.
    pub newest: Option<String>,
    /// Written with it.
    pub audit: AuditEntry,
}

/// What became of a [`StageKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageKeyOutcome {
    /// The key is in the store.
    Staged,
    /// Another node was first: this key is the newest.
    OtherIsNewer(String),
}

/// Lets a staged key sign from now on. Conditional on `signs_from > at`.
#[derive(Clone, Debug)]
pub struct ActivateKey {
    /// Which key.
    pub kid: String,
    /// Now.
    pub at: Timestamp,
    /// Written if it changed anything.
    pub audit: AuditEntry,
}

/// Retires a key by hand.
#[derive(Clone, Debug)]
pub struct RetireKey {
    /// Which key.
    pub kid: String,
    /// Now.
    pub at: Timestamp,
    /// Whether it is dropped from the JWKS at once and its tokens die: then a revocation of kind
    /// `kid` is stored, too, until `tokens_live_until`.
    pub compromised: bool,
    /// When the last token that it signed has expired.
    pub tokens_live_until: Timestamp,
    /// Written if it changed anything.
    pub audit: AuditEntry,
}

/// What became of a [`RetireKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireKeyOutcome {
    /// It is retired now (or, already retired, is now marked as compromised).
    Retired,
    /// It was already so.
    AlreadyRetired,
    /// There is no such key.
    Unknown,
}

/// Replaces the sealed private halves, after a change of the server secret.
#[derive(Clone, Debug)]
pub struct ResealKeys {
    /// Key id and newly sealed private half.
    pub sealed: Vec<(String, String)>,
    /// Written with it.
    pub audit: AuditEntry,
}

/// Writes an audit entry that goes with no other change (a refused sign-in, for instance).
#[derive(Clone, Debug)]
pub struct AppendAudit(pub AuditEntry);

/// Gives a person an avatar, if they are active and have none.
#[derive(Clone, Debug)]
pub struct FillAvatar {
    /// Whose.
    pub user: UserId,
    /// The avatar's name; its objects are stored already.
    pub avatar: String,
    /// Written if it changed anything; its time is that of the change.
    pub audit: AuditEntry,
}

/// Sets or clears what pages show of an active person. The same again writes nothing.
#[derive(Clone, Debug)]
pub struct SetDisplayName {
    /// Whose.
    pub user: UserId,
    /// The new one; `None` is none.
    pub display_name: Option<String>,
    /// Written if it changed anything; its time is that of the change.
    pub audit: AuditEntry,
}

/// Gives a person another username, all or nothing.
#[derive(Clone, Debug)]
pub struct ChangeUsername {
    /// Who; must be active.
    pub user: UserId,
    /// The name as the person writes it.
    pub username: String,
    /// The name's comparison key.
    pub username_key: String,
    /// Time between two changes; the first is free.
    pub cooldown: Duration,
    /// How long the former name is held for the person, against others.
    pub hold: Duration,
    /// Written if it changed anything, with both names; its time is that of the change.
    pub audit: AuditEntry,
}

impl ChangeUsername {
    /// What stands in the way of an active person who changed their name last at `last`.
    pub fn judge(&self, person: &User, last: Option<Timestamp>) -> Option<ChangeUsernameOutcome> {
        if person.username == self.username {
            return Some(ChangeUsernameOutcome::Unchanged(Box::new(person.clone())));
        }
        let retry_at = last?.plus(self.cooldown);
        (self.audit.at < retry_at).then_some(ChangeUsernameOutcome::TooSoon(retry_at))
    }

    /// The audit entry with the name that the person had.
    pub fn entry(&self, former: &str) -> AuditEntry {
        let names = serde_json::json!({ "from": former, "to": self.username });
        AuditEntry { details: serde_json::json!({ "personal": names }), ..self.audit.clone() }
    }
}

/// What became of a [`ChangeUsername`]. Tested in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeUsernameOutcome {
    /// The person has the new name.
    Changed(Box<User>),
    /// The person is locked or deleted; nothing changed.
    NotAllowed,
    /// The person had this name before, letter by letter; nothing changed.
    Unchanged(Box<User>),
    /// The last change is too recent; from this moment on it is not.
    TooSoon(Timestamp),
    /// Another account has the name, or it is held for or against somebody else; nothing changed.
    UsernameTaken,
}

/// Turns a person into a tombstone. One transaction: identities, addresses, sessions, consents and former
/// names go, clients that want to be told of the end of a session are, the person's row keeps nothing but its id and times, and the personal part of every audit entry
/// on what they did or was done to them is emptied.
#[derive(Clone, Debug)]
pub struct DeleteUser {
    /// Who; must be active, or locked where `by_admin`.
    pub user: UserId,
    /// The person's session that asks; must be live.
    pub asked_in: Option<FamilyId>,
    /// Whether somebody else asks, who may delete locked people, too.
    pub by_admin: bool,
    /// Until when nobody may take the name. It is held without a word on whose it was, and so are from
    /// now on the names that were held for the person. `None` frees it at once.
    pub held_until: Option<Timestamp>,
    /// When the last access token that names the person has expired: a revocation is kept so long.
    pub tokens_live_until: Timestamp,
    /// Written with it, without personal values; its time is that of the deletion.
    pub audit: AuditEntry,
}

/// What became of a [`DeleteUser`]. Tested in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteUserOutcome {
    /// The person is gone.
    Deleted {
        /// The avatar's name: its objects are to be removed. `None` also where that is not known, since
        /// the commit had to be read back.
        avatar: Option<String>,
        /// What was stored, so that the person's tokens are refused.
        revocations: Vec<Revocation>,
    },
    /// The person is locked or deleted, or the session that asks has ended; nothing changed.
    NotAllowed,
    /// The person is the last active admin; nothing changed.
    LastAdmin,
}

impl DeleteUser {
    /// What makes the person's tokens refused.
    pub fn revocation(&self) -> Revocation {
        Revocation {
            kind: RevocationKind::User,
            id: self.user.to_string(),
            until: self.tokens_live_until,
        }
    }
}

/// What a tombstone is called. Tombstones are no names: many have the same.
pub const TOMBSTONE: &str = "deleted";

/// Gives an active person another avatar, or none.
#[derive(Clone, Debug)]
pub struct SetAvatar {
    /// Whose.
    pub user: UserId,
    /// The avatar's name, whose objects are stored already; `None` takes the avatar away.
    pub avatar: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// Written if it changed anything.
    pub audit: AuditEntry,
}

/// What became of a [`SetAvatar`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAvatarOutcome {
    /// The person has it, or had it before.
    Set {
        /// The avatar before this write, as far as that is known: not where the commit had to be read
        /// back. Its objects are swept then.
        former: Option<String>,
    },
    /// The person is locked or deleted; nothing changed.
    NotAllowed,
}

/// Removes rows that nobody can need any more, a bounded number at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveExpired {
    /// Now: tickets, revocations and answered requests with `until <= now` go, and held names with
    /// `held_until <= now`.
    pub now: Timestamp,
    /// Families last rotated at or before this go.
    pub idle_since: Timestamp,
    /// Families opened at or before this go.
    pub created_before: Timestamp,
    /// Families revoked at or before this go.
    pub revoked_before: Timestamp,
    /// Chains of the audit trail go whose last entry is of this time or before, from their ends on; `None`
    /// removes none. A stored checkpoint says that they may be missing.
    pub audited_before: Option<Timestamp>,
    /// Keys whose private half is wiped (their public half stays).
    pub wipe_keys: Vec<String>,
    /// Where the walk over families goes on: ids above this.
    pub families_after: Option<FamilyId>,
    /// How many rows of each table are looked at, at most.
    pub limit: u32,
}

/// What [`RemoveExpired`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Families removed.
    pub families: u64,
    /// Tickets removed.
    pub spent: u64,
    /// Revocations removed.
    pub revocations: u64,
    /// Answered requests removed.
    pub requests: u64,
    /// Audit entries removed.
    pub audit: u64,
    /// Names that are held no longer.
    pub held_usernames: u64,
    /// Last family id looked at; `None` when the walk reached the end.
    pub families_after: Option<FamilyId>,
}

impl Removed {
    /// How much it was in all.
    pub fn rows(&self) -> u64 {
        let Self {
            families,
            spent,
            revocations,
            requests,
            audit,
            held_usernames,
            families_after: _,
        } = self;
        families + spent + revocations + requests + audit + held_usernames
    }
}

impl Write for AdvanceFamily {
    type Outcome = AdvanceOutcome;
    fn into_operation(self) -> Operation {
        Operation::AdvanceFamily(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<AdvanceOutcome> {
        if let Outcome::AdvanceFamily(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for SignIn {
    type Outcome = SignInOutcome;
    fn into_operation(self) -> Operation {
        Operation::SignIn(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<SignInOutcome> {
        if let Outcome::SignIn(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for CreateUser {
    type Outcome = CreateUserOutcome;
    fn into_operation(self) -> Operation {
        Operation::CreateUser(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<CreateUserOutcome> {
        if let Outcome::CreateUser(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for LinkIdentity {
    type Outcome = LinkOutcome;
    fn into_operation(self) -> Operation {
        Operation::LinkIdentity(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<LinkOutcome> {
        if let Outcome::LinkIdentity(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for UnlinkIdentities {
    type Outcome = UnlinkOutcome;
    fn into_operation(self) -> Operation {
        Operation::UnlinkIdentities(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<UnlinkOutcome> {
        if let Outcome::UnlinkIdentities(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for Revoke {
    type Outcome = RevokeOutcome;
    fn into_operation(self) -> Operation {
        Operation::Revoke(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<RevokeOutcome> {
        if let Outcome::Revoke(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for StageKey {
    type Outcome = StageKeyOutcome;
    fn into_operation(self) -> Operation {
        Operation::StageKey(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<StageKeyOutcome> {
        if let Outcome::StageKey(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ActivateKey {
    type Outcome = bool;
    fn into_operation(self) -> Operation {
        Operation::ActivateKey(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<bool> {
        if let Outcome::ActivateKey(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RetireKey {
    type Outcome = RetireKeyOutcome;
    fn into_operation(self) -> Operation {
        Operation::RetireKey(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<RetireKeyOutcome> {
        if let Outcome::RetireKey(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ResealKeys {
    type Outcome = u64;
    fn into_operation(self) -> Operation {
        Operation::ResealKeys(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<u64> {
        if let Outcome::ResealKeys(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for AppendAudit {
    type Outcome = ();
    fn into_operation(self) -> Operation {
        Operation::AppendAudit(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<()> {
        matches!(outcome, Outcome::AppendAudit).then_some(())
    }
}

impl Write for FillAvatar {
    type Outcome = bool;
    fn into_operation(self) -> Operation {
        Operation::FillAvatar(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<bool> {
        if let Outcome::FillAvatar(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for SetDisplayName {
    type Outcome = Option<Box<User>>;
    fn into_operation(self) -> Operation {
        Operation::SetDisplayName(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Option<Box<User>>> {
        if let Outcome::SetDisplayName(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ChangeUsername {
    type Outcome = ChangeUsernameOutcome;
    fn into_operation(self) -> Operation {
        Operation::ChangeUsername(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<ChangeUsernameOutcome> {
        if let Outcome::ChangeUsername(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for DeleteUser {
    type Outcome = DeleteUserOutcome;
    fn into_operation(self) -> Operation {
        Operation::DeleteUser(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<DeleteUserOutcome> {
        if let Outcome::DeleteUser(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for SetAvatar {
    type Outcome = SetAvatarOutcome;
    fn into_operation(self) -> Operation {
        Operation::SetAvatar(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<SetAvatarOutcome> {
        if let Outcome::SetAvatar(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RemoveExpired {
    type Outcome = Removed;
    fn into_operation(self) -> Operation {
        Operation::RemoveExpired(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Removed> {
        if let Outcome::RemoveExpired(outcome) = outcome { Some(outcome) } else { None }
    }
}
