//! What is in force: the configuration and all that follows from it, as one immutable snapshot.
//!
//! A reload makes another snapshot and publishes it whole. Requests are served by the one that was newest
//! when they came; actors hold [`Live`] values and look when they act, so that a restarted one sees the
//! newest, too.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::avatars::storage::AvatarStorage;
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::config::Entry;
use crate::config::settings::Settings;
use crate::protocol::client_registration::Rules;
use crate::protocol::key::SigningKey;
use crate::protocol::refresh_token::RefreshTokens;
use crate::protocol::rotation::Lifetimes;
use crate::protocol::sealed::Sealer;
use crate::providers::address::Reach;
use crate::providers::configured::Providers;
use crate::registration;
use crate::routes::cookies::Cookies;
use crate::routes::oauth::discovery::Discovery;
use crate::routes::pages::site::Site;
use crate::routes::session::tokens_live_for;
use crate::startup::{StartError, key_tokens_live_for, read_key_files};

/// The configuration and all that follows from it.
pub struct InForce {
    /// The configuration.
    pub settings: Settings,
    /// Its keys, as they were read.
    pub entries: Vec<Entry>,
    /// Seals and opens tickets.
    pub sealer: Sealer,
    /// Issues and reads refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// The rule of rotation.
    pub lifetimes: Lifetimes,
    /// How long an access token can be valid that this process has issued, with leeway. A shorter life does
    /// not shorten that of tokens that are out already, so this never falls while the process runs.
    pub access_tokens_live_for: Duration,
    /// How long any token can be valid after its key last signed; as [`Self::access_tokens_live_for`].
    pub key_tokens_live_for: Duration,
    /// Cookie names and attributes.
    pub cookies: Cookies,
    /// The pages' name and look.
    pub site: Site,
    /// What programs are told about this server.
    pub discovery: Discovery,
    /// What may be registered about a client.
    pub client_rules: Rules,
    /// The configured providers.
    pub providers: Providers,
    /// Where avatars are kept.
    pub avatars: AvatarStorage,
    /// Where what is not configured by the deployer may be fetched from: clients' receivers, people's pictures.
    pub reach: Reach,
    /// The keys of `keys.files`.
    pub key_files: Vec<Arc<SigningKey>>,
    /// What this server proves by TLS who it is; `None` where a proxy does.
    pub certificate: Option<Certificate>,
}

impl InForce {
    /// What follows from settings that a server starts with.
    ///
    /// # Errors
    /// [`StartError`] if what they name cannot be used.
    pub fn new(settings: Settings, entries: Vec<Entry>) -> Result<Self, StartError> {
        Self::after(None, settings, entries)
    }

    /// What follows from settings that take the place of these.
    ///
    /// # Errors
    /// [`StartError`] if what they name cannot be used.
    pub fn followed_by(&self, settings: Settings, entries: Vec<Entry>) -> Result<Self, StartError> {
        Self::after(Some(self), settings, entries)
    }

    /// Says in the log what is taken over, but serves nobody at this moment.
    pub fn warn(&self, now: Timestamp) {
        let certificate = self.certificate.as_ref();
        if let Some(reason) = certificate.and_then(|certificate| certificate.untimely(now)) {
            tracing::warn!("server.tls.cert {reason}");
        }
    }

    fn after(
        former: Option<&Self>,
        settings: Settings,
        entries: Vec<Entry>,
    ) -> Result<Self, StartError> {
        let key_files = match former {
            Some(former) => former.key_files.clone(),
            None => read_key_files(&settings)?,
        };
        let place = &settings.avatars.store;
        let avatars = match former {
            Some(former) if former.settings.avatars.store == *place => former.avatars.clone(),
            _ => AvatarStorage::open(place)?,
        };
        let client_rules = registration::rules_with(&settings, &key_files);
        let longest = |of: fn(&Self) -> Duration, now: Duration| former.map_or(now, of).max(now);
        Ok(Self {
            sealer: Sealer::new(&settings.server.secret_key),
            refresh_tokens: RefreshTokens::new(&settings.server.secret_key),
            lifetimes: Lifetimes::new(&settings.tokens),
            access_tokens_live_for: longest(
                |former| former.access_tokens_live_for,
                tokens_live_for(settings.tokens.access_ttl),
            ),
            key_tokens_live_for: longest(
                |former| former.key_tokens_live_for,
                key_tokens_live_for(&settings),
            ),
            cookies: Cookies::new(&settings),
            site: Site::new(&settings.branding).leading_to(settings.server.frontend_url.as_ref()),
            discovery: Discovery::new(&settings, &client_rules.algorithms),
            client_rules,
            providers: Providers::following(
                former.map(|former| &former.providers),
                &settings.providers,
            ),
            avatars,
            reach: match settings.server.allow_private_receivers {
                true => Reach::Private,
                false => Reach::Public,
            },
            key_files,
            certificate: settings.server.tls.as_ref().map(Certificate::read).transpose()?,
            settings,
            entries,
        })
    }
}

/// A value of what is in force: that of the moment at which it is asked for.
pub struct Live<T>(Origin<T>);

enum Origin<T> {
    Fixed(T),
    Following { snapshots: Snapshots, value: fn(&InForce) -> T },
}

impl<T: Clone> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Origin::Fixed(value) => Origin::Fixed(value.clone()),
            Origin::Following { snapshots, value } => {
                Origin::Following { snapshots: snapshots.clone(), value: *value }
            }
        })
    }
}

impl<T: Clone> Live<T> {
    /// The value at this moment.
    pub fn now(&self) -> T {
        match &self.0 {
            Origin::Fixed(value) => value.clone(),
            Origin::Following { snapshots, value } => value(&snapshots.0.borrow()),
        }
    }

    /// The value, if what is in force has changed since this was last asked.
    pub fn if_changed(&mut self) -> Option<T> {
        match &mut self.0 {
            Origin::Fixed(_) => None,
            Origin::Following { snapshots, value } => snapshots.if_changed().map(|new| value(&new)),
        }
    }
}

/// A value that stays: for commands and tests.
impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self(Origin::Fixed(value))
    }
}

/// Receives what is in force.
#[derive(Clone, Debug)]
pub struct Snapshots(watch::Receiver<Arc<InForce>>);

impl std::fmt::Debug for InForce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("InForce").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Publishes what is in force; the [`Configuration`](crate::actors::configuration::Configuration)'s alone.
pub type Publisher = watch::Sender<Arc<InForce>>;

impl Snapshots {
    /// Both ends, with what a server starts with.
    pub fn channel(first: InForce) -> (Publisher, Self) {
        let (publisher, receiver) = watch::channel(Arc::new(first));
        (publisher, Self(receiver))
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.0.borrow())
    }

    /// A part of whatever is in force.
    pub fn live<T>(&self, value: fn(&InForce) -> T) -> Live<T> {
        Live(Origin::Following { snapshots: self.clone(), value })
    }

    /// What is in force, if that has changed since this was last asked.
    pub fn if_changed(&mut self) -> Option<Arc<InForce>> {
        // An error means that nothing will change any more.
        let has_changed = self.0.has_changed().unwrap_or(false);
        has_changed.then(|| Arc::clone(&self.0.borrow_and_update()))
    }
}

/// Answers each handshake with the certificate that is in force.
#[derive(Debug)]
pub struct CurrentCertificate(pub Snapshots);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let in_force = self.0.0.borrow();
        in_force.certificate.as_ref().map(|certificate| Arc::clone(certificate.certified()))
    }
}
