//! Signing keys.

use latchkey::protocol::jwt::Algorithm;
use latchkey::store::Store;
use latchkey::store::model::{Revocation, RevocationKind, StoredKey};
use latchkey::store::operation::{
    ActivateKey, RemoveExpired, ResealKeys, RetireKey, RetireKeyOutcome, StageKey, StageKeyOutcome,
};

use super::Database;
use super::expiry::nothing_expires;
use super::fixtures::{apply, at, audited, entry, key, rows};

fn staging(key: &StoredKey, newest: Option<&StoredKey>) -> StageKey {
    StageKey {
        key: key.clone(),
        newest: newest.map(|newest| newest.kid.clone()),
        audit: entry("key.staged"),
    }
}

/// Stages a key after all that the store has.
async fn staged(store: &Store, algorithm: Algorithm, signs_from: i64) -> StoredKey {
    let key = key(algorithm, signs_from);
    let keys = store.read.keys().await.unwrap();
    let of_algorithm =
        keys.iter().filter(|key| key.algorithm == algorithm && key.retired_at.is_none());
    let newest = of_algorithm.max_by_key(|key| key.signs_from);
    assert_eq!(apply(store, staging(&key, newest)).await, StageKeyOutcome::Staged);
    key
}

fn activation(key: &StoredKey, seconds: i64) -> ActivateKey {
    ActivateKey { kid: key.kid.clone(), at: at(seconds), audit: entry("key.activated") }
}

fn retirement(key: &StoredKey, seconds: i64, compromised: bool) -> RetireKey {
    RetireKey {
        kid: key.kid.clone(),
        at: at(seconds),
        compromised,
        tokens_live_until: at(seconds + 900),
        audit: entry("key.retired"),
    }
}

pub async fn the_first_key_is_staged(store: &Store, _: &impl Database) {
    let mut from_file = key(Algorithm::ES256, 5);
    from_file.sealed_private = None;
    assert_eq!(apply(store, staging(&from_file, None)).await, StageKeyOutcome::Staged);
    let sealed = key(Algorithm::RS256, 0);
    assert_eq!(apply(store, staging(&sealed, None)).await, StageKeyOutcome::Staged);
    assert_eq!(store.read.keys().await.unwrap(), [sealed, from_file], "oldest first");
    assert_eq!(audited(store, "key.staged").await, 2);
}

pub async fn a_key_is_staged_once(store: &Store, database: &impl Database) {
    let first = staged(store, Algorithm::RS256, 0).await;
    let second = staged(store, Algorithm::RS256, 100).await;
    let before = rows(database).await;
    let third = key(Algorithm::RS256, 200);
    for outdated in [None, Some(&first), Some(&third)] {
        assert_eq!(
            apply(store, staging(&third, outdated)).await,
            StageKeyOutcome::OtherIsNewer(second.kid.clone())
        );
    }
    assert_eq!(rows(database).await, before);
    assert_eq!(apply(store, staging(&third, Some(&second))).await, StageKeyOutcome::Staged);
}

pub async fn algorithms_do_not_stand_in_each_others_way(store: &Store, _: &impl Database) {
    for algorithm in Algorithm::ALL {
        let first = key(algorithm, 0);
        assert_eq!(apply(store, staging(&first, None)).await, StageKeyOutcome::Staged);
    }
    let algorithms: Vec<_> =
        store.read.keys().await.unwrap().iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, Algorithm::ALL);
}

pub async fn a_retired_key_is_nobodys_newest(store: &Store, _: &impl Database) {
    let first = staged(store, Algorithm::RS256, 0).await;
    let second = staged(store, Algorithm::RS256, 100).await;
    apply(store, retirement(&second, 110, true)).await;
    let third = key(Algorithm::RS256, 200);
    assert_eq!(
        apply(store, staging(&third, Some(&second))).await,
        StageKeyOutcome::OtherIsNewer(first.kid.clone())
    );
    assert_eq!(apply(store, staging(&third, Some(&first))).await, StageKeyOutcome::Staged);

    for gone in [&first, &third] {
        apply(store, retirement(gone, 210, false)).await;
    }
    let fourth = key(Algorithm::RS256, 300);
    let outcome = apply(store, staging(&fourth, Some(&third))).await;
    assert_eq!(outcome, StageKeyOutcome::Staged, "no other is newer");
}

pub async fn a_staged_key_is_activated_once(store: &Store, _: &impl Database) {
    let key = staged(store, Algorithm::RS256, 100).await;
    assert!(apply(store, activation(&key, 50)).await);
    assert!(!apply(store, activation(&key, 50)).await);
    assert!(!apply(store, activation(&key, 60)).await);
    assert_eq!(store.read.keys().await.unwrap()[0].signs_from, at(50));
    let unknown = super::fixtures::key(Algorithm::RS256, 100);
    assert!(!apply(store, activation(&unknown, 50)).await);
    assert_eq!(audited(store, "key.activated").await, 1);
}

pub async fn a_retired_key_is_not_activated(store: &Store, _: &impl Database) {
    let key = staged(store, Algorithm::RS256, 100).await;
    apply(store, retirement(&key, 40, false)).await;
    assert!(!apply(store, activation(&key, 50)).await, "it would never sign");
    assert_eq!(audited(store, "key.activated").await, 0);
}

pub async fn a_key_is_retired_once(store: &Store, _: &impl Database) {
    let key = staged(store, Algorithm::RS256, 0).await;
    assert_eq!(apply(store, retirement(&key, 10, false)).await, RetireKeyOutcome::Retired);
    assert_eq!(apply(store, retirement(&key, 20, false)).await, RetireKeyOutcome::AlreadyRetired);
    let unknown = super::fixtures::key(Algorithm::RS256, 0);
    assert_eq!(apply(store, retirement(&unknown, 20, true)).await, RetireKeyOutcome::Unknown);
    let stored = &store.read.keys().await.unwrap()[0];
    assert_eq!((stored.retired_at, stored.compromised), (Some(at(10)), false));
    assert_eq!(audited(store, "key.retired").await, 1);
    assert_eq!(store.read.revocations(at(0), at(0)).await.unwrap(), []);
}

pub async fn tokens_of_a_compromised_key_are_refused(store: &Store, _: &impl Database) {
    let key = staged(store, Algorithm::RS256, 0).await;
    apply(store, retirement(&key, 10, false)).await;
    assert_eq!(apply(store, retirement(&key, 20, true)).await, RetireKeyOutcome::Retired);
    for compromised in [true, false] {
        assert_eq!(
            apply(store, retirement(&key, 30, compromised)).await,
            RetireKeyOutcome::AlreadyRetired
        );
    }
    let stored = &store.read.keys().await.unwrap()[0];
    assert_eq!((stored.retired_at, stored.compromised), (Some(at(10)), true));
    let revocation = Revocation { kind: RevocationKind::Key, id: key.kid, until: at(920) };
    assert_eq!(store.read.revocations(at(20), at(20)).await.unwrap(), [revocation]);
    assert_eq!(audited(store, "key.retired").await, 2);
}

pub async fn private_halves_are_resealed_unless_wiped(store: &Store, _: &impl Database) {
    let first = staged(store, Algorithm::RS256, 0).await;
    let wiped = staged(store, Algorithm::RS256, 10).await;
    let other = staged(store, Algorithm::ES256, 20).await;
    apply(store, RemoveExpired { wipe_keys: vec![wiped.kid.clone()], ..nothing_expires() }).await;
    let sealed = [&first, &wiped].map(|key| (key.kid.clone(), "sealed anew".to_owned()));
    let unknown = ("unknown".to_owned(), "sealed anew".to_owned());
    let reseal = ResealKeys {
        sealed: sealed.into_iter().chain([unknown]).collect(),
        audit: entry("keys.resealed"),
    };
    assert_eq!(apply(store, reseal).await, 1);
    let halves = store.read.keys().await.unwrap().into_iter().map(|key| key.sealed_private);
    let expected = [Some("sealed anew".to_owned()), None, other.sealed_private];
    assert_eq!(Vec::from_iter(halves), expected);
    assert_eq!(audited(store, "keys.resealed").await, 1);
}
