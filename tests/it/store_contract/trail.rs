//! The audit trail as a whole: its chains, its pages, and what is removed from it.

use futures_util::future::join;
use latchkey::protocol::audit_chain::{Content, Digest, commitment, hash};
use latchkey::store::error::StoreError;
use latchkey::store::model::{Actor, AuditEntry, AuditPage, ChainedRow, UserId};
use latchkey::store::operation::{
    AppendAudit, AppendCheckpoint, CreateUserOutcome, Operation, Outcome, RemoveExpired, Removed,
    RevokeTarget, SignInOutcome, Write,
};
use latchkey::store::trail::Trail;
use latchkey::store::{Store, migrate};
use serde_json::json;

use super::Database;
use super::expiry::nothing_expires;
use super::fixtures::{
    advance, apply, at, client, created, creation, entry, entry_of, open_again, redemption,
    registered, revoke, sign_in, ticket,
};

/// All chains of the trail, each from its beginning, with the entries that say and cover what they should.
pub async fn verified(store: &Store) -> Vec<Vec<ChainedRow>> {
    let mut chains = Vec::new();
    for head in store.read.chain_heads(None).await.unwrap() {
        let mut rows = Vec::new();
        loop {
            let page = store.read.chain(head.place.chain, rows.len() as u64, 3).await.unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        let mut previous = Digest::NONE;
        for (row, position) in rows.iter().zip(1..) {
            let place = row.place.expect("it is in a chain");
            let content = Content {
                id: row.id,
                at: row.at,
                actor: &row.actor,
                action: &row.action,
                target: &row.target,
                request_id: row.request_id.as_deref(),
                details: &row.details,
                commitment: row.commitment,
            };
            assert_eq!((place.chain, place.position), (head.place.chain, position));
            assert_eq!(place.hash, hash(place.chain, position, previous, &content));
            if let Some((salt, personal)) = &row.personal {
                assert_eq!(row.commitment, Some(commitment(salt, personal)));
            }
            previous = place.hash;
        }
        let last = rows.last().expect("a chain has entries");
        assert_eq!((last.place, last.at), (Some(head.place), head.at));
        chains.push(rows);
    }
    assert_eq!(store.read.unchained(10).await.unwrap(), []);
    chains
}

fn actions(chain: &[ChainedRow]) -> Vec<&str> {
    chain.iter().map(|row| row.action.as_str()).collect()
}

/// The chain in which an action is.
fn chain_of<'a>(chains: &'a [Vec<ChainedRow>], action: &str) -> &'a [ChainedRow] {
    let mut found = chains.iter().filter(|chain| actions(chain).contains(&action));
    found.next().expect("there is such an entry")
}

fn append(action: &'static str) -> Operation {
    AppendAudit(entry(action)).into_operation()
}

pub async fn entries_follow_each_other_in_the_order_of_their_operations(
    store: &Store,
    _: &impl Database,
) {
    registered(store, client("shop")).await;
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut trail = Trail::default();
    let mut first = sign_in(&ada);
    first.ends = Some(revoke(RevokeTarget::Session(ben.family.session)));
    let batch = vec![
        append("first"),
        first.into_operation(),
        append("third"),
        redemption(&ada).into_operation(),
        creation("cem").into_operation(),
        append("last"),
    ];
    assert!(store.write.apply(batch, &mut trail).await.iter().all(Result::is_ok));
    assert!(store.write.apply(vec![append("later")], &mut trail).await[0].is_ok());
    let chains = verified(store).await;
    let chain = chain_of(&chains, "first");
    // What runs alone comes after the others.
    let expected = [
        "first",
        "session.ended",
        "session.opened",
        "third",
        "grant.opened",
        "last",
        "user.created",
        "session.opened",
        "later",
    ];
    assert_eq!(actions(chain), expected);
}

pub async fn each_process_writes_a_chain_of_its_own(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    let (mut one, mut two) = (Trail::default(), Trail::default());
    for _ in 0..3 {
        let (first, second) = join(
            store.write.apply(vec![append("one"), append("one")], &mut one),
            other.write.apply(vec![append("two")], &mut two),
        )
        .await;
        assert!(first.iter().chain(&second).all(Result::is_ok), "{first:?}, {second:?}");
    }
    let chains = verified(store).await;
    let mut lengths = chains.iter().map(Vec::len).collect::<Vec<_>>();
    lengths.sort_unstable();
    assert_eq!(lengths, [3, 6]);
    assert!(chains.iter().all(|chain| chain.iter().all(|row| row.action == chain[0].action)));
}

pub async fn what_is_refused_or_fails_leaves_no_entry_and_no_gap(store: &Store, _: &impl Database) {
    let mut trail = Trail::default();
    let taken = entry("taken");
    let ada = created(store, "ada").await;
    let mut spent = sign_in(&ada);
    spent.spends = ticket();
    let before = vec![spent.clone().into_operation(), AppendAudit(taken.clone()).into_operation()];
    assert!(store.write.apply(before, &mut trail).await.iter().all(Result::is_ok));

    let mut twice = sign_in(&ada);
    twice.audit.id = taken.id;
    let batch = vec![
        append("kept"),
        spent.into_operation(),
        twice.into_operation(),
        append("kept too"),
        creation("ada").into_operation(),
        advance(ada.family.id, 9).into_operation(),
        creation("ben").into_operation(),
    ];
    let answers = store.write.apply(batch, &mut trail).await;
    assert!(matches!(answers[1], Ok(Outcome::SignIn(SignInOutcome::AlreadySpent))), "{answers:?}");
    assert!(matches!(answers[2], Err(StoreError::Refused(_))), "{answers:?}");
    assert!(
        matches!(answers[4], Ok(Outcome::CreateUser(CreateUserOutcome::IdentityTaken))),
        "{answers:?}"
    );
    // Behind what failed another chain may begin; none has a gap.
    let chains = verified(store).await;
    let mut written: Vec<&str> = chains.iter().flat_map(|chain| actions(chain)).collect();
    written.sort_unstable();
    let expected = [
        "kept",
        "kept too",
        "session.opened",
        "session.opened",
        "session.opened",
        "taken",
        "user.created",
        "user.created",
    ];
    assert_eq!(written, expected);
}

pub async fn entries_from_before_the_chains_are_given_places(
    store: &Store,
    database: &impl Database,
) {
    let many = (0..1_003).map(|number| {
        let mut written = entry_of(number, "test.noted");
        if number % 2 == 0 {
            written.address = Some(format!("192.0.2.{number}"));
        }
        AppendAudit(written).into_operation()
    });
    assert!(super::fixtures::apply_batch(store, many.collect()).await.iter().all(Result::is_ok));
    let before = store.read.audit(&AuditPage::newest(2_000)).await.unwrap();
    database
        .execute(
            "UPDATE audit_events SET chain = NULL, position = NULL, hash = NULL, commitment = NULL",
        )
        .await;
    database.execute("UPDATE audit_details SET salt = NULL").await;
    assert_eq!(store.read.unchained(2_000).await.unwrap().len(), 1_003);

    migrate(database.settings()).await.unwrap();
    let chains = verified(store).await;
    let [chain] = &chains[..] else { panic!("{} chains", chains.len()) };
    assert!(chain.is_sorted_by_key(|row| row.id));
    assert_eq!(chain.iter().filter(|row| row.personal.is_some()).count(), 502);
    assert_eq!(store.read.audit(&AuditPage::newest(2_000)).await.unwrap(), before);
}

pub async fn where_there_are_chains_nobody_elses_entry_gets_into_one(
    store: &Store,
    database: &impl Database,
) {
    created(store, "ada").await;
    database
        .execute(
            "UPDATE audit_events SET chain = NULL, position = NULL, hash = NULL
              WHERE action = 'session.opened'",
        )
        .await;
    migrate(database.settings()).await.unwrap();
    let unchained = store.read.unchained(10).await.unwrap();
    assert_eq!(actions(&unchained), ["session.opened"]);
    assert_eq!(unchained[0].place, None);
}

pub async fn a_checkpoint_of_a_number_is_written_once(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    assert_eq!(store.read.last_checkpoint().await.unwrap(), None);
    for number in 1..5 {
        let statement = || AppendCheckpoint {
            number,
            removed_before: (number > 1).then(|| at(10)),
            audit: entry_of(100, "audit.checkpoint"),
        };
        let (one, two) = (statement(), statement());
        let ids = [one.audit.id, two.audit.id];
        let (first, second) = join(apply(store, one), apply(&other, two)).await;
        assert!(first != second, "one of them writes it");
        let last = store.read.last_checkpoint().await.unwrap().expect("there is one");
        assert_eq!((last.number, last.removed_before), (number, (number > 1).then(|| at(10))));
        let entry = last.entry.expect("its entry is there");
        assert_eq!(entry.id, if first { ids[0] } else { ids[1] });
    }
    assert_eq!(verified(store).await.iter().map(Vec::len).sum::<usize>(), 4);
    database.execute("DELETE FROM audit_events").await;
    let last = store.read.last_checkpoint().await.unwrap().expect("the number is kept");
    assert_eq!((last.number, last.entry), (4, None));
}

pub async fn an_old_chain_goes_from_its_end_on_and_others_stay_whole(
    store: &Store,
    _: &impl Database,
) {
    let (mut old, mut goes_on) = (Trail::default(), Trail::default());
    for seconds in 1..=5 {
        let mut written = entry_of(seconds, "old");
        written.address = Some("192.0.2.1".to_owned());
        let written = AppendAudit(written).into_operation();
        assert!(store.write.apply(vec![written], &mut old).await[0].is_ok());
    }
    for seconds in [3, 51] {
        let written = AppendAudit(entry_of(seconds, "goes on")).into_operation();
        assert!(store.write.apply(vec![written], &mut goes_on).await[0].is_ok());
    }
    let step = |limit| RemoveExpired { audited_before: Some(at(50)), limit, ..nothing_expires() };
    assert_eq!(apply(store, step(2)).await, Removed { audit: 2, ..Removed::default() });
    let lengths = async || verified(store).await.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths().await, [3, 2], "what is left of it begins where it began");
    assert_eq!(apply(store, step(1_000)).await, Removed { audit: 3, ..Removed::default() });
    assert_eq!(lengths().await, [2], "its last entry is young enough");
    assert_eq!(apply(store, step(1_000)).await, Removed::default());
    let since = store.read.chain_heads(Some(at(4))).await.unwrap();
    assert_eq!(since.len(), 0, "it began before");
}

pub async fn a_page_of_the_trail_shows_what_it_was_asked_for(store: &Store, _: &impl Database) {
    let (ada, ben) = (UserId::new(at(0)), UserId::new(at(0)));
    let actors = [Actor::User(ada), Actor::User(ben), Actor::CommandLine];
    let mut all = Vec::new();
    for number in 0..24_usize {
        let action = ["user.locked", "user.unlocked"][number % 2];
        let target = format!("user:{}", if number % 4 < 2 { ada } else { ben });
        // Two of each second: in the order of their ids.
        let second = i64::try_from(number / 2).unwrap();
        let mut written = AuditEntry::new(at(second), actors[number % 3].clone(), action, target);
        written.details = json!({ "number": number });
        apply(store, AppendAudit(written.clone())).await;
        all.push(written);
    }
    all.sort_by_key(|entry| std::cmp::Reverse(entry.id));

    let (by_cli, locked) = (|| Some("cli".to_owned()), || Some("user.locked".to_owned()));
    let actor = Some(format!("user:{ada}"));
    let filters = [
        AuditPage::default(),
        AuditPage { actor: actor.clone(), ..AuditPage::default() },
        AuditPage { action: locked(), ..AuditPage::default() },
        AuditPage { target: Some(format!("user:{ben}")), ..AuditPage::default() },
        AuditPage { since: Some(at(3)), until: Some(at(9)), ..AuditPage::default() },
        AuditPage { actor, action: locked(), since: Some(at(1)), ..AuditPage::default() },
        AuditPage { actor: Some("nobody\0".to_owned()), ..AuditPage::default() },
        AuditPage { actor: by_cli(), action: locked(), ..AuditPage::default() },
        AuditPage { actor: by_cli(), action: locked(), until: Some(at(9)), ..AuditPage::default() },
        AuditPage {
            actor: by_cli(),
            action: locked(),
            target: Some(format!("user:{ben}")),
            ..AuditPage::default()
        },
        AuditPage { action: Some("user.%".to_owned()), ..AuditPage::default() },
    ];
    for filter in filters {
        let matches = |entry: &&AuditEntry| {
            filter.actor.as_ref().is_none_or(|actor| *actor == entry.actor.to_string())
                && filter.action.as_ref().is_none_or(|action| action == entry.action)
                && filter.target.as_ref().is_none_or(|target| *target == entry.target)
                && filter.since.is_none_or(|since| entry.at >= since)
                && filter.until.is_none_or(|until| entry.at < until)
        };
        let expected: Vec<_> = all.iter().filter(matches).map(|entry| entry.id).collect();
        let mut seen = Vec::new();
        let mut page = AuditPage { limit: 5, ..filter.clone() };
        loop {
            let rows = store.read.audit(&page).await.unwrap();
            let Some(last) = rows.last() else { break };
            page.before = Some(last.id);
            seen.extend(rows.iter().map(|row| row.id));
        }
        assert_eq!(seen, expected, "{filter:?}");

        // The same from the oldest on, as it is followed.
        let mut seen = Vec::new();
        let mut page =
            AuditPage { limit: 5, newer_than: Some(uuid::Uuid::nil()), ..filter.clone() };
        loop {
            let rows = store.read.audit(&page).await.unwrap();
            let Some(last) = rows.last() else { break };
            page.newer_than = Some(last.id);
            seen.extend(rows.iter().map(|row| row.id));
        }
        seen.reverse();
        assert_eq!(seen, expected, "{filter:?}");
    }
}
