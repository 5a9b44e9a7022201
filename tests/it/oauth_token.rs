//! The token endpoint as honest clients use it. What attackers try is in `attacks`.

pub mod assertions;
mod cross_origin;
mod limits;
mod races;

use latchkey::store::model::AuditPage;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::protocol::client::{DEFAULT_SCOPE, GrantType};
use latchkey::protocol::jwt::{ClientAccessClaims, IdClaims};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use crate::grants::{
    Reply, claims, code_for, form, grant, http, post, post_as, redeem, redeem_with, refresh,
    refresh_with, session, userinfo,
};
use crate::harness::{Backend, Server, body};
use crate::registration::{register, register_public};
use crate::{forged, on_both_stores};

/// Many libraries look into the ID token and ask nobody.
pub async fn an_id_token_tells_what_userinfo_tells_but_for_the_address(backend: Backend) {
    let scopes = "[[scopes]]\nname = \"badge\"\ndescription = \"Your badge\"\nclaims = [\"name\", \"email\"]\n";
    let server = Server::start(backend, scopes).await;
    let client = register(&server, |metadata| {
        metadata.scope = "openid profile email roles badge".to_owned();
        metadata.auto_approve = true;
    })
    .await;
    let browser = server.signed_in("alice").await;
    let fixed = ["iss", "aud", "exp", "iat", "auth_time", "at_hash", "sid"];
    for (scope, opened) in [
        ("openid", 0),
        ("openid profile", 1),
        ("openid email", 2),
        ("openid roles", 2),
        ("openid badge", 2),
        ("openid profile email roles badge", 5),
    ] {
        let granted = grant(&server, &browser, &client, scope).await;
        let mut told: Value = body(userinfo(&server, &granted.access).await).await;
        assert!(told.as_object().unwrap().len() > opened, "{scope}: {told}");
        for address in ["email", "email_verified"] {
            told.as_object_mut().unwrap().remove(address);
        }
        let again = refresh(&server.url, &client, &granted.refresh).await.granted();
        for token in [granted.id_token.as_str(), again.text("id_token")] {
            let mut said: Map<String, Value> = claims(token);
            for name in fixed {
                assert!(said.remove(name).is_some(), "{scope}: {name}");
            }
            said.remove("nonce");
            assert_eq!(Value::Object(said), told, "{scope}");
        }
    }
}

pub async fn a_code_becomes_tokens_by_one_commit(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let browser = server.signed_in("alice").await;
    let session = session(&browser).await;
    let code = forged::code(&server, &client, &session, |_| {});
    let counters = &server.app.store.counters;
    let (commits, writes) = (counters.commits(), counters.writes());
    let reply = redeem(&server.url, &client, &code).await.granted();
    assert_eq!((counters.commits() - commits, counters.writes() - writes), (1, 1));

    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.headers["pragma"], "no-cache");
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.body["token_type"], "Bearer");
    assert_eq!(reply.body["expires_in"], 900);
    assert_eq!(reply.body["scope"], "openid profile email");

    let access = reply.text("access_token");
    let said: ClientAccessClaims = claims(access);
    let now = server.clock.now().seconds();
    assert_eq!(said.iss, server.url);
    assert_eq!(said.sub, session.sub.to_string());
    assert!(said.aud.has(&client.id) && said.client_id == client.id);
    assert_eq!((said.iat, said.exp), (now, now + 900));
    assert_eq!((said.sid, said.username.as_deref()), (Some(session.sid), Some("alice")));
    assert!(said.grant_id.is_some() && said.role.is_none());

    let id: IdClaims = claims(reply.text("id_token"));
    assert_eq!((id.iss.as_str(), id.aud.as_str()), (server.url.as_str(), client.id.as_str()));
    assert_eq!((id.sub.as_str(), id.sid), (said.sub.as_str(), session.sid));
    assert_eq!((id.nonce.as_deref(), id.auth_time), (Some("a nonce"), session.auth_time));
    assert_eq!((id.iat, id.exp), (now, now + 900));
    let hash = digest(&SHA256, access.as_bytes());
    assert_eq!(id.at_hash, Some(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])));

    let rows = server.app.store.read.audit(&AuditPage::newest(100)).await.unwrap();
    let opened = rows.iter().find(|row| row.action == "grant.opened").expect("an audit entry");
    assert_eq!(opened.target, format!("user:{}", session.sub));
}

pub async fn a_refresh_moves_on_and_a_retry_gets_the_same(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let browser = server.signed_in("alice").await;
    let code = code_for(&browser, &client, DEFAULT_SCOPE).await;
    let first = redeem(&server.url, &client, &code).await.granted();
    let counters = &server.app.store.counters;
    let (commits, writes) = (counters.commits(), counters.writes());
    let second = refresh(&server.url, &client, first.text("refresh_token")).await.granted();
    assert_eq!((counters.commits() - commits, counters.writes() - writes), (1, 1));
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
    let id: IdClaims = claims(second.text("id_token"));
    let first_id: IdClaims = claims(first.text("id_token"));
    assert_eq!((id.nonce, id.auth_time), (None, first_id.auth_time));
    assert_eq!((id.sub, id.sid), (first_id.sub, first_id.sid));

    // The answer was lost: the same again, without a write.
    let retry = refresh(&server.url, &client, first.text("refresh_token")).await.granted();
    assert_eq!(retry.text("refresh_token"), second.text("refresh_token"));
    assert_eq!(counters.writes() - writes, 1);
    let third = refresh(&server.url, &client, second.text("refresh_token")).await.granted();
    let grant = |reply: &Reply| claims::<ClientAccessClaims>(reply.text("access_token")).grant_id;
    assert_eq!(grant(&third), grant(&first), "one grant");
    server.clock.advance(Duration::from_secs(31 * 86_400));
    refresh(&server.url, &client, third.text("refresh_token")).await.refused(400, "invalid_grant");
}

pub async fn the_scope_decides_what_a_token_tells(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |metadata| {
        metadata.scope = "openid profile roles".to_owned();
        metadata.audience = Some("https://api.example".to_owned());
        metadata.grant_types = vec![GrantType::AuthorizationCode];
    })
    .await;
    let browser = server.signed_in("alice").await;
    let session = session(&browser).await;
    for (scope, given, has_id_token) in [
        ("openid profile roles", "openid profile roles", true),
        ("openid", "openid", true),
        ("roles", "roles", false),
        ("email roles", "roles", false), // not registered for email (any more)
    ] {
        let code = forged::code(&server, &client, &session, |code| code.scope = scope.to_owned());
        let reply = redeem(&server.url, &client, &code).await.granted();
        let said: ClientAccessClaims = claims(reply.text("access_token"));
        assert_eq!((said.scope.as_str(), reply.text("scope")), (given, given));
        assert_eq!(said.username.is_some(), given.contains("profile"), "{given}");
        assert_eq!(said.role.is_some(), given.contains("roles"), "{given}");
        assert!(said.aud.has("https://api.example"));
        assert_eq!(reply.body.get("id_token").is_some(), has_id_token, "{given}");
        assert_eq!(reply.body.get("refresh_token"), None, "not registered for the grant");
    }
}

pub async fn a_token_is_for_the_resources_that_were_granted(backend: Backend) {
    let (one, two, three) =
        ("https://one.example/", "https://two.example/", "https://three.example/");
    let server = Server::start(backend, "").await;
    let client = register(&server, |metadata| {
        metadata.resources = [one, two, three].map(str::to_owned).to_vec();
    })
    .await;
    let browser = server.signed_in("alice").await;
    let session = session(&browser).await;
    let code =
        || forged::code(&server, &client, &session, |code| code.resource = format!("{one} {two}"));
    let audience = |reply: &Reply| claims::<Value>(reply.text("access_token"))["aud"].clone();
    let all = redeem(&server.url, &client, &code()).await.granted();
    assert_eq!(audience(&all), json!([one, two]));
    let fewer = redeem_with(&server.url, &client, &code(), &[("resource", two)]).await.granted();
    assert_eq!(audience(&fewer), json!(two));
    let both = [("resource", two), ("resource", one), ("resource", two)];
    let both = redeem_with(&server.url, &client, &code(), &both).await.granted();
    assert_eq!(audience(&both), json!([two, one]));
    for other in [three, "https://one.example", server.url.as_str(), "nonsense"] {
        let reply = redeem_with(&server.url, &client, &code(), &[("resource", other)]).await;
        reply.refused(400, "invalid_target");
    }
    // Narrowed for one token, not for the grant; and a refusal consumes nothing.
    let token = fewer.text("refresh_token");
    let refused = refresh_with(&server.url, &client, token, &[("resource", three)]).await;
    refused.refused(400, "invalid_target");
    let again = refresh(&server.url, &client, token).await.granted();
    assert_eq!(audience(&again), json!([one, two]));
    let one_only = [("resource", one)];
    let token = again.text("refresh_token");
    let narrow = refresh_with(&server.url, &client, token, &one_only).await.granted();
    assert_eq!(audience(&narrow), json!(one));
}

pub async fn a_client_gets_a_token_for_itself(backend: Backend) {
    let further = "[[scopes]]\nname = \"reports\"\ndescription = \"Read reports\"\n";
    let server = Server::start(backend, further).await;
    let resource = "https://api.example/";
    let client = register(&server, |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
        metadata.scope = "openid profile reports".to_owned();
        metadata.resources = vec![resource.to_owned()];
    })
    .await;
    let counters = &server.app.store.counters;
    let writes = counters.writes();
    let grant = ("grant_type", "client_credentials");
    let reply = post_as(&server.url, &client, &[grant]).await.granted();
    assert_eq!(counters.writes(), writes, "nothing is stored");
    assert_eq!(reply.text("scope"), "reports");
    let members: Vec<&String> = reply.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
    let said: Value = claims(reply.text("access_token"));
    assert_eq!((&said["sub"], &said["client_id"]), (&json!(client.id), &json!(client.id)));
    assert_eq!((&said["aud"], &said["scope"]), (&json!(client.id), &json!("reports")));
    for absent in ["sid", "grant_id", "username", "role"] {
        assert_eq!(said.get(absent), None, "{absent}");
    }
    let for_api = [grant, ("resource", resource), ("scope", "reports")];
    let reply = post_as(&server.url, &client, &for_api).await.granted();
    assert_eq!(claims::<Value>(reply.text("access_token"))["aud"], resource);
    let elsewhere = [grant, ("resource", "https://other.example/")];
    post_as(&server.url, &client, &elsewhere).await.refused(400, "invalid_target");
    for scope in ["openid", "profile reports", "other", "reports\u{e9}"] {
        let reply = post_as(&server.url, &client, &[grant, ("scope", scope)]).await;
        reply.refused(400, "invalid_scope");
    }
}

/// Every error of RFC 6749 §5.2 and the `invalid_target` of RFC 8707.
pub async fn every_error_is_answered_as_the_rfc_says(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let url = &server.url;
    let grant = |name| ("grant_type", name);
    let code = ("code", "x");
    for (parameters, error) in [
        (vec![], "invalid_request"),
        (vec![grant("")], "invalid_request"),
        (vec![grant("authorization_code")], "invalid_request"),
        (vec![grant("refresh_token")], "invalid_request"),
        (vec![grant("authorization_code"), grant("authorization_code"), code], "invalid_request"),
        (vec![grant("authorization_code"), code, code], "invalid_request"),
        (vec![grant("authorization_code"), ("code", "a\0b")], "invalid_request"),
        (vec![grant("password")], "unsupported_grant_type"),
        (vec![grant("AUTHORIZATION_CODE"), code], "unsupported_grant_type"),
        (vec![grant("urn:ietf:params:oauth:grant-type:jwt-bearer")], "unsupported_grant_type"),
        (vec![grant("client_credentials")], "unauthorized_client"),
        (vec![grant("authorization_code"), code], "invalid_grant"),
        (vec![grant("refresh_token"), ("refresh_token", "x")], "invalid_grant"),
    ] {
        post_as(url, &client, &parameters).await.refused(400, error);
    }
    let for_itself =
        register(&server, |metadata| metadata.grant_types = vec![GrantType::ClientCredentials])
            .await;
    let too_much = [grant("client_credentials"), ("scope", "openid")];
    post_as(url, &for_itself, &too_much).await.refused(400, "invalid_scope");
    let elsewhere = [grant("client_credentials"), ("resource", "https://other.example")];
    post_as(url, &for_itself, &elsewhere).await.refused(400, "invalid_target");
    let nobody = [grant("authorization_code"), code, ("client_id", "nobody")];
    post(url, &nobody).await.refused(401, "invalid_client");
    let large = "x".repeat(65 * 1024);
    let too_large = post_as(url, &client, &[grant("authorization_code"), ("code", &large)]).await;
    assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(too_large.text("error"), "invalid_request");
}

pub async fn a_client_proves_itself_in_one_of_the_ways_of_the_rfc(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let session = session(&browser).await;
    let client = register(&server, |_| {}).await;
    let public = register_public(&server).await;
    let body = |client, code: &str| {
        let session = forged::code(&server, client, &session, |_| {});
        let code = if code.is_empty() { session } else { code.to_owned() };
        vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", crate::grants::REDIRECT_URI.to_owned()),
            ("code_verifier", crate::grants::VERIFIER.to_owned()),
        ]
    };
    // HTTP Basic, with and without the id in the body too.
    for with_id in [false, true] {
        let mut parameters = body(&client, "");
        if with_id {
            parameters.push(("client_id", client.id.clone()));
        }
        let pairs: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = http()
            .post(format!("{}/oauth/token", server.url))
            .basic_auth(&client.id, Some(&client.secret))
            .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
            .body(form(&pairs));
        Reply::of(request.send().await.unwrap()).await.granted();
    }
    // A public client says its id alone.
    let mut parameters = body(&public, "");
    parameters.push(("client_id", public.id.clone()));
    let pairs: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&server.url, &pairs).await.granted();
}

on_both_stores!(
    a_code_becomes_tokens_by_one_commit,
    an_id_token_tells_what_userinfo_tells_but_for_the_address,
    a_refresh_moves_on_and_a_retry_gets_the_same,
    the_scope_decides_what_a_token_tells,
    a_token_is_for_the_resources_that_were_granted,
    a_client_gets_a_token_for_itself,
    every_error_is_answered_as_the_rfc_says,
    a_client_proves_itself_in_one_of_the_ways_of_the_rfc,
);
