//! The only way to reach an actor: bounded, with a deadline.
//!
//! actix binds `try_send` alone to a mailbox's capacity; `send` goes past it. So admission is ours:
//! a count of outstanding requests, shared by every clone. Nobody outside holds a bare `Addr`.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Message, WeakAddr};

use super::status::{ActorStatus, AskOutcome};
use crate::clock::Stopwatch;
use crate::error::{ApiError, ErrorCode};
use crate::telemetry::traces::Part;

/// Why an actor did not answer. `TimedOut` and `Dropped` mean "unknown", not "not done".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many requests are waiting; nothing was done.
    #[error("too many requests are waiting for this actor")]
    Full,
    /// No answer within the deadline.
    #[error("the actor did not answer in time")]
    TimedOut,
    /// The actor restarted or stopped before it answered.
    #[error("the actor restarted before it answered")]
    Dropped,
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        let code = match error {
            AskError::Full => ErrorCode::Overloaded,
            AskError::TimedOut | AskError::Dropped => ErrorCode::TemporarilyUnavailable,
        };
        Self::new(code, "Try again in a moment.").retry_after(Duration::from_secs(1)).cause(error)
    }
}

/// Flushes what an actor owes and ends it. Being handled in order, it comes after all that was
/// queued before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// An actor's address, with admission and deadline. All clones share one count.
#[derive(Debug)]
pub struct Mailbox<A: Actor> {
    address: Addr<A>,
    status: Arc<ActorStatus>,
    deadline: Duration,
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            status: Arc::clone(&self.status),
            deadline: self.deadline,
        }
    }
}

impl<A: Actor> Mailbox<A> {
    pub(super) fn new(address: Addr<A>, status: Arc<ActorStatus>, deadline: Duration) -> Self {
        Self { address, status, deadline }
    }

    /// Asks the actor and waits for its answer, at most for the deadline.
    ///
    /// # Errors
    /// [`AskError`]; `Full` at once.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, AskError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let Some(_slot) = self.status.admit() else {
            self.status.count_ask(AskOutcome::Full);
            return Err(AskError::Full);
        };
        let mut part = Part::internal(|| format!("ask {}", self.status.name).into());
        let watch = Stopwatch::start();
        let answer = self.address.send(message).timeout(self.deadline).await;
        self.status.ask_time.observe(watch.elapsed());
        let (outcome, answer) = match answer {
            Ok(answer) => (AskOutcome::Answered, Ok(answer)),
            Err(MailboxError::Timeout) => (AskOutcome::TimedOut, Err(AskError::TimedOut)),
            Err(MailboxError::Closed) => (AskOutcome::Dropped, Err(AskError::Dropped)),
        };
        self.status.count_ask(outcome);
        if answer.is_err() {
            part.failed(outcome.as_str());
        }
        answer
    }

    /// Tells the actor something that may be lost: taken if there is room, else counted and dropped.
    pub fn tell<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        if self.status.in_flight() < self.status.capacity {
            self.address.do_send(message);
        } else {
            self.status.count_ask(AskOutcome::Full);
        }
    }

    /// Offers the actor work that may be lost: queued at once if there is room, else counted and
    /// dropped. The caller waits for nothing; as with an ask, a place is taken until the answer.
    pub fn offer<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let Some(slot) = self.status.admit() else {
            self.status.count_ask(AskOutcome::Full);
            return;
        };
        // Queued by the call: whatever the caller asks afterwards comes behind it.
        let answer = self.address.send(message).timeout(self.deadline);
        let status = Arc::clone(&self.status);
        actix::spawn(async move {
            let _slot = slot;
            status.count_ask(match answer.await {
                Ok(_) => AskOutcome::Answered,
                Err(MailboxError::Timeout) => AskOutcome::TimedOut,
                Err(MailboxError::Closed) => AskOutcome::Dropped,
            });
        });
    }

    /// Ends the actor after all that is queued; whether it did so within `deadline`.
    pub async fn drain(&self, deadline: Duration) -> bool
    where
        A: Handler<Drain>,
        A::Context: ToEnvelope<A, Drain>,
    {
        self.status.set_draining();
        match self.address.send(Drain).timeout(deadline).await {
            Ok(()) | Err(MailboxError::Closed) => true,
            Err(MailboxError::Timeout) => false,
        }
    }

    /// What is known of the actor.
    pub fn status(&self) -> &Arc<ActorStatus> {
        &self.status
    }

    /// An address that does not keep the actor alive: for its ticker.
    pub(super) fn downgrade(&self) -> WeakAddr<A> {
        self.address.downgrade()
    }
}
