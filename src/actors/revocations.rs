//! Owner of what was revoked and has not expired yet, so that a signed access token can be refused.
//!
//! The set is loaded from the store and followed by reading what was added since: other nodes and
//! the command line write there too. That is done when `ChangeListener` has news, and all the time, so
//! that news which were lost are made up for. While the store has not been heard for two seconds, every
//! check asks it first, and is refused if it cannot be asked: a revocation is never overlooked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::mailbox::Drain;
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::clock::{Clock, Timestamp};
use crate::protocol::jwt::{AccessClaims, ClientAccessClaims};
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Revocation, RevocationKind};

/// How often the store is read whether there is news or not.
pub const POLL: Duration = Duration::from_millis(500);

/// How long news may be absent before each check asks.
const FRESH: Duration = Duration::from_secs(2);

/// How far each reading reaches back before the last one: covers commits that took their time.
const OVERLAP: Duration = Duration::from_secs(15);

/// Is a token with these claims, signed by this key, revoked?
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct IsRevoked {
    names: Vec<(RevocationKind, String)>,
}

impl IsRevoked {
    /// Asks about everything that a token names.
    pub fn new(claims: &AccessClaims, kid: &str) -> Self {
        Self {
            names: vec![
                (RevocationKind::Session, claims.sid.to_string()),
                (RevocationKind::User, claims.sub.to_string()),
                (RevocationKind::Token, claims.jti.clone()),
                (RevocationKind::Key, kid.to_owned()),
                (RevocationKind::Client, claims.client_id.clone()),
            ],
        }
    }

    /// The same about a client's token. Not about the browser session: a grant may outlive it, and where it
    /// does not, it is revoked itself.
    pub fn of_client(claims: &ClientAccessClaims, kid: &str) -> Self {
        let mut names = vec![
            (RevocationKind::User, claims.sub.clone()),
            (RevocationKind::Token, claims.jti.clone()),
            (RevocationKind::Key, kid.to_owned()),
            (RevocationKind::Client, claims.client_id.clone()),
        ];
        names.extend(claims.grant_id.map(|grant| (RevocationKind::Family, grant.to_string())));
        Self { names }
    }
}

/// These revocations were just stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Add(pub Vec<Revocation>);

/// Somebody may have added to the store: read it, from now on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Follow;

/// The owner.
pub struct Revocations {
    read: Arc<dyn ReadStore>,
    clock: Clock,
    status: Arc<ActorStatus>,
    until: HashMap<(RevocationKind, String), Timestamp>,
    /// The clock's time of the last reading that succeeded.
    read_until: Option<Timestamp>,
    /// When that was, for freshness: by the monotonic clock.
    heard: Option<Instant>,
    /// Checks that wait for the reading under way; `None` if none is.
    waiting: Option<Vec<Waiting>>,
    /// Whether to read again when that is over: it may have begun before what there is news of.
    is_outdated: bool,
}

struct Waiting {
    question: IsRevoked,
    reply: oneshot::Sender<Result<bool, StoreError>>,
}

impl Revocations {
    /// Follows the revocations of this store.
    pub fn new(read: Arc<dyn ReadStore>, clock: Clock, status: Arc<ActorStatus>) -> Self {
        Self {
            read,
            clock,
            status,
            until: HashMap::new(),
            read_until: None,
            heard: None,
            waiting: None,
            is_outdated: false,
        }
    }

    fn is_fresh(&self) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() < FRESH)
    }

    fn holds(&self, question: &IsRevoked) -> bool {
        let now = self.clock.now();
        question.names.iter().any(|name| self.until.get(name).is_some_and(|until| now < *until))
    }

    fn add(&mut self, revocations: Vec<Revocation>) {
        for Revocation { kind, id, until } in revocations {
            let entry = self.until.entry((kind, id)).or_insert(until);
            *entry = until.max(*entry);
        }
    }

    /// Reads what is new, unless that is under way.
    fn follow(&mut self, context: &mut Context<Self>) {
        if self.waiting.is_some() {
            return;
        }
        self.waiting = Some(Vec::new());
        let reading = self.reading();
        let reading = reading.into_actor(self).map(Self::heard_from_store);
        context.spawn(reading);
    }

    /// Reads everything since the last reading; resolves to when it began and what it found.
    fn reading(
        &self,
    ) -> impl Future<Output = (Timestamp, Result<Vec<Revocation>, StoreError>)> + 'static {
        let (read, now) = (Arc::clone(&self.read), self.clock.now());
        let since = self.read_until.map_or(Timestamp::default(), |last| last.minus(OVERLAP));
        async move { (now, read.revocations(since, now).await) }
    }

    fn heard_from_store(
        (began, found): (Timestamp, Result<Vec<Revocation>, StoreError>),
        actor: &mut Self,
        context: &mut Context<Self>,
    ) {
        let failure = match found {
            Ok(revocations) => {
                actor.add(revocations);
                actor.until.retain(|_, until| began < *until);
                actor.read_until = Some(began);
                actor.heard = Some(Instant::now());
                None
            }
            Err(error) => Some(error),
        };
        for Waiting { question, reply } in actor.waiting.take().unwrap_or_default() {
            let answer = failure.clone().map_or_else(|| Ok(actor.holds(&question)), Err);
            let _gone = reply.send(answer);
        }
        if std::mem::take(&mut actor.is_outdated) {
            actor.follow(context);
        }
    }
}

impl Actor for Revocations {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        // Held back until the set is loaded. If it cannot be, checks ask the store themselves.
        let loading = self.reading();
        let loading = loading.into_actor(self).map(|read, actor: &mut Self, context| {
            Self::heard_from_store(read, actor, context);
            actor.status.ready();
        });
        context.wait(loading);
    }
}

impl Supervised for Revocations {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.until.clear();
        self.read_until = None;
        self.heard = None;
        self.waiting = None;
        self.is_outdated = false;
    }
}

impl Handler<IsRevoked> for Revocations {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, question: IsRevoked, context: &mut Context<Self>) -> Self::Result {
        if self.is_fresh() || self.holds(&question) {
            let answer = self.holds(&question);
            return Box::pin(std::future::ready(Ok(answer)));
        }
        self.follow(context);
        let (reply, answer) = oneshot::channel();
        if let Some(waiting) = &mut self.waiting {
            waiting.push(Waiting { question, reply });
        }
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable("revocations are being reloaded".to_owned()))
            })
        })
    }
}

impl Handler<Add> for Revocations {
    type Result = ();

    fn handle(&mut self, Add(revocations): Add, _: &mut Context<Self>) {
        self.add(revocations);
    }
}

impl Handler<Follow> for Revocations {
    type Result = ();

    fn handle(&mut self, Follow: Follow, context: &mut Context<Self>) {
        if self.waiting.is_some() {
            self.is_outdated = true;
        } else {
            self.follow(context);
        }
    }
}

impl Handler<Tick> for Revocations {
    type Result = ();

    fn handle(&mut self, Tick: Tick, context: &mut Context<Self>) {
        self.follow(context);
    }
}

impl Handler<Drain> for Revocations {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Revocations);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::mailbox::Mailbox;
    use crate::actors::supervisor::{Supervision, Terms};
    use crate::protocol::jwt::Audience;
    use crate::store::double::{Script, ScriptedReads};
    use crate::store::model::{FIRST_PARTY, FamilyId, SessionId, UserId};
    use actix::Arbiter;
    use std::sync::atomic::Ordering;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
    const LIFE: Duration = Duration::from_secs(900);

    fn question() -> IsRevoked {
        let claims = AccessClaims {
            iss: String::new(),
            sub: UserId(Uuid::from_u128(1)),
            aud: String::new(),
            client_id: FIRST_PARTY.to_owned(),
            scope: String::new(),
            exp: 0,
            iat: 0,
            jti: "token".to_owned(),
            sid: SessionId(Uuid::from_u128(2)),
            auth_time: 0,
            username: None,
            role: None,
        };
        IsRevoked::new(&claims, "key")
    }

    fn question_of_client() -> IsRevoked {
        let claims = ClientAccessClaims {
            iss: String::new(),
            sub: UserId(Uuid::from_u128(1)).to_string(),
            aud: Audience::One("app".to_owned()),
            client_id: "app".to_owned(),
            scope: String::new(),
            exp: 0,
            iat: 0,
            jti: "token".to_owned(),
            sid: Some(SessionId(Uuid::from_u128(2))),
            grant_id: Some(FamilyId(Uuid::from_u128(3))),
            username: None,
            role: None,
        };
        IsRevoked::of_client(&claims, "key")
    }

    fn revoked(kind: RevocationKind, id: &str) -> Revocation {
        Revocation { kind, id: id.to_owned(), until: NOW.plus(LIFE) }
    }

    struct Test {
        mailbox: Mailbox<Revocations>,
        store: Script,
        clock: Clock,
    }

    impl Test {
        fn new(stored: Option<Vec<Revocation>>) -> Self {
            let (read, store) = ScriptedReads::new(stored);
            let clock = Clock::manual(NOW);
            let shared = clock.clone();
            let terms = Terms { name: "revocations", shard: 0, capacity: 64, deadline: LIFE };
            let mailbox = Supervision::default().start(&Arbiter::current(), terms, move |status| {
                Revocations::new(Arc::new(read), shared, status)
            });
            Self { mailbox, store, clock }
        }

        async fn is_revoked(&self) -> Option<bool> {
            self.mailbox.ask(question()).await.unwrap().ok()
        }

        async fn is_client_token_revoked(&self) -> Option<bool> {
            self.mailbox.ask(question_of_client()).await.unwrap().ok()
        }
    }

    #[actix::test]
    async fn everything_that_a_token_names_can_be_revoked() {
        for (kind, id) in [
            (RevocationKind::Session, SessionId(Uuid::from_u128(2)).to_string()),
            (RevocationKind::User, UserId(Uuid::from_u128(1)).to_string()),
            (RevocationKind::Token, "token".to_owned()),
            (RevocationKind::Key, "key".to_owned()),
            (RevocationKind::Client, FIRST_PARTY.to_owned()),
        ] {
            let test = Test::new(Some(Vec::new()));
            assert_eq!(test.is_revoked().await, Some(false));
            test.mailbox.ask(Add(vec![revoked(kind, &id)])).await.unwrap();
            assert_eq!(test.is_revoked().await, Some(true), "{kind:?}");
            test.clock.advance(LIFE);
            assert_eq!(test.is_revoked().await, Some(false), "every token has expired");
        }
    }

    #[actix::test]
    async fn a_clients_token_ends_with_all_that_it_names_but_the_session() {
        let id = |number| Uuid::from_u128(number).to_string();
        for (kind, id, is_revoked) in [
            (RevocationKind::Family, id(3), true),
            (RevocationKind::User, id(1), true),
            (RevocationKind::Token, "token".to_owned(), true),
            (RevocationKind::Key, "key".to_owned(), true),
            (RevocationKind::Client, "app".to_owned(), true),
            (RevocationKind::Session, id(2), false),
            (RevocationKind::Session, id(3), false),
            (RevocationKind::Family, id(2), false),
        ] {
            let test = Test::new(Some(Vec::new()));
            assert_eq!(test.is_client_token_revoked().await, Some(false));
            test.mailbox.ask(Add(vec![revoked(kind, &id)])).await.unwrap();
            assert_eq!(test.is_client_token_revoked().await, Some(is_revoked), "{kind:?} {id}");
        }
    }

    #[actix::test]
    async fn what_the_store_holds_is_known_from_the_start() {
        let test = Test::new(Some(vec![revoked(RevocationKind::Key, "key")]));
        assert_eq!(test.is_revoked().await, Some(true));
    }

    #[actix::test]
    async fn while_nothing_is_heard_each_check_asks_and_nothing_is_overlooked() {
        tokio::time::pause();
        let test = Test::new(Some(Vec::new()));
        assert_eq!(test.is_revoked().await, Some(false));
        test.store.revocations.send_replace(None);
        assert_eq!(test.is_revoked().await, Some(false), "what was heard is fresh enough");
        tokio::time::sleep(FRESH).await;
        assert_eq!(test.is_revoked().await, None, "nobody can know");
        test.store.revocations.send_replace(Some(vec![revoked(RevocationKind::Token, "token")]));
        assert_eq!(test.is_revoked().await, Some(true), "found by asking");
        test.store.revocations.send_replace(None);
        tokio::time::sleep(FRESH).await;
        assert_eq!(test.is_revoked().await, Some(true), "what is known needs no asking");
    }

    #[actix::test]
    async fn a_tick_brings_what_other_nodes_revoked() {
        tokio::time::pause();
        let test = Test::new(Some(Vec::new()));
        assert_eq!(test.is_revoked().await, Some(false));
        test.store.revocations.send_replace(Some(vec![revoked(RevocationKind::Token, "token")]));
        test.mailbox.ask(Tick).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(test.is_revoked().await, Some(true));
    }

    #[actix::test]
    async fn news_that_come_during_a_reading_are_read_after_it() {
        tokio::time::pause();
        let test = Test::new(Some(Vec::new()));
        assert_eq!(test.is_revoked().await, Some(false));
        let readings = || test.store.asked.revocations.load(Ordering::Relaxed);
        test.store.is_held.send_replace(true);
        test.mailbox.ask(Follow).await.unwrap();
        while readings() < 2 {
            tokio::task::yield_now().await;
        }
        test.store.revocations.send_replace(Some(vec![revoked(RevocationKind::Token, "token")]));
        test.mailbox.ask(Follow).await.unwrap();
        test.mailbox.ask(Follow).await.unwrap();
        test.store.is_held.send_replace(false);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(test.is_revoked().await, Some(true));
        assert_eq!(readings(), 3, "two pieces of news cost one reading");
    }
}
