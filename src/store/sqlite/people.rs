//! Pages of people. Each follows an index from where the page before ended, whatever the number of people.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::identities;
use super::users::{self, user_columns};
use crate::store::error::StoreError;
use crate::store::model::{
    FoundBy, FoundUser, KeyRange, User, UserId, UserPage, UserPosition, UserSearch, UserStatus,
};

/// A page of people.
pub(super) fn page(connection: &Connection, page: &UserPage) -> Result<Vec<FoundUser>, StoreError> {
    let goes_on_at = page.after.as_ref().map_or(FoundBy::Nothing, |after| after.found_by);
    let mut found: Vec<(User, UserPosition)> = Vec::new();
    for found_by in page.sources().iter().copied().filter(|found_by| *found_by >= goes_on_at) {
        let left = page.limit as usize - found.len();
        if left > 0 {
            found.extend(matches(connection, page, found_by, left)?);
        }
    }
    let with_emails = found.into_iter().map(|(user, position)| {
        let identities = identities::of_user(connection, user.id)?.into_iter();
        let emails = identities.flat_map(|identity| identity.emails).collect();
        Ok(FoundUser { user, emails, position })
    });
    with_emails.collect()
}

/// A statement under construction.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Query {
    /// The number of the parameter that has this value.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    fn within(&mut self, key: &str, range: &KeyRange) -> String {
        let (start, end) = (self.bind(range.start.clone()), self.bind(range.end.clone()));
        format!("{key} >= {start} AND {key} < {end}")
    }

    /// Only what stands behind a key, and among those of the same key behind a person.
    fn behind(&mut self, key: &str, after: Option<&UserPosition>) {
        if let Some(UserPosition { key: last, id: UserId(id), .. }) = after {
            let (last, id) = (self.bind(last.clone()), self.bind(id.as_bytes().to_vec()));
            self.require(format!("({key}, u.id) > ({last}, {id})"));
        }
    }
}

/// Those who are found by one of their keys, behind where the last page ended.
fn matches(
    connection: &Connection,
    page: &UserPage,
    found_by: FoundBy,
    limit: usize,
) -> Result<Vec<(User, UserPosition)>, StoreError> {
    let mut query = Query::default();
    // Written out, so that the indexes of the few who are not like all others can be used.
    let status = page.status.unwrap_or(UserStatus::Active).as_str();
    match page.status {
        Some(UserStatus::Deleted) => query.require("u.status = 'deleted'".to_owned()),
        Some(_) => query.require(format!("u.status <> 'deleted' AND u.status = '{status}'")),
        None => query.require("u.status <> 'deleted'".to_owned()),
    }
    if let Some(role) = page.role {
        query.require(format!("u.role = '{}'", role.as_str()));
    }
    let after = page.after.as_ref().filter(|after| after.found_by == found_by);
    let (key, source, order) = match &page.search {
        Some(search) => searched(&mut query, found_by, search, page.asks_for_few(), after),
        None => {
            if let Some(after) = after {
                let id = query.bind(after.id.0.as_bytes().to_vec());
                query.require(format!("u.id < {id}"));
            }
            ("''", "users u", "u.id DESC")
        }
    };
    let limit = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {}, {key} FROM {source} WHERE {} ORDER BY {order} LIMIT {limit}",
        user_columns!(),
        query.conditions.join(" AND "),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(query.values), |row| {
        let user = users::read(row, 0)?;
        let position = UserPosition { found_by, key: row.get(7)?, id: user.id };
        Ok((user, position))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key that is searched, where from, and in which order.
fn searched(
    query: &mut Query,
    found_by: FoundBy,
    UserSearch { name, address }: &UserSearch,
    asks_for_few: bool,
    after: Option<&UserPosition>,
) -> (&'static str, &'static str, &'static str) {
    // With the sign a column is compared without its index.
    let username = if asks_for_few { "+u.username_key" } else { "u.username_key" };
    let display_name = if asks_for_few { "+u.display_name_key" } else { "u.display_name_key" };
    let by_username = query.within(username, name);
    if found_by == FoundBy::Username {
        query.require(by_username);
        query.behind("u.username_key", after);
        return ("u.username_key", "users u", "u.username_key, u.id");
    }
    query.require(format!("NOT ({})", by_username.replace("u.username_key", "+u.username_key")));
    let by_display_name = query.within(display_name, name);
    if found_by == FoundBy::DisplayName {
        query.require(by_display_name);
        query.behind("u.display_name_key", after);
        return ("u.display_name_key", "users u", "u.display_name_key, u.id");
    }
    query.require(format!("NOT coalesce({by_display_name}, 0)"));
    let by_address = query.within("e.address_key", address);
    // Whoever has several addresses that match is found by the first of them.
    let by_another = by_address.replace("e.address_key", "other.address_key");
    query.require(format!(
        "e.verified AND {by_address} AND NOT EXISTS (
            SELECT 1 FROM identities also
              JOIN emails other ON other.provider = also.provider AND other.subject = also.subject
             WHERE also.user_id = u.id AND other.verified AND {by_another}
               AND (other.address_key, other.provider, other.subject, other.address)
                 < (e.address_key, e.provider, e.subject, e.address))"
    ));
    query.behind("e.address_key", after);
    (
        "e.address_key",
        "emails e JOIN identities i ON i.provider = e.provider AND i.subject = e.subject
                  JOIN users u ON u.id = i.user_id",
        "e.address_key, u.id",
    )
}
