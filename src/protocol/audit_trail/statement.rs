//! What is signed about the audit trail.
//!
//! A checkpoint names the last entry of each chain that went on since the checkpoint before it. As each
//! entry's hash covers all entries before it, that covers the whole trail; and as a checkpoint is an entry
//! itself and names the one before, checkpoints are a chain of their own.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::protocol::audit_chain::{Digest, Place};
use crate::protocol::sealed::{Purpose, Sealer};

/// `typ` of a checkpoint.
pub const CHECKPOINT: &str = "latchkey-audit-checkpoint+jwt";

/// `typ` of the statement that closes an export.
pub const CLOSING: &str = "latchkey-audit-export+jwt";

/// The action of the entries that hold checkpoints.
pub const ACTION: &str = "audit.checkpoint";

/// A moment to the millisecond, as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

const MILLISECONDS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.millis();
        let written = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
            .ok()
            .filter(|moment| (0..=9999).contains(&moment.year()))
            .and_then(|moment| moment.format(MILLISECONDS).ok());
        match written {
            Some(written) => formatter.write_str(&written),
            // No time that Latchkey writes.
            None => write!(formatter, "{millis}ms"),
        }
    }
}

impl Moment {
    /// The inverse of its text.
    pub fn parse(text: &str) -> Option<Self> {
        let millis = match text.strip_suffix("ms") {
            Some(millis) => millis.parse().ok()?,
            None => {
                let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
                i64::try_from(nanos.div_euclid(1_000_000)).ok()?
            }
        };
        Some(Self(Timestamp::from_millis(millis)))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a time in RFC 3339"))
    }
}

/// An entry up to which a chain is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Which chain.
    pub chain: Uuid,
    /// The how-manyth entry.
    pub position: u64,
    /// Its hash.
    pub hash: Digest,
    /// Its time.
    pub at: Moment,
}

impl Head {
    /// Of an entry at a place.
    pub fn new(place: Place, at: Timestamp) -> Self {
        let Place { chain, position, hash } = place;
        Self { chain, position, hash, at: Moment(at) }
    }
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// When it was signed.
    pub at: Moment,
    /// From 1 on, without a gap.
    pub number: u64,
    /// The entry of the checkpoint before it; `null` for the first, or if somebody removed it.
    pub previous: Option<Head>,
    /// Entries of this time or before may be missing: they were kept long enough.
    pub removed_before: Option<Moment>,
    /// The ids of the keys that signed this checkpoint and those before it.
    pub signers: Vec<String>,
    /// The last entry of each chain that went on since the checkpoint before it.
    pub heads: Vec<Head>,
}

/// What the end of an export says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// When it was signed.
    pub at: Moment,
    /// The number that the next checkpoint will have.
    pub number: u64,
    /// The entry of the last checkpoint; `null` if there is none, or if somebody removed it.
    pub previous: Option<Head>,
    /// Entries of this time or before may be missing: they were kept long enough.
    pub removed_before: Option<Moment>,
    /// The last entry of each chain in the file that no checkpoint in the file covers to its end.
    pub heads: Vec<Head>,
    /// How many entries there are.
    pub entries: u64,
    /// SHA-256 of all bytes before the line of this statement.
    pub digest: Digest,
    /// The keys that signed checkpoints, as public JWKs (RFC 7517).
    pub keys: Vec<Value>,
}

/// The details of a checkpoint's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The [`Checkpoint`] as a JWS.
    pub statement: String,
    /// Shows whoever has the server secret that the statement is Latchkey's own, whatever the database says
    /// about keys. Nobody else can make use of it.
    pub seal: String,
}

impl Signed {
    /// Seals a signed checkpoint.
    pub fn new(statement: String, sealer: &Sealer) -> Self {
        let digest = Digest::of(statement.as_bytes());
        Self { seal: sealer.seal_bytes(Purpose::AuditStatement, &digest.0), statement }
    }

    /// What it says, if it is our own.
    pub fn open(&self, sealer: &Sealer) -> Option<Checkpoint> {
        let sealed = sealer.open_bytes(Purpose::AuditStatement, &self.seal).ok()?;
        (sealed.as_slice() == Digest::of(self.statement.as_bytes()).0).then_some(())?;
        claims(&self.statement)
    }
}

/// What a JWS says, whoever signed it.
fn claims(token: &str) -> Option<Checkpoint> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_to_the_millisecond_and_read_as_they_are_written() {
        for (millis, text) in [
            (1_700_000_000_042, "2023-11-14T22:13:20.042Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (i64::MAX, "9223372036854775807ms"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let moment = Moment(Timestamp::from_millis(millis));
            assert_eq!(moment.to_string(), text);
            assert_eq!(Moment::parse(text), Some(moment));
        }
        assert_eq!(Moment::parse("yesterday"), None);
    }
}
