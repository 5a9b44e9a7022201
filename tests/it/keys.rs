//! Signing keys over HTTP: the JWKS, rotation under load, retirement.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use latchkey::actors::key_ring::{KeySnapshot, Reload, Retire, RotateKey};
use latchkey::administration::By;
use latchkey::protocol::jwt::Algorithm;
use latchkey::store::model::Actor;
use latchkey::store::operation::RetireKeyOutcome;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::attacks::logout::key_file;
use crate::harness::{BEGIN, Backend, Browser, Server, body, cookie};
use crate::registration::register;

fn rotate(now: bool) -> RotateKey {
    RotateKey { algorithm: None, bits: None, now, by: By::local(Actor::System, BEGIN) }
}

async fn jwks(browser: &Browser) -> JwkSet {
    let text = browser.get("/.well-known/jwks.json").await.text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn access_token(browser: &Browser) -> String {
    let answer = browser.post("/auth/refresh").await;
    assert_eq!(answer.status(), StatusCode::OK);
    cookie(&answer, "auth_access").unwrap()
}

fn kid_of(token: &str) -> String {
    decode_header(token).unwrap().kid.unwrap()
}

/// Verifies as a consumer does that knows the JWKS alone.
fn verifies(token: &str, keys: &JwkSet, issuer: &str) -> bool {
    let header = decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let Some(jwk) = keys.find(&header.kid.unwrap()) else { return false };
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.set_audience(&[issuer]);
    validation.set_issuer(&[issuer]);
    decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).is_ok()
}

pub async fn every_algorithm_is_verified_by_an_independent_library(backend: Backend) {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let server =
            Server::start(backend, &format!("[keys]\nalgorithm = \"{algorithm}\"\n")).await;
        let browser = server.signed_in("alice").await;
        let token = access_token(&browser).await;
        let keys = jwks(&browser).await;
        assert!(verifies(&token, &keys, &server.url), "{algorithm}");
        assert_eq!(keys.keys.len(), 1);
        let discovery =
            browser.get("/.well-known/openid-configuration").await.text().await.unwrap();
        let discovery: Value = serde_json::from_str(&discovery).unwrap();
        assert_eq!(discovery["issuer"], server.url);
        assert_eq!(discovery["jwks_uri"], format!("{}/.well-known/jwks.json", server.url));
    }
}

pub async fn rotating_under_load_loses_no_verification(backend: Backend) {
    // One hour ahead, tokens of 15 minutes; a consumer that keeps the JWKS for its whole max-age.
    let server =
        Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n[tokens]\nsession_grace = \"0s\"\n")
            .await;
    let browser = server.signed_in("alice").await;
    let mut cached = jwks(&browser).await;
    let mut age = Duration::ZERO;
    let mut live: Vec<(String, Duration)> = Vec::new();
    let mut kids = std::collections::HashSet::new();
    for round in 0..200 {
        if round % 20 == 0 {
            server.app.key_ring.ask(rotate(false)).await.unwrap().unwrap();
        }
        let token = access_token(&browser).await;
        kids.insert(kid_of(&token));
        live.push((token, Duration::ZERO));
        if age >= Duration::from_secs(1800) {
            cached = jwks(&browser).await;
            age = Duration::ZERO;
        }
        live.retain(|(_, age)| *age < Duration::from_secs(900));
        for (token, _) in &live {
            assert!(verifies(token, &cached, &server.url), "round {round}");
            let me =
                browser.client.get(format!("{}/auth/me", server.url)).bearer_auth(token).send();
            assert_eq!(me.await.unwrap().status(), StatusCode::OK, "round {round}");
        }
        let step = Duration::from_secs(240);
        server.clock.advance(step);
        age += step;
        live.iter_mut().for_each(|(_, age)| *age += step);
    }
    assert!(kids.len() >= 5, "{} keys were in use", kids.len());
}

pub async fn a_retired_key_stays_until_its_last_token_has_expired(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let browser = server.signed_in("alice").await;
    let token = access_token(&browser).await;
    let first = kid_of(&token);
    server.clock.advance(Duration::from_secs(1));
    let report = server.app.key_ring.ask(rotate(true)).await.unwrap().unwrap();
    assert!(report.is_new);
    assert_eq!(report.replaces.unwrap().0, first);
    server.clock.advance(Duration::from_secs(61));
    assert_eq!(kid_of(&access_token(&browser).await), report.kid, "the new one signs at once");

    server.clock.advance(Duration::from_secs(900 - 63));
    assert!(jwks(&browser).await.find(&first).is_some());
    let me = browser.client.get(format!("{}/auth/me", server.url)).bearer_auth(&token).send();
    assert_eq!(me.await.unwrap().status(), StatusCode::OK, "the last second of its life");
    server.clock.advance(Duration::from_secs(60));
    server.app.key_ring.ask(Reload).await.unwrap().unwrap();
    assert!(jwks(&browser).await.find(&first).is_none());
}

pub async fn a_staged_key_is_reported_and_not_made_twice(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let first = server.app.key_ring.ask(rotate(false)).await.unwrap().unwrap();
    let second = server.app.key_ring.ask(rotate(false)).await.unwrap().unwrap();
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.kid, second.kid);
    server.clock.advance(Duration::from_secs(1));
    let now = server.app.key_ring.ask(rotate(true)).await.unwrap().unwrap();
    assert_eq!(now.kid, first.kid, "the staged one is activated");
    let browser = server.signed_in("alice").await;
    assert_eq!(kid_of(&access_token(&browser).await), first.kid);
}

pub async fn a_compromised_key_is_gone_at_once_with_its_tokens(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let browser = server.signed_in("alice").await;
    let token = access_token(&browser).await;
    let kid = kid_of(&token);
    server.clock.advance(Duration::from_secs(1));
    let retire = Retire { kid: kid.clone(), compromised: true, by: Actor::System };
    let outcome = server.app.key_ring.ask(retire).await.unwrap().unwrap();
    assert_eq!(outcome, RetireKeyOutcome::Retired);
    assert!(jwks(&browser).await.find(&kid).is_none());
    let me = browser.client.get(format!("{}/auth/me", server.url)).bearer_auth(&token).send();
    assert_eq!(me.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_ne!(kid_of(&access_token(&browser).await), kid, "another key has taken over");
    assert_eq!(server.audited("key.compromised").await, 1);
}

pub async fn the_clock_rotates_keys_by_itself(backend: Backend) {
    let server =
        Server::start(backend, "[keys]\nalgorithm = \"ES256\"\nrotation_period = \"10d\"\n").await;
    let keys = || async { server.app.store.read.keys().await.unwrap() };
    assert_eq!(keys().await.len(), 1);
    server.clock.advance(Duration::from_secs(10 * 86_400 - 3_600));
    // Ticks are messages: each one is answered when it was handled, and the key follows.
    let mut published = server.app.keys.clone();
    published.wait_for(|keys| keys.keys().len() == 2).await.unwrap();
    let now = server.clock.now();
    let first = keys().await[0].kid.clone();
    let signer =
        |now| server.app.key_snapshot().signer(Algorithm::ES256, now).unwrap().public().kid.clone();
    assert_eq!(signer(now), first);
    assert_ne!(signer(now.plus(Duration::from_secs(3_600))), first);
}

/// Waits until these algorithms have so many keys each.
async fn has_keys(server: &Server, algorithms: &[Algorithm], number: usize) {
    let mut published = server.app.keys.clone();
    let of = |keys: &KeySnapshot, algorithm: &Algorithm| {
        keys.keys().iter().filter(|key| key.stored.algorithm == *algorithm).count()
    };
    let following =
        published.wait_for(|keys| algorithms.iter().all(|algorithm| of(keys, algorithm) == number));
    let followed = tokio::time::timeout(Duration::from_secs(60), following).await;
    drop(followed.expect("the keys are made").unwrap());
}

pub async fn a_clients_algorithm_gets_a_key_that_signs_at_once(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let browser = server.browser();
    let offered = async || {
        let discovery = browser.get("/.well-known/openid-configuration").await;
        let discovery: Value = serde_json::from_str(&discovery.text().await.unwrap()).unwrap();
        discovery["id_token_signing_alg_values_supported"].clone()
    };
    // Whatever a client may register is offered, since its key is made when it is needed.
    assert_eq!(offered().await, json!(["RS256", "ES256", "EdDSA"]));
    register(&server, |metadata| metadata.id_token_signed_response_alg = Algorithm::RS256).await;
    assert_eq!(browser.get("/ready").await.status(), StatusCode::OK, "nobody waits for it");
    has_keys(&server, &[Algorithm::ES256, Algorithm::RS256], 1).await;
    server.signer(Algorithm::RS256).await;
    assert_eq!(jwks(&browser).await.keys.len(), 2);
    // First-party tokens go on as before, and another such client needs no other key.
    register(&server, |metadata| metadata.id_token_signed_response_alg = Algorithm::RS256).await;
    server.app.key_ring.ask(Reload).await.unwrap().unwrap();
    let token = access_token(&server.signed_in("alice").await).await;
    assert_eq!(decode_header(&token).unwrap().alg, jsonwebtoken::Algorithm::ES256);
    assert_eq!(server.app.store.read.keys().await.unwrap().len(), 2);
}

pub async fn of_keys_in_files_the_algorithms_are_offered_that_they_have(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let files =
        vec![key_file(&folder, "es", Algorithm::ES256), key_file(&folder, "ed", Algorithm::EdDsa)];
    let further = "[keys]\nalgorithm = \"ES256\"\n";
    let server = Server::start_with(backend, further, |settings| settings.keys.files = files).await;
    let discovery = body(server.browser().get("/.well-known/openid-configuration").await).await;
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
}

pub async fn every_algorithm_in_use_is_rotated(backend: Backend) {
    let settings = "[keys]\nalgorithm = \"ES256\"\nrotation_period = \"10d\"\n";
    let server = Server::start(backend, settings).await;
    register(&server, |metadata| metadata.id_token_signed_response_alg = Algorithm::EdDsa).await;
    let both = [Algorithm::ES256, Algorithm::EdDsa];
    has_keys(&server, &both, 1).await;
    let signers = |now| {
        let keys = server.app.key_snapshot();
        both.map(|algorithm| keys.signer(algorithm, now).unwrap().public().kid.clone())
    };
    let first = signers(server.clock.now());
    server.clock.advance(Duration::from_secs(10 * 86_400 - 3_600));
    has_keys(&server, &both, 2).await;
    let now = server.clock.now();
    assert_eq!(signers(now), first, "published ahead");
    let next = signers(now.plus(Duration::from_secs(3_600)));
    assert!(next.iter().all(|kid| !first.contains(kid)));

    // Retired by hand, each has another take over.
    server.clock.advance(Duration::from_secs(3_600));
    for kid in next.clone() {
        let retire = Retire { kid, compromised: true, by: Actor::System };
        let outcome = server.app.key_ring.ask(retire).await.unwrap().unwrap();
        assert_eq!(outcome, RetireKeyOutcome::Retired);
    }
    assert!(signers(server.clock.now()).iter().all(|kid| !next.contains(kid)));
}

pub async fn the_jwks_can_be_cached(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let answer = browser.get("/.well-known/jwks.json").await;
    assert_eq!(answer.headers()["cache-control"], "public, max-age=1800");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert!(answer.headers().get("access-control-allow-credentials").is_none());
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    for (sent, status) in [
        (etag.as_str(), StatusCode::NOT_MODIFIED),
        ("\"other\"", StatusCode::OK),
        (&format!("W/{etag}, \"x\""), StatusCode::NOT_MODIFIED),
    ] {
        let request = browser.client.get(format!("{}/.well-known/jwks.json", server.url));
        let answer = request.header("if-none-match", sent).send().await.unwrap();
        assert_eq!(answer.status(), status, "{sent}");
    }
}

crate::on_both_stores!(
    every_algorithm_is_verified_by_an_independent_library,
    rotating_under_load_loses_no_verification,
    a_retired_key_stays_until_its_last_token_has_expired,
    a_staged_key_is_reported_and_not_made_twice,
    a_compromised_key_is_gone_at_once_with_its_tokens,
    the_clock_rotates_keys_by_itself,
    a_clients_algorithm_gets_a_key_that_signs_at_once,
    of_keys_in_files_the_algorithms_are_offered_that_they_have,
    every_algorithm_in_use_is_rotated,
    the_jwks_can_be_cached,
);
