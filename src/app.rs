//! What every request handler shares: settings, mailboxes and immutable tools. No state of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::actors::auditor::Auditor;
use crate::actors::change_listener::ChangeListener;
use crate::actors::client_keys::ClientKeys;
use crate::actors::clients::Clients;
use crate::actors::db_writer::DbWriter;
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
use crate::avatars::storage::AvatarStorage;
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::protocol::client_registration::Rules;
use crate::protocol::refresh_token::RefreshTokens;
use crate::protocol::rotation::Lifetimes;
use crate::protocol::sealed::Sealer;
use crate::providers::configured::Providers;
use crate::providers::http::HttpClient;
use crate::routes::cookies::Cookies;
use crate::routes::oauth::discovery::Discovery;
use crate::routes::pages::site::Site;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The configuration.
    pub settings: Settings,
    /// Whether this is `latchkey dev`.
    pub is_development: bool,
    /// Tells the time.
    pub clock: Clock,
    /// The store; its write side is the writer's alone.
    pub store: Store,
    /// Seals and opens tickets.
    pub sealer: Sealer,
    /// Issues and reads refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// The rule of rotation.
    pub lifetimes: Lifetimes,
    /// Cookie names and attributes.
    pub cookies: Cookies,
    /// The newest keys.
    pub keys: Keys,
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
    /// Where avatars are kept.
    pub avatars: AvatarStorage,
    /// The configured providers.
    pub providers: Providers,
    /// The guarded client for calls to providers.
    pub http_client: HttpClient,
    /// What programs are told about this server.
    pub discovery: Discovery,
    /// What may be registered about a client.
    pub client_rules: Rules,
    /// The pages' name and look.
    pub site: Site,
    /// All actors' counters.
    pub statuses: Vec<Arc<ActorStatus>>,
    /// Everything that /metrics shows.
    pub metrics: Arc<Metrics>,
    /// Makes spans; `None` where nobody wants traces.
    pub traces: Option<Traces>,
    /// How far this machine's own clock is ahead of the store's, in milliseconds.
    pub clock_skew: Arc<AtomicI64>,
    /// Set when the process is about to end: /ready says so.
    pub draining: AtomicBool,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
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
