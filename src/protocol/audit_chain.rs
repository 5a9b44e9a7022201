//! Hash chains that make the audit trail tamper-evident.
//!
//! Each process writes its entries into a chain of its own: an entry's hash covers its content, its
//! place and the hash before it. Personal values are covered by a salted commitment alone, so that they
//! can be deleted later without breaking the chain, and so that what is left does not betray them.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::Timestamp;

/// What every hashed entry begins with: another version of the format gives other hashes.
const FORMAT: &[u8] = b"latchkey audit entry 1";

/// Bytes of a salt.
pub const SALT_LENGTH: usize = 16;

/// A SHA-256 digest; base64url without padding where it is text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands for the hash before a chain's first entry.
    pub const NONE: Self = Self([0; 32]);

    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_slice(digest(&SHA256, bytes).as_ref()).expect("SHA-256 gives 32 bytes")
    }

    /// From its 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok();
        bytes
            .and_then(|bytes| Self::from_slice(&bytes))
            .ok_or_else(|| D::Error::custom("not 32 bytes as base64url"))
    }
}

/// An entry's place: the how-manyth of which chain, and the hash that this gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Made by the process that writes it: a UUIDv7 of the moment of its first entry.
    pub chain: Uuid,
    /// From 1 on.
    pub position: u64,
    /// Of the entry at this place.
    pub hash: Digest,
}

/// What of an entry is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The entry's id.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: &'a str,
    /// What.
    pub action: &'a str,
    /// Whom.
    pub target: &'a str,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// Further facts, as JSON, byte for byte.
    pub details: &'a str,
    /// Covers the personal values, if there were any: see [`commitment`].
    pub commitment: Option<Digest>,
}

/// The hash of an entry at a place, after the entry of the hash `previous`.
///
/// Every part has its length before it, so that no two contents are hashed from the same bytes.
pub fn hash(chain: Uuid, position: u64, previous: Digest, content: &Content<'_>) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        // No part is as long.
        None => context.update(&u64::MAX.to_be_bytes()),
    };
    part(Some(FORMAT));
    part(Some(chain.as_bytes()));
    part(Some(&position.to_be_bytes()));
    part(Some(&previous.0));
    part(Some(content.id.as_bytes()));
    part(Some(&content.at.millis().to_be_bytes()));
    part(Some(content.actor.as_bytes()));
    part(Some(content.action.as_bytes()));
    part(Some(content.target.as_bytes()));
    part(content.request_id.map(str::as_bytes));
    part(Some(content.details.as_bytes()));
    part(content.commitment.as_ref().map(|commitment| commitment.0.as_slice()));
    Digest::from_slice(context.finish().as_ref()).expect("SHA-256 gives 32 bytes")
}

/// Covers personal values: whoever has no salt cannot find out what they were by trying.
pub fn commitment(salt: &[u8; SALT_LENGTH], personal: &str) -> Digest {
    Digest::of(&[salt.as_slice(), personal.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content<'_> = Content {
        id: Uuid::from_u128(1),
        at: Timestamp::from_seconds(1),
        actor: "cli",
        action: "user.locked",
        target: "user:1",
        request_id: None,
        details: "null",
        commitment: None,
    };

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let of = |content: &Content<'_>| hash(Uuid::nil(), 1, Digest::NONE, content);
        let plain = of(&CONTENT);
        let others = [
            Content { id: Uuid::from_u128(2), ..CONTENT },
            Content { at: Timestamp::from_millis(1_001), ..CONTENT },
            Content { actor: "cl", action: "iuser.locked", ..CONTENT },
            Content { action: "user.lockedu", target: "ser:1", ..CONTENT },
            Content { target: "user:2", ..CONTENT },
            Content { request_id: Some(""), ..CONTENT },
            Content { details: "{}", ..CONTENT },
            Content { commitment: Some(Digest::NONE), ..CONTENT },
        ];
        let mut hashes: Vec<Digest> = others.iter().map(of).collect();
        hashes.push(hash(Uuid::from_u128(1), 1, Digest::NONE, &CONTENT));
        hashes.push(hash(Uuid::nil(), 2, Digest::NONE, &CONTENT));
        hashes.push(hash(Uuid::nil(), 1, Digest::of(b""), &CONTENT));
        hashes.push(plain);
        let distinct: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
        assert_eq!(of(&CONTENT), plain);
    }

    #[test]
    fn digests_are_read_as_they_are_written_and_in_no_other_way() {
        let digest = Digest::of(b"a");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        // The last character has two bits to spare: with one of them set it is another text.
        let other = text.replace("s\"", "t\"");
        assert!(other == text || serde_json::from_str::<Digest>(&other).is_err());
        assert!(serde_json::from_str::<Digest>("\"YQ\"").is_err());
    }
}
