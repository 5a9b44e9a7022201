//! Usernames: what is allowed, and when two of them are the same.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::config::settings::Usernames;

/// The key by which names are compared: NFKC, full case folding, NFKC again (Unicode §3.13). Made
/// here since SQLite and PostgreSQL fold differently.
pub fn comparison_key(name: &str) -> String {
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let folded = CaseMapper::new().fold_string(&normalizer.normalize(name)).into_owned();
    normalizer.normalize(&folded).into_owned()
}

/// Why a name cannot be taken, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Fewer or more characters than allowed.
    #[error("a username has {min} to {max} characters")]
    Length {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// It does not match the pattern.
    #[error("a username starts with a letter and goes on with letters, digits, “_” or “-”")]
    Pattern,
    /// It does not match a pattern that the deployer chose.
    #[error("a username must match {0}")]
    CustomPattern(String),
    /// One of our own words or a reserved name.
    #[error("this name is reserved")]
    Reserved,
}

/// The default of `usernames.pattern`.
pub const DEFAULT_PATTERN: &str = "^[a-zA-Z][a-zA-Z0-9_-]*$";

/// Words of our own addresses, and those that would mislead; compared without case, `-` and `_`.
const OWN_WORDS: &[&str] = &[
    "account",
    "admin",
    "administrator",
    "api",
    "auth",
    "avatar",
    "avatars",
    "callback",
    "consent",
    "deleted",
    "dev",
    "error",
    "health",
    "help",
    "latchkey",
    "link",
    "login",
    "logout",
    "me",
    "metrics",
    "moderator",
    "null",
    "oauth",
    "official",
    "onboarding",
    "openapi",
    "owner",
    "ready",
    "root",
    "security",
    "session",
    "sessions",
    "settings",
    "setup",
    "signedout",
    "signin",
    "signout",
    "signup",
    "staff",
    "support",
    "system",
    "undefined",
    "user",
    "users",
    "wellknown",
];

/// Checks a name against the rules; whether it is free, only the store knows.
///
/// # Errors
/// [`UsernameError`].
pub fn check(name: &str, rules: &Usernames) -> Result<(), UsernameError> {
    let length = name.chars().count();
    if length < rules.min_length || length > rules.max_length {
        return Err(UsernameError::Length { min: rules.min_length, max: rules.max_length });
    }
    // Whatever the pattern says: no control characters, no white space, nothing that turns the
    // direction of writing or joins invisibly.
    let is_visible = name.chars().all(|character| {
        !character.is_control()
            && !character.is_whitespace()
            && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    });
    let matches = rules.pattern.find(name).is_some_and(|found| found.len() == name.len());
    if !is_visible || !matches {
        return Err(if rules.pattern.as_str() == DEFAULT_PATTERN {
            UsernameError::Pattern
        } else {
            UsernameError::CustomPattern(rules.pattern.as_str().to_owned())
        });
    }
    let bare = |text: &str| comparison_key(text).replace(['-', '_', '.'], "");
    let candidate = bare(name);
    let reserved = OWN_WORDS.contains(&candidate.as_str())
        || candidate.starts_with("deleted")
        || rules.reserved.iter().any(|word| bare(word) == candidate);
    if reserved { Err(UsernameError::Reserved) } else { Ok(()) }
}

/// Makes a name that the rules allow out of what a provider suggests; `None` if nothing is left.
pub fn suggest(from: &str, rules: &Usernames) -> Option<String> {
    let local = from.split('@').next().unwrap_or(from);
    let candidate: String = local
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .collect::<String>()
        .trim_matches(|character: char| !character.is_ascii_alphanumeric())
        .to_ascii_lowercase()
        .chars()
        .take(rules.max_length)
        .collect();
    check(&candidate, rules).is_ok().then_some(candidate)
}

/// Names like a taken one that the rules allow, best first; whether they are free, only the store knows.
pub fn alternatives(taken: &str, rules: &Usernames) -> impl Iterator<Item = String> {
    let endings = (2..).flat_map(|number| [format!("{number}"), format!("-{number}")]);
    let candidate = move |ending: String| {
        let room = rules.max_length.saturating_sub(ending.len());
        taken.chars().take(room).chain(ending.chars()).collect::<String>()
    };
    endings.take(MOST_ALTERNATIVES).map(candidate).filter(|name| check(name, rules).is_ok())
}

/// As many as are looked up for one answer.
const MOST_ALTERNATIVES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rules(pattern: &str) -> Usernames {
        Usernames {
            min_length: 3,
            max_length: 24,
            pattern: regex::Regex::new(pattern).unwrap(),
            allow_changes: true,
            change_cooldown: Duration::ZERO,
            hold: Duration::ZERO,
            reserved: vec!["Acme-Team".to_owned()],
        }
    }

    #[test]
    fn names_are_the_same_whatever_their_case_or_form() {
        assert_eq!(comparison_key("Rivka"), comparison_key("rIVKA"));
        assert_eq!(comparison_key("ＲＩＶＫＡ"), comparison_key("rivka"));
        assert_eq!(comparison_key("straße"), comparison_key("STRASSE"));
        assert_eq!(comparison_key("e\u{301}"), comparison_key("é"));
        assert_ne!(comparison_key("rivka"), comparison_key("rifka"));
    }

    #[test]
    fn the_rules_are_told_apart() {
        let rules = rules(DEFAULT_PATTERN);
        let length = UsernameError::Length { min: 3, max: 24 };
        assert_eq!(check("rivka", &rules), Ok(()));
        assert_eq!(check("ab", &rules), Err(length.clone()));
        assert_eq!(check(&"a".repeat(25), &rules), Err(length));
        for bad in ["1abc", "a b", "rivka\n", "a\0bc", "rívka", "ri\u{202e}vka"] {
            assert_eq!(check(bad, &rules), Err(UsernameError::Pattern), "{bad:?}");
        }
        for reserved in ["admin", "ADMIN", "well-known", "Me-_", "deleted_7", "acmeteam"] {
            assert_eq!(check(reserved, &rules), Err(UsernameError::Reserved), "{reserved}");
        }
    }

    #[test]
    fn a_wide_pattern_still_refuses_what_cannot_be_seen() {
        let rules = rules(".*");
        for bad in ["ri\u{202e}vka", "ri\u{200b}vka", "ri vka", "riv\u{7}ka"] {
            assert!(check(bad, &rules).is_err(), "{bad:?}");
        }
        assert_eq!(check("ａｄｍｉｎ", &rules), Err(UsernameError::Reserved));
    }

    #[test]
    fn suggestions_follow_the_rules() {
        let rules = rules(DEFAULT_PATTERN);
        assert_eq!(suggest("Rivka.Cohen@example.com", &rules).as_deref(), Some("rivka-cohen"));
        assert_eq!(suggest("admin@example.com", &rules), None);
        assert_eq!(suggest("日本", &rules), None);
    }

    #[test]
    fn alternatives_follow_the_rules_and_are_few() {
        let names = |taken: &str, rules: &Usernames| alternatives(taken, rules).collect::<Vec<_>>();
        let default = rules(DEFAULT_PATTERN);
        assert_eq!(names("rivka", &default), ["rivka2", "rivka-2", "rivka3", "rivka-3", "rivka4"]);
        let longest = "é".repeat(24);
        let cut = names(&longest, &rules(".*"));
        assert_eq!(cut[1], format!("{}-2", "é".repeat(22)));
        assert_eq!(names("rivka", &rules("^[a-z]+$")), [""; 0]);
        assert_eq!(names("rivka", &rules("^[a-z0-9]+$")), ["rivka2", "rivka3", "rivka4"]);
    }
}
