//! What this server can do, told to programs (OpenID Connect Discovery §3, RFC 8414 §2): everything that
//! there is, and nothing that there is not. Derived from what the code itself goes by.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::{authorize, client_assertion, logout};
use crate::app::App;
use crate::config::settings::Settings;
use crate::protocol::claims::Claim;
use crate::protocol::client::{AuthMethod, GrantType};
use crate::protocol::jwt::Algorithm;
use crate::protocol::{entity_tag, scope};
use crate::routes::auth::start::PROMPTS;
use crate::routes::openapi::operation::{Answer, Header, Operation, Tag};
use crate::routes::system;

/// Where clients get tokens.
pub const TOKEN: &str = "/oauth/token";
/// Where clients ask about people.
pub const USERINFO: &str = "/oauth/userinfo";
/// Where tokens are given back.
pub const REVOKE: &str = "/oauth/revoke";
/// Where clients ask about tokens.
pub const INTROSPECT: &str = "/oauth/introspect";

/// How answers of the authorization endpoint travel (OAuth 2.0 Multiple Response Types §2.1, OAuth 2.0 Form
/// Post Response Mode).
pub const RESPONSE_MODES: [&str; 2] = ["query", "form_post"];

/// What clients may sign their assertions with, in the names of RFC 7518 §3.1.
pub fn assertion_algorithms() -> [String; 4] {
    client_assertion::ALGORITHMS.map(|algorithm| format!("{algorithm:?}"))
}

/// Claims of ID tokens that do not depend on scopes.
const ID_CLAIMS: [&str; 9] =
    ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid"];

/// How long the document may be cached, in seconds.
const MAX_AGE: u64 = 300;

/// The document, made once.
#[derive(Clone, Debug)]
pub struct Discovery {
    body: Bytes,
    etag: String,
}

impl Discovery {
    /// The document of these settings; `algorithms` are those that there can be keys of.
    pub fn new(settings: &Settings, algorithms: &[Algorithm]) -> Self {
        let body = document(settings, algorithms);
        let etag = entity_tag::of(&body);
        Self { body: body.into(), etag }
    }
}

/// How `GET /.well-known/openid-configuration` is described.
pub const DISCOVERY: Operation = Operation {
    id: "get_openid_configuration",
    tag: Tag::Provider,
    summary: "What this server can do",
    description: "OpenID Connect Discovery §4; the same document as that of RFC 8414.",
    answers: &[
        Answer::json::<Metadata<'_>>(200, "What it can do.").with(&[Header::ETAG, Header::CACHING]),
        Answer::NOT_MODIFIED,
    ],
    ..Operation::PLAIN
};

/// How `GET /.well-known/oauth-authorization-server` is described.
pub const METADATA: Operation = Operation {
    id: "get_authorization_server_metadata",
    description: "RFC 8414 §3; the same document as that of OpenID Connect Discovery.",
    ..DISCOVERY
};

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`: one document.
pub async fn discovery(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let Discovery { body, etag } = &app.discovery;
    system::cacheable(&request, "application/json", MAX_AGE, etag, body)
}

/// What this server can do (RFC 8414 §2, OpenID Connect Discovery §3, RFC 9207 §3, OpenID Connect Back-Channel
/// Logout §2.1, Initiating User Registration §4).
#[derive(Serialize, JsonSchema)]
#[schemars(
    rename = "ServerMetadata",
    description = "What this server can do (RFC 8414, OpenID Connect Discovery)."
)]
struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    jwks_uri: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    end_session_endpoint: String,
    scopes_supported: Vec<&'a str>,
    response_types_supported: [&'a str; 1],
    response_modes_supported: [&'a str; 2],
    grant_types_supported: [&'a str; 3],
    code_challenge_methods_supported: [&'a str; 1],
    prompt_values_supported: Vec<&'a str>,
    authorization_response_iss_parameter_supported: bool,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
    token_endpoint_auth_methods_supported: &'a [&'a str],
    token_endpoint_auth_signing_alg_values_supported: &'a [String],
    revocation_endpoint_auth_methods_supported: &'a [&'a str],
    revocation_endpoint_auth_signing_alg_values_supported: &'a [String],
    introspection_endpoint_auth_methods_supported: Vec<&'a str>,
    introspection_endpoint_auth_signing_alg_values_supported: &'a [String],
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: Vec<&'a str>,
    claim_types_supported: [&'a str; 1],
    claims_supported: Vec<&'a str>,
    ui_locales_supported: [&'a str; 1],
    backchannel_logout_supported: bool,
    backchannel_logout_session_supported: bool,
}

fn document(settings: &Settings, algorithms: &[Algorithm]) -> Vec<u8> {
    let issuer = &settings.server.public_url;
    let at = |path: &str| issuer.join(path);
    let methods = AuthMethod::ALL.map(AuthMethod::as_str);
    let confidential: Vec<&str> = AuthMethod::ALL
        .into_iter()
        .filter(|method| *method != AuthMethod::None)
        .map(AuthMethod::as_str)
        .collect();
    let custom = settings.scopes.iter().map(|scope| scope.name.as_str());
    let scopes: Vec<&str> = scope::OF_PEOPLE.into_iter().chain(custom).collect();
    let assertions = assertion_algorithms();
    let prompts: Vec<&str> = std::iter::once("none").chain(PROMPTS).collect();
    let claims: Vec<&str> = ID_CLAIMS.into_iter().chain(Claim::ALL.map(Claim::as_str)).collect();
    let metadata = Metadata {
        issuer: issuer.as_str(),
        authorization_endpoint: at(authorize::PATH),
        token_endpoint: at(TOKEN),
        userinfo_endpoint: at(USERINFO),
        jwks_uri: at("/.well-known/jwks.json"),
        revocation_endpoint: at(REVOKE),
        introspection_endpoint: at(INTROSPECT),
        end_session_endpoint: at(logout::PATH),
        scopes_supported: scopes,
        response_types_supported: ["code"],
        response_modes_supported: RESPONSE_MODES,
        grant_types_supported: GrantType::ALL.map(GrantType::as_str),
        code_challenge_methods_supported: ["S256"],
        prompt_values_supported: prompts,
        authorization_response_iss_parameter_supported: true,
        claims_parameter_supported: false,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
        token_endpoint_auth_methods_supported: &methods,
        token_endpoint_auth_signing_alg_values_supported: &assertions,
        revocation_endpoint_auth_methods_supported: &methods,
        revocation_endpoint_auth_signing_alg_values_supported: &assertions,
        introspection_endpoint_auth_methods_supported: confidential,
        introspection_endpoint_auth_signing_alg_values_supported: &assertions,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: algorithms
            .iter()
            .map(|algorithm| algorithm.as_str())
            .collect(),
        claim_types_supported: ["normal"],
        claims_supported: claims,
        ui_locales_supported: ["en"],
        backchannel_logout_supported: true,
        backchannel_logout_session_supported: true,
    };
    serde_json::to_vec(&metadata).expect("names and lists can always be written")
}
