//! Configuration: from a file, the environment and references to secrets to typed [`settings`].
//!
//! `source` makes one tree out of file and environment; `sections` says which keys there are, and asks
//! a `section` for each; `values` says what they mean; `reader` keeps account of keys and problems.

pub mod change;
mod privacy;
pub mod problem;
mod reader;
mod redaction;
mod section;
mod sections;
pub mod settings;
mod source;
#[cfg(test)]
mod tests;
pub mod units;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::protocol::audit_chain::Digest;
use problem::{Problem, Problems, Refusal};
use reader::{Account, Reader, Surroundings, read_error};
pub use settings::Settings;
use source::{Provenance, SyntaxError};

/// Names the file, where `--config` does not.
const FILE_VARIABLE: &str = "LATCHKEY_CONFIG";
/// Lets files with secrets be open to others, if it is 1.
const OPEN_SECRETS_VARIABLE: &str = "LATCHKEY_ALLOW_OPEN_SECRETS";

/// Where to look for a configuration.
#[derive(Clone)]
pub struct Request {
    /// The file that `--config` names.
    pub explicit: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Where relative paths on the command line start from.
    pub working_directory: PathBuf,
}

impl Request {
    /// What this process was started with. What is not Unicode in the environment is replaced.
    pub fn of_process(explicit: Option<PathBuf>) -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            explicit,
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            working_directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        }
    }

    /// The file to read: the one that is named, else the first that is there.
    fn file(&self) -> Option<PathBuf> {
        let variable = |name| self.environment.get(name).filter(|value| !value.is_empty());
        if let Some(named) =
            self.explicit.clone().or_else(|| variable(FILE_VARIABLE).map(PathBuf::from))
        {
            return Some(self.working_directory.join(named));
        }
        let home =
            variable("HOME").map(|home| Path::new(home).join(".config/latchkey/latchkey.toml"));
        [
            Some("latchkey.toml".into()),
            Some("config/latchkey.toml".into()),
            home,
            Some("/etc/latchkey/latchkey.toml".into()),
        ]
        .into_iter()
        .flatten()
        .map(|path| self.working_directory.join(path))
        .find(|path| path.is_file())
    }

    /// A path as it is shown: relative to the working directory where it lies in it.
    fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.working_directory) {
            Ok(inside) => Path::new(".")
                .join(inside.strip_prefix(".").unwrap_or(inside))
                .display()
                .to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// A valid configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it comes down to.
    pub settings: Settings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Every key, in the order of the documentation.
    pub entries: Vec<Entry>,
    /// What works, but should be known.
    pub warnings: Vec<String>,
}

/// One key of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its path, such as `tokens.access_ttl`.
    pub key: String,
    /// Its value; `null` if it is not set, `"[redacted]"` if it is a secret.
    pub value: serde_json::Value,
    /// `default`, `preset NAME`, `FILE line N` or `environment NAME`; with the reference behind it.
    pub origin: String,
    /// Stands for what it really is, secrets and what is behind references included.
    #[serde(skip)]
    content: Fingerprint,
}

/// Tells whether two values are the same, without holding either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes))
    }
}

/// Short secrets could be found by trying, so it is not shown.
impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[fingerprint]")
    }
}

/// Reads a configuration again, from where it came.
pub type Source = Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// What a server is started with.
#[derive(Clone)]
pub struct Given {
    /// The settings.
    pub settings: Settings,
    /// Every key.
    pub entries: Vec<Entry>,
    /// Where to read them again; `None` for settings that somebody made by hand.
    pub source: Option<Source>,
}

impl Given {
    /// What was loaded, and will be from the same place.
    pub fn new(loaded: Loaded, source: Source) -> Self {
        Self { settings: loaded.settings, entries: loaded.entries, source: Some(source) }
    }
}

impl From<Settings> for Given {
    fn from(settings: Settings) -> Self {
        Self { settings, entries: Vec::new(), source: None }
    }
}

/// Finds and reads the configuration.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(request: &Request) -> Result<Loaded, Problems> {
    let file = request.file();
    let shown = file.as_deref().map(|file| request.shown(file));
    let text = match &file {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| unreadable(shown.clone(), &error))?
        }
        None => String::new(),
    };
    let base = file.as_deref().and_then(Path::parent).unwrap_or(&request.working_directory);
    let allow_open_secrets =
        request.environment.get(OPEN_SECRETS_VARIABLE).is_some_and(|value| value == "1");
    let mut reading = Reading::start(
        &text,
        Surroundings {
            file: shown.clone(),
            base: base.to_owned(),
            environment: request.environment.clone(),
            allow_open_secrets,
        },
    );
    if let (Some(file), Some(shown)) = (&file, &shown) {
        reading.check_privacy(file, shown);
    }
    let (settings, account) = reading.finish(shown)?;
    Ok(Loaded { settings, file, entries: account.entries, warnings: account.warnings })
}

/// Reads a configuration from text alone: no environment, relative paths start from `base`.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, base: &Path) -> Result<Settings, Problems> {
    let surroundings = Surroundings {
        file: Some("latchkey.toml".to_owned()),
        base: base.to_owned(),
        environment: BTreeMap::new(),
        allow_open_secrets: false,
    };
    let file = surroundings.file.clone();
    Reading::start(text, surroundings).finish(file).map(|(settings, _)| settings)
}

fn unreadable(shown: Option<String>, error: &std::io::Error) -> Problems {
    let problem = Problem {
        file: shown.clone(),
        reason: format!("cannot be read: {}", read_error(error)),
        ..Problem::default()
    };
    Problems { file: shown, problems: vec![problem] }
}

/// One reading of a text and the environment.
struct Reading {
    reader: Reader,
    settings: Option<Settings>,
    syntax_errors: Vec<SyntaxError>,
}

impl Reading {
    fn start(text: &str, surroundings: Surroundings) -> Self {
        let (mut tree, syntax_errors) = source::parse(text);
        let environment = surroundings.environment.clone();
        let variables = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let misfits = source::overlay(&mut tree, variables);
        let mut reader = Reader::new(surroundings);
        for (name, refusal) in misfits {
            reader.refuse_at(&name, &Provenance::Variable(name.clone()), refusal);
        }
        let settings = reader.read(tree, sections::read);
        Self { reader, settings, syntax_errors }
    }

    /// A file that itself holds a secret is for its owner alone.
    fn check_privacy(&mut self, file: &Path, shown: &str) {
        if self.reader.has_inline_secrets() {
            self.reader.check_privacy("", file, shown);
        }
    }

    fn finish(self, file: Option<String>) -> Result<(Settings, Account), Problems> {
        let mut account = self.reader.finish();
        let mut problems = std::mem::take(&mut account.problems);
        if !self.syntax_errors.is_empty() {
            // What could not be read is neither missing nor wrong in any other way.
            let is_broken = |line| self.syntax_errors.iter().any(|error| error.line == line);
            problems.retain(|problem| match problem.line {
                Some(line) => !is_broken(line),
                None => problem.variable.is_some() || problem.key.is_empty(),
            });
        }
        problems.extend(
            self.syntax_errors.into_iter().map(|error| syntax_problem(error, file.clone())),
        );
        problems.sort_by_key(Problem::order);
        match self.settings {
            Some(settings) if problems.is_empty() => Ok((settings, account)),
            _ => Err(Problems { file, problems }),
        }
    }
}

fn syntax_problem(error: SyntaxError, file: Option<String>) -> Problem {
    let Refusal { reason, remedy } = Refusal::new(format!("is not TOML: {}", error.message));
    Problem { file, line: Some(error.line), reason, remedy, ..Problem::default() }
}
