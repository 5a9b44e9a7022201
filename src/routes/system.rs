//! What machines ask: is it alive, is it ready, how is it doing, which keys verify its tokens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER,
};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::openapi::operation::{Answer, Content, Header, Operation, Tag};
use super::rate_limit;
use crate::actors::status::{ActorStatus, State};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::jwt::Algorithm;
use crate::telemetry::catalogue::Reason;

/// That the process answers.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// How `GET /health` is described.
pub const HEALTH: Operation = Operation {
    id: "get_health",
    tag: Tag::System,
    summary: "Whether the process answers",
    answers: &[Answer::json::<Health>(200, "It does.")],
    ..Operation::PLAIN
};

/// `GET /health`: the process answers.
pub async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Whether requests should be sent here, and if not, why.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// What is wrong; empty while all is well.
    reasons: Vec<String>,
    /// Which kind of store it is.
    store: &'static str,
    /// By how much the clock of this machine differs from the store's.
    clock_skew_seconds: i64,
    /// The actors, each shard for itself.
    actors: Vec<ActorState>,
}

/// How an actor is doing.
#[derive(Serialize, JsonSchema)]
pub struct ActorState {
    /// What it is called.
    name: &'static str,
    /// Which of several.
    shard: usize,
    /// `starting`, `running`, `restarting`, `stopped` or `failed`.
    state: &'static str,
    /// How often it was restarted.
    restarts: u64,
    /// How many asks wait for an answer.
    in_flight: usize,
    /// How many may wait at most.
    capacity: usize,
}

impl ActorState {
    /// As it is now.
    pub fn of(status: &ActorStatus) -> Self {
        Self {
            name: status.name,
            shard: status.shard,
            state: status.state().as_str(),
            restarts: status.restarts(),
            in_flight: status.in_flight(),
            capacity: status.capacity,
        }
    }
}

/// How `GET /ready` is described.
pub const READY: Operation = Operation {
    id: "get_readiness",
    tag: Tag::System,
    summary: "Whether requests should be sent here",
    description: "It looks at the store, the signing keys and every actor.",
    answers: &[
        Answer::json::<Readiness>(200, "They should."),
        Answer::json::<Readiness>(503, "They should not, for these reasons.")
            .with(&[Header::Always("Retry-After", "Seconds to wait before asking again.")]),
    ],
    ..Operation::PLAIN
};

/// How long /ready waits for the store.
const STORE_PATIENCE: Duration = Duration::from_millis(1500);

/// Why this node does not want requests, each with what is said of it; nothing, if it does.
async fn reasons(app: &App) -> Vec<(Reason, String)> {
    let mut reasons = Vec::new();
    let plain = |reason: Reason| (reason, reason.sentence().to_owned());
    if app.draining.load(Ordering::Relaxed) {
        reasons.push(plain(Reason::ShuttingDown));
    }
    match tokio::time::timeout(STORE_PATIENCE, app.store.read.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "the store is not ready");
            reasons.push(plain(Reason::StoreDown));
        }
        Err(_) => reasons.push(plain(Reason::StoreSlow)),
    }
    let algorithm = app.settings.keys.algorithm;
    if app.key_snapshot().signer(algorithm, app.clock.now()).is_none() {
        let said = Reason::NoSigningKey.sentence().replace("{algorithm}", algorithm.as_str());
        reasons.push((Reason::NoSigningKey, said));
    }
    let is_down = |status: &&std::sync::Arc<ActorStatus>| status.state() != State::Running;
    for status in app.statuses.iter().filter(is_down) {
        let said = Reason::ActorDown.sentence().replace("{name}", status.name);
        reasons.push((Reason::ActorDown, said.replace("{state}", status.state().as_str())));
    }
    let causes: Vec<Reason> = reasons.iter().map(|(reason, _)| *reason).collect();
    app.metrics.note_readiness(&causes);
    reasons
}

/// `GET /ready`: whether requests should be sent here; 503 with the reasons if not.
pub async fn ready(app: Data<App>) -> HttpResponse {
    let reasons = reasons(&app).await;
    let is_ready = reasons.is_empty();
    let body = Readiness {
        status: if is_ready { "ready" } else { "not_ready" },
        reasons: reasons.into_iter().map(|(_, said)| said).collect(),
        store: app.store.kind,
        clock_skew_seconds: app.clock_skew.load(Ordering::Relaxed) / 1000,
        actors: app.statuses.iter().map(|status| ActorState::of(status)).collect(),
    };
    if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).json(body)
    }
}

/// What metrics are written in for whoever asks for it, as Prometheus does.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What they are written in for everybody else.
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How `GET /metrics` is described.
pub const METRICS: Operation = Operation {
    id: "get_metrics",
    tag: Tag::System,
    summary: "Counters, as Prometheus reads them",
    description: "Answers this machine and the networks in `rate_limits.exempt`, and only where \
        `telemetry.metrics_listen` names no port of their own.",
    answers: &[Answer::other(&[OPEN_METRICS, PLAIN_METRICS], "The metrics.")],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

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
    Ok(metrics_answer(&request, &app).await)
}

/// The metrics as Prometheus reads them. Readiness is looked at for the occasion.
pub async fn metrics_answer(request: &HttpRequest, app: &App) -> HttpResponse {
    reasons(app).await;
    let accepts = |value: &HeaderValue| {
        value.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text"))
    };
    let (content_type, text) = match request.headers().get_all(ACCEPT).any(accepts) {
        true => (OPEN_METRICS, app.metrics.encode()),
        false => (PLAIN_METRICS, app.metrics.encode_plain()),
    };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, content_type)).body(text)
}

/// The media type of key sets (RFC 7517 §8.5.2).
const KEY_SET: &str = "application/jwk-set+json";

/// How `GET /.well-known/jwks.json` is described.
pub const JWKS: Operation = Operation {
    id: "get_keys",
    tag: Tag::System,
    summary: "The public keys that verify our tokens",
    description: "A JSON Web Key Set (RFC 7517 §5). New keys are in it well before they sign.",
    answers: &[
        Answer {
            content: Content::Json(KEY_SET, key_set),
            ..Answer::empty(200, "The keys.").with(&[Header::ETAG, Header::CACHING])
        },
        Answer::NOT_MODIFIED,
    ],
    ..Operation::PLAIN
};

/// The members of [`crate::protocol::key::PublicKey::jwk`].
fn key_set(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["kid", "kty", "use", "alg"],
                    "properties": {
                        "kid": { "type": "string", "description": "Its id: the thumbprint of RFC 7638." },
                        "kty": { "enum": ["RSA", "EC", "OKP"] },
                        "use": { "const": "sig" },
                        "alg": { "enum": Algorithm::ALL },
                        "n": { "type": "string", "description": "The modulus of an RSA key." },
                        "e": { "type": "string", "description": "The exponent of an RSA key." },
                        "crv": { "enum": ["P-256", "Ed25519"] },
                        "x": { "type": "string" },
                        "y": { "type": "string" },
                    },
                },
            },
        },
    })
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5). May be cached for at most half of the time that a new
/// key is published before it signs, so that no cache misses a key in use.
pub async fn jwks(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let keys = app.key_snapshot();
    let max_age = (app.settings.keys.publish_ahead / 2).as_secs();
    cacheable(&request, KEY_SET, max_age, &keys.etag, &keys.jwks)
}

/// A document that everybody may keep for `max_age` seconds; 304 for who has it already.
pub(super) fn cacheable(
    request: &HttpRequest,
    content_type: &'static str,
    max_age: u64,
    etag: &str,
    body: &Bytes,
) -> HttpResponse {
    let caching = format!("public, max-age={max_age}");
    if matches_etag(request, etag) {
        return HttpResponse::NotModified()
            .insert_header((CACHE_CONTROL, caching))
            .insert_header((ETAG, etag))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((CACHE_CONTROL, caching))
        .insert_header((ETAG, etag))
        .body(body.clone())
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
