//! The untyped configuration: one tree out of the file and the environment, in which each value
//! knows where it came from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Refusal;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// Nobody set it.
    Default,
    /// Nobody set it, and the provider of this name is known to us.
    Preset(&'static str),
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// A table of the configuration.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it came from. There is no `Debug`: it may hold secrets.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) provenance: Provenance,
}

/// A value as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Text in quotes.
    Text(String),
    /// Text from the environment or from behind a reference: it may stand for a number, too.
    Loose(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// Several values.
    List(Vec<Node>),
    /// Keys and values.
    Table(Table),
    /// What no key takes: a fraction, a date, a number beyond 64 bits.
    Unfit(&'static str),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Node {}

impl Value {
    /// What it is, for a sentence: "a list".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Loose(_) => "text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unfit(kind) => kind,
        }
    }

    /// The text, where it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Loose(text) => Some(text),
            _ => None,
        }
    }

    /// As JSON, which for everything that a key takes looks as TOML does.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Loose(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Boolean(flag) => (*flag).into(),
            Self::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Table(table) => table
                .iter()
                .map(|(key, node)| (key.clone(), node.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Self::Unfit(kind) => format!("({kind})").into(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

/// Something that keeps a text from being TOML.
pub(super) struct SyntaxError {
    pub(super) line: usize,
    /// The parser's sentence, without an excerpt: the line may hold a secret.
    pub(super) message: String,
}

/// Reads TOML as far as it can be read, with everything that is wrong with its syntax.
pub(super) fn parse(text: &str) -> (Table, Vec<SyntaxError>) {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let errors = errors.iter().map(|error| SyntaxError {
        line: lines.number(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    });
    (table(document.get_ref(), &lines), errors.collect())
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset).collect())
    }

    /// The line, counted from 1, that the byte at `offset` is in.
    fn number(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

fn table(table: &DeTable<'_>, lines: &Lines) -> Table {
    let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let provenance = Provenance::Line(lines.number(key.span().start));
        let value = self::value(value.get_ref(), lines);
        (key.get_ref().to_string(), Node { value, provenance })
    };
    table.iter().map(entry).collect()
}

fn value(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or(Value::Unfit("a number that is too large"), Value::Integer),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Float(_) => Value::Unfit("a fraction"),
        DeValue::Datetime(_) => Value::Unfit("a date or time"),
        DeValue::Table(inner) => Value::Table(table(inner, lines)),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    value: self::value(item.get_ref(), lines),
                    provenance: Provenance::Line(lines.number(item.span().start)),
                })
                .collect(),
        ),
    }
}

/// Start of every variable that is ours.
const PREFIX: &str = "LATCHKEY_";
/// What stands between the parts of a path in a variable's name.
const SEPARATOR: &str = "__";

/// One step from a table or list into it. The order puts indices in the order of their numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// The name of the variable that sets the key at `path`.
pub(super) fn variable_name(path: &str) -> String {
    let steps = path.replace("].", SEPARATOR).replace(']', "").replace(['.', '['], SEPARATOR);
    format!("{PREFIX}{}", steps.to_uppercase())
}

/// Lays the variables that set keys over the tree; returns those that do not fit into it.
pub(super) fn overlay<'a>(
    root: &mut Table,
    environment: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<(String, Refusal)> {
    let mut settings: Vec<_> =
        environment.filter_map(|(name, value)| Some((steps_of(name)?, name, value))).collect();
    // A path comes before those that start with it, and an element before the next one.
    settings.sort();
    let mut refused = Vec::new();
    for (steps, name, value) in settings {
        if let Err(refusal) = set_in_table(root, &steps, name, value) {
            refused.push((name.to_owned(), refusal));
        }
    }
    refused
}

fn steps_of(name: &str) -> Option<Vec<Step>> {
    let path = name.strip_prefix(PREFIX)?;
    let is_path = path.contains(SEPARATOR) && !path.starts_with('_');
    is_path.then(|| path.split(SEPARATOR).map(step).collect())
}

fn step(segment: &str) -> Step {
    match segment.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(segment.to_lowercase()),
    }
}

fn set_in_table(table: &mut Table, steps: &[Step], name: &str, value: &str) -> Result<(), Refusal> {
    match steps {
        [Step::Key(key), rest @ ..] => {
            let node = table.entry(key.clone()).or_insert_with(|| Node::from_variable(name, ""));
            set(node, rest, name, value)
        }
        _ => Err(Refusal::new("has a number where the name of a key belongs")),
    }
}

fn set_in_list(
    items: &mut Vec<Node>,
    steps: &[Step],
    name: &str,
    value: &str,
) -> Result<(), Refusal> {
    match steps {
        [Step::Index(index), rest @ ..] if *index <= items.len() => {
            if *index == items.len() {
                items.push(Node::from_variable(name, ""));
            }
            set(&mut items[*index], rest, name, value)
        }
        [Step::Index(_), ..] => Err(Refusal::new("leaves a gap in the list")
            .remedy(format!("the next free number is {}", items.len()))),
        _ => Err(Refusal::new("has the name of a key where a number belongs")
            .remedy("number the elements from 0")),
    }
}

fn set(node: &mut Node, steps: &[Step], name: &str, value: &str) -> Result<(), Refusal> {
    let Some(next) = steps.first() else {
        *node = Node::from_variable(name, value);
        return Ok(());
    };
    match &mut node.value {
        Value::Table(table) => set_in_table(table, steps, name, value),
        Value::List(items) => set_in_list(items, steps, name, value),
        _ => {
            node.make_room(next, name)?;
            set(node, steps, name, value)
        }
    }
}

impl Node {
    fn from_variable(name: &str, value: &str) -> Self {
        Self {
            value: Value::Loose(value.to_owned()),
            provenance: Provenance::Variable(name.to_owned()),
        }
    }

    /// Replaces a single value, which the environment overrides, by an empty table or list.
    fn make_room(&mut self, next: &Step, name: &str) -> Result<(), Refusal> {
        if let Provenance::Variable(other) = &self.provenance
            && other != name
        {
            return Err(Refusal::new(format!("contradicts {other}")).remedy("set one of them"));
        }
        self.provenance = Provenance::Variable(name.to_owned());
        self.value = match next {
            Step::Index(_) => Value::List(Vec::new()),
            Step::Key(_) => Value::Table(Table::new()),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaid(toml: &str, environment: &[(&str, &str)]) -> (serde_json::Value, Vec<String>) {
        let (mut table, errors) = parse(toml);
        assert!(errors.is_empty());
        let refused = overlay(&mut table, environment.iter().copied());
        let refused =
            refused.into_iter().map(|(name, refusal)| format!("{name} {}", refusal.reason));
        (Value::Table(table).to_json(), refused.collect())
    }

    #[test]
    fn each_value_knows_its_line() {
        let (table, errors) = parse("a = 1\n\n[b]\nc = [\n  2,\n  3,\n]\n[[d]]\ne = 4\n");
        assert!(errors.is_empty());
        let at = |node: &Node| node.provenance.clone();
        assert_eq!(at(&table["a"]), Provenance::Line(1));
        let Value::Table(b) = &table["b"].value else { panic!("b is a table") };
        assert_eq!(at(&b["c"]), Provenance::Line(4));
        let Value::List(c) = &b["c"].value else { panic!("c is a list") };
        assert_eq!(at(&c[1]), Provenance::Line(6));
        let Value::List(d) = &table["d"].value else { panic!("d is a list") };
        assert_eq!(at(&d[0]), Provenance::Line(8));
    }

    #[test]
    fn numbers_are_read_in_every_notation() {
        let (table, _) = parse("a = 1_000\nb = 0xff\nc = 1.5\nd = 99999999999999999999");
        assert!(table["a"].value == Value::Integer(1000));
        assert!(table["b"].value == Value::Integer(255));
        assert!(table["c"].value == Value::Unfit("a fraction"));
        assert!(table["d"].value == Value::Unfit("a number that is too large"));
    }

    #[test]
    fn every_syntax_error_is_told_with_its_line_and_without_an_excerpt() {
        let (_, errors) = parse("[a]\nb = hunter2\nc = 1\nd = \"open\ne = 2\n");
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert_eq!((lines.first(), lines.contains(&4)), (Some(&2), true));
        assert!(errors.iter().all(|error| !error.message.contains("hunter2")));
    }

    #[test]
    fn variables_override_the_file_at_any_depth() {
        let (tree, refused) = overlaid(
            "[server]\nlisten = 'old'\ncors_origins = ['a']\n[[providers]]\nname = 'x'\n",
            &[
                ("LATCHKEY_SERVER__CORS_ORIGINS__2", "c"),
                ("LATCHKEY_SERVER__CORS_ORIGINS__1", "b"),
                ("LATCHKEY_SERVER__LISTEN", "new"),
                ("LATCHKEY_PROVIDERS__0__CLIENT_ID", "id"),
                ("LATCHKEY_RATE_LIMITS__LOGIN__BURST", "5"),
                ("LATCHKEY_CONFIG", "not a key"),
                ("LATCHKEY_PORT_8080_TCP", "not a key"),
                ("OTHER__KEY", "not ours"),
            ],
        );
        let expected = serde_json::json!({
            "server": { "listen": "new", "cors_origins": ["a", "b", "c"] },
            "providers": [{ "name": "x", "client_id": "id" }],
            "rate_limits": { "login": { "burst": "5" } },
        });
        assert_eq!((tree, refused), (expected, vec![]));
    }

    #[test]
    fn a_single_value_gives_way_to_a_list_from_the_environment() {
        let (tree, refused) = overlaid("a = 'x'\n[s]\nk = 'x'", &[("LATCHKEY_S__K__0", "y")]);
        assert_eq!(tree, serde_json::json!({ "a": "x", "s": { "k": ["y"] } }));
        assert!(refused.is_empty());
    }

    #[test]
    fn variables_that_do_not_fit_are_refused() {
        let cases = [
            (vec![("LATCHKEY_S__K__1", "y")], "LATCHKEY_S__K__1 leaves a gap in the list"),
            (
                vec![("LATCHKEY_S__K", "x"), ("LATCHKEY_S__K__0", "y")],
                "LATCHKEY_S__K__0 contradicts LATCHKEY_S__K",
            ),
            (
                vec![("LATCHKEY_S__0", "y")],
                "LATCHKEY_S__0 has a number where the name of a key belongs",
            ),
        ];
        for (environment, expected) in cases {
            assert_eq!(overlaid("[s]\na = 1", &environment).1, [expected]);
        }
    }

    #[test]
    fn a_key_and_its_variable_name_go_together() {
        assert_eq!(variable_name("server.public_url"), "LATCHKEY_SERVER__PUBLIC_URL");
        assert_eq!(variable_name("providers[0].client_id"), "LATCHKEY_PROVIDERS__0__CLIENT_ID");
        assert_eq!(variable_name("server.cors_origins[1]"), "LATCHKEY_SERVER__CORS_ORIGINS__1");
    }
}
