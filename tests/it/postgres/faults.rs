//! Connections that break at the worst moment, and servers that are gone.

use std::time::Duration;

use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::secret::Secret;
use latchkey::store::error::StoreError;
use latchkey::store::model::FamilyId;
use latchkey::store::operation::{
    AdvanceOutcome, CreateUserOutcome, Operation, Outcome, RevokeOutcome, SignInOutcome, Write,
};
use latchkey::store::{self, Store};

use super::cluster::PrivateCluster;
use super::proxy::{Cut, Proxy};
use super::sample::{advance, append, create_user, person, revoke, sign_in, stage_key, write};
use super::{Guard, fresh_settings, open, settings_on};

/// A store whose connections go through a proxy, and one that looks at the same schema directly.
async fn stores_by_proxy() -> (Store, Store, Proxy, Guard) {
    let (settings, guard) = fresh_settings();
    store::migrate(&settings).await.unwrap();
    let url = guard.url.expose();
    let (start, end) = url.rsplit_once("@127.0.0.1:").expect("the server is on this machine");
    let (port, path) = end.split_once('/').unwrap();
    let proxy = Proxy::start(port.parse().unwrap()).await;
    let by_proxy = format!("{start}@127.0.0.1:{}/{path}", proxy.port);
    let by_proxy = StoreUrl::Postgres(Secret::new(by_proxy));
    let settings_by_proxy = StoreSettings { url: by_proxy, ..settings.clone() };
    (open(&settings_by_proxy).await, open(&settings).await, proxy, guard)
}

async fn generation(store: &Store, id: FamilyId) -> u64 {
    store.read.family(id).await.unwrap().expect("the family is there").family.generation
}

#[tokio::test]
async fn an_advance_whose_answer_was_lost_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let (_, id) = person(&store, "rivka").await;
    write(&store, advance(id, 0)).await.unwrap();

    proxy.cut(Cut::Answer("UPDATE 1"));
    let AdvanceOutcome::Moved { live, before } = write(&store, advance(id, 1)).await.unwrap()
    else {
        panic!("it moved")
    };
    assert!(proxy.was_cut());
    assert_eq!((live.family.generation, before), (2, 1));
    assert_eq!(generation(&direct, id).await, 2);
    assert_eq!(store.counters.read_back(), 1);
}

#[tokio::test]
async fn an_advance_that_never_arrived_is_repeated() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let (_, id) = person(&store, "rivka").await;
    write(&store, advance(id, 0)).await.unwrap();

    proxy.cut(Cut::Request(""));
    let outcome = write(&store, advance(id, 1)).await.unwrap();
    assert!(proxy.was_cut());
    assert!(matches!(outcome, AdvanceOutcome::Moved { before: 1, .. }), "{outcome:?}");
    assert_eq!(generation(&direct, id).await, 2);
}

#[tokio::test]
async fn an_old_generation_is_not_taken_for_an_advance_whose_answer_was_lost() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let (_, id) = person(&store, "rivka").await;
    write(&store, advance(id, 0)).await.unwrap();

    // The row is at presented + 1 already: not by this write, but by one long before.
    let mut late = advance(id, 0);
    late.now = late.now.plus(Duration::from_secs(600));
    proxy.cut(Cut::Answer("UPDATE 0"));
    assert_eq!(write(&store, late).await.unwrap(), AdvanceOutcome::Unmoved);
    assert!(proxy.was_cut());
    assert_eq!(generation(&direct, id).await, 1);
}

/// One of each kind that leaves a trace, all certain to do something.
async fn mixed_batch(store: &Store) -> Vec<Operation> {
    let (user, first) = person(store, "rivka").await;
    let (_, second) = person(store, "noa").await;
    vec![
        advance(first, 0).into_operation(),
        sign_in(user.id, "rivka").into_operation(),
        revoke(second).into_operation(),
        append().into_operation(),
        create_user("tamar").into_operation(),
        stage_key("a").into_operation(),
    ]
}

fn assert_all_happened(answers: &[Result<Outcome, StoreError>]) {
    let [advanced, signed_in, revoked, appended, created, staged] = answers else {
        panic!("{answers:?}")
    };
    assert!(
        matches!(advanced, Ok(Outcome::AdvanceFamily(AdvanceOutcome::Moved { before: 0, .. }))),
        "{advanced:?}"
    );
    assert!(matches!(signed_in, Ok(Outcome::SignIn(SignInOutcome::Opened(_)))), "{signed_in:?}");
    let Ok(Outcome::Revoke(RevokeOutcome { families, revocations })) = revoked else {
        panic!("{revoked:?}")
    };
    assert_eq!((families.len(), revocations.len()), (1, 1));
    assert!(matches!(appended, Ok(Outcome::AppendAudit)), "{appended:?}");
    assert!(
        matches!(created, Ok(Outcome::CreateUser(CreateUserOutcome::Created(_)))),
        "{created:?}"
    );
    assert!(matches!(staged, Ok(Outcome::StageKey(_))), "{staged:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Answer("COMMIT"));
    assert_all_happened(&store.write.apply(batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 1);
    // Three people's first families and one more, of which one ended: nothing happened twice.
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_repeated() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Request("COMMIT"));
    assert_all_happened(&store.write.apply(batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 1);
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_transaction_that_breaks_before_its_commit_is_tried_again() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Request("BEGIN"));
    assert_all_happened(&store.write.apply(batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 0);
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

/// Longer than every limit of the store together.
const BOUND: Duration = Duration::from_secs(12);

async fn bounded<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, answer).await.expect("it is answered in bounded time")
}

async fn store_on(cluster: &PrivateCluster) -> (Store, Guard) {
    let (settings, guard) = settings_on(cluster.url());
    store::migrate(&settings).await.unwrap();
    (open(&settings).await, guard)
}

#[tokio::test]
async fn a_server_that_is_gone_is_reported_and_used_again_once_it_is_back() {
    let mut cluster = PrivateCluster::start();
    let (store, guard) = store_on(&cluster).await;
    let (user, id) = person(&store, "rivka").await;

    cluster.kill();
    let read = bounded(store.read.user(user.id)).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let write_while_down = bounded(write(&store, append())).await;
    assert!(matches!(write_while_down, Err(StoreError::Unavailable(_))), "{write_while_down:?}");

    cluster.restart();
    assert_eq!(store.read.user(user.id).await.unwrap().map(|user| user.id), Some(user.id));
    assert!(matches!(write(&store, advance(id, 0)).await, Ok(AdvanceOutcome::Moved { .. })));
    drop(guard);
}

#[tokio::test]
async fn a_restart_between_two_writes_costs_no_error() {
    let mut cluster = PrivateCluster::start();
    let (store, guard) = store_on(&cluster).await;
    let (_, id) = person(&store, "rivka").await;
    for generation in 0..3 {
        cluster.kill();
        cluster.restart();
        let outcome = write(&store, advance(id, generation)).await.unwrap();
        assert!(matches!(outcome, AdvanceOutcome::Moved { .. }), "{outcome:?}");
    }
    drop(guard);
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_nothing_happens_twice() {
    let cluster = PrivateCluster::start();
    let (store, guard) = store_on(&cluster).await;
    let (user, id) = person(&store, "rivka").await;
    write(&store, advance(id, 0)).await.unwrap();

    cluster.freeze();
    let (read, written) =
        bounded(async { tokio::join!(store.read.user(user.id), write(&store, advance(id, 1))) })
            .await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(StoreError::OutcomeUnknown(_))), "{written:?}");

    cluster.thaw();
    // The statement may still be done by the server, before or after this one: one of them moves it.
    bounded(write(&store, advance(id, 1))).await.unwrap();
    assert_eq!(generation(&store, id).await, 2);
    drop(guard);
}
