//! What every request handler shares: settings, mailboxes and immutable tools. No state of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use actix_web::dev::Extensions;
use actix_web::web::Data;

use crate::actors::auditor::Auditor;
use crate::actors::change_listener::ChangeListener;
use crate::actors::client_keys::ClientKeys;
use crate::actors::clients::Clients;
use crate::actors::configuration::Configuration;
use crate::actors::db_writer::DbWriter;
use crate::actors::grant_reader::GrantReader;
use crate::actors::janitor::Janitor;
use crate::actors::key_ring::{KeyRing, KeySnapshot, Keys};
use crate::actors::mailbox::Mailbox;
use crate::actors::outbox::Outbox;
use crate::actors::picture_decoder::PictureDecoder;
use crate::actors::pictures::Pictures;
use crate::actors::provider_metadata::ProviderMetadata;
use crate::actors::rate_limiter::RateLimiter;
use crate::actors::revocations::Revocations;
use crate::actors::shards::Shards;
use crate::actors::status::ActorStatus;
use crate::actors::token_families::TokenFamilies;
use crate::clock::Clock;
use crate::in_force::{InForce, Snapshots};
use crate::providers::http::HttpClient;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`]. What follows from the configuration is in [`InForce`], and is reached through it.
#[derive(Clone)]
pub struct Parts {
    /// The configuration that this request is served by.
    pub in_force: Arc<InForce>,
    /// Whatever is in force by now.
    pub snapshots: Snapshots,
    /// Whether this is `latchkey dev`.
    pub is_development: bool,
    /// Tells the time.
    pub clock: Clock,
    /// The store; its write side is the writer's alone.
    pub store: Store,
    /// The newest keys.
    pub keys: Keys,
    /// Owner of the configuration.
    pub configuration: Mailbox<Configuration>,
    /// Owner of every write.
    pub writer: Mailbox<DbWriter>,
    /// Owner of the keys.
    pub key_ring: Mailbox<KeyRing>,
    /// Owner of the link over which changes by others are heard.
    pub change_listener: Mailbox<ChangeListener>,
    /// Owner of what is known about clients.
    pub clients: Mailbox<Clients>,
    /// Owner of what clients publish as their keys.
    pub client_keys: Mailbox<ClientKeys>,
    /// Answers what grants are, and whose.
    pub grant_reader: Mailbox<GrantReader>,
    /// Owner of what was revoked.
    pub revocations: Mailbox<Revocations>,
    /// Owners of the refresh-token families.
    pub families: Shards<TokenFamilies>,
    /// Owners of the rate-limit buckets.
    pub rate_limiters: Shards<RateLimiter>,
    /// Owner of the checkpoints of the audit trail.
    pub auditor: Mailbox<Auditor>,
    /// Owner of the timed removal.
    pub janitor: Mailbox<Janitor>,
    /// Owner of what providers say of themselves.
    pub provider_metadata: Mailbox<ProviderMetadata>,
    /// Owner of the memory for uploads and decodings.
    pub picture_decoder: Mailbox<PictureDecoder>,
    /// Owner of the pictures to be fetched.
    pub pictures: Mailbox<Pictures>,
    /// Owner of the deliveries under way.
    pub outbox: Mailbox<Outbox>,
    /// The guarded client for calls to providers.
    pub http_client: HttpClient,
    /// All actors' counters.
    pub statuses: Vec<Arc<ActorStatus>>,
    /// Everything that /metrics shows.
    pub metrics: Arc<Metrics>,
    /// Makes spans; `None` where nobody wants traces.
    pub traces: Option<Traces>,
    /// How far this machine's own clock is ahead of the store's, in milliseconds.
    pub clock_skew: Arc<AtomicI64>,
    /// Set when the process is about to end: /ready says so.
    pub draining: Arc<AtomicBool>,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The same server by another configuration.
    #[must_use]
    pub fn by(&self, in_force: Arc<InForce>) -> Self {
        Self::new(Parts { in_force, ..Parts::clone(self) })
    }

    /// The keys at this moment.
    pub fn key_snapshot(&self) -> Arc<KeySnapshot> {
        Arc::clone(&self.keys.borrow())
    }

    /// Makes /ready say that the process is about to end.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::Deref for Parts {
    type Target = InForce;

    fn deref(&self) -> &InForce {
        &self.in_force
    }
}

/// The newest [`App`] of one worker thread, as its requests get it.
pub struct Newest {
    app: App,
    /// Tells when there is another; asked by this thread alone.
    kept: RefCell<Kept>,
}

struct Kept {
    snapshots: Snapshots,
    data: Rc<Extensions>,
}

impl Newest {
    /// For the requests of a thread.
    pub fn new(app: App) -> Self {
        let mut snapshots = app.snapshots.clone();
        // From here on only what comes later is new.
        let _seen = snapshots.if_changed();
        let app = app.by(snapshots.current());
        let kept = RefCell::new(Kept { snapshots, data: data_of(&app) });
        Self { app, kept }
    }

    /// What a request that begins now is served with, for the whole of it.
    pub fn data(&self) -> Rc<Extensions> {
        let kept = &mut *self.kept.borrow_mut();
        if let Some(in_force) = kept.snapshots.if_changed() {
            kept.data = data_of(&self.app.by(in_force));
        }
        Rc::clone(&kept.data)
    }
}

fn data_of(app: &App) -> Rc<Extensions> {
    let mut data = Extensions::new();
    data.insert(Data::new(app.clone()));
    data.insert(Data::new(app.site.clone()));
    Rc::new(data)
}
