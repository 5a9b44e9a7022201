//! Reads the untyped tree into typed values, section by section, and keeps the account: which keys
//! there are, what each came to, and everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::problem::{Problem, Refusal, nearest};
use super::redaction::{REDACTED, Show};
use super::section::Section;
use super::source::{Node, Provenance, Table, Value, variable_name};
use super::{Entry, Fingerprint, privacy};

/// The one key whose own notation begins with `file:`, so that it is no reference there.
const TAKES_FILE_PREFIX: &str = "avatars.store";

/// Where systemd hands secrets to a service (`LoadCredential=`).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// A value that was understood, or why it was not.
pub(super) type Parsed<T> = Result<T, Refusal>;

/// What the tree is read against.
pub(super) struct Surroundings {
    /// How the file is called in messages.
    pub(super) file: Option<String>,
    /// The folder that relative paths start from.
    pub(super) base: PathBuf,
    /// The environment, for `env:NAME`.
    pub(super) environment: BTreeMap<String, String>,
    /// Whether files with secrets may be open to others.
    pub(super) allow_open_secrets: bool,
}

/// A key that has been read.
struct Record {
    key: String,
    /// What it came to.
    effective: Json,
    /// Stands for what it is beneath.
    content: Fingerprint,
    /// What a problem shows of it.
    shown: Option<String>,
    provenance: Provenance,
    reference: Option<String>,
}

/// A key that nobody asked for.
struct Unknown {
    section: String,
    key: String,
    provenance: Provenance,
}

/// The account of one reading.
pub(super) struct Reader {
    surroundings: Surroundings,
    records: Vec<Record>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    unknown: Vec<Unknown>,
    /// Section (without the numbers of list elements) and key.
    known: BTreeSet<(String, &'static str)>,
    /// Whether a secret stands in the file itself.
    has_inline_secrets: bool,
}

/// What a reading came to.
pub(super) struct Account {
    pub(super) entries: Vec<Entry>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Every key that was asked for, without the numbers of list elements.
    #[cfg(test)]
    pub(super) known: BTreeSet<String>,
}

impl Reader {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            records: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            unknown: Vec::new(),
            known: BTreeSet::new(),
            has_inline_secrets: false,
        }
    }

    /// Reads the whole tree with `read`.
    pub(super) fn read<T>(&mut self, table: Table, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        self.section(String::new(), table, read)
    }

    pub(super) fn section<T>(
        &mut self,
        path: String,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section::new(self, path, table);
        let result = read(&mut section);
        section.finish();
        result
    }

    /// The account, once everything has been read.
    pub(super) fn finish(mut self) -> Account {
        for unknown in std::mem::take(&mut self.unknown) {
            let problem = self.judge_unknown(&unknown);
            self.problems.push(problem);
        }
        let entries = self.records.iter().map(|record| self.entry(record)).collect();
        Account {
            entries,
            problems: self.problems,
            warnings: self.warnings,
            #[cfg(test)]
            known: self.known.iter().map(|(section, key)| joined(section, key)).collect(),
        }
    }

    fn entry(&self, record: &Record) -> Entry {
        let file = || self.surroundings.file.as_deref().unwrap_or("the configuration");
        let mut origin = match &record.provenance {
            Provenance::Default => "default".to_owned(),
            Provenance::Preset(name) => format!("preset {name}"),
            Provenance::Line(line) => format!("{} line {line}", file()),
            Provenance::Variable(name) => format!("environment {name}"),
        };
        if let Some(reference) = &record.reference {
            origin.push_str(", ");
            origin.push_str(reference);
        }
        Entry {
            key: record.key.clone(),
            value: record.effective.clone(),
            origin,
            content: record.content,
        }
    }

    /// Makes a key known, so that it can be suggested.
    pub(super) fn know(&mut self, section: &str, key: &'static str) {
        self.known.insert((generic(section), key));
    }

    /// Remembers a key that nobody asked for; it is judged once all keys are known.
    pub(super) fn found_unknown(&mut self, section: &str, key: String, provenance: Provenance) {
        self.unknown.push(Unknown { section: section.to_owned(), key, provenance });
    }

    /// Refuses what stands at a place of its own, read or not.
    pub(super) fn refuse_at(&mut self, key: &str, provenance: &Provenance, refusal: Refusal) {
        let problem = self.problem(key, None, provenance, refusal);
        self.problems.push(problem);
    }

    /// Refuses a key that has been read, for how it goes with others.
    pub(super) fn refuse(&mut self, key: &str, refusal: Refusal) {
        // A list that holds anything is on record by its elements.
        let first = format!("{key}[0]");
        let find = |key: &str| self.records.iter().find(|record| record.key == key);
        let problem = match find(key).or_else(|| find(&first)) {
            Some(record) => {
                let shown = record.shown.clone().filter(|_| record.key == key);
                self.problem(key, shown, &record.provenance, refusal)
            }
            None => self.problem(key, None, &Provenance::Default, refusal),
        };
        self.problems.push(problem);
    }

    /// Something that the operator ought to know, though it works.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Where a path of the configuration leads.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.surroundings.base.join(path)
    }

    /// The same from the folder in which the command runs, as it has to be written in a shell.
    fn seen_from_here(&self, path: &str) -> String {
        let file = self.surroundings.file.as_deref().map(Path::new);
        match file.and_then(Path::parent).filter(|folder| *folder != Path::new(".")) {
            Some(folder) => folder.join(path).display().to_string(),
            None => path.to_owned(),
        }
    }

    /// Whether a secret stands in the file itself, rather than behind a reference.
    pub(super) fn has_inline_secrets(&self) -> bool {
        self.has_inline_secrets
    }

    /// Refuses (or, where that is overridden, warns about) a file with a secret that is open to
    /// others. `key` names it; where there is none, it is the configuration itself.
    pub(super) fn check_privacy(&mut self, key: &str, path: &Path, shown: &str) {
        let shown = if key.is_empty() { shown.to_owned() } else { self.seen_from_here(shown) };
        let credentials = self.surroundings.environment.get(CREDENTIALS_VARIABLE).map(Path::new);
        let Err(refusal) = privacy::check(path, &shown, credentials) else { return };
        if self.surroundings.allow_open_secrets {
            self.warn(format!("{key} {}", refusal.reason));
        } else {
            self.refuse(key, refusal);
        }
    }

    fn problem(
        &self,
        key: &str,
        value: Option<String>,
        provenance: &Provenance,
        refusal: Refusal,
    ) -> Problem {
        let line = if let Provenance::Line(line) = provenance { Some(*line) } else { None };
        let variable =
            if let Provenance::Variable(name) = provenance { Some(name.clone()) } else { None };
        Problem {
            file: line.and(self.surroundings.file.clone()),
            line,
            variable,
            key: key.to_owned(),
            value,
            reason: refusal.reason,
            remedy: refusal.remedy,
        }
    }

    fn judge_unknown(&self, unknown: &Unknown) -> Problem {
        let section = generic(&unknown.section);
        let is_variable = matches!(unknown.provenance, Provenance::Variable(_));
        let here = || self.known.iter().filter(|(owner, _)| *owner == section).map(|(_, key)| *key);
        let refusal = if section.is_empty() {
            Refusal::new("is not a section")
        } else {
            Refusal::new(format!("is not a key of {}", title(&section)))
        };
        let elsewhere = self.known.iter().find(|(_, key)| *key == unknown.key);
        let refusal = if let Some(key) = nearest(&unknown.key, here()) {
            let path = joined(&unknown.section, key);
            refusal.did_you_mean(Some(if is_variable {
                variable_name(&path)
            } else {
                key.to_owned()
            }))
        } else if let Some((owner, key)) = elsewhere.filter(|(owner, _)| !owner.is_empty()) {
            refusal.remedy(format!("{key} belongs to {}", title(owner)))
        } else {
            refusal.remedy(format!("there are {}", here().collect::<Vec<_>>().join(", ")))
        };
        let path = joined(&unknown.section, &unknown.key);
        self.problem(&path, None, &unknown.provenance, refusal)
    }

    /// Follows `env:NAME` and `file:PATH`; anything else is itself.
    fn follow(&self, key: &str, value: &Value) -> Parsed<Followed> {
        let Some(text) = value.as_text() else { return Ok(Followed::itself(value)) };
        if let Some(name) = text.strip_prefix("env:") {
            let found = self.surroundings.environment.get(name);
            let found =
                found.ok_or_else(|| Refusal::new(format!("the environment has no {name}")))?;
            return Ok(Followed {
                value: Value::Loose(found.clone()),
                reference: Some(text.to_owned()),
                file: None,
            });
        }
        match text.strip_prefix("file:") {
            Some(path) if key != TAKES_FILE_PREFIX => {
                let file = self.resolve(path);
                let content = fs::read_to_string(&file).map_err(|error| {
                    Refusal::new(format!("{path} cannot be read: {}", read_error(&error)))
                })?;
                let content = content.strip_suffix('\n').unwrap_or(&content);
                let content = content.strip_suffix('\r').unwrap_or(content);
                Ok(Followed {
                    value: Value::Loose(content.to_owned()),
                    reference: Some(text.to_owned()),
                    file: Some(file),
                })
            }
            _ => Ok(Followed::itself(value)),
        }
    }

    /// Turns one value into what it means and keeps account of it.
    pub(super) fn convert<T>(
        &mut self,
        key: &str,
        node: &Node,
        show: Show,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        let followed = match self.follow(key, &node.value) {
            Ok(followed) => followed,
            Err(refusal) => {
                let shown = Some(node.value.to_json().to_string());
                self.problems.push(self.problem(key, shown, &node.provenance, refusal));
                return None;
            }
        };
        let effective = show(&followed.value);
        let is_secret = effective != followed.value.to_json();
        // A reference is no secret, and what is behind it may be one whatever the key is.
        let shown = match &followed.reference {
            Some(reference) => Some(Json::from(reference.as_str()).to_string()),
            None if effective == REDACTED => None,
            None => Some(effective.to_string()),
        };
        self.records.push(Record {
            key: key.to_owned(),
            effective,
            content: fingerprint(&followed.value.to_json()),
            shown: shown.clone(),
            provenance: node.provenance.clone(),
            reference: followed.reference.clone(),
        });
        match (&followed.file, &followed.reference, &node.provenance) {
            (Some(file), Some(reference), _) if is_secret => {
                self.check_privacy(key, file, reference.trim_start_matches("file:"));
            }
            (None, None, Provenance::Line(_)) if is_secret => self.has_inline_secrets = true,
            _ => {}
        }
        match parse(&followed.value) {
            Ok(parsed) => Some(parsed),
            Err(refusal) => {
                self.problems.push(self.problem(key, shown, &node.provenance, refusal));
                None
            }
        }
    }

    /// A variable of our own that is no key, if it is set.
    pub(super) fn variable<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<T> {
        let text = self.surroundings.environment.get(name).filter(|text| !text.is_empty())?.clone();
        let effective = Json::from(text.as_str());
        let (shown, provenance) = (effective.to_string(), Provenance::Variable(name.to_owned()));
        let parsed = parse(&text).map_err(|refusal| {
            self.problems.push(self.problem(name, Some(shown.clone()), &provenance, refusal));
        });
        let (key, shown, content) = (name.to_owned(), Some(shown), fingerprint(&effective));
        self.records.push(Record { key, effective, content, shown, provenance, reference: None });
        parsed.ok()
    }

    pub(super) fn record_unset(&mut self, key: String, effective: Json, provenance: Provenance) {
        let shown = (!effective.is_null()).then(|| effective.to_string());
        let content = fingerprint(&effective);
        self.records.push(Record { key, effective, content, shown, provenance, reference: None });
    }
}

/// The environment has no types: a number there is the same as in the file.
fn fingerprint(value: &Json) -> Fingerprint {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Fingerprint::of(text.as_bytes())
}

/// A value after its reference, if it is one, has been followed.
struct Followed {
    value: Value,
    reference: Option<String>,
    file: Option<PathBuf>,
}

impl Followed {
    fn itself(value: &Value) -> Self {
        Self { value: value.clone(), reference: None, file: None }
    }
}

impl Reader {
    pub(super) fn table(&mut self, path: &str, node: Node) -> Option<Table> {
        if let Value::Table(table) = node.value {
            return Some(table);
        }
        let refusal = Refusal::new(format!("is {}; a table belongs here", node.value.kind()));
        self.refuse_at(path, &node.provenance, refusal);
        None
    }

    pub(super) fn elements<T>(
        &mut self,
        path: &str,
        node: Node,
        show: Show,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Vec<T> {
        let Value::List(items) = node.value else {
            let is_variable = matches!(node.provenance, Provenance::Variable(_));
            let refusal = Refusal::new(format!("is {}; a list belongs here", node.value.kind()));
            let refusal = if is_variable {
                refusal.remedy(format!("number the elements: {}__0", variable_name(path)))
            } else {
                refusal.remedy("put [ ] around it")
            };
            self.refuse_at(path, &node.provenance, refusal);
            return Vec::new();
        };
        if items.is_empty() {
            self.record_unset(path.to_owned(), Json::Array(Vec::new()), node.provenance);
        }
        let convert = |(index, item): (usize, Node)| {
            self.convert(&format!("{path}[{index}]"), &item, show, &parse)
        };
        items.into_iter().enumerate().filter_map(convert).collect()
    }
}

/// A path without the numbers of list elements: `providers[3]` is `providers[]`.
pub(super) fn generic(path: &str) -> String {
    path.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// A section as the file writes its heading.
fn title(generic: &str) -> String {
    match generic.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{}]", generic.replace("[]", "")),
    }
}

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Why a file cannot be read, without the number of the system's error.
pub(super) fn read_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it is not allowed".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}
