//! Owner of what clients publish at their `jwks_uri`: fetched when an assertion has to be checked, and kept
//! for ten minutes.
//!
//! Clients are many and say themselves where their keys are, so the number of sets is bounded, each is small,
//! and an assertion with an unknown key makes us ask anew at most once a minute. There is nothing to load:
//! after a restart the first who ask fetch again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use url::Url;

use super::fetched::{Answer, Fetched, Lives, Next};
use super::mailbox::Drain;
use super::status::ActorStatus;
use crate::clock::Clock;
use crate::in_force::Live;
use crate::providers::ProviderError;
use crate::providers::address::Reach;
use crate::providers::http::HttpClient;
use crate::providers::key_set::KeySet;

const LIVES: Lives = Lives { life: Duration::from_secs(10 * 60), pause: Duration::from_secs(60) };

/// Most sets that are kept.
const MOST_SETS: usize = 1024;

/// Largest document that is read, in bytes: room for many keys, and for certificates that nobody reads.
const LARGEST: usize = 64 * 1024;

/// Asks for the keys at an address; with `newer_than`, for others than these.
#[derive(Debug, Message)]
#[rtype(result = "Result<Arc<KeySet>, ProviderError>")]
pub struct KeysAt {
    /// The client's `jwks_uri`.
    pub uri: String,
    /// What the caller has and what did not do.
    pub newer_than: Option<Arc<KeySet>>,
}

/// The owner.
pub struct ClientKeys {
    http: HttpClient,
    reach: Live<Reach>,
    clock: Clock,
    status: Arc<ActorStatus>,
    sets: HashMap<String, Fetched<KeySet>>,
}

impl ClientKeys {
    /// Fetches by `http` what `reach` allows.
    pub fn new(
        http: HttpClient,
        reach: Live<Reach>,
        clock: Clock,
        status: Arc<ActorStatus>,
    ) -> Self {
        Self { http, reach, clock, status, sets: HashMap::new() }
    }

    /// Lets go of what says nothing any more; of everything that nobody waits for, if that is not enough.
    fn make_room(&mut self) {
        if self.sets.len() < MOST_SETS {
            return;
        }
        let now = self.clock.now();
        self.sets.retain(|_, set| set.is_of_use(now));
        if self.sets.len() >= MOST_SETS {
            self.sets.retain(|_, set| set.is_awaited());
        }
    }

    fn fetched(&mut self, uri: &str, answer: Answer<KeySet>) {
        if let Err(error) = &answer {
            tracing::warn!(uri, %error, "the keys of a client could not be fetched");
        }
        if let Some(set) = self.sets.get_mut(uri) {
            set.settle(answer, self.clock.now());
        }
    }
}

async fn fetch(http: &HttpClient, uri: &str, reach: Reach) -> Answer<KeySet> {
    const ACCEPT: &str = "application/jwk-set+json, application/json";
    let url = Url::parse(uri)
        .map_err(|_| ProviderError::Misconfigured("jwks_uri is no address".to_owned()))?;
    let document = http.get_bytes(&url, ACCEPT, reach, LARGEST).await?;
    KeySet::from_json(&document).map(Arc::new).map_err(|error| {
        ProviderError::Answer(format!("not the JSON it must be (line {})", error.line()))
    })
}

impl Actor for ClientKeys {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for ClientKeys {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.sets.clear();
    }
}

impl Handler<KeysAt> for ClientKeys {
    type Result = ResponseFuture<Answer<KeySet>>;

    fn handle(&mut self, question: KeysAt, context: &mut Context<Self>) -> Self::Result {
        self.make_room();
        let KeysAt { uri, newer_than } = question;
        let (caller, answer) = Fetched::caller();
        let set = self.sets.entry(uri.clone()).or_insert_with(|| Fetched::new(LIVES));
        if set.ask(caller, newer_than.as_ref(), self.clock.now()) == Next::Fetch {
            let (http, reach) = (self.http.clone(), self.reach.now());
            let fetching = async move {
                let answer = fetch(&http, &uri, reach).await;
                (uri, answer)
            };
            context.spawn(fetching.into_actor(self).map(
                |(uri, answer), actor: &mut Self, _: &mut Context<Self>| {
                    actor.fetched(&uri, answer);
                },
            ));
        }
        answer
    }
}

impl Handler<Drain> for ClientKeys {
    type Result = ();

    fn handle(&mut self, _: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(ClientKeys);
