//! Removing what nobody can need any more, a bounded number of rows at a time.

use rusqlite::Connection;

use super::{audit, names, requests, revocations, signing_keys, spent, token_families};
use crate::store::error::StoreError;
use crate::store::operation::{RemoveExpired, Removed};

/// One step of the removal.
pub(super) fn remove(
    connection: &Connection,
    remove: &RemoveExpired,
) -> Result<Removed, StoreError> {
    for kid in &remove.wipe_keys {
        signing_keys::wipe(connection, kid)?;
    }
    let (families, families_after) = token_families::remove_expired(connection, remove)?;
    Ok(Removed {
        families,
        spent: spent::remove_expired(connection, remove.now, remove.limit)?,
        revocations: revocations::remove_expired(connection, remove.now, remove.limit)?,
        requests: requests::remove_expired(connection, remove.now, remove.limit)?,
        audit: match remove.audited_before {
            Some(before) => audit::remove(connection, before, remove.limit)?,
            None => 0,
        },
        held_usernames: names::remove_expired(connection, remove.now, remove.limit)?,
        families_after,
    })
}
