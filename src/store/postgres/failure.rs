//! What went wrong with a statement, and what that means for its transaction.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::error::StoreError;

/// Why a statement did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone or does not answer: what was sent may or may not have happened.
    Lost(StoreError),
    /// Another transaction was in the way: nothing happened, and trying again makes sense.
    Conflict(StoreError),
    /// The server gave up waiting: nothing happened, and trying again at once makes no sense.
    Busy(StoreError),
    /// The server refused: nothing happened.
    Refused(StoreError),
}

impl Failure {
    /// What callers of the store get to know.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Lost(error)
            | Self::Conflict(error)
            | Self::Busy(error)
            | Self::Refused(error) => error,
        }
    }

    /// Whether the connection is of no more use. A server that cannot be written is left, too: after a
    /// failover another of the hosts is the primary.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Refused(StoreError::Unwritable(_)))
    }

    /// A row that breaks what the code relies on.
    pub(super) fn inconsistent(what: impl Into<String>) -> Self {
        Self::Refused(StoreError::Inconsistent(what.into()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            return of_server(refusal);
        }
        let is_io =
            std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>());
        if error.is_closed() || is_io {
            Self::Lost(StoreError::Unavailable(error.to_string()))
        } else {
            // A value that does not fit its column's type: the driver's text names types, not values.
            Self::Refused(StoreError::Refused(error.to_string()))
        }
    }
}

/// Judges by SQLSTATE (PostgreSQL manual, appendix A), never by the text.
fn of_server(refusal: &DbError) -> Failure {
    let code = refusal.code();
    let text = describe(refusal);
    if *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE {
        Failure::Conflict(StoreError::Unavailable(text))
    } else if *code == SqlState::QUERY_CANCELED {
        Failure::Busy(StoreError::Unavailable(text))
    } else if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::OUT_OF_MEMORY {
        Failure::Refused(StoreError::Unavailable(text))
    } else if *code == SqlState::DISK_FULL
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IO_ERROR
    {
        Failure::Refused(StoreError::Unwritable(text))
    } else if is_disconnection(code) {
        Failure::Lost(StoreError::Unavailable(text))
    } else {
        Failure::Refused(StoreError::Refused(text))
    }
}

/// Whether the server ends the connection or takes none: it is stopping, starting or full.
pub(super) fn is_disconnection(code: &SqlState) -> bool {
    code.code().starts_with("57P")
        || code.code().starts_with("08")
        || *code == SqlState::TOO_MANY_CONNECTIONS
}

/// Names what was refused without any value of a row. The server's own words are only kept where they
/// can hold names alone: syntax and access (class 42) and its own state (57, 53, 08).
fn describe(refusal: &DbError) -> String {
    let code = refusal.code().code();
    let mut text = format!("SQLSTATE {code}");
    if ["42", "57", "53", "08", "25"].iter().any(|class| code.starts_with(class)) {
        text = format!("{text}, {}", refusal.message());
    }
    for (kind, name) in [
        ("table", refusal.table()),
        ("column", refusal.column()),
        ("constraint", refusal.constraint()),
    ] {
        if let Some(name) = name {
            text = format!("{text}, {kind} {name}");
        }
    }
    text
}

/// Gives a statement so much time and no more; one that needs longer costs its connection.
pub(super) async fn within<T, E>(
    limit: Duration,
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    match tokio::time::timeout(limit, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Lost(StoreError::Unavailable(format!(
            "no answer within {} s",
            limit.as_secs()
        )))),
    }
}
