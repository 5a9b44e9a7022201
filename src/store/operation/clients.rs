//! Writes about clients, and about what people give them access to.

use std::time::Duration;

use uuid::Uuid;

use super::{Operation, Outcome, RevokeOutcome, Spent, Write};
use crate::clock::Timestamp;
use crate::protocol::client::ClientMetadata;
use crate::store::model::{
    AuditEntry, Client, Delivery, FamilyId, FamilyWithUser, NewFamily, Revocation, RevocationKind,
    SecretHash, UserId,
};

/// Registers a client.
#[derive(Clone, Debug)]
pub struct RegisterClient {
    /// The client; its id is free to choose, within rules that are not the store's.
    pub client: Client,
    /// Written with it.
    pub audit: AuditEntry,
}

/// What became of a [`RegisterClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterClientOutcome {
    /// It is registered.
    Registered,
    /// Another client has the id, or had it, and tokens of that one may still live; or a person has it.
    IdTaken,
}

/// Replaces what is registered about a client.
#[derive(Clone, Debug)]
pub struct UpdateClient {
    /// Which client.
    pub client_id: String,
    /// What is registered from now on.
    pub metadata: ClientMetadata,
    /// The client as the caller knows it was changed then: if it was changed since, nothing is written.
    pub known: Timestamp,
    /// Written with it; its time is that of the change.
    pub audit: AuditEntry,
}

/// What became of an [`UpdateClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateClientOutcome {
    /// It is changed.
    Updated,
    /// It was changed in the meantime; nothing is written.
    Changed,
    /// There is no such client.
    Unknown,
}

/// Gives a client another secret. The one before works until `former_until`.
#[derive(Clone, Debug)]
pub struct RotateClientSecret {
    /// Which client.
    pub client_id: String,
    /// The new one.
    pub secret: SecretHash,
    /// Until when the present one works; not later than now: it stops at once.
    pub former_until: Timestamp,
    /// Written with it; its time is that of the change.
    pub audit: AuditEntry,
}

/// Removes a client with all consents and all that it was to be told. Its grants and tokens are refused
/// from then on.
#[derive(Clone, Debug)]
pub struct RemoveClient {
    /// Which client.
    pub client_id: String,
    /// When its last access token has expired: a revocation is kept so long.
    pub tokens_live_until: Timestamp,
    /// Written with it; its time is that of the removal.
    pub audit: AuditEntry,
}

impl RemoveClient {
    /// What makes the client's tokens refused.
    pub fn revocation(&self) -> Revocation {
        Revocation {
            kind: RevocationKind::Client,
            id: self.client_id.clone(),
            until: self.tokens_live_until,
        }
    }
}

/// Redeems an authorization code: spends it and opens its family, in one transaction. Hot.
///
/// A code that was spent before ends what the first redemption got (RFC 6749 §4.1.2), in the same
/// transaction.
#[derive(Clone, Debug)]
pub struct RedeemCode {
    /// The family to open; its id comes from the code.
    pub family: NewFamily,
    /// The code.
    pub spends: Spent,
    /// Whether the person must have given the client a consent, which must still be there.
    pub needs_consent: bool,
    /// How long access tokens issued until now can live, should this be a replay.
    pub tokens_live_for: Duration,
    /// Written if it opens.
    pub audit: AuditEntry,
    /// Written if it is a replay that ends a grant.
    pub audit_replay: AuditEntry,
}

/// What became of a [`RedeemCode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedeemOutcome {
    /// The family is open.
    Opened(Box<FamilyWithUser>),
    /// The code was spent before; what it gave has ended, with these revocations.
    Replayed(RevokeOutcome),
    /// The person is locked or deleted, their session has ended, or the consent is not there any more. The
    /// code is spent. (Where the commit had to be read back, this is a [`RedeemOutcome::Replayed`] that
    /// ended nothing.)
    NotAllowed,
}

/// Spends a ticket that causes nothing: the assertion of a client, a code that went to the wrong place.
#[derive(Clone, Debug)]
pub struct Spend(pub Spent);

/// Remembers what a person allows a client.
#[derive(Clone, Debug)]
pub struct GiveConsent {
    /// Who; must be active.
    pub user: UserId,
    /// The session that asks; must be live.
    pub asked_in: FamilyId,
    /// Whom; must be registered.
    pub client_id: String,
    /// All scopes that are allowed from now on, separated by spaces: added to those before.
    pub scope: String,
    /// All resources that are allowed from now on, separated by spaces: added to those before.
    pub resource: String,
    /// The page's ticket.
    pub spends: Spent,
    /// Written with it; its time is that of the consent.
    pub audit: AuditEntry,
}

/// What became of a [`GiveConsent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentOutcome {
    /// It is remembered.
    Given,
    /// The ticket was spent before; nothing changed.
    AlreadySpent,
    /// The person is locked or deleted, the session has ended, or the client is gone; nothing changed.
    NotAllowed,
}

/// Takes a client's access to a person's account away: the consent and every grant.
#[derive(Clone, Debug)]
pub struct WithdrawConsent {
    /// Whose account.
    pub user: UserId,
    /// From whom.
    pub client_id: String,
    /// How long access tokens issued until now can live.
    pub tokens_live_for: Duration,
    /// Written if there was anything; its time is that of the change.
    pub audit: AuditEntry,
}

/// Refuses something from now on: a single access token, for instance.
#[derive(Clone, Debug)]
pub struct RecordRevocation {
    /// What is refused.
    pub revocation: Revocation,
    /// Written with it; its time is that of the revocation.
    pub audit: AuditEntry,
}

/// Takes deliveries that are due, so that no other node takes them until `lease`.
#[derive(Clone, Debug)]
pub struct ClaimDeliveries {
    /// Now: what is due by then.
    pub now: Timestamp,
    /// Until when they are ours.
    pub lease: Timestamp,
    /// How many, at most.
    pub limit: u32,
}

/// Says what became of a delivery.
#[derive(Clone, Debug)]
pub struct SettleDelivery {
    /// Which delivery.
    pub id: Uuid,
    /// When to try again, which counts as one more attempt; `None`: it is over, and its row goes.
    pub retry_at: Option<Timestamp>,
    /// Written with it, if there is anything to say.
    pub audit: Option<AuditEntry>,
}

/// Gives back a delivery that was taken and not tried: it is due at once, unless somebody else has it by now.
#[derive(Clone, Copy, Debug)]
pub struct ReturnDelivery {
    /// Which delivery.
    pub id: Uuid,
    /// Until when it was ours.
    pub lease: Timestamp,
    /// Now: from when on it is due.
    pub now: Timestamp,
}

impl Write for RegisterClient {
    type Outcome = RegisterClientOutcome;
    fn into_operation(self) -> Operation {
        Operation::RegisterClient(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<RegisterClientOutcome> {
        if let Outcome::RegisterClient(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for UpdateClient {
    type Outcome = UpdateClientOutcome;
    fn into_operation(self) -> Operation {
        Operation::UpdateClient(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<UpdateClientOutcome> {
        if let Outcome::UpdateClient(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RotateClientSecret {
    type Outcome = bool;
    fn into_operation(self) -> Operation {
        Operation::RotateClientSecret(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<bool> {
        if let Outcome::RotateClientSecret(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RemoveClient {
    type Outcome = Option<Revocation>;
    fn into_operation(self) -> Operation {
        Operation::RemoveClient(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Option<Revocation>> {
        if let Outcome::RemoveClient(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RedeemCode {
    type Outcome = RedeemOutcome;
    fn into_operation(self) -> Operation {
        Operation::RedeemCode(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<RedeemOutcome> {
        if let Outcome::RedeemCode(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for Spend {
    type Outcome = bool;
    fn into_operation(self) -> Operation {
        Operation::Spend(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<bool> {
        if let Outcome::Spend(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for GiveConsent {
    type Outcome = ConsentOutcome;
    fn into_operation(self) -> Operation {
        Operation::GiveConsent(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<ConsentOutcome> {
        if let Outcome::GiveConsent(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for WithdrawConsent {
    type Outcome = Option<RevokeOutcome>;
    fn into_operation(self) -> Operation {
        Operation::WithdrawConsent(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Option<RevokeOutcome>> {
        if let Outcome::WithdrawConsent(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for RecordRevocation {
    type Outcome = Revocation;
    fn into_operation(self) -> Operation {
        Operation::RecordRevocation(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Revocation> {
        if let Outcome::RecordRevocation(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ClaimDeliveries {
    type Outcome = Vec<Delivery>;
    fn into_operation(self) -> Operation {
        Operation::ClaimDeliveries(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<Vec<Delivery>> {
        if let Outcome::ClaimDeliveries(outcome) = outcome { Some(outcome) } else { None }
    }
}

impl Write for ReturnDelivery {
    type Outcome = ();
    fn into_operation(self) -> Operation {
        Operation::ReturnDelivery(self)
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<()> {
        matches!(outcome, Outcome::ReturnDelivery).then_some(())
    }
}

impl Write for SettleDelivery {
    type Outcome = ();
    fn into_operation(self) -> Operation {
        Operation::SettleDelivery(Box::new(self))
    }
    fn unwrap_outcome(outcome: Outcome) -> Option<()> {
        matches!(outcome, Outcome::SettleDelivery).then_some(())
    }
}
