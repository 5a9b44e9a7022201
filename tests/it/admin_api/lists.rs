//! Lists in parts, searches and filters.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::{ES256, admin, assert_refused, got, id_of};
use crate::harness::{Backend, Browser, Server};
use crate::registration::register;

fn items<'a>(page: &'a Value, member: &str) -> Vec<&'a str> {
    page["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap()).collect()
}

/// All of a list, by parts; `between` happens after each.
async fn all(
    browser: &Browser,
    path: &str,
    member: &str,
    between: impl AsyncFn(usize),
) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = path.to_owned();
    for part in 0..100 {
        let page = got(browser, &next).await;
        found.extend(items(&page, member).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { return found };
        let joint = if path.contains('?') { '&' } else { '?' };
        next = format!("{path}{joint}cursor={cursor}");
        between(part).await;
    }
    panic!("{path} has no end");
}

/// People whose accounts were made one after the other.
async fn people(server: &Server, names: &[&str]) {
    for name in names {
        server.clock.advance(Duration::from_millis(2));
        server.signed_in(name).await;
    }
}

async fn people_are_listed_newest_first_however_they_come_and_go(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    people(&server, &["bob", "carol", "dave", "erin", "frank", "grace"]).await;
    assert_eq!(
        all(&alice, "/admin/users?limit=2", "username", async |_| {}).await,
        ["grace", "frank", "erin", "dave", "carol", "bob", "alice"]
    );
    let listed = got(&alice, "/admin/users").await;
    assert_eq!((items(&listed, "username").len(), &listed["next_cursor"]), (7, &Value::Null));
    let ids: Vec<String> = items(&listed, "id").into_iter().map(str::to_owned).collect();
    // Somebody comes and two go, one of them the last that was shown: nobody is shown twice or left out.
    let while_reading = async |part| {
        if part == 0 {
            people(&server, &["heidi"]).await;
            for gone in [&ids[1], &ids[0]] {
                let answer = alice.delete(&format!("/admin/users/{gone}")).await;
                assert_eq!(answer.status(), StatusCode::NO_CONTENT);
            }
        }
    };
    assert_eq!(
        all(&alice, "/admin/users?limit=2", "username", while_reading).await,
        ["grace", "frank", "erin", "dave", "carol", "bob", "alice"]
    );
}

async fn people_are_found_by_name_address_and_id(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    people(&server, &["bob", "bo_b", "Carol", "bea"]).await;
    let carol = id_of(&crate::identity::further(&server, "Carol").await).await;
    let found = async |query: &str| {
        let page = got(&alice, &format!("/admin/users?{query}")).await;
        items(&page, "username").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("query=b").await, ["bea", "bo_b", "bob"]);
    assert_eq!(found("query=BO").await, ["bo_b", "bob"]);
    assert_eq!(found("query=bo_").await, ["bo_b"], "_ stands for itself");
    assert!(found("query=%25").await.is_empty(), "and so does %");
    assert_eq!(found("query=carol%40dev").await, ["Carol"], "by a verified address");
    assert_eq!(found(&format!("query={carol}")).await, ["Carol"]);
    assert!(found(&format!("query={carol}&role=admin")).await.is_empty());
    assert_eq!(found("role=admin").await, ["alice"]);
    assert_eq!(found("role=user&query=c&status=active").await, ["Carol"]);
    assert!(found("status=locked").await.is_empty());
    assert_eq!(
        all(&alice, "/admin/users?query=b&limit=1", "username", async |_| {}).await,
        ["bea", "bo_b", "bob"]
    );
}

async fn what_a_list_does_not_know_is_refused_with_the_parameter(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    for (query, code, field) in [
        ("users?limit=0", "invalid_request", Some("limit")),
        ("users?limit=201", "invalid_request", Some("limit")),
        ("users?limit=-1", "invalid_request", Some("limit")),
        ("users?limit=%2B1", "invalid_request", Some("limit")),
        ("users?limit=1e2", "invalid_request", Some("limit")),
        ("users?limit=99999999999999999999", "invalid_request", Some("limit")),
        ("users?limit=1&limit=2", "duplicate_parameter", None),
        ("users?query=", "invalid_request", Some("query")),
        ("users?role=", "invalid_request", Some("role")),
        ("users?role=Admin", "invalid_request", Some("role")),
        ("users?status=all", "invalid_request", Some("status")),
        ("users?sort=id", "invalid_request", Some("sort")),
        ("users?query=%00", "invalid_request", None),
        ("users?query=%ff", "invalid_request", None),
        ("clients?query=x", "invalid_request", Some("query")),
        ("audit?since=yesterday", "invalid_request", Some("since")),
        ("audit?until=2026-01-01", "invalid_request", Some("until")),
        ("audit?actor=", "invalid_request", Some("actor")),
        ("audit?target=%00", "invalid_request", None),
    ] {
        let answer = alice.get(&format!("/admin/{query}")).await;
        assert_refused(answer, 400, code, field).await;
    }
    let long = alice.get(&format!("/admin/users?query={}", "x".repeat(513))).await;
    assert_refused(long, 400, "invalid_request", Some("query")).await;
    for odd in ["%25%27%22%5C", "%EF%BF%BF", "%F0%9F%92%A9", "%20", "'%20OR%201=1--"] {
        assert!(got(&alice, &format!("/admin/users?query={odd}")).await["items"].is_array());
    }
}

async fn clients_are_listed_by_their_ids(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(register(&server, |_| {}).await.id);
    }
    ids.sort_unstable();
    let found = all(&alice, "/admin/clients?limit=2", "client_id", async |part| {
        if part == 0 {
            let path = format!("/admin/clients/{}", ids[1]);
            assert_eq!(alice.delete(&path).await.status(), StatusCode::NO_CONTENT);
        }
    });
    assert_eq!(found.await, ids, "the one that went had been shown");
    assert_eq!(got(&alice, "/admin/clients").await["items"].as_array().unwrap().len(), 4);
}

async fn the_trail_is_read_backwards_and_by_filters(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    server.clock.advance(Duration::from_secs(60));
    people(&server, &["bob", "carol"]).await;
    let newest = got(&alice, "/admin/audit?limit=200").await;
    let ids: Vec<String> = items(&newest, "id").into_iter().map(str::to_owned).collect();
    assert!(ids.len() > 4 && ids.is_sorted_by(|one, next| one > next), "the newest first");
    // What is written meanwhile does not move what is read.
    let read = all(&alice, "/admin/audit?limit=2", "id", async |part| {
        if part < 2 {
            // Of one millisecond, the order is by chance.
            server.clock.advance(Duration::from_millis(5));
            server.browser().sign_in("bob").await;
        }
    });
    assert_eq!(read.await, ids);
    let created = got(&alice, "/admin/audit?action=user.created").await;
    assert_eq!(items(&created, "action"), ["user.created"; 3]);
    let bob = created["items"][1]["target"].as_str().unwrap();
    let about = got(&alice, &format!("/admin/audit?target={bob}&action=user.created")).await;
    assert_eq!(about["items"].as_array().unwrap().len(), 1);
    assert_eq!(about["items"][0]["address"], "127.0.0.1");
    let by_cli = got(&alice, "/admin/audit?actor=cli").await;
    assert_eq!(items(&by_cli, "action"), ["user.role_changed"]);
    // The time of the second of three, in another offset.
    let since = "2027-01-15T10:00:30%2B02:00";
    let later = got(&alice, &format!("/admin/audit?action=user.created&since={since}")).await;
    assert_eq!(later["items"].as_array().unwrap().len(), 2);
    let before = got(&alice, &format!("/admin/audit?action=user.created&until={since}")).await;
    assert_eq!(before["items"].as_array().unwrap().len(), 1);
    for far in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        got(&alice, &format!("/admin/audit?since={far}&until={far}")).await;
    }
}

crate::on_both_stores!(
    people_are_listed_newest_first_however_they_come_and_go,
    people_are_found_by_name_address_and_id,
    what_a_list_does_not_know_is_refused_with_the_parameter,
    clients_are_listed_by_their_ids,
    the_trail_is_read_backwards_and_by_filters,
);
