//! Timed removal of what nobody can need any more, in small batches.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};

use opentelemetry::KeyValue;

use super::auditor::{AnnounceRemoval, Auditor};
use super::db_writer::{DbWriter, WriteError, apply};
use super::mailbox::{Drain, Mailbox};
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::avatars::name::ObjectName;
use crate::avatars::storage::{AvatarStorage, Mark, StorageError};
use crate::clock::{Clock, Timestamp};
use crate::in_force::Live;
use crate::notary::Checkpointed;
use crate::protocol::key_life::{KeyState, life};
use crate::protocol::rotation::Lifetimes;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::operation::{RemoveExpired, Removed};
use crate::telemetry::traces::Traces;

/// How often it runs.
pub const PERIOD: Duration = Duration::from_secs(300);

/// Rows of each table looked at in one step: each is one short write among the others.
const STEP: u32 = 500;

/// Pictures looked at in one round.
const PICTURES: usize = 2_000;

/// How old a picture is before it may count as nobody's: one that was just stored is about to be entered.
const KEEP_PICTURES: Duration = Duration::from_secs(3_600);

/// How long an ended family is kept, so that its tokens are told apart from unknown ones.
const KEEP_ENDED: Duration = Duration::from_secs(7 * 86_400);

/// Run now; answered when the round is over.
#[derive(Debug, Message)]
#[rtype(result = "Result<Removed, WriteError>")]
pub struct Run;

/// What the last round did.
#[derive(Debug, Message)]
#[rtype(result = "Option<LastRun>")]
pub struct Last;

/// A finished round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// When it ended.
    pub at: Timestamp,
    /// What it removed; `None` if it failed.
    pub removed: Option<Removed>,
    /// How many pictures that nobody has it removed; `None` if it failed.
    pub pictures: Option<usize>,
}

/// What the janitor works with.
#[derive(Clone)]
pub struct Means {
    /// Makes spans; `None` where nobody wants traces.
    pub traces: Option<Traces>,
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// For the reads.
    pub read: Arc<dyn ReadStore>,
    /// Tells the time.
    pub clock: Clock,
    /// From `[tokens]`.
    pub lifetimes: Live<Lifetimes>,
    /// Signs what may be missing of the audit trail before it goes.
    pub auditor: Mailbox<Auditor>,
    /// How long audit entries are kept.
    pub audit_retention: Live<Duration>,
    /// How long a token can be valid after it was signed, with leeway.
    pub tokens_live_for: Live<Duration>,
    /// Where avatars are kept.
    pub avatars: Live<AvatarStorage>,
    /// When a round last succeeded, in milliseconds since 1970; shared with /metrics.
    pub last_success: Arc<AtomicI64>,
}

/// The owner of the timetable.
pub struct Janitor {
    means: Means,
    status: Arc<ActorStatus>,
    running: bool,
    last: Option<LastRun>,
    /// Up to where the pictures have been looked at; `None` before the first.
    pictures_seen: Option<Mark>,
}

impl Janitor {
    /// A janitor that has not run yet.
    pub fn new(means: Means, status: Arc<ActorStatus>) -> Self {
        Self { means, status, running: false, last: None, pictures_seen: None }
    }
}

/// One whole round: step by step, each its own write, until nothing is left.
async fn run(means: Means) -> Result<Removed, WriteError> {
    let (now, lifetimes) = (means.clock.now(), means.lifetimes.now());
    let tokens_live_for = means.tokens_live_for.now();
    let keys = means.read.keys().await.map_err(WriteError::Store)?;
    let wipe_keys = keys
        .iter()
        .filter(|key| key.sealed_private.is_some())
        .filter(|key| life(key, &keys, tokens_live_for).state(now) == KeyState::Removed)
        .map(|key| key.kid.clone())
        .collect();
    let mut step = RemoveExpired {
        now,
        idle_since: now.minus(lifetimes.idle),
        created_before: now.minus(lifetimes.absolute),
        revoked_before: now.minus(KEEP_ENDED),
        audited_before: announced(&means, now).await,
        wipe_keys,
        families_after: None,
        limit: STEP,
    };
    let mut total = Removed::default();
    loop {
        let removed = apply(&means.writer, step.clone()).await?;
        total.families += removed.families;
        total.spent += removed.spent;
        total.revocations += removed.revocations;
        total.requests += removed.requests;
        total.audit += removed.audit;
        total.held_usernames += removed.held_usernames;
        step.wipe_keys.clear();
        step.families_after = removed.families_after;
        let full = u64::from(STEP);
        let more_rows = removed.spent >= full
            || removed.revocations >= full
            || removed.requests >= full
            || removed.audit >= full
            || removed.held_usernames >= full;
        if removed.families_after.is_none() && !more_rows {
            return Ok(total);
        }
    }
}

/// Up to when audit entries may go: what is missing must be signed for before. A moment more is signed than
/// goes, since the last entry of a chain is not always the one with the latest time.
async fn announced(means: &Means, now: Timestamp) -> Option<Timestamp> {
    let retention = means.audit_retention.now();
    let before = now.minus(retention);
    let slack = (retention / 10).min(Duration::from_secs(300));
    let ended_by = before.minus(slack);
    match means.auditor.ask(AnnounceRemoval { ended_by, before }).await {
        Ok(Ok(Checkpointed::Written(_))) => Some(ended_by),
        Ok(Ok(Checkpointed::NotNeeded | Checkpointed::Outrun)) => None,
        Ok(Err(error)) => not_announced(&error),
        Err(error) => not_announced(&error),
    }
}

fn not_announced(error: &dyn std::fmt::Display) -> Option<Timestamp> {
    tracing::warn!(%error, "old audit entries stay, since what is missing could not be signed for; trying again");
    None
}

/// What a round came to.
struct Round {
    removed: Result<Removed, WriteError>,
    pictures: Result<(usize, Option<Mark>), SweepError>,
}

/// Why pictures were not swept.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Read(#[from] StoreError),
}

async fn round(means: Means, pictures_seen: Option<Mark>) -> Round {
    let traces = means.traces.clone();
    let work = async move {
        Round {
            removed: run(means.clone()).await,
            pictures: sweep(&means, pictures_seen.as_ref()).await,
        }
    };
    Traces::whole(traces.as_ref(), "janitor round", work, |span, round| {
        if let Ok(removed) = &round.removed {
            span.tell(|| count("latchkey.removed.rows", removed.rows()));
        }
        if let Ok((removed, _)) = &round.pictures {
            span.tell(|| count("latchkey.removed.pictures", *removed as u64));
        }
        if round.removed.is_err() {
            span.failed("cut_short");
        } else if round.pictures.is_err() {
            span.failed("pictures_not_swept");
        }
    })
    .await
}

fn count(key: &'static str, number: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(number).unwrap_or(i64::MAX))
}

/// Looks at the next pictures and removes those that nobody has: a crash between storing a picture and
/// entering it leaves such ones. Returns how many went, and where to go on.
async fn sweep(means: &Means, after: Option<&Mark>) -> Result<(usize, Option<Mark>), SweepError> {
    let avatars = means.avatars.now();
    let page = avatars.list(after, PICTURES).await?;
    let before = means.clock.now().minus(KEEP_PICTURES);
    let old: Vec<ObjectName> = page
        .objects
        .into_iter()
        .filter(|object| object.modified < before)
        .map(|object| object.name)
        .collect();
    let mut names: Vec<String> = old.iter().map(|object| object.avatar().to_string()).collect();
    names.dedup();
    let mut removed = 0;
    if !names.is_empty() {
        let used = means.read.avatars_in_use(&names).await?;
        let used: HashSet<String> = used.into_iter().collect();
        for object in old {
            if !used.contains(&object.avatar().to_string())
                && avatars.remove_old(object, before).await?
            {
                removed += 1;
            }
        }
    }
    Ok((removed, page.next))
}

impl Janitor {
    fn finish(&mut self, round: Round) -> Result<Removed, WriteError> {
        if let Err(error) = &round.pictures {
            tracing::warn!(%error, "pictures that nobody has could not be swept; that goes on next time");
        }
        let (pictures, seen) =
            round.pictures.map_or((None, None), |(removed, seen)| (Some(removed), seen));
        self.pictures_seen = seen;
        if round.removed.is_ok() && pictures.is_some() {
            self.means.last_success.store(self.means.clock.now().millis(), Ordering::Relaxed);
        }
        self.last = Some(LastRun {
            at: self.means.clock.now(),
            removed: round.removed.as_ref().ok().cloned(),
            pictures,
        });
        round.removed
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for Janitor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.running = false;
    }
}

impl Handler<Run> for Janitor {
    type Result = actix::ResponseActFuture<Self, Result<Removed, WriteError>>;

    fn handle(&mut self, Run: Run, _: &mut Context<Self>) -> Self::Result {
        let round = round(self.means.clone(), self.pictures_seen.clone());
        Box::pin(round.into_actor(self).map(|round, actor: &mut Self, _| actor.finish(round)))
    }
}

impl Handler<Last> for Janitor {
    type Result = Option<LastRun>;

    fn handle(&mut self, Last: Last, _: &mut Context<Self>) -> Self::Result {
        self.last.clone()
    }
}

impl Handler<Tick> for Janitor {
    type Result = ();

    fn handle(&mut self, Tick: Tick, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.running, true) {
            return;
        }
        let round = round(self.means.clone(), self.pictures_seen.clone());
        let round = round.into_actor(self).map(|round, actor: &mut Self, _| {
            actor.running = false;
            if let Err(error) = actor.finish(round) {
                tracing::warn!(%error, "the janitor's round was cut short; it goes on next time");
            }
        });
        context.spawn(round);
    }
}

impl Handler<Drain> for Janitor {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Janitor);
