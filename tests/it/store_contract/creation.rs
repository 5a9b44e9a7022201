//! [`CreateUser`], and what is known of people afterwards.

use latchkey::store::Store;
use latchkey::store::model::{Identity, Role};
use latchkey::store::operation::{CreateUser, CreateUserOutcome, RevokeTarget};

use super::Database;
use super::fixtures::{
    apply, at, audited, created, creation, email, revoke, rows, ticket, try_apply,
};

/// Asks, and is refused without a trace.
async fn refused(
    store: &Store,
    database: &impl Database,
    request: CreateUser,
    expected: CreateUserOutcome,
) {
    let before = rows(database).await;
    assert_eq!(apply(store, request).await, expected);
    assert_eq!(rows(database).await, before);
}

pub async fn a_person_is_created_with_identity_session_and_audit(
    store: &Store,
    database: &impl Database,
) {
    let mut request = creation("Ada");
    request.user.role = Role::Admin;
    request.user.avatar = Some("picture".to_owned());
    request.identity.emails = vec![email("z@dev.localhost", true), email("a@dev.localhost", false)];
    let CreateUserOutcome::Created(created) = apply(store, request.clone()).await else {
        panic!("nothing stands in the way")
    };
    assert_eq!(created.user, request.user);
    assert_eq!((created.family.id, created.family.generation), (request.family.id, 0));
    assert_eq!(store.read.family(request.family.id).await.unwrap(), Some(*created));

    let (read, user) = (&store.read, Some(request.user.clone()));
    assert_eq!(read.user(request.user.id).await.unwrap(), user);
    assert_eq!(read.user_by_name("ada").await.unwrap(), user);
    assert_eq!(read.user_by_name("Ada").await.unwrap(), None);
    assert_eq!(read.user_by_identity("dev", "Ada").await.unwrap(), user);
    assert_eq!(read.user_by_identity("dev", "ada").await.unwrap(), None);
    assert_eq!(read.user_by_identity("google", "Ada").await.unwrap(), None);
    assert_eq!(read.user_count().await.unwrap(), 1);
    assert!(!read.username_is_free("ada", at(0)).await.unwrap());
    let emails = request.identity.emails;
    assert_eq!(read.emails(request.user.id).await.unwrap(), emails);
    let identity = Identity {
        provider: "dev".to_owned(),
        subject: "Ada".to_owned(),
        emails,
        linked_at: at(0),
        last_used_at: at(0),
    };
    assert_eq!(read.identities(request.user.id).await.unwrap(), [identity]);
    assert_eq!(audited(store, "user.created").await, 1);
    assert_eq!(audited(store, "session.opened").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM spent").await, 2);
}

pub async fn a_spent_ticket_creates_nobody(store: &Store, database: &impl Database) {
    let first = creation("ada");
    let mut second = creation("ben");
    second.spends = vec![ticket(), first.spends[1].clone()];
    apply(store, first).await;
    refused(store, database, second, CreateUserOutcome::AlreadySpent).await;
}

pub async fn a_taken_identity_creates_nobody(store: &Store, database: &impl Database) {
    created(store, "ada").await;
    let mut second = creation("ben");
    second.identity.subject = "ada".to_owned();
    refused(store, database, second, CreateUserOutcome::IdentityTaken).await;
}

pub async fn a_taken_name_creates_nobody(store: &Store, database: &impl Database) {
    created(store, "ada").await;
    let mut second = creation("ADA");
    second.identity.subject = "another".to_owned();
    refused(store, database, second, CreateUserOutcome::UsernameTaken).await;
}

pub async fn a_held_name_creates_nobody_until_the_hold_is_over(
    store: &Store,
    database: &impl Database,
) {
    let until = at(50).millis();
    database.execute(&format!("INSERT INTO held_usernames VALUES ('ada', NULL, {until})")).await;
    assert!(!store.read.username_is_free("ada", at(49)).await.unwrap());
    assert!(store.read.username_is_free("ada", at(50)).await.unwrap());
    refused(store, database, creation("ada"), CreateUserOutcome::UsernameTaken).await;
    let mut later = creation("ada");
    (later.user.created_at, later.family.created_at) = (at(50), at(50));
    assert!(matches!(apply(store, later).await, CreateUserOutcome::Created(_)));
}

pub async fn a_deleted_person_leaves_the_name_free(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    database.execute("DELETE FROM identities").await;
    database.execute("UPDATE users SET status = 'deleted'").await;
    assert_eq!(store.read.user_by_name("ada").await.unwrap(), None);
    assert!(store.read.username_is_free("ada", at(0)).await.unwrap());
    assert_eq!(store.read.user_count().await.unwrap(), 0);
    assert!(store.read.user(person.user.id).await.unwrap().is_some(), "the tombstone is left");
    created(store, "ada").await;
}

pub async fn an_address_told_twice_is_kept_once(store: &Store, _: &impl Database) {
    let mut request = creation("ada");
    request.identity.emails = vec![
        email("ada@dev.localhost", true),
        email("ada@dev.localhost", true),
        email("ADA@dev.localhost", true),
    ];
    assert!(matches!(apply(store, request.clone()).await, CreateUserOutcome::Created(_)));
    assert_eq!(store.read.emails(request.user.id).await.unwrap().len(), 2);
}

pub async fn creation_can_end_another_session(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    let mut request = creation("ben");
    request.ends = Some(revoke(RevokeTarget::Session(ada.family.session)));
    assert!(matches!(apply(store, request).await, CreateUserOutcome::Created(_)));
    let ended = store.read.family(ada.family.id).await.unwrap().unwrap();
    assert_eq!(ended.family.revoked_at, Some(at(100)));
    assert_eq!(audited(store, "session.ended").await, 1);
}

pub async fn a_creation_that_fails_leaves_nothing(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let before = rows(database).await;
    let mut request = creation("ben");
    request.family.id = ada.family.id;
    assert!(try_apply(store, request).await.is_err(), "the family's id is taken");
    let mut twice = creation("cem");
    twice.audit[1].id = twice.audit[0].id;
    assert!(try_apply(store, twice).await.is_err(), "one entry's id is taken");
    assert_eq!(rows(database).await, before);
    created(store, "ben").await;
}

pub async fn refusals_of_a_creation_come_in_order(store: &Store, database: &impl Database) {
    let first = creation("ada");
    apply(store, first.clone()).await;
    let mut again = creation("ada");
    again.spends = first.spends;
    refused(store, database, again.clone(), CreateUserOutcome::AlreadySpent).await;
    again.spends = vec![ticket()];
    refused(store, database, again.clone(), CreateUserOutcome::IdentityTaken).await;
    again.identity.subject = "another".to_owned();
    refused(store, database, again.clone(), CreateUserOutcome::UsernameTaken).await;
    again.username_key = "ada2".to_owned();
    assert!(matches!(apply(store, again).await, CreateUserOutcome::Created(_)));
}
