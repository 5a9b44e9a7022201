//! The sealed tickets of signing in: what other servers keep in a table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::model::Email;

/// How long a person may take at the provider.
pub const LOGIN_LIFE: Duration = Duration::from_secs(600);

/// How long a person may take to choose a name.
pub const SETUP_LIFE: Duration = Duration::from_secs(600);

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
    /// Where to go afterwards.
    pub return_to: String,
    /// When the login state ends, in milliseconds since the Unix epoch.
    pub login_expires: i64,
    /// When this ends, in milliseconds since the Unix epoch.
    pub expires: i64,
}

impl SetupTicket {
    /// The addresses as the store keeps them.
    pub fn emails(&self) -> Vec<Email> {
        self.emails
            .iter()
            .map(|(address, verified)| Email {
                address: address.clone(),
                verified: *verified,
                provider: self.provider.clone(),
            })
            .collect()
    }

    /// The first address with all but its ends hidden, verified ones first.
    pub fn masked_email(&self) -> Option<String> {
        let verified = self.emails.iter().find(|(_, verified)| *verified);
        verified.or_else(|| self.emails.first()).map(|(address, _)| mask(address))
    }
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

/// How long a page may stay open before its form is sent.
pub const FORM_LIFE: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_masked() {
        assert_eq!(mask("rivka@example.com"), "r…a@e…e.com");
        assert_eq!(mask("r@localhost"), "r…@l…t");
        assert_eq!(mask("é@x.org"), "é…@x….org");
        assert_eq!(mask("junk"), "…");
    }
}
