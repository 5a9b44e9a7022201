//! Several nodes on one PostgreSQL, and a PostgreSQL that goes away.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::actors::ticker::Tick;
use latchkey::clock::Clock;
use latchkey::config::settings::SecretKey;
use latchkey::protocol::refresh_token::{FamilyKind, RefreshTokens};
use latchkey::store::model::FIRST_PARTY;
use reqwest::{Client, StatusCode};

use crate::grants::{code_for, redeem, refresh};
use crate::harness::{Backend, Server, code, cookie, present};
use crate::postgres::cluster::PrivateCluster;
use crate::postgres::settings_on;
use crate::registration::register;

const NO_GRACE: &str = "[keys]\nalgorithm = \"ES256\"\n[tokens]\nsession_grace = \"0s\"\n";

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn me(url: &str, access: &str) -> StatusCode {
    client().get(format!("{url}/auth/me")).bearer_auth(access).send().await.unwrap().status()
}

#[actix_web::test]
async fn equal_refreshes_over_two_nodes_get_one_successor() {
    let one = Server::start(Backend::Postgres, NO_GRACE).await;
    let other = one.beside(|_| {}).await;
    let mut token = one.signed_in("alice").await.refresh().await.unwrap();
    let client = client();
    for _ in 0..5 {
        let urls = [&one.url, &other.url];
        let answers =
            join_all((0..32).map(|number| present(&client, urls[number % 2], &token))).await;
        let successors: HashSet<String> = answers
            .iter()
            .map(|answer| {
                assert_eq!(answer.status(), StatusCode::OK);
                cookie(answer, "auth_refresh").unwrap()
            })
            .collect();
        assert_eq!(successors.len(), 1);
        token = successors.into_iter().next().unwrap();
    }
    assert_eq!(one.audited("family.reuse_detected").await, 0);
}

#[actix_web::test]
async fn a_node_whose_clock_is_a_little_behind_serves_new_clients() {
    let one = Server::start(Backend::Postgres, NO_GRACE).await;
    one.clock.advance(Duration::from_secs(10));
    let behind = Clock::manual(one.clock.now().minus(Duration::from_secs(2)));
    let other = one.beside_with(behind, |_| {}).await;
    let browser = one.signed_in("alice").await;
    let app = register(&one, |_| {}).await;
    let code = code_for(&browser, &app, "openid").await;
    let granted = redeem(&other.url, &app, &code).await.granted();
    for node in [&other, &one] {
        refresh(&node.url, &app, granted.text("refresh_token")).await.granted();
    }
}

#[actix_web::test]
async fn a_sign_out_on_one_node_is_known_on_the_other_within_a_second() {
    let one = Server::start(Backend::Postgres, NO_GRACE).await;
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    let access = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
    assert_eq!(me(&other.url, &access).await, StatusCode::OK);
    browser.post("/auth/logout").await;
    assert_eq!(me(&one.url, &access).await, StatusCode::UNAUTHORIZED, "at once here");
    let asking = async { while me(&other.url, &access).await != StatusCode::UNAUTHORIZED {} };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the other node follows");
}

#[actix_web::test]
async fn keys_that_are_slow_to_read_leave_connections_for_others() {
    let server = Server::start(Backend::Postgres, NO_GRACE).await;
    let browser = server.signed_in("alice").await;
    let holder = server.connection().await;
    let lock = "BEGIN; LOCK TABLE signing_keys IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(lock).await.unwrap();
    for _ in 0..16 {
        server.app.key_ring.ask(Tick).await.unwrap();
    }
    let waiting = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_locks
                    WHERE NOT granted AND relation = 'signing_keys'::regclass";
        holder.query_one(sql, &[]).await.unwrap().get(0)
    };
    while waiting().await == 0 {}
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::OK);
    assert!(waiting().await <= 1, "one read at a time");
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[actix_web::test]
async fn lost_commits_are_rolled_forward_and_counted() {
    let server = Server::start(Backend::Postgres, NO_GRACE).await;
    let browser = server.signed_in("alice").await;
    for _ in 0..5 {
        browser.refresh().await.unwrap();
    }
    // A failover brought back an older state.
    server.execute("UPDATE token_families SET generation = generation - 3").await;
    let token = browser.refresh().await.expect("a token that we issued works");
    let counters = server.app.metrics.encode();
    assert!(counters.contains("latchkey_families_rolled_forward_total 1\n"), "{counters}");
    let client = client();
    assert_eq!(present(&client, &server.url, &token).await.status(), StatusCode::OK);
    assert_eq!(server.audited("family.reuse_detected").await, 0);
}

#[actix_web::test]
async fn a_family_that_was_never_there_is_refused_and_nothing_is_revoked() {
    let server = Server::start(Backend::Postgres, NO_GRACE).await;
    let browser = server.signed_in("alice").await;
    server.execute("DELETE FROM token_families").await;
    assert_eq!(browser.refresh().await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(server.audited("family.reuse_detected").await, 0);
}

#[actix_web::test]
async fn a_new_server_secret_takes_over_without_signing_anybody_out() {
    let old = SecretKey::new(b"0123456789abcdef0123456789abcdef".to_vec());
    let new = SecretKey::new(b"fedcba9876543210fedcba9876543210".to_vec());
    let server = Server::start(Backend::Postgres, NO_GRACE).await;
    let token = server.signed_in("alice").await.refresh().await.unwrap();
    let secrets = vec![new.clone(), old.clone()];
    let both = server.beside(|settings| settings.server.secret_key = secrets).await;
    let client = client();
    let answer = present(&client, &both.url, &token).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let renewed = cookie(&answer, "auth_refresh").unwrap();
    let of_new = RefreshTokens::new(std::slice::from_ref(&new));
    assert!(
        of_new.read(FamilyKind::Session, FIRST_PARTY, &renewed).is_ok(),
        "the first secret issues"
    );
    // Nodes that know the old one only do not take it for reuse.
    assert_eq!(present(&client, &server.url, &renewed).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.metric("latchkey_refreshes_total{outcome=\"unknown_secret\"}"), 1);
    assert_eq!(server.audited("family.reuse_detected").await, 0);

    use latchkey::actors::key_ring::Reseal;
    use latchkey::store::model::Actor;
    let reseal = || Reseal { by: Actor::CommandLine };
    assert_eq!(both.app.key_ring.ask(reseal()).await.unwrap().unwrap(), 1);
    assert_eq!(both.app.key_ring.ask(reseal()).await.unwrap().unwrap(), 0, "once is enough");
    let only_new = server.beside(|settings| settings.server.secret_key = vec![new]).await;
    assert_eq!(present(&client, &only_new.url, &renewed).await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn without_its_database_a_node_says_so_and_recovers_by_itself() {
    let mut cluster = PrivateCluster::start();
    let (store, guard) = settings_on(cluster.url());
    let server =
        Server::start_with(Backend::Postgres, NO_GRACE, |settings| settings.store = store).await;
    let browser = server.signed_in("alice").await;
    let token = browser.refresh().await.unwrap();
    let client = client();
    let get = |path: &str| client.get(format!("{}{path}", server.url)).send();

    cluster.kill();
    let refused = present(&client, &server.url, &token).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(code(refused).await, "store_unavailable");
    assert_eq!(
        browser.post("/auth/logout").await.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "no false 204"
    );
    assert_eq!(get("/ready").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/health").await.unwrap().status(), StatusCode::OK);
    assert_eq!(get("/.well-known/jwks.json").await.unwrap().status(), StatusCode::OK);

    cluster.restart();
    crate::processes::until_ready(&client, &server.url).await;
    let answer = present(&client, &server.url, &token).await;
    assert_eq!(answer.status(), StatusCode::OK, "the same token as before");
    assert_eq!(server.audited("family.reuse_detected").await, 0);
    assert!(server.stop().await);
    drop(guard);
}
