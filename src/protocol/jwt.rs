//! JSON Web Tokens as we issue them: algorithms, claims, and the strict compact form.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::store::model::{FamilyId, Role, SessionId, UserId};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDsa];

    /// The `alg` value (RFC 7518 §3.1, RFC 8037 §3.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The inverse of [`Algorithm::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    pub(crate) fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `typ` of access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN: &str = "at+jwt";

/// Tolerated difference between two clocks when times in tokens are judged.
pub const LEEWAY_SECONDS: i64 = 30;

/// Claims of an access token (RFC 9068 §2.2); times in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// The person.
    pub sub: UserId,
    /// Who may take the token: the issuer itself for our cookies.
    pub aud: String,
    /// The client; [`crate::store::model::FIRST_PARTY`] for our cookies.
    pub client_id: String,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// End of life.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// Unique to the token.
    pub jti: String,
    /// The browser session.
    pub sid: SessionId,
    /// When the person really signed in.
    pub auth_time: i64,
    /// The person's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub username: Option<String>,
    /// What the person may do. Our own services read it from the store all the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
}

impl AccessClaims {
    /// Checks the times against `now` with [`LEEWAY_SECONDS`].
    ///
    /// # Errors
    /// [`TokenError::Expired`], or [`TokenError::NotYetValid`] for an `iat` in the future.
    pub fn check_times(&self, now: Timestamp) -> Result<(), TokenError> {
        check_times(self.exp, self.iat, now)
    }
}

/// `typ` of ID tokens.
pub const ID_TOKEN: &str = "JWT";

/// `typ` of logout tokens (OpenID Connect Back-Channel Logout §2.4).
pub const LOGOUT_TOKEN: &str = "logout+jwt";

/// Whom a token is for: one name or several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// From names of which there is at least one.
    pub fn of(mut names: Vec<String>) -> Self {
        if names.len() == 1 { Self::One(names.remove(0)) } else { Self::Several(names) }
    }

    /// Whether it names `name`.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::One(only) => only == name,
            Self::Several(names) => names.iter().any(|known| known == name),
        }
    }
}

/// Claims of a client's access token (RFC 9068 §2.2); times in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAccessClaims {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// The person's id; the client's own where nobody signed in.
    pub sub: String,
    /// Who may take the token.
    pub aud: Audience,
    /// The client.
    pub client_id: String,
    /// Granted scopes, separated by spaces; absent where there are none (RFC 6749 §3.3 has no empty list).
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub scope: String,
    /// End of life.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// Unique to the token.
    pub jti: String,
    /// The browser session, where a person signed in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    /// The grant: the refresh-token family, where a person signed in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant_id: Option<FamilyId>,
    /// The person's name, with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub username: Option<String>,
    /// What the person may do, with the scope `roles`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<Role>,
}

impl ClientAccessClaims {
    /// Checks the times as [`AccessClaims::check_times`] does.
    ///
    /// # Errors
    /// [`TokenError::Expired`], [`TokenError::NotYetValid`].
    pub fn check_times(&self, now: Timestamp) -> Result<(), TokenError> {
        check_times(self.exp, self.iat, now)
    }
}

/// Claims of an ID token (OpenID Connect Core §2) that do not depend on the granted scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdClaims {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// The person's id.
    pub sub: String,
    /// The client.
    pub aud: String,
    /// End of life, in seconds since the Unix epoch.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// When the person really signed in.
    pub auth_time: i64,
    /// From the authorization request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<String>,
    /// The left half of the access token's hash (§3.1.3.6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_hash: Option<String>,
    /// The browser session.
    pub sid: SessionId,
}

/// The event of a logout token (OpenID Connect Back-Channel Logout §2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Claims of a logout token (OpenID Connect Back-Channel Logout §2.4). It never has a `nonce`, so that it
/// cannot be taken for an ID token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogoutClaims {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// The person's id.
    pub sub: String,
    /// The client.
    pub aud: String,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: i64,
    /// End of life.
    pub exp: i64,
    /// The same each time that one delivery is tried.
    pub jti: String,
    /// The session that ended.
    pub sid: SessionId,
    /// What happened.
    pub events: LogoutEvent,
}

/// The one member of `events` in a logout token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutEvent;

impl Serialize for LogoutEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut events = serializer.serialize_map(Some(1))?;
        events.serialize_entry(LOGOUT_EVENT, &serde_json::Map::new())?;
        events.end()
    }
}

fn check_times(exp: i64, iat: i64, now: Timestamp) -> Result<(), TokenError> {
    if now.seconds() >= exp.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if iat > now.seconds().saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts, or a part that is not the JSON it must be.
    #[error("the token is malformed")]
    Malformed,
    /// `typ`, `alg` or a critical header is not ours.
    #[error("the token is of another kind")]
    WrongKind,
    /// The `kid` names none of our keys.
    #[error("the token is signed by an unknown key")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// `iss`, `aud` or `client_id` is not the expected one.
    #[error("the token is meant for somebody else")]
    WrongAudience,
    /// Its life has ended.
    #[error("the token has expired")]
    Expired,
    /// Its time of issue lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// Longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The header members that decide how a token is verified. Keys named or carried in the header
/// (`jwk`, `jku`, `x5u`, `x5c`) are not even read (RFC 8725 §3.10).
#[derive(Debug, Deserialize)]
pub struct StrictHeader {
    /// Must be that of our key.
    pub alg: String,
    /// Must be the expected one, without regard to case (RFC 7515 §4.1.9).
    #[serde(default)]
    pub typ: Option<String>,
    /// Names our key; required.
    pub kid: String,
    /// Extensions that must be understood: we know none.
    #[serde(default)]
    pub crit: Option<serde_json::Value>,
}

/// Reads the header of a token in strict compact form (RFC 7515 §3.1): three parts, base64url
/// without padding and without stray bits, a JSON object without repeated members.
///
/// # Errors
/// [`TokenError::Malformed`], or [`TokenError::WrongKind`] for another `typ` or a `crit` header.
pub fn read_header(token: &str, typ: &str) -> Result<StrictHeader, TokenError> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenError::Malformed);
    }
    read_long_header(token, typ)
}

/// As [`read_header`], for tokens whose length is bounded elsewhere.
///
/// # Errors
/// As [`read_header`].
pub fn read_long_header(token: &str, typ: &str) -> Result<StrictHeader, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    if claims.is_empty() || signature.is_empty() {
        return Err(TokenError::Malformed);
    }
    let header: StrictHeader =
        serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    let same_typ = header.typ.as_deref().is_some_and(|found| found.eq_ignore_ascii_case(typ));
    if !same_typ || header.crit.is_some() {
        return Err(TokenError::WrongKind);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn a_plain_header_is_read() {
        let header =
            read_header(&token(r#"{"alg":"RS256","typ":"AT+JWT","kid":"a"}"#), ACCESS_TOKEN)
                .unwrap();
        assert_eq!((header.alg.as_str(), header.kid.as_str()), ("RS256", "a"));
    }

    #[test]
    fn anything_but_the_strict_compact_form_is_malformed() {
        let good = token(r#"{"alg":"RS256","typ":"at+jwt","kid":"a"}"#);
        let (header, rest) = good.split_once('.').unwrap();
        for bad in [
            format!("{header}=.{rest}"),
            format!("{good}."),
            format!("{good}.x"),
            format!(" {good}"),
            format!("{good}\n"),
            good.replace(".c2ln", "."),
            good.replace(".e30", "."),
            good.replace("c2ln", "c2lo="),
            token(r#"{"alg":"RS256","typ":"at+jwt","kid":"a","kid":"b"}"#),
            token(r#"{"alg":"RS256","typ":"at+jwt"}"#),
            token(r#"{"alg":1,"typ":"at+jwt","kid":"a"}"#),
            String::new(),
            "...".to_owned(),
            "x".repeat(1 << 20),
        ] {
            assert_eq!(
                read_header(&bad, ACCESS_TOKEN).unwrap_err(),
                TokenError::Malformed,
                "{}",
                &bad[..bad.len().min(80)]
            );
        }
    }

    #[test]
    fn another_type_or_a_critical_extension_is_refused() {
        for header in [
            r#"{"alg":"RS256","typ":"JWT","kid":"a"}"#,
            r#"{"alg":"RS256","kid":"a"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"a","crit":["b64"]}"#,
        ] {
            assert_eq!(
                read_header(&token(header), ACCESS_TOKEN).unwrap_err(),
                TokenError::WrongKind
            );
        }
    }
}
