//! Everything that /metrics shows, as [`catalogue`] names it.
//!
//! Whoever does something counts it, with atomics; what they counted is read when somebody asks. Labels come from
//! fixed sets (route templates, never paths; providers of the configuration), so their number is bounded.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::catalogue::{self, Descriptor, Kind, Reason};
use super::histogram::{Durations, Reading};
use super::process::Process;
use super::requests::{Route, Routes};
use super::traces::SpanCounters;
use crate::actors::change_listener::LinkCounters;
use crate::actors::configuration::ReloadCounters;
use crate::actors::db_writer::BatchTimes;
use crate::actors::key_ring::Keys;
use crate::actors::outbox::DeliveryCounters;
use crate::actors::rate_limiter::Tier;
use crate::actors::status::{ActorStatus, AskOutcome, State};
use crate::actors::token_families::RefreshCounters;
use crate::clock::Clock;
use crate::config::settings::Provider;
use crate::in_force::Live;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::SigningTimes;
use crate::protocol::key_life::KeyState;
use crate::store::Store;

/// What keeps its own counters.
#[derive(Clone)]
pub struct Sources {
    /// The templates of all routes.
    pub routes: Vec<&'static str>,
    /// The codes of all errors.
    pub codes: Vec<&'static str>,
    /// One each actor.
    pub actors: Vec<Arc<ActorStatus>>,
    /// Counts its reads and writes.
    pub store: Store,
    /// Of the refreshes.
    pub refreshes: Arc<RefreshCounters>,
    /// Of back-channel logouts.
    pub deliveries: Arc<DeliveryCounters>,
    /// Of the writer.
    pub batches: Arc<BatchTimes>,
    /// Of the link over which changes by others are heard.
    pub link: Arc<LinkCounters>,
    /// Of calls to providers.
    pub providers: Arc<ProviderCounters>,
    /// Of the signatures.
    pub signing: Arc<SigningTimes>,
    /// The newest keys.
    pub keys: Keys,
    /// How long a key signs; `None` is for ever.
    pub rotation_period: Live<Option<Duration>>,
    /// When the janitor last succeeded, in milliseconds since 1970.
    pub janitor: Arc<AtomicI64>,
    /// Of the spans.
    pub spans: Arc<SpanCounters>,
    /// How far this machine's own clock is ahead of the store's, in milliseconds.
    pub skew: Arc<AtomicI64>,
    /// Tells the time.
    pub clock: Clock,
    /// Of the configuration.
    pub reloads: Arc<ReloadCounters>,
}

/// The registry and what handlers count.
pub struct Metrics {
    registry: Registry,
    shown: Arc<Shown>,
    /// Connections of clients that are open.
    pub connections: Arc<AtomicI64>,
}

/// What is read when somebody asks.
struct Shown {
    sources: Sources,
    routes: Routes,
    errors: HashMap<&'static str, AtomicU64>,
    /// By tier: allowed and refused.
    rate_limits: [[AtomicU64; 2]; Tier::ALL.len()],
    /// By grant, then kind.
    tokens: [[AtomicU64; catalogue::TOKEN_KINDS.len()]; catalogue::GRANTS.len()],
    reasons: [AtomicBool; Reason::ALL.len()],
    unknown_secret: AtomicU64,
    forged_refresh_tokens: AtomicU64,
    connections: Arc<AtomicI64>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Shown")
    }
}

/// How providers answered, and how sign-ins with each ended. Which providers there are is known from the
/// configuration; what is asked of others is not counted. One that went away is still told of, as counters must.
///
/// A list that only grows, at its end: whoever counts walks along it and waits for nobody.
#[derive(Debug, Default)]
pub struct ProviderCounters(Place);

type Place = OnceLock<Box<OfProvider>>;

#[derive(Debug, Default)]
struct OfProvider {
    name: String,
    /// By endpoint, then outcome.
    requests: [[AtomicU64; catalogue::PROVIDER_OUTCOMES.len()]; catalogue::ENDPOINTS.len()],
    durations: [OfWaits; catalogue::ENDPOINTS.len()],
    sign_ins: [AtomicU64; catalogue::SIGN_IN_OUTCOMES.len()],
    next: Place,
}

#[derive(Debug)]
struct OfWaits(Durations);

impl Default for OfWaits {
    fn default() -> Self {
        Self(Durations::of_waits())
    }
}

impl ProviderCounters {
    /// Counts for these from now on, too.
    pub fn know(&self, providers: &[Provider]) {
        for provider in providers {
            let mut place = &self.0;
            loop {
                let name = provider.name.clone();
                let there =
                    place.get_or_init(|| Box::new(OfProvider { name, ..OfProvider::default() }));
                if there.name == provider.name {
                    break;
                }
                place = &there.next;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &OfProvider> {
        std::iter::successors(self.0.get(), |provider| provider.next.get())
            .map(|provider| &**provider)
    }

    fn of(&self, provider: &str) -> Option<&OfProvider> {
        self.all().find(|counters| counters.name == provider)
    }

    /// Counts a request; `endpoint` and `outcome` are of [`catalogue::ENDPOINTS`] and
    /// [`catalogue::PROVIDER_OUTCOMES`].
    pub fn count_request(&self, provider: &str, endpoint: &str, outcome: &str, took: Duration) {
        let at = |names: &[&str], name| names.iter().position(|known| *known == name);
        let (endpoint, outcome) =
            (at(&catalogue::ENDPOINTS, endpoint), at(&catalogue::PROVIDER_OUTCOMES, outcome));
        if let (Some(of), Some(endpoint), Some(outcome)) = (self.of(provider), endpoint, outcome) {
            of.requests[endpoint][outcome].fetch_add(1, Ordering::Relaxed);
            of.durations[endpoint].0.observe(took);
        }
    }

    /// Counts a way back from a provider; `outcome` is of [`catalogue::SIGN_IN_OUTCOMES`].
    pub fn count_sign_in(&self, provider: &str, outcome: &str) {
        let at = catalogue::SIGN_IN_OUTCOMES.iter().position(|known| *known == outcome);
        if let (Some(of), Some(at)) = (self.of(provider), at) {
            of.sign_ins[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Metrics {
    /// Shows everything; each counter is there, at zero, from the start, but for the statuses of routes.
    pub fn new(mut sources: Sources) -> Self {
        let connections: Arc<AtomicI64> = Arc::default();
        let shown = Arc::new(Shown {
            routes: Routes::new(std::mem::take(&mut sources.routes)),
            errors: sources.codes.iter().map(|code| (*code, AtomicU64::new(0))).collect(),
            rate_limits: Default::default(),
            tokens: Default::default(),
            reasons: Default::default(),
            unknown_secret: AtomicU64::new(0),
            forged_refresh_tokens: AtomicU64::new(0),
            connections: Arc::clone(&connections),
            sources,
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&shown)));
        Self { registry, shown, connections }
    }

    /// The counters of a route, for its handlers to be found with.
    pub fn route(&self, template: &'static str) -> Route {
        self.shown.routes.of(Some(template)).clone()
    }

    /// The counters of the route that a request came to without being routed.
    pub fn unrouted(&self, template: Option<&str>) -> &Route {
        self.shown.routes.of(template)
    }

    /// Counts an error answer.
    pub fn count_error(&self, code: &'static str) {
        count(self.shown.errors.get(code));
    }

    /// Counts a request held against a rate limit.
    pub fn count_rate(&self, tier: Tier, is_allowed: bool) {
        count(Tier::ALL.iter().position(|known| *known == tier).map(|at| {
            let [allowed, refused] = &self.shown.rate_limits[at];
            if is_allowed { allowed } else { refused }
        }));
    }

    /// Counts a token that is handed out; `grant` and `kind` are of [`catalogue::GRANTS`] and
    /// [`catalogue::TOKEN_KINDS`].
    pub fn count_token(&self, grant: &str, kind: &str) {
        let grant = catalogue::GRANTS.iter().position(|known| *known == grant);
        let kind = catalogue::TOKEN_KINDS.iter().position(|known| *known == kind);
        count(grant.zip(kind).map(|(grant, kind)| &self.shown.tokens[grant][kind]));
    }

    /// Counts a refresh token refused without asking the store.
    pub fn count_forged(&self) {
        count(Some(&self.shown.forged_refresh_tokens));
    }

    /// Counts a refresh token of a server secret that is not configured.
    pub fn count_unknown_secret(&self) {
        count(Some(&self.shown.unknown_secret));
    }

    /// Takes note of why /ready says no; not at all, if it does not.
    pub fn note_readiness(&self, reasons: &[Reason]) {
        for (reason, shown) in Reason::ALL.iter().zip(&self.shown.reasons) {
            shown.store(reasons.contains(reason), Ordering::Relaxed);
        }
    }

    /// How sign-ins and requests to providers end.
    pub fn providers(&self) -> &ProviderCounters {
        &self.shown.sources.providers
    }

    /// In the OpenMetrics format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }

    /// In the text format that Prometheus had before, version 0.0.4, for whoever does not ask for the newer one:
    /// counters are described by the name of their sample, and there is no unit and no end.
    pub fn encode_plain(&self) -> String {
        let open = self.encode();
        let mut text = String::with_capacity(open.len());
        for line in open.lines() {
            let mut words = line.splitn(4, ' ');
            let written = match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                    let total = format!("{name}_total");
                    let is_counter = catalogue::ALL.iter().any(|known| known.name == total);
                    let name = if is_counter { &total } else { name };
                    writeln!(text, "# {what} {name} {rest}")
                }
                (Some("#"), ..) => Ok(()),
                _ => writeln!(text, "{line}"),
            };
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }
}

fn count(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

type Labels = Vec<(&'static str, String)>;

/// Writes metrics as the catalogue describes them.
struct Page<'page, 'text>(&'page mut DescriptorEncoder<'text>);

type Written = Result<(), std::fmt::Error>;

impl Page<'_, '_> {
    fn describe(
        &mut self,
        metric: &Descriptor,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> Written,
    ) -> Written {
        let name = metric.name.trim_end_matches("_total");
        let (name, unit) = match metric.unit() {
            "seconds" => (name.trim_end_matches("_seconds"), Some(&Unit::Seconds)),
            "bytes" => (name.trim_end_matches("_bytes"), Some(&Unit::Bytes)),
            _ => (name, None),
        };
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        write(&mut self.0.encode_descriptor(name, metric.help, unit, kind)?)
    }

    fn counters(
        &mut self,
        metric: &Descriptor,
        all: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Written {
        self.describe(metric, |family| {
            for (labels, value) in all {
                let counter = ConstCounter::new(value);
                counter.encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn counter(&mut self, metric: &Descriptor, value: u64) -> Written {
        self.describe(metric, |one| one.encode_counter::<NoLabelSet, u64, u64>(&value, None))
    }

    fn gauges(
        &mut self,
        metric: &Descriptor,
        all: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Written {
        self.describe(metric, |family| {
            for (labels, value) in all {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn gauge(&mut self, metric: &Descriptor, value: f64) -> Written {
        self.describe(metric, |one| one.encode_gauge(&value))
    }

    fn histograms(
        &mut self,
        metric: &Descriptor,
        all: impl IntoIterator<Item = (Labels, Reading)>,
    ) -> Written {
        self.describe(metric, |family| {
            for (labels, reading) in all {
                let (sum, count) = (reading.sum, reading.count());
                family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    sum,
                    count,
                    &reading.buckets,
                    None,
                )?;
            }
            Ok(())
        })
    }

    fn histogram(&mut self, metric: &Descriptor, reading: &Reading) -> Written {
        self.describe(metric, |one| {
            one.encode_histogram::<NoLabelSet>(reading.sum, reading.count(), &reading.buckets, None)
        })
    }
}

fn label(name: &'static str, value: impl Into<String>) -> (&'static str, String) {
    (name, value.into())
}

fn actor_labels(status: &ActorStatus) -> Labels {
    vec![label("actor", status.name), label("shard", status.shard.to_string())]
}

fn algorithm(algorithm: Algorithm) -> (&'static str, String) {
    label("algorithm", algorithm.as_str())
}

impl Shown {
    fn requests(&self, page: &mut Page<'_, '_>) -> Written {
        let routes: Vec<_> =
            self.routes.all().map(|route| (route.template(), route.read())).collect();
        let all = || {
            routes.iter().flat_map(|(route, methods)| {
                methods.iter().map(move |(method, statuses, durations)| {
                    let labels = vec![label("method", *method), label("route", *route)];
                    (labels, statuses, durations)
                })
            })
        };
        page.counters(
            &catalogue::HTTP_REQUESTS,
            all().flat_map(|(labels, statuses, _)| {
                statuses.iter().map(move |(status, count)| {
                    let mut labels = labels.clone();
                    labels.push(label("status", status.to_string()));
                    (labels, *count)
                })
            }),
        )?;
        page.histograms(
            &catalogue::HTTP_DURATION,
            all().map(|(labels, _, durations)| (labels, durations.clone())),
        )?;
        let mut codes: Vec<_> = self.errors.iter().collect();
        codes.sort_by_key(|(code, _)| **code);
        page.counters(
            &catalogue::HTTP_ERRORS,
            codes.into_iter().map(|(code, count)| (vec![label("code", *code)], of(count))),
        )?;
        let open = self.connections.load(Ordering::Relaxed);
        page.gauge(&catalogue::HTTP_CONNECTIONS, open as f64)?;
        page.counters(
            &catalogue::RATE_LIMIT_CHECKS,
            Tier::ALL.iter().zip(&self.rate_limits).flat_map(|(tier, counts)| {
                ["allowed", "refused"].into_iter().zip(counts).map(|(outcome, count)| {
                    let tier = label("tier", tier.as_str());
                    (vec![tier, label("outcome", outcome)], of(count))
                })
            }),
        )
    }

    fn tokens(&self, page: &mut Page<'_, '_>) -> Written {
        let refreshes = &self.sources.refreshes;
        let outcomes = [
            &refreshes.advanced,
            &refreshes.kept,
            &refreshes.reused,
            &refreshes.refused,
            &refreshes.failed,
            &self.forged_refresh_tokens,
            &self.unknown_secret,
        ];
        page.counters(
            &catalogue::REFRESHES,
            catalogue::REFRESH_OUTCOMES
                .into_iter()
                .zip(outcomes)
                .map(|(outcome, count)| (vec![label("outcome", outcome)], of(count))),
        )?;
        page.counter(&catalogue::ROLLED_FORWARD, of(&refreshes.families_rolled_forward))?;
        page.counters(
            &catalogue::TOKENS_ISSUED,
            catalogue::GRANTS.into_iter().zip(&self.tokens).flat_map(|(grant, kinds)| {
                catalogue::TOKEN_KINDS.into_iter().zip(kinds).map(move |(kind, count)| {
                    (vec![label("kind", kind), label("grant", grant)], of(count))
                })
            }),
        )?;
        page.histograms(
            &catalogue::SIGNING_DURATION,
            Algorithm::ALL
                .into_iter()
                .map(|of| (vec![algorithm(of)], self.sources.signing.of(of).read())),
        )?;
        self.keys(page)
    }

    fn keys(&self, page: &mut Page<'_, '_>) -> Written {
        let now = self.sources.clock.now();
        let keys = Arc::clone(&self.sources.keys.borrow());
        let of_state = |of: Algorithm, state: KeyState| {
            keys.keys()
                .iter()
                .filter(move |key| key.stored.algorithm == of && key.life.state(now) == state)
        };
        let states = [KeyState::Staged, KeyState::Active, KeyState::Retired];
        page.gauges(
            &catalogue::SIGNING_KEYS,
            Algorithm::ALL.into_iter().flat_map(|of| {
                states.map(|state| {
                    let labels = vec![algorithm(of), label("state", state.as_str())];
                    (labels, of_state(of, state).count() as f64)
                })
            }),
        )?;
        let seconds = |moment: Option<crate::clock::Timestamp>| {
            moment.map_or(0.0, |moment| moment.millis() as f64 / 1000.0)
        };
        page.gauges(
            &catalogue::KEY_SIGNS_FROM,
            Algorithm::ALL.into_iter().map(|of| {
                let active = of_state(of, KeyState::Active).next();
                (vec![algorithm(of)], seconds(active.map(|key| key.life.signs_from)))
            }),
        )?;
        let period = self.sources.rotation_period.now();
        page.gauges(
            &catalogue::KEY_NEXT_CHANGE,
            Algorithm::ALL.into_iter().map(|of| {
                let active = of_state(of, KeyState::Active).next();
                let next = active.and_then(|key| {
                    key.life.signs_until.or_else(|| Some(key.life.signs_from.plus(period?)))
                });
                (vec![algorithm(of)], seconds(next))
            }),
        )
    }

    fn sign_ins(&self, page: &mut Page<'_, '_>) -> Written {
        let providers = &self.sources.providers;
        page.counters(
            &catalogue::SIGN_INS,
            providers.all().flat_map(|counters| {
                catalogue::SIGN_IN_OUTCOMES.into_iter().zip(&counters.sign_ins).map(
                    move |(outcome, count)| {
                        let provider = label("provider", counters.name.as_str());
                        (vec![provider, label("outcome", outcome)], of(count))
                    },
                )
            }),
        )?;
        page.counters(
            &catalogue::PROVIDER_REQUESTS,
            providers.all().flat_map(|counters| {
                catalogue::ENDPOINTS.into_iter().zip(&counters.requests).flat_map(
                    move |(endpoint, outcomes)| {
                        catalogue::PROVIDER_OUTCOMES.into_iter().zip(outcomes).map(
                            move |(outcome, count)| {
                                let labels = vec![
                                    label("provider", counters.name.as_str()),
                                    label("endpoint", endpoint),
                                    label("outcome", outcome),
                                ];
                                (labels, of(count))
                            },
                        )
                    },
                )
            }),
        )?;
        page.histograms(
            &catalogue::PROVIDER_DURATION,
            providers.all().flat_map(|counters| {
                catalogue::ENDPOINTS.into_iter().zip(&counters.durations).map(
                    move |(endpoint, durations)| {
                        let provider = label("provider", counters.name.as_str());
                        (vec![provider, label("endpoint", endpoint)], durations.0.read())
                    },
                )
            }),
        )
    }

    fn store(&self, page: &mut Page<'_, '_>) -> Written {
        let (store, batches) = (&self.sources.store, &self.sources.batches);
        let counters = &store.counters;
        page.counter(&catalogue::STORE_READS, counters.reads())?;
        page.counter(&catalogue::STORE_COMMITS, counters.commits())?;
        page.counter(&catalogue::STORE_WRITES, counters.writes())?;
        page.histogram(&catalogue::STORE_BATCH_WRITES, &batches.writes.read())?;
        page.histogram(&catalogue::STORE_BATCH_DURATION, &batches.apply.read())?;
        page.counter(&catalogue::STORE_RETRIED_ALONE, counters.retried_alone())?;
        page.counter(&catalogue::STORE_READ_BACK, counters.read_back())?;
        let load = store.read.load();
        page.gauges(
            &catalogue::STORE_READERS,
            [("in_use", load.in_use), ("idle", load.idle)]
                .map(|(state, count)| (vec![label("state", state)], count as f64)),
        )?;
        page.gauge(&catalogue::STORE_READS_WAITING, load.waiting as f64)
    }

    fn actors(&self, page: &mut Page<'_, '_>) -> Written {
        let actors = &self.sources.actors;
        let gauges = |value: fn(&ActorStatus) -> f64| {
            actors.iter().map(move |status| (actor_labels(status), value(status)))
        };
        let is_up = |status: &ActorStatus| f64::from(u8::from(status.state() == State::Running));
        page.gauges(&catalogue::ACTOR_UP, gauges(is_up))?;
        page.gauges(&catalogue::ACTOR_IN_FLIGHT, gauges(|status| status.in_flight() as f64))?;
        page.gauges(&catalogue::ACTOR_CAPACITY, gauges(|status| status.capacity as f64))?;
        page.counters(
            &catalogue::ACTOR_RESTARTS,
            actors.iter().map(|status| (actor_labels(status), status.restarts())),
        )?;
        page.counters(
            &catalogue::ACTOR_ASKS,
            actors.iter().flat_map(|status| {
                AskOutcome::ALL.map(|outcome| {
                    let mut labels = actor_labels(status);
                    labels.push(label("outcome", outcome.as_str()));
                    (labels, status.asks(outcome))
                })
            }),
        )?;
        let durations = |of: fn(&ActorStatus) -> &Durations| {
            actors.iter().map(move |status| (actor_labels(status), of(status).read()))
        };
        page.histograms(&catalogue::ACTOR_ASK_DURATION, durations(|status| &status.ask_time))?;
        page.histograms(&catalogue::ACTOR_HANDLE_DURATION, durations(|status| &status.handle_time))
    }

    fn background(&self, page: &mut Page<'_, '_>) -> Written {
        let sources = &self.sources;
        let reasons: Vec<bool> =
            self.reasons.iter().map(|reason| reason.load(Ordering::Relaxed)).collect();
        let number = |is_so: bool| f64::from(u8::from(is_so));
        page.gauge(&catalogue::READY, number(!reasons.contains(&true)))?;
        page.gauges(
            &catalogue::NOT_READY,
            Reason::ALL
                .into_iter()
                .zip(reasons)
                .map(|(reason, is_so)| (vec![label("reason", reason.as_str())], number(is_so))),
        )?;
        let deliveries = &sources.deliveries;
        let outcomes = [
            ("delivered", &deliveries.delivered),
            ("put_off", &deliveries.put_off),
            ("given_up", &deliveries.given_up),
        ];
        page.counters(
            &catalogue::LOGOUT_DELIVERIES,
            outcomes.map(|(outcome, count)| (vec![label("outcome", outcome)], of(count))),
        )?;
        page.gauge(&catalogue::LOGOUT_UNDER_WAY, of(&deliveries.under_way) as f64)?;
        let is_up = sources.link.is_up.load(Ordering::Relaxed);
        page.gauge(&catalogue::CHANGES_LINK_UP, number(is_up))?;
        page.counter(&catalogue::CHANGES_HEARD, of(&sources.link.changes))?;
        let reloads = &sources.reloads;
        let outcomes = [
            ("applied", &reloads.applied),
            ("refused", &reloads.refused),
            ("failed", &reloads.failed),
        ];
        page.counters(
            &catalogue::RELOADS,
            outcomes.map(|(outcome, count)| (vec![label("outcome", outcome)], of(count))),
        )?;
        let read = reloads.last_success.load(Ordering::Relaxed);
        page.gauge(&catalogue::LAST_RELOAD, read as f64)?;
        let janitor = sources.janitor.load(Ordering::Relaxed);
        page.gauge(&catalogue::JANITOR_LAST_RUN, janitor as f64 / 1000.0)?;
        let spans = &sources.spans;
        let outcomes =
            [("exported", &spans.exported), ("dropped", &spans.dropped), ("failed", &spans.failed)];
        page.counters(
            &catalogue::TRACE_SPANS,
            outcomes.map(|(outcome, count)| (vec![label("outcome", outcome)], of(count))),
        )?;
        page.counter(&catalogue::LOG_LINES_LOST, super::lost_lines())?;
        let skew = sources.skew.load(Ordering::Relaxed);
        page.gauge(&catalogue::CLOCK_SKEW, skew as f64 / 1000.0)
    }

    fn process(&self, page: &mut Page<'_, '_>) -> Written {
        let version = label("version", env!("CARGO_PKG_VERSION"));
        let store = label("store", self.sources.store.kind);
        page.gauges(&catalogue::BUILD_INFO, [(vec![version, store], 1.0)])?;
        let process = Process::read();
        page.describe(&catalogue::CPU_SECONDS, |one| match &process {
            Some(process) => one.encode_counter::<NoLabelSet, f64, f64>(&process.cpu_seconds, None),
            None => Ok(()),
        })?;
        for (metric, value) in [
            (&catalogue::RESIDENT_MEMORY, process.map(|process| process.resident_bytes as f64)),
            (&catalogue::VIRTUAL_MEMORY, process.map(|process| process.virtual_bytes as f64)),
            (&catalogue::START_TIME, process.map(|process| process.started)),
            (&catalogue::OPEN_FDS, process.map(|process| process.open_files as f64)),
            (&catalogue::MAX_FDS, process.map(|process| process.most_files as f64)),
            (&catalogue::THREADS, process.map(|process| process.threads as f64)),
        ] {
            page.describe(metric, |one| value.map_or(Ok(()), |value| one.encode_gauge(&value)))?;
        }
        Ok(())
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Written {
        let page = &mut Page(&mut encoder);
        self.requests(page)?;
        self.tokens(page)?;
        self.sign_ins(page)?;
        self.store(page)?;
        self.actors(page)?;
        self.background(page)?;
        self.process(page)
    }
}
