//! Everything that /metrics shows, by the conventions of Prometheus.
//!
//! Actors, the store and the refresh outcomes keep their own counters; they are read when somebody
//! asks. Labels come from fixed sets (route templates, never paths), so their number is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::actors::change_listener::LinkCounters;
use crate::actors::configuration::ReloadCounters;
use crate::actors::db_writer::BatchTimes;
use crate::actors::outbox::DeliveryCounters;
use crate::actors::rate_limiter::Tier;
use crate::actors::status::{ActorStatus, AskOutcome, BUCKETS_MICROSECONDS, Durations, State};
use crate::actors::token_families::RefreshCounters;
use crate::store::Counters;

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

/// Labels of an error answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    code: &'static str,
}

/// Labels of a refused rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabels {
    tier: &'static str,
}

/// The registry and what handlers count.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    errors: Family<ErrorLabels, Counter>,
    rate_limited: Family<TierLabels, Counter>,
    /// Refresh tokens of a server secret that is not configured.
    pub unknown_secret: Arc<AtomicU64>,
    /// Refresh tokens refused without asking the store.
    pub forged_refresh_tokens: Arc<AtomicU64>,
}

/// What keeps its own counters.
#[derive(Clone, Debug)]
pub struct Sources {
    /// One each actor.
    pub actors: Vec<Arc<ActorStatus>>,
    /// Of the store.
    pub store: Arc<Counters>,
    /// Of the refreshes.
    pub refreshes: Arc<RefreshCounters>,
    /// Of back-channel logouts.
    pub deliveries: Arc<DeliveryCounters>,
    /// Of the writer.
    pub batches: Arc<BatchTimes>,
    /// Of the link over which changes by others are heard.
    pub link: Arc<LinkCounters>,
    /// Of the configuration.
    pub reloads: Arc<ReloadCounters>,
}

impl Metrics {
    /// Registers everything; each counter is there, at zero, from the start.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("latchkey");
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let bounds = BUCKETS_MICROSECONDS.iter().map(|micros| *micros as f64 / 1e6);
        let request_seconds = Histogram::new(bounds);
        registry.register_with_unit(
            "http_request_duration",
            "From the request's head to the answer's head",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let errors = Family::<ErrorLabels, Counter>::default();
        registry.register("http_errors", "Error answers by code", errors.clone());
        let rate_limited = Family::<TierLabels, Counter>::default();
        for tier in Tier::ALL {
            drop(rate_limited.get_or_create(&TierLabels { tier: tier.as_str() }));
        }
        registry.register("rate_limited", "Requests refused by a rate limit", rate_limited.clone());
        let unknown_secret = Arc::new(AtomicU64::new(0));
        let forged_refresh_tokens = Arc::new(AtomicU64::new(0));
        registry.register_collector(Box::new(Collected {
            sources,
            unknown_secret: Arc::clone(&unknown_secret),
            forged_refresh_tokens: Arc::clone(&forged_refresh_tokens),
        }));
        Self {
            registry,
            requests,
            request_seconds,
            errors,
            rate_limited,
            unknown_secret,
            forged_refresh_tokens,
        }
    }

    /// Counts an answered request.
    pub fn observe_request(
        &self,
        method: &actix_web::http::Method,
        route: String,
        status: u16,
        took: Duration,
    ) {
        let labels = RequestLabels { method: method_label(method), route, status };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Counts an error answer.
    pub fn count_error(&self, code: &'static str) {
        self.errors.get_or_create(&ErrorLabels { code }).inc();
    }

    /// Counts a request refused by a rate limit.
    pub fn count_rate_limited(&self, tier: Tier) {
        self.rate_limited.get_or_create(&TierLabels { tier: tier.as_str() }).inc();
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Methods are chosen by clients, so unknown ones share a label.
fn method_label(method: &actix_web::http::Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| method.as_str() == *known)
        .unwrap_or("other")
}

#[derive(Debug)]
struct Collected {
    sources: Sources,
    unknown_secret: Arc<AtomicU64>,
    forged_refresh_tokens: Arc<AtomicU64>,
}

type Labels = [(&'static str, String); 2];

fn actor_labels(status: &ActorStatus) -> Labels {
    [("actor", status.name.to_owned()), ("shard", status.shard.to_string())]
}

impl Collected {
    fn counter(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: u64,
    ) -> Result<(), std::fmt::Error> {
        ConstCounter::new(value).encode(encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Counter,
        )?)
    }

    fn actors(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let actors = &self.sources.actors;
        let mut family = encoder.encode_descriptor(
            "actor_in_flight",
            "Requests that wait for an actor",
            None,
            MetricType::Gauge,
        )?;
        for status in actors {
            let value = i64::try_from(status.in_flight()).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(&actor_labels(status))?)?;
        }
        let mut family = encoder.encode_descriptor(
            "actor_up",
            "Whether an actor is running",
            None,
            MetricType::Gauge,
        )?;
        for status in actors {
            let value = i64::from(status.state() == State::Running);
            ConstGauge::new(value).encode(family.encode_family(&actor_labels(status))?)?;
        }
        let mut family = encoder.encode_descriptor(
            "actor_restarts",
            "Restarts after a failure",
            None,
            MetricType::Counter,
        )?;
        for status in actors {
            ConstCounter::new(status.restarts())
                .encode(family.encode_family(&actor_labels(status))?)?;
        }
        let mut family = encoder.encode_descriptor(
            "actor_asks",
            "Requests to an actor by how they ended",
            None,
            MetricType::Counter,
        )?;
        for status in actors {
            for outcome in AskOutcome::ALL {
                let [actor, shard] = actor_labels(status);
                let labels = [actor, shard, ("outcome", outcome.as_str().to_owned())];
                ConstCounter::new(status.asks(outcome)).encode(family.encode_family(&labels)?)?;
            }
        }
        Self::durations(
            encoder,
            "actor_ask",
            "From asking an actor to its answer",
            actors.iter().map(|status| (actor_labels(status), &status.ask_time)),
        )?;
        Self::durations(
            encoder,
            "actor_handle",
            "One turn of an actor: what its handlers did without waiting",
            actors.iter().map(|status| (actor_labels(status), &status.handle_time)),
        )
    }

    fn deliveries(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let deliveries = &self.sources.deliveries;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut family = encoder.encode_descriptor(
            "logout_deliveries",
            "Attempts to tell a client of a sign-out by how they ended",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count) in [
            ("delivered", of(&deliveries.delivered)),
            ("put_off", of(&deliveries.put_off)),
            ("given_up", of(&deliveries.given_up)),
        ] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let under_way = i64::try_from(of(&deliveries.under_way)).unwrap_or(i64::MAX);
        ConstGauge::new(under_way).encode(encoder.encode_descriptor(
            "logout_deliveries_under_way",
            "Clients that this node is about to tell of a sign-out",
            None,
            MetricType::Gauge,
        )?)
    }

    fn reloads(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let reloads = &self.sources.reloads;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut family = encoder.encode_descriptor(
            "configuration_reloads",
            "Attempts to read the configuration again by how they ended",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count) in [
            ("applied", of(&reloads.applied)),
            ("refused", of(&reloads.refused)),
            ("failed", of(&reloads.failed)),
        ] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let last = reloads.last_success.load(Ordering::Relaxed);
        ConstGauge::new(last).encode(encoder.encode_descriptor(
            "configuration_last_reload_success_timestamp",
            "When the configuration in force was read",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)
    }

    fn durations<'a>(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        all: impl Iterator<Item = (Labels, &'a Durations)>,
    ) -> Result<(), std::fmt::Error> {
        let mut family =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, durations) in all {
            let (counts, sum) = durations.read();
            let bounds = BUCKETS_MICROSECONDS
                .iter()
                .map(|micros| *micros as f64 / 1e6)
                .chain(std::iter::once(f64::MAX));
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            let total = counts.iter().sum();
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), total, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        let (store, refreshes) = (&self.sources.store, &self.sources.refreshes);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, help, value) in [
            ("store_reads", "Reads asked of the store", store.reads()),
            ("store_commits", "Transactions committed", store.commits()),
            ("store_writes", "Writes committed", store.writes()),
            (
                "store_batches_retried_alone",
                "Batches whose writes were tried one by one",
                store.retried_alone(),
            ),
            ("store_commits_read_back", "Commits whose outcome was read back", store.read_back()),
            ("refreshes_advanced", "Refreshes that moved a family on", of(&refreshes.advanced)),
            ("refreshes_kept", "Refreshes that gave the live token again", of(&refreshes.kept)),
            ("refreshes_reused", "Families revoked for reuse", of(&refreshes.reused)),
            ("refreshes_refused", "Refreshes of ended or unknown families", of(&refreshes.refused)),
            (
                "families_rolled_forward",
                "Families whose lost commits were made up",
                of(&refreshes.families_rolled_forward),
            ),
            (
                "refresh_tokens_forged",
                "Refresh tokens refused without a look-up",
                of(&self.forged_refresh_tokens),
            ),
            ("changes_heard", "Changes heard of", of(&self.sources.link.changes)),
            (
                "unknown_secret",
                "Refresh tokens of an unknown server secret",
                of(&self.unknown_secret),
            ),
        ] {
            Self::counter(encoder, name, help, value)?;
        }
        self.deliveries(encoder)?;
        self.reloads(encoder)?;
        let is_up = i64::from(self.sources.link.is_up.load(Ordering::Relaxed));
        ConstGauge::new(is_up).encode(encoder.encode_descriptor(
            "changes_link_up",
            "Whether changes by others are heard",
            None,
            MetricType::Gauge,
        )?)?;
        let mut batches = encoder.encode_descriptor(
            "store_batch",
            "One batch of writes, until its commit",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let (counts, sum) = self.sources.batches.apply.read();
        let bounds = BUCKETS_MICROSECONDS.iter().map(|micros| *micros as f64 / 1e6);
        let buckets: Vec<(f64, u64)> =
            bounds.chain(std::iter::once(f64::MAX)).zip(counts.iter().copied()).collect();
        batches.encode_histogram::<NoLabelSet>(
            sum.as_secs_f64(),
            counts.iter().sum(),
            &buckets,
            None,
        )?;
        self.actors(encoder)
    }
}
