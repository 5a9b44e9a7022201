//! The edge: what is the same for every request and every answer.
//!
//! Gives each request its id, refuses what is malformed as a whole, writes errors in the form that
//! the caller understands, adds the headers that every answer has, logs one line, counts.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
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
use tracing::Level;
use uuid::Uuid;

use super::auth::verify;
use super::oauth::error::{OAuthCode, OAuthError, OAuthProblem};
use super::{cors, pages, unread};
use crate::app::{App, Newest};
use crate::clock::{Stopwatch, Timestamp};
use crate::config;
use crate::config::settings::LogFormat;
use crate::connections::Handling;
use crate::error::{ApiError, ErrorCode, Retry};
use crate::protocol::random;
use crate::telemetry::origin::Origin;
use crate::telemetry::requests::{NO_ROUTE, Route, method_label};
use crate::telemetry::traces::{self, Answered, RequestSpan, Traces};

/// Longest request target that is looked at, in bytes.
const LONGEST_TARGET: usize = 8 * 1024;

/// Largest header block that is looked at, in bytes.
const LARGEST_HEADERS: usize = 32 * 1024;

/// How much of a method is logged: as much as the longest that is registered.
const LONGEST_METHOD: usize = 17;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request that is being answered: in the answer, the log, the trace and the audit trail.
pub fn request_id() -> String {
    Origin::request_id().map(|id| id.to_string()).unwrap_or_default()
}

/// Which client was given tokens for which grant: for the log line of the request.
#[derive(Clone, Debug)]
struct Granted {
    grant: &'static str,
    client: String,
}

/// Has the log line of this request say which client uses which grant.
pub fn note_grant(request: &HttpRequest, grant: &'static str, client: &str) {
    request.extensions_mut().insert(Granted { grant, client: client.to_owned() });
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
    // First of all: nobody else holds the request yet.
    if let Some(data) = request.app_data::<Newest>().map(Newest::data) {
        request.add_data_container(data);
    }
    let _handling = Handling::begin(request.request());
    let app = shared(request.request());
    let mut written = Uuid::encode_buffer();
    let id = random::uuid_v7(app.clock.now()).hyphenated().encode_lower(&mut written);
    let id: Arc<str> = Arc::from(&*id);
    let span = app.traces.as_ref().map(|traces| begin_span(traces, &request, &app));
    let position = span.as_ref().map(RequestSpan::position);
    let origin = Origin { request_id: Some(Arc::clone(&id)), position };
    // Whatever is done or logged from here on is on behalf of this request.
    origin.scope(answer(request, next, app, watch, id, span)).await
}

/// Begins the span of a request: below that of whoever asks, if a proxy that we trust says so. Anybody else
/// could have us send spans into other people's traces.
fn begin_span(traces: &Traces, request: &ServiceRequest, app: &App) -> RequestSpan {
    let is_trusted = request.peer_addr().is_some_and(|peer| {
        let ip = peer.ip().to_canonical();
        app.settings.server.trusted_proxies.iter().any(|network| network.contains(&ip))
    });
    let parent = if is_trusted { traces::parent_of(request.headers()) } else { None };
    traces.request(method_label(request.method()), parent)
}

async fn answer(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    app: Data<App>,
    watch: Stopwatch,
    id: Arc<str>,
    span: Option<RequestSpan>,
) -> Result<ServiceResponse<BoxBody>, Error> {
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
    let route = observe(&app, &response, error.as_ref(), watch.elapsed());
    if let Some(span) = span {
        let public_url = &app.settings.server.public_url;
        span.end(&Answered {
            method: method_label(http_request.method()),
            route,
            scheme: if public_url.is_https() { "https" } else { "http" },
            host: public_url.authority(),
            status: response.status().as_u16(),
            code: error.as_ref().map(|error| error.code),
            request_id: &id,
        });
    }
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
    /// Everything that is wrong with the configuration, where it is that.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(default)]
    problems: &'a [config::problem::Problem],
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
        problems: error.problems(),
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

/// Counts, and logs one line: at debug what is asked all day and what is only due, at warn what went wrong on our side.
/// Tells the route's template, where there is one.
fn observe(
    app: &App,
    response: &ServiceResponse<BoxBody>,
    error: Option<&Rendered>,
    took: Duration,
) -> Option<&'static str> {
    let request = response.request();
    let status = response.status();
    // What was answered before it came to its route has none with it.
    let route = request
        .app_data::<Route>()
        .unwrap_or_else(|| app.metrics.unrouted(request.match_pattern().as_deref()));
    let template = route.template();
    let is_frequent = matches!(template, "/health" | "/ready" | "/metrics" | verify::PATH)
        || template.starts_with("/.well-known/")
        || template.starts_with("/static/");
    if let Some(error) = error {
        app.metrics.count_error(error.code);
    }
    route.observe(request.method(), status.as_u16(), took);
    // While this node drains, to say so is what /ready is asked for.
    let is_due = template == "/ready" && app.draining.load(Ordering::Relaxed);
    let is_failure = status.is_server_error() && !is_due;
    if !is_frequent || is_failure || tracing::enabled!(tracing::Level::DEBUG) {
        let level = if is_failure {
            Level::WARN
        } else if is_frequent {
            Level::DEBUG
        } else {
            Level::INFO
        };
        log(app, response, template, error, took, level);
    }
    (template != NO_ROUTE).then_some(template)
}

/// The method for the log. Whoever makes one up does not decide how long the line is.
fn shown_method(method: &Method) -> &str {
    let method = method.as_str();
    // Methods are ASCII.
    method.get(..LONGEST_METHOD).unwrap_or(method)
}

/// In text one line that is read like a sentence; in JSON each fact a member of its own.
fn log(
    app: &App,
    response: &ServiceResponse<BoxBody>,
    route: &'static str,
    error: Option<&Rendered>,
    took: Duration,
    level: Level,
) {
    let request = response.request();
    let status = response.status().as_u16();
    let code = error.map(|error| error.code);
    let cause = error.and_then(|error| error.cause.as_deref()).map(printable);
    let cause = cause.as_deref();
    let ms = took.as_micros() as f64 / 1000.0;
    let method = shown_method(request.method());
    let granted = request.extensions().get::<Granted>().cloned();
    let grant = granted.as_ref().map(|granted| granted.grant);
    let client = granted.as_ref().map(|granted| granted.client.as_str());
    if app.settings.telemetry.log_format == LogFormat::Json {
        match level {
            Level::WARN => {
                tracing::warn!(status, method, route, grant, client, code, cause, ms, "request");
            }
            Level::INFO => {
                tracing::info!(status, method, route, grant, client, code, cause, ms, "request");
            }
            _ => tracing::debug!(status, method, route, ms, "request"),
        }
        return;
    }
    let mut line = format!("{status} {method} {route}");
    if let (Some(grant), Some(client)) = (grant, client.map(printable)) {
        let _written = write!(line, " {grant} client={client}");
    }
    match level {
        Level::WARN => tracing::warn!(code, cause, "{line} {ms:.1}ms"),
        Level::INFO => tracing::info!(code, cause, "{line} {ms:.1}ms"),
        _ => tracing::debug!("{line} {ms:.1}ms"),
    }
}
