//! Randomness from the operating system by way of aws-lc.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// Fills an array with random bytes.
///
/// # Panics
/// If the operating system has no randomness: nothing safe can be done then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// `N` random bytes as base64url without padding.
pub fn text<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<N>())
}

/// A UUIDv7 (RFC 9562 §5.7) of the moment `now`.
pub fn uuid_v7(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &bytes::<10>()).into_uuid()
}
