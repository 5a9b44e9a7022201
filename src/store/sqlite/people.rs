//! Pages of people. Each follows an index from where the page before ended, whatever the number of people.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::users::{self, user_columns};
use super::{identities, row};
use crate::store::error::StoreError;
use crate::store::model::{
    FoundBy, FoundUser, KeyRange, Role, User, UserId, UserList, UserPage, UserPosition, UserSearch,
    UserStatus,
};

/// Somebody, and where they stand.
type Found = (User, UserPosition);

/// A page of people.
pub(super) fn page(connection: &Connection, page: &UserPage) -> Result<UserList, StoreError> {
    let goes_on_at = page.after.as_ref().map_or(FoundBy::Nothing, |after| after.found_by);
    let mut found: Vec<Found> = Vec::new();
    let mut ended_at = None;
    for found_by in page.sources().iter().copied().filter(|found_by| *found_by >= goes_on_at) {
        // One more tells whether there is another page.
        let left = page.limit as usize + 1 - found.len();
        if left > 0 && ended_at.is_none() {
            let (more, end) = matches(connection, page, found_by, left)?;
            found.extend(more);
            ended_at = end;
        }
    }
    let people = found.into_iter().map(|(user, position)| {
        let identities = identities::of_user(connection, user.id)?.into_iter();
        let emails = identities.flat_map(|identity| identity.emails).collect();
        Ok(FoundUser { user, emails, position })
    });
    Ok(UserList::new(people.collect::<Result<_, StoreError>>()?, page.limit, ended_at))
}

/// A statement under construction: a walk along an index, and what is passed over on the way.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    unless: Vec<String>,
    values: Vec<Value>,
    /// How many of the values are those of the walk.
    walk: usize,
}

impl Query {
    /// The parameter that has this value.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn require(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    fn within(&mut self, key: &str, range: &KeyRange) -> String {
        let (start, end) = (self.bind(range.start.clone()), self.bind(range.end.clone()));
        format!("{key} >= {start} AND {key} < {end}")
    }

    /// Only keys in the range, and only what stands behind where the last page ended.
    fn walk(&mut self, key: &str, range: &KeyRange, after: Option<&UserPosition>) {
        let in_range = self.within(key, &range.from(after));
        self.require(in_range);
        if let Some(UserPosition { key: last, id, .. }) = after {
            let (last, id) = (self.bind(last.clone()), self.bind(id.0.as_bytes().to_vec()));
            self.require(format!("({key}, u.id) > ({last}, {id})"));
        }
    }
}

/// What a search walks along.
struct Walk {
    key: &'static str,
    source: &'static str,
    order: &'static str,
}

/// Those who are found by one of their keys, behind where the last page ended; and where the walk ended, if
/// it ended before it reached the last of them.
fn matches(
    connection: &Connection,
    page: &UserPage,
    found_by: FoundBy,
    limit: usize,
) -> Result<(Vec<Found>, Option<UserPosition>), StoreError> {
    let mut query = Query::default();
    let after = page.after.as_ref().filter(|after| after.found_by == found_by);
    let Walk { key, source, order } = match &page.search {
        Some(search) => searched(&mut query, page, found_by, search, after),
        None => {
            query.conditions = filters(page);
            if let Some(UserPosition { id, .. }) = after {
                let id = query.bind(id.0.as_bytes().to_vec());
                query.require(format!("u.id < {id}"));
            }
            Walk { key: "''", source: people(page, FoundBy::Nothing), order: "u.id DESC" }
        }
    };
    let length = i64::try_from(limit).unwrap_or(i64::MAX);
    let further =
        if found_by == FoundBy::Address { ", e.provider, e.subject, e.address" } else { "" };
    let walk = format!(
        "SELECT u.*, {key} AS key{further} FROM {source} WHERE {} ORDER BY {order} LIMIT {}",
        query.conditions.join(" AND "),
        if query.unless.is_empty() { length } else { UserPage::WALK },
    );
    let meant = if query.unless.is_empty() { "true" } else { &query.unless.join(" AND ") };
    let order = if page.search.is_some() { "u.key, u.id" } else { order };
    let sql = format!(
        "SELECT {}, u.key FROM ({walk}) AS u WHERE {meant} ORDER BY {order} LIMIT {length}",
        user_columns!(),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(&query.values), |row| {
        let user = users::read(row, 0)?;
        let position = UserPosition { found_by, key: row.get(7)?, id: user.id };
        Ok((user, position))
    })?;
    let found: Vec<Found> = rows.collect::<Result<_, _>>()?;
    if query.unless.is_empty() || found.len() >= limit {
        return Ok((found, None));
    }
    // Nobody knows yet whether the walk reached the end.
    let offset = UserPage::WALK - 1;
    let sql = format!("SELECT key, id FROM ({walk}) LIMIT 1 OFFSET {offset}");
    let mut statement = connection.prepare_cached(&sql)?;
    let values = params_from_iter(&query.values[..query.walk]);
    let ended_at = statement.query_row(values, |row| {
        Ok(UserPosition { found_by, key: row.get(0)?, id: UserId(row::id(row, 1)?) })
    });
    Ok((found, ended_at.optional()?))
}

/// Who is asked for. Written out, so that the indexes of the few who are not like all others can be used.
fn filters(page: &UserPage) -> Vec<String> {
    let mut filters = Vec::new();
    if page.status != Some(UserStatus::Deleted) {
        filters.push("u.status <> 'deleted'".to_owned());
    }
    filters.extend(page.status.map(|status| format!("u.status = '{}'", status.as_str())));
    filters.extend(page.role.map(|role| format!("u.role = '{}'", role.as_str())));
    filters
}

/// Whom a walk goes along. Of the few who are not like all others by their own index: without statistics
/// SQLite would rather look at everybody.
fn people(page: &UserPage, found_by: FoundBy) -> &'static str {
    match (page.role, page.status, found_by) {
        (Some(Role::Admin), ..) => "users u INDEXED BY users_admins",
        (_, Some(UserStatus::Locked), FoundBy::Username) => {
            "users u INDEXED BY users_locked_username_key"
        }
        (_, Some(UserStatus::Locked), FoundBy::DisplayName) => {
            "users u INDEXED BY users_locked_display_name_key"
        }
        (_, Some(UserStatus::Locked), _) => "users u INDEXED BY users_locked",
        (_, Some(UserStatus::Deleted), _) => "users u INDEXED BY users_deleted",
        _ => "users u",
    }
}

/// What is walked along, and whom it passes over: those who were found by another of their keys before.
fn searched(
    query: &mut Query,
    page: &UserPage,
    found_by: FoundBy,
    UserSearch { name, address }: &UserSearch,
    after: Option<&UserPosition>,
) -> Walk {
    let few = page.asks_for_few();
    if few || found_by != FoundBy::Address {
        query.conditions = filters(page);
    } else {
        // No index of addresses knows whose they are.
        query.unless = filters(page);
    }
    // With the sign a column is compared without its index.
    let username = if few { "+u.username_key" } else { "u.username_key" };
    let display_name = if few { "+u.display_name_key" } else { "u.display_name_key" };
    let address_key = if few { "+e.address_key" } else { "e.address_key" };
    match found_by {
        FoundBy::DisplayName => query.walk(display_name, name, after),
        FoundBy::Address => query.walk(address_key, address, after),
        FoundBy::Username | FoundBy::Nothing => query.walk(username, name, after),
    }
    query.walk = query.values.len();
    if matches!(found_by, FoundBy::DisplayName | FoundBy::Address) {
        let by_username = query.within("u.username_key", name);
        query.unless.push(format!("NOT ({by_username})"));
    }
    match found_by {
        FoundBy::DisplayName => {
            let source = people(page, found_by);
            Walk { key: "u.display_name_key", source, order: "u.display_name_key, u.id" }
        }
        FoundBy::Address => {
            let by_display_name = query.within("u.display_name_key", name);
            query.unless.push(format!("NOT coalesce({by_display_name}, 0)"));
            query.require("e.verified");
            // Whoever has several addresses that match is found by the first of them.
            let by_another = query.within("other.address_key", address);
            query.unless.push(format!(
                "NOT EXISTS (SELECT 1 FROM identities also
                   JOIN emails other ON other.provider = also.provider AND other.subject = also.subject
                  WHERE also.user_id = u.id AND other.verified AND {by_another}
                    AND (other.address_key, other.provider, other.subject, other.address)
                      < (u.key, u.provider, u.subject, u.address))"
            ));
            let source = if few {
                "users u INDEXED BY users_admins CROSS JOIN identities i ON i.user_id = u.id
                 CROSS JOIN emails e ON e.provider = i.provider AND e.subject = i.subject"
            } else {
                "emails e JOIN identities i ON i.provider = e.provider AND i.subject = e.subject
                          JOIN users u ON u.id = i.user_id"
            };
            Walk { key: "e.address_key", source, order: "e.address_key, u.id" }
        }
        FoundBy::Username | FoundBy::Nothing => {
            let source = people(page, found_by);
            Walk { key: "u.username_key", source, order: "u.username_key, u.id" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{connection, migrations};

    #[test]
    fn the_few_who_are_not_like_all_others_are_walked_along_their_own_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        migrations::migrate(&path).unwrap();
        let connection = connection::open_for_writing(&path).unwrap();
        let of_status = |status| UserPage { status: Some(status), ..UserPage::default() };
        let admins = UserPage { role: Some(Role::Admin), ..UserPage::default() };
        let (locked, deleted) = (of_status(UserStatus::Locked), of_status(UserStatus::Deleted));
        let (all, name) = (FoundBy::Nothing, "u.username_key > 'a'");
        for (page, found_by, condition, order, index) in [
            (&admins, all, "true", "u.id DESC", "users_admins"),
            (&admins, FoundBy::Username, name, "u.username_key, u.id", "users_admins"),
            (&locked, all, "true", "u.id DESC", "users_locked"),
            (&locked, FoundBy::Username, name, "u.username_key, u.id", "users_locked_username_key"),
            (
                &locked,
                FoundBy::DisplayName,
                "u.display_name_key > 'a'",
                "u.display_name_key, u.id",
                "users_locked_display_name_key",
            ),
            (&deleted, all, "true", "u.id DESC", "users_deleted"),
        ] {
            let plan: String = connection
                .query_row(
                    &format!(
                        "EXPLAIN QUERY PLAN SELECT u.* FROM {} WHERE {} AND {condition} ORDER BY {order}",
                        people(page, found_by),
                        filters(page).join(" AND "),
                    ),
                    [],
                    |row| row.get("detail"),
                )
                .unwrap();
            assert!(plan.split(' ').any(|word| word == index), "{index}: {plan}");
        }
    }
}
