//! Whether a state-changing request with cookies comes from one of our own pages.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, ORIGIN};

use crate::config::settings::{Origin, Server};
use crate::error::{ApiError, ErrorCode};

/// Refuses what may come from another site: passes with `Sec-Fetch-Site: same-origin`; otherwise
/// its `Origin` must be ours, the frontend's or an allowed one. A request with `Authorization` is
/// not authenticated by cookie and passes.
///
/// # Errors
/// `csrf_rejected`.
pub fn check(request: &HttpRequest, server: &Server) -> Result<(), ApiError> {
    let headers = request.headers();
    if headers.contains_key(AUTHORIZATION)
        || is_same_origin(headers)
        || has_allowed_origin(headers, server)
    {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::CsrfRejected,
        "A request that changes something must come from one of this server's own pages or an allowed origin.",
    ))
}

/// Whether an allowed frontend on another origin sent this without any of our cookies: then the
/// browser kept them back, and "already signed out" would be a lie.
pub fn is_cross_origin(request: &HttpRequest, server: &Server) -> bool {
    let headers = request.headers();
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    !is_same_origin(headers) && origin.is_some_and(|origin| origin != server.public_url.as_str())
}

/// Whether the browser says that one of our own pages sent this.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all("sec-fetch-site");
    values.next().is_some_and(|site| site == "same-origin") && values.next().is_none()
}

fn has_allowed_origin(headers: &HeaderMap, server: &Server) -> bool {
    let mut values = headers.get_all(ORIGIN);
    let (Some(origin), None) = (values.next(), values.next()) else { return false };
    origin.to_str().is_ok_and(|origin| is_allowed(origin, server))
}

/// Whether an origin may call with cookies.
pub fn is_allowed(origin: &str, server: &Server) -> bool {
    std::iter::once(&server.public_url)
        .chain(&server.frontend_url)
        .chain(&server.cors_origins)
        .map(Origin::as_str)
        .any(|allowed| allowed == origin)
}
