//! The lines of an export: one for each entry, then the signed statement that closes it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::statement::Moment;
use crate::protocol::audit_chain::{Content, Digest, SALT_LENGTH};
use crate::store::model::ChainedRow;

/// An entry as a line of an export, with everything that its hash covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEntry {
    /// Its chain; `null` for an entry that is in none.
    pub chain: Option<Uuid>,
    /// Its place in the chain.
    pub position: Option<u64>,
    /// Its hash.
    pub hash: Option<Digest>,
    /// UUIDv7.
    pub id: Uuid,
    /// When.
    pub at: Moment,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Whom.
    pub target: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Further facts: JSON as text, byte for byte as it was hashed.
    pub details: String,
    /// Covers the personal values, if there were any.
    pub commitment: Option<Digest>,
    /// The personal values, while they are kept: JSON as text, byte for byte.
    pub personal: Option<String>,
    /// The salt of the commitment.
    pub salt: Option<Salt>,
}

/// The last line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosingLine {
    /// A [`super::statement::Closing`] as a JWS.
    pub statement: String,
}

/// The salt of a commitment; base64url without padding where it is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_LENGTH]);

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok();
        let salt = bytes.and_then(|bytes| bytes.try_into().ok());
        salt.map(Self).ok_or_else(|| D::Error::custom("not 16 bytes as base64url"))
    }
}

impl From<ChainedRow> for ExportedEntry {
    fn from(row: ChainedRow) -> Self {
        let (salt, personal) = row.personal.unzip();
        Self {
            chain: row.place.map(|place| place.chain),
            position: row.place.map(|place| place.position),
            hash: row.place.map(|place| place.hash),
            id: row.id,
            at: Moment(row.at),
            actor: row.actor,
            action: row.action,
            target: row.target,
            request_id: row.request_id,
            details: row.details,
            commitment: row.commitment,
            personal,
            salt: salt.map(Salt),
        }
    }
}

impl ExportedEntry {
    /// What of it is hashed.
    pub fn content(&self) -> Content<'_> {
        Content {
            id: self.id,
            at: self.at.0,
            actor: &self.actor,
            action: &self.action,
            target: &self.target,
            request_id: self.request_id.as_deref(),
            details: &self.details,
            commitment: self.commitment,
        }
    }
}

/// A value as a line.
///
/// # Panics
/// If it cannot be written as JSON, which does not depend on input.
pub fn write_line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("a line is JSON");
    line.push('\n');
    line
}

/// Reads a line, if it is one letter for letter: whatever is not exactly as [`write_line`] writes it is none.
pub fn read_line<T: Serialize + DeserializeOwned>(line: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(line).ok()?;
    (write_line(&value).as_bytes() == line).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_letter_for_letter_or_not_at_all() {
        let line = write_line(&ClosingLine { statement: "a.b.c".to_owned() });
        assert_eq!(line, "{\"statement\":\"a.b.c\"}\n");
        assert!(read_line::<ClosingLine>(line.as_bytes()).is_some());
        for other in [
            "{\"statement\":\"a.b.c\"}",
            "{\"statement\": \"a.b.c\"}\n",
            "{\"statement\":\"\\u0061.b.c\"}\n",
            "{\"statement\":\"a.b.c\",\"more\":1}\n",
            "{}\n",
            "",
        ] {
            assert!(read_line::<ClosingLine>(other.as_bytes()).is_none(), "{other}");
        }
    }
}
