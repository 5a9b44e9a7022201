//! What a token is worth, for the client that has it (RFC 7662).

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::access_token;
use super::client_authentication::authenticate;
use super::error::{OAuthCode, OAuthError};
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::protocol::jwt::Audience;
use crate::protocol::refresh_token::FamilyKind;
use crate::protocol::rotation::{self, Verdict};
use crate::protocol::scope::{PROFILE, Scope};
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Operation, Tag};
use crate::routes::parameters::read_form;
use crate::routes::rate_limit;
use crate::store::model::{Client, FamilyId, SessionId};

/// A token that works (RFC 7662 §2.2).
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Active {
    /// True.
    active: bool,
    iss: String,
    sub: String,
    client_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    exp: i64,
    iat: i64,
    /// Of access tokens alone: nobody takes a refresh token for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<FamilyId>,
    /// With the scope `profile` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

/// What a token is worth.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Introspection {
    /// It works.
    Active(Box<Active>),
    /// It does not, or is none of the client's business.
    Inactive {
        /// False.
        active: bool,
    },
}

/// How `POST /oauth/introspect` is described.
pub const INTROSPECT: Operation = Operation {
    id: "introspect_token",
    tag: Tag::Provider,
    summary: "What a token is worth",
    description: "RFC 7662. A confidential client learns about its own tokens, a resource server about access tokens \
        of every client. Whatever else is sent is not active, without a reason.",
    access: Access::Client,
    body: Body::Form(&[
        Field::new("token", "The token.").required(),
        Field::new("token_type_hint", "Accepted, and not needed."),
    ]),
    answers: &[Answer::json::<Introspection>(200, "What it is worth.")],
    ..Operation::PLAIN
};

/// `POST /oauth/introspect`: a confidential client learns about its own tokens, a resource server about
/// access tokens of every client. Everything else is `{"active":false}`, without a reason. Nothing is
/// changed by being looked at.
///
/// # Errors
/// `invalid_client`, also for public clients; `invalid_request` without a token; 429; 503 if it cannot be
/// known.
pub async fn introspect(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, OAuthError> {
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    let client = authenticate(&request, &form, &app).await?;
    if client.metadata.is_public() {
        let description = "Only a client that authenticates itself may introspect tokens.";
        return Err(OAuthError::new(OAuthCode::InvalidClient, description));
    }
    let name = format!("client {}", client.client_id);
    rate_limit::by_name(&request, &app, Tier::Public, name).await?;
    let token = form.get("token").ok_or_else(|| {
        OAuthError::new(OAuthCode::InvalidRequest, "Send the token in the parameter token.")
    })?;
    // The two kinds of tokens have nothing in common, so token_type_hint has nothing to say.
    let active = match access(token, &client, &app).await? {
        Some(active) => Some(active),
        None => refresh(token, &client, &app).await?,
    };
    let answer = match active {
        Some(active) => Introspection::Active(Box::new(active)),
        None => Introspection::Inactive { active: false },
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// The token as an access token that this client may know of.
async fn access(token: &str, client: &Client, app: &App) -> Result<Option<Active>, OAuthError> {
    let Ok(genuine) = access_token::read(token, app) else { return Ok(None) };
    let is_own = genuine.claims.client_id == client.client_id;
    if !(is_own || client.metadata.resource_server) || genuine.is_revoked(app).await? {
        return Ok(None);
    }
    // What ended is known already. What ran out of time is not, and userinfo looks, too.
    if let Some(grant) = genuine.claims.grant_id {
        let live = app.store.read.family(grant).await?;
        if !live.is_some_and(|live| genuine.rests_on(&live, app)) {
            return Ok(None);
        }
    }
    let claims = genuine.claims;
    Ok(Some(Active {
        active: true,
        iss: claims.iss,
        sub: claims.sub,
        client_id: claims.client_id,
        scope: claims.scope,
        exp: claims.exp,
        iat: claims.iat,
        token_type: Some("Bearer"),
        aud: Some(claims.aud),
        jti: Some(claims.jti),
        sid: claims.sid,
        grant_id: claims.grant_id,
        username: claims.username,
    }))
}

/// The token as a refresh token of this client.
async fn refresh(token: &str, client: &Client, app: &App) -> Result<Option<Active>, OAuthError> {
    let read = app.refresh_tokens.read(FamilyKind::Client, &client.client_id, token);
    let Ok(presented) = read else { return Ok(None) };
    let now = app.clock.now();
    let Some(live) = app.store.read.family(presented.family).await? else { return Ok(None) };
    let verdict = rotation::judge(presented, &live, &app.lifetimes, now);
    let family = live.family;
    if client.came_after(family.created_at) || !matches!(verdict, Verdict::Advance | Verdict::Keep)
    {
        return Ok(None);
    }
    let has_profile = Scope::parse(&family.scope).is_some_and(|scope| scope.has(PROFILE));
    Ok(Some(Active {
        active: true,
        iss: app.settings.server.public_url.as_str().to_owned(),
        sub: family.user.to_string(),
        exp: app.lifetimes.expires(&family).seconds(),
        iat: family.rotated_at.seconds(),
        client_id: family.client_id,
        scope: family.scope,
        token_type: None,
        aud: None,
        jti: None,
        sid: Some(family.session),
        grant_id: Some(family.id),
        username: has_profile.then_some(live.user.username),
    }))
}
