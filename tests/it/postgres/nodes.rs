//! Several nodes on one database.

use crate::store_contract::fixtures::apply_batch;
use std::time::Duration;

use futures_util::future::{join, join_all};
use latchkey::store::Store;
use latchkey::store::error::StoreError;
use latchkey::store::model::FamilyId;
use latchkey::store::operation::{
    AdvanceOutcome, Operation, Outcome, RedeemOutcome, RevokeTarget, Write,
};

use super::{Guard, fresh_store};
use crate::store_contract::Database;
use crate::store_contract::fixtures::{
    advance, apply, client, created, open_again, redeemed, redemption, registered, revoke, sign_in,
    signed_in,
};

async fn families(store: &Store, number: usize) -> Vec<FamilyId> {
    let person = created(store, "ada").await;
    let mut families = vec![person.family.id];
    while families.len() < number {
        families.push(signed_in(store, sign_in(&person)).await.family.id);
    }
    families
}

/// Advances that are due at once, whatever was done before.
fn advances(families: &[FamilyId], presented: u64) -> Vec<Operation> {
    let due = families.iter().map(|&family| {
        let mut due = advance(family, presented);
        due.rotated_before = due.now;
        due.into_operation()
    });
    due.collect()
}

fn has_moved(answer: &Result<Outcome, StoreError>) -> bool {
    match answer {
        Ok(Outcome::AdvanceFamily(AdvanceOutcome::Moved { .. })) => true,
        Ok(Outcome::AdvanceFamily(AdvanceOutcome::Unmoved)) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_nodes_that_bring_the_same_families_in_any_order_exactly_one_moves_each() {
    let (store, guard) = fresh_store().await;
    let families = families(&store, 40).await;
    let nodes = [store.clone(), open_again(&guard).await, open_again(&guard).await];
    for generation in 0..5 {
        let batches = (0..nodes.len()).map(|node| {
            let mut batch = advances(&families, generation);
            batch.rotate_left(node * 13);
            if node == 1 {
                batch.reverse();
            }
            batch
        });
        let answers =
            join_all(nodes.iter().zip(batches).map(|(node, batch)| apply_batch(node, batch))).await;
        let moves = answers.iter().flatten().filter(|answer| has_moved(answer)).count();
        assert_eq!(moves, families.len());
    }
    let live = store.read.live_families().await.unwrap();
    assert!(live.len() == families.len() && live.iter().all(|&(_, generation)| generation == 5));
}

#[tokio::test]
async fn a_batch_of_advances_is_one_transaction_of_one_statement() {
    let (store, guard) = fresh_store().await;
    let families = families(&store, 30).await;
    let (commits, writes) = (store.counters.commits(), store.counters.writes());
    let answers = apply_batch(&store, advances(&families, 0)).await;
    assert!(answers.iter().all(has_moved));
    assert_eq!(store.counters.commits() - commits, 1);
    assert_eq!(store.counters.writes() - writes, 30);
    // Every new row version was written by the same transaction.
    let sql = "SELECT count(DISTINCT xmin::text) FROM token_families";
    assert_eq!(guard.number(sql).await, 1);
}

#[tokio::test]
async fn a_batch_of_codes_is_one_transaction_of_two_statements() {
    let (store, guard) = fresh_store().await;
    registered(&store, client("shop")).await;
    let mut batch = Vec::new();
    for number in 0..30 {
        let person = created(&store, &format!("person{number}")).await;
        batch.push(redemption(&person).into_operation());
    }
    let (commits, writes) = (store.counters.commits(), store.counters.writes());
    let answers = apply_batch(&store, batch).await;
    let has_opened = |answer: &Result<Outcome, StoreError>| {
        matches!(answer, Ok(Outcome::RedeemCode(RedeemOutcome::Opened(_))))
    };
    assert!(answers.iter().all(has_opened), "{answers:?}");
    assert_eq!(store.counters.commits() - commits, 1);
    assert_eq!(store.counters.writes() - writes, 30);
    // Grants and codes were written by one command, all audit entries by another of the same transaction.
    let sql = "SELECT count(*) FROM (
                   SELECT xmin::text, cmin::text FROM token_families WHERE client_id = 'shop'
                    UNION SELECT xmin::text, cmin::text FROM spent WHERE id LIKE 'code:%'
                    UNION SELECT xmin::text, cmin::text FROM audit_events WHERE action = 'grant.opened'
               ) AS written";
    assert_eq!(guard.number(sql).await, 2);
    let sql = "SELECT count(DISTINCT xmin::text) FROM audit_events WHERE action = 'grant.opened'";
    assert_eq!(guard.number(sql).await, 1);
}

#[tokio::test]
async fn a_session_that_is_being_rotated_does_not_hold_up_its_codes() {
    let (store, guard) = fresh_store().await;
    registered(&store, client("shop")).await;
    let person = created(&store, "ada").await;
    // As another node's batch does that has not committed yet.
    let rotation = guard.connect().await;
    let sql = format!(
        "BEGIN; UPDATE token_families SET generation = 1 WHERE id = '{}'",
        person.family.id
    );
    rotation.batch_execute(&sql).await.unwrap();
    redeemed(&store, redemption(&person)).await;
    rotation.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_session_sees_what_a_code_opened_that_it_waited_for() {
    let (store, guard) = fresh_store().await;
    let person = created(&store, "ada").await;
    // As another node redeems a code in the session and has not committed yet.
    let redemption = guard.connect().await;
    let session = person.family.id;
    let sql = format!(
        "BEGIN; SELECT FROM token_families WHERE id = '{session}' FOR KEY SHARE;
         INSERT INTO token_families (id, user_id, session_id, client_id, scope, offline, generation,
                                     rotated_at, created_at, auth_time, provider, user_agent, network)
         SELECT gen_random_uuid(), user_id, session_id, 'shop', scope, offline, 0, rotated_at,
                created_at, auth_time, provider, user_agent, network
           FROM token_families WHERE id = '{session}'"
    );
    redemption.batch_execute(&sql).await.unwrap();
    let committing = async {
        let waiting = "SELECT count(*) FROM pg_locks
                        WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
        while redemption.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        redemption.batch_execute("COMMIT").await.unwrap();
    };
    let ending = apply(&store, revoke(RevokeTarget::Session(person.family.session)));
    let (ended, ()) = join(ending, committing).await;
    assert_eq!((ended.families.len(), ended.revocations.len()), (2, 2));
    assert_eq!(store.read.live_families().await.unwrap(), []);
}

#[tokio::test]
async fn a_family_that_another_transaction_holds_does_not_hold_up_the_rest() {
    let (store, guard) = fresh_store().await;
    let families = families(&store, 3).await;
    let holder = hold(&guard, families[1]).await;
    let batch = apply_batch(&store, advances(&families, 0));
    let answers = tokio::time::timeout(Duration::from_secs(60), batch).await.unwrap();
    assert!(has_moved(&answers[0]) && has_moved(&answers[2]));
    assert!(matches!(&answers[1], Err(StoreError::Unavailable(_))), "{:?}", answers[1]);
    holder.batch_execute("ROLLBACK").await.unwrap();
    let outcome = apply(&store, advance(families[1], 0)).await;
    assert!(matches!(outcome, AdvanceOutcome::Moved { .. }), "{outcome:?}");
}

async fn hold(guard: &Guard, family: FamilyId) -> tokio_postgres::Client {
    let holder = guard.connect().await;
    let sql = format!("BEGIN; SELECT FROM token_families WHERE id = '{family}' FOR UPDATE");
    holder.batch_execute(&sql).await.unwrap();
    holder
}

#[tokio::test]
async fn no_column_that_a_rotation_changes_is_indexed() {
    let (_store, guard) = fresh_store().await;
    let sql = "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indexrelid
                WHERE i.indrelid = 'token_families'::regclass
                  AND a.attname NOT IN ('id', 'user_id', 'session_id')";
    assert_eq!(guard.number(sql).await, 0);
}
