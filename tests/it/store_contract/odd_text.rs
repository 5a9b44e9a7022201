//! Text that people and providers make up. What a backend cannot hold is refused, not a panic.

use latchkey::store::Store;
use latchkey::store::model::{AuditPage, KeyRange, UserPage, UserSearch};
use latchkey::store::operation::{AppendAudit, CreateUserOutcome, SignInOutcome};
use serde_json::json;

use super::Database;
use super::fixtures::{at, created, creation, email, entry_of, sign_in, try_apply};

fn odd_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "\0",
        "nul\0in the middle",
        "';DROP TABLE users;--",
        "\"; $1 ?1 :name @name %s {}",
        "\\x00 \\u0000 \\",
        "\u{202e}right to left\u{202c}",
        "e\u{301} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{10ffff} \u{fffd} \u{feff}",
        "line\r\nbreak\u{1b}[31m",
    ]
    .map(str::to_owned)
    .into();
    texts.push("long ".repeat(20_000));
    texts.push("\u{1f511}".repeat(20_000));
    texts
}

pub async fn odd_text_breaks_nothing(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    for (seconds, text) in (10..).zip(odd_texts()) {
        let mut new = creation(&text);
        new.user.display_name = Some(text.clone());
        if let Ok(outcome) = try_apply(store, new.clone()).await {
            assert!(matches!(outcome, CreateUserOutcome::Created(_)), "{text:?}");
            let kept = store.read.user(new.user.id).await.unwrap();
            assert_eq!(kept, Some(new.user), "what is kept is kept whole");
        }

        let mut again = sign_in(&person);
        again.identity.emails = vec![email(&text, false)];
        (again.family.user_agent, again.family.network) = (text.clone(), text.clone());
        (again.family.scope, again.family.provider) = (text.clone(), text.clone());
        (again.audit.target, again.audit.request_id) = (text.clone(), Some(text.clone()));
        again.audit.address = Some(text.clone());
        if let Ok(outcome) = try_apply(store, again).await {
            assert!(matches!(outcome, SignInOutcome::Opened(_)), "{text:?}");
            let emails = store.read.emails(person.user.id).await.unwrap();
            assert_eq!(emails, [email(&text, false)]);
        }

        let mut noted = entry_of(seconds, "text.noted");
        noted.details = json!({ "text": text, "personal": { "text": text } });
        try_apply(store, AppendAudit(noted)).await.unwrap();
        let newest = store.read.audit(&AuditPage::newest(1)).await.unwrap().remove(0);
        assert_eq!(newest.details, json!({ "text": text }), "JSON escapes what text cannot hold");
    }
    created(store, "ben").await;
}

pub async fn odd_questions_break_nothing(store: &Store, _: &impl Database) {
    created(store, "ada").await;
    for text in odd_texts() {
        let by_name = store.read.user_by_name(&text).await;
        assert!(matches!(by_name, Ok(None) | Err(_)), "{by_name:?}");
        let by_identity = store.read.user_by_identity(&text, &text).await;
        assert!(matches!(by_identity, Ok(None) | Err(_)), "{by_identity:?}");
        let range = KeyRange::beginning_with(&text);
        let search = Some(UserSearch { name: range.clone(), address: range });
        let people = store.read.users(&UserPage { search, limit: 5, ..UserPage::default() }).await;
        assert!(people.is_ok_and(|list| list.people.is_empty() || text.is_empty()), "{text:?}");
        let (actor, target) = (Some(text.clone()), Some(text.clone()));
        let page = AuditPage { actor, target, limit: 5, ..AuditPage::default() };
        assert_eq!(store.read.audit(&page).await.unwrap(), [], "{text:?}");
        let is_free = store.read.username_is_free(&text, at(0)).await;
        assert!(matches!(is_free, Ok(true) | Err(_)), "{is_free:?}");
    }
    assert!(store.read.user_by_name("ada").await.unwrap().is_some());
}
