//! The write side: one thread, one connection, one transaction at a time.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use super::changes::Feed;
use super::worker::{Worker, job, lost, roll_back};
use super::{
    accounts, administration, audit, clients, connection, deliveries, expired, grants, links,
    requests, revocations, sign_in, signing_keys, spent, token_families, users,
};
use crate::store::error::{OpenError, StoreError};
use crate::store::model::Revocation;
use crate::store::operation::{Operation, Outcome, Spend};
use crate::store::trail::{Notes, Trail};
use crate::store::{Counters, WriteStore};

/// How many transactions may wait; `DbWriter` hands over one batch at a time.
const WAITING: usize = 64;

type Answer = Result<Outcome, StoreError>;

/// The write side.
pub(super) struct Writer {
    worker: Arc<Worker>,
    counters: Arc<Counters>,
    /// Changes with each transaction that may have changed a client.
    client_changes: watch::Sender<u64>,
}

impl Writer {
    /// Opens the file for writing, in a thread of its own.
    pub(super) async fn open(path: &Path, counters: Arc<Counters>) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let open = move || connection::open_for_writing(&path);
        let worker = Arc::new(Worker::start("sqlite-writer", WAITING, open).await?);
        Ok(Self { worker, counters, client_changes: watch::Sender::new(0) })
    }

    /// News of what others change, seen with this connection, and of the clients that are changed here.
    pub(super) fn changes(&self) -> Feed {
        Feed { writer: Arc::clone(&self.worker), own: self.client_changes.subscribe() }
    }

    /// Applies operations in one transaction; one answer for each.
    async fn transaction(&self, operations: Vec<Operation>, trail: &mut Trail) -> Vec<Answer> {
        let count = operations.len();
        if count == 0 {
            return Vec::new();
        }
        let counters = Arc::clone(&self.counters);
        let changes_clients = operations.iter().any(changes_a_client);
        let mut moved = trail.clone();
        // Until it comes back: who knows how far the chain was stored.
        trail.begin_anew();
        let (job, answers) = job(move |connection| {
            let answers = transact(connection, &operations, &counters, &mut moved);
            (answers, moved)
        });
        if self.worker.try_run(job).is_err() {
            let error = StoreError::Unavailable("too many writes are waiting".to_owned());
            return vec![Err(error); count];
        }
        let answers = match answers.await {
            Ok((answers, returned)) => {
                *trail = returned;
                answers
            }
            Err(_) => vec![Err(lost()); count],
        };
        if changes_clients {
            self.client_changes.send_modify(|number| *number += 1);
        }
        answers
    }
}

fn changes_a_client(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::RegisterClient(_)
            | Operation::UpdateClient(_)
            | Operation::RotateClientSecret(_)
            | Operation::RemoveClient(_)
    )
}

#[async_trait]
impl WriteStore for Writer {
    async fn apply(&self, batch: Vec<Operation>, trail: &mut Trail) -> Vec<Answer> {
        let order: Vec<bool> = batch.iter().map(Operation::runs_alone).collect();
        let (alone, shared): (Vec<_>, Vec<_>) = batch.into_iter().partition(Operation::runs_alone);
        let mut shared = self.transaction(shared, trail).await.into_iter();
        let mut single = Vec::new();
        for operation in alone {
            single.extend(self.transaction(vec![operation], trail).await);
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
fn transact(
    connection: &Connection,
    operations: &[Operation],
    counters: &Counters,
    trail: &mut Trail,
) -> Vec<Answer> {
    let mut advanced = trail.clone();
    let committed = execute(connection, "BEGIN IMMEDIATE").and_then(|()| {
        let mut notes = Notes::default();
        let answers = apply_each(connection, operations, &mut notes)?;
        let linked = advanced.link(notes);
        audit::append(connection, &linked)?;
        execute(connection, "COMMIT")?;
        Ok((answers, linked))
    });
    match committed {
        Ok((answers, linked)) => {
            *trail = advanced;
            trail.tell(&linked);
            counters.count_commit(answers.iter().filter(|answer| answer.is_ok()).count());
            answers
        }
        // Entries are written at the end, for all operations: whose cannot be is found out one by one.
        Err(StoreError::Refused(_) | StoreError::Unwritable(_)) if operations.len() > 1 => {
            roll_back(connection);
            counters.count_retried_alone();
            let alone = operations.chunks(1);
            alone.flat_map(|operation| transact(connection, operation, counters, trail)).collect()
        }
        Err(error) => {
            roll_back(connection);
            // Should a commit that failed be there all the same, or others stand at our next place, that place is
            // not met again.
            trail.begin_anew();
            vec![Err(error); operations.len()]
        }
    }
}

/// Applies each operation; one that fails leaves the others as they are.
fn apply_each(
    connection: &Connection,
    operations: &[Operation],
    notes: &mut Notes,
) -> Result<Vec<Answer>, StoreError> {
    let mut answers = Vec::with_capacity(operations.len());
    for operation in operations {
        execute(connection, "SAVEPOINT operation")?;
        let noted = notes.len();
        let answer = apply(connection, notes, operation);
        if let Err(error) = &answer {
            if connection.is_autocommit() {
                // A full disk and the like end the whole transaction, not just a savepoint.
                return Err(error.clone());
            }
            execute(connection, "ROLLBACK TO operation")?;
            notes.truncate(noted);
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

fn apply(connection: &Connection, notes: &mut Notes, operation: &Operation) -> Answer {
    use Operation as O;
    Ok(match operation {
        O::AdvanceFamily(advance) => {
            Outcome::AdvanceFamily(token_families::advance(connection, advance)?)
        }
        O::SignIn(request) => Outcome::SignIn(sign_in::sign_in(connection, notes, request)?),
        O::CreateUser(request) => {
            Outcome::CreateUser(sign_in::create_user(connection, notes, request)?)
        }
        O::LinkIdentity(request) => Outcome::LinkIdentity(links::link(connection, notes, request)?),
        O::UnlinkIdentities(request) => {
            Outcome::UnlinkIdentities(links::unlink(connection, notes, request)?)
        }
        O::Revoke(revoke) => Outcome::Revoke(token_families::revoke(connection, notes, revoke)?),
        O::StageKey(staging) => Outcome::StageKey(signing_keys::stage(connection, notes, staging)?),
        O::ActivateKey(activation) => {
            Outcome::ActivateKey(signing_keys::activate(connection, notes, activation)?)
        }
        O::RetireKey(retirement) => {
            Outcome::RetireKey(signing_keys::retire(connection, notes, retirement)?)
        }
        O::ResealKeys(resealing) => {
            Outcome::ResealKeys(signing_keys::reseal(connection, notes, resealing)?)
        }
        O::AppendAudit(append) => {
            notes.add(&append.0);
            Outcome::AppendAudit
        }
        O::FillAvatar(fill) => {
            let is_filled = users::fill_avatar(connection, fill)?;
            if is_filled {
                notes.add(&fill.audit);
            }
            Outcome::FillAvatar(is_filled)
        }
        O::SetDisplayName(request) => {
            Outcome::SetDisplayName(accounts::set_display_name(connection, notes, request)?)
        }
        O::ChangeUsername(request) => {
            Outcome::ChangeUsername(accounts::change_username(connection, notes, request)?)
        }
        O::DeleteUser(request) => {
            Outcome::DeleteUser(accounts::delete(connection, notes, request)?)
        }
        O::SetAvatar(set) => Outcome::SetAvatar(users::set_avatar(connection, notes, set)?),
        O::RegisterClient(request) => {
            Outcome::RegisterClient(clients::register(connection, notes, request)?)
        }
        O::UpdateClient(request) => {
            Outcome::UpdateClient(clients::update(connection, notes, request)?)
        }
        O::RotateClientSecret(request) => {
            Outcome::RotateClientSecret(clients::rotate_secret(connection, notes, request)?)
        }
        O::RemoveClient(request) => {
            Outcome::RemoveClient(clients::remove(connection, notes, request)?)
        }
        O::RedeemCode(request) => Outcome::RedeemCode(grants::redeem(connection, notes, request)?),
        O::Spend(Spend(ticket)) => {
            let is_spent = spent::is_spent(connection, ticket)?;
            if !is_spent {
                spent::spend(connection, ticket)?;
            }
            Outcome::Spend(!is_spent)
        }
        O::GiveConsent(request) => {
            Outcome::GiveConsent(grants::give_consent(connection, notes, request)?)
        }
        O::WithdrawConsent(request) => {
            Outcome::WithdrawConsent(grants::withdraw_consent(connection, notes, request)?)
        }
        O::RecordRevocation(request) => {
            let Revocation { kind, id, until } = request.revocation.clone();
            let stored = revocations::record(connection, kind, id, until, request.audit.at)?;
            notes.add(&request.audit);
            Outcome::RecordRevocation(stored)
        }
        O::ClaimDeliveries(request) => {
            Outcome::ClaimDeliveries(deliveries::claim(connection, request)?)
        }
        O::SettleDelivery(request) => {
            deliveries::settle(connection, notes, request)?;
            Outcome::SettleDelivery
        }
        O::ReturnDelivery(request) => {
            deliveries::give_back(connection, request)?;
            Outcome::ReturnDelivery
        }
        O::SetRole(request) => {
            Outcome::SetRole(administration::set_role(connection, notes, request)?)
        }
        O::LockUser(request) => {
            Outcome::LockUser(administration::lock(connection, notes, request)?)
        }
        O::UnlockUser(request) => {
            Outcome::UnlockUser(administration::unlock(connection, notes, request)?)
        }
        O::OpenSession(request) => {
            Outcome::OpenSession(administration::open_session(connection, notes, request)?)
        }
        O::EndSessionsBefore(request) => Outcome::EndSessionsBefore(
            administration::end_sessions_before(connection, notes, request)?,
        ),
        O::AppendCheckpoint(request) => {
            Outcome::AppendCheckpoint(audit::append_checkpoint(connection, notes, request)?)
        }
        O::ClaimRequest(request) => Outcome::ClaimRequest(requests::claim(connection, request)?),
        O::SettleRequest(request) => {
            requests::settle(connection, request)?;
            Outcome::SettleRequest
        }
        O::RemoveExpired(remove) => Outcome::RemoveExpired(expired::remove(connection, remove)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::model::{Actor, AuditEntry};
    use crate::store::operation::AppendAudit;

    fn append(target: String) -> Operation {
        let (at, actor) = (Timestamp::from_seconds(1), Actor::System);
        Operation::AppendAudit(Box::new(AppendAudit(AuditEntry::new(at, actor, "a.b", target))))
    }

    fn stored(connection: &Connection) -> i64 {
        let query = "SELECT count(*) FROM audit_events";
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }

    fn migrated(folder: &tempfile::TempDir) -> Connection {
        let path = folder.path().join("latchkey.db");
        super::super::migrations::migrate(&path).unwrap();
        connection::open_for_writing(&path).unwrap()
    }

    #[test]
    fn on_a_full_disk_only_what_is_stored_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, counters) = (migrated(&folder), Counters::default());
        let set_limit = |pages: i64| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        };
        let pages: i64 =
            connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        set_limit(pages + 8);

        let large = "x".repeat(1 << 20);
        let batch = [append("small".to_owned()), append(large), append("small".to_owned())];
        let answers = transact(&connection, &batch, &counters, &mut Trail::default());
        assert!(matches!(answers[1], Err(StoreError::Unwritable(_))), "{answers:?}");
        let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(stored(&connection), acknowledged as i64);
        assert_eq!(counters.writes(), acknowledged as u64);
        assert!(connection.is_autocommit());

        set_limit(1 << 20);
        let answers = transact(&connection, &batch, &counters, &mut Trail::default());
        assert!(answers.iter().filter(|answer| answer.is_err()).count() <= acknowledged);
        assert_eq!(stored(&connection), 3);
    }

    #[test]
    fn a_transaction_that_cannot_be_written_is_refused_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, counters) = (migrated(&folder), Counters::default());
        connection.pragma_update(None, "query_only", true).unwrap();
        let answers =
            transact(&connection, &[append("a".to_owned())], &counters, &mut Trail::default());
        assert!(matches!(answers[..], [Err(StoreError::Unwritable(_))]), "{answers:?}");
        connection.pragma_update(None, "query_only", false).unwrap();
        let answers =
            transact(&connection, &[append("a".to_owned())], &counters, &mut Trail::default());
        assert!(matches!(answers[..], [Ok(Outcome::AppendAudit)]), "{answers:?}");
    }
}
