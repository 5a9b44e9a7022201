//! Sealed tickets: what other servers keep in a table, we hand out encrypted.
//!
//! Login state, setup tickets, form tokens and the like are AES-256-GCM-SIV boxes (RFC 8452; a
//! repeated nonce costs nothing, so one key may seal for years), bound to a purpose and an expiry.
//! Keys are derived from the server secrets with HKDF; the first secret seals, all of them open.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::random;
use crate::clock::Timestamp;
use crate::config::settings::SecretKey;

/// What a ticket is for. A ticket of one purpose never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// State of a sign-in attempt, in its cookie.
    Login,
    /// A new person who has yet to choose a name.
    Setup,
    /// An identity that waits to be connected to an account.
    Link,
    /// A way back into an account, made on the command line.
    Recovery,
    /// The hidden field of a form, bound to a session or a setup ticket.
    Form,
    /// An authorization code.
    Code,
    /// An authorization request that waits for the person's consent.
    Consent,
    /// An authorization request that waits for a new sign-in.
    Reauthentication,
    /// A sign-out that waits for the person's word.
    EndSession,
    /// Tokens and state of the demo app.
    DemoApp,
    /// Private halves of signing keys in the store.
    SigningKey,
    /// Where a list goes on.
    Cursor,
    /// The answer to a request that is not done twice.
    Answer,
    /// Marks signed statements about the audit trail as our own.
    AuditStatement,
    /// A code of the development provider.
    DevelopmentCode,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Setup => "setup",
            Self::Link => "link",
            Self::Recovery => "recovery",
            Self::Form => "form",
            Self::Code => "authorization code",
            Self::Consent => "consent",
            Self::Reauthentication => "reauthentication",
            Self::EndSession => "end session",
            Self::DemoApp => "demo app",
            Self::SigningKey => "signing key",
            Self::Cursor => "cursor",
            Self::Answer => "answer",
            Self::AuditStatement => "audit statement",
            Self::DevelopmentCode => "development code",
        }
    }
}

/// Why a ticket does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Garbled, forged, or of another purpose.
    #[error("the sealed value is not ours")]
    Forged,
    /// Sealed with a server secret that is not configured (any more).
    #[error("the sealed value belongs to an unknown server secret")]
    UnknownKey,
    /// Its time is over.
    #[error("the sealed value has expired")]
    Expired,
}

/// Bytes of the id that tells which server secret was used.
pub const KEY_ID_LENGTH: usize = 4;

/// Derives `N` bytes for `label` from a server secret (RFC 5869).
pub fn derive<const N: usize>(secret: &SecretKey, label: &str) -> Zeroizing<[u8; N]> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let key = Salt::new(HKDF_SHA256, b"latchkey").extract(secret.expose());
    let mut bytes = Zeroizing::new([0; N]);
    key.expand(&[label.as_bytes()], Length(N))
        .and_then(|output| output.fill(&mut bytes[..]))
        .expect("HKDF gives up to 8160 bytes");
    bytes
}

/// The id of a server secret: says which one, nothing else.
pub fn key_id(secret: &SecretKey) -> [u8; KEY_ID_LENGTH] {
    *derive::<KEY_ID_LENGTH>(secret, "key id")
}

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<[SealingKey]>);

struct SealingKey {
    id: [u8; KEY_ID_LENGTH],
    key: LessSafeKey,
}

impl Sealer {
    /// Derives the keys; `secrets` is not empty, its first one seals.
    pub fn new(secrets: &[SecretKey]) -> Self {
        let keys = secrets.iter().map(|secret| {
            let bytes = derive::<32>(secret, "sealing key");
            let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes[..]).expect("the length fits");
            SealingKey { id: key_id(secret), key: LessSafeKey::new(key) }
        });
        Self(keys.collect())
    }

    /// Seals a value until `expires`. The result is base64url and longer by about a third.
    ///
    /// # Panics
    /// If the value cannot be written as JSON, which does not depend on input.
    pub fn seal(&self, purpose: Purpose, value: &impl Serialize, expires: Timestamp) -> String {
        let plain = serde_json::to_vec(&(expires.millis(), value)).expect("the value is JSON");
        self.seal_bytes(purpose, &plain)
    }

    /// Opens a value sealed for `purpose` whose time is not over.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        sealed: &str,
        now: Timestamp,
    ) -> Result<T, SealError> {
        let plain = self.open_bytes(purpose, sealed)?;
        let (expires, value): (i64, T) =
            serde_json::from_slice(&plain).map_err(|_| SealError::Forged)?;
        if now >= Timestamp::from_millis(expires) {
            return Err(SealError::Expired);
        }
        Ok(value)
    }

    /// Seals bytes that never expire.
    pub fn seal_bytes(&self, purpose: Purpose, plain: &[u8]) -> String {
        let SealingKey { id, key } = &self.0[0];
        let nonce = random::bytes::<NONCE_LEN>();
        let mut output = Vec::with_capacity(KEY_ID_LENGTH + NONCE_LEN + plain.len() + 16);
        output.extend_from_slice(id);
        output.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(purpose.label()),
            &mut body,
        )
        .expect("the value is far below the limit of the cipher");
        output.append(&mut body);
        URL_SAFE_NO_PAD.encode(output)
    }

    /// Opens bytes sealed for `purpose`.
    ///
    /// # Errors
    /// [`SealError::Forged`], [`SealError::UnknownKey`].
    pub fn open_bytes(
        &self,
        purpose: Purpose,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| SealError::Forged)?;
        if bytes.len() < KEY_ID_LENGTH + NONCE_LEN {
            return Err(SealError::Forged);
        }
        let mut body = bytes.split_off(KEY_ID_LENGTH + NONCE_LEN);
        let (id, nonce) = bytes.split_at(KEY_ID_LENGTH);
        let key = self.0.iter().find(|key| key.id == id).ok_or(SealError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Forged)?;
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(purpose.label()), &mut body)
            .map_err(|_| SealError::Forged)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    /// Whether `sealed` was sealed with the first server secret.
    pub fn is_current(&self, sealed: &str) -> bool {
        URL_SAFE_NO_PAD.decode(sealed).is_ok_and(|bytes| bytes.starts_with(&self.0[0].id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);
    const LATER: Timestamp = Timestamp::from_seconds(1_600);

    fn secret(byte: u8) -> SecretKey {
        SecretKey::new(vec![byte; 32])
    }

    #[test]
    fn a_ticket_opens_for_its_purpose_until_it_expires() {
        let sealer = Sealer::new(&[secret(1)]);
        let sealed = sealer.seal(Purpose::Setup, &"rivka", LATER);
        assert_eq!(sealer.open::<String>(Purpose::Setup, &sealed, NOW).unwrap(), "rivka");
        assert_eq!(
            sealer.open::<String>(Purpose::Login, &sealed, NOW).unwrap_err(),
            SealError::Forged
        );
        assert_eq!(
            sealer.open::<String>(Purpose::Setup, &sealed, LATER).unwrap_err(),
            SealError::Expired
        );
    }

    #[test]
    fn any_changed_byte_makes_it_a_forgery() {
        let sealer = Sealer::new(&[secret(1)]);
        let sealed = sealer.seal(Purpose::Setup, &"rivka", LATER);
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert!(sealer.open::<String>(Purpose::Setup, &changed, NOW).is_err());
        }
        for length in 0..bytes.len() {
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert!(sealer.open::<String>(Purpose::Setup, &cut, NOW).is_err());
        }
    }

    #[test]
    fn the_first_secret_seals_and_all_of_them_open() {
        let old = Sealer::new(&[secret(1)]);
        let both = Sealer::new(&[secret(2), secret(1)]);
        let new = Sealer::new(&[secret(2)]);
        let from_old = old.seal(Purpose::Form, &1, LATER);
        let from_both = both.seal(Purpose::Form, &2, LATER);
        assert_eq!(both.open::<i32>(Purpose::Form, &from_old, NOW).unwrap(), 1);
        assert_eq!(new.open::<i32>(Purpose::Form, &from_both, NOW).unwrap(), 2);
        assert_eq!(
            new.open::<i32>(Purpose::Form, &from_old, NOW).unwrap_err(),
            SealError::UnknownKey
        );
        assert!(both.is_current(&from_both) && !both.is_current(&from_old));
    }
}
