//! The read side: a pool, and a limit for every step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use uuid::Uuid;

use super::connect::{describe_pool_error, query_first};
use super::failure::{Failure, within};
use super::{
    audit, clients, deliveries, grants, identities, names, people, revocations, signing_keys,
    token_families, users,
};
use crate::clock::Timestamp;
use crate::protocol::jwt::Algorithm;
use crate::store::error::StoreError;
use crate::store::model::{
    AppAccess, AuditPage, ChainHead, ChainedRow, Client, Consent, Email, FamilyId, FamilyWithUser,
    FormerUsername, GrantWithPerson, HeldUsername, Identity, Revocation, Session, StoredCheckpoint,
    StoredKey, User, UserId, UserList, UserPage,
};
use crate::store::{AuditRow, Counters, Load, ReadStore};
use crate::telemetry::traces::Part;

/// How long a statement may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(2);

/// Reads through a pool, each time with a single statement; pages of people and the last checkpoint take a few.
pub(super) struct Reader {
    pub(super) pool: Pool,
    pub(super) counters: Arc<Counters>,
}

impl Reader {
    async fn connection(&self) -> Result<Borrowed, StoreError> {
        self.counters.count_read();
        let part = Part::internal(|| "store read".into());
        let found = self.pool.get().await;
        let db = found.map_err(|error| StoreError::Unavailable(describe_pool_error(error)))?;
        Ok(Borrowed { db, _part: part })
    }
}

/// A connection for one read, and the read's place in a trace.
struct Borrowed {
    db: Object,
    _part: Part,
}

impl std::ops::Deref for Borrowed {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.db
    }
}

/// Puts the connection back, unless it is of no more use.
fn put_back<T>(db: Borrowed, answer: Result<T, Failure>) -> Result<T, StoreError> {
    answer.map_err(|failure| {
        if failure.spoils_connection() {
            drop(Object::take(db.db));
        }
        failure.into_error()
    })
}

async fn select_nothing(db: &ClientWrapper) -> Result<(), Failure> {
    query_first(db, "SELECT", &[]).await.map(drop)
}

/// The server's own time.
pub(super) async fn time(db: &ClientWrapper) -> Result<Timestamp, Failure> {
    const SQL: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
    match query_first(db, SQL, &[]).await? {
        Some(row) => Ok(Timestamp::from_millis(row.try_get("now")?)),
        None => Err(Failure::inconsistent("the server's clock gives no time")),
    }
}

#[async_trait]
impl ReadStore for Reader {
    fn load(&self) -> Load {
        let status = self.pool.status();
        let idle = status.available;
        Load { in_use: status.size.saturating_sub(idle), idle, waiting: status.waiting }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, select_nothing(&db)).await;
        put_back(db, answer)
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, time(&db)).await;
        put_back(db, answer)
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::by_id(&db, id)).await;
        put_back(db, answer)
    }

    async fn user_by_name(&self, username_key: &str) -> Result<Option<User>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::by_name(&db, username_key)).await;
        put_back(db, answer)
    }

    async fn username_is_free(
        &self,
        username_key: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::name_is_free(&db, username_key, now)).await;
        put_back(db, answer)
    }

    async fn verified_holders(&self, addresses: &[String]) -> Result<Vec<UserId>, StoreError> {
        let keys: Vec<String> =
            addresses.iter().map(|address| Email::comparison_key(address)).collect();
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, identities::verified_holders(&db, &keys)).await;
        put_back(db, answer)
    }

    async fn user_by_identity(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<User>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::by_identity(&db, provider, subject)).await;
        put_back(db, answer)
    }

    async fn identities(&self, user: UserId) -> Result<Vec<Identity>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, identities::of_user(&db, user)).await;
        put_back(db, answer)
    }

    async fn emails(&self, user: UserId) -> Result<Vec<Email>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, identities::emails_of_user(&db, user)).await;
        put_back(db, answer)
    }

    async fn family(&self, id: FamilyId) -> Result<Option<FamilyWithUser>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, token_families::by_id(&db, id)).await;
        put_back(db, answer)
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, token_families::sessions(&db, user)).await;
        put_back(db, answer)
    }

    async fn former_usernames(&self, user: UserId) -> Result<Vec<FormerUsername>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, names::former(&db, user)).await;
        put_back(db, answer)
    }

    async fn held_usernames(&self, user: UserId) -> Result<Vec<HeldUsername>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, names::held(&db, user)).await;
        put_back(db, answer)
    }

    async fn client(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, clients::by_id(&db, client_id)).await;
        put_back(db, answer)
    }

    async fn clients(&self, after: Option<&str>, limit: u32) -> Result<Vec<Client>, StoreError> {
        // No id is empty.
        let after = after.unwrap_or_default();
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, clients::page(&db, after, limit)).await;
        put_back(db, answer)
    }

    async fn client_algorithms(&self) -> Result<Vec<Algorithm>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, clients::algorithms(&db)).await;
        put_back(db, answer)
    }

    async fn consent(&self, user: UserId, client_id: &str) -> Result<Option<Consent>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, grants::consent(&db, user, client_id)).await;
        put_back(db, answer)
    }

    async fn apps(&self, user: UserId) -> Result<Vec<AppAccess>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, grants::apps(&db, user)).await;
        put_back(db, answer)
    }

    async fn grants_with_people(
        &self,
        ids: &[FamilyId],
    ) -> Result<Vec<GrantWithPerson>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, grants::with_people(&db, ids)).await;
        put_back(db, answer)
    }

    async fn has_due_deliveries(&self, now: Timestamp) -> Result<bool, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, deliveries::any_due(&db, now)).await;
        put_back(db, answer)
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, signing_keys::all(&db)).await;
        put_back(db, answer)
    }

    async fn revocations(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Revocation>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, revocations::since(&db, since, now)).await;
        put_back(db, answer)
    }

    async fn users(&self, page: &UserPage) -> Result<UserList, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, people::page(&db, page)).await;
        put_back(db, answer)
    }

    async fn audit(&self, page: &AuditPage) -> Result<Vec<AuditRow>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::page(&db, page)).await;
        put_back(db, answer)
    }

    async fn chain_heads(&self, since: Option<Timestamp>) -> Result<Vec<ChainHead>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::chain_heads(&db, since)).await;
        put_back(db, answer)
    }

    async fn chain(
        &self,
        chain: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ChainedRow>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::chain(&db, chain, after, limit)).await;
        put_back(db, answer)
    }

    async fn unchained(&self, limit: u32) -> Result<Vec<ChainedRow>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::unchained(&db, limit)).await;
        put_back(db, answer)
    }

    async fn last_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::last_checkpoint(&db)).await;
        put_back(db, answer)
    }

    async fn audit_about(
        &self,
        user: UserId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, audit::about(&db, user, before, limit)).await;
        put_back(db, answer)
    }

    async fn avatars_in_use(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::avatars_in_use(&db, names)).await;
        put_back(db, answer)
    }

    async fn user_count(&self) -> Result<u64, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, users::count(&db)).await;
        put_back(db, answer)
    }

    async fn live_families(&self) -> Result<Vec<(FamilyId, u64)>, StoreError> {
        let db = self.connection().await?;
        let answer = within(STATEMENT_LIMIT, token_families::live(&db)).await;
        put_back(db, answer)
    }
}
