//! What became of an operation whose commit nobody confirmed.

use deadpool_postgres::ClientWrapper;

use super::failure::Failure;
use super::{administration, audit, deliveries, grants, token_families, users};
use crate::store::model::{AuditEntry, FamilyId, FamilyWithUser, User, UserId, UserStatus};
use crate::store::operation::{
    AdvanceFamily, AdvanceOutcome, ChangeUsernameOutcome, ConsentOutcome, CreateUserOutcome,
    DeleteUserOutcome, LinkIdentity, LinkOutcome, LockUserOutcome, Operation, Outcome, RedeemCode,
    RedeemOutcome, RegisterClientOutcome, RetireKeyOutcome, SetAvatarOutcome, SetRoleOutcome,
    SignInOutcome, StageKeyOutcome, UnlinkOutcome, UpdateClientOutcome,
};

/// What an operation did, if it certainly was committed; `None` if it was not, or did nothing.
///
/// An audit entry has an id of its own and is written in the same transaction: where it is, all is.
pub(super) async fn happened(
    db: &ClientWrapper,
    operation: &Operation,
) -> Result<Option<Outcome>, Failure> {
    Ok(match operation {
        Operation::AdvanceFamily(advance) => advanced(db, advance).await?,
        Operation::SignIn(operation) => match audit::exists(db, operation.audit.id).await? {
            true => opened(db, operation.family.id)
                .await?
                .map(|live| Outcome::SignIn(SignInOutcome::Opened(live))),
            false => None,
        },
        Operation::CreateUser(operation) => opened(db, operation.family.id)
            .await?
            .filter(|live| live.user.id == operation.user.id)
            .map(|live| Outcome::CreateUser(CreateUserOutcome::Created(live))),
        Operation::LinkIdentity(operation) => linked(db, operation).await?,
        Operation::UnlinkIdentities(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::UnlinkIdentities(UnlinkOutcome::Unlinked)),
        Operation::Revoke(operation) => match audit::exists(db, operation.audit.id).await? {
            true => Some(Outcome::Revoke(token_families::read_back_revoke(db, operation).await?)),
            false => None,
        },
        Operation::StageKey(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::StageKey(StageKeyOutcome::Staged)),
        Operation::ActivateKey(operation) => {
            audit::exists(db, operation.audit.id).await?.then_some(Outcome::ActivateKey(true))
        }
        Operation::RetireKey(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::RetireKey(RetireKeyOutcome::Retired)),
        Operation::AppendAudit(operation) => {
            audit::exists(db, operation.0.id).await?.then_some(Outcome::AppendAudit)
        }
        Operation::FillAvatar(operation) => {
            audit::exists(db, operation.audit.id).await?.then_some(Outcome::FillAvatar(true))
        }
        Operation::SetDisplayName(operation) => changed(db, &operation.audit, operation.user)
            .await?
            .map(|person| Outcome::SetDisplayName(Some(person))),
        Operation::ChangeUsername(operation) => changed(db, &operation.audit, operation.user)
            .await?
            .map(|person| Outcome::ChangeUsername(ChangeUsernameOutcome::Changed(person))),
        Operation::DeleteUser(operation) => {
            audit::exists(db, operation.audit.id).await?.then(|| {
                let revocations = vec![operation.revocation()];
                Outcome::DeleteUser(DeleteUserOutcome::Deleted { avatar: None, revocations })
            })
        }
        Operation::SetAvatar(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::SetAvatar(SetAvatarOutcome::Set { former: None })),
        Operation::ResealKeys(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::ResealKeys(operation.sealed.len() as u64)),
        Operation::RegisterClient(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::RegisterClient(RegisterClientOutcome::Registered)),
        Operation::UpdateClient(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::UpdateClient(UpdateClientOutcome::Updated)),
        Operation::RotateClientSecret(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::RotateClientSecret(true)),
        Operation::RemoveClient(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then(|| Outcome::RemoveClient(Some(operation.revocation()))),
        Operation::RedeemCode(operation) => redeemed(db, operation).await?.map(Outcome::RedeemCode),
        // A row says that the ticket is spent, not by whom: a first try that was committed looks like a
        // replay. It is repeated, and then is taken for spent before. That refuses somebody who may try
        // again with another ticket; the opposite would let a replay pass.
        Operation::Spend(_) => None,
        Operation::GiveConsent(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then_some(Outcome::GiveConsent(ConsentOutcome::Given)),
        Operation::WithdrawConsent(operation) => match audit::exists(db, operation.audit.id).await?
        {
            true => Some(Outcome::WithdrawConsent(Some(
                grants::read_back_withdrawal(db, operation).await?,
            ))),
            false => None,
        },
        Operation::RecordRevocation(operation) => audit::exists(db, operation.audit.id)
            .await?
            .then(|| Outcome::RecordRevocation(operation.revocation.clone())),
        // What the first try took is ours, but another node may take with the same lease: so it is left,
        // and is due again when the lease is over. Nobody is told twice, somebody a little later.
        Operation::ClaimDeliveries(_) => None,
        Operation::SettleDelivery(operation) => {
            let is_settled = match &operation.audit {
                Some(entry) => audit::exists(db, entry.id).await?,
                None => deliveries::is_settled(db, operation).await?,
            };
            is_settled.then_some(Outcome::SettleDelivery)
        }
        // Harmless to repeat.
        Operation::ReturnDelivery(_) => None,
        Operation::SetRole(operation) => changed(db, &operation.audit, operation.user)
            .await?
            .map(|person| Outcome::SetRole(SetRoleOutcome::Set(person))),
        Operation::LockUser(operation) => {
            match changed(db, &operation.audit, operation.user).await? {
                Some(person) => {
                    let ending = administration::ending_of(operation);
                    let ended = token_families::read_back_revoke(db, &ending).await?;
                    Some(Outcome::LockUser(LockUserOutcome::Locked(person, ended)))
                }
                None => None,
            }
        }
        Operation::UnlockUser(operation) => changed(db, &operation.audit, operation.user)
            .await?
            .map(|person| Outcome::UnlockUser(Some(person))),
        Operation::OpenSession(operation) => match audit::exists(db, operation.audit.id).await? {
            true => {
                opened(db, operation.family.id).await?.map(|live| Outcome::OpenSession(Some(live)))
            }
            false => None,
        },
        Operation::EndSessionsBefore(operation) => {
            match audit::exists(db, operation.audit.id).await? {
                true => Some(Outcome::EndSessionsBefore(
                    token_families::read_back_end_before(db, operation).await?,
                )),
                false => None,
            }
        }
        Operation::AppendCheckpoint(operation) => {
            audit::exists(db, operation.audit.id).await?.then_some(Outcome::AppendCheckpoint(true))
        }
        // A row says that the request is claimed, not by whom. Repeated, a claim of ours that was committed
        // looks like another's: nothing is done twice, and the request can be made again once it is over.
        Operation::ClaimRequest(_) => None,
        // An answer that is kept twice is kept once. A claim that was given back may be somebody else's by
        // now and must not be taken from them; if it was not, it is over by itself.
        Operation::SettleRequest(operation) => match operation.answer {
            Some(_) => None,
            None => Some(Outcome::SettleRequest),
        },
        // Doing it again does what is left to do.
        Operation::RemoveExpired(_) => None,
    })
}

/// A row at the next generation since this operation's `now` is its work, or that of another node that
/// made the same successor in the same millisecond. One that got there earlier is not: whoever presents
/// the old generation then is judged by the age of its successor, as always.
async fn advanced(db: &ClientWrapper, advance: &AdvanceFamily) -> Result<Option<Outcome>, Failure> {
    let live = opened(db, advance.family).await?.filter(|live| {
        live.user.status == UserStatus::Active
            && live.family.revoked_at.is_none()
            && Some(live.family.generation) == advance.presented.checked_add(1)
            && live.family.rotated_at == advance.now
    });
    Ok(live.map(|live| {
        Outcome::AdvanceFamily(AdvanceOutcome::Moved { live, before: advance.presented })
    }))
}

/// A redemption that opened its family, or ended it as a replay. One that was not allowed leaves nothing
/// but the spent code: repeated it is a replay that finds nothing to end, and is refused all the same.
async fn redeemed(
    db: &ClientWrapper,
    redeem: &RedeemCode,
) -> Result<Option<RedeemOutcome>, Failure> {
    if audit::exists(db, redeem.audit.id).await? {
        return Ok(opened(db, redeem.family.id).await?.map(RedeemOutcome::Opened));
    }
    let is_replay = audit::exists(db, redeem.audit_replay.id).await?;
    Ok(is_replay.then(|| RedeemOutcome::Replayed(grants::outcome_of_replay(redeem))))
}

/// The person as they are after a change that was audited.
async fn changed(
    db: &ClientWrapper,
    entry: &AuditEntry,
    user: UserId,
) -> Result<Option<Box<User>>, Failure> {
    match audit::exists(db, entry.id).await? {
        true => Ok(users::by_id(db, user).await?.map(Box::new)),
        false => Ok(None),
    }
}

async fn linked(db: &ClientWrapper, link: &LinkIdentity) -> Result<Option<Outcome>, Failure> {
    let Some(entry) = link.audit.first() else { return Ok(None) };
    if !audit::exists(db, entry.id).await? {
        return Ok(None);
    }
    let live = match &link.opens {
        Some(family) => opened(db, family.id).await?,
        None => None,
    };
    Ok(Some(Outcome::LinkIdentity(LinkOutcome::Linked(live))))
}

async fn opened(db: &ClientWrapper, id: FamilyId) -> Result<Option<Box<FamilyWithUser>>, Failure> {
    Ok(token_families::by_id(db, id).await?.map(Box::new))
}
