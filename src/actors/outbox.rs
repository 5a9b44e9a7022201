//! Owner of the deliveries that this node has taken on: it tells clients that a session ended.
//!
//! What is to be delivered stands in the store, written in the transaction that ended the session (OpenID
//! Connect Back-Channel Logout 1.0). Any node takes what is due, for a minute; if it dies on the way,
//! another takes it again. So each client is told at least once, and nothing is lost with this
//! actor: it holds no more than what it is sending.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message,
    ResponseFuture, Supervised, WrapFuture,
};
use oauth2::http::StatusCode;
use opentelemetry::KeyValue;
use tokio::sync::{oneshot, watch};
use url::Url;
use uuid::Uuid;

use super::db_writer::{DbWriter, WriteError, apply};
use super::key_ring::Keys;
use super::mailbox::{Drain, Mailbox};
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::clock::{Clock, Timestamp};
use crate::in_force::Live;
use crate::protocol::jwt::{LOGOUT_TOKEN, LogoutClaims, LogoutEvent};
use crate::protocol::random;
use crate::providers::ProviderError;
use crate::providers::address::Reach;
use crate::providers::http::HttpClient;
use crate::store::ReadStore;
use crate::store::model::{self, AuditEntry, Client, Delivery};
use crate::store::operation::{ClaimDeliveries, ReturnDelivery, SettleDelivery};
use crate::telemetry::traces::{Part, Traces};

/// How often the store is asked for what is due: so soon is known what another process left.
pub const POLL: Duration = Duration::from_secs(1);

/// Deliveries taken at once.
const BATCH: u32 = 32;

/// Deliveries under way at once.
const AT_ONCE: usize = 8;

/// How long what was taken is ours alone. A batch takes half of it if nobody answers.
const LEASE: Duration = Duration::from_secs(60);

/// What is taken is not begun later than so long before the end of its lease.
const ENOUGH: Duration = Duration::from_secs(15);

/// Life of a logout token.
const TOKEN_LIFE: Duration = Duration::from_secs(120);

/// The wait after the first attempt; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// How long after the end of the session a client is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);

/// Something may be due: look now. May be lost, since the store is asked all the time.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Answered when what was due is delivered or put off, and nothing is under way.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Idle;

/// The work on a delivery is over, however it ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ended(Uuid);

/// How deliveries ended; shared with /metrics.
#[derive(Debug, Default)]
pub struct DeliveryCounters {
    /// The client took note.
    pub delivered: AtomicU64,
    /// The client could not be told; another attempt follows.
    pub put_off: AtomicU64,
    /// The client was not told and never will be.
    pub given_up: AtomicU64,
    /// Taken by this node and not settled yet.
    pub under_way: AtomicU64,
}

/// What deliveries are made with.
#[derive(Clone)]
pub struct Means {
    /// Makes spans; `None` where nobody wants traces.
    pub traces: Option<Traces>,
    /// Goes where `reach` allows.
    pub http: HttpClient,
    /// Public addresses, or any if the deployer said `allow_private_receivers`.
    pub reach: Live<Reach>,
    /// `iss` of logout tokens.
    pub issuer: String,
    /// Sign them.
    pub keys: Keys,
    /// Tells what is due, and where clients want to be told.
    pub read: Arc<dyn ReadStore>,
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// Tells the time.
    pub clock: Clock,
    /// How deliveries end.
    pub counters: Arc<DeliveryCounters>,
}

/// A delivery that is ours for a while.
#[derive(Debug)]
struct Taken {
    delivery: Delivery,
    until: Timestamp,
}

/// The owner.
pub struct Outbox {
    means: Means,
    status: Arc<ActorStatus>,
    waiting: VecDeque<Taken>,
    under_way: HashSet<Uuid>,
    /// Whether the store is to be asked, once there is room.
    is_wanted: bool,
    /// Whether the store is being asked.
    is_asking: bool,
    /// Whether it could not be asked last time, as the log was told.
    is_cut_off: bool,
    /// Who wants to know when nothing is left.
    watchers: Vec<oneshot::Sender<()>>,
    /// See [`Ending`].
    ending: watch::Sender<bool>,
}

impl Outbox {
    /// An owner that has taken nothing yet.
    pub fn new(means: Means, status: Arc<ActorStatus>) -> Self {
        Self {
            means,
            status,
            waiting: VecDeque::new(),
            under_way: HashSet::new(),
            is_wanted: false,
            is_asking: false,
            is_cut_off: false,
            watchers: Vec::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// Begins with what waits, asks for more when there is room, and tells whoever waits for the end.
    fn go_on(&mut self, context: &mut Context<Self>) {
        let is_ending = *self.ending.borrow();
        while self.under_way.len() < AT_ONCE
            && let Some(taken) = self.waiting.pop_front()
        {
            self.begin(taken, context);
        }
        let has_room = self.waiting.is_empty() && self.under_way.len() < AT_ONCE;
        if self.is_wanted && has_room && !self.is_asking && !is_ending {
            self.ask(context);
        }
        let held = (self.waiting.len() + self.under_way.len()) as u64;
        self.means.counters.under_way.store(held, Ordering::Relaxed);
        let is_idle = held == 0 && !self.is_asking && (is_ending || !self.is_wanted);
        if is_idle {
            for watcher in self.watchers.drain(..) {
                let _gone = watcher.send(());
            }
            if is_ending {
                context.stop();
            }
        }
    }

    fn begin(&mut self, taken: Taken, context: &mut Context<Self>) {
        // Another node may have it any moment: who comes late leaves it to that one.
        if taken.until.minus(ENOUGH) <= self.means.clock.now() {
            return;
        }
        let id = taken.delivery.id;
        self.under_way.insert(id);
        let (means, ending) = (self.means.clone(), self.ending.subscribe());
        let ended = SendsOnDrop(context.address(), id);
        // A task of its own: a panic in it costs this attempt alone.
        actix::spawn(async move {
            let _ended = ended;
            let (client, attempt) = (taken.delivery.client_id.clone(), taken.delivery.attempts + 1);
            let work = deliver(&means, taken, ending);
            let name = "deliver sign-out";
            let done = Traces::whole(means.traces.as_ref(), name, work, |span, done| {
                span.tell(|| KeyValue::new("latchkey.client_id", client));
                span.tell(|| KeyValue::new("latchkey.attempt", i64::from(attempt)));
                match done {
                    Ok(end) => end.tell(span),
                    Err(_) => span.failed("not_settled"),
                }
            });
            if let Err(error) = done.await {
                // When the lease is over it is taken again: the client is told twice, not never.
                tracing::warn!(%error, delivery = %id, "a delivery could not be settled");
            }
        });
    }

    /// Takes what is due.
    fn ask(&mut self, context: &mut Context<Self>) {
        (self.is_wanted, self.is_asking) = (false, true);
        let taking = take(self.means.clone(), self.ending.subscribe());
        let taking = taking.into_actor(self).map(|taken, actor: &mut Self, context| {
            actor.is_asking = false;
            match taken {
                Ok(taken) => {
                    if std::mem::take(&mut actor.is_cut_off) {
                        tracing::info!("it is known again whether a delivery is due");
                    }
                    actor.is_wanted |= taken.len() >= BATCH as usize;
                    actor.waiting.extend(taken);
                }
                // It is asked each second: once is told, the rest is for who looks closely.
                Err(error) if std::mem::replace(&mut actor.is_cut_off, true) => {
                    tracing::debug!(%error, "it is still unknown whether a delivery is due");
                }
                Err(error) => {
                    tracing::warn!(%error, "it is unknown whether a delivery is due; asking again");
                }
            }
            actor.go_on(context);
        });
        context.spawn(taking);
    }

    /// A future that ends with the last work.
    fn end_of_work(&mut self, context: &mut Context<Self>) -> ResponseFuture<()> {
        let (watcher, end) = oneshot::channel();
        self.watchers.push(watcher);
        self.go_on(context);
        Box::pin(async move {
            let _over = end.await;
        })
    }
}

/// Sends [`Ended`] when it is dropped.
struct SendsOnDrop(Addr<Outbox>, Uuid);

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        self.0.do_send(Ended(self.1));
    }
}

/// Turns true when no delivery is worth waiting for any more.
type Ending = watch::Receiver<bool>;

/// Is over when deliveries are to be left to others; also when their owner is gone.
async fn ended(ending: &mut Ending) {
    let _gone = ending.wait_for(|is_ending| *is_ending).await;
}

/// Takes what is due, once there are keys: a node that has just started has none for a moment, and an attempt
/// without one would be lost. Where nothing is due, nothing is written.
async fn take(means: Means, mut ending: Ending) -> Result<Vec<Taken>, WriteError> {
    let mut keys = means.keys.clone();
    tokio::select! {
        _ = keys.wait_for(|keys| !keys.keys().is_empty()) => {}
        () = ended(&mut ending) => return Ok(Vec::new()),
    }
    let now = means.clock.now();
    if !means.read.has_due_deliveries(now).await? {
        return Ok(Vec::new());
    }
    let lease = now.plus(LEASE);
    let claimed = apply(&means.writer, ClaimDeliveries { now, lease, limit: BATCH }).await?;
    Ok(claimed.into_iter().map(|delivery| Taken { delivery, until: lease }).collect())
}

/// Tries it, unless the end comes first: then it is given back, and whoever looks next has it at once.
async fn deliver(means: &Means, taken: Taken, mut ending: Ending) -> Result<End, WriteError> {
    let Taken { delivery, until } = taken;
    let outcome = tokio::select! {
        // What was answered is settled, whatever else happened in that moment.
        biased;
        outcome = attempt(means, &delivery) => Some(outcome),
        () = ended(&mut ending) => None,
    };
    match outcome {
        Some(outcome) => settle(means, &delivery, outcome).await,
        None => {
            let back = ReturnDelivery { id: delivery.id, lease: until, now: means.clock.now() };
            apply(&means.writer, back).await.map(|()| End::GivenBack)
        }
    }
}

/// What an attempt led to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The client took note.
    Delivered,
    /// Another attempt may be better.
    NotNow(String),
    /// No attempt will be better.
    Never(String),
}

/// How it went, as the counters have it, and traces.
#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    PutOff,
    GivenUp,
    /// Left to whoever looks next.
    GivenBack,
}

impl End {
    fn tell(self, span: &mut Part) {
        let name = match self {
            Self::Delivered => "delivered",
            Self::PutOff => "put_off",
            Self::GivenUp => "given_up",
            Self::GivenBack => "given_back",
        };
        span.tell(|| KeyValue::new("latchkey.outcome", name));
        if matches!(self, Self::PutOff | Self::GivenUp) {
            span.failed(name);
        }
    }
}

/// Tells a client that a session ended.
async fn attempt(means: &Means, delivery: &Delivery) -> Outcome {
    let client = match means.read.client(&delivery.client_id).await {
        Ok(client) => client,
        Err(error) => return Outcome::NotNow(error.to_string()),
    };
    // A later client of the same id has nothing to do with this session.
    let Some(client) = client.filter(|client| !client.came_after(delivery.created_at)) else {
        return Outcome::Never("the client is gone".to_owned());
    };
    let Some(receiver) = &client.metadata.backchannel_logout_uri else {
        return Outcome::Never("the client does not want to be told any more".to_owned());
    };
    let Ok(receiver) = Url::parse(receiver) else {
        return Outcome::Never("the client's address is none".to_owned());
    };
    let Some(token) = logout_token(means, delivery, &client) else {
        let algorithm = client.metadata.id_token_signed_response_alg;
        return Outcome::NotNow(format!("there is no key that signs with {algorithm}"));
    };
    judge(means.http.post_form(&receiver, &[("logout_token", &token)], means.reach.now()).await)
}

/// A fresh token for each attempt (OpenID Connect Back-Channel Logout §2.4).
fn logout_token(means: &Means, delivery: &Delivery, client: &Client) -> Option<String> {
    let now = means.clock.now();
    let algorithm = client.metadata.id_token_signed_response_alg;
    let signer = Arc::clone(means.keys.borrow().signer(algorithm, now)?);
    let claims = LogoutClaims {
        iss: means.issuer.clone(),
        sub: delivery.user.to_string(),
        aud: client.client_id.clone(),
        iat: now.seconds(),
        exp: now.plus(TOKEN_LIFE).seconds(),
        jti: delivery.id.to_string(),
        sid: delivery.session,
        events: LogoutEvent,
    };
    Some(signer.sign(LOGOUT_TOKEN, &claims))
}

/// What a client's answer means (OpenID Connect Back-Channel Logout §2.8).
fn judge(answer: Result<StatusCode, ProviderError>) -> Outcome {
    match answer {
        Ok(status) if status.is_success() => Outcome::Delivered,
        Ok(StatusCode::BAD_REQUEST) => Outcome::Never("the client refuses it".to_owned()),
        Ok(status) => Outcome::NotNow(format!("the client answers {}", status.as_u16())),
        Err(ProviderError::Timeout) => {
            Outcome::NotNow("the client does not answer in time".to_owned())
        }
        Err(ProviderError::Unreachable(why)) => {
            Outcome::NotNow(format!("the client cannot be reached: {why}"))
        }
        Err(ProviderError::Misconfigured(why)) => Outcome::NotNow(why),
        Err(error) => Outcome::NotNow(error.to_string()),
    }
}

/// When to try again after an attempt that was preceded by `attempts` others; `None`: never.
fn next_attempt(
    attempts: u32,
    created_at: Timestamp,
    now: Timestamp,
    jitter: u8,
) -> Option<Timestamp> {
    let doubled = FIRST_WAIT.saturating_mul(1_u32 << attempts.min(16)).min(LONGEST_WAIT);
    // Up to a quarter less, so that what failed together does not come back together.
    let wait = doubled - doubled / 4 * u32::from(jitter) / 256;
    let next = now.plus(wait);
    (next < created_at.plus(GIVE_UP_AFTER)).then_some(next)
}

/// Stores what an attempt led to.
async fn settle(means: &Means, delivery: &Delivery, outcome: Outcome) -> Result<End, WriteError> {
    let now = means.clock.now();
    let (retry_at, reason) = match outcome {
        Outcome::Delivered => (None, None),
        Outcome::Never(reason) => (None, Some(reason)),
        Outcome::NotNow(reason) => {
            let [jitter] = random::bytes();
            (next_attempt(delivery.attempts, delivery.created_at, now, jitter), Some(reason))
        }
    };
    let (client, attempt) = (&delivery.client_id, delivery.attempts + 1);
    let (end, counter, audit) = match (retry_at, reason) {
        (_, None) => {
            tracing::debug!(client, session = %delivery.session, attempt, "a client was told of a sign-out");
            (End::Delivered, &means.counters.delivered, None)
        }
        (Some(_), Some(reason)) => {
            tracing::info!(
                client,
                attempt,
                reason,
                "a client could not be told of a sign-out; trying again"
            );
            (End::PutOff, &means.counters.put_off, None)
        }
        (None, Some(reason)) => {
            tracing::warn!(client, session = %delivery.session, attempt, reason, "a client was not told of a sign-out");
            let action = "logout.undelivered";
            let mut audit =
                AuditEntry::new(now, model::Actor::System, action, format!("client:{client}"));
            audit.details = serde_json::json!({
                "session": delivery.session, "attempts": attempt, "reason": reason,
            });
            (End::GivenUp, &means.counters.given_up, Some(audit))
        }
    };
    apply(&means.writer, SettleDelivery { id: delivery.id, retry_at, audit }).await?;
    counter.fetch_add(1, Ordering::Relaxed);
    Ok(end)
}

impl Actor for Outbox {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.status.ready();
        self.is_wanted = true;
        self.go_on(context);
    }
}

/// A restart forgets what waits: it is taken again when its lease is over. What is under way are tasks of
/// their own, which report their end to the same address.
impl Supervised for Outbox {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.waiting.clear();
        self.is_asking = false;
    }
}

impl Handler<Tick> for Outbox {
    type Result = ();

    fn handle(&mut self, Tick: Tick, context: &mut Context<Self>) {
        self.is_wanted = true;
        self.go_on(context);
    }
}

impl Handler<Wake> for Outbox {
    type Result = ();

    fn handle(&mut self, Wake: Wake, context: &mut Context<Self>) {
        self.is_wanted = true;
        self.go_on(context);
    }
}

impl Handler<Ended> for Outbox {
    type Result = ();

    fn handle(&mut self, Ended(id): Ended, context: &mut Context<Self>) {
        self.under_way.remove(&id);
        self.go_on(context);
    }
}

impl Handler<Idle> for Outbox {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Idle: Idle, context: &mut Context<Self>) -> Self::Result {
        self.end_of_work(context)
    }
}

/// What waits or is being sent is given back for others to take; what was answered is settled.
impl Handler<Drain> for Outbox {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) -> Self::Result {
        self.ending.send_replace(true);
        self.end_of_work(context)
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Outbox);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    use crate::store::model::SessionId;

    const CREATED: Timestamp = Timestamp::from_seconds(1_000_000);

    fn wait(attempts: u32, jitter: u8) -> Duration {
        next_attempt(attempts, CREATED, CREATED, jitter).unwrap().since(CREATED)
    }

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        let seconds = [0, 1, 2, 9, 10, 100].map(|attempts| wait(attempts, 0).as_secs());
        assert_eq!(seconds, [5, 10, 20, 2_560, 3_600, 3_600]);
    }

    #[test]
    fn jitter_shortens_the_wait_by_less_than_a_quarter() {
        for attempts in [0, 5, 50] {
            let (longest, shortest) = (wait(attempts, 0), wait(attempts, 255));
            assert!(shortest < longest && longest * 3 / 4 <= shortest, "{attempts}");
        }
    }

    #[test]
    fn after_a_day_nobody_is_tried_any_more() {
        let last = CREATED.plus(GIVE_UP_AFTER).minus(LONGEST_WAIT);
        let before = last.minus(Duration::from_millis(1));
        assert!(next_attempt(20, CREATED, before, 0).is_some());
        assert_eq!(next_attempt(20, CREATED, last, 0), None);
    }

    #[test]
    fn a_client_that_refuses_is_not_asked_again_and_any_other_failure_may_pass() {
        let answers = |status| judge(Ok(StatusCode::from_u16(status).unwrap()));
        for status in [200, 204] {
            assert_eq!(answers(status), Outcome::Delivered, "{status}");
        }
        assert!(matches!(answers(400), Outcome::Never(_)));
        for status in [302, 401, 404, 429, 500, 503] {
            assert!(matches!(answers(status), Outcome::NotNow(_)), "{status}");
        }
        assert!(matches!(judge(Err(ProviderError::Timeout)), Outcome::NotNow(_)));
    }

    #[test]
    fn a_logout_token_names_its_event_and_has_no_nonce() {
        let claims = LogoutClaims {
            iss: "https://auth.example.com".to_owned(),
            sub: "a".to_owned(),
            aud: "b".to_owned(),
            iat: 1,
            exp: 2,
            jti: "c".to_owned(),
            sid: SessionId(Uuid::nil()),
            events: LogoutEvent,
        };
        let written: Value = serde_json::to_value(claims).unwrap();
        let event = "http://schemas.openid.net/event/backchannel-logout";
        assert_eq!(written["events"], json!({ event: {} }));
        let members: Vec<&String> = written.as_object().unwrap().keys().collect();
        assert_eq!(members, ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"]);
    }
}
