//! The read side: a few threads with a read-only connection each. Readers do not wait for the
//! writer, nor the writer for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use uuid::Uuid;

use super::worker::{Worker, job, lost};
use super::{
    audit, clients, connection, deliveries, grants, identities, names, people, revocations,
    signing_keys, token_families, users,
};
use crate::clock::{Clock, Timestamp};
use crate::protocol::jwt::Algorithm;
use crate::store::error::{OpenError, StoreError};
use crate::store::model::{
    AppAccess, AuditPage, ChainHead, ChainedRow, Client, Consent, Email, FamilyId, FamilyWithUser,
    FormerUsername, GrantWithPerson, HeldUsername, Identity, Revocation, Session, StoredCheckpoint,
    StoredKey, User, UserId, UserList, UserPage,
};
use crate::store::{AuditRow, Counters, Load, ReadStore};
use crate::telemetry::traces::Part;

/// More threads than this only take memory: a read is a few microseconds.
const MOST_THREADS: usize = 4;

/// How many reads may wait for one thread.
const WAITING: usize = 256;

/// How long a read may take, waiting included.
const DEADLINE: Duration = Duration::from_secs(2);

/// The read side.
pub(super) struct Readers {
    workers: Vec<Worker>,
    next: AtomicUsize,
    /// Reads that wait or are being done.
    in_use: AtomicUsize,
    counters: Arc<Counters>,
}

/// One read, until it is answered or given up.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn begin(in_use: &'a AtomicUsize) -> Self {
        in_use.fetch_add(1, Ordering::Relaxed);
        Self(in_use)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Readers {
    /// Opens at most `connections` connections, in a thread each.
    pub(super) async fn open(
        path: &Path,
        connections: usize,
        counters: Arc<Counters>,
    ) -> Result<Self, OpenError> {
        let mut workers = Vec::new();
        for number in 1..=connections.clamp(1, MOST_THREADS) {
            let path = path.to_owned();
            let open = move || connection::open_for_reading(&path);
            workers.push(Worker::start(&format!("sqlite-read-{number}"), WAITING, open).await?);
        }
        Ok(Self { workers, next: AtomicUsize::new(0), in_use: AtomicUsize::new(0), counters })
    }

    /// Asks the next thread that has room.
    async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.counters.count_read();
        let _part = Part::internal(|| "store read".into());
        let _busy = Busy::begin(&self.in_use);
        let (mut job, answer) = job(read);
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let (later, earlier) = self.workers.split_at(first);
        for worker in earlier.iter().chain(later) {
            match worker.try_run(job) {
                Ok(()) => {
                    return match tokio::time::timeout(DEADLINE, answer).await {
                        Ok(answered) => answered.unwrap_or_else(|_| Err(lost())),
                        Err(_) => Err(unavailable("no answer within 2 s")),
                    };
                }
                Err(refused) => job = refused,
            }
        }
        Err(unavailable("too many reads are waiting"))
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

#[async_trait]
impl ReadStore for Readers {
    fn load(&self) -> Load {
        let (reads, threads) = (self.in_use.load(Ordering::Relaxed), self.workers.len());
        let in_use = reads.min(threads);
        Load { in_use, idle: threads - in_use, waiting: reads - in_use }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // The schema's version is in the file's header: unlike a constant, it must be read.
        self.ask(
            |connection| Ok(connection.pragma_query_value(None, "schema_version", |_| Ok(()))?),
        )
        .await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(Clock::system_time())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.ask(move |connection| users::find(connection, id)).await
    }

    async fn user_by_name(&self, username_key: &str) -> Result<Option<User>, StoreError> {
        let key = username_key.to_owned();
        self.ask(move |connection| users::find_by_name(connection, &key)).await
    }

    async fn username_is_free(
        &self,
        username_key: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = username_key.to_owned();
        self.ask(move |connection| users::name_is_free(connection, &key, now)).await
    }

    async fn verified_holders(&self, addresses: &[String]) -> Result<Vec<UserId>, StoreError> {
        let keys: Vec<String> =
            addresses.iter().map(|address| Email::comparison_key(address)).collect();
        self.ask(move |connection| identities::verified_holders(connection, &keys)).await
    }

    async fn user_by_identity(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<User>, StoreError> {
        let (provider, subject) = (provider.to_owned(), subject.to_owned());
        self.ask(move |connection| users::find_by_identity(connection, &provider, &subject)).await
    }

    async fn identities(&self, user: UserId) -> Result<Vec<Identity>, StoreError> {
        self.ask(move |connection| identities::of_user(connection, user)).await
    }

    async fn emails(&self, user: UserId) -> Result<Vec<Email>, StoreError> {
        let identities = self.identities(user).await?;
        Ok(identities.into_iter().flat_map(|identity| identity.emails).collect())
    }

    async fn family(&self, id: FamilyId) -> Result<Option<FamilyWithUser>, StoreError> {
        self.ask(move |connection| token_families::find(connection, id)).await
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        self.ask(move |connection| token_families::sessions(connection, user)).await
    }

    async fn former_usernames(&self, user: UserId) -> Result<Vec<FormerUsername>, StoreError> {
        self.ask(move |connection| names::former(connection, user)).await
    }

    async fn held_usernames(&self, user: UserId) -> Result<Vec<HeldUsername>, StoreError> {
        self.ask(move |connection| names::held(connection, user)).await
    }

    async fn client(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        let id = client_id.to_owned();
        self.ask(move |connection| clients::find(connection, &id)).await
    }

    async fn clients(&self, after: Option<&str>, limit: u32) -> Result<Vec<Client>, StoreError> {
        // No id is empty.
        let after = after.unwrap_or_default().to_owned();
        self.ask(move |connection| clients::page(connection, &after, limit)).await
    }

    async fn client_algorithms(&self) -> Result<Vec<Algorithm>, StoreError> {
        self.ask(clients::algorithms).await
    }

    async fn consent(&self, user: UserId, client_id: &str) -> Result<Option<Consent>, StoreError> {
        let id = client_id.to_owned();
        self.ask(move |connection| grants::consent(connection, user, &id)).await
    }

    async fn apps(&self, user: UserId) -> Result<Vec<AppAccess>, StoreError> {
        self.ask(move |connection| grants::apps(connection, user)).await
    }

    async fn grants_with_people(
        &self,
        ids: &[FamilyId],
    ) -> Result<Vec<GrantWithPerson>, StoreError> {
        let ids = ids.to_vec();
        self.ask(move |connection| grants::with_people(connection, &ids)).await
    }

    async fn has_due_deliveries(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.ask(move |connection| deliveries::any_due(connection, now)).await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.ask(signing_keys::all).await
    }

    async fn revocations(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Revocation>, StoreError> {
        self.ask(move |connection| revocations::since(connection, since, now)).await
    }

    async fn users(&self, page: &UserPage) -> Result<UserList, StoreError> {
        let page = page.clone();
        self.ask(move |connection| people::page(connection, &page)).await
    }

    async fn audit(&self, page: &AuditPage) -> Result<Vec<AuditRow>, StoreError> {
        let page = page.clone();
        self.ask(move |connection| audit::page(connection, &page)).await
    }

    async fn chain_heads(&self, since: Option<Timestamp>) -> Result<Vec<ChainHead>, StoreError> {
        self.ask(move |connection| audit::chain_heads(connection, since)).await
    }

    async fn chain(
        &self,
        chain: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ChainedRow>, StoreError> {
        self.ask(move |connection| audit::chain(connection, chain, after, limit)).await
    }

    async fn unchained(&self, limit: u32) -> Result<Vec<ChainedRow>, StoreError> {
        self.ask(move |connection| audit::unchained(connection, limit)).await
    }

    async fn last_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        self.ask(audit::last_checkpoint).await
    }

    async fn audit_about(
        &self,
        user: UserId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.ask(move |connection| audit::about(connection, user, before, limit)).await
    }

    async fn avatars_in_use(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let names = names.to_vec();
        self.ask(move |connection| users::avatars_in_use(connection, &names)).await
    }

    async fn user_count(&self) -> Result<u64, StoreError> {
        self.ask(users::count).await
    }

    async fn live_families(&self) -> Result<Vec<(FamilyId, u64)>, StoreError> {
        self.ask(token_families::live).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    async fn one_reader() -> (tempfile::TempDir, Readers) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        drop(connection::open_for_writing(&path).unwrap());
        let readers = Readers::open(&path, 1, Arc::default()).await.unwrap();
        (folder, readers)
    }

    /// Keeps the one thread busy until the sender is used.
    async fn keep_busy(readers: &Readers) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel();
        let (started, has_started) = oneshot::channel();
        let blocking = Box::new(move |_: &Connection| {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        assert!(readers.workers[0].try_run(blocking).is_ok());
        has_started.await.unwrap();
        release
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_does_not_wait_for_ever() {
        let (_folder, readers) = one_reader().await;
        let release = keep_busy(&readers).await;
        let answer = readers.ping().await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        release.send(()).unwrap();
    }

    #[tokio::test]
    async fn more_reads_than_may_wait_are_refused_at_once() {
        let (_folder, readers) = one_reader().await;
        let release = keep_busy(&readers).await;
        for _ in 0..WAITING {
            assert!(readers.workers[0].try_run(Box::new(|_| ())).is_ok());
        }
        let refused = readers.ping().await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        release.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_panic_costs_one_read() {
        let (_folder, readers) = one_reader().await;
        let lost = readers.ask(|_| -> Result<(), StoreError> { panic!("on purpose") }).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
        readers.ping().await.unwrap();
    }
}
