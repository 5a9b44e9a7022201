//! What holds for any batch.

use crate::store_contract::fixtures::apply_batch;
use latchkey::store::Store;
use latchkey::store::error::StoreError;
use latchkey::store::operation::{
    AdvanceOutcome, AppendAudit, Operation, Outcome, SignInOutcome, Write,
};

use super::Database;
use super::fixtures::{advance, audited, created, creation, entry, rows, sign_in};

pub async fn a_batch_is_one_commit_and_each_that_runs_alone_another(
    store: &Store,
    _: &impl Database,
) {
    let person = created(store, "ada").await;
    let (commits, writes) = (store.counters.commits(), store.counters.writes());
    let answers = apply_batch(
        store,
        vec![
            advance(person.family.id, 0).into_operation(),
            AppendAudit(entry("a")).into_operation(),
            creation("ben").into_operation(),
            sign_in(&person).into_operation(),
            creation("cem").into_operation(),
        ],
    )
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(store.counters.commits() - commits, 3);
    assert_eq!(store.counters.writes() - writes, 5);
}

pub async fn a_failing_operation_fails_alone(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let taken = entry("taken");
    let append = |entry| AppendAudit(entry).into_operation();
    let mut fails_late = sign_in(&person);
    fails_late.audit.id = taken.id;
    let unspent = fails_late.spends.clone();
    let answers = apply_batch(
        store,
        vec![
            append(taken.clone()),
            append(taken.clone()),
            fails_late.into_operation(),
            advance(person.family.id, 0).into_operation(),
            append(entry("after")),
        ],
    )
    .await;
    assert!(matches!(answers[0], Ok(Outcome::AppendAudit)), "{answers:?}");
    assert!(matches!(answers[1], Err(StoreError::Refused(_))), "{answers:?}");
    assert!(matches!(answers[2], Err(StoreError::Refused(_))), "{answers:?}");
    assert!(
        matches!(answers[3], Ok(Outcome::AdvanceFamily(AdvanceOutcome::Moved { .. }))),
        "{answers:?}"
    );
    assert!(matches!(answers[4], Ok(Outcome::AppendAudit)), "{answers:?}");
    assert_eq!(store.read.live_families().await.unwrap(), [(person.family.id, 1)]);
    assert_eq!((audited(store, "taken").await, audited(store, "after").await), (1, 1));

    let mut again = sign_in(&person);
    again.spends = unspent;
    let answers = apply_batch(store, vec![again.into_operation()]).await;
    assert!(matches!(answers[0], Ok(Outcome::SignIn(SignInOutcome::Opened(_)))), "{answers:?}");
}

pub async fn answers_come_in_the_order_of_the_batch(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let mut twice = sign_in(&person);
    let first = sign_in(&person);
    twice.spends = first.spends.clone();
    let batch: Vec<Operation> = vec![
        creation("ada").into_operation(),
        first.into_operation(),
        creation("ben").into_operation(),
        twice.into_operation(),
        advance(person.family.id, 3).into_operation(),
    ];
    let answers = apply_batch(store, batch).await;
    assert!(
        matches!(
            &answers[..],
            [
                Ok(Outcome::CreateUser(_)),
                Ok(Outcome::SignIn(SignInOutcome::Opened(_))),
                Ok(Outcome::CreateUser(_)),
                Ok(Outcome::SignIn(SignInOutcome::AlreadySpent)),
                Ok(Outcome::AdvanceFamily(AdvanceOutcome::Moved { before: 0, .. })),
            ]
        ),
        "{answers:?}"
    );
    assert_eq!(rows(database).await[0], ("users", 2));
}

pub async fn an_empty_batch_has_no_answers(store: &Store, _: &impl Database) {
    assert_eq!(apply_batch(store, Vec::new()).await.len(), 0);
    assert_eq!(store.counters.commits(), 0);
}

pub async fn every_read_is_counted(store: &Store, _: &impl Database) {
    let before = store.counters.reads();
    store.read.ping().await.unwrap();
    store.read.user_count().await.unwrap();
    store.read.keys().await.unwrap();
    assert_eq!(store.counters.reads() - before, 3);
    assert!(store.read.time().await.unwrap().seconds() > 1_700_000_000);
}
