//! A read side that answers as a unit test says. Only what actors ask on their own is there; real
//! stores are asked in `tests/it`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::error::StoreError;
use super::model::{
    AppAccess, AuditPage, ChainHead, ChainedRow, Client, Consent, Email, FamilyId, FamilyWithUser,
    FormerUsername, GrantWithPerson, HeldUsername, Identity, Revocation, Session, StoredCheckpoint,
    StoredKey, User, UserId, UserList, UserPage,
};
use super::{AuditRow, ReadStore};
use crate::clock::Timestamp;
use crate::protocol::jwt::Algorithm;

/// Answers with what the test last put in; `None` is a store that does not answer.
pub(crate) struct ScriptedReads {
    revocations: watch::Receiver<Option<Vec<Revocation>>>,
    /// While this is true, revocations that were read are not handed over.
    is_held: watch::Receiver<bool>,
    grants: mpsc::UnboundedSender<AskedForGrants>,
    asked: Arc<Asked>,
}

/// The grants of a statement, and what is answered.
pub(crate) type AskedForGrants =
    (Vec<FamilyId>, oneshot::Sender<Result<Vec<GrantWithPerson>, StoreError>>);

/// How often was read what actors keep.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) clients: AtomicU64,
    pub(crate) keys: AtomicU64,
    pub(crate) revocations: AtomicU64,
}

/// The test's end.
pub(crate) struct Script {
    pub(crate) revocations: watch::Sender<Option<Vec<Revocation>>>,
    pub(crate) is_held: watch::Sender<bool>,
    pub(crate) grants: mpsc::UnboundedReceiver<AskedForGrants>,
    pub(crate) asked: Arc<Asked>,
}

impl ScriptedReads {
    /// A store with these revocations, no keys and no clients.
    pub(crate) fn new(stored: Option<Vec<Revocation>>) -> (Self, Script) {
        let (sender, revocations) = watch::channel(stored);
        let (hold, is_held) = watch::channel(false);
        let (grants, asked_for) = mpsc::unbounded_channel();
        let asked: Arc<Asked> = Arc::default();
        let script = Script {
            revocations: sender,
            is_held: hold,
            grants: asked_for,
            asked: Arc::clone(&asked),
        };
        (Self { revocations, is_held, grants, asked }, script)
    }
}

fn silent<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("scripted".to_owned()))
}

#[async_trait]
impl ReadStore for ScriptedReads {
    async fn ping(&self) -> Result<(), StoreError> {
        silent()
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        silent()
    }
    async fn user(&self, _: UserId) -> Result<Option<User>, StoreError> {
        silent()
    }
    async fn user_by_name(&self, _: &str) -> Result<Option<User>, StoreError> {
        silent()
    }
    async fn username_is_free(&self, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        silent()
    }
    async fn verified_holders(&self, _: &[String]) -> Result<Vec<UserId>, StoreError> {
        silent()
    }
    async fn user_by_identity(&self, _: &str, _: &str) -> Result<Option<User>, StoreError> {
        silent()
    }
    async fn identities(&self, _: UserId) -> Result<Vec<Identity>, StoreError> {
        silent()
    }
    async fn emails(&self, _: UserId) -> Result<Vec<Email>, StoreError> {
        silent()
    }
    async fn family(&self, _: FamilyId) -> Result<Option<FamilyWithUser>, StoreError> {
        silent()
    }
    async fn sessions(&self, _: UserId) -> Result<Vec<Session>, StoreError> {
        silent()
    }
    async fn former_usernames(&self, _: UserId) -> Result<Vec<FormerUsername>, StoreError> {
        silent()
    }
    async fn held_usernames(&self, _: UserId) -> Result<Vec<HeldUsername>, StoreError> {
        silent()
    }
    async fn client(&self, _: &str) -> Result<Option<Client>, StoreError> {
        self.asked.clients.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }
    async fn clients(&self, _: Option<&str>, _: u32) -> Result<Vec<Client>, StoreError> {
        silent()
    }
    async fn client_algorithms(&self) -> Result<Vec<Algorithm>, StoreError> {
        Ok(Vec::new())
    }
    async fn consent(&self, _: UserId, _: &str) -> Result<Option<Consent>, StoreError> {
        silent()
    }
    async fn apps(&self, _: UserId) -> Result<Vec<AppAccess>, StoreError> {
        silent()
    }
    async fn grants_with_people(
        &self,
        ids: &[FamilyId],
    ) -> Result<Vec<GrantWithPerson>, StoreError> {
        let (reply, answer) = oneshot::channel();
        // An error means that the test is over.
        let _over = self.grants.send((ids.to_vec(), reply));
        answer.await.unwrap_or_else(|_| silent())
    }
    async fn has_due_deliveries(&self, _: Timestamp) -> Result<bool, StoreError> {
        silent()
    }
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.asked.keys.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
    async fn revocations(
        &self,
        _: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Revocation>, StoreError> {
        let scripted = self.revocations.borrow().clone();
        self.asked.revocations.fetch_add(1, Ordering::Relaxed);
        // An error means that the test is over.
        let _over = self.is_held.clone().wait_for(|is_held| !is_held).await.is_err();
        let Some(revocations) = scripted else { return silent() };
        Ok(revocations.into_iter().filter(|revocation| now < revocation.until).collect())
    }
    async fn users(&self, _: &UserPage) -> Result<UserList, StoreError> {
        silent()
    }
    async fn audit(&self, _: &AuditPage) -> Result<Vec<AuditRow>, StoreError> {
        silent()
    }
    async fn chain_heads(&self, _: Option<Timestamp>) -> Result<Vec<ChainHead>, StoreError> {
        silent()
    }
    async fn chain(&self, _: Uuid, _: u64, _: u32) -> Result<Vec<ChainedRow>, StoreError> {
        silent()
    }
    async fn unchained(&self, _: u32) -> Result<Vec<ChainedRow>, StoreError> {
        silent()
    }
    async fn last_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        silent()
    }
    async fn audit_about(
        &self,
        _: UserId,
        _: Option<Uuid>,
        _: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        silent()
    }
    async fn avatars_in_use(&self, _: &[String]) -> Result<Vec<String>, StoreError> {
        silent()
    }
    async fn user_count(&self) -> Result<u64, StoreError> {
        silent()
    }
    async fn live_families(&self) -> Result<Vec<(FamilyId, u64)>, StoreError> {
        silent()
    }
}
