//! `identities` and the `emails` that providers told for them.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row;
use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::model::{Email, Identity, UserId};
use crate::store::operation::IdentityRefresh;

/// Adds an identity to a person.
pub(super) fn insert(
    connection: &Connection,
    user: UserId,
    identity: &IdentityRefresh,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO identities (provider, subject, user_id, created_at, last_used_at)
             VALUES (?1, ?2, ?3, ?4, ?4)",
        )?
        .execute(params![identity.provider, identity.subject, user.0.as_bytes(), now.millis()])?;
    replace_emails(connection, identity)
}

/// Notes that an identity was used, and what its provider said this time.
pub(super) fn refresh(
    connection: &Connection,
    identity: &IdentityRefresh,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE identities SET last_used_at = ?3 WHERE provider = ?1 AND subject = ?2",
        )?
        .execute(params![identity.provider, identity.subject, now.millis()])?;
    replace_emails(connection, identity)
}

fn replace_emails(connection: &Connection, identity: &IdentityRefresh) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM emails WHERE provider = ?1 AND subject = ?2")?
        .execute(params![identity.provider, identity.subject])?;
    // A provider that names an address twice means it once: what it says first counts.
    let mut statement = connection.prepare_cached(
        "INSERT INTO emails (provider, subject, address, address_key, verified, position)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?;
    for (position, email) in (0_i64..).zip(&identity.emails) {
        statement.execute(params![
            identity.provider,
            identity.subject,
            email.address,
            Email::comparison_key(&email.address),
            email.verified,
            position,
        ])?;
    }
    Ok(())
}

/// A person's identities, oldest first, with their addresses.
pub(super) fn of_user(connection: &Connection, user: UserId) -> Result<Vec<Identity>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT i.provider, i.subject, e.address, e.verified, i.created_at, i.last_used_at
           FROM identities i LEFT JOIN emails e USING (provider, subject)
          WHERE i.user_id = ?1
          ORDER BY i.created_at, i.provider, i.subject, e.position",
    )?;
    let mut rows = statement.query(params![user.0.as_bytes()])?;
    let mut identities: Vec<Identity> = Vec::new();
    while let Some(row) = rows.next()? {
        let (provider, subject): (String, String) = (row.get(0)?, row.get(1)?);
        let email = read_email(row, &provider)?;
        match identities.last_mut() {
            Some(last) if last.provider == provider && last.subject == subject => {
                last.emails.extend(email);
            }
            _ => identities.push(Identity {
                provider,
                subject,
                emails: Vec::from_iter(email),
                linked_at: row::time(row, 4)?,
                last_used_at: row::time(row, 5)?,
            }),
        }
    }
    Ok(identities)
}

/// The address of a row of [`of_user`], if its identity has any.
fn read_email(row: &Row<'_>, provider: &str) -> rusqlite::Result<Option<Email>> {
    let Some(address) = row.get(2)? else { return Ok(None) };
    Ok(Some(Email { address, verified: row.get(3)?, provider: provider.to_owned() }))
}

/// Whose the identity is.
pub(super) fn owner(
    connection: &Connection,
    identity: &IdentityRefresh,
) -> Result<Option<UserId>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT user_id FROM identities WHERE provider = ?1 AND subject = ?2")?;
    let found = statement.query_row(params![identity.provider, identity.subject], |row| {
        Ok(UserId(row::id(row, 0)?))
    });
    Ok(found.optional()?)
}

/// Takes identities from a person: all of a provider, or one.
pub(super) fn remove(
    connection: &Connection,
    user: UserId,
    provider: &str,
    subject: Option<&str>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM identities
              WHERE user_id = ?1 AND provider = ?2 AND (?3 IS NULL OR subject = ?3)",
        )?
        .execute(params![user.0.as_bytes(), provider, subject])?;
    Ok(())
}

/// Takes all identities from a person, with their addresses.
pub(super) fn remove_all(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM identities WHERE user_id = ?1")?
        .execute(params![user.0.as_bytes()])?;
    Ok(())
}

/// At most two people who hold one of these addresses as a verified one.
pub(super) fn verified_holders(
    connection: &Connection,
    address_keys: &[String],
) -> Result<Vec<UserId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT i.user_id FROM emails e JOIN identities i USING (provider, subject)
          WHERE e.address_key = ?1 AND e.verified LIMIT 2",
    )?;
    let mut holders = BTreeSet::new();
    for key in address_keys {
        for holder in statement.query_map(params![key], |row| Ok(UserId(row::id(row, 0)?)))? {
            holders.insert(holder?);
        }
    }
    Ok(holders.into_iter().take(2).collect())
}
