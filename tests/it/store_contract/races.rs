//! Several nodes, or tasks, that want the same at the same time.

use futures_util::future::{join, join_all};
use latchkey::protocol::jwt::Algorithm;
use latchkey::store::Store;
use latchkey::store::operation::{
    AdvanceOutcome, CreateUserOutcome, RevokeTarget, SignInOutcome, StageKey, StageKeyOutcome,
};

use super::Database;
use super::fixtures::{
    advance, apply, audited, created, creation, entry, key, open_again, revoke, sign_in,
};

pub async fn of_many_who_present_one_generation_one_moves_it(
    store: &Store,
    database: &impl Database,
) {
    let family = created(store, "ada").await.family.id;
    let stores = [store.clone(), open_again(database).await];
    for generation in 0..5 {
        let mut request = advance(family, generation);
        request.rotated_before = request.now;
        let attempts = (0..32).map(|number| apply(&stores[number % 2], request.clone()));
        let outcomes = join_all(attempts).await;
        let moved: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                AdvanceOutcome::Moved { live, before } => Some((*before, live.family.generation)),
                AdvanceOutcome::Unmoved => None,
            })
            .collect();
        assert_eq!(moved, [(generation, generation + 1)]);
    }
    assert_eq!(store.read.live_families().await.unwrap(), [(family, 5)]);
}

pub async fn of_two_who_want_a_name_one_gets_it(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..8 {
        let mut requests = [creation(&format!("one{number}")), creation(&format!("two{number}"))];
        for request in &mut requests {
            request.username_key = format!("name{number}");
        }
        let [first, second] = requests;
        let (first, second) = join(apply(store, first), apply(&other, second)).await;
        let taken = |outcome: &CreateUserOutcome| *outcome == CreateUserOutcome::UsernameTaken;
        assert!(taken(&first) != taken(&second), "{first:?}, {second:?}");
    }
    assert_eq!(store.read.user_count().await.unwrap(), 8);
    assert_eq!(audited(store, "user.created").await, 8);
}

pub async fn of_two_who_bring_an_identity_one_gets_the_account(
    store: &Store,
    database: &impl Database,
) {
    let other = open_again(database).await;
    for number in 0..8 {
        let mut requests = [creation(&format!("one{number}")), creation(&format!("two{number}"))];
        for request in &mut requests {
            request.identity.subject = format!("subject{number}");
        }
        let [first, second] = requests;
        let (first, second) = join(apply(store, first), apply(&other, second)).await;
        let taken = |outcome: &CreateUserOutcome| *outcome == CreateUserOutcome::IdentityTaken;
        assert!(taken(&first) != taken(&second), "{first:?}, {second:?}");
    }
    assert_eq!(store.read.user_count().await.unwrap(), 8);
}

pub async fn of_two_who_stage_a_key_one_does(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    let mut newest = None;
    for number in 0..8 {
        let staging = || StageKey {
            key: key(Algorithm::RS256, number),
            newest: newest.clone(),
            audit: entry("key.staged"),
        };
        let (one, two) = (staging(), staging());
        let kids = [one.key.kid.clone(), two.key.kid.clone()];
        let outcomes = join(apply(store, one), apply(&other, two)).await;
        let winner = match outcomes {
            (StageKeyOutcome::Staged, StageKeyOutcome::OtherIsNewer(kid)) if kid == kids[0] => kid,
            (StageKeyOutcome::OtherIsNewer(kid), StageKeyOutcome::Staged) if kid == kids[1] => kid,
            unexpected => panic!("{unexpected:?}"),
        };
        newest = Some(winner);
    }
    assert_eq!(store.read.keys().await.unwrap().len(), 8);
}

pub async fn of_two_who_spend_a_ticket_one_does(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let other = open_again(database).await;
    for _ in 0..8 {
        let (first, mut second) = (sign_in(&person), sign_in(&person));
        second.spends = first.spends.clone();
        let (first, second) = join(apply(store, first), apply(&other, second)).await;
        let spent = |outcome: &SignInOutcome| *outcome == SignInOutcome::AlreadySpent;
        assert!(spent(&first) != spent(&second), "{first:?}, {second:?}");
    }
    assert_eq!(store.read.live_families().await.unwrap().len(), 9);
    assert_eq!(audited(store, "session.opened").await, 9);
}

pub async fn of_many_who_end_a_session_one_does(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let stores = [store.clone(), open_again(database).await];
    let attempts = (0..16).map(|number| {
        apply(&stores[number % 2], revoke(RevokeTarget::Session(person.family.session)))
    });
    let outcomes = join_all(attempts).await;
    let ended = outcomes.iter().filter(|outcome| !outcome.families.is_empty()).count();
    assert_eq!((ended, audited(store, "session.ended").await), (1, 1));
    assert!(outcomes.iter().all(|outcome| outcome.revocations.len() == 1));
}
