//! Why a sign-in at a provider failed.

use super::id_token::TokenProblem;
use crate::actors::mailbox::AskError;
use crate::error::{ApiError, ErrorCode};

/// Why a sign-in at a provider failed. What it prints may be logged: no secret, token or code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It cannot be connected to.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer completely in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// Its answer is an error, a redirect, too large or not what it must be.
    #[error("the provider's answer is unusable: {0}")]
    Answer(String),
    /// Its token endpoint refused (RFC 6749 §5.2).
    #[error("the provider's token endpoint refused with the error {error:?}")]
    Refused {
        /// The `error` code, stripped of what is not printable.
        error: String,
        /// The `error_description`, likewise. It may quote what we sent, so it is not printed.
        description: Option<String>,
    },
    /// What it says about the person cannot be believed.
    #[error("the provider's token is refused: {0}")]
    Token(#[from] TokenProblem),
    /// The settings or the provider's metadata cannot work.
    #[error("the provider cannot be used: {0}")]
    Misconfigured(String),
    /// The keeper of the metadata did not answer.
    #[error(transparent)]
    Busy(#[from] AskError),
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        const AGAIN: &str = "Try again in a moment, or sign in another way.";
        const START_OVER: &str = "Start the sign-in again.";
        let (code, detail) = match &error {
            ProviderError::Unreachable(_) | ProviderError::Timeout => {
                (ErrorCode::ProviderTimeout, AGAIN)
            }
            ProviderError::Answer(_) | ProviderError::Misconfigured(_) => {
                (ErrorCode::ProviderError, AGAIN)
            }
            // The code itself is at fault: forged, spent or too old.
            ProviderError::Refused { error, .. } if is_about_the_code(error) => {
                (ErrorCode::ProviderTokenInvalid, START_OVER)
            }
            ProviderError::Refused { .. } => (ErrorCode::ProviderError, AGAIN),
            ProviderError::Token(_) => (ErrorCode::ProviderTokenInvalid, START_OVER),
            ProviderError::Busy(busy) => return (*busy).into(),
        };
        Self::new(code, detail).cause(error)
    }
}

/// RFC 6749 §5.2, and what GitHub says in its place.
fn is_about_the_code(error: &str) -> bool {
    matches!(error, "invalid_grant" | "bad_verification_code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code() {
        let code = |error: ProviderError| ApiError::from(error).code;
        let refused =
            |error: &str| ProviderError::Refused { error: error.to_owned(), description: None };
        assert_eq!(code(ProviderError::Timeout), ErrorCode::ProviderTimeout);
        assert_eq!(code(ProviderError::Unreachable(String::new())), ErrorCode::ProviderTimeout);
        assert_eq!(code(ProviderError::Answer(String::new())), ErrorCode::ProviderError);
        assert_eq!(code(ProviderError::Misconfigured(String::new())), ErrorCode::ProviderError);
        assert_eq!(code(refused("invalid_client")), ErrorCode::ProviderError);
        assert_eq!(code(refused("invalid_grant")), ErrorCode::ProviderTokenInvalid);
        assert_eq!(code(refused("bad_verification_code")), ErrorCode::ProviderTokenInvalid);
        assert_eq!(code(TokenProblem::Nonce.into()), ErrorCode::ProviderTokenInvalid);
        assert_eq!(code(AskError::Full.into()), ErrorCode::Overloaded);
    }

    #[test]
    fn a_description_that_may_quote_the_code_is_not_printed() {
        let error = ProviderError::Refused {
            error: "invalid_grant".to_owned(),
            description: Some("code abc123 has expired".to_owned()),
        };
        assert!(!error.to_string().contains("abc123"));
    }
}
