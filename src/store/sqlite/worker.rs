//! A thread that owns one connection. SQLite blocks, so it never runs where requests are served.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::error::{OpenError, StoreError};

/// Something to do with the connection.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A handle on the thread; the thread ends with its last handle.
pub(super) struct Worker {
    jobs: SyncSender<Job>,
}

impl Worker {
    /// Starts the thread, which opens its connection, and again after a panic.
    ///
    /// At most `waiting` jobs wait for it.
    pub(super) async fn start<F>(name: &str, waiting: usize, open: F) -> Result<Self, OpenError>
    where
        F: Fn() -> Result<Connection, OpenError> + Send + 'static,
    {
        let (jobs, received) = sync_channel(waiting);
        let (opened, is_open) = oneshot::channel();
        let run = move || match open() {
            Ok(connection) => {
                // A caller who has gone drops the other end of `jobs`, too.
                let _ = opened.send(Ok(()));
                serve(&received, connection, open);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
            OpenError::Unreachable(format!("no thread can be started: {error}"))
        })?;
        is_open
            .await
            .map_err(|_| OpenError::Unreachable("the database thread stopped".to_owned()))??;
        Ok(Self { jobs })
    }

    /// Hands over a job, or hands it back if too many are waiting.
    pub(super) fn try_run(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

/// Makes a job of a function, and a receiver of its answer.
///
/// A job that panics, or that a stopped thread never gets to, drops its end of the channel: nobody
/// waits in vain.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> T + Send + 'static,
) -> (Job, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move |connection: &Connection| {
        if !reply.is_closed() {
            // The caller may go while the work is done: then nobody wants the answer.
            let _ = reply.send(work(connection));
        }
    });
    (job, answer)
}

/// What a caller hears whose job panicked or was never reached.
pub(super) fn lost() -> StoreError {
    StoreError::Unavailable("the database thread lost this request".to_owned())
}

fn serve(
    jobs: &Receiver<Job>,
    mut connection: Connection,
    open: impl Fn() -> Result<Connection, OpenError>,
) {
    while let Ok(job) = jobs.recv() {
        // Sound, since what the job left of the connection is rolled back and replaced.
        if catch_unwind(AssertUnwindSafe(|| job(&connection))).is_err() {
            tracing::error!("a job of the database thread panicked; its connection is opened anew");
            roll_back(&connection);
            match open() {
                Ok(fresh) => connection = fresh,
                Err(error) => tracing::warn!(%error, "the old connection stays in use"),
            }
        }
    }
}

/// Ends a transaction that was left open.
pub(super) fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "a transaction could not be rolled back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Error;

    async fn worker(waiting: usize) -> (tempfile::TempDir, Worker) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        let open = move || super::super::connection::open_for_writing(&path);
        let worker = Worker::start("test", waiting, open).await.unwrap();
        (folder, worker)
    }

    async fn ask<T: Send + 'static>(
        worker: &Worker,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = job(work);
        worker.try_run(job).map_err(|_| lost())?;
        answer.await.map_err(|_| lost())
    }

    #[tokio::test]
    async fn a_panic_costs_one_job_and_leaves_no_transaction_open() {
        let (_folder, worker) = worker(8).await;
        let lost = ask(&worker, |connection: &Connection| {
            connection
                .execute_batch("CREATE TABLE kept (n); BEGIN IMMEDIATE; CREATE TABLE lost (n)")
                .unwrap();
            if connection.is_busy() { Ok(()) } else { panic!("on purpose") }
        });
        assert!(matches!(lost.await, Err::<Result<(), Error>, _>(StoreError::Unavailable(_))));

        let tables = ask(&worker, |connection: &Connection| {
            assert!(connection.is_autocommit());
            connection.query_row("SELECT group_concat(name) FROM sqlite_schema", [], |row| {
                row.get::<_, String>(0)
            })
        });
        assert_eq!(tables.await.unwrap().unwrap(), "kept");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (_folder, worker) = worker(1).await;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let (blocking, done) = job(move |_: &Connection| {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        assert!(worker.try_run(blocking).is_ok());
        has_started.await.unwrap();

        let (waits, waited) = job(|_: &Connection| 1);
        assert!(worker.try_run(waits).is_ok());
        let (refused, _) = job(|_: &Connection| 2);
        assert!(worker.try_run(refused).is_err());

        release.send(()).unwrap();
        done.await.unwrap();
        assert_eq!(waited.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_done() {
        let (_folder, worker) = worker(8).await;
        let (abandoned, answer) = job(|connection: &Connection| {
            connection.execute_batch("CREATE TABLE abandoned (n)").unwrap();
        });
        drop(answer);
        assert!(worker.try_run(abandoned).is_ok());
        let tables = ask(&worker, |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        });
        assert_eq!(tables.await.unwrap(), Ok(0));
    }
}
