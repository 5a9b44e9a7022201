//! Owner of refresh-token families: one live token each, reuse revokes all (RFC 9700 §4.14.2).
//!
//! A shard owns the rotations in flight of its families, so that equal requests join one write and
//! a batch holds a family once. Correctness does not rest on it: only SQL decides, since other nodes
//! have shards of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use tokio::sync::oneshot;

use super::db_writer::{DbWriter, WriteError, apply};
use super::mailbox::{AskError, Drain, Mailbox};
use super::outbox::{Outbox, Wake};
use super::revocations::{Add, Revocations};
use super::status::ActorStatus;
use crate::clock::{Clock, Timestamp};
use crate::in_force::Live;
use crate::protocol::refresh_token::Presented;
use crate::protocol::rotation::{Lifetimes, Verdict, judge};
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Actor as AuditActor, AuditEntry, FamilyId, FamilyWithUser};
use crate::store::operation::{AdvanceFamily, AdvanceOutcome, Revoke, RevokeOutcome, RevokeTarget};
use crate::telemetry::origin::{Origin, on_behalf_of};

/// Exchange the presented token for the live one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Rotated, RotateError>")]
pub struct Rotate {
    /// What the token says; its tag was checked.
    pub presented: Presented,
    /// For the audit entry, should this be reuse.
    pub request_id: Option<String>,
    /// For the audit entry: the client's address.
    pub address: Option<String>,
    /// Who asks: the rotation goes on in a task of its own, in their name.
    pub origin: Option<Origin>,
}

/// End families: by family, by session or by person. Answered when it is stored and this node
/// refuses their access tokens.
#[derive(Debug, Message)]
#[rtype(result = "Result<RevokeOutcome, WriteError>")]
pub struct End(pub Revoke);

/// The family with its live generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What the answer's tokens are made of.
    pub live: FamilyWithUser,
    /// Whether the family moved on for this request.
    pub advanced: bool,
}

/// Why there is no live token for the presented one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RotateError {
    /// No such family: nothing is revoked, a failover may have lost it.
    #[error("the refresh token's family is unknown")]
    Unknown,
    /// The family ended or ran out of time.
    #[error("the refresh token's family has ended")]
    Ended,
    /// The token was used before; its family is now revoked.
    #[error("the refresh token was used before, so its family is revoked")]
    Reused,
    /// The writer did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WriteError> for RotateError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Ask(error) => Self::Ask(error),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

/// How refreshes ended; shared with /metrics.
#[derive(Debug, Default)]
pub struct RefreshCounters {
    /// The family moved on.
    pub advanced: AtomicU64,
    /// The live token was given again.
    pub kept: AtomicU64,
    /// An earlier generation was presented and the family revoked.
    pub reused: AtomicU64,
    /// The family had ended or is unknown.
    pub refused: AtomicU64,
    /// The writer or the store did not answer.
    pub failed: AtomicU64,
    /// A failover had lost commits; the family was moved past what was presented.
    pub families_rolled_forward: AtomicU64,
}

impl RefreshCounters {
    fn count(&self, result: &RotateResult) {
        let counter = match result {
            Ok(Rotated { advanced: true, .. }) => &self.advanced,
            Ok(_) => &self.kept,
            Err(RotateError::Reused) => &self.reused,
            Err(RotateError::Unknown | RotateError::Ended) => &self.refused,
            Err(RotateError::Ask(_) | RotateError::Store(_)) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

type RotateResult = Result<Rotated, RotateError>;

/// What a shard works with; the same for all.
#[derive(Clone)]
pub struct Means {
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// For the reads.
    pub read: Arc<dyn ReadStore>,
    /// Is told what ended.
    pub revocations: Mailbox<Revocations>,
    /// Is told that clients may have to hear of it.
    pub outbox: Mailbox<Outbox>,
    /// From `[tokens]`.
    pub lifetimes: Live<Lifetimes>,
    /// How long access tokens live, with leeway.
    pub tokens_live_for: Live<Duration>,
    /// Tells the time.
    pub clock: Clock,
    /// How refreshes end.
    pub counters: Arc<RefreshCounters>,
}

/// One shard: every family whose id hashes here.
pub struct TokenFamilies {
    means: Means,
    status: Arc<ActorStatus>,
    flights: HashMap<FamilyId, Flight>,
    next_flight: u64,
    recent: Recent,
}

/// A rotation in flight, and who waits for it or behind it.
struct Flight {
    id: u64,
    presented: Presented,
    waiting: Vec<Waiting>,
}

struct Waiting {
    rotate: Rotate,
    reply: oneshot::Sender<RotateResult>,
}

/// A rotation in flight is over.
#[derive(Message)]
#[rtype(result = "()")]
struct FlightDone {
    id: u64,
    family: FamilyId,
    /// `None` if its task panicked.
    result: Option<RotateResult>,
}

impl TokenFamilies {
    /// One shard.
    pub fn new(means: Means, status: Arc<ActorStatus>) -> Self {
        Self { means, status, flights: HashMap::new(), next_flight: 0, recent: Recent::default() }
    }

    /// Starts a rotation; `waiting` are requests for the same family, the first of them leads.
    fn take_off(&mut self, mut waiting: Vec<Waiting>, context: &mut Context<Self>) {
        let leader = waiting.remove(0);
        let presented = leader.rotate.presented;
        let id = self.next_flight;
        self.next_flight += 1;
        let read_first = self.recent.says_no_write(presented, &self.means);
        self.flights.insert(presented.family, Flight { id, presented, waiting });
        let mut done = Landing {
            shard: context.address(),
            message: Some(FlightDone { id, family: presented.family, result: None }),
        };
        let means = self.means.clone();
        actix::spawn(on_behalf_of(leader.rotate.origin.clone(), async move {
            let result = rotate(&means, leader.rotate, read_first).await;
            means.counters.count(&result);
            if let Some(message) = &mut done.message {
                message.result = Some(result.clone());
            }
            let _gone = leader.reply.send(result);
        }));
    }
}

/// Reports the end of a flight when it is dropped, also by a panic.
struct Landing {
    shard: actix::Addr<TokenFamilies>,
    message: Option<FlightDone>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.shard.do_send(message);
        }
    }
}

/// Whether a request equal to one that ended with `result` may have the same answer.
///
/// A request that advanced the family makes its equals retries of the previous generation: they get
/// the live token, unless there is no retry window; then each is judged for itself.
fn may_share(result: &RotateResult, lifetimes: &Lifetimes) -> bool {
    !matches!(result, Ok(Rotated { advanced: true, .. })) || !lifetimes.retry_window.is_zero()
}

/// Rotates one family by what is presented: write first, then, if nothing moved, read and judge.
async fn rotate(means: &Means, request: Rotate, mut read_first: bool) -> RotateResult {
    let presented = request.presented;
    // A race with another node can turn "may advance" into "moved already" once; not for ever.
    for _ in 0..4 {
        let now = means.clock.now();
        if !read_first && let Some(rotated) = advance(means, presented, now).await? {
            return Ok(rotated);
        }
        read_first = false;
        let Some(live) = means.read.family(presented.family).await? else {
            return Err(RotateError::Unknown);
        };
        match judge(presented, &live, &means.lifetimes.now(), now) {
            Verdict::Keep => return Ok(Rotated { live, advanced: false }),
            Verdict::Advance => {}
            Verdict::Ended => return Err(RotateError::Ended),
            Verdict::Reuse => {
                let outcome = end(means, reuse(means, &request, &live, now)).await?;
                if !outcome.families.is_empty() {
                    return Err(RotateError::Reused);
                }
            }
        }
    }
    Err(RotateError::Store(StoreError::Unavailable("the family is contended".to_owned())))
}

async fn advance(
    means: &Means,
    presented: Presented,
    now: Timestamp,
) -> Result<Option<Rotated>, RotateError> {
    let lifetimes = means.lifetimes.now();
    let write = AdvanceFamily {
        family: presented.family,
        presented: presented.generation,
        now,
        rotated_before: now.minus(lifetimes.grace(presented.kind)),
        idle_since: now.minus(lifetimes.idle),
        created_after: now.minus(lifetimes.absolute),
    };
    let AdvanceOutcome::Moved { live, before } = apply(&means.writer, write).await? else {
        return Ok(None);
    };
    if before < presented.generation {
        means.counters.families_rolled_forward.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            family = %presented.family, before, presented = presented.generation,
            "the database had lost commits of a family; it was rolled forward"
        );
    }
    Ok(Some(Rotated { live: *live, advanced: true }))
}

/// The end of a family, or of its whole session, because an earlier generation was presented.
fn reuse(means: &Means, request: &Rotate, live: &FamilyWithUser, now: Timestamp) -> Revoke {
    let family = &live.family;
    tracing::warn!(
        family = %family.id, user = %family.user, presented = request.presented.generation,
        live = family.generation, "a refresh token was used again; its family is revoked"
    );
    let mut audit = AuditEntry::new(
        now,
        AuditActor::Anonymous,
        "family.reuse_detected",
        // The person, not the family: what happened to somebody is found by who they are.
        format!("user:{}", family.user),
    );
    audit.request_id.clone_from(&request.request_id);
    audit.address.clone_from(&request.address);
    audit.details = serde_json::json!({
        "family": family.id, "client_id": family.client_id, "session": family.session,
        "presented": request.presented.generation, "live": family.generation,
    });
    let is_session = family.session.0 == family.id.0;
    Revoke {
        target: if is_session {
            RevokeTarget::Session(family.session)
        } else {
            RevokeTarget::Family(family.id)
        },
        only_if_reused: Some((family.id, request.presented.generation)),
        reason: "reuse",
        now,
        tokens_live_for: means.tokens_live_for.now(),
        audit,
    }
}

/// Stores the end of families and tells this node's [`Revocations`] before it answers; clients hear of it
/// from the [`Outbox`].
async fn end(means: &Means, revoke: Revoke) -> Result<RevokeOutcome, WriteError> {
    let outcome = apply(&means.writer, revoke).await?;
    means.outbox.tell(Wake);
    means.revocations.ask(Add(outcome.revocations.clone())).await?;
    Ok(outcome)
}

/// What this shard saw last of some families: a hint whether a write can move them, never a verdict.
#[derive(Default)]
struct Recent {
    young: HashMap<FamilyId, Seen>,
    old: HashMap<FamilyId, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    generation: u64,
    rotated_at: Timestamp,
}

impl Recent {
    /// Families in one half; the two halves together are all that is remembered.
    const HALF: usize = 4096;

    fn remember(&mut self, live: &FamilyWithUser) {
        if self.young.len() >= Self::HALF {
            self.old = std::mem::take(&mut self.young);
        }
        let seen = Seen { generation: live.family.generation, rotated_at: live.family.rotated_at };
        self.young.insert(live.family.id, seen);
    }

    /// Whether a write would move nothing, as far as is known: an earlier generation, or within the
    /// grace. Then the family is read first.
    fn says_no_write(&self, presented: Presented, means: &Means) -> bool {
        let seen = self.young.get(&presented.family).or_else(|| self.old.get(&presented.family));
        seen.is_some_and(|seen| {
            let grace = means.lifetimes.now().grace(presented.kind);
            seen.generation > presented.generation
                || (seen.generation == presented.generation
                    && means.clock.now().since(seen.rotated_at) < grace)
        })
    }
}

impl Actor for TokenFamilies {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for TokenFamilies {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Whoever waits behind a flight is told at once; the flight itself goes on and answers its
        // own caller.
        self.flights.clear();
        self.recent = Recent::default();
    }
}

impl Handler<Rotate> for TokenFamilies {
    type Result = ResponseFuture<RotateResult>;

    fn handle(&mut self, rotate: Rotate, context: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        let family = rotate.presented.family;
        let waiting = Waiting { rotate, reply };
        match self.flights.get_mut(&family) {
            Some(flight) => flight.waiting.push(waiting),
            None => self.take_off(vec![waiting], context),
        }
        Box::pin(async move { answer.await.unwrap_or(Err(RotateError::Ask(AskError::Dropped))) })
    }
}

impl Handler<FlightDone> for TokenFamilies {
    type Result = ();

    fn handle(&mut self, done: FlightDone, context: &mut Context<Self>) {
        if self.flights.get(&done.family).is_none_or(|flight| flight.id != done.id) {
            return; // of a flight before a restart
        }
        let Some(flight) = self.flights.remove(&done.family) else { return };
        if let Some(Ok(rotated)) = &done.result {
            self.recent.remember(&rotated.live);
        }
        let mut others = Vec::new();
        for waiting in flight.waiting {
            match &done.result {
                Some(result)
                    if waiting.rotate.presented == flight.presented
                        && may_share(result, &self.means.lifetimes.now()) =>
                {
                    let shared =
                        result.clone().map(|rotated| Rotated { advanced: false, ..rotated });
                    self.means.counters.count(&shared);
                    let _gone = waiting.reply.send(shared);
                }
                _ => others.push(waiting),
            }
        }
        others.retain(|waiting| !waiting.reply.is_closed());
        if !others.is_empty() {
            self.take_off(others, context);
        }
    }
}

impl Handler<End> for TokenFamilies {
    type Result = ResponseFuture<Result<RevokeOutcome, WriteError>>;

    fn handle(&mut self, End(revoke): End, _: &mut Context<Self>) -> Self::Result {
        let means = self.means.clone();
        Box::pin(async move { end(&means, revoke).await })
    }
}

impl Handler<Drain> for TokenFamilies {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        // The flights are tasks of their own and answer; the writer is drained after them.
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(TokenFamilies);
