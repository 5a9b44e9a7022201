//! Signing keys: parsed once, kept, and signed with.
//!
//! jsonwebtoken 11 parses and checks the private key at every signature (0.90 ms of CPU for RSA);
//! a parsed aws-lc-rs key pair signs in 0.37 ms. So we sign with the pair and leave headers,
//! decoding and verification to jsonwebtoken.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::jwt::{
    Algorithm, LEEWAY_SECONDS, StrictHeader, TokenError, read_header, read_long_header,
};
use crate::clock::Stopwatch;
use crate::telemetry::histogram::Durations;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no private key that we know.
    #[error("this is not a PKCS#8 private key of RSA, P-256 or Ed25519: {0}")]
    Unreadable(String),
    /// An RSA key outside 2048 to 4096 bits (RFC 8725 §3.5, NIST SP 800-131A).
    #[error("an RSA key of {0} bits is refused: 2048 to 4096 are allowed")]
    Size(usize),
    /// A key could not be made.
    #[error("no key could be made: {0}")]
    Generation(String),
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

/// A parsed private key with what is always the same in its tokens.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    random: SystemRandom,
    /// Where it says how long signatures take; nowhere, if nobody wants to know.
    times: OnceLock<Arc<SigningTimes>>,
}

/// How long signatures took, by algorithm.
#[derive(Debug, Default)]
pub struct SigningTimes([Durations; Algorithm::ALL.len()]);

impl SigningTimes {
    /// Those of one algorithm.
    pub fn of(&self, algorithm: Algorithm) -> &Durations {
        match algorithm {
            Algorithm::RS256 => &self.0[0],
            Algorithm::ES256 => &self.0[1],
            Algorithm::EdDsa => &self.0[2],
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({} {})", self.public.algorithm, self.public.kid)
    }
}

/// A public key as the JWKS shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// What it verifies.
    pub algorithm: Algorithm,
    /// Public members only, with `kid`, `use` and `alg` (RFC 7517 §4).
    pub jwk: String,
}

/// Makes a private key, as PKCS#8 DER. RSA takes its time (tenths of a second): call it off the
/// request threads.
///
/// # Errors
/// [`KeyError::Size`] for `bits` other than 2048, 3072 or 4096; [`KeyError::Generation`].
pub fn generate(algorithm: Algorithm, bits: u32) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |error: aws_lc_rs::error::Unspecified| KeyError::Generation(error.to_string());
    let pkcs8 = match algorithm {
        Algorithm::RS256 => {
            let size = match bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                other => return Err(KeyError::Size(other as usize)),
            };
            let pair = RsaKeyPair::generate(size).map_err(failed)?;
            pair.as_der().map_err(failed)?.as_ref().to_vec()
        }
        Algorithm::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map_err(failed)?
            .as_ref()
            .to_vec(),
        Algorithm::EdDsa => Ed25519KeyPair::generate()
            .and_then(|pair| pair.to_pkcs8v1())
            .map_err(failed)?
            .as_ref()
            .to_vec(),
    };
    Ok(Zeroizing::new(pkcs8))
}

impl SigningKey {
    /// Parses and checks a private key in PKCS#8 DER. The bytes themselves say which kind it is.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`], [`KeyError::Size`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let (pair, algorithm, members) = if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            let modulus = pair.public_key().modulus().big_endian_without_leading_zero();
            let exponent = pair.public_key().exponent().big_endian_without_leading_zero();
            let bits = modulus.len() * 8;
            if !(2048..=4096).contains(&bits) {
                return Err(KeyError::Size(bits));
            }
            let members = vec![
                ("e", URL_SAFE_NO_PAD.encode(exponent)),
                ("kty", "RSA".to_owned()),
                ("n", URL_SAFE_NO_PAD.encode(modulus)),
            ];
            (Pair::Rsa(Box::new(pair)), Algorithm::RS256, members)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            let point = pair.public_key().as_ref();
            // Uncompressed point: 0x04, then x and y of 32 bytes each (SEC 1 §2.3.3).
            let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
                return Err(KeyError::Unreadable("unexpected P-256 point".to_owned()));
            };
            let members = vec![
                ("crv", "P-256".to_owned()),
                ("kty", "EC".to_owned()),
                ("x", URL_SAFE_NO_PAD.encode(x)),
                ("y", URL_SAFE_NO_PAD.encode(y)),
            ];
            (Pair::Ec(Box::new(pair)), Algorithm::ES256, members)
        } else {
            let pair = Ed25519KeyPair::from_pkcs8(der)
                .map_err(|rejected| KeyError::Unreadable(rejected.to_string()))?;
            let members = vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())),
            ];
            (Pair::Ed(Box::new(pair)), Algorithm::EdDsa, members)
        };
        let public = PublicKey::new(algorithm, &members);
        Ok(Self { pair, public, random: SystemRandom::new(), times: OnceLock::new() })
    }

    /// Parses a private key from PEM ("PRIVATE KEY", PKCS#8).
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        use rustls::pki_types::PrivatePkcs8KeyDer;
        use rustls::pki_types::pem::PemObject;
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| KeyError::Unreadable(format!("{error:?}")))?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// Says to `times` from now on how long signatures take.
    pub fn timed_by(&self, times: &Arc<SigningTimes>) {
        let _first = self.times.get_or_init(|| Arc::clone(times));
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as X.509 SubjectPublicKeyInfo in DER (RFC 5280 §4.1).
    ///
    /// # Errors
    /// [`KeyError::Generation`], which a checked key does not cause.
    pub fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        use aws_lc_rs::encoding::PublicKeyX509Der;
        let der: Result<PublicKeyX509Der<'_>, _> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Ed(pair) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec())
            .map_err(|error| KeyError::Generation(error.to_string()))
    }

    /// Signs `claims` as a compact JWT of the type `typ`.
    ///
    /// # Panics
    /// If the claims cannot be written as JSON or the operating system has no randomness: neither
    /// depends on input.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> String {
        let watch = Stopwatch::start();
        let token = self.signed(typ, claims);
        if let Some(times) = self.times.get() {
            times.of(self.public.algorithm).observe(watch.elapsed());
        }
        token
    }

    fn signed(&self, typ: &str, claims: &impl Serialize) -> String {
        let mut header = jsonwebtoken::Header::new(self.public.algorithm.of_library());
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.public.kid.clone());
        let header = serde_json::to_vec(&header).expect("a header is JSON");
        let claims = serde_json::to_vec(claims).expect("claims are JSON");
        let mut token = String::with_capacity((header.len() + claims.len()) * 4 / 3 + 700);
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signature(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .expect("a checked RSA key signs");
                signature
            }
            Pair::Ec(pair) => pair
                .sign(&self.random, message)
                .expect("a checked P-256 key signs")
                .as_ref()
                .to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl PublicKey {
    /// From a public JWK. The id is the key's own thumbprint, whatever its `kid` says.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn of_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let word = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        let (algorithm, required): (_, &[&'static str]) = match (word("kty"), word("crv")) {
            ("RSA", _) => (Algorithm::RS256, &["e", "kty", "n"]),
            ("EC", "P-256") => (Algorithm::ES256, &["crv", "kty", "x", "y"]),
            ("OKP", "Ed25519") => (Algorithm::EdDsa, &["crv", "kty", "x"]),
            _ => return Err(KeyError::Unreadable("not RSA, P-256 or Ed25519".to_owned())),
        };
        let members: Vec<(&str, String)> =
            required.iter().map(|name| (*name, word(name).to_owned())).collect();
        // What is no base64url would make a thumbprint of something else.
        let is_plain = |value: &String| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !value.is_empty() && value.bytes().all(is_word)
        };
        if !members.iter().all(|(_, value)| is_plain(value)) {
            return Err(KeyError::Unreadable("a member is missing or not base64url".to_owned()));
        }
        Ok(Self::new(algorithm, &members))
    }

    /// `members`: the required ones of RFC 7638 §3.2, in lexicographic order.
    fn new(algorithm: Algorithm, members: &[(&str, String)]) -> Self {
        let required: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{{{}}}", required.join(",")).as_bytes(),
        );
        let kid = URL_SAFE_NO_PAD.encode(digest);
        let mut jwk: Map<String, Value> = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        jwk.insert("kid".to_owned(), Value::from(kid.as_str()));
        jwk.insert("use".to_owned(), Value::from("sig"));
        jwk.insert("alg".to_owned(), Value::from(algorithm.as_str()));
        Self { kid, algorithm, jwk: Value::Object(jwk).to_string() }
    }
}

/// A public key, parsed once, that verifies our own tokens.
pub struct VerificationKey {
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

impl VerificationKey {
    /// Parses a public JWK of the algorithm.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn new(algorithm: Algorithm, jwk: &str) -> Result<Self, KeyError> {
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_str(jwk).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        let key =
            DecodingKey::from_jwk(&jwk).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        let mut validation = Validation::new(algorithm.of_library());
        // The library reads the system's clock; ours is injected, so times are checked by us.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        // Our tokens have no `nbf`. Whoever sets one by means of our key is held to it by the library, at
        // the cost of nothing.
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS.unsigned_abs();
        Ok(Self { algorithm, key, validation })
    }

    /// Verifies a signature and reads the claims. Times and audience are the caller's to check.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, TokenError> {
        use jsonwebtoken::errors::ErrorKind;
        jsonwebtoken::decode::<T>(token, &self.key, &self.validation)
            .map(|data| data.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::BadSignature,
                ErrorKind::InvalidAlgorithm => TokenError::WrongKind,
                ErrorKind::ImmatureSignature => TokenError::NotYetValid,
                _ => TokenError::Malformed,
            })
    }
}

/// Verifies a token by the key that `find` gives for its `kid`. The algorithm comes from the key,
/// never from the header (RFC 8725 §3.1).
///
/// # Errors
/// [`TokenError`].
pub fn verify<'a, T: DeserializeOwned>(
    token: &str,
    typ: &str,
    find: impl FnOnce(&str) -> Option<&'a VerificationKey>,
) -> Result<T, TokenError> {
    verify_by(&read_header(token, typ)?, token, find)
}

/// As [`verify`], for tokens whose length is bounded elsewhere.
///
/// # Errors
/// [`TokenError`].
pub fn verify_long<'a, T: DeserializeOwned>(
    token: &str,
    typ: &str,
    find: impl FnOnce(&str) -> Option<&'a VerificationKey>,
) -> Result<T, TokenError> {
    verify_by(&read_long_header(token, typ)?, token, find)
}

fn verify_by<'a, T: DeserializeOwned>(
    header: &StrictHeader,
    token: &str,
    find: impl FnOnce(&str) -> Option<&'a VerificationKey>,
) -> Result<T, TokenError> {
    let key = find(&header.kid).ok_or(TokenError::UnknownKey)?;
    if header.alg != key.algorithm.as_str() {
        return Err(TokenError::WrongKind);
    }
    key.verify(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_algorithm_signs_what_its_public_key_verifies() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::from_pkcs8(&generate(algorithm, 2048).unwrap()).unwrap();
            assert_eq!(key.public().algorithm, algorithm);
            let verification = VerificationKey::new(algorithm, &key.public().jwk).unwrap();
            let token = key.sign("at+jwt", &json!({"sub": "a"}));
            let find = |kid: &str| (kid == key.public().kid).then_some(&verification);
            assert_eq!(verify::<Value>(&token, "at+jwt", find).unwrap(), json!({"sub": "a"}));

            let tampered = format!("{}A", &token[..token.len() - 1]);
            if tampered != token {
                assert!(verify::<Value>(&tampered, "at+jwt", find).is_err());
            }
            assert_eq!(
                verify::<Value>(&token, "at+jwt", |_| None).unwrap_err(),
                TokenError::UnknownKey
            );
        }
    }

    #[test]
    fn the_header_cannot_choose_the_algorithm() {
        let key = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
        let verification = VerificationKey::new(Algorithm::ES256, &key.public().jwk).unwrap();
        let token = key.sign("at+jwt", &json!({}));
        let (_, rest) = token.split_once('.').unwrap();
        for alg in ["none", "None", "HS256", "RS256", "ES384", "PS256"] {
            let header = json!({"alg": alg, "typ": "at+jwt", "kid": key.public().kid});
            let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
            assert!(verify::<Value>(&forged, "at+jwt", |_| Some(&verification)).is_err(), "{alg}");
        }
    }

    #[test]
    fn a_jwk_holds_public_members_only() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::from_pkcs8(&generate(algorithm, 2048).unwrap()).unwrap();
            let jwk: Map<String, Value> = serde_json::from_str(&key.public().jwk).unwrap();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(!jwk.contains_key(private), "{private}");
            }
            assert_eq!(jwk["use"], "sig");
            assert_eq!(jwk["kid"], key.public().kid);
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = [("e", "AQAB".to_owned()), ("kty", "RSA".to_owned()), ("n", n.to_owned())];
        let key = PublicKey::new(Algorithm::RS256, &members);
        assert_eq!(key.kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn small_rsa_keys_are_refused() {
        assert_eq!(generate(Algorithm::RS256, 1024).unwrap_err(), KeyError::Size(1024));
        assert!(matches!(SigningKey::from_pkcs8(b"junk"), Err(KeyError::Unreadable(_))));
    }
}
