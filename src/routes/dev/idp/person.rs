//! The people of the development provider: whoever a name says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::protocol::username::comparison_key;
use crate::providers::identity::email_address;

/// Most characters of a name.
const LONGEST_NAME: usize = 64;

/// Somebody, known by nothing but a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Person {
    name: String,
    email: String,
}

impl Person {
    /// The person of this name; without an address they get one at `dev.localhost`.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub(super) fn new(name: &str, email: &str) -> Result<Self, &'static str> {
        let (name, email) = (name.trim(), email.trim());
        if name.is_empty() {
            return Err("Type a name.");
        }
        if name.chars().count() > LONGEST_NAME {
            return Err("Type a shorter name: at most 64 characters.");
        }
        if name.chars().any(char::is_control) {
            return Err("Type a name without control characters.");
        }
        let email = if email.is_empty() {
            default_email(name)
        } else {
            email_address(email)
                .ok_or("Type an email address such as rivka@example.com, or none.")?
        };
        Ok(Self { name: name.to_owned(), email })
    }

    /// The same for every spelling of the name, and after a restart.
    pub(super) fn subject(&self) -> String {
        let named = format!("development provider: {}", comparison_key(&self.name));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, named.as_bytes());
        URL_SAFE_NO_PAD.encode(digest)
    }

    /// The standard claims (OpenID Connect Core §5.1).
    pub(super) fn claims(&self) -> Value {
        json!({
            "sub": self.subject(),
            "name": capitalised(&self.name),
            "preferred_username": comparison_key(&self.name),
            "email": self.email,
            "email_verified": true,
        })
    }
}

fn default_email(name: &str) -> String {
    let fits = |character: char| character.is_alphanumeric() || "._-".contains(character);
    let local: String = comparison_key(name)
        .chars()
        .map(|character| if fits(character) { character } else { '-' })
        .collect();
    format!("{local}@dev.localhost")
}

fn capitalised(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_person_however_it_is_spelled() {
        let subject = |name| Person::new(name, "").unwrap().subject();
        assert_eq!(subject("alice"), subject(" Alice "));
        assert_eq!(subject("alice"), subject("ALICE"));
        assert_ne!(subject("alice"), subject("bob"));
    }

    #[test]
    fn a_name_alone_makes_all_claims() {
        let claims = Person::new("alice", " ").unwrap().claims();
        assert_eq!(claims["name"], "Alice");
        assert_eq!(claims["preferred_username"], "alice");
        assert_eq!(claims["email"], "alice@dev.localhost");
        assert_eq!(claims["email_verified"], true);
    }

    #[test]
    fn a_name_with_spaces_still_has_an_address() {
        let claims = Person::new("Rivka Cohen", "").unwrap().claims();
        assert_eq!(claims["email"], "rivka-cohen@dev.localhost");
        assert_eq!(claims["name"], "Rivka Cohen");
        let claims = Person::new("Rivka", "r@example.com").unwrap().claims();
        assert_eq!(claims["email"], "r@example.com");
    }

    #[test]
    fn odd_names_and_addresses_are_refused() {
        let long = "a".repeat(65);
        for name in ["", "  ", &long, "a\0b", "a\nb"] {
            assert!(Person::new(name, "").is_err(), "{name:?}");
        }
        assert!(Person::new(&"é".repeat(64), "").is_ok());
        assert!(Person::new("alice", "no address").is_err());
    }
}
