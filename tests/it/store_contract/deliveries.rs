//! Clients that are to be told that a session ended.

use futures_util::future::join_all;
use latchkey::store::Store;
use latchkey::store::model::{Delivery, FamilyWithUser};
use latchkey::store::operation::{
    ClaimDeliveries, DeleteUserOutcome, ReturnDelivery, RevokeTarget, SettleDelivery,
};

use super::Database;
use super::accounts::deletion;
use super::fixtures::{
    apply, at, audited, client, created, entry, open_again, redeemed, redemption, registered,
    removal, revoke, sign_in, signed_in,
};

/// Takes what is due at `seconds`, for a minute.
pub fn claim(seconds: i64) -> ClaimDeliveries {
    ClaimDeliveries { now: at(seconds), lease: at(seconds + 60), limit: 100 }
}

pub fn settle(delivery: &Delivery) -> SettleDelivery {
    SettleDelivery { id: delivery.id, retry_at: None, audit: None }
}

/// Registers clients, those named `told…` with a place where they are told.
async fn clients(store: &Store, ids: &[&str]) {
    for id in ids {
        let mut request = client(id);
        request.client.metadata.backchannel_logout_uri =
            id.starts_with("told").then(|| format!("https://{id}.example/logout"));
        registered(store, request).await;
    }
}

/// Gives a client a grant in the session of `person`.
async fn grant(store: &Store, person: &FamilyWithUser, id: &str) -> FamilyWithUser {
    let mut request = redemption(person);
    request.family.client_id = id.to_owned();
    redeemed(store, request).await
}

/// Who is to be told of which session, in order.
async fn told(store: &Store) -> Vec<(String, uuid::Uuid)> {
    let claimed = apply(store, claim(100)).await;
    let mut told: Vec<_> = claimed
        .into_iter()
        .map(|delivery| {
            assert_eq!((delivery.attempts, delivery.created_at), (0, at(100)));
            (delivery.client_id, delivery.session.0)
        })
        .collect();
    told.sort();
    told
}

pub async fn the_end_of_a_session_is_to_be_told(store: &Store, _: &impl Database) {
    clients(store, &["told", "told-too", "told-offline", "told-elsewhere", "silent"]).await;
    let person = created(store, "ada").await;
    let elsewhere = signed_in(store, sign_in(&person)).await;
    for id in ["told", "told", "told-too", "silent"] {
        grant(store, &person, id).await;
    }
    let mut offline = redemption(&person);
    (offline.family.client_id, offline.family.scope) =
        ("told-offline".to_owned(), "offline_access".to_owned());
    redeemed(store, offline).await;
    grant(store, &elsewhere, "told-elsewhere").await;
    // Who had a grant is told as well: there may be a session at the client still.
    let over = grant(store, &person, "told-too").await;
    apply(store, revoke(RevokeTarget::Family(over.family.id))).await;
    assert!(!store.read.has_due_deliveries(at(100)).await.unwrap(), "no session has ended");

    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    assert!(!store.read.has_due_deliveries(at(99)).await.unwrap());
    assert!(store.read.has_due_deliveries(at(100)).await.unwrap());
    let session = person.family.session.0;
    let expected = ["told", "told-offline", "told-too"].map(|id| (id.to_owned(), session));
    assert_eq!(told(store).await, expected);

    // It ends once.
    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    assert_eq!(told(store).await, []);
    let other = elsewhere.family.session.0;
    apply(store, revoke(RevokeTarget::User(person.user.id))).await;
    assert_eq!(told(store).await, [("told-elsewhere".to_owned(), other)]);
}

pub async fn every_way_to_end_a_session_is_told(store: &Store, _: &impl Database) {
    clients(store, &["told"]).await;
    let person = created(store, "ada").await;
    let session = |family: &FamilyWithUser| ("told".to_owned(), family.family.session.0);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = signed_in(store, sign_in(&person)).await;
        grant(store, &session, "told").await;
        sessions.push(session);
    }
    let [kept, by_family, one, other] = &sessions[..] else { panic!("there are four") };
    apply(store, revoke(RevokeTarget::Family(by_family.family.id))).await;
    assert_eq!(told(store).await, [session(by_family)]);

    let target = RevokeTarget::OtherSessions(person.user.id, kept.family.session);
    apply(store, revoke(target)).await;
    let mut expected = [session(one), session(other)];
    expected.sort();
    assert_eq!(told(store).await, expected);

    // Somebody else signs in in the same browser.
    let mut request = sign_in(&created(store, "ben").await);
    request.ends = Some(revoke(RevokeTarget::Session(kept.family.session)));
    signed_in(store, request).await;
    assert_eq!(told(store).await, [session(kept)]);
}

pub async fn the_end_of_an_account_is_to_be_told(store: &Store, database: &impl Database) {
    clients(store, &["told", "silent"]).await;
    let person = created(store, "ada").await;
    let over = signed_in(store, sign_in(&person)).await;
    for session in [&person, &over] {
        grant(store, session, "told").await;
        grant(store, session, "silent").await;
    }
    apply(store, revoke(RevokeTarget::Session(over.family.session))).await;
    assert_eq!(told(store).await.len(), 1);
    let outcome = apply(store, deletion(&person)).await;
    assert!(matches!(outcome, DeleteUserOutcome::Deleted { .. }), "{outcome:?}");
    let claimed = apply(store, claim(100)).await;
    let [delivery] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((&*delivery.client_id, delivery.user), ("told", person.user.id));
    assert_eq!(delivery.session, person.family.session);
    assert_eq!(database.number("SELECT count(*) FROM token_families").await, 0);
}

pub async fn a_former_client_is_not_told(store: &Store, database: &impl Database) {
    clients(store, &["told", "told-before"]).await;
    let person = created(store, "ada").await;
    let over = signed_in(store, sign_in(&person)).await;
    for id in ["told", "told-before"] {
        grant(store, &person, id).await;
        grant(store, &over, id).await;
    }
    // What it was to be told goes with it, and its successor is not told what it had.
    apply(store, revoke(RevokeTarget::Session(over.family.session))).await;
    apply(store, removal("told-before")).await;
    let mut successor = client("told-before");
    successor.client.metadata.backchannel_logout_uri = Some("https://other.example".to_owned());
    (successor.client.created_at, successor.client.updated_at) = (at(2000), at(2000));
    registered(store, successor).await;
    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    let mut expected = [over, person].map(|session| ("told".to_owned(), session.family.session.0));
    expected.sort();
    assert_eq!(told(store).await, expected);
    assert_eq!(database.number("SELECT count(*) FROM deliveries").await, 2);
}

/// A session's end that `number` clients are to be told, due at second 100.
pub async fn due(store: &Store, number: usize) {
    let ids: Vec<String> = (0..number).map(|number| format!("told{number}")).collect();
    clients(store, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let person = created(store, "ada").await;
    for id in &ids {
        grant(store, &person, id).await;
    }
    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
}

pub async fn a_delivery_is_taken_by_one(store: &Store, database: &impl Database) {
    due(store, 20).await;
    let stores = [store.clone(), open_again(database).await];
    let attempts =
        (0..16).map(|node| apply(&stores[node % 2], ClaimDeliveries { limit: 3, ..claim(100) }));
    let taken = join_all(attempts).await;
    assert!(taken.iter().all(|taken| taken.len() <= 3), "{taken:?}");
    let mut ids: Vec<_> = taken.iter().flatten().map(|delivery| delivery.id).collect();
    ids.extend(apply(store, claim(100)).await.iter().map(|delivery| delivery.id));
    assert_eq!(ids.len(), 20);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "nobody is told twice");
}

pub async fn a_delivery_is_due_again_when_its_lease_is_over(store: &Store, _: &impl Database) {
    due(store, 1).await;
    assert_eq!(apply(store, claim(99)).await, []);
    let first = apply(store, claim(100)).await;
    assert_eq!(first.len(), 1);
    assert!(!store.read.has_due_deliveries(at(159)).await.unwrap());
    assert_eq!(apply(store, claim(159)).await, []);
    assert!(store.read.has_due_deliveries(at(160)).await.unwrap());
    assert_eq!(apply(store, claim(160)).await, first, "it was not tried");
}

pub async fn a_delivery_that_is_given_back_is_due_at_once(store: &Store, _: &impl Database) {
    due(store, 2).await;
    let first = apply(store, claim(100)).await;
    let give_back = |id, now| ReturnDelivery { id, lease: at(160), now: at(now) };
    apply(store, give_back(first[0].id, 103)).await;
    assert!(!store.read.has_due_deliveries(at(102)).await.unwrap());
    assert_eq!(
        apply(store, claim(103)).await,
        first[..1],
        "it was not tried, and the other is not ours"
    );
    // Who has it now keeps it.
    apply(store, give_back(first[0].id, 104)).await;
    assert_eq!(apply(store, claim(104)).await, []);
    // So does who settled it.
    apply(store, settle(&first[1])).await;
    apply(store, give_back(first[1].id, 104)).await;
    assert_eq!(apply(store, claim(160)).await, []);
}

pub async fn a_delivery_is_settled_or_tried_again(store: &Store, database: &impl Database) {
    due(store, 2).await;
    let claimed = apply(store, claim(100)).await;
    let [done, failed] = &claimed[..] else { panic!("{claimed:?}") };
    apply(store, settle(done)).await;
    let retry = SettleDelivery { retry_at: Some(at(130)), ..settle(failed) };
    apply(store, retry).await;
    assert_eq!(apply(store, claim(129)).await, []);
    let again = apply(store, claim(130)).await;
    assert_eq!(again, [Delivery { attempts: 1, ..failed.clone() }]);

    let given_up = SettleDelivery { audit: Some(entry("delivery.failed")), ..settle(failed) };
    apply(store, given_up).await;
    assert_eq!(database.number("SELECT count(*) FROM deliveries").await, 0);
    assert_eq!(audited(store, "delivery.failed").await, 1);
    // Somebody else has settled it meanwhile.
    apply(store, SettleDelivery { retry_at: Some(at(200)), ..settle(done) }).await;
    assert_eq!(database.number("SELECT count(*) FROM deliveries").await, 0);
}
