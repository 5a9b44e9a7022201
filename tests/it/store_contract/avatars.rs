//! [`FillAvatar`].

use futures_util::future::join;
use latchkey::store::Store;
use latchkey::store::model::UserId;
use latchkey::store::operation::FillAvatar;

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
