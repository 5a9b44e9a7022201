//! `former_usernames` and `held_usernames`: the names that people had.

use rusqlite::{Connection, OptionalExtension, params};

use super::row;
use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::model::{FormerUsername, HeldUsername, UserId};

/// Notes the present name of a person as a former one.
pub(super) fn keep(
    connection: &Connection,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO former_usernames (user_id, number, username, username_key, since, given_up_at)
             SELECT u.id, coalesce(max(f.number), 0) + 1, u.username, u.username_key,
                    coalesce(max(f.given_up_at), u.created_at), ?2
               FROM users u LEFT JOIN former_usernames f ON f.user_id = u.id
              WHERE u.id = ?1 GROUP BY u.id",
        )?
        .execute(params![user.0.as_bytes(), now.millis()])?;
    Ok(())
}

/// When a person changed their name last.
pub(super) fn last_change(
    connection: &Connection,
    user: UserId,
) -> Result<Option<Timestamp>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT max(given_up_at) FROM former_usernames WHERE user_id = ?1")?;
    Ok(statement.query_row(params![user.0.as_bytes()], |row| row::optional_time(row, 0))?)
}

/// The names that a person had, oldest first.
pub(super) fn former(
    connection: &Connection,
    user: UserId,
) -> Result<Vec<FormerUsername>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT username, since, given_up_at FROM former_usernames
          WHERE user_id = ?1 ORDER BY number",
    )?;
    let rows = statement.query_map(params![user.0.as_bytes()], |row| {
        Ok(FormerUsername {
            username: row.get(0)?,
            since: row::time(row, 1)?,
            until: row::time(row, 2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes the names that a person had.
pub(super) fn forget(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM former_usernames WHERE user_id = ?1")?
        .execute(params![user.0.as_bytes()])?;
    Ok(())
}

/// Holds a name: for a person against others, or against everybody. Whoever it was held for before had
/// lost it to the one who gives it up now.
pub(super) fn hold(
    connection: &Connection,
    username_key: &str,
    user: Option<UserId>,
    until: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO held_usernames (username_key, user_id, held_until) VALUES (?1, ?2, ?3)
             ON CONFLICT (username_key) DO UPDATE
                SET user_id = excluded.user_id, held_until = excluded.held_until",
        )?
        .execute(params![
            username_key,
            user.map(|user| user.0.as_bytes().to_vec()),
            until.millis()
        ])?;
    Ok(())
}

/// Whether a name is held against this person.
pub(super) fn is_held_against(
    connection: &Connection,
    username_key: &str,
    user: UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT user_id IS NULL OR user_id <> ?2 FROM held_usernames
          WHERE username_key = ?1 AND held_until > ?3",
    )?;
    let held = statement
        .query_row(params![username_key, user.0.as_bytes(), now.millis()], |row| row.get(0));
    Ok(held.optional()?.unwrap_or(false))
}

/// Holds a name no longer: its old owner has it again, or its time is over.
pub(super) fn release(connection: &Connection, username_key: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM held_usernames WHERE username_key = ?1")?
        .execute(params![username_key])?;
    Ok(())
}

/// The names that are held for a person.
pub(super) fn held(connection: &Connection, user: UserId) -> Result<Vec<HeldUsername>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT username_key, held_until FROM held_usernames
          WHERE user_id = ?1 ORDER BY held_until, username_key",
    )?;
    let rows = statement.query_map(params![user.0.as_bytes()], |row| {
        Ok(HeldUsername { username_key: row.get(0)?, until: row::time(row, 1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Goes on holding a person's names without a word on whose they were.
pub(super) fn hold_for_nobody(connection: &Connection, user: UserId) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE held_usernames SET user_id = NULL WHERE user_id = ?1")?
        .execute(params![user.0.as_bytes()])?;
    Ok(())
}

/// Removes at most `limit` names that are held no longer.
pub(super) fn remove_expired(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM held_usernames WHERE username_key IN
                    (SELECT username_key FROM held_usernames
                      WHERE held_until <= ?1 ORDER BY held_until LIMIT ?2)",
        )?
        .execute(params![now.millis(), limit])?;
    Ok(removed as u64)
}
