//! Another name for an account.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;

use super::me;
use super::opening::audit;
use super::username_available::{refusal, taken};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::{check, comparison_key};
use crate::routes::cookies::Kind;
use crate::routes::csrf;
use crate::routes::openapi::operation::{Access, Answer, Body, Header, Operation, Tag};
use crate::routes::parameters::read_json;
use crate::routes::session::{self, Authenticated, UserBody};
use crate::store::model::{User, UserId};
use crate::store::operation::{ChangeUsername, ChangeUsernameOutcome};

/// The body of `PATCH /auth/me/username`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UsernameBody {
    /// The new name.
    username: String,
}

/// How `PATCH /auth/me/username` is described.
pub const PATCH: Operation = Operation {
    id: "change_username",
    tag: Tag::Account,
    summary: "Change the username",
    description: "The former name is held for `usernames.hold`. A browser gets new cookies, so that its access \
        token has the new name at once.",
    access: Access::Person,
    body: Body::json::<UsernameBody>(),
    answers: &[Answer::json::<UserBody>(200, "The person as they are now.")
        .with(&[Header::Sets(&[Kind::Access, Kind::Refresh])])],
    errors: &[
        ErrorCode::Forbidden,
        ErrorCode::UsernameInvalid,
        ErrorCode::UsernameReserved,
        ErrorCode::UsernameTaken,
        ErrorCode::UsernameCooldown,
    ],
    ..Operation::PLAIN
};

/// `PATCH /auth/me/username` with `{"username"}`: 200 with the person. A browser gets new cookies with
/// it, so that its access token has the new name at once.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`, those of [`change`].
pub async fn patch(
    request: HttpRequest,
    session: Authenticated,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let body: UsernameBody = read_json(&request, payload, app.settings.server.max_body).await?;
    let user = change(&request, &app, session.claims.sub, &body.username).await?;
    let mut answer = HttpResponse::Ok();
    if let Some(cookies) = session::renewed(&request, &app, session.claims.sid).await? {
        answer.cookie(cookies.access).cookie(cookies.refresh);
    }
    Ok(answer.json(me::shown(&app, &user).await?))
}

/// Gives a person another name; returns the person as they are now. The same name again changes nothing.
///
/// # Errors
/// `forbidden` where names cannot be changed; `username_invalid`, `username_reserved`,
/// `username_taken`, `username_cooldown`, `unauthenticated`.
pub async fn change(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    username: &str,
) -> Result<User, ApiError> {
    let rules = &app.settings.usernames;
    if !rules.allow_changes {
        return Err(ApiError::new(ErrorCode::Forbidden, "Usernames cannot be changed here."));
    }
    check(username, rules).map_err(|error| refusal(&error))?;
    let write = ChangeUsername {
        user,
        username: username.to_owned(),
        username_key: comparison_key(username),
        cooldown: rules.change_cooldown,
        hold: rules.hold,
        audit: audit(request, app, user, "user.username_changed", app.clock.now()),
    };
    match apply(&app.writer, write).await? {
        ChangeUsernameOutcome::Changed(person) | ChangeUsernameOutcome::Unchanged(person) => {
            Ok(*person)
        }
        ChangeUsernameOutcome::NotAllowed => Err(session::unauthenticated()),
        ChangeUsernameOutcome::TooSoon(retry_at) => Err(too_soon(retry_at)),
        ChangeUsernameOutcome::UsernameTaken => Err(taken(app, username).await),
    }
}

/// Told to the second, rounded up: at the time that it names it works.
fn too_soon(retry_at: Timestamp) -> ApiError {
    let retry_at = Timestamp::from_seconds(retry_at.plus(Duration::from_millis(999)).seconds());
    ApiError::new(
        ErrorCode::UsernameCooldown,
        format!(
            "Your username was changed a short while ago. It can be changed again from {} on.",
            retry_at.to_rfc3339()
        ),
    )
    .field("username")
    .retry_at(retry_at)
}
