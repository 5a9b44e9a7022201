//! `POST /oauth/token` (RFC 6749 §3.2): a code, a refresh token or a client's own word becomes an access token.
//!
//! Here is what all grants share: the form, the client, which grant it is. Each grant has a file of its own.

mod authorization_code;
mod client_credentials;
mod refresh_token;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::client_authentication::authenticate;
use super::error::{OAuthCode, OAuthError};
use super::form;
use super::issue::TokenAnswer;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::protocol::client::GrantType;
use crate::routes::openapi::operation::{
    Access, Answer, Body, Field, FieldKind, Header, Operation, Tag,
};
use crate::routes::{edge, rate_limit};
use crate::store::model::Client;

/// How `POST /oauth/token` is described.
pub const TOKEN: Operation = Operation {
    id: "issue_token",
    tag: Tag::Provider,
    summary: "Exchange a code, a refresh token or a client's own word for tokens",
    description: "RFC 6749 §3.2. After a 503 the same refresh token can be sent again.",
    access: Access::Client,
    body: Body::Form(&[
        Field::new("grant_type", "`authorization_code`, `refresh_token` or `client_credentials`.")
            .required(),
        Field::new("code", "The code, for `authorization_code`."),
        Field::new("redirect_uri", "Where the code was sent to."),
        Field::new("code_verifier", "What the challenge was made of (RFC 7636)."),
        Field::new("refresh_token", "The token, for `refresh_token`."),
        Field::new("scope", "Less than was granted, or what a client wants for itself."),
        Field::new("resource", "Which resources the access token is for (RFC 8707).")
            .holding(FieldKind::Repeated),
    ]),
    answers: &[Answer::json::<TokenAnswer>(200, "The tokens.")
        .with(&[Header::Always("Pragma", "For old caches: `no-cache`.")])],
    oauth_errors: &[
        OAuthCode::InvalidGrant,
        OAuthCode::UnauthorizedClient,
        OAuthCode::UnsupportedGrantType,
        OAuthCode::InvalidScope,
        OAuthCode::InvalidTarget,
    ],
    ..Operation::PLAIN
};

/// Answers with tokens.
///
/// # Errors
/// Those of RFC 6749 §5.2, `invalid_target` (RFC 8707 §2); 429; 503, after which asking again with the same
/// refresh token is safe.
pub async fn token(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, OAuthError> {
    let form = form::read(&request, payload, &app).await?;
    let grant = form::required(&form, "grant_type")?;
    let grant = GrantType::parse(grant).ok_or_else(|| {
        let description =
            "The grant types are authorization_code, refresh_token and client_credentials.";
        OAuthError::new(OAuthCode::UnsupportedGrantType, description)
    })?;
    let client = authenticate(&request, &form, &app).await?;
    edge::note_grant(&request, grant.as_str(), &client.client_id);
    if !client.metadata.may_use(grant) {
        let description =
            format!("The client is not registered for the grant type {}.", grant.as_str());
        return Err(OAuthError::new(OAuthCode::UnauthorizedClient, description));
    }
    let answer = match grant {
        GrantType::AuthorizationCode => {
            authorization_code::redeem(&request, &form, &client, &app).await
        }
        GrantType::RefreshToken => refresh_token::refresh(&request, &form, &client, &app).await,
        GrantType::ClientCredentials => {
            client_credentials::issue(&request, &form, &client, &app).await
        }
    };
    let answer = answer?;
    for kind in answer.kinds() {
        app.metrics.count_token(grant.as_str(), kind);
    }
    Ok(answer.into_response())
}

/// The answer to a code or refresh token that gives nothing (any more); `cause` is for the log.
fn invalid_grant(description: &'static str, cause: impl std::fmt::Display) -> OAuthError {
    OAuthError::new(OAuthCode::InvalidGrant, description).cause(cause)
}

/// Counts against a client what we never issued: somebody guesses.
async fn count_guess(request: &HttpRequest, app: &App, client: &Client) -> Result<(), OAuthError> {
    let address = rate_limit::client_address(request, app).bucket();
    let name = format!("client {} at {address}", client.client_id);
    Ok(rate_limit::by_name(request, app, Tier::Token, name).await?)
}
