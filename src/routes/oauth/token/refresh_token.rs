//! The refresh token grant (RFC 6749 §6).

use actix_web::HttpRequest;

use super::{count_guess, invalid_grant};
use crate::actors::rate_limiter::Tier;
use crate::actors::token_families::{Rotate, RotateError};
use crate::app::App;
use crate::protocol::refresh_token::{FamilyKind, Presented, RefreshTokenError};
use crate::protocol::scope::Scope;
use crate::routes::oauth::error::OAuthError;
use crate::routes::oauth::form::required;
use crate::routes::oauth::issue::{self, Extent, Signers, TokenAnswer};
use crate::routes::parameters::Parameters;
use crate::routes::{edge, rate_limit};
use crate::store::model::{Client, FamilyWithUser};
use crate::telemetry::origin::Origin;

/// What is said of every refresh token that gives nothing.
const REFUSED: &str = "The refresh token is invalid, expired, revoked or not this client's.";

/// Exchanges a refresh token for the live one of its family, with an access token.
///
/// # Errors
/// `invalid_grant`, `invalid_scope`, `invalid_target`; 429; 503, after which the same token again is safe.
pub(super) async fn refresh(
    request: &HttpRequest,
    form: &Parameters,
    client: &Client,
    app: &App,
) -> Result<TokenAnswer, OAuthError> {
    let text = required(form, "refresh_token")?;
    let presented = match app.refresh_tokens.read(FamilyKind::Client, &client.client_id, text) {
        Ok(presented) => presented,
        Err(error) => return Err(not_ours(request, client, app, error).await),
    };
    let name = format!("family:{}", presented.family);
    rate_limit::by_name(request, app, Tier::Token, name).await?;
    check_narrowing(form, client, app, presented).await?;
    // Nothing more than what the client is registered for is ever signed for it.
    let registered = Scope::parse(&client.metadata.scope).unwrap_or_default();
    let signers = Signers::find(app, client, &registered, app.clock.now())?;
    let live = rotate(request, app, presented).await?;
    if client.came_after(live.family.created_at) {
        return Err(invalid_grant(REFUSED, "granted to a former client of this id"));
    }
    let extent = extent(&live, client, form)?;
    // An ID token of a refresh has no nonce: it answers no authorization request (OpenID Connect Core §12.2).
    Ok(issue::for_person(app, client, &signers, &live, extent, None, app.clock.now()))
}

/// Finds out before the rotation whether less is asked for than was granted: a refusal consumes nothing. Only
/// who asks for less costs this read.
async fn check_narrowing(
    form: &Parameters,
    client: &Client,
    app: &App,
    presented: Presented,
) -> Result<(), OAuthError> {
    if form.get("scope").is_none() && form.all("resource").next().is_none() {
        return Ok(());
    }
    match app.store.read.family(presented.family).await? {
        // One that has ended is the rotation's to judge.
        Some(live) if live.family.revoked_at.is_none() => extent(&live, client, form).map(drop),
        _ => Ok(()),
    }
}

fn extent(live: &FamilyWithUser, client: &Client, form: &Parameters) -> Result<Extent, OAuthError> {
    let family = &live.family;
    Extent::narrowed(&family.scope, &family.resource, form.get("scope"), client, form)
}

async fn rotate(
    request: &HttpRequest,
    app: &App,
    presented: Presented,
) -> Result<FamilyWithUser, OAuthError> {
    let rotate = Rotate {
        presented,
        request_id: Some(edge::request_id()),
        address: Some(rate_limit::client_address(request, app).ip.to_string()),
        origin: Origin::current(),
    };
    match app.families.of(&presented.family).ask(rotate).await? {
        Ok(rotated) => Ok(rotated.live),
        Err(RotateError::Ask(error)) => Err(error.into()),
        Err(RotateError::Store(error)) => Err(error.into()),
        Err(error) => Err(invalid_grant(REFUSED, error)),
    }
}

/// The answer to what is no refresh token of this client. Nothing is looked up.
async fn not_ours(
    request: &HttpRequest,
    client: &Client,
    app: &App,
    error: RefreshTokenError,
) -> OAuthError {
    match error {
        RefreshTokenError::Forged => app.metrics.count_forged(),
        RefreshTokenError::UnknownKey => app.metrics.count_unknown_secret(),
    }
    match count_guess(request, app, client).await {
        Ok(()) => invalid_grant(REFUSED, error),
        Err(limited) => limited,
    }
}
