//! Owner of the timetable of checkpoints: signed statements about the audit trail.
//!
//! It remembers nothing of the trail: where the last checkpoint stands is the store's to say, and so any
//! number of nodes write each of them once.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};

use super::mailbox::Drain;
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::clock::Timestamp;
use crate::notary::{Checkpointed, Notary, NotaryError, Wanted};

/// The longest between two looks at whether a checkpoint is due.
const LONGEST_TICK: Duration = Duration::from_secs(30);

/// How often to look, if a checkpoint is wanted so often.
pub fn period(every: Duration) -> Duration {
    (every / 10).clamp(Duration::from_secs(1), LONGEST_TICK)
}

/// Sign a checkpoint now, if there is anything new.
#[derive(Debug, Message)]
#[rtype(result = "Result<Checkpointed, NotaryError>")]
pub struct CheckpointNow;

/// Chains that have ended are about to be removed: say so in a checkpoint, if there are any.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Checkpointed, NotaryError>")]
pub struct AnnounceRemoval {
    /// Chains whose last entry is of this time or before go.
    pub ended_by: Timestamp,
    /// Entries of this time or before may be missing from then on.
    pub before: Timestamp,
}

/// The owner of the timetable.
pub struct Auditor {
    notary: Notary,
    status: Arc<ActorStatus>,
    /// Whether one is being made by the clock.
    is_signing: bool,
}

impl Auditor {
    /// An auditor with its means.
    pub fn new(notary: Notary, status: Arc<ActorStatus>) -> Self {
        Self { notary, status, is_signing: false }
    }

    fn sign(&self, wanted: Wanted) -> ResponseFuture<Result<Checkpointed, NotaryError>> {
        let notary = self.notary.clone();
        Box::pin(async move { notary.checkpoint(wanted).await })
    }
}

impl Actor for Auditor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for Auditor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.is_signing = false;
    }
}

impl Handler<CheckpointNow> for Auditor {
    type Result = ResponseFuture<Result<Checkpointed, NotaryError>>;

    fn handle(&mut self, CheckpointNow: CheckpointNow, _: &mut Context<Self>) -> Self::Result {
        self.sign(Wanted::Now)
    }
}

impl Handler<AnnounceRemoval> for Auditor {
    type Result = ResponseFuture<Result<Checkpointed, NotaryError>>;

    fn handle(&mut self, removal: AnnounceRemoval, _: &mut Context<Self>) -> Self::Result {
        self.sign(Wanted::BeforeRemoval(removal))
    }
}

impl Handler<Tick> for Auditor {
    type Result = ();

    fn handle(&mut self, Tick: Tick, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_signing, true) {
            return;
        }
        let signing = self.sign(Wanted::WhenDue);
        context.spawn(signing.into_actor(self).map(|result, actor: &mut Self, _| {
            actor.is_signing = false;
            if let Err(error) = result {
                tracing::warn!(%error, "no checkpoint of the audit trail could be signed; trying again");
            }
        }));
    }
}

impl Handler<Drain> for Auditor {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Auditor);
