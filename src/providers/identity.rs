//! Who came back from a provider, in our terms.

use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::store::model::Email;

/// Longest address that is kept, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
const LONGEST_EMAIL: usize = 254;

/// Most characters of a suggested username, before our own rules.
const LONGEST_USERNAME: usize = 64;

/// Most characters of a display name.
const LONGEST_NAME: usize = 100;

/// Longest address of a picture, in bytes.
const LONGEST_PICTURE: usize = 2048;

/// A person as a provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// The provider's stable id of the person.
    pub subject: String,
    /// Addresses, with the provider's name; verified only if the provider is trusted in that.
    pub emails: Vec<Email>,
    /// What the person calls themselves there: to suggest a username.
    pub username_hint: Option<String>,
    /// The person's name.
    pub display_name: Option<String>,
    /// Where the person's picture is.
    pub picture: Option<Url>,
    /// When the person signed in at the provider, if it says so.
    pub auth_time: Option<Timestamp>,
}

/// Whether claims hold an address.
pub(super) fn has_email(claims: &Map<String, Value>) -> bool {
    text(claims, "email").is_some()
}

/// Reads the standard claims (OpenID Connect Core §5.1); the earlier source of a claim counts.
/// Claims of a wrong type are overlooked: none of them proves anything.
pub(super) fn read(
    provider: &str,
    trust_email: bool,
    subject: String,
    auth_time: Option<Timestamp>,
    sources: &[&Map<String, Value>],
) -> ProviderIdentity {
    let first = |name: &str, most: usize| {
        sources.iter().find_map(|claims| clean(text(claims, name)?, most))
    };
    let email = sources.iter().find_map(|claims| {
        let address = email_address(text(claims, "email")?)?;
        // From the same source as the address. JSON `true` alone counts, not "true" or 1.
        let verified = trust_email && claims.get("email_verified") == Some(&Value::Bool(true));
        Some(Email { address, verified, provider: provider.to_owned() })
    });
    ProviderIdentity {
        subject,
        emails: email.into_iter().collect(),
        username_hint: first("preferred_username", LONGEST_USERNAME)
            .or_else(|| first("nickname", LONGEST_USERNAME)),
        display_name: first("name", LONGEST_NAME),
        picture: sources.iter().find_map(|claims| picture(text(claims, "picture")?)),
        auth_time,
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A text without control characters and surrounding space, cut to `most` characters; `None` if
/// nothing is left.
pub fn clean(text: &str, most: usize) -> Option<String> {
    let printable: String = text.chars().filter(|character| !character.is_control()).collect();
    let cut: String = printable.trim().chars().take(most).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// An address as it stands or not at all: a cut or cleaned one would be another person's.
pub fn email_address(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let fits = !local.is_empty()
        && !domain.is_empty()
        && text.len() <= LONGEST_EMAIL
        && !text.chars().any(|character| character.is_control() || character.is_whitespace());
    fits.then(|| text.to_owned())
}

fn picture(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST_PICTURE)?;
    matches!(url.scheme(), "https" | "http").then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(trust_email: bool, sources: &[Value]) -> ProviderIdentity {
        let sources: Vec<_> = sources.iter().map(|source| source.as_object().unwrap()).collect();
        read("op", trust_email, "7".to_owned(), None, &sources)
    }

    fn verified(trust_email: bool, flag: Value) -> bool {
        let claims = json!({"email": "a@b.example", "email_verified": flag});
        identity(trust_email, &[claims]).emails[0].verified
    }

    #[test]
    fn only_json_true_of_a_trusted_provider_verifies_an_address() {
        assert!(verified(true, json!(true)));
        assert!(!verified(false, json!(true)));
        for flag in [json!("true"), json!(1), json!(false), json!(null), json!([true])] {
            assert!(!verified(true, flag.clone()), "{flag}");
        }
        assert!(!identity(true, &[json!({"email": "a@b.example"})]).emails[0].verified);
    }

    #[test]
    fn a_flag_counts_only_for_the_address_beside_it() {
        let sources = [json!({"email": "a@b.example"}), json!({"email_verified": true})];
        assert!(!identity(true, &sources).emails[0].verified);
    }

    #[test]
    fn the_earlier_source_of_a_claim_counts() {
        let found = identity(
            true,
            &[
                json!({"name": "A", "nickname": "n"}),
                json!({"name": "B", "preferred_username": "p"}),
            ],
        );
        assert_eq!(found.display_name.as_deref(), Some("A"));
        assert_eq!(found.username_hint.as_deref(), Some("p"));
        assert!(found.emails.is_empty());
    }

    #[test]
    fn texts_are_cleaned_and_cut_between_characters() {
        let found = identity(
            true,
            &[json!({"name": format!(" \u{0}Zoë\r\n{}", "é".repeat(200)), "nickname": "\u{7}\n "})],
        );
        assert_eq!(found.display_name.as_ref().unwrap().chars().count(), 100);
        assert!(found.display_name.unwrap().starts_with("Zoëé"));
        assert_eq!(found.username_hint, None);
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        let long = format!("{}@b.example", "a".repeat(250));
        for bad in ["a", "@b.example", "a@", "a b@c.example", "a@b\n.example", "a\u{0}@b", &long] {
            assert!(identity(true, &[json!({"email": bad})]).emails.is_empty(), "{bad:?}");
        }
        assert!(identity(true, &[json!({"email": ["a@b.example"]})]).emails.is_empty());
        assert!(identity(true, &[json!({"picture": "javascript:alert(1)"})]).picture.is_none());
    }
}
