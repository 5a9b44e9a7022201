//! Errors as the outside sees them.
//!
//! Each layer has one error type of its own: [`crate::store::error::StoreError`],
//! [`crate::actors::mailbox::AskError`], [`crate::providers::ProviderError`], the small ones of
//! `protocol`. At the edge they become an [`ApiError`]: a stable code, a sentence that the caller may
//! read, and a cause that is only logged. How it is written (RFC 9457 problem, RFC 6749 JSON, a page)
//! is decided once, in [`crate::routes::edge`].

use std::time::Duration;

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, SET_COOKIE};
use actix_web::{HttpResponse, ResponseError};

use crate::clock::Timestamp;
use crate::config::problem::Problem;

/// Every code that an answer can carry. `docs/errors.md` explains each; a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request cannot be understood.
    InvalidRequest,
    /// A member of the body or query is missing or has an illegal value.
    InvalidField,
    /// A parameter was sent twice.
    DuplicateParameter,
    /// Two cookies of one name were sent.
    DuplicateCookie,
    /// `return_to` leads outside the allowed origins.
    InvalidReturnTo,
    /// The sign-in attempt is unknown, replayed, over, or belongs to another browser.
    InvalidState,
    /// No setup is under way in this browser.
    SetupExpired,
    /// The provider's answer does not prove who signed in.
    ProviderTokenInvalid,
    /// No valid access token.
    Unauthenticated,
    /// The refresh cookie is missing, unknown, expired or revoked.
    SessionEnded,
    /// The browser did not send our cookies along.
    CookiesNotSent,
    /// A state-changing request that may come from another site.
    CsrfRejected,
    /// Signed in, but not allowed.
    Forbidden,
    /// The sign-in is too old for what is asked.
    ReauthenticationRequired,
    /// New accounts are not made for this identity.
    SignupClosed,
    /// The account is locked.
    AccountLocked,
    /// The person or the provider refused.
    ProviderDenied,
    /// Nothing is there.
    NotFound,
    /// No such provider is configured.
    UnknownProvider,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Nothing waits to be connected in this browser.
    LinkExpired,
    /// The recovery link is forged, too old or was used.
    RecoveryExpired,
    /// The ticket was spent before.
    AlreadyUsed,
    /// It is the only way in that the account has.
    LastIdentity,
    /// The identity belongs to an account already.
    IdentityTaken,
    /// Another account has the name.
    UsernameTaken,
    /// The last change of the name is too recent.
    UsernameCooldown,
    /// Without this person there would be no admin.
    LastAdmin,
    /// The id that was chosen for a client is not free.
    ClientIdTaken,
    /// Somebody else changed the client meanwhile.
    ClientChanged,
    /// The client has no use for a secret.
    NoClientSecret,
    /// Signing keys come from files, so none is made here.
    KeysFromFiles,
    /// The configuration that was to be read again cannot be used.
    ConfigurationInvalid,
    /// A request with this key is under way.
    IdempotencyKeyInUse,
    /// The key was given to another request.
    IdempotencyKeyReused,
    /// The name is one of ours or reserved.
    UsernameReserved,
    /// The name breaks a rule.
    UsernameInvalid,
    /// The request was not complete in time.
    RequestTimeout,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// The address is longer than any of ours.
    UriTooLong,
    /// The headers are larger than allowed.
    HeadersTooLarge,
    /// The body is not of the type that this endpoint takes.
    UnsupportedMediaType,
    /// The Host header names another server.
    WrongHost,
    /// Too many requests of this kind.
    RateLimited,
    /// A bug of ours.
    Internal,
    /// The provider answers with an error or nonsense.
    ProviderError,
    /// The provider does not answer.
    ProviderTimeout,
    /// Too much work is waiting.
    Overloaded,
    /// The store cannot be asked.
    StoreUnavailable,
    /// Part of the server is restarting or did not answer in time.
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// All of them, for the documentation's test.
    pub const ALL: [Self; 50] = [
        Self::InvalidRequest,
        Self::InvalidField,
        Self::DuplicateParameter,
        Self::DuplicateCookie,
        Self::InvalidReturnTo,
        Self::InvalidState,
        Self::SetupExpired,
        Self::ProviderTokenInvalid,
        Self::Unauthenticated,
        Self::SessionEnded,
        Self::CookiesNotSent,
        Self::CsrfRejected,
        Self::Forbidden,
        Self::ReauthenticationRequired,
        Self::SignupClosed,
        Self::AccountLocked,
        Self::ProviderDenied,
        Self::NotFound,
        Self::UnknownProvider,
        Self::MethodNotAllowed,
        Self::LinkExpired,
        Self::RecoveryExpired,
        Self::AlreadyUsed,
        Self::LastIdentity,
        Self::IdentityTaken,
        Self::UsernameTaken,
        Self::UsernameCooldown,
        Self::LastAdmin,
        Self::ClientIdTaken,
        Self::ClientChanged,
        Self::NoClientSecret,
        Self::KeysFromFiles,
        Self::ConfigurationInvalid,
        Self::IdempotencyKeyInUse,
        Self::IdempotencyKeyReused,
        Self::UsernameReserved,
        Self::UsernameInvalid,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::UnsupportedMediaType,
        Self::WrongHost,
        Self::RateLimited,
        Self::Internal,
        Self::ProviderError,
        Self::ProviderTimeout,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::TemporarilyUnavailable,
    ];

    /// The code, the status and the title that go together.
    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidRequest => {
                ("invalid_request", S::BAD_REQUEST, "The request cannot be understood")
            }
            Self::InvalidField => {
                ("invalid_field", S::UNPROCESSABLE_ENTITY, "A value is missing or not allowed")
            }
            Self::DuplicateParameter => {
                ("duplicate_parameter", S::BAD_REQUEST, "A parameter was sent twice")
            }
            Self::DuplicateCookie => {
                ("duplicate_cookie", S::BAD_REQUEST, "Two cookies have the same name")
            }
            Self::InvalidReturnTo => {
                ("invalid_return_to", S::BAD_REQUEST, "That address is not allowed")
            }
            Self::InvalidState => {
                ("invalid_state", S::BAD_REQUEST, "This sign-in cannot be continued")
            }
            Self::SetupExpired => {
                ("setup_expired", S::UNAUTHORIZED, "There is no account waiting to be set up")
            }
            Self::ProviderTokenInvalid => (
                "provider_token_invalid",
                S::BAD_REQUEST,
                "The provider's answer could not be verified",
            ),
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "You are not signed in"),
            Self::SessionEnded => ("session_ended", S::UNAUTHORIZED, "Your session has ended"),
            Self::CookiesNotSent => {
                ("cookies_not_sent", S::UNAUTHORIZED, "The browser did not send the cookies")
            }
            Self::CsrfRejected => {
                ("csrf_rejected", S::FORBIDDEN, "The request comes from another site")
            }
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "You may not do that"),
            Self::ReauthenticationRequired => (
                "reauthentication_required",
                S::FORBIDDEN,
                "It has been a while since you signed in",
            ),
            Self::SignupClosed => {
                ("signup_closed", S::FORBIDDEN, "New accounts are not open to you")
            }
            Self::AccountLocked => ("account_locked", S::FORBIDDEN, "This account is locked"),
            Self::ProviderDenied => {
                ("provider_denied", S::FORBIDDEN, "The sign-in was not completed")
            }
            Self::NotFound => ("not_found", S::NOT_FOUND, "There is nothing here"),
            Self::UnknownProvider => {
                ("unknown_provider", S::NOT_FOUND, "There is no such way to sign in")
            }
            Self::MethodNotAllowed => {
                ("method_not_allowed", S::METHOD_NOT_ALLOWED, "This method is not allowed here")
            }
            Self::LinkExpired => {
                ("link_expired", S::BAD_REQUEST, "There is nothing waiting to be connected")
            }
            Self::RecoveryExpired => {
                ("recovery_expired", S::BAD_REQUEST, "This link does not work any more")
            }
            Self::LastIdentity => ("last_identity", S::CONFLICT, "It is your only way to sign in"),
            Self::AlreadyUsed => ("already_used", S::CONFLICT, "This was used before"),
            Self::IdentityTaken => {
                ("identity_taken", S::CONFLICT, "There is an account for this sign-in already")
            }
            Self::UsernameTaken => ("username_taken", S::CONFLICT, "That username is taken"),
            Self::UsernameCooldown => {
                ("username_cooldown", S::CONFLICT, "Your username was changed a short while ago")
            }
            Self::LastAdmin => ("last_admin", S::CONFLICT, "There would be no admin left"),
            Self::ClientIdTaken => ("client_id_taken", S::CONFLICT, "That client id is taken"),
            Self::ClientChanged => {
                ("client_changed", S::CONFLICT, "The client was changed in the meantime")
            }
            Self::NoClientSecret => {
                ("no_client_secret", S::CONFLICT, "This client does not use a secret")
            }
            Self::KeysFromFiles => {
                ("keys_from_files", S::CONFLICT, "Signing keys come from files here")
            }
            Self::ConfigurationInvalid => (
                "configuration_invalid",
                S::UNPROCESSABLE_ENTITY,
                "The configuration cannot be used",
            ),
            Self::IdempotencyKeyInUse => {
                ("idempotency_key_in_use", S::CONFLICT, "The same request is under way")
            }
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                S::UNPROCESSABLE_ENTITY,
                "The key belongs to another request",
            ),
            Self::UsernameReserved => {
                ("username_reserved", S::UNPROCESSABLE_ENTITY, "That username is reserved")
            }
            Self::UsernameInvalid => {
                ("username_invalid", S::UNPROCESSABLE_ENTITY, "That username is not allowed")
            }
            Self::RequestTimeout => {
                ("request_timeout", S::REQUEST_TIMEOUT, "The request took too long to arrive")
            }
            Self::UriTooLong => ("uri_too_long", S::URI_TOO_LONG, "The address is too long"),
            Self::HeadersTooLarge => (
                "headers_too_large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The headers are too large",
            ),
            Self::PayloadTooLarge => {
                ("payload_too_large", S::PAYLOAD_TOO_LARGE, "The request is too large")
            }
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The request is of the wrong type",
            ),
            Self::WrongHost => {
                ("wrong_host", S::MISDIRECTED_REQUEST, "This server has another name")
            }
            Self::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Internal => {
                ("internal_error", S::INTERNAL_SERVER_ERROR, "Something went wrong on our side")
            }
            Self::ProviderError => {
                ("provider_error", S::BAD_GATEWAY, "The provider did not answer properly")
            }
            Self::ProviderTimeout => {
                ("provider_timeout", S::GATEWAY_TIMEOUT, "The provider does not answer")
            }
            Self::Overloaded => {
                ("overloaded", S::SERVICE_UNAVAILABLE, "The server is busy just now")
            }
            Self::StoreUnavailable => {
                ("store_unavailable", S::SERVICE_UNAVAILABLE, "The server cannot reach its data")
            }
            Self::TemporarilyUnavailable => (
                "temporarily_unavailable",
                S::SERVICE_UNAVAILABLE,
                "The server could not answer just now",
            ),
        }
    }

    /// The stable code.
    pub fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        self.facts().1
    }

    /// The short sentence that goes with it.
    pub fn title(self) -> &'static str {
        self.facts().2
    }
}

/// When trying again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After so much time.
    After(Duration),
    /// From a moment on that the answer names as `retry_at`.
    At(Timestamp),
}

/// An answer that says no.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// Which no.
    pub code: ErrorCode,
    /// One or two sentences that the caller may read: what went wrong, what to do.
    pub detail: String,
    /// The member of the request that is at fault.
    pub field: Option<Box<str>>,
    /// When trying again makes sense.
    pub retry: Option<Retry>,
    /// What is logged, and never shown.
    pub cause: Option<Box<str>>,
    /// Further headers of the answer, such as `Allow`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What few errors have: apart, so that the others stay small.
    rare: Option<Box<Rare>>,
}

/// What few errors have.
#[derive(Clone, Debug, Default)]
struct Rare {
    way_on: Option<String>,
    problems: Vec<Problem>,
}

impl ApiError {
    /// An error with a sentence for the caller.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            retry: None,
            cause: None,
            headers: Vec::new(),
            rare: None,
        }
    }

    /// Says where its page leads on.
    #[must_use]
    pub fn leading_to(mut self, path: impl Into<String>) -> Self {
        self.rare.get_or_insert_default().way_on = Some(path.into());
        self
    }

    /// Tells what is wrong with the configuration.
    #[must_use]
    pub fn telling(mut self, problems: Vec<Problem>) -> Self {
        self.rare.get_or_insert_default().problems = problems;
        self
    }

    /// Where its page leads on, if not where its code usually does: a path of ours.
    pub fn way_on(&self) -> Option<&str> {
        self.rare.as_ref()?.way_on.as_deref()
    }

    /// What is wrong with the configuration, if it is that.
    pub fn problems(&self) -> &[Problem] {
        self.rare.as_ref().map_or(&[], |rare| &rare.problems)
    }

    /// Names the member at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<Box<str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry = Some(Retry::After(wait));
        self
    }

    /// Names the moment from which on it works.
    #[must_use]
    pub fn retry_at(mut self, moment: Timestamp) -> Self {
        self.retry = Some(Retry::At(moment));
        self
    }

    /// How long a person who reads the page should wait, where that is a matter of moments.
    pub fn wait(&self) -> Option<Duration> {
        match self.retry {
            Some(Retry::After(wait)) => Some(wait),
            Some(Retry::At(_)) | None => None,
        }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets or clears a cookie with the answer.
    #[must_use]
    pub fn cookie(self, cookie: &Cookie<'_>) -> Self {
        match HeaderValue::from_str(&cookie.encoded().to_string()) {
            Ok(value) => self.header(SET_COOKIE, value),
            // Our cookies hold base64url and fixed words: there is nothing that a header refuses.
            Err(_) => self,
        }
    }

    /// Keeps what the log should say.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into_boxed_str());
        self
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for ApiError {}

/// Only the status: the body and the headers are written by [`crate::routes::edge`], which knows
/// the request.
impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl From<crate::store::error::StoreError> for ApiError {
    fn from(error: crate::store::error::StoreError) -> Self {
        if error.is_transient() {
            Self::new(ErrorCode::StoreUnavailable, "Try again in a moment; nothing is lost.")
                .retry_after(Duration::from_secs(1))
                .cause(error)
        } else {
            Self::new(ErrorCode::Internal, "Nothing you did caused this; it has been noted.")
                .cause(error)
        }
    }
}
