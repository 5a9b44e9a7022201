//! The end of an account.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::logout::{SESSION_COOKIES, cleared};
use crate::actors::db_writer::apply;
use crate::actors::outbox::Wake;
use crate::actors::revocations::Add;
use crate::administration;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Tag};
use crate::routes::session::{self, check_recent};
use crate::routes::{csrf, edge};
use crate::store::model::{Actor, AuditEntry, FamilyWithUser, Revocation, User};
use crate::store::operation::{DeleteUser, DeleteUserOutcome};

/// How `DELETE /auth/me` is described.
pub const DELETE_ME: Operation = Operation {
    id: "delete_me",
    tag: Tag::Account,
    summary: "Delete the account",
    description: "Needs a sign-in of the last 15 minutes. The id is never used again; the name is held for \
        `usernames.hold`.",
    access: Access::Session,
    answers: &[Answer::empty(204, "It is deleted, and its sessions have ended.")
        .with(&[Header::Clears(SESSION_COOKIES)])],
    errors: &[ErrorCode::ReauthenticationRequired, ErrorCode::LastAdmin],
    ..Operation::PLAIN
};

/// `DELETE /auth/me`: deletes the account of the person who is signed in; 204, and the cookies cleared.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`, those of [`delete`].
pub async fn delete_me(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let live = session::live(&request, &app).await?.ok_or_else(session::unauthenticated)?;
    delete(&app, &live).await?;
    Ok(cleared(&app, HttpResponse::NoContent()))
}

/// Deletes the account of a session's person. When it answers, this node refuses their tokens.
///
/// # Errors
/// `reauthentication_required` if the sign-in is older than 15 minutes; `last_admin`;
/// `unauthenticated` if the session has ended meanwhile; 503 if the end could not be stored.
pub async fn delete(app: &App, live: &FamilyWithUser) -> Result<(), ApiError> {
    let now = app.clock.now();
    check_recent(live.family.auth_time, now, "/account")?;
    let user = live.user.id;
    // Without the address: it would be the first personal value of a person who is gone.
    let mut entry = AuditEntry::new(now, Actor::User(user), "user.deleted", format!("user:{user}"));
    entry.request_id = Some(edge::request_id());
    let write = DeleteUser {
        user,
        asked_in: Some(live.family.id),
        by_admin: false,
        held_until: administration::held_until(now, app.settings.usernames.hold),
        tokens_live_until: administration::tokens_live_until(now, app.access_tokens_live_for),
        audit: entry,
    };
    match apply(&app.writer, write).await? {
        DeleteUserOutcome::Deleted { avatar, revocations } => {
            finish(app, &live.user, avatar, revocations).await
        }
        DeleteUserOutcome::NotAllowed => Err(session::unauthenticated()),
        DeleteUserOutcome::LastAdmin => Err(ApiError::new(
            ErrorCode::LastAdmin,
            "You are the only admin, and nobody could run this service without one. Make somebody else an admin first.",
        )),
    }
}

/// What comes after the deletion of a person, as they were before: this node refuses their tokens, their apps
/// are told, their pictures go.
///
/// # Errors
/// 503; they are deleted all the same, and it is known within a second.
pub async fn finish(
    app: &App,
    person: &User,
    avatar: Option<String>,
    revocations: Vec<Revocation>,
) -> Result<(), ApiError> {
    app.outbox.tell(Wake);
    app.revocations.ask(Add(revocations)).await?;
    let avatar = avatar.as_ref().or(person.avatar.as_ref());
    if let Err(error) = administration::remove_pictures(&app.avatars, avatar).await {
        tracing::warn!(user = %person.id, %error, "the pictures of a deleted account could not be removed");
    }
    Ok(())
}
