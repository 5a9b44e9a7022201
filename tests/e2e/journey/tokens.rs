//! Tokens as somebody verifies them who has the published keys and nothing else.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::browser::Body;
use super::{Outcome, Scene, check, failure};

/// The published keys.
pub async fn published(scene: &Scene) -> Outcome<JwkSet> {
    published_at(scene, &scene.target.url).await
}

/// The keys that one of the entrances publishes.
pub async fn published_at(scene: &Scene, entrance: &str) -> Outcome<JwkSet> {
    let url = format!("{entrance}/.well-known/jwks.json");
    let answer = scene.caller.ask(Method::GET, &url, &[scene.host()], Body::None).await?;
    let answer = answer.expect(StatusCode::OK)?;
    serde_json::from_slice(&answer.body).or_else(|_| failure(format!("{answer}; no key set")))
}

/// The published keys once a key is among them, asked for again as by whoever meets a token with a key that is new:
/// behind one address there may be several nodes.
pub async fn published_with(scene: &Scene, id: &str) -> Outcome<JwkSet> {
    let began = Instant::now();
    loop {
        let keys = published(scene).await?;
        if keys.find(id).is_some() {
            return Ok(keys);
        }
        let spread = scene.target.spread;
        check(began.elapsed() < spread, || format!("a new key is not published in {spread:?}"))?;
    }
}

/// The id of the key that signed a token.
pub fn key_id(token: &str) -> Outcome<String> {
    let header = decode_header(token).map_err(|error| format!("a token has no header: {error}"))?;
    header.kid.ok_or_else(|| "a token does not name its key".to_owned())
}

/// The claims of a token whose signature, issuer, audience, type and end are right by these keys.
pub fn verified(
    scene: &Scene,
    keys: &JwkSet,
    token: &str,
    kind: &str,
    audience: &str,
) -> Outcome<Value> {
    let id = key_id(token)?;
    let key = keys.find(&id).ok_or("a token is signed by a key that is not published")?;
    let header = decode_header(token).map_err(|error| format!("a token has no header: {error}"))?;
    check(matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA), || {
        format!("a token is signed with {:?}", header.alg)
    })?;
    let told = header.typ.unwrap_or_default();
    check(told.eq_ignore_ascii_case(kind), || {
        format!("the type of a token is {told}, not {kind}")
    })?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[&scene.target.url]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = DecodingKey::from_jwk(key).map_err(|error| format!("a key is no key: {error}"))?;
    decode::<Value>(token, &key, &validation)
        .map(|token| token.claims)
        .map_err(|error| format!("a token is not valid by the published keys: {error}"))
}

/// The claims of a token that is only looked at.
pub fn unverified(token: &str) -> Outcome<Value> {
    let part = token.split('.').nth(1).unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|error| format!("no token: {error}"))?;
    serde_json::from_slice(&json).map_err(|error| format!("no token: {error}"))
}

/// The S256 challenge of a verifier (RFC 7636).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}
