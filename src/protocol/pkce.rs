//! Proof Key for Code Exchange (RFC 7636), method S256 alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `BASE64URL(SHA256(verifier))` (RFC 7636 §4.2): 43 characters.
pub fn challenge(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// Whether `verifier` has a legal form (RFC 7636 §4.1) and belongs to `challenge`.
pub fn verify(verifier: &str, expected: &str) -> bool {
    let legal = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    legal
        && aws_lc_rs::constant_time::verify_slices_are_equal(
            challenge(verifier).as_bytes(),
            expected.as_bytes(),
        )
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_holds() {
        assert_eq!(challenge(VERIFIER), CHALLENGE);
        assert!(verify(VERIFIER, CHALLENGE));
    }

    #[test]
    fn another_or_an_illegal_verifier_is_refused() {
        assert!(!verify(&VERIFIER.replace('d', "e"), CHALLENGE));
        assert!(!verify("short", &challenge("short")));
        let illegal = format!("{VERIFIER}+");
        assert!(!verify(&illegal, &challenge(&illegal)));
        let long = "a".repeat(129);
        assert!(!verify(&long, &challenge(&long)));
    }
}
