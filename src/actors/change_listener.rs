//! Owner of the link over which this node hears what other nodes and the command line changed.
//!
//! It tells the owners of what is kept in memory to look again. They look now and then by themselves, too:
//! news makes them fast, not correct. When the link is lost it is made again, after pauses that grow, and
//! then everything counts as changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};

use super::clients::{Clients, Heard};
use super::key_ring::KeyRing;
use super::mailbox::{Drain, Mailbox};
use super::revocations::{Follow, Revocations};
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::store::error::StoreError;
use crate::store::{Change, ChangeFeed, Changes};

/// How long news is gathered before it is told: a swarm of it costs each owner one look.
const GATHER: Duration = Duration::from_millis(50);

/// The pause before a lost link is made again; doubles with each further try.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Answered once the first try to listen is over: what is read from then on misses nothing, if it
/// succeeded.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FirstTry;

/// How the link is; shared with /metrics.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Whether changes are heard.
    pub is_up: AtomicBool,
    /// Changes heard so far.
    pub changes: AtomicU64,
}

/// Who tells and who is told.
#[derive(Clone)]
pub struct Means {
    /// Tells what changed.
    pub feed: Arc<dyn ChangeFeed>,
    /// Follows what was revoked.
    pub revocations: Mailbox<Revocations>,
    /// Follows the keys, and what clients need keys for.
    pub key_ring: Mailbox<KeyRing>,
    /// Forgets clients that changed.
    pub clients: Mailbox<Clients>,
    /// How the link is.
    pub counters: Arc<LinkCounters>,
}

/// What is to be told in a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    clients: bool,
    keys: bool,
    revocations: bool,
}

impl News {
    const ALL: Self = Self { clients: true, keys: true, revocations: true };

    /// With a further change.
    fn and(self, change: Change) -> Self {
        match change {
            Change::Clients => Self { clients: true, ..self },
            Change::Keys => Self { keys: true, ..self },
            Change::Revocations => Self { revocations: true, ..self },
            Change::Anything => Self::ALL,
        }
    }
}

/// The owner.
pub struct ChangeListener {
    means: Means,
    status: Arc<ActorStatus>,
    /// What is to be told, and is about to be.
    news: News,
    /// How often clients changed. Never goes back, so that `Clients` can tell.
    client_changes: u64,
    /// The pause before the next try to listen.
    pause: Duration,
}

impl ChangeListener {
    /// Listens to this feed for these owners.
    pub fn new(means: Means, status: Arc<ActorStatus>) -> Self {
        let news = News::default();
        Self { means, status, news, client_changes: 0, pause: FIRST_PAUSE }
    }

    fn began(
        result: Result<Box<dyn Changes>, StoreError>,
        actor: &mut Self,
        context: &mut Context<Self>,
    ) {
        match result {
            Ok(link) => {
                actor.means.counters.is_up.store(true, Ordering::Relaxed);
                actor.news = News::ALL;
                actor.tell();
                actor.hear(link, context);
            }
            Err(error) => actor.begin_again(&error, context),
        }
    }

    /// Waits for the next change.
    fn hear(&self, mut link: Box<dyn Changes>, context: &mut Context<Self>) {
        let hearing = async move {
            let heard = link.next().await;
            (link, heard)
        };
        context.spawn(hearing.into_actor(self).map(Self::heard));
    }

    fn heard(
        (link, heard): (Box<dyn Changes>, Result<Option<Change>, StoreError>),
        actor: &mut Self,
        context: &mut Context<Self>,
    ) {
        match heard {
            Ok(change) => {
                if std::mem::replace(&mut actor.pause, FIRST_PAUSE) != FIRST_PAUSE {
                    tracing::info!("changes by others are heard again");
                }
                match change {
                    Some(change) => actor.note(change, context),
                    None => actor.tell_clients(),
                }
                actor.hear(link, context);
            }
            Err(error) => actor.begin_again(&error, context),
        }
    }

    fn begin_again(&mut self, error: &StoreError, context: &mut Context<Self>) {
        self.means.counters.is_up.store(false, Ordering::Relaxed);
        // The first of a series of failures is worth a word.
        if self.pause == FIRST_PAUSE {
            tracing::warn!(%error, "changes by others are not heard; until they are, the store is read for them");
        }
        let (feed, pause) = (Arc::clone(&self.means.feed), self.pause);
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        let beginning = async move {
            tokio::time::sleep(pause).await;
            feed.listen().await
        };
        context.spawn(beginning.into_actor(self).map(Self::began));
    }

    fn note(&mut self, change: Change, context: &mut Context<Self>) {
        self.means.counters.changes.fetch_add(1, Ordering::Relaxed);
        let is_first = self.news == News::default();
        self.news = self.news.and(change);
        if is_first {
            context.run_later(GATHER, |actor, _| actor.tell());
        }
    }

    /// Tells the owners. What does not fit into a mailbox is made up for by their own looking.
    fn tell(&mut self) {
        let News { clients, keys, revocations } = std::mem::take(&mut self.news);
        if revocations {
            self.means.revocations.tell(Follow);
        }
        // A client may need a key that there is none of yet.
        if keys || clients {
            self.means.key_ring.tell(Tick);
        }
        self.client_changes += u64::from(clients);
        self.tell_clients();
    }

    fn tell_clients(&self) {
        self.means.clients.tell(Heard { changes: self.client_changes });
    }
}

impl Actor for ChangeListener {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        // Held back until the first try is over, for those who wait for it.
        let feed = Arc::clone(&self.means.feed);
        let beginning = async move { feed.listen().await };
        context.wait(beginning.into_actor(self).map(|result, actor: &mut Self, context| {
            Self::began(result, actor, context);
            actor.status.ready();
        }));
    }
}

impl Supervised for ChangeListener {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // The link is gone with what waited for it. All owners are told when there is another.
        self.news = News::default();
        self.pause = FIRST_PAUSE;
        self.means.counters.is_up.store(false, Ordering::Relaxed);
    }
}

impl Handler<FirstTry> for ChangeListener {
    type Result = ();

    fn handle(&mut self, FirstTry: FirstTry, _: &mut Context<Self>) {}
}

impl Handler<Drain> for ChangeListener {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        self.means.counters.is_up.store(false, Ordering::Relaxed);
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(ChangeListener);
