//! Grants of people to clients, and tokens of every kind, made without the endpoints that give them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::actors::db_writer::apply;
use latchkey::protocol::jwt::{ACCESS_TOKEN, Audience, ClientAccessClaims};
use latchkey::protocol::random;
use latchkey::protocol::refresh_token::{FamilyKind, Presented};
use latchkey::protocol::scope::{PROFILE, ROLES, Scope};
use latchkey::store::model::{Actor, AuditEntry, FamilyId, FamilyWithUser, NewFamily, SessionId};
use latchkey::store::operation::{RedeemCode, RedeemOutcome, Spent};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::{Browser, Server};
use crate::identity::access_of;
use crate::registration::Registered;

/// What a person gave a client.
#[derive(Clone, Debug)]
pub struct Granted {
    pub live: FamilyWithUser,
    pub claims: ClientAccessClaims,
    pub access: String,
    pub refresh: String,
}

/// The middle part of a token.
pub fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Signs anything with the server's own key.
pub fn signed(server: &Server, typ: &str, claims: &impl Serialize) -> String {
    let algorithm = server.app.settings.keys.algorithm;
    let keys = server.app.key_snapshot();
    keys.signer(algorithm, server.clock.now()).unwrap().sign(typ, claims)
}

/// As if the person in this browser had signed in to a client: a grant, and its first tokens.
pub async fn grant(
    server: &Server,
    browser: &Browser,
    client: &Registered,
    scope: &str,
) -> Granted {
    let first_party = claims_of(&access_of(browser).await);
    let id = |name: &str| serde_json::from_value(first_party[name].clone()).unwrap();
    let now = server.clock.now();
    let family = NewFamily {
        id: FamilyId::new(now),
        user: serde_json::from_value(first_party["sub"].clone()).unwrap(),
        session: SessionId(id("sid")),
        client_id: client.id.clone(),
        scope: scope.to_owned(),
        resource: String::new(),
        auth_time: now,
        created_at: now,
        provider: "dev".to_owned(),
        user_agent: String::new(),
        network: String::new(),
    };
    let audit = |action| {
        AuditEntry::new(now, Actor::User(family.user), action, format!("user:{}", family.user))
    };
    let redeem = RedeemCode {
        spends: Spent {
            id: format!("code:{}", family.id),
            until: now.plus(Duration::from_secs(90)),
        },
        needs_consent: false,
        tokens_live_for: Duration::from_secs(930),
        audit: audit("grant.opened"),
        audit_replay: audit("grant.code_replayed"),
        family,
    };
    let outcome = apply(&server.app.writer, redeem).await.unwrap();
    let RedeemOutcome::Opened(live) = outcome else { panic!("{outcome:?}") };
    issued(server, *live)
}

/// The tokens of a grant at its live generation.
pub fn issued(server: &Server, live: FamilyWithUser) -> Granted {
    let now = server.clock.now();
    let FamilyWithUser { family, user } = &live;
    let scope = Scope::parse(&family.scope).unwrap();
    let claims = ClientAccessClaims {
        iss: server.app.settings.server.public_url.as_str().to_owned(),
        sub: user.id.to_string(),
        aud: Audience::One(family.client_id.clone()),
        client_id: family.client_id.clone(),
        scope: family.scope.clone(),
        exp: now.plus(server.app.settings.tokens.access_ttl).seconds(),
        iat: now.seconds(),
        jti: random::text::<16>(),
        sid: Some(family.session),
        grant_id: Some(family.id),
        username: scope.has(PROFILE).then(|| user.username.clone()),
        role: scope.has(ROLES).then_some(user.role),
    };
    let presented =
        Presented { kind: FamilyKind::Client, family: family.id, generation: family.generation };
    Granted {
        access: signed(server, ACCESS_TOKEN, &claims),
        refresh: server.app.refresh_tokens.issue(presented, &family.client_id),
        claims,
        live,
    }
}

/// A token of a client for itself.
pub fn of_client_itself(server: &Server, client: &Registered, scope: &str) -> String {
    let now = server.clock.now().seconds();
    let claims = json!({
        "iss": server.app.settings.server.public_url.as_str(), "sub": client.id, "aud": client.id,
        "client_id": client.id, "scope": scope, "exp": now + 900, "iat": now, "jti": random::text::<16>(),
    });
    signed(server, ACCESS_TOKEN, &claims)
}

/// Posts a form as a client that authenticates by HTTP Basic.
pub async fn post_as(
    server: &Server,
    client: &Registered,
    path: &str,
    fields: &[(&str, &str)],
) -> Response {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}{path}", server.url))
        .basic_auth(&client.id, Some(&client.secret))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .unwrap()
}

/// Asks userinfo with a token in the header.
pub async fn userinfo(server: &Server, token: &str) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("{}/oauth/userinfo", server.url)).bearer_auth(token).send().await.unwrap()
}

/// What introspection says of a token.
pub async fn introspected(server: &Server, client: &Registered, token: &str) -> Value {
    let answer = post_as(server, client, "/oauth/introspect", &[("token", token)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    json_of(answer).await
}

/// The JSON of an answer.
pub async fn json_of(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}
