//! Clients and refresh tokens at the token endpoint (attacks C01 to C30). C33, proof of possession by DPoP
//! (RFC 9449), is not offered: a `DPoP` header changes nothing, and the answer says `Bearer`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use latchkey::actors::db_writer::apply;
use latchkey::protocol::client::{AuthMethod, ClientMetadata, DEFAULT_SCOPE, GrantType};
use latchkey::protocol::jwt::{AccessClaims, ClientAccessClaims};
use latchkey::protocol::random;
use latchkey::store::model::{Client, SecretHash};
use latchkey::store::operation::{RegisterClient, RegisterClientOutcome, RotateClientSecret};
use reqwest::{Method, StatusCode};

use crate::grants::{
    Reply, claims, code_for, form, http, is_dead, is_revoked, post, post_as, redeem, refresh,
    refresh_with, session,
};
use crate::harness::{Backend, Browser, Server, present};
use crate::on_both_stores;
use crate::registration::{Registered, has_changed, register, register_public, remove, update};

const FORM: &str = "application/x-www-form-urlencoded";

struct Scene {
    server: Server,
    client: Registered,
    browser: Browser,
    session: AccessClaims,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        Self::with(backend, "", |_| {}).await
    }

    async fn with(
        backend: Backend,
        further: &str,
        change: impl FnOnce(&mut ClientMetadata),
    ) -> Self {
        let server = Server::start(backend, further).await;
        let client = register(&server, change).await;
        let browser = server.signed_in("alice").await;
        let session = session(&browser).await;
        Self { server, client, browser, session }
    }

    /// Tokens of a new grant.
    async fn grant(&self) -> Reply {
        let code = code_for(&self.browser, &self.client, DEFAULT_SCOPE).await;
        redeem(&self.server.url, &self.client, &code).await.granted()
    }

    async fn refresh(&self, token: &str) -> Reply {
        refresh(&self.server.url, &self.client, token).await
    }

    /// Changes what is registered.
    async fn update(&self, change: impl FnOnce(&mut ClientMetadata)) {
        update(&self.server, &self.client, change).await;
    }

    async fn is_dead(&self, granted: &Reply) {
        is_dead(&self.server, &self.client, granted).await;
    }
}

fn post_to(server: &Server) -> reqwest::RequestBuilder {
    http().post(format!("{}/oauth/token", server.url))
}

pub async fn c01_only_post_is_allowed(backend: Backend) {
    let server = Server::start(backend, "").await;
    for method in ["GET", "PUT", "HEAD", "DELETE", "PATCH"] {
        let method: Method = method.parse().unwrap();
        let url = format!("{}/oauth/token?grant_type=client_credentials", server.url);
        let answer = http().request(method.clone(), url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "POST");
        if method != Method::HEAD {
            Reply::of(answer).await.refused(405, "invalid_request");
        }
    }
}

pub async fn c02_parameters_are_taken_from_a_form_alone(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
    })
    .await;
    let parameters = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &client.id),
        ("client_secret", &client.secret),
    ]);
    let json = serde_json::json!({
        "grant_type": "client_credentials", "client_id": client.id, "client_secret": client.secret,
    });
    for (content_type, body) in [
        ("application/json", json.to_string()),
        ("application/json", parameters.clone()),
        ("text/plain", parameters.clone()),
        ("multipart/form-data; boundary=x", parameters.clone()),
        ("", parameters.clone()),
    ] {
        let request = post_to(&server).header("content-type", content_type).body(body);
        Reply::of(request.send().await.unwrap()).await.refused(400, "invalid_request");
    }
    let without = post_to(&server).body(parameters.clone()).send().await.unwrap();
    Reply::of(without).await.refused(400, "invalid_request");
    // What stands in the address is not looked at.
    let address = format!("{}/oauth/token?{parameters}", server.url);
    let in_query = |body: String| http().post(&address).header("content-type", FORM).body(body);
    let answer = in_query(String::new()).send().await.unwrap();
    Reply::of(answer).await.refused(400, "invalid_request");
    let answer = in_query(form(&[("grant_type", "client_credentials")])).send().await.unwrap();
    Reply::of(answer).await.refused(401, "invalid_client");
    let answer = in_query(parameters.clone()).send().await.unwrap();
    Reply::of(answer).await.granted();
}

pub async fn c05_a_bad_secret_is_refused_in_either_way(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    for secret in ["wrong", &client.secret[1..], &client.secret.to_lowercase(), " "] {
        let answer = post_to(&server)
            .basic_auth(&client.id, Some(secret))
            .header("content-type", FORM)
            .body(form(&grant))
            .send()
            .await
            .unwrap();
        let reply = Reply::of(answer).await;
        reply.refused(401, "invalid_client");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Basic realm="));
        let wrong = Registered { secret: secret.to_owned(), ..client.clone() };
        let reply = post_as(&server.url, &wrong, &grant).await;
        reply.refused(401, "invalid_client");
        assert!(!reply.headers.contains_key("www-authenticate"));
    }
}

pub async fn c06_two_ways_at_once_are_refused(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    for further in [
        vec![("client_id", client.id.as_str()), ("client_secret", client.secret.as_str())],
        vec![("client_secret", client.secret.as_str())],
        vec![("client_id", "another")],
        vec![("client_assertion", "a.b.c")],
    ] {
        let answer = post_to(&server)
            .basic_auth(&client.id, Some(&client.secret))
            .header("content-type", FORM)
            .body(form(&[&grant[..], &further].concat()))
            .send()
            .await
            .unwrap();
        Reply::of(answer).await.refused(400, "invalid_request");
    }
}

/// A header of a megabyte is refused before anybody reads it as credentials.
pub async fn c08_malformed_basic_is_refused(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let body = form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let right = STANDARD.encode(format!("{}:{}", client.id, client.secret));
    let url_safe = STANDARD.encode("a:\u{ff}\u{fe}~~~???>>>").replace('+', "-").replace('/', "_");
    let long = STANDARD.encode(format!("{}:{}", "x".repeat(9_000), "y".repeat(9_000)));
    for header in [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !".to_owned(),
        format!("Basic {}", STANDARD.encode(&client.id)),
        format!("Basic {}", STANDARD.encode(format!("{}:", client.id))),
        format!("Basic {}", STANDARD.encode(format!(":{}", client.secret))),
        format!("Basic {}", STANDARD.encode(":")),
        format!("Basic {}", STANDARD.encode(b"\xff\xfe:\xff")),
        format!("Basic {}", STANDARD.encode("a%zz:%ff%fe")),
        format!("Basic {}", STANDARD.encode("a%00b:c")),
        format!("Basic {url_safe}"),
        format!("Basic {long}"),
        format!("Basic {right}="),
        format!("Basic{right}"),
        format!("Bearer {right}"),
        format!("Digest {right}"),
    ] {
        let request =
            post_to(&server).header("authorization", &header).header("content-type", FORM);
        let reply = Reply::of(request.body(body.clone()).send().await.unwrap()).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{header}");
        reply.refused(401, "invalid_client");
    }
    let twice = post_to(&server)
        .header("authorization", format!("Basic {right}"))
        .header("authorization", format!("Basic {right}"))
        .header("content-type", FORM)
        .body(body.clone());
    Reply::of(twice.send().await.unwrap()).await.refused(401, "invalid_client");
    // It is answered before it is read to the end, and the connection reset: that is a refusal, too.
    let huge = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/oauth/token", server.url))
        .header("authorization", format!("Basic {}", "A".repeat(1 << 20)))
        .header("content-type", FORM)
        .body(body);
    if let Ok(answer) = huge.send().await {
        assert!(answer.status().is_client_error(), "{}", answer.status());
    }
    let after = post_as(&server.url, &client, &[("grant_type", "x")]).await;
    after.refused(400, "unsupported_grant_type");
}

pub async fn c09_a_confidential_client_cannot_pass_as_a_public_one(backend: Backend) {
    let scene = Scene::with(backend, "", |metadata| {
        metadata.grant_types = GrantType::ALL.to_vec();
    })
    .await;
    let granted = scene.grant().await;
    let id = ("client_id", scene.client.id.as_str());
    let code = code_for(&scene.browser, &scene.client, DEFAULT_SCOPE).await;
    for parameters in [
        vec![id, ("grant_type", "authorization_code"), ("code", &code)],
        vec![id, ("grant_type", "refresh_token"), ("refresh_token", granted.text("refresh_token"))],
        vec![id, ("grant_type", "client_credentials")],
        vec![id, ("client_secret", ""), ("grant_type", "client_credentials")],
    ] {
        post(&scene.server.url, &parameters).await.refused(401, "invalid_client");
    }
    redeem(&scene.server.url, &scene.client, &code).await.granted();
    scene.refresh(granted.text("refresh_token")).await.granted();
}

/// What tells unknown clients from known ones is not there: one answer for all, and a hash is compared for
/// each. How long that takes is measured elsewhere, not asserted.
pub async fn c11_unknown_clients_and_wrong_secrets_look_alike(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let public = register_public(&server).await;
    let by_key = register(&server, |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
        metadata.jwks = Some(serde_json::json!({ "keys": [] }));
    })
    .await;
    let looks = |reply: &Reply| {
        let headers = reply.headers.iter().map(|(name, value)| format!("{name}: {value:?}"));
        let changes =
            |header: &String| header.starts_with("x-request-id") || header.starts_with("date");
        let mut headers: Vec<String> = headers.filter(|header| !changes(header)).collect();
        headers.sort_unstable();
        (reply.status, reply.body.to_string(), headers)
    };
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let mut seen = std::collections::HashSet::new();
    for id in ["nobody", "latchkey", &client.id, &public.id, &by_key.id, &"x".repeat(2_000)] {
        let wrong = Registered { id: id.to_owned(), secret: "wrong".to_owned() };
        let reply = post_as(&server.url, &wrong, &grant).await;
        reply.refused(401, "invalid_client");
        seen.insert(looks(&reply));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    // A public client's id with a former secret is no proof either, though the id alone is.
    let former = Registered { secret: "former".to_owned(), ..public };
    post_as(&server.url, &former, &grant).await.refused(401, "invalid_client");
}

pub async fn c13_errors_quote_nothing_that_was_sent(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let evil = "\"><script>\\\u{e9}\r\nSet-Cookie: a=b' OR 1=1 --";
    for name in ["grant_type", "code", "refresh_token", "scope", "resource", "redirect_uri"] {
        for grant in ["authorization_code", "refresh_token", "client_credentials"] {
            let grant: &[_] =
                if name == "grant_type" { &[] } else { &[("grant_type", grant), ("code", "x")] };
            let grant: Vec<_> = grant.iter().copied().filter(|(known, _)| *known != name).collect();
            let reply =
                post_as(&server.url, &client, &[&grant[..], &[(name, evil)]].concat()).await;
            let error = reply.text("error").to_owned();
            reply.refused(400, &error);
            let body = reply.body.to_string();
            for leak in ["<script", "OR 1=1", "SELECT", "src/", "panicked", &client.secret] {
                assert!(!body.contains(leak), "{body}");
            }
        }
    }
}

pub async fn c14_a_refresh_token_is_its_own_clients_alone(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant().await;
    let token = granted.text("refresh_token");
    let other = register(&scene.server, |_| {}).await;
    let public = register_public(&scene.server).await;
    refresh(&scene.server.url, &other, token).await.refused(400, "invalid_grant");
    let by_public = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", public.id.as_str()),
    ];
    post(&scene.server.url, &by_public).await.refused(400, "invalid_grant");
    scene.refresh(token).await.granted();
}

pub async fn c15_cookies_and_clients_tokens_are_not_mixed_up(backend: Backend) {
    let scene = Scene::with(backend, "[tokens]\nsession_grace = \"0s\"\n", |_| {}).await;
    let cookie = scene.browser.refresh().await.unwrap();
    let granted = scene.grant().await;
    let token = granted.text("refresh_token");
    scene.refresh(&cookie).await.refused(400, "invalid_grant");
    scene.refresh(granted.text("access_token")).await.refused(400, "invalid_grant");
    let as_cookie = present(&http(), &scene.server.url, token).await;
    assert_eq!(as_cookie.status(), StatusCode::UNAUTHORIZED);
    let as_cookie = present(&http(), &scene.server.url, &cookie).await;
    assert_eq!(as_cookie.status(), StatusCode::OK, "not consumed");
    scene.refresh(token).await.granted();
    // Our own interface takes no client's access token.
    let access = granted.text("access_token");
    let me = http().get(format!("{}/auth/me", scene.server.url)).bearer_auth(access).send().await;
    assert_eq!(me.unwrap().status(), StatusCode::UNAUTHORIZED);
}

pub async fn c17_an_older_refresh_token_ends_the_family(backend: Backend) {
    let scene = Scene::new(backend).await;
    // Its child was used.
    let first = scene.grant().await;
    let second = scene.refresh(first.text("refresh_token")).await.granted();
    let third = scene.refresh(second.text("refresh_token")).await.granted();
    // Known before the answer, not by the node's next look at the store.
    scene.server.stop_tickers();
    scene.refresh(first.text("refresh_token")).await.refused(400, "invalid_grant");
    for reply in [&first, &second, &third] {
        scene.is_dead(reply).await;
    }
    assert_eq!(scene.server.audited("family.reuse_detected").await, 1);
    // After the time in which a retry is answered.
    let first = scene.grant().await;
    let second = scene.refresh(first.text("refresh_token")).await.granted();
    scene.server.clock.advance(Duration::from_secs(24 * 3_600 + 1));
    scene.refresh(first.text("refresh_token")).await.refused(400, "invalid_grant");
    scene.refresh(second.text("refresh_token")).await.refused(400, "invalid_grant");
    assert_eq!(scene.server.audited("family.reuse_detected").await, 2);
    // The person's session and other grants are not touched.
    scene.browser.refresh().await.unwrap();
}

pub async fn c18_a_retry_gets_the_same_successor(backend: Backend) {
    let scene = Scene::new(backend).await;
    let first = scene.grant().await;
    let second = scene.refresh(first.text("refresh_token")).await.granted();
    for _ in 0..3 {
        scene.server.clock.advance(Duration::from_secs(3_600));
        let retry = scene.refresh(first.text("refresh_token")).await.granted();
        assert_eq!(retry.text("refresh_token"), second.text("refresh_token"), "one live leaf");
    }
    scene.refresh(second.text("refresh_token")).await.granted();
    assert_eq!(scene.server.audited("family.reuse_detected").await, 0);
}

/// Refreshes of one token, all at once over these nodes.
async fn race(scene: &Scene, nodes: &[&Server]) {
    let mut token = scene.grant().await.text("refresh_token").to_owned();
    for _ in 0..3 {
        let url = |number: usize| &nodes[number % nodes.len()].url;
        let replies =
            join_all((0..50).map(|number| refresh(url(number), &scene.client, &token))).await;
        let successors: std::collections::HashSet<String> = replies
            .into_iter()
            .map(|reply| reply.granted().text("refresh_token").to_owned())
            .collect();
        assert_eq!(successors.len(), 1, "one live leaf");
        token = successors.into_iter().next().unwrap();
    }
    scene.refresh(&token).await.granted();
    assert_eq!(scene.server.audited("family.reuse_detected").await, 0);
}

pub async fn c19_50_refreshes_at_once_get_one_successor(backend: Backend) {
    let scene = Scene::new(backend).await;
    race(&scene, &[&scene.server]).await;
}

#[actix_web::test]
async fn c19_50_refreshes_over_two_nodes_get_one_successor() {
    let scene = Scene::new(Backend::Postgres).await;
    let other = scene.server.beside(|_| {}).await;
    race(&scene, &[&scene.server, &other]).await;
}

pub async fn c20_a_refresh_beside_a_reuse_leaves_nothing_alive(backend: Backend) {
    let scene = Scene::new(backend).await;
    for _ in 0..10 {
        let first = scene.grant().await;
        let second = scene.refresh(first.text("refresh_token")).await.granted();
        let third = scene.refresh(second.text("refresh_token")).await.granted();
        let (refreshed, reused) = futures_util::future::join(
            scene.refresh(third.text("refresh_token")),
            scene.refresh(first.text("refresh_token")),
        )
        .await;
        reused.refused(400, "invalid_grant");
        if refreshed.status == StatusCode::OK {
            let token = refreshed.text("refresh_token");
            scene.refresh(token).await.refused(400, "invalid_grant");
            assert!(is_revoked(&scene.server, refreshed.text("access_token")).await);
        } else {
            refreshed.refused(400, "invalid_grant");
        }
        scene.refresh(third.text("refresh_token")).await.refused(400, "invalid_grant");
    }
}

pub async fn c21_no_retry_brings_back_what_has_ended(backend: Backend) {
    let scene = Scene::new(backend).await;
    let grant_and_move = async || {
        let first = scene.grant().await;
        let second = scene.refresh(first.text("refresh_token")).await.granted();
        [first, second].map(|reply| reply.text("refresh_token").to_owned())
    };
    let tokens = grant_and_move().await;
    assert_eq!(scene.browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    for token in &tokens {
        scene.refresh(token).await.refused(400, "invalid_grant");
    }
    let browser = scene.server.browser();
    browser.sign_in("alice").await;
    let scene = Scene { session: session(&browser).await, browser, ..scene };
    let first = scene.grant().await;
    let second = scene.refresh(first.text("refresh_token")).await.granted();
    remove(&scene.server, &scene.client).await;
    for reply in [&first, &second] {
        scene.refresh(reply.text("refresh_token")).await.refused(401, "invalid_client");
    }
}

/// Scopes that reach beyond the session end only with all of the person's access.
pub async fn c21_offline_access_outlives_a_sign_out_but_not_a_deletion(backend: Backend) {
    let scene = Scene::with(backend, "", |metadata| {
        metadata.scope = "openid offline_access".to_owned();
    })
    .await;
    let code = code_for(&scene.browser, &scene.client, "openid offline_access").await;
    let granted = redeem(&scene.server.url, &scene.client, &code).await.granted();
    assert_eq!(scene.browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    let granted = scene.refresh(granted.text("refresh_token")).await.granted();
    let browser = scene.server.browser();
    browser.sign_in("alice").await;
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    scene.refresh(granted.text("refresh_token")).await.refused(400, "invalid_grant");
}

pub async fn c23_a_refresh_gives_no_more_than_is_still_allowed(backend: Backend) {
    let scene = Scene::new(backend).await;
    // A scope is taken from the client: it is left out, and comes back with the registration.
    let granted = scene.grant().await;
    scene.update(|metadata| metadata.scope = "openid profile".to_owned()).await;
    let fewer = scene.refresh(granted.text("refresh_token")).await.granted();
    assert_eq!(fewer.text("scope"), "openid profile");
    let said: ClientAccessClaims = claims(fewer.text("access_token"));
    assert_eq!(said.scope, "openid profile");
    let wider = [("scope", "email")];
    let token = fewer.text("refresh_token");
    let refused = refresh_with(&scene.server.url, &scene.client, token, &wider).await;
    refused.refused(400, "invalid_scope");
    // The grant is taken from the client.
    scene.update(|metadata| metadata.grant_types = vec![GrantType::AuthorizationCode]).await;
    scene.refresh(token).await.refused(400, "unauthorized_client");
    scene.update(|metadata| *metadata = restored(metadata)).await;
    let granted = scene.refresh(token).await.granted();
    assert_eq!(granted.text("scope"), "openid profile email");
    // The person withdraws their consent.
    let withdrawn = scene.browser.delete(&format!("/auth/me/apps/{}", scene.client.id)).await;
    assert_eq!(withdrawn.status(), StatusCode::NO_CONTENT);
    scene.is_dead(&granted).await;
    // The person is locked.
    let granted = scene.grant().await;
    scene.server.execute("UPDATE users SET status = 'locked'").await;
    scene.refresh(granted.text("refresh_token")).await.refused(400, "invalid_grant");
    scene.server.execute("UPDATE users SET status = 'active'").await;
    // The person is deleted.
    let granted = scene.grant().await;
    assert_eq!(scene.browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    scene.is_dead(&granted).await;
}

/// What a client is registered for unless a test says otherwise.
fn restored(metadata: &ClientMetadata) -> ClientMetadata {
    ClientMetadata {
        client_name: metadata.client_name.clone(),
        redirect_uris: metadata.redirect_uris.clone(),
        ..ClientMetadata::default()
    }
}

/// A client of the same id that was registered later has no part in what the former one was given.
pub async fn c23_a_grant_of_a_former_client_of_the_id_is_refused(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant().await;
    scene.server.clock.advance(Duration::from_secs(6));
    let later = scene.server.clock.now().millis();
    scene.server.execute(&format!("UPDATE clients SET created_at = {later}")).await;
    has_changed(&scene.server, &scene.client).await;
    scene.refresh(granted.text("refresh_token")).await.refused(400, "invalid_grant");
}

pub async fn c24_a_scope_is_narrowed_for_one_token_and_never_widened(backend: Backend) {
    // Without a retry window every rotation counts: a refusal must not have consumed the token.
    let scene = Scene::with(backend, "[tokens]\nretry_window = \"0s\"\n", |metadata| {
        metadata.scope = "openid profile email roles".to_owned();
    })
    .await;
    let granted = scene.grant().await;
    let url = &scene.server.url;
    let token = granted.text("refresh_token");
    for wider in ["openid profile email roles", "roles", "offline_access", "other", "open\u{e9}id"]
    {
        let reply = refresh_with(url, &scene.client, token, &[("scope", wider)]).await;
        reply.refused(400, "invalid_scope");
    }
    let narrow = refresh_with(url, &scene.client, token, &[("scope", "profile")]).await.granted();
    assert_eq!(narrow.text("scope"), "profile");
    assert_eq!(claims::<ClientAccessClaims>(narrow.text("access_token")).scope, "profile");
    assert_eq!(narrow.body.get("id_token"), None, "openid was not asked");
    let token = narrow.text("refresh_token");
    let again = [("scope", "email openid")];
    let other = refresh_with(url, &scene.client, token, &again).await.granted();
    assert_eq!(other.text("scope"), "email openid");
    let all = scene.refresh(other.text("refresh_token")).await.granted();
    assert_eq!(all.text("scope"), "openid profile email");
    assert_eq!(scene.server.audited("family.reuse_detected").await, 0);
}

pub async fn c27_anything_that_is_no_token_of_ours_costs_no_read(backend: Backend) {
    let scene = Scene::with(backend, "", |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::None;
    })
    .await;
    let url = &scene.server.url;
    let present = async |token: &str| {
        let id = ("client_id", scene.client.id.as_str());
        post(url, &[id, ("grant_type", "refresh_token"), ("refresh_token", token)]).await
    };
    scene.server.stop_tickers();
    let counters = &scene.server.app.store.counters;
    let (reads, writes, text) = (counters.reads(), counters.writes(), random::text::<400>());
    for length in (1..120).chain([200, 500]) {
        present(&text[..length]).await.refused(400, "invalid_grant");
    }
    for odd in ["\u{e9}", "=", "A".repeat(80).as_str(), &"\u{1F511}".repeat(20), " ", "null"] {
        present(odd).await.refused(400, "invalid_grant");
    }
    // The client is read anew, twice a second at most; no family is looked for.
    assert!(counters.reads() - reads < 60, "{}", counters.reads() - reads);
    assert_eq!(counters.writes(), writes);
}

pub async fn c28_a_public_client_gets_nothing_for_itself(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::None;
        metadata.grant_types = GrantType::ALL.to_vec();
    })
    .await;
    let parameters = [("grant_type", "client_credentials"), ("client_id", client.id.as_str())];
    post(&server.url, &parameters).await.refused(400, "unauthorized_client");
    // A confidential one gets neither a refresh token nor anything about people.
    let client = register(&server, |metadata| metadata.grant_types = GrantType::ALL.to_vec()).await;
    let grant = ("grant_type", "client_credentials");
    let granted = post_as(&server.url, &client, &[grant]).await.granted();
    assert_eq!(granted.body.get("refresh_token"), None);
    assert_eq!(granted.body.get("id_token"), None);
    assert_eq!(granted.body.get("scope"), None);
    for scope in ["openid", "profile", "email", "roles", "offline_access"] {
        let reply = post_as(&server.url, &client, &[grant, ("scope", scope)]).await;
        reply.refused(400, "invalid_scope");
    }
}

/// No client gets the id of a person, so that no `sub` means two things.
pub async fn c29_a_client_cannot_take_the_id_of_a_person(backend: Backend) {
    let scene = Scene::new(backend).await;
    for id in [scene.session.sub.to_string(), scene.client.id.clone()] {
        let now = scene.server.clock.now();
        let client = Client {
            client_id: id,
            metadata: ClientMetadata::default(),
            secret: None,
            former_secret: None,
            created_at: now,
            updated_at: now,
        };
        let registration = RegisterClient {
            client,
            audit: scene.client.audit(&scene.server, "client.registered"),
        };
        let outcome = apply(&scene.server.app.writer, registration).await.unwrap();
        assert_eq!(outcome, RegisterClientOutcome::IdTaken);
    }
}

pub async fn c30_a_former_secret_works_for_the_overlap_alone(backend: Backend) {
    let scene = Scene::with(backend, "", |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
    })
    .await;
    let app = &scene.server.app;
    let renewed = Registered { secret: random::text::<32>(), ..scene.client.clone() };
    let rotation = RotateClientSecret {
        client_id: scene.client.id.clone(),
        secret: SecretHash::of(&renewed.secret),
        former_until: scene.server.clock.now().plus(Duration::from_secs(600)),
        audit: scene.client.audit(&scene.server, "client.secret_rotated"),
    };
    assert!(apply(&app.writer, rotation).await.unwrap());
    has_changed(&scene.server, &scene.client).await;
    let grant = [("grant_type", "client_credentials")];
    post_as(&scene.server.url, &renewed, &grant).await.granted();
    post_as(&scene.server.url, &scene.client, &grant).await.granted();
    scene.server.clock.advance(Duration::from_secs(600));
    let former = post_as(&scene.server.url, &scene.client, &grant).await;
    former.refused(401, "invalid_client");
    post_as(&scene.server.url, &renewed, &grant).await.granted();
    let everything = scene.server.everything().await.join("\n");
    for secret in [&scene.client.secret, &renewed.secret] {
        assert!(!everything.contains(secret.as_str()), "a secret is stored");
    }
}

pub async fn c33_a_proof_of_possession_is_not_offered(backend: Backend) {
    let scene = Scene::with(backend, "", |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
    })
    .await;
    let request = post_to(&scene.server)
        .basic_auth(&scene.client.id, Some(&scene.client.secret))
        .header("dpop", "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.c2ln")
        .header("content-type", FORM)
        .body(form(&[("grant_type", "client_credentials")]));
    let granted = Reply::of(request.send().await.unwrap()).await.granted();
    assert_eq!(granted.text("token_type"), "Bearer");
    let metadata = scene.browser.get("/.well-known/openid-configuration").await;
    let metadata = metadata.text().await.unwrap();
    assert!(!metadata.contains("dpop"), "{metadata}");
}

on_both_stores!(
    c01_only_post_is_allowed,
    c02_parameters_are_taken_from_a_form_alone,
    c05_a_bad_secret_is_refused_in_either_way,
    c06_two_ways_at_once_are_refused,
    c08_malformed_basic_is_refused,
    c09_a_confidential_client_cannot_pass_as_a_public_one,
    c11_unknown_clients_and_wrong_secrets_look_alike,
    c13_errors_quote_nothing_that_was_sent,
    c14_a_refresh_token_is_its_own_clients_alone,
    c15_cookies_and_clients_tokens_are_not_mixed_up,
    c17_an_older_refresh_token_ends_the_family,
    c18_a_retry_gets_the_same_successor,
    c19_50_refreshes_at_once_get_one_successor,
    c20_a_refresh_beside_a_reuse_leaves_nothing_alive,
    c21_no_retry_brings_back_what_has_ended,
    c21_offline_access_outlives_a_sign_out_but_not_a_deletion,
    c23_a_refresh_gives_no_more_than_is_still_allowed,
    c23_a_grant_of_a_former_client_of_the_id_is_refused,
    c24_a_scope_is_narrowed_for_one_token_and_never_widened,
    c27_anything_that_is_no_token_of_ours_costs_no_read,
    c28_a_public_client_gets_nothing_for_itself,
    c29_a_client_cannot_take_the_id_of_a_person,
    c30_a_former_secret_works_for_the_overlap_alone,
    c33_a_proof_of_possession_is_not_offered,
);
