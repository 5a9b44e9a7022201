//! The public keys of a client (RFC 7517), with which it signs its assertions.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Problem, Refusal};
use crate::protocol::jwt::Algorithm;

/// Most keys of one client.
const MOST_KEYS: usize = 20;

/// Longest set, written as JSON: certificates may be in it.
const LONGEST: usize = 64 * 1024;

/// Members that only a private or a shared key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Sizes of an RSA modulus in bits (RFC 7518 §3.3; beyond the upper one, checking costs too much).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Checks a key set; a problem for each key that is wrong. No value is told: it may be private.
pub(super) fn check(jwks: &Value) -> Vec<Problem> {
    let refused = |refusal| vec![Problem::new("jwks", refusal)];
    let Some(keys) = jwks.get("keys").and_then(Value::as_array) else {
        let shape = "write {\"keys\": […]} (RFC 7517 §5)";
        return refused(Refusal::new("is not a key set").remedy(shape));
    };
    if keys.is_empty() {
        return refused(Refusal::new("holds no key"));
    }
    if keys.len() > MOST_KEYS {
        return refused(Refusal::new(format!("holds more than {MOST_KEYS} keys")));
    }
    if jwks.to_string().len() > LONGEST {
        return refused(Refusal::new(format!("is longer than {LONGEST} characters")));
    }
    let mut problems = Vec::new();
    let mut kids = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let judged = key.as_object().ok_or_else(|| Refusal::new("is not an object"));
        if let Err(refusal) = judged.and_then(|key| check_key(key, &mut kids)) {
            problems.push(Problem::new(format!("jwks.keys[{index}]"), refusal));
        }
    }
    problems
}

fn check_key<'k>(key: &'k Map<String, Value>, kids: &mut Vec<&'k str>) -> Result<(), Refusal> {
    if PRIVATE.iter().any(|member| key.contains_key(*member)) {
        return Err(Refusal::new("is a private key, which nobody but the client may have")
            .remedy("make a new one, and register its public half alone"));
    }
    match key.get("kid") {
        None => {}
        Some(Value::String(kid)) if kids.contains(&kid.as_str()) => {
            return Err(Refusal::new("has the kid of another key").remedy("make each kid unique"));
        }
        Some(Value::String(kid)) => kids.push(kid),
        Some(_) => return Err(Refusal::new("has a kid that is not text")),
    }
    if key.get("use").is_some_and(|usage| usage != "sig") {
        return Err(
            Refusal::new("is not for signatures").remedy("leave use out, or make it \"sig\"")
        );
    }
    let is_for_verifying = |operations: &Value| {
        operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"))
    };
    if !key.get("key_ops").is_none_or(is_for_verifying) {
        return Err(Refusal::new("is not for verifying").remedy("key_ops must hold \"verify\""));
    }
    let word = |member: &str| key.get(member).and_then(Value::as_str);
    let algorithm = match (word("kty"), word("crv")) {
        (Some("RSA"), _) => rsa(key).map(|()| Algorithm::RS256),
        (Some("EC"), Some("P-256")) => p256(key).map(|()| Algorithm::ES256),
        (Some("OKP"), Some("Ed25519")) => ed25519(key).map(|()| Algorithm::EdDsa),
        _ => Err(Refusal::new("is of a kind that is not taken")
            .remedy("use RSA with at least 2048 bits, P-256 or Ed25519")),
    }?;
    match key.get("alg") {
        // An RSA key may be for RSASSA-PSS, too.
        Some(alg) if algorithm == Algorithm::RS256 && alg == "PS256" => Ok(()),
        Some(alg) if alg != algorithm.as_str() => {
            Err(Refusal::new(format!("has an alg that is not {algorithm}")))
        }
        _ => Ok(()),
    }
}

fn rsa(key: &Map<String, Value>) -> Result<(), Refusal> {
    let (n, e) = (bytes(key, "n")?, bytes(key, "e")?);
    let leading = n.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = (n.len() * 8).saturating_sub(leading);
    if !RSA_BITS.contains(&bits) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Err(Refusal::new(format!("is an RSA key of {bits} bits"))
            .remedy(format!("{least} to {most} are taken")));
    }
    // An even modulus has a factor that everybody knows; an exponent of 1 signs nothing.
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let is_sound = is_odd(&n) && is_odd(&e) && e != [1] && e.len() <= 4;
    let components = RsaPublicKeyComponents { n, e };
    let der: Result<PublicKeyX509Der<'_>, _> = components.as_der();
    if is_sound && der.is_ok() { Ok(()) } else { Err(Refusal::new("is not a valid RSA key")) }
}

/// An uncompressed point is 4, x, y (SEC 1 §2.3.3); parsing checks that it is on the curve.
fn p256(key: &Map<String, Value>) -> Result<(), Refusal> {
    let point = [vec![4], bytes(key, "x")?, bytes(key, "y")?].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
        .map(drop)
        .map_err(|_| Refusal::new("is not a point of P-256"))
}

fn ed25519(key: &Map<String, Value>) -> Result<(), Refusal> {
    ParsedPublicKey::new(&ED25519, bytes(key, "x")?)
        .map(drop)
        .map_err(|_| Refusal::new("is not a valid Ed25519 key"))
}

fn bytes(key: &Map<String, Value>, member: &str) -> Result<Vec<u8>, Refusal> {
    key.get(member)
        .and_then(Value::as_str)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or_else(|| Refusal::new(format!("has no {member} in base64url")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::key::{SigningKey, generate};
    use serde_json::json;

    fn public(algorithm: Algorithm) -> Value {
        let key = SigningKey::from_pkcs8(&generate(algorithm, 2048).unwrap()).unwrap();
        serde_json::from_str(&key.public().jwk).unwrap()
    }

    fn reasons(jwks: &Value) -> Vec<String> {
        check(jwks).into_iter().map(|problem| problem.to_string()).collect()
    }

    /// The one problem of a key after a change.
    fn reason_after(key: &Value, member: &str, value: Value) -> String {
        let mut key = key.clone();
        key[member] = value;
        let mut reasons = reasons(&json!({ "keys": [key] }));
        assert_eq!(reasons.len(), 1, "{member}: {reasons:?}");
        reasons.remove(0)
    }

    #[test]
    fn public_keys_of_each_kind_are_taken() {
        let keys: Vec<Value> = Algorithm::ALL.map(public).to_vec();
        assert_eq!(check(&json!({ "keys": keys })), []);
        let mut bare = public(Algorithm::ES256);
        for member in ["kid", "use", "alg"] {
            bare.as_object_mut().unwrap().remove(member);
        }
        assert_eq!(check(&json!({ "keys": [bare] })), []);
    }

    #[test]
    fn private_members_are_refused_and_not_told() {
        let key = public(Algorithm::ES256);
        for member in PRIVATE {
            let said = reason_after(&key, member, json!("c2VjcmV0"));
            assert!(said.starts_with("jwks.keys[0] is a private key"), "{said}");
            assert!(!said.contains("c2VjcmV0"));
        }
    }

    #[test]
    fn keys_that_verify_nothing_are_refused() {
        let (rsa, ec, ed) =
            (public(Algorithm::RS256), public(Algorithm::ES256), public(Algorithm::EdDsa));
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let even = URL_SAFE_NO_PAD.encode([0xfe; 256]);
        let padded = URL_SAFE_NO_PAD.encode([vec![0], vec![0xff; 256]].concat());
        for (key, member, value, expected) in [
            (&rsa, "n", json!(short), "is an RSA key of 1024 bits; 2048 to 4096 are taken"),
            (&rsa, "n", json!(even), "is not a valid RSA key"),
            (&rsa, "n", json!(padded), "is not a valid RSA key"),
            (&rsa, "n", json!("+/=="), "has no n in base64url"),
            (&rsa, "n", Value::Null, "has no n in base64url"),
            (&rsa, "e", json!("AQ"), "is not a valid RSA key"),
            (&rsa, "e", json!("Ag"), "is not a valid RSA key"),
            (&rsa, "alg", json!("HS256"), "has an alg that is not RS256"),
            (&rsa, "alg", json!("none"), "has an alg that is not RS256"),
            (&rsa, "use", json!("enc"), "is not for signatures; leave use out, or make it \"sig\""),
            (
                &rsa,
                "key_ops",
                json!(["sign"]),
                "is not for verifying; key_ops must hold \"verify\"",
            ),
            (&rsa, "kid", json!(7), "has a kid that is not text"),
            (&ec, "x", json!(URL_SAFE_NO_PAD.encode([1; 32])), "is not a point of P-256"),
            (&ec, "y", json!("AA"), "is not a point of P-256"),
            (&ed, "x", json!("AA"), "is not a valid Ed25519 key"),
        ] {
            assert_eq!(reason_after(key, member, value), format!("jwks.keys[0] {expected}"));
        }
        for (key, member, value) in [
            (&ec, "crv", "secp256k1"),
            (&ec, "crv", "P-384"),
            (&ed, "crv", "X25519"),
            (&ed, "kty", "oct"),
        ] {
            let said = reason_after(key, member, json!(value));
            assert!(said.contains("of a kind that is not taken"), "{said}");
        }
    }

    #[test]
    fn sets_have_a_shape_and_a_size() {
        let key = public(Algorithm::EdDsa);
        for (jwks, expected) in [
            (json!([]), "jwks is not a key set; write {\"keys\": […]} (RFC 7517 §5)"),
            (json!({ "keys": {} }), "jwks is not a key set; write {\"keys\": […]} (RFC 7517 §5)"),
            (json!({ "keys": [] }), "jwks holds no key"),
            (json!({ "keys": [7] }), "jwks.keys[0] is not an object"),
            (json!({ "keys": vec![key.clone(); 21] }), "jwks holds more than 20 keys"),
            (
                json!({ "keys": [key.clone(), key.clone()] }),
                "jwks.keys[1] has the kid of another key; make each kid unique",
            ),
        ] {
            assert_eq!(reasons(&jwks), [expected]);
        }
    }
}
