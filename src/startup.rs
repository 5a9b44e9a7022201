//! From settings to a running server: the store, then the actors in the order in which they need each other,
//! then HTTP. How it ends is in [`crate::running`].

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpServer, web};

use crate::actors::auditor::{self, Auditor};
use crate::actors::change_listener::{self, ChangeListener, FirstTry};
use crate::actors::client_keys::ClientKeys;
use crate::actors::clients::Clients;
use crate::actors::configuration::{self, Configuration};
use crate::actors::db_writer::DbWriter;
use crate::actors::grant_reader::GrantReader;
use crate::actors::janitor::{self, Janitor};
use crate::actors::key_ring::{self, KeyRing, KeyRingError, Keys, Reload};
use crate::actors::mailbox::Mailbox;
use crate::actors::outbox::{self, Outbox};
use crate::actors::picture_decoder::{self, PictureDecoder};
use crate::actors::pictures::{self, Pictures};
use crate::actors::provider_metadata::ProviderMetadata;
use crate::actors::rate_limiter::{self, RateLimiter};
use crate::actors::revocations::{self, Revocations};
use crate::actors::shards::Shards;
use crate::actors::status::ActorStatus;
use crate::actors::supervisor::{Policy, Supervision, Terms};
use crate::actors::ticker;
use crate::actors::token_families::{self, TokenFamilies};
use crate::app::{App, Newest, Parts};
use crate::avatars::storage::StorageError;
use crate::clock::Clock;
use crate::config::settings::{Audit, Settings, StoreUrl};
use crate::config::{Given, Source};
use crate::connections::{self, Traffic};
use crate::in_force::{CurrentCertificate, InForce, Live, Publisher, Snapshots};
use crate::notary::Notary;
use crate::protocol::key::SigningKey;
use crate::protocol::sealed::Sealer;
use crate::providers::http::{HttpClient, Limits};
use crate::routes;
use crate::routes::dev::idp::DevelopmentProvider;
use crate::routes::multipart;
use crate::routes::session::tokens_live_for;
use crate::running::{Running, after_drain};
use crate::store::error::OpenError;
use crate::store::trail::TrailRules;
use crate::store::{self, Store};
use crate::telemetry::metrics::{Metrics, ProviderCounters, Sources};
use crate::telemetry::traces::{SpanCounters, Traces};

/// Deadlines nest: a statement's (3 s) is below the writer's, that below its askers', that below what
/// a client waits. A batch that has to connect anew and read back can outlast its askers: to them the
/// outcome is unknown, and asking again is safe.
const WRITER_DEADLINE: Duration = Duration::from_secs(4);
const OWNER_DEADLINE: Duration = Duration::from_secs(5);

/// A limiter or a revocation check is on the way of every request: it answers at once or not at all.
const CHECK_DEADLINE: Duration = Duration::from_secs(3);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened, or its schema does not fit.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// A key file cannot be used.
    #[error("keys.files: {path}: {reason}")]
    KeyFile {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {reason}{advice}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// Another server uses this database file.
    #[error("another latchkey server uses {0}; stop it first, or use PostgreSQL to run several")]
    Locked(String),
    /// Certificate or key cannot be used.
    #[error("server.tls.{key}: {path}: {reason}")]
    Tls {
        /// The key that names the file: `cert` or `key`.
        key: &'static str,
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// No TLS can be spoken with what there is.
    #[error("server.tls: {0}")]
    Handshakes(String),
    /// Pictures cannot be kept as the settings say.
    #[error(transparent)]
    Avatars(#[from] StorageError),
    /// Traces cannot be sent there.
    #[error("telemetry.otlp_endpoint: {0}")]
    Traces(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    HttpClient(String),
}

/// The actors that a command needs: the whole set for servers, writer and keys for the command line.
pub struct KeyActors {
    /// Owner of every write.
    pub writer: Mailbox<DbWriter>,
    /// Owner of the keys.
    pub key_ring: Mailbox<KeyRing>,
    /// The keys that it published; none before it was told to.
    pub keys: Keys,
}

/// Opens the store, with its schema as this binary needs it.
///
/// # Errors
/// [`OpenError`].
pub async fn open_store(settings: &Settings, clock: &Clock) -> Result<Store, OpenError> {
    if settings.store.migrate_on_start {
        for migration in store::migrate(&settings.store).await? {
            tracing::info!(version = migration.version, name = migration.name, "migration applied");
        }
    }
    store::check_schema(&settings.store).await?;
    let store = store::open(&settings.store, clock).await?;
    // The command line, too, tells the time that the servers tell: what it changes is new to them. Who cannot
    // ask now has asked while the store was opened.
    let _time = clock.follow(store.read.time()).await;
    Ok(store)
}

/// The parsed keys of `keys.files`.
///
/// # Errors
/// [`StartError::KeyFile`].
pub fn read_key_files(settings: &Settings) -> Result<Vec<Arc<SigningKey>>, StartError> {
    let mut keys: Vec<Arc<SigningKey>> = Vec::new();
    for path in &settings.keys.files {
        let refused =
            |reason: String| StartError::KeyFile { path: path.display().to_string(), reason };
        let pem = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let key = SigningKey::from_pem(&pem).map_err(|error| refused(error.to_string()))?;
        if keys.iter().any(|known| known.public().kid == key.public().kid) {
            return Err(refused("the same key is in another file of the list, too".to_owned()));
        }
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

/// One server uses a SQLite file at a time: its caches are its own. Of the command line only what puts another
/// file in its place takes the lock.
///
/// # Errors
/// [`StartError::Locked`] if a server has it, [`StartError::Store`] if the file beside the database cannot be made.
pub fn lock_database(settings: &Settings) -> Result<Option<std::fs::File>, StartError> {
    let StoreUrl::Sqlite(path) = &settings.store.url else {
        return Ok(None);
    };
    store::sqlite::make_folder_of(path)?;
    let mut name = path.clone().into_os_string();
    name.push(".lock");
    let unreachable = |error: std::io::Error| {
        OpenError::Unreachable(format!("{} cannot be opened: {error}", Path::new(&name).display()))
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(unreachable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(StartError::Locked(path.display().to_string()))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(unreachable(error).into()),
    }
}

/// What the key ring is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRingUse {
    /// Follows the clock and makes keys.
    Server,
    /// Does what a command says.
    CommandLine,
}

/// How long a token can be valid after its key last signed: the longest life, and the leeway.
pub fn key_tokens_live_for(settings: &Settings) -> Duration {
    tokens_live_for(settings.tokens.access_ttl.max(settings.tokens.id_ttl))
}

/// The parts of the key ring that do not come from other actors.
fn key_ring_means(
    (rules, files): (Live<key_ring::Rules>, Vec<Arc<SigningKey>>),
    clock: &Clock,
    store: &Store,
    writer: &Mailbox<DbWriter>,
    revocations: Option<Mailbox<Revocations>>,
    used_by: KeyRingUse,
) -> key_ring::Means {
    key_ring::Means {
        writer: writer.clone(),
        read: Arc::clone(&store.read),
        revocations,
        clock: clock.clone(),
        rules,
        files,
        automatic: used_by == KeyRingUse::Server,
        signing: Arc::default(),
    }
}

/// How keys are made and follow each other by these settings.
fn key_rules(settings: &Settings, sealer: Sealer, tokens_live_for: Duration) -> key_ring::Rules {
    key_ring::Rules {
        sealer,
        algorithm: settings.keys.algorithm,
        bits: settings.keys.bits,
        period: settings.keys.rotation_period,
        ahead: settings.keys.publish_ahead,
        tokens_live_for,
    }
}

fn trail_rules(audit: &Audit) -> TrailRules {
    TrailRules::new(audit.retention, audit.log)
}

fn terms(name: &'static str, shard: usize, capacity: usize, deadline: Duration) -> Terms {
    Terms { name, shard, capacity, deadline }
}

fn start_writer(
    supervision: &mut Supervision,
    arbiter: &Arbiter,
    store: &Store,
    times: &Arc<crate::actors::db_writer::BatchTimes>,
    rules: Live<TrailRules>,
) -> Mailbox<DbWriter> {
    let (write, times) = (Arc::clone(&store.write), Arc::clone(times));
    let terms = terms("db_writer", 0, 4096, WRITER_DEADLINE);
    supervision
        .start(&arbiter.handle(), terms, move |status| DbWriter::new(write, status, times, rules))
}

/// Starts the writer and the key ring alone, for a command beside or without a server.
///
/// # Errors
/// [`StartError`].
pub fn start_key_actors(
    settings: &Settings,
    clock: &Clock,
    store: &Store,
) -> Result<KeyActors, StartError> {
    let mut supervision = Supervision::new(Policy::default());
    let arbiter = Arbiter::current();
    let writer_arbiter = Arbiter::new();
    let trail = trail_rules(&settings.audit).into();
    let writer = start_writer(&mut supervision, &writer_arbiter, store, &Arc::default(), trail);
    let sealer = Sealer::new(&settings.server.secret_key);
    let rules = key_rules(settings, sealer, key_tokens_live_for(settings)).into();
    let with = (rules, read_key_files(settings)?);
    let means = key_ring_means(with, clock, store, &writer, None, KeyRingUse::CommandLine);
    let (publish, keys) = KeyRing::channel();
    let terms = terms("key_ring", 0, 16, Duration::from_secs(60));
    let key_ring =
        supervision.start(&arbiter, terms, move |status| KeyRing::new(means, publish, status));
    Ok(KeyActors { writer, key_ring, keys })
}

/// What signs the audit trail.
pub fn notary(
    settings: &Settings,
    clock: &Clock,
    store: &Store,
    writer: &Mailbox<DbWriter>,
    keys: &Keys,
) -> Notary {
    Notary {
        issuer: settings.server.public_url.as_str().to_owned(),
        algorithm: settings.keys.algorithm.into(),
        every: settings.audit.checkpoint_every.into(),
        keys: keys.clone(),
        sealer: Sealer::new(&settings.server.secret_key).into(),
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        clock: clock.clone(),
    }
}

/// The owner of the writes alone, for a command.
pub fn start_writer_alone(settings: &Settings, store: &Store) -> Mailbox<DbWriter> {
    let mut supervision = Supervision::new(Policy::default());
    let trail = trail_rules(&settings.audit).into();
    start_writer(&mut supervision, &Arbiter::new(), store, &Arc::default(), trail)
}

/// Starts everything and listens on the configured address.
///
/// # Errors
/// [`StartError`]; nothing is listening then.
pub async fn start(
    given: Given,
    is_development: bool,
    clock: Clock,
) -> Result<Running, StartError> {
    let listener = listen(given.settings.server.listen)?;
    start_on(listener, given, is_development, clock).await
}

/// Starts everything on a listener that is there already.
///
/// # Errors
/// [`StartError`].
pub async fn start_on(
    listener: TcpListener,
    given: impl Into<Given>,
    is_development: bool,
    clock: Clock,
) -> Result<Running, StartError> {
    let Given { settings, entries, source } = given.into();
    let address = listener.local_addr().unwrap_or(settings.server.listen);
    let database_lock = lock_database(&settings)?;
    let (publisher, snapshots) = Snapshots::channel(InForce::new(settings, entries)?);
    let in_force = snapshots.current();
    in_force.warn(clock.now());
    let tls = in_force.certificate.as_ref().map(|_| tls_config(&snapshots)).transpose()?;
    let store = open_store(&in_force.settings, &clock).await?;

    let mut supervision = Supervision::new(Policy::default());
    let arbiters = vec![Arbiter::new(), Arbiter::new()];
    let reading = Reading { source, publisher, snapshots };
    let (app, tickers) =
        start_actors(reading, is_development, &clock, store, &mut supervision, &arbiters).await?;
    let refused = |reason| StartError::Listen { address, reason, advice: "" };
    let same_listener = listener.try_clone().map_err(refused)?;
    let traffic = Traffic::new(Arc::clone(&app.metrics.connections));
    let mut servers = vec![serve(&app, listener, tls, &traffic)?];
    if let Some(address) = app.settings.telemetry.metrics_listen {
        servers.push(serve_metrics(&app, listen(address)?)?);
    }
    Ok(Running {
        app,
        address,
        servers,
        listener: same_listener,
        traffic,
        given_up: supervision.given_up(),
        tickers,
        arbiters,
        _database_lock: database_lock,
    })
}

/// The configuration that a server starts with, and what it is read again with.
struct Reading {
    source: Option<Source>,
    publisher: Publisher,
    snapshots: Snapshots,
}

/// Starts the actors in the order in which they need each other, and their tickers.
async fn start_actors(
    reading: Reading,
    is_development: bool,
    clock: &Clock,
    store: Store,
    supervision: &mut Supervision,
    arbiters: &[Arbiter],
) -> Result<(App, Vec<tokio::task::JoinHandle<()>>), StartError> {
    let Reading { source, publisher, snapshots } = reading;
    let in_force = snapshots.current();
    let settings = &in_force.settings;
    let skew: Arc<AtomicI64> = Arc::default();
    synchronize(clock, &store, &skew).await;
    let (writer_arbiter, owners) = (&arbiters[0], &arbiters[1]);
    let lifetimes = snapshots.live(|in_force| in_force.lifetimes);
    let reach = snapshots.live(|in_force| in_force.reach);
    let batches = Arc::default();
    let trail = snapshots.live(|in_force| trail_rules(&in_force.settings.audit));
    let writer = start_writer(supervision, writer_arbiter, &store, &batches, trail);

    let revocations = {
        let (read, clock) = (Arc::clone(&store.read), clock.clone());
        let terms = terms("revocations", 0, 4096, CHECK_DEADLINE);
        supervision
            .start(&owners.handle(), terms, move |status| Revocations::new(read, clock, status))
    };

    let provider_counters: Arc<ProviderCounters> = Arc::default();
    provider_counters.know(&settings.providers);
    let http_client = HttpClient::new(Limits::default())
        .map_err(|error| StartError::HttpClient(error.to_string()))?
        .counting(Arc::clone(&provider_counters));
    let spans: Arc<SpanCounters> = Arc::default();
    let traces = start_traces(settings, &http_client, &spans)?;
    let (publish, keys) = KeyRing::channel();
    let deliveries: Arc<outbox::DeliveryCounters> = Arc::default();
    let means = outbox::Means {
        traces: traces.clone(),
        http: http_client.clone(),
        reach: reach.clone(),
        issuer: settings.server.public_url.as_str().to_owned(),
        keys: keys.clone(),
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        clock: clock.clone(),
        counters: Arc::clone(&deliveries),
    };
    let outbox = supervision.start(
        &owners.handle(),
        terms("outbox", 0, 1024, Duration::from_secs(30)),
        move |status| Outbox::new(means, status),
    );

    let refreshes: Arc<token_families::RefreshCounters> = Arc::default();
    let means = token_families::Means {
        writer: writer.clone(),
        read: Arc::clone(&store.read),
        revocations: revocations.clone(),
        outbox: outbox.clone(),
        lifetimes: lifetimes.clone(),
        tokens_live_for: snapshots.live(|in_force| in_force.access_tokens_live_for),
        clock: clock.clone(),
        counters: Arc::clone(&refreshes),
    };
    let families = Shards::start(4, |shard| {
        let means = means.clone();
        // Beside the writer, so that the way from one to the other stays on one thread.
        supervision.start(
            &writer_arbiter.handle(),
            terms("token_families", shard, 1024, OWNER_DEADLINE),
            move |status| TokenFamilies::new(means, status),
        )
    });

    let limits = snapshots.live(|in_force| in_force.settings.rate_limits.clone());
    let rate_limiters = Shards::start(2, |shard| {
        let (limits, clock) = (limits.clone(), clock.clone());
        supervision.start(
            &owners.handle(),
            terms("rate_limiter", shard, 4096, CHECK_DEADLINE),
            move |status| RateLimiter::new(limits, clock, status),
        )
    });

    let rules = snapshots.live(|in_force| {
        let sealer = in_force.sealer.clone();
        key_rules(&in_force.settings, sealer, in_force.key_tokens_live_for)
    });
    let means = key_ring_means(
        (rules, in_force.key_files.clone()),
        clock,
        &store,
        &writer,
        Some(revocations.clone()),
        KeyRingUse::Server,
    );
    let signing = Arc::clone(&means.signing);
    let key_ring = supervision.start(
        &owners.handle(),
        terms("key_ring", 0, 16, Duration::from_secs(15)),
        move |status| KeyRing::new(means, publish, status),
    );

    let clients = {
        let read = Arc::clone(&store.read);
        let terms = terms("clients", 0, 4096, CHECK_DEADLINE);
        supervision.start(&owners.handle(), terms, move |status| Clients::new(read, status))
    };

    let link: Arc<change_listener::LinkCounters> = Arc::default();
    let means = change_listener::Means {
        feed: Arc::clone(&store.changes),
        revocations: revocations.clone(),
        key_ring: key_ring.clone(),
        clients: clients.clone(),
        counters: Arc::clone(&link),
    };
    let change_listener = supervision.start(
        &owners.handle(),
        terms("change_listener", 0, 4, Duration::from_secs(10)),
        move |status| ChangeListener::new(means, status),
    );
    // Listening comes before loading, so that no change falls in between. Without it the node starts, too:
    // the owners read the store all the time.
    if let Err(error) = change_listener.ask(FirstTry).await {
        tracing::warn!(%error, "it is not known whether changes by others are heard");
    }
    // A node that cannot open the store's keys does not start.
    key_ring.ask(Reload).await.map_err(KeyRingError::from)??;

    let notary = Notary {
        algorithm: snapshots.live(|in_force| in_force.settings.keys.algorithm),
        every: snapshots.live(|in_force| in_force.settings.audit.checkpoint_every),
        sealer: snapshots.live(|in_force| in_force.sealer.clone()),
        ..notary(settings, clock, &store, &writer, &keys)
    };
    let auditor = supervision.start(
        &owners.handle(),
        terms("auditor", 0, 16, Duration::from_secs(15)),
        move |status| Auditor::new(notary, status),
    );

    let avatars = snapshots.live(|in_force| in_force.avatars.clone());
    let last_clean: Arc<AtomicI64> = Arc::default();
    let means = janitor::Means {
        traces: traces.clone(),
        writer: writer.clone(),
        auditor: auditor.clone(),
        read: Arc::clone(&store.read),
        clock: clock.clone(),
        lifetimes,
        audit_retention: snapshots.live(|in_force| in_force.settings.audit.retention),
        tokens_live_for: snapshots.live(|in_force| in_force.key_tokens_live_for),
        avatars: avatars.clone(),
        last_success: Arc::clone(&last_clean),
    };
    let janitor = supervision.start(
        &owners.handle(),
        terms("janitor", 0, 4, Duration::from_secs(60)),
        move |status| Janitor::new(means, status),
    );

    let provider_metadata = {
        let providers = snapshots.live(|in_force| in_force.providers.clone());
        let (http, clock) = (http_client.clone(), clock.clone());
        let terms = terms("provider_metadata", 0, 256, Duration::from_secs(10));
        supervision.start(&owners.handle(), terms, move |status| {
            ProviderMetadata::new(providers, http, clock, status)
        })
    };

    let grant_reader = {
        let read = Arc::clone(&store.read);
        let terms = terms("grant_reader", 0, 4096, CHECK_DEADLINE);
        supervision.start(&owners.handle(), terms, move |status| GrantReader::new(read, status))
    };

    let client_keys = {
        let (http, reach, clock) = (http_client.clone(), reach.clone(), clock.clone());
        let terms = terms("client_keys", 0, 256, Duration::from_secs(10));
        supervision.start(&owners.handle(), terms, move |status| {
            ClientKeys::new(http, reach, clock, status)
        })
    };

    let picture_decoder = {
        let limits = snapshots.live(|in_force| picture_decoder::Limits {
            most_pixels: in_force.settings.avatars.max_pixels,
            largest_upload: multipart::whole(in_force.settings.avatars.max_bytes),
        });
        let terms = terms("picture_decoder", 0, 256, Duration::from_secs(20));
        supervision
            .start(&owners.handle(), terms, move |status| PictureDecoder::new(limits, status))
    };

    let means = pictures::Means {
        http: http_client.clone(),
        reach,
        most: snapshots.live(|in_force| {
            let settings = &in_force.settings.avatars;
            (settings.max_bytes, settings.max_pixels)
        }),
        decoder: picture_decoder.clone(),
        storage: avatars,
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        clock: clock.clone(),
    };
    let pictures = supervision.start(
        &owners.handle(),
        terms("pictures", 0, 64, Duration::from_secs(30)),
        move |status| Pictures::new(means, status),
    );

    let reloads: Arc<configuration::ReloadCounters> = Arc::default();
    // The start has read it, too.
    reloads.last_success.store(clock.now().seconds(), Ordering::Relaxed);
    let means = configuration::Means {
        source,
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        key_ring: key_ring.clone(),
        keys: keys.clone(),
        clock: clock.clone(),
        counters: Arc::clone(&reloads),
        providers: Arc::clone(&provider_counters),
    };
    let configuration = supervision.start(
        &owners.handle(),
        terms("configuration", 0, 16, configuration::DEADLINE),
        move |status| Configuration::new(means, publisher, status),
    );

    let looks =
        snapshots.live(|in_force| auditor::period(in_force.settings.audit.checkpoint_every));
    let tickers = vec![
        ticker::start(&revocations, revocations::POLL),
        ticker::start(&key_ring, key_ring::POLL),
        ticker::start(&auditor, looks),
        ticker::start(&janitor, janitor::PERIOD),
        ticker::start(&outbox, outbox::POLL),
        start_clock_ticker(clock.clone(), store.clone(), Arc::clone(&skew)),
    ]
    .into_iter()
    .chain(rate_limiters.all().iter().map(|shard| ticker::start(shard, rate_limiter::SWEEP)))
    .collect();

    let statuses: Vec<Arc<ActorStatus>> = supervision.statuses().to_vec();
    let metrics = Arc::new(Metrics::new(Sources {
        routes: routes::templates(is_development),
        codes: routes::error_codes(),
        actors: statuses.clone(),
        store: store.clone(),
        refreshes,
        deliveries,
        batches,
        link,
        providers: provider_counters,
        signing,
        keys: keys.clone(),
        // Keys from files follow nobody by the clock.
        rotation_period: snapshots.live(|in_force| {
            let keys = &in_force.settings.keys;
            keys.rotation_period.filter(|_| keys.files.is_empty())
        }),
        janitor: last_clean,
        spans,
        skew: Arc::clone(&skew),
        clock: clock.clone(),
        reloads,
    }));
    let app = App::new(Parts {
        in_force,
        snapshots,
        is_development,
        clock: clock.clone(),
        store,
        keys,
        configuration,
        writer,
        key_ring,
        change_listener,
        clients,
        client_keys,
        grant_reader,
        revocations,
        families,
        rate_limiters,
        auditor,
        janitor,
        provider_metadata,
        picture_decoder,
        pictures,
        outbox,
        http_client,
        statuses,
        metrics,
        traces,
        clock_skew: skew,
        draining: Arc::default(),
    });
    Ok((app, tickers))
}

/// What makes spans, if somebody wants them.
fn start_traces(
    settings: &Settings,
    http: &HttpClient,
    counters: &Arc<SpanCounters>,
) -> Result<Option<Traces>, StartError> {
    let telemetry = &settings.telemetry;
    let start = |endpoint| {
        Traces::start(endpoint, telemetry.otlp_sample_percent, http.clone(), Arc::clone(counters))
            .map_err(StartError::Traces)
    };
    telemetry.otlp_endpoint.as_ref().map(start).transpose()
}

/// How far this machine's clock may be off the database's before it is worth a warning.
const TOLERATED_SKEW: Duration = Duration::from_secs(30);

/// Takes over the store's time, so that all nodes agree; `skew` tells /ready how far this machine's
/// own clock is ahead of it, in milliseconds.
async fn synchronize(clock: &Clock, store: &Store, skew: &AtomicI64) {
    let Ok(reference) = clock.follow(store.read.time()).await else { return };
    let ahead = Clock::system_time().millis() - reference.millis();
    skew.store(ahead, Ordering::Relaxed);
    if u128::from(ahead.unsigned_abs()) > TOLERATED_SKEW.as_millis() {
        tracing::warn!(skew_ms = ahead, "this machine's clock and the database's differ");
    }
}

fn start_clock_ticker(
    clock: Clock,
    store: Store,
    skew: Arc<AtomicI64>,
) -> tokio::task::JoinHandle<()> {
    actix_web::rt::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_secs(60));
        loop {
            interval.tick().await;
            synchronize(&clock, &store, &skew).await;
        }
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let refused = |reason: std::io::Error| {
        let advice = match reason.kind() {
            std::io::ErrorKind::AddrInUse => "; is another server running? Choose another port",
            std::io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
            _ => "",
        };
        StartError::Listen { address, reason, advice }
    };
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }
    .map_err(refused)?;
    socket.set_reuseaddr(true).map_err(refused)?;
    socket.bind(address).map_err(refused)?;
    let listener = socket.listen(1024).map_err(refused)?;
    listener.into_std().map_err(refused)
}

/// Each handshake asks which certificate is in force.
fn tls_config(snapshots: &Snapshots) -> Result<rustls::ServerConfig, StartError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Handshakes(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(CurrentCertificate(snapshots.clone()))))
}

/// Starts the HTTP server. Signals are ours: actix-server's own handling drops queued writes.
fn serve(
    app: &App,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    traffic: &Arc<Traffic>,
) -> Result<ServerHandle, StartError> {
    let shared = app.clone();
    let is_development = app.is_development;
    let idp = is_development.then(|| {
        Data::new(DevelopmentProvider::new(
            &app.settings.server,
            app.snapshots.live(|in_force| in_force.sealer.clone()),
            app.clock.clone(),
        ))
    });
    let address = app.settings.server.listen;
    let metrics = Arc::clone(&app.metrics);
    let application = move || {
        actix_web::App::new()
            .app_data(Newest::new(shared.clone()))
            .wrap(from_fn(routes::edge::edge))
            .configure(|config| {
                if let Some(idp) = &idp {
                    config.app_data(idp.clone());
                }
                routes::configure(config, &metrics, is_development);
            })
    };
    let builder = actix_server::Server::build()
        .workers(app.settings.server.workers)
        .disable_signals()
        .shutdown_timeout(after_drain(&app.settings).as_secs());
    let running = connections::serve(builder, listener, tls, traffic, application)
        .map_err(|reason| StartError::Listen { address, reason, advice: "" })?;
    let handle = running.handle();
    actix_web::rt::spawn(running);
    Ok(handle)
}

/// Starts the listener for `/metrics` alone: whoever reaches it may read.
fn serve_metrics(app: &App, listener: TcpListener) -> Result<ServerHandle, StartError> {
    let data = Data::new(app.clone());
    let address = listener.local_addr().unwrap_or(app.settings.server.listen);
    let server = HttpServer::new(move || {
        actix_web::App::new().app_data(data.clone()).route(
            "/metrics",
            web::get().to(|request: HttpRequest, app: Data<App>| async move {
                routes::system::metrics_answer(&request, &app).await
            }),
        )
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)
    .map_err(|reason| StartError::Listen { address, reason, advice: "" })?
    .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}
