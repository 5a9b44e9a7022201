//! What pages show of a person.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::me;
use super::opening::audit;
use super::setup::{check_display_name, present};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::error::ApiError;
use crate::routes::csrf;
use crate::routes::openapi::operation::{Access, Answer, Body, Operation, Tag};
use crate::routes::parameters::read_json;
use crate::routes::session::{self, Authenticated, UserBody};
use crate::store::model::{User, UserId};
use crate::store::operation::SetDisplayName;

/// The body of `PATCH /auth/me`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProfileBody {
    /// Absent: as it is. `null` or empty: none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    display_name: Option<Option<String>>,
}

/// How `PATCH /auth/me` is described.
pub const PATCH: Operation = Operation {
    id: "change_me",
    tag: Tag::Account,
    summary: "Change what pages show of the person",
    description: "What is not named stays as it is.",
    access: Access::Person,
    body: Body::json::<ProfileBody>(),
    answers: &[Answer::json::<UserBody>(200, "The person as they are now.")],
    ..Operation::PLAIN
};

/// `PATCH /auth/me` with `{"display_name"}`: 200 with the person. What is not named stays as it is.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`, `invalid_field`.
pub async fn patch(
    request: HttpRequest,
    session: Authenticated,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let body: ProfileBody = read_json(&request, payload, app.settings.server.max_body).await?;
    let id = session.claims.sub;
    let user = match &body.display_name {
        Some(chosen) => update(&request, &app, id, chosen.as_deref()).await?,
        None => me::active(&app, id).await?,
    };
    Ok(HttpResponse::Ok().json(me::shown(&app, &user).await?))
}

/// Sets a person's display name, or clears it; returns the person as they are now.
///
/// # Errors
/// `invalid_field`, `unauthenticated`.
pub async fn update(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    display_name: Option<&str>,
) -> Result<User, ApiError> {
    let display_name = display_name.map(check_display_name).transpose()?.flatten();
    let mut entry = audit(request, app, user, "user.display_name_changed", app.clock.now());
    entry.details = json!({ "personal": { "to": display_name } });
    let write = SetDisplayName { user, display_name, audit: entry };
    let person = apply(&app.writer, write).await?;
    Ok(*person.ok_or_else(session::unauthenticated)?)
}
