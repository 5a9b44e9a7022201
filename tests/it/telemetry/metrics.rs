//! A live server shows what the catalogue names, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use latchkey::telemetry::catalogue::{ALL, Values};
use regex::Regex;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::json;

use crate::harness::{Backend, Server, body};
use crate::on_both_stores;
use crate::real_clients::program::installed;

/// The text that the server gives to who accepts `accept`.
async fn metrics(server: &Server, accept: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}/metrics", server.url)).header(ACCEPT, accept);
    let answer = request.send().await.unwrap();
    let is_open = answer.headers()[CONTENT_TYPE]
        .to_str()
        .unwrap()
        .starts_with("application/openmetrics-text");
    assert_eq!(is_open, accept.contains("openmetrics"));
    answer.text().await.unwrap()
}

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// The value of a sample, by its name and labels as they are written.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {sample} in\n{text}")).parse().unwrap()
}

/// Somebody signs in, refreshes, asks for what is not there.
async fn busy(backend: Backend) -> Server {
    let server =
        Server::start_with(backend, "", |settings| settings.rate_limits.exempt.clear()).await;
    let browser = server.signed_in("alice").await;
    browser.post("/auth/refresh").await;
    browser.get("/nowhere").await;
    server
}

pub async fn a_server_shows_exactly_the_metrics_and_labels_of_the_catalogue(backend: Backend) {
    let server = busy(backend).await;
    let text = metrics(&server, "*/*").await;
    let mut types = BTreeMap::new();
    let mut helps = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name}");
        }
        if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            helps.insert(name.to_owned(), help.trim_end_matches('.').to_owned());
        }
    }
    let named = |value: fn(&latchkey::telemetry::catalogue::Descriptor) -> &'static str| {
        ALL.iter()
            .map(|metric| (metric.name.to_owned(), value(metric).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(types, named(|metric| metric.kind.as_str()));
    assert_eq!(helps, named(|metric| metric.help));

    let sample = Regex::new(r"^([a-z_]+)(?:\{(.*)\})? \S+$").unwrap();
    let label = Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let found = sample.captures(line).unwrap_or_else(|| panic!("{line}"));
        let metric = ALL
            .iter()
            .find(|metric| {
                let rest = found[1].strip_prefix(metric.name);
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            })
            .unwrap_or_else(|| panic!("{line} is of no metric of the catalogue"));
        seen.insert(metric.name);
        let labels: Vec<(String, String)> = label
            .captures_iter(found.get(2).map_or("", |labels| labels.as_str()))
            .map(|label| (label[1].to_owned(), label[2].to_owned()))
            .filter(|(name, _)| name != "le")
            .collect();
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let expected: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
        assert_eq!(names, expected, "{line}");
        for (known, (_, value)) in metric.labels.iter().zip(&labels) {
            if let Values::Fixed(values) = known.values {
                assert!(values.contains(&value.as_str()), "{line}");
            }
        }
    }
    assert_eq!(seen, ALL.iter().map(|metric| metric.name).collect());
}

/// What people wait for is told apart up to ten seconds: a database that stalls takes longer than one.
#[actix_web::test]
async fn what_is_waited_for_has_buckets_up_to_ten_seconds() {
    let server = busy(Backend::Sqlite).await;
    let text = metrics(&server, "").await;
    for name in [
        "latchkey_http_request_duration_seconds_bucket{",
        "latchkey_store_batch_duration_seconds_bucket{",
        "latchkey_actor_ask_duration_seconds_bucket{",
    ] {
        let mut of_name = text.lines().filter(|line| line.starts_with(name));
        assert!(of_name.any(|line| line.contains("le=\"10.0\"")), "{name}");
    }
}

pub async fn what_is_done_is_counted(backend: Backend) {
    let server = busy(backend).await;
    let text = metrics(&server, OPEN).await;
    assert!(text.ends_with("# EOF\n"));
    for (sample, expected) in [
        (
            "latchkey_http_requests_total{method=\"POST\",route=\"/auth/refresh\",status=\"200\"}",
            1.0,
        ),
        ("latchkey_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        (
            "latchkey_http_request_duration_seconds_count{method=\"POST\",route=\"/auth/refresh\"}",
            1.0,
        ),
        ("latchkey_http_errors_total{code=\"not_found\"}", 1.0),
        ("latchkey_refreshes_total{outcome=\"kept\"}", 1.0),
        ("latchkey_tokens_issued_total{kind=\"access\",grant=\"session\"}", 2.0),
        ("latchkey_token_signing_duration_seconds_count{algorithm=\"RS256\"}", 2.0),
        ("latchkey_signing_keys{algorithm=\"RS256\",state=\"active\"}", 1.0),
        ("latchkey_sign_ins_total{provider=\"dev\",outcome=\"new_person\"}", 1.0),
        (
            "latchkey_provider_requests_total{provider=\"dev\",endpoint=\"token\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "latchkey_provider_request_duration_seconds_count{provider=\"dev\",endpoint=\"keys\"}",
            1.0,
        ),
        ("latchkey_rate_limit_checks_total{tier=\"login\",outcome=\"refused\"}", 0.0),
        ("latchkey_ready", 1.0),
        ("latchkey_not_ready{reason=\"store_down\"}", 0.0),
    ] {
        let found = value(&text, sample);
        assert!((found - expected).abs() < f64::EPSILON, "{sample} is {found}");
    }
    for sample in [
        "latchkey_rate_limit_checks_total{tier=\"login\",outcome=\"allowed\"}",
        "latchkey_store_batch_writes_count",
        "latchkey_http_connections",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(value(&text, sample) > 0.0, "{sample}");
    }
    let next =
        value(&text, "latchkey_signing_key_next_change_timestamp_seconds{algorithm=\"RS256\"}");
    let since =
        value(&text, "latchkey_signing_key_active_since_timestamp_seconds{algorithm=\"RS256\"}");
    let period = server.app.settings.keys.rotation_period.unwrap().as_secs_f64();
    assert!((next - since - period).abs() < 1.0, "{since} {next}");
}

pub async fn why_a_node_is_not_ready_is_a_metric_and_a_sentence(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.app.set_draining();
    let answer = server.browser().get("/ready").await;
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(body(answer).await["reasons"], json!(["the server is shutting down"]));
    let text = metrics(&server, OPEN).await;
    assert!(value(&text, "latchkey_ready").abs() < f64::EPSILON);
    let reason = value(&text, "latchkey_not_ready{reason=\"shutting_down\"}");
    assert!((reason - 1.0).abs() < f64::EPSILON);
}

on_both_stores! {
    a_server_shows_exactly_the_metrics_and_labels_of_the_catalogue,
    what_is_done_is_counted,
    why_a_node_is_not_ready_is_a_metric_and_a_sentence,
}

/// Reads a text of metrics from standard input as strictly as the format is, and says how many there are.
const READER: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
text = sys.stdin.read()
families = list((open_metrics if sys.argv[1] == 'open' else plain)(text))
assert all(family.documentation for family in families), families
print(len([family for family in families if family.type in ('counter', 'gauge', 'histogram')]))
";

#[actix_web::test]
async fn a_reader_by_other_people_takes_both_formats() {
    let server = busy(Backend::Sqlite).await;
    for (format, accept) in [("open", OPEN), ("plain", "*/*")] {
        let text = metrics(&server, accept).await;
        let mut command = Command::new(installed().join("python/bin/python"));
        let mut child = command
            .args(["-B", "-c", READER, format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{text}");
        let count: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert_eq!(count, ALL.len(), "{format}");
    }
}
