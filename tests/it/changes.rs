//! What another node or the command line changes is known to a live server because it hears of it: in all of
//! these tests the server under test does not look by itself.

use crate::store_contract::fixtures::apply_batch;
use latchkey::administration::By;
use std::time::Duration;

use latchkey::actors::key_ring::RotateKey;
use latchkey::clock::Clock;
use latchkey::protocol::jwt::Algorithm;
use latchkey::store;
use latchkey::store::model::{Actor, AuditEntry, Revocation, RevocationKind};
use latchkey::store::operation::{RecordRevocation, Write};
use reqwest::StatusCode;

use crate::clients_command::{Desk, follows, known};
use crate::harness::{Backend, Browser, Server, cookie};
use crate::postgres::proxy::{Cut, by_proxy};
use crate::registration::{Registered, register, update};

const ES256: &str = "[keys]\nalgorithm = \"ES256\"\n";

/// Waits for what was promised within a second, on machines that are as slow as they like.
async fn within_bounds<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("the server follows")
}

/// Waits until a server publishes so many keys.
pub async fn publishes(server: &Server, number: usize) {
    let mut published = server.app.keys.clone();
    let following = published.wait_for(|keys| keys.keys().len() == number);
    drop(within_bounds(following).await.unwrap());
}

/// Waits until a server refuses a token.
async fn refuses(server: &Server, access: &str) {
    within_bounds(async { while me(server, access).await != StatusCode::UNAUTHORIZED {} }).await;
}

async fn me(server: &Server, access: &str) -> StatusCode {
    let request =
        Browser::without_cookies(&server.url).client.get(format!("{}/auth/me", server.url));
    request.bearer_auth(access).send().await.unwrap().status()
}

async fn access_token(browser: &Browser) -> String {
    cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap()
}

/// Makes a key that signs at once.
pub async fn rotate(server: &Server) {
    let rotation = RotateKey {
        algorithm: None,
        bits: None,
        now: true,
        by: By::local(Actor::System, server.clock.now()),
    };
    server.app.key_ring.ask(rotation).await.unwrap().unwrap();
}

async fn a_server_hears_what_the_command_line_changes(backend: Backend) {
    let server = Server::start_at_present(backend, |_| ES256.to_owned()).await;
    let desk = Desk::beside_with(&server, ES256);
    server.stop_polling();
    let before = server.changes_heard();
    assert_eq!(known(&server, "app").await, None);
    desk.app("app");
    follows(&server, "app", |client| client.is_some()).await;
    desk.told(&["update", "app", "--auto-approve"]);
    follows(&server, "app", |client| client.is_some_and(|client| client.metadata.auto_approve))
        .await;
    desk.does(&["generate-keys"]);
    publishes(&server, 2).await;
    assert!(server.changes_heard() > before);
    assert_eq!(server.metric("latchkey_changes_link_up"), 1);
}

async fn a_server_hears_what_another_process_revokes(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let browser = server.signed_in("alice").await;
    let access = access_token(&browser).await;
    assert_eq!(me(&server, &access).await, StatusCode::OK);
    server.stop_polling();
    let before = server.changes_heard();
    let other = store::open(&server.app.settings.store, &Clock::system()).await.unwrap();
    let now = server.clock.now();
    let claims: serde_json::Value = crate::grants::claims(&access);
    let revocation = Revocation {
        kind: RevocationKind::Session,
        id: claims["sid"].as_str().unwrap().to_owned(),
        until: now.plus(Duration::from_secs(930)),
    };
    let audit = AuditEntry::new(now, Actor::CommandLine, "session.ended", "session:it".to_owned());
    let answers =
        apply_batch(&other, vec![RecordRevocation { revocation, audit }.into_operation()]);
    assert!(answers.await.iter().all(Result::is_ok));
    refuses(&server, &access).await;
    within_bounds(async {
        while server.changes_heard() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A client, a key and a session change on one node, and are so on the other.
async fn what_one_changes_is_so_on_the_other(
    one: &Server,
    other: &Server,
    client: &Registered,
    browser: &Browser,
) {
    let access = access_token(browser).await;
    update(one, client, |metadata| metadata.client_name = "Another name".to_owned()).await;
    follows(other, &client.id, |client| {
        client.is_some_and(|client| client.metadata.client_name == "Another name")
    })
    .await;
    one.clock.advance(Duration::from_secs(1));
    rotate(one).await;
    publishes(other, 2).await;
    assert_eq!(me(other, &access).await, StatusCode::OK);
    browser.post("/auth/logout").await;
    refuses(other, &access).await;
}

#[actix_web::test]
async fn a_node_hears_what_another_one_changes() {
    let one = Server::start(Backend::Postgres, ES256).await;
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    other.stop_polling();
    let client = register(&one, |_| {}).await;
    follows(&other, &client.id, |client| client.is_some()).await;
    what_one_changes_is_so_on_the_other(&one, &other, &client, &browser).await;
}

#[actix_web::test]
async fn a_server_whose_link_is_cut_makes_up_for_it_and_hears_on() {
    let direct = Server::start(Backend::Postgres, ES256).await;
    let (store, proxy) = by_proxy(&direct.app.settings.store).await;
    let server = direct.beside(|settings| settings.store = store).await;
    server.stop_polling();
    proxy.cut(Cut::Request("pg_listening_channels"));
    within_bounds(async {
        while !proxy.was_cut() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let signer = || server.app.key_snapshot().signer(Algorithm::ES256, server.clock.now()).cloned();
    assert!(signer().is_some(), "what is known stays in use");
    for number in 2..4 {
        direct.clock.advance(Duration::from_secs(1));
        rotate(&direct).await;
        publishes(&server, number).await;
        let client = register(&direct, |_| {}).await;
        follows(&server, &client.id, |client| client.is_some()).await;
        update(&direct, &client, |metadata| metadata.client_name = "Another name".to_owned()).await;
        follows(&server, &client.id, |client| {
            client.is_some_and(|client| client.metadata.client_name == "Another name")
        })
        .await;
        let browser = direct.signed_in(&format!("person{number}")).await;
        let access = access_token(&browser).await;
        assert_eq!(me(&server, &access).await, StatusCode::OK);
        browser.post("/auth/logout").await;
        refuses(&server, &access).await;
    }
    assert_eq!(server.metric("latchkey_changes_link_up"), 1);
}

/// The listener is gone for good, so that nothing is heard: what is polled is all. Bounds as ARCHITECTURE.md and
/// docs/operations.md state them, on machines that are as slow as they like.
#[actix_web::test]
async fn a_node_without_a_link_reads_what_another_one_changes() {
    let one = Server::start(Backend::Postgres, ES256).await;
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    let client = register(&one, |_| {}).await;
    follows(&other, &client.id, |client| client.is_some()).await;
    assert!(other.app.change_listener.drain(Duration::from_secs(10)).await);
    let heard = other.changes_heard();
    what_one_changes_is_so_on_the_other(&one, &other, &client, &browser).await;
    assert_eq!(other.changes_heard(), heard, "nothing was heard");
}

crate::on_both_stores!(
    a_server_hears_what_the_command_line_changes,
    a_server_hears_what_another_process_revokes,
);
