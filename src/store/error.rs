//! The store layer's one error type.

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer in time, too many waiting, or the database is starting or stopping.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The connection broke after a commit was sent: it may or may not have happened.
    #[error("it is unknown whether the database committed: {0}")]
    OutcomeUnknown(String),
    /// Nothing can be written: the disk is full or the file is read-only.
    #[error("the database cannot be written: {0}")]
    Unwritable(String),
    /// A row breaks what the code relies on.
    #[error("the database holds a row that cannot be: {0}")]
    Inconsistent(String),
    /// The statement itself was refused: a bug, or a schema that does not fit.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether asking again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::OutcomeUnknown(_) | Self::Unwritable(_))
    }
}

/// Why a store could not be opened or migrated; for operators.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached or opened.
    #[error("{0}")]
    Unreachable(String),
    /// The server does not answer, or takes no connections yet: another try may find it.
    #[error("{0}")]
    Unanswering(String),
    /// Migrations are missing and may not be applied.
    #[error(
        "the database schema is at version {found}, this binary needs {needed}; run `latchkey migrate`, or set store.migrate_on_start = true"
    )]
    Outdated {
        /// Version found.
        found: u32,
        /// Version needed.
        needed: u32,
    },
    /// The schema is newer than this binary and says that it cannot work with it.
    #[error(
        "the database schema is at version {found} and works with binaries from schema {oldest} on; this binary knows {known}. Start a newer latchkey"
    )]
    TooNew {
        /// Version found.
        found: u32,
        /// Oldest binary schema that works with it.
        oldest: u32,
        /// Newest version that this binary knows.
        known: u32,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration failed: {0}")]
    Migration(String),
}
