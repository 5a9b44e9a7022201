//! What an authorization request comes to: pure rules over what is asked and who is signed in.

use serde::{Deserialize, Serialize};

use crate::protocol::jwt::LEEWAY_SECONDS;

/// What the client wants of the sign-in (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `prompt=none`: no page at all.
    pub silent: bool,
    /// `prompt=login`: a new sign-in.
    pub login: bool,
    /// `prompt=select_account`: the choice of another person.
    pub select_account: bool,
    /// `prompt=consent`: the question, whatever was answered before.
    pub consent: bool,
    /// `max_age`: the oldest sign-in that will do, in seconds.
    pub max_age: Option<i64>,
    /// `sub` of `id_token_hint`: who it must be.
    pub person: Option<String>,
}

impl Wishes {
    /// Whether a session that is there may not do. Then the way to the sign-in page is remembered in a
    /// [`Reauthentication`].
    pub fn may_need_sign_in(&self) -> bool {
        self.login || self.select_account || self.max_age.is_some() || self.person.is_some()
    }

    fn is_too_old(&self, auth_time: i64, at: i64) -> bool {
        self.max_age.is_some_and(|max_age| auth_time < at.saturating_sub(max_age))
    }

    fn is_of_another(&self, session: &Session) -> bool {
        self.person.as_ref().is_some_and(|person| *person != session.user)
    }
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The person's id.
    pub user: String,
    /// When they really signed in, in seconds.
    pub auth_time: i64,
}

/// That a person was sent to sign in for a request, sealed into the address that they come back by. Its
/// members have short names there: the address goes into a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reauthentication {
    /// The request.
    #[serde(rename = "r")]
    pub fingerprint: String,
    /// When, in seconds.
    #[serde(rename = "a")]
    pub asked_at: i64,
    /// `auth_time` of the session then, if there was one.
    #[serde(rename = "b")]
    pub auth_time_before: Option<i64>,
}

impl Reauthentication {
    /// Whether the session's sign-in came after this. Times are whole seconds: one in the same second as
    /// the question counts as its answer.
    fn is_answered_by(&self, session: &Session) -> bool {
        self.auth_time_before
            .is_none_or(|before| session.auth_time > before || before >= self.asked_at)
    }

    /// Whether the session's sign-in is at most so old as `max_age` allows, counted from the question. A
    /// provider's clock may be a little behind ours.
    fn is_recent_enough(&self, session: &Session, max_age: i64) -> bool {
        let oldest = self.asked_at.saturating_sub(max_age).saturating_sub(LEEWAY_SECONDS);
        self.is_answered_by(session) && session.auth_time >= oldest
    }
}

/// What the attempt to resume a session came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// There was none yet.
    NotYet,
    /// There is no session.
    SignedOut,
    /// The browser does not keep our cookies.
    CookiesLost,
}

/// The next step towards a sign-in that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It does.
    GoOn,
    /// Ask where the refresh cookie is sent.
    Resume,
    /// Tell that the browser does not keep our cookies.
    TellOfCookies,
    /// To the sign-in page.
    SignIn,
    /// `login_required`, for this reason.
    LoginRequired(&'static str),
}

/// Judges who is signed in. `returned` is the way to the sign-in page that the person comes back from.
pub fn next(
    wishes: &Wishes,
    session: Option<&Session>,
    returned: Option<&Reauthentication>,
    resumed: Resumed,
    now: i64,
) -> Step {
    let Some(session) = session else {
        return match resumed {
            Resumed::NotYet => Step::Resume,
            _ if wishes.silent => Step::LoginRequired("Nobody is signed in."),
            Resumed::SignedOut => Step::SignIn,
            Resumed::CookiesLost => Step::TellOfCookies,
        };
    };
    let is_of_another = wishes.is_of_another(session);
    let is_too_old = wishes.is_too_old(session.auth_time, now);
    match returned {
        _ if wishes.silent && is_of_another => Step::LoginRequired(ANOTHER_PERSON),
        _ if wishes.silent && is_too_old => {
            Step::LoginRequired("The sign-in is older than max_age allows.")
        }
        _ if wishes.silent => Step::GoOn,
        None if is_of_another || is_too_old || wishes.login || wishes.select_account => {
            Step::SignIn
        }
        None => Step::GoOn,
        Some(_) if is_of_another => Step::LoginRequired(ANOTHER_PERSON),
        Some(asked) if wishes.login && !asked.is_recent_enough(session, 0) => {
            Step::LoginRequired("The person did not sign in again.")
        }
        Some(asked) => match wishes.max_age {
            Some(max_age)
                if wishes.is_too_old(session.auth_time, asked.asked_at)
                    && !asked.is_recent_enough(session, max_age) =>
            {
                Step::LoginRequired("The sign-in is older than max_age allows.")
            }
            _ => Step::GoOn,
        },
    }
}

const ANOTHER_PERSON: &str = "Another person is signed in than id_token_hint names.";

/// Whether to ask for consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// There is nothing to ask.
    No,
    /// The page asks.
    Yes,
    /// `consent_required`: the page would have to ask, and may not.
    NotAllowed,
}

/// What consent depends on.
#[derive(Clone, Copy, Debug)]
pub struct Consenting {
    /// The deployer vouches for the client.
    pub auto_approve: bool,
    /// Another program could pose as the client (RFC 8252 §8.6), so that an answer is worth nothing later.
    pub can_be_posed_as: bool,
    /// What is asked for was allowed before.
    pub is_remembered: bool,
}

/// Judges what was allowed.
pub fn question(wishes: &Wishes, consenting: Consenting) -> Question {
    let Consenting { auto_approve, can_be_posed_as, is_remembered } = consenting;
    let is_needed = !auto_approve && (can_be_posed_as || !is_remembered);
    match (is_needed, wishes) {
        (true, Wishes { silent: true, .. }) => Question::NotAllowed,
        (true, _) | (false, Wishes { consent: true, .. }) => Question::Yes,
        (false, _) => Question::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000;

    fn at(auth_time: i64) -> Session {
        Session { user: "alice".to_owned(), auth_time }
    }

    fn asked(asked_at: i64, before: Option<i64>) -> Reauthentication {
        Reauthentication { fingerprint: String::new(), asked_at, auth_time_before: before }
    }

    fn is_refused(step: Step) -> bool {
        matches!(step, Step::LoginRequired(_))
    }

    #[test]
    fn without_a_session_one_is_resumed_then_opened() {
        let step = |resumed| next(&Wishes::default(), None, None, resumed, NOW);
        assert_eq!(step(Resumed::NotYet), Step::Resume);
        assert_eq!(step(Resumed::SignedOut), Step::SignIn);
        assert_eq!(step(Resumed::CookiesLost), Step::TellOfCookies);
    }

    #[test]
    fn in_silence_no_page_is_shown() {
        let silent = Wishes { silent: true, ..Wishes::default() };
        let step = |resumed| next(&silent, None, None, resumed, NOW);
        assert_eq!(step(Resumed::NotYet), Step::Resume);
        assert!(is_refused(step(Resumed::SignedOut)) && is_refused(step(Resumed::CookiesLost)));
        let with = |wishes: &Wishes| next(wishes, Some(&at(NOW - 60)), None, Resumed::NotYet, NOW);
        assert_eq!(with(&silent), Step::GoOn);
        assert!(is_refused(with(&Wishes { max_age: Some(59), ..silent.clone() })));
        assert_eq!(with(&Wishes { max_age: Some(60), ..silent.clone() }), Step::GoOn);
        assert!(is_refused(with(&Wishes { person: Some("bob".to_owned()), ..silent.clone() })));
        assert_eq!(with(&Wishes { person: Some("alice".to_owned()), ..silent }), Step::GoOn);
    }

    #[test]
    fn a_session_does_unless_something_is_wished() {
        let step = |wishes: &Wishes| next(wishes, Some(&at(NOW)), None, Resumed::NotYet, NOW);
        assert_eq!(step(&Wishes::default()), Step::GoOn);
        for wishes in [
            Wishes { login: true, ..Wishes::default() },
            Wishes { select_account: true, ..Wishes::default() },
            Wishes { person: Some("bob".to_owned()), ..Wishes::default() },
        ] {
            assert_eq!(step(&wishes), Step::SignIn, "{wishes:?}");
        }
        let aged = Wishes { max_age: Some(10), ..Wishes::default() };
        assert_eq!(step(&aged), Step::GoOn);
        let old = next(&aged, Some(&at(NOW - 11)), None, Resumed::NotYet, NOW);
        assert_eq!(old, Step::SignIn);
    }

    #[test]
    fn coming_back_is_not_enough_for_a_new_sign_in() {
        let login = Wishes { login: true, ..Wishes::default() };
        let step = |auth_time, before| {
            let returned = asked(NOW, before);
            next(&login, Some(&at(auth_time)), Some(&returned), Resumed::NotYet, NOW + 60)
        };
        assert_eq!(step(NOW + 50, Some(100)), Step::GoOn);
        assert_eq!(step(NOW - 30, Some(100)), Step::GoOn, "the provider's clock is behind");
        assert_eq!(step(NOW + 50, None), Step::GoOn);
        assert!(is_refused(step(100, Some(100))), "the same sign-in");
        assert!(is_refused(step(NOW - 10, Some(NOW - 10))), "the same, within the leeway");
        assert!(is_refused(step(NOW - 31, Some(100))), "the provider asked nobody");
        assert!(is_refused(step(99, Some(100))), "an older one");
        assert_eq!(step(NOW, Some(NOW)), Step::GoOn, "within one second");
    }

    #[test]
    fn an_age_is_counted_from_the_question() {
        let step = |max_age, auth_time, before| {
            let wishes = Wishes { max_age: Some(max_age), ..Wishes::default() };
            let returned = asked(NOW, before);
            next(&wishes, Some(&at(auth_time)), Some(&returned), Resumed::NotYet, NOW + 300)
        };
        assert_eq!(step(60, NOW + 10, Some(100)), Step::GoOn, "older than that by now");
        assert_eq!(step(60, NOW - 60, Some(100)), Step::GoOn);
        assert_eq!(step(60, NOW - 90, Some(100)), Step::GoOn);
        assert!(is_refused(step(60, NOW - 91, Some(100))));
        assert!(is_refused(step(60, NOW - 70, Some(NOW - 70))), "the same sign-in");
        assert_eq!(step(0, NOW + 10, Some(NOW)), Step::GoOn);
        assert_eq!(step(i64::MAX, 0, Some(0)), Step::GoOn);
    }

    #[test]
    fn who_comes_back_as_another_is_refused() {
        let wishes = Wishes { person: Some("bob".to_owned()), ..Wishes::default() };
        let returned = asked(NOW, None);
        let step = next(&wishes, Some(&at(NOW)), Some(&returned), Resumed::NotYet, NOW);
        assert!(is_refused(step));
        let choice = Wishes { select_account: true, ..Wishes::default() };
        let step = next(&choice, Some(&at(0)), Some(&returned), Resumed::NotYet, NOW);
        assert_eq!(step, Step::GoOn, "the same person may be chosen");
    }

    #[test]
    fn consent_is_asked_for_once_and_where_it_means_nothing_each_time() {
        let ask = |auto_approve, can_be_posed_as, is_remembered, wishes: &Wishes| {
            question(wishes, Consenting { auto_approve, can_be_posed_as, is_remembered })
        };
        let plain = Wishes::default();
        let silent = Wishes { silent: true, ..Wishes::default() };
        let consent = Wishes { consent: true, ..Wishes::default() };
        assert_eq!(ask(false, false, false, &plain), Question::Yes);
        assert_eq!(ask(false, false, true, &plain), Question::No);
        assert_eq!(ask(false, true, true, &plain), Question::Yes);
        assert_eq!(ask(true, true, false, &plain), Question::No);
        assert_eq!(ask(true, false, true, &consent), Question::Yes);
        assert_eq!(ask(false, false, true, &silent), Question::No);
        assert_eq!(ask(false, false, false, &silent), Question::NotAllowed);
        assert_eq!(ask(false, true, true, &silent), Question::NotAllowed);
    }
}
