//! Live feedback while a name is being chosen.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::{UsernameError, alternatives, check, comparison_key};
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
        return Ok(HttpResponse::Ok().json(json!({
            "available": false, "code": refusal.code.as_str(), "detail": refusal.detail,
        })));
    }
    if is_free(&app, username).await? || is_open_to_its_owner(&request, &app, username).await? {
        return Ok(HttpResponse::Ok().json(json!({ "available": true })));
    }
    let mut answer = json!({
        "available": false,
        "code": ErrorCode::UsernameTaken.as_str(),
        "detail": "Another account has this name.",
    });
    if let Some(name) = suggestion(&app, username).await? {
        answer["suggestion"] = name.into();
    }
    Ok(HttpResponse::Ok().json(answer))
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
