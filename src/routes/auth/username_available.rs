//! Live feedback while a name is being chosen.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::{UsernameError, check, comparison_key};
use crate::routes::parameters::Parameters;

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

/// `GET /auth/username-available?username=`: `{"available", "code"?, "detail"?}`.
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
    let key = comparison_key(username);
    if app.store.read.username_is_free(&key, app.clock.now()).await? {
        return Ok(HttpResponse::Ok().json(json!({ "available": true })));
    }
    Ok(HttpResponse::Ok().json(json!({
        "available": false,
        "code": ErrorCode::UsernameTaken.as_str(),
        "detail": "Another account has this name.",
    })))
}
