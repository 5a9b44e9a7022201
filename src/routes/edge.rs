//! The edge: what is the same for every request and every answer.
//!
//! Gives each request its id, refuses what is malformed as a whole, writes errors in the form that
//! the caller understands, adds the headers that every answer has, logs one line, counts.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::verify;
use super::oauth::error::{OAuthCode, OAuthError, OAuthProblem};
use super::{cors, pages, unread};
use crate::app::App;
use crate::clock::{Stopwatch, Timestamp};
use crate::config::settings::LogFormat;
use crate::connections::Handling;
use crate::error::{ApiError, ErrorCode, Retry};
use crate::protocol::random;

/// Longest request target that is looked at, in bytes.
const LONGEST_TARGET: usize = 8 * 1024;

/// Largest header block that is looked at, in bytes.
const LARGEST_HEADERS: usize = 32 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: in the answer, the log and the audit trail.
#[derive(Clone, Debug)]
struct RequestId(String);

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map_or_else(String::new, |id| id.0.clone())
}

/// The middleware around everything.
///
/// # Errors
/// None of its own: errors become answers.
pub async fn edge(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let watch = Stopwatch::start();
    let _handling = Handling::begin(request.request());
    let app = shared(request.request());
    let id = random::uuid_v7(app.clock.now()).to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let unread = unread::hold(&mut request);
    let mut response = match admit(&request, &app) {
        Err(refusal) => request.error_response(refusal),
        Ok(Some(answer)) => request.into_response(answer),
        Ok(None) => next.call(request).await?.map_into_boxed_body(),
    };
    let error = render_error(&mut response, &app, &id);
    // A server that is about to end empties the pools of the proxies before it.
    let is_last = app.draining.load(Ordering::Relaxed);
    if is_last || error.as_ref().is_some_and(Rendered::ends_connection) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let http_request = response.request().clone();
    finish_headers(&http_request, response.headers_mut(), &app, &id);
    observe(&app, &response, error.as_ref(), watch.elapsed(), &id);
    Ok(match unread {
        Some(unread) => response.map_body(|_, body| unread.until_sent(body)),
        None => response,
    })
}

/// The shared parts; every route has them.
fn shared(request: &HttpRequest) -> Data<App> {
    request.app_data::<Data<App>>().expect("the app is registered before any route").clone()
}

/// Refuses or answers what does not reach a route.
fn admit(request: &ServiceRequest, app: &App) -> Result<Option<HttpResponse>, ApiError> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > LONGEST_TARGET {
        let detail = format!("An address here has at most {LONGEST_TARGET} characters.");
        return Err(ApiError::new(ErrorCode::UriTooLong, detail));
    }
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > LARGEST_HEADERS {
        let detail = format!("The headers have at most {LARGEST_HEADERS} bytes in all.");
        return Err(ApiError::new(ErrorCode::HeadersTooLarge, detail));
    }
    // The parser takes all that follows for the other protocol, whatever length the request announces:
    // it would wait for a body without end.
    if is_websocket(request.headers()) {
        let detail = "Nothing here speaks WebSocket.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, detail));
    }
    if let Some(answer) = check_host(request, app)? {
        return Ok(Some(answer));
    }
    Ok(cors::preflight(request.request(), &app.settings.server))
}

/// Whether the parser took this for the beginning of a WebSocket.
fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .any(|protocol| protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// `latchkey dev` has one name only, so that cookies and redirects agree and no other site's name
/// can be pointed at it (DNS rebinding). In production names are the reverse proxy's business.
fn check_host(request: &ServiceRequest, app: &App) -> Result<Option<HttpResponse>, ApiError> {
    if !app.is_development {
        return Ok(None);
    }
    let public_url = &app.settings.server.public_url;
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if host == public_url.authority() {
        return Ok(None);
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name == "localhost" && matches!(*request.method(), Method::GET | Method::HEAD) {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let location = public_url.join(target);
        return Ok(Some(HttpResponse::Found().insert_header((LOCATION, location)).finish()));
    }
    Err(ApiError::new(ErrorCode::WrongHost, format!("This server is {public_url}.")))
}

/// Whether the caller is a browser that shows what it gets.
pub fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// An error as it was rendered, for the log.
struct Rendered {
    code: &'static str,
    cause: Option<Box<str>>,
}

impl Rendered {
    /// Whether who was answered so is not listened to any longer: no honest client sends such heads, and
    /// its next would cost as much.
    fn ends_connection(&self) -> bool {
        [ErrorCode::UriTooLong, ErrorCode::HeadersTooLarge]
            .map(ErrorCode::as_str)
            .contains(&self.code)
    }
}

/// Writes the body of an error answer.
fn render_error(response: &mut ServiceResponse<BoxBody>, app: &App, id: &str) -> Option<Rendered> {
    let error = response.response().error()?;
    let api_error = match (error.as_error::<ApiError>(), error.as_error::<OAuthError>()) {
        (Some(error), _) => error.clone(),
        (None, Some(OAuthError::Failed(error))) => (**error).clone(),
        (None, Some(OAuthError::Refused(refusal))) => {
            let rendered = Rendered { code: refusal.code.as_str(), cause: refusal.cause.clone() };
            let answer = refusal.answer();
            *response.response_mut() = answer;
            return Some(rendered);
        }
        (None, None) => of_framework(error),
    };
    let request = response.request();
    // A proxy shows what it is answered under the address of an app, where no link of a page leads anywhere.
    let wants_page = wants_page(request.headers()) && request.path() != verify::PATH;
    let has_page = wants_page && pages::errors::is_shown_to_people(request.path());
    let is_oauth = request.path().starts_with("/oauth/") && !has_page;
    let mut rendered = if is_oauth {
        oauth_answer(&api_error)
    } else if wants_page {
        pages::errors::answer(app, &api_error, id, request)
    } else {
        problem_answer(&api_error, id)
    };
    let wait = match api_error.retry {
        Some(Retry::After(wait)) => Some(wait),
        Some(Retry::At(moment)) => Some(moment.since(app.clock.now())),
        None => None,
    };
    if let Some(wait) = wait {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        rendered.headers_mut().insert(RETRY_AFTER, header_value(&seconds.to_string()));
    }
    for (name, value) in &api_error.headers {
        rendered.headers_mut().append(name.clone(), value.clone());
    }
    if api_error.code.status() == StatusCode::UNAUTHORIZED && !is_oauth {
        rendered.headers_mut().insert(WWW_AUTHENTICATE, challenge(request, &api_error));
    }
    *response.response_mut() = rendered;
    Some(Rendered { code: api_error.code.as_str(), cause: api_error.cause })
}

/// RFC 6750 §3: no error code where no token was sent.
fn challenge(request: &HttpRequest, error: &ApiError) -> HeaderValue {
    let has_token = request.headers().contains_key(actix_web::http::header::AUTHORIZATION);
    if has_token && error.code == ErrorCode::Unauthenticated {
        HeaderValue::from_static("Bearer error=\"invalid_token\"")
    } else {
        HeaderValue::from_static("Bearer")
    }
}

/// Errors that actix-web makes itself: only their status is kept.
fn of_framework(error: &Error) -> ApiError {
    let status = error.as_response_error().status_code();
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
        StatusCode::REQUEST_TIMEOUT => ErrorCode::RequestTimeout,
        status if status.is_client_error() => ErrorCode::InvalidRequest,
        _ => ErrorCode::Internal,
    };
    ApiError::new(code, "The request was refused.").cause(error)
}

/// An answer that says no (RFC 9457).
#[derive(Serialize, JsonSchema)]
pub struct Problem<'a> {
    /// A URN that ends with the code.
    r#type: String,
    /// The short sentence that goes with the code.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// Which no; stable.
    code: &'static str,
    /// What went wrong and what to do, for people.
    detail: &'a str,
    /// The member or parameter that is at fault, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The id of the request, as in `X-Request-Id`.
    request_id: &'a str,
    /// From when on it works, where it does from a certain moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
}

/// What [`Problem`] is sent as.
pub const PROBLEM: &str = "application/problem+json";

fn problem_answer(error: &ApiError, id: &str) -> HttpResponse {
    let problem = Problem {
        r#type: format!("urn:latchkey:error:{}", error.code.as_str()),
        title: error.code.title(),
        status: error.code.status().as_u16(),
        code: error.code.as_str(),
        detail: &error.detail,
        field: error.field.as_deref(),
        request_id: id,
        retry_at: match error.retry {
            Some(Retry::At(moment)) => Some(moment),
            Some(Retry::After(_)) | None => None,
        },
    };
    HttpResponse::build(error.code.status()).insert_header((CONTENT_TYPE, PROBLEM)).json(problem)
}

/// What a code is called under `/oauth` (RFC 6749 §5.2, with the codes of §4.1.2.1 for trouble on our side).
pub fn in_oauth(code: ErrorCode) -> OAuthCode {
    match code.status() {
        StatusCode::INTERNAL_SERVER_ERROR => OAuthCode::ServerError,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            OAuthCode::TemporarilyUnavailable
        }
        _ => OAuthCode::InvalidRequest,
    }
}

fn oauth_answer(error: &ApiError) -> HttpResponse {
    let problem = OAuthProblem::new(in_oauth(error.code), &error.detail);
    HttpResponse::build(error.code.status()).json(problem)
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Headers that every answer has, unless the route set its own.
fn finish_headers(request: &HttpRequest, headers: &mut HeaderMap, app: &App, id: &str) {
    headers.insert(REQUEST_ID, header_value(id));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    cors::add_headers(request, headers, &app.settings.server);
}

/// A text without what would command a terminal: causes quote what was sent, and JSON may hold C1 codes.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().collect(),
        false => String::from(character),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Counts, and logs one line: at debug what is asked all day, at warn what went wrong on our side.
fn observe(
    app: &App,
    response: &ServiceResponse<BoxBody>,
    error: Option<&Rendered>,
    took: Duration,
    id: &str,
) {
    let request = response.request();
    let status = response.status().as_u16();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let is_frequent = matches!(route.as_str(), "/health" | "/ready" | "/metrics" | verify::PATH)
        || route.starts_with("/.well-known/")
        || route.starts_with("/static/");
    let code = error.map(|error| error.code);
    let cause = error.and_then(|error| error.cause.as_deref()).map(printable);
    let cause = cause.as_deref();
    if let Some(code) = code {
        app.metrics.count_error(code);
    }
    let ms = took.as_micros() as f64 / 1000.0;
    let method = request.method().as_str();
    // In text one line that is read like a sentence; in JSON each fact a member of its own.
    if app.settings.telemetry.log_format == LogFormat::Json {
        if response.status().is_server_error() {
            tracing::warn!(status, method, route, code, cause, ms, req = id, "request");
        } else if is_frequent {
            tracing::debug!(status, method, route, ms, req = id, "request");
        } else {
            tracing::info!(status, method, route, code, cause, ms, req = id, "request");
        }
    } else if response.status().is_server_error() {
        tracing::warn!(code, cause, req = id, "{status} {method} {route} {ms:.1}ms");
    } else if is_frequent {
        tracing::debug!(req = id, "{status} {method} {route} {ms:.1}ms");
    } else {
        tracing::info!(code, cause, req = id, "{status} {method} {route} {ms:.1}ms");
    }
    app.metrics.observe_request(request.method(), route, status, took);
}
