//! The rule of rotation, by the generation that is presented (RFC 9700 §4.14.2).
//!
//! It makes retries idempotent without leaving two live tokens: whoever presents the live token or
//! the one just before it ends up with the one live token; anything older is reuse. A thief and the
//! owner thus share one leaf, and whoever comes second with it is found out at the next rotation.

use std::time::Duration;

use super::refresh_token::{FamilyKind, Presented};
use crate::clock::Timestamp;
use crate::config::settings::Tokens;
use crate::store::model::{Family, FamilyWithUser, UserStatus};

/// The times that decide, from `[tokens]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Life of a token since its last use.
    pub idle: Duration,
    /// Life of a family.
    pub absolute: Duration,
    /// A cookie session advances at most once in this time.
    pub session_grace: Duration,
    /// How long the generation before the live one is answered with the live one.
    pub retry_window: Duration,
}

impl Lifetimes {
    /// Takes the times from the configuration.
    pub fn new(tokens: &Tokens) -> Self {
        Self {
            idle: tokens.refresh_ttl,
            absolute: tokens.session_max_age,
            session_grace: tokens.session_grace,
            retry_window: tokens.retry_window,
        }
    }

    /// The grace of a family's kind: clients advance at each refresh.
    pub fn grace(&self, kind: FamilyKind) -> Duration {
        match kind {
            FamilyKind::Session => self.session_grace,
            FamilyKind::Client => Duration::ZERO,
        }
    }

    /// When the live token of a family stops working if it is not used.
    pub fn expires(&self, family: &Family) -> Timestamp {
        family.rotated_at.plus(self.idle).min(family.created_at.plus(self.absolute))
    }

    /// Whether a family opens anything: it has not ended nor run out of time, and its person may sign in.
    pub fn is_live(&self, live: &FamilyWithUser, now: Timestamp) -> bool {
        live.family.revoked_at.is_none()
            && now < self.expires(&live.family)
            && live.user.status == UserStatus::Active
    }
}

/// What a presented token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The family moves on; the answer carries the next generation.
    Advance,
    /// The answer carries the live generation; nothing is written.
    Keep,
    /// An earlier generation: the family ends.
    Reuse,
    /// The family ended, ran out of time, or its person may not sign in.
    Ended,
}

/// Judges a presented token by what the store says of its family.
pub fn judge(
    presented: Presented,
    live: &FamilyWithUser,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Verdict {
    let family = &live.family;
    if !lifetimes.is_live(live, now) {
        return Verdict::Ended;
    }
    let since_rotation = now.since(family.rotated_at);
    if presented.generation == family.generation {
        let within_grace = since_rotation < lifetimes.grace(presented.kind);
        return if within_grace { Verdict::Keep } else { Verdict::Advance };
    }
    if presented.generation > family.generation {
        // The tag proves that we issued it, so a failover lost the commits in between.
        return Verdict::Advance;
    }
    let is_previous = presented.generation + 1 == family.generation;
    if is_previous && since_rotation < lifetimes.retry_window {
        return Verdict::Keep;
    }
    Verdict::Reuse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::{FIRST_PARTY, FamilyId, Role, SessionId, User, UserId};
    use uuid::Uuid;

    const MINUTE: Duration = Duration::from_secs(60);
    const LIFETIMES: Lifetimes = Lifetimes {
        idle: Duration::from_secs(30 * 86_400),
        absolute: Duration::from_secs(180 * 86_400),
        session_grace: MINUTE,
        retry_window: Duration::from_secs(86_400),
    };
    const OPENED: Timestamp = Timestamp::from_seconds(1_000_000);

    fn live(generation: u64, rotated_at: Timestamp) -> FamilyWithUser {
        FamilyWithUser {
            family: Family {
                id: FamilyId(Uuid::nil()),
                user: UserId(Uuid::nil()),
                session: SessionId(Uuid::nil()),
                client_id: FIRST_PARTY.to_owned(),
                scope: String::new(),
                resource: String::new(),
                generation,
                rotated_at,
                created_at: OPENED,
                auth_time: OPENED,
                revoked_at: None,
            },
            user: User {
                id: UserId(Uuid::nil()),
                username: "a".to_owned(),
                display_name: None,
                avatar: None,
                role: Role::User,
                status: UserStatus::Active,
                created_at: OPENED,
            },
        }
    }

    fn verdict(generation: u64, live: &FamilyWithUser, after: Duration) -> Verdict {
        let presented = Presented { kind: FamilyKind::Session, family: live.family.id, generation };
        judge(presented, live, &LIFETIMES, live.family.rotated_at.plus(after))
    }

    #[test]
    fn the_live_token_advances_once_the_grace_is_over() {
        let live = live(5, OPENED);
        assert_eq!(verdict(5, &live, MINUTE - Duration::from_millis(1)), Verdict::Keep);
        assert_eq!(verdict(5, &live, MINUTE), Verdict::Advance);
    }

    #[test]
    fn a_client_has_no_grace() {
        let live = live(5, OPENED);
        let presented =
            Presented { kind: FamilyKind::Client, family: live.family.id, generation: 5 };
        assert_eq!(judge(presented, &live, &LIFETIMES, OPENED), Verdict::Advance);
    }

    #[test]
    fn the_previous_token_is_a_retry_within_the_window_and_reuse_after_it() {
        let live = live(5, OPENED);
        let window = LIFETIMES.retry_window;
        assert_eq!(verdict(4, &live, Duration::ZERO), Verdict::Keep);
        assert_eq!(verdict(4, &live, window - Duration::from_millis(1)), Verdict::Keep);
        assert_eq!(verdict(4, &live, window), Verdict::Reuse);
    }

    #[test]
    fn any_older_token_is_reuse_at_any_age() {
        let live = live(5, OPENED);
        for generation in 0..4 {
            assert_eq!(verdict(generation, &live, Duration::ZERO), Verdict::Reuse);
        }
    }

    #[test]
    fn a_token_ahead_of_the_row_is_rolled_forward() {
        assert_eq!(verdict(9, &live(5, OPENED), Duration::ZERO), Verdict::Advance);
    }

    #[test]
    fn an_ended_family_gives_nothing_whatever_is_presented() {
        let mut revoked = live(5, OPENED);
        revoked.family.revoked_at = Some(OPENED);
        let mut locked = live(5, OPENED);
        locked.user.status = UserStatus::Locked;
        for generation in [0, 4, 5, 6] {
            assert_eq!(verdict(generation, &revoked, MINUTE), Verdict::Ended);
            assert_eq!(verdict(generation, &locked, MINUTE), Verdict::Ended);
            assert_eq!(verdict(generation, &live(5, OPENED), LIFETIMES.idle), Verdict::Ended);
        }
        let old = live(5, OPENED.plus(LIFETIMES.absolute));
        assert_eq!(verdict(5, &old, Duration::ZERO), Verdict::Ended);
    }
}
