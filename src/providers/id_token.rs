//! ID tokens of providers: who signed in, proven (OpenID Connect Core §3.1.3.7).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::identity::is_subject;
use super::key_set::{KeySet, allowed_algorithm};
use super::strict_json;
use crate::clock::Timestamp;

/// Tolerated difference between the provider's clock and ours.
const LEEWAY_SECONDS: i64 = 60;

/// Longest ID token that is looked at, in bytes: providers put whole lists of groups into theirs.
const LONGEST_TOKEN: usize = 64 * 1024;

/// Why what a provider says about a person is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// The token endpoint sent none.
    #[error("there is no ID token")]
    Missing,
    /// Not the strict compact form, or claims of the wrong types.
    #[error("the ID token is malformed")]
    Malformed,
    /// A `typ` of another kind of token, or critical extensions.
    #[error("it is not an ID token")]
    WrongKind,
    /// Not signed, or by an algorithm that is not allowed or not announced.
    #[error("the ID token's algorithm is not allowed")]
    Algorithm,
    /// No published key, or more than one, can have signed it.
    #[error("the ID token's key is unknown")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the ID token's signature is wrong")]
    Signature,
    /// `iss` is not the configured issuer.
    #[error("the ID token is from another issuer")]
    Issuer,
    /// `aud` does not name us.
    #[error("the ID token is meant for another client")]
    Audience,
    /// `azp` is missing among several audiences, or is not us.
    #[error("the ID token was issued to another client")]
    AuthorizedParty,
    /// `exp` is past.
    #[error("the ID token has expired")]
    Expired,
    /// `iat` or `nbf` lies in the future.
    #[error("the ID token is not valid yet")]
    NotYetValid,
    /// `nonce` is missing or belongs to another attempt.
    #[error("the ID token belongs to another sign-in")]
    Nonce,
    /// `sub` is empty, too long or holds control characters.
    #[error("the ID token's subject is not usable")]
    Subject,
    /// The person signed in too long ago, or in the future.
    #[error("the sign-in at the provider is too old")]
    TooOld,
    /// Userinfo is about another person (§5.3.2).
    #[error("userinfo is about another person")]
    UserinfoSubject,
    /// The callback's `iss` is missing though promised, or not the configured one (RFC 9207 §2.4).
    #[error("the answer came from another issuer")]
    AnswerIssuer,
}

/// What an ID token must say to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The configured issuer.
    pub issuer: &'a str,
    /// Our id at the provider.
    pub client_id: &'a str,
    /// The nonce of this attempt.
    pub nonce: &'a str,
    /// When this attempt began.
    pub started_at: Timestamp,
    /// How long before that the person may have signed in at the provider, if it was limited.
    pub max_age: Option<Duration>,
    /// Now.
    pub now: Timestamp,
}

/// Claims that were proven, and the others as the provider wrote them.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The provider's stable id of the person.
    pub subject: String,
    /// When the person signed in at the provider, if it says so.
    pub auth_time: Option<Timestamp>,
    /// All claims.
    pub claims: Map<String, Value>,
}

/// A token in strict compact form (RFC 7515 §3.1) of which nothing is proven yet.
pub struct UnverifiedToken<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a str,
    signature: &'a str,
    claims: Vec<u8>,
}

/// The header members that decide how a token is verified. Keys named or carried in the header
/// (`jwk`, `jku`, `x5u`, `x5c`) are not even read (RFC 8725 §3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// The claims that prove something; a wrong type is an error, not an absence.
#[derive(Deserialize)]
struct Proof {
    iss: String,
    sub: String,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    auth_time: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart; only algorithms in `announced` are let through, unless it is empty.
    ///
    /// # Errors
    /// [`TokenProblem::Malformed`], [`TokenProblem::WrongKind`], [`TokenProblem::Algorithm`].
    pub fn parse(token: &'a str, announced: &[Algorithm]) -> Result<Self, TokenProblem> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenProblem::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenProblem::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenProblem::Malformed);
        let header: Header =
            strict_json::from_slice(&decode(header)?).map_err(|_| TokenProblem::Malformed)?;
        let (claims, _) = (decode(claims)?, decode(signature)?);
        let is_jwt = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !is_jwt || header.crit.is_some() {
            return Err(TokenProblem::WrongKind);
        }
        let algorithm = allowed_algorithm(&header.alg)
            .filter(|algorithm| announced.is_empty() || announced.contains(algorithm))
            .ok_or(TokenProblem::Algorithm)?;
        Ok(Self { algorithm, kid: header.kid, signed, signature, claims })
    }

    /// The claims, of which nothing is proven.
    ///
    /// # Errors
    /// [`TokenProblem::Malformed`] for claims of the wrong types or repeated ones.
    pub fn unproven_claims<T: DeserializeOwned>(&self) -> Result<T, TokenProblem> {
        strict_json::from_slice(&self.claims).map_err(|_| TokenProblem::Malformed)
    }

    /// Verifies the signature alone.
    ///
    /// # Errors
    /// [`TokenProblem::UnknownKey`] and `Signature`: newer keys may help.
    pub fn check_signature(&self, keys: &KeySet) -> Result<(), TokenProblem> {
        let key = keys.find(self.algorithm, self.kid.as_deref())?;
        let fits = jsonwebtoken::crypto::verify(
            self.signature,
            self.signed.as_bytes(),
            key,
            self.algorithm,
        );
        if fits.unwrap_or(false) { Ok(()) } else { Err(TokenProblem::Signature) }
    }

    /// Verifies signature and claims.
    ///
    /// # Errors
    /// [`TokenProblem`]. With `UnknownKey` and `Signature` newer keys may help.
    pub fn verify(&self, keys: &KeySet, expected: &Expected<'_>) -> Result<Verified, TokenProblem> {
        self.check_signature(keys)?;
        let malformed = |_| TokenProblem::Malformed;
        let claims: Map<String, Value> =
            strict_json::from_slice(&self.claims).map_err(malformed)?;
        let proof: Proof = serde_json::from_slice(&self.claims).map_err(malformed)?;
        proof.check_parties(expected)?;
        proof.check_times(expected)?;
        if !is_subject(&proof.sub) {
            return Err(TokenProblem::Subject);
        }
        let auth_time = proof.auth_time.map(Timestamp::from_seconds);
        Ok(Verified { subject: proof.sub, auth_time, claims })
    }
}

impl Proof {
    fn check_parties(&self, expected: &Expected<'_>) -> Result<(), TokenProblem> {
        if self.iss != expected.issuer {
            return Err(TokenProblem::Issuer);
        }
        let audiences = match &self.aud {
            Audience::One(audience) => std::slice::from_ref(audience),
            Audience::Several(audiences) => audiences,
        };
        if !audiences.iter().any(|audience| audience == expected.client_id) {
            return Err(TokenProblem::Audience);
        }
        match self.azp.as_deref() {
            Some(party) if party == expected.client_id => {}
            None if audiences.len() == 1 => {}
            _ => return Err(TokenProblem::AuthorizedParty),
        }
        let nonce = self.nonce.as_deref().ok_or(TokenProblem::Nonce)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(
            nonce.as_bytes(),
            expected.nonce.as_bytes(),
        )
        .map_err(|_| TokenProblem::Nonce)
    }

    fn check_times(&self, expected: &Expected<'_>) -> Result<(), TokenProblem> {
        let now = expected.now.seconds();
        let latest = now.saturating_add(LEEWAY_SECONDS);
        if now >= self.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(TokenProblem::Expired);
        }
        if self.iat > latest || self.nbf.is_some_and(|not_before| not_before > latest) {
            return Err(TokenProblem::NotYetValid);
        }
        // Core demands auth_time once max_age was asked, but some providers never send it; then the
        // caller counts from the callback, as for providers without ID tokens.
        let Some(auth_time) = self.auth_time else { return Ok(()) };
        let earliest = expected
            .max_age
            .map(|age| expected.started_at.minus(age).seconds().saturating_sub(LEEWAY_SECONDS));
        if auth_time > latest || earliest.is_some_and(|earliest| auth_time < earliest) {
            return Err(TokenProblem::TooOld);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jwt::Algorithm as OurAlgorithm;
    use crate::protocol::key::{SigningKey, generate};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://op.example",
        client_id: "us",
        nonce: "the nonce",
        started_at: NOW,
        max_age: None,
        now: NOW,
    };

    struct Provider {
        key: SigningKey,
        keys: KeySet,
    }

    impl Provider {
        fn new(algorithm: OurAlgorithm) -> Self {
            let key = SigningKey::from_pkcs8(&generate(algorithm, 2048).unwrap()).unwrap();
            let jwk: Value = serde_json::from_str(&key.public().jwk).unwrap();
            let keys = KeySet::new(serde_json::from_value(json!({"keys": [jwk]})).unwrap());
            Self { key, keys }
        }

        fn verify(
            &self,
            claims: &Value,
            expected: &Expected<'_>,
        ) -> Result<Verified, TokenProblem> {
            self.verify_token(&self.key.sign("JWT", claims), expected)
        }

        fn verify_token(
            &self,
            token: &str,
            expected: &Expected<'_>,
        ) -> Result<Verified, TokenProblem> {
            UnverifiedToken::parse(token, &[])?.verify(&self.keys, expected)
        }

        /// A token whose header and claims are these very texts.
        fn sign_raw(&self, header: &str, claims: &str) -> String {
            let good = self.key.sign("JWT", &json!({}));
            let signature = good.rsplit_once('.').unwrap().1;
            format!(
                "{}.{}.{signature}",
                URL_SAFE_NO_PAD.encode(header),
                URL_SAFE_NO_PAD.encode(claims)
            )
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://op.example", "sub": "alice", "aud": "us", "nonce": "the nonce",
               "exp": NOW.seconds() + 300, "iat": NOW.seconds()})
    }

    fn with(member: &str, value: impl Into<Value>) -> Value {
        let mut claims = claims();
        claims[member] = value.into();
        claims
    }

    fn without(member: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(member);
        claims
    }

    #[test]
    fn a_good_token_of_each_kind_of_key_is_believed() {
        for algorithm in OurAlgorithm::ALL {
            let verified = Provider::new(algorithm).verify(&claims(), &EXPECTED).unwrap();
            assert_eq!((verified.subject.as_str(), verified.auth_time), ("alice", None));
        }
    }

    #[test]
    fn each_claim_is_held_to_what_it_must_be() {
        use TokenProblem::*;
        let provider = Provider::new(OurAlgorithm::ES256);
        let now = NOW.seconds();
        for (claims, problem) in [
            (with("iss", "https://op.example/"), Issuer),
            (with("iss", "https://evil.example"), Issuer),
            (with("aud", "other"), Audience),
            (with("aud", json!([])), Audience),
            (with("aud", json!(["us", "other"])), AuthorizedParty),
            (with("azp", "other"), AuthorizedParty),
            (with("nonce", "another"), Nonce),
            (with("nonce", Value::Null), Nonce),
            (without("nonce"), Nonce),
            (with("exp", now - 60), Expired),
            (with("exp", -1), Expired),
            (with("iat", now + 61), NotYetValid),
            (with("nbf", now + 61), NotYetValid),
            (with("auth_time", now + 61), TooOld),
            (with("sub", ""), Subject),
            (with("sub", " "), Subject),
            (with("sub", "a\0b"), Subject),
            (with("sub", "x".repeat(256)), Subject),
            (with("exp", (now + 300).to_string()), Malformed),
            (with("exp", 1e9), Malformed),
            (with("exp", 9_223_372_036_854_775_808_u64), Malformed),
            (with("sub", 7), Malformed),
            (with("aud", 7), Malformed),
            (with("auth_time", "yesterday"), Malformed),
            (without("exp"), Malformed),
            (without("iat"), Malformed),
            (without("sub"), Malformed),
            (json!([]), Malformed),
        ] {
            assert_eq!(provider.verify(&claims, &EXPECTED).unwrap_err(), problem, "{claims}");
        }
    }

    #[test]
    fn what_lies_within_the_rules_is_believed() {
        let provider = Provider::new(OurAlgorithm::ES256);
        let mut several = with("aud", json!(["other", "us"]));
        several["azp"] = "us".into();
        for claims in [
            several,
            with("aud", json!(["us"])),
            with("azp", "us"),
            with("exp", NOW.seconds() - 59),
            with("iat", NOW.seconds() + 60),
            with("sub", "x".repeat(255)),
            with("exp", i64::MAX),
        ] {
            assert!(provider.verify(&claims, &EXPECTED).is_ok(), "{claims}");
        }
    }

    #[test]
    fn the_sign_in_may_be_no_older_than_asked() {
        let provider = Provider::new(OurAlgorithm::ES256);
        let limited = Expected { max_age: Some(Duration::from_secs(900)), ..EXPECTED };
        let at = |seconds: i64| with("auth_time", NOW.seconds() - seconds);
        assert_eq!(
            provider.verify(&at(900), &limited).unwrap().auth_time,
            Some(NOW.minus(Duration::from_secs(900)))
        );
        assert!(provider.verify(&at(960), &limited).is_ok(), "within the leeway");
        assert_eq!(provider.verify(&at(961), &limited).unwrap_err(), TokenProblem::TooOld);
        assert!(provider.verify(&at(961), &EXPECTED).is_ok(), "no limit was asked");
        assert_eq!(provider.verify(&claims(), &limited).unwrap().auth_time, None);
    }

    #[test]
    fn unsigned_and_symmetric_tokens_are_refused() {
        let provider = Provider::new(OurAlgorithm::RS256);
        let kid = provider.key.public().kid.clone();
        let text = claims().to_string();
        for alg in ["none", "None", "nOnE", "HS256", "HS512", "", "RS1"] {
            let header = json!({"alg": alg, "typ": "JWT", "kid": kid}).to_string();
            let token = provider.sign_raw(&header, &text);
            let problem = provider.verify_token(&token, &EXPECTED).unwrap_err();
            assert_eq!(problem, TokenProblem::Algorithm, "{alg}");
        }
        // The classic: an HMAC whose secret is the public key.
        let secret = jsonwebtoken::EncodingKey::from_secret(provider.key.public().jwk.as_bytes());
        let header = jsonwebtoken::Header { kid: Some(kid), ..Default::default() };
        let token = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
        assert_eq!(provider.verify_token(&token, &EXPECTED).unwrap_err(), TokenProblem::Algorithm);
    }

    #[test]
    fn an_algorithm_that_does_not_fit_the_key_or_was_not_announced_is_refused() {
        let provider = Provider::new(OurAlgorithm::RS256);
        let kid = provider.key.public().kid.clone();
        for alg in ["ES256", "RS384", "PS256", "EdDSA"] {
            let header = json!({"alg": alg, "kid": kid}).to_string();
            let token = provider.sign_raw(&header, &claims().to_string());
            let problem = provider.verify_token(&token, &EXPECTED).unwrap_err();
            assert_eq!(problem, TokenProblem::UnknownKey, "{alg}");
        }
        let token = provider.key.sign("JWT", &claims());
        assert!(UnverifiedToken::parse(&token, &[Algorithm::RS256]).is_ok());
        assert_eq!(
            UnverifiedToken::parse(&token, &[Algorithm::ES256]).err(),
            Some(TokenProblem::Algorithm)
        );
    }

    #[test]
    fn a_changed_token_is_refused() {
        let provider = Provider::new(OurAlgorithm::ES256);
        let token = provider.key.sign("JWT", &claims());
        let other = provider.key.sign("JWT", &with("sub", "bob"));
        let (signed, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let mixed = format!("{signed}.{signature}");
        assert_eq!(provider.verify_token(&mixed, &EXPECTED).unwrap_err(), TokenProblem::Signature);
        let zero = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
        assert_eq!(provider.verify_token(&zero, &EXPECTED).unwrap_err(), TokenProblem::Signature);
        let stranger = Provider::new(OurAlgorithm::ES256);
        let problem = stranger.verify_token(&token, &EXPECTED).unwrap_err();
        assert_eq!(problem, TokenProblem::UnknownKey);
    }

    #[test]
    fn anything_but_the_strict_compact_form_is_malformed() {
        let provider = Provider::new(OurAlgorithm::ES256);
        let good = provider.key.sign("JWT", &claims());
        let repeated = r#"{"alg":"ES256","alg":"none"}"#;
        for bad in [
            String::new(),
            "..".to_owned(),
            format!("{good}."),
            format!("{good}="),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}.a"),
            good.replacen('.', "=.", 1),
            provider.sign_raw(repeated, "{}"),
            provider.sign_raw("[]", "{}"),
            "a".repeat(1 << 20),
        ] {
            let problem = provider.verify_token(&bad, &EXPECTED).unwrap_err();
            assert_eq!(problem, TokenProblem::Malformed, "{}", &bad[..bad.len().min(60)]);
        }
    }

    #[test]
    fn a_token_of_another_kind_is_refused() {
        let provider = Provider::new(OurAlgorithm::ES256);
        for typ in ["at+jwt", "logout+jwt", ""] {
            let token = provider.key.sign(typ, &claims());
            let problem = provider.verify_token(&token, &EXPECTED).unwrap_err();
            assert_eq!(problem, TokenProblem::WrongKind, "{typ}");
        }
        let critical = provider.sign_raw(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}");
        assert_eq!(
            provider.verify_token(&critical, &EXPECTED).unwrap_err(),
            TokenProblem::WrongKind
        );
    }

    /// A token in which a signed payload repeats a member.
    #[test]
    fn repeated_claims_are_refused_even_if_signed() {
        struct Repeats;
        impl serde::Serialize for Repeats {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("groups", "a"), ("groups", "b")])
            }
        }
        let provider = Provider::new(OurAlgorithm::ES256);
        let token = provider.key.sign("JWT", &Repeats);
        assert_eq!(provider.verify_token(&token, &EXPECTED).unwrap_err(), TokenProblem::Malformed);
    }
}
