//! What machines ask: is it alive, is it ready, how is it doing, which keys verify its tokens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::rate_limit;
use crate::actors::status::State;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};

/// `GET /health`: the process answers.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// How long /ready waits for the store.
const STORE_PATIENCE: Duration = Duration::from_millis(1500);

/// `GET /ready`: whether requests should be sent here; 503 with the reasons if not.
pub async fn ready(app: Data<App>) -> HttpResponse {
    let mut reasons = Vec::new();
    if app.draining.load(Ordering::Relaxed) {
        reasons.push("the server is shutting down".to_owned());
    }
    match tokio::time::timeout(STORE_PATIENCE, app.store.read.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "the store is not ready");
            reasons.push("the store does not answer".to_owned());
        }
        Err(_) => reasons.push("the store does not answer in time".to_owned()),
    }
    let algorithm = app.settings.keys.algorithm;
    if app.key_snapshot().signer(algorithm, app.clock.now()).is_none() {
        reasons.push(format!("there is no active {algorithm} key"));
    }
    let is_down = |status: &&std::sync::Arc<_>| -> bool {
        let status: &crate::actors::status::ActorStatus = status;
        status.state() != State::Running
    };
    for status in app.statuses.iter().filter(is_down) {
        reasons.push(format!("actor {} is {}", status.name, status.state().as_str()));
    }
    let actors: Vec<_> = app
        .statuses
        .iter()
        .map(|status| {
            json!({
                "name": status.name, "shard": status.shard, "state": status.state().as_str(),
                "restarts": status.restarts(), "in_flight": status.in_flight(),
                "capacity": status.capacity,
            })
        })
        .collect();
    let is_ready = reasons.is_empty();
    let body = json!({
        "status": if is_ready { "ready" } else { "not_ready" },
        "reasons": reasons,
        "store": app.store.kind,
        "clock_skew_seconds": app.clock_skew.load(Ordering::Relaxed) / 1000,
        "actors": actors,
    });
    if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).json(body)
    }
}

/// `GET /metrics` on the main port: for this machine and the exempt networks.
///
/// # Errors
/// `not_found` for everybody else.
pub async fn metrics(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let address = rate_limit::client_address(&request, &app);
    let is_allowed = address.is_loopback() || address.is_in(&app.settings.rate_limits.exempt);
    if !is_allowed || app.settings.telemetry.metrics_listen.is_some() {
        return Err(ApiError::new(ErrorCode::NotFound, "There is nothing at this address."));
    }
    Ok(metrics_answer(&app))
}

/// The metrics as Prometheus reads them.
pub fn metrics_answer(app: &App) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        .body(app.metrics.encode())
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5). May be cached for at most half of the time that a new
/// key is published before it signs, so that no cache misses a key in use.
pub async fn jwks(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let keys = app.key_snapshot();
    let max_age = (app.settings.keys.publish_ahead / 2).as_secs();
    let caching = format!("public, max-age={max_age}");
    if matches_etag(&request, &keys.etag) {
        return HttpResponse::NotModified()
            .insert_header((CACHE_CONTROL, caching))
            .insert_header((ETAG, keys.etag.as_str()))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        .insert_header((CACHE_CONTROL, caching))
        .insert_header((ETAG, keys.etag.as_str()))
        .body(keys.jwks.clone())
}

/// RFC 9110 §13.1.2, weak comparison.
pub(super) fn matches_etag(request: &HttpRequest, etag: &str) -> bool {
    request
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server` (OpenID
/// Connect Discovery §3, RFC 8414 §2): what there is, and nothing that there is not.
pub async fn discovery(app: Data<App>) -> HttpResponse {
    let issuer = &app.settings.server.public_url;
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "public, max-age=300")).json(json!({
        "issuer": issuer.as_str(),
        "jwks_uri": issuer.join("/.well-known/jwks.json"),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "end_session_endpoint": issuer.join(super::oauth::logout::PATH),
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "id_token_signing_alg_values_supported": app.key_snapshot().algorithms(app.clock.now()),
    }))
}
