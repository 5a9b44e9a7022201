//! Why a command did not do it: one clear sentence on standard error, exit status 1; 2 for wrong usage.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// What a person reads.
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    is_usage: bool,
}

impl Failure {
    /// A sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), is_usage: false }
    }

    /// What is wrong with how the command was called: exit status 2.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), is_usage: true }
    }

    /// The exit status that it leads to.
    pub fn status(&self) -> ExitCode {
        if self.is_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
    }

    /// The sentence of an error.
    pub fn of(error: impl Display) -> Self {
        Self::new(error.to_string())
    }

    /// What is the matter with a file or folder.
    pub fn about(path: &Path, what: &str, error: &dyn Display) -> Self {
        Self::new(format!("{} {what}: {error}", path.display()))
    }

    /// Problems found before anything was started.
    pub fn nothing_was_started(problems: impl Display) -> Self {
        Self::new(format!("{problems}\nNothing was started."))
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.sentence)
    }
}
