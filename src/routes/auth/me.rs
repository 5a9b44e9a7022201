//! The signed-in person.

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Access, Answer, Operation, Tag};
use crate::routes::session::{Authenticated, UserBody};
use crate::store::model::{User, UserId, UserStatus};

/// How `GET /auth/me` is described.
pub const ME: Operation = Operation {
    id: "show_me",
    tag: Tag::Account,
    summary: "The signed-in person",
    access: Access::Person,
    answers: &[Answer::json::<UserBody>(200, "The person, with their addresses.")],
    ..Operation::PLAIN
};

/// `GET /auth/me`.
///
/// # Errors
/// `unauthenticated`, also for a person who was locked or deleted since.
pub async fn me(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let user = active(&app, session.claims.sub).await?;
    Ok(HttpResponse::Ok().json(shown(&app, &user).await?))
}

/// A person who is active.
///
/// # Errors
/// `unauthenticated`; 503 if the store cannot be asked.
pub async fn active(app: &App, id: UserId) -> Result<User, ApiError> {
    let user = app.store.read.user(id).await?;
    user.filter(|user| user.status == UserStatus::Active).ok_or_else(|| {
        ApiError::new(ErrorCode::Unauthenticated, "Sign in again: this account is not active.")
    })
}

/// A person with their addresses.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn shown(app: &App, user: &User) -> Result<UserBody, ApiError> {
    let emails = app.store.read.emails(user.id).await?;
    Ok(UserBody::new(user, &app.settings).with_emails(emails))
}
