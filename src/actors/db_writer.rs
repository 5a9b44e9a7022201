//! Owner of every write to the store: group commit.
//!
//! While one batch is in flight, writes queue; when it is committed, all that queued go in the next
//! one. No timer and no added delay: a lone write commits at once. An answer is given only after
//! the commit.

use std::collections::HashSet;
use std::sync::Arc;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use tokio::sync::oneshot;

use super::mailbox::{AskError, Drain, Mailbox};
use super::status::ActorStatus;
use crate::clock::Stopwatch;
use crate::in_force::Live;
use crate::store::WriteStore;
use crate::store::error::StoreError;
use crate::store::operation::{Operation, Outcome, Write};
use crate::store::trail::{Trail, TrailRules};
use crate::telemetry::histogram::{Durations, Sizes};

/// Apply this write; answered after the commit.
#[derive(Debug, Message)]
#[rtype(result = "Result<W::Outcome, StoreError>")]
pub struct Apply<W: Write>(pub W);

/// A batch is over, however it ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct BatchDone {
    /// Where the audit trail stands; `None` if the batch panicked, and nobody knows.
    trail: Option<Trail>,
}

/// Why a write was not confirmed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The writer did not answer: the write may or may not have happened.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WriteError> for crate::error::ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Ask(error) => error.into(),
            WriteError::Store(error) => error.into(),
        }
    }
}

/// Asks the writer to apply a write.
///
/// # Errors
/// [`WriteError`].
pub async fn apply<W: Write>(
    writer: &Mailbox<DbWriter>,
    write: W,
) -> Result<W::Outcome, WriteError> {
    Ok(writer.ask(Apply(write)).await??)
}

/// Most operations of one batch: bounds the size of a transaction, not the rate.
const LARGEST_BATCH: usize = 512;

/// How the writer's batches were; shared with /metrics.
#[derive(Debug)]
pub struct BatchTimes {
    /// From handing a batch to the store until its answer.
    pub apply: Durations,
    /// How many writes shared a batch.
    pub writes: Sizes,
}

impl Default for BatchTimes {
    fn default() -> Self {
        Self { apply: Durations::of_waits(), writes: Sizes::default() }
    }
}

/// The writer.
pub struct DbWriter {
    store: Arc<dyn WriteStore>,
    status: Arc<ActorStatus>,
    times: Arc<BatchTimes>,
    /// How the audit trail is kept.
    rules: Live<TrailRules>,
    /// Where the audit trail of this process stands; away with the batch that is in flight.
    trail: Option<Trail>,
    pending: Vec<Waiting>,
    committing: bool,
    drained: Vec<oneshot::Sender<()>>,
}

struct Waiting {
    operation: Operation,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl DbWriter {
    /// A writer to this store.
    pub fn new(
        store: Arc<dyn WriteStore>,
        status: Arc<ActorStatus>,
        times: Arc<BatchTimes>,
        rules: Live<TrailRules>,
    ) -> Self {
        Self {
            store,
            status,
            times,
            rules,
            trail: None,
            pending: Vec::new(),
            committing: false,
            drained: Vec::new(),
        }
    }

    /// Hands all that is pending to the store, unless a batch is in flight.
    fn commit(&mut self, context: &mut Context<Self>) {
        if self.committing || self.pending.is_empty() {
            return;
        }
        self.committing = true;
        let (operations, replies): (Vec<_>, Vec<_>) =
            self.take_batch().into_iter().map(|waiting| (waiting.operation, waiting.reply)).unzip();
        let (store, times) = (Arc::clone(&self.store), Arc::clone(&self.times));
        let mut trail = self.trail.take().unwrap_or_default().under(self.rules.now());
        let done = SendsOnDrop { writer: context.address(), trail: None };
        // A task of its own: it outlives a restart of this actor, and so do the answers. Its guard
        // starts the next batch on success, error and panic alike.
        actix::spawn(async move {
            // Whole, not just the part that is written to: what is left outside would be dropped at once.
            let mut done = done;
            times.writes.observe(operations.len());
            let watch = Stopwatch::start();
            let outcomes = store.apply(operations, &mut trail).await;
            done.trail = Some(trail);
            times.apply.observe(watch.elapsed());
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // A caller that has gone away does not need the answer.
                let _gone = reply.send(outcome);
            }
        });
    }

    /// Takes what goes into the next batch: each family at most once, the rest stays in order.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut families = HashSet::new();
        let (mut batch, mut left) = (Vec::new(), Vec::new());
        for waiting in self.pending.drain(..) {
            let fits = batch.len() < LARGEST_BATCH
                && match &waiting.operation {
                    Operation::AdvanceFamily(advance) => families.insert(advance.family),
                    _ => true,
                };
            if fits { batch.push(waiting) } else { left.push(waiting) }
        }
        self.pending = left;
        batch
    }
}

/// Sends [`BatchDone`] when it is dropped.
struct SendsOnDrop {
    writer: actix::Addr<DbWriter>,
    trail: Option<Trail>,
}

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        self.writer.do_send(BatchDone { trail: self.trail.take() });
    }
}

impl Actor for DbWriter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.status.ready();
        self.commit(context);
    }
}

/// A restart keeps what callers are waiting for: the queue, and whether a batch is in flight (its
/// task goes on and reports). Nothing else is remembered.
impl Supervised for DbWriter {}

impl<W: Write> Handler<Apply<W>> for DbWriter {
    type Result = ResponseFuture<Result<W::Outcome, StoreError>>;

    fn handle(&mut self, Apply(write): Apply<W>, context: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.pending.push(Waiting { operation: write.into_operation(), reply });
        self.commit(context);
        Box::pin(async move {
            let outcome = answer.await.map_err(|_| {
                StoreError::OutcomeUnknown("the batch ended without an answer".to_owned())
            })??;
            W::unwrap_outcome(outcome).ok_or_else(|| {
                StoreError::Inconsistent("the store answered another write".to_owned())
            })
        })
    }
}

impl Handler<BatchDone> for DbWriter {
    type Result = ();

    fn handle(&mut self, BatchDone { trail }: BatchDone, context: &mut Context<Self>) {
        self.committing = false;
        self.trail = trail;
        self.commit(context);
        if !self.committing && !self.drained.is_empty() {
            self.drained.drain(..).for_each(|drained| {
                let _gone = drained.send(());
            });
            context.stop();
        }
    }
}

impl Handler<Drain> for DbWriter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) -> Self::Result {
        if !self.committing {
            context.stop();
            return Box::pin(async {});
        }
        let (drained, done) = oneshot::channel();
        self.drained.push(drained);
        Box::pin(async move {
            let _ended = done.await;
        })
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(DbWriter);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::supervisor::{Supervision, Terms};
    use crate::clock::Timestamp;
    use crate::store::model::{AuditEntry, FamilyId};
    use crate::store::operation::{AdvanceFamily, AdvanceOutcome, AppendAudit};
    use actix::Arbiter;
    use async_trait::async_trait;
    use std::time::Duration;
    use tokio::sync::mpsc;

    /// A store whose batches are seen, and answered when the test says so.
    struct Scripted {
        batches: mpsc::UnboundedSender<(Vec<Operation>, oneshot::Sender<Script>)>,
    }

    #[derive(Debug)]
    enum Script {
        Succeed,
        FailThe(usize),
        Panic,
    }

    #[async_trait]
    impl WriteStore for Scripted {
        async fn apply(
            &self,
            batch: Vec<Operation>,
            _: &mut Trail,
        ) -> Vec<Result<Outcome, StoreError>> {
            let (sender, script) = oneshot::channel();
            self.batches.send((batch.clone(), sender)).unwrap();
            let script = script.await.unwrap();
            assert!(!matches!(script, Script::Panic), "scripted panic");
            let answer = |(index, operation): (usize, &Operation)| match (operation, &script) {
                (_, Script::FailThe(failing)) if index == *failing => {
                    Err(StoreError::Refused("scripted".to_owned()))
                }
                (Operation::AppendAudit(_), _) => Ok(Outcome::AppendAudit),
                _ => Ok(Outcome::AdvanceFamily(AdvanceOutcome::Unmoved)),
            };
            batch.iter().enumerate().map(answer).collect()
        }
    }

    type Batches = mpsc::UnboundedReceiver<(Vec<Operation>, oneshot::Sender<Script>)>;

    fn writer() -> (Mailbox<DbWriter>, Batches) {
        let (sender, batches) = mpsc::unbounded_channel();
        let terms =
            Terms { name: "db_writer", shard: 0, capacity: 64, deadline: Duration::from_secs(5) };
        let mailbox = Supervision::default().start(&Arbiter::current(), terms, move |status| {
            DbWriter::new(
                Arc::new(Scripted { batches: sender }),
                status,
                Arc::default(),
                TrailRules::default().into(),
            )
        });
        (mailbox, batches)
    }

    fn audit() -> AppendAudit {
        AppendAudit(AuditEntry::new(
            Timestamp::from_seconds(1),
            crate::store::model::Actor::System,
            "test.ran",
            "test:1".to_owned(),
        ))
    }

    fn advance(family: u128) -> AdvanceFamily {
        let now = Timestamp::from_seconds(1);
        AdvanceFamily {
            family: FamilyId(uuid::Uuid::from_u128(family)),
            presented: 0,
            now,
            rotated_before: now,
            idle_since: now,
            created_after: now,
        }
    }

    #[actix::test]
    async fn a_lone_write_commits_at_once_and_what_queues_goes_together() {
        let (writer, mut batches) = writer();
        let asks = futures_util::future::join_all((0..20).map(|_| apply(&writer, audit())));
        let script = async {
            let (first, reply) = batches.recv().await.unwrap();
            assert_eq!(first.len(), 1);
            writer.ask(Barrier).await.unwrap();
            reply.send(Script::Succeed).unwrap();
            let (second, reply) = batches.recv().await.unwrap();
            assert_eq!(second.len(), 19);
            reply.send(Script::Succeed).unwrap();
        };
        let (answers, ()) = tokio::join!(asks, script);
        assert!(answers.iter().all(Result::is_ok));
    }

    /// Answered after all that was asked before it was handled.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Barrier;

    impl Handler<Barrier> for DbWriter {
        type Result = ();
        fn handle(&mut self, Barrier: Barrier, _: &mut Context<Self>) {}
    }

    #[actix::test]
    async fn a_batch_holds_a_family_once() {
        let (writer, mut batches) = writer();
        let asks = futures_util::future::join_all(
            [1, 2, 2, 3, 2].into_iter().map(|family| apply(&writer, advance(family))),
        );
        let script = async {
            let mut sizes = Vec::new();
            while sizes.iter().sum::<usize>() < 5 {
                let (batch, reply) = batches.recv().await.unwrap();
                writer.ask(Barrier).await.unwrap();
                sizes.push(batch.len());
                reply.send(Script::Succeed).unwrap();
            }
            sizes
        };
        let (answers, sizes) = tokio::join!(asks, script);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(sizes, [1, 2, 1, 1]);
    }

    #[actix::test]
    async fn a_failing_write_fails_alone() {
        let (writer, mut batches) = writer();
        let asks = futures_util::future::join_all((0..3).map(|_| apply(&writer, audit())));
        let script = async {
            batches.recv().await.unwrap().1.send(Script::Succeed).unwrap();
            batches.recv().await.unwrap().1.send(Script::FailThe(1)).unwrap();
        };
        let (answers, ()) = tokio::join!(asks, script);
        let failed: Vec<bool> = answers.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, false, true]);
    }

    #[actix::test]
    async fn a_panic_in_the_store_is_an_unknown_outcome_and_the_next_batch_goes_on() {
        let (writer, mut batches) = writer();
        let asks = futures_util::future::join_all((0..3).map(|_| apply(&writer, audit())));
        let script = async {
            batches.recv().await.unwrap().1.send(Script::Panic).unwrap();
            batches.recv().await.unwrap().1.send(Script::Succeed).unwrap();
        };
        let (answers, ()) = tokio::join!(asks, script);
        assert!(matches!(answers[0], Err(WriteError::Store(StoreError::OutcomeUnknown(_)))));
        assert!(answers[1].is_ok() && answers[2].is_ok());
    }

    #[actix::test]
    async fn draining_commits_all_that_was_queued() {
        let (writer, mut batches) = writer();
        let asks = futures_util::future::join_all((0..3).map(|_| apply(&writer, audit())));
        let script = async {
            let (_, reply) = batches.recv().await.unwrap();
            let drain = writer.drain(Duration::from_secs(5));
            let rest = async {
                reply.send(Script::Succeed).unwrap();
                batches.recv().await.unwrap().1.send(Script::Succeed).unwrap();
            };
            tokio::join!(drain, rest).0
        };
        let (answers, drained) = tokio::join!(asks, script);
        assert!(drained && answers.iter().all(Result::is_ok));
    }
}
