//! A read side that answers as a unit test says. Only what actors ask on their own is there; real
//! stores are asked in `tests/it`.

use async_trait::async_trait;
use tokio::sync::watch;
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
    pub(crate) revocations: watch::Receiver<Option<Vec<Revocation>>>,
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
        silent()
    }
    async fn clients(&self, _: Option<&str>, _: u32) -> Result<Vec<Client>, StoreError> {
        silent()
    }
    async fn client_algorithms(&self) -> Result<Vec<Algorithm>, StoreError> {
        silent()
    }
    async fn consent(&self, _: UserId, _: &str) -> Result<Option<Consent>, StoreError> {
        silent()
    }
    async fn apps(&self, _: UserId) -> Result<Vec<AppAccess>, StoreError> {
        silent()
    }
    async fn grant_with_person(&self, _: FamilyId) -> Result<Option<GrantWithPerson>, StoreError> {
        silent()
    }
    async fn has_due_deliveries(&self, _: Timestamp) -> Result<bool, StoreError> {
        silent()
    }
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        silent()
    }
    async fn revocations(
        &self,
        _: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Revocation>, StoreError> {
        let scripted = self.revocations.borrow().clone();
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
