//! Codes that become grants, and what people allow.

use crate::store_contract::fixtures::apply_batch;
use futures_util::future::{join, join_all};
use latchkey::store::Store;
use latchkey::store::model::{
    AppAccess, Consent, FamilyId, FamilyWithUser, GrantWithPerson, Revocation, RevocationKind,
};
use latchkey::store::operation::{
    ConsentOutcome, DeleteUserOutcome, Outcome, RecordRevocation, RedeemCode, RedeemOutcome,
    RevokeOutcome, RevokeTarget, Spend, WithdrawConsent, Write,
};

use super::Database;
use super::accounts::deletion;
use super::fixtures::{
    TOKENS_LIVE_FOR, advance, apply, at, audited, client, consent, created, email, entry, family,
    open_again, redeemed, redemption, registered, removal, replay, revoke, rows, sign_in,
    signed_in, ticket, try_apply,
};

/// What is refused once the grant has ended, by a replay at second 20 or a withdrawal then.
fn ending(family: FamilyId) -> RevokeOutcome {
    let revocation = Revocation {
        kind: RevocationKind::Family,
        id: family.to_string(),
        until: at(20).plus(TOKENS_LIVE_FOR),
    };
    RevokeOutcome { families: vec![family], revocations: vec![revocation] }
}

/// Takes the access of `shop` away at second 20.
pub fn withdrawal(person: &FamilyWithUser) -> WithdrawConsent {
    let mut audit = entry("consent.withdrawn");
    audit.at = at(20);
    WithdrawConsent {
        user: person.user.id,
        client_id: "shop".to_owned(),
        tokens_live_for: TOKENS_LIVE_FOR,
        audit,
    }
}

/// A person, and a client that they may allow something.
async fn ada_and_shop(store: &Store) -> FamilyWithUser {
    registered(store, client("shop")).await;
    created(store, "ada").await
}

/// How many grants of clients live.
async fn live_grants(database: &impl Database) -> i64 {
    let sql = "SELECT count(*) FROM token_families
                WHERE client_id <> 'latchkey' AND revoked_at IS NULL";
    database.number(sql).await
}

pub async fn a_code_opens_its_family(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let request = redemption(&person);
    let opened = redeemed(store, request.clone()).await;
    assert_eq!(opened.user, person.user);
    let family = &opened.family;
    assert_eq!((family.id, family.session), (request.family.id, person.family.session));
    assert_eq!((&*family.client_id, &*family.scope), ("shop", "openid email"));
    assert_eq!(family.resource, request.family.resource);
    assert_eq!((family.generation, family.rotated_at, family.created_at), (0, at(10), at(10)));
    assert_eq!((family.auth_time, family.revoked_at), (at(0), None));
    assert_eq!(store.read.family(family.id).await.unwrap(), Some(opened));
    assert_eq!(audited(store, "grant.opened").await, 1);
    let offline = "SELECT count(*) FROM token_families WHERE offline";
    assert_eq!(database.number(offline).await, 0);

    let mut offline_too = redemption(&person);
    offline_too.family.scope = "openid offline_access".to_owned();
    redeemed(store, offline_too).await;
    assert_eq!(database.number(offline).await, 1);
}

pub async fn a_replayed_code_ends_what_it_gave(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let (first, other) = (redemption(&person), redemption(&person));
    redeemed(store, first.clone()).await;
    redeemed(store, other.clone()).await;
    let outcome = apply(store, replay(&first)).await;
    assert_eq!(outcome, RedeemOutcome::Replayed(ending(first.family.id)));
    let ended = store.read.family(first.family.id).await.unwrap().unwrap().family;
    assert_eq!(ended.revoked_at, Some(at(20)));
    let why = "SELECT count(*) FROM token_families WHERE revoke_reason = 'code_replayed'";
    assert_eq!(database.number(why).await, 1);
    let stored = store.read.revocations(at(20), at(20)).await.unwrap();
    assert_eq!(stored, ending(first.family.id).revocations);
    assert_eq!(live_grants(database).await, 1, "the other code's");

    let before = rows(database).await;
    let again = apply(store, replay(&first)).await;
    assert_eq!(again, RedeemOutcome::Replayed(RevokeOutcome::default()), "it ended before");
    assert_eq!(rows(database).await, before);
    assert_eq!(
        (audited(store, "grant.opened").await, audited(store, "code.replayed").await),
        (2, 1)
    );
}

pub async fn who_is_not_allowed_gets_nothing_for_a_code(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let ben = created(store, "ben").await;
    let refused = async |request: RedeemCode| {
        let before = live_grants(database).await;
        assert_eq!(apply(store, request.clone()).await, RedeemOutcome::NotAllowed);
        // The code is spent all the same.
        let again = apply(store, replay(&request)).await;
        assert_eq!(again, RedeemOutcome::Replayed(RevokeOutcome::default()));
        assert_eq!(live_grants(database).await, before);
    };
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        refused(redemption(&person)).await;
    }
    database.execute("UPDATE users SET status = 'active'").await;

    let mut of_another = redemption(&person);
    of_another.family.session = ben.family.session;
    refused(of_another).await;
    // The session of a client's grant is not that grant.
    let grant = redeemed(store, redemption(&person)).await;
    let mut in_grant = redemption(&person);
    in_grant.family.session.0 = grant.family.id.0;
    refused(in_grant).await;

    let mut without_consent = redemption(&person);
    without_consent.needs_consent = true;
    refused(without_consent).await;

    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    refused(redemption(&person)).await;
    assert_eq!(audited(store, "grant.opened").await, 1);
    assert_eq!(audited(store, "code.replayed").await, 0);
}

pub async fn a_consent_must_be_there_if_the_code_needs_one(store: &Store, _: &impl Database) {
    let (person, ben) = (ada_and_shop(store).await, created(store, "ben").await);
    registered(store, client("other")).await;
    let with_consent = |person: &FamilyWithUser| {
        let mut request = redemption(person);
        request.needs_consent = true;
        request
    };
    assert_eq!(apply(store, consent(&person, "openid")).await, ConsentOutcome::Given);
    assert_eq!(apply(store, with_consent(&ben)).await, RedeemOutcome::NotAllowed);
    let mut of_other = with_consent(&person);
    of_other.family.client_id = "other".to_owned();
    assert_eq!(apply(store, of_other).await, RedeemOutcome::NotAllowed);
    redeemed(store, with_consent(&person)).await;
}

pub async fn of_two_with_one_code_in_a_batch_one_opens(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let (first, other) = (redemption(&person), redemption(&person));
    let refused = {
        let mut refused = redemption(&person);
        refused.needs_consent = true;
        refused
    };
    let batch = [
        advance(person.family.id, 0).into_operation(),
        first.clone().into_operation(),
        refused.into_operation(),
        replay(&first).into_operation(),
        other.clone().into_operation(),
        replay(&first).into_operation(),
    ];
    let commits = store.counters.commits();
    let answers = apply_batch(store, batch.into()).await;
    assert_eq!(store.counters.commits() - commits, 1);
    let outcomes: Vec<_> = answers
        .into_iter()
        .filter_map(|answer| RedeemCode::unwrap_outcome(answer.unwrap()))
        .collect();
    let [opened, not_allowed, ended, opened_too, nothing] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    let has_opened = |outcome: &RedeemOutcome, id: FamilyId| {
        matches!(outcome, RedeemOutcome::Opened(opened)
            if opened.family.id == id && opened.family.revoked_at.is_none())
    };
    assert!(has_opened(opened, first.family.id), "{opened:?}");
    assert_eq!(*not_allowed, RedeemOutcome::NotAllowed);
    assert_eq!(*ended, RedeemOutcome::Replayed(ending(first.family.id)));
    assert!(has_opened(opened_too, other.family.id), "{opened_too:?}");
    assert_eq!(*nothing, RedeemOutcome::Replayed(RevokeOutcome::default()));
    assert_eq!(live_grants(database).await, 1);
    assert_eq!(audited(store, "code.replayed").await, 1);
}

pub async fn a_redemption_that_fails_fails_alone(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let (mut fails, fine) = (redemption(&person), redemption(&person));
    // An id that is somebody's session is no code's: nothing of it must be written.
    fails.family.id = person.family.id;
    let batch = [fine.into_operation(), fails.clone().into_operation()];
    let answers = apply_batch(store, batch.into()).await;
    assert!(
        matches!(&answers[0], Ok(Outcome::RedeemCode(RedeemOutcome::Opened(_)))),
        "{answers:?}"
    );
    assert!(answers[1].is_err(), "{answers:?}");
    assert_eq!(live_grants(database).await, 1);
    assert!(apply(store, Spend(fails.spends)).await, "its code is not spent");
}

pub async fn of_many_who_redeem_a_code_one_opens(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let stores = [store.clone(), open_again(database).await];
    for number in 1..=4 {
        let first = redemption(&person);
        let attempts = (0..32).map(|node| apply(&stores[node % 2], replay(&first)));
        let outcomes = join_all(attempts).await;
        let opened = outcomes.iter().filter(|outcome| matches!(outcome, RedeemOutcome::Opened(_)));
        assert_eq!(opened.count(), 1, "{outcomes:?}");
        let ended = outcomes.iter().filter(|outcome| {
            matches!(outcome, RedeemOutcome::Replayed(ended) if !ended.families.is_empty())
        });
        assert_eq!(ended.count(), 1, "{outcomes:?}");
        assert_eq!(live_grants(database).await, 0);
        assert_eq!(audited(store, "grant.opened").await, number);
        assert_eq!(audited(store, "code.replayed").await, number);
    }
}

pub async fn batches_of_codes_do_not_wait_for_each_other_in_a_circle(
    store: &Store,
    database: &impl Database,
) {
    registered(store, client("shop")).await;
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(created(store, &format!("person{number}")).await);
    }
    let stores = [store.clone(), open_again(database).await];
    for generation in 0..5 {
        // Both nodes rotate half of the sessions and redeem codes in the other half, crosswise.
        let codes: Vec<_> = people.iter().map(redemption).collect();
        let batch = |node: usize| {
            let mut batch = Vec::new();
            for (number, (person, code)) in people.iter().zip(&codes).enumerate() {
                if number % 2 == node {
                    let mut due = advance(person.family.id, generation);
                    due.rotated_before = due.now;
                    batch.push(due.into_operation());
                } else {
                    batch.push(replay(code).into_operation());
                }
            }
            if node == 1 {
                batch.reverse();
            }
            batch
        };
        let (one, two) =
            join(apply_batch(&stores[0], batch(0)), apply_batch(&stores[1], batch(1))).await;
        assert!(one.iter().chain(&two).all(Result::is_ok), "{one:?}, {two:?}");
        // The same codes by both at once, in any order: each opens once, and ends.
        let codes: Vec<_> = people.iter().map(redemption).collect();
        let batch = || codes.iter().map(|code| replay(code).into_operation());
        let backwards = batch().rev().collect();
        let (one, two) =
            join(apply_batch(&stores[0], batch().collect()), apply_batch(&stores[1], backwards))
                .await;
        assert!(one.iter().chain(&two).all(Result::is_ok), "{one:?}, {two:?}");
    }
    assert_eq!(live_grants(database).await, 30);
    let retried = stores.iter().map(|store| store.counters.retried_alone()).sum::<u64>();
    assert_eq!(retried, 0, "nobody was in the way");
}

pub async fn a_session_that_ends_takes_codes_with_it_that_are_being_redeemed(
    store: &Store,
    database: &impl Database,
) {
    registered(store, client("shop")).await;
    let other = open_again(database).await;
    for number in 0..24 {
        let person = created(store, &format!("ada{number}")).await;
        let targets =
            [RevokeTarget::Session(person.family.session), RevokeTarget::User(person.user.id)];
        let redeeming = async {
            for _ in 0..4 {
                try_apply(&other, redemption(&person)).await.unwrap();
            }
        };
        join(apply(store, revoke(targets[number % 2])), redeeming).await;
        assert_eq!(live_grants(database).await, 0);
    }
}

pub async fn a_withdrawal_or_deletion_takes_codes_with_it_that_are_being_redeemed(
    store: &Store,
    database: &impl Database,
) {
    registered(store, client("shop")).await;
    let other = open_again(database).await;
    for number in 0..24 {
        let person = created(store, &format!("ada{number}")).await;
        assert_eq!(apply(store, consent(&person, "openid")).await, ConsentOutcome::Given);
        let redeeming = async {
            for _ in 0..4 {
                let mut request = redemption(&person);
                request.needs_consent = true;
                try_apply(&other, request).await.unwrap();
            }
        };
        let taking_away = async {
            if number % 2 == 0 {
                assert!(apply(store, withdrawal(&person)).await.is_some());
            } else {
                let outcome = apply(store, deletion(&person)).await;
                assert!(matches!(outcome, DeleteUserOutcome::Deleted { .. }), "{outcome:?}");
            }
        };
        join(taking_away, redeeming).await;
        assert_eq!(live_grants(database).await, 0);
    }
    assert_eq!(database.number("SELECT count(*) FROM consents").await, 0);
}

pub async fn a_ticket_that_causes_nothing_is_spent_once(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let (one, two) = (ticket(), ticket());
    let spend = |ticket: &latchkey::store::operation::Spent| Spend(ticket.clone()).into_operation();
    let batch = vec![spend(&one), spend(&two), spend(&one)];
    let answers = apply_batch(store, batch).await;
    let fresh: Vec<_> =
        answers.into_iter().map(|answer| Spend::unwrap_outcome(answer.unwrap()).unwrap()).collect();
    assert_eq!(fresh, [true, true, false]);
    assert!(!apply(store, Spend(two)).await);

    // A code that went to the wrong place is spent and gives nothing any more.
    let code = redemption(&person);
    assert!(apply(store, Spend(code.spends.clone())).await);
    let outcome = apply(store, code.clone()).await;
    assert_eq!(outcome, RedeemOutcome::Replayed(RevokeOutcome::default()));
    assert!(!apply(store, Spend(code.spends)).await);

    let stores = [store.clone(), open_again(database).await];
    let wanted = ticket();
    let attempts = (0..32).map(|node| apply(&stores[node % 2], Spend(wanted.clone())));
    let spent = join_all(attempts).await.into_iter().filter(|is_first| *is_first).count();
    assert_eq!(spent, 1);
}

pub async fn consents_add_up(store: &Store, _: &impl Database) {
    let person = ada_and_shop(store).await;
    let (user, first) = (person.user.id, consent(&person, "openid email"));
    assert_eq!(apply(store, first).await, ConsentOutcome::Given);
    let given = Consent {
        scope: "openid email".to_owned(),
        resource: "https://api.example".to_owned(),
        given_at: at(5),
        updated_at: at(5),
    };
    assert_eq!(store.read.consent(user, "shop").await.unwrap(), Some(given.clone()));
    assert_eq!(store.read.consent(user, "Shop").await.unwrap(), None);
    let long = format!("https://{}.example", "x".repeat(300));
    let mut further = consent(&person, "profile openid");
    (further.resource, further.audit.at) = (long.clone(), at(15));
    assert_eq!(apply(store, further).await, ConsentOutcome::Given);
    let together = Consent {
        scope: "openid email profile".to_owned(),
        resource: format!("https://api.example {long}"),
        updated_at: at(15),
        ..given
    };
    assert_eq!(store.read.consent(user, "shop").await.unwrap(), Some(together));
    assert_eq!(audited(store, "consent.given").await, 2);
}

pub async fn consents_given_at_once_add_up(store: &Store, database: &impl Database) {
    let person = ada_and_shop(store).await;
    let stores = [store.clone(), open_again(database).await];
    let words: Vec<String> = (0..16).map(|number| format!("scope{number}")).collect();
    let given = (0..)
        .zip(&words)
        .map(|(node, word): (usize, _)| apply(&stores[node % 2], consent(&person, word)));
    assert_eq!(join_all(given).await, [ConsentOutcome::Given; 16]);
    let consent = store.read.consent(person.user.id, "shop").await.unwrap().unwrap();
    let mut kept: Vec<&str> = consent.scope.split(' ').collect();
    kept.sort_by_key(|word| word[5..].parse::<u8>().unwrap());
    assert_eq!(kept, words);
}

pub async fn a_consent_is_given_in_a_live_session_by_a_fresh_ticket(
    store: &Store,
    database: &impl Database,
) {
    let (person, ben) = (ada_and_shop(store).await, created(store, "ben").await);
    let first = consent(&person, "openid");
    assert_eq!(apply(store, first.clone()).await, ConsentOutcome::Given);
    let before = rows(database).await;
    let mut again = consent(&person, "email");
    again.spends = first.spends;
    assert_eq!(apply(store, again).await, ConsentOutcome::AlreadySpent);
    let mut unknown_client = consent(&person, "openid");
    unknown_client.client_id = "nobody".to_owned();
    let mut of_another = consent(&person, "openid");
    of_another.asked_in = ben.family.id;
    for refused in [unknown_client, of_another] {
        assert_eq!(apply(store, refused).await, ConsentOutcome::NotAllowed);
    }
    database.execute("UPDATE users SET status = 'locked'").await;
    assert_eq!(apply(store, consent(&person, "email")).await, ConsentOutcome::NotAllowed);
    database.execute("UPDATE users SET status = 'active'").await;
    assert_eq!(rows(database).await, before);
    apply(store, revoke(RevokeTarget::Session(person.family.session))).await;
    let ended = consent(&person, "email");
    let unspent = ended.spends.clone();
    assert_eq!(apply(store, ended).await, ConsentOutcome::NotAllowed);
    assert!(apply(store, Spend(unspent)).await, "what is refused spends nothing");
    let consent = store.read.consent(person.user.id, "shop").await.unwrap().unwrap();
    assert_eq!(consent.scope, "openid");
    assert_eq!(audited(store, "consent.given").await, 1);
}

pub async fn a_consent_and_the_end_of_its_client_do_not_miss_each_other(
    store: &Store,
    database: &impl Database,
) {
    let person = created(store, "ada").await;
    let other = open_again(database).await;
    for number in 0..8 {
        let id = format!("shop{number}");
        registered(store, client(&id)).await;
        let mut giving = consent(&person, "openid");
        giving.client_id = id.clone();
        let (outcome, removed) = join(apply(&other, giving), apply(store, removal(&id))).await;
        assert_ne!(outcome, ConsentOutcome::AlreadySpent);
        assert!(removed.is_some());
    }
    assert_eq!(database.number("SELECT count(*) FROM consents").await, 0);
}

pub async fn a_withdrawn_consent_ends_every_grant(store: &Store, database: &impl Database) {
    let (person, ben) = (ada_and_shop(store).await, created(store, "ben").await);
    registered(store, client("other")).await;
    apply(store, consent(&person, "openid")).await;
    apply(store, consent(&ben, "openid")).await;
    let mut offline = redemption(&person);
    offline.family.scope = "openid offline_access".to_owned();
    let online = redeemed(store, redemption(&person)).await.family.id;
    let offline = redeemed(store, offline).await.family.id;
    let kept = redeemed(store, redemption(&ben)).await;
    let mut of_other = redemption(&person);
    of_other.family.client_id = "other".to_owned();
    redeemed(store, of_other).await;

    let ended = apply(store, withdrawal(&person)).await.expect("it had access");
    let mut families = [online, offline];
    families.sort();
    let revocations: Vec<_> =
        families.iter().flat_map(|&family| ending(family).revocations).collect();
    assert_eq!((&ended.families[..], &ended.revocations), (&families[..], &revocations));
    let mut stored = store.read.revocations(at(20), at(20)).await.unwrap();
    stored.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(stored, revocations);
    assert_eq!(store.read.consent(person.user.id, "shop").await.unwrap(), None);
    assert!(store.read.consent(ben.user.id, "shop").await.unwrap().is_some());
    assert_eq!(live_grants(database).await, 2);
    assert_eq!(store.read.family(kept.family.id).await.unwrap(), Some(kept));
    let reason = "SELECT count(*) FROM token_families WHERE revoke_reason = 'consent_withdrawn'";
    assert_eq!(database.number(reason).await, 2);

    let before = rows(database).await;
    assert_eq!(apply(store, withdrawal(&person)).await, None, "there is nothing left");
    let mut own = withdrawal(&person);
    own.client_id = "latchkey".to_owned();
    assert_eq!(apply(store, own).await, None, "sessions are no app's");
    assert_eq!(rows(database).await, before);
    assert_eq!(audited(store, "consent.withdrawn").await, 1);
}

pub async fn apps_are_those_with_a_consent_or_a_live_grant(store: &Store, _: &impl Database) {
    let (person, ben) = (ada_and_shop(store).await, created(store, "ben").await);
    for id in ["grants-only", "nothing", "former"] {
        let mut request = client(id);
        request.client.metadata.client_uri = Some(format!("https://{id}.example"));
        registered(store, request).await;
    }
    assert_eq!(store.read.apps(person.user.id).await.unwrap(), []);
    apply(store, consent(&person, "openid profile")).await;
    let grant_of = |id: &str, scope: &str| {
        let mut request = redemption(&person);
        (request.family.client_id, request.family.scope) = (id.to_owned(), scope.to_owned());
        request
    };
    redeemed(store, grant_of("shop", "openid")).await;
    let used = redeemed(store, grant_of("shop", "email")).await;
    apply(store, advance(used.family.id, 0)).await;
    redeemed(store, grant_of("grants-only", "openid")).await;
    let ended = redeemed(store, grant_of("nothing", "openid")).await;
    apply(store, revoke(RevokeTarget::Family(ended.family.id))).await;
    // Another client of an id that somebody gave something before.
    redeemed(store, grant_of("former", "openid")).await;
    apply(store, removal("former")).await;
    let mut successor = client("former");
    (successor.client.created_at, successor.client.updated_at) = (at(2000), at(2000));
    registered(store, successor).await;

    let expected = [
        AppAccess {
            client_id: "grants-only".to_owned(),
            client_name: "grants-only of the test".to_owned(),
            client_uri: Some("https://grants-only.example".to_owned()),
            scope: "openid".to_owned(),
            since: at(10),
            last_used_at: Some(at(10)),
        },
        AppAccess {
            client_id: "shop".to_owned(),
            client_name: "shop of the test".to_owned(),
            client_uri: None,
            scope: "openid profile email".to_owned(),
            since: at(5),
            last_used_at: Some(at(1000)),
        },
    ];
    assert_eq!(store.read.apps(person.user.id).await.unwrap(), expected);
    assert_eq!(store.read.apps(ben.user.id).await.unwrap(), []);

    apply(store, revoke(RevokeTarget::User(person.user.id))).await;
    let [by_consent] = &store.read.apps(person.user.id).await.unwrap()[..] else {
        panic!("a consent outlives the grants")
    };
    let expected =
        AppAccess { scope: "openid profile".to_owned(), last_used_at: None, ..expected[1].clone() };
    assert_eq!(*by_consent, expected);
}

pub async fn grants_are_read_with_their_people_and_their_addresses(
    store: &Store,
    _: &impl Database,
) {
    let person = ada_and_shop(store).await;
    let mut with_more = sign_in(&person);
    with_more.identity.emails = vec![email("b@x", false), email("a@x", true)];
    signed_in(store, with_more).await;
    let live = redeemed(store, redemption(&person)).await;
    let id = live.family.id;
    let emails = vec![email("b@x", false), email("a@x", true)];
    let of_ada = GrantWithPerson { live, emails };

    let other = created(store, "bob").await;
    let live = redeemed(store, redemption(&other)).await;
    let emails = store.read.emails(other.user.id).await.unwrap();
    let of_bob = GrantWithPerson { live, emails };
    let unknown = family(person.user.id).id;
    let reads = store.counters.reads();
    let asked = [of_bob.live.family.id, unknown, id, id];
    let mut found = store.read.grants_with_people(&asked).await.unwrap();
    found.sort_by_key(|grant| grant.live.user.username.clone());
    found.dedup();
    assert_eq!(found, [of_ada, of_bob]);
    assert_eq!(store.counters.reads() - reads, 1);
    assert_eq!(store.read.grants_with_people(&[]).await.unwrap(), []);

    let mut without = sign_in(&person);
    without.identity.emails = Vec::new();
    signed_in(store, without).await;
    let now = store.read.grants_with_people(&[id]).await.unwrap();
    assert_eq!((now.len(), now[0].emails.len()), (1, 0));
    apply(store, revoke(RevokeTarget::Family(id))).await;
    let ended = store.read.grants_with_people(&[id]).await.unwrap();
    assert_eq!(ended[0].live.family.revoked_at, Some(at(100)));
    assert_eq!(store.read.grants_with_people(&[unknown]).await.unwrap(), []);
}

pub async fn a_single_token_is_refused(store: &Store, _: &impl Database) {
    let refuse = |seconds| {
        let (kind, id) = (RevocationKind::Token, "the token".to_owned());
        let mut audit = entry("token.revoked");
        audit.at = at(10);
        RecordRevocation { revocation: Revocation { kind, id, until: at(seconds) }, audit }
    };
    let longest = refuse(60).revocation;
    assert_eq!(apply(store, refuse(60)).await, longest);
    assert_eq!(apply(store, refuse(30)).await, longest, "as it stands");
    assert_eq!(store.read.revocations(at(10), at(10)).await.unwrap(), [longest]);
    assert_eq!(audited(store, "token.revoked").await, 2);
}
