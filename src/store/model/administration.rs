//! What administrators look at: pages of people, and the audit trail with its chains.

use uuid::Uuid;

use super::{Email, Role, User, UserId, UserStatus};
use crate::clock::Timestamp;
use crate::protocol::audit_chain::{Digest, Place, SALT_LENGTH};

/// Which people are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPage {
    /// Only those who match; `None` asks for everybody.
    pub search: Option<UserSearch>,
    /// Only those of this role.
    pub role: Option<Role>,
    /// Only those of this status; `None` is everybody but tombstones.
    pub status: Option<UserStatus>,
    /// Only those who come after this one.
    pub after: Option<UserPosition>,
    /// How many, at most.
    pub limit: u32,
}

impl UserPage {
    /// By what people are found, in the order in which they are shown.
    pub(crate) fn sources(&self) -> &'static [FoundBy] {
        match (&self.search, self.status) {
            // Of a tombstone nothing is left to search by.
            (Some(_), Some(UserStatus::Deleted)) => &[],
            (Some(_), _) => &[FoundBy::Username, FoundBy::DisplayName, FoundBy::Address],
            (None, _) => &[FoundBy::Nothing],
        }
    }

    /// How many keys of a kind one page looks at, at most, where it passes over people whom it has shown.
    pub(crate) const WALK: i64 = 500;

    /// Whether few people have the role that is asked for: then it is quicker to look at all of them than at
    /// all whose key begins so.
    pub(crate) fn asks_for_few(&self) -> bool {
        self.role == Some(Role::Admin)
    }
}

/// What people are searched by. Whoever has a username, a display name or a verified address in these ranges
/// matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSearch {
    /// Comparison keys of names.
    pub name: KeyRange,
    /// Comparison keys of addresses.
    pub address: KeyRange,
}

/// All keys that begin alike, compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first of them.
    pub start: String,
    /// The first behind them.
    pub end: String,
}

impl KeyRange {
    /// What of it a page can still show that goes on here.
    pub(crate) fn from(&self, after: Option<&UserPosition>) -> Self {
        let start = after.map_or(&self.start, |after| &after.key).clone();
        Self { start, end: self.end.clone() }
    }

    /// All keys that begin so.
    pub fn beginning_with(beginning: &str) -> Self {
        // The last character that there is stands behind all that can follow.
        Self { start: beginning.to_owned(), end: format!("{beginning}{}", char::MAX) }
    }
}

/// Where somebody stands among those who were asked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPosition {
    /// By what they were found.
    pub found_by: FoundBy,
    /// The key that matched; empty where nothing is searched for.
    pub key: String,
    /// Who.
    pub id: UserId,
}

/// By what somebody was found, in this order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// Nothing was searched for.
    Nothing,
    /// Their username.
    Username,
    /// Their display name.
    DisplayName,
    /// A verified address.
    Address,
}

/// A page of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// Who is on it.
    pub people: Vec<FoundUser>,
    /// Where the next page goes on; `None` at the end. No page looks at more than so many people, so that one
    /// can be short, or empty, and others follow.
    pub next: Option<UserPosition>,
}

impl UserList {
    /// A page of at most `limit` of those who were found, of whom one more was asked for; the walk ended at
    /// `ended_at`, unless there was nobody left.
    pub(crate) fn new(
        mut people: Vec<FoundUser>,
        limit: u32,
        ended_at: Option<UserPosition>,
    ) -> Self {
        let limit = limit as usize;
        if people.len() <= limit {
            return Self { people, next: ended_at };
        }
        people.truncate(limit);
        let next = people.last().map(|last| last.position.clone());
        Self { people, next }
    }
}

/// Somebody on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// The person.
    pub user: User,
    /// Their addresses, oldest identity first.
    pub emails: Vec<Email>,
    /// Where the next page goes on.
    pub position: UserPosition,
}

/// Which audit entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Only those of this actor, as `user:…`, `cli`, `system` or `anonymous`.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Only those about this, as `kind:id`.
    pub target: Option<String>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// Only those older than this entry.
    pub before: Option<Uuid>,
    /// Only those newer than this entry, the oldest first: for whoever follows the trail.
    pub newer_than: Option<Uuid>,
    /// How many, at most.
    pub limit: u32,
}

/// The last entry of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Its place.
    pub place: Place,
    /// When it was written.
    pub at: Timestamp,
}

/// An audit entry with all that its hash covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedRow {
    /// Its place; `None` for an entry that is in no chain.
    pub place: Option<Place>,
    /// UUIDv7.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Whom.
    pub target: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Further facts, as JSON, byte for byte.
    pub details: String,
    /// Covers the personal values, if there were any.
    pub commitment: Option<Digest>,
    /// The personal values as JSON with the salt of the commitment, while they are kept.
    pub personal: Option<([u8; SALT_LENGTH], String)>,
}

/// A signed statement about the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// From 1 on.
    pub number: u64,
    /// Entries of this time or before may be missing.
    pub removed_before: Option<Timestamp>,
    /// The entry that holds it; `None` if somebody else than Latchkey removed it.
    pub entry: Option<ChainedRow>,
}

impl AuditPage {
    /// The newest entries, whatever they are about.
    pub fn newest(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }
}
