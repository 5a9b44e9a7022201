//! Signing keys.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::guard::Admin;
use super::idempotency::{self, Reply};
use crate::actors::key_ring::{KeyRingError, RotateKey, RotateReport};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::jwt::Algorithm;
use crate::protocol::key_life::{Life, life};
use crate::routes::openapi::operation::{Access, Answer, Body, Operation, Page, Tag};
use crate::routes::parameters::{read_members, refuse_others};
use crate::store::model::StoredKey;

/// A signing key, without its private half.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyBody {
    /// Its id: the thumbprint of RFC 7638.
    kid: String,
    /// What it signs with.
    algorithm: &'static str,
    /// `staged`, `active`, `retired` or `removed`.
    state: &'static str,
    /// When it was made and published.
    created_at: Timestamp,
    /// It signs from then on.
    signs_from: Timestamp,
    /// It signs until then; `null` while nothing follows it.
    signs_until: Option<Timestamp>,
    /// It is published until then; `null` while that is not known.
    published_until: Option<Timestamp>,
    /// Whether it was retired as compromised: nothing that it signed is taken.
    compromised: bool,
}

impl KeyBody {
    /// As it is at a moment.
    pub fn new(key: &StoredKey, life: &Life, now: Timestamp) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str(),
            state: life.state(now).as_str(),
            created_at: key.created_at,
            signs_from: life.signs_from,
            signs_until: life.signs_until,
            published_until: life.published_until,
            compromised: key.compromised,
        }
    }
}

/// How `GET /admin/keys` is described.
pub const SHOW: Operation = Operation {
    id: "list_signing_keys",
    tag: Tag::Administration,
    summary: "The signing keys and where they stand",
    description: "Oldest first; also those that are published no more.",
    access: Access::Admin,
    answers: &[Answer::json::<Page<KeyBody>>(200, "The keys.")],
    ..Operation::PLAIN
};

/// `GET /admin/keys`.
///
/// # Errors
/// Those of [`Admin`]; 503 if the store cannot be asked.
pub async fn show(_: Admin, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let keys = app.store.read.keys().await?;
    let (now, tokens_live_for) = (app.clock.now(), app.key_tokens_live_for);
    let shown = |key| KeyBody::new(key, &life(key, &keys, tokens_live_for), now);
    let items: Vec<KeyBody> = keys.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(Page::whole(items)))
}

/// What a rotation led to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rotation")]
pub struct RotationBody {
    /// The key that is staged or active now.
    kid: String,
    /// What it signs with.
    algorithm: &'static str,
    /// Whether it was made now, or was staged already.
    is_new: bool,
    /// When it signs.
    signs_from: Timestamp,
    /// The key that it replaces.
    replaces: Option<String>,
    /// Until when that one stays published.
    replaced_published_until: Option<Timestamp>,
}

impl From<RotateReport> for RotationBody {
    fn from(report: RotateReport) -> Self {
        let RotateReport { kid, algorithm, signs_from, is_new, replaces } = report;
        let (replaces, replaced_published_until) = replaces.unzip();
        Self {
            kid,
            algorithm: algorithm.as_str(),
            is_new,
            signs_from,
            replaces,
            replaced_published_until: replaced_published_until.flatten(),
        }
    }
}

/// The body of `POST /admin/keys/rotate`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read member by member; this describes it")]
struct RotateBody {
    /// Whether the key signs at once. Otherwise it is published for `keys.publish_ahead` first.
    #[schemars(default)]
    now: Option<bool>,
    /// `RS256`, `ES256` or `EdDSA`; without it, the configured one.
    #[schemars(default)]
    algorithm: Option<String>,
}

/// How `POST /admin/keys/rotate` is described.
pub const ROTATE: Operation = Operation {
    id: "rotate_signing_keys",
    tag: Tag::Administration,
    summary: "Make a new key the next to sign",
    description: "A key that is staged already is reported, and none is made. The body may be left out.",
    access: Access::Admin,
    parameters: &[idempotency::KEY],
    body: Body::optional_json::<RotateBody>(),
    answers: &[Answer::json::<RotationBody>(200, "The key that signs next, or now.")],
    errors: &[ErrorCode::KeysFromFiles],
    ..Operation::PLAIN
};

/// `POST /admin/keys/rotate` with `{"now"?, "algorithm"?}`.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `invalid_field`, `keys_from_files`; 503 if the key could not
/// be stored.
pub async fn rotate(
    admin: Admin,
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let members = read_members(&request, payload, app.settings.server.max_body, true).await?;
    refuse_others(&members, &["now", "algorithm"])?;
    let now = match members.get("now") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(now)) => *now,
        Some(_) => return Err(refused("now", "It is true or false.")),
    };
    let algorithm = match members.get("algorithm") {
        None | Some(Value::Null) => None,
        Some(named) => Some(
            named
                .as_str()
                .and_then(Algorithm::parse)
                .ok_or_else(|| refused("algorithm", "It is RS256, ES256 or EdDSA."))?,
        ),
    };
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let rotate = RotateKey { algorithm, bits: None, now, by };
        let report = shared.key_ring.ask(rotate).await??;
        Ok(Reply::json(StatusCode::OK, &RotationBody::from(report)))
    });
    idempotency::once(&request, &app, &admin, &members, work).await
}

fn refused(member: &str, detail: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidField, detail).field(member)
}

impl From<KeyRingError> for ApiError {
    fn from(error: KeyRingError) -> Self {
        match error {
            KeyRingError::Write(error) => error.into(),
            KeyRingError::FromFiles | KeyRingError::LastOfAlgorithm { .. } => Self::new(
                ErrorCode::KeysFromFiles,
                "No key is made here: an operator puts the new file into keys.files instead.",
            )
            .cause(error),
            KeyRingError::Key(_) | KeyRingError::Sealed { .. } | KeyRingError::Interrupted(_) => {
                Self::new(ErrorCode::Internal, "The key could not be made; the log says why.")
                    .cause(error)
            }
        }
    }
}
