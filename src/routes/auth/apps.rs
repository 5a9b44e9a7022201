//! The apps that a person gave access to their account, and taking that back.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::opening::audit;
use crate::actors::db_writer::apply;
use crate::actors::revocations::Add;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::routes::csrf;
use crate::routes::openapi::operation::{Access, Answer, Operation, Page, Parameter, Tag};
use crate::routes::session::Authenticated;
use crate::store::model::{AppAccess, UserId};
use crate::store::operation::WithdrawConsent;

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "App")]
struct AppBody {
    /// Its client id.
    client_id: String,
    /// What it is called.
    client_name: String,
    /// Its home page.
    client_uri: Option<String>,
    /// Scopes of the consent and of all live grants, separated by spaces.
    scope: String,
    /// When the person first gave it access.
    since: Timestamp,
    /// `null` while it holds no live grant.
    last_used_at: Option<Timestamp>,
}

impl From<AppAccess> for AppBody {
    fn from(access: AppAccess) -> Self {
        let AppAccess { client_id, client_name, client_uri, scope, since, last_used_at } = access;
        Self { client_id, client_name, client_uri, scope, since, last_used_at }
    }
}

/// How `GET /auth/me/apps` is described.
pub const SHOW: Operation = Operation {
    id: "list_apps",
    tag: Tag::Account,
    summary: "The apps that have access to the account",
    access: Access::Person,
    answers: &[Answer::json::<Page<AppBody>>(200, "The apps.")],
    ..Operation::PLAIN
};

/// `GET /auth/me/apps`: `{"items": [{"client_id", "client_name", "client_uri", "scope", "since",
/// "last_used_at"}], "next_cursor": null}`.
///
/// # Errors
/// `unauthenticated`; 503 if the store cannot be asked.
pub async fn show(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let apps = app.store.read.apps(session.claims.sub).await?;
    let items: Vec<AppBody> = apps.into_iter().map(AppBody::from).collect();
    Ok(HttpResponse::Ok().json(Page::whole(items)))
}

/// How `DELETE /auth/me/apps/{client_id}` is described.
pub const DELETE: Operation = Operation {
    id: "withdraw_app",
    tag: Tag::Account,
    summary: "Take an app's access away",
    description: "It has to ask again, and the tokens that it holds are refused.",
    access: Access::Person,
    parameters: &[Parameter::path("client_id", "Which one.")],
    answers: &[Answer::empty(204, "It has none any more.")],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `DELETE /auth/me/apps/{client_id}`: 204. The app has to ask again, and what it holds is refused.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`; those of [`take_back`].
pub async fn delete(
    request: HttpRequest,
    session: Authenticated,
    client_id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    take_back(&request, &app, session.claims.sub, &client_id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes a client's access to an account away: consent and grants.
///
/// # Errors
/// `not_found` for a client that has no access; 503 if it could not be stored.
pub async fn take_back(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    client_id: &str,
) -> Result<(), ApiError> {
    let mut entry = audit(request, app, user, "consent.withdrawn", app.clock.now());
    entry.target = format!("client:{client_id}");
    let write = WithdrawConsent {
        user,
        client_id: client_id.to_owned(),
        tokens_live_for: app.access_tokens_live_for,
        audit: entry,
    };
    let withdrawn = apply(&app.writer, write).await?.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "No app of this id has access to your account.")
    })?;
    // On this node before the answer; the others hear of it within a second.
    Ok(app.revocations.ask(Add(withdrawn.revocations)).await?)
}
