//! Each actor of a running server is broken under load: callers get an error within the deadline,
//! the next request works, the restart is counted, nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};

use crate::harness::{Backend, Server, cookie, present};

const NO_GRACE: &str = "[tokens]\nsession_grace = \"0s\"\n";

/// Refreshes one session until told to stop; returns every token that was acknowledged, in order.
async fn refresh_until(
    client: Client,
    url: String,
    mut token: String,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = vec![token.clone()];
    while !stop.load(Ordering::Relaxed) {
        let answer = present(&client, &url, &token).await;
        match answer.status() {
            StatusCode::OK => {
                token = cookie(&answer, "auth_refresh").unwrap();
                acknowledged.push(token.clone());
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers().contains_key("retry-after"));
            }
            other => panic!("a refresh was answered {other}"),
        }
    }
    acknowledged
}

async fn break_and_check(backend: Backend, actor: &str, kind: &str) {
    let server = Server::start(backend, NO_GRACE).await;
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let mut tokens = Vec::new();
    for number in 0..6 {
        tokens.push(server.signed_in(&format!("user{number}")).await.refresh().await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokens
        .into_iter()
        .map(|token| refresh_until(client.clone(), server.url.clone(), token, Arc::clone(&stop)));
    let breaking = async {
        for _ in 0..5 {
            let fault = format!("{}/dev/fault/{actor}?kind={kind}", server.url);
            assert_eq!(client.post(fault).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (chains, ()) = tokio::join!(join_all(load), breaking);

    let restarts: u64 = server
        .app
        .statuses
        .iter()
        .filter(|status| status.name == actor)
        .map(|status| status.restarts())
        .sum();
    assert!(restarts >= 5, "{actor} restarted {restarts} times");
    for chain in chains {
        let last = chain.last().unwrap();
        let answer = present(&client, &server.url, last).await;
        assert_eq!(answer.status(), StatusCode::OK, "the last acknowledged token works");
    }
    assert_eq!(server.audited("family.reuse_detected").await, 0);
    crate::processes::until_ready(&client, &server.url).await;
    server.signed_in("after").await;
}

macro_rules! each_actor_survives {
    ($($name:ident: $actor:literal, $kind:literal;)*) => {
        mod on_sqlite {
            $(#[actix_web::test]
            async fn $name() {
                super::break_and_check(super::Backend::Sqlite, $actor, $kind).await;
            })*
        }
        mod on_postgres {
            $(#[actix_web::test]
            async fn $name() {
                super::break_and_check(super::Backend::Postgres, $actor, $kind).await;
            })*
        }
    };
}

each_actor_survives! {
    a_panic_in_the_writer_loses_nothing_acknowledged: "db_writer", "panic";
    a_panic_in_the_families_loses_nothing_acknowledged: "token_families", "panic";
    a_panic_in_the_key_ring_loses_nothing_acknowledged: "key_ring", "panic";
    a_panic_in_the_revocations_loses_nothing_acknowledged: "revocations", "panic";
    a_panic_in_the_rate_limiter_loses_nothing_acknowledged: "rate_limiter", "panic";
    a_panic_in_the_auditor_loses_nothing_acknowledged: "auditor", "panic";
    a_panic_in_the_janitor_loses_nothing_acknowledged: "janitor", "panic";
    a_panic_in_the_provider_metadata_loses_nothing_acknowledged: "provider_metadata", "panic";
    a_panic_in_the_change_listener_loses_nothing_acknowledged: "change_listener", "panic";
    a_panic_in_the_clients_loses_nothing_acknowledged: "clients", "panic";
    a_panic_in_the_grant_reader_loses_nothing_acknowledged: "grant_reader", "panic";
    a_panic_in_the_client_keys_loses_nothing_acknowledged: "client_keys", "panic";
    a_panic_in_the_picture_decoder_loses_nothing_acknowledged: "picture_decoder", "panic";
    a_panic_in_the_pictures_loses_nothing_acknowledged: "pictures", "panic";
    a_panic_in_the_outbox_loses_nothing_acknowledged: "outbox", "panic";
    a_stopped_writer_comes_back: "db_writer", "stop";
    stopped_families_come_back: "token_families", "stop";
}

#[actix_web::test]
async fn a_change_listener_that_broke_listens_again() {
    let one = Server::start(Backend::Postgres, "[keys]\nalgorithm = \"ES256\"\n").await;
    let other = one.beside(|_| {}).await;
    one.stop_polling();
    let client = Client::builder().no_proxy().build().unwrap();
    for (number, kind) in ["panic", "stop"].into_iter().enumerate() {
        let fault = format!("{}/dev/fault/change_listener?kind={kind}", one.url);
        assert_eq!(client.post(fault).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        other.clock.advance(Duration::from_secs(1));
        crate::changes::rotate(&other).await;
        crate::changes::publishes(&one, number + 2).await;
    }
    assert_eq!(one.app.change_listener.status().restarts(), 2);
}

#[actix_web::test]
async fn a_stalled_actor_is_a_503_within_the_deadline_and_recovers() {
    let server = Server::start(Backend::Sqlite, NO_GRACE).await;
    let browser = server.signed_in("alice").await;
    let token = browser.refresh().await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let fault = format!("{}/dev/fault/token_families?kind=stall", server.url);
    client.post(fault).send().await.unwrap();
    let stalled = present(&client, &server.url, &token).await;
    assert_eq!(stalled.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(stalled.headers().contains_key("retry-after"));
    let answer = loop {
        let answer = present(&client, &server.url, &token).await;
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
    };
    assert_eq!(answer.status(), StatusCode::OK, "the same token, once the actor is back");
}

#[actix_web::test]
async fn a_full_mailbox_is_a_503_at_once_and_memory_stays_flat() {
    let server = Server::start(Backend::Sqlite, NO_GRACE).await;
    let token = server.signed_in("alice").await.refresh().await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let fault = format!("{}/dev/fault/token_families?kind=stall", server.url);
    client.post(fault).send().await.unwrap();
    // Requests of one family wait at one shard; more than it admits come without having been asked
    // over HTTP, so that the test needs no thousand sockets.
    let app = server.app.clone();
    let presented = app
        .refresh_tokens
        .read(
            latchkey::protocol::refresh_token::FamilyKind::Session,
            latchkey::store::model::FIRST_PARTY,
            &token,
        )
        .unwrap();
    let shard = app.families.of(&presented.family).clone();
    let rotate = latchkey::actors::token_families::Rotate {
        presented,
        request_id: None,
        address: None,
        origin: None,
    };
    let capacity = shard.status().capacity;
    let waiting: Vec<_> = (0..capacity)
        .map(|_| {
            let (shard, rotate) = (shard.clone(), rotate.clone());
            actix_web::rt::spawn(async move { shard.ask(rotate).await.map(drop) })
        })
        .collect();
    while shard.status().in_flight() < capacity {
        tokio::task::yield_now().await;
    }
    let before = resident_kib();
    let answers = join_all((0..200).map(|_| present(&client, &server.url, &token))).await;
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(crate::harness::code(answer).await, "overloaded");
    }
    for _ in 0..100_000 {
        assert!(shard.ask(rotate.clone()).await.is_err());
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB");
    for task in waiting {
        task.abort();
    }
}

/// Memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[actix_web::test]
async fn faults_are_refused_that_do_not_exist() {
    let server = Server::start(Backend::Sqlite, "").await;
    let client = Client::builder().no_proxy().build().unwrap();
    let ask = |target: &str| client.post(format!("{}{target}", server.url)).send();
    assert_eq!(ask("/dev/fault/nobody?kind=panic").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(
        ask("/dev/fault/db_writer?kind=explode").await.unwrap().status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
}
