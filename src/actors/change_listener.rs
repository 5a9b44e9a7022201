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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::clients::FindClient;
    use crate::actors::db_writer::DbWriter;
    use crate::actors::key_ring;
    use crate::actors::status::State;
    use crate::actors::supervisor::{Supervision, Terms};
    use crate::clock::Clock;
    use crate::config::settings::SecretKey;
    use crate::protocol::jwt::Algorithm;
    use crate::protocol::sealed::Sealer;
    use crate::store::WriteStore;
    use crate::store::double::{Asked, Script, ScriptedReads};
    use crate::store::operation::{Operation, Outcome};
    use crate::store::trail::{Trail, TrailRules};
    use actix::Arbiter;
    use async_trait::async_trait;
    use tokio::sync::{mpsc, oneshot};

    type Try = oneshot::Sender<Result<Box<dyn Changes>, StoreError>>;

    /// A feed whose tries to listen end as the test says.
    struct ScriptedFeed(mpsc::UnboundedSender<Try>);

    #[async_trait]
    impl ChangeFeed for ScriptedFeed {
        async fn listen(&self) -> Result<Box<dyn Changes>, StoreError> {
            let (end, ended) = oneshot::channel();
            self.0.send(end).unwrap();
            ended.await.unwrap()
        }
    }

    /// A link that tells what the test says, and is lost when the test drops its end.
    struct ScriptedLink(mpsc::UnboundedReceiver<Option<Change>>);

    #[async_trait]
    impl Changes for ScriptedLink {
        async fn next(&mut self) -> Result<Option<Change>, StoreError> {
            self.0.recv().await.ok_or_else(lost)
        }
    }

    fn lost() -> StoreError {
        StoreError::Unavailable("scripted".to_owned())
    }

    struct NoWrites;

    #[async_trait]
    impl WriteStore for NoWrites {
        async fn apply(
            &self,
            batch: Vec<Operation>,
            _: &mut Trail,
        ) -> Vec<Result<Outcome, StoreError>> {
            batch.iter().map(|_| Err(lost())).collect()
        }
    }

    /// The owners are those of a server, on a store that counts what it is asked.
    struct Test {
        listener: Mailbox<ChangeListener>,
        clients: Mailbox<Clients>,
        counters: Arc<LinkCounters>,
        tries: mpsc::UnboundedReceiver<Try>,
        store: Script,
    }

    const DEADLINE: Duration = Duration::from_secs(60);

    fn terms(name: &'static str) -> Terms {
        Terms { name, shard: 0, capacity: 64, deadline: DEADLINE }
    }

    impl Test {
        fn new() -> Self {
            let (read, store) = ScriptedReads::new(Some(Vec::new()));
            let read = Arc::new(read);
            let clock = Clock::manual(crate::clock::Timestamp::from_seconds(1_000_000));
            let mut supervision = Supervision::default();
            let here = Arbiter::current();
            let writer = supervision.start(&here, terms("db_writer"), |status| {
                DbWriter::new(
                    Arc::new(NoWrites),
                    status,
                    Arc::default(),
                    TrailRules::default().into(),
                )
            });
            let (publish, _) = KeyRing::channel();
            let means = key_ring::Means {
                writer,
                read: read.clone(),
                revocations: None,
                clock: clock.clone(),
                rules: key_ring::Rules {
                    sealer: Sealer::new(&[SecretKey::new(vec![0; 32])]),
                    algorithm: Algorithm::ES256,
                    bits: 2048,
                    period: None,
                    ahead: DEADLINE,
                    tokens_live_for: DEADLINE,
                }
                .into(),
                files: Vec::new(),
                automatic: false,
                signing: Arc::default(),
            };
            let key_ring = supervision.start(&here, terms("key_ring"), move |status| {
                KeyRing::new(means, publish, status)
            });
            let (reads, shared) = (read.clone(), clock.clone());
            let revocations = supervision.start(&here, terms("revocations"), move |status| {
                Revocations::new(reads, shared, status)
            });
            let clients = supervision
                .start(&here, terms("clients"), move |status| Clients::new(read, status));
            let (script, tries) = mpsc::unbounded_channel();
            let counters: Arc<LinkCounters> = Arc::default();
            let means = Means {
                feed: Arc::new(ScriptedFeed(script)),
                revocations,
                key_ring,
                clients: clients.clone(),
                counters: Arc::clone(&counters),
            };
            let listener = supervision.start(&here, terms("change_listener"), move |status| {
                ChangeListener::new(means, status)
            });
            Self { listener, clients, counters, tries, store }
        }

        /// Lets the next try to listen succeed; what it then hears is sent here.
        async fn link(&mut self) -> mpsc::UnboundedSender<Option<Change>> {
            let (says, link) = mpsc::unbounded_channel();
            let next = self.tries.recv().await.unwrap();
            assert!(next.send(Ok(Box::new(ScriptedLink(link)))).is_ok());
            self.listener.ask(FirstTry).await.unwrap();
            settle().await;
            says
        }

        fn is_up(&self) -> bool {
            self.counters.is_up.load(Ordering::Relaxed)
        }

        /// Asks for a client; how often the store was asked for one so far.
        async fn client_reads(&self) -> u64 {
            self.clients.ask(FindClient("shop".to_owned())).await.unwrap().unwrap();
            self.store.asked.clients.load(Ordering::Relaxed)
        }

        /// How often keys and revocations were read so far.
        fn reads(&self) -> (u64, u64) {
            let Asked { keys, revocations, .. } = &*self.store.asked;
            (keys.load(Ordering::Relaxed), revocations.load(Ordering::Relaxed))
        }
    }

    /// Longer than news is gathered: whoever is told has looked.
    async fn settle() {
        tokio::time::sleep(GATHER * 2).await;
    }

    #[actix::test]
    async fn each_owner_looks_again_when_there_is_news_for_it() {
        tokio::time::pause();
        let mut test = Test::new();
        let says = test.link().await;
        assert!(test.is_up());
        assert_eq!(test.reads(), (2, 2), "once by themselves, once since there is a link");
        assert_eq!(test.client_reads().await, 1);
        for (change, reads, client_reads) in [
            (Change::Revocations, (2, 3), 1),
            (Change::Keys, (3, 3), 1),
            (Change::Clients, (4, 3), 2),
            (Change::Anything, (5, 4), 3),
        ] {
            says.send(Some(change)).unwrap();
            settle().await;
            assert_eq!(test.reads(), reads, "{change:?}");
            assert_eq!(test.client_reads().await, client_reads, "{change:?}");
        }
        assert_eq!(test.counters.changes.load(Ordering::Relaxed), 4);
    }

    #[actix::test]
    async fn a_swarm_of_news_costs_each_owner_one_look() {
        tokio::time::pause();
        let mut test = Test::new();
        let says = test.link().await;
        (0..1000).for_each(|_| says.send(Some(Change::Anything)).unwrap());
        settle().await;
        assert_eq!(test.reads(), (3, 3));
    }

    #[actix::test]
    async fn a_client_is_trusted_while_changes_are_heard_and_no_longer() {
        tokio::time::pause();
        let mut test = Test::new();
        let says = test.link().await;
        assert_eq!(test.client_reads().await, 1);
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            says.send(None).unwrap();
            settle().await;
            assert_eq!(test.client_reads().await, 1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(test.client_reads().await, 2, "a notice may have been lost");
        // The link says nothing any more, and nobody knows yet.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(test.client_reads().await, 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(test.client_reads().await, 3);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(test.client_reads().await, 4, "as if there were no link");
    }

    #[actix::test]
    async fn a_lost_link_is_made_again_and_everything_counts_as_changed() {
        tokio::time::pause();
        let mut test = Test::new();
        let says = test.link().await;
        assert_eq!(test.client_reads().await, 1);
        drop(says);
        let began = tokio::time::Instant::now();
        for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
            let before = tokio::time::Instant::now();
            let next = test.tries.recv().await.unwrap();
            let waited = before.elapsed();
            assert!(waited.abs_diff(Duration::from_millis(pause)) < GATHER, "{waited:?}");
            assert!(!test.is_up());
            assert!(next.send(Err(lost())).is_ok());
        }
        assert!(began.elapsed() > Duration::from_secs(7));
        assert_eq!(test.client_reads().await, 2, "nobody tells of changes");
        let reads = test.reads();
        let says = test.link().await;
        assert!(test.is_up());
        assert_eq!(test.reads(), (reads.0 + 1, reads.1 + 1));
        assert_eq!(test.client_reads().await, 3);
        // It goes on listening, and is as patient as at first.
        says.send(Some(Change::Clients)).unwrap();
        settle().await;
        assert_eq!(test.client_reads().await, 4);
        drop(says);
        let before = tokio::time::Instant::now();
        test.link().await;
        assert!(before.elapsed() < FIRST_PAUSE + GATHER * 3);
    }

    #[actix::test]
    async fn without_a_link_the_start_is_not_held_up() {
        tokio::time::pause();
        let mut test = Test::new();
        let first = test.tries.recv().await.unwrap();
        assert_eq!(test.listener.status().state(), State::Starting);
        assert!(first.send(Err(lost())).is_ok());
        test.listener.ask(FirstTry).await.unwrap();
        assert_eq!(test.listener.status().state(), State::Running);
        assert!(!test.is_up());
    }
}
