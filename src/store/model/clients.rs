//! Clients, and what people gave them access to.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use uuid::Uuid;

use super::{Email, FamilyWithUser, SessionId, UserId};
use crate::clock::Timestamp;
use crate::protocol::client::ClientMetadata;

/// The SHA-256 of a client's secret, which has 256 random bits: nothing slower is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    pub fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// Whether it is the hash of this secret; compared in constant time.
    pub fn is_of(&self, secret: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(secret).0).is_ok()
    }

    /// As the store keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The inverse of [`SecretHash::as_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A former secret that still works for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// Its hash.
    pub hash: SecretHash,
    /// Until when it works.
    pub until: Timestamp,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Never the id of a person, never [`super::FIRST_PARTY`].
    pub client_id: String,
    /// What is registered about it.
    pub metadata: ClientMetadata,
    /// Its secret, if it was given one.
    pub secret: Option<SecretHash>,
    /// The secret before.
    pub former_secret: Option<FormerSecret>,
    /// When it was registered. What is older was given to another client of the same id.
    pub created_at: Timestamp,
    /// When anything about it changed last.
    pub updated_at: Timestamp,
}

/// How far apart the clocks of two nodes may be. Each follows the database's, as well as that can be asked for.
const NODES_APART: Duration = Duration::from_secs(5);

impl Client {
    /// Whether what was made at this moment was made for a former client of this id. The moment may be another
    /// node's, so that a little does not count: an id is held until all tokens of the client before have expired.
    pub fn came_after(&self, moment: Timestamp) -> bool {
        moment.plus(NODES_APART) < self.created_at
    }
}

/// What a person allowed a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// All scopes that were allowed so far, separated by spaces.
    pub scope: String,
    /// All resources that were allowed so far, separated by spaces.
    pub resource: String,
    /// When for the first time.
    pub given_at: Timestamp,
    /// When for the last time.
    pub updated_at: Timestamp,
}

/// A client that has access to a person's account: by consent, or by a grant that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppAccess {
    /// Which client.
    pub client_id: String,
    /// What it is called.
    pub client_name: String,
    /// Where people learn about it.
    pub client_uri: Option<String>,
    /// What it may see and do: scopes of the consent and of all live grants, separated by spaces.
    pub scope: String,
    /// Since when.
    pub since: Timestamp,
    /// When it last used a live grant; `None` if it has none.
    pub last_used_at: Option<Timestamp>,
}

/// A consent, or a live grant, as the stores read it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The client.
    pub(crate) client_id: String,
    /// What is registered about it.
    pub(crate) metadata: ClientMetadata,
    /// What it may see and do.
    pub(crate) scope: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// When it was used last, if it is a grant.
    pub(crate) last_used_at: Option<Timestamp>,
}

impl AppAccess {
    /// One for each client, by their names. What belongs to one client lies together, the oldest first.
    pub(crate) fn gathered(accesses: Vec<Access>) -> Vec<Self> {
        let mut apps: Vec<Self> = Vec::new();
        for Access { client_id, metadata, scope, since, last_used_at } in accesses {
            match apps.last_mut().filter(|app| app.client_id == client_id) {
                Some(app) => {
                    app.scope = together(&app.scope, &scope);
                    app.last_used_at = app.last_used_at.max(last_used_at);
                }
                None => {
                    let ClientMetadata { client_name, client_uri, .. } = metadata;
                    apps.push(Self {
                        client_id,
                        client_name,
                        client_uri,
                        scope,
                        since,
                        last_used_at,
                    });
                }
            }
        }
        apps.sort_by(|one, other| one.client_name.cmp(&other.client_name));
        apps
    }
}

/// Two lists of words, separated by spaces, as one that holds each word once. However many and however
/// long they are: what a person allowed is never lost by allowing more.
pub(crate) fn together(one: &str, other: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in one.split(' ').chain(other.split(' ')) {
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// What userinfo answers from, read by one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantWithPerson {
    /// The grant and its person.
    pub live: FamilyWithUser,
    /// The person's addresses, oldest identity first.
    pub emails: Vec<Email>,
}

/// A client that is to be told that a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// UUIDv7; also the `jti` of the logout token.
    pub id: Uuid,
    /// Which client.
    pub client_id: String,
    /// Whose session.
    pub user: UserId,
    /// Which session.
    pub session: SessionId,
    /// How often it was tried.
    pub attempts: u32,
    /// When the session ended.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_put_together_once_each_however_many_and_long() {
        assert_eq!(together("b  a", " c a"), "b a c");
        assert_eq!(together("", ""), "");
        let many: Vec<String> =
            (0..100).map(|number| format!("{number}{}", "x".repeat(200))).collect();
        assert_eq!(together(&many[..60].join(" "), &many[40..].join(" ")), many.join(" "));
    }
}
