//! `users` and the names that they have or had.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::row;
use crate::clock::Timestamp;
use crate::protocol::username::comparison_key;
use crate::store::error::StoreError;
use crate::store::model::{Role, User, UserId, UserStatus};
use crate::store::operation::{FillAvatar, SetAvatar, SetAvatarOutcome, TOMBSTONE};
use crate::store::trail::Notes;

/// The columns that [`read`] takes, of `users` as `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.username, u.display_name, u.avatar, u.role, u.status, u.created_at"
    };
}
pub(super) use user_columns;

/// A person by id.
pub(super) fn find(connection: &Connection, id: UserId) -> Result<Option<User>, StoreError> {
    let query = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = ?1");
    one(connection, query, params![id.0.as_bytes()])
}

/// A person by the comparison key of their name; no tombstones.
pub(super) fn find_by_name(
    connection: &Connection,
    username_key: &str,
) -> Result<Option<User>, StoreError> {
    let query = concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.username_key = ?1 AND u.status <> 'deleted'"
    );
    one(connection, query, params![username_key])
}

/// Whom an identity signs in.
pub(super) fn find_by_identity(
    connection: &Connection,
    provider: &str,
    subject: &str,
) -> Result<Option<User>, StoreError> {
    let query = concat!(
        "SELECT ",
        user_columns!(),
        " FROM identities i JOIN users u ON u.id = i.user_id
          WHERE i.provider = ?1 AND i.subject = ?2"
    );
    one(connection, query, params![provider, subject])
}

fn one(
    connection: &Connection,
    query: &str,
    parameters: impl Params,
) -> Result<Option<User>, StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    Ok(statement.query_row(parameters, |row| read(row, 0)).optional()?)
}

/// Reads `user_columns!` from column `first` on.
pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId(row::id(row, first)?),
        username: row.get(first + 1)?,
        display_name: row.get(first + 2)?,
        avatar: row.get(first + 3)?,
        role: row::word(row, first + 4, Role::parse)?,
        status: row::word(row, first + 5, UserStatus::parse)?,
        created_at: row::time(row, first + 6)?,
    })
}

/// Whether nobody has the name and nobody's former name holds it.
pub(super) fn name_is_free(
    connection: &Connection,
    username_key: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut taken = connection.prepare_cached(
        "SELECT 1 FROM users WHERE username_key = ?1 AND status <> 'deleted'
          UNION ALL
         SELECT 1 FROM held_usernames WHERE username_key = ?1 AND held_until > ?2",
    )?;
    Ok(!taken.exists(params![username_key, now.millis()])?)
}

/// Adds a person.
pub(super) fn insert(
    connection: &Connection,
    user: &User,
    username_key: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO users (id, username, username_key, display_name, avatar, role, status,
                                created_at, updated_at, display_name_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
        )?
        .execute(params![
            user.id.0.as_bytes(),
            user.username,
            username_key,
            user.display_name,
            user.avatar,
            user.role.as_str(),
            user.status.as_str(),
            user.created_at.millis(),
            user.display_name.as_deref().map(comparison_key),
        ])?;
    Ok(())
}

/// Gives a display name to a person who has none.
pub(super) fn fill_display_name(
    connection: &Connection,
    user: UserId,
    display_name: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE users SET display_name = ?2, updated_at = ?3, display_name_key = ?4
              WHERE id = ?1 AND display_name IS NULL",
        )?
        .execute(params![
            user.0.as_bytes(),
            display_name,
            now.millis(),
            comparison_key(display_name)
        ])?;
    Ok(())
}

/// Sets or clears the display name.
pub(super) fn set_display_name(
    connection: &Connection,
    user: UserId,
    display_name: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE users SET display_name = ?2, updated_at = ?3, display_name_key = ?4 WHERE id = ?1",
        )?
        .execute(params![
            user.0.as_bytes(),
            display_name,
            now.millis(),
            display_name.map(comparison_key)
        ])?;
    Ok(())
}

/// The comparison key of a person's name, as it is stored.
pub(super) fn username_key(connection: &Connection, user: UserId) -> Result<String, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT username_key FROM users WHERE id = ?1")?;
    Ok(statement.query_row(params![user.0.as_bytes()], |row| row.get(0))?)
}

/// Gives a person another name.
pub(super) fn rename(
    connection: &Connection,
    user: UserId,
    username: &str,
    username_key: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE users SET username = ?2, username_key = ?3, updated_at = ?4 WHERE id = ?1",
        )?
        .execute(params![user.0.as_bytes(), username, username_key, now.millis()])?;
    Ok(())
}

/// Whether there is an active admin beside this one.
pub(super) fn has_other_admin(connection: &Connection, user: UserId) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM users WHERE role = 'admin' AND status = 'active' AND id <> ?1",
    )?;
    Ok(statement.exists(params![user.0.as_bytes()])?)
}

/// Sets whether a person can sign in.
pub(super) fn set_status(
    connection: &Connection,
    user: UserId,
    status: UserStatus,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE users SET status = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![user.0.as_bytes(), status.as_str(), now.millis()])?;
    Ok(())
}

/// Leaves nothing of a person but the id and the times.
pub(super) fn bury(
    connection: &Connection,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE users SET username = ?2, username_key = ?2, display_name = NULL, avatar = NULL,
                              display_name_key = NULL, role = 'user', status = 'deleted', updated_at = ?3
              WHERE id = ?1",
        )?
        .execute(params![user.0.as_bytes(), TOMBSTONE, now.millis()])?;
    Ok(())
}

/// Gives an active person without an avatar this one; whether there was such a person.
pub(super) fn fill_avatar(connection: &Connection, fill: &FillAvatar) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE users SET avatar = ?2, updated_at = ?3
              WHERE id = ?1 AND avatar IS NULL AND status = 'active'",
        )?
        .execute(params![fill.user.0.as_bytes(), fill.avatar, fill.audit.at.millis()])?;
    Ok(changed == 1)
}

/// Gives an active person another avatar, or none, with its audit entry.
pub(super) fn set_avatar(
    connection: &Connection,
    notes: &mut Notes,
    set: &SetAvatar,
) -> Result<SetAvatarOutcome, StoreError> {
    let person = find(connection, set.user)?.filter(|user| user.status == UserStatus::Active);
    let Some(User { avatar: former, .. }) = person else {
        return Ok(SetAvatarOutcome::NotAllowed);
    };
    if former != set.avatar {
        connection
            .prepare_cached("UPDATE users SET avatar = ?2, updated_at = ?3 WHERE id = ?1")?
            .execute(params![set.user.0.as_bytes(), set.avatar, set.now.millis()])?;
        notes.add(&set.audit);
    }
    Ok(SetAvatarOutcome::Set { former })
}

/// Which of these avatars somebody has. One walk over all people, however many are asked for.
pub(super) fn avatars_in_use(
    connection: &Connection,
    names: &[String],
) -> Result<Vec<String>, StoreError> {
    let names = serde_json::Value::from(names).to_string();
    let mut statement = connection.prepare_cached(
        "SELECT avatar FROM users WHERE avatar IN (SELECT value FROM json_each(?1))",
    )?;
    let found = statement.query_map(params![names], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// How many people there are, tombstones apart.
pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM users WHERE status <> 'deleted'")?;
    Ok(statement.query_row([], |row| row::count(row, 0))?)
}
