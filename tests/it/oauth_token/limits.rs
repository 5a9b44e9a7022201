//! Rate limits of the token endpoint: who is counted by what.

use std::time::Duration;

use latchkey::protocol::client::GrantType;
use reqwest::StatusCode;

use crate::forged;
use crate::grants::{Reply, post_as, redeem, refresh, session};
use crate::harness::{Backend, Server};
use crate::registration::register;

const LIMITS: &str = "[rate_limits]\ntoken = { per = \"1m\", burst = 3 }\n";

fn is_limited(reply: &Reply) -> bool {
    if reply.status != StatusCode::TOO_MANY_REQUESTS {
        return false;
    }
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(reply.text("error"), "temporarily_unavailable");
    true
}

#[actix_web::test]
async fn each_grant_is_limited_by_what_it_is_about() {
    let server = Server::start_with(Backend::Sqlite, LIMITS, |settings| {
        settings.rate_limits.exempt.clear();
    })
    .await;
    let client = register(&server, |metadata| {
        metadata.grant_types = GrantType::ALL.to_vec();
    })
    .await;
    let other = register(&server, |_| {}).await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    let (alice, bob) = (session(&alice).await, session(&bob).await);
    let url = &server.url;

    // Codes: by client and person. One that is refused by the limit is not spent.
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let code = forged::code(&server, &client, &alice, |_| {});
        tokens.push(redeem(url, &client, &code).await.granted().text("refresh_token").to_owned());
    }
    let code = forged::code(&server, &client, &alice, |_| {});
    assert!(is_limited(&redeem(url, &client, &code).await));
    redeem(url, &client, &forged::code(&server, &client, &bob, |_| {})).await.granted();
    redeem(url, &other, &forged::code(&server, &other, &alice, |_| {})).await.granted();
    server.clock.advance(Duration::from_secs(30));
    redeem(url, &client, &code).await.granted();

    // Refreshes: by family.
    for _ in 0..3 {
        refresh(url, &client, &tokens[0]).await.granted();
    }
    assert!(is_limited(&refresh(url, &client, &tokens[0]).await));
    refresh(url, &client, &tokens[1]).await.granted();

    // A client for itself: by client.
    let grant = [("grant_type", "client_credentials")];
    for _ in 0..3 {
        post_as(url, &client, &grant).await.granted();
    }
    assert!(is_limited(&post_as(url, &client, &grant).await));

    // Failures: by client and address. Whoever proves to be the client is not kept out by them.
    let mut wrong = other.clone();
    wrong.secret = "wrong".to_owned();
    for _ in 0..3 {
        refresh(url, &wrong, "x").await.refused(401, "invalid_client");
    }
    assert!(is_limited(&refresh(url, &wrong, "x").await));
    redeem(url, &other, &forged::code(&server, &other, &bob, |_| {})).await.granted();
}
