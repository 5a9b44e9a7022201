//! The development provider: an ordinary OpenID Connect provider at `/dev/idp`, at which any name
//! signs in. It is served by `latchkey dev` alone, on loopback, and used through the same code as
//! every other provider.
//!
//! It keeps nothing: codes and access tokens are sealed tickets. So a code could be redeemed more
//! than once within its minute; the relying party spends its own `state` before a session opens, and
//! there is nobody here to protect.

mod authorize;
mod person;
mod token;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use aws_lc_rs::digest::SHA256_OUTPUT_LEN;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{Clock, Timestamp};
use crate::config::settings::{Origin, Server};
use crate::in_force::Live;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::{SigningKey, generate};
use crate::protocol::sealed::{Purpose, Sealer};
use crate::routes::endpoint::{Endpoint, Limit};
use crate::routes::openapi::operation::Operation;
use person::Person;

/// The provider's name among `[[providers]]`.
pub const PROVIDER_NAME: &str = "dev";

/// Our id at the provider; there is no secret.
pub const CLIENT_ID: &str = "latchkey-dev";

/// Life of a code.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// Life of an ID token and an access token.
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// Largest form, in bytes.
const LARGEST_FORM: usize = 64 * 1024;

/// The provider's issuer.
pub fn issuer(public_url: &Origin) -> String {
    public_url.join("/dev/idp")
}

/// The subject of whoever signs in by this name; `None` for what no name can be. A subject stands for itself.
pub fn subject_of(name: &str) -> Option<String> {
    if URL_SAFE_NO_PAD.decode(name).is_ok_and(|digest| digest.len() == SHA256_OUTPUT_LEN) {
        return Some(name.to_owned());
    }
    Person::new(name, "").ok().map(|person| person.subject())
}

/// The provider's state: who it is, and a key that lives as long as the process.
pub struct DevelopmentProvider {
    public_url: Origin,
    sealer: Live<Sealer>,
    clock: Clock,
    key: SigningKey,
}

/// What the provider hands out instead of keeping it.
#[derive(Serialize, Deserialize)]
enum Ticket {
    Code(Code),
    Access(Person),
}

/// Who signed in, and for which request.
#[derive(Serialize, Deserialize)]
struct Code {
    person: Person,
    code_challenge: String,
    nonce: Option<String>,
    auth_time: i64,
}

impl DevelopmentProvider {
    /// A provider below `server.public_url`, with a new key.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn new(server: &Server, sealer: impl Into<Live<Sealer>>, clock: Clock) -> Self {
        let key = generate(Algorithm::ES256, 0)
            .and_then(|pkcs8| SigningKey::from_pkcs8(&pkcs8))
            .expect("a P-256 key can be made");
        Self { public_url: server.public_url.clone(), sealer: sealer.into(), clock, key }
    }

    fn issuer(&self) -> String {
        issuer(&self.public_url)
    }

    /// The one registered redirect URI.
    fn redirect_uri(&self) -> String {
        self.public_url.join("/auth/dev/callback")
    }

    fn seal(&self, ticket: &Ticket, expires: Timestamp) -> String {
        self.sealer.now().seal(Purpose::DevelopmentCode, ticket, expires)
    }

    fn open(&self, sealed: &str) -> Option<Ticket> {
        self.sealer.now().open(Purpose::DevelopmentCode, sealed, self.clock.now()).ok()
    }
}

/// The provider's routes; they need `Data` of [`DevelopmentProvider`] and of the pages' `Site`.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new("/dev/idp/.well-known/openid-configuration", Limit::None)
            .get(discovery, Operation::UNTOLD),
        Endpoint::new("/dev/idp/jwks.json", Limit::None).get(jwks, Operation::UNTOLD),
        Endpoint::new("/dev/idp/authorize", Limit::None)
            .get(authorize::show, Operation::UNTOLD)
            .post(authorize::submit, Operation::UNTOLD),
        Endpoint::new("/dev/idp/token", Limit::None).post(token::exchange, Operation::UNTOLD),
        Endpoint::new("/dev/idp/userinfo", Limit::None).get(token::userinfo, Operation::UNTOLD),
    ]
}

/// `GET /dev/idp/.well-known/openid-configuration` (OpenID Connect Discovery §4)
async fn discovery(provider: Data<DevelopmentProvider>) -> HttpResponse {
    let issuer = provider.issuer();
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [Algorithm::ES256.as_str()],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email"],
        "claims_supported":
            ["sub", "auth_time", "name", "preferred_username", "email", "email_verified"],
        "prompt_values_supported": ["none", "login"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

/// `GET /dev/idp/jwks.json` (RFC 7517 §5)
async fn jwks(provider: Data<DevelopmentProvider>) -> HttpResponse {
    let jwk: Value = serde_json::from_str(&provider.key.public().jwk).unwrap_or_default();
    HttpResponse::Ok().json(json!({ "keys": [jwk] }))
}
