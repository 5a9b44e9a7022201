//! Attacks on userinfo, introspection and revocation.

use std::time::Duration;

use latchkey::config::settings::StoreUrl;
use latchkey::protocol::client::GrantType;
use latchkey::protocol::jwt::{ACCESS_TOKEN, ID_TOKEN};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::json;

use crate::forged::signed;
use crate::grants::{Granted, for_itself, grant, introspected, refresh, send_as, userinfo};
use crate::harness::{Backend, Browser, Server, body, cookie};
use crate::identity::access_of;
use crate::postgres::cluster::PrivateCluster;
use crate::postgres::settings_on;
use crate::registration::{Registered, register, register_public};

const ES256: &str =
    "[keys]\nalgorithm = \"ES256\"\n[[scopes]]\nname = \"jobs\"\ndescription = \"Run jobs\"\n";

struct Scene {
    server: Server,
    browser: Browser,
    client: Registered,
    granted: Granted,
}

impl Scene {
    async fn new(backend: Backend, scope: &str) -> Self {
        let server = Server::start(backend, ES256).await;
        Self::on(server, scope).await
    }

    async fn on(server: Server, scope: &str) -> Self {
        let browser = server.signed_in("alice").await;
        let client = register(&server, |metadata| {
            metadata.scope = "openid profile email roles offline_access jobs".to_owned();
            metadata.grant_types = GrantType::ALL.to_vec();
        })
        .await;
        let granted = grant(&server, &browser, &client, scope).await;
        Self { server, browser, client, granted }
    }

    /// What the client has after a refresh.
    async fn refreshed(&self) -> Granted {
        refresh(&self.server.url, &self.client, &self.granted.refresh).await.into()
    }

    /// A request to userinfo, without anything yet.
    fn get(&self, query: &str) -> RequestBuilder {
        let client = Client::builder().no_proxy().build().unwrap();
        client.get(format!("{}/oauth/userinfo{query}", self.server.url))
    }

    async fn status(&self) -> StatusCode {
        userinfo(&self.server, &self.granted.access).await.status()
    }

    async fn revoke_as(&self, client: &Registered, fields: &[(&str, &str)]) -> Response {
        send_as(&self.server, client, "/oauth/revoke", fields).await
    }
}

fn challenge(answer: &Response) -> &str {
    answer.headers()["www-authenticate"].to_str().unwrap()
}

pub async fn assert_invalid(answer: Response) {
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(challenge(&answer).starts_with("Bearer error=\"invalid_token\""));
    assert_eq!(body(answer).await["error"], "invalid_token");
}

pub async fn f01_without_a_token_there_is_no_error_code(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let answer = scene.get("").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(&answer), "Bearer");
}

pub async fn f02_expired_revoked_and_malformed_tokens_are_invalid(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    for malformed in ["x", "a.b.c", "Bearer", "null"] {
        assert_invalid(userinfo(&scene.server, malformed).await).await;
    }
    assert_eq!(scene.status().await, StatusCode::OK);
    let revoked = scene.refreshed().await;
    let answer = scene.revoke_as(&scene.client, &[("token", &revoked.access)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_invalid(userinfo(&scene.server, &revoked.access).await).await;
    scene.server.clock.advance(Duration::from_secs(930));
    assert_invalid(userinfo(&scene.server, &scene.granted.access).await).await;
}

pub async fn f03_without_openid_the_scope_is_insufficient(backend: Backend) {
    let scene = Scene::new(backend, "profile email").await;
    let of_itself = for_itself(&scene.server.url, &scene.client).await;
    for token in [&scene.granted.access, &of_itself] {
        let answer = userinfo(&scene.server, token).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(challenge(&answer), "Bearer error=\"insufficient_scope\", scope=\"openid\"");
        assert_eq!(body(answer).await["error"], "insufficient_scope");
    }
}

pub async fn f04_a_token_in_two_places_is_an_invalid_request(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let token = &scene.granted.access;
    let client = Client::builder().no_proxy().build().unwrap();
    let post = || {
        let request = client.post(format!("{}/oauth/userinfo", scene.server.url));
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    for request in [
        post().bearer_auth(token).body(format!("access_token={token}")),
        post().bearer_auth(token).bearer_auth(token),
        post().body(format!("access_token={token}&access_token={token}")),
        scene.get("").bearer_auth(token).bearer_auth(token),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(body(answer).await["error"], "invalid_request");
    }
}

pub async fn f05_a_token_in_the_query_is_not_read(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let query = format!("?access_token={}", scene.granted.access);
    let answer = scene.get(&query).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(&answer), "Bearer", "as if there were none");
    let answer = scene.get(&query).bearer_auth(&scene.granted.access).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // The log line names the route, never the query: there is no place for it.
    assert!(!scene.server.everything().await.join("\n").contains(&scene.granted.access));
}

pub async fn f06_the_scheme_is_read_without_regard_to_case(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let token = &scene.granted.access;
    for (header, status) in [
        (format!("bearer {token}"), StatusCode::OK),
        (format!("BEARER {token}"), StatusCode::OK),
        (format!("Bearer   {token}"), StatusCode::OK),
        (format!("Bearer\t{token}"), StatusCode::UNAUTHORIZED),
        (format!("Bearer {token} {token}"), StatusCode::UNAUTHORIZED),
        (format!("Basic {token}"), StatusCode::UNAUTHORIZED),
        (format!("DPoP {token}"), StatusCode::UNAUTHORIZED),
        ("Bearer".to_owned(), StatusCode::UNAUTHORIZED),
        ("Bearer ".to_owned(), StatusCode::UNAUTHORIZED),
        (token.clone(), StatusCode::UNAUTHORIZED),
    ] {
        let answer = scene.get("").header("authorization", &header).send().await.unwrap();
        assert_eq!(answer.status(), status, "{header:.12}");
    }
}

pub async fn f07_tokens_of_who_is_locked_or_deleted_are_invalid(backend: Backend) {
    let scene = Scene::new(backend, "openid offline_access").await;
    scene.server.execute("UPDATE users SET status = 'locked'").await;
    assert_invalid(userinfo(&scene.server, &scene.granted.access).await).await;
    scene.server.execute("UPDATE users SET status = 'active'").await;
    assert_eq!(scene.status().await, StatusCode::OK);
    scene.server.stop_tickers();
    let deleted = scene.browser.delete("/auth/me").await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_invalid(userinfo(&scene.server, &scene.granted.access).await).await;
    for token in [&scene.granted.access, &scene.granted.refresh] {
        let found = introspected(&scene.server, &scene.client, token).await;
        assert_eq!(found, json!({ "active": false }));
    }
}

pub async fn f07_signing_out_ends_grants_without_offline_access_alone(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let offline =
        grant(&scene.server, &scene.browser, &scene.client, "openid offline_access").await;
    scene.server.stop_tickers();
    assert_eq!(scene.browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    assert_invalid(userinfo(&scene.server, &scene.granted.access).await).await;
    assert_eq!(userinfo(&scene.server, &offline.access).await.status(), StatusCode::OK);
    let found = introspected(&scene.server, &scene.client, &offline.refresh).await;
    assert_eq!(found["active"], true);
}

pub async fn f08_no_claim_leaks_without_its_scope(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    for (granted, hidden) in [
        ("openid", vec!["alice", "dev.localhost", "user"]),
        ("openid profile", vec!["dev.localhost", "email", "role"]),
        ("openid email", vec!["preferred_username", "name", "role"]),
        ("openid roles", vec!["alice", "dev.localhost"]),
    ] {
        let granted = grant(&scene.server, &scene.browser, &scene.client, granted).await;
        let text = userinfo(&scene.server, &granted.access).await.text().await.unwrap();
        for hidden in hidden {
            assert!(!text.contains(hidden), "{} in {text}", hidden);
        }
        let found = introspected(&scene.server, &scene.client, &granted.access).await;
        let has_profile = granted.claims.scope.contains("profile");
        assert_eq!(found.get("username").is_some(), has_profile, "{found}");
        assert!(found.get("email").is_none() && found.get("name").is_none(), "{found}");
    }
}

pub async fn f09_email_verified_is_the_addresses_own_flag(backend: Backend) {
    let scene = Scene::new(backend, "openid email").await;
    for verified in [false, true] {
        scene.server.execute(&format!("UPDATE emails SET verified = {verified}")).await;
        let told = body(userinfo(&scene.server, &scene.granted.access).await).await;
        assert_eq!(told["email"], "alice@dev.localhost");
        assert_eq!(told["email_verified"], verified, "a boolean");
    }
    scene.server.execute("DELETE FROM emails").await;
    let told = body(userinfo(&scene.server, &scene.granted.access).await).await;
    assert_eq!(told, json!({ "sub": scene.granted.claims.sub }), "absent, not null");
}

pub async fn f11_whatever_does_not_work_is_inactive_and_nothing_else(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let elsewhere = Server::start(Backend::Sqlite, ES256).await;
    let foreign = signed(&elsewhere, ACCESS_TOKEN, &scene.granted.claims).await;
    let revoked = grant(&scene.server, &scene.browser, &scene.client, "openid").await;
    scene.revoke_as(&scene.client, &[("token", &revoked.refresh)]).await;
    let unknown = format!("{}A", &scene.granted.refresh[..79]);
    let id_token = signed(&scene.server, ID_TOKEN, &scene.granted.claims).await;
    for token in [
        "x",
        "é\u{202e}",
        "a.b.c",
        &"A".repeat(80),
        &unknown,
        &foreign,
        &id_token,
        &revoked.access,
        &revoked.refresh,
    ] {
        let found = introspected(&scene.server, &scene.client, token).await;
        assert_eq!(found, json!({ "active": false }), "{token}");
    }
    scene.server.clock.advance(Duration::from_secs(930));
    let found = introspected(&scene.server, &scene.client, &scene.granted.access).await;
    assert_eq!(found, json!({ "active": false }), "expired");
}

pub async fn f12_tokens_of_cookies_are_nobodys_to_introspect(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let resource_server = register(&scene.server, |metadata| metadata.resource_server = true).await;
    let access = access_of(&scene.browser).await;
    let refresh = scene.browser.post("/auth/refresh").await;
    let refresh = cookie(&refresh, "auth_refresh").unwrap();
    for client in [&scene.client, &resource_server] {
        for token in [&access, &refresh] {
            let found = introspected(&scene.server, client, token).await;
            assert_eq!(found, json!({ "active": false }));
            // Nor to revoke.
            let answer = scene.revoke_as(client, &[("token", token)]).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    assert_eq!(scene.browser.get("/auth/me").await.status(), StatusCode::OK);
    assert!(scene.browser.refresh().await.is_ok());
}

pub async fn f13_only_resource_servers_see_access_tokens_of_others(backend: Backend) {
    let scene = Scene::new(backend, "openid profile").await;
    let other = register(&scene.server, |_| {}).await;
    let resource_server = register(&scene.server, |metadata| metadata.resource_server = true).await;
    let Granted { access, refresh, .. } = &scene.granted;
    for token in [access, refresh] {
        let found = introspected(&scene.server, &other, token).await;
        assert_eq!(found, json!({ "active": false }));
    }
    let found = introspected(&scene.server, &resource_server, access).await;
    assert_eq!(
        (&found["active"], &found["client_id"], &found["username"]),
        (&json!(true), &json!(scene.client.id), &json!("alice"))
    );
    let found = introspected(&scene.server, &resource_server, refresh).await;
    assert_eq!(found, json!({ "active": false }), "refresh tokens are their client's alone");
}

pub async fn f16_revoking_what_is_unknown_is_done_already(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let unknown = format!("{}A", &scene.granted.refresh[..79]);
    for token in ["x", "a.b.c", "é", &"A".repeat(80), &unknown, &"x".repeat(10_000)] {
        for hint in ["access_token", "refresh_token", "anything", ""] {
            let fields = [("token", token), ("token_type_hint", hint)];
            let answer = scene.revoke_as(&scene.client, &fields).await;
            assert_eq!(answer.status(), StatusCode::OK, "{token}");
            assert_eq!(answer.text().await.unwrap(), "");
        }
    }
    assert_eq!(scene.status().await, StatusCode::OK);
    assert_eq!(scene.server.audited("token.revoked").await, 0);
    assert_eq!(scene.server.audited("grant.revoked").await, 0);
}

pub async fn f17_nothing_happens_to_tokens_of_another_client(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let other = register(&scene.server, |metadata| metadata.resource_server = true).await;
    let public = register_public(&scene.server).await;
    for token in [&scene.granted.access, &scene.granted.refresh] {
        for hint in ["access_token", "refresh_token"] {
            let fields = [("token", token.as_str()), ("token_type_hint", hint)];
            let by_secret = scene.revoke_as(&other, &fields).await;
            let by_id = [("client_id", public.id.as_str()), fields[0], fields[1]];
            let by_id = scene.server.browser().post_form("/oauth/revoke", &by_id).await;
            for answer in [by_secret, by_id] {
                assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
                assert_eq!(body(answer).await["error"], "unauthorized_client");
            }
        }
        let found = introspected(&scene.server, &scene.client, token).await;
        assert_eq!(found["active"], true);
    }
    assert_eq!(scene.status().await, StatusCode::OK);
}

pub async fn f18_a_wrong_hint_misleads_nobody(backend: Backend) {
    let scene = Scene::new(backend, "openid").await;
    let access = scene.refreshed().await.access;
    for (token, hint) in
        [(&access, "refresh_token"), (&scene.granted.refresh, "access_token"), (&access, "jwt")]
    {
        let fields = [("token", token.as_str()), ("token_type_hint", hint)];
        let answer = scene.revoke_as(&scene.client, &fields).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let found = introspected(&scene.server, &scene.client, token).await;
        assert_eq!(found, json!({ "active": false }), "{hint}");
    }
}

pub async fn f19_access_tokens_die_with_their_refresh_token(backend: Backend) {
    let scene = Scene::new(backend, "openid offline_access").await;
    let further = scene.refreshed().await;
    // Known on this node before the answer, not by its next look at the store.
    scene.server.stop_tickers();
    let answer = scene.revoke_as(&scene.client, &[("token", &further.access)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_invalid(userinfo(&scene.server, &further.access).await).await;
    assert_eq!(scene.status().await, StatusCode::OK, "an access token ends alone");
    let answer = scene.revoke_as(&scene.client, &[("token", &scene.granted.refresh)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_invalid(userinfo(&scene.server, &scene.granted.access).await).await;
    let found = introspected(&scene.server, &scene.client, &scene.granted.access).await;
    assert_eq!(found, json!({ "active": false }));
    assert_eq!(scene.browser.get("/auth/me").await.status(), StatusCode::OK);
}

/// Another process holds SQLite's write lock for longer than anybody waits.
#[actix_web::test]
async fn f20_without_a_stored_end_there_is_no_200() {
    let scene = Scene::new(Backend::Sqlite, "openid").await;
    let StoreUrl::Sqlite(path) = &scene.server.app.settings.store.url else { panic!("no SQLite") };
    let holder = rusqlite::Connection::open(path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refresh = [("token", scene.granted.refresh.as_str())];
    let access = [("token", scene.granted.access.as_str())];
    let (refresh, access) = futures_util::future::join(
        scene.revoke_as(&scene.client, &refresh),
        scene.revoke_as(&scene.client, &access),
    )
    .await;
    for answer in [refresh, access] {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(body(answer).await["error"], "temporarily_unavailable");
    }
    holder.execute_batch("ROLLBACK").unwrap();
    let answer = scene.revoke_as(&scene.client, &[("token", &scene.granted.refresh)]).await;
    assert_eq!(answer.status(), StatusCode::OK, "the same request, once it can be stored");
    assert_eq!(scene.status().await, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn f20_without_the_database_nothing_is_confirmed() {
    let mut cluster = PrivateCluster::start();
    let (store, guard) = settings_on(cluster.url());
    let server =
        Server::start_with(Backend::Postgres, ES256, |settings| settings.store = store).await;
    let scene = Scene::on(server, "openid").await;
    cluster.kill();
    for path in ["/oauth/revoke", "/oauth/introspect"] {
        for token in [&scene.granted.access, &scene.granted.refresh] {
            let answer = send_as(&scene.server, &scene.client, path, &[("token", token)]).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(body(answer).await["error"], "temporarily_unavailable");
        }
    }
    let answer = userinfo(&scene.server, &scene.granted.access).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let document = scene.browser.get("/.well-known/openid-configuration").await;
    assert_eq!(document.status(), StatusCode::OK);
    cluster.restart();
    crate::processes::until_ready(&scene.browser.client, &scene.server.url).await;
    assert_eq!(scene.status().await, StatusCode::OK, "nothing was revoked");
    assert!(scene.server.stop().await);
    drop(guard);
}

crate::on_both_stores!(
    f01_without_a_token_there_is_no_error_code,
    f02_expired_revoked_and_malformed_tokens_are_invalid,
    f03_without_openid_the_scope_is_insufficient,
    f04_a_token_in_two_places_is_an_invalid_request,
    f05_a_token_in_the_query_is_not_read,
    f06_the_scheme_is_read_without_regard_to_case,
    f07_tokens_of_who_is_locked_or_deleted_are_invalid,
    f07_signing_out_ends_grants_without_offline_access_alone,
    f08_no_claim_leaks_without_its_scope,
    f09_email_verified_is_the_addresses_own_flag,
    f11_whatever_does_not_work_is_inactive_and_nothing_else,
    f12_tokens_of_cookies_are_nobodys_to_introspect,
    f13_only_resource_servers_see_access_tokens_of_others,
    f16_revoking_what_is_unknown_is_done_already,
    f17_nothing_happens_to_tokens_of_another_client,
    f18_a_wrong_hint_misleads_nobody,
    f19_access_tokens_die_with_their_refresh_token,
);
