//! Which other origins a browser may let read our answers.

use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse};

use super::csrf;
use super::oauth::discovery::{REVOKE, TOKEN, USERINFO};
use crate::config::settings::Server;

/// What any origin may read, never with credentials: documents for everybody, and what clients that run in
/// browsers call, which reads no cookie.
fn is_public(path: &str) -> bool {
    path.starts_with("/.well-known/") || [TOKEN, USERINFO, REVOKE].contains(&path)
}

/// Answers a preflight (WHATWG Fetch §3.2.2): 204, without authentication or rate limit.
pub fn preflight(request: &HttpRequest, server: &Server) -> Option<HttpResponse> {
    let headers = request.headers();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut answer = HttpResponse::NoContent();
    if is_public(request.path()) || allowed_origin(request, server).is_some() {
        answer
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, PUT, DELETE"))
            .insert_header((
                ACCESS_CONTROL_ALLOW_HEADERS,
                "Authorization, Content-Type, Idempotency-Key",
            ))
            .insert_header((ACCESS_CONTROL_MAX_AGE, "600"));
    }
    Some(answer.finish())
}

fn allowed_origin(request: &HttpRequest, server: &Server) -> Option<HeaderValue> {
    let origin = request.headers().get(ORIGIN)?;
    origin.to_str().is_ok_and(|origin| csrf::is_allowed(origin, server)).then(|| origin.clone())
}

/// Adds the headers of an answer.
pub fn add_headers(request: &HttpRequest, headers: &mut HeaderMap, server: &Server) {
    // Location: where a person goes who has just chosen a name.
    let exposed = HeaderValue::from_static("WWW-Authenticate, X-Request-Id, Retry-After, Location");
    if is_public(request.path()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    } else if !server.cors_origins.is_empty() || server.frontend_url.is_some() {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = allowed_origin(request, server) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}
