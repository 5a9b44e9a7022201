//! What people give clients access to: codes that become grants, and table `consents`.
//!
//! Whoever changes what a person allows locks the person's row first, and their consents and families
//! after it.

use std::collections::{BTreeSet, HashMap, HashSet};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use super::token_families::{self, family_columns};
use super::users::{self, user_columns};
use super::{clients, revocations, spent};
use crate::clock::Timestamp;
use crate::store::model::{
    Access, AppAccess, Consent, Email, FIRST_PARTY, FamilyId, GrantWithPerson, NewFamily,
    Revocation, RevocationKind, UserId, together,
};
use crate::store::operation::{
    ConsentOutcome, GiveConsent, RedeemCode, RedeemOutcome, RevokeOutcome, WithdrawConsent,
};
use crate::store::trail::Notes;

/// Redeems codes, each as [`RedeemCode`] says; one outcome for each, in order. One statement, whatever
/// their number, and more only for those that were spent before.
///
/// Spec: RFC 6749 §4.1.2.
pub(super) async fn redeem(
    db: &ClientWrapper,
    asked: &[&RedeemCode],
) -> Result<Vec<RedeemOutcome>, Failure> {
    // Of two with one code the first opens; the second finds it spent, as it would on another node.
    let mut codes = HashSet::new();
    let first: Vec<&RedeemCode> =
        asked.iter().copied().filter(|redeem| codes.insert(&redeem.spends.id)).collect();
    let mut spent_now = spend_and_open(db, &first).await?;
    let outcomes: Vec<Option<RedeemOutcome>> =
        asked.iter().map(|redeem| spent_now.remove(&redeem.spends.id)).collect();
    let replays: Vec<&RedeemCode> = asked
        .iter()
        .zip(&outcomes)
        .filter_map(|(redeem, outcome)| outcome.is_none().then_some(*redeem))
        .collect();
    let mut ended = end_replayed(db, &replays).await?;
    let outcomes = asked.iter().zip(outcomes).map(|(redeem, outcome)| {
        outcome.unwrap_or_else(|| {
            RedeemOutcome::Replayed(ended.remove(&redeem.family.id).unwrap_or_default())
        })
    });
    Ok(outcomes.collect())
}

/// Spends the codes that were not spent before, and opens the family of each where that is allowed. Codes
/// that were spent before are missing in the answer.
async fn spend_and_open(
    db: &ClientWrapper,
    asked: &[&RedeemCode],
) -> Result<HashMap<String, RedeemOutcome>, Failure> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let families: Vec<&NewFamily> = asked.iter().map(|redeem| &redeem.family).collect();
    let ids = |id: fn(&NewFamily) -> Uuid| -> Vec<Uuid> {
        families.iter().map(|family| id(family)).collect()
    };
    let texts = |text: fn(&NewFamily) -> &str| -> Vec<&str> {
        families.iter().map(|family| text(family)).collect()
    };
    let times = |time: fn(&NewFamily) -> Timestamp| -> Vec<i64> {
        families.iter().map(|family| time(family).millis()).collect()
    };
    let offline: Vec<bool> = families.iter().map(|family| family.is_offline()).collect();
    let needs_consent: Vec<bool> = asked.iter().map(|redeem| redeem.needs_consent).collect();
    let codes: Vec<&str> = asked.iter().map(|redeem| redeem.spends.id.as_str()).collect();
    let until: Vec<i64> = asked.iter().map(|redeem| redeem.spends.until.millis()).collect();
    let parameters: Parameters<'_> = &[
        &ids(|family| family.id.0),
        &ids(|family| family.user.0),
        &ids(|family| family.session.0),
        &texts(|family| &family.client_id),
        &texts(|family| &family.scope),
        &offline,
        &texts(|family| &family.resource),
        &times(|family| family.created_at),
        &times(|family| family.auth_time),
        &texts(|family| &family.provider),
        &texts(|family| &family.user_agent),
        &texts(|family| &family.network),
        &needs_consent,
        &codes,
        &until,
    ];
    query(db, REDEEM, parameters).await?.iter().map(redeemed).collect()
}

/// What it relies on is locked until the transaction ends, in an order that is the same for everybody:
/// the person, so that nobody can lock or delete them; the session, so that nobody can end it, but so
/// that it can be rotated meanwhile; the consent, so that nobody can withdraw it; then the codes. Each
/// step waits for the one before: hence the counts.
const REDEEM: &str = concat!(
    r#"WITH asked AS (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::boolean[],
                             $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::text[],
                             $12::text[], $13::boolean[], $14::text[], $15::bigint[])
               AS a (id, user_id, session_id, client_id, scope, offline, resource, created_at, auth_time,
                     provider, user_agent, network, needs_consent, code, until)
    ), person AS (
        SELECT u.id, u.username, u.display_name, u.avatar, u.role, u.status, u.created_at
          FROM users u WHERE u.id = ANY ($2::uuid[]) AND u.status = 'active'
         ORDER BY u.id FOR SHARE OF u
    ), session AS (
        SELECT f.id, f.user_id FROM token_families f
         WHERE f.id = ANY ($3::uuid[]) AND f.client_id = 'latchkey' AND f.revoked_at IS NULL
           AND (SELECT count(*) FROM person) >= 0
         ORDER BY f.id FOR KEY SHARE OF f
    ), consent AS (
        SELECT c.user_id, c.client_id FROM consents c
         WHERE c.user_id = ANY ($2::uuid[]) AND c.client_id = ANY ($4::text[])
           AND (SELECT count(*) FROM session) >= 0
         ORDER BY c.user_id, c.client_id FOR KEY SHARE OF c
    ), spending AS (
        INSERT INTO spent (id, "until")
        SELECT a.code, a.until FROM asked a WHERE (SELECT count(*) FROM consent) >= 0 ORDER BY a.code
        ON CONFLICT (id) DO NOTHING RETURNING id
    ), opened AS (
        INSERT INTO token_families
               (id, user_id, session_id, client_id, scope, offline, generation, rotated_at, created_at,
                auth_time, provider, user_agent, network, resource)
        SELECT a.id, a.user_id, a.session_id, a.client_id, a.scope, a.offline, 0, a.created_at,
               a.created_at, a.auth_time, a.provider, a.user_agent, a.network, a.resource
          FROM asked a JOIN spending s ON s.id = a.code
               JOIN person u ON u.id = a.user_id
               JOIN session ON session.id = a.session_id AND session.user_id = a.user_id
         WHERE NOT a.needs_consent
            OR EXISTS (SELECT FROM consent c WHERE c.user_id = a.user_id AND c.client_id = a.client_id)
        RETURNING *
    )
    SELECT s.id AS code, f.id IS NOT NULL AS is_open, "#,
    family_columns!(),
    ", ",
    user_columns!(),
    " FROM spending s JOIN asked a ON a.code = s.id
      LEFT JOIN opened f ON f.id = a.id
      LEFT JOIN person u ON u.id = a.user_id"
);

fn redeemed(row: &Row) -> Result<(String, RedeemOutcome), Failure> {
    let outcome = match row.try_get("is_open")? {
        true => RedeemOutcome::Opened(Box::new(token_families::with_user(row)?)),
        false => RedeemOutcome::NotAllowed,
    };
    Ok((row.try_get("code")?, outcome))
}

/// Ends what codes gave that are redeemed once more, with revocation. By the id of the family;
/// those for which nothing was left to end are missing.
///
/// A statement of its own, since it must see what others committed while the first waited for them. What
/// this very redemption opened stays: then this is its repetition, after a commit that nobody confirmed.
async fn end_replayed(
    db: &ClientWrapper,
    replays: &[&RedeemCode],
) -> Result<HashMap<FamilyId, RevokeOutcome>, Failure> {
    const SQL: &str = "
        WITH ending AS (
            SELECT f.id, r.at FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS r (id, at, entry)
              JOIN token_families f ON f.id = r.id
             WHERE f.revoked_at IS NULL
               AND NOT EXISTS (SELECT FROM audit_events e WHERE e.id = r.entry)
             ORDER BY f.id FOR UPDATE OF f
        )
        UPDATE token_families f SET revoked_at = ending.at, revoke_reason = 'code_replayed'
          FROM ending WHERE f.id = ending.id
        RETURNING f.id";
    if replays.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = replays.iter().map(|replay| replay.family.id.0).collect();
    let times: Vec<i64> = replays.iter().map(|replay| replay.audit_replay.at.millis()).collect();
    let entries: Vec<Uuid> = replays.iter().map(|replay| replay.audit.id).collect();
    let rows = query(db, SQL, &[&ids, &times, &entries]).await?;
    let mut ended: BTreeSet<FamilyId> =
        rows.iter().map(|row| Ok(FamilyId(row.try_get("id")?))).collect::<Result<_, Failure>>()?;
    let mut outcomes = HashMap::new();
    for replay in replays {
        // The first of several is the one that ended it.
        if ended.remove(&replay.family.id) {
            let outcome = outcome_of_replay(replay);
            revocations::store(db, &outcome.revocations, replay.audit_replay.at).await?;
            outcomes.insert(replay.family.id, outcome);
        }
    }
    Ok(outcomes)
}

/// What a replay ends that ends anything.
pub(super) fn outcome_of_replay(replay: &RedeemCode) -> RevokeOutcome {
    outcome_of(vec![replay.family.id], replay.audit_replay.at.plus(replay.tokens_live_for))
}

fn outcome_of(families: Vec<FamilyId>, until: Timestamp) -> RevokeOutcome {
    let revocations = families
        .iter()
        .map(|family| Revocation { kind: RevocationKind::Family, id: family.to_string(), until })
        .collect();
    RevokeOutcome { families, revocations }
}

/// What a person allowed a client.
pub(super) async fn consent(
    db: &ClientWrapper,
    user: UserId,
    client_id: &str,
) -> Result<Option<Consent>, Failure> {
    const SQL: &str = "
        SELECT scope, resource, given_at, updated_at FROM consents
         WHERE user_id = $1 AND client_id = $2";
    let row = query_first(db, SQL, &[&user.0, &client_id]).await?;
    let consent = row.map(|row| {
        Ok(Consent {
            scope: row.try_get("scope")?,
            resource: row.try_get("resource")?,
            given_at: Timestamp::from_millis(row.try_get("given_at")?),
            updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        })
    });
    consent.transpose()
}

/// See [`GiveConsent`]. Runs alone; nothing is written before it is decided.
pub(super) async fn give_consent(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &GiveConsent,
) -> Result<ConsentOutcome, Failure> {
    const SQL: &str = "
        INSERT INTO consents (user_id, client_id, scope, resource, given_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $5)
        ON CONFLICT (user_id, client_id) DO UPDATE
           SET scope = EXCLUDED.scope, resource = EXCLUDED.resource, updated_at = EXCLUDED.updated_at";
    let GiveConsent { user, asked_in, client_id, scope, resource, spends, audit: entry } =
        operation;
    if spent::is_spent(db, &spends.id).await? {
        return Ok(ConsentOutcome::AlreadySpent);
    }
    // Whoever else changes what this person allows waits from here on.
    if users::hold_active(db, *user).await?.is_none()
        || !token_families::hold_live(db, *asked_in, *user).await?
        || !clients::hold(db, client_id).await?
    {
        return Ok(ConsentOutcome::NotAllowed);
    }
    // Another node may be spending it right now.
    if !spent::spend(db, std::slice::from_ref(spends)).await? {
        return Ok(ConsentOutcome::AlreadySpent);
    }
    let (scope, resource) = match consent(db, *user, client_id).await? {
        Some(before) => (together(&before.scope, scope), together(&before.resource, resource)),
        None => (scope.clone(), resource.clone()),
    };
    let (now, user) = (entry.at.millis(), user.0);
    let parameters: Parameters<'_> = &[&user, client_id, &scope, &resource, &now];
    execute(db, SQL, parameters).await?;
    notes.add(entry);
    Ok(ConsentOutcome::Given)
}

/// See [`WithdrawConsent`]: what ended, if the client had any access. Runs alone.
pub(super) async fn withdraw_consent(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &WithdrawConsent,
) -> Result<Option<RevokeOutcome>, Failure> {
    const REMOVE: &str = "DELETE FROM consents WHERE user_id = $1 AND client_id = $2";
    const END: &str = "
        WITH ending AS (
            SELECT f.id FROM token_families f
             WHERE f.user_id = $1 AND f.client_id = $2 AND f.client_id <> 'latchkey'
               AND f.revoked_at IS NULL
             ORDER BY f.id FOR UPDATE
        )
        UPDATE token_families f SET revoked_at = $3, revoke_reason = 'consent_withdrawn'
          FROM ending WHERE f.id = ending.id
        RETURNING f.id";
    let WithdrawConsent { user, client_id, audit: entry, .. } = operation;
    // Waits for a code of the person that is being redeemed: what it opens ends with the others.
    users::hold(db, *user).await?;
    let removed = execute(db, REMOVE, &[&user.0, client_id]).await?;
    let ended = query(db, END, &[&user.0, client_id, &entry.at.millis()]).await?;
    if removed == 0 && ended.is_empty() {
        return Ok(None);
    }
    let outcome = outcome_of_withdrawal(operation, &ended)?;
    revocations::store(db, &outcome.revocations, entry.at).await?;
    notes.add(entry);
    Ok(Some(outcome))
}

/// What a withdrawal ended that was committed: [`withdraw_consent`] answered the same.
pub(super) async fn read_back_withdrawal(
    db: &ClientWrapper,
    operation: &WithdrawConsent,
) -> Result<RevokeOutcome, Failure> {
    const SQL: &str = "
        SELECT id FROM token_families
         WHERE user_id = $1 AND client_id = $2 AND revoked_at = $3
           AND revoke_reason = 'consent_withdrawn'";
    let WithdrawConsent { user, client_id, audit: entry, .. } = operation;
    let ended = query(db, SQL, &[&user.0, client_id, &entry.at.millis()]).await?;
    outcome_of_withdrawal(operation, &ended)
}

fn outcome_of_withdrawal(
    operation: &WithdrawConsent,
    ended: &[Row],
) -> Result<RevokeOutcome, Failure> {
    let families: BTreeSet<FamilyId> =
        ended.iter().map(|row| Ok(FamilyId(row.try_get("id")?))).collect::<Result<_, Failure>>()?;
    let until = operation.audit.at.plus(operation.tokens_live_for);
    Ok(outcome_of(Vec::from_iter(families), until))
}

/// Forgets every consent of a person.
pub(super) async fn remove_all(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM consents WHERE user_id = $1";
    execute(db, SQL, &[&user.0]).await?;
    Ok(())
}

/// The clients that have access to a person's account, by name.
pub(super) async fn apps(db: &ClientWrapper, user: UserId) -> Result<Vec<AppAccess>, Failure> {
    const SQL: &str = "
        SELECT c.client_id, c.metadata, a.scope, a.since, a.used
          FROM clients c
          JOIN (SELECT client_id, scope, given_at AS since, NULL::bigint AS used
                  FROM consents WHERE user_id = $1
                 UNION ALL
                SELECT client_id, scope, created_at, rotated_at
                  FROM token_families
                 WHERE user_id = $1 AND client_id <> $2 AND revoked_at IS NULL) a
            ON a.client_id = c.client_id AND a.since >= c.created_at
         ORDER BY c.client_id, a.since";
    let rows = query(db, SQL, &[&user.0, &FIRST_PARTY]).await?;
    let accesses = rows.iter().map(|row| {
        let used: Option<i64> = row.try_get("used")?;
        Ok(Access {
            client_id: row.try_get("client_id")?,
            metadata: clients::metadata_from(row)?,
            scope: row.try_get("scope")?,
            since: Timestamp::from_millis(row.try_get("since")?),
            last_used_at: used.map(Timestamp::from_millis),
        })
    });
    Ok(AppAccess::gathered(accesses.collect::<Result<_, Failure>>()?))
}

/// Grants, their people and their addresses.
pub(super) async fn with_people(
    db: &ClientWrapper,
    ids: &[FamilyId],
) -> Result<Vec<GrantWithPerson>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        family_columns!(),
        ", ",
        user_columns!(),
        ", e.address, e.verified, e.provider AS email_provider
           FROM token_families f JOIN users u ON u.id = f.user_id
           LEFT JOIN identities i ON i.user_id = f.user_id
           LEFT JOIN emails e ON e.provider = i.provider AND e.subject = i.subject
          WHERE f.id = ANY ($1::uuid[])
          ORDER BY f.id, i.created_at, i.provider, i.subject, e.position"
    );
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut grants: Vec<GrantWithPerson> = Vec::new();
    // A row for each address; one at least.
    for row in &query(db, SQL, &[&ids]).await? {
        let id = FamilyId(row.try_get("family_id")?);
        if grants.last().is_none_or(|last| last.live.family.id != id) {
            let live = token_families::with_user(row)?;
            grants.push(GrantWithPerson { live, emails: Vec::new() });
        }
        if let (Some(grant), Some(address)) = (grants.last_mut(), row.try_get("address")?) {
            let (verified, provider) = (row.try_get("verified")?, row.try_get("email_provider")?);
            grant.emails.push(Email { address, verified, provider });
        }
    }
    Ok(grants)
}
