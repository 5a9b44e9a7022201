//! Table `users`, and the names held after it.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::connect::{execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::protocol::username::comparison_key;
use crate::store::model::{Role, User, UserId, UserStatus};
use crate::store::operation::{FillAvatar, SetAvatar, SetAvatarOutcome, TOMBSTONE};
use crate::store::trail::Notes;

/// The columns of a person, from `users u`, as [`from_row`] reads them.
macro_rules! user_columns {
    () => {
        "u.id AS user_id, u.username, u.display_name, u.avatar, u.role, u.status, \
         u.created_at AS user_created_at"
    };
}
pub(super) use user_columns;

/// Reads the columns that `user_columns!` names.
pub(super) fn from_row(row: &Row) -> Result<User, Failure> {
    let id = UserId(row.try_get("user_id")?);
    let role: String = row.try_get("role")?;
    let status: String = row.try_get("status")?;
    Ok(User {
        id,
        username: row.try_get("username")?,
        display_name: row.try_get("display_name")?,
        avatar: row.try_get("avatar")?,
        role: Role::parse(&role)
            .ok_or_else(|| Failure::inconsistent(format!("user {id} has an unknown role")))?,
        status: UserStatus::parse(&status)
            .ok_or_else(|| Failure::inconsistent(format!("user {id} has an unknown status")))?,
        created_at: Timestamp::from_millis(row.try_get("user_created_at")?),
    })
}

/// A person by id, tombstones included.
pub(super) async fn by_id(db: &ClientWrapper, id: UserId) -> Result<Option<User>, Failure> {
    const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1");
    query_first(db, SQL, &[&id.0]).await?.as_ref().map(from_row).transpose()
}

/// A person by the comparison key of their name; no tombstones.
pub(super) async fn by_name(db: &ClientWrapper, key: &str) -> Result<Option<User>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.username_key = $1 AND u.status <> 'deleted'"
    );
    query_first(db, SQL, &[&key]).await?.as_ref().map(from_row).transpose()
}

/// Whom an identity signs in.
pub(super) async fn by_identity(
    db: &ClientWrapper,
    provider: &str,
    subject: &str,
) -> Result<Option<User>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        " FROM identities i JOIN users u ON u.id = i.user_id
          WHERE i.provider = $1 AND i.subject = $2"
    );
    query_first(db, SQL, &[&provider, &subject]).await?.as_ref().map(from_row).transpose()
}

/// The person, if active and the owner of the identity. Until the transaction ends nobody can lock or
/// delete them, nor take the identity away.
pub(super) async fn hold_active_owner(
    db: &ClientWrapper,
    id: UserId,
    provider: &str,
    subject: &str,
) -> Result<Option<User>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        " FROM identities i JOIN users u ON u.id = i.user_id
          WHERE i.provider = $2 AND i.subject = $3 AND u.id = $1 AND u.status = 'active'
            FOR SHARE OF u FOR NO KEY UPDATE OF i"
    );
    query_first(db, SQL, &[&id.0, &provider, &subject]).await?.as_ref().map(from_row).transpose()
}

/// The person, if active. Until the transaction ends nobody else can change them or their identities.
pub(super) async fn hold_active(db: &ClientWrapper, id: UserId) -> Result<Option<User>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.id = $1 AND u.status = 'active' FOR UPDATE OF u"
    );
    query_first(db, SQL, &[&id.0]).await?.as_ref().map(from_row).transpose()
}

/// The person, whoever they are. Until the transaction ends nobody else can change them or what they allow.
pub(super) async fn hold(db: &ClientWrapper, id: UserId) -> Result<Option<User>, Failure> {
    const SQL: &str =
        concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1 FOR UPDATE OF u");
    query_first(db, SQL, &[&id.0]).await?.as_ref().map(from_row).transpose()
}

/// The person, whoever they are, and how many other active admins there are. Until the transaction ends none
/// of them can stop to be one. Locked in the order of their ids, so that two who do so do not wait for each
/// other in a circle.
pub(super) async fn hold_with_admins(
    db: &ClientWrapper,
    id: UserId,
) -> Result<(Option<User>, usize), Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(),
        " FROM users u WHERE u.id = $1 OR u.role = 'admin' AND u.status = 'active'
          ORDER BY u.id FOR UPDATE OF u"
    );
    let rows = query(db, SQL, &[&id.0]).await?;
    let held: Vec<User> = rows.iter().map(from_row).collect::<Result<_, _>>()?;
    let (person, others): (Vec<User>, Vec<User>) = held.into_iter().partition(|held| held.id == id);
    Ok((person.into_iter().next(), others.len()))
}

/// Sets whether a person can sign in.
pub(super) async fn set_status(
    db: &ClientWrapper,
    id: UserId,
    status: UserStatus,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "UPDATE users SET status = $2, updated_at = $3 WHERE id = $1";
    execute(db, SQL, &[&id.0, &status.as_str(), &now.millis()]).await?;
    Ok(())
}

/// Gives a display name to a person who has none.
pub(super) async fn fill_display_name(
    db: &ClientWrapper,
    id: UserId,
    display_name: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE users SET display_name = $2, display_name_key = $4, updated_at = $3
         WHERE id = $1 AND display_name IS NULL";
    let key = comparison_key(display_name);
    execute(db, SQL, &[&id.0, &display_name, &now.millis(), &key]).await?;
    Ok(())
}

/// Whether nobody has the name and nobody's former name holds it.
pub(super) async fn name_is_free(
    db: &ClientWrapper,
    key: &str,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "
        SELECT FROM users WHERE username_key = $1 AND status <> 'deleted'
         UNION ALL
        SELECT FROM held_usernames WHERE username_key = $1 AND held_until > $2";
    Ok(query_first(db, SQL, &[&key, &now.millis()]).await?.is_none())
}

/// Whether a former name is held against new owners.
pub(super) async fn name_is_held(
    db: &ClientWrapper,
    key: &str,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM held_usernames WHERE username_key = $1 AND held_until > $2";
    Ok(query_first(db, SQL, &[&key, &now.millis()]).await?.is_some())
}

/// Inserts a person; `false` if somebody has the name. Waits for a transaction that is about to take it.
pub(super) async fn insert(db: &ClientWrapper, user: &User, key: &str) -> Result<bool, Failure> {
    const SQL: &str = "
        INSERT INTO users (id, username, username_key, display_name, avatar, role, status,
                           created_at, updated_at, display_name_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)
        ON CONFLICT (username_key) WHERE status <> 'deleted' DO NOTHING";
    let (role, status) = (user.role.as_str(), user.status.as_str());
    let inserted = execute(
        db,
        SQL,
        &[
            &user.id.0,
            &user.username,
            &key,
            &user.display_name,
            &user.avatar,
            &role,
            &status,
            &user.created_at.millis(),
            &user.display_name.as_deref().map(comparison_key),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

/// Sets or clears the display name.
pub(super) async fn set_display_name(
    db: &ClientWrapper,
    id: UserId,
    display_name: Option<&str>,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE users SET display_name = $2, display_name_key = $4, updated_at = $3 WHERE id = $1";
    let key = display_name.map(comparison_key);
    execute(db, SQL, &[&id.0, &display_name, &now.millis(), &key]).await?;
    Ok(())
}

/// The comparison key of a person's name, as it is stored.
pub(super) async fn username_key(db: &ClientWrapper, id: UserId) -> Result<String, Failure> {
    const SQL: &str = "SELECT username_key FROM users WHERE id = $1";
    match query_first(db, SQL, &[&id.0]).await? {
        Some(row) => Ok(row.try_get("username_key")?),
        None => Err(Failure::inconsistent(format!("user {id} is not there"))),
    }
}

/// Gives a person another name; `false` if somebody has it: then the transaction can only be rolled
/// back. Waits for a transaction that is about to take the name, or to give it up.
pub(super) async fn rename(
    db: &ClientWrapper,
    id: UserId,
    username: &str,
    key: &str,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "
        UPDATE users SET username = $2, username_key = $3, updated_at = $4 WHERE id = $1";
    let statement = db.prepare_cached(SQL).await?;
    match db.execute(&statement, &[&id.0, &username, &key, &now.millis()]).await {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
        renamed => Ok(renamed? == 1),
    }
}

/// Leaves nothing of a person but the id and the times.
pub(super) async fn bury(db: &ClientWrapper, id: UserId, now: Timestamp) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE users SET username = $2, username_key = $2, display_name = NULL, avatar = NULL,
                         display_name_key = NULL, role = 'user', status = 'deleted', updated_at = $3
         WHERE id = $1";
    execute(db, SQL, &[&id.0, &TOMBSTONE, &now.millis()]).await?;
    Ok(())
}

/// Gives an active person without an avatar this one; whether there was such a person.
pub(super) async fn fill_avatar(db: &ClientWrapper, fill: &FillAvatar) -> Result<bool, Failure> {
    const SQL: &str = "
        UPDATE users SET avatar = $2, updated_at = $3
         WHERE id = $1 AND avatar IS NULL AND status = 'active'";
    let changed = execute(db, SQL, &[&fill.user.0, &fill.avatar, &fill.audit.at.millis()]).await?;
    Ok(changed == 1)
}

/// Gives an active person another avatar, or none, with its audit entry.
pub(super) async fn set_avatar(
    db: &ClientWrapper,
    notes: &mut Notes,
    set: &SetAvatar,
) -> Result<SetAvatarOutcome, Failure> {
    const SQL: &str = "UPDATE users SET avatar = $2, updated_at = $3 WHERE id = $1";
    let Some(User { avatar: former, .. }) = hold_active(db, set.user).await? else {
        return Ok(SetAvatarOutcome::NotAllowed);
    };
    if former != set.avatar {
        execute(db, SQL, &[&set.user.0, &set.avatar, &set.now.millis()]).await?;
        notes.add(&set.audit);
    }
    Ok(SetAvatarOutcome::Set { former })
}

/// Which of these avatars somebody has. One walk over all people, however many are asked for.
pub(super) async fn avatars_in_use(
    db: &ClientWrapper,
    names: &[String],
) -> Result<Vec<String>, Failure> {
    const SQL: &str = "SELECT avatar FROM users WHERE avatar = ANY($1)";
    let rows = query(db, SQL, &[&names]).await?;
    rows.iter().map(|row| Ok(row.try_get("avatar")?)).collect()
}

/// How many people there are, tombstones apart.
pub(super) async fn count(db: &ClientWrapper) -> Result<u64, Failure> {
    const SQL: &str = "SELECT count(*) AS people FROM users WHERE status <> 'deleted'";
    let people: i64 = match query_first(db, SQL, &[]).await? {
        Some(row) => row.try_get("people")?,
        None => 0,
    };
    Ok(u64::try_from(people).unwrap_or(0))
}
