//! What administrators and operators change: roles, locks, sessions, and requests that are made once.

use futures_util::future::join;
use latchkey::store::Store;
use latchkey::store::model::{
    Actor, AuditEntry, FamilyId, FamilyWithUser, RevocationKind, Role, UserId, UserStatus,
};
use latchkey::store::operation::{
    AdvanceOutcome, ClaimOutcome, ClaimRequest, DeleteUser, DeleteUserOutcome, EndSessionsBefore,
    LockUser, LockUserOutcome, OpenSession, Operation, Outcome, RemoveExpired, Removed,
    RevokeOutcome, SetRole, SetRoleOutcome, SettleRequest, SignInOutcome, UnlockUser, Write,
};
use serde_json::json;

use super::Database;
use super::accounts::deletion;
use super::expiry::nothing_expires;
use super::fixtures::{
    TOKENS_LIVE_FOR, advance, apply, apply_batch, at, audited, created, created_at, entry, family,
    granted, open_again, rows, sign_in, signed_in,
};

/// A person gets another role, at second 60.
pub fn role(user: UserId, role: Role) -> SetRole {
    let audit =
        AuditEntry::new(at(60), Actor::CommandLine, "user.role_changed", format!("user:{user}"));
    SetRole { user, role, only_first: false, audit }
}

/// A person is locked, at second 60.
pub fn lock(user: UserId) -> LockUser {
    let audit = AuditEntry::new(at(60), Actor::CommandLine, "user.locked", format!("user:{user}"));
    LockUser { user, tokens_live_for: TOKENS_LIVE_FOR, audit }
}

/// A person is let in again, at second 70.
pub fn unlock(user: UserId) -> UnlockUser {
    let target = format!("user:{user}");
    let audit = AuditEntry::new(at(70), Actor::CommandLine, "user.unlocked", target);
    UnlockUser { user, audit }
}

fn removal(person: &FamilyWithUser) -> DeleteUser {
    DeleteUser { asked_in: None, by_admin: true, ..deletion(person) }
}

async fn with_role(store: &Store, request: SetRole) -> Role {
    match apply(store, request).await {
        SetRoleOutcome::Set(person) => person.role,
        other => panic!("the role was not set: {other:?}"),
    }
}

async fn locked(store: &Store, user: UserId) -> RevokeOutcome {
    match apply(store, lock(user)).await {
        LockUserOutcome::Locked(person, ended) if person.status == UserStatus::Locked => ended,
        other => panic!("nobody was locked: {other:?}"),
    }
}

pub async fn a_role_is_given_and_taken_but_never_the_last_admins(
    store: &Store,
    database: &impl Database,
) {
    let ada = created(store, "ada").await.user.id;
    let ben = created(store, "ben").await.user.id;
    assert_eq!(with_role(store, role(ada, Role::Admin)).await, Role::Admin);
    let before = rows(database).await;
    assert_eq!(with_role(store, role(ada, Role::Admin)).await, Role::Admin);
    assert_eq!(apply(store, role(ada, Role::User)).await, SetRoleOutcome::LastAdmin);
    let unknown = UserId::new(at(0));
    assert_eq!(apply(store, role(unknown, Role::Admin)).await, SetRoleOutcome::Unknown);
    assert_eq!(rows(database).await, before, "nothing of this is written");

    // Whoever is locked does not administrate.
    with_role(store, role(ben, Role::Admin)).await;
    locked(store, ben).await;
    assert_eq!(apply(store, role(ada, Role::User)).await, SetRoleOutcome::LastAdmin);
    assert_eq!(apply(store, lock(ada)).await, LockUserOutcome::LastAdmin);
    assert_eq!(with_role(store, role(ben, Role::User)).await, Role::User);
    with_role(store, role(ben, Role::Admin)).await;
    apply(store, unlock(ben)).await.unwrap();
    assert_eq!(with_role(store, role(ada, Role::User)).await, Role::User);
    assert_eq!(store.read.user(ada).await.unwrap().unwrap().role, Role::User);
    assert_eq!(audited(store, "user.role_changed").await, 5);
}

pub async fn the_first_admin_is_made_once(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..6 {
        let one = created(store, &format!("one{number}")).await.user.id;
        let two = created(store, &format!("two{number}")).await.user.id;
        let first = |user| SetRole { only_first: true, ..role(user, Role::Admin) };
        let outcomes = join(apply(store, first(one)), apply(&other, first(two))).await;
        let is_set = |outcome: &SetRoleOutcome| matches!(outcome, SetRoleOutcome::Set(_));
        assert!(is_set(&outcomes.0) != is_set(&outcomes.1), "{outcomes:?}");
        let late = if is_set(&outcomes.0) { two } else { one };
        assert_eq!(apply(store, first(late)).await, SetRoleOutcome::NotFirst);
        database.execute("UPDATE users SET role = 'user'").await;
    }
}

/// Three ways in which an admin stops to be one.
fn stop(way: usize, person: &FamilyWithUser) -> Operation {
    match way {
        0 => role(person.user.id, Role::User).into_operation(),
        1 => lock(person.user.id).into_operation(),
        _ => removal(person).into_operation(),
    }
}

fn has_stopped(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::SetRole(SetRoleOutcome::Set(_))
        | Outcome::LockUser(LockUserOutcome::Locked(..))
        | Outcome::DeleteUser(DeleteUserOutcome::Deleted { .. }) => true,
        Outcome::SetRole(SetRoleOutcome::LastAdmin)
        | Outcome::LockUser(LockUserOutcome::LastAdmin)
        | Outcome::DeleteUser(DeleteUserOutcome::LastAdmin) => false,
        other => panic!("{other:?}"),
    }
}

pub async fn of_two_admins_who_stop_each_other_one_stays(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    let ways = (0..9).map(|number| (number / 3, number % 3));
    for (number, (one_way, two_way)) in ways.enumerate() {
        let one = created(store, &format!("one{number}")).await;
        let two = created(store, &format!("two{number}")).await;
        let names = format!("('one{number}', 'two{number}')");
        database
            .execute(&format!("UPDATE users SET role = 'admin' WHERE username IN {names}"))
            .await;
        let (first, second) = join(
            apply_batch(store, vec![stop(one_way, &two)]),
            apply_batch(&other, vec![stop(two_way, &one)]),
        )
        .await;
        let stopped = [first, second].map(|answers| has_stopped(answers[0].as_ref().unwrap()));
        assert!(stopped[0] != stopped[1], "{one_way}, {two_way}: {stopped:?}");
        let left = "SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'";
        assert_eq!(database.number(left).await, 1);
        database.execute("UPDATE users SET role = 'user'").await;
    }
}

pub async fn a_locked_person_is_kept_out_until_they_are_unlocked(
    store: &Store,
    database: &impl Database,
) {
    let ada = created(store, "ada").await;
    let ben = created(store, "ben").await;
    let further = signed_in(store, sign_in(&ada)).await;
    let grant = granted(store, &ada, "openid offline_access").await;
    let ended = locked(store, ada.user.id).await;
    let mut families = vec![ada.family.id, further.family.id, grant.family.id];
    families.sort();
    assert_eq!(ended.families, families);
    let kinds = ended.revocations.iter().map(|one| one.kind);
    let of_sessions = kinds.filter(|kind| *kind == RevocationKind::Session).count();
    assert_eq!((ended.revocations.len(), of_sessions), (3, 2));
    assert!(ended.revocations.iter().all(|one| one.until == at(60).plus(TOKENS_LIVE_FOR)));
    assert_eq!(store.read.live_families().await.unwrap(), [(ben.family.id, 0)]);
    assert_eq!(apply(store, advance(ada.family.id, 0)).await, AdvanceOutcome::Unmoved);
    assert_eq!(apply(store, sign_in(&ada)).await, SignInOutcome::NotAllowed);

    let before = rows(database).await;
    assert_eq!(locked(store, ada.user.id).await, RevokeOutcome::default());
    assert_eq!(apply(store, lock(UserId::new(at(0)))).await, LockUserOutcome::Unknown);
    assert_eq!(apply(store, unlock(UserId::new(at(0)))).await, None);
    apply(store, unlock(ben.user.id)).await.expect("ben was never locked");
    assert_eq!(rows(database).await, before, "nothing of this is written");

    let person = apply(store, unlock(ada.user.id)).await.expect("ada is there");
    assert_eq!(person.status, UserStatus::Active);
    signed_in(store, sign_in(&ada)).await;
    assert_eq!(audited(store, "user.locked").await, 1);
    assert_eq!(audited(store, "user.unlocked").await, 1);
}

pub async fn an_administrator_deletes_whoever_is_locked(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    locked(store, ada.user.id).await;
    assert_eq!(apply(store, deletion(&ada)).await, DeleteUserOutcome::NotAllowed);
    let deleted = apply(store, removal(&ada)).await;
    assert!(matches!(deleted, DeleteUserOutcome::Deleted { .. }), "{deleted:?}");
    assert_eq!(apply(store, removal(&ada)).await, DeleteUserOutcome::NotAllowed);
    assert_eq!(apply(store, unlock(ada.user.id)).await, None);
    assert_eq!(apply(store, lock(ada.user.id)).await, LockUserOutcome::Unknown);
    assert_eq!(apply(store, role(ada.user.id, Role::Admin)).await, SetRoleOutcome::Unknown);
}

pub async fn a_session_is_opened_that_is_over_when_it_says(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    let open = || OpenSession {
        family: family(ada.user.id),
        last_used: at(-500),
        audit: entry("session.opened_by_operator"),
    };
    let request = open();
    let opened = apply(store, request.clone()).await.expect("ada is active");
    assert_eq!((opened.family.id, opened.family.rotated_at), (request.family.id, at(-500)));
    assert_eq!(store.read.family(request.family.id).await.unwrap(), Some(*opened));
    locked(store, ada.user.id).await;
    assert_eq!(apply(store, open()).await, None);
    assert_eq!(audited(store, "session.opened_by_operator").await, 1);
}

pub async fn sessions_that_were_opened_before_a_moment_end_step_by_step(
    store: &Store,
    database: &impl Database,
) {
    let mut old: Vec<FamilyId> = Vec::new();
    for number in 0..5_usize {
        let person = created_at(store, number, at(i64::try_from(number).unwrap())).await;
        old.push(person.family.id);
    }
    let ended_before = old.remove(1);
    apply(
        store,
        super::fixtures::revoke(latchkey::store::operation::RevokeTarget::Family(ended_before)),
    )
    .await;
    for number in 5..8 {
        created_at(store, number, at(50)).await;
    }
    let mut audit = entry("sessions.ended");
    (audit.at, audit.details) = (at(100), json!({ "before": "then" }));
    let mut request = EndSessionsBefore {
        before: at(50),
        after: None,
        limit: 3,
        tokens_live_for: TOKENS_LIVE_FOR,
        audit,
    };
    let mut ended = Vec::new();
    let mut steps = 0;
    loop {
        request.audit.id = entry("").id;
        let step = apply(store, request.clone()).await;
        assert_eq!(step.ended.families.len(), step.ended.revocations.len());
        ended.extend(step.ended.families);
        steps += 1;
        let Some(after) = step.after else { break };
        request.after = Some(after);
    }
    old.sort();
    assert_eq!((ended, steps), (old, 3));
    assert_eq!(store.read.live_families().await.unwrap().len(), 3);
    let told: u64 = store
        .read
        .audit(&latchkey::store::model::AuditPage::newest(100))
        .await
        .unwrap()
        .iter()
        .filter(|entry| entry.action == "sessions.ended")
        .map(|entry| entry.details["families"].as_u64().unwrap())
        .sum();
    assert_eq!(told, 4);
    let refused = format!(
        "SELECT count(*) FROM revocations WHERE kind = '{}' AND recorded_at = {}",
        RevocationKind::Session.as_str(),
        at(100).millis()
    );
    // One of them is that of the session that had ended at the same moment.
    assert_eq!(database.number(&refused).await, 5);
}

/// A request of this number is claimed for half a minute.
pub fn claim(number: u8, seconds: i64) -> ClaimRequest {
    ClaimRequest {
        id: [number; 32],
        fingerprint: [7; 32],
        now: at(seconds),
        until: at(seconds + 30),
    }
}

pub async fn of_two_who_claim_a_request_one_does_it(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..6 {
        let (first, second) =
            join(apply(store, claim(number, 0)), apply(&other, claim(number, 0))).await;
        let is_claimed = |outcome: &ClaimOutcome| *outcome == ClaimOutcome::Claimed;
        assert!(is_claimed(&first) != is_claimed(&second), "{first:?}, {second:?}");
        assert_eq!(apply(store, claim(number, 29)).await, ClaimOutcome::UnderWay);
    }
}

pub async fn a_request_that_was_made_is_answered_again_and_not_done_again(
    store: &Store,
    _: &impl Database,
) {
    assert_eq!(apply(store, claim(1, 0)).await, ClaimOutcome::Claimed);
    let different = ClaimRequest { fingerprint: [8; 32], ..claim(1, 1) };
    assert_eq!(apply(store, different.clone()).await, ClaimOutcome::Different);
    let answer = Some(("sealed".to_owned(), at(500)));
    apply(store, SettleRequest { id: [1; 32], answer }).await;
    assert_eq!(apply(store, claim(1, 400)).await, ClaimOutcome::Answered("sealed".to_owned()));
    assert_eq!(apply(store, different).await, ClaimOutcome::Different);
    // What is answered cannot be given back.
    apply(store, SettleRequest { id: [1; 32], answer: None }).await;
    assert_eq!(apply(store, claim(1, 499)).await, ClaimOutcome::Answered("sealed".to_owned()));
    assert_eq!(apply(store, claim(1, 500)).await, ClaimOutcome::Claimed, "it is kept no longer");

    assert_eq!(apply(store, claim(2, 0)).await, ClaimOutcome::Claimed);
    apply(store, SettleRequest { id: [2; 32], answer: None }).await;
    assert_eq!(apply(store, claim(2, 1)).await, ClaimOutcome::Claimed);
    assert_eq!(apply(store, claim(2, 31)).await, ClaimOutcome::Claimed, "whoever had it is gone");

    let expired = RemoveExpired { now: at(61), ..nothing_expires() };
    assert_eq!(apply(store, expired).await, Removed { requests: 1, ..Removed::default() });
    assert_eq!(apply(store, claim(1, 501)).await, ClaimOutcome::UnderWay);
}
