//! A new access token for a session, by its refresh cookie.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::callback::locked;
use crate::actors::rate_limiter::Tier;
use crate::actors::token_families::{Rotate, RotateError, Rotated};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::refresh_token::Presented;
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Tag};
use crate::routes::session::{self, UserBody};
use crate::routes::{csrf, edge, rate_limit};
use crate::store::model::{FamilyId, UserStatus};
use crate::telemetry::origin::Origin;

/// A renewed session.
#[derive(Serialize, JsonSchema)]
struct Refreshed {
    /// Seconds until the access token expires.
    expires_in: u64,
    /// The person, without their addresses.
    user: UserBody,
}

/// How `POST /auth/refresh` is described.
pub const REFRESH: Operation = Operation {
    id: "refresh_session",
    tag: Tag::SignIn,
    summary: "Renew the cookies of the session",
    description: "Asking again after a lost answer or a 503 is safe.",
    access: Access::Refresh,
    answers: &[Answer::json::<Refreshed>(200, "They are renewed.")
        .with(&[Header::Sets(&[Kind::Access, Kind::Refresh])])],
    errors: &[ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `POST /auth/refresh`: 200 with `{"expires_in", "user"}` and both cookies.
///
/// # Errors
/// `session_ended`; `account_locked`, which clears the cookies; `cookies_not_sent` where the browser kept them
/// back; `csrf_rejected`; 503 where
/// it is unknown whether the token advanced: asking again with the same one is safe.
pub async fn refresh(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let Some(presented) = session::presented_refresh(&request, &app)? else {
        rate_limit::by_address(&request, &app, Tier::Token).await?;
        if !app.cookies.any(&request) && csrf::is_cross_origin(&request, &app.settings.server) {
            return Err(cookies_not_sent());
        }
        return Err(session_ended());
    };
    let rotated = rotate(&request, &app, presented).await?;
    let cookies = session::issue(&app, &rotated.live, app.clock.now())?;
    Ok(HttpResponse::Ok().cookie(cookies.access).cookie(cookies.refresh).json(Refreshed {
        expires_in: cookies.expires_in.as_secs(),
        user: UserBody::new(&rotated.live.user, &app.settings),
    }))
}

/// Exchanges a presented token for the live one.
///
/// # Errors
/// `session_ended`, `account_locked`, `rate_limited`, 503.
pub async fn rotate(
    request: &HttpRequest,
    app: &App,
    presented: Presented,
) -> Result<Rotated, ApiError> {
    let family = presented.family;
    rate_limit::by_name(request, app, Tier::Token, format!("family:{family}")).await?;
    let rotate = Rotate {
        presented,
        request_id: Some(edge::request_id()),
        address: Some(rate_limit::client_address(request, app).ip.to_string()),
        origin: Origin::current(),
    };
    match app.families.of(&family).ask(rotate).await? {
        Ok(rotated) => Ok(rotated),
        Err(RotateError::Ended) if is_of_locked(app, family).await? => Err(locked_out(app)),
        Err(error @ (RotateError::Unknown | RotateError::Ended | RotateError::Reused)) => {
            Err(session_ended().cause(error))
        }
        Err(RotateError::Ask(error)) => Err(error.into()),
        Err(RotateError::Store(error)) => Err(error.into()),
    }
}

async fn is_of_locked(app: &App, family: FamilyId) -> Result<bool, ApiError> {
    let found = app.store.read.family(family).await?;
    Ok(found.is_some_and(|found| found.user.status == UserStatus::Locked))
}

/// The cookies go: there is no newer one while nobody can sign in.
fn locked_out(app: &App) -> ApiError {
    locked().cookie(&app.cookies.clear(Kind::Access)).cookie(&app.cookies.clear(Kind::Refresh))
}

/// The cookie is left alone: an answer that arrives late must not clear a newer one.
fn session_ended() -> ApiError {
    ApiError::new(ErrorCode::SessionEnded, "Sign in again.")
}

/// For a frontend on another origin whose browser sends no cookies along.
pub fn cookies_not_sent() -> ApiError {
    ApiError::new(
        ErrorCode::CookiesNotSent,
        "The browser kept this server's cookies back. Call with credentials included, and from the same site or with cookies.same_site = \"none\".",
    )
}
