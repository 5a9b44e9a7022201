//! Many at once, and how much they cost.

use futures_util::future::join_all;
use latchkey::protocol::jwt::{AccessClaims, Algorithm};
use reqwest::StatusCode;

use crate::grants::{is_revoked, redeem, refresh, session};
use crate::harness::{Backend, Server};
use crate::registration::{Registered, register};
use crate::{forged, on_both_stores};

const FAST: &str = "[keys]\nalgorithm = \"ES256\"\n";

/// A client whose tokens cost little, and for which no other key is made.
pub async fn fast_client(server: &Server) -> Registered {
    register(server, |metadata| {
        metadata.scope = "profile".to_owned();
        metadata.id_token_signed_response_alg = Algorithm::ES256;
    })
    .await
}

fn fast_code(server: &Server, client: &Registered, session: &AccessClaims) -> String {
    forged::code(server, client, session, |code| code.scope = "profile".to_owned())
}

/// 50 redemptions of one code over these nodes: at most one gets tokens, and in the end nobody has any.
async fn race(nodes: &[&Server], client: &Registered, session: &AccessClaims) {
    let server = nodes[0];
    let code = fast_code(server, client, session);
    let url = |number: usize| &nodes[number % nodes.len()].url;
    let replies = join_all((0..50).map(|number| redeem(url(number), client, &code))).await;
    let (granted, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.status == StatusCode::OK);
    assert!(granted.len() <= 1, "{granted:?}");
    refused.iter().for_each(|reply| reply.refused(400, "invalid_grant"));
    for reply in granted {
        assert!(is_revoked(server, reply.text("access_token")).await);
        let token = reply.text("refresh_token");
        for node in nodes {
            refresh(&node.url, client, token).await.refused(400, "invalid_grant");
        }
    }
    redeem(&server.url, client, &code).await.refused(400, "invalid_grant");
}

pub async fn b10_of_50_redemptions_of_one_code_at_most_one_wins_and_not_for_long(backend: Backend) {
    let server = Server::start(backend, FAST).await;
    let client = fast_client(&server).await;
    let session = session(&server.signed_in("alice").await).await;
    for round in 1..=5 {
        race(&[&server], &client, &session).await;
        assert_eq!(server.audited("grant.opened").await, round);
        assert_eq!(server.audited("grant.code_replayed").await, round);
    }
}

#[actix_web::test]
async fn b10_of_50_redemptions_over_two_nodes_at_most_one_wins_and_not_for_long() {
    let one = Server::start(Backend::Postgres, FAST).await;
    let other = one.beside(|_| {}).await;
    let client = fast_client(&one).await;
    let session = session(&one.signed_in("alice").await).await;
    for round in 1..=5 {
        race(&[&one, &other], &client, &session).await;
        assert_eq!(one.audited("grant.code_replayed").await, round);
    }
}

pub async fn a_thousand_logins_by_code_are_a_thousand_writes(backend: Backend) {
    let server = Server::start(backend, FAST).await;
    let client = fast_client(&server).await;
    let session = session(&server.signed_in("alice").await).await;
    server.stop_tickers();
    let counters = &server.app.store.counters;

    // One after the other: a commit and a write each, and no read but the client's.
    for _ in 0..20 {
        let code = fast_code(&server, &client, &session);
        let (commits, writes) = (counters.commits(), counters.writes());
        redeem(&server.url, &client, &code).await.granted();
        assert_eq!((counters.commits() - commits, counters.writes() - writes), (1, 1));
    }

    // At once: as many writes, and no more commits than that.
    let (commits, writes) = (counters.commits(), counters.writes());
    for _ in 0..20 {
        let codes: Vec<String> = (0..50).map(|_| fast_code(&server, &client, &session)).collect();
        let replies = join_all(codes.iter().map(|code| redeem(&server.url, &client, code))).await;
        replies.into_iter().for_each(|reply| drop(reply.granted()));
    }
    assert_eq!(counters.writes() - writes, 1_000);
    assert!(counters.commits() - commits <= 1_000, "{}", counters.commits() - commits);
}

on_both_stores!(
    b10_of_50_redemptions_of_one_code_at_most_one_wins_and_not_for_long,
    a_thousand_logins_by_code_are_a_thousand_writes,
);
