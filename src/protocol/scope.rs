//! Scopes (RFC 6749 §3.3): lists of words, in which order and repetition mean nothing.

/// Says who signed in, by an ID token (OpenID Connect Core §3.1.2.1).
pub const OPENID: &str = "openid";
/// Opens the person's name and picture (OpenID Connect Core §5.4).
pub const PROFILE: &str = "profile";
/// Opens the person's address (OpenID Connect Core §5.4).
pub const EMAIL: &str = "email";
/// Opens what the person may do here. Ours.
pub const ROLES: &str = "roles";
/// Access goes on after the person has signed out (OpenID Connect Core §11).
pub const OFFLINE_ACCESS: &str = "offline_access";

/// Scopes that are about a person, in the order in which they are offered. Those of the configuration are
/// beside them.
pub const OF_PEOPLE: [&str; 5] = [OPENID, PROFILE, EMAIL, ROLES, OFFLINE_ACCESS];

/// Most words that are looked at in one request.
const MOST_WORDS: usize = 64;

/// Longest word that is looked at.
const LONGEST_WORD: usize = 128;

/// A set of scopes in the order in which they were first named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<String>);

impl Scope {
    /// Reads words separated by single or repeated spaces; each is kept once. `None` for illegal
    /// characters, and for more or longer words than anybody needs.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<String> = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if word.len() > LONGEST_WORD || !word.bytes().all(is_legal) {
                return None;
            }
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
            if words.len() > MOST_WORDS {
                return None;
            }
        }
        Some(Self(words))
    }

    /// Whether a word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|known| known == word)
    }

    /// Whether every word is among those of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|word| other.has(word))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words, one after the other.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those words for which `keep` says so.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|word| keep(word)).cloned().collect())
    }

    /// These words, then those of `other` that are new.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let new = other.0.iter().filter(|word| !self.has(word));
        Self(self.0.iter().chain(new).cloned().collect())
    }
}

/// `scope-token` of RFC 6749 §3.3.
fn is_legal(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn words_are_kept_once_and_in_order() {
        assert_eq!(scope("b  a b").to_string(), "b a");
        assert!(scope("a").is_within(&scope("b a")));
        assert!(!scope("a c").is_within(&scope("b a")));
        assert_eq!(scope("b a").with(&scope("c a")).to_string(), "b a c");
        assert_eq!(scope("b a").filtered(|word| word != "b").to_string(), "a");
        assert!(scope("").is_empty());
    }

    #[test]
    fn illegal_characters_and_floods_are_refused() {
        for bad in ["a\tb", "a\nb", "\u{e9}", "a\"", "a\\b", "a\u{0}"] {
            assert_eq!(Scope::parse(bad), None, "{bad:?}");
        }
        let many: Vec<String> = (0..10_000).map(|number| format!("s{number}")).collect();
        assert_eq!(Scope::parse(&many.join(" ")), None);
        assert_eq!(Scope::parse(&"a".repeat(LONGEST_WORD + 1)), None);
        assert_eq!(scope(&"a ".repeat(10_000)).to_string(), "a");
    }
}
