//! Errors of the OAuth endpoints, in the RFCs' words.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actors::db_writer::WriteError;
use crate::actors::mailbox::AskError;
use crate::error::ApiError;
use crate::store::error::StoreError;

/// Every `error` that we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OAuthCode {
    /// RFC 6749 §4.1.2.1, §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2.
    InvalidClient,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 6749 §4.1.2.1, §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §4.1.2.1.
    UnsupportedResponseType,
    /// RFC 6749 §4.1.2.1, §5.2.
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 6749 §4.1.2.1.
    AccessDenied,
    /// RFC 6749 §4.1.2.1.
    ServerError,
    /// RFC 6749 §4.1.2.1.
    TemporarilyUnavailable,
    /// OpenID Connect Core §3.1.2.6.
    LoginRequired,
    /// OpenID Connect Core §3.1.2.6.
    ConsentRequired,
    /// OpenID Connect Core §3.1.2.6.
    RequestNotSupported,
    /// OpenID Connect Core §3.1.2.6.
    RequestUriNotSupported,
    /// OpenID Connect Core §3.1.2.6.
    RegistrationNotSupported,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// RFC 6750 §3.1.
    InsufficientScope,
}

impl OAuthCode {
    /// All of them, in the order of `docs/errors.md`.
    pub const ALL: [Self; 18] = [
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::UnsupportedResponseType,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::AccessDenied,
        Self::ServerError,
        Self::TemporarilyUnavailable,
        Self::LoginRequired,
        Self::ConsentRequired,
        Self::RequestNotSupported,
        Self::RequestUriNotSupported,
        Self::RegistrationNotSupported,
        Self::InvalidToken,
        Self::InsufficientScope,
    ];

    /// The value of `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    /// The status where it is answered to the client itself (RFC 6749 §5.2, RFC 6750 §3.1).
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why an OAuth endpoint refuses.
#[derive(Clone, Debug)]
pub enum OAuthError {
    /// By the rules of the protocol.
    Refused(Box<Refusal>),
    /// For any other reason: too many requests, trouble on our side.
    Failed(Box<ApiError>),
}

/// A refusal by the rules of the protocol.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The value of `error`.
    pub code: OAuthCode,
    /// The value of `error_description`: one plain sentence.
    pub description: Cow<'static, str>,
    /// How to authenticate (RFC 9110 §11.6.1).
    pub challenge: Option<Cow<'static, str>>,
    /// For the log alone.
    pub cause: Option<Box<str>>,
}

impl OAuthError {
    /// A refusal.
    pub fn new(code: OAuthCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(Box::new(Refusal::new(code, description)))
    }

    /// Says how to authenticate.
    #[must_use]
    pub fn challenge(mut self, challenge: impl Into<Cow<'static, str>>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.challenge = Some(challenge.into());
        }
        self
    }

    /// Keeps what the log should say.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.cause = Some(cause.to_string().into());
        }
        self
    }
}

impl Refusal {
    /// A refusal without more to say.
    pub fn new(code: OAuthCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), challenge: None, cause: None }
    }

    /// The answer (RFC 6749 §5.2).
    pub fn answer(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.code.status());
        answer.insert_header((PRAGMA, "no-cache"));
        let challenge = self.challenge.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(challenge)) = challenge {
            answer.insert_header((WWW_AUTHENTICATE, challenge));
        }
        answer.json(OAuthProblem::new(self.code, &self.description))
    }
}

/// The body of an answer that says no (RFC 6749 §5.2).
#[derive(Debug, Serialize, JsonSchema)]
pub struct OAuthProblem {
    /// Which no; stable.
    error: &'static str,
    /// A sentence for developers.
    error_description: String,
}

impl OAuthProblem {
    /// With as much of the description as may be in it.
    pub fn new(code: OAuthCode, description: &str) -> Self {
        Self { error: code.as_str(), error_description: plain(description) }
    }
}

/// What a description may hold (RFC 6749 §5.2): printable ASCII without quotes and backslashes.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\'))
        .collect()
}

impl std::fmt::Display for OAuthError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(formatter, "{}: {}", refusal.code.as_str(), refusal.description)
            }
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for OAuthError {}

/// Only the status: [`crate::routes::edge`] writes the rest.
impl ResponseError for OAuthError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.code.status(),
            Self::Failed(error) => error.code.status(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<AskError> for OAuthError {
    fn from(error: AskError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<WriteError> for OAuthError {
    fn from(error: WriteError) -> Self {
        ApiError::from(error).into()
    }
}
