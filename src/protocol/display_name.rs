//! What people may be called besides their username: any script, but nothing that cannot be seen.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Most characters of a display name.
pub const LONGEST: usize = 80;

/// Why a display name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisplayNameError {
    /// More than [`LONGEST`] characters.
    #[error("A display name has at most {LONGEST} characters.")]
    TooLong,
    /// Control characters, or marks that turn the direction of writing or take no room.
    #[error("A display name holds no control characters.")]
    Hidden,
}

/// A name that a person chose: in NFC and trimmed; an empty one is none.
///
/// # Errors
/// [`DisplayNameError`].
pub fn check(text: &str) -> Result<Option<String>, DisplayNameError> {
    let name = composed(text.trim());
    if name.chars().count() > LONGEST {
        return Err(DisplayNameError::TooLong);
    }
    if name.chars().any(is_hidden) {
        return Err(DisplayNameError::Hidden);
    }
    Ok((!name.is_empty()).then_some(name))
}

/// A name that a provider told, made to fit: nobody is there to correct it.
pub fn tidy(text: &str) -> Option<String> {
    let visible: String = text.chars().filter(|character| !is_hidden(*character)).collect();
    let cut: String = composed(visible.trim()).chars().take(LONGEST).collect();
    let name = cut.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

fn composed(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Whether a character cannot be seen, or turns the direction of writing.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_bounded() {
        assert_eq!(check(" Rene\u{301} ").unwrap().as_deref(), Some("René"));
        assert_eq!(check("  ").unwrap(), None);
        assert!(check(&"é".repeat(80)).is_ok());
        assert_eq!(check(&"x".repeat(81)), Err(DisplayNameError::TooLong));
        for hidden in ["a\0b", "a\u{202e}b", "a\u{61c}b", "a\u{2066}b"] {
            assert_eq!(check(hidden), Err(DisplayNameError::Hidden));
        }
    }

    #[test]
    fn what_a_provider_tells_is_made_to_pass() {
        let told = format!(" \u{0}Zoe\u{308}\u{202e}\r\n{}", "é".repeat(200));
        let name = tidy(&told).unwrap();
        assert!(name.starts_with("Zoëé"));
        assert_eq!(check(&name), Ok(Some(name.clone())));
        assert_eq!(tidy("\u{7}\n \u{200b}"), None);
    }
}
