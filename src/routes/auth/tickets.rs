//! The sealed tickets of signing in: what other servers keep in a table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::protocol::sealed::{Purpose, Sealer};
use crate::store::model::{Email, SessionId, UserId};
use crate::store::operation::Spent;

/// How long a person may take at the provider.
pub const LOGIN_LIFE: Duration = Duration::from_secs(600);

/// How long a person may take to choose a name.
pub const SETUP_LIFE: Duration = Duration::from_secs(600);

/// How long a person may take to confirm what is to be connected.
pub const LINK_LIFE: Duration = Duration::from_secs(600);

/// How long a recovery link works.
pub const RECOVERY_LIFE: Duration = Duration::from_secs(3600);

/// How much longer than its ticket a spent id is kept.
pub const SPENT_LEEWAY: Duration = Duration::from_secs(60);

/// Characters of `state` that name its cookie.
pub const ATTEMPT_LENGTH: usize = 8;

/// A sign-in attempt, sealed in its cookie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginTicket {
    /// The whole `state`: also the id that is spent.
    pub state: String,
    /// Which provider was asked.
    pub provider: String,
    /// Bound into the ID token.
    pub nonce: String,
    /// The PKCE verifier (RFC 7636).
    pub code_verifier: String,
    /// Where to go afterwards.
    pub return_to: String,
    /// Oldest sign-in that the caller accepts, in seconds.
    pub max_age: Option<u64>,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at: i64,
    /// What it is for.
    #[serde(default)]
    pub intent: Intent,
}

/// What a person goes to a provider for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// To sign in, or up.
    #[default]
    SignIn,
    /// To add a way to sign in to the account that this session is signed in to.
    Link {
        /// Whose account.
        user: UserId,
        /// The session.
        session: SessionId,
    },
    /// To get back into an account.
    Recover(RecoveryTicket),
}

/// A way back into an account, once: in a link that an operator hands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryTicket {
    /// The id that is spent.
    pub id: String,
    /// Whose account.
    pub user: UserId,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires: i64,
}

impl RecoveryTicket {
    /// When it ends.
    pub fn expiry(&self) -> Timestamp {
        Timestamp::from_millis(self.expires)
    }

    /// Its id, as it is spent.
    pub fn spent(&self) -> Spent {
        Spent { id: format!("recovery:{}", self.id), until: self.expiry().plus(SPENT_LEEWAY) }
    }
}

impl LoginTicket {
    /// When it began.
    pub fn started(&self) -> Timestamp {
        Timestamp::from_millis(self.started_at)
    }
}

/// An identity without an account, sealed in the setup cookie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetupTicket {
    /// The id that is spent.
    pub id: String,
    /// The login state behind it, spent with it.
    pub login: String,
    /// Which provider vouches.
    pub provider: String,
    /// The provider's stable id of the person.
    pub subject: String,
    /// Address and verified flag, as far as they fit into a cookie.
    pub emails: Vec<(String, bool)>,
    /// A name to propose.
    pub suggested_username: Option<String>,
    /// What the provider calls the person.
    pub display_name: Option<String>,
    /// When the person really signed in, in milliseconds since the Unix epoch.
    pub auth_time: i64,
    /// Where the person's picture is.
    #[serde(default)]
    pub picture: Option<String>,
    /// Whether an account may be made for it; otherwise it can only be connected to one.
    #[serde(default = "yes")]
    pub may_sign_up: bool,
    /// Where to go afterwards.
    pub return_to: String,
    /// When the login state ends, in milliseconds since the Unix epoch.
    pub login_expires: i64,
    /// When this ends, in milliseconds since the Unix epoch.
    pub expires: i64,
}

fn yes() -> bool {
    true
}

impl SetupTicket {
    /// The addresses as the store keeps them.
    pub fn emails(&self) -> Vec<Email> {
        with_provider(&self.emails, &self.provider)
    }

    /// The first address with all but its ends hidden, verified ones first.
    pub fn masked_email(&self) -> Option<String> {
        masked(&self.emails)
    }

    /// Lets go of what matters least; whether there was anything.
    pub fn give_up(&mut self) -> bool {
        self.picture.take().is_some()
            || give_up_last(&mut self.emails)
            || self.display_name.take().is_some()
            || replace(&mut self.return_to, "/")
    }
}

/// An identity that waits to be connected to an account, sealed in the link cookie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkTicket {
    /// The id that is spent.
    pub id: String,
    /// The login state behind it, spent with it.
    pub login: String,
    /// Which provider vouches.
    pub provider: String,
    /// The provider's stable id of the person.
    pub subject: String,
    /// Address and verified flag, as far as they fit into a cookie.
    pub emails: Vec<(String, bool)>,
    /// The person's name there.
    pub username_hint: Option<String>,
    /// What the provider calls the person.
    pub display_name: Option<String>,
    /// Where the person's picture is.
    pub picture: Option<String>,
    /// When the person signed in at the provider, in milliseconds since the Unix epoch.
    pub auth_time: i64,
    /// Whose account it is for.
    pub user: UserId,
    /// Who may confirm it.
    pub confirmed_by: Confirmation,
    /// Where to go afterwards.
    pub return_to: String,
    /// When the login state began, in milliseconds since the Unix epoch.
    pub login_started: i64,
    /// When this ends, in milliseconds since the Unix epoch.
    pub expires: i64,
}

/// Who may confirm that an identity is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// The session that started it.
    Session(SessionId),
    /// Any session of the account that has signed in lately: the two have a verified address in common.
    Owner,
    /// Whoever holds the recovery link.
    Recovery(RecoveryTicket),
}

impl LinkTicket {
    /// The addresses as the store keeps them.
    pub fn emails(&self) -> Vec<Email> {
        with_provider(&self.emails, &self.provider)
    }

    /// What the person knows that account by: its name there, else its address, masked.
    pub fn label(&self) -> Option<String> {
        self.username_hint.clone().or_else(|| masked(&self.emails))
    }

    /// The first address with all but its ends hidden, verified ones first.
    pub fn masked_email(&self) -> Option<String> {
        masked(&self.emails)
    }

    /// Lets go of what matters least; whether there was anything.
    pub fn give_up(&mut self) -> bool {
        self.picture.take().is_some()
            || give_up_last(&mut self.emails)
            || self.display_name.take().is_some()
            || replace(&mut self.return_to, "/account")
            || self.username_hint.take().is_some()
    }

    /// What is spent when it is confirmed.
    pub fn spends(&self) -> Vec<Spent> {
        let recovery = match &self.confirmed_by {
            Confirmation::Recovery(recovery) => Some(recovery.spent()),
            Confirmation::Session(_) | Confirmation::Owner => None,
        };
        let own = Spent {
            id: format!("link:{}", self.id),
            until: Timestamp::from_millis(self.expires).plus(SPENT_LEEWAY),
        };
        let login = spent_login(&self.login, Timestamp::from_millis(self.login_started));
        [own, login].into_iter().chain(recovery).collect()
    }
}

/// The id of a login state, as it is spent: kept until its ticket could not open any more.
pub fn spent_login(state: &str, started: Timestamp) -> Spent {
    Spent { id: format!("login:{state}"), until: started.plus(LOGIN_LIFE + SPENT_LEEWAY) }
}

fn with_provider(emails: &[(String, bool)], provider: &str) -> Vec<Email> {
    let email = |(address, verified): &(String, bool)| Email {
        address: address.clone(),
        verified: *verified,
        provider: provider.to_owned(),
    };
    emails.iter().map(email).collect()
}

/// The first address stays: it is the one that counts.
fn give_up_last(emails: &mut Vec<(String, bool)>) -> bool {
    emails.len() > 1 && emails.pop().is_some()
}

fn replace(text: &mut String, default: &str) -> bool {
    let differs = text != default;
    default.clone_into(text);
    differs
}

fn masked(emails: &[(String, bool)]) -> Option<String> {
    let verified = emails.iter().find(|(_, verified)| *verified);
    verified.or_else(|| emails.first()).map(|(address, _)| mask(address))
}

/// `r…a@e…e.com`: enough to recognise one's own address, too little to learn another's.
fn mask(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return "…".to_owned() };
    let (host, ending) =
        domain.rsplit_once('.').map_or((domain, ""), |(host, _)| (host, &domain[host.len()..]));
    format!("{}@{}{ending}", ends(local), ends(host))
}

fn ends(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.next_back()) {
        (Some(first), Some(last)) => format!("{first}…{last}"),
        (Some(first), None) => format!("{first}…"),
        _ => "…".to_owned(),
    }
}

/// What the hidden field of a form is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormTicket {
    /// The form's action.
    pub action: String,
    /// The session or setup ticket that the page was made for.
    pub bound_to: String,
}

/// Seals a ticket in at most `largest` characters, for browsers drop cookies over 4,096 bytes without a
/// word: `give_up` lets go of what matters least, and says whether there was anything left.
pub fn seal_within<T: Serialize>(
    sealer: &Sealer,
    purpose: Purpose,
    ticket: &mut T,
    expires: Timestamp,
    largest: usize,
    give_up: fn(&mut T) -> bool,
) -> String {
    loop {
        let sealed = sealer.seal(purpose, ticket, expires);
        if sealed.len() <= largest || !give_up(ticket) {
            return sealed;
        }
    }
}

/// How long a page may stay open before its form is sent.
pub const FORM_LIFE: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::SecretKey;

    #[test]
    fn a_ticket_gives_up_what_it_can_and_then_stays_as_it_is() {
        let sealer = Sealer::new(&[SecretKey::new(vec![7; 32])]);
        let (now, expires) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let largest = "é".repeat(255);
        let mut ticket = LinkTicket {
            id: String::new(),
            login: String::new(),
            provider: "op".to_owned(),
            subject: largest.clone(),
            emails: vec![("a@b.example".to_owned(), true), (largest.clone(), false)],
            username_hint: Some(largest.clone()),
            display_name: Some(largest.clone()),
            picture: Some(largest.clone()),
            auth_time: 0,
            user: UserId::new(now),
            confirmed_by: Confirmation::Owner,
            return_to: "/some/place".to_owned(),
            login_started: 0,
            expires: 0,
        };
        let whole = sealer.seal(Purpose::Link, &ticket, expires).len();
        let mut seal = |most| {
            let give_up = LinkTicket::give_up;
            seal_within(&sealer, Purpose::Link, &mut ticket, expires, most, give_up)
        };
        assert_eq!(seal(whole).len(), whole);
        let opened =
            |sealed: &str| -> LinkTicket { sealer.open(Purpose::Link, sealed, now).unwrap() };
        let less = opened(&seal(whole - 1));
        assert_eq!((less.picture, less.emails.len()), (None, 2));
        let least = opened(&seal(0));
        assert_eq!((least.display_name, least.username_hint), (None, None));
        assert_eq!((least.return_to.as_str(), least.emails.len()), ("/account", 1));
        assert_eq!(least.subject, largest, "who it is about is never given up");
    }

    #[test]
    fn addresses_are_masked() {
        assert_eq!(mask("rivka@example.com"), "r…a@e…e.com");
        assert_eq!(mask("r@localhost"), "r…@l…t");
        assert_eq!(mask("é@x.org"), "é…@x….org");
        assert_eq!(mask("junk"), "…");
    }
}
