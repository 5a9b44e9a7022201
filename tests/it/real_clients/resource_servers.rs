//! Resource servers, which verify our access tokens by the JWKS alone: in JavaScript, Python and Rust.

use futures_util::future::join_all;
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::program::Program;
use crate::harness::{Backend, Server, cookie};

/// Who verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verifier {
    /// npm `jose`.
    Jose,
    /// PyPI `PyJWT`.
    PyJwt,
    /// crates.io `jsonwebtoken`.
    JsonWebToken,
}

pub(super) const VERIFIERS: [Verifier; 3] =
    [Verifier::Jose, Verifier::PyJwt, Verifier::JsonWebToken];

impl Verifier {
    /// The claims of a token that was issued by `issuer` for `audience`.
    ///
    /// # Errors
    /// What the library says, if it refuses the token.
    pub(super) async fn verify(
        self,
        issuer: &str,
        audience: &str,
        token: &str,
    ) -> Result<Value, String> {
        let program = match self {
            Self::Jose => "verify-jose.mjs",
            Self::PyJwt => "verify_pyjwt.py",
            Self::JsonWebToken => {
                let keys = reqwest::get(format!("{issuer}/.well-known/jwks.json")).await.unwrap();
                let keys = serde_json::from_slice(&keys.bytes().await.unwrap()).unwrap();
                let claims = verify(token, &keys, issuer, audience);
                let claims = claims.map_err(|error| error.to_string())?;
                return Ok(json!({ "sub": claims.sub, "client_id": claims.client_id }));
            }
        };
        Program::start(program, &[issuer, audience, token]).verdict().await
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    client_id: String,
}

fn verify(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    audience: &str,
) -> Result<Claims, Box<dyn std::error::Error>> {
    let header = decode_header(token)?;
    if header.typ.as_deref() != Some("at+jwt") {
        return Err("not an access token".into());
    }
    let kid = header.kid.ok_or("no key id")?;
    let key = keys.find(&kid).ok_or("an unknown key: fetch the keys again")?;
    let algorithm = match key.common.key_algorithm {
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        _ => return Err("an algorithm that is not allowed".into()),
    };
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    Ok(decode::<Claims>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims)
}

const AUDIENCE: &str = "https://api.example";

/// Claims as an access token for [`AUDIENCE`] has them, but for `changed`.
fn claims(server: &Server, changed: &Value) -> Value {
    let now = server.clock.now().seconds();
    let mut claims = json!({
        "iss": server.url, "sub": "0193600c-3c1f-7d52-9a43-0f6f7a5e1b2c", "aud": AUDIENCE,
        "client_id": "example", "scope": "orders", "iat": now, "exp": now + 900, "jti": "1",
    });
    for (name, value) in changed.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[actix_web::test]
async fn each_library_takes_an_access_token_and_nothing_else_that_we_sign() {
    let server = Server::start_at_present(Backend::Sqlite, |_| String::new()).await;
    let now = server.clock.now();
    let keys = server.app.key_snapshot();
    let key = keys.signer(server.app.settings.keys.algorithm, now).unwrap();
    let past = now.seconds() - 3_600;
    let good = key.sign("at+jwt", &claims(&server, &json!({})));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = key.sign("at+jwt", &claims(&server, &json!({ "sub": "somebody else" })));
    let (_, other) = other.rsplit_once('.').unwrap();
    let first_party = server.signed_in("rivka").await.post("/auth/refresh").await;
    let refused = [
        ("an ID token", key.sign("JWT", &claims(&server, &json!({})))),
        ("a logout token", key.sign("logout+jwt", &claims(&server, &json!({})))),
        ("first-party", cookie(&first_party, "auth_access").unwrap()),
        ("audience", key.sign("at+jwt", &claims(&server, &json!({ "aud": "https://other" })))),
        ("issuer", key.sign("at+jwt", &claims(&server, &json!({ "iss": "https://other" })))),
        ("expired", key.sign("at+jwt", &claims(&server, &json!({ "exp": past })))),
        ("another signature", format!("{signed}.{other}")),
        ("no signature", format!("{signed}.")),
        ("an unsigned header", format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{signature}.")),
    ];
    for verifier in VERIFIERS {
        let claims = verifier.verify(&server.url, AUDIENCE, &good).await.unwrap();
        assert_eq!(claims["client_id"], "example", "{verifier:?}");
        let verdicts =
            refused.iter().map(|(_, token)| verifier.verify(&server.url, AUDIENCE, token));
        for ((name, _), verdict) in refused.iter().zip(join_all(verdicts).await) {
            assert!(verdict.is_err(), "{verifier:?} takes {name}");
        }
    }
}
