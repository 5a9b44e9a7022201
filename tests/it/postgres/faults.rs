//! Connections that break at the worst moment, and servers that are gone.

use crate::store_contract::fixtures::apply_batch;
use std::time::Duration;

use latchkey::clock::Clock;
use latchkey::protocol::jwt::Algorithm;
use latchkey::store::error::StoreError;
use latchkey::store::model::{FamilyId, Role, UserStatus};
use latchkey::store::operation::{
    AdvanceOutcome, AppendAudit, AppendCheckpoint, ChangeUsernameOutcome, ClaimOutcome,
    ConsentOutcome, CreateUserOutcome, DeleteUserOutcome, EndSessionsBefore, EndedSessions,
    LockUserOutcome, OpenSession, Operation, Outcome, RedeemOutcome, RevokeOutcome, RevokeTarget,
    SetRoleOutcome, SettleDelivery, SettleRequest, SignInOutcome, Spend, StageKey, StageKeyOutcome,
    Write,
};
use latchkey::store::trail::Trail;
use latchkey::store::{self, Store};

use super::cluster::PrivateCluster;
use super::proxy::{Cut, Proxy, by_proxy};
use super::{Guard, fresh_store, fresh_store_on};
use crate::store_contract::Database;
use crate::store_contract::accounts::{change, deletion};
use crate::store_contract::administration::{claim as claim_of, lock, role, unlock};
use crate::store_contract::deliveries::{claim, due, settle};
use crate::store_contract::fixtures::{
    TOKENS_LIVE_FOR, advance, apply, at, audited, client, consent, created, creation, entry,
    family, key, redeemed, redemption, registered, removal, replay, revoke, sign_in, ticket,
    try_apply,
};
use crate::store_contract::grants::withdrawal;
use crate::store_contract::trail::verified;

/// A store whose connections go through a proxy, and one that looks at the same schema directly.
pub(super) async fn stores_by_proxy() -> (Store, Store, Proxy, Guard) {
    let (direct, guard) = fresh_store().await;
    let (settings, proxy) = by_proxy(&guard.settings).await;
    let by_proxy = store::open(&settings, &Clock::system()).await.unwrap();
    (by_proxy, direct, proxy, guard)
}

/// A family at generation 1, so that the store has its connection and its statement.
async fn advanced_once(store: &Store) -> FamilyId {
    let id = created(store, "ada").await.family.id;
    let outcome = apply(store, advance(id, 0)).await;
    assert!(matches!(outcome, AdvanceOutcome::Moved { before: 0, .. }), "{outcome:?}");
    id
}

/// The second advance of a family.
fn second(id: FamilyId) -> latchkey::store::operation::AdvanceFamily {
    let mut second = advance(id, 1);
    (second.now, second.rotated_before) = (at(2000), at(1940));
    second
}

async fn generation(store: &Store, id: FamilyId) -> u64 {
    store.read.family(id).await.unwrap().expect("the family is there").family.generation
}

#[tokio::test]
async fn an_advance_whose_answer_was_lost_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let id = advanced_once(&store).await;

    proxy.cut(Cut::Answer("UPDATE 1"));
    let AdvanceOutcome::Moved { live, before } = apply(&store, second(id)).await else {
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
    let id = advanced_once(&store).await;

    proxy.cut(Cut::Request(""));
    let outcome = apply(&store, second(id)).await;
    assert!(proxy.was_cut());
    assert!(matches!(outcome, AdvanceOutcome::Moved { before: 1, .. }), "{outcome:?}");
    assert_eq!(generation(&direct, id).await, 2);
}

#[tokio::test]
async fn an_old_generation_is_not_taken_for_an_advance_whose_answer_was_lost() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let id = advanced_once(&store).await;

    // The row is at presented + 1 already: not by this write, but by one long before.
    let mut late = advance(id, 0);
    late.now = at(1600);
    proxy.cut(Cut::Answer("UPDATE 0"));
    assert_eq!(apply(&store, late).await, AdvanceOutcome::Unmoved);
    assert!(proxy.was_cut());
    assert_eq!(generation(&direct, id).await, 1);
}

/// One of each kind that leaves a trace, all certain to do something.
async fn mixed_batch(store: &Store) -> Vec<Operation> {
    let first = created(store, "ada").await;
    let second = created(store, "ben").await;
    let staging =
        StageKey { key: key(Algorithm::ES256, 0), newest: None, audit: entry("key.staged") };
    vec![
        advance(first.family.id, 0).into_operation(),
        sign_in(&first).into_operation(),
        revoke(RevokeTarget::Family(second.family.id)).into_operation(),
        AppendAudit(entry("session.refused")).into_operation(),
        creation("cem").into_operation(),
        staging.into_operation(),
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
    assert!(matches!(staged, Ok(Outcome::StageKey(StageKeyOutcome::Staged))), "{staged:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Answer("COMMIT"));
    assert_all_happened(&apply_batch(&store, batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 1);
    // Three people's first families and one more, of which one ended: nothing happened twice.
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_change_of_name_and_a_deletion_are_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let ada = created(&store, "ada").await;
    proxy.cut(Cut::Answer("COMMIT"));
    let changed = apply(&store, change(ada.user.id, "countess", 50)).await;
    assert!(proxy.was_cut());
    assert!(
        matches!(&changed, ChangeUsernameOutcome::Changed(person) if person.username == "countess"),
        "{changed:?}"
    );
    proxy.cut(Cut::Answer("COMMIT"));
    let deleted = apply(&store, deletion(&ada)).await;
    assert!(proxy.was_cut());
    let DeleteUserOutcome::Deleted { revocations, .. } = deleted else { panic!("{deleted:?}") };
    assert_eq!(direct.read.revocations(at(0), at(100)).await.unwrap(), revocations);
    assert_eq!(store.counters.read_back(), 2);
    assert_eq!(direct.read.user_count().await.unwrap(), 0);
}

/// How many grants of clients live, and what the trail says of codes.
async fn of_codes(store: &Store, guard: &Guard) -> (i64, usize, usize) {
    let sql = "SELECT count(*) FROM token_families
                WHERE client_id <> 'latchkey' AND revoked_at IS NULL";
    let live = guard.number(sql).await;
    (live, audited(store, "grant.opened").await, audited(store, "code.replayed").await)
}

#[tokio::test]
async fn codes_whose_commit_was_lost_are_read_back_and_not_taken_for_replays() {
    let (store, direct, proxy, guard) = stores_by_proxy().await;
    registered(&store, client("shop")).await;
    let person = created(&store, "ada").await;
    let (first, second) = (redemption(&person), redemption(&person));
    // The answer is lost, then the request.
    for (code, cut) in [(&first, Cut::Answer("COMMIT")), (&second, Cut::Request("COMMIT"))] {
        proxy.cut(cut);
        let opened = redeemed(&store, code.clone()).await;
        assert!(proxy.was_cut());
        assert_eq!((opened.family.id, opened.family.revoked_at), (code.family.id, None));
    }
    assert_eq!(store.counters.read_back(), 2);
    assert_eq!(of_codes(&direct, &guard).await, (2, 2, 0));

    proxy.cut(Cut::Answer("COMMIT"));
    let replayed = apply(&store, replay(&first)).await;
    assert!(proxy.was_cut());
    let RedeemOutcome::Replayed(ended) = replayed else { panic!("{replayed:?}") };
    assert_eq!(ended.families, [first.family.id]);
    assert_eq!(direct.read.revocations(at(20), at(20)).await.unwrap(), ended.revocations);
    assert_eq!(of_codes(&direct, &guard).await, (1, 2, 1));

    // A repetition that finds its own first try committed ends nothing.
    let again = apply(&store, second.clone()).await;
    assert_eq!(again, RedeemOutcome::Replayed(RevokeOutcome::default()));
    assert_eq!(of_codes(&direct, &guard).await, (1, 2, 1));
}

#[tokio::test]
async fn what_was_spent_by_a_commit_that_was_lost_is_refused_rather_than_passed_twice() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let (lost, unsent) = (ticket(), ticket());
    proxy.cut(Cut::Answer("COMMIT"));
    assert!(!apply(&store, Spend(lost)).await, "nobody knows whose it was");
    assert!(proxy.was_cut());
    proxy.cut(Cut::Request("COMMIT"));
    assert!(apply(&store, Spend(unsent.clone())).await);
    assert!(proxy.was_cut());
    assert!(!apply(&direct, Spend(unsent)).await);
}

#[tokio::test]
async fn what_becomes_of_clients_and_consents_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let person = created(&store, "ada").await;
    proxy.cut(Cut::Answer("COMMIT"));
    registered(&store, client("shop")).await;
    assert!(proxy.was_cut());
    proxy.cut(Cut::Answer("COMMIT"));
    let given = apply(&store, consent(&person, "openid")).await;
    assert_eq!(given, ConsentOutcome::Given);
    assert!(proxy.was_cut());
    let grant = redeemed(&store, redemption(&person)).await.family.id;
    proxy.cut(Cut::Answer("COMMIT"));
    let ended = apply(&store, withdrawal(&person)).await.expect("it had access");
    assert!(proxy.was_cut());
    assert_eq!(ended.families, [grant]);
    proxy.cut(Cut::Answer("COMMIT"));
    let removed = apply(&store, removal("shop")).await.expect("it was there");
    assert!(proxy.was_cut());
    let mut stored = ended.revocations;
    stored.push(removed);
    assert_eq!(direct.read.revocations(at(0), at(50)).await.unwrap(), stored);
    assert_eq!(store.counters.read_back(), 4);
}

#[tokio::test]
async fn deliveries_whose_commit_was_lost_are_settled_once() {
    let (store, direct, proxy, guard) = stores_by_proxy().await;
    due(&store, 2).await;
    proxy.cut(Cut::Answer("COMMIT"));
    assert_eq!(apply(&store, claim(100)).await, [], "they are left until the lease is over");
    assert!(proxy.was_cut());
    let claimed = apply(&direct, claim(160)).await;
    let [done, failed] = &claimed[..] else { panic!("{claimed:?}") };
    proxy.cut(Cut::Answer("COMMIT"));
    apply(&store, SettleDelivery { retry_at: Some(at(300)), ..settle(failed) }).await;
    assert!(proxy.was_cut());
    let attempts = "SELECT sum(attempts) FROM deliveries";
    assert_eq!(guard.number(attempts).await, 1, "it was tried once");
    proxy.cut(Cut::Answer("COMMIT"));
    apply(&store, SettleDelivery { audit: Some(entry("delivery.failed")), ..settle(done) }).await;
    assert!(proxy.was_cut());
    assert_eq!(audited(&direct, "delivery.failed").await, 1);
    assert_eq!(guard.number("SELECT count(*) FROM deliveries").await, 1);
}

#[tokio::test]
async fn a_trail_has_no_gap_and_no_fork_whatever_becomes_of_commits() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let mut trail = Trail::default();
    let noted = || AppendAudit(entry("test.noted")).into_operation();
    // Before the first, and after each whose outcome was unknown, a chain begins.
    let cuts = [
        Cut::Never,
        Cut::Answer("COMMIT"),
        Cut::Never,
        Cut::Request("COMMIT"),
        Cut::Request("BEGIN"),
        Cut::Never,
    ];
    for cut in cuts {
        proxy.cut(cut);
        let answers = store.write.apply(vec![noted(), noted()], &mut trail).await;
        assert!(proxy.was_cut() && answers.iter().all(Result::is_ok), "{cut:?}: {answers:?}");
    }
    let mut lengths: Vec<usize> = verified(&direct).await.iter().map(Vec::len).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [2, 4, 6]);
    assert_eq!(store.counters.read_back(), 2);
}

#[tokio::test]
async fn what_administration_wrote_by_a_commit_that_was_lost_is_read_back() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let ada = created(&store, "ada").await;
    let id = ada.user.id;
    macro_rules! lost {
        ($request:expr) => {{
            proxy.cut(Cut::Answer("COMMIT"));
            let answer = apply(&store, $request).await;
            assert!(proxy.was_cut());
            answer
        }};
    }
    let SetRoleOutcome::Set(person) = lost!(role(id, Role::Admin)) else { panic!("it was set") };
    assert_eq!(person.role, Role::Admin);
    assert_eq!(apply(&store, role(id, Role::User)).await, SetRoleOutcome::LastAdmin);
    let ben = created(&store, "ben").await;
    let LockUserOutcome::Locked(person, ended) = lost!(lock(ben.user.id)) else {
        panic!("ben was locked")
    };
    assert_eq!((person.status, ended.families), (UserStatus::Locked, vec![ben.family.id]));
    let person = lost!(unlock(ben.user.id)).expect("ben is there");
    assert_eq!(person.status, UserStatus::Active);
    let (family, last_used) = (family(ben.user.id), at(-500));
    let opened = lost!(OpenSession { family, last_used, audit: entry("session.opened") });
    assert_eq!(opened.expect("ben is active").family.rotated_at, at(-500));
    let statement =
        AppendCheckpoint { number: 1, removed_before: None, audit: entry("audit.checkpoint") };
    assert!(lost!(statement));
    let ending = EndSessionsBefore {
        before: at(50),
        after: None,
        limit: 100,
        tokens_live_for: TOKENS_LIVE_FOR,
        audit: entry("sessions.ended"),
    };
    let EndedSessions { ended, after } = lost!(ending.clone());
    assert_eq!((ended.families.len(), ended.revocations.len()), (2, 2));
    assert_eq!(after, ended.families.last().copied());
    let rest = apply(&store, EndSessionsBefore { after, audit: entry("sessions.ended"), ..ending });
    assert_eq!(rest.await, EndedSessions::default());
    assert_eq!(direct.read.live_families().await.unwrap(), []);

    // Nobody knows whose the claim is: it is not taken twice.
    assert_eq!(lost!(claim_of(1, 0)), ClaimOutcome::UnderWay);
    let answer = Some(("sealed".to_owned(), at(500)));
    lost!(SettleRequest { id: [1; 32], answer });
    assert_eq!(apply(&direct, claim_of(1, 0)).await, ClaimOutcome::Answered("sealed".to_owned()));
    verified(&direct).await;
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_repeated() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Request("COMMIT"));
    assert_all_happened(&apply_batch(&store, batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 1);
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_transaction_that_breaks_before_its_commit_is_tried_again() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let batch = mixed_batch(&store).await;
    proxy.cut(Cut::Request("BEGIN"));
    assert_all_happened(&apply_batch(&store, batch).await);
    assert!(proxy.was_cut());
    assert_eq!(store.counters.read_back(), 0);
    assert_eq!(direct.read.live_families().await.unwrap().len(), 3);
}

/// Longer than every limit of the store together.
const BOUND: Duration = Duration::from_secs(12);

async fn bounded<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, answer).await.expect("it is answered in bounded time")
}

#[tokio::test]
async fn a_server_that_is_gone_is_reported_and_used_again_once_it_is_back() {
    let mut cluster = PrivateCluster::start();
    let (store, _guard) = fresh_store_on(cluster.url()).await;
    let person = created(&store, "ada").await;

    cluster.kill();
    let read = bounded(store.read.user(person.user.id)).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let written = bounded(try_apply(&store, AppendAudit(entry("lost")))).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");

    cluster.restart();
    assert_eq!(store.read.user(person.user.id).await.unwrap(), Some(person.user));
    let outcome = apply(&store, advance(person.family.id, 0)).await;
    assert!(matches!(outcome, AdvanceOutcome::Moved { before: 0, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_restart_between_two_writes_costs_no_error() {
    let mut cluster = PrivateCluster::start();
    let (store, _guard) = fresh_store_on(cluster.url()).await;
    let id = created(&store, "ada").await.family.id;
    for generation in 0..3 {
        cluster.kill();
        cluster.restart();
        let mut due = advance(id, generation);
        due.rotated_before = due.now;
        let outcome = apply(&store, due).await;
        assert!(matches!(outcome, AdvanceOutcome::Moved { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_nothing_happens_twice() {
    let cluster = PrivateCluster::start();
    let (store, _guard) = fresh_store_on(cluster.url()).await;
    let id = advanced_once(&store).await;

    cluster.freeze();
    let (read, written) =
        bounded(async { tokio::join!(store.read.family(id), try_apply(&store, second(id))) }).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(StoreError::OutcomeUnknown(_))), "{written:?}");

    cluster.thaw();
    // The server may still do what it was sent, before this or after it: one of them moves the family.
    bounded(apply(&store, second(id))).await;
    assert_eq!(generation(&store, id).await, 2);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_read_and_written_again_once_it_does() {
    let cluster = PrivateCluster::start();
    let (store, guard) = fresh_store_on(cluster.url()).await;
    let admin = guard.connect().await;
    let role = "ALTER ROLE latchkey SET default_transaction_read_only";
    admin.batch_execute(&format!("{role} = on")).await.unwrap();
    // It is for new connections.
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    admin.batch_execute(others).await.unwrap();

    let written = bounded(try_apply(&store, creation("ada"))).await;
    assert!(matches!(written, Err(StoreError::Unwritable(_))), "{written:?}");
    assert_eq!(store.read.user_count().await.unwrap(), 0);

    // As after a failover, a new connection reaches a server that can be written.
    admin.batch_execute(&format!("{role} = off")).await.unwrap();
    created(&store, "ada").await;
}
