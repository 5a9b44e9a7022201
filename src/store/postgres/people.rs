//! Pages of people. Each follows an index from where the page before ended, whatever the number of people.

use std::collections::HashMap;

use deadpool_postgres::ClientWrapper;
use uuid::Uuid;

use super::connect::{Typed, TypedQuery};
use super::failure::Failure;
use super::identities;
use super::users::{self, user_columns};
use crate::store::model::{
    Email, FoundBy, FoundUser, KeyRange, User, UserId, UserList, UserPage, UserPosition,
    UserSearch, UserStatus,
};

/// Somebody, and where they stand.
type Found = (User, UserPosition);

/// A page of people.
pub(super) async fn page(db: &ClientWrapper, page: &UserPage) -> Result<UserList, Failure> {
    let has_nul = |search: &UserSearch| {
        // PostgreSQL's text cannot hold it, and refuses the question.
        search.name.start.contains('\0') || search.address.start.contains('\0')
    };
    if page.search.as_ref().is_some_and(has_nul) {
        return Ok(UserList::default());
    }
    let goes_on_at = page.after.as_ref().map_or(FoundBy::Nothing, |after| after.found_by);
    let mut found: Vec<Found> = Vec::new();
    let mut ended_at = None;
    for found_by in page.sources().iter().copied().filter(|found_by| *found_by >= goes_on_at) {
        // One more tells whether there is another page.
        let left = page.limit as usize + 1 - found.len();
        if left > 0 && ended_at.is_none() {
            let (more, end) = matches(db, page, found_by, left).await?;
            found.extend(more);
            ended_at = end;
        }
    }
    let ids: Vec<Uuid> = found.iter().map(|(user, _)| user.id.0).collect();
    let mut emails: HashMap<UserId, Vec<Email>> = identities::emails_of_users(db, &ids).await?;
    let people = found.into_iter().map(|(user, position)| {
        let emails = emails.remove(&user.id).unwrap_or_default();
        FoundUser { user, emails, position }
    });
    Ok(UserList::new(people.collect(), page.limit, ended_at))
}

/// A statement under construction: a walk along an index, and what is passed over on the way.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    unless: Vec<String>,
    values: TypedQuery,
}

impl Query {
    /// The parameter that has this value.
    fn bind(&mut self, value: impl Typed) -> String {
        self.values.bind(value)
    }

    fn require(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    fn within(&mut self, key: &str, range: &KeyRange) -> String {
        let (start, end) = (self.bind(range.start.clone()), self.bind(range.end.clone()));
        format!("{key} >= {start} AND {key} < {end}")
    }

    /// Only keys in the range, and only what stands behind where the last page ended. The index has both the
    /// key and the person.
    fn walk(&mut self, key: &str, range: &KeyRange, after: Option<&UserPosition>) {
        let in_range = self.within(key, &range.from(after));
        self.require(in_range);
        if let Some(UserPosition { key: last, id, .. }) = after {
            let (last, id) = (self.bind(last.clone()), self.bind(id.0));
            self.require(format!("({key}, u.id) > ({last}, {id})"));
        }
    }

    /// The addresses in the range that come next, with those who have them. Of the addresses alone no more are
    /// taken than a page looks at, in the order of their index, which does not know whose they are: so nothing
    /// depends on how many the planner takes the others for. Several people may have the last one.
    fn walk_addresses(&mut self, range: &KeyRange, after: Option<&UserPosition>) -> String {
        const ADDRESSES: &str = "SELECT e.* FROM emails e WHERE e.verified AND";
        let end = self.bind(range.end.clone());
        let beginning = match after {
            None => format!("{ADDRESSES} e.address_key >= {}", self.bind(range.start.clone())),
            Some(UserPosition { key: last, id, .. }) => {
                let (last, id) = (self.bind(last.clone()), self.bind(id.0));
                self.require(format!("(e.address_key > {last} OR u.id > {id})"));
                let same = format!("{ADDRESSES} e.address_key = {last}");
                format!("{same} UNION ALL ({ADDRESSES} e.address_key > {last}")
            }
        };
        let closing = if after.is_some() { ")" } else { "" };
        format!(
            "({beginning} AND e.address_key < {end}
               ORDER BY e.address_key FETCH FIRST {} ROWS WITH TIES{closing}) AS e
             JOIN identities i ON i.provider = e.provider AND i.subject = e.subject
             JOIN users u ON u.id = i.user_id",
            UserPage::WALK
        )
    }
}

/// What a search walks along.
struct Walk {
    key: &'static str,
    source: String,
    order: &'static str,
}

/// Those who are found by one of their keys, behind where the last page ended; and where the walk ended, if
/// it ended before it reached the last of them.
async fn matches(
    db: &ClientWrapper,
    page: &UserPage,
    found_by: FoundBy,
    limit: usize,
) -> Result<(Vec<Found>, Option<UserPosition>), Failure> {
    let mut query = Query::default();
    let after = page.after.as_ref().filter(|after| after.found_by == found_by);
    let Walk { key, source, order } = match &page.search {
        Some(search) => searched(&mut query, page, found_by, search, after),
        None => {
            query.conditions = filters(page);
            if let Some(UserPosition { id, .. }) = after {
                let id = query.bind(id.0);
                query.require(format!("u.id < {id}"));
            }
            Walk { key: "''", source: "users u".to_owned(), order: "u.id DESC" }
        }
    };
    let length = i64::try_from(limit).unwrap_or(i64::MAX);
    let further =
        if found_by == FoundBy::Address { ", e.provider, e.subject, e.address" } else { "" };
    let walk = format!(
        "SELECT u.*, {key} AS key{further} FROM {source} WHERE {} ORDER BY {order} LIMIT {}",
        all(&query.conditions),
        if query.unless.is_empty() { length } else { UserPage::WALK },
    );
    let meant = all(&query.unless);
    let order = if page.search.is_some() { "u.key, u.id" } else { order };
    let sql = format!(
        "SELECT {}, u.key FROM ({walk}) AS u WHERE {meant} ORDER BY {order} LIMIT {length}",
        user_columns!(),
    );
    let rows = query.values.run(db, &sql).await?;
    let found = rows.iter().map(|row| {
        let user = users::from_row(row)?;
        let position = UserPosition { found_by, key: row.try_get("key")?, id: user.id };
        Ok((user, position))
    });
    let found: Vec<Found> = found.collect::<Result<_, Failure>>()?;
    if query.unless.is_empty() || found.len() >= limit {
        return Ok((found, None));
    }
    // Nobody knows yet whether the walk reached the end.
    let sql = format!("SELECT u.key, u.id FROM ({walk}) AS u OFFSET {}", UserPage::WALK - 1);
    let last = query.values.run(db, &sql).await?;
    let ended_at = last.first().map(|row| {
        let (key, id) = (row.try_get("key")?, UserId(row.try_get("id")?));
        Ok::<_, Failure>(UserPosition { found_by, key, id })
    });
    Ok((found, ended_at.transpose()?))
}

fn all(conditions: &[String]) -> String {
    if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
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

/// What is walked along, and whom it passes over: those who were found by another of their keys before.
fn searched(
    query: &mut Query,
    page: &UserPage,
    found_by: FoundBy,
    UserSearch { name, address }: &UserSearch,
    after: Option<&UserPosition>,
) -> Walk {
    let few = page.asks_for_few();
    // As an expression a column is compared without its index.
    let indexed = |column: &str| if few { format!("({column} || '')") } else { column.to_owned() };
    let plain = |key, order| Walk { key, source: "users u".to_owned(), order };
    match found_by {
        FoundBy::Username | FoundBy::Nothing => {
            query.conditions = filters(page);
            query.walk(&indexed("u.username_key"), name, after);
            plain("u.username_key", "u.username_key, u.id")
        }
        FoundBy::DisplayName => {
            query.conditions = filters(page);
            query.walk(&indexed("u.display_name_key"), name, after);
            let by_username = query.within("u.username_key", name);
            query.unless.push(format!("NOT ({by_username})"));
            plain("u.display_name_key", "u.display_name_key, u.id")
        }
        FoundBy::Address => {
            let source = if few {
                query.conditions = filters(page);
                query.walk(&indexed("e.address_key"), address, after);
                query.require("e.verified");
                "users u JOIN identities i ON i.user_id = u.id
                 JOIN emails e ON e.provider = i.provider AND e.subject = i.subject"
                    .to_owned()
            } else {
                // No index of addresses knows more of whose they are.
                query.unless = filters(page);
                query.walk_addresses(address, after)
            };
            let by_username = query.within("u.username_key", name);
            let by_display_name = query.within("u.display_name_key", name);
            query.unless.push(format!("NOT ({by_username})"));
            query.unless.push(format!("({by_display_name}) IS NOT TRUE"));
            // Whoever has several addresses that match is found by the first of them. Counted for each person
            // apart: joined, everybody's addresses would be looked at.
            let by_another = query.within("other.address_key", address);
            query.unless.push(format!(
                "(SELECT count(*) FROM identities also
                    JOIN emails other ON other.provider = also.provider AND other.subject = also.subject
                   WHERE also.user_id = u.id AND other.verified AND {by_another}
                     AND (other.address_key, other.provider, other.subject, other.address)
                       < (u.key, u.provider, u.subject, u.address)) = 0"
            ));
            Walk { key: "e.address_key", source, order: "e.address_key, u.id" }
        }
    }
}
