//! A provider's published keys (RFC 7517), as far as they can verify ID tokens.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::id_token::TokenProblem;
use super::strict_json;

/// What an ID token may be signed with: asymmetric algorithms alone. With `none` anybody could write
/// one, with an HMAC everybody who knows the secret (RFC 8725 §3.1).
const ALLOWED: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Most keys that are kept of one set.
const MOST_KEYS: usize = 100;

/// The allowed algorithm of this name.
pub fn allowed_algorithm(name: &str) -> Option<Algorithm> {
    ALLOWED.iter().find(|(allowed, _)| *allowed == name).map(|(_, algorithm)| *algorithm)
}

/// The keys of a provider that can verify ID tokens.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<PublicKey>);

#[derive(Clone)]
struct PublicKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PublicKey({:?} {:?})", self.kid, self.algorithms)
    }
}

/// A JWKS document; each key is read for itself, so that one of an unknown kind harms no other.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

/// The members that we know of a key (RFC 7518 §6, RFC 8037 §2).
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// If it is not the JSON of one, or repeats members.
    pub fn from_json(document: &[u8]) -> Result<Self, serde_json::Error> {
        strict_json::from_slice(document).map(Self::new)
    }

    pub(super) fn new(document: Document) -> Self {
        let keys = document.keys.into_iter();
        Self(keys.filter_map(PublicKey::read).take(MOST_KEYS).collect())
    }

    /// The one key that can have made a signature of this algorithm, with this `kid` if one is named.
    ///
    /// # Errors
    /// [`TokenProblem::UnknownKey`] if there is none, or more than one: keys are never tried in turn.
    pub fn find(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<&DecodingKey, TokenProblem> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        });
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(&only.key),
            _ => Err(TokenProblem::UnknownKey),
        }
    }
}

impl PublicKey {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let (fitting, key): (&[Algorithm], _) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", None) => (
                &[RS256, RS384, RS512, PS256, PS384, PS512],
                DecodingKey::from_rsa_components(&jwk.n, &jwk.e),
            ),
            ("EC", Some("P-256")) => (&[ES256], DecodingKey::from_ec_components(&jwk.x, &jwk.y)),
            ("EC", Some("P-384")) => (&[ES384], DecodingKey::from_ec_components(&jwk.x, &jwk.y)),
            ("OKP", Some("Ed25519")) => (&[EdDSA], DecodingKey::from_ed_components(&jwk.x)),
            _ => return None,
        };
        // A key that names its algorithm is good for that one alone.
        let algorithms: Vec<Algorithm> = match &jwk.alg {
            None => fitting.to_vec(),
            Some(name) => {
                let named = allowed_algorithm(name);
                fitting.iter().copied().filter(|algorithm| Some(*algorithm) == named).collect()
            }
        };
        (!algorithms.is_empty()).then_some(Self { kid: jwk.kid, algorithms, key: key.ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(keys: Value) -> KeySet {
        KeySet::new(serde_json::from_value(json!({ "keys": keys })).unwrap())
    }

    fn rsa(kid: &str) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB"})
    }

    fn with(mut key: Value, member: &str, value: &str) -> Value {
        key[member] = Value::from(value);
        key
    }

    #[test]
    fn a_key_is_found_by_kid_and_kind() {
        let keys = set(json!([
            rsa("a"),
            {"kty": "EC", "crv": "P-256", "kid": "b", "x": "AQAB", "y": "AQAB"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "c", "x": "AQAB"},
        ]));
        assert!(keys.find(Algorithm::RS256, Some("a")).is_ok());
        assert!(keys.find(Algorithm::PS512, Some("a")).is_ok());
        assert!(keys.find(Algorithm::ES256, Some("b")).is_ok());
        assert!(keys.find(Algorithm::EdDSA, Some("c")).is_ok());
        assert!(keys.find(Algorithm::ES256, Some("a")).is_err(), "another kind of key");
        assert!(keys.find(Algorithm::ES384, Some("b")).is_err(), "another curve");
        assert!(keys.find(Algorithm::RS256, Some("d")).is_err(), "no such key");
        assert!(keys.find(Algorithm::RS256, Some("../../etc/passwd")).is_err());
    }

    #[test]
    fn without_a_kid_only_the_one_fitting_key_is_taken() {
        let one = set(json!([rsa("a"), {"kty": "OKP", "crv": "Ed25519", "kid": "c", "x": "AQAB"}]));
        let two = set(json!([rsa("a"), rsa("b")]));
        assert!(one.find(Algorithm::RS256, None).is_ok());
        assert!(two.find(Algorithm::RS256, None).is_err());
        assert!(set(json!([rsa("a"), rsa("a")])).find(Algorithm::RS256, Some("a")).is_err());
    }

    #[test]
    fn a_key_for_something_else_is_not_taken() {
        let keys = set(json!([
            with(rsa("enc"), "use", "enc"),
            with(rsa("other"), "alg", "RS512"),
            with(rsa("hmac"), "alg", "HS256"),
            {"kty": "oct", "kid": "oct", "k": "AQAB"},
            {"kty": "EC", "crv": "secp256k1", "kid": "curve", "x": "AQAB", "y": "AQAB"},
            {"kid": "no kind"},
            "nonsense",
            with(rsa("good"), "use", "sig"),
        ]));
        for kid in ["enc", "other", "hmac", "oct", "curve", "no kind"] {
            assert!(keys.find(Algorithm::RS256, Some(kid)).is_err(), "{kid}");
        }
        assert!(keys.find(Algorithm::RS512, Some("other")).is_ok());
        assert!(keys.find(Algorithm::RS256, Some("good")).is_ok());
    }

    #[test]
    fn symmetric_and_missing_signatures_are_no_allowed_algorithm() {
        for refused in ["none", "None", "HS256", "HS512", "rs256", "ES256K", ""] {
            assert_eq!(allowed_algorithm(refused), None, "{refused}");
        }
        assert_eq!(allowed_algorithm("RS256"), Some(Algorithm::RS256));
    }
}
