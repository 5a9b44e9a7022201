//! People, families and writes for tests.

use std::time::Duration;

use latchkey::clock::Timestamp;
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::random;
use latchkey::store::Store;
use latchkey::store::error::StoreError;
use latchkey::store::model::{
    Actor, AuditEntry, Email, FIRST_PARTY, FamilyId, NewFamily, Role, SessionId, StoredKey, User,
    UserId, UserStatus,
};
use latchkey::store::operation::{
    AdvanceFamily, AppendAudit, CreateUser, CreateUserOutcome, IdentityRefresh, Revoke,
    RevokeTarget, SignIn, Spent, StageKey, Write,
};

/// The time of most tests.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Applies one write.
pub(crate) async fn write<W: Write>(store: &Store, write: W) -> Result<W::Outcome, StoreError> {
    let answers = store.write.apply(vec![write.into_operation()]).await;
    let [answer] = <[_; 1]>::try_from(answers).expect("one answer for one write");
    answer.map(|outcome| W::unwrap_outcome(outcome).expect("an outcome of the same kind"))
}

/// An entry in the audit trail.
pub(crate) fn entry(action: &'static str) -> AuditEntry {
    AuditEntry::new(NOW, Actor::System, action, "test:1".to_owned())
}

/// A ticket that nobody has.
pub(crate) fn ticket() -> Spent {
    Spent { id: random::text::<16>(), until: NOW.plus(Duration::from_secs(600)) }
}

/// A first-party family of `user`.
pub(crate) fn family(user: UserId) -> NewFamily {
    let id = FamilyId::new(NOW);
    NewFamily {
        id,
        user,
        session: SessionId(id.0),
        client_id: FIRST_PARTY.to_owned(),
        scope: "openid profile email".to_owned(),
        auth_time: NOW,
        created_at: NOW,
        provider: "google".to_owned(),
        user_agent: "Firefox on Linux".to_owned(),
        network: "203.0.113.0/24".to_owned(),
    }
}

/// What the provider says about somebody.
pub(crate) fn identity(subject: &str) -> IdentityRefresh {
    let email = Email {
        address: format!("{subject}@example.com"),
        verified: true,
        provider: "google".to_owned(),
    };
    IdentityRefresh {
        provider: "google".to_owned(),
        subject: subject.to_owned(),
        emails: vec![email],
    }
}

/// Creates a person called `name`, with an identity of that subject.
pub(crate) fn create_user(name: &str) -> CreateUser {
    let user = User {
        id: UserId::new(NOW),
        username: name.to_owned(),
        display_name: None,
        avatar: None,
        role: Role::User,
        status: UserStatus::Active,
        created_at: NOW,
    };
    CreateUser {
        username_key: name.to_owned(),
        identity: identity(name),
        family: family(user.id),
        user,
        spends: vec![ticket(), ticket()],
        ends: None,
        audit: vec![entry("user.created"), entry("session.opened")],
    }
}

/// A person in the store, with their first family.
pub(crate) async fn person(store: &Store, name: &str) -> (User, FamilyId) {
    let CreateUserOutcome::Created(live) = write(store, create_user(name)).await.unwrap() else {
        panic!("{name} is not created")
    };
    (live.user, live.family.id)
}

/// Signs the owner of `subject` in.
pub(crate) fn sign_in(user: UserId, subject: &str) -> SignIn {
    SignIn {
        family: family(user),
        spends: ticket(),
        identity: identity(subject),
        ends: None,
        audit: entry("session.opened"),
    }
}

/// Moves a family on a second after it was opened, without any grace.
pub(crate) fn advance(family: FamilyId, presented: u64) -> AdvanceFamily {
    let now = NOW.plus(Duration::from_secs(1 + presented));
    AdvanceFamily {
        family,
        presented,
        now,
        rotated_before: now,
        idle_since: now.minus(Duration::from_secs(3600)),
        created_after: now.minus(Duration::from_secs(7200)),
    }
}

/// Ends a family.
pub(crate) fn revoke(family: FamilyId) -> Revoke {
    Revoke {
        target: RevokeTarget::Family(family),
        only_if_reused: None,
        reason: "logout",
        now: NOW,
        tokens_live_for: Duration::from_secs(900),
        audit: entry("session.ended"),
    }
}

/// Publishes a key where there is none.
pub(crate) fn stage_key(kid: &str) -> StageKey {
    let key = StoredKey {
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        public_jwk: "{}".to_owned(),
        sealed_private: Some("sealed".to_owned()),
        created_at: NOW,
        signs_from: NOW,
        retired_at: None,
        compromised: false,
    };
    StageKey { key, newest: None, audit: entry("key.staged") }
}

/// Writes an entry of its own.
pub(crate) fn append() -> AppendAudit {
    AppendAudit(entry("session.refused"))
}
