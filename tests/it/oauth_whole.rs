//! The provider as one whole, by its endpoints alone: a story from the registration to the end of the session,
//! what many logins cost, several nodes, and a database that fails.

use std::time::Duration;

use latchkey::protocol::jwt::{ACCESS_TOKEN, AccessClaims, IdClaims};
use latchkey::store::model::{FIRST_PARTY, FamilyWithUser};
use reqwest::StatusCode;
use serde_json::json;

use crate::clients_command::{Desk, follows};
use crate::grants::{
    Granted, Reply, claims, code_for, grant, http, introspected, redeem, refresh, send_as, userinfo,
};
use crate::harness::{Backend, Browser, Server, body, location};
use crate::oauth_authorize::sign_in::{led_to_login, sign_in_from};
use crate::oauth_authorize::{decide, request, told};
use crate::oauth_logout::{BACK, Receiver, SETTINGS, logout, verified};
use crate::on_both_stores;
use crate::postgres::cluster::PrivateCluster;
use crate::postgres::settings_on;
use crate::registration::{Registered, register};
use crate::store_contract::fixtures;

const ES256: &str = "[keys]\nalgorithm = \"ES256\"\n";

async fn an_app_from_its_registration_to_the_end_of_a_session(backend: Backend) {
    let server = Server::start_at_present(backend, |_| SETTINGS.to_owned()).await;
    let receiver = Receiver::start();
    drop(server.signed_in("alice").await);

    // The deployer registers it.
    let desk = Desk::beside_with(&server, "allow_private_receivers = true\n");
    let client = desk.client("app");
    let back = format!("post_logout_redirect_uris={}", json!([BACK]));
    let receiving = format!("backchannel_logout_uri={}", receiver.uri());
    let algorithm = "id_token_signed_response_alg=ES256";
    desk.told(&["update", "app", "--set", &back, "--set", &receiving, "--set", algorithm]);
    follows(&server, "app", |client| {
        client.is_some_and(|client| client.metadata.backchannel_logout_uri.is_some())
    })
    .await;

    server.catch_up();

    // Somebody comes from it, signs in, and says yes.
    let browser = server.browser();
    let asked = request("app", &[("scope", Some("openid profile email"))]);
    let login = led_to_login(&browser, &asked).await;
    let here = sign_in_from(&browser, &login, "alice").await;
    let page = browser.page(&here).await.text().await.unwrap();
    assert!(page.contains("Example app wants to use your account"), "{page}");
    let told = told(&decide(&browser, &page, "allow").await);
    assert_eq!((told["state"].as_str(), &told["iss"]), ("the state", &server.url));

    // It gets tokens, and learns who that is.
    let granted = Granted::from(redeem(&server.url, &client, &told["code"]).await);
    let id: IdClaims = claims(&granted.id_token);
    assert_eq!((id.nonce.as_deref(), id.aud.as_str()), (Some("the nonce"), "app"));
    let known = body(userinfo(&server, &granted.access).await).await;
    assert_eq!((&known["sub"], &known["preferred_username"]), (&json!(id.sub), &json!("alice")));
    assert_eq!(known["email"], "alice@dev.localhost");

    // It goes on, asks, and gives an access token back.
    let newer = Granted::from(refresh(&server.url, &client, &granted.refresh).await);
    let found = introspected(&server, &client, &newer.access).await;
    assert_eq!((&found["active"], &found["username"]), (&json!(true), &json!("alice")));
    let revoked = send_as(&server, &client, "/oauth/revoke", &[("token", &newer.access)]).await;
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(userinfo(&server, &newer.access).await.status(), StatusCode::UNAUTHORIZED);
    let found = introspected(&server, &client, &newer.access).await;
    assert_eq!(found, json!({ "active": false }));
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::OK);

    // It signs its person out, is told so, and has nothing left.
    let way_out = [
        ("id_token_hint", newer.id_token.as_str()),
        ("post_logout_redirect_uri", BACK),
        ("state", "s"),
    ];
    let left = browser.page(&logout(&way_out)).await;
    assert_eq!(location(&left).as_deref(), Some(format!("{BACK}?state=s").as_str()));
    assert!(!browser.is_signed_in().await);
    let tokens = receiver.has(1).await;
    let said = verified(&server, &client, &tokens[0]).await;
    assert_eq!((&said["sub"], &said["sid"]), (&json!(id.sub), &json!(id.sid)));
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    refresh(&server.url, &client, &newer.refresh).await.refused(400, "invalid_grant");
    for action in ["client.registered", "consent.given", "grant.opened", "session.ended"] {
        assert!(server.audited(action).await >= 1, "{action}");
    }
}

/// A client that nobody is asked about.
async fn trusted_client(server: &Server) -> Registered {
    register(server, |metadata| {
        metadata.auto_approve = true;
        metadata.scope = "openid".to_owned();
    })
    .await
}

/// The access cookie of somebody whom the store holds.
async fn access_cookie(server: &Server, person: &FamilyWithUser) -> String {
    let FamilyWithUser { family, user } = person;
    let now = server.clock.now().seconds();
    let claims = AccessClaims {
        iss: server.url.clone(),
        sub: user.id,
        aud: server.url.clone(),
        client_id: FIRST_PARTY.to_owned(),
        scope: String::new(),
        exp: now + 900,
        iat: now,
        jti: latchkey::protocol::random::text::<16>(),
        sid: family.session,
        auth_time: now,
        username: None,
        role: None,
    };
    format!("auth_access={}", crate::forged::signed(server, ACCESS_TOKEN, &claims).await)
}

async fn a_login_of_each_of_1000_people_costs_one_commit(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let client = trusted_client(&server).await;
    let browser = Browser::without_cookies(&server.url);
    let target = format!("{}{}", server.url, request(&client.id, &[("scope", Some("openid"))]));
    let mut cookies = Vec::new();
    for number in 0..1_000 {
        let person = fixtures::created_at(&server.app.store, number, server.clock.now()).await;
        cookies.push(access_cookie(&server, &person).await);
    }
    server.stop_tickers();
    let counters = &server.app.store.counters;
    let count = || (counters.commits(), counters.writes());
    for cookie in &cookies {
        let before = count();
        let answer = browser.client.get(&target).header("cookie", cookie).send().await.unwrap();
        let mut told = told(&answer);
        assert_eq!(count(), before, "a code is not stored");
        let code = told.remove("code").unwrap();
        redeem(&server.url, &client, &code).await.granted();
        assert_eq!(count(), (before.0 + 1, before.1 + 1), "a login is one write in one commit");
    }
    let rows = server.rows().await;
    assert!(rows.contains(&("token_families", 2_000)), "a session and a grant each: {rows:?}");
}

/// What has ended on one node is refused there at once, and on the other within a second.
#[actix_web::test]
async fn b09_c17_what_a_replay_ends_is_refused_on_every_node() {
    let one = Server::start(Backend::Postgres, ES256).await;
    let other = one.beside(|_| {}).await;
    let client = trusted_client(&one).await;
    let browser = one.signed_in("alice").await;
    for by_code in [true, false] {
        let code = code_for(&browser, &client, "openid").await;
        let first = Granted::from(redeem(&one.url, &client, &code).await);
        let second = Granted::from(refresh(&one.url, &client, &first.refresh).await);
        let third = Granted::from(refresh(&other.url, &client, &second.refresh).await);
        assert_eq!(userinfo(&other, &third.access).await.status(), StatusCode::OK);
        let replayed = match by_code {
            true => redeem(&one.url, &client, &code).await,
            false => refresh(&one.url, &client, &first.refresh).await,
        };
        replayed.refused(400, "invalid_grant");
        for granted in [&first, &second, &third] {
            assert_eq!(userinfo(&one, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
        }
        let following = async {
            for granted in [&first, &second, &third] {
                while userinfo(&other, &granted.access).await.status() == StatusCode::OK {}
            }
        };
        let followed = tokio::time::timeout(Duration::from_secs(60), following).await;
        followed.expect("the other node follows");
        for node in [&one, &other] {
            refresh(&node.url, &client, &third.refresh).await.refused(400, "invalid_grant");
            for token in [&third.access, &third.refresh] {
                let found = introspected(node, &client, token).await;
                assert_eq!(found, json!({ "active": false }));
            }
        }
    }
    assert_eq!(one.audited("grant.code_replayed").await, 1);
    assert_eq!(one.audited("family.reuse_detected").await, 1);
}

/// `server_error` (RFC 6749 §4.1.2.1): the database refuses a statement. The cause is for the log alone.
async fn what_the_database_refuses_is_a_server_error(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let client = trusted_client(&server).await;
    let browser = server.signed_in("alice").await;
    let granted = grant(&server, &browser, &client, "openid").await;
    let code = code_for(&browser, &client, "openid").await;
    server.execute("ALTER TABLE token_families RENAME TO elsewhere").await;
    for reply in [
        redeem(&server.url, &client, &code).await,
        Reply::of(userinfo(&server, &granted.access).await).await,
    ] {
        reply.refused(500, "server_error");
        assert!(!reply.body.to_string().contains("token_families"), "{reply:?}");
    }
    server.execute("ALTER TABLE elsewhere RENAME TO token_families").await;
    redeem(&server.url, &client, &code).await.granted();
}

/// `temporarily_unavailable`: without the database nobody can say where an answer may be sent, so that it is
/// not sent anywhere. Once it is back, the same request and the same code do it.
#[actix_web::test]
async fn without_the_database_the_provider_says_so_and_loses_nothing() {
    let mut cluster = PrivateCluster::start();
    let (store, guard) = settings_on(cluster.url());
    let server =
        Server::start_with(Backend::Postgres, ES256, |settings| settings.store = store).await;
    let client = trusted_client(&server).await;
    let browser = server.signed_in("alice").await;
    let granted = grant(&server, &browser, &client, "openid").await;
    let code = code_for(&browser, &client, "openid").await;
    cluster.kill();
    let target = request(&client.id, &[]);
    for reply in [
        redeem(&server.url, &client, &code).await,
        refresh(&server.url, &client, &granted.refresh).await,
        Reply::of(browser.get(&target).await).await,
    ] {
        reply.refused(503, "temporarily_unavailable");
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    }
    let page = browser.page(&target).await;
    assert_eq!((page.status(), location(&page)), (StatusCode::SERVICE_UNAVAILABLE, None));
    cluster.restart();
    crate::processes::until_ready(&http(), &server.url).await;
    redeem(&server.url, &client, &code).await.granted();
    refresh(&server.url, &client, &granted.refresh).await.granted();
    told(&browser.page(&request(&client.id, &[("scope", Some("openid"))])).await);
    assert!(server.stop().await);
    drop(guard);
}

on_both_stores!(
    an_app_from_its_registration_to_the_end_of_a_session,
    a_login_of_each_of_1000_people_costs_one_commit,
    what_the_database_refuses_is_a_server_error,
);
