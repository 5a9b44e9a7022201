//! Where a person is signed in, and ending that.

use std::cmp::Reverse;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::logout::{SESSION_COOKIES, cleared, ending};
use crate::actors::token_families::End;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::rotation::Lifetimes;
use crate::routes::csrf;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Page, Parameter, Tag};
use crate::routes::session::Authenticated;
use crate::store::model::{FIRST_PARTY, FamilyId, Session, SessionId, UserId};
use crate::store::operation::RevokeTarget;

/// A session as its person recognises it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct SessionBody {
    /// Names it when it is to be ended.
    pub id: SessionId,
    /// When the person signed in first.
    pub created_at: Timestamp,
    /// When it was used last, to within the time that a cookie session rests.
    pub last_used_at: Timestamp,
    /// A short label of the browser, such as "Firefox on Linux".
    pub user_agent: String,
    /// A coarse network address, such as "203.0.113.0/24".
    pub network: String,
    /// Name of the provider that signed the person in.
    pub provider: String,
    /// Whether it is the session that asks.
    pub current: bool,
}

/// How `GET /auth/sessions` is described.
pub const SHOW: Operation = Operation {
    id: "list_sessions",
    tag: Tag::Account,
    summary: "Where the person is signed in",
    description: "The session that asks comes first, then the newest use.",
    access: Access::Person,
    answers: &[Answer::json::<Page<SessionBody>>(200, "The live sessions.")],
    ..Operation::PLAIN
};

/// `GET /auth/sessions`: `{"items": […], "next_cursor": null}`, the one that asks first, then the newest
/// use. The items have the members of [`SessionBody`].
///
/// # Errors
/// `unauthenticated`; 503 if the store cannot be asked.
pub async fn show(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let items = list(&app, session.claims.sub, session.claims.sid).await?;
    Ok(HttpResponse::Ok().json(Page::whole(items)))
}

/// The live sessions of a person, `current` first, then the newest use.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn list(
    app: &App,
    user: UserId,
    current: SessionId,
) -> Result<Vec<SessionBody>, ApiError> {
    let sessions = app.store.read.sessions(user).await?;
    let mut items = live(sessions, &app.lifetimes, app.clock.now());
    items.iter_mut().for_each(|item| item.current = item.id == current);
    items.sort_by_key(|item| !item.current);
    Ok(items)
}

/// Those of a person's sessions that are live, the newest use first; none of them asks.
pub fn live(sessions: Vec<Session>, lifetimes: &Lifetimes, now: Timestamp) -> Vec<SessionBody> {
    let is_live = |session: &Session| {
        session.family.revoked_at.is_none() && now < lifetimes.expires(&session.family)
    };
    let live = sessions.into_iter().filter(is_live);
    let mut items: Vec<SessionBody> = live
        .map(|session| SessionBody {
            id: session.family.session,
            created_at: session.family.created_at,
            last_used_at: session.last_used_at(),
            user_agent: session.user_agent,
            network: session.network,
            provider: session.provider,
            current: false,
        })
        .collect();
    items.sort_by_key(|item| Reverse(item.last_used_at));
    items
}

/// How `DELETE /auth/sessions/{id}` is described.
pub const DELETE: Operation = Operation {
    id: "end_session",
    tag: Tag::Account,
    summary: "End a session",
    access: Access::Person,
    parameters: &[Parameter::path("id", "Which one.")],
    answers: &[
        Answer::empty(204, "It has ended, now or before.").with(&[Header::Clears(SESSION_COOKIES)])
    ],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `DELETE /auth/sessions/{id}`: 204, also for a session of one's own that had ended. Where it is the
/// one that asks, its cookies are cleared.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`; `not_found` for whatever is no session of this person; 503 if the
/// end could not be stored.
pub async fn delete(
    request: HttpRequest,
    session: Authenticated,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let named = Uuid::try_parse(&id).ok().filter(|found| found.to_string() == *id);
    let named = SessionId(named.ok_or_else(not_found)?);
    end(&request, &app, session.claims.sub, named).await?;
    Ok(if named == session.claims.sid {
        cleared(&app, HttpResponse::NoContent())
    } else {
        HttpResponse::NoContent().finish()
    })
}

/// How `DELETE /auth/sessions` is described.
pub const DELETE_OTHERS: Operation = Operation {
    id: "end_other_sessions",
    tag: Tag::Account,
    summary: "End all sessions but the one that asks",
    access: Access::Person,
    answers: &[Answer::empty(204, "They have ended.")],
    ..Operation::PLAIN
};

/// `DELETE /auth/sessions`: ends all but the one that asks; 204.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`; 503 if the end could not be stored.
pub async fn delete_others(
    request: HttpRequest,
    session: Authenticated,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    end_others(&request, &app, session.claims.sub, session.claims.sid).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The same for a session of others, for one that never was, and for what is no id.
fn not_found() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "You have no session of this id.")
}

/// Ends a session of a person.
///
/// # Errors
/// `not_found`; 503 if the end could not be stored.
pub async fn end(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    session: SessionId,
) -> Result<(), ApiError> {
    let id = FamilyId(session.0);
    let found = app.store.read.family(id).await?;
    let is_own = |family: &crate::store::model::Family| {
        family.user == user && family.client_id == FIRST_PARTY
    };
    if !found.is_some_and(|found| is_own(&found.family)) {
        return Err(not_found());
    }
    let target = RevokeTarget::Session(session);
    let named = format!("session:{session}");
    let revoke = ending(request, app, user, target, ("session.ended", "ended_by_owner"), named);
    app.families.of(&id).ask(End(revoke)).await??;
    Ok(())
}

/// Ends all sessions of a person but `current`.
///
/// # Errors
/// 503 if the end could not be stored.
pub async fn end_others(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    current: SessionId,
) -> Result<(), ApiError> {
    let target = RevokeTarget::OtherSessions(user, current);
    let what = ("user.signed_out_elsewhere", "ended_by_owner");
    let revoke = ending(request, app, user, target, what, format!("user:{user}"));
    app.families.of(&FamilyId(current.0)).ask(End(revoke)).await??;
    Ok(())
}
