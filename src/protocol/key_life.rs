//! The life of signing keys: staged → active → retired → removed, derived from stored times and the
//! clock alone, so that every node comes to the same result.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::protocol::jwt::Algorithm;
use crate::store::model::StoredKey;

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, does not sign yet.
    Staged,
    /// Signs.
    Active,
    /// Signs no more, published until the last token that it signed has expired.
    Retired,
    /// Gone from the JWKS.
    Removed,
}

impl KeyState {
    /// As lists spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// The times of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// It signs from then on.
    pub signs_from: Timestamp,
    /// It signs until then; `None` while nothing follows it.
    pub signs_until: Option<Timestamp>,
    /// It is published until then.
    pub published_until: Option<Timestamp>,
}

impl Life {
    /// The state at a moment.
    pub fn state(&self, now: Timestamp) -> KeyState {
        let over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        if over(self.published_until) {
            KeyState::Removed
        } else if over(self.signs_until) {
            KeyState::Retired
        } else if now < self.signs_from {
            KeyState::Staged
        } else {
            KeyState::Active
        }
    }
}

/// Whether the key ever signs: one that was retired before its time never does.
fn ever_signs(key: &StoredKey) -> bool {
    key.retired_at.is_none_or(|retired| retired > key.signs_from)
}

/// The key's place in the succession of its algorithm.
fn order(key: &StoredKey) -> (Timestamp, &str) {
    (key.signs_from, &key.kid)
}

/// The life of `key` among all `keys`. `tokens_live_for` is how long a token signed at the last
/// moment can still be valid, leeway included.
///
/// A key signs until the next one of its algorithm does, or until it was retired by hand. Once
/// followed it never signs again, even if its successor is retired.
pub fn life(key: &StoredKey, keys: &[StoredKey], tokens_live_for: Duration) -> Life {
    let successor = keys
        .iter()
        .filter(|other| {
            other.algorithm == key.algorithm && ever_signs(other) && order(other) > order(key)
        })
        .map(|other| other.signs_from)
        .min();
    let signs_until = [successor, key.retired_at].into_iter().flatten().min();
    let published_until = if key.compromised {
        key.retired_at
    } else if ever_signs(key) {
        signs_until.map(|until| until.plus(tokens_live_for))
    } else {
        key.retired_at
    };
    Life { signs_from: key.signs_from, signs_until, published_until }
}

/// The newest key of an algorithm that is neither retired by hand nor compromised.
pub fn newest(keys: &[StoredKey], algorithm: Algorithm) -> Option<&StoredKey> {
    keys.iter()
        .filter(|key| key.algorithm == algorithm && key.retired_at.is_none() && !key.compromised)
        .max_by(|one, other| order(one).cmp(&order(other)))
}

/// When the key after `newest` should sign, if it is time to publish it: the first of an algorithm
/// at once, later ones after `period`, published `ahead` of that. `None` is "not yet".
pub fn next_signs_from(
    newest: Option<&StoredKey>,
    period: Option<Duration>,
    ahead: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let Some(newest) = newest else { return Some(now) };
    let due = newest.signs_from.plus(period?);
    let nothing_is_staged = newest.signs_from <= now;
    (nothing_is_staged && now >= due.minus(ahead)).then(|| due.max(now.plus(ahead)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_seconds(hour * 3600)
    }

    fn key(kid: &str, signs_from: Timestamp) -> StoredKey {
        StoredKey {
            kid: kid.to_owned(),
            algorithm: Algorithm::RS256,
            public_jwk: String::new(),
            sealed_private: None,
            created_at: signs_from,
            signs_from,
            retired_at: None,
            compromised: false,
        }
    }

    fn states(keys: &[StoredKey], now: Timestamp) -> Vec<KeyState> {
        keys.iter().map(|key| life(key, keys, HOUR).state(now)).collect()
    }

    #[test]
    fn a_key_is_staged_active_retired_and_removed_by_the_clock() {
        use KeyState::{Active, Removed, Retired, Staged};
        let keys = [key("a", at(0)), key("b", at(10))];
        assert_eq!(states(&keys, at(9)), [Active, Staged]);
        assert_eq!(states(&keys, at(10)), [Retired, Active]);
        assert_eq!(states(&keys, at(11).minus(Duration::from_millis(1))), [Retired, Active]);
        assert_eq!(states(&keys, at(11)), [Removed, Active]);
    }

    #[test]
    fn a_compromised_key_is_gone_at_once_and_its_predecessor_does_not_return() {
        use KeyState::{Removed, Retired};
        let mut keys = [key("a", at(0)), key("b", at(10))];
        keys[1].retired_at = Some(at(10).plus(Duration::from_secs(60)));
        keys[1].compromised = true;
        assert_eq!(states(&keys, at(10).plus(Duration::from_secs(60))), [Retired, Removed]);
        assert_eq!(newest(&keys, Algorithm::RS256).map(|key| key.kid.as_str()), Some("a"));
    }

    #[test]
    fn a_key_retired_before_its_time_never_signs() {
        use KeyState::{Active, Removed};
        let mut keys = [key("a", at(0)), key("b", at(10))];
        keys[1].retired_at = Some(at(5));
        assert_eq!(states(&keys, at(20)), [Active, Removed]);
    }

    #[test]
    fn algorithms_do_not_follow_each_other() {
        let mut keys = [key("a", at(0)), key("b", at(10))];
        keys[1].algorithm = Algorithm::ES256;
        assert_eq!(states(&keys, at(20)), [KeyState::Active, KeyState::Active]);
    }

    #[test]
    fn the_next_key_is_published_ahead_of_its_turn() {
        let first = key("a", at(0));
        let next = |now| next_signs_from(Some(&first), Some(DAY), HOUR, now);
        assert_eq!(next_signs_from(None, Some(DAY), HOUR, at(7)), Some(at(7)));
        assert_eq!(next(at(22)), None);
        assert_eq!(next(at(23)), Some(at(24)));
        assert_eq!(next(at(40)), Some(at(41)), "late, but still published ahead");
        assert_eq!(next_signs_from(Some(&first), None, HOUR, at(99)), None);
        assert_eq!(next_signs_from(Some(&key("b", at(30))), Some(DAY), HOUR, at(29)), None);
    }
}
