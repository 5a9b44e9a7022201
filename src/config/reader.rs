//! Reads the untyped tree into typed values, section by section, and keeps the account: which keys
//! there are, what each came to, and everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::problem::{Problem, Refusal, nearest};
use super::source::{Node, Provenance, Table, Value, variable_name};
use super::{Entry, privacy};

/// What stands for a secret wherever values are shown.
pub(super) const REDACTED: &str = "[redacted]";

/// The one key whose own notation begins with `file:`, so that it is no reference there.
const TAKES_FILE_PREFIX: &str = "avatars.store";

/// A value that was understood, or why it was not.
pub(super) type Parsed<T> = Result<T, Refusal>;

/// How a value is shown; what it changes is a secret.
type Show = fn(&Value) -> Json;

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

    fn section<T>(
        &mut self,
        path: String,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section { reader: self, path, table };
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
        Account { entries, problems: self.problems, warnings: self.warnings }
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
        Entry { key: record.key.clone(), value: record.effective.clone(), origin }
    }

    /// Refuses a key that has been read, for how it goes with others.
    pub(super) fn refuse(&mut self, key: &str, refusal: Refusal) {
        let record = self.records.iter().find(|record| record.key == key);
        let problem = match record {
            Some(record) => self.problem(key, record.shown.clone(), &record.provenance, refusal),
            None => self.problem(key, None, &Provenance::Default, refusal),
        };
        self.problems.push(problem);
    }

    /// Refuses a variable that does not fit into the tree.
    pub(super) fn refuse_variable(&mut self, name: String, refusal: Refusal) {
        let problem = self.problem(&name, None, &Provenance::Variable(name.clone()), refusal);
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

    /// Whether a secret stands in the file itself, rather than behind a reference.
    pub(super) fn has_inline_secrets(&self) -> bool {
        self.has_inline_secrets
    }

    /// Refuses (or, where that is overridden, warns about) a file with a secret that is open to
    /// others. `key` names it.
    pub(super) fn check_privacy(&mut self, key: &str, path: &Path, shown: &str) {
        let Err(refusal) = privacy::check(path, shown) else { return };
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
    fn convert<T>(
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

    fn record_unset(&mut self, key: String, effective: Json, provenance: Provenance) {
        let shown = (!effective.is_null()).then(|| effective.to_string());
        self.records.push(Record { key, effective, shown, provenance, reference: None });
    }
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

/// One table while it is read. Asking for a key makes it known; what is left over is unknown.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    table: Table,
}

impl Section<'_> {
    /// The account that this is part of.
    pub(super) fn reader(&mut self) -> &mut Reader {
        self.reader
    }

    /// The full path of one of this table's keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        joined(&self.path, key)
    }

    /// Refuses a key of this table, for how it goes with others.
    pub(super) fn refuse(&mut self, key: &str, refusal: Refusal) {
        let path = self.path_of(key);
        self.reader.refuse(&path, refusal);
    }

    /// Whether anything was set for a key that has not been read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> (String, Option<Node>) {
        self.reader.known.insert((generic(&self.path), key));
        (self.path_of(key), self.table.remove(key))
    }

    /// A value that is `default`, in the notation of the file, unless it is set.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: impl Into<Value>,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> T {
        let default = default.into();
        self.or_from(key, default.clone(), Provenance::Default, &parse).unwrap_or_else(|| {
            // The problem is on record; the value only lets the reading go on.
            legal(parse(&default))
        })
    }

    /// A value that a preset gives unless it is set; `None` only if what is set is wrong.
    pub(super) fn or_from<T>(
        &mut self,
        key: &'static str,
        default: Value,
        provenance: Provenance,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        let (path, node) = self.take(key);
        match node {
            Some(node) => self.reader.convert(&path, &node, plainly, parse),
            None => {
                self.reader.record_unset(path, default.to_json(), provenance);
                Some(legal(parse(&default)))
            }
        }
    }

    /// A value that need not be there.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        self.optional_shown(key, plainly, parse)
    }

    /// A secret that need not be there.
    pub(super) fn optional_secret<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        self.optional_shown(key, redacted, parse)
    }

    fn optional_shown<T>(
        &mut self,
        key: &'static str,
        show: Show,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        let (path, node) = self.take(key);
        match node {
            Some(node) => self.reader.convert(&path, &node, show, parse),
            None => {
                self.reader.record_unset(path, Json::Null, Provenance::Default);
                None
            }
        }
    }

    /// A value that must be there. `remedy` says how to come by one.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.refuse_missing(key, remedy);
        }
        self.optional(key, parse)
    }

    /// Reports a key that must be there and is not.
    pub(super) fn refuse_missing(&mut self, key: &'static str, remedy: &str) {
        let path = self.path_of(key);
        let variable = variable_name(&path);
        self.reader.refuse(
            &path,
            Refusal::new("is required").remedy(format!("{remedy}, in the file or as {variable}")),
        );
    }

    /// A list of values, empty unless it is set.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Vec<T> {
        self.list_or(key, &[], Provenance::Default, parse)
    }

    /// A list of texts that a preset may give.
    pub(super) fn list_or<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        provenance: Provenance,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Vec<T> {
        let (path, node) = self.take(key);
        match node {
            Some(node) => self.reader.elements(&path, node, plainly, parse),
            None => {
                self.reader.record_unset(path, default.into(), provenance);
                default.iter().map(|text| legal(parse(&Value::from(*text)))).collect()
            }
        }
    }

    /// One secret or a list of them.
    pub(super) fn secrets<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Vec<T> {
        let (path, node) = self.take(key);
        match node {
            Some(node) if matches!(node.value, Value::List(_)) => {
                self.reader.elements(&path, node, redacted, parse)
            }
            Some(node) => self.reader.convert(&path, &node, redacted, parse).into_iter().collect(),
            None => {
                self.reader.record_unset(path, Json::Null, Provenance::Default);
                Vec::new()
            }
        }
    }

    /// A table inside this one. It is read even if it is not there: its keys have defaults.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let (path, node) = self.take(key);
        let table = node.and_then(|node| self.reader.table(&path, node)).unwrap_or_default();
        self.reader.section(path, table, read)
    }

    /// A table that need not be there.
    pub(super) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let (path, node) = self.take(key);
        let Some(node) = node else {
            self.reader.record_unset(path, Json::Null, Provenance::Default);
            return None;
        };
        let table = self.reader.table(&path, node)?;
        Some(self.reader.section(path, table, read))
    }

    /// A list of tables, each read by itself.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let (path, node) = self.take(key);
        let Some(node) = node else { return Vec::new() };
        let Value::List(items) = node.value else {
            let refusal =
                Refusal::new(format!("is {}; a list of tables belongs here", node.value.kind()))
                    .remedy(format!("write [[{path}]]"));
            let problem = self.reader.problem(&path, None, &node.provenance, refusal);
            self.reader.problems.push(problem);
            return Vec::new();
        };
        let read_one = |(index, item)| {
            let path = format!("{path}[{index}]");
            let table = self.reader.table(&path, item)?;
            Some(self.reader.section(path, table, &read))
        };
        items.into_iter().enumerate().filter_map(read_one).collect()
    }

    fn finish(self) {
        for (key, node) in self.table {
            self.reader.unknown.push(Unknown {
                section: self.path.clone(),
                key,
                provenance: node.provenance,
            });
        }
    }
}

impl Reader {
    fn table(&mut self, path: &str, node: Node) -> Option<Table> {
        if let Value::Table(table) = node.value {
            return Some(table);
        }
        let refusal = Refusal::new(format!("is {}; a table belongs here", node.value.kind()));
        self.problems.push(self.problem(path, None, &node.provenance, refusal));
        None
    }

    fn elements<T>(
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
            self.problems.push(self.problem(path, None, &node.provenance, refusal));
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

/// The value of a default.
fn legal<T>(parsed: Parsed<T>) -> T {
    let Ok(value) = parsed else { unreachable!("every default is legal: a test reads them all") };
    value
}

/// Shows a value as it is, except for the password of an address.
fn plainly(value: &Value) -> Json {
    match value.as_text() {
        Some(text) => without_credentials(text).into(),
        None => value.to_json(),
    }
}

fn redacted(_: &Value) -> Json {
    REDACTED.into()
}

/// An address without a password, be it before the host or in the query.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let credentials =
        rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)));
    let rest = match credentials {
        Some((user, host)) => format!("{user}:{REDACTED}@{host}"),
        None => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((rest, query)) if query.to_lowercase().contains("password") => {
            format!("{scheme}://{rest}?{REDACTED}")
        }
        _ => format!("{scheme}://{rest}"),
    }
}

/// A path without the numbers of list elements: `providers[3]` is `providers[]`.
fn generic(path: &str) -> String {
    path.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// A section as the file writes its heading.
fn title(generic: &str) -> String {
    match generic.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{}]", generic.replace("[]", "")),
    }
}

fn joined(path: &str, key: &str) -> String {
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
