//! What each operation does inside its transaction.

use std::collections::{HashMap, HashSet, VecDeque};

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;

use super::failure::Failure;
use super::{
    accounts, administration, audit, clients, deliveries, grants, identities, links, names,
    requests, revocations, signing_keys, spent, token_families, users,
};
use crate::store::model::{FamilyId, Revocation};
use crate::store::operation::{
    AdvanceFamily, AdvanceOutcome, CreateUser, CreateUserOutcome, Operation, Outcome,
    RecordRevocation, RedeemOutcome, RemoveExpired, Removed, Revoke, SignIn, SignInOutcome, Spend,
};
use crate::store::trail::Notes;

/// What came of the operations of a batch that are hot: those of a kind are one statement.
pub(super) struct Together {
    moved: HashMap<FamilyId, AdvanceOutcome>,
    redeemed: VecDeque<RedeemOutcome>,
    spent: HashSet<String>,
}

impl Together {
    /// Performs them. The statements travel together, too.
    pub(super) async fn perform(db: &ClientWrapper, group: &[&Operation]) -> Result<Self, Failure> {
        let (mut advances, mut codes, mut tickets) = (Vec::new(), Vec::new(), Vec::new());
        for operation in group {
            match operation {
                Operation::AdvanceFamily(advance) => advances.push(advance),
                Operation::RedeemCode(redeem) => codes.push(&**redeem),
                Operation::Spend(Spend(ticket)) => tickets.push(ticket),
                _ => {}
            }
        }
        // Codes come first: people are locked before families, as everywhere.
        let (redeemed, moved, spent) = try_join!(
            grants::redeem(db, &codes),
            token_families::advance(db, &advances),
            spent::spend_each(db, &tickets),
        )?;
        Ok(Self { moved, redeemed: redeemed.into(), spent })
    }
}

/// Performs one operation, in the order of the batch; `together` holds what is done already.
///
/// Statements that are joined do not depend on each other and travel together.
pub(super) async fn perform(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &Operation,
    together: &mut Together,
) -> Result<Outcome, Failure> {
    Ok(match operation {
        Operation::AdvanceFamily(AdvanceFamily { family, .. }) => {
            let moved = together.moved.remove(family);
            Outcome::AdvanceFamily(moved.unwrap_or(AdvanceOutcome::Unmoved))
        }
        Operation::RedeemCode(redeem) => match together.redeemed.pop_front() {
            Some(outcome) => {
                match &outcome {
                    RedeemOutcome::Opened(_) => notes.add(&redeem.audit),
                    RedeemOutcome::Replayed(ended) if !ended.families.is_empty() => {
                        notes.add(&redeem.audit_replay);
                    }
                    _ => {}
                }
                Outcome::RedeemCode(outcome)
            }
            None => return Err(Failure::inconsistent("a code was not redeemed with the others")),
        },
        // Of two with one ticket the first has spent it.
        Operation::Spend(Spend(ticket)) => Outcome::Spend(together.spent.remove(&ticket.id)),
        Operation::SignIn(operation) => Outcome::SignIn(sign_in(db, notes, operation).await?),
        Operation::CreateUser(operation) => {
            Outcome::CreateUser(create_user(db, notes, operation).await?)
        }
        Operation::LinkIdentity(operation) => {
            Outcome::LinkIdentity(links::link(db, notes, operation).await?)
        }
        Operation::UnlinkIdentities(operation) => {
            Outcome::UnlinkIdentities(links::unlink(db, notes, operation).await?)
        }
        Operation::Revoke(operation) => {
            Outcome::Revoke(token_families::revoke(db, notes, operation).await?)
        }
        Operation::StageKey(operation) => {
            Outcome::StageKey(signing_keys::stage(db, notes, operation).await?)
        }
        Operation::ActivateKey(operation) => {
            Outcome::ActivateKey(signing_keys::activate(db, notes, operation).await?)
        }
        Operation::RetireKey(operation) => {
            Outcome::RetireKey(signing_keys::retire(db, notes, operation).await?)
        }
        Operation::ResealKeys(operation) => {
            Outcome::ResealKeys(signing_keys::reseal(db, notes, operation).await?)
        }
        Operation::AppendAudit(operation) => {
            notes.add(&operation.0);
            Outcome::AppendAudit
        }
        Operation::FillAvatar(operation) => {
            let is_filled = users::fill_avatar(db, operation).await?;
            if is_filled {
                notes.add(&operation.audit);
            }
            Outcome::FillAvatar(is_filled)
        }
        Operation::SetDisplayName(operation) => {
            Outcome::SetDisplayName(accounts::set_display_name(db, notes, operation).await?)
        }
        Operation::ChangeUsername(operation) => {
            Outcome::ChangeUsername(accounts::change_username(db, notes, operation).await?)
        }
        Operation::DeleteUser(operation) => {
            Outcome::DeleteUser(accounts::delete(db, notes, operation).await?)
        }
        Operation::SetAvatar(operation) => {
            Outcome::SetAvatar(users::set_avatar(db, notes, operation).await?)
        }
        Operation::RegisterClient(operation) => {
            Outcome::RegisterClient(clients::register(db, notes, operation).await?)
        }
        Operation::UpdateClient(operation) => {
            Outcome::UpdateClient(clients::update(db, notes, operation).await?)
        }
        Operation::RotateClientSecret(operation) => {
            Outcome::RotateClientSecret(clients::rotate_secret(db, notes, operation).await?)
        }
        Operation::RemoveClient(operation) => {
            Outcome::RemoveClient(clients::remove(db, notes, operation).await?)
        }
        Operation::GiveConsent(operation) => {
            Outcome::GiveConsent(grants::give_consent(db, notes, operation).await?)
        }
        Operation::WithdrawConsent(operation) => {
            Outcome::WithdrawConsent(grants::withdraw_consent(db, notes, operation).await?)
        }
        Operation::RecordRevocation(operation) => {
            Outcome::RecordRevocation(record_revocation(db, notes, operation).await?)
        }
        Operation::ClaimDeliveries(operation) => {
            Outcome::ClaimDeliveries(deliveries::claim(db, operation).await?)
        }
        Operation::SettleDelivery(operation) => {
            deliveries::settle(db, notes, operation).await?;
            Outcome::SettleDelivery
        }
        Operation::ReturnDelivery(operation) => {
            deliveries::give_back(db, operation).await?;
            Outcome::ReturnDelivery
        }
        Operation::SetRole(operation) => {
            Outcome::SetRole(administration::set_role(db, notes, operation).await?)
        }
        Operation::LockUser(operation) => {
            Outcome::LockUser(administration::lock(db, notes, operation).await?)
        }
        Operation::UnlockUser(operation) => {
            Outcome::UnlockUser(administration::unlock(db, notes, operation).await?)
        }
        Operation::OpenSession(operation) => {
            Outcome::OpenSession(administration::open_session(db, notes, operation).await?)
        }
        Operation::EndSessionsBefore(operation) => Outcome::EndSessionsBefore(
            administration::end_sessions_before(db, notes, operation).await?,
        ),
        Operation::AppendCheckpoint(operation) => {
            Outcome::AppendCheckpoint(audit::append_checkpoint(db, notes, operation).await?)
        }
        Operation::ClaimRequest(operation) => {
            Outcome::ClaimRequest(requests::claim(db, operation).await?)
        }
        Operation::SettleRequest(operation) => {
            requests::settle(db, operation).await?;
            Outcome::SettleRequest
        }
        Operation::RemoveExpired(operation) => {
            Outcome::RemoveExpired(remove_expired(db, operation).await?)
        }
    })
}

/// See [`SignIn`]. Refusals are found before anything is written: the transaction is shared.
async fn sign_in(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &SignIn,
) -> Result<SignInOutcome, Failure> {
    let SignIn { family, spends, identity, ends, audit: entry } = operation;
    let (user, can_open, is_spent) = try_join!(
        users::hold_active_owner(db, family.user, &identity.provider, &identity.subject),
        token_families::can_open(db, family),
        spent::is_spent(db, &spends.id),
    )?;
    if is_spent {
        return Ok(SignInOutcome::AlreadySpent);
    }
    let Some(user) = user.filter(|_| can_open) else {
        return Ok(SignInOutcome::NotAllowed);
    };
    // Another node may be spending it right now.
    if !spent::spend(db, std::slice::from_ref(spends)).await? {
        return Ok(SignInOutcome::AlreadySpent);
    }
    let (opened, ..) = try_join!(
        token_families::open(db, family, user),
        identities::touch(db, identity, family.created_at),
        identities::replace_emails(db, identity),
        end(db, notes, ends.as_ref()),
    )?;
    notes.add(entry);
    Ok(SignInOutcome::Opened(Box::new(opened)))
}

pub(super) async fn end(
    db: &ClientWrapper,
    notes: &mut Notes,
    revoke: Option<&Revoke>,
) -> Result<(), Failure> {
    if let Some(revoke) = revoke {
        token_families::revoke(db, notes, revoke).await?;
    }
    Ok(())
}

/// See [`CreateUser`]. Runs alone; unless it is [`CreateUserOutcome::Created`], all is rolled back.
async fn create_user(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &CreateUser,
) -> Result<CreateUserOutcome, Failure> {
    let CreateUser { user, username_key, identity, family, spends, ends, audit: entries } =
        operation;
    if !spent::spend(db, spends).await? {
        return Ok(CreateUserOutcome::AlreadySpent);
    }
    let now = user.created_at;
    if !users::insert(db, user, username_key).await? {
        let owner = identities::owner(db, &identity.provider, &identity.subject).await?;
        return Ok(match owner {
            Some(_) => CreateUserOutcome::IdentityTaken,
            None => CreateUserOutcome::UsernameTaken,
        });
    }
    if !identities::insert(db, identity, user.id, now).await? {
        return Ok(CreateUserOutcome::IdentityTaken);
    }
    // Asked only now: having inserted the name, nobody else can give it up any more.
    if users::name_is_held(db, username_key, now).await? {
        return Ok(CreateUserOutcome::UsernameTaken);
    }
    let (opened, ..) = try_join!(
        token_families::open(db, family, user.clone()),
        identities::replace_emails(db, identity),
        end(db, notes, ends.as_ref()),
    )?;
    entries.iter().for_each(|entry| notes.add(entry));
    Ok(CreateUserOutcome::Created(Box::new(opened)))
}

/// See [`RecordRevocation`]: the revocation as it stands.
async fn record_revocation(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &RecordRevocation,
) -> Result<Revocation, Failure> {
    let RecordRevocation { revocation, audit: entry } = operation;
    let stored = revocations::store(db, std::slice::from_ref(revocation), entry.at).await?;
    notes.add(entry);
    Ok(stored.into_iter().next().unwrap_or_else(|| revocation.clone()))
}

async fn remove_expired(db: &ClientWrapper, operation: &RemoveExpired) -> Result<Removed, Failure> {
    let RemoveExpired { now, audited_before, wipe_keys, limit, .. } = operation;
    let old_entries = async {
        match audited_before {
            Some(before) => audit::remove(db, *before, *limit).await,
            None => Ok(0),
        }
    };
    let (families, spent, revocations, requests, audit, held_usernames, ()) = try_join!(
        token_families::remove_expired(db, operation),
        spent::remove_expired(db, *now, *limit),
        revocations::remove_expired(db, *now, *limit),
        requests::remove_expired(db, *now, *limit),
        old_entries,
        names::remove_expired(db, *now, *limit),
        signing_keys::wipe(db, wipe_keys),
    )?;
    let (families, families_after) = families;
    Ok(Removed { families, spent, revocations, requests, audit, held_usernames, families_after })
}
