//! Attacks on sessions.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Backend, Server, code};
use crate::identity::{access_of, further, me_by_bearer, sessions};

async fn h04_a_get_changes_nothing(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let before = server.rows().await;
    for target in ["/auth/logout", "/auth/logout-all", "/auth/me/username", "/auth/sessions/x"] {
        let refused = browser.get(target).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{target}");
        assert!(refused.headers().contains_key("allow"), "{target}");
    }
    // What else these addresses do on GET is to show.
    for target in ["/auth/me", "/auth/me/export", "/auth/sessions"] {
        assert_eq!(browser.get(target).await.status(), StatusCode::OK, "{target}");
    }
    assert_eq!(server.rows().await, before);
}

async fn h07_sessions_of_others_are_neither_seen_nor_ended(backend: Backend) {
    let server = Server::start(backend, "").await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    let of_bob = sessions(&bob).await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(sessions(&alice).await.len(), 1);
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    let before = server.rows().await;
    for id in [
        of_bob.as_str(),
        unknown,
        &of_bob.to_uppercase(),
        &of_bob.replace('-', ""),
        &format!("%7B{of_bob}%7D"),
        "none",
        "%00",
        "..%2Fme",
    ] {
        let refused = alice.delete(&format!("/auth/sessions/{id}")).await;
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{id}");
        assert_eq!(code(refused).await, "not_found", "{id}");
    }
    assert_eq!(server.rows().await, before);
    assert!(bob.refresh().await.is_ok());
    let nobody = server.browser().delete(&format!("/auth/sessions/{of_bob}")).await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
}

/// Client families are granted later: the store's contract says what becomes of them.
async fn h08_signing_out_everywhere_ends_all_sessions_at_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let elsewhere = further(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let tokens = [access_of(&browser).await, access_of(&elsewhere).await];
    assert_eq!(browser.post("/auth/logout-all").await.status(), StatusCode::NO_CONTENT);
    for token in tokens {
        assert_eq!(me_by_bearer(&server.url, &token).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(elsewhere.refresh().await, Err(StatusCode::UNAUTHORIZED));
    assert!(bob.refresh().await.is_ok());
}

#[actix_web::test]
async fn h08_signing_out_elsewhere_is_known_to_other_nodes_within_a_second() {
    let one = Server::start(Backend::Postgres, "").await;
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    let access = access_of(&further(&one, "alice").await).await;
    assert_eq!(me_by_bearer(&other.url, &access).await, StatusCode::OK);
    assert_eq!(browser.delete("/auth/sessions").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(me_by_bearer(&one.url, &access).await, StatusCode::UNAUTHORIZED, "at once here");
    let asking =
        async { while me_by_bearer(&other.url, &access).await != StatusCode::UNAUTHORIZED {} };
    tokio::time::timeout(Duration::from_secs(3), asking).await.expect("the other node follows");
}

/// What a browser says of itself is never kept: only a label out of our own words is. NUL and escape
/// codes do not get through HTTP; the unit test of the label has them.
async fn h10_odd_user_agents_leave_a_short_label(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("alice").await;
    let long = format!("Mozilla/5.0 {}é (Linux)", "é".repeat(8_000));
    for (agent, label) in [
        (long.as_bytes(), "Browser on Linux"),
        (b"Firefox/1 \xff\xfe Windows".as_slice(), "Firefox on Windows"),
        (b"\xc3".as_slice(), "App"),
    ] {
        let value = reqwest::header::HeaderValue::from_bytes(agent).unwrap();
        let mut browser = server.browser();
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        headers.insert("user-agent", value);
        browser.client = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers)
            .no_proxy()
            .build()
            .unwrap();
        browser.sign_in("alice").await;
        let current = sessions(&browser).await.remove(0);
        assert_eq!((&current["user_agent"], &current["current"]), (&json!(label), &json!(true)));
    }
    let refused = server
        .browser()
        .client
        .get(format!("{}/auth/sessions", server.url))
        .header("user-agent", "x".repeat(100 << 10))
        .send()
        .await
        .unwrap();
    assert_eq!(code(refused).await, "headers_too_large");
}

crate::on_both_stores!(
    h04_a_get_changes_nothing,
    h07_sessions_of_others_are_neither_seen_nor_ended,
    h08_signing_out_everywhere_ends_all_sessions_at_once,
    h10_odd_user_agents_leave_a_short_label,
);
