//! What a client may know about the person who signed in to it.

use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::access_token::{self, Genuine};
use super::error::{OAuthCode, OAuthError, plain};
use super::issue;
use crate::actors::grant_reader::FindGrant;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::protocol::claims::PersonClaims;
use crate::protocol::jwt::ClientAccessClaims;
use crate::protocol::scope::{OPENID, Scope};
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Operation, Tag};
use crate::routes::parameters::{has_content_type, read_form};
use crate::routes::{rate_limit, session};
use crate::store::model::{FamilyId, UserId};

/// What a client is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Claims")]
struct Answered<'a> {
    /// The person, for ever.
    sub: UserId,
    #[serde(flatten)]
    person: PersonClaims<'a>,
}

/// How `GET /oauth/userinfo` is described.
pub const USERINFO: Operation = Operation {
    id: "get_userinfo",
    tag: Tag::Provider,
    summary: "What a client may know about the person who signed in to it",
    description: "OpenID Connect Core §5.3. Cookies and first-party tokens open nothing here.",
    access: Access::ClientToken,
    answers: &[Answer::json::<Answered<'_>>(200, "The claims that the scopes of the token open.")],
    ..Operation::PLAIN
};

/// How `POST /oauth/userinfo` is described.
pub const POST: Operation = Operation {
    id: "post_userinfo",
    body: Body::OptionalForm(&[Field::new(
        "access_token",
        "The access token, where it is not in the header (RFC 6750 §2.2).",
    )]),
    ..USERINFO
};

/// `GET` and `POST /oauth/userinfo` (OpenID Connect Core §5.3): claims by the scopes of the access token,
/// which comes in the header, or in the form of a POST (RFC 6750 §2).
///
/// # Errors
/// `invalid_token`, also for a grant that has ended; `insufficient_scope` without `openid`;
/// `invalid_request` for two tokens; 429; 503 if it cannot be known.
pub async fn userinfo(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, OAuthError> {
    let genuine = match find_token(&request, payload, &app).await {
        Ok(genuine) => genuine,
        Err(refusal) => {
            rate_limit::by_address(&request, &app, Tier::Public).await?;
            return Err(refusal);
        }
    };
    let claims = &genuine.claims;
    let name = claims.grant_id.map_or_else(|| claims.client_id.clone(), |id| id.to_string());
    rate_limit::by_name(&request, &app, Tier::Api, name).await?;
    if genuine.is_revoked(&app).await? {
        return Err(invalid_token("The access token was revoked."));
    }
    let (grant, scope) = permitted(claims)?;
    let found = app.grant_reader.ask(FindGrant(grant)).await??;
    let Some(found) = found.filter(|found| genuine.rests_on(&found.live, &app)) else {
        return Err(invalid_token("The grant of this access token has ended."));
    };
    let user = &found.live.user;
    let person = issue::person_claims(&app, user, &found.emails, &scope);
    Ok(HttpResponse::Ok().json(Answered { sub: user.id, person }))
}

/// The grant and scopes of a token that opens userinfo.
fn permitted(claims: &ClientAccessClaims) -> Result<(FamilyId, Scope), OAuthError> {
    let scope = Scope::parse(&claims.scope).unwrap_or_default();
    match claims.grant_id {
        Some(grant) if scope.has(OPENID) => Ok((grant, scope)),
        _ => Err(OAuthError::new(
            OAuthCode::InsufficientScope,
            "This needs an access token of a person who granted the scope openid.",
        )
        .challenge("Bearer error=\"insufficient_scope\", scope=\"openid\"")),
    }
}

/// The access token of a request, read and checked.
async fn find_token(
    request: &HttpRequest,
    payload: Payload,
    app: &App,
) -> Result<Genuine, OAuthError> {
    if request.headers().get_all(AUTHORIZATION).count() > 1 {
        return Err(twice());
    }
    let header = session::bearer_token(request)
        .map_err(|_| invalid_token("Send one header: Authorization: Bearer TOKEN."))?;
    let is_form = request.method() == Method::POST
        && has_content_type(request, "application/x-www-form-urlencoded");
    let form = match is_form {
        true => Some(read_form(request, payload, app.settings.server.max_body).await?),
        false => None,
    };
    let token = match (header.as_deref(), form.as_ref().and_then(|form| form.get("access_token"))) {
        (Some(_), Some(_)) => return Err(twice()),
        (Some(token), None) | (None, Some(token)) => token,
        // RFC 6750 §3.1: no error code in the header where no token was sent.
        (None, None) => {
            let description = "Send an access token: Authorization: Bearer TOKEN.";
            return Err(OAuthError::new(OAuthCode::InvalidToken, description).challenge("Bearer"));
        }
    };
    access_token::read(token, app)
        .map_err(|error| invalid_token(&format!("The access token is refused: {error}.")))
}

fn twice() -> OAuthError {
    OAuthError::new(OAuthCode::InvalidRequest, "Send the access token once, in one way.")
}

fn invalid_token(description: &str) -> OAuthError {
    let description = plain(description);
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
    OAuthError::new(OAuthCode::InvalidToken, description).challenge(challenge)
}
