//! Live feedback while a name is being chosen.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::{UsernameError, alternatives, check, comparison_key};
use crate::routes::openapi::operation::{Access, Answer, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::session;

/// The answer to a name that breaks a rule.
pub fn refusal(error: &UsernameError) -> ApiError {
    let code = match error {
        UsernameError::Reserved => ErrorCode::UsernameReserved,
        UsernameError::Length { .. } | UsernameError::Pattern | UsernameError::CustomPattern(_) => {
            ErrorCode::UsernameInvalid
        }
    };
    let mut sentence = error.to_string();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    ApiError::new(code, format!("{sentence}.")).field("username")
}

/// Whether a name can be had.
#[derive(Default, Serialize, JsonSchema)]
struct Availability {
    /// Whether it can.
    available: bool,
    /// Why not: the code that a setup would be refused with.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// A name like it that can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

/// How `GET /auth/username-available` is described.
pub const USERNAME_AVAILABLE: Operation = Operation {
    id: "check_username",
    tag: Tag::SignIn,
    summary: "Whether a username can be had",
    description: "What is held for the person who is signed in is available to them.",
    access: Access::Visitor,
    parameters: &[Parameter::query("username", "The name.").required()],
    answers: &[Answer::json::<Availability>(200, "Whether it can be had, and if not, why.")],
    errors: &[ErrorCode::InvalidField],
    ..Operation::PLAIN
};

/// `GET /auth/username-available?username=`: `{"available", "code"?, "detail"?, "suggestion"?}`. A name
/// like it is suggested for one that is taken; what is held for the person who is signed in is available.
///
/// # Errors
/// `invalid_field` without a name.
pub async fn username_available(
    request: HttpRequest,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let username = query.get("username").ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidField, "Send the name as ?username=…").field("username")
    })?;
    if let Err(error) = check(username, &app.settings.usernames) {
        let refusal = refusal(&error);
        let code = Some(refusal.code.as_str());
        let answer = Availability { code, detail: Some(refusal.detail), ..Availability::default() };
        return Ok(HttpResponse::Ok().json(answer));
    }
    if is_free(&app, username).await? || is_open_to_its_owner(&request, &app, username).await? {
        let answer = Availability { available: true, ..Availability::default() };
        return Ok(HttpResponse::Ok().json(answer));
    }
    Ok(HttpResponse::Ok().json(Availability {
        available: false,
        code: Some(ErrorCode::UsernameTaken.as_str()),
        detail: Some("Another account has this name.".to_owned()),
        suggestion: suggestion(&app, username).await?,
    }))
}

/// The answer to who wants a name that another account has.
pub async fn taken(app: &App, username: &str) -> ApiError {
    let advice = match suggestion(app, username).await {
        Ok(Some(name)) => format!("“{name}” is free."),
        // That the store could not be asked again changes nothing about the answer.
        Ok(None) | Err(_) => "Choose another name.".to_owned(),
    };
    let detail = format!("“{username}” belongs to another account. {advice}");
    ApiError::new(ErrorCode::UsernameTaken, detail).field("username")
}

async fn suggestion(app: &App, taken: &str) -> Result<Option<String>, ApiError> {
    for name in alternatives(taken, &app.settings.usernames) {
        if is_free(app, &name).await? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

async fn is_free(app: &App, name: &str) -> Result<bool, ApiError> {
    Ok(app.store.read.username_is_free(&comparison_key(name), app.clock.now()).await?)
}

/// Whether a name that is not free is the asking person's own: the present one, perhaps in another case,
/// or a former one that is held for them.
async fn is_open_to_its_owner(
    request: &HttpRequest,
    app: &App,
    name: &str,
) -> Result<bool, ApiError> {
    let Some(live) = session::live(request, app).await? else { return Ok(false) };
    let key = comparison_key(name);
    if let Some(owner) = app.store.read.user_by_name(&key).await? {
        return Ok(owner.id == live.user.id);
    }
    let held = app.store.read.held_usernames(live.user.id).await?;
    Ok(held.iter().any(|held| held.username_key == key))
}
