//! The signed-in person.

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::session::{Authenticated, UserBody};
use crate::store::model::UserStatus;

/// `GET /auth/me`.
///
/// # Errors
/// `unauthenticated`, also for a person who was locked or deleted since.
pub async fn me(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let id = session.claims.sub;
    let user = app.store.read.user(id).await?;
    let user = user.filter(|user| user.status == UserStatus::Active).ok_or_else(|| {
        ApiError::new(ErrorCode::Unauthenticated, "Sign in again: this account is not active.")
    })?;
    let emails = app.store.read.emails(id).await?;
    Ok(HttpResponse::Ok().json(UserBody::new(&user, &app).with_emails(emails)))
}
