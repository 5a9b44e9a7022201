//! [`SetDisplayName`], [`ChangeUsername`] and [`DeleteUser`]: what people change of themselves, and
//! their end.

use std::time::Duration;

use futures_util::future::{join, join_all};
use latchkey::clock::Timestamp;
use latchkey::store::Store;
use latchkey::store::model::{
    Actor, AuditEntry, FamilyWithUser, RevocationKind, Role, UserId, UserStatus,
};
use latchkey::store::operation::{
    AdvanceOutcome, ChangeUsername, ChangeUsernameOutcome, CreateUserOutcome, DeleteUser,
    DeleteUserOutcome, FillAvatar, LinkIdentity, LinkOutcome, RemoveExpired, Removed, RevokeTarget,
    SetDisplayName, SignInOutcome,
};
use serde_json::json;

use super::Database;
use super::expiry::nothing_expires;
use super::fixtures::{
    advance, apply, at, audited, created, creation, entry, granted, identity, open_again, revoke,
    rows, sign_in, signed_in, ticket,
};

const COOLDOWN: Duration = Duration::from_secs(1_000);
const HOLD: Duration = Duration::from_secs(5_000);

/// `person` wants to be called `name` at second `seconds`.
pub fn change(person: UserId, name: &str, seconds: i64) -> ChangeUsername {
    let (actor, target) = (Actor::User(person), format!("user:{person}"));
    let audit = AuditEntry::new(at(seconds), actor, "user.username_changed", target);
    ChangeUsername {
        user: person,
        username: name.to_owned(),
        username_key: name.to_lowercase(),
        cooldown: COOLDOWN,
        hold: HOLD,
        audit,
    }
}

/// `person` goes, in their session, at second 100.
pub fn deletion(person: &FamilyWithUser) -> DeleteUser {
    let (actor, target) = (Actor::User(person.user.id), format!("user:{}", person.user.id));
    let audit = AuditEntry::new(at(100), actor, "user.deleted", target);
    DeleteUser {
        user: person.user.id,
        asked_in: Some(person.family.id),
        by_admin: false,
        held_until: Some(at(100).plus(HOLD)),
        tokens_live_until: at(1_000),
        audit,
    }
}

async fn renamed(store: &Store, request: ChangeUsername) -> String {
    match apply(store, request).await {
        ChangeUsernameOutcome::Changed(person) => person.username,
        other => panic!("the name was not changed: {other:?}"),
    }
}

async fn deleted(store: &Store, person: &FamilyWithUser) {
    let outcome = apply(store, deletion(person)).await;
    assert!(matches!(outcome, DeleteUserOutcome::Deleted { .. }), "{outcome:?}");
}

async fn name_of(store: &Store, person: UserId) -> String {
    store.read.user(person).await.unwrap().unwrap().username
}

pub async fn a_display_name_is_set_and_cleared(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let set = |display_name: Option<&str>| SetDisplayName {
        user: ada.user.id,
        display_name: display_name.map(str::to_owned),
        audit: entry("user.display_name_changed"),
    };
    for wanted in [Some("Ada L."), None] {
        let person = apply(store, set(wanted)).await.unwrap();
        assert_eq!(person.display_name.as_deref(), wanted);
        assert_eq!(store.read.user(ada.user.id).await.unwrap().as_ref(), Some(&*person));
        let before = rows(database).await;
        assert_eq!(apply(store, set(wanted)).await, Some(person), "the same again");
        assert_eq!(rows(database).await, before);
    }
    assert_eq!(audited(store, "user.display_name_changed").await, 2);
    database.execute("UPDATE users SET status = 'locked'").await;
    assert_eq!(apply(store, set(Some("Ada"))).await, None);
}

pub async fn a_changed_name_leaves_a_history(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    assert_eq!(renamed(store, change(ada, "Countess", 50)).await, "Countess");
    assert_eq!(renamed(store, change(ada, "lovelace", 5_000)).await, "lovelace");
    let former = store.read.former_usernames(ada).await.unwrap();
    let former: Vec<_> =
        former.iter().map(|name| (name.username.as_str(), name.since, name.until)).collect();
    assert_eq!(former, [("ada", at(0), at(50)), ("Countess", at(50), at(5_000))]);
    assert_eq!(store.read.user_by_name("lovelace").await.unwrap().unwrap().id, ada);
    assert_eq!(store.read.user_by_name("ada").await.unwrap(), None);

    let entries = store.read.audit_about(ada, None, 10).await.unwrap();
    let personal: Vec<_> = entries.iter().map(|entry| entry.personal.clone()).collect();
    assert_eq!(
        personal,
        [
            json!({ "from": "Countess", "to": "lovelace" }),
            json!({ "from": "ada", "to": "Countess" })
        ]
    );
    let oldest = store.read.audit_about(ada, Some(entries[0].id), 10).await.unwrap();
    assert_eq!(oldest, entries[1..]);
}

pub async fn the_same_name_again_writes_nothing(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let before = rows(database).await;
    let outcome = apply(store, change(ada.user.id, "ada", 50)).await;
    assert_eq!(outcome, ChangeUsernameOutcome::Unchanged(Box::new(ada.user)));
    assert_eq!(rows(database).await, before);
}

pub async fn a_name_in_another_case_is_not_held(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    assert_eq!(renamed(store, change(ada, "Ada", 50)).await, "Ada");
    assert_eq!(database.number("SELECT count(*) FROM held_usernames").await, 0);
    assert_eq!(store.read.former_usernames(ada).await.unwrap().len(), 1);
}

pub async fn between_two_changes_lies_the_cooldown(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    renamed(store, change(ada, "one", 50)).await;
    let before = rows(database).await;
    let too_soon = ChangeUsernameOutcome::TooSoon(at(1_050));
    for (name, seconds) in [("two", 51), ("ada", 1_049), ("ONE", 1_049)] {
        assert_eq!(apply(store, change(ada, name, seconds)).await, too_soon);
    }
    assert_eq!(rows(database).await, before);
    renamed(store, change(ada, "two", 1_050)).await;
}

pub async fn a_taken_name_is_not_taken_over(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    created(store, "ben").await;
    let before = rows(database).await;
    let outcome = apply(store, change(ada, "BEN", 50)).await;
    assert_eq!(outcome, ChangeUsernameOutcome::UsernameTaken);
    assert_eq!((rows(database).await, name_of(store, ada).await), (before, "ada".to_owned()));
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        let outcome = apply(store, change(ada, "charles", 50)).await;
        assert_eq!(outcome, ChangeUsernameOutcome::NotAllowed);
    }
}

pub async fn a_former_name_is_held_against_others_and_open_to_its_owner(
    store: &Store,
    _: &impl Database,
) {
    let (ada, ben) = (created(store, "ada").await.user.id, created(store, "ben").await.user.id);
    renamed(store, change(ada, "countess", 0)).await;
    let held = store.read.held_usernames(ada).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].username_key.as_str(), held[0].until), ("ada", at(5_000)));
    let taken = ChangeUsernameOutcome::UsernameTaken;
    assert_eq!(apply(store, change(ben, "ada", 4_999)).await, taken);
    let mut newcomer = creation("eve");
    newcomer.username_key = "ada".to_owned();
    assert_eq!(apply(store, newcomer).await, CreateUserOutcome::UsernameTaken);

    renamed(store, change(ada, "ada", 4_000)).await;
    let held = store.read.held_usernames(ada).await.unwrap();
    let keys: Vec<_> = held.iter().map(|name| name.username_key.as_str()).collect();
    assert_eq!(keys, ["countess"], "the name that is in use is not held any more");
    assert_eq!(apply(store, change(ben, "countess", 8_999)).await, taken);
    renamed(store, change(ben, "countess", 9_000)).await;
    assert_eq!(apply(store, change(ada, "countess", 9_001)).await, taken);
}

pub async fn without_a_hold_a_former_name_is_free_at_once(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await.user.id, created(store, "ben").await.user.id);
    let without = |request| ChangeUsername { hold: Duration::ZERO, ..request };
    renamed(store, without(change(ada, "countess", 0))).await;
    assert_eq!(database.number("SELECT count(*) FROM held_usernames").await, 0);
    renamed(store, without(change(ben, "ada", 0))).await;
}

pub async fn names_are_held_no_longer_than_they_are_to_be(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    renamed(store, change(ada, "countess", 0)).await;
    let step = |seconds| RemoveExpired { now: at(seconds), ..nothing_expires() };
    assert_eq!(apply(store, step(599)).await, Removed::default());
    assert_eq!(apply(store, step(4_999)).await.held_usernames, 0);
    assert_eq!(apply(store, step(5_000)).await.held_usernames, 1);
    assert_eq!(database.number("SELECT count(*) FROM held_usernames").await, 0);
}

pub async fn of_many_who_want_one_name_one_gets_it(store: &Store, database: &impl Database) {
    let mut people = Vec::new();
    for number in 0..24 {
        people.push(created(store, &format!("person{number}")).await.user.id);
    }
    let stores = [store.clone(), open_again(database).await];
    let attempts = people
        .iter()
        .enumerate()
        .map(|(number, person)| apply(&stores[number % 2], change(*person, "Wanted", 50)));
    let outcomes = join_all(attempts).await;
    let won =
        |outcome: &&ChangeUsernameOutcome| matches!(outcome, ChangeUsernameOutcome::Changed(_));
    assert_eq!(outcomes.iter().filter(won).count(), 1);
    let lost = |outcome: &&ChangeUsernameOutcome| **outcome == ChangeUsernameOutcome::UsernameTaken;
    assert_eq!(outcomes.iter().filter(lost).count(), 23);
    assert_eq!(audited(store, "user.username_changed").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM held_usernames").await, 1);
}

pub async fn a_newcomer_and_a_change_do_not_get_the_same_name(
    store: &Store,
    database: &impl Database,
) {
    let other = open_again(database).await;
    for number in 0..8 {
        let person = created(store, &format!("person{number}")).await.user.id;
        let name = format!("wanted{number}");
        let (created, changed) =
            join(apply(store, creation(&name)), apply(&other, change(person, &name, 50))).await;
        let created = matches!(created, CreateUserOutcome::Created(_));
        let changed = matches!(changed, ChangeUsernameOutcome::Changed(_));
        assert!(created != changed, "{number}");
    }
}

pub async fn of_many_changes_of_one_person_one_comes_through(
    store: &Store,
    database: &impl Database,
) {
    let ada = created(store, "ada").await.user.id;
    let stores = [store.clone(), open_again(database).await];
    let attempts =
        (0..20).map(|number| apply(&stores[number % 2], change(ada, &format!("name{number}"), 50)));
    let outcomes = join_all(attempts).await;
    let too_soon = ChangeUsernameOutcome::TooSoon(at(1_050));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == too_soon).count(), 19);
    assert_eq!(audited(store, "user.username_changed").await, 1);
    assert_eq!(store.read.former_usernames(ada).await.unwrap().len(), 1);
}

/// Two people who swap their names at once wait for each other, and neither gets a failure.
pub async fn of_two_who_swap_their_names_nobody_fails(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..4 {
        let names = [format!("one{number}"), format!("two{number}")];
        let one = created(store, &names[0]).await.user.id;
        let two = created(store, &names[1]).await.user.id;
        let (first, second) = join(
            apply(store, change(one, &names[1], 50)),
            apply(&other, change(two, &names[0], 50)),
        )
        .await;
        let taken = ChangeUsernameOutcome::UsernameTaken;
        assert_eq!((first, second), (taken.clone(), taken), "both names are in use or held");
    }
}

pub async fn a_deleted_person_leaves_a_tombstone(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let further = signed_in(store, sign_in(&ada)).await;
    let client = granted(store, &ada, "openid offline_access").await;
    renamed(store, change(ada.user.id, "countess", 50)).await;
    let avatar = FillAvatar {
        user: ada.user.id,
        avatar: "picture".to_owned(),
        audit: entry("user.avatar_filled"),
    };
    assert!(apply(store, avatar).await);
    let outcome = apply(store, deletion(&ada)).await;
    let DeleteUserOutcome::Deleted { avatar, revocations } = outcome else { panic!("{outcome:?}") };
    assert_eq!((avatar.as_deref(), revocations.len()), (Some("picture"), 1));
    assert_eq!(
        (revocations[0].kind, revocations[0].id.as_str(), revocations[0].until),
        (RevocationKind::User, &*ada.user.id.to_string(), at(1_000))
    );
    assert_eq!(store.read.revocations(at(0), at(100)).await.unwrap(), revocations);

    let tombstone = store.read.user(ada.user.id).await.unwrap().unwrap();
    assert_eq!((tombstone.status, tombstone.role), (UserStatus::Deleted, Role::User));
    assert_eq!((tombstone.username.as_str(), tombstone.display_name), ("deleted", None));
    assert_eq!((tombstone.avatar, tombstone.created_at), (None, at(0)));
    for family in [ada.family.id, further.family.id, client.family.id] {
        assert_eq!(store.read.family(family).await.unwrap(), None);
    }
    for table in ["identities", "emails", "token_families", "former_usernames"] {
        assert_eq!(database.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(store.read.user_by_name("countess").await.unwrap(), None);
    assert_eq!(store.read.user_count().await.unwrap(), 0);
    assert_eq!(apply(store, deletion(&ada)).await, DeleteUserOutcome::NotAllowed);
    assert_eq!(audited(store, "user.deleted").await, 1);
}

pub async fn names_of_a_deleted_person_are_held_for_nobody(
    store: &Store,
    database: &impl Database,
) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await.user.id);
    renamed(store, change(ada.user.id, "countess", 50)).await;
    deleted(store, &ada).await;
    assert_eq!(store.read.held_usernames(ada.user.id).await.unwrap(), []);
    let anonymous = "SELECT count(*) FROM held_usernames WHERE user_id IS NULL";
    assert_eq!(database.number(anonymous).await, 2);
    let taken = ChangeUsernameOutcome::UsernameTaken;
    assert_eq!(apply(store, change(ben, "ada", 5_049)).await, taken);
    assert_eq!(apply(store, change(ben, "countess", 5_099)).await, taken);
    renamed(store, change(ben, "countess", 5_100)).await;

    let eve = created(store, "eve").await;
    let freed = DeleteUser { held_until: None, ..deletion(&eve) };
    assert!(matches!(apply(store, freed).await, DeleteUserOutcome::Deleted { .. }));
    assert!(store.read.username_is_free("eve", at(100)).await.unwrap());
}

pub async fn deletion_empties_what_the_trail_keeps_apart(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    for person in [&ada, &ben] {
        let id = person.user.id;
        for (actor, target) in
            [(Actor::User(id), "session:x".to_owned()), (Actor::CommandLine, format!("user:{id}"))]
        {
            let mut written = entry("test.noted");
            (written.actor, written.target) = (actor, target);
            written.address = Some("203.0.113.9".to_owned());
            apply(store, latchkey::store::operation::AppendAudit(written)).await;
        }
    }
    let kept = "SELECT count(*) FROM audit_details WHERE personal LIKE '%203.0.113.9%'";
    assert_eq!(database.number(kept).await, 4);
    deleted(store, &ada).await;
    assert_eq!(database.number(kept).await, 2, "those of others stay");
    assert_eq!(audited(store, "test.noted").await, 4);
    let about = store.read.audit_about(ada.user.id, None, 10).await.unwrap();
    assert_eq!(about.len(), 3);
    assert!(about.iter().all(|entry| entry.address.is_none() && entry.personal.is_null()));
}

pub async fn only_a_live_session_of_an_active_person_deletes(
    store: &Store,
    database: &impl Database,
) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut of_another = deletion(&ada);
    of_another.asked_in = Some(ben.family.id);
    let further = signed_in(store, sign_in(&ada)).await;
    apply(store, revoke(RevokeTarget::Session(further.family.session))).await;
    let mut of_ended = deletion(&ada);
    of_ended.asked_in = Some(further.family.id);
    let before = rows(database).await;
    for request in [of_another, of_ended] {
        assert_eq!(apply(store, request).await, DeleteUserOutcome::NotAllowed);
    }
    database.execute("UPDATE users SET status = 'locked'").await;
    assert_eq!(apply(store, deletion(&ada)).await, DeleteUserOutcome::NotAllowed);
    assert_eq!(rows(database).await, before);
}

pub async fn the_last_active_admin_stays(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    database.execute("UPDATE users SET role = 'admin'").await;
    database.execute("UPDATE users SET status = 'locked' WHERE username = 'ben'").await;
    let before = rows(database).await;
    assert_eq!(apply(store, deletion(&ada)).await, DeleteUserOutcome::LastAdmin);
    assert_eq!(rows(database).await, before);
    database.execute("UPDATE users SET status = 'active'").await;
    deleted(store, &ada).await;
    assert_eq!(apply(store, deletion(&ben)).await, DeleteUserOutcome::LastAdmin);
}

pub async fn of_two_admins_who_go_at_once_one_stays(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..6 {
        let one = created(store, &format!("one{number}")).await;
        let two = created(store, &format!("two{number}")).await;
        let names = format!("('one{number}', 'two{number}')");
        database
            .execute(&format!("UPDATE users SET role = 'admin' WHERE username IN {names}"))
            .await;
        let (first, second) =
            join(apply(store, deletion(&one)), apply(&other, deletion(&two))).await;
        let last = |outcome: &DeleteUserOutcome| *outcome == DeleteUserOutcome::LastAdmin;
        assert!(last(&first) != last(&second), "{first:?}, {second:?}");
        database.execute("UPDATE users SET role = 'user'").await;
    }
}

/// Whatever else a person does at the moment in which they go: nothing is left over, and nobody is back.
pub async fn a_deletion_leaves_nothing_behind_whatever_happens_beside_it(
    store: &Store,
    database: &impl Database,
) {
    let other = open_again(database).await;
    for number in 0..8 {
        let name = format!("ada{number}");
        let ada = created(store, &name).await;
        let link = LinkIdentity {
            user: ada.user.id,
            identity: identity(&format!("further{number}")),
            display_name: Some("Ada".to_owned()),
            asked_in: None,
            spends: vec![ticket()],
            opens: Some(super::fixtures::family(ada.user.id)),
            ends: None,
            now: at(50),
            audit: vec![entry("identity.linked")],
        };
        let avatar = FillAvatar {
            user: ada.user.id,
            avatar: "picture".to_owned(),
            audit: entry("user.avatar_filled"),
        };
        let display_name = SetDisplayName {
            user: ada.user.id,
            display_name: Some("Countess".to_owned()),
            audit: entry("user.display_name_changed"),
        };
        let beside = async {
            tokio::join!(
                apply(&other, advance(ada.family.id, 0)),
                apply(&other, link),
                apply(&other, change(ada.user.id, &format!("countess{number}"), 50)),
                apply(&other, sign_in(&ada)),
                apply(&other, avatar),
                apply(&other, display_name),
            )
        };
        let (outcome, ..) = join(apply(store, deletion(&ada)), beside).await;
        assert!(matches!(outcome, DeleteUserOutcome::Deleted { .. }), "{outcome:?}");
        let tombstone = store.read.user(ada.user.id).await.unwrap().unwrap();
        assert_eq!((tombstone.status, &*tombstone.username), (UserStatus::Deleted, "deleted"));
        assert_eq!((tombstone.display_name, tombstone.avatar), (None, None));
        for table in ["identities", "emails", "token_families", "former_usernames"] {
            let left = database.number(&format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(left, 0, "{table}");
        }
        let linked = "SELECT count(*) FROM held_usernames WHERE user_id IS NOT NULL";
        assert_eq!(database.number(linked).await, 0);
    }
}

pub async fn nothing_brings_a_deleted_person_back(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    deleted(store, &ada).await;
    let before = rows(database).await;
    assert_eq!(apply(store, advance(ada.family.id, 0)).await, AdvanceOutcome::Unmoved);
    assert_eq!(apply(store, sign_in(&ada)).await, SignInOutcome::NotAllowed);
    let changed = apply(store, change(ada.user.id, "countess", 500)).await;
    assert_eq!(changed, ChangeUsernameOutcome::NotAllowed);
    let link = LinkIdentity {
        user: ada.user.id,
        identity: identity("further"),
        display_name: None,
        asked_in: None,
        spends: vec![ticket()],
        opens: None,
        ends: None,
        now: Timestamp::default(),
        audit: vec![entry("identity.linked")],
    };
    assert_eq!(apply(store, link).await, LinkOutcome::NotAllowed);
    let ended = apply(store, revoke(RevokeTarget::User(ada.user.id))).await;
    assert_eq!(ended.families, []);
    assert_eq!(rows(database).await, before);
    // What signed them in is free for a new account.
    let mut newcomer = creation("ada");
    (newcomer.username_key, newcomer.user.username) = ("eve".to_owned(), "eve".to_owned());
    assert!(matches!(apply(store, newcomer).await, CreateUserOutcome::Created(_)));
}

pub async fn sessions_are_listed_by_their_last_use(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    created(store, "ben").await;
    let second = signed_in(store, sign_in(&ada)).await;
    let mut later = sign_in(&ada);
    later.family.created_at = at(50);
    let ended = signed_in(store, later).await;
    granted(store, &ada, "openid").await;
    apply(store, revoke(RevokeTarget::Session(ended.family.session))).await;
    apply(store, advance(second.family.id, 0)).await;
    let sessions = store.read.sessions(ada.user.id).await.unwrap();
    let ids: Vec<_> = sessions.iter().map(|session| session.family.id).collect();
    assert_eq!(ids, [second.family.id, ended.family.id, ada.family.id]);
    assert_eq!(sessions[1].family.revoked_at, Some(at(100)));
    let first = &sessions[0];
    assert_eq!((first.family.rotated_at, first.family.created_at), (at(1_000), at(0)));
    assert_eq!(
        (first.provider.as_str(), first.user_agent.as_str(), first.network.as_str()),
        ("dev", "Firefox on Linux", "203.0.113.0/24")
    );
}

pub async fn all_sessions_but_one_end(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    let second = signed_in(store, sign_in(&ada)).await;
    let ben = created(store, "ben").await;
    let kept = granted(store, &ada, "openid").await;
    let ends = granted(store, &second, "openid").await;
    let offline = granted(store, &second, "openid offline_access").await;
    let request = revoke(RevokeTarget::OtherSessions(ada.user.id, ada.family.session));
    let outcome = apply(store, request.clone()).await;
    let mut expected = [second.family.id, ends.family.id];
    expected.sort();
    assert_eq!(outcome.families, expected);
    let refused: Vec<_> = outcome.revocations.iter().map(|one| (one.kind, &*one.id)).collect();
    let (session, family) = (second.family.session.to_string(), ends.family.id.to_string());
    assert_eq!(refused, [(RevocationKind::Session, &*session), (RevocationKind::Family, &*family)]);
    let live: Vec<_> =
        store.read.live_families().await.unwrap().into_iter().map(|(id, _)| id).collect();
    let mut expected = [ada, ben, kept, offline].map(|family| family.family.id);
    expected.sort();
    assert_eq!(live, expected);
    assert_eq!(apply(store, request).await, Default::default());
}
