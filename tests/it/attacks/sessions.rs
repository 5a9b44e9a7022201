//! Attacks on sessions.

use std::time::Duration;

use latchkey::config::settings::{Origin, Settings};
use reqwest::header::SET_COOKIE;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::harness::{Backend, Server, code, cookie};
use crate::identity::{access_of, further, me_by_bearer, sessions};

/// What each cookie of an answer is set with, without its value: name, then attributes in order.
fn cookies(answer: &Response) -> Vec<Vec<String>> {
    let lines = answer.headers().get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap());
    let mut cookies: Vec<Vec<String>> = lines
        .map(|line| {
            let mut parts = line.split("; ").map(str::to_owned);
            let name = parts.next().unwrap().split_once('=').unwrap().0.to_owned();
            let mut attributes: Vec<String> =
                parts.filter(|part| !part.starts_with("Max-Age=")).collect();
            attributes.sort();
            [vec![name], attributes].concat()
        })
        .collect();
    cookies.sort();
    cookies
}

/// Our rules: SameSite=Lax for both, the refresh cookie below `/auth`, and so `__Secure-` for it.
#[actix_web::test]
async fn h01_cookies_are_bound_as_tightly_as_browsers_allow() {
    let server = Server::start(Backend::Postgres, "").await;
    server.signed_in("alice").await;
    let refresh = async |change: fn(&mut Settings), name: &str| {
        let token = cookie(&server.browser().sign_in("alice").await, "auth_refresh").unwrap();
        let node = server.beside(change).await;
        let answer = reqwest::Client::new()
            .post(format!("{}/auth/refresh", node.url))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("{name}={token}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        cookies(&answer)
    };
    let plain = refresh(|_| {}, "auth_refresh").await;
    assert_eq!(
        plain,
        [
            vec!["auth_access", "HttpOnly", "Path=/", "SameSite=Lax"],
            vec!["auth_refresh", "HttpOnly", "Path=/auth", "SameSite=Lax"],
        ]
    );
    let https = |settings: &mut Settings| {
        settings.server.public_url = Origin::parse("https://auth.example.com").unwrap();
    };
    assert_eq!(
        refresh(https, "__Secure-auth_refresh").await,
        [
            vec!["__Host-auth_access", "HttpOnly", "Path=/", "SameSite=Lax", "Secure"],
            vec!["__Secure-auth_refresh", "HttpOnly", "Path=/auth", "SameSite=Lax", "Secure"],
        ]
    );
    let shared = |settings: &mut Settings| {
        settings.server.public_url = Origin::parse("https://auth.example.com").unwrap();
        settings.cookies.domain = Some("example.com".to_owned());
    };
    let domain = "Domain=example.com";
    assert_eq!(
        refresh(shared, "__Secure-auth_refresh").await,
        [
            vec!["__Secure-auth_access", domain, "HttpOnly", "Path=/", "SameSite=Lax", "Secure"],
            vec![
                "__Secure-auth_refresh",
                domain,
                "HttpOnly",
                "Path=/auth",
                "SameSite=Lax",
                "Secure"
            ],
        ]
    );
}

async fn h06_a_preflight_is_answered_without_a_session_or_a_limit(backend: Backend) {
    let origin = "https://app.example.com";
    let further = format!(
        "cors_origins = [\"{origin}\"]\n[rate_limits]\nlogin = {{ per = \"1h\", burst = 2 }}\npublic = {{ per = \"1h\", burst = 2 }}\n"
    );
    let server =
        Server::start_with(backend, &further, |settings| settings.rate_limits.exempt.clear()).await;
    let ask = async |origin: &str, target: &str| {
        reqwest::Client::new()
            .request(Method::OPTIONS, format!("{}{target}", server.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap()
    };
    for number in 0..20 {
        let target = ["/auth/setup", "/auth/refresh", "/auth/me", "/auth/sessions"][number % 4];
        let answer = ask(origin, target).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{target}");
        assert_eq!(answer.headers()["access-control-allow-origin"], origin);
        assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
        let stranger = ask("https://evil.example", target).await;
        assert_eq!(stranger.status(), StatusCode::NO_CONTENT, "{target}");
        assert!(!stranger.headers().contains_key("access-control-allow-origin"), "{target}");
    }
}

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
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the other node follows");
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
    h06_a_preflight_is_answered_without_a_session_or_a_limit,
    h07_sessions_of_others_are_neither_seen_nor_ended,
    h08_signing_out_everywhere_ends_all_sessions_at_once,
    h10_odd_user_agents_leave_a_short_label,
);
