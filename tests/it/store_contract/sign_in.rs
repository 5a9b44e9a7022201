//! [`SignIn`](latchkey::store::operation::SignIn).

use latchkey::store::Store;
use latchkey::store::model::{FamilyWithUser, UserId};
use latchkey::store::operation::{AdvanceOutcome, RevokeTarget, SignIn, SignInOutcome};

use super::Database;
use super::fixtures::{
    advance, apply, at, audited, created, email, identity, revoke, rows, sign_in, signed_in,
};

/// Asks, and is refused without a trace: not even the ticket is spent.
async fn refused(
    store: &Store,
    database: &impl Database,
    request: SignIn,
    expected: SignInOutcome,
) {
    let rows_before = rows(database).await;
    let families = store.read.live_families().await.unwrap();
    assert_eq!(apply(store, request).await, expected);
    assert_eq!(rows(database).await, rows_before);
    assert_eq!(store.read.live_families().await.unwrap(), families);
}

pub async fn a_session_opens(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let mut request = sign_in(&person);
    request.family.created_at = at(50);
    request.family.auth_time = at(40);
    let opened = signed_in(store, request.clone()).await;

    assert_eq!(opened.user, person.user);
    assert_eq!(opened.family.id, request.family.id);
    assert_eq!(opened.family.session, request.family.session);
    assert_eq!(opened.family.client_id, "latchkey");
    assert_eq!(opened.family.scope, "openid");
    assert_eq!((opened.family.generation, opened.family.revoked_at), (0, None));
    assert_eq!((opened.family.created_at, opened.family.rotated_at), (at(50), at(50)));
    assert_eq!(opened.family.auth_time, at(40));
    assert_eq!(store.read.family(opened.family.id).await.unwrap(), Some(opened));
    assert_eq!(audited(store, "session.opened").await, 2);
    let used = database.number("SELECT last_used_at FROM identities").await;
    assert_eq!(used, at(50).millis());
}

pub async fn a_ticket_is_spent_once(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let first = sign_in(&person);
    let mut second = sign_in(&person);
    second.spends = first.spends.clone();
    signed_in(store, first).await;
    refused(store, database, second, SignInOutcome::AlreadySpent).await;
}

pub async fn addresses_are_replaced(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let mut request = sign_in(&person);
    request.identity.emails =
        vec![email("Zoe@Example.org", false), email("ada@dev.localhost", true)];
    signed_in(store, request.clone()).await;
    let emails = store.read.emails(person.user.id).await.unwrap();
    assert_eq!(emails, request.identity.emails);

    let mut without = sign_in(&person);
    without.identity.emails.clear();
    signed_in(store, without).await;
    let identities = store.read.identities(person.user.id).await.unwrap();
    assert_eq!(identities.len(), 1);
    assert_eq!(identities[0].emails, []);
}

pub async fn the_same_session_goes_on(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    apply(store, advance(person.family.id, 0)).await;
    let mut request = sign_in(&person);
    (request.family.id, request.family.session) = (person.family.id, person.family.session);
    (request.family.auth_time, request.family.created_at) = (at(1990), at(2000));
    let again = signed_in(store, request).await;

    assert_eq!(again.family.session, person.family.session);
    assert_eq!((again.family.generation, again.family.rotated_at), (2, at(2000)));
    assert_eq!((again.family.created_at, again.family.auth_time), (at(0), at(1990)));
    assert_eq!(store.read.family(person.family.id).await.unwrap(), Some(again));
    assert_eq!(apply(store, advance(person.family.id, 1)).await, AdvanceOutcome::Unmoved);
}

/// A sign-in of `person` that names the family of another.
fn with_family_of(person: &FamilyWithUser, other: &FamilyWithUser) -> SignIn {
    let mut request = sign_in(person);
    (request.family.id, request.family.session) = (other.family.id, other.family.session);
    request
}

pub async fn another_persons_session_is_not_taken_over(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    refused(store, database, with_family_of(&ada, &ben), SignInOutcome::NotAllowed).await;
    assert_eq!(store.read.family(ben.family.id).await.unwrap(), Some(ben));
}

pub async fn an_ended_session_does_not_go_on(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    refused(store, database, with_family_of(&person, &person), SignInOutcome::NotAllowed).await;
}

pub async fn another_session_ends_in_the_same_browser(store: &Store, _: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut request = sign_in(&ada);
    request.ends = Some(revoke(RevokeTarget::Session(ben.family.session)));
    signed_in(store, request).await;
    let ended = store.read.family(ben.family.id).await.unwrap().unwrap();
    assert_eq!(ended.family.revoked_at, Some(at(100)));
    assert_eq!(store.read.revocations(at(0), at(100)).await.unwrap().len(), 1);
    assert_eq!(audited(store, "session.ended").await, 1);
}

pub async fn an_identity_of_somebody_else_is_not_allowed(store: &Store, database: &impl Database) {
    let (ada, _ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut foreign = sign_in(&ada);
    foreign.identity = identity("ben");
    let mut unknown = sign_in(&ada);
    unknown.identity = identity("nobody");
    let mut no_person = sign_in(&ada);
    no_person.family.user = UserId::new(at(0));
    for request in [foreign, unknown, no_person] {
        refused(store, database, request, SignInOutcome::NotAllowed).await;
    }
}

pub async fn only_an_active_person_is_allowed(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let request = sign_in(&person);
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        refused(store, database, request.clone(), SignInOutcome::NotAllowed).await;
    }
    database.execute("UPDATE users SET status = 'active'").await;
    signed_in(store, request).await;
}
