//! Rate limits over HTTP: every tier, on its routes, by its key.

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::harness::{Backend, Browser, Server, code, present};

const LIMITS: &str = "[rate_limits]\nlogin = { per = \"1m\", burst = 6 }\n\
    token = { per = \"1m\", burst = 5 }\napi = { per = \"1m\", burst = 4 }\n\
    public = { per = \"1m\", burst = 8 }\n[tokens]\nsession_grace = \"0s\"\n";

/// A server that counts this machine, too, but not from the start.
async fn limited() -> (Server, Browser) {
    let server = Server::start_with(Backend::Sqlite, LIMITS, |settings| {
        settings.rate_limits.exempt.clear();
    })
    .await;
    let browser = server.signed_in("alice").await; // start, callback, setup: three of the six
    server.clock.advance(Duration::from_secs(60));
    (server, browser)
}

/// How many of `count` equal requests pass before the first refusal, which is checked.
async fn passes(browser: &Browser, method: &str, target: &str, count: usize) -> usize {
    for number in 0..count {
        let request =
            browser.client.request(method.parse().unwrap(), format!("{}{target}", browser.url));
        let answer = request.send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(code(answer).await, "rate_limited");
            return number;
        }
    }
    count
}

#[actix_web::test]
async fn each_route_has_its_tier_and_the_wait_is_true() {
    let (server, browser) = limited().await;
    for (method, target, tier) in [
        ("GET", "/auth/dev", 6),
        ("GET", "/auth/me", 4),
        ("GET", "/auth/providers", 8),
        ("GET", "/health", 30),
        ("GET", "/ready", 30),
        ("GET", "/.well-known/jwks.json", 30),
        ("GET", "/.well-known/openid-configuration", 30),
    ] {
        assert_eq!(passes(&browser, method, target, 30).await, tier, "{target}");
        server.clock.advance(Duration::from_secs(60));
    }
    // The other routes of a tier share its bucket.
    for target in ["/auth/dev/callback", "/auth/setup", "/auth/username-available?username=abc"] {
        assert_eq!(passes(&browser, "GET", target, 2).await, 2, "{target}");
    }
    assert_eq!(passes(&browser, "POST", "/auth/form/setup", 2).await, 0);
    assert_eq!(passes(&browser, "GET", "/login", 1).await, 1, "another tier");
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(
        passes(&browser, "GET", "/auth/setup", 5).await,
        1,
        "one is refilled in ten seconds"
    );
}

#[actix_web::test]
async fn a_family_is_limited_for_itself_and_forged_tokens_do_not_use_it_up() {
    let (server, browser) = limited().await;
    let client = Client::builder().no_proxy().build().unwrap();
    for _ in 0..5 {
        let forged = present(&client, &server.url, &"A".repeat(80)).await;
        assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
    }
    let forged = present(&client, &server.url, &"A".repeat(80)).await;
    assert_eq!(forged.status(), StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..5 {
        assert!(browser.refresh().await.is_ok(), "the owner is not locked out");
    }
    assert_eq!(browser.refresh().await, Err(StatusCode::TOO_MANY_REQUESTS));
    server.clock.advance(Duration::from_secs(60));
    assert!(browser.refresh().await.is_ok(), "nothing was consumed by the refusal");
}

#[actix_web::test]
async fn an_untrusted_forwarded_address_changes_nothing() {
    let server = Server::start(Backend::Sqlite, LIMITS).await; // this machine is exempt …
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = |address: Option<String>| {
        let mut request = client.get(format!("{}/auth/dev", server.url));
        if let Some(address) = address {
            request = request.header("x-forwarded-for", address);
        }
        async { request.send().await.unwrap().status() }
    };
    for _ in 0..20 {
        assert_eq!(ask(None).await, StatusCode::FOUND);
    }
    // … but not what claims to be somebody else, whoever it claims to be.
    let mut statuses = Vec::new();
    for number in 0..10 {
        statuses.push(ask(Some(format!("192.0.2.{number}"))).await);
    }
    let refused =
        statuses.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(refused, 4, "{statuses:?}");
    let metrics =
        client.get(format!("{}/metrics", server.url)).header("x-forwarded-for", "127.0.0.1");
    assert_eq!(metrics.send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_trusted_proxy_is_believed() {
    let further = format!("trusted_proxies = [\"127.0.0.1/32\"]\n{LIMITS}");
    let server = Server::start(Backend::Sqlite, &further).await;
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = |address: &str| {
        let request =
            client.get(format!("{}/auth/dev", server.url)).header("x-forwarded-for", address);
        async { request.send().await.unwrap().status() }
    };
    for number in 0..6 {
        assert_eq!(ask(&format!("198.51.100.{number}, 192.0.2.1")).await, StatusCode::FOUND);
    }
    assert_eq!(ask("192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS, "the rightmost counts");
    assert_eq!(ask("192.0.2.2").await, StatusCode::FOUND);
}

#[actix_web::test]
async fn the_metrics_listener_serves_metrics_alone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start_with(Backend::Sqlite, "", |settings| {
        settings.telemetry.metrics_listen = Some(address);
    })
    .await;
    let get = |url: String| reqwest::get(url);
    let metrics = get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    for name in [
        "latchkey_actor_restarts_total{actor=\"db_writer\",shard=\"0\"} 0",
        "latchkey_actor_asks_total{actor=\"token_families\",shard=\"0\",outcome=\"full\"} 0",
        "latchkey_refreshes_total{outcome=\"reused\"} 0",
        "latchkey_store_commits_total",
        "process_open_fds",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let main = get(format!("{}/metrics", server.url)).await.unwrap();
    assert_eq!(main.status(), StatusCode::NOT_FOUND);
    let other = get(format!("http://{address}/auth/me")).await.unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    assert!(server.stop().await);
}
