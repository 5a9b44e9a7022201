//! `docs/metrics.md`, for people, of the catalogue; with `LATCHKEY_BLESS=1` it is written anew. The dashboard and
//! the alert rules name nothing that is not there.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use latchkey::telemetry::catalogue::{ALL, Descriptor, Kind, Reason, Subject, Values};
use regex::Regex;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const HEAD: &str = "\
# Metrics

What `GET /metrics` shows, and what it means when it moves. This document is made of the list in
`src/telemetry/catalogue.rs`, of which the metrics are, too, by `LATCHKEY_BLESS=1 ./run test the_metrics_document`.

On the main port `/metrics` answers to this machine and to the networks of `rate_limits.exempt`, to others 404; with
`telemetry.metrics_listen` it has a listener of its own, and only that answers. Who asks for OpenMetrics, as Prometheus
does, gets it; others get the older text format. Histograms are read as `NAME_bucket`, `NAME_sum` and `NAME_count`.

All are there from the start, at zero, but for routes, which appear with the first request that comes to them. Labels
come from fixed sets, so nobody can make them grow.

What an operator does with them: [operations](operations.md). A dashboard for Grafana is
`contrib/grafana/latchkey.json`, rules for alerts are in `contrib/prometheus/alerts.yml`.
";

const READINESS: &str = "\
## Readiness

`GET /ready` answers 200, or 503 with what is wrong as sentences in `reasons`. Here is what each means; the first column
is the label of `latchkey_not_ready`.
";

fn written() -> String {
    let mut text = HEAD.to_owned();
    for subject in Subject::ALL {
        let of_subject: Vec<&Descriptor> =
            ALL.iter().filter(|metric| metric.subject == subject).collect();
        writeln!(text, "\n## {}\n", subject.title()).unwrap();
        text += "| metric | type | labels | what it tells |\n| --- | --- | --- | --- |\n";
        for metric in &of_subject {
            let labels: Vec<String> =
                metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
            let (name, kind, labels) = (metric.name, metric.kind.as_str(), labels.join(", "));
            writeln!(text, "| `{name}` | {kind} | {labels} | {} |", metric.help).unwrap();
        }
        let watched: Vec<_> = of_subject.iter().filter(|metric| !metric.watch.is_empty()).collect();
        if !watched.is_empty() {
            text += "\nWhat to watch:\n\n";
        }
        for metric in watched {
            writeln!(text, "* `{}`: {}", metric.name, metric.watch).unwrap();
        }
    }
    text += "\n## Labels\n\n| label | values |\n| --- | --- |\n";
    let mut told = BTreeSet::new();
    for label in ALL.iter().flat_map(|metric| metric.labels) {
        let values = match label.values {
            Values::Fixed(values) => {
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            }
            Values::Bounded(what) => what.to_owned(),
        };
        let of: Vec<String> = ALL
            .iter()
            .filter(|metric| metric.labels.contains(label))
            .map(|metric| format!("`{}`", metric.name))
            .collect();
        // A label of several metrics is the same everywhere, unless the values say otherwise.
        let is_everywhere = ALL
            .iter()
            .flat_map(|metric| metric.labels)
            .all(|other| other.name != label.name || other == label);
        let name = match is_everywhere {
            true => format!("`{}`", label.name),
            false => format!("`{}` of {}", label.name, of.join(", ")),
        };
        if told.insert(name.clone()) {
            writeln!(text, "| {name} | {values} |").unwrap();
        }
    }
    writeln!(text, "\n{READINESS}").unwrap();
    text += "| reason | what /ready says | what it means |\n| --- | --- | --- |\n";
    for reason in Reason::ALL {
        let (name, said, meaning) = (reason.as_str(), reason.sentence(), reason.meaning());
        writeln!(text, "| `{name}` | {said} | {meaning} |").unwrap();
    }
    text
}

#[test]
fn the_metrics_document_is_made_of_the_catalogue() {
    let path = root().join("docs/metrics.md");
    let written = written();
    if std::env::var_os("LATCHKEY_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(found.lines()).find(|(written, found)| written != found);
    assert!(
        written == found,
        "docs/metrics.md is not what the catalogue says; LATCHKEY_BLESS=1 writes it anew: {differs:?}"
    );
}

/// Asserts that an expression of PromQL names only metrics and labels that are there.
fn assert_is_known(expression: &str) {
    let names = Regex::new(r"\b((?:latchkey|process)_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let labels = Regex::new(r#"([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).unwrap();
    let grouped = Regex::new(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)").unwrap();
    let mut known_labels = BTreeSet::from(["le", "instance", "job"]);
    let mut found = 0;
    for name in names.captures_iter(expression) {
        let base = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|part| name[1].strip_suffix(part))
            .filter(|base| ALL.iter().any(|metric| metric.name == *base));
        let metric = ALL.iter().find(|metric| metric.name == base.unwrap_or(&name[1]));
        let metric = metric.unwrap_or_else(|| panic!("{} is no metric: {expression}", &name[1]));
        assert_eq!(metric.kind == Kind::Histogram, base.is_some(), "{expression}");
        known_labels.extend(metric.labels.iter().map(|label| label.name));
        found += 1;
        for matcher in labels.captures_iter(name.get(2).map_or("", |matchers| matchers.as_str())) {
            if ["instance", "job"].contains(&&matcher[1]) {
                continue;
            }
            let label = metric.labels.iter().find(|label| label.name == &matcher[1]);
            let label = label.unwrap_or_else(|| panic!("no label {}: {expression}", &matcher[1]));
            if let Values::Fixed(values) = label.values {
                for value in matcher[3].split('|') {
                    assert!(values.contains(&value), "{value} is none of {values:?}: {expression}");
                }
            }
        }
    }
    assert!(found > 0, "{expression} asks for nothing of ours");
    for group in grouped.captures_iter(expression) {
        for label in group[1].split(',').map(str::trim).filter(|label| !label.is_empty()) {
            assert!(known_labels.contains(label), "{label} is no label: {expression}");
        }
    }
}

#[test]
fn the_dashboard_shows_only_metrics_that_are_there_and_each_of_its_panels_something() {
    let text = std::fs::read_to_string(root().join("contrib/grafana/latchkey.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id is there twice");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        expressions
            .extend(targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    assert!(expressions.len() > 30, "{}", expressions.len());
    expressions.iter().for_each(|expression| assert_is_known(expression));
    // Whatever an operator should watch can be seen.
    for metric in ALL.iter().filter(|metric| !metric.watch.is_empty()) {
        let is_shown = expressions.iter().any(|expression| expression.contains(metric.name));
        assert!(is_shown, "{} should be watched and is on no panel", metric.name);
    }
}

#[test]
fn the_alert_rules_ask_only_for_metrics_that_are_there() {
    let text = std::fs::read_to_string(root().join("contrib/prometheus/alerts.yml")).unwrap();
    let expressions: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let alerts = text.lines().filter(|line| line.trim().starts_with("- alert: ")).count();
    assert_eq!(expressions.len(), alerts);
    assert!(alerts >= 8);
    expressions
        .into_iter()
        .filter(|expression| !expression.starts_with("up{"))
        .for_each(assert_is_known);
}
