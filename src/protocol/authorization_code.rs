//! Authorization codes (RFC 6749 §4.1.2): sealed, not stored. The id of the family that a code opens is in
//! it, so that a second redemption finds what the first one got.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::model::{FamilyId, SessionId, UserId};

/// What a code says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// The family that it opens.
    pub family: FamilyId,
    /// The client that it was issued to.
    pub client_id: String,
    /// [`fingerprint`] of the redirect URI that it was sent to.
    pub redirect_uri: String,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// Granted resources (RFC 8707), separated by spaces.
    pub resource: String,
    /// Copied into the ID token.
    pub nonce: Option<String>,
    /// The PKCE S256 challenge (RFC 7636 §4.2).
    pub code_challenge: Option<String>,
    /// Who signed in.
    pub user: UserId,
    /// In which session.
    pub session: SessionId,
    /// When the person really signed in, in seconds.
    pub auth_time: i64,
    /// Whether it rests on a consent, which must still be there.
    pub needs_consent: bool,
    /// When it was issued, in milliseconds since the Unix epoch.
    pub issued_at: i64,
}

impl AuthorizationCode {
    /// When it was issued.
    pub fn issued(&self) -> Timestamp {
        Timestamp::from_millis(self.issued_at)
    }
}

/// A short stand-in for a long text that is compared and never read: SHA-256 as base64url.
pub fn fingerprint(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}
