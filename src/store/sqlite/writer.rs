//! The write side: one thread, one connection, one transaction at a time.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;

use super::worker::{Worker, job, lost, roll_back};
use super::{audit, connection, expired, sign_in, signing_keys, token_families};
use crate::store::error::{OpenError, StoreError};
use crate::store::operation::{Operation, Outcome};
use crate::store::{Counters, WriteStore};

/// How many transactions may wait; `DbWriter` hands over one batch at a time.
const WAITING: usize = 64;

type Answer = Result<Outcome, StoreError>;

/// The write side.
pub(super) struct Writer {
    worker: Worker,
    counters: Arc<Counters>,
}

impl Writer {
    /// Opens the file for writing, in a thread of its own.
    pub(super) async fn open(path: &Path, counters: Arc<Counters>) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let open = move || connection::open_for_writing(&path);
        Ok(Self { worker: Worker::start("sqlite-writer", WAITING, open).await?, counters })
    }

    /// Applies operations in one transaction; one answer for each.
    async fn transaction(&self, operations: Vec<Operation>) -> Vec<Answer> {
        let count = operations.len();
        if count == 0 {
            return Vec::new();
        }
        let counters = Arc::clone(&self.counters);
        let (job, answers) = job(move |connection| transact(connection, &operations, &counters));
        if self.worker.try_run(job).is_err() {
            let error = StoreError::Unavailable("too many writes are waiting".to_owned());
            return vec![Err(error); count];
        }
        answers.await.unwrap_or_else(|_| vec![Err(lost()); count])
    }
}

#[async_trait]
impl WriteStore for Writer {
    async fn apply(&self, batch: Vec<Operation>) -> Vec<Answer> {
        let order: Vec<bool> = batch.iter().map(Operation::runs_alone).collect();
        let (alone, shared): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(Operation::runs_alone);
        let mut shared = self.transaction(shared).await.into_iter();
        let mut single = Vec::new();
        for operation in alone {
            single.extend(self.transaction(vec![operation]).await);
        }
        let mut single = single.into_iter();
        let in_order = order.into_iter().map(|runs_alone| {
            let answer = if runs_alone { single.next() } else { shared.next() };
            answer.unwrap_or_else(|| Err(lost()))
        });
        in_order.collect()
    }
}

/// One transaction. It takes the write lock at its start: what it reads is what it changes.
fn transact(connection: &Connection, operations: &[Operation], counters: &Counters) -> Vec<Answer> {
    let committed = execute(connection, "BEGIN IMMEDIATE").and_then(|()| {
        let answers = apply_each(connection, operations)?;
        execute(connection, "COMMIT")?;
        Ok(answers)
    });
    match committed {
        Ok(answers) => {
            counters.count_commit(answers.iter().filter(|answer| answer.is_ok()).count());
            answers
        }
        Err(error) => {
            roll_back(connection);
            vec![Err(error); operations.len()]
        }
    }
}

/// Applies each operation; one that fails leaves the others as they are.
fn apply_each(
    connection: &Connection,
    operations: &[Operation],
) -> Result<Vec<Answer>, StoreError> {
    let mut answers = Vec::with_capacity(operations.len());
    for operation in operations {
        execute(connection, "SAVEPOINT operation")?;
        let answer = apply(connection, operation);
        if let Err(error) = &answer {
            if connection.is_autocommit() {
                // A full disk and the like end the whole transaction, not just a savepoint.
                return Err(error.clone());
            }
            execute(connection, "ROLLBACK TO operation")?;
        }
        execute(connection, "RELEASE operation")?;
        answers.push(answer);
    }
    Ok(answers)
}

fn execute(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

fn apply(connection: &Connection, operation: &Operation) -> Answer {
    use Operation as O;
    Ok(match operation {
        O::AdvanceFamily(advance) => {
            Outcome::AdvanceFamily(token_families::advance(connection, advance)?)
        }
        O::SignIn(request) => Outcome::SignIn(sign_in::sign_in(connection, request)?),
        O::CreateUser(request) => Outcome::CreateUser(sign_in::create_user(connection, request)?),
        O::Revoke(revoke) => Outcome::Revoke(token_families::revoke(connection, revoke)?),
        O::StageKey(staging) => Outcome::StageKey(signing_keys::stage(connection, staging)?),
        O::ActivateKey(activation) => {
            Outcome::ActivateKey(signing_keys::activate(connection, activation)?)
        }
        O::RetireKey(retirement) => {
            Outcome::RetireKey(signing_keys::retire(connection, retirement)?)
        }
        O::ResealKeys(resealing) => {
            Outcome::ResealKeys(signing_keys::reseal(connection, resealing)?)
        }
        O::AppendAudit(append) => {
            audit::append(connection, &append.0)?;
            Outcome::AppendAudit
        }
        O::RemoveExpired(remove) => Outcome::RemoveExpired(expired::remove(connection, remove)?),
    })
}
