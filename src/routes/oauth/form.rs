//! The forms that clients send (RFC 6749 §3.2, appendix B).

use actix_web::HttpRequest;
use actix_web::web::Payload;

use super::error::{OAuthCode, OAuthError};
use crate::app::App;
use crate::routes::parameters::{FORM, Parameters, has_content_type, read_form_repeatable};

/// Largest form that is read: an assertion and a code fit in many times.
const LARGEST: usize = 64 * 1024;

/// Reads the form of a request; what stands in its query is not looked at. `resource` alone may be repeated
/// (RFC 8707 §2).
///
/// # Errors
/// `invalid_request`; with 413 for what is too large, 408 for what takes too long.
pub async fn read(
    request: &HttpRequest,
    payload: Payload,
    app: &App,
) -> Result<Parameters, OAuthError> {
    if !has_content_type(request, FORM) {
        let description = format!("Send the parameters in the body, as {FORM}.");
        return Err(OAuthError::new(OAuthCode::InvalidRequest, description));
    }
    let limit = LARGEST.min(app.settings.server.max_body);
    Ok(read_form_repeatable(request, payload, limit, &["resource"]).await?)
}

/// A parameter that must be there.
///
/// # Errors
/// `invalid_request`.
pub fn required<'a>(form: &'a Parameters, name: &str) -> Result<&'a str, OAuthError> {
    form.get(name).ok_or_else(|| {
        OAuthError::new(OAuthCode::InvalidRequest, format!("The parameter {name} is missing."))
    })
}
