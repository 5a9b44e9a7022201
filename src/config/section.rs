//! One table of the configuration while it is read: `sections` asks it for each key.

use serde_json::Value as Json;

use super::problem::Refusal;
use super::reader::{Parsed, Reader, joined};
use super::redaction::{Show, plainly, redacted};
use super::source::{Node, Provenance, Table, Value, variable_name};

/// One table while it is read. Asking for a key makes it known; what is left over is unknown.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    table: Table,
}

impl<'r> Section<'r> {
    /// Begins to read the table at `path`.
    pub(super) fn new(reader: &'r mut Reader, path: String, table: Table) -> Self {
        Self { reader, path, table }
    }

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
        self.reader.know(&self.path, key);
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
            self.reader.refuse_at(&path, &node.provenance, refusal);
            return Vec::new();
        };
        let read_one = |(index, item)| {
            let path = format!("{path}[{index}]");
            let table = self.reader.table(&path, item)?;
            Some(self.reader.section(path, table, &read))
        };
        items.into_iter().enumerate().filter_map(read_one).collect()
    }

    /// Whatever was not asked for is unknown.
    pub(super) fn finish(self) {
        for (key, node) in self.table {
            self.reader.found_unknown(&self.path, key, node.provenance);
        }
    }
}

/// The value of a default.
fn legal<T>(parsed: Parsed<T>) -> T {
    let Ok(value) = parsed else { unreachable!("every default is legal: a test reads them all") };
    value
}
