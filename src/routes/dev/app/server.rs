//! The server as the demo app sees it: by its metadata and its endpoints, over HTTP.

use std::sync::Arc;

use actix_web::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use oauth2::http::{Method, Request};
use oauth2::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded::Serializer;

use super::kept::{Attempt, Grant, Tokens};
use super::{CLIENT_ID, PATH, SCOPE, redirect_uri};
use crate::app::App;
use crate::clock::Clock;
use crate::config::settings::{Mapping, Provider};
use crate::protocol::pkce;
use crate::providers::ProviderError;
use crate::providers::address::Reach;
use crate::providers::authorization::AuthorizationRequest;
use crate::providers::discovery::{Metadata, discover};
use crate::providers::http::{HttpClient, check};
use crate::providers::id_token::{Expected, TokenProblem, UnverifiedToken};
use crate::providers::openid::OpenIdProvider;
use crate::routes::pages::text::demo_app as text;
use crate::routes::parameters::Parameters;

/// `latchkey dev` serves this machine alone.
const REACH: Reach = Reach::Loopback;

/// What went wrong, for the page.
pub(super) struct Trouble {
    /// What the page is sent with.
    pub(super) status: StatusCode,
    /// In one sentence.
    pub(super) what: String,
    /// What the server said, as it came.
    pub(super) answer: Option<String>,
}

impl Trouble {
    /// About what the browser brought back.
    pub(super) fn of_answer(what: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, what: what.to_owned(), answer: None }
    }

    /// The server sent the person back with an error (RFC 6749 §4.1.2.1).
    pub(super) fn denied(query: &Parameters) -> Self {
        let told = ["error", "error_description", "error_uri"]
            .into_iter()
            .filter_map(|name| Some(format!("{name}: {}", query.get(name)?)));
        let answer = Some(told.collect::<Vec<_>>().join("\n"));
        Self { answer, ..Self::of_answer(text::DENIED) }
    }

    /// No cookie can hold it.
    pub(super) fn too_long() -> Self {
        Self { status: StatusCode::BAD_GATEWAY, what: text::TOO_LONG.to_owned(), answer: None }
    }

    /// The server's answer to a request of the app's own.
    fn refused(what: &str, answer: &HttpResponse) -> Self {
        let mut told = vec![format!("{} {what}", answer.status().as_u16())];
        let challenge =
            answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        told.extend(challenge.map(|challenge| format!("WWW-Authenticate: {challenge}")));
        told.push(String::from_utf8_lossy(answer.body()).into_owned());
        Self {
            status: StatusCode::BAD_GATEWAY,
            what: text::REFUSED.to_owned(),
            answer: Some(told.join("\n")),
        }
    }
}

impl From<ProviderError> for Trouble {
    fn from(error: ProviderError) -> Self {
        let answer = Some(error.to_string());
        Self { status: StatusCode::BAD_GATEWAY, what: text::FAILED.to_owned(), answer }
    }
}

impl From<TokenProblem> for Trouble {
    fn from(problem: TokenProblem) -> Self {
        ProviderError::from(problem).into()
    }
}

/// What the token endpoint answers (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u32,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    id_token: Option<String>,
}

/// The server, once it said what it can.
pub(super) struct Server {
    openid: OpenIdProvider,
    metadata: Metadata,
    http: HttpClient,
    clock: Clock,
    redirect_uri: String,
}

impl Server {
    /// Asks the server what it can (OpenID Connect Discovery §4).
    pub(super) async fn discover(app: &App) -> Result<Self, Trouble> {
        let settings = settings(app);
        let metadata = discover(&app.http_client, &settings).await?;
        Ok(Self {
            openid: OpenIdProvider::new(Arc::new(settings)),
            metadata,
            http: app.http_client.clone(),
            clock: app.clock.clone(),
            redirect_uri: redirect_uri(&app.settings.server.public_url),
        })
    }

    fn issuer(&self) -> &str {
        self.openid.settings().issuer.as_deref().unwrap_or_default()
    }

    /// Where the browser is sent.
    pub(super) fn authorization_url(&self, attempt: &Attempt) -> Url {
        let request = AuthorizationRequest {
            redirect_uri: &self.redirect_uri,
            state: &attempt.state,
            nonce: &attempt.nonce,
            pkce_challenge: &pkce::challenge(&attempt.code_verifier),
            login_hint: None,
            prompt: None,
            max_age: None,
        };
        self.openid.authorization_url(&self.metadata, &request)
    }

    /// Whether an answer is this server's (RFC 9207 §2.4).
    pub(super) fn check_issuer(&self, iss: Option<&str>) -> Result<(), Trouble> {
        Ok(self.openid.check_issuer(&self.metadata, iss)?)
    }

    /// Exchanges a code, and verifies the ID token that it brings.
    pub(super) async fn redeem(&self, code: &str, attempt: &Attempt) -> Result<Grant, Trouble> {
        let grant = self
            .ask_for_tokens(&[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &self.redirect_uri),
                ("code_verifier", &attempt.code_verifier),
            ])
            .await?;
        let id_token = grant.id_token.as_deref().ok_or(TokenProblem::Missing)?;
        let expected = Expected {
            issuer: self.issuer(),
            client_id: CLIENT_ID,
            nonce: &attempt.nonce,
            started_at: attempt.started(),
            max_age: None,
            now: self.clock.now(),
        };
        UnverifiedToken::parse(id_token, &self.metadata.algorithms)?
            .verify(&self.metadata.keys, &expected)?;
        Ok(grant)
    }

    /// Exchanges the refresh token. What the answer leaves out stays as it was. A new ID token has no nonce
    /// to be verified by, but must be about the same person (OpenID Connect Core §12.2).
    pub(super) async fn refresh(&self, before: &Grant) -> Result<Grant, Trouble> {
        let refresh_token = before
            .tokens
            .refresh_token
            .as_deref()
            .ok_or_else(|| Trouble::of_answer(text::NO_REFRESH_TOKEN))?;
        let mut grant = self
            .ask_for_tokens(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
            .await?;
        if let (Some(new), Some(old)) = (&grant.id_token, &before.id_token)
            && !is_about_the_same(new, old)
        {
            return Err(TokenProblem::Subject.into());
        }
        grant.id_token = grant.id_token.or_else(|| before.id_token.clone());
        let tokens = &mut grant.tokens;
        tokens.refresh_token = tokens.refresh_token.take().or(Some(refresh_token.to_owned()));
        tokens.scope = tokens.scope.take().or_else(|| before.tokens.scope.clone());
        Ok(grant)
    }

    async fn ask_for_tokens(&self, grant: &[(&str, &str)]) -> Result<Grant, Trouble> {
        let form = Serializer::new(String::new())
            .extend_pairs(grant)
            .append_pair("client_id", CLIENT_ID)
            .finish();
        let mut request = request(Method::POST, &self.metadata.token_endpoint, form.into_bytes())?;
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        let answer = self.http.send(request, REACH).await?;
        if answer.status() != 200 {
            return Err(Trouble::refused("from the token endpoint", &answer));
        }
        let unusable = |_| ProviderError::Answer("no such JSON as it must be".to_owned());
        let read: Answer = serde_json::from_slice(answer.body()).map_err(unusable)?;
        Ok(Grant {
            tokens: Tokens {
                access_token: read.access_token,
                refresh_token: read.refresh_token,
                scope: read.scope,
                expires: self.clock.now().seconds() + i64::from(read.expires_in),
            },
            id_token: read.id_token,
        })
    }

    /// What the access token opens, for reading.
    pub(super) async fn userinfo(&self, access_token: &str) -> Result<String, Trouble> {
        let missing = || ProviderError::Misconfigured("it has no userinfo endpoint".to_owned());
        let endpoint = self.metadata.userinfo_endpoint.as_ref().ok_or_else(missing)?;
        let mut request = request(Method::GET, endpoint, Vec::new())?;
        let unusable = |_| ProviderError::Answer("the access token cannot be sent".to_owned());
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {access_token}")).map_err(unusable)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let answer = self.http.send(request, REACH).await?;
        if answer.status() != 200 {
            return Err(Trouble::refused("from the userinfo endpoint", &answer));
        }
        Ok(serde_json::from_slice::<Value>(answer.body()).map_or_else(
            |_| String::from_utf8_lossy(answer.body()).into_owned(),
            |claims| format!("{claims:#}"),
        ))
    }
}

/// Where the browser is sent so that the session at the server ends.
pub(super) async fn logout_url(app: &App, id_token: Option<&str>) -> Result<Url, Trouble> {
    #[derive(Deserialize)]
    struct Document {
        end_session_endpoint: Url,
    }
    let public_url = &app.settings.server.public_url;
    let address = public_url.join("/.well-known/openid-configuration");
    let address = Url::parse(&address)
        .map_err(|_| ProviderError::Misconfigured("it has no address".to_owned()))?;
    let document: Document = app.http_client.get_json(&address, None, REACH).await?;
    let mut url = document.end_session_endpoint;
    check(&url, REACH)?;
    let mut query = url.query_pairs_mut();
    query.append_pair("client_id", CLIENT_ID);
    query.append_pair("post_logout_redirect_uri", &public_url.join(PATH));
    if let Some(id_token) = id_token {
        query.append_pair("id_token_hint", id_token);
    }
    drop(query);
    Ok(url)
}

/// The server, as any OpenID Connect provider is configured.
fn settings(app: &App) -> Provider {
    Provider {
        name: CLIENT_ID.to_owned(),
        display_name: text::NAME.to_owned(),
        client_id: CLIENT_ID.to_owned(),
        client_secret: None,
        issuer: Some(app.settings.server.public_url.as_str().to_owned()),
        auth_url: None,
        token_url: None,
        userinfo_url: None,
        emails_url: None,
        mapping: Mapping::default(),
        token_endpoint_auth_method: None,
        scopes: SCOPE.map(str::to_owned).to_vec(),
        trust_email: false,
        allow_private: false,
        signup: None,
    }
}

fn request(method: Method, url: &Url, body: Vec<u8>) -> Result<HttpRequest, ProviderError> {
    Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(ACCEPT, "application/json")
        .body(body)
        .map_err(|_| ProviderError::Misconfigured("an endpoint has no address".to_owned()))
}

/// Whether two ID tokens name the same issuer, person and client.
fn is_about_the_same(one: &str, other: &str) -> bool {
    let (one, other) = (claims(one), claims(other));
    one.is_some()
        && ["iss", "sub", "aud"].iter().all(|name| {
            one.as_ref().and_then(|claims| claims.get(*name))
                == other.as_ref().and_then(|claims| claims.get(*name))
        })
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
