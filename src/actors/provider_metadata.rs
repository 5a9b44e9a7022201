//! Owner of what the providers say about themselves: endpoints and keys, fetched when they are first
//! needed and kept for an hour.
//!
//! All who ask for one provider while it is being fetched share that one fetch; nobody who asks for
//! another waits for it. There is nothing to load: after a restart the first who ask fetch again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use async_trait::async_trait;

use super::fetched::{Answer, Fetched, Lives, Next};
use super::mailbox::{Drain, Mailbox};
use super::status::ActorStatus;
use crate::clock::Clock;
use crate::config::settings::Provider;
use crate::in_force::Live;
use crate::providers::ProviderError;
use crate::providers::configured::Providers;
use crate::providers::discovery::{Metadata, discover};
use crate::providers::http::HttpClient;
use crate::providers::openid::MetadataSource;
use crate::telemetry::origin::{Origin, on_behalf_of};

/// How long what was fetched is used.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// How often a provider is asked anew because of a key that is not known: anybody can bring such a
/// token about.
const PAUSE: Duration = Duration::from_secs(30);

const LIVES: Lives = Lives { life: LIFE, pause: PAUSE };

/// Asks for a provider's metadata and keys; with `newer_than`, for others than these.
#[derive(Debug, Message)]
#[rtype(result = "Result<Arc<Metadata>, ProviderError>")]
pub struct MetadataFor {
    /// The provider's name.
    pub provider: String,
    /// What the caller has and what did not do.
    pub newer_than: Option<Arc<Metadata>>,
    /// Who asks: what is fetched, is fetched in the name of the first.
    pub origin: Option<Origin>,
}

/// The owner.
pub struct ProviderMetadata {
    http: HttpClient,
    clock: Clock,
    status: Arc<ActorStatus>,
    providers: Live<Providers>,
    entries: HashMap<String, Entry>,
}

/// What is known of one provider.
struct Entry {
    settings: Arc<Provider>,
    metadata: Fetched<Metadata>,
}

impl ProviderMetadata {
    /// Keeps the metadata of the configured providers.
    pub fn new(
        providers: Live<Providers>,
        http: HttpClient,
        clock: Clock,
        status: Arc<ActorStatus>,
    ) -> Self {
        Self { http, clock, status, providers, entries: HashMap::new() }
    }

    /// What is known of a provider as it is configured now. Of one that was configured otherwise nothing is,
    /// and of one that is gone nothing is kept.
    fn entry(&mut self, name: &str) -> Option<&mut Entry> {
        let providers = self.providers.now();
        let Some(configured) = providers.get(name) else {
            self.entries.remove(name);
            return None;
        };
        let settings = configured.shared_settings();
        let entry =
            self.entries.entry(name.to_owned()).or_insert_with(|| Entry::new(Arc::clone(settings)));
        if !Arc::ptr_eq(&entry.settings, settings) {
            *entry = Entry::new(Arc::clone(settings));
        }
        Some(entry)
    }

    /// Takes over what was fetched for these settings, unless there are others by now.
    fn fetched(&mut self, settings: &Arc<Provider>, answer: Answer<Metadata>) {
        let (now, name) = (self.clock.now(), &settings.name);
        let entry = self.entries.get_mut(name);
        if let Some(entry) = entry.filter(|entry| Arc::ptr_eq(&entry.settings, settings)) {
            entry.metadata.settle(answer, now);
        }
    }
}

impl Entry {
    fn new(settings: Arc<Provider>) -> Self {
        Self { settings, metadata: Fetched::new(LIVES) }
    }
}

impl Actor for ProviderMetadata {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for ProviderMetadata {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.entries.clear();
    }
}

impl Handler<MetadataFor> for ProviderMetadata {
    type Result = ResponseFuture<Answer<Metadata>>;

    fn handle(&mut self, question: MetadataFor, context: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        let http = self.http.clone();
        let Some(entry) = self.entry(&question.provider) else {
            let unknown = ProviderError::Misconfigured("no such provider".to_owned());
            return Box::pin(std::future::ready(Err(unknown)));
        };
        let (caller, answer) = Fetched::<Metadata>::caller();
        if entry.metadata.ask(caller, question.newer_than.as_ref(), now) == Next::Fetch {
            let settings = Arc::clone(&entry.settings);
            let fetching = on_behalf_of(question.origin, async move {
                let answer = discover(&http, &settings).await.map(Arc::new);
                if let Err(error) = &answer {
                    let provider = &settings.name;
                    tracing::warn!(provider, %error, "provider metadata could not be fetched");
                }
                (settings, answer)
            });
            context.spawn(fetching.into_actor(self).map(
                |(settings, answer), actor: &mut Self, _: &mut Context<Self>| {
                    actor.fetched(&settings, answer);
                },
            ));
        }
        answer
    }
}

impl Handler<Drain> for ProviderMetadata {
    type Result = ();

    fn handle(&mut self, _: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[async_trait]
impl MetadataSource for Mailbox<ProviderMetadata> {
    async fn metadata(
        &self,
        provider: &str,
        newer_than: Option<Arc<Metadata>>,
    ) -> Result<Arc<Metadata>, ProviderError> {
        self.ask(MetadataFor {
            provider: provider.to_owned(),
            newer_than,
            origin: Origin::current(),
        })
        .await?
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(ProviderMetadata);
