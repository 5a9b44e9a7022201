//! JSON without repeated members. RFC 8259 leaves open which of two equal names counts, so two
//! readers of one token could see two things (RFC 7519 §4 lets us refuse it).

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads JSON, refusing repeated members at any depth and anything after the value.
///
/// # Errors
/// [`serde_json::Error`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<WithoutRepeats>(bytes)?;
    serde_json::from_slice(bytes)
}

struct WithoutRepeats;

impl<'de> Deserialize<'de> for WithoutRepeats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = WithoutRepeats;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_i64<E>(self, _: i64) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_u64<E>(self, _: u64) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_f64<E>(self, _: f64) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_str<E>(self, _: &str) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_unit<E>(self) -> Result<WithoutRepeats, E> {
        Ok(WithoutRepeats)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<WithoutRepeats, A::Error> {
        while items.next_element::<WithoutRepeats>()?.is_some() {}
        Ok(WithoutRepeats)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<WithoutRepeats, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<WithoutRepeats>()?;
            if !seen.insert(name) {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(WithoutRepeats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn repeated_members_are_refused_at_any_depth() {
        let accepts = |text: &str| from_slice::<Value>(text.as_bytes()).is_ok();
        assert!(accepts(r#"{"a":1,"b":[{"a":-1.5},{"a":null}],"c":{"a":"x","b":true}}"#));
        assert!(!accepts(r#"{"a":1,"a":1}"#));
        assert!(!accepts(r#"{"a":1,"\u0061":1}"#));
        assert!(!accepts(r#"{"b":[{"a":1,"a":2}]}"#));
        assert!(!accepts(r#"{"a":1} {"a":1}"#));
        assert!(!accepts(&"[".repeat(1_000_000)));
    }
}
