//! Traces as a collector gets them: OTLP over HTTP, decoded by the types of the protocol's own definition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes};
use latchkey::actors::janitor::Run;
use latchkey::actors::pictures::{self, fetch_later};
use latchkey::telemetry::origin::Origin;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tokio::sync::mpsc;

use crate::attacks::logs::Logged;
use crate::grants::grant;
use crate::harness::{Backend, Server};
use crate::oauth_logout::{self, Receiver, app, deliver};
use crate::on_both_stores;
use crate::pictures::person;
use crate::stub_server::StubServer;

/// A collector that keeps what it gets.
pub struct Collector {
    pub server: StubServer,
    /// While it is true every batch is refused.
    refuses: Arc<AtomicBool>,
    received: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    /// The bodies as they came.
    pub bodies: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Collector {
    pub fn start() -> Self {
        let (to, received) = mpsc::unbounded_channel();
        let (bodies_to, bodies) = mpsc::unbounded_channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let is_refusing = Arc::clone(&refuses);
        let server = StubServer::start(move |config| {
            let (to, bodies_to, is_refusing) =
                (to.clone(), bodies_to.clone(), Arc::clone(&is_refusing));
            let take = move |body: Bytes| {
                let _gone = bodies_to.send(body.to_vec());
                let sent = ExportTraceServiceRequest::decode(body).unwrap();
                let _gone = to.send(sent);
                let is_refusing = is_refusing.load(Ordering::Relaxed);
                async move {
                    match is_refusing {
                        true => HttpResponse::BadRequest().finish(),
                        false => HttpResponse::Ok().content_type("application/x-protobuf").finish(),
                    }
                }
            };
            config
                .app_data(web::PayloadConfig::new(16 * 1024 * 1024))
                .route("/v1/traces", web::post().to(take));
        });
        Self { server, refuses, received, bodies }
    }

    /// What a configuration says to send traces here.
    pub fn configuration(&self) -> String {
        format!("[telemetry]\notlp_endpoint = \"{}\"\n", self.server.url)
    }

    /// All spans so far.
    fn spans(&mut self) -> Vec<Span> {
        let mut spans = Vec::new();
        while let Ok(sent) = self.received.try_recv() {
            for resource in sent.resource_spans {
                let about = resource.resource.unwrap().attributes;
                let name = about.iter().find(|about| about.key == "service.name").unwrap();
                let name = name.value.clone().unwrap().value.unwrap();
                assert_eq!(name, Any::StringValue("latchkey".to_owned()));
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        spans
    }
}

/// What a span says of something, as text; empty where it says nothing.
fn told(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        other => other.map_or_else(String::new, |other| panic!("{other:?}")),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

pub async fn a_refresh_is_a_span_with_its_parts_below(backend: Backend) {
    let mut collector = Collector::start();
    let further = format!("{}[tokens]\nsession_grace = \"0s\"\n", collector.configuration());
    let server =
        Server::start_with(backend, &further, |settings| settings.rate_limits.exempt.clear()).await;
    let browser = server.signed_in("alice").await;
    let answer = browser.post("/auth/refresh").await;
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    browser.get("/auth/sessions/nothing-of-anybody?token=hush").await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    assert!(server.stop().await);

    let spans = collector.spans();
    let root = spans.iter().find(|span| told(span, "latchkey.request_id") == request_id).unwrap();
    assert_eq!(root.name, "POST /auth/refresh");
    assert_eq!(root.kind, SpanKind::Server as i32);
    assert!(root.parent_span_id.is_empty());
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/auth/refresh"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("error.type", ""),
    ] {
        assert_eq!(told(root, key), value, "{key}");
    }
    // The rotation goes on in a task of the actor, below the same span.
    let parts: Vec<&Span> =
        spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    let names: BTreeSet<&str> = parts.iter().map(|span| span.name.as_str()).collect();
    let expected = BTreeSet::from(["ask token_families", "ask db_writer", "ask rate_limiter"]);
    assert!(names.is_superset(&expected), "{names:?}");
    for part in parts {
        assert_eq!(part.trace_id, root.trace_id);
        assert!(part.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= root.end_time_unix_nano);
    }
    assert!(spans.iter().any(|span| span.name == "store read"));
    // Calls to the provider are of the request that needs them, too.
    let callback = named(&spans, "GET /auth/{provider}/callback");
    let calls: Vec<&Span> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Client as i32 && span.trace_id == callback.trace_id)
        .collect();
    let methods: BTreeSet<String> =
        calls.iter().map(|span| told(span, "http.request.method")).collect();
    assert!(methods.contains("POST"), "{methods:?}");
    assert!(calls.iter().all(|span| told(span, "server.address") == "127.0.0.1"));
    // Templates, never what was asked.
    let refused = named(&spans, "GET /auth/sessions/{id}");
    assert_eq!(told(refused, "http.response.status_code"), "405");
    assert_eq!(told(refused, "error.type"), "method_not_allowed");
    let all = format!("{spans:?}");
    assert!(!all.contains("nothing-of-anybody") && !all.contains("hush"), "{all}");
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Spans after a request with each of these values of `traceparent`.
async fn spans_after(further: &str, parents: &[&str]) -> Vec<Span> {
    let mut collector = Collector::start();
    let (server_part, rest) = further.split_once('|').unwrap();
    let configuration = collector.configuration();
    let server =
        Server::start(Backend::Sqlite, &format!("{server_part}{configuration}{rest}")).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for parent in parents {
        let request = client.get(format!("{}/health", server.url)).header("traceparent", *parent);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
    }
    assert!(server.stop().await);
    // What the server does by itself is traced, too, beside the requests.
    let mut spans = collector.spans();
    spans.retain(|span| span.kind == SpanKind::Server as i32 || further.contains("percent = 0"));
    spans
}

#[actix_web::test]
async fn a_trusted_proxy_says_where_a_request_belongs_and_nobody_else() {
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]\n|";
    let odd = ["", "00-00-00-00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"];
    let spans = spans_after(trusted, &[PARENT, NOT_SAMPLED, odd[0], odd[1], odd[2]]).await;
    let parents: Vec<(String, String)> =
        spans.iter().map(|span| (hex(&span.trace_id), hex(&span.parent_span_id))).collect();
    let expected = ("0af7651916cd43dd8448eb211c80319c".to_owned(), "b7ad6b7169203331".to_owned());
    assert_eq!(parents[0], expected);
    // What the proxy does not want sampled is not; what is no parent begins a trace.
    assert_eq!(spans.len(), 1 + odd.len());
    assert!(spans[1..].iter().all(|span| span.parent_span_id.is_empty()));

    let spans = spans_after("|", &[PARENT, NOT_SAMPLED]).await;
    assert_eq!(spans.len(), 2);
    for span in spans {
        assert!(span.parent_span_id.is_empty());
        assert_ne!(hex(&span.trace_id), expected.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[actix_web::test]
async fn of_what_is_not_sampled_nothing_is_sent() {
    let none = spans_after("|otlp_sample_percent = 0\n", &["", ""]).await;
    assert!(none.is_empty(), "{none:?}");
}

#[actix_web::test]
async fn a_collector_that_says_no_or_is_not_there_changes_nothing_for_requests() {
    let mut collector = Collector::start();
    collector.refuses.store(true, Ordering::Relaxed);
    let refused = Server::start(Backend::Sqlite, &collector.configuration()).await;
    let away = "[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\n";
    let alone = Server::start(Backend::Sqlite, away).await;
    for server in [&refused, &alone] {
        let browser = server.signed_in("alice").await;
        assert_eq!(browser.post("/auth/refresh").await.status().as_u16(), 200);
    }
    for server in [refused, alone] {
        let app = server.app.clone();
        assert!(server.stop().await);
        let metrics = app.metrics.encode();
        let count = |outcome: &str| -> u64 {
            let name = format!("latchkey_trace_spans_total{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
        };
        assert!(count("failed") > 0);
        assert_eq!((count("exported"), count("dropped")), (0, 0));
    }
    assert!(!collector.spans().is_empty());
}

#[actix_web::test]
async fn more_spans_than_may_wait_are_dropped_and_counted() {
    // It takes connections and never answers: all that follows has to wait.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let further = format!("[telemetry]\notlp_endpoint = \"http://{address}\"\n");
    let server = Server::start_with(Backend::Sqlite, &further, |settings| {
        settings.server.shutdown_grace = Duration::from_secs(1);
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = format!("{}/health", server.url);
    let mut asked = 0;
    let dropped = "latchkey_trace_spans_total{outcome=\"dropped\"}";
    while server.metric(dropped) == 0 {
        let all = (0..500).map(|_| client.get(&health).send());
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap().status().as_u16(), 200);
        }
        asked += 500;
        assert!(asked < 50_000, "the queue has no end");
    }
}

/// What is below a span, with the kind of each.
fn below<'a>(spans: &'a [Span], above: &Span) -> BTreeSet<(&'a str, i32)> {
    let is_below = |span: &&Span| span.parent_span_id == above.span_id;
    spans.iter().filter(is_below).map(|span| (span.name.as_str(), span.kind)).collect()
}

pub async fn what_is_done_after_requests_and_without_them_is_traced(backend: Backend) {
    let mut collector = Collector::start();
    let further = format!("{}{}", oauth_logout::SETTINGS, collector.configuration());
    let (server, receiver) = (Server::start(backend, &further).await, Receiver::start());
    receiver.answers(503);
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    grant(&server, &browser, &app, "openid").await;
    let user = person(&server, "alice").await.id;
    // As a sign-in does: the request is long answered when the picture is there.
    let request = server.app.traces.as_ref().unwrap().request("GET", None);
    let of_request = Origin { request_id: None, position: Some(request.position()) };
    let address = format!("{}/none.png", collector.server.url).parse().unwrap();
    of_request.scope(async { fetch_later(&server.app.pictures, user, address) }).await;
    server.app.pictures.ask(pictures::Idle).await.unwrap();
    assert_eq!(browser.post("/auth/logout").await.status().as_u16(), 204);
    deliver(&server).await;
    server.app.janitor.ask(Run).await.unwrap().unwrap();
    assert!(server.stop().await);
    let spans = collector.spans();
    let (internal, client) = (SpanKind::Internal as i32, SpanKind::Client as i32);

    let delivery = named(&spans, "deliver sign-out");
    assert!(delivery.parent_span_id.is_empty());
    for (key, value) in [
        ("latchkey.client_id", app.id.as_str()),
        ("latchkey.attempt", "1"),
        ("latchkey.outcome", "put_off"),
        ("error.type", "put_off"),
    ] {
        assert_eq!(told(delivery, key), value, "{key}");
    }
    let parts = below(&spans, delivery);
    for part in [("POST", client), ("store read", internal), ("ask db_writer", internal)] {
        assert!(parts.contains(&part), "{part:?} in {parts:?}");
    }
    let call =
        spans.iter().find(|span| span.parent_span_id == delivery.span_id && span.kind == client);
    let port = receiver.uri().parse::<url::Url>().unwrap().port().unwrap().to_string();
    for (key, value) in [
        ("http.response.status_code", "503"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("error.type", "refused"),
    ] {
        assert_eq!(told(call.unwrap(), key), value, "{key}");
    }

    let round = named(&spans, "janitor round");
    assert!(round.parent_span_id.is_empty());
    assert!(below(&spans, round).contains(&("ask db_writer", internal)));
    assert!(told(round, "latchkey.removed.rows").parse::<u64>().is_ok());

    let picture = named(&spans, "fetch picture");
    assert_eq!(hex(&picture.trace_id).len(), 32);
    assert!(!picture.parent_span_id.is_empty());
    assert!(below(&spans, picture).contains(&("GET", client)));
    assert_eq!(told(picture, "error.type"), "not_fetched");
    // Nothing of a person or of what was sent.
    let all = format!("{spans:?}");
    assert!(!all.contains("none.png") && !all.contains(&user.to_string()), "{all}");
}

/// It takes connections and never answers.
#[actix_web::test]
async fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let further = format!("[telemetry]\notlp_endpoint = \"http://{address}\"\n");
    let server = Server::start_with(Backend::Sqlite, &further, |settings| {
        settings.server.shutdown_grace = Duration::from_secs(60);
    })
    .await;
    server.signed_in("alice").await;
    let stopping = tokio::time::timeout(Duration::from_secs(10), server.stop());
    assert!(stopping.await.expect("it ends without the collector"));
}

#[actix_web::test]
async fn an_invented_method_is_called_as_the_conventions_say() {
    let mut collector = Collector::start();
    let server = Server::start(Backend::Sqlite, &collector.configuration()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let method = reqwest::Method::from_bytes(b"INVENTED").unwrap();
    let asked = client.request(method, format!("{}/health", server.url)).send().await.unwrap();
    assert_eq!(asked.status().as_u16(), 405);
    assert!(server.stop().await);
    let spans = collector.spans();
    assert_eq!(told(named(&spans, "HTTP /health"), "http.request.method"), "_OTHER");
}

#[actix_web::test]
async fn the_log_says_why_the_collector_takes_nothing() {
    let collector = StubServer::start(|routes| {
        routes.default_service(web::to(HttpResponse::ServiceUnavailable));
    });
    let directory = tempfile::tempdir().unwrap();
    let further = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.url);
    let server = Logged::start_with(directory.path(), "text", &further, &[]).await;
    let said = server.ended().await;
    let warned = said.lines().find(|line| line.contains("does not take traces")).unwrap();
    assert!(warned.contains(" WARN ") && warned.contains("why=\"status 503\""), "{warned}");
}

on_both_stores! {
    a_refresh_is_a_span_with_its_parts_below,
    what_is_done_after_requests_and_without_them_is_traced,
}
