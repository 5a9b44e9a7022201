//! What people do with their account: its names, its sessions, taking everything along, and the end.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::actors::janitor::Run;
use latchkey::avatars::image::{Avatar, Format};
use latchkey::avatars::name::{AvatarName, Size};
use latchkey::store::model::UserId;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::grants::{claims, grant};
use crate::harness::{BEGIN, Backend, Browser, Server, body, code, cookie};
use crate::pictures::{avatar_url, objects, picture};
use crate::registration::{Registered, register};
use crate::uploads::upload;

pub async fn rename(browser: &Browser, name: &str) -> Response {
    browser.patch_json("/auth/me/username", &json!({ "username": name })).await
}

/// Registers a client and has the person of a browser sign in to it.
async fn with_app(server: &Server, browser: &Browser) -> Registered {
    let client = register(server, |_| {}).await;
    grant(server, browser, &client, "openid email").await;
    client
}

/// The status of `GET /auth/me` with an access token alone.
pub async fn me_by_bearer(url: &str, access: &str) -> StatusCode {
    let client = Client::builder().no_proxy().build().unwrap();
    client.get(format!("{url}/auth/me")).bearer_auth(access).send().await.unwrap().status()
}

/// An access token of a browser's session.
pub async fn access_of(browser: &Browser) -> String {
    cookie(&browser.post("/auth/refresh").await, "auth_access").expect("a session")
}

/// A further browser of somebody who has an account.
pub async fn further(server: &Server, name: &str) -> Browser {
    let browser = server.browser();
    browser.sign_in(name).await;
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::OK);
    browser
}

pub async fn sessions(browser: &Browser) -> Vec<Value> {
    let listed = body(browser.get("/auth/sessions").await).await;
    assert_eq!(listed["next_cursor"], Value::Null);
    listed["items"].as_array().unwrap().clone()
}

async fn a_display_name_is_set_normalised_and_cleared(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let set = async |name: Value| {
        body(browser.patch_json("/auth/me", &json!({ "display_name": name })).await).await
    };
    let changed = set(json!(" Rene\u{301} ")).await;
    assert_eq!((&changed["display_name"], &changed["username"]), (&json!("René"), &json!("alice")));
    assert_eq!(changed["emails"][0]["address"], "alice@dev.localhost");
    assert_eq!(body(browser.get("/auth/me").await).await, changed);
    assert_eq!(set(json!("")).await["display_name"], Value::Null);
    set(json!("Alice")).await;
    let unchanged = body(browser.patch_json("/auth/me", &json!({})).await).await;
    assert_eq!(unchanged["display_name"], "Alice", "what is not named stays");
    assert_eq!(set(Value::Null).await["display_name"], Value::Null);
    assert_eq!(server.audited("user.display_name_changed").await, 4);
    for (sent, field) in [
        (json!({ "display_name": "a\u{202e}b" }), json!("display_name")),
        (json!({ "display_name": "x".repeat(81) }), json!("display_name")),
        (json!({ "display_name": 7 }), Value::Null),
        (json!({ "role": "admin" }), Value::Null),
    ] {
        let refused = browser.patch_json("/auth/me", &sent).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let problem = body(refused).await;
        assert_eq!((&problem["code"], &problem["field"]), (&json!("invalid_field"), &field));
    }
}

async fn a_new_username_is_in_the_access_token_at_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let answer = rename(&browser, "Countess").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(claims::<Value>(&cookie(&answer, "auth_access").unwrap())["username"], "Countess");
    let user = body(answer).await;
    assert_eq!(user["username"], "Countess");
    assert_eq!(body(browser.get("/auth/me").await).await, user);
    assert!(browser.refresh().await.is_ok(), "the cookies go on");

    let again = rename(&browser, "Countess").await;
    assert_eq!(again.status(), StatusCode::OK, "the same name again");
    assert_eq!(server.audited("user.username_changed").await, 1);
    // Whoever has an access token alone gets no other by it.
    let client = Client::builder().no_proxy().build().unwrap();
    let by_bearer = client
        .patch(format!("{}/auth/me/username", server.url))
        .bearer_auth(access_of(&browser).await)
        .header("content-type", "application/json")
        .body(r#"{"username":"Countess"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(by_bearer.status(), StatusCode::OK);
    assert!(!by_bearer.headers().contains_key("set-cookie"));
}

async fn between_two_changes_of_a_name_lies_the_cooldown(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nchange_cooldown = \"10m\"\n").await;
    let browser = server.signed_in("alice").await;
    assert_eq!(rename(&browser, "countess").await.status(), StatusCode::OK, "the first is free");
    server.clock.advance(Duration::from_secs(60));
    let refused = rename(&browser, "lovelace").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(refused.headers()["retry-after"], "540");
    let problem = body(refused).await;
    assert_eq!(problem["code"], "username_cooldown");
    let retry_at = BEGIN.plus(Duration::from_secs(600));
    assert_eq!(problem["retry_at"], retry_at.to_rfc3339());
    server.clock.advance(Duration::from_secs(540));
    assert_eq!(rename(&browser, "lovelace").await.status(), StatusCode::OK);
}

async fn a_username_follows_the_rules_and_is_unique_ignoring_case(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("bob").await;
    let browser = server.signed_in("alice").await;
    for (name, status, expected) in [
        ("BOB", 409, "username_taken"),
        ("Admin", 422, "username_reserved"),
        ("a", 422, "username_invalid"),
        ("al ice", 422, "username_invalid"),
    ] {
        let refused = rename(&browser, name).await;
        assert_eq!(refused.status().as_u16(), status);
        let problem = body(refused).await;
        assert_eq!((&problem["code"], &problem["field"]), (&json!(expected), &json!("username")));
    }
    assert_eq!(rename(&browser, "ALICE").await.status(), StatusCode::OK);
    let rows = server.rows().await;
    assert!(rows.contains(&("held_usernames", 0)), "it was the person's name all the time");
    let further =
        browser.patch_json("/auth/me/username", &json!({ "username": "x", "id": 1 })).await;
    assert_eq!(code(further).await, "invalid_field");
}

async fn where_names_cannot_be_changed_nobody_does(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nallow_changes = false\n").await;
    let browser = server.signed_in("alice").await;
    let refused = rename(&browser, "countess").await;
    assert_eq!((refused.status(), &*code(refused).await), (StatusCode::FORBIDDEN, "forbidden"));
}

async fn held_names_become_free_and_the_janitor_forgets_them(backend: Backend) {
    let further = "[usernames]\nchange_cooldown = 0\nhold = \"1h\"\n";
    let server = Server::start(backend, further).await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    assert_eq!(rename(&alice, "countess").await.status(), StatusCode::OK);
    assert_eq!(code(rename(&bob, "alice").await).await, "username_taken");
    server.clock.advance(Duration::from_secs(3_600));
    bob.refresh().await.unwrap();
    let removed = server.app.janitor.ask(Run).await.unwrap().unwrap();
    assert_eq!(removed.held_usernames, 1);
    assert_eq!(rename(&bob, "alice").await.status(), StatusCode::OK);
}

async fn sessions_are_listed_and_ended(backend: Backend) {
    let server = Server::start(backend, "").await;
    let first = server.signed_in("alice").await;
    server.signed_in("bob").await;
    server.clock.advance(Duration::from_secs(1));
    let second = further(&server, "alice").await;
    server.clock.advance(Duration::from_secs(1));
    let third = further(&server, "alice").await;
    let items = sessions(&first).await;
    assert_eq!(items.len(), 3);
    let current: Vec<_> = items.iter().map(|item| item["current"] == json!(true)).collect();
    assert_eq!(current, [true, false, false]);
    let created: Vec<_> = items.iter().map(|item| item["created_at"].as_str().unwrap()).collect();
    assert!(created[0] < created[2] && created[2] < created[1], "{created:?}");
    let members: BTreeSet<_> = items[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["created_at", "current", "id", "last_used_at", "network", "provider", "user_agent"];
    assert_eq!(members, BTreeSet::from(expected));
    assert_eq!(
        (&items[0]["provider"], &items[0]["network"]),
        (&json!("dev"), &json!("127.0.0.0/24"))
    );

    let access = access_of(&third).await;
    let gone = format!("/auth/sessions/{}", items[1]["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(first.delete(&gone).await.status(), StatusCode::NO_CONTENT, "also once more");
    }
    assert_eq!(me_by_bearer(&server.url, &access).await, StatusCode::UNAUTHORIZED, "at once");
    assert_eq!(third.refresh().await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(sessions(&first).await.len(), 2);
    assert_eq!(server.audited("session.ended").await, 1);

    let access = access_of(&second).await;
    assert_eq!(first.delete("/auth/sessions").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(me_by_bearer(&server.url, &access).await, StatusCode::UNAUTHORIZED, "at once");
    assert_eq!(server.audited("user.signed_out_elsewhere").await, 1);
    let items = sessions(&first).await;
    assert_eq!(items.len(), 1);
    assert!(first.refresh().await.is_ok());

    let own = format!("/auth/sessions/{}", items[0]["id"].as_str().unwrap());
    let ended = first.delete(&own).await;
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    assert_eq!(cookie(&ended, "auth_refresh").as_deref(), Some(""), "its cookies are cleared");
    assert_eq!(first.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
}

/// Gives the person of a browser an avatar with both objects; returns its name.
async fn with_picture(server: &Server, browser: &Browser) -> AvatarName {
    let id = body(browser.get("/auth/me").await).await["id"].as_str().unwrap().to_owned();
    let avatar =
        Avatar { format: Format::Jpeg, large: b"large".to_vec(), small: b"small".to_vec() };
    let name = AvatarName::new(UserId(id.parse().unwrap()), &avatar);
    server.app.avatars.put(name, &avatar).await.unwrap();
    server.execute(&format!("UPDATE users SET avatar = '{name}' WHERE username = 'alice'")).await;
    name
}

async fn a_deleted_account_is_gone_at_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let elsewhere = further(&server, "alice").await;
    let picture = with_picture(&server, &browser).await;
    let tokens = [access_of(&browser).await, access_of(&elsewhere).await];
    // This node knows it before it answers, not by its next look at the store.
    server.stop_tickers();
    let deleted = browser.delete("/auth/me").await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    for cleared in ["auth_access", "auth_refresh"] {
        assert_eq!(cookie(&deleted, cleared).as_deref(), Some(""));
    }
    for token in tokens {
        assert_eq!(me_by_bearer(&server.url, &token).await, StatusCode::UNAUTHORIZED);
        let list = server.browser().client.get(format!("{}/auth/sessions", server.url));
        let refused = list.bearer_auth(&token).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "whatever the store would show");
    }
    assert_eq!(elsewhere.refresh().await, Err(StatusCode::UNAUTHORIZED));
    for size in Size::ALL {
        assert_eq!(server.app.avatars.get(picture.object(size)).await, Ok(None));
    }
    assert_eq!(server.audited("user.deleted").await, 1);

    // The identity is free for a new account; the name is not.
    let again = server.browser();
    again.sign_in("alice").await;
    let setup = async |name: &str| {
        again.post_json("/auth/setup", &json!({ "username": name })).await.status()
    };
    assert_eq!(setup("alice").await, StatusCode::CONFLICT);
    assert_eq!(setup("alice-again").await, StatusCode::CREATED);
}

async fn after_deletion_no_row_holds_anything_of_the_person(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nchange_cooldown = 0\n").await;
    let browser = server.signed_in("zerlina").await;
    let id = body(browser.get("/auth/me").await).await["id"].as_str().unwrap().to_owned();
    for name in ["Masetto", "Ottavio"] {
        assert_eq!(rename(&browser, name).await.status(), StatusCode::OK);
    }
    browser.patch_json("/auth/me", &json!({ "display_name": "Leporello" })).await;
    server.execute("UPDATE users SET avatar = 'picture-of-zerlina.jpg'").await;
    further(&server, "zerlina").await.post("/auth/logout").await;
    with_app(&server, &browser).await;
    let words =
        ["zerlina", "masetto", "ottavio", "leporello", "dev.localhost", "127.0.0", "picture-of"];
    let holding = |rows: &[String], word: &str| {
        rows.iter().filter(|row| row.to_lowercase().contains(word)).cloned().collect::<Vec<_>>()
    };
    let before = server.everything().await;
    for word in words {
        assert_ne!(holding(&before, word), [""; 0], "{word} is looked for in vain");
    }
    let consents =
        |rows: &[String]| rows.iter().filter(|row| row.starts_with("consents: ")).count();
    assert_eq!(consents(&before), 1);
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    let after = server.everything().await;
    assert_eq!(consents(&after), 0);
    for word in words {
        for row in holding(&after, word) {
            assert!(row.starts_with("held_usernames: "), "{word}: {row}");
            assert!(!row.contains(&id), "{row}");
        }
    }
    assert_eq!(after.iter().filter(|row| row.starts_with("held_usernames: ")).count(), 3);
    let of_id: BTreeSet<_> =
        holding(&after, &id).iter().map(|row| row.split(':').next().unwrap().to_owned()).collect();
    let expected = ["audit_events", "revocations", "users"].map(str::to_owned);
    assert_eq!(of_id, BTreeSet::from(expected), "the id stays as a tombstone, and in the trail");
}

async fn after_deletion_no_object_holds_the_picture(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    assert_eq!(upload(&browser, &picture([9, 9, 9])).await.status(), StatusCode::OK);
    let address = avatar_url(&browser).await.unwrap();
    assert_eq!(objects(&server).len(), 2);
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(objects(&server).len(), 0);
    assert_eq!(browser.get(&address).await.status(), StatusCode::NOT_FOUND);
}

/// The members of a document, as docs/export.md writes them; what is in `details` is not ours to list.
fn members(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let place = match place {
                    "" => name.clone(),
                    place => format!("{place}.{name}"),
                };
                if name != "details" && name != "personal" {
                    members(value, &place, found);
                }
                found.insert(place);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| members(item, &format!("{place}[]"), found));
        }
        _ => {}
    }
}

async fn an_export_holds_everything_and_is_explained(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nchange_cooldown = 0\n").await;
    let browser = server.signed_in("alice").await;
    server.signed_in("bob").await;
    for name in ["Countess", "Lovelace"] {
        rename(&browser, name).await;
    }
    further(&server, "alice").await.post("/auth/logout").await;
    let app = with_app(&server, &browser).await;
    let answer = browser.get("/auth/me/export").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let disposition = answer.headers()["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    let document = body(answer).await;

    let explained = include_str!("../../docs/export.md");
    let explained: BTreeSet<String> = explained
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    members(&document, "", &mut found);
    assert_eq!(found, explained);

    assert_eq!(document["account"]["username"], "Lovelace");
    assert_eq!(document["emails"][0]["address"], "alice@dev.localhost");
    assert_eq!(document["links"][0]["provider"], "dev");
    let names = |list: &str| -> Vec<String> {
        let items = document[list].as_array().unwrap().iter();
        items.map(|item| item["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("former_usernames"), ["alice", "Countess"]);
    assert_eq!(names("held_usernames"), ["alice", "countess"]);
    let sessions = document["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["ended_at"].is_string()).count(), 1);
    let now = server.clock.now().to_rfc3339();
    let expected = json!([{
        "client_id": app.id,
        "client_name": "Example app",
        "scope": "openid email",
        "since": now,
        "last_used_at": now,
    }]);
    assert_eq!(document["apps"], expected);
    let entries = document["audit"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["action"] == "user.created"
        && entry["address"] == "127.0.0.1"
        && entry["personal"]["username"] == "alice"));
    assert_eq!(document["audit_is_complete"], true);
    assert!(!document.to_string().contains("bob"), "nothing of others");
}

/// What a person at a keyboard cannot do, but two browsers can: everything at once, many times.
async fn answers_to_many_changes_at_once_are_never_a_failure_of_ours(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nchange_cooldown = 0\n").await;
    let browser = server.signed_in("alice").await;
    let names: Vec<String> = (0..20).map(|number| format!("name{}", number % 5)).collect();
    let answers = join_all(names.iter().map(|name| rename(&browser, name))).await;
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    let last = body(browser.get("/auth/me").await).await;
    assert!(last["username"].as_str().unwrap().starts_with("name"));
}

crate::on_both_stores!(
    a_display_name_is_set_normalised_and_cleared,
    a_new_username_is_in_the_access_token_at_once,
    between_two_changes_of_a_name_lies_the_cooldown,
    a_username_follows_the_rules_and_is_unique_ignoring_case,
    where_names_cannot_be_changed_nobody_does,
    held_names_become_free_and_the_janitor_forgets_them,
    sessions_are_listed_and_ended,
    a_deleted_account_is_gone_at_once,
    after_deletion_no_row_holds_anything_of_the_person,
    after_deletion_no_object_holds_the_picture,
    an_export_holds_everything_and_is_explained,
    answers_to_many_changes_at_once_are_never_a_failure_of_ours,
);

#[actix_web::test]
async fn a_deletion_on_one_node_is_known_on_the_other_within_a_second() {
    let one = Server::start(Backend::Postgres, "").await;
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    let access = access_of(&browser).await;
    assert_eq!(me_by_bearer(&other.url, &access).await, StatusCode::OK);
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(me_by_bearer(&one.url, &access).await, StatusCode::UNAUTHORIZED, "at once here");
    let asking =
        async { while me_by_bearer(&other.url, &access).await != StatusCode::UNAUTHORIZED {} };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the other node follows");
}
