//! What somebody probably meant to write.

/// The candidate that `word` is most likely a misspelling of; `None` if it is like none of them.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, a suggestion puzzles more than it helps.
    const ALIKE: f64 = 0.6;
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_nonsense_finds_none() {
        let words = ["access_ttl", "refresh_ttl", "code_ttl"];
        assert_eq!(nearest("acess_ttl", words), Some("access_ttl"));
        assert_eq!(nearest("refreshttl", words), Some("refresh_ttl"));
        assert_eq!(nearest("colour", words), None);
    }
}
