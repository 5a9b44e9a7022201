//! [`ChangeFeed`](latchkey::store::ChangeFeed): what others change is told, and nothing else.

use std::time::Duration;

use latchkey::protocol::jwt::Algorithm;
use latchkey::store::operation::{RevokeTarget, StageKey};
use latchkey::store::{Change, Changes, Store};

use super::Database;
use super::fixtures::{
    advance, apply, client, created, entry, key, open_again, redeemed, redemption, registered,
    removal, revoke, sign_in, signed_in,
};

/// Waits until this change is told, or that there was one.
pub async fn is_told(link: &mut Box<dyn Changes>, expected: Change) {
    let told = async {
        loop {
            if let Some(told) = link.next().await.unwrap() {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is told");
    assert!(told == expected || told == Change::Anything, "{told:?}");
}

pub async fn what_others_change_is_told(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    let person = created(&other, "ada").await;
    let mut link = store.changes.listen().await.unwrap();
    registered(&other, client("shop")).await;
    is_told(&mut link, Change::Clients).await;
    let audit = entry("key.staged");
    apply(&other, StageKey { key: key(Algorithm::ES256, 0), newest: None, audit }).await;
    is_told(&mut link, Change::Keys).await;
    apply(&other, revoke(RevokeTarget::Session(person.family.session))).await;
    is_told(&mut link, Change::Revocations).await;
    assert_eq!(link.next().await.unwrap(), None);
}

pub async fn what_is_changed_by_hand_is_told(store: &Store, database: &impl Database) {
    registered(store, client("shop")).await;
    let mut link = store.changes.listen().await.unwrap();
    database.execute("UPDATE clients SET updated_at = updated_at + 1").await;
    is_told(&mut link, Change::Clients).await;
    database.execute("DELETE FROM clients").await;
    is_told(&mut link, Change::Clients).await;
}

pub async fn clients_that_are_changed_here_are_told(store: &Store, _: &impl Database) {
    let mut link = store.changes.listen().await.unwrap();
    registered(store, client("shop")).await;
    is_told(&mut link, Change::Clients).await;
    assert_eq!(link.next().await.unwrap(), None);
    apply(store, removal("shop")).await.expect("it was there");
    is_told(&mut link, Change::Clients).await;
}

pub async fn what_each_sign_in_writes_is_not_told(store: &Store, _: &impl Database) {
    registered(store, client("shop")).await;
    let mut link = store.changes.listen().await.unwrap();
    let person = created(store, "ada").await;
    signed_in(store, sign_in(&person)).await;
    redeemed(store, redemption(&person)).await;
    apply(store, advance(person.family.id, 0)).await;
    assert_eq!(link.next().await.unwrap(), None);
}
