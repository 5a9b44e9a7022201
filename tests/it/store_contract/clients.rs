//! Registering, changing and removing clients.

use futures_util::future::join;
use latchkey::clock::Timestamp;
use latchkey::protocol::jwt::Algorithm;
use latchkey::store::Store;
use latchkey::store::model::{Client, FormerSecret, Revocation, RevocationKind, SecretHash};
use latchkey::store::operation::{
    RegisterClientOutcome, RotateClientSecret, UpdateClient, UpdateClientOutcome,
};

use super::Database;
use super::fixtures::{
    TOKENS_LIVE_FOR, apply, at, audited, client, consent, created, entry, open_again, registered,
    removal, rows,
};

/// Another name for `shop`, given at `seconds` by somebody who knows it as it was changed at `known`.
fn renaming(known: Timestamp, seconds: i64, name: &str) -> UpdateClient {
    let mut metadata = client("shop").client.metadata;
    metadata.client_name = name.to_owned();
    metadata.id_token_signed_response_alg = Algorithm::ES256;
    let mut audit = entry("client.updated");
    audit.at = at(seconds);
    UpdateClient { client_id: "shop".to_owned(), metadata, known, audit }
}

/// Another secret for `shop` at second 10.
fn rotation(secret: &str, former_until: Timestamp) -> RotateClientSecret {
    let mut audit = entry("client.secret_rotated");
    audit.at = at(10);
    let secret = SecretHash::of(secret);
    RotateClientSecret { client_id: "shop".to_owned(), secret, former_until, audit }
}

async fn shop(store: &Store) -> Client {
    store.read.client("shop").await.unwrap().expect("it is registered")
}

pub async fn a_client_is_read_as_it_was_registered(store: &Store, _: &impl Database) {
    let mut full = client("shop");
    full.client.former_secret =
        Some(FormerSecret { hash: SecretHash::of("former"), until: at(100) });
    full.client.metadata.jwks = Some(serde_json::json!({ "keys": [{ "kty": "EC" }] }));
    full.client.metadata.resources = vec!["https://api.example".to_owned()];
    full.client.metadata.client_name = "Shop \u{1f511} \"quoted\" \0".to_owned();
    let shop = registered(store, full).await;
    let mut public = client("Shop");
    (public.client.secret, public.client.metadata.id_token_signed_response_alg) =
        (None, Algorithm::EdDsa);
    let public = registered(store, public).await;
    assert_eq!(store.read.client("shop").await.unwrap(), Some(shop.clone()));
    assert_eq!(store.read.client("Shop").await.unwrap(), Some(public.clone()));
    for unknown in ["SHOP", "", "nul\0", "'; --"] {
        assert_eq!(store.read.client(unknown).await.unwrap(), None, "{unknown:?}");
    }
    assert_eq!(audited(store, "client.registered").await, 2);

    assert_eq!(store.read.clients(None, 9).await.unwrap(), [public.clone(), shop.clone()]);
    assert_eq!(store.read.clients(None, 1).await.unwrap(), [public]);
    assert_eq!(store.read.clients(Some("Shop"), 9).await.unwrap(), [shop]);
    assert_eq!(store.read.clients(Some("shop"), 9).await.unwrap(), []);
    let algorithms = store.read.client_algorithms().await.unwrap();
    assert_eq!(algorithms, [Algorithm::EdDsa, Algorithm::RS256]);
}

pub async fn a_taken_id_is_not_registered_again(store: &Store, database: &impl Database) {
    let shop = registered(store, client("shop")).await;
    let person = created(store, "ada").await;
    let before = rows(database).await;
    let mut other = client("shop");
    other.client.metadata.client_name = "Impostor".to_owned();
    assert_eq!(apply(store, other).await, RegisterClientOutcome::IdTaken);
    let id = person.user.id.to_string();
    for id in [id.to_uppercase(), id] {
        let as_person = apply(store, client(&id)).await;
        assert_eq!(as_person, RegisterClientOutcome::IdTaken, "{id} is a person");
    }
    assert_eq!(rows(database).await, before);
    assert_eq!(store.read.client("shop").await.unwrap(), Some(shop));
}

pub async fn the_id_of_a_removed_client_is_taken_while_its_tokens_live(
    store: &Store,
    database: &impl Database,
) {
    registered(store, client("shop")).await;
    apply(store, removal("shop")).await;
    let before = rows(database).await;
    let again = |seconds| {
        let mut again = client("shop");
        (again.client.created_at, again.client.updated_at) = (at(seconds), at(seconds));
        again
    };
    assert_eq!(apply(store, again(979)).await, RegisterClientOutcome::IdTaken);
    assert_eq!(rows(database).await, before);
    assert_eq!(apply(store, again(980)).await, RegisterClientOutcome::Registered);
}

pub async fn of_two_who_register_an_id_one_gets_it(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..8 {
        let id = format!("shop{number}");
        let outcomes = join(apply(store, client(&id)), apply(&other, client(&id))).await;
        assert!(outcomes.0 != outcomes.1, "{outcomes:?}");
    }
    assert_eq!(audited(store, "client.registered").await, 8);
}

pub async fn a_client_is_changed_by_whoever_knows_it(store: &Store, _: &impl Database) {
    let before = registered(store, client("shop")).await;
    assert_eq!(apply(store, renaming(at(0), 10, "Store")).await, UpdateClientOutcome::Updated);
    let after = shop(store).await;
    let metadata = renaming(at(0), 10, "Store").metadata;
    assert_eq!(after, Client { metadata, updated_at: at(10), ..before });
    assert_eq!(store.read.client_algorithms().await.unwrap(), [Algorithm::ES256]);

    // Who still knows the former state changes nothing; neither does who speaks of another.
    assert_eq!(apply(store, renaming(at(0), 20, "Late")).await, UpdateClientOutcome::Changed);
    let mut unknown = renaming(at(0), 20, "Nobody");
    unknown.client_id = "nobody".to_owned();
    assert_eq!(apply(store, unknown).await, UpdateClientOutcome::Unknown);
    assert_eq!(shop(store).await, after);
    assert_eq!(audited(store, "client.updated").await, 1);

    // Two changes in one millisecond are told apart all the same.
    assert_eq!(apply(store, renaming(at(10), 10, "Again")).await, UpdateClientOutcome::Updated);
    assert!(shop(store).await.updated_at > at(10));
}

pub async fn of_two_who_change_a_client_one_does(store: &Store, database: &impl Database) {
    registered(store, client("shop")).await;
    let other = open_again(database).await;
    for number in 0..8 {
        let known = shop(store).await.updated_at;
        let change = |name| renaming(known, number * 10, name);
        let outcomes = join(apply(store, change("one")), apply(&other, change("two"))).await;
        let name = match outcomes {
            (UpdateClientOutcome::Updated, UpdateClientOutcome::Changed) => "one",
            (UpdateClientOutcome::Changed, UpdateClientOutcome::Updated) => "two",
            unexpected => panic!("{unexpected:?}"),
        };
        assert_eq!(shop(store).await.metadata.client_name, name);
    }
}

pub async fn a_secret_is_rotated_with_an_overlap_or_without(store: &Store, _: &impl Database) {
    let before = registered(store, client("shop")).await;
    assert!(apply(store, rotation("second", at(60))).await);
    let former = FormerSecret { hash: SecretHash::of("secret"), until: at(60) };
    let second = Client {
        secret: Some(SecretHash::of("second")),
        former_secret: Some(former),
        updated_at: at(10),
        ..before
    };
    assert_eq!(shop(store).await, second);
    assert!(apply(store, rotation("third", at(10))).await);
    let third = shop(store).await;
    assert_eq!((third.secret, third.former_secret), (Some(SecretHash::of("third")), None));
    assert!(third.updated_at > at(10));
    assert_eq!(audited(store, "client.secret_rotated").await, 2);

    let mut unknown = rotation("fourth", at(60));
    unknown.client_id = "nobody".to_owned();
    assert!(!apply(store, unknown).await);
    assert_eq!(audited(store, "client.secret_rotated").await, 2);
}

pub async fn a_removed_client_leaves_a_revocation_and_no_consent(
    store: &Store,
    database: &impl Database,
) {
    registered(store, client("shop")).await;
    registered(store, client("other")).await;
    let person = created(store, "ada").await;
    apply(store, consent(&person, "openid")).await;
    let mut kept = consent(&person, "openid");
    kept.client_id = "other".to_owned();
    apply(store, kept).await;

    let revocation = Revocation {
        kind: RevocationKind::Client,
        id: "shop".to_owned(),
        until: at(50).plus(TOKENS_LIVE_FOR),
    };
    assert_eq!(apply(store, removal("shop")).await, Some(revocation.clone()));
    assert_eq!(store.read.client("shop").await.unwrap(), None);
    assert_eq!(store.read.consent(person.user.id, "shop").await.unwrap(), None);
    assert!(store.read.consent(person.user.id, "other").await.unwrap().is_some());
    assert_eq!(store.read.revocations(at(50), at(50)).await.unwrap(), [revocation]);
    let before = rows(database).await;
    assert_eq!(apply(store, removal("shop")).await, None, "it is gone");
    assert_eq!(rows(database).await, before);
}
