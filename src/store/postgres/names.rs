//! Tables `former_usernames` and `held_usernames`: the names that people had.

use deadpool_postgres::ClientWrapper;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::model::{FormerUsername, HeldUsername, UserId};

/// Notes the present name of a person, whose row the caller has locked, as a former one.
pub(super) async fn keep(db: &ClientWrapper, user: UserId, now: Timestamp) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO former_usernames (user_id, number, username, username_key, since, given_up_at)
        SELECT u.id, coalesce(max(f.number), 0) + 1, u.username, u.username_key,
               coalesce(max(f.given_up_at), u.created_at), $2
          FROM users u LEFT JOIN former_usernames f ON f.user_id = u.id
         WHERE u.id = $1 GROUP BY u.id";
    execute(db, SQL, &[&user.0, &now.millis()]).await?;
    Ok(())
}

/// When a person changed their name last.
pub(super) async fn last_change(
    db: &ClientWrapper,
    user: UserId,
) -> Result<Option<Timestamp>, Failure> {
    const SQL: &str = "SELECT max(given_up_at) AS last FROM former_usernames WHERE user_id = $1";
    let Some(row) = query_first(db, SQL, &[&user.0]).await? else { return Ok(None) };
    let last: Option<i64> = row.try_get("last")?;
    Ok(last.map(Timestamp::from_millis))
}

/// The names that a person had, oldest first.
pub(super) async fn former(
    db: &ClientWrapper,
    user: UserId,
) -> Result<Vec<FormerUsername>, Failure> {
    const SQL: &str = "
        SELECT username, since, given_up_at FROM former_usernames
         WHERE user_id = $1 ORDER BY number";
    let rows = query(db, SQL, &[&user.0]).await?;
    let names = rows.iter().map(|row| {
        Ok(FormerUsername {
            username: row.try_get("username")?,
            since: Timestamp::from_millis(row.try_get("since")?),
            until: Timestamp::from_millis(row.try_get("given_up_at")?),
        })
    });
    names.collect()
}

/// Removes the names that a person had.
pub(super) async fn forget(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM former_usernames WHERE user_id = $1";
    execute(db, SQL, &[&user.0]).await?;
    Ok(())
}

/// Holds the present name of a person: for `whom` against others, or against everybody. Whoever it was
/// held for before had lost it to the one who gives it up now.
pub(super) async fn hold_present(
    db: &ClientWrapper,
    user: UserId,
    whom: Option<UserId>,
    until: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO held_usernames (username_key, user_id, held_until)
        SELECT username_key, $2, $3 FROM users WHERE id = $1
        ON CONFLICT (username_key) DO UPDATE
           SET user_id = EXCLUDED.user_id, held_until = EXCLUDED.held_until";
    let whom: Option<Uuid> = whom.map(|whom| whom.0);
    execute(db, SQL, &[&user.0, &whom, &until.millis()]).await?;
    Ok(())
}

/// Whether a name is held against this person.
pub(super) async fn is_held_against(
    db: &ClientWrapper,
    key: &str,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "
        SELECT FROM held_usernames
         WHERE username_key = $1 AND user_id IS DISTINCT FROM $2 AND held_until > $3";
    let parameters: Parameters<'_> = &[&key, &user.0, &now.millis()];
    Ok(query_first(db, SQL, parameters).await?.is_some())
}

/// Holds a name no longer: its old owner has it again, or its time is over.
pub(super) async fn release(db: &ClientWrapper, key: &str) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM held_usernames WHERE username_key = $1";
    execute(db, SQL, &[&key]).await?;
    Ok(())
}

/// The names that are held for a person.
pub(super) async fn held(db: &ClientWrapper, user: UserId) -> Result<Vec<HeldUsername>, Failure> {
    const SQL: &str = "
        SELECT username_key, held_until FROM held_usernames
         WHERE user_id = $1 ORDER BY held_until, username_key";
    let rows = query(db, SQL, &[&user.0]).await?;
    let names = rows.iter().map(|row| {
        Ok(HeldUsername {
            username_key: row.try_get("username_key")?,
            until: Timestamp::from_millis(row.try_get("held_until")?),
        })
    });
    names.collect()
}

/// Goes on holding a person's names without a word on whose they were.
pub(super) async fn hold_for_nobody(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "UPDATE held_usernames SET user_id = NULL WHERE user_id = $1";
    execute(db, SQL, &[&user.0]).await?;
    Ok(())
}

/// Removes at most `limit` names that are held no longer. Judged again when a row is locked: the name
/// may have been taken and given up once more.
pub(super) async fn remove_expired(
    db: &ClientWrapper,
    now: Timestamp,
    limit: u32,
) -> Result<u64, Failure> {
    const SQL: &str = "
        DELETE FROM held_usernames h
         USING (SELECT username_key FROM held_usernames
                 WHERE held_until <= $1 ORDER BY held_until LIMIT $2) AS over
         WHERE h.username_key = over.username_key AND h.held_until <= $1";
    execute(db, SQL, &[&now.millis(), &i64::from(limit)]).await
}
