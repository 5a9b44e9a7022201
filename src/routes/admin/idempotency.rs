//! `Idempotency-Key`: a request that is sent again is not done again.
//!
//! A key is claimed before anything is done. The answer is kept sealed for a day, since it may hold a secret,
//! and given to whoever sends the same request with the same key. A refusal keeps nothing: the key is free
//! again. What was begun goes on even if its caller is gone, so that they find the answer when they come back.
//!
//! Spec: draft-ietf-httpapi-idempotency-key-header.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::guard::Admin;
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::audit_chain::Digest;
use crate::protocol::sealed::Purpose;
use crate::routes::openapi::operation::Parameter;
use crate::store::operation::{ClaimOutcome, ClaimRequest, SettleRequest};

/// Its name.
pub const NAME: &str = "Idempotency-Key";

/// How it is described.
pub const KEY: Parameter = Parameter::header(
    NAME,
    "Makes it safe to send the request again: for a day the same key with the same request gets the same answer, \
     and nothing is done twice. 1 to 255 visible characters, such as a UUID.",
);

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than anything takes here: after this, whoever claimed a key is gone.
const LONGEST_WORK: Duration = Duration::from_secs(60);

/// Longest key.
const LONGEST_KEY: usize = 255;

/// An answer that can be given again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    status: u16,
    location: Option<String>,
    body: Option<String>,
}

impl Reply {
    /// JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status: status.as_u16(), location: None, body: Some(json!(body).to_string()) }
    }

    /// No content.
    pub fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT.as_u16(), location: None, body: None }
    }

    /// Says where what was made is.
    #[must_use]
    pub fn at(self, path: String) -> Self {
        Self { location: Some(path), ..self }
    }

    fn into_response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = HttpResponse::build(status);
        if let Some(location) = self.location {
            response.insert_header((LOCATION, location));
        }
        match self.body {
            Some(body) => response.insert_header((CONTENT_TYPE, "application/json")).body(body),
            None => response.finish(),
        }
    }
}

/// What is to be done once.
pub type Work = Pin<Box<dyn Future<Output = Result<Reply, ApiError>>>>;

/// Does the work of a request, or gives the answer that the same request was given before.
///
/// # Errors
/// `invalid_request` for a key that is malformed, `idempotency_key_reused`, `idempotency_key_in_use`; those of
/// the work.
pub async fn once(
    request: &HttpRequest,
    app: &Data<App>,
    admin: &Admin,
    body: &Map<String, Value>,
    work: Work,
) -> Result<HttpResponse, ApiError> {
    let Some(key) = key_of(request)? else { return Ok(work.await?.into_response()) };
    let asked = json!([request.method().as_str(), request.uri().to_string(), body]).to_string();
    let id = Digest::of(format!("{} {key}", admin.id).as_bytes()).0;
    let Digest(fingerprint) = Digest::of(asked.as_bytes());
    let now = app.clock.now();
    let claim = ClaimRequest { id, fingerprint, now, until: now.plus(LONGEST_WORK) };
    match apply(&app.writer, claim).await? {
        ClaimOutcome::Claimed => {}
        ClaimOutcome::Answered(sealed) => {
            let reply: Reply = app.sealer.open(Purpose::Answer, &sealed, now).map_err(|error| {
                let detail = "It was done before, and its answer cannot be read any more. Look at what is there, then use another key.";
                ApiError::new(ErrorCode::IdempotencyKeyReused, detail).cause(error)
            })?;
            return Ok(reply.into_response());
        }
        ClaimOutcome::UnderWay => {
            let detail = "Wait a moment, then send it again to get its answer.";
            let refusal = ApiError::new(ErrorCode::IdempotencyKeyInUse, detail);
            return Err(refusal.retry_after(Duration::from_secs(1)));
        }
        ClaimOutcome::Different => {
            let detail = "This key was sent with another request. Use a new key for each request.";
            return Err(ApiError::new(ErrorCode::IdempotencyKeyReused, detail).field(NAME));
        }
    }
    let app = app.clone();
    let settled = async move {
        let outcome = work.await;
        let until = app.clock.now().plus(KEPT);
        let kept = outcome.as_ref().ok();
        let answer = kept.map(|reply| (app.sealer.seal(Purpose::Answer, reply, until), until));
        if let Err(error) = apply(&app.writer, SettleRequest { id, answer }).await {
            tracing::warn!(%error, "the answer to a request with an idempotency key could not be kept");
        }
        outcome
    };
    // A task of its own: it ends whether somebody waits for it or not.
    let reply = actix_web::rt::spawn(settled).await.map_err(|error| {
        ApiError::new(ErrorCode::TemporarilyUnavailable, "Try again in a moment.")
            .retry_after(Duration::from_secs(1))
            .cause(error)
    })?;
    Ok(reply?.into_response())
}

/// The key of a request: a string of Structured Fields (RFC 8941 §3.3.3), or the same without quotes.
///
/// # Errors
/// `invalid_request`.
fn key_of(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut values = request.headers().get_all(NAME);
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|_| values.next().is_none()).and_then(read_key);
    key.map(Some).ok_or_else(|| {
        let detail = format!("Send one key of 1 to {LONGEST_KEY} visible characters.");
        ApiError::new(ErrorCode::InvalidRequest, detail).field(NAME)
    })
}

fn read_key(value: &str) -> Option<String> {
    let key = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted.strip_suffix('"')?)?,
        None => Some(value).filter(|value| !value.contains(['"', '\\', ' ', ',']))?.to_owned(),
    };
    let is_legal = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_legal && (1..=LONGEST_KEY).contains(&key.len())).then_some(key)
}

fn unquoted(text: &str) -> Option<String> {
    let mut key = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        key.push(match character {
            '\\' => characters.next().filter(|escaped| ['"', '\\'].contains(escaped))?,
            '"' => return None,
            other => other,
        });
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_quoted_string_or_the_same_without_quotes() {
        for (value, key) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ("\"abc\"", Some("abc")),
            ("\"a \\\"b\\\" \\\\\"", Some("a \"b\" \\")),
            ("", None),
            ("\"\"", None),
            ("\"abc", None),
            ("abc\"", None),
            ("\"a\"b\"", None),
            ("\"a\\\"", None),
            ("\"a\\n\"", None),
            ("a b", None),
            ("a, b", None),
            ("\"a\", \"b\"", None),
            ("a\u{1}", None),
            ("é", None),
        ] {
            assert_eq!(read_key(value).as_deref(), key, "{value}");
        }
        assert!(read_key(&"k".repeat(255)).is_some());
        assert!(read_key(&"k".repeat(256)).is_none());
    }
}
