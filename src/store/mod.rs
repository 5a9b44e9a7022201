//! The store: SQL and nothing else. Two backends behind one interface.
//!
//! It is split in three. The write side ([`WriteStore`]) applies batches and is used by the
//! `DbWriter` actor alone; the read side ([`ReadStore`]) is pooled and may be asked by anybody; the third
//! ([`ChangeFeed`]) tells the `ChangeListener` actor what others changed.
//! `tests/it/store_contract.rs` holds both backends to what is said here.

#[cfg(test)]
pub(crate) mod double;
pub mod error;
pub mod model;
pub mod operation;
pub mod postgres;
pub mod sqlite;
pub mod trail;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::config::settings::{Store as StoreSettings, StoreUrl};
use crate::protocol::jwt::Algorithm;
use error::{OpenError, StoreError};
use model::{
    AppAccess, AuditEntry, AuditPage, ChainHead, ChainedRow, Client, Consent, Email, FamilyId,
    FamilyWithUser, FormerUsername, GrantWithPerson, HeldUsername, Identity, Revocation, Session,
    StoredCheckpoint, StoredKey, User, UserId, UserList, UserPage,
};
use operation::{Operation, Outcome};
use trail::Trail;

/// The write side: used by `DbWriter` alone.
#[async_trait]
pub trait WriteStore: Send + Sync {
    /// Applies a batch and answers after the commit, one result for each operation, in order.
    ///
    /// Operations that do not run alone share one transaction; if one of them fails, it fails
    /// alone: the others are applied all the same. Operations that run alone
    /// ([`Operation::runs_alone`]) follow, each in its own transaction. The batch holds each
    /// family at most once among its [`operation::AdvanceFamily`].
    ///
    /// # Errors
    /// Per operation. [`StoreError::OutcomeUnknown`] only where reading back could not tell either.
    ///
    /// The entries of the audit trail go on where `trail` stands, which then stands behind them.
    async fn apply(
        &self,
        batch: Vec<Operation>,
        trail: &mut Trail,
    ) -> Vec<Result<Outcome, StoreError>>;
}

/// The read side: pooled, shared by all.
#[async_trait]
pub trait ReadStore: Send + Sync {
    /// How busy its connections are; not at all, where there are none.
    fn load(&self) -> Load {
        Load::default()
    }

    /// Asks the database for a sign of life.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The database's own time; SQLite has none and answers with the machine's.
    async fn time(&self) -> Result<Timestamp, StoreError>;

    /// A person by id, tombstones included.
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// A person by the comparison key of their name; no tombstones.
    async fn user_by_name(&self, username_key: &str) -> Result<Option<User>, StoreError>;

    /// Whether nobody has the name of this comparison key and nobody's former name holds it.
    async fn username_is_free(
        &self,
        username_key: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whom an identity signs in.
    async fn user_by_identity(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<User>, StoreError>;

    /// Who holds one of these addresses as a verified one, whatever its case; locked people included.
    /// At most two: more than one is nobody in particular.
    async fn verified_holders(&self, addresses: &[String]) -> Result<Vec<UserId>, StoreError>;

    /// A person's identities, oldest first, with their addresses.
    async fn identities(&self, user: UserId) -> Result<Vec<Identity>, StoreError>;

    /// A person's addresses from all providers, oldest identity first.
    async fn emails(&self, user: UserId) -> Result<Vec<Email>, StoreError>;

    /// A family, revoked or not, with its person.
    async fn family(&self, id: FamilyId) -> Result<Option<FamilyWithUser>, StoreError>;

    /// A person's sessions, the newest use first; with those that have ended or run out of time, as
    /// long as they are kept.
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError>;

    /// The usernames that a person had before the present one, oldest first.
    async fn former_usernames(&self, user: UserId) -> Result<Vec<FormerUsername>, StoreError>;

    /// The names that are held for a person.
    async fn held_usernames(&self, user: UserId) -> Result<Vec<HeldUsername>, StoreError>;

    /// A client by its id.
    async fn client(&self, client_id: &str) -> Result<Option<Client>, StoreError>;

    /// Clients in the order of their ids, those after `after`, at most `limit`.
    async fn clients(&self, after: Option<&str>, limit: u32) -> Result<Vec<Client>, StoreError>;

    /// What ID tokens of any client are signed with.
    async fn client_algorithms(&self) -> Result<Vec<Algorithm>, StoreError>;

    /// What a person allowed a client.
    async fn consent(&self, user: UserId, client_id: &str) -> Result<Option<Consent>, StoreError>;

    /// The clients that have access to a person's account, by their names.
    async fn apps(&self, user: UserId) -> Result<Vec<AppAccess>, StoreError>;

    /// Those of these families that there are, revoked or not, each with its person and their addresses as they are
    /// at one moment.
    async fn grants_with_people(
        &self,
        ids: &[FamilyId],
    ) -> Result<Vec<GrantWithPerson>, StoreError>;

    /// Whether a delivery is due at `now`.
    async fn has_due_deliveries(&self, now: Timestamp) -> Result<bool, StoreError>;

    /// Every signing key, oldest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Revocations that were stored at or after `since` and are in force at `now`.
    async fn revocations(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Revocation>, StoreError>;

    /// People, a page of them, in an order in which those who come or go move nobody else: the newest
    /// first; where something is searched for, those whose username matches first, by it, then those whose
    /// display name, then those whose verified address does. Everybody is there once.
    async fn users(&self, page: &UserPage) -> Result<UserList, StoreError>;

    /// Audit entries, a page of them, the newest first.
    async fn audit(&self, page: &AuditPage) -> Result<Vec<AuditRow>, StoreError>;

    /// The last entry of each chain of the audit trail that began at or after `since`.
    async fn chain_heads(&self, since: Option<Timestamp>) -> Result<Vec<ChainHead>, StoreError>;

    /// The chain's entries after the position `after`, in their order, at most `limit`.
    async fn chain(
        &self,
        chain: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ChainedRow>, StoreError>;

    /// Audit entries that are in no chain, in the order of their ids: there are none, unless somebody else
    /// than Latchkey wrote them.
    async fn unchained(&self, limit: u32) -> Result<Vec<ChainedRow>, StoreError>;

    /// The last signed statement about the audit trail.
    async fn last_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError>;

    /// The audit entries on what a person did or was done to them, newest first, at most `limit`, of
    /// those before the entry `before`.
    async fn audit_about(
        &self,
        user: UserId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError>;

    /// Which of these avatars somebody has. Walks over all people: for the rare sweep alone.
    async fn avatars_in_use(&self, names: &[String]) -> Result<Vec<String>, StoreError>;

    /// How many people there are (tombstones apart): for the start message and /metrics.
    async fn user_count(&self) -> Result<u64, StoreError>;

    /// Every family's id and generation that is not revoked: for the durability tests and bench.
    async fn live_families(&self) -> Result<Vec<(FamilyId, u64)>, StoreError>;
}

/// What servers keep in memory and somebody changed in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A client was registered, changed or removed.
    Clients,
    /// A signing key was.
    Keys,
    /// Something was revoked.
    Revocations,
    /// It is not known what.
    Anything,
}

/// Where news of changes comes from: used by `ChangeListener` alone.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Begins to listen: whatever is committed by others after this has answered is told, whoever they
    /// are, within half a second. What this process changes itself may be told, and is of clients.
    ///
    /// # Errors
    /// [`StoreError`] if the database does not answer.
    async fn listen(&self) -> Result<Box<dyn Changes>, StoreError>;
}

/// A link over which changes are told.
#[async_trait]
pub trait Changes: Send {
    /// The next change; `None`, after a second at the latest, says that there was none and that the
    /// database was heard.
    ///
    /// # Errors
    /// [`StoreError`] if the link is lost, within two seconds. Changes may have been missed then: listen
    /// again, and take everything for changed.
    async fn next(&mut self) -> Result<Option<Change>, StoreError>;
}

/// An audit entry as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// UUIDv7.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who: `user:…`, `cli`, `system` or `anonymous`.
    pub actor: String,
    /// What.
    pub action: String,
    /// Whom.
    pub target: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Where from, while it is kept.
    pub address: Option<String>,
    /// Further facts.
    pub details: serde_json::Value,
    /// Personal values, while they are kept; `null` if there are none.
    pub personal: serde_json::Value,
}

impl AuditRow {
    /// Puts the parts of an entry apart as they are stored: the details, and what is personal, if anything
    /// is: `{"address", "personal"}`.
    pub fn split(entry: &AuditEntry) -> (serde_json::Value, Option<serde_json::Value>) {
        let mut details = entry.details.clone();
        let personal = details.as_object_mut().and_then(|members| members.remove("personal"));
        let is_personal = entry.address.is_some() || personal.is_some();
        let personal = is_personal
            .then(|| serde_json::json!({ "address": entry.address, "personal": personal }));
        (details, personal)
    }
}

/// How busy the connections for reads are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections at work.
    pub in_use: usize,
    /// Connections without work.
    pub idle: usize,
    /// Reads that wait for a connection.
    pub waiting: usize,
}

/// What the store counts of itself; shared by its two sides, shown in /metrics.
#[derive(Debug, Default)]
pub struct Counters {
    reads: AtomicU64,
    commits: AtomicU64,
    writes: AtomicU64,
    retried_alone: AtomicU64,
    read_back: AtomicU64,
}

impl Counters {
    /// One read was asked for.
    pub fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// One transaction with `writes` operations committed.
    pub fn count_commit(&self, writes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
    }

    /// A batch failed and its operations were tried one by one.
    pub fn count_retried_alone(&self) {
        self.retried_alone.fetch_add(1, Ordering::Relaxed);
    }

    /// A commit's outcome was unknown and was read back.
    pub fn count_read_back(&self) {
        self.read_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads asked for so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Operations committed so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Batches that were tried one by one so far.
    pub fn retried_alone(&self) -> u64 {
        self.retried_alone.load(Ordering::Relaxed)
    }

    /// Commits that were read back so far.
    pub fn read_back(&self) -> u64 {
        self.read_back.load(Ordering::Relaxed)
    }
}

/// An open store.
#[derive(Clone)]
pub struct Store {
    /// For anybody.
    pub read: Arc<dyn ReadStore>,
    /// For `DbWriter` alone.
    pub write: Arc<dyn WriteStore>,
    /// For `ChangeListener` alone.
    pub changes: Arc<dyn ChangeFeed>,
    /// What reads and writes count.
    pub counters: Arc<Counters>,
    /// "SQLite" or "PostgreSQL": for messages.
    pub kind: &'static str,
}

/// Where the schema stands, for `latchkey migrate --status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Number of the migration.
    pub version: u32,
    /// Its name, as in `migrations/*/V{version}__{name}.sql`.
    pub name: String,
    /// When it was applied, RFC 3339; `None` if it is pending.
    pub applied_on: Option<String>,
}

/// Opens the store, without looking at its schema's version.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn open(settings: &StoreSettings, clock: &Clock) -> Result<Store, OpenError> {
    match &settings.url {
        StoreUrl::Sqlite(path) => sqlite::open(path, settings.max_connections).await,
        StoreUrl::Postgres(url) => postgres::open(url, settings, clock).await,
    }
}

/// Applies the migrations that are missing and returns them. Safe to call from several processes
/// at once. A newer schema that says it works with this binary is left alone.
///
/// # Errors
/// [`OpenError`].
pub async fn migrate(settings: &StoreSettings) -> Result<Vec<MigrationStatus>, OpenError> {
    match &settings.url {
        StoreUrl::Sqlite(path) => sqlite::migrate(path).await,
        StoreUrl::Postgres(url) => postgres::migrate(url, settings).await,
    }
}

/// Lists all known migrations and whether they are applied; changes nothing.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn migration_status(settings: &StoreSettings) -> Result<Vec<MigrationStatus>, OpenError> {
    match &settings.url {
        StoreUrl::Sqlite(path) => sqlite::migration_status(path).await,
        StoreUrl::Postgres(url) => postgres::migration_status(url, settings).await,
    }
}

/// Checks that the schema fits this binary; changes nothing.
///
/// # Errors
/// [`OpenError::Outdated`] if migrations are missing, [`OpenError::TooNew`] if the schema is newer
/// and records that it needs a newer binary.
pub async fn check_schema(settings: &StoreSettings) -> Result<(), OpenError> {
    match &settings.url {
        StoreUrl::Sqlite(path) => sqlite::check_schema(path).await,
        StoreUrl::Postgres(url) => postgres::check_schema(url, settings).await,
    }
}
