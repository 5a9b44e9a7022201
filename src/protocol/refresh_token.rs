//! Refresh tokens: `base64url(key id ‖ family id ‖ generation ‖ HMAC-SHA-256 tag)`, 60 bytes.
//!
//! The tag proves that we issued the token, so a forged or garbled one is refused without asking
//! the database; and since nothing in it is random, the successor of a token can be computed again.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::sealed::{KEY_ID_LENGTH, derive, key_id};
use crate::config::settings::SecretKey;
use crate::store::model::FamilyId;

/// Who presents tokens of a family. Each kind has a MAC key of its own, so that a cookie's token is
/// not even well-formed at the token endpoint, nor the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FamilyKind {
    /// A browser, by cookie.
    Session,
    /// A registered client, at the token endpoint.
    Client,
}

/// What a token says, once its tag is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Presented {
    /// Who may present it.
    pub kind: FamilyKind,
    /// Its family.
    pub family: FamilyId,
    /// Its generation.
    pub generation: u64,
}

/// Why a token is refused before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshTokenError {
    /// Garbled, cut, or with a wrong tag.
    #[error("the refresh token is not ours")]
    Forged,
    /// Its key id is that of no configured server secret.
    #[error("the refresh token belongs to an unknown server secret")]
    UnknownKey,
}

const FAMILY: usize = KEY_ID_LENGTH;
const GENERATION: usize = FAMILY + 16;
const TAG: usize = GENERATION + 8;
const LENGTH: usize = TAG + 32;
/// 60 bytes are a multiple of three: 80 characters, no padding, no stray bits.
const TEXT_LENGTH: usize = LENGTH / 3 * 4;

/// Issues and checks refresh tokens. Cheap to clone.
#[derive(Clone)]
pub struct RefreshTokens(Arc<[Keys]>);

struct Keys {
    id: [u8; KEY_ID_LENGTH],
    session: hmac::Key,
    client: hmac::Key,
}

impl Keys {
    fn of(&self, kind: FamilyKind) -> &hmac::Key {
        match kind {
            FamilyKind::Session => &self.session,
            FamilyKind::Client => &self.client,
        }
    }
}

impl RefreshTokens {
    /// Derives the MAC keys; `secrets` is not empty, its first one issues.
    pub fn new(secrets: &[SecretKey]) -> Self {
        let key = |secret: &SecretKey, label: &str| {
            hmac::Key::new(hmac::HMAC_SHA256, &derive::<32>(secret, label)[..])
        };
        Self(
            secrets
                .iter()
                .map(|secret| Keys {
                    id: key_id(secret),
                    session: key(secret, "refresh token of a session"),
                    client: key(secret, "refresh token of a client"),
                })
                .collect(),
        )
    }

    /// The token of a family's generation: the same each time it is asked for. `client_id` is that of
    /// the family; the tag covers it, so that a client's token is none in another's hands.
    pub fn issue(&self, token: Presented, client_id: &str) -> String {
        let keys = &self.0[0];
        let mut bytes = [0; LENGTH];
        bytes[..FAMILY].copy_from_slice(&keys.id);
        bytes[FAMILY..GENERATION].copy_from_slice(token.family.0.as_bytes());
        bytes[GENERATION..TAG].copy_from_slice(&token.generation.to_be_bytes());
        let tag = hmac::sign(keys.of(token.kind), &covered(token.kind, &bytes[..TAG], client_id));
        bytes[TAG..].copy_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token that `client_id` presents as one of `kind`.
    ///
    /// # Errors
    /// [`RefreshTokenError`]; the tag is compared in constant time.
    pub fn read(
        &self,
        kind: FamilyKind,
        client_id: &str,
        text: &str,
    ) -> Result<Presented, RefreshTokenError> {
        let bytes = decode(text).ok_or(RefreshTokenError::Forged)?;
        let (body, tag) = bytes.split_at(TAG);
        let keys = self
            .0
            .iter()
            .find(|keys| body.starts_with(&keys.id))
            .ok_or(RefreshTokenError::UnknownKey)?;
        hmac::verify(keys.of(kind), &covered(kind, body, client_id), tag)
            .map_err(|_| RefreshTokenError::Forged)?;
        let mut generation = [0; 8];
        generation.copy_from_slice(&body[GENERATION..]);
        let generation = u64::from_be_bytes(generation);
        Ok(Presented { kind, family: family(body), generation })
    }

    /// The family that a text names which may be a token. Nothing is checked: only good for finding out
    /// whose token it would be.
    pub fn claimed_family(text: &str) -> Option<FamilyId> {
        decode(text).map(|bytes| family(&bytes))
    }
}

fn decode(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let decoded =
        text.len() == TEXT_LENGTH && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).is_ok();
    decoded.then_some(bytes)
}

fn family(bytes: &[u8]) -> FamilyId {
    let mut family = [0; 16];
    family.copy_from_slice(&bytes[FAMILY..GENERATION]);
    FamilyId(Uuid::from_bytes(family))
}

/// What the tag covers. The part before the client's id has a fixed length, so that there are no two
/// readings.
fn covered<'a>(kind: FamilyKind, body: &'a [u8], client_id: &str) -> Cow<'a, [u8]> {
    match kind {
        FamilyKind::Session => Cow::Borrowed(body),
        FamilyKind::Client => Cow::Owned([body, client_id.as_bytes()].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(byte: u8) -> RefreshTokens {
        RefreshTokens::new(&[SecretKey::new(vec![byte; 32])])
    }

    proptest! {
        #[test]
        fn what_is_issued_is_read_back(family: u128, generation: u64) {
            let family = FamilyId(Uuid::from_u128(family));
            for kind in [FamilyKind::Session, FamilyKind::Client] {
                let token = Presented { kind, family, generation };
                let text = tokens(1).issue(token, "app");
                prop_assert_eq!(text.len(), TEXT_LENGTH);
                prop_assert_eq!(tokens(1).read(kind, "app", &text), Ok(token));
                prop_assert_eq!(&tokens(1).issue(token, "app"), &text);
            }
        }

        #[test]
        fn no_other_text_is_read(text in "\\PC{0,100}") {
            prop_assert!(tokens(1).read(FamilyKind::Session, "app", &text).is_err());
        }
    }

    #[test]
    fn any_changed_character_is_a_forgery() {
        let token = Presented {
            kind: FamilyKind::Session,
            family: FamilyId(Uuid::from_u128(7)),
            generation: 3,
        };
        let text = tokens(1).issue(token, "app");
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(tokens(1).read(FamilyKind::Session, "app", &changed).is_err());
        }
    }

    #[test]
    fn a_token_of_one_client_is_none_of_another() {
        let family = FamilyId(Uuid::from_u128(7));
        let token = Presented { kind: FamilyKind::Client, family, generation: 0 };
        let text = tokens(1).issue(token, "app");
        for other in ["other", "ap", "app2", ""] {
            let read = tokens(1).read(FamilyKind::Client, other, &text);
            assert_eq!(read, Err(RefreshTokenError::Forged), "{other}");
        }
        assert_eq!(RefreshTokens::claimed_family(&text), Some(family));
        assert_eq!(RefreshTokens::claimed_family("text"), None);
    }

    #[test]
    fn a_token_of_one_kind_or_secret_is_none_of_another() {
        let family = FamilyId(Uuid::from_u128(7));
        let text =
            tokens(1).issue(Presented { kind: FamilyKind::Session, family, generation: 0 }, "app");
        assert_eq!(
            tokens(1).read(FamilyKind::Client, "app", &text),
            Err(RefreshTokenError::Forged)
        );
        assert_eq!(
            tokens(2).read(FamilyKind::Session, "app", &text),
            Err(RefreshTokenError::UnknownKey)
        );
    }
}
