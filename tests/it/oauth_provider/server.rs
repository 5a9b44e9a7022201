//! A small OAuth 2 provider. Each endpoint's address says how it answers, so that one server can fail
//! in every way; and it keeps nothing, since codes and access tokens carry what they stand for.

use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::web::{Form, Path, Query};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use latchkey::protocol::pkce;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::openid_provider::{Reply, answer};
use crate::stub_server::StubServer;

/// The parameter by which a test says who is signed in at the provider: what it tells of the person.
pub(super) const SIGNED_IN: &str = "signed_in";

/// Our secret at every provider; it has to be encoded on its way, in whatever manner.
pub(super) const CLIENT_SECRET: &str = "s3cret & more: 100%";

/// Clients of which each may authenticate in one way only.
pub(super) const BY_BASIC: &str = "by basic";
pub(super) const BY_POST: &str = "by post";
pub(super) const PUBLIC: &str = "public";

/// Starts a provider that answers as the addresses say.
pub(super) fn start() -> StubServer {
    StubServer::start(|routes| {
        routes
            .route("/authorize", web::get().to(authorize))
            .route("/{reply}/token", web::post().to(token))
            .route("/{reply}/userinfo", web::get().to(userinfo))
            .route("/{reply}/emails", web::get().to(emails));
    })
}

/// What a browser brings to the authorization endpoint.
#[derive(Deserialize)]
pub(super) struct AuthorizationRequest {
    response_type: String,
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) state: String,
    scope: Option<String>,
    code_challenge: String,
    code_challenge_method: String,
    signed_in: String,
}

impl AuthorizationRequest {
    /// What the person gives, unless they cancel.
    ///
    /// # Panics
    /// If the request is not as it has to be.
    pub(super) fn grant(&self) -> Option<Grant> {
        assert_eq!((&*self.response_type, &*self.code_challenge_method), ("code", "S256"));
        let person: Value = serde_json::from_str(&self.signed_in).unwrap();
        (!person.is_null()).then(|| Grant {
            person,
            client_id: self.client_id.clone(),
            redirect_uri: self.redirect_uri.clone(),
            scope: self.scope.clone().unwrap_or_default(),
            code_challenge: self.code_challenge.clone(),
        })
    }

    /// Leads the browser back with an answer.
    pub(super) fn lead_back(&self, answer: &[(&str, &str)]) -> HttpResponse {
        let mut address = Url::parse(&self.redirect_uri).unwrap();
        address.query_pairs_mut().extend_pairs(answer).append_pair("state", &self.state);
        HttpResponse::Found().insert_header((LOCATION, address.as_str())).finish()
    }
}

/// What a code and an access token stand for.
#[derive(Deserialize, Serialize)]
pub(super) struct Grant {
    /// What the provider tells of the person.
    pub(super) person: Value,
    pub(super) client_id: String,
    redirect_uri: String,
    pub(super) scope: String,
    code_challenge: String,
}

impl Grant {
    /// A text that begins with `kind`, so that no code is an access token.
    pub(super) fn written_as(&self, kind: &str) -> String {
        format!("{kind}{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap()))
    }

    pub(super) fn read(kind: &str, text: &str) -> Option<Self> {
        let written = URL_SAFE_NO_PAD.decode(text.strip_prefix(kind)?).ok()?;
        serde_json::from_slice(&written).ok()
    }

    /// Whether the browser was led back to that path.
    pub(super) fn leads_to(&self, path: &str) -> bool {
        Url::parse(&self.redirect_uri).unwrap().path() == path
    }

    /// The grant whose access token a request shows.
    pub(super) fn of_bearer(kind: &str, request: &HttpRequest) -> Option<Self> {
        let shown = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        Self::read(kind, shown.strip_prefix("Bearer ")?)
    }
}

/// What is shown to the token endpoint.
#[derive(Deserialize)]
pub(super) struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
}

impl Exchange {
    /// The grant of the code, if it is this client's and belongs to this verifier and redirect URI.
    pub(super) fn grant(&self, kind: &str, client_id: &str) -> Option<Grant> {
        Grant::read(kind, &self.code).filter(|grant| {
            self.grant_type == "authorization_code"
                && grant.client_id == client_id
                && grant.redirect_uri == self.redirect_uri
                && pkce::verify(&self.code_verifier, &grant.code_challenge)
        })
    }
}

async fn authorize(request: Query<AuthorizationRequest>) -> HttpResponse {
    match request.grant() {
        Some(grant) => request.lead_back(&[("code", &grant.written_as("code "))]),
        None => request.lead_back(&[("error", "access_denied")]),
    }
}

async fn token(name: Path<String>, request: HttpRequest, form: Form<Exchange>) -> HttpResponse {
    let Some(client_id) = authenticated(&request, &form) else {
        return answer(Reply::Refusal("invalid_client"), Value::Null).await;
    };
    let Some(grant) = form.grant("code ", client_id) else {
        return answer(Reply::Refusal("invalid_grant"), Value::Null).await;
    };
    let mut tokens = json!({ "access_token": grant.written_as("token-"), "token_type": "Bearer" });
    match name.as_str() {
        "unlike-the-rfc" => {
            tokens["scope"] = json!(["profile", "email"]);
            tokens["expires_in"] = json!("3600");
            tokens["refresh_token"] = Value::Bool(false);
        }
        "untyped" => tokens["token_type"] = Value::Null,
        _ => {}
    }
    reply(&name, "/properly/token", tokens).await
}

/// The client, if it shows what it is registered with and nothing else (RFC 6749 §2.3).
fn authenticated(request: &HttpRequest, form: &Exchange) -> Option<&'static str> {
    let header = request.headers().get(AUTHORIZATION).map(|header| header.to_str().unwrap());
    // Each part is form-encoded first (RFC 6749 §2.3.1).
    let basic = format!("Basic {}", STANDARD.encode("by+basic:s3cret+%26+more%3A+100%25"));
    match (header, form.client_id.as_deref(), form.client_secret.as_deref()) {
        (Some(header), _, None) if header == basic => Some(BY_BASIC),
        (None, Some(BY_POST), Some(CLIENT_SECRET)) => Some(BY_POST),
        (None, Some(PUBLIC), None) => Some(PUBLIC),
        _ => None,
    }
}

async fn userinfo(name: Path<String>, request: HttpRequest) -> HttpResponse {
    match Grant::of_bearer("token-", &request) {
        Some(grant) => reply(&name, "/properly/userinfo", grant.person).await,
        None => answer(Reply::Status(401), Value::Null).await,
    }
}

async fn emails(name: Path<String>, request: HttpRequest) -> HttpResponse {
    match Grant::of_bearer("token-", &request) {
        Some(grant) => reply(&name, "/properly/emails", grant.person["emails"].clone()).await,
        None => answer(Reply::Status(401), Value::Null).await,
    }
}

/// Answers as the endpoint's address says.
async fn reply(name: &str, properly: &'static str, proper: Value) -> HttpResponse {
    let (reply, proper) = match name {
        "properly" | "unlike-the-rfc" | "untyped" => (Reply::Properly, proper),
        "null" => (Reply::Properly, Value::Null),
        "empty-object" => (Reply::Properly, json!({})),
        "text" => (Reply::Properly, json!("text")),
        "invalid-json" => (Reply::InvalidJson, proper),
        "html" => (Reply::Html, proper),
        "large" => (Reply::Large, proper),
        "large-unannounced" => (Reply::LargeUnannounced, proper),
        "stalling" => (Reply::Stalling, proper),
        // Whoever followed would get what they want there.
        "redirect" => (Reply::Redirect(properly), proper),
        "redirect-inside" => (Reply::Redirect("http://10.0.0.1/"), proper),
        "spent-code" => (Reply::Refusal("invalid_grant"), proper),
        status => (Reply::Status(status.parse().unwrap()), proper),
    };
    answer(reply, proper).await
}
