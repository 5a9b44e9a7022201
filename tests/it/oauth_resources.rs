//! What clients do with tokens: asking about people and tokens, giving tokens back, and learning what there
//! is.

use std::time::Duration;

use latchkey::protocol::claims::Claim;
use latchkey::protocol::client::{AuthMethod, GrantType};
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::scope;
use latchkey::routes::oauth::discovery::{RESPONSE_MODES, assertion_algorithms};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::grants::{Granted, for_itself, grant, introspected, refresh, send_as, userinfo};
use crate::harness::{Backend, Browser, Server, body};
use crate::identity::rename;
use crate::registration::{Registered, has_changed, register, register_public};

const ES256: &str = "[keys]\nalgorithm = \"ES256\"\n";
const CUSTOM: &str = "[keys]\nalgorithm = \"ES256\"\n[[scopes]]\nname = \"badge\"\ndescription = \"See your badge\"\nclaims = [\"name\", \"picture\"]\n[[scopes]]\nname = \"jobs\"\ndescription = \"Run jobs\"\n";

struct Scene {
    server: Server,
    browser: Browser,
    client: Registered,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend, CUSTOM).await;
        let browser = server.signed_in("alice").await;
        let client = register(&server, |metadata| {
            metadata.scope = "openid profile email roles offline_access badge jobs".to_owned();
            metadata.grant_types = GrantType::ALL.to_vec();
        })
        .await;
        Self { server, browser, client }
    }

    async fn grant(&self, scope: &str) -> Granted {
        grant(&self.server, &self.browser, &self.client, scope).await
    }

    /// What the client has after a refresh.
    async fn advance(&self, granted: &Granted) -> Granted {
        refresh(&self.server.url, &self.client, &granted.refresh).await.into()
    }

    async fn told(&self, scope: &str) -> Value {
        let answer = userinfo(&self.server, &self.grant(scope).await.access).await;
        assert_eq!(answer.status(), StatusCode::OK, "{scope}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        body(answer).await
    }

    async fn revoke(&self, fields: &[(&str, &str)]) -> StatusCode {
        let answer = send_as(&self.server, &self.client, "/oauth/revoke", fields).await;
        let status = answer.status();
        assert!(status != StatusCode::OK || answer.text().await.unwrap().is_empty());
        status
    }

    async fn is_active(&self, token: &str) -> bool {
        let found = introspected(&self.server, &self.client, token).await;
        assert!(found["active"] == true || found == json!({ "active": false }), "{found}");
        found["active"] == true
    }
}

pub async fn userinfo_tells_what_the_scopes_open(backend: Backend) {
    let scene = Scene::new(backend).await;
    let sub = scene.grant("openid").await.claims.sub;
    assert_eq!(scene.told("openid").await, json!({ "sub": sub }));
    assert_eq!(
        scene.told("openid profile").await,
        json!({ "sub": sub, "name": "alice", "preferred_username": "alice" })
    );
    assert_eq!(
        scene.told("openid email offline_access").await,
        json!({ "sub": sub, "email": "alice@dev.localhost", "email_verified": true })
    );
    assert_eq!(scene.told("badge openid").await, json!({ "sub": sub, "name": "alice" }));
    for role in ["user", "admin"] {
        scene.server.execute(&format!("UPDATE users SET role = '{role}'")).await;
        let told = scene.told("openid roles").await;
        assert_eq!(told, json!({ "sub": sub, "role": role, "roles": [role] }));
    }
}

pub async fn userinfo_tells_what_is_true_now(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant("openid profile").await;
    assert_eq!(rename(&scene.browser, "alicia").await.status(), StatusCode::OK);
    let told = body(userinfo(&scene.server, &granted.access).await).await;
    assert_eq!((&told["preferred_username"], &told["name"]), (&json!("alicia"), &json!("alicia")));
    assert_eq!(granted.claims.username.as_deref(), Some("alice"), "the token says what was");
}

pub async fn a_picture_is_an_absolute_address(backend: Backend) {
    let scene = Scene::new(backend).await;
    let name = format!("{}.jpg", "a1".repeat(32));
    scene.server.execute(&format!("UPDATE users SET avatar = '{name}'")).await;
    let picture = format!("{}/avatars/{}-512.jpg", scene.server.url, "a1".repeat(32));
    assert_eq!(scene.told("openid profile").await["picture"], picture);
    assert_eq!(scene.told("openid badge").await["picture"], picture);
}

pub async fn a_token_is_taken_from_the_header_or_the_form_of_a_post(backend: Backend) {
    let scene = Scene::new(backend).await;
    let token = scene.grant("openid").await.access;
    let url = format!("{}/oauth/userinfo", scene.server.url);
    let client = Client::builder().no_proxy().build().unwrap();
    let form = "application/x-www-form-urlencoded";
    let body = format!("access_token={token}");
    let post = || client.post(&url);
    for (request, status) in [
        (post().bearer_auth(&token), StatusCode::OK),
        (post().header("content-type", form).body(body.clone()), StatusCode::OK),
        (post().header("content-type", form).bearer_auth(&token).body("x=1"), StatusCode::OK),
        (post().header("content-type", "text/plain").body(body.clone()), StatusCode::UNAUTHORIZED),
        (
            client.get(&url).header("content-type", form).body(body.clone()),
            StatusCode::UNAUTHORIZED,
        ),
        (client.head(&url).bearer_auth(&token), StatusCode::OK),
        (client.put(&url).bearer_auth(&token), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let sent = format!("{request:?}");
        assert_eq!(request.send().await.unwrap().status(), status, "{sent}");
    }
}

pub async fn userinfo_reads_no_cookie(backend: Backend) {
    let scene = Scene::new(backend).await;
    let answer = scene.browser.get("/oauth/userinfo").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    let token = scene.grant("openid").await.access;
    let request = scene.browser.client.get(format!("{}/oauth/userinfo", scene.server.url));
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "with cookies beside it");
}

pub async fn a_grant_that_ran_out_of_time_opens_nothing(backend: Backend) {
    let further = "[keys]\nalgorithm = \"ES256\"\n[tokens]\nrefresh_ttl = \"5m\"\n";
    let server = Server::start(backend, further).await;
    let browser = server.signed_in("alice").await;
    let client = register(&server, |_| {}).await;
    let granted = grant(&server, &browser, &client, "openid").await;
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::OK);
    server.clock.advance(Duration::from_secs(300));
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    for token in [&granted.access, &granted.refresh] {
        assert_eq!(introspected(&server, &client, token).await, json!({ "active": false }));
    }
}

pub async fn an_access_token_is_introspected(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant("openid profile").await;
    let claims = &granted.claims;
    let found = introspected(&scene.server, &scene.client, &granted.access).await;
    assert_eq!(
        found,
        json!({
            "active": true, "iss": scene.server.url, "sub": claims.sub, "client_id": scene.client.id,
            "aud": scene.client.id, "scope": "openid profile", "exp": claims.exp, "iat": claims.iat,
            "token_type": "Bearer", "jti": claims.jti, "sid": claims.sid, "grant_id": claims.grant_id,
            "username": "alice",
        })
    );
    let nameless = scene.grant("openid").await;
    let found = introspected(&scene.server, &scene.client, &nameless.access).await;
    assert!(found["active"] == true && found.get("username").is_none(), "{found}");

    let of_itself = for_itself(&scene.server.url, &scene.client).await;
    let found = introspected(&scene.server, &scene.client, &of_itself).await;
    assert_eq!((&found["active"], &found["sub"]), (&json!(true), &json!(scene.client.id)));
    assert!(found.get("sid").is_none() && found.get("grant_id").is_none(), "{found}");
}

pub async fn a_refresh_token_is_introspected_and_nothing_is_changed_by_it(backend: Backend) {
    let scene = Scene::new(backend).await;
    let first = scene.grant("openid profile").await;
    let app = &scene.server.app;
    let live = app.store.read.family(first.claims.grant_id.unwrap()).await.unwrap().unwrap();
    let family = &live.family;
    let found = introspected(&scene.server, &scene.client, &first.refresh).await;
    assert_eq!(
        found,
        json!({
            "active": true, "iss": scene.server.url, "sub": first.claims.sub,
            "client_id": scene.client.id, "scope": "openid profile", "sid": family.session,
            "grant_id": family.id, "iat": family.rotated_at.seconds(), "username": "alice",
            "exp": app.lifetimes.expires(family).seconds(),
        })
    );
    let second = scene.advance(&first).await;
    assert!(scene.is_active(&first.refresh).await, "a retry with it still works");
    let third = scene.advance(&second).await;
    assert!(!scene.is_active(&first.refresh).await);
    assert!(scene.is_active(&third.refresh).await, "looking is no reuse");
    assert_eq!(scene.server.audited("family.reuse_detected").await, 0);
}

pub async fn only_clients_that_authenticate_may_introspect(backend: Backend) {
    let scene = Scene::new(backend).await;
    let token = scene.grant("openid").await.access;
    let public = register_public(&scene.server).await;
    let browser = scene.server.browser();
    for (fields, status, error) in [
        (vec![("token", token.as_str())], StatusCode::UNAUTHORIZED, "invalid_client"),
        (
            vec![("token", token.as_str()), ("client_id", public.id.as_str())],
            StatusCode::UNAUTHORIZED,
            "invalid_client",
        ),
        (
            vec![("token", token.as_str()), ("client_id", scene.client.id.as_str())],
            StatusCode::UNAUTHORIZED,
            "invalid_client",
        ),
        (
            vec![
                ("client_id", scene.client.id.as_str()),
                ("client_secret", scene.client.secret.as_str()),
            ],
            StatusCode::BAD_REQUEST,
            "invalid_request",
        ),
    ] {
        let answer = browser.post_form("/oauth/introspect", &fields).await;
        assert_eq!(answer.status(), status, "{fields:?}");
        assert_eq!(body(answer).await["error"], error, "{fields:?}");
    }
}

pub async fn a_refresh_token_that_is_given_back_ends_its_grant(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant("openid offline_access").await;
    let other = scene.grant("openid offline_access").await;
    assert_eq!(scene.revoke(&[("token", &granted.refresh)]).await, StatusCode::OK);
    assert_eq!(userinfo(&scene.server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    assert!(!scene.is_active(&granted.access).await && !scene.is_active(&granted.refresh).await);
    assert_eq!(userinfo(&scene.server, &other.access).await.status(), StatusCode::OK);
    assert_eq!(scene.browser.get("/auth/me").await.status(), StatusCode::OK, "the session goes on");
    assert_eq!(scene.server.audited("grant.revoked").await, 1);
    assert_eq!(scene.revoke(&[("token", &granted.refresh)]).await, StatusCode::OK, "once more");
    assert_eq!(scene.server.audited("grant.revoked").await, 1, "nothing is left to end");
}

pub async fn an_access_token_that_is_given_back_ends_alone(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant("openid").await;
    let further = scene.advance(&granted).await;
    for _ in 0..2 {
        assert_eq!(scene.revoke(&[("token", &granted.access)]).await, StatusCode::OK);
        assert!(!scene.is_active(&granted.access).await);
    }
    assert_eq!(userinfo(&scene.server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(userinfo(&scene.server, &further.access).await.status(), StatusCode::OK);
    assert!(scene.is_active(&granted.refresh).await);
    assert_eq!(scene.server.audited("token.revoked").await, 1);
    let of_itself = for_itself(&scene.server.url, &scene.client).await;
    assert_eq!(scene.revoke(&[("token", &of_itself)]).await, StatusCode::OK);
    assert!(!scene.is_active(&of_itself).await);
}

pub async fn public_clients_give_tokens_back_by_their_id(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let browser = server.signed_in("alice").await;
    let public = register_public(&server).await;
    let granted = grant(&server, &browser, &public, "openid").await;
    let fields = [("client_id", public.id.as_str()), ("token", granted.refresh.as_str())];
    let answer = server.browser().post_form("/oauth/revoke", &fields).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    let answer = server.browser().post_form("/oauth/revoke", &fields[1..]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = server.browser().post_form("/oauth/revoke", &fields[..1]).await;
    assert_eq!(body(answer).await["error"], "invalid_request");
}

pub async fn what_a_former_client_of_the_id_was_given_is_worth_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    let granted = scene.grant("openid").await;
    // As if the id had been registered anew since.
    let later = scene.server.clock.now().plus(Duration::from_secs(6)).millis();
    let sql = format!("UPDATE clients SET created_at = {later}");
    scene.server.execute(&sql).await;
    has_changed(&scene.server, &scene.client).await;
    assert!(!scene.is_active(&granted.refresh).await);
    assert_eq!(scene.revoke(&[("token", &granted.refresh)]).await, StatusCode::OK);
    assert_eq!(scene.server.audited("grant.revoked").await, 0);
}

pub async fn clients_in_browsers_are_let_in_from_everywhere(backend: Backend) {
    let scene = Scene::new(backend).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let token = scene.grant("openid").await.access;
    for path in ["/oauth/userinfo", "/oauth/revoke"] {
        let request = client.request(Method::OPTIONS, format!("{}{path}", scene.server.url));
        let request = request
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
        check_cors(&answer);
    }
    let request = client.get(format!("{}/oauth/userinfo", scene.server.url));
    let origin = request.header("origin", "https://app.example");
    check_cors(&origin.try_clone().unwrap().bearer_auth(&token).send().await.unwrap());
    let refused = origin.send().await.unwrap();
    check_cors(&refused);
    let exposed = refused.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("WWW-Authenticate") && exposed.contains("X-Request-Id"), "{exposed}");
    let foreign = client
        .post(format!("{}/oauth/introspect", scene.server.url))
        .header("origin", "https://app.example")
        .send()
        .await
        .unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
}

fn check_cors(answer: &Response) {
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
}

const DOCUMENTS: [&str; 2] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

pub async fn both_documents_are_one_and_can_be_cached(backend: Backend) {
    let scene = Scene::new(backend).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let mut bodies = Vec::new();
    for path in DOCUMENTS {
        let get = || client.get(format!("{}{path}", scene.server.url));
        let answer = get().send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
        assert_eq!(answer.headers()["content-type"], "application/json");
        check_cors(&answer);
        let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let again = get().header("if-none-match", &etag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()["cache-control"], "public, max-age=300");
        bodies.push((etag, answer.text().await.unwrap()));
    }
    assert_eq!(bodies[0], bodies[1]);
}

pub async fn discovery_says_what_the_code_goes_by(backend: Backend) {
    let scene = Scene::new(backend).await;
    let document = body(scene.browser.get(DOCUMENTS[0]).await).await;
    let list = |name: &str| -> Vec<String> {
        let found = document[name].as_array().unwrap_or_else(|| panic!("{name}"));
        found.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let methods = AuthMethod::ALL.map(AuthMethod::as_str);
    assert_eq!(list("token_endpoint_auth_methods_supported"), methods);
    assert_eq!(list("revocation_endpoint_auth_methods_supported"), methods);
    assert_eq!(list("introspection_endpoint_auth_methods_supported"), methods[..3]);
    assert_eq!(methods[3], "none");
    assert_eq!(list("grant_types_supported"), GrantType::ALL.map(GrantType::as_str));
    assert_eq!(
        list("id_token_signing_alg_values_supported"),
        Algorithm::ALL.map(Algorithm::as_str)
    );
    for endpoint in ["token", "revocation", "introspection"] {
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        assert_eq!(list(&name), assertion_algorithms());
    }
    assert_eq!(list("scopes_supported"), [&scope::OF_PEOPLE[..], &["badge", "jobs"]].concat());
    assert_eq!(list("response_modes_supported"), RESPONSE_MODES);
    assert_eq!(list("response_types_supported"), ["code"]);
    assert_eq!(list("code_challenge_methods_supported"), ["S256"]);
    assert_eq!(list("subject_types_supported"), ["public"]);
    assert_eq!(list("prompt_values_supported"), ["none", "login", "consent", "select_account"]);
    let claims = list("claims_supported");
    let everything = scene.told("openid profile email roles").await;
    for claim in everything.as_object().unwrap().keys() {
        assert!(claims.contains(claim), "{claim}");
    }
    assert!(Claim::ALL.iter().all(|claim| claims.iter().any(|known| known == claim.as_str())));
    for name in [
        "authorization_response_iss_parameter_supported",
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
    ] {
        assert_eq!(document[name], true, "{name}");
    }
    for name in ["claims", "request", "request_uri"] {
        assert_eq!(document[format!("{name}_parameter_supported")], false, "{name}");
    }
}

pub async fn every_endpoint_of_discovery_is_there(backend: Backend) {
    let scene = Scene::new(backend).await;
    let document = body(scene.browser.get(DOCUMENTS[0]).await).await;
    let members = document.as_object().unwrap();
    let endpoints = members.iter().filter(|(name, _)| name.ends_with("_endpoint"));
    let mut found = 0;
    for (name, address) in endpoints {
        let address = address.as_str().unwrap();
        assert!(address.starts_with(&format!("{}/oauth/", scene.server.url)), "{name}: {address}");
        let methods: &[Method] = match name.as_str() {
            "authorization_endpoint" | "userinfo_endpoint" | "end_session_endpoint" => {
                &[Method::GET, Method::POST]
            }
            _ => &[Method::POST],
        };
        for method in methods {
            let answer = scene.browser.client.request(method.clone(), address).send().await;
            let status = answer.unwrap().status();
            assert!(
                status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED,
                "{name}: {method} {address} answers {status}"
            );
        }
        found += 1;
    }
    assert_eq!(found, 6);
    assert_eq!(scene.browser.get(document["jwks_uri"].as_str().unwrap()).await.status(), 200);
}

crate::on_both_stores!(
    userinfo_tells_what_the_scopes_open,
    userinfo_tells_what_is_true_now,
    a_picture_is_an_absolute_address,
    a_token_is_taken_from_the_header_or_the_form_of_a_post,
    userinfo_reads_no_cookie,
    a_grant_that_ran_out_of_time_opens_nothing,
    an_access_token_is_introspected,
    a_refresh_token_is_introspected_and_nothing_is_changed_by_it,
    only_clients_that_authenticate_may_introspect,
    a_refresh_token_that_is_given_back_ends_its_grant,
    an_access_token_that_is_given_back_ends_alone,
    public_clients_give_tokens_back_by_their_id,
    what_a_former_client_of_the_id_was_given_is_worth_nothing,
    clients_in_browsers_are_let_in_from_everywhere,
    both_documents_are_one_and_can_be_cached,
    discovery_says_what_the_code_goes_by,
    every_endpoint_of_discovery_is_there,
);
