//! [`FillAvatar`], [`SetAvatar`], and which avatars are in use.

use futures_util::future::join;
use latchkey::store::Store;
use latchkey::store::model::UserId;
use latchkey::store::operation::{FillAvatar, SetAvatar, SetAvatarOutcome};

use super::Database;
use super::fixtures::{apply, at, audited, created, entry, open_again};

fn fill(user: UserId, avatar: &str) -> FillAvatar {
    let mut audit = entry("user.avatar_filled");
    audit.at = at(7);
    FillAvatar { user, avatar: avatar.to_owned(), audit }
}

async fn avatar(store: &Store, user: UserId) -> Option<String> {
    store.read.user(user).await.unwrap().unwrap().avatar
}

pub async fn an_avatar_fills_what_is_empty(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await.user.id, created(store, "ben").await.user.id);
    assert!(apply(store, fill(ada, "picture")).await);
    assert_eq!(avatar(store, ada).await.as_deref(), Some("picture"));
    assert_eq!(avatar(store, ben).await, None);
    assert_eq!(audited(store, "user.avatar_filled").await, 1);
    let changed = format!("SELECT count(*) FROM users WHERE updated_at = {}", at(7).millis());
    assert_eq!(database.number(&changed).await, 1);
}

pub async fn an_avatar_that_is_there_stays(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    assert!(apply(store, fill(ada, "first")).await);
    for another in ["second", "first"] {
        assert!(!apply(store, fill(ada, another)).await);
    }
    assert_eq!(avatar(store, ada).await.as_deref(), Some("first"));
    assert_eq!(audited(store, "user.avatar_filled").await, 1);
}

pub async fn only_an_active_person_gets_an_avatar(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        assert!(!apply(store, fill(ada, "picture")).await, "{status}");
        assert_eq!(avatar(store, ada).await, None, "{status}");
    }
    assert!(!apply(store, fill(UserId::new(at(0)), "picture")).await);
    assert_eq!(audited(store, "user.avatar_filled").await, 0);
}

pub async fn of_two_avatars_at_once_one_is_entered(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    let other = open_again(database).await;
    let (one, two) = join(apply(store, fill(ada, "one")), apply(&other, fill(ada, "two"))).await;
    assert!(one != two);
    let winner = if one { "one" } else { "two" };
    assert_eq!(avatar(store, ada).await.as_deref(), Some(winner));
    assert_eq!(audited(store, "user.avatar_filled").await, 1);
}

fn set(user: UserId, avatar: Option<&str>) -> SetAvatar {
    let avatar = avatar.map(str::to_owned);
    SetAvatar { user, avatar, now: at(9), audit: entry("user.avatar_changed") }
}

fn was(former: Option<&str>) -> SetAvatarOutcome {
    SetAvatarOutcome::Set { former: former.map(str::to_owned) }
}

pub async fn an_avatar_is_set_replaced_and_removed(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await.user.id, created(store, "ben").await.user.id);
    let mut before = None;
    for next in [Some("first"), Some("second"), None] {
        assert_eq!(apply(store, set(ada, next)).await, was(before));
        assert_eq!(avatar(store, ada).await.as_deref(), next);
        before = next;
    }
    assert_eq!(avatar(store, ben).await, None);
    assert_eq!(audited(store, "user.avatar_changed").await, 3);
    let changed = format!("SELECT count(*) FROM users WHERE updated_at = {}", at(9).millis());
    assert_eq!(database.number(&changed).await, 1);
}

pub async fn what_changes_nothing_of_an_avatar_is_not_audited(
    store: &Store,
    database: &impl Database,
) {
    let ada = created(store, "ada").await.user.id;
    assert_eq!(apply(store, set(ada, None)).await, was(None));
    assert!(apply(store, fill(ada, "first")).await);
    assert_eq!(apply(store, set(ada, Some("first"))).await, was(Some("first")));
    assert_eq!(audited(store, "user.avatar_changed").await, 0);
    let changed = format!("SELECT count(*) FROM users WHERE updated_at = {}", at(9).millis());
    assert_eq!(database.number(&changed).await, 0);
}

pub async fn only_an_active_person_changes_an_avatar(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await.user.id;
    assert!(apply(store, fill(ada, "first")).await);
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        for next in [Some("second"), None] {
            let refused = apply(store, set(ada, next)).await;
            assert_eq!(refused, SetAvatarOutcome::NotAllowed, "{status}");
        }
    }
    let unknown = set(UserId::new(at(0)), Some("second"));
    assert_eq!(apply(store, unknown).await, SetAvatarOutcome::NotAllowed);
    assert_eq!(avatar(store, ada).await.as_deref(), Some("first"));
    assert_eq!(audited(store, "user.avatar_changed").await, 0);
}

pub async fn of_two_changes_of_an_avatar_each_learns_what_it_replaced(
    store: &Store,
    database: &impl Database,
) {
    let ada = created(store, "ada").await.user.id;
    let other = open_again(database).await;
    let (one, two) =
        join(apply(store, set(ada, Some("one"))), apply(&other, set(ada, Some("two")))).await;
    let last = avatar(store, ada).await;
    let expected = match last.as_deref() {
        Some("one") => (was(Some("two")), was(None)),
        _ => (was(None), was(Some("one"))),
    };
    assert_eq!((one, two), expected);
}

pub async fn avatars_in_use_are_told_from_others(store: &Store, _: &impl Database) {
    let (ada, ben) = (created(store, "ada").await.user.id, created(store, "ben").await.user.id);
    assert!(apply(store, fill(ada, "ada's")).await);
    assert!(apply(store, fill(ben, "be\"n's")).await);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let asked = names(&["ada's", "be\"n's", "ADA'S", "nobody's"]);
    let mut found = store.read.avatars_in_use(&asked).await.unwrap();
    found.sort();
    assert_eq!(found, names(&["ada's", "be\"n's"]));
    assert_eq!(store.read.avatars_in_use(&[]).await.unwrap(), names(&[]));
}
