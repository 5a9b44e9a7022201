//! Refresh tokens over HTTP: rotation, retries, reuse (spec: one row a family).

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};

use crate::harness::{Backend, Browser, Server, code, cookie, present};

const NO_GRACE: &str = "[tokens]\nsession_grace = \"0s\"\n";
const STRICT: &str = "[tokens]\nsession_grace = \"0s\"\nretry_window = \"0s\"\n";

/// The refresh token of a new session.
async fn first_token(server: &Server, name: &str) -> (Browser, String) {
    let browser = server.signed_in(name).await;
    let token = browser.refresh().await.unwrap();
    (browser, token)
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

pub async fn a_session_from_sign_in_to_sign_out(backend: Backend) {
    let server = Server::start(backend, NO_GRACE).await;
    let browser = server.signed_in("alice").await;
    let me: serde_json::Value =
        serde_json::from_str(&browser.get("/auth/me").await.text().await.unwrap()).unwrap();
    assert_eq!(me["username"], "alice");
    assert_eq!(me["emails"][0]["address"], "alice@dev.localhost");
    assert_eq!(me["emails"][0]["verified"], true);

    let mut tokens = std::collections::HashSet::new();
    for _ in 0..50 {
        assert!(tokens.insert(browser.refresh().await.unwrap()), "each refresh rotates");
    }
    let last = browser.post("/auth/refresh").await;
    let (access, refresh) =
        (cookie(&last, "auth_access").unwrap(), cookie(&last, "auth_refresh").unwrap());

    assert_eq!(browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    let old = present(&client(), &server.url, &refresh).await;
    assert_eq!(old.status(), StatusCode::UNAUTHORIZED);
    let me =
        client().get(format!("{}/auth/me", server.url)).bearer_auth(&access).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::UNAUTHORIZED, "the access token dies with the session");
    assert_eq!(browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT, "again");
    assert!(server.stop().await);
}

pub async fn equal_requests_at_once_get_one_successor(backend: Backend) {
    let server = Server::start(backend, NO_GRACE).await;
    let (_, token) = first_token(&server, "alice").await;
    let (client, url) = (client(), &server.url);
    let answers = join_all((0..32).map(|_| present(&client, url, &token))).await;
    let successors: std::collections::HashSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status(), StatusCode::OK);
            cookie(answer, "auth_refresh").unwrap()
        })
        .collect();
    assert_eq!(successors.len(), 1, "one live leaf");
    for successor in &successors {
        assert_eq!(present(&client, url, successor).await.status(), StatusCode::OK);
    }
}

pub async fn an_older_generation_revokes_the_family_at_any_age(backend: Backend) {
    let server = Server::start(backend, NO_GRACE).await;
    let (browser, oldest) = first_token(&server, "alice").await;
    for _ in 0..2 {
        browser.refresh().await.unwrap();
    }
    let live = browser.post("/auth/refresh").await;
    let access = cookie(&live, "auth_access").unwrap();
    server.clock.advance(Duration::from_secs(300));

    let replay = present(&client(), &server.url, &oldest).await;
    assert_eq!(replay.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(code(replay).await, "session_ended");
    assert_eq!(browser.refresh().await, Err(StatusCode::UNAUTHORIZED), "the live token died, too");
    let me =
        client().get(format!("{}/auth/me", server.url)).bearer_auth(&access).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.audited("family.reuse_detected").await, 1);
    let metrics = browser.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("latchkey_refreshes_total{outcome=\"reused\"} 1\n"), "{metrics}");
}

pub async fn without_a_retry_window_one_of_many_wins_and_the_family_ends(backend: Backend) {
    let server = Server::start(backend, STRICT).await;
    let (_, token) = first_token(&server, "alice").await;
    let (client, url) = (client(), &server.url);
    let answers = join_all((0..32).map(|_| present(&client, url, &token))).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status() == StatusCode::OK).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(
        answers.iter().filter(|answer| answer.status() == StatusCode::UNAUTHORIZED).count(),
        31
    );
    let successor = cookie(won[0], "auth_refresh").unwrap();
    assert_eq!(present(&client, url, &successor).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.audited("family.reuse_detected").await, 1);
}

pub async fn forged_tokens_cause_no_read(backend: Backend) {
    let server = Server::start(backend, NO_GRACE).await;
    let (_, token) = first_token(&server, "alice").await;
    server.stop_tickers();
    let app = &server.app;
    let (reads, writes) = (app.store.counters.reads(), app.store.counters.writes());
    for number in 0..100_000_usize {
        let request = actix_web::test::TestRequest::default()
            .insert_header(("cookie", format!("auth_refresh={}", forged(&token, number))))
            .to_http_request();
        let presented = latchkey::routes::session::presented_refresh(&request, app).unwrap();
        assert_eq!(presented, None);
    }
    let client = client();
    for number in 0..500 {
        let answer = present(&client, &server.url, &forged(&token, number * 7)).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.store.counters.reads(), reads);
    assert_eq!(app.store.counters.writes(), writes);
    assert!(server.metric("latchkey_refreshes_total{outcome=\"forged\"}") > 90_000);
}

/// The token with one character changed, and sometimes cut or lengthened.
fn forged(token: &str, number: usize) -> String {
    let mut bytes = token.as_bytes().to_vec();
    let position = number % bytes.len();
    let other = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let wanted = other[number / bytes.len() % other.len()];
    bytes[position] = if bytes[position] == wanted { b'!' } else { wanted };
    match number % 5 {
        0 => bytes.truncate(number % 80),
        1 => bytes.push(wanted),
        _ => {}
    }
    String::from_utf8(bytes).unwrap()
}

pub async fn within_the_grace_a_session_keeps_its_token(backend: Backend) {
    let server = Server::start(backend, "").await;
    let (browser, token) = first_token(&server, "alice").await;
    assert_eq!(browser.refresh().await.unwrap(), token);
    let writes = server.app.store.counters.writes();
    assert_eq!(browser.refresh().await.unwrap(), token);
    assert_eq!(server.app.store.counters.writes(), writes, "nothing is written");
    server.clock.advance(Duration::from_secs(60));
    assert_ne!(browser.refresh().await.unwrap(), token);
}

pub async fn idle_and_absolute_life_end_a_session(backend: Backend) {
    let lives =
        "[tokens]\nsession_grace = \"0s\"\nrefresh_ttl = \"10m\"\nsession_max_age = \"25m\"\n";
    let server = Server::start(backend, lives).await;
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let idle = server.signed_in("idle").await;
    let busy = server.signed_in("busy").await;
    server.clock.advance(minutes(9));
    busy.refresh().await.unwrap();
    server.clock.advance(minutes(1));
    assert_eq!(idle.refresh().await, Err(StatusCode::UNAUTHORIZED), "unused for ten minutes");
    server.clock.advance(minutes(7));
    busy.refresh().await.unwrap();
    server.clock.advance(minutes(8));
    assert_eq!(busy.refresh().await, Err(StatusCode::UNAUTHORIZED), "25 minutes old");
}

/// Three tabs share a cookie jar. They refresh at random moments; answers arrive late, in another
/// order, or never. Whatever the jar then holds must go on working.
pub async fn tabs_that_race_and_lose_answers_are_never_logged_out(backend: Backend) {
    let server = Server::start(backend, "").await;
    let (_, mut jar) = first_token(&server, "alice").await;
    let (client, url) = (client(), server.url.clone());
    let mut random = Lcg(42);
    for round in 0..400 {
        // Up to half an hour passes, or only a moment.
        let seconds = if random.below(3) == 0 { random.below(3) } else { random.below(1800) };
        server.clock.advance(Duration::from_secs(seconds));
        let tabs = 1 + random.below(3);
        let mut answers = join_all((0..tabs).map(|_| present(&client, &url, &jar))).await;
        while !answers.is_empty() {
            let next = usize::try_from(random.below(answers.len() as u64)).unwrap();
            let answer = answers.swap_remove(next);
            assert_eq!(answer.status(), StatusCode::OK, "round {round}");
            let is_lost = random.below(4) == 0;
            if !is_lost {
                jar = cookie(&answer, "auth_refresh").unwrap();
            }
        }
    }
    assert_eq!(server.audited("family.reuse_detected").await, 0);
}

/// A small deterministic generator (Knuth's MMIX constants): the test is the same on every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

crate::on_both_stores!(
    a_session_from_sign_in_to_sign_out,
    equal_requests_at_once_get_one_successor,
    an_older_generation_revokes_the_family_at_any_age,
    without_a_retry_window_one_of_many_wins_and_the_family_ends,
    forged_tokens_cause_no_read,
    within_the_grace_a_session_keeps_its_token,
    idle_and_absolute_life_end_a_session,
    tabs_that_race_and_lose_answers_are_never_logged_out,
);
