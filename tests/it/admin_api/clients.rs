//! What admins do with clients.

use std::time::Duration;

use latchkey::protocol::client::GrantType;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ES256, admin, assert_refused, got, send};
use crate::grants::{for_itself, grant, post_as};
use crate::harness::{Backend, Browser, Server, body, location};
use crate::registration::{Registered, register, register_public};

fn service() -> Value {
    json!({ "client_name": "Service", "grant_types": ["client_credentials"] })
}

/// Registers a client; what was answered, and what it needs to act.
async fn registered(browser: &Browser, members: &Value) -> (Value, Registered) {
    let answer = browser.post_json("/admin/clients", members).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = location(&answer).unwrap();
    let client = body(answer).await;
    let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
    let registered = Registered { id: text("client_id"), secret: text("client_secret") };
    assert_eq!(location, format!("/admin/clients/{}", registered.id));
    (client, registered)
}

async fn works(server: &Server, client: &Registered) -> bool {
    let fields = [("grant_type", "client_credentials")];
    post_as(&server.url, client, &fields).await.status == StatusCode::OK
}

async fn a_client_is_registered_and_its_secret_shown_once(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let (answered, client) = registered(&alice, &service()).await;
    assert!(client.secret.len() >= 43 && works(&server, &client).await);
    let mut expected = answered.clone();
    expected.as_object_mut().unwrap().remove("client_secret");
    let path = format!("/admin/clients/{}", client.id);
    assert_eq!(got(&alice, &path).await, expected);
    assert_eq!(got(&alice, "/admin/clients").await["items"], json!([expected]));
    let everything = server.everything().await.join("\n");
    assert!(!everything.contains(&client.secret), "only its hash is stored");

    let chosen = json!({ "client_name": "Page", "client_id": "my-page", "token_endpoint_auth_method": "none",
                         "redirect_uris": ["https://page.example/"] });
    let (page, public) = registered(&alice, &chosen).await;
    assert_eq!((public.id.as_str(), &page["client_secret"]), ("my-page", &Value::Null));
    let again = alice.post_json("/admin/clients", &chosen).await;
    assert_refused(again, 409, "client_id_taken", None).await;
    for id in ["latchkey", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        let mut reserved = chosen.clone();
        reserved["client_id"] = json!(id);
        let answer = alice.post_json("/admin/clients", &reserved).await;
        assert_refused(answer, 409, "client_id_taken", None).await;
    }
    assert_eq!(server.audited("client.registered").await, 2);
}

async fn what_must_not_be_registered_is_refused_with_its_member(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let app = register(&server, |_| {}).await;
    let path = format!("/admin/clients/{}", app.id);
    let before = got(&alice, &path).await;
    for (member, value) in [
        ("redirect_uris", json!(["https://app.example/#x"])),
        ("redirect_uris", json!("https://app.example/")),
        ("redirect_uris", json!([7])),
        ("grant_types", json!(["password"])),
        ("scope", json!("openid everything")),
        ("client_name", json!("")),
        ("client_name", json!("a\u{0}b")),
        ("token_endpoint_auth_method", json!("tls_client_auth")),
        ("backchannel_logout_uri", json!("ftp://app.example/")),
        ("jwks", json!("keys")),
        ("require_pkce", json!("no")),
        ("client_secret", json!("mine")),
        ("client_id", json!("a b")),
        ("client_id", json!(7)),
        ("role", json!("admin")),
        ("redirect_uri", json!("https://app.example/")),
    ] {
        let mut members =
            json!({ "client_name": "App", "redirect_uris": ["https://app.example/"] });
        members[member] = value.clone();
        let answer = alice.post_json("/admin/clients", &members).await;
        assert_refused(answer, 422, "invalid_field", Some(member)).await;
        let answer = alice.patch_json(&path, &json!({ member: value })).await;
        assert_refused(answer, 422, "invalid_field", Some(member)).await;
    }
    for (body, status, code) in [
        ("{", 400, "invalid_request"),
        ("[]", 422, "invalid_field"),
        ("{\"client_name\":\"a\",\"client_name\":\"b\"}", 422, "invalid_field"),
        ("", 400, "invalid_request"),
    ] {
        for (method, path) in [(Method::POST, "/admin/clients"), (Method::PATCH, path.as_str())] {
            let sent = super::request(&alice, &method, path, &Value::Null);
            let sent = sent.header("content-type", "application/json").body(body);
            assert_refused(alice.send(sent).await, status, code, None).await;
        }
    }
    let sent = super::request(&alice, &Method::POST, "/admin/clients", &Value::Null).body("{}");
    assert_refused(alice.send(sent).await, 415, "unsupported_media_type", None).await;
    assert_eq!(got(&alice, &path).await, before);
    assert_eq!(got(&alice, "/admin/clients").await["items"].as_array().unwrap().len(), 1);
}

async fn a_former_secret_works_as_long_as_it_says(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let (_, first) = registered(&alice, &service()).await;
    let path = format!("/admin/clients/{}/rotate-secret", first.id);
    let answer = alice.post_json(&path, &json!({ "overlap": "1h" })).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let rotated = body(answer).await;
    let until = server.clock.now().plus(Duration::from_secs(3_600)).seconds();
    assert_eq!(rotated["former_client_secret_expires_at"], until);
    let secret = |answer: &Value| Registered {
        secret: answer["client_secret"].as_str().unwrap().to_owned(),
        ..first.clone()
    };
    let second = secret(&rotated);
    assert!(works(&server, &first).await && works(&server, &second).await);
    server.clock.advance(Duration::from_secs(3_599));
    assert!(works(&server, &first).await);
    server.clock.advance(Duration::from_secs(1));
    // The admin's access token is over by now; a page would renew it in passing.
    alice.refresh().await.unwrap();
    assert!(!works(&server, &first).await && works(&server, &second).await);

    let usual = body(send(&alice, &Method::POST, &path, &Value::Null).await).await;
    let until = server.clock.now().plus(Duration::from_secs(86_400)).seconds();
    assert_eq!(usual["former_client_secret_expires_at"], until, "a day, unless it is said");
    let third = secret(&usual);
    let at_once = body(alice.post_json(&path, &json!({ "overlap": "0" })).await).await;
    assert_eq!(at_once.get("former_client_secret_expires_at"), None);
    let fourth = secret(&at_once);
    assert!(!works(&server, &second).await && !works(&server, &third).await);
    assert!(works(&server, &fourth).await);
    for overlap in [json!("1 hour"), json!(3600), json!("366d"), json!("-1s"), json!("")] {
        let answer = alice.post_json(&path, &json!({ "overlap": overlap })).await;
        assert_refused(answer, 422, "invalid_field", Some("overlap")).await;
    }
    let unknown = alice.post_json(&path, &json!({ "secret": "mine" })).await;
    assert_refused(unknown, 422, "invalid_field", Some("secret")).await;
    let public = register_public(&server).await;
    let of_public = format!("/admin/clients/{}/rotate-secret", public.id);
    let none = send(&alice, &Method::POST, &of_public, &Value::Null).await;
    assert_refused(none, 409, "no_client_secret", None).await;
    assert!(works(&server, &fourth).await);
}

async fn a_change_counts_at_once(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let client = register(&server, |metadata| metadata.grant_types = GrantType::ALL.to_vec()).await;
    grant(&server, &bob, &client, "openid").await;
    for_itself(&server.url, &client).await;
    let path = format!("/admin/clients/{}", client.id);
    let change = json!({ "grant_types": ["authorization_code", "refresh_token"] });
    assert_eq!(alice.patch_json(&path, &change).await.status(), StatusCode::OK);
    assert!(!works(&server, &client).await);
    // As it is answered, and as it is sent back whole.
    let shown = got(&alice, &path).await;
    let same = alice.patch_json(&path, &shown).await;
    assert_eq!((same.status(), body(same).await), (StatusCode::OK, shown));
    assert_eq!(server.audited("client.updated").await, 1, "what changes nothing writes nothing");
    let other = alice.patch_json(&path, &json!({ "client_id": "another" })).await;
    assert_refused(other, 422, "invalid_field", Some("client_id")).await;
    let default = alice.patch_json(&path, &json!({ "grant_types": null, "scope": null })).await;
    assert_eq!(body(default).await["scope"], "openid profile email");
}

crate::on_both_stores!(
    a_client_is_registered_and_its_secret_shown_once,
    what_must_not_be_registered_is_refused_with_its_member,
    a_former_secret_works_as_long_as_it_says,
    a_change_counts_at_once,
);
