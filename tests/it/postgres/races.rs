//! Several nodes on one database.

use std::time::Duration;

use futures_util::future::join_all;
use latchkey::store::Store;
use latchkey::store::error::StoreError;
use latchkey::store::model::{FamilyId, FamilyWithUser};
use latchkey::store::operation::{
    AdvanceOutcome, CreateUserOutcome, Operation, Outcome, SignInOutcome, StageKeyOutcome, Write,
};

use super::sample::{advance, append, create_user, person, sign_in, stage_key, write};
use super::{connect, fresh_store, open, settings_in};

async fn family(store: &Store, id: FamilyId) -> FamilyWithUser {
    store.read.family(id).await.unwrap().expect("the family is there")
}

fn has_moved(answer: &Result<Outcome, StoreError>) -> bool {
    match answer {
        Ok(Outcome::AdvanceFamily(AdvanceOutcome::Moved { .. })) => true,
        Ok(Outcome::AdvanceFamily(AdvanceOutcome::Unmoved)) => false,
        other => panic!("{other:?}"),
    }
}

/// A second node: a store of its own on the same schema.
async fn another_node(guard: &super::Guard) -> Store {
    open(&settings_in(guard.url.clone(), &guard.schema)).await
}

#[tokio::test]
async fn of_nodes_racing_on_many_tokens_exactly_one_moves_each() {
    let (store, guard) = fresh_store().await;
    let nodes = [&store, &another_node(&guard).await, &another_node(&guard).await];
    let (user, _) = person(&store, "rivka").await;
    let openings = (0..40).map(|_| sign_in(user.id, "rivka").into_operation()).collect();
    let families: Vec<FamilyId> =
        store.write.apply(openings).await.into_iter().map(opened).collect();

    for generation in 0..5 {
        // Each node has the families in another order: the statement locks in its own.
        let batches = (0..nodes.len()).map(|node| {
            let mut batch: Vec<Operation> =
                families.iter().map(|&id| advance(id, generation).into_operation()).collect();
            batch.rotate_left(node * 13);
            if node == 1 {
                batch.reverse();
            }
            batch
        });
        let moved =
            join_all(nodes.iter().zip(batches).map(|(node, batch)| node.write.apply(batch))).await;
        let moves = moved.iter().flatten().filter(|answer| has_moved(answer)).count();
        assert_eq!(moves, families.len());
    }
    for id in families {
        assert_eq!(family(&store, id).await.family.generation, 5);
    }
}

fn opened(answer: Result<Outcome, StoreError>) -> FamilyId {
    match answer {
        Ok(Outcome::SignIn(SignInOutcome::Opened(live))) => live.family.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_of_advances_is_one_commit() {
    let (store, _guard) = fresh_store().await;
    let (user, _) = person(&store, "rivka").await;
    let openings = (0..100).map(|_| sign_in(user.id, "rivka").into_operation()).collect();
    let families: Vec<FamilyId> =
        store.write.apply(openings).await.into_iter().map(opened).collect();
    let (commits, writes) = (store.counters.commits(), store.counters.writes());
    let batch = families.iter().map(|&id| advance(id, 0).into_operation()).collect();
    let answers = store.write.apply(batch).await;
    assert!(answers.iter().all(has_moved));
    assert_eq!(store.counters.commits() - commits, 1);
    assert_eq!(store.counters.writes() - writes, 100);
    assert_eq!(store.counters.retried_alone(), 0);
}

#[tokio::test]
async fn one_name_and_one_identity_go_to_exactly_one_person() {
    let (store, guard) = fresh_store().await;
    let other = another_node(&guard).await;
    for round in 0..10 {
        let name = format!("name{round}");
        let mut second = create_user(&name);
        second.identity.subject = format!("other{round}");
        let answers = tokio::join!(write(&store, create_user(&name)), write(&other, second));
        assert_one_created(answers, &CreateUserOutcome::UsernameTaken);

        let subject = format!("both{round}");
        let (mut first, mut second) = (create_user(&subject), create_user(&subject));
        first.username_key = format!("first{round}");
        second.username_key = format!("second{round}");
        let answers = tokio::join!(write(&store, first), write(&other, second));
        assert_one_created(answers, &CreateUserOutcome::IdentityTaken);

        let first = create_user(&format!("ticket{round}"));
        let mut second = create_user(&format!("again{round}"));
        second.spends.clone_from(&first.spends);
        let answers = tokio::join!(write(&store, first), write(&other, second));
        assert_one_created(answers, &CreateUserOutcome::AlreadySpent);
    }
    // What was refused left nothing behind.
    assert_eq!(store.read.user_count().await.unwrap(), 30);
    assert_eq!(store.read.live_families().await.unwrap().len(), 30);
}

type Answer = Result<CreateUserOutcome, StoreError>;

fn assert_one_created((first, second): (Answer, Answer), refused: &CreateUserOutcome) {
    let answers = [first.unwrap(), second.unwrap()];
    let created = |answer: &CreateUserOutcome| matches!(answer, CreateUserOutcome::Created(_));
    assert_eq!(answers.iter().filter(|answer| created(answer)).count(), 1, "{answers:?}");
    assert!(answers.contains(refused), "{answers:?}");
}

#[tokio::test]
async fn nodes_that_rotate_at_once_stage_one_key() {
    let (store, guard) = fresh_store().await;
    let other = another_node(&guard).await;
    let (first, second) =
        tokio::join!(write(&store, stage_key("a")), write(&other, stage_key("b")));
    let kids: Vec<String> =
        store.read.keys().await.unwrap().into_iter().map(|key| key.kid).collect();
    assert_eq!(kids.len(), 1);
    let winner = StageKeyOutcome::OtherIsNewer(kids[0].clone());
    let answers = [first.unwrap(), second.unwrap()];
    assert!(answers.contains(&StageKeyOutcome::Staged) && answers.contains(&winner), "{answers:?}");
}

#[tokio::test]
async fn a_write_that_fails_fails_alone() {
    let (store, _guard) = fresh_store().await;
    let (user, id) = person(&store, "rivka").await;
    let twice = append();
    write(&store, twice.clone()).await.unwrap();
    let batch = vec![
        advance(id, 0).into_operation(),
        twice.into_operation(),
        sign_in(user.id, "rivka").into_operation(),
        append().into_operation(),
    ];
    let answers = store.write.apply(batch).await;
    assert!(has_moved(&answers[0]));
    let Err(StoreError::Refused(text)) = &answers[1] else { panic!("{:?}", answers[1]) };
    assert!(text.contains("audit_events_pkey"), "{text}");
    assert!(matches!(&answers[2], Ok(Outcome::SignIn(SignInOutcome::Opened(_)))));
    assert_eq!(answers[3].as_ref().unwrap(), &Outcome::AppendAudit);
    assert_eq!(store.counters.retried_alone(), 1);
    assert_eq!(family(&store, id).await.family.generation, 1);
}

#[tokio::test]
async fn a_family_that_another_transaction_holds_does_not_hold_up_the_rest() {
    let (store, guard) = fresh_store().await;
    let (_, held) = person(&store, "rivka").await;
    let (_, free) = person(&store, "noa").await;
    let holder = connect(&guard.url).await;
    let hold = format!(
        "BEGIN; SELECT FROM {}.token_families WHERE id = '{held}' FOR UPDATE",
        guard.schema
    );
    holder.batch_execute(&hold).await.unwrap();
    let batch = vec![advance(held, 0).into_operation(), advance(free, 0).into_operation()];
    let answers =
        tokio::time::timeout(Duration::from_secs(10), store.write.apply(batch)).await.unwrap();
    assert!(matches!(&answers[0], Err(StoreError::Unavailable(_))), "{:?}", answers[0]);
    assert!(has_moved(&answers[1]));
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert!(matches!(write(&store, advance(held, 0)).await, Ok(AdvanceOutcome::Moved { .. })));
}

#[tokio::test]
async fn a_generation_that_no_row_can_hold_moves_nothing() {
    let (store, _guard) = fresh_store().await;
    let (_, id) = person(&store, "rivka").await;
    for presented in [u64::MAX, i64::MAX as u64] {
        let mut beyond = advance(id, 0);
        beyond.presented = presented;
        assert_eq!(write(&store, beyond).await.unwrap(), AdvanceOutcome::Unmoved);
    }
    assert_eq!(family(&store, id).await.family.generation, 0);
}
