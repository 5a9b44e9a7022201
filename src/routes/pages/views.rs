//! One struct a page: the plain data that its template shows.

mod account;
mod demo_app;

pub use account::{
    Account, AccountApps, AccountErrors, AccountTokens, Address, AppRow, DeleteAccount, SessionRow,
    Way,
};
pub use demo_app::{DemoApp, DemoGrant, DemoTrouble, ShownToken};

use std::borrow::Cow;
use std::time::Duration;

use askama::Template;
use url::form_urlencoded;

use super::site::Site;
use super::text::{self, Notice};
use crate::clock::Timestamp;
use crate::config::settings::Usernames;
use crate::error::{ApiError, ErrorCode};
use crate::routes::session::RECENT;

/// A page that can be sent.
pub trait Page: Template {
    /// Whether the page loads a script of ours; only then does its policy allow one.
    const HAS_SCRIPT: bool = false;

    /// The deployer's name and look.
    fn site(&self) -> &Site;

    /// The address of a picture that the page shows beside the logo.
    fn picture(&self) -> Option<&str> {
        None
    }

    /// The page as HTML.
    ///
    /// # Panics
    /// Never: a template fails only if its writer or a filter of ours does, and a `String` does not
    /// fail and there are no filters.
    fn to_html(&self) -> String {
        self.render().expect("templates of plain data always render")
    }
}

/// `/login`: one button a provider.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct Login<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// What happened before.
    pub notice: Option<Notice>,
    /// The configured providers, in the configuration's order.
    pub providers: Vec<ProviderButton<'a>>,
    /// Where the person goes after signing in, already checked.
    pub return_to: Option<&'a str>,
    /// What else of the query a button passes on: names and values, already checked.
    pub further: Vec<(&'a str, String)>,
}

/// A provider that a page leads to.
#[derive(Clone, Copy, Debug)]
pub struct ProviderButton<'a> {
    /// Its name in our paths.
    pub name: &'a str,
    /// Its name on the button.
    pub display_name: &'a str,
    /// Whether this browser signed in with it the last time.
    pub last_used: bool,
    /// Whether the last attempt to reach it failed.
    pub not_answering: bool,
}

impl<'a> ProviderButton<'a> {
    /// A button without a mark.
    pub fn plain(name: &'a str, display_name: &'a str) -> Self {
        Self { name, display_name, last_used: false, not_answering: false }
    }
}

impl Login<'_> {
    /// The providers, the one used last first.
    fn in_order(&self) -> impl Iterator<Item = &ProviderButton<'_>> {
        let part = |last_used| move |button: &&ProviderButton<'_>| button.last_used == last_used;
        self.providers.iter().filter(part(true)).chain(self.providers.iter().filter(part(false)))
    }

    /// Where a button leads. A link and no form, since the provider's address would have to be
    /// allowed as a form's destination.
    fn address(&self, provider: &str) -> String {
        let return_to = self.return_to.map(|target| ("return_to", target));
        let further = self.further.iter().map(|(name, value)| (*name, value.as_str()));
        with_query(&format!("/auth/{provider}"), return_to.into_iter().chain(further))
    }
}

/// `/onboarding`: a new person chooses a username. Posts to `/auth/form/setup` the fields
/// `form_token`, `username` and `display_name`.
#[derive(Debug, Template)]
#[template(path = "onboarding.html")]
pub struct Onboarding<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// Display name of the provider that the person comes from.
    pub provider: &'a str,
    /// The person's address at the provider, masked.
    pub masked_email: Option<&'a str>,
    /// The rules of usernames.
    pub rules: &'a Usernames,
    /// What was typed, or the suggestion.
    pub username: &'a str,
    /// What was typed, or what the provider says.
    pub display_name: &'a str,
    /// What is wrong with the username, in one sentence.
    pub username_error: Option<&'a str>,
    /// What is wrong with the display name, in one sentence.
    pub display_name_error: Option<&'a str>,
    /// What failed otherwise, and what to do, in one or two sentences.
    pub failure: Option<&'a str>,
}

impl Onboarding<'_> {
    fn has_problem(&self) -> bool {
        self.username_error.or(self.display_name_error).or(self.failure).is_some()
    }
}

/// `/link`: the address that the person comes with belongs to an account, which this provider is
/// connected to only by somebody who signs in to it.
#[derive(Debug, Template)]
#[template(path = "link_offer.html")]
pub struct LinkOffer<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// Display name of the provider that the person comes from.
    pub provider: &'a str,
    /// The person's address at the provider, masked.
    pub masked_email: &'a str,
    /// The configured providers that the account signs in with.
    pub known: Vec<ProviderButton<'a>>,
    /// Where the person goes after signing in, already checked.
    pub return_to: &'a str,
    /// Whether a new account may be made instead.
    pub separate: bool,
}

impl LinkOffer<'_> {
    fn belongs(&self) -> String {
        text::link_offer::belongs(self.known.iter().map(|way| way.display_name))
    }

    fn address(&self, provider: &str) -> String {
        let max_age = RECENT.as_secs().to_string();
        let query = [("return_to", self.return_to), ("max_age", max_age.as_str())];
        with_query(&format!("/auth/{provider}"), query)
    }
}

/// Asks before a provider is connected to an account. Posts to `/auth/form/link` the field
/// `form_token`.
#[derive(Debug, Template)]
#[template(path = "link_confirmation.html")]
pub struct LinkConfirmation<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// The account's username.
    pub username: &'a str,
    /// Display name of the provider.
    pub provider: &'a str,
    /// What the provider calls the person's account there: a name or a masked address.
    pub identity: Option<&'a str>,
    /// Whether the person was locked out, and is signed in by this.
    pub recovers: bool,
    /// Where Cancel leads: a path of ours.
    pub cancel: &'a str,
}

impl LinkConfirmation<'_> {
    fn meaning(&self) -> String {
        if self.recovers {
            text::link::meaning_of_recovery(self.provider, self.username)
        } else {
            text::link::meaning(self.provider)
        }
    }

    fn submit(&self) -> String {
        if self.recovers {
            text::link::submit_of_recovery(self.provider)
        } else {
            text::account::connect(self.provider)
        }
    }
}

/// Asks whether to connect a provider, where the request for it comes from elsewhere. Posts to
/// `/auth/form/link` the fields `form_token`, `provider` and `return_to`.
#[derive(Debug, Template)]
#[template(path = "link_start.html")]
pub struct LinkStart<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// The account's username.
    pub username: &'a str,
    /// The provider's name in our paths.
    pub name: &'a str,
    /// The provider's display name.
    pub provider: &'a str,
    /// Where the person goes afterwards, already checked.
    pub return_to: &'a str,
}

/// `/recover`: somebody who is locked out chooses a new way to sign in.
#[derive(Debug, Template)]
#[template(path = "recovery.html")]
pub struct Recovery<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The account's username.
    pub username: &'a str,
    /// The configured providers, in the configuration's order.
    pub providers: Vec<ProviderButton<'a>>,
    /// When the link stops working.
    pub until: Timestamp,
}

impl Recovery<'_> {
    fn address(&self, provider: &str) -> String {
        format!("/auth/recover/{provider}")
    }
}

/// Asks whether to sign out, where an app wants it without knowing the person. Posts to
/// `/auth/form/end-session` the fields `form_token` and `request`.
#[derive(Debug, Template)]
#[template(path = "end_session.html")]
pub struct EndSession<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// What the app wants, sealed.
    pub request: &'a str,
    /// Who is signed in.
    pub username: &'a str,
    /// What the app is called, if it says who it is.
    pub client: Option<&'a str>,
    /// Where the answer no leads.
    pub stay: &'a str,
}

impl EndSession<'_> {
    fn asker(&self) -> String {
        self.client.map_or_else(|| text::end_session::SOMEBODY.to_owned(), text::end_session::asker)
    }
}

/// Asks whether an app may use the account. Posts to `/auth/form/consent` the fields `form_token`,
/// `request` and `decision` (`allow` or `deny`).
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// The sealed request that waits for the answer.
    pub request: &'a str,
    /// What the app is called.
    pub client: &'a str,
    /// The account's username.
    pub username: &'a str,
    /// What the app will see and may do.
    pub rows: Vec<ConsentRow<'a>>,
    /// The host that the person goes to afterwards; `None`: an app on this device.
    pub host: Option<&'a str>,
    /// Where another account can be chosen.
    pub another: &'a str,
}

/// One thing that an app will see.
#[derive(Clone, Copy, Debug)]
pub struct ConsentRow<'a> {
    /// What it is.
    pub what: &'a str,
    /// What it is of this person.
    pub value: Option<&'a str>,
}

/// Takes a person back to an app, with what the app is told in a form.
#[derive(Debug, Template)]
#[template(path = "way_back.html")]
pub struct WayBack<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// What the app is called.
    pub client: &'a str,
    /// Where the form is posted to.
    pub action: &'a str,
    /// Hidden fields: name, value.
    pub fields: Vec<(&'a str, &'a str)>,
}

/// `/signed-out`.
#[derive(Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOut<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// Whether all sessions ended, not only this browser's.
    pub everywhere: bool,
}

impl SignedOut<'_> {
    fn heading(&self) -> &'static str {
        if self.everywhere {
            text::signed_out::HEADING_EVERYWHERE
        } else {
            text::signed_out::HEADING
        }
    }
}

/// The page for a browser that drops our cookies.
#[derive(Debug, Template)]
#[template(path = "cookies.html")]
pub struct CookiesNotKept<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The host that the browser should keep cookies for.
    pub host: &'a str,
    /// Where the person wanted to go, already checked.
    pub return_to: Option<&'a str>,
}

impl CookiesNotKept<'_> {
    fn address(&self) -> String {
        with_query("/login", self.return_to.map(|target| ("return_to", target)))
    }
}

/// Any error: the sentence, what to do, a way on, the request's id.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// What is wrong, in a few words.
    pub title: &'a str,
    /// What it means and what to do, in one or two sentences.
    pub detail: &'a str,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// What to quote when asking for help.
    pub request_id: &'a str,
    /// The way on.
    pub action: Action<'a>,
}

/// A link that leads on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// What it says.
    pub label: &'static str,
    /// Where it leads.
    pub href: Cow<'a, str>,
}

impl<'a> ErrorPage<'a> {
    fn retry(&self) -> Option<String> {
        self.retry_after.map(text::try_again_in)
    }

    /// The page that tells `error`. `here` is path and query of a request that can be repeated by
    /// following a link; `None` after a POST.
    pub fn telling(
        site: &'a Site,
        error: &'a ApiError,
        request_id: &'a str,
        here: Option<&'a str>,
    ) -> Self {
        Self {
            site,
            title: error.code.title(),
            detail: &error.detail,
            retry_after: error.wait(),
            request_id,
            action: match error.way_on() {
                Some(path) if is_local(path) => {
                    let usual = way_on(error.code, here).label;
                    let label = if path == "/account" { text::action::ACCOUNT } else { usual };
                    Action { label, href: Cow::Borrowed(path) }
                }
                _ => way_on(error.code, here),
            },
        }
    }
}

/// Where to go from an error: repeating is offered only where it can help.
fn way_on(code: ErrorCode, here: Option<&str>) -> Action<'_> {
    use ErrorCode as E;
    use text::action;
    let to = |label, href: &'static str| Action { label, href: Cow::Borrowed(href) };
    match code {
        E::RateLimited
        | E::Internal
        | E::Overloaded
        | E::StoreUnavailable
        | E::TemporarilyUnavailable => match here.filter(|here| is_local(here)) {
            Some(here) => Action { label: action::TRY_AGAIN, href: Cow::Borrowed(here) },
            None => to(action::START, "/"),
        },
        E::InvalidState
        | E::SetupExpired
        | E::ProviderTokenInvalid
        | E::Unauthenticated
        | E::SessionEnded
        | E::AlreadyUsed
        | E::ReauthenticationRequired
        | E::CookiesNotSent => to(action::SIGN_IN_ANEW, "/login"),
        E::SignupClosed
        | E::AccountLocked
        | E::ProviderDenied
        | E::ProviderError
        | E::ProviderTimeout
        | E::UnknownProvider
        | E::IdentityTaken => to(action::SIGN_IN_OTHERWISE, "/login"),
        E::UsernameTaken | E::UsernameReserved | E::UsernameInvalid => {
            to(text::onboarding::HEADING, "/onboarding")
        }
        E::LinkExpired | E::LastIdentity | E::UsernameCooldown | E::LastAdmin => {
            to(action::ACCOUNT, "/account")
        }
        E::RecoveryExpired
        | E::InvalidRequest
        | E::InvalidField
        | E::DuplicateParameter
        | E::DuplicateCookie
        | E::InvalidReturnTo
        | E::CsrfRejected
        | E::Forbidden
        | E::NotFound
        | E::ClientIdTaken
        | E::ClientChanged
        | E::NoClientSecret
        | E::KeysFromFiles
        | E::ConfigurationInvalid
        | E::IdempotencyKeyInUse
        | E::IdempotencyKeyReused
        | E::MethodNotAllowed
        | E::RequestTimeout
        | E::PayloadTooLarge
        | E::UriTooLong
        | E::HeadersTooLarge
        | E::UnsupportedMediaType
        | E::WrongHost => to(action::START, "/"),
    }
}

/// The form of the built-in development provider. Posts the fields `name` and `email` beside the
/// hidden ones.
#[derive(Debug, Template)]
#[template(path = "dev_idp.html")]
pub struct DevelopmentProvider<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// Where the form is posted to.
    pub action: &'a str,
    /// Hidden fields: name, value.
    pub hidden: Vec<(String, String)>,
    /// What was typed.
    pub name: &'a str,
    /// What was typed.
    pub email: &'a str,
    /// What is wrong with the name, in one sentence.
    pub error: Option<&'a str>,
}

macro_rules! pages {
    ($($view:ident $({ $($constant:tt)* })?),*) => {
        $(impl Page for $view<'_> {
            $($($constant)*)?

            fn site(&self) -> &Site {
                self.site
            }
        })*
    };
}

pages!(
    Login,
    Onboarding { const HAS_SCRIPT: bool = true; },
    LinkOffer,
    LinkConfirmation,
    LinkStart,
    Recovery,
    Account {
        const HAS_SCRIPT: bool = true;

        fn picture(&self) -> Option<&str> {
            self.avatar
        }
    },
    AccountApps,
    DeleteAccount,
    EndSession,
    Consent,
    WayBack { const HAS_SCRIPT: bool = true; },
    SignedOut,
    CookiesNotKept,
    ErrorPage,
    DevelopmentProvider
);

fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Whether a link to `path` stays on this server: browsers read `//host` and `/\host` as another.
fn is_local(path: &str) -> bool {
    path.starts_with('/') && !path[1..].starts_with(['/', '\\'])
}
