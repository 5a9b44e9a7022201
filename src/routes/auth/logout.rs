//! Signing out: here, or everywhere.

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::opening::audit;
use super::refresh::cookies_not_sent;
use crate::actors::rate_limiter::Tier;
use crate::actors::token_families::End;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Tag};
use crate::routes::{csrf, rate_limit, session};
use crate::store::model::{AuditEntry, FamilyId, SessionId, UserId};
use crate::store::operation::{Revoke, RevokeTarget};

/// The cookies that go with a session.
pub const SESSION_COOKIES: &[Kind] = &[Kind::Access, Kind::Refresh, Kind::Resume];

const SIGNED_OUT: Answer = Answer::empty(204, "Nobody is signed in here, now or before.")
    .with(&[Header::Clears(SESSION_COOKIES)]);

/// How `POST /auth/logout` is described.
pub const LOGOUT: Operation = Operation {
    id: "sign_out",
    tag: Tag::SignIn,
    summary: "End this session",
    access: Access::Visitor,
    answers: &[SIGNED_OUT],
    errors: &[ErrorCode::CookiesNotSent],
    ..Operation::PLAIN
};

/// `POST /auth/logout`: 204 and both cookies cleared, also when already signed out.
///
/// # Errors
/// `csrf_rejected`, `cookies_not_sent`; 503 if the end could not be stored: never a false 204.
pub async fn logout(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    sign_out(&request, &app, false).await?;
    Ok(cleared(&app, HttpResponse::NoContent()))
}

/// How `POST /auth/logout-all` is described.
pub const LOGOUT_ALL: Operation =
    Operation { id: "sign_out_everywhere", summary: "End all of the person's sessions", ..LOGOUT };

/// `POST /auth/logout-all`: the same for all of the person's sessions.
///
/// # Errors
/// As [`logout`].
pub async fn logout_all(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    sign_out(&request, &app, true).await?;
    Ok(cleared(&app, HttpResponse::NoContent()))
}

/// An answer that clears the session's cookies.
pub fn cleared(app: &App, mut answer: actix_web::HttpResponseBuilder) -> HttpResponse {
    answer
        .cookie(app.cookies.clear(Kind::Access))
        .cookie(app.cookies.clear(Kind::Refresh))
        .cookie(app.cookies.clear(Kind::Resume))
        .finish()
}

/// Ends the request's session, or all of its person's, if there is one.
///
/// # Errors
/// As [`logout`].
pub async fn sign_out(request: &HttpRequest, app: &App, everywhere: bool) -> Result<(), ApiError> {
    csrf::check(request, &app.settings.server)?;
    let Some((session, user)) = signed_in(request, app).await? else {
        rate_limit::by_address(request, app, Tier::Public).await?;
        if !app.cookies.any(request) && csrf::is_cross_origin(request, &app.settings.server) {
            return Err(cookies_not_sent());
        }
        return Ok(());
    };
    rate_limit::by_name(request, app, Tier::Api, session.to_string()).await?;
    if !everywhere {
        return end_session(request, app, session, user, None).await;
    }
    let what = ("user.signed_out_everywhere", "logout_all");
    let (target, named) = (RevokeTarget::User(user), format!("user:{user}"));
    let revoke = ending(request, app, user, target, what, named);
    app.families.of(&FamilyId(session.0)).ask(End(revoke)).await??;
    Ok(())
}

/// Ends a session of a person at their own word; `client` is the app that led them here, if one did.
///
/// # Errors
/// 503 if the end could not be stored.
pub async fn end_session(
    request: &HttpRequest,
    app: &App,
    session: SessionId,
    user: UserId,
    client: Option<&str>,
) -> Result<(), ApiError> {
    let (target, named) = (RevokeTarget::Session(session), format!("session:{session}"));
    let mut revoke = ending(request, app, user, target, ("session.ended", "logout"), named);
    if let Some(client) = client {
        revoke.audit.details = serde_json::json!({ "client_id": client });
    }
    app.families.of(&FamilyId(session.0)).ask(End(revoke)).await??;
    Ok(())
}

/// The end of something of a person, as this request wants it: audited as `action` on `named`, and the
/// families keep the `reason`.
pub fn ending(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    target: RevokeTarget,
    (action, reason): (&'static str, &'static str),
    named: String,
) -> Revoke {
    let now = app.clock.now();
    let audit = AuditEntry { target: named, ..audit(request, app, user, action, now) };
    Revoke {
        target,
        only_if_reused: None,
        reason,
        now,
        tokens_live_for: app.access_tokens_live_for,
        audit,
    }
}

/// Whose session this is: by the refresh cookie, whatever its generation, else by the access token.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn signed_in(
    request: &HttpRequest,
    app: &App,
) -> Result<Option<(SessionId, UserId)>, ApiError> {
    let by_cookie = !request.headers().contains_key(AUTHORIZATION);
    if by_cookie
        && let Some(presented) = session::presented_refresh(request, app)?
        && let Some(live) = app.store.read.family(presented.family).await?
    {
        return Ok(Some((live.family.session, live.family.user)));
    }
    match session::authenticate(request, app).await {
        Ok(session) => Ok(Some((session.claims.sid, session.claims.sub))),
        Err(error) if error.code == ErrorCode::Unauthenticated => Ok(None),
        Err(error) => Err(error),
    }
}
