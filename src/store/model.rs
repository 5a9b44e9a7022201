//! What the store keeps: domain types without SQL.

mod administration;
mod clients;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

pub use administration::*;
pub use clients::*;

use crate::clock::Timestamp;
use crate::protocol::jwt::{Algorithm, LEEWAY_SECONDS};
use crate::protocol::scope::OFFLINE_ACCESS;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new UUIDv7: `now` in front, 74 random bits behind.
            pub fn new(now: Timestamp) -> Self {
                Self(crate::protocol::random::uuid_v7(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id_type!(
    /// A person; the `sub` of tokens.
    UserId
);
id_type!(
    /// A refresh-token family.
    FamilyId
);
id_type!(
    /// A browser session; the `sid` of tokens. A first-party family has the id of its session.
    SessionId
);

/// The client id of first-party families and tokens (our own cookies). No client can register it.
pub const FIRST_PARTY: &str = "latchkey";

/// What stands for the provider in a session that the command line opened: nobody signed in.
pub const COMMAND_LINE: &str = "cli";

/// How long an access token of the command line lives, at most, whatever `tokens.access_ttl` is.
pub const LONGEST_COMMAND_LINE_TOKEN: Duration = Duration::from_secs(60 * 60);

/// What a person may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Role {
    /// Everybody.
    User,
    /// Uses the admin interface.
    Admin,
}

impl Role {
    /// As the store and tokens spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// The inverse of [`Role::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

/// Whether a person can sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UserStatus {
    /// Can sign in.
    Active,
    /// Cannot, until an admin unlocks.
    Locked,
    /// A tombstone: only the id is left.
    Deleted,
}

impl UserStatus {
    /// As the store spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Deleted => "deleted",
        }
    }

    /// The inverse of [`UserStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Locked, Self::Deleted]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes, never reused.
    pub id: UserId,
    /// As the person wrote it.
    pub username: String,
    /// What pages show, if set.
    pub display_name: Option<String>,
    /// Name of the picture's object, if there is one.
    pub avatar: Option<String>,
    /// What the person may do.
    pub role: Role,
    /// Whether the person can sign in.
    pub status: UserStatus,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// An address that a provider told us for an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Email {
    /// The address as the provider wrote it.
    pub address: String,
    /// Whether a trusted provider says that it is the person's.
    pub verified: bool,
    /// Which provider said so.
    pub provider: String,
}

impl Email {
    /// What addresses are compared by: case aside, byte for byte. ASCII case alone: by Unicode's rules
    /// letters of other alphabets fold into ours, and one person's address into another's.
    pub fn comparison_key(address: &str) -> String {
        address.to_ascii_lowercase()
    }
}

/// The provider's account that signs a person in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the provider in the configuration.
    pub provider: String,
    /// The provider's stable id of the person.
    pub subject: String,
    /// Addresses with their verified flag, all of this provider.
    pub emails: Vec<Email>,
    /// Since when it signs the person in.
    pub linked_at: Timestamp,
    /// When it did so last.
    pub last_used_at: Timestamp,
}

/// A refresh-token family: one row, one live token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The family; equal to the session's id in a first-party family.
    pub id: FamilyId,
    /// Whose it is.
    pub user: UserId,
    /// The browser session that it belongs to.
    pub session: SessionId,
    /// The client that it was issued to; [`FIRST_PARTY`] for cookies.
    pub client_id: String,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// Granted resources (RFC 8707), separated by spaces.
    pub resource: String,
    /// Generation of the live token.
    pub generation: u64,
    /// When that generation became the live one: it is also the last use, to within the grace.
    pub rotated_at: Timestamp,
    /// When the family was opened.
    pub created_at: Timestamp,
    /// When the person really signed in.
    pub auth_time: Timestamp,
    /// Set once the family has ended.
    pub revoked_at: Option<Timestamp>,
}

/// A new family, as [`crate::store::operation::SignIn`] and `CreateUser` open it at generation 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFamily {
    /// Made by the caller, so that an unknown commit can be read back.
    pub id: FamilyId,
    /// Whose it is.
    pub user: UserId,
    /// The browser session.
    pub session: SessionId,
    /// [`FIRST_PARTY`] or a client's id.
    pub client_id: String,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// Granted resources (RFC 8707), separated by spaces; none for [`FIRST_PARTY`].
    pub resource: String,
    /// When the person really signed in.
    pub auth_time: Timestamp,
    /// Now.
    pub created_at: Timestamp,
    /// Name of the provider that signed the person in.
    pub provider: String,
    /// A short label of the browser, such as "Firefox on Linux".
    pub user_agent: String,
    /// A coarse network address, such as "203.0.113.0/24".
    pub network: String,
}

/// Until when access tokens are refused of a family that ends `now` and that `provider` opened: other tokens
/// than those of the command line live for `tokens_live_for`.
pub(crate) fn refused_until(
    now: Timestamp,
    tokens_live_for: Duration,
    provider: &str,
) -> Timestamp {
    let leeway = Duration::from_secs(LEEWAY_SECONDS.unsigned_abs());
    now.plus(match provider {
        COMMAND_LINE => tokens_live_for.max(LONGEST_COMMAND_LINE_TOKEN + leeway),
        _ => tokens_live_for,
    })
}

impl NewFamily {
    /// Whether it outlives its session (OpenID Connect Core §11).
    pub(crate) fn is_offline(&self) -> bool {
        self.scope.split(' ').any(|scope| scope == OFFLINE_ACCESS)
    }
}

/// A browser session as its person recognises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its first-party family.
    pub family: Family,
    /// Name of the provider that signed the person in.
    pub provider: String,
    /// A short label of the browser.
    pub user_agent: String,
    /// A coarse network address.
    pub network: String,
}

impl Session {
    /// When it was used last, to within the grace. What the command line opened counts as used before it was
    /// opened, so that it is over with its only access token.
    pub fn last_used_at(&self) -> Timestamp {
        self.family.rotated_at.max(self.family.created_at)
    }
}

/// A username that a person had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerUsername {
    /// As the person wrote it.
    pub username: String,
    /// From when on it was theirs.
    pub since: Timestamp,
    /// When they took another.
    pub until: Timestamp,
}

/// A former name that is held for its old owner, against others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUsername {
    /// The name's comparison key.
    pub username_key: String,
    /// Until when.
    pub until: Timestamp,
}

/// A family together with its person: what a new access token needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyWithUser {
    /// The family.
    pub family: Family,
    /// Its person.
    pub user: User,
}

/// What a revocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationKind {
    /// All tokens of a browser session (`sid`).
    Session,
    /// All tokens of a family (`grant_id`).
    Family,
    /// All tokens of a person (`sub`).
    User,
    /// All tokens of a client (`client_id`).
    Client,
    /// One token (`jti`).
    Token,
    /// All tokens that a key signed (`kid`).
    Key,
}

impl RevocationKind {
    const ALL: [Self; 6] =
        [Self::Session, Self::Family, Self::User, Self::Client, Self::Token, Self::Key];

    /// As the store spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Family => "family",
            Self::User => "user",
            Self::Client => "client",
            Self::Token => "jti",
            Self::Key => "kid",
        }
    }

    /// The inverse of [`RevocationKind::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Something whose unexpired access tokens are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What `id` names.
    pub kind: RevocationKind,
    /// The session, family, user, client, token or key.
    pub id: String,
    /// From then on every token concerned has expired anyway.
    pub until: Timestamp,
}

/// A signing key as the store keeps it. Its state follows from the times and the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The public key as a JSON Web Key with `kid`, `use` and `alg`.
    pub public_jwk: String,
    /// PKCS#8, sealed with the server secret; `None` if the private half is in a file or wiped.
    pub sealed_private: Option<String>,
    /// When it was made (and published).
    pub created_at: Timestamp,
    /// From when on it signs, unless a newer one does.
    pub signs_from: Timestamp,
    /// Set when it was retired by hand: it no longer signs from then on.
    pub retired_at: Option<Timestamp>,
    /// Whether it was retired as compromised: then it is not published and verifies nothing.
    pub compromised: bool,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// The command line.
    CommandLine,
    /// Latchkey itself.
    System,
    /// Somebody who is not signed in.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(formatter, "user:{id}"),
            Self::CommandLine => formatter.write_str("cli"),
            Self::System => formatter.write_str("system"),
            Self::Anonymous => formatter.write_str("anonymous"),
        }
    }
}

/// One line of the audit trail, written in the transaction of what it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// UUIDv7.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What, as `noun.verb`: `user.created`, `session.opened`, `family.reuse_detected`, `key.staged`.
    pub action: &'static str,
    /// Whom or what it was done to, as `kind:id`.
    pub target: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Where from: the whole client address. Personal, so it is kept apart in `audit_details`.
    pub address: Option<String>,
    /// Further facts as JSON; never secrets. Personal values only under the key `personal`, which
    /// is kept apart in `audit_details`.
    pub details: serde_json::Value,
}

impl AuditEntry {
    /// An entry without address, request and details; the caller adds them.
    pub fn new(at: Timestamp, actor: Actor, action: &'static str, target: String) -> Self {
        Self {
            id: crate::protocol::random::uuid_v7(at),
            at,
            actor,
            action,
            target,
            request_id: None,
            address: None,
            details: serde_json::Value::Null,
        }
    }
}
