//! People, sessions and keys to put into a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use latchkey::clock::{Clock, Timestamp};
use latchkey::protocol::client::ClientMetadata;
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::random;
use latchkey::store::error::StoreError;
use latchkey::store::model::{
    Actor, AuditEntry, AuditPage, Client, Email, FIRST_PARTY, FamilyId, FamilyWithUser, NewFamily,
    Role, SecretHash, SessionId, StoredKey, User, UserId, UserStatus,
};
use latchkey::store::operation::{
    AdvanceFamily, CreateUser, CreateUserOutcome, GiveConsent, IdentityRefresh, Operation, Outcome,
    RedeemCode, RedeemOutcome, RegisterClient, RegisterClientOutcome, RemoveClient, Revoke,
    RevokeTarget, SignIn, SignInOutcome, Spent, Write,
};
use latchkey::store::trail::Trail;
use latchkey::store::{self, Store};

use super::Database;

/// How long access tokens live in these tests.
pub const TOKENS_LIVE_FOR: Duration = Duration::from_secs(930);

/// `seconds` after the moment at which everything here begins.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

/// Opens the same database once more, as another process would.
pub async fn open_again(database: &impl Database) -> Store {
    store::open(database.settings(), &Clock::system()).await.unwrap()
}

/// Applies a batch as a process does that has written nothing yet: its entries begin another chain.
pub async fn apply_batch(store: &Store, batch: Vec<Operation>) -> Vec<Result<Outcome, StoreError>> {
    store.write.apply(batch, &mut Trail::default()).await
}

/// Applies one write.
pub async fn try_apply<W: Write>(store: &Store, write: W) -> Result<W::Outcome, StoreError> {
    let mut answers = apply_batch(store, vec![write.into_operation()]).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0).map(|outcome| W::unwrap_outcome(outcome).expect("the outcome is the write's"))
}

/// Applies one write that does not fail.
pub async fn apply<W: Write>(store: &Store, write: W) -> W::Outcome {
    try_apply(store, write).await.unwrap()
}

/// The tables that a write can leave something in.
pub const TABLES: [&str; 16] = [
    "users",
    "former_usernames",
    "held_usernames",
    "identities",
    "emails",
    "token_families",
    "spent",
    "revocations",
    "signing_keys",
    "audit_events",
    "audit_details",
    "audit_checkpoints",
    "idempotent_requests",
    "clients",
    "consents",
    "deliveries",
];

/// How many rows each table has.
pub async fn rows(database: &impl Database) -> Vec<(&'static str, i64)> {
    let mut rows = Vec::new();
    for table in TABLES {
        rows.push((table, database.number(&format!("SELECT count(*) FROM {table}")).await));
    }
    rows
}

/// How many audit entries of an action there are.
pub async fn audited(store: &Store, action: &str) -> usize {
    let entries = store.read.audit(&AuditPage::newest(1000)).await.unwrap();
    entries.iter().filter(|entry| entry.action == action).count()
}

/// A ticket that nobody has spent.
pub fn ticket() -> Spent {
    Spent { id: random::text::<16>(), until: at(600) }
}

/// An entry by nobody in particular.
pub fn entry(action: &'static str) -> AuditEntry {
    AuditEntry::new(at(0), Actor::System, action, "store:test".to_owned())
}

/// An entry of second `seconds`: in the trail it stands where its id does.
pub fn entry_of(seconds: i64, action: &'static str) -> AuditEntry {
    AuditEntry::new(at(seconds), Actor::System, action, "store:test".to_owned())
}

/// An address of the provider `dev`.
pub fn email(address: &str, verified: bool) -> Email {
    Email { address: address.to_owned(), verified, provider: "dev".to_owned() }
}

/// What the provider `dev` says of somebody.
pub fn identity(subject: &str) -> IdentityRefresh {
    IdentityRefresh {
        provider: "dev".to_owned(),
        subject: subject.to_owned(),
        emails: vec![email(&format!("{subject}@dev.localhost"), true)],
    }
}

/// A first-party family of a session of its own.
pub fn family(user: UserId) -> NewFamily {
    let id = FamilyId::new(at(0));
    NewFamily {
        id,
        user,
        session: SessionId(id.0),
        client_id: FIRST_PARTY.to_owned(),
        scope: "openid".to_owned(),
        resource: String::new(),
        auth_time: at(0),
        created_at: at(0),
        provider: "dev".to_owned(),
        user_agent: "Firefox on Linux".to_owned(),
        network: "203.0.113.0/24".to_owned(),
    }
}

/// A person with the identity `name` at the provider `dev`.
pub fn creation(name: &str) -> CreateUser {
    let user = User {
        id: UserId::new(at(0)),
        username: name.to_owned(),
        display_name: Some(format!("{name} of the test")),
        avatar: None,
        role: Role::User,
        status: UserStatus::Active,
        created_at: at(0),
    };
    CreateUser {
        username_key: name.to_lowercase(),
        identity: identity(name),
        family: family(user.id),
        spends: vec![ticket(), ticket()],
        ends: None,
        audit: vec![entry("user.created"), entry("session.opened")],
        user,
    }
}

/// Creates a person.
pub async fn created(store: &Store, name: &str) -> FamilyWithUser {
    match apply(store, creation(name)).await {
        CreateUserOutcome::Created(created) => *created,
        other => panic!("{name} was not created: {other:?}"),
    }
}

/// Creates a person of this number who signs in now.
pub async fn created_at(store: &Store, number: usize, now: Timestamp) -> FamilyWithUser {
    let mut creation = creation(&format!("person{number}"));
    let user = UserId::new(now);
    let id = FamilyId::new(now);
    creation.user = User { id: user, created_at: now, ..creation.user };
    let session = SessionId(id.0);
    let until = now.plus(Duration::from_secs(600));
    creation.family =
        NewFamily { id, user, session, auth_time: now, created_at: now, ..creation.family };
    creation.spends.iter_mut().for_each(|spent| spent.until = until);
    match apply(store, creation).await {
        CreateUserOutcome::Created(created) => *created,
        other => panic!("person {number} was not created: {other:?}"),
    }
}

/// A further session of a person whom [`created`] made.
pub fn sign_in(person: &FamilyWithUser) -> SignIn {
    SignIn {
        family: family(person.user.id),
        spends: ticket(),
        identity: identity(&person.user.username),
        ends: None,
        audit: entry("session.opened"),
    }
}

/// Opens it.
pub async fn signed_in(store: &Store, request: SignIn) -> FamilyWithUser {
    match apply(store, request).await {
        SignInOutcome::Opened(opened) => *opened,
        other => panic!("no session was opened: {other:?}"),
    }
}

/// Gives a client a family in the session of `person`.
pub async fn granted(store: &Store, person: &FamilyWithUser, scope: &str) -> FamilyWithUser {
    let mut request = sign_in(person);
    request.family.session = person.family.session;
    request.family.client_id = "shop".to_owned();
    request.family.scope = scope.to_owned();
    signed_in(store, request).await
}

/// Presents a generation long after the last rotation, and long before anything expires.
pub fn advance(family: FamilyId, presented: u64) -> AdvanceFamily {
    AdvanceFamily {
        family,
        presented,
        now: at(1000),
        rotated_before: at(940),
        idle_since: at(-5000),
        created_after: at(-9000),
    }
}

/// Ends something at second 100.
pub fn revoke(target: RevokeTarget) -> Revoke {
    Revoke {
        target,
        only_if_reused: None,
        reason: "logout",
        now: at(100),
        tokens_live_for: TOKENS_LIVE_FOR,
        audit: entry("session.ended"),
    }
}

/// A key of an algorithm that signs from `seconds` on.
pub fn key(algorithm: Algorithm, seconds: i64) -> StoredKey {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    StoredKey {
        kid: format!("key-{number}"),
        algorithm,
        public_jwk: format!(r#"{{"kid":"key-{number}"}}"#),
        sealed_private: Some(format!("sealed {number}")),
        created_at: at(seconds),
        signs_from: at(seconds),
        retired_at: None,
        compromised: false,
    }
}

/// A client of this id with a secret and a name of its own, registered at the beginning of everything.
pub fn client(id: &str) -> RegisterClient {
    let client = Client {
        client_id: id.to_owned(),
        metadata: ClientMetadata {
            client_name: format!("{id} of the test"),
            redirect_uris: vec![format!("https://{id}.example/callback")],
            ..ClientMetadata::default()
        },
        secret: Some(SecretHash::of("secret")),
        former_secret: None,
        created_at: at(0),
        updated_at: at(0),
    };
    RegisterClient { client, audit: entry("client.registered") }
}

/// Registers it.
pub async fn registered(store: &Store, request: RegisterClient) -> Client {
    let client = request.client.clone();
    assert_eq!(apply(store, request).await, RegisterClientOutcome::Registered);
    client
}

/// Removes a client at second 50.
pub fn removal(id: &str) -> RemoveClient {
    let mut audit = entry("client.removed");
    audit.at = at(50);
    let tokens_live_until = at(50).plus(TOKENS_LIVE_FOR);
    RemoveClient { client_id: id.to_owned(), tokens_live_until, audit }
}

/// A code that the client `shop` got in the session of `person`, redeemed at second 10.
pub fn redemption(person: &FamilyWithUser) -> RedeemCode {
    let id = FamilyId::new(at(10));
    let (mut audit, mut audit_replay) = (entry("grant.opened"), entry("code.replayed"));
    (audit.at, audit_replay.at) = (at(10), at(20));
    RedeemCode {
        family: NewFamily {
            id,
            session: person.family.session,
            client_id: "shop".to_owned(),
            scope: "openid email".to_owned(),
            resource: "https://api.example https://files.example".to_owned(),
            created_at: at(10),
            ..family(person.user.id)
        },
        spends: Spent { id: format!("code:{id}"), until: at(70) },
        needs_consent: false,
        tokens_live_for: TOKENS_LIVE_FOR,
        audit,
        audit_replay,
    }
}

/// The same code once more.
pub fn replay(first: &RedeemCode) -> RedeemCode {
    let (mut audit, mut audit_replay) = (entry("grant.opened"), entry("code.replayed"));
    (audit.at, audit_replay.at) = (at(20), at(20));
    RedeemCode { audit, audit_replay, ..first.clone() }
}

/// Redeems a code.
pub async fn redeemed(store: &Store, request: RedeemCode) -> FamilyWithUser {
    match apply(store, request).await {
        RedeemOutcome::Opened(opened) => *opened,
        other => panic!("no grant was opened: {other:?}"),
    }
}

/// What a person allows the client `shop` at second 5.
pub fn consent(person: &FamilyWithUser, scope: &str) -> GiveConsent {
    let mut audit = entry("consent.given");
    audit.at = at(5);
    GiveConsent {
        user: person.user.id,
        asked_in: person.family.id,
        client_id: "shop".to_owned(),
        scope: scope.to_owned(),
        resource: "https://api.example".to_owned(),
        spends: ticket(),
        audit,
    }
}
