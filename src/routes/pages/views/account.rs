//! The pages of an account.

use std::time::Duration;

use askama::Template;

use super::{ProviderButton, with_query};
use crate::clock::Timestamp;
use crate::config::settings::Usernames;
use crate::routes::pages::account_apps;
use crate::routes::pages::site::Site;
use crate::routes::pages::text::{self, Done};

/// `/account`: what a person sees and changes of their account.
///
/// Its forms post to `/auth/form/<action>`, each with its `form_token`, and end at `/account?done=`:
///
/// | action | further fields |
/// | --- | --- |
/// | `avatar` (multipart) | `file`; or `remove` (`true`) |
/// | `profile` | `display_name` |
/// | `username` | `username` |
/// | `unlink` | `provider`, `subject` |
/// | `session` | `session` (an id); or `others` (`true`) |
/// | `app` | `client_id`; and on [`AccountApps`] `page` |
/// | `sign-out` | `everywhere` (`true` or `false`) |
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub struct Account<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed tokens of its forms.
    pub tokens: &'a AccountTokens,
    /// What was just done here.
    pub notice: Option<Done>,
    /// What is wrong with what was typed.
    pub errors: AccountErrors<'a>,
    /// The person's username.
    pub username: &'a str,
    /// What was typed, or the username.
    pub username_typed: &'a str,
    /// The rules of usernames.
    pub username_rules: &'a Usernames,
    /// When the username may be changed, if not at once.
    pub username_next_change: Option<Timestamp>,
    /// The person's display name.
    pub display_name: Option<&'a str>,
    /// What was typed, or the display name.
    pub display_name_typed: &'a str,
    /// The address of the person's picture.
    pub avatar: Option<&'a str>,
    /// Largest picture that is taken, in bytes.
    pub avatar_max_bytes: usize,
    /// The person's addresses.
    pub emails: Vec<Address<'a>>,
    /// What the person signs in with.
    pub ways: Vec<Way<'a>>,
    /// The configured providers that can be connected.
    pub others: Vec<ProviderButton<'a>>,
    /// Where the person is signed in. While there are none, the page shows when this session began.
    pub sessions: Vec<SessionRow<'a>>,
    /// All apps that may use the account, the one allowed last first.
    pub apps: Vec<AppRow<'a>>,
    /// When the person signed in to this session.
    pub signed_in_at: Timestamp,
}

/// As many sessions as the page lists, to stay small.
const MOST_SESSIONS: usize = 8;

/// As many apps as the page lists: those allowed last.
const MOST_APPS: usize = 3;

impl Account<'_> {
    fn title(&self) -> String {
        match self.notice {
            _ if self.errors.any() => text::account::TITLE_WITH_PROBLEM.to_owned(),
            Some(done) => format!("{} {}", done.sentence(), text::account::HEADING),
            None => text::account::HEADING.to_owned(),
        }
    }

    /// Whether there is a field for another username.
    fn can_change_username(&self) -> bool {
        self.username_rules.allow_changes && self.username_next_change.is_none()
    }

    fn next_change(&self) -> Option<String> {
        self.username_next_change.map(text::account::next_change)
    }

    /// The username's error, where there is a field that it can stand at.
    fn username_error(&self) -> Option<&str> {
        self.errors.username.filter(|_| self.can_change_username())
    }

    /// What is wrong and has no field to stand at.
    fn failures(&self) -> impl Iterator<Item = &str> {
        let homeless = self.errors.username.filter(|_| !self.can_change_username());
        homeless.into_iter().chain(self.errors.failure)
    }

    /// What people call the person.
    fn name(&self) -> &str {
        self.display_name.unwrap_or(self.username)
    }

    /// The sessions, this browser's first, as many as the page has room for.
    fn sessions_in_order(&self) -> impl Iterator<Item = &SessionRow<'_>> {
        let part = |current| move |row: &&SessionRow<'_>| row.current == current;
        let others = self.sessions.iter().filter(part(false));
        self.sessions.iter().filter(part(true)).chain(others).take(MOST_SESSIONS)
    }

    /// Says how many sessions there are beside those.
    fn sessions_left_out(&self) -> Option<String> {
        let left_out = self.sessions.len().saturating_sub(MOST_SESSIONS);
        (left_out > 0).then(|| text::account::more_sessions(left_out))
    }

    /// As many apps as the page has room for.
    fn newest_apps(&self) -> impl Iterator<Item = &AppRow<'_>> {
        self.apps.iter().take(MOST_APPS)
    }

    /// Leads to the page of all apps, if there are others beside those.
    fn all_apps(&self) -> Option<String> {
        (self.apps.len() > MOST_APPS).then(|| text::account::all_apps(self.apps.len()))
    }

    fn connect_address(&self, provider: &str) -> String {
        with_query(&format!("/auth/link/{provider}"), [("return_to", "/account?done=link")])
    }
}

/// The sealed tokens of the forms of `/account`, one an action.
#[derive(Clone, Debug)]
pub struct AccountTokens {
    /// Changes or removes the picture.
    pub avatar: String,
    /// Changes the display name.
    pub profile: String,
    /// Changes the username.
    pub username: String,
    /// Disconnects a provider.
    pub unlink: String,
    /// Ends other sessions.
    pub session: String,
    /// Takes apps' access away.
    pub app: String,
    /// Ends this session, or all.
    pub sign_out: String,
}

/// What is wrong on `/account`, each in one or two sentences.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountErrors<'a> {
    /// With the username.
    pub username: Option<&'a str>,
    /// With the display name.
    pub display_name: Option<&'a str>,
    /// With the picture.
    pub avatar: Option<&'a str>,
    /// Otherwise.
    pub failure: Option<&'a str>,
}

impl AccountErrors<'_> {
    fn any(&self) -> bool {
        self.username.or(self.display_name).or(self.avatar).or(self.failure).is_some()
    }
}

/// An identity on `/account`.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The provider's name in our paths.
    pub name: &'a str,
    /// The provider's display name; its name if it is not configured any more.
    pub display_name: &'a str,
    /// The provider's stable id of the person.
    pub subject: &'a str,
    /// The first address that the provider gave.
    pub address: Option<&'a str>,
    /// Whether another way remains without it.
    pub can_be_removed: bool,
}

impl Way<'_> {
    /// The full name of the button that takes it away.
    fn disconnect(&self) -> String {
        text::account::disconnect_which(self.display_name, self.address)
    }
}

/// An address on `/account`.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The address.
    pub address: &'a str,
    /// Whether a trusted provider vouches for it.
    pub verified: bool,
}

/// A session on `/account`.
#[derive(Clone, Debug)]
pub struct SessionRow<'a> {
    /// Its id, as the form sends it.
    pub id: String,
    /// What browser it is, such as “Firefox on Linux”.
    pub label: &'a str,
    /// About where it is: the network that the address belongs to.
    pub network: Option<String>,
    /// When the person signed in.
    pub since: Timestamp,
    /// When it was last used, about.
    pub last_used: Timestamp,
    /// Whether it is the one that looks at the page.
    pub current: bool,
}

impl SessionRow<'_> {
    /// The full name of the button that ends it.
    fn end(&self) -> String {
        text::account::sign_out_which(self.label, self.since)
    }
}

/// An app on `/account` and `/account/apps`.
#[derive(Clone, Copy, Debug)]
pub struct AppRow<'a> {
    /// Its id, as the form sends it.
    pub client_id: &'a str,
    /// What it calls itself.
    pub name: &'a str,
    /// When it was allowed.
    pub since: Timestamp,
    /// When it last came, about.
    pub last_used: Option<Timestamp>,
}

impl AppRow<'_> {
    /// The full name of the button that takes its access away.
    fn take_back(&self) -> String {
        text::account::take_back_which(self.name)
    }
}

/// `/account/apps`: all apps that may use the account, a page at a time. Posts to `/auth/form/app` the
/// fields `form_token`, `client_id` and `page`, and ends at the same page.
#[derive(Debug, Template)]
#[template(path = "account_apps.html")]
pub struct AccountApps<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// What was just done here.
    pub notice: Option<Done>,
    /// What failed, and what to do, in one or two sentences.
    pub failure: Option<&'a str>,
    /// All apps that may use the account, the one allowed last first.
    pub apps: Vec<AppRow<'a>>,
    /// The number of the page that was asked for.
    pub number: usize,
}

/// As many apps as one page of `/account/apps` lists.
const APPS_OF_A_PAGE: usize = 20;

impl AccountApps<'_> {
    fn title(&self) -> String {
        match self.notice {
            _ if self.failure.is_some() => text::account_apps::TITLE_WITH_PROBLEM.to_owned(),
            Some(done) => format!("{} {}", done.sentence(), text::account::APPS),
            None => text::account::APPS.to_owned(),
        }
    }

    /// How many pages there are; an empty list has one, too.
    fn pages(&self) -> usize {
        self.apps.len().div_ceil(APPS_OF_A_PAGE).max(1)
    }

    /// The number of this page, from 1 on. There may be fewer apps than when the page was asked for.
    fn number(&self) -> usize {
        self.number.clamp(1, self.pages())
    }

    /// The apps of this page.
    fn shown(&self) -> impl Iterator<Item = &AppRow<'_>> {
        self.apps.iter().skip((self.number() - 1) * APPS_OF_A_PAGE).take(APPS_OF_A_PAGE)
    }

    /// Says which of the pages this is.
    fn place(&self) -> String {
        text::account_apps::place(self.number(), self.pages())
    }

    fn newer(&self) -> Option<String> {
        (self.number() > 1).then(|| Self::address(self.number() - 1))
    }

    fn older(&self) -> Option<String> {
        (self.number() < self.pages()).then(|| Self::address(self.number() + 1))
    }

    fn address(number: usize) -> String {
        with_query(account_apps::PATH, [("page", number.to_string().as_str())])
    }
}

/// `/account/delete`: says what goes and what stays. Posts to `/auth/form/delete` the fields
/// `form_token` and `username`.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "account_delete.html")]
pub struct DeleteAccount<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// The sealed token of the form.
    pub form_token: &'a str,
    /// The person's username.
    pub username: &'a str,
    /// How long nobody else can take that name.
    pub hold: Duration,
    /// What was typed.
    pub username_typed: &'a str,
    /// What is wrong with it, in one or two sentences.
    pub username_error: Option<&'a str>,
    /// What failed otherwise, and what to do, in one or two sentences.
    pub failure: Option<&'a str>,
}

impl DeleteAccount<'_> {
    fn has_problem(&self) -> bool {
        self.username_error.or(self.failure).is_some()
    }
}
