//! Table `token_families`: one row a family, one live token.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::{Parameters, bigint, execute, query, query_first};
use super::failure::Failure;
use super::users::{self, user_columns};
use super::{deliveries, revocations};
use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::model::{
    FIRST_PARTY, Family, FamilyId, FamilyWithUser, NewFamily, Revocation, RevocationKind, Session,
    SessionId, User, UserId, refused_until,
};
use crate::store::operation::{
    AdvanceFamily, AdvanceOutcome, EndSessionsBefore, EndedSessions, RemoveExpired, Revoke,
    RevokeOutcome, RevokeTarget,
};
use crate::store::trail::Notes;

/// The columns of a family, from `token_families f`, as [`from_row`] reads them.
macro_rules! family_columns {
    () => {
        "f.id AS family_id, f.session_id, f.client_id, f.scope, f.generation, f.rotated_at, \
         f.created_at, f.auth_time, f.revoked_at, f.resource"
    };
}
pub(super) use family_columns;

fn from_row(row: &Row, user: UserId) -> Result<Family, Failure> {
    let id = FamilyId(row.try_get("family_id")?);
    let revoked_at: Option<i64> = row.try_get("revoked_at")?;
    Ok(Family {
        id,
        user,
        session: SessionId(row.try_get("session_id")?),
        client_id: row.try_get("client_id")?,
        scope: row.try_get("scope")?,
        generation: generation(row.try_get("generation")?, id)?,
        rotated_at: Timestamp::from_millis(row.try_get("rotated_at")?),
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        auth_time: Timestamp::from_millis(row.try_get("auth_time")?),
        revoked_at: revoked_at.map(Timestamp::from_millis),
        resource: row.try_get("resource")?,
    })
}

fn generation(stored: i64, family: FamilyId) -> Result<u64, Failure> {
    u64::try_from(stored)
        .map_err(|_| Failure::inconsistent(format!("family {family} has a negative generation")))
}

/// Reads the columns that `family_columns!` and `user_columns!` name.
pub(super) fn with_user(row: &Row) -> Result<FamilyWithUser, Failure> {
    let user = users::from_row(row)?;
    Ok(FamilyWithUser { family: from_row(row, user.id)?, user })
}

/// A family, revoked or not, with its person.
pub(super) async fn by_id(
    db: &ClientWrapper,
    id: FamilyId,
) -> Result<Option<FamilyWithUser>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        family_columns!(),
        ", ",
        user_columns!(),
        " FROM token_families f JOIN users u ON u.id = f.user_id WHERE f.id = $1"
    );
    query_first(db, SQL, &[&id.0]).await?.as_ref().map(with_user).transpose()
}

/// Every family's id and generation that is not revoked.
pub(super) async fn live(db: &ClientWrapper) -> Result<Vec<(FamilyId, u64)>, Failure> {
    const SQL: &str = "
        SELECT id, generation FROM token_families WHERE revoked_at IS NULL ORDER BY id";
    let rows = query(db, SQL, &[]).await?;
    let families = rows.iter().map(|row| {
        let id = FamilyId(row.try_get("id")?);
        Ok((id, generation(row.try_get("generation")?, id)?))
    });
    families.collect()
}

/// Moves each family on, if it may move: see [`AdvanceFamily`]. One statement, whatever their number.
///
/// Conditional, so of two nodes racing on one token exactly one moves it: the second waits for the
/// row and then judges it as it is. Only rows that will move are locked, in the order of their ids, so
/// that batches of several nodes do not wait for each other in a circle; and no stronger than the update
/// needs, so that codes can be redeemed in a session meanwhile. Families that did not move are missing in
/// the answer.
///
/// Spec: RFC 6749 §6, RFC 9700 §4.14.2.
pub(super) async fn advance(
    db: &ClientWrapper,
    asked: &[&AdvanceFamily],
) -> Result<HashMap<FamilyId, AdvanceOutcome>, Failure> {
    // A generation beyond what the column holds was never issued, and its successor has no number.
    let movable: Vec<_> =
        asked.iter().filter(|advance| bigint(advance.presented) < i64::MAX).collect();
    if movable.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = movable.iter().map(|advance| advance.family.0).collect();
    let presented: Vec<i64> = movable.iter().map(|advance| bigint(advance.presented)).collect();
    let times = |time: fn(&AdvanceFamily) -> Timestamp| -> Vec<i64> {
        movable.iter().map(|advance| time(advance).millis()).collect()
    };
    let parameters: Parameters<'_> = &[
        &ids,
        &presented,
        &times(|advance| advance.now),
        &times(|advance| advance.rotated_before),
        &times(|advance| advance.idle_since),
        &times(|advance| advance.created_after),
    ];
    query(db, ADVANCE, parameters).await?.iter().map(moved).collect()
}

const ADVANCE: &str = concat!(
    "WITH moving AS (
        SELECT f.id, f.generation AS before, a.presented, a.now, ",
    user_columns!(),
    "     FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
               AS a (id, presented, now, rotated_before, idle_since, created_after)
          JOIN token_families f ON f.id = a.id
          JOIN users u ON u.id = f.user_id
         WHERE u.status = 'active' AND f.revoked_at IS NULL
           AND f.rotated_at > a.idle_since AND f.created_at > a.created_after
           AND (f.generation = a.presented AND f.rotated_at <= a.rotated_before
                OR f.generation < a.presented)
         ORDER BY f.id FOR NO KEY UPDATE OF f
    )
    UPDATE token_families f SET generation = m.presented + 1, rotated_at = m.now
      FROM moving m WHERE f.id = m.id
    RETURNING m.before, m.user_id, m.username, m.display_name, m.avatar, m.role, m.status,
              m.user_created_at, ",
    family_columns!()
);

fn moved(row: &Row) -> Result<(FamilyId, AdvanceOutcome), Failure> {
    let live = Box::new(with_user(row)?);
    let before = generation(row.try_get("before")?, live.family.id)?;
    Ok((live.family.id, AdvanceOutcome::Moved { live, before }))
}

/// Whether a family of this id can be opened for this person, or be kept if it is their live session.
/// What is there stays so until the transaction ends.
pub(super) async fn can_open(db: &ClientWrapper, new: &NewFamily) -> Result<bool, Failure> {
    const SQL: &str = "
        SELECT user_id = $2 AND client_id = $3 AND $4 = $3 AND revoked_at IS NULL AS can_be_kept
          FROM token_families WHERE id = $1 FOR UPDATE";
    let parameters: Parameters<'_> = &[&new.id.0, &new.user.0, &FIRST_PARTY, &new.client_id];
    match query_first(db, SQL, parameters).await? {
        Some(row) => Ok(row.try_get("can_be_kept")?),
        None => Ok(true),
    }
}

/// Whether a session is this person's and live. Until the transaction ends nobody can end it.
pub(super) async fn hold_live(
    db: &ClientWrapper,
    id: FamilyId,
    user: UserId,
) -> Result<bool, Failure> {
    const SQL: &str = "
        SELECT FROM token_families
         WHERE id = $1 AND user_id = $2 AND client_id = $3 AND revoked_at IS NULL FOR SHARE";
    Ok(query_first(db, SQL, &[&id.0, &user.0, &FIRST_PARTY]).await?.is_some())
}

/// Opens a family at generation 0, or moves on the person's live session of the same id.
pub(super) async fn open(
    db: &ClientWrapper,
    new: &NewFamily,
    user: User,
) -> Result<FamilyWithUser, Failure> {
    const SQL: &str = concat!(
        "INSERT INTO token_families AS f
                (id, user_id, session_id, client_id, scope, offline, generation, rotated_at, created_at,
                 auth_time, provider, user_agent, network, resource)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $7, $8, $9, $10, $11, $13)
         ON CONFLICT (id) DO UPDATE
            SET auth_time = EXCLUDED.auth_time, provider = EXCLUDED.provider,
                generation = f.generation + 1, rotated_at = EXCLUDED.rotated_at
          WHERE f.user_id = EXCLUDED.user_id AND f.client_id = EXCLUDED.client_id
            AND f.client_id = $12 AND f.revoked_at IS NULL
         RETURNING ",
        family_columns!()
    );
    let parameters: Parameters<'_> = &[
        &new.id.0,
        &new.user.0,
        &new.session.0,
        &new.client_id,
        &new.scope,
        &new.is_offline(),
        &new.created_at.millis(),
        &new.auth_time.millis(),
        &new.provider,
        &new.user_agent,
        &new.network,
        &FIRST_PARTY,
        &new.resource,
    ];
    match query_first(db, SQL, parameters).await? {
        Some(row) => Ok(FamilyWithUser { family: from_row(&row, new.user)?, user }),
        None => Err(Failure::Refused(StoreError::Refused(format!(
            "family {} exists and is not this person's live session",
            new.id
        )))),
    }
}

/// A family that a revocation concerns.
struct Ended {
    id: FamilyId,
    session: SessionId,
    client_id: String,
    provider: String,
}

fn ended_from_row(row: &Row) -> Result<Ended, Failure> {
    Ok(Ended {
        id: FamilyId(row.try_get("id")?),
        session: SessionId(row.try_get("session_id")?),
        client_id: row.try_get("client_id")?,
        provider: row.try_get("provider")?,
    })
}

/// See [`Revoke`].
pub(super) async fn revoke(
    db: &ClientWrapper,
    notes: &mut Notes,
    revoke: &Revoke,
) -> Result<RevokeOutcome, Failure> {
    if let Some((family, presented)) = revoke.only_if_reused
        && !hold_if_reused(db, family, presented).await?
    {
        return Ok(RevokeOutcome::default());
    }
    let outcome = end_and_refuse(db, revoke).await?;
    if !outcome.families.is_empty() {
        notes.add(&revoke.audit);
    }
    Ok(outcome)
}

/// Ends what is meant, refuses the access tokens and has the clients told.
pub(super) async fn end_and_refuse(
    db: &ClientWrapper,
    revoke: &Revoke,
) -> Result<RevokeOutcome, Failure> {
    // The first waits for codes that are being redeemed in a session that ends. What these opened in the
    // meantime only the second sees.
    let (mut ended, late) = try_join!(end(db, revoke), end(db, revoke))?;
    ended.extend(late);
    ended.sort_by_key(|family| family.id);
    let outcome = outcome_of(revoke, &ended);
    refuse(db, &outcome, &ended, revoke.now).await?;
    Ok(outcome)
}

/// Refuses the access tokens of what ended and has the clients told.
async fn refuse(
    db: &ClientWrapper,
    outcome: &RevokeOutcome,
    ended: &[Ended],
    now: Timestamp,
) -> Result<(), Failure> {
    let sessions = sessions_of(ended);
    try_join!(
        revocations::store(db, &outcome.revocations, now),
        deliveries::add_for_sessions(db, &sessions, now),
    )?;
    Ok(())
}

/// Why [`end_before`] ends families.
const ENDED_BY_OPERATOR: &str = "ended_by_operator";

/// Looks at the next families in the order of their ids and ends those that were opened before the moment.
/// Returns the last id looked at, too, or none at the end of the table.
pub(super) async fn end_before(
    db: &ClientWrapper,
    operation: &EndSessionsBefore,
) -> Result<(RevokeOutcome, Option<FamilyId>), Failure> {
    const END: &str = "
        WITH ending AS (
            SELECT f.id FROM token_families f
             WHERE f.id > $1 AND f.id <= $2 AND f.created_at < $3 AND f.revoked_at IS NULL
             ORDER BY f.id FOR UPDATE
        ), ended AS (
            UPDATE token_families f SET revoked_at = $4, revoke_reason = $5
              FROM ending WHERE f.id = ending.id
            RETURNING f.id, f.session_id, f.client_id, f.provider
        )
        SELECT id, session_id, client_id, provider FROM ended ORDER BY id";
    let EndSessionsBefore { before, after, limit, tokens_live_for, audit: entry } = operation;
    let after = after.map_or(Uuid::nil(), |family| family.0);
    let (Some(last), is_end) = look(db, after, *limit).await? else {
        return Ok((RevokeOutcome::default(), None));
    };
    let now = entry.at;
    let parameters: Parameters<'_> =
        &[&after, &last.0, &before.millis(), &now.millis(), &ENDED_BY_OPERATOR];
    let rows = query(db, END, parameters).await?;
    let ended: Vec<Ended> = rows.iter().map(ended_from_row).collect::<Result<_, _>>()?;
    let outcome = refused(&ended, BTreeMap::new(), now, *tokens_live_for);
    refuse(db, &outcome, &ended, now).await?;
    Ok((outcome, (!is_end).then_some(last)))
}

/// What an [`end_before`] ended that was committed. The walk goes on behind the last of it: families may be
/// gone since, so that nobody knows where it would have ended.
pub(super) async fn read_back_end_before(
    db: &ClientWrapper,
    operation: &EndSessionsBefore,
) -> Result<EndedSessions, Failure> {
    const SQL: &str = "
        SELECT f.id, f.session_id, f.client_id, f.provider FROM token_families f
         WHERE f.id > $1 AND f.created_at < $2 AND f.revoked_at = $3 AND f.revoke_reason = $4
         ORDER BY f.id LIMIT $5";
    let EndSessionsBefore { before, after, limit, tokens_live_for, audit: entry } = operation;
    let after = after.map_or(Uuid::nil(), |family| family.0);
    let (now, limit) = (entry.at.millis(), i64::from(*limit));
    let parameters: Parameters<'_> = &[&after, &before.millis(), &now, &ENDED_BY_OPERATOR, &limit];
    let rows = query(db, SQL, parameters).await?;
    let ended: Vec<Ended> = rows.iter().map(ended_from_row).collect::<Result<_, _>>()?;
    let after = ended.last().map(|family| family.id);
    let ended = refused(&ended, BTreeMap::new(), entry.at, *tokens_live_for);
    Ok(EndedSessions { ended, after })
}

/// The last of the next families in the order of their ids, and whether there are no more.
async fn look(
    db: &ClientWrapper,
    after: Uuid,
    limit: u32,
) -> Result<(Option<FamilyId>, bool), Failure> {
    const SQL: &str = "
        SELECT id FROM token_families WHERE id > $1 ORDER BY id LIMIT $2";
    let looked = query(db, SQL, &[&after, &i64::from(limit)]).await?;
    let last = looked.last().map(|row| Ok::<_, Failure>(FamilyId(row.try_get("id")?)));
    Ok((last.transpose()?, looked.len() < limit as usize))
}

/// Whether the family is live and beyond the generation presented; it stays so until the transaction
/// ends.
async fn hold_if_reused(
    db: &ClientWrapper,
    family: FamilyId,
    presented: u64,
) -> Result<bool, Failure> {
    const SQL: &str = "
        SELECT FROM token_families
         WHERE id = $1 AND revoked_at IS NULL AND generation > $2 FOR UPDATE";
    Ok(query_first(db, SQL, &[&family.0, &bigint(presented)]).await?.is_some())
}

/// The statement that ends the families for which `$condition` holds, locked in the order of their ids.
macro_rules! end_where {
    ($condition:literal) => {
        concat!(
            "WITH ending AS (
                SELECT f.id FROM token_families f WHERE ",
            $condition,
            " AND f.revoked_at IS NULL ORDER BY f.id FOR UPDATE
            ), ended AS (
                UPDATE token_families f SET revoked_at = $2, revoke_reason = $3
                  FROM ending WHERE f.id = ending.id
                RETURNING f.id, f.session_id, f.client_id, f.provider
            )
            SELECT id, session_id, client_id, provider FROM ended ORDER BY id"
        )
    };
}

/// The statement that finds what a committed statement of `end_where!` ended.
macro_rules! ended_where {
    ($condition:literal) => {
        concat!(
            "SELECT f.id, f.session_id, f.client_id, f.provider FROM token_families f WHERE ",
            $condition,
            " AND f.revoked_at = $2 AND f.revoke_reason = $3 ORDER BY f.id"
        )
    };
}

/// Fills in what the target means: `end_where!` or `ended_where!` for each of the four.
macro_rules! by_target {
    ($statement:ident, $target:expr) => {
        match $target {
            RevokeTarget::Family(id) => ($statement!("f.id = $1"), id.0),
            // A first-party family has the id of its session; the index holds only the others.
            RevokeTarget::Session(id) => (
                $statement!(
                    "(f.id = $1 AND f.client_id = 'latchkey'
                      OR f.session_id = $1 AND f.client_id <> 'latchkey' AND NOT f.offline)"
                ),
                id.0,
            ),
            RevokeTarget::User(id) => ($statement!("f.user_id = $1"), id.0),
            RevokeTarget::OtherSessions(id, _) => (
                $statement!(
                    "f.user_id = $1 AND f.session_id <> $4
                     AND (f.client_id = 'latchkey' OR NOT f.offline)"
                ),
                id.0,
            ),
        }
    };
}

async fn end(db: &ClientWrapper, revoke: &Revoke) -> Result<Vec<Ended>, Failure> {
    let (sql, id): (&str, Uuid) = by_target!(end_where, revoke.target);
    concerned(db, sql, id, revoke).await
}

/// Runs a statement that `by_target!` made.
async fn concerned(
    db: &ClientWrapper,
    sql: &str,
    id: Uuid,
    revoke: &Revoke,
) -> Result<Vec<Ended>, Failure> {
    let now = revoke.now.millis();
    let common: Parameters<'_> = &[&id, &now, &revoke.reason];
    let rows = match revoke.target {
        RevokeTarget::OtherSessions(_, SessionId(kept)) => {
            query(db, sql, &[common, &[&kept]].concat()).await?
        }
        _ => query(db, sql, common).await?,
    };
    rows.iter().map(ended_from_row).collect()
}

/// What a revocation did that was committed: [`revoke`] answered the same.
pub(super) async fn read_back_revoke(
    db: &ClientWrapper,
    revoke: &Revoke,
) -> Result<RevokeOutcome, Failure> {
    let (sql, id): (&str, Uuid) = by_target!(ended_where, revoke.target);
    Ok(outcome_of(revoke, &concerned(db, sql, id, revoke).await?))
}

/// The sessions that end with these families.
fn sessions_of(ended: &[Ended]) -> Vec<SessionId> {
    let first_party = ended.iter().filter(|family| family.client_id == FIRST_PARTY);
    first_party.map(|family| family.session).collect()
}

/// Which access tokens die with these families, and until when they are refused.
fn outcome_of(revoke: &Revoke, ended: &[Ended]) -> RevokeOutcome {
    let mut concerned = BTreeMap::new();
    if let RevokeTarget::Session(session) = revoke.target {
        let until = revoke.now.plus(revoke.tokens_live_for);
        concerned.insert((RevocationKind::Session, session.to_string()), until);
    }
    refused(ended, concerned, revoke.now, revoke.tokens_live_for)
}

/// These families, and what refuses their access tokens beside `concerned`.
fn refused(
    ended: &[Ended],
    mut concerned: BTreeMap<(RevocationKind, String), Timestamp>,
    now: Timestamp,
    tokens_live_for: Duration,
) -> RevokeOutcome {
    for family in ended {
        let name = if family.client_id == FIRST_PARTY {
            (RevocationKind::Session, family.session.to_string())
        } else {
            (RevocationKind::Family, family.id.to_string())
        };
        let end = refused_until(now, tokens_live_for, &family.provider);
        let until = concerned.entry(name).or_insert(end);
        *until = end.max(*until);
    }
    RevokeOutcome {
        families: ended.iter().map(|family| family.id).collect(),
        revocations: concerned
            .into_iter()
            .map(|((kind, id), until)| Revocation { kind, id, until })
            .collect(),
    }
}

/// Removes everything that a person signed in to, locked in the order of the ids as elsewhere.
pub(super) async fn remove_all(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "
        DELETE FROM token_families WHERE id IN
               (SELECT id FROM token_families WHERE user_id = $1 ORDER BY id FOR UPDATE)";
    execute(db, SQL, &[&user.0]).await?;
    Ok(())
}

/// A person's first-party families, ended ones too, the newest use first.
pub(super) async fn sessions(db: &ClientWrapper, user: UserId) -> Result<Vec<Session>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        family_columns!(),
        ", f.provider, f.user_agent, f.network FROM token_families f
          WHERE f.user_id = $1 AND f.client_id = $2
          ORDER BY f.rotated_at DESC, f.id DESC"
    );
    let rows = query(db, SQL, &[&user.0, &FIRST_PARTY]).await?;
    let sessions = rows.iter().map(|row| {
        Ok(Session {
            family: from_row(row, user)?,
            provider: row.try_get("provider")?,
            user_agent: row.try_get("user_agent")?,
            network: row.try_get("network")?,
        })
    });
    sessions.collect()
}

/// Looks at the next families in the order of their ids and removes those that nobody can use any more.
/// Returns how many went and the last id looked at, or none at the end of the table.
pub(super) async fn remove_expired(
    db: &ClientWrapper,
    remove: &RemoveExpired,
) -> Result<(u64, Option<FamilyId>), Failure> {
    const REMOVE: &str = "
        DELETE FROM token_families
         WHERE id > $1 AND id <= $2
           AND (rotated_at <= $3 OR created_at <= $4 OR revoked_at <= $5)";
    let after = remove.families_after.map_or(Uuid::nil(), |family| family.0);
    let (Some(last), is_end) = look(db, after, remove.limit).await? else { return Ok((0, None)) };
    let parameters: Parameters<'_> = &[
        &after,
        &last.0,
        &remove.idle_since.millis(),
        &remove.created_before.millis(),
        &remove.revoked_before.millis(),
    ];
    let removed = execute(db, REMOVE, parameters).await?;
    Ok((removed, (!is_end).then_some(last)))
}
