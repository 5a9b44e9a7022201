//! Requests that are sent again, and done once.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{ES256, admin, assert_refused, request};
use crate::harness::{Backend, Browser, Server, body};
use crate::registration::register;

const CLIENTS: &str = "/admin/clients";

fn app(name: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": ["https://app.example/"] })
}

async fn post(browser: &Browser, path: &str, key: &str, body: &Value) -> Response {
    let sent = request(browser, &Method::POST, path, body).header("idempotency-key", key);
    browser.send(sent).await
}

async fn count(server: &Server) -> usize {
    server.app.store.read.clients(None, 1_000).await.unwrap().len()
}

async fn the_same_request_gets_the_same_answer_and_is_done_once(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let first = post(&alice, CLIENTS, "key-1", &app("One")).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let location = first.headers()["location"].clone();
    let answered = first.text().await.unwrap();
    // In whatever order its members stand, and with the key quoted.
    for key in ["key-1", "\"key-1\""] {
        let again = post(&alice, CLIENTS, key, &app("One")).await;
        assert_eq!(
            (again.status(), &again.headers()["location"]),
            (StatusCode::CREATED, &location)
        );
        assert_eq!(again.headers()["cache-control"], "no-store");
        assert_eq!(again.text().await.unwrap(), answered, "with the secret");
    }
    let secret = serde_json::from_str::<Value>(&answered).unwrap()["client_secret"].clone();
    let stored = server.everything().await.join("\n");
    assert!(!stored.contains(secret.as_str().unwrap()), "the answer is sealed");

    let other = post(&alice, CLIENTS, "key-1", &app("Other")).await;
    assert_refused(other, 422, "idempotency_key_reused", Some("Idempotency-Key")).await;
    let elsewhere = post(&alice, "/admin/keys/rotate", "key-1", &Value::Null).await;
    assert_refused(elsewhere, 422, "idempotency_key_reused", Some("Idempotency-Key")).await;
    assert_eq!(count(&server).await, 1);

    let bob = admin(&server, "bob").await;
    assert_eq!(post(&bob, CLIENTS, "key-1", &app("One")).await.status(), StatusCode::CREATED);
    assert_eq!(count(&server).await, 2, "a key is its admin's");
    server.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    alice.refresh().await.unwrap();
    let within = post(&alice, CLIENTS, "key-1", &app("One")).await;
    assert_eq!(within.text().await.unwrap(), answered);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(post(&alice, CLIENTS, "key-1", &app("One")).await.status(), StatusCode::CREATED);
    assert_eq!(count(&server).await, 3, "after a day it is another request");
}

async fn a_refused_request_gives_its_key_back(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let client = register(&server, |_| {}).await;
    let taken = json!({ "client_name": "App", "client_id": client.id, "redirect_uris": ["https://app.example/"] });
    for _ in 0..2 {
        assert_refused(post(&alice, CLIENTS, "k", &taken).await, 409, "client_id_taken", None)
            .await;
    }
    let unknown = "/admin/users/01890a5d-ac96-774b-bcce-b302099a8057/lock";
    assert_refused(post(&alice, unknown, "k", &Value::Null).await, 404, "not_found", None).await;
    assert_eq!(post(&alice, CLIENTS, "k", &app("App")).await.status(), StatusCode::CREATED);
}

async fn of_many_at_once_one_is_done(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    for round in 0..5 {
        let (key, name) = (format!("round-{round}"), app(&format!("App {round}")));
        let answers = join_all((0..8).map(|_| post(&alice, CLIENTS, &key, &name))).await;
        let mut secrets = Vec::new();
        for answer in answers {
            if answer.status() == StatusCode::CONFLICT {
                assert!(answer.headers().contains_key("retry-after"));
                assert_refused(answer, 409, "idempotency_key_in_use", None).await;
            } else {
                assert_eq!(answer.status(), StatusCode::CREATED);
                secrets.push(body(answer).await["client_secret"].clone());
            }
        }
        assert!(!secrets.is_empty());
        secrets.dedup();
        assert_eq!((secrets.len(), count(&server).await), (1, round + 1));
    }
    assert_eq!(server.audited("client.registered").await, 5);
}

async fn a_caller_who_went_away_finds_the_answer(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    for round in 0..5 {
        let (key, name) = (format!("round-{round}"), app("App"));
        let sent = request(&alice, &Method::POST, CLIENTS, &name).header("idempotency-key", &key);
        // Sent and given up at some point, whichever it is.
        let _gone = tokio::time::timeout(Duration::from_millis(2 * round), sent.send()).await;
        let answer = loop {
            let answer = post(&alice, CLIENTS, &key, &name).await;
            if answer.status() != StatusCode::CONFLICT {
                break answer;
            }
        };
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(count(&server).await as u64, round + 1);
    }
}

async fn what_is_no_key_is_refused(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let long = "k".repeat(256);
    for key in ["", "\"\"", "\"open", "two words", "a, b", long.as_str()] {
        let answer = post(&alice, CLIENTS, key, &app("App")).await;
        assert_refused(answer, 400, "invalid_request", Some("Idempotency-Key")).await;
    }
    let twice = request(&alice, &Method::POST, CLIENTS, &app("App"))
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let twice = alice.send(twice).await;
    assert_refused(twice, 400, "invalid_request", Some("Idempotency-Key")).await;
    assert_eq!(count(&server).await, 0);
    let longest = "k".repeat(255);
    let answer = post(&alice, CLIENTS, &longest, &app("App")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

crate::on_both_stores!(
    the_same_request_gets_the_same_answer_and_is_done_once,
    a_refused_request_gives_its_key_back,
    of_many_at_once_one_is_done,
    a_caller_who_went_away_finds_the_answer,
    what_is_no_key_is_refused,
);
