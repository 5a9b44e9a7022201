//! [`AdvanceFamily`](latchkey::store::operation::AdvanceFamily).

use latchkey::store::Store;
use latchkey::store::model::FamilyId;
use latchkey::store::operation::{AdvanceOutcome, RevokeTarget};

use super::Database;
use super::fixtures::{advance, apply, at, created, revoke, sign_in, signed_in};

pub async fn a_due_family_moves(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let AdvanceOutcome::Moved { live, before } = apply(store, advance(person.family.id, 0)).await
    else {
        panic!("it is due")
    };
    assert_eq!((before, live.family.generation, live.family.rotated_at), (0, 1, at(1000)));
    assert_eq!(live.user, person.user);
    assert_eq!(store.read.family(person.family.id).await.unwrap(), Some(*live));
}

pub async fn an_older_generation_does_not_move(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let mut again = advance(person.family.id, 0);
    assert!(matches!(apply(store, again.clone()).await, AdvanceOutcome::Moved { .. }));
    let before = store.read.family(person.family.id).await.unwrap();
    (again.now, again.rotated_before) = (at(2000), at(1940));
    assert_eq!(apply(store, again).await, AdvanceOutcome::Unmoved);
    assert_eq!(store.read.family(person.family.id).await.unwrap(), before);
}

pub async fn a_family_does_not_move_within_its_grace(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let mut early = advance(person.family.id, 0);
    early.rotated_before = at(-1);
    assert_eq!(apply(store, early.clone()).await, AdvanceOutcome::Unmoved);
    early.rotated_before = at(0);
    assert!(matches!(apply(store, early).await, AdvanceOutcome::Moved { .. }));
}

pub async fn a_family_moves_on_after_lost_commits(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let mut ahead = advance(person.family.id, 7);
    ahead.rotated_before = at(-1);
    let AdvanceOutcome::Moved { live, before } = apply(store, ahead).await else {
        panic!("the MAC proves that it had moved, whatever the grace")
    };
    assert_eq!((before, live.family.generation), (0, 8));
}

pub async fn a_generation_that_no_row_can_hold_does_not_move(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let last = i64::MAX as u64;
    for presented in [u64::MAX, last + 1, last] {
        let unmoved = apply(store, advance(person.family.id, presented)).await;
        assert_eq!(unmoved, AdvanceOutcome::Unmoved, "{presented}");
    }
    let moved = apply(store, advance(person.family.id, last - 1)).await;
    let AdvanceOutcome::Moved { live, before: 0 } = moved else { panic!("{moved:?}") };
    assert_eq!(live.family.generation, last);
    assert_eq!(store.read.live_families().await.unwrap(), [(person.family.id, last)]);
}

pub async fn an_unknown_family_does_not_move(store: &Store, _: &impl Database) {
    let unknown = FamilyId::new(at(0));
    assert_eq!(apply(store, advance(unknown, 0)).await, AdvanceOutcome::Unmoved);
    assert_eq!(store.read.family(unknown).await.unwrap(), None);
}

pub async fn a_revoked_family_does_not_move(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    apply(store, revoke(RevokeTarget::Family(person.family.id))).await;
    assert_eq!(apply(store, advance(person.family.id, 0)).await, AdvanceOutcome::Unmoved);
    assert_eq!(apply(store, advance(person.family.id, 5)).await, AdvanceOutcome::Unmoved);
    let family = store.read.family(person.family.id).await.unwrap().unwrap().family;
    assert_eq!((family.generation, family.revoked_at), (0, Some(at(100))));
}

pub async fn an_expired_family_does_not_move(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let mut idle = advance(person.family.id, 0);
    idle.idle_since = at(0);
    assert_eq!(apply(store, idle).await, AdvanceOutcome::Unmoved);
    let mut old = advance(person.family.id, 0);
    old.created_after = at(0);
    assert_eq!(apply(store, old).await, AdvanceOutcome::Unmoved);
}

pub async fn only_an_active_person_moves_a_family(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        assert_eq!(apply(store, advance(person.family.id, 0)).await, AdvanceOutcome::Unmoved);
    }
    database.execute("UPDATE users SET status = 'active'").await;
    let moved = apply(store, advance(person.family.id, 0)).await;
    assert!(matches!(moved, AdvanceOutcome::Moved { .. }));
}

pub async fn live_families_are_those_not_revoked(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let second = signed_in(store, sign_in(&person)).await;
    apply(store, advance(second.family.id, 0)).await;
    apply(store, revoke(RevokeTarget::Family(person.family.id))).await;
    assert_eq!(store.read.live_families().await.unwrap(), [(second.family.id, 1)]);
}
