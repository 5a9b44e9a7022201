//! Who a client is (RFC 6749 §2.3): first which way it chose, then whether that proves it.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::client_assertion;
use super::error::{OAuthCode, OAuthError};
use crate::actors::clients::{FindClient, LONGEST_ID};
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::clock::Timestamp;
use crate::protocol::secret::Secret;
use crate::routes::parameters::{Parameters, decode};
use crate::routes::rate_limit;
use crate::store::model::{Client, SecretHash};

/// What to answer to who tried HTTP Basic (RFC 7617 §2).
const BASIC: &str = "Basic realm=\"latchkey\", charset=\"UTF-8\"";

/// The value of `client_assertion_type` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client presents itself.
enum Credentials {
    Basic { id: String, secret: Secret },
    Post { id: String, secret: Secret },
    Assertion { id: Option<String>, assertion: Secret },
    Public { id: String },
}

/// The client that sends this request.
///
/// A client with a secret may send it in either way, whichever is registered: libraries differ in what
/// they do first, and neither proves less. A client with a key or without a secret has that one way.
///
/// # Errors
/// `invalid_request` for two ways at once; `invalid_client`, the same for whatever is wrong;
/// `rate_limited` for those who fail too often; 503.
pub async fn authenticate(
    request: &HttpRequest,
    form: &Parameters,
    app: &App,
) -> Result<Arc<Client>, OAuthError> {
    let credentials = credentials(request, form)?;
    let is_basic = matches!(credentials, Credentials::Basic { .. });
    let mut cause = None;
    let (id, client) = match credentials {
        Credentials::Basic { id, secret } | Credentials::Post { id, secret } => {
            let found = app.clients.ask(FindClient(id.clone())).await??;
            let is_right = has_secret(found.as_deref(), &secret, app.clock.now());
            (
                id,
                found.filter(|client| {
                    is_right && client.metadata.token_endpoint_auth_method.takes_secret()
                }),
            )
        }
        Credentials::Public { id } => {
            let found = app.clients.ask(FindClient(id.clone())).await??;
            (id, found.filter(|client| client.metadata.is_public()))
        }
        Credentials::Assertion { id, assertion } => {
            let judged = client_assertion::judge(app, id, assertion.expose()).await?;
            (judged.id, judged.client.map_err(|problem| cause = Some(problem)).ok())
        }
    };
    if let Some(client) = client {
        return Ok(client);
    }
    let refused = failed(request, app, &id, is_basic).await;
    Err(match cause {
        Some(cause) => refused.cause(cause),
        None => refused,
    })
}

/// Whether the secret is the client's present one, or its former one within the overlap. Takes as long
/// for a client that there is not.
fn has_secret(client: Option<&Client>, secret: &Secret, now: Timestamp) -> bool {
    let nobodys = SecretHash::of("");
    let present = client.and_then(|client| client.secret.as_ref());
    let former = client.and_then(|client| client.former_secret.as_ref());
    let is_present = present.unwrap_or(&nobodys).is_of(secret.expose());
    let is_former = former.map_or(&nobodys, |former| &former.hash).is_of(secret.expose());
    (present.is_some() && is_present)
        || (is_former && former.is_some_and(|former| now < former.until))
}

/// The answer to whoever did not prove to be this client.
async fn failed(request: &HttpRequest, app: &App, id: &str, is_basic: bool) -> OAuthError {
    let address = rate_limit::client_address(request, app).bucket();
    // Nobody has a longer id: what is sent instead of one is not worth remembering.
    let id = if id.len() > LONGEST_ID { "" } else { id };
    let name = format!("client {id} at {address}");
    if let Err(limited) = rate_limit::by_name(request, app, Tier::Token, name).await {
        return limited.into();
    }
    let refused = OAuthError::new(
        OAuthCode::InvalidClient,
        "The client is unknown, or its authentication is wrong.",
    );
    if is_basic { refused.challenge(BASIC) } else { refused }
}

fn credentials(request: &HttpRequest, form: &Parameters) -> Result<Credentials, OAuthError> {
    let header = basic(request)?;
    let id = form.get("client_id").map(str::to_owned);
    let secret = form.get("client_secret");
    let assertion = form.get("client_assertion");
    let ways = usize::from(header.is_some())
        + usize::from(secret.is_some())
        + usize::from(assertion.is_some());
    if ways > 1 {
        let description = "Authenticate the client in one way only.";
        return Err(OAuthError::new(OAuthCode::InvalidRequest, description));
    }
    if let Some((name, secret)) = header {
        if id.is_some_and(|id| id != name) {
            let description = "client_id differs from the one in the Authorization header.";
            return Err(OAuthError::new(OAuthCode::InvalidRequest, description));
        }
        return Ok(Credentials::Basic { id: name, secret });
    }
    if let Some(assertion) = assertion {
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            let description = format!("client_assertion_type must be {ASSERTION_TYPE}.");
            return Err(OAuthError::new(OAuthCode::InvalidRequest, description));
        }
        return Ok(Credentials::Assertion { id, assertion: Secret::new(assertion) });
    }
    let Some(id) = id else {
        let description = "Say which client this is: client_id, or HTTP Basic.";
        return Err(OAuthError::new(OAuthCode::InvalidClient, description).challenge(BASIC));
    };
    Ok(match secret {
        Some(secret) => Credentials::Post { id, secret: Secret::new(secret) },
        None => Credentials::Public { id },
    })
}

/// Id and secret of HTTP Basic, each form-encoded before (RFC 6749 §2.3.1).
fn basic(request: &HttpRequest) -> Result<Option<(String, Secret)>, OAuthError> {
    let malformed = || {
        let description = "The Authorization header is not well-formed HTTP Basic.";
        OAuthError::new(OAuthCode::InvalidClient, description).challenge(BASIC)
    };
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(malformed());
    }
    let (scheme, encoded) =
        header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = STANDARD.decode(encoded.trim_matches(' ')).map_err(|_| malformed())?;
    let text = String::from_utf8(decoded).map(Secret::new).map_err(|_| malformed())?;
    let (id, secret) = text.expose().split_once(':').ok_or_else(malformed)?;
    let id = decode(id).map_err(|_| malformed())?;
    let secret = decode(secret).map(Secret::new).map_err(|_| malformed())?;
    if id.is_empty() || secret.expose().is_empty() {
        return Err(malformed());
    }
    Ok(Some((id, secret)))
}
