//! Why a command did not do it: one clear sentence on standard error, exit status 1.

use std::fmt::Display;
use std::path::Path;

/// What a person reads.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// The sentence of an error.
    pub fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }

    /// What is the matter with a file or folder.
    pub fn about(path: &Path, what: &str, error: &dyn Display) -> Self {
        Self(format!("{} {what}: {error}", path.display()))
    }

    /// Problems found before anything was started.
    pub fn nothing_was_started(problems: impl Display) -> Self {
        Self(format!("{problems}\nNothing was started."))
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
