//! Pages of people. Each follows an index from where the page before ended, whatever the number of people.

use std::collections::HashMap;

use deadpool_postgres::ClientWrapper;
use uuid::Uuid;

use super::connect::TypedQuery;
use super::failure::Failure;
use super::identities;
use super::users::{self, user_columns};
use crate::store::model::{
    Email, FoundBy, FoundUser, KeyRange, User, UserId, UserPage, UserPosition, UserSearch,
    UserStatus,
};

/// A page of people.
pub(super) async fn page(db: &ClientWrapper, page: &UserPage) -> Result<Vec<FoundUser>, Failure> {
    let goes_on_at = page.after.as_ref().map_or(FoundBy::Nothing, |after| after.found_by);
    let mut found: Vec<(User, UserPosition)> = Vec::new();
    for found_by in page.sources().iter().copied().filter(|found_by| *found_by >= goes_on_at) {
        let left = page.limit as usize - found.len();
        if left > 0 {
            found.extend(matches(db, page, found_by, left).await?);
        }
    }
    let ids: Vec<Uuid> = found.iter().map(|(user, _)| user.id.0).collect();
    let mut emails: HashMap<UserId, Vec<Email>> = identities::emails_of_users(db, &ids).await?;
    let with_emails = found.into_iter().map(|(user, position)| {
        let emails = emails.remove(&user.id).unwrap_or_default();
        FoundUser { user, emails, position }
    });
    Ok(with_emails.collect())
}

/// A statement under construction.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    values: TypedQuery,
}

impl Query {
    fn require(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    fn within(&mut self, key: &str, range: &KeyRange) -> String {
        let start = self.values.bind(range.start.clone());
        let end = self.values.bind(range.end.clone());
        format!("{key} >= {start} AND {key} < {end}")
    }

    /// Only what stands behind a key, and among those of the same key behind a person.
    fn behind(&mut self, key: &str, after: Option<&UserPosition>) {
        if let Some(UserPosition { key: last, id, .. }) = after {
            let (last, id) = (self.values.bind(last.clone()), self.values.bind(id.0));
            self.require(format!("{key} >= {last} AND ({key}, u.id) > ({last}, {id})"));
        }
    }
}

/// Those who are found by one of their keys, behind where the last page ended.
async fn matches(
    db: &ClientWrapper,
    page: &UserPage,
    found_by: FoundBy,
    limit: usize,
) -> Result<Vec<(User, UserPosition)>, Failure> {
    let mut query = Query::default();
    // Written out, so that the indexes of the few who are not like all others can be used.
    if page.status != Some(UserStatus::Deleted) {
        query.require("u.status <> 'deleted'");
    }
    if let Some(status) = page.status {
        query.require(format!("u.status = '{}'", status.as_str()));
    }
    if let Some(role) = page.role {
        query.require(format!("u.role = '{}'", role.as_str()));
    }
    let after = page.after.as_ref().filter(|after| after.found_by == found_by);
    let (key, source, order) = match &page.search {
        Some(search) => searched(&mut query, found_by, search, after),
        None => {
            if let Some(after) = after {
                let id = query.values.bind(after.id.0);
                query.require(format!("u.id < {id}"));
            }
            ("''", "users u", "u.id DESC")
        }
    };
    let limit = query.values.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {}, {key} AS key FROM {source} WHERE {} ORDER BY {order} LIMIT {limit}",
        user_columns!(),
        query.conditions.join(" AND "),
    );
    let rows = query.values.run(db, &sql).await?;
    let found = rows.iter().map(|row| {
        let user = users::from_row(row)?;
        let position = UserPosition { found_by, key: row.try_get("key")?, id: user.id };
        Ok((user, position))
    });
    found.collect()
}

/// The key that is searched, where from, and in which order.
fn searched(
    query: &mut Query,
    found_by: FoundBy,
    UserSearch { name, address }: &UserSearch,
    after: Option<&UserPosition>,
) -> (&'static str, &'static str, &'static str) {
    let by_username = query.within("u.username_key", name);
    if found_by == FoundBy::Username {
        query.require(by_username);
        query.behind("u.username_key", after);
        return ("u.username_key", "users u", "u.username_key, u.id");
    }
    query.require(format!("NOT ({by_username})"));
    let by_display_name = query.within("u.display_name_key", name);
    if found_by == FoundBy::DisplayName {
        query.require(by_display_name);
        query.behind("u.display_name_key", after);
        return ("u.display_name_key", "users u", "u.display_name_key, u.id");
    }
    query.require(format!("({by_display_name}) IS NOT TRUE"));
    let by_address = query.within("e.address_key", address);
    // Whoever has several addresses that match is found by the first of them.
    let by_another = by_address.replace("e.address_key", "other.address_key");
    query.require(format!(
        "e.verified AND {by_address} AND NOT EXISTS (
            SELECT FROM identities also
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
