//! [`RemoveExpired`].

use std::time::Duration;

use latchkey::protocol::jwt::Algorithm;
use latchkey::store::Store;
use latchkey::store::model::{FamilyId, NewFamily, SessionId};
use latchkey::store::operation::{
    AppendAudit, RemoveExpired, Removed, RevokeTarget, StageKey, StageKeyOutcome,
};
use uuid::Uuid;

use super::Database;
use super::fixtures::{
    advance, apply, at, created, creation, entry, key, revoke, rows, sign_in, signed_in,
};

/// A step that finds nothing to remove.
pub fn nothing_expires() -> RemoveExpired {
    RemoveExpired {
        now: at(-1),
        idle_since: at(-1),
        created_before: at(-1),
        revoked_before: at(-1),
        audited_before: None,
        wipe_keys: Vec::new(),
        families_after: None,
        limit: 1000,
    }
}

pub async fn what_nobody_needs_is_removed(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let revoked = signed_in(store, sign_in(&person)).await;
    apply(store, revoke(RevokeTarget::Family(revoked.family.id))).await;
    let mut personal = entry("session.refused");
    personal.address = Some("203.0.113.9".to_owned());
    apply(store, AppendAudit(personal)).await;

    let by_revocation = RemoveExpired { revoked_before: at(100), ..nothing_expires() };
    assert_eq!(apply(store, by_revocation).await, Removed { families: 1, ..Removed::default() });
    assert_eq!(store.read.live_families().await.unwrap(), [(person.family.id, 0)]);

    let tickets = RemoveExpired { now: at(600), ..nothing_expires() };
    assert_eq!(apply(store, tickets).await, Removed { spent: 3, ..Removed::default() });
    let revocations = RemoveExpired { now: at(1030), ..nothing_expires() };
    assert_eq!(apply(store, revocations).await, Removed { revocations: 1, ..Removed::default() });
    let audit = RemoveExpired { audited_before: Some(at(0)), ..nothing_expires() };
    assert_eq!(apply(store, audit).await, Removed { audit: 5, ..Removed::default() });
    let families = RemoveExpired { idle_since: at(0), ..nothing_expires() };
    assert_eq!(apply(store, families).await, Removed { families: 1, ..Removed::default() });
    let left: Vec<_> = rows(database).await.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(left, [("users", 1), ("identities", 1), ("emails", 1)]);
}

pub async fn what_is_needed_stays(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    apply(store, advance(person.family.id, 0)).await;
    let ended = signed_in(store, sign_in(&person)).await;
    apply(store, revoke(RevokeTarget::Family(ended.family.id))).await;
    let before = rows(database).await;
    let step = RemoveExpired {
        now: at(599),
        idle_since: at(-1),
        created_before: at(-1),
        revoked_before: at(99),
        audited_before: Some(at(-1)),
        ..nothing_expires()
    };
    assert_eq!(apply(store, step).await, Removed::default());
    assert_eq!(rows(database).await, before);

    let by_age = RemoveExpired { created_before: at(0), ..nothing_expires() };
    assert_eq!(apply(store, by_age).await.families, 2, "however lately they were used");
}

fn with_number(family: NewFamily, number: u128) -> NewFamily {
    let id = Uuid::from_u128(number);
    NewFamily { id: FamilyId(id), session: SessionId(id), ..family }
}

pub async fn families_are_walked_in_bounded_steps(store: &Store, database: &impl Database) {
    let mut request = creation("ada");
    request.family = with_number(request.family, 1);
    apply(store, request.clone()).await;
    let person = store.read.family(request.family.id).await.unwrap().unwrap();
    for number in 2..=7 {
        let mut sign_in = sign_in(&person);
        sign_in.family = with_number(sign_in.family, number);
        sign_in.family.created_at = at(if number % 2 == 0 { 0 } else { 50 });
        signed_in(store, sign_in).await;
        let mut revoke = revoke(RevokeTarget::Session(SessionId::new(at(0))));
        revoke.tokens_live_for = Duration::ZERO;
        apply(store, revoke).await;
    }
    let mut step = RemoveExpired {
        now: at(600),
        idle_since: at(0),
        audited_before: Some(at(0)),
        limit: 3,
        ..nothing_expires()
    };
    let first = apply(store, step.clone()).await;
    let third = FamilyId(Uuid::from_u128(3));
    let expected = Removed {
        requests: 0,
        families: 2,
        spent: 3,
        revocations: 3,
        audit: 3,
        held_usernames: 0,
        families_after: Some(third),
    };
    assert_eq!(first, expected);

    let mut removed = first.families;
    let mut after = first.families_after;
    let mut steps = 1;
    while after.is_some() {
        step.families_after = after;
        let next = apply(store, step.clone()).await;
        assert!(next.families_after.is_none() || next.families_after > after);
        (removed, after, steps) = (removed + next.families, next.families_after, steps + 1);
    }
    assert_eq!((removed, steps), (4, 3));
    let left = store.read.live_families().await.unwrap();
    assert_eq!(left.iter().map(|(id, _)| id.0.as_u128()).collect::<Vec<_>>(), [3, 5, 7]);
    assert_eq!(database.number("SELECT count(*) FROM spent").await, 0);
}

pub async fn private_halves_are_wiped(store: &Store, _: &impl Database) {
    let key = key(Algorithm::RS256, 0);
    let staging = StageKey { key: key.clone(), newest: None, audit: entry("key.staged") };
    assert_eq!(apply(store, staging).await, StageKeyOutcome::Staged);
    let step = RemoveExpired {
        wipe_keys: vec![key.kid.clone(), "unknown".to_owned()],
        ..nothing_expires()
    };
    for _ in 0..2 {
        assert_eq!(apply(store, step.clone()).await, Removed::default());
    }
    let mut public = key;
    public.sealed_private = None;
    assert_eq!(store.read.keys().await.unwrap(), [public]);
}
