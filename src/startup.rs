//! From settings to a running server, and back to nothing.
//!
//! Start: store, then actors in the order in which they need each other, then HTTP. Stop: the other
//! way round, so that whatever was acknowledged is in the store.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{HttpServer, web};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::actors::auditor::{self, Auditor};
use crate::actors::change_listener::{self, ChangeListener, FirstTry};
use crate::actors::client_keys::ClientKeys;
use crate::actors::clients::Clients;
use crate::actors::db_writer::DbWriter;
use crate::actors::janitor::{self, Janitor};
use crate::actors::key_ring::{self, KeyRing, KeyRingError, Keys, Reload};
use crate::actors::mailbox::Mailbox;
use crate::actors::outbox::{self, Outbox};
use crate::actors::picture_decoder::PictureDecoder;
use crate::actors::pictures::{self, Pictures};
use crate::actors::provider_metadata::ProviderMetadata;
use crate::actors::rate_limiter::{self, RateLimiter};
use crate::actors::revocations::{self, Revocations};
use crate::actors::shards::Shards;
use crate::actors::status::ActorStatus;
use crate::actors::supervisor::{Policy, Supervision, Terms};
use crate::actors::ticker;
use crate::actors::token_families::{self, TokenFamilies};
use crate::app::{App, Parts};
use crate::avatars::storage::{AvatarStorage, StorageError};
use crate::clock::Clock;
use crate::config::settings::{Audit, Settings, Tls};
use crate::connections::{self, Traffic};
use crate::notary::Notary;
use crate::protocol::key::SigningKey;
use crate::protocol::refresh_token::RefreshTokens;
use crate::protocol::rotation::Lifetimes;
use crate::protocol::sealed::Sealer;
use crate::providers::address::Reach;
use crate::providers::configured::Providers;
use crate::providers::http::{HttpClient, Limits};
use crate::registration;
use crate::routes;
use crate::routes::cookies::Cookies;
use crate::routes::dev::idp::DevelopmentProvider;
use crate::routes::multipart;
use crate::routes::oauth::discovery::Discovery;
use crate::routes::pages::site::Site;
use crate::routes::session::tokens_live_for;
use crate::store::error::OpenError;
use crate::store::trail::TrailRules;
use crate::store::{self, Store};
use crate::telemetry::metrics::{Metrics, Sources};

/// Deadlines nest: a statement's (3 s) is below the writer's, that below its askers', that below what
/// a client waits. A batch that has to connect anew and read back can outlast its askers: to them the
/// outcome is unknown, and asking again is safe.
const WRITER_DEADLINE: Duration = Duration::from_secs(4);
const OWNER_DEADLINE: Duration = Duration::from_secs(5);

/// How long connections are taken up that came before new ones are turned away.
const LAST_ADMITTED: Duration = Duration::from_millis(200);

/// How long nothing has come by the connections that are left when they are closed.
const LAST_ASKED: Duration = Duration::from_millis(500);

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
    #[error("server.tls: {0}")]
    Tls(String),
    /// Pictures cannot be kept as the settings say.
    #[error(transparent)]
    Avatars(#[from] StorageError),
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

/// A running server.
pub struct Running {
    /// What the handlers share.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    /// The main one first, then that of the metrics.
    servers: Vec<ServerHandle>,
    /// The main one's listener, once more.
    listener: TcpListener,
    traffic: Arc<Traffic>,
    given_up: Arc<tokio::sync::Notify>,
    tickers: Vec<tokio::task::JoinHandle<()>>,
    arbiters: Vec<Arbiter>,
    /// Held while the server runs; the operating system releases it with the process.
    _database_lock: Option<std::fs::File>,
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
    // The command line, too, tells the time that the servers tell: what it changes is new to them.
    if let Ok(reference) = store.read.time().await {
        clock.synchronize(reference);
    }
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

/// One server uses a SQLite file at a time: its caches are its own. The command line takes no lock.
fn lock_database(settings: &Settings) -> Result<Option<std::fs::File>, StartError> {
    let crate::config::settings::StoreUrl::Sqlite(path) = &settings.store.url else {
        return Ok(None);
    };
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
    settings: &Settings,
    clock: &Clock,
    store: &Store,
    writer: &Mailbox<DbWriter>,
    revocations: Option<Mailbox<Revocations>>,
    used_by: KeyRingUse,
) -> Result<key_ring::Means, StartError> {
    Ok(key_ring::Means {
        writer: writer.clone(),
        read: Arc::clone(&store.read),
        revocations,
        sealer: Sealer::new(&settings.server.secret_key),
        clock: clock.clone(),
        algorithm: settings.keys.algorithm,
        bits: settings.keys.bits,
        period: settings.keys.rotation_period,
        ahead: settings.keys.publish_ahead,
        tokens_live_for: key_tokens_live_for(settings),
        files: read_key_files(settings)?,
        automatic: used_by == KeyRingUse::Server,
    })
}

fn terms(name: &'static str, shard: usize, capacity: usize, deadline: Duration) -> Terms {
    Terms { name, shard, capacity, deadline }
}

fn start_writer(
    supervision: &mut Supervision,
    arbiter: &Arbiter,
    store: &Store,
    times: &Arc<crate::actors::db_writer::BatchTimes>,
    audit: &Audit,
) -> Mailbox<DbWriter> {
    let rules = TrailRules::new(audit.retention, audit.log);
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
    let writer =
        start_writer(&mut supervision, &writer_arbiter, store, &Arc::default(), &settings.audit);
    let means = key_ring_means(settings, clock, store, &writer, None, KeyRingUse::CommandLine)?;
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
        algorithm: settings.keys.algorithm,
        every: settings.audit.checkpoint_every,
        keys: keys.clone(),
        sealer: Sealer::new(&settings.server.secret_key),
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        clock: clock.clone(),
    }
}

/// The owner of the writes alone, for a command.
pub fn start_writer_alone(settings: &Settings, store: &Store) -> Mailbox<DbWriter> {
    let mut supervision = Supervision::new(Policy::default());
    start_writer(&mut supervision, &Arbiter::new(), store, &Arc::default(), &settings.audit)
}

/// Starts everything and listens on the configured address.
///
/// # Errors
/// [`StartError`]; nothing is listening then.
pub async fn start(
    settings: Settings,
    is_development: bool,
    clock: Clock,
) -> Result<Running, StartError> {
    let listener = listen(settings.server.listen)?;
    start_on(listener, settings, is_development, clock).await
}

/// Starts everything on a listener that is there already.
///
/// # Errors
/// [`StartError`].
pub async fn start_on(
    listener: TcpListener,
    settings: Settings,
    is_development: bool,
    clock: Clock,
) -> Result<Running, StartError> {
    let address = listener.local_addr().unwrap_or(settings.server.listen);
    let tls = settings.server.tls.as_ref().map(tls_config).transpose()?;
    let database_lock = lock_database(&settings)?;
    let store = open_store(&settings, &clock).await?;

    let mut supervision = Supervision::new(Policy::default());
    let arbiters = vec![Arbiter::new(), Arbiter::new()];
    let (app, tickers) =
        start_actors(settings, is_development, &clock, store, &mut supervision, &arbiters).await?;
    let refused = |reason| StartError::Listen { address, reason, advice: "" };
    let same_listener = listener.try_clone().map_err(refused)?;
    let traffic = Traffic::new();
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

/// Starts the actors in the order in which they need each other, and their tickers.
async fn start_actors(
    settings: Settings,
    is_development: bool,
    clock: &Clock,
    store: Store,
    supervision: &mut Supervision,
    arbiters: &[Arbiter],
) -> Result<(App, Vec<tokio::task::JoinHandle<()>>), StartError> {
    let skew: Arc<AtomicI64> = Arc::default();
    synchronize(clock, &store, &skew).await;
    let (writer_arbiter, owners) = (&arbiters[0], &arbiters[1]);
    let lifetimes = Lifetimes::new(&settings.tokens);
    let access_tokens_live_for = tokens_live_for(settings.tokens.access_ttl);
    let batches = Arc::default();
    let writer = start_writer(supervision, writer_arbiter, &store, &batches, &settings.audit);

    let revocations = {
        let (read, clock) = (Arc::clone(&store.read), clock.clone());
        let terms = terms("revocations", 0, 4096, CHECK_DEADLINE);
        supervision
            .start(&owners.handle(), terms, move |status| Revocations::new(read, clock, status))
    };

    let http_client = HttpClient::new(Limits::default())
        .map_err(|error| StartError::HttpClient(error.to_string()))?;
    // Of what is not configured by the deployer: clients' receivers, people's pictures.
    let reach = match settings.server.allow_private_receivers {
        true => Reach::Private,
        false => Reach::Public,
    };
    let (publish, keys) = KeyRing::channel();
    let deliveries: Arc<outbox::DeliveryCounters> = Arc::default();
    let means = outbox::Means {
        http: http_client.clone(),
        reach,
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
        lifetimes,
        tokens_live_for: access_tokens_live_for,
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

    let limits = settings.rate_limits.clone();
    let rate_limiters = Shards::start(2, |shard| {
        let (limits, clock) = (limits.clone(), clock.clone());
        supervision.start(
            &owners.handle(),
            terms("rate_limiter", shard, 4096, CHECK_DEADLINE),
            move |status| RateLimiter::new(&limits, clock, status),
        )
    });

    let means = key_ring_means(
        &settings,
        clock,
        &store,
        &writer,
        Some(revocations.clone()),
        KeyRingUse::Server,
    )?;
    let key_tokens_live_for = means.tokens_live_for;
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

    let notary = notary(&settings, clock, &store, &writer, &keys);
    let auditor = supervision.start(
        &owners.handle(),
        terms("auditor", 0, 16, Duration::from_secs(15)),
        move |status| Auditor::new(notary, status),
    );

    let avatars = AvatarStorage::open(&settings.avatars.store)?;
    let means = janitor::Means {
        writer: writer.clone(),
        auditor: auditor.clone(),
        read: Arc::clone(&store.read),
        clock: clock.clone(),
        lifetimes,
        audit_retention: settings.audit.retention,
        tokens_live_for: key_tokens_live_for,
        avatars: avatars.clone(),
    };
    let janitor = supervision.start(
        &owners.handle(),
        terms("janitor", 0, 4, Duration::from_secs(60)),
        move |status| Janitor::new(means, status),
    );

    let all_providers: Vec<_> = settings.providers.iter().cloned().map(Arc::new).collect();
    let providers = Providers::new(&all_providers);
    let provider_metadata = {
        let (http, clock) = (http_client.clone(), clock.clone());
        let terms = terms("provider_metadata", 0, 256, Duration::from_secs(10));
        supervision.start(&owners.handle(), terms, move |status| {
            ProviderMetadata::new(&all_providers, http, clock, status)
        })
    };

    let receivers = match settings.server.allow_private_receivers {
        true => Reach::Private,
        false => Reach::Public,
    };
    let client_keys = {
        let (http, clock) = (http_client.clone(), clock.clone());
        let terms = terms("client_keys", 0, 256, Duration::from_secs(10));
        supervision.start(&owners.handle(), terms, move |status| {
            ClientKeys::new(http, receivers, clock, status)
        })
    };

    let picture_decoder = {
        let most_pixels = settings.avatars.max_pixels;
        let largest_upload = multipart::whole(settings.avatars.max_bytes);
        let terms = terms("picture_decoder", 0, 256, Duration::from_secs(20));
        supervision.start(&owners.handle(), terms, move |status| {
            PictureDecoder::new(most_pixels, largest_upload, status)
        })
    };

    let means = pictures::Means {
        http: http_client.clone(),
        reach,
        max_bytes: settings.avatars.max_bytes,
        max_pixels: settings.avatars.max_pixels,
        decoder: picture_decoder.clone(),
        storage: avatars.clone(),
        read: Arc::clone(&store.read),
        writer: writer.clone(),
        clock: clock.clone(),
    };
    let pictures = supervision.start(
        &owners.handle(),
        terms("pictures", 0, 64, Duration::from_secs(30)),
        move |status| Pictures::new(means, status),
    );

    let tickers = vec![
        ticker::start(&revocations, revocations::POLL),
        ticker::start(&key_ring, key_ring::POLL),
        ticker::start(&auditor, auditor::period(settings.audit.checkpoint_every)),
        ticker::start(&janitor, janitor::PERIOD),
        ticker::start(&outbox, outbox::POLL),
        start_clock_ticker(clock.clone(), store.clone(), Arc::clone(&skew)),
    ]
    .into_iter()
    .chain(rate_limiters.all().iter().map(|shard| ticker::start(shard, rate_limiter::SWEEP)))
    .collect();

    let client_rules = registration::rules(&settings)?;
    let statuses: Vec<Arc<ActorStatus>> = supervision.statuses().to_vec();
    let metrics = Arc::new(Metrics::new(Sources {
        actors: statuses.clone(),
        store: Arc::clone(&store.counters),
        refreshes,
        deliveries,
        batches,
        link,
    }));
    let app = App::new(Parts {
        sealer: Sealer::new(&settings.server.secret_key),
        refresh_tokens: RefreshTokens::new(&settings.server.secret_key),
        cookies: Cookies::new(&settings),
        site: Site::new(&settings.branding).leading_to(settings.server.frontend_url.as_ref()),
        discovery: Discovery::new(&settings, &client_rules.algorithms),
        client_rules,
        settings,
        is_development,
        clock: clock.clone(),
        store,
        lifetimes,
        keys,
        writer,
        key_ring,
        change_listener,
        clients,
        client_keys,
        revocations,
        families,
        rate_limiters,
        auditor,
        janitor,
        provider_metadata,
        picture_decoder,
        pictures,
        outbox,
        avatars,
        providers,
        http_client,
        statuses,
        metrics,
        clock_skew: skew,
        draining: AtomicBool::new(false),
    });
    Ok((app, tickers))
}

/// How far this machine's clock may be off the database's before it is worth a warning.
const TOLERATED_SKEW: Duration = Duration::from_secs(30);

/// Takes over the store's time, so that all nodes agree; `skew` tells /ready how far this machine's
/// own clock is ahead of it, in milliseconds.
async fn synchronize(clock: &Clock, store: &Store, skew: &AtomicI64) {
    let Ok(reference) = store.read.time().await else { return };
    clock.synchronize(reference);
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

fn tls_config(tls: &Tls) -> Result<rustls::ServerConfig, StartError> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let refused =
        |path: &Path, reason: String| StartError::Tls(format!("{}: {reason}", path.display()));
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refused(&tls.cert, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| refused(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused(&tls.cert, error.to_string()))
}

/// What is left of the grace when the drain is over.
fn after_drain(settings: &Settings) -> Duration {
    settings.server.shutdown_grace.saturating_sub(settings.server.drain)
}

/// Starts the HTTP server. Signals are ours: actix-server's own handling drops queued writes.
fn serve(
    app: &App,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    traffic: &Arc<Traffic>,
) -> Result<ServerHandle, StartError> {
    let data = Data::new(app.clone());
    let site = Data::new(app.site.clone());
    let is_development = app.is_development;
    let idp = is_development.then(|| {
        Data::new(DevelopmentProvider::new(
            &app.settings.server,
            app.sealer.clone(),
            app.clock.clone(),
        ))
    });
    let address = app.settings.server.listen;
    let application = move || {
        actix_web::App::new()
            .app_data(data.clone())
            .app_data(site.clone())
            .wrap(from_fn(routes::edge::edge))
            .configure(|config| {
                if let Some(idp) = &idp {
                    config.app_data(idp.clone());
                }
                routes::configure(config, is_development);
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
            web::get().to(|app: Data<App>| async move { routes::system::metrics_answer(&app) }),
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

/// The signals that end the process in order. Made before anything is started: one that comes while the
/// server starts would otherwise end it on the spot.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// Why the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// SIGTERM, by what runs the server.
    Terminated,
    /// SIGINT, by who sits before it.
    Interrupted,
    /// An actor failed for good.
    GivenUp,
}

impl EndReason {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::GivenUp => "an actor failed for good",
        }
    }
}

impl StopSignals {
    /// Receives them from now on.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for a further one, from who does not want to wait.
    pub async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Running {
    /// Waits until there is a key to sign with: on the first start it is still being made.
    pub async fn signing_key_is_there(&mut self) {
        let (clock, algorithm) = (self.app.clock.clone(), self.app.settings.keys.algorithm);
        let mut keys = self.app.keys.clone();
        // An error means that the key ring is gone, which readiness tells.
        let _gone = keys.wait_for(|keys| keys.signer(algorithm, clock.now()).is_some()).await;
    }

    /// Waits for SIGTERM, SIGINT, or an actor that failed for good; says which.
    pub async fn wait(&self, signals: &mut StopSignals) -> EndReason {
        tokio::select! {
            _ = signals.terminate.recv() => EndReason::Terminated,
            _ = signals.interrupt.recv() => EndReason::Interrupted,
            () = self.given_up.notified() => EndReason::GivenUp,
        }
    }

    /// Ends all periodic work. What the actors were told stays true; they hear of nothing new.
    pub fn stop_tickers(&self) {
        self.tickers.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Stops in order, behind proxies: for `server.drain` everything is served while /ready says no, each
    /// answer ending its connection; then the port is closed; then, when nothing has come for a moment, what
    /// connections are left. Whether all was finished in time.
    pub async fn drain_and_stop(self) -> bool {
        self.app.set_draining();
        let drain = self.app.settings.server.drain;
        if drain.is_zero() {
            return self.stop().await;
        }
        tokio::time::sleep(drain).await;
        match connections::turn_away(&self.listener) {
            Ok(()) => tokio::time::sleep(LAST_ADMITTED).await,
            Err(error) => tracing::debug!(%error, "new connections cannot be turned away"),
        }
        self.end(LAST_ASKED).await
    }

    /// Stops in order: readiness, HTTP, tickers, then the actors from the outside in, the writer
    /// last. Whether all of them drained in time.
    pub async fn stop(self) -> bool {
        self.end(Duration::ZERO).await
    }

    /// Stops; connections that are idle are closed when nothing has come for so long.
    async fn end(self, pause: Duration) -> bool {
        self.app.set_draining();
        let most = after_drain(&self.app.settings) / 2;
        let stops: Vec<_> = self.servers.iter().map(|server| server.stop(true)).collect();
        // The port is closed with the last that holds it.
        drop(self.listener);
        let closing = async {
            if !pause.is_zero() {
                self.traffic.until_quiet(pause, most).await;
            }
            self.traffic.end_idle();
        };
        tokio::join!(closing, futures_util::future::join_all(stops));
        self.tickers.iter().for_each(tokio::task::JoinHandle::abort);
        let app = self.app;
        let grace = app.settings.server.shutdown_grace;
        let mut drained = true;
        for shard in app.families.all() {
            drained &= shard.drain(grace).await;
        }
        drained &= app.change_listener.drain(grace).await;
        drained &= app.janitor.drain(grace).await;
        drained &= app.auditor.drain(grace).await;
        drained &= app.key_ring.drain(grace).await;
        drained &= app.provider_metadata.drain(grace).await;
        drained &= app.pictures.drain(grace).await;
        drained &= app.outbox.drain(grace).await;
        drained &= app.client_keys.drain(grace).await;
        drained &= app.clients.drain(grace).await;
        drained &= app.picture_decoder.drain(grace).await;
        drained &= app.writer.drain(grace).await;
        drained &= app.revocations.drain(grace).await;
        for shard in app.rate_limiters.all() {
            drained &= shard.drain(grace).await;
        }
        for arbiter in self.arbiters {
            arbiter.stop();
            // Its thread ends with its loop; a thread that panicked has nothing left to do either.
            let _ended = arbiter.join();
        }
        drained
    }
}
