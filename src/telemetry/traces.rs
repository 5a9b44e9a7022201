//! Traces for an OpenTelemetry collector: a span for each request, and below it one for each ask of an actor, each
//! read of the store and each call to anybody else's server. What is done without a request (telling clients of
//! sign-outs, the janitor's rounds) is a trace of its own; what a request leaves to be done is below it.
//!
//! Where nobody wants them this costs a look at the task's [`Origin`]. Spans hold templates, names of actors and
//! hosts, never a path as it was asked, a query, a header, an address of a client or a name of a person. They are
//! sent in batches by a task of its own, from a queue with an end: what comes while it is full is dropped and
//! counted, and a collector that does not answer changes nothing for requests.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::sync::{Notify, mpsc, watch};
use url::Url;

use super::origin::Origin;
use super::requests::OTHER;
use crate::protocol::random;
use crate::providers::ProviderError;
use crate::providers::address::Reach;
use crate::providers::http::HttpClient;

/// Spans that may wait to be sent.
const WAITING: usize = 8192;

/// Most spans of one batch.
const BATCH: usize = 512;

/// How long a batch waits for more.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of spans; shared with /metrics.
#[derive(Debug, Default)]
pub struct SpanCounters {
    /// The collector took them.
    pub exported: AtomicU64,
    /// Too many waited.
    pub dropped: AtomicU64,
    /// The collector did not answer, or said no.
    pub failed: AtomicU64,
}

/// Where a trace stands: what is begun now is below this span.
#[derive(Clone, Debug)]
pub struct Position {
    tracer: SdkTracer,
    span: SpanContext,
}

/// Makes spans and sends them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces {
    tracer: SdkTracer,
    stop: Arc<Notify>,
    /// Closed when the last batch is gone.
    ended: watch::Receiver<()>,
}

impl Traces {
    /// Sends `percent` of all traces that begin here to the collector at `endpoint`, by `http`.
    ///
    /// # Errors
    /// What the exporter says of the address.
    pub fn start(
        endpoint: &Url,
        percent: u8,
        http: HttpClient,
        counters: Arc<SpanCounters>,
    ) -> Result<Self, String> {
        let (trouble, why) = watch::channel(String::new());
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { http, trouble })
            .with_endpoint(signal(endpoint))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self::exporting_to(exporter, why, percent, counters))
    }

    fn exporting_to(
        mut exporter: impl SpanExporter + 'static,
        why: watch::Receiver<String>,
        percent: u8,
        counters: Arc<SpanCounters>,
    ) -> Self {
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "latchkey"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", random::text::<16>()),
            ])
            .build();
        exporter.set_resource(&resource);
        let (queue, waiting) = mpsc::channel(WAITING);
        let root = Sampler::TraceIdRatioBased(f64::from(percent) / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue { queue, counters: Arc::clone(&counters) })
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource)
            .build();
        let (stop, (working, ended)) = (Arc::new(Notify::new()), watch::channel(()));
        let sending = send(waiting, exporter, why, counters, Arc::clone(&stop));
        actix::spawn(async move {
            let _working = working;
            sending.await;
        });
        Self { tracer: provider.tracer("latchkey"), stop, ended }
    }

    /// Begins the span of a request, below that of whoever asks, if `parent` is one.
    pub fn request(&self, method: &'static str, parent: Option<SpanContext>) -> RequestSpan {
        let parent = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let name = Cow::Borrowed(named(method));
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Server);
        let span = self.tracer.build_with_context(builder, &parent);
        RequestSpan { tracer: self.tracer.clone(), span }
    }

    /// Does work that no request waits for as a trace of its own, whose span `tell` gives what there is to say
    /// afterwards.
    pub async fn whole<F: Future>(
        traces: Option<&Self>,
        name: &'static str,
        work: F,
        tell: impl FnOnce(&mut Part, &F::Output),
    ) -> F::Output {
        let Some(traces) = traces else { return work.await };
        let builder = traces.tracer.span_builder(name).with_kind(SpanKind::Internal);
        let span = traces.tracer.build_with_context(builder, &Context::new());
        within(None, &traces.tracer, span, work, tell).await
    }

    /// Sends what waits, for no longer than `grace`; what ends afterwards is dropped.
    pub async fn stop(&self, grace: Duration) {
        self.stop.notify_one();
        let mut ended = self.ended.clone();
        // An error is what is waited for: the sender is gone.
        let _ended = tokio::time::timeout(grace, ended.changed()).await;
    }
}

/// Where the collector takes traces: OTLP over HTTP appends the signal to the address.
fn signal(endpoint: &Url) -> String {
    let base = endpoint.as_str().trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// The span that the caller names in `traceparent` (W3C Trace Context).
pub fn parent_of(headers: &HeaderMap) -> Option<SpanContext> {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Head(headers));
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}

struct Head<'a>(&'a HeaderMap);

impl Extractor for Head<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        // More than one says nothing.
        let mut values = self.0.get_all(key);
        let (first, None) = (values.next()?, values.next()) else { return None };
        first.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}

/// The span of a request, until it is answered.
#[derive(Debug)]
pub struct RequestSpan {
    tracer: SdkTracer,
    span: Span,
}

/// What spans begin their names with for this method: clients may make one up.
fn named(method: &'static str) -> &'static str {
    if method == OTHER { "HTTP" } else { method }
}

/// What is told of an answered request.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The method, one that is known.
    pub method: &'static str,
    /// The route's template.
    pub route: Option<&'static str>,
    /// `http` or `https`, as the caller sees it.
    pub scheme: &'a str,
    /// The name of this server, with its port where it has one, as the caller sees it.
    pub host: &'a str,
    /// Of the answer.
    pub status: u16,
    /// The code, if it says no.
    pub code: Option<&'static str>,
    /// As in `X-Request-Id`.
    pub request_id: &'a str,
}

impl RequestSpan {
    /// Where the trace stands while the request is being answered.
    pub fn position(&self) -> Position {
        Position { tracer: self.tracer.clone(), span: self.span.span_context().clone() }
    }

    /// Ends it. Attributes are those of OpenTelemetry's conventions for HTTP servers, but for `url.path` and
    /// `client.address`: the one may hold what opens something, the other is a person's.
    pub fn end(mut self, answered: &Answered<'_>) {
        if !self.span.is_recording() {
            return;
        }
        let Answered { method, route, scheme, host, status, code, request_id } = *answered;
        if let Some(route) = route {
            self.span.update_name(format!("{} {route}", named(method)));
            self.span.set_attribute(KeyValue::new("http.route", route));
        }
        let is_failure = status >= 500;
        let port =
            host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let name = port.map_or(host, |(name, _)| name);
        if let Some((_, port)) = port {
            self.span.set_attribute(KeyValue::new("server.port", i64::from(port)));
        }
        self.span.set_attributes([
            KeyValue::new("http.request.method", if method == OTHER { "_OTHER" } else { method }),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("url.scheme", scheme.to_owned()),
            KeyValue::new("server.address", name.to_owned()),
            KeyValue::new("latchkey.request_id", request_id.to_owned()),
        ]);
        if let Some(code) = code {
            self.span.set_attribute(KeyValue::new("error.type", code));
        }
        if is_failure {
            self.span.set_status(Status::error(code.unwrap_or_default()));
        }
        self.span.end();
    }
}

/// A part of what is done for a request; ends when it is dropped.
#[derive(Debug)]
pub struct Part(Option<Span>);

impl Part {
    /// Begins one below the request of this task, if that is traced.
    pub fn begin(kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        let span = Origin::with(|origin| {
            let Position { tracer, span } = origin.position.as_ref()?;
            if !span.is_sampled() {
                return None;
            }
            let parent = Context::new().with_remote_span_context(span.clone());
            let builder = tracer.span_builder(name()).with_kind(kind);
            Some(tracer.build_with_context(builder, &parent))
        });
        Self(span.flatten())
    }

    /// Begins one for what this process does itself.
    pub fn internal(name: impl FnOnce() -> Cow<'static, str>) -> Self {
        Self::begin(SpanKind::Internal, name)
    }

    /// Tells something of it.
    pub fn tell(&mut self, attribute: impl FnOnce() -> KeyValue) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(attribute());
        }
    }

    /// It failed, in one word.
    pub fn failed(&mut self, kind: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(kind));
        }
    }
}

/// Does work that a request left to be done, which `origin` is: as a span below that, with its parts below itself.
/// `tell` gives the span what there is to say afterwards.
pub async fn left_by<F: Future>(
    origin: Option<Origin>,
    name: &'static str,
    work: F,
    tell: impl FnOnce(&mut Part, &F::Output),
) -> F::Output {
    let Some(Origin { request_id, position }) = origin else { return work.await };
    let Some(Position { tracer, span }) = position else {
        return Origin { request_id, position }.scope(work).await;
    };
    let parent = Context::new().with_remote_span_context(span);
    let builder = tracer.span_builder(name).with_kind(SpanKind::Internal);
    let span = tracer.build_with_context(builder, &parent);
    within(request_id, &tracer, span, work, tell).await
}

/// Does work with all its parts below this span.
async fn within<F: Future>(
    request_id: Option<Arc<str>>,
    tracer: &SdkTracer,
    span: Span,
    work: F,
    tell: impl FnOnce(&mut Part, &F::Output),
) -> F::Output {
    let position = Position { tracer: tracer.clone(), span: span.span_context().clone() };
    let mut part = Part(Some(span));
    let done = Origin { request_id, position: Some(position) }.scope(work).await;
    tell(&mut part, &done);
    done
}

/// Where spans wait to be sent.
#[derive(Debug)]
struct Queue {
    queue: mpsc::Sender<SpanData>,
    counters: Arc<SpanCounters>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(span).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends batches until `stop` is told and nothing waits any more.
async fn send(
    mut waiting: mpsc::Receiver<SpanData>,
    exporter: impl SpanExporter,
    why: watch::Receiver<String>,
    counters: Arc<SpanCounters>,
    stop: Arc<Notify>,
) {
    let mut was_taken = true;
    loop {
        let mut batch = Vec::new();
        let mut pause = std::pin::pin!(tokio::time::sleep(PAUSE));
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let has_some = !batch.is_empty();
            tokio::select! {
                more = waiting.recv_many(&mut batch, room) => if more == 0 { break },
                () = &mut pause, if has_some => break,
                () = stop.notified() => waiting.close(),
            }
        }
        if batch.is_empty() {
            return;
        }
        let spans = batch.len() as u64;
        let answer = exporter.export(batch).await;
        let is_taken = answer.is_ok();
        let counter = if is_taken { &counters.exported } else { &counters.failed };
        counter.fetch_add(spans, Ordering::Relaxed);
        match answer {
            Ok(()) if !was_taken => tracing::info!("the collector takes traces again"),
            Err(error) if was_taken => tracing::warn!(
                %error, why = why.borrow().as_str(), "the collector at telemetry.otlp_endpoint does not take traces; requests go on"
            ),
            _ => {}
        }
        was_taken = is_taken;
    }
}

/// Sends by our own client, which has a deadline and a limit for what it reads.
#[derive(Debug)]
struct Sender {
    http: HttpClient,
    /// What went wrong last: of that the exporter says no more than that it was the network.
    trouble: watch::Sender<String>,
}

impl Sender {
    fn note(&self, answer: &Result<Response<Vec<u8>>, ProviderError>) {
        let trouble = match answer {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => format!("status {}", answer.status().as_u16()),
            Err(ProviderError::Timeout) => "no answer in time".to_owned(),
            Err(
                ProviderError::Unreachable(why)
                | ProviderError::Answer(why)
                | ProviderError::Misconfigured(why),
            ) => why.clone(),
            Err(error) => error.to_string(),
        };
        self.trouble.send_replace(trouble);
    }
}

#[async_trait]
impl opentelemetry_http::HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(|body| body.to_vec());
        let answer = self.http.send(request, Reach::Private).await;
        self.note(&answer);
        Ok(answer?.map(Bytes::from))
    }
}
