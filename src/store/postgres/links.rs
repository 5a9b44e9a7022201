//! Giving a person a further identity, and taking one away.
//!
//! The person's row is locked first: whatever else happens to their identities waits, so that of two
//! who each take one of two identities one is told that it is the last.

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;

use super::failure::Failure;
use super::operations::end;
use super::{identities, spent, token_families, users};
use crate::store::model::User;
use crate::store::operation::{LinkIdentity, LinkOutcome, UnlinkIdentities, UnlinkOutcome};
use crate::store::trail::Notes;

/// See [`LinkIdentity`]. Runs alone; unless it is [`LinkOutcome::Linked`], all is rolled back.
pub(super) async fn link(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &LinkIdentity,
) -> Result<LinkOutcome, Failure> {
    let LinkIdentity { user, identity, asked_in, spends, now, .. } = operation;
    let Some(person) = users::hold_active(db, *user).await? else {
        return Ok(LinkOutcome::NotAllowed);
    };
    if let Some(family) = asked_in
        && !token_families::hold_live(db, *family, *user).await?
    {
        return Ok(LinkOutcome::NotAllowed);
    }
    match identities::owner(db, &identity.provider, &identity.subject).await? {
        Some(owner) if owner == *user => return Ok(LinkOutcome::AlreadyLinked),
        Some(_) => return Ok(LinkOutcome::IdentityTaken),
        None => {}
    }
    if !spent::spend(db, spends).await? {
        return Ok(LinkOutcome::AlreadySpent);
    }
    // Waits for a transaction that is about to give it to somebody else.
    if !identities::insert(db, identity, *user, *now).await? {
        return Ok(LinkOutcome::IdentityTaken);
    }
    finish(db, notes, operation, person).await
}

async fn finish(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &LinkIdentity,
    mut person: User,
) -> Result<LinkOutcome, Failure> {
    let LinkIdentity { user, identity, display_name, opens, ends, now, audit: entries, .. } =
        operation;
    if let (None, Some(name)) = (&person.display_name, display_name) {
        users::fill_display_name(db, *user, name, *now).await?;
        person.display_name = Some(name.clone());
    }
    let open = async {
        match opens {
            Some(family) => token_families::open(db, family, person).await.map(Some),
            None => Ok(None),
        }
    };
    let (opened, ..) =
        try_join!(open, identities::replace_emails(db, identity), end(db, notes, ends.as_ref()),)?;
    entries.iter().for_each(|entry| notes.add(entry));
    Ok(LinkOutcome::Linked(opened.map(Box::new)))
}

/// See [`UnlinkIdentities`]. Runs alone; nothing is written before it is decided.
pub(super) async fn unlink(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &UnlinkIdentities,
) -> Result<UnlinkOutcome, Failure> {
    let UnlinkIdentities { user, provider, subject, audit: entry, .. } = operation;
    if users::hold_active(db, *user).await?.is_none() {
        return Ok(UnlinkOutcome::NotAllowed);
    }
    let outcome = operation.judge(&identities::of_user(db, *user).await?);
    if outcome != UnlinkOutcome::Unlinked {
        return Ok(outcome);
    }
    identities::remove(db, *user, provider, subject.as_deref()).await?;
    notes.add(entry);
    Ok(UnlinkOutcome::Unlinked)
}
