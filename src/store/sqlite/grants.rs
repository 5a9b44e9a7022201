//! What people give clients access to: codes that become grants, and `consents`. Everything is judged
//! before anything is written.

use rusqlite::{Connection, OptionalExtension, params};

use super::links::{is_active, is_live};
use super::token_families::family_columns;
use super::users::user_columns;
use super::{clients, revocations, row, spent, token_families};
use crate::store::error::StoreError;
use crate::store::model::{
    Access, AppAccess, Consent, Email, FIRST_PARTY, FamilyId, GrantWithPerson, RevocationKind,
    UserId, together,
};
use crate::store::operation::{
    ConsentOutcome, GiveConsent, RedeemCode, RedeemOutcome, RevokeOutcome, WithdrawConsent,
};
use crate::store::trail::Notes;

/// Spends a code and opens its family; a code that was spent before ends what it gave.
pub(super) fn redeem(
    connection: &Connection,
    notes: &mut Notes,
    request: &RedeemCode,
) -> Result<RedeemOutcome, StoreError> {
    let RedeemCode { family, spends, audit: entry, .. } = request;
    if spent::is_spent(connection, spends)? {
        return replayed(connection, notes, request).map(RedeemOutcome::Replayed);
    }
    spent::spend(connection, spends)?;
    let session = Some(FamilyId(family.session.0));
    let is_allowed = is_active(connection, family.user)?
        && is_live(connection, session, family.user)?
        && (!request.needs_consent
            || consent(connection, family.user, &family.client_id)?.is_some());
    if !is_allowed {
        return Ok(RedeemOutcome::NotAllowed);
    }
    let opened = token_families::insert(connection, family)?;
    notes.add(entry);
    Ok(RedeemOutcome::Opened(Box::new(opened)))
}

fn replayed(
    connection: &Connection,
    notes: &mut Notes,
    request: &RedeemCode,
) -> Result<RevokeOutcome, StoreError> {
    let RedeemCode { family, tokens_live_for, audit_replay, .. } = request;
    let ended = connection
        .prepare_cached(
            "UPDATE token_families SET revoked_at = ?2, revoke_reason = 'code_replayed'
              WHERE id = ?1 AND revoked_at IS NULL",
        )?
        .execute(params![family.id.0.as_bytes(), audit_replay.at.millis()])?;
    if ended == 0 {
        return Ok(RevokeOutcome::default());
    }
    notes.add(audit_replay);
    let stored = revocations::record(
        connection,
        RevocationKind::Family,
        family.id.to_string(),
        audit_replay.at.plus(*tokens_live_for),
        audit_replay.at,
    )?;
    Ok(RevokeOutcome { families: vec![family.id], revocations: vec![stored] })
}

/// What a person allowed a client.
pub(super) fn consent(
    connection: &Connection,
    user: UserId,
    client_id: &str,
) -> Result<Option<Consent>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT scope, resource, given_at, updated_at FROM consents
          WHERE user_id = ?1 AND client_id = ?2",
    )?;
    let found = statement.query_row(params![user.0.as_bytes(), client_id], |row| {
        Ok(Consent {
            scope: row.get(0)?,
            resource: row.get(1)?,
            given_at: row::time(row, 2)?,
            updated_at: row::time(row, 3)?,
        })
    });
    Ok(found.optional()?)
}

/// Remembers what a person allows a client.
pub(super) fn give_consent(
    connection: &Connection,
    notes: &mut Notes,
    request: &GiveConsent,
) -> Result<ConsentOutcome, StoreError> {
    let GiveConsent { user, asked_in, client_id, spends, audit: entry, .. } = request;
    if spent::is_spent(connection, spends)? {
        return Ok(ConsentOutcome::AlreadySpent);
    }
    if !is_active(connection, *user)?
        || !is_live(connection, Some(*asked_in), *user)?
        || clients::find(connection, client_id)?.is_none()
    {
        return Ok(ConsentOutcome::NotAllowed);
    }
    spent::spend(connection, spends)?;
    let before = consent(connection, *user, client_id)?;
    let (scope, resource) = match &before {
        Some(before) => {
            (together(&before.scope, &request.scope), together(&before.resource, &request.resource))
        }
        None => (request.scope.clone(), request.resource.clone()),
    };
    connection
        .prepare_cached(
            "INSERT INTO consents (user_id, client_id, scope, resource, given_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT (user_id, client_id) DO UPDATE
                SET scope = excluded.scope, resource = excluded.resource,
                    updated_at = excluded.updated_at",
        )?
        .execute(params![user.0.as_bytes(), client_id, scope, resource, entry.at.millis()])?;
    notes.add(entry);
    Ok(ConsentOutcome::Given)
}

/// Takes a client's access away: the consent and every grant.
pub(super) fn withdraw_consent(
    connection: &Connection,
    notes: &mut Notes,
    request: &WithdrawConsent,
) -> Result<Option<RevokeOutcome>, StoreError> {
    let WithdrawConsent { user, client_id, tokens_live_for, audit: entry } = request;
    let removed = connection
        .prepare_cached("DELETE FROM consents WHERE user_id = ?1 AND client_id = ?2")?
        .execute(params![user.0.as_bytes(), client_id])?;
    let mut statement = connection.prepare_cached(
        "UPDATE token_families SET revoked_at = ?3, revoke_reason = 'consent_withdrawn'
          WHERE user_id = ?1 AND client_id = ?2 AND client_id <> ?4 AND revoked_at IS NULL
          RETURNING id",
    )?;
    let rows = statement.query_map(
        params![user.0.as_bytes(), client_id, entry.at.millis(), FIRST_PARTY],
        |row| row::id(row, 0).map(FamilyId),
    )?;
    let mut families: Vec<FamilyId> = rows.collect::<Result<_, _>>()?;
    families.sort_unstable();
    if removed == 0 && families.is_empty() {
        return Ok(None);
    }
    notes.add(entry);
    let until = entry.at.plus(*tokens_live_for);
    let revocations = families
        .iter()
        .map(|family| {
            let kind = RevocationKind::Family;
            revocations::record(connection, kind, family.to_string(), until, entry.at)
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(RevokeOutcome { families, revocations }))
}

/// Forgets every consent of a person.
pub(super) fn remove_all(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM consents WHERE user_id = ?1")?
        .execute(params![user.0.as_bytes()])?;
    Ok(())
}

/// The clients that have access to a person's account, by name.
pub(super) fn apps(connection: &Connection, user: UserId) -> Result<Vec<AppAccess>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT c.client_id, c.metadata, a.scope, a.since, a.used
           FROM clients c
           JOIN (SELECT client_id, scope, given_at AS since, NULL AS used
                   FROM consents WHERE user_id = ?1
                  UNION ALL
                 SELECT client_id, scope, created_at, rotated_at
                   FROM token_families
                  WHERE user_id = ?1 AND client_id <> ?2 AND revoked_at IS NULL) a
             ON a.client_id = c.client_id AND a.since >= c.created_at
          ORDER BY c.client_id, a.since",
    )?;
    let rows = statement.query_map(params![user.0.as_bytes(), FIRST_PARTY], |row| {
        Ok(Access {
            client_id: row.get(0)?,
            metadata: row::parsed(row, 1)?,
            scope: row.get(2)?,
            since: row::time(row, 3)?,
            last_used_at: row::optional_time(row, 4)?,
        })
    })?;
    Ok(AppAccess::gathered(rows.collect::<Result<_, _>>()?))
}

/// Grants, their people and their addresses.
pub(super) fn with_people(
    connection: &Connection,
    ids: &[FamilyId],
) -> Result<Vec<GrantWithPerson>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        family_columns!(),
        ", ",
        user_columns!(),
        ", e.address, e.verified, e.provider AS email_provider
           FROM token_families f JOIN users u ON u.id = f.user_id
           LEFT JOIN identities i ON i.user_id = f.user_id
           LEFT JOIN emails e ON e.provider = i.provider AND e.subject = i.subject
          WHERE f.id = ?1
          ORDER BY i.created_at, i.provider, i.subject, e.position"
    );
    // One transaction: the file's lock is taken once, and all are read as of one moment.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(SQL)?;
    let mut grants = Vec::new();
    for id in ids {
        let mut rows = statement.query(params![id.0.as_bytes()])?;
        let mut grant: Option<GrantWithPerson> = None;
        // A row for each address; one at least.
        while let Some(row) = rows.next()? {
            let found = match &mut grant {
                Some(found) => found,
                None => grant.insert(GrantWithPerson {
                    live: token_families::read(row)?,
                    emails: Vec::new(),
                }),
            };
            if let Some(address) = row.get("address")? {
                let (verified, provider) = (row.get("verified")?, row.get("email_provider")?);
                found.emails.push(Email { address, verified, provider });
            }
        }
        grants.extend(grant);
    }
    drop(statement);
    transaction.commit()?;
    Ok(grants)
}
