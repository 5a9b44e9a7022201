//! The write side: group commits on one connection of its own.
//!
//! A batch becomes transactions: one for all operations that share it, one for each that runs alone.
//! Every transaction ends in one of three ways: it is committed, it certainly is not, or nobody knows,
//! because the connection broke (or answered too late) after the commit was sent. Only the last needs
//! thought: then the database is asked what happened, and what did not is repeated once. Repeating is
//! safe even if the first try is still on its way to the server: each operation is conditional or holds
//! an id that can be inserted once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Pool};
use futures_util::future::try_join_all;
use futures_util::try_join;

use super::audit::{self, Columns};
use super::connect::Lease;
use super::failure::{Failure, within};
use super::operations::{Together, perform};
use super::read_back::happened;
use crate::store::error::StoreError;
use crate::store::operation::{
    ChangeUsernameOutcome, CreateUserOutcome, LinkOutcome, Operation, Outcome,
    RegisterClientOutcome,
};
use crate::store::trail::{Notes, Trail};
use crate::store::{Counters, WriteStore};

/// How long the statements of one transaction may take, and again its commit.
const STATEMENT_LIMIT: Duration = Duration::from_secs(3);

/// How long it may take until there is a connection, however often that is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Pauses before the tries to connect: a server that restarts is back soon.
const PAUSES_MILLIS: [u64; 6] = [0, 50, 100, 200, 400, 800];

/// How long it may take to find out what became of a commit, and to repeat what did not happen.
const READ_BACK_LIMIT: Duration = Duration::from_secs(4);

/// How often a transaction is tried that others are in the way of.
const TRIES: usize = 4;

/// What an operation is answered with.
type Answer = Result<Outcome, StoreError>;

/// Writes on the one connection of its pool.
pub(super) struct Writer {
    pub(super) pool: Pool,
    pub(super) counters: Arc<Counters>,
}

/// What became of a transaction.
enum Settled {
    /// Each operation has its answer.
    Answered(Vec<Answer>),
    /// One of several operations was refused, and all were rolled back with it.
    Refused,
    /// The database cannot be asked, so that it makes no sense to go on with other transactions.
    Down(StoreError),
}

#[async_trait]
impl WriteStore for Writer {
    async fn apply(&self, batch: Vec<Operation>, trail: &mut Trail) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = batch.iter().map(|_| None).collect();
        let mut waiting = transactions(&batch);
        let mut down: Option<StoreError> = None;
        while let Some(group) = waiting.pop_front() {
            let operations: Vec<&Operation> = group.iter().map(|&index| &batch[index]).collect();
            let settled = match &down {
                None => self.settle(&operations, trail).await,
                Some(error) => Settled::Answered(refuse(&operations, error)),
            };
            let outcomes = match settled {
                Settled::Answered(outcomes) => outcomes,
                Settled::Refused => {
                    self.counters.count_retried_alone();
                    group.iter().rev().for_each(|&index| waiting.push_front(vec![index]));
                    continue;
                }
                Settled::Down(error) => {
                    down = Some(StoreError::Unavailable(error.to_string()));
                    refuse(&operations, &error)
                }
            };
            for (index, outcome) in group.into_iter().zip(outcomes) {
                answers[index] = Some(outcome);
            }
        }
        let answers = answers.into_iter();
        answers.map(|answer| answer.expect("each operation is in a transaction")).collect()
    }
}

/// The positions in `batch` of each transaction's operations.
fn transactions(batch: &[Operation]) -> VecDeque<Vec<usize>> {
    let (alone, shared): (Vec<usize>, Vec<usize>) =
        (0..batch.len()).partition(|&index| batch[index].runs_alone());
    let shared = (!shared.is_empty()).then_some(shared);
    shared.into_iter().chain(alone.into_iter().map(|index| vec![index])).collect()
}

fn refuse(group: &[&Operation], error: &StoreError) -> Vec<Answer> {
    group.iter().map(|_| Err(error.clone())).collect()
}

impl Writer {
    /// Brings a transaction to its end.
    async fn settle(&self, group: &[&Operation], trail: &mut Trail) -> Settled {
        let mut cause = StoreError::Unavailable("other writers are in the way".to_owned());
        let mut was_lost = false;
        for _ in 0..TRIES {
            let db = match self.connect().await {
                Ok(db) => db,
                Err(error) => return Settled::Down(error),
            };
            let mut commit_sent = false;
            let failure = match run(&db, group, trail, &mut commit_sent).await {
                Ok(outcomes) => {
                    db.keep();
                    self.counters.count_commit(group.len());
                    return Settled::Answered(outcomes.into_iter().map(Ok).collect());
                }
                Err(failure) => failure,
            };
            clean_up(db, &failure).await;
            if matches!(failure, Failure::Refused(_)) {
                // Should an entry of others stand at our next place, that place is not met again.
                trail.begin_anew();
            }
            match failure {
                Failure::Lost(error) if commit_sent => {
                    return self.read_back(group, trail, &error).await;
                }
                Failure::Lost(error) if was_lost => return Settled::Down(error),
                // Most likely the server was restarted since the last transaction.
                Failure::Lost(error) => (was_lost, cause) = (true, error),
                Failure::Conflict(error) => cause = error,
                Failure::Refused(_) if group.len() > 1 => return Settled::Refused,
                Failure::Refused(error) | Failure::Busy(error) => {
                    return Settled::Answered(refuse(group, &error));
                }
            }
        }
        Settled::Answered(refuse(group, &cause))
    }

    /// A connection, tried for as often as time allows.
    async fn connect(&self) -> Result<Lease, StoreError> {
        let tries = async {
            let mut last = StoreError::Unavailable("no connection".to_owned());
            for pause in PAUSES_MILLIS {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                match Lease::take(&self.pool).await {
                    Ok(db) => return Ok(db),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let limit = CONNECT_LIMIT.as_secs();
        tokio::time::timeout(CONNECT_LIMIT, tries).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("no connection within {limit} s")))
        })
    }

    /// After a commit whose outcome is unknown.
    async fn read_back(
        &self,
        group: &[&Operation],
        trail: &mut Trail,
        cause: &StoreError,
    ) -> Settled {
        // Nobody knows how far the chain was stored: what is repeated begins another.
        trail.begin_anew();
        self.counters.count_read_back();
        tracing::warn!(%cause, operations = group.len(), "reading back what a commit did");
        match tokio::time::timeout(READ_BACK_LIMIT, self.find_out(group, trail)).await {
            Ok(Ok(outcomes)) => Settled::Answered(outcomes.into_iter().map(Ok).collect()),
            Ok(Err(error)) => {
                Settled::Down(StoreError::OutcomeUnknown(format!("{cause}; reading back: {error}")))
            }
            Err(_) => Settled::Down(StoreError::OutcomeUnknown(cause.to_string())),
        }
    }

    /// Asks what was committed and repeats the rest, once.
    async fn find_out(
        &self,
        group: &[&Operation],
        trail: &mut Trail,
    ) -> Result<Vec<Outcome>, StoreError> {
        let db = self.connect().await?;
        let mut outcomes = ask(&db, group).await?;
        let missing: Vec<usize> =
            (0..group.len()).filter(|&index| outcomes[index].is_none()).collect();
        if !missing.is_empty() {
            let repeated: Vec<&Operation> = missing.iter().map(|&index| group[index]).collect();
            let second =
                run(&db, &repeated, trail, &mut false).await.map_err(Failure::into_error)?;
            // The first try may have been committed in between: then the second was told no.
            let certain = ask(&db, &repeated).await?;
            for (index, (certain, second)) in
                missing.into_iter().zip(certain.into_iter().zip(second))
            {
                outcomes[index] = Some(certain.unwrap_or(second));
            }
        }
        db.keep();
        self.counters.count_commit(group.len());
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// What is known to have happened, all questions in one go.
async fn ask(db: &ClientWrapper, group: &[&Operation]) -> Result<Vec<Option<Outcome>>, StoreError> {
    let questions = try_join_all(group.iter().map(|operation| happened(db, operation)));
    within(STATEMENT_LIMIT, questions).await.map_err(Failure::into_error)
}

/// Leaves the connection without a transaction, or closes it.
async fn clean_up(db: Lease, failure: &Failure) {
    if !failure.spoils_connection()
        && within(STATEMENT_LIMIT, db.batch_execute("ROLLBACK")).await.is_ok()
    {
        db.keep();
    }
}

/// Runs a group as one transaction. `commit_sent` tells whether a failure may have come too late.
///
/// The trail moves on with a commit that is certain, and with no other.
async fn run(
    db: &ClientWrapper,
    group: &[&Operation],
    trail: &mut Trail,
    commit_sent: &mut bool,
) -> Result<Vec<Outcome>, Failure> {
    let mut notes = Notes::default();
    if group.iter().all(|operation| matches!(operation, Operation::AdvanceFamily(_))) {
        // A single statement is its own transaction: one round trip in all. It is in no trail.
        *commit_sent = true;
        return within(STATEMENT_LIMIT, perform_all(db, &mut notes, group)).await;
    }
    let statements = async {
        let begin = async { Ok::<_, Failure>(db.batch_execute("BEGIN").await?) };
        let ((), outcomes) = try_join!(begin, perform_all(db, &mut notes, group))?;
        Ok::<_, Failure>(outcomes)
    };
    let outcomes = within(STATEMENT_LIMIT, statements).await?;
    if !outcomes.iter().all(is_kept) {
        within(STATEMENT_LIMIT, db.batch_execute("ROLLBACK")).await?;
        return Ok(outcomes);
    }
    if notes.is_empty() {
        *commit_sent = true;
        within(STATEMENT_LIMIT, db.batch_execute("COMMIT")).await?;
        return Ok(outcomes);
    }
    let mut moved = trail.clone();
    let linked = moved.link(notes);
    let columns = Columns::of(&linked);
    let parameters = columns.parameters();
    let append = within(STATEMENT_LIMIT, db.prepare_cached(audit::APPEND)).await?;
    *commit_sent = true;
    // COMMIT is not sent along with other statements: it must not reach the server if one of them, for a
    // reason on our side, did not. This one is prepared: at the first poll it is sent or has failed, and
    // then nothing polls COMMIT. If it is the server that refuses it, COMMIT rolls back.
    let end = async { try_join!(db.execute(&append, &parameters), db.batch_execute("COMMIT")) };
    within(STATEMENT_LIMIT, end).await?;
    *trail = moved;
    trail.tell(&linked);
    Ok(outcomes)
}

/// Whether what the operation did so far stays. A refused account, link, name or client leaves no trace.
fn is_kept(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::CreateUser(outcome) => matches!(outcome, CreateUserOutcome::Created(_)),
        Outcome::LinkIdentity(outcome) => matches!(outcome, LinkOutcome::Linked(_)),
        Outcome::ChangeUsername(outcome) => {
            matches!(outcome, ChangeUsernameOutcome::Changed(_))
        }
        Outcome::RegisterClient(outcome) => *outcome == RegisterClientOutcome::Registered,
        _ => true,
    }
}

async fn perform_all(
    db: &ClientWrapper,
    notes: &mut Notes,
    group: &[&Operation],
) -> Result<Vec<Outcome>, Failure> {
    let mut together = Together::perform(db, group).await?;
    let mut outcomes = Vec::with_capacity(group.len());
    for operation in group {
        outcomes.push(perform(db, notes, operation, &mut together).await?);
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::model::{Actor, AuditEntry};
    use crate::store::operation::{AppendAudit, ResealKeys, Write};

    #[test]
    fn what_can_lose_against_others_follows_in_transactions_of_its_own() {
        let entry = || {
            AuditEntry::new(Timestamp::default(), Actor::System, "key.staged", "key:a".to_owned())
        };
        let shared = || AppendAudit(entry()).into_operation();
        let alone = || ResealKeys { sealed: Vec::new(), audit: entry() }.into_operation();
        let batch = [alone(), shared(), alone(), shared()];
        assert_eq!(transactions(&batch), [vec![1, 3], vec![0], vec![2]]);
        assert_eq!(transactions(&[alone()]), [vec![0]]);
    }
}
