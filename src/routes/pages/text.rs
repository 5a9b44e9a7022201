//! Every sentence of the pages, in English. Another language is another module like this one.
//!
//! The manner: second person, present tense; what is so, what it means for you, what you can do. No
//! jargon, no blame, no exclamation marks.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::clock::Timestamp;
use crate::config::settings::Usernames;
use crate::protocol::username::DEFAULT_PATTERN;

/// The language of this module, as `lang` names it.
pub const LANGUAGE: &str = "en";

/// What links and buttons of several pages say.
pub mod action {
    /// Gives a page up.
    pub const CANCEL: &str = "Cancel";
    /// Leads to the sign-in page for another attempt.
    pub const SIGN_IN_ANEW: &str = "Sign in again";
    /// Leads to the sign-in page for another provider or account.
    pub const SIGN_IN_OTHERWISE: &str = "Sign in another way";
    /// Repeats the request.
    pub const TRY_AGAIN: &str = "Try again";
    /// Leads to the account.
    pub const ACCOUNT: &str = "Go to your account";
    /// Leads to `/`: the account or the sign-in page.
    pub const START: &str = "Go to the start page";
}

/// The page `/login`.
pub mod login {
    /// Title of the browser's tab.
    pub const TITLE: &str = "Sign in";
    /// Marks the provider used last.
    pub const LAST_USED: &str = "last used";
    /// Marks a provider that failed.
    pub const NOT_ANSWERING: &str = "not answering just now";
    /// No provider is configured.
    pub const NO_PROVIDER: &str = "No way to sign in is set up yet.";
    /// What the operator does about it.
    pub const NO_PROVIDER_ADVICE: &str = "If you run this server, add a [[providers]] section to \
        its configuration and start it again. Otherwise come back a little later.";

    /// The heading.
    pub fn heading(site: &str) -> String {
        format!("Sign in to {site}")
    }

    /// One provider's button.
    pub fn continue_with(provider: &str) -> String {
        format!("Continue with {provider}")
    }
}

/// Something that happened before the page, said on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This session has ended, as the person asked.
    SignedOut,
    /// The browser dropped what the last sign-in gave it.
    CookiesNotKept,
    /// The session ended by itself or from elsewhere.
    SessionEnded,
    /// The person or the provider stopped the sign-in.
    SignInStopped,
    /// A sign-in or setup took too long.
    AttemptExpired,
    /// A provider could not be asked.
    ProviderSilent,
    /// What the person wants to do needs a fresh sign-in.
    ConfirmIdentity,
    /// The account is gone, as the person asked.
    AccountDeleted,
}

impl Notice {
    /// What is so.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SignedOut => "You are signed out.",
            Self::CookiesNotKept => "Your browser does not keep our cookies.",
            Self::SessionEnded => "Your session has ended.",
            Self::SignInStopped => "The sign-in was stopped before it was complete.",
            Self::AttemptExpired => "That sign-in took too long to be continued.",
            Self::ProviderSilent => "The service that you chose does not answer just now.",
            Self::ConfirmIdentity => "It has been a while since you signed in.",
            Self::AccountDeleted => "Your account is deleted.",
        }
    }

    /// What it means, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::SignedOut => "Sign in again whenever you like.",
            Self::CookiesNotKept => {
                "Without them the sign-in does not last. Allow them for this site in the browser’s \
                 settings, or leave the private window, and sign in again."
            }
            Self::SessionEnded => "Sign in again to go on where you were.",
            Self::SignInStopped => "Nothing has changed. Sign in again whenever you like.",
            Self::AttemptExpired => "Nothing is lost. Start once more from here.",
            Self::ProviderSilent => "Choose another way to sign in, or try again in a minute.",
            Self::ConfirmIdentity => {
                "Sign in again, to confirm that it is you. Then you go on where you were."
            }
            Self::AccountDeleted => "You can make a new one at any time by signing in again.",
        }
    }

    /// Whether something went wrong, rather than as asked.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::CookiesNotKept | Self::ProviderSilent)
    }
}

/// The page `/onboarding`.
pub mod onboarding {
    /// The heading.
    pub const HEADING: &str = "Choose your name";
    /// Title of the browser's tab while there is something to correct.
    pub const TITLE_WITH_PROBLEM: &str = "Problem: choose your name";
    /// Label of the name's field.
    pub const USERNAME: &str = "Username";
    /// Label of the display name's field.
    pub const DISPLAY_NAME: &str = "Display name (optional)";
    /// What the display name is.
    pub const DISPLAY_NAME_HINT: &str = "Shown beside your username, written any way you like.";
    /// Heading of what is wrong.
    pub const PROBLEM: &str = "This name cannot be used as it is";
    /// Heading of a failure that is not about the name.
    pub const NOT_SAVED: &str = "Your account is not made yet";
    /// The button.
    pub const SUBMIT: &str = "Use this name";
    /// What happens on Cancel.
    pub const CANCEL_HINT: &str = "If you cancel, no account is made.";
    /// Live feedback: nobody has the name.
    pub const FREE: &str = "free";
    /// Live feedback: somebody has the name.
    pub const TAKEN: &str = "taken";
    /// Live feedback with a proposal; `{name}` is replaced by it.
    pub const TAKEN_TRY: &str = "taken, try {name}";

    /// What the name is for.
    pub fn purpose(site: &str, rules: &super::Usernames) -> String {
        let later = if rules.allow_changes { " You can change it later." } else { "" };
        format!("It is how people know you at {site}.{later}")
    }
}

/// Where a person comes from.
pub fn account_at(provider: &str) -> String {
    format!("Your {provider} account")
}

/// The rules of usernames in one line.
pub fn username_rules(rules: &Usernames) -> String {
    let (min, max) = (rules.min_length, rules.max_length);
    if rules.pattern.as_str() == DEFAULT_PATTERN {
        format!("{min} to {max} letters, digits, “_” or “-”, starting with a letter.")
    } else {
        format!("{min} to {max} characters that match {}", rules.pattern.as_str())
    }
}

/// The page `/account`.
pub mod account {
    /// The heading.
    pub const HEADING: &str = "Your account";
    /// Before the name of the person.
    pub const SIGNED_IN_AS: &str = "You are signed in as";
    /// Label of the username.
    pub const USERNAME: &str = "Username";
    /// Label of the display name.
    pub const DISPLAY_NAME: &str = "Display name";
    /// Where there is no display name.
    pub const NONE: &str = "none";
    /// Label of one address.
    pub const EMAIL: &str = "Email address";
    /// Label of several addresses.
    pub const EMAILS: &str = "Email addresses";
    /// Marks an address that nobody vouches for.
    pub const NOT_VERIFIED: &str = "not verified";
    /// Heading of the providers.
    pub const WAYS: &str = "Ways to sign in";
    /// Takes a provider away; [`disconnect_which`] says which one to those who do not see it.
    pub const DISCONNECT: &str = "Disconnect";
    /// Label of the session's start.
    pub const SINCE: &str = "Signed in here since";
    /// Ends this session.
    pub const SIGN_OUT: &str = "Sign out";
    /// Ends all sessions.
    pub const SIGN_OUT_EVERYWHERE: &str = "Sign out everywhere";
    /// What the second button does.
    pub const EVERYWHERE_HINT: &str =
        "“Sign out everywhere” also ends your sessions on all other devices.";

    /// The full name of a button that takes a provider away.
    pub fn disconnect_which(provider: &str, address: Option<&str>) -> String {
        match address {
            Some(address) => format!("{DISCONNECT} {provider} ({address})"),
            None => format!("{DISCONNECT} {provider}"),
        }
    }

    /// Why the only provider cannot be taken away.
    pub fn only_way(another_can_be_connected: bool) -> &'static str {
        if another_can_be_connected {
            "Connect another before you disconnect this one."
        } else {
            "It is the only one, so it stays connected."
        }
    }

    /// The link that adds a provider.
    pub fn connect(provider: &str) -> String {
        format!("Connect {provider}")
    }
}

/// The page `/link` for somebody whose address belongs to an account.
pub mod link_offer {
    /// The heading.
    pub const HEADING: &str = "You already have an account here";
    /// What is so, where no way to sign in to that account is configured.
    pub const BELONGS: &str = "This address belongs to an account here.";
    /// What that means.
    pub const NO_WAY: &str = "The way that it signs in is not offered any more. Ask the people \
        who run this service to help you in.";
    /// Why the other way to sign in is asked for.
    pub const WHY: &str =
        "We ask for this so that nobody gets into your account by a stranger’s word.";
    /// The way round.
    pub const SEPARATE: &str = "Use a separate account";

    /// What is so, and how that account signs in.
    pub fn belongs<'a>(ways: impl IntoIterator<Item = &'a str>) -> String {
        format!("This address belongs to an account that signs in with {}.", super::one_of(ways))
    }

    /// A button: proves the account by what it knows, to add what it does not.
    pub fn sign_in_to_connect(known: &str, provider: &str) -> String {
        format!("Sign in with {known} to connect {provider}")
    }

    /// What the way round does.
    pub fn separate_hint(provider: &str) -> String {
        format!("Or keep the two apart: {provider} then opens a new account of its own.")
    }
}

/// The pages that ask before a provider is connected.
pub mod link {
    /// Label of the account that the provider is connected to.
    pub const ACCOUNT_HERE: &str = "Your account here";
    /// Stands for a provider's account that has neither name nor address.
    pub const JUST_NOW: &str = "the one that you just signed in to";
    /// What happens on Cancel.
    pub const CANCEL_HINT: &str = "If you cancel, nothing is changed.";

    /// The heading.
    pub fn heading(provider: &str) -> String {
        format!("Connect {provider} to your account?")
    }

    /// What the button does.
    pub fn meaning(provider: &str) -> String {
        format!(
            "From now on, you sign in to this account with {provider}, too. You can disconnect it \
             in your account at any time."
        )
    }

    /// What the button does for somebody who was locked out.
    pub fn meaning_of_recovery(provider: &str, username: &str) -> String {
        format!(
            "This gives you back the account of “{username}”: you are signed in at once, and from \
             now on you sign in with {provider}. You can disconnect it in your account at any time."
        )
    }

    /// The button for somebody who was locked out.
    pub fn submit_of_recovery(provider: &str) -> String {
        format!("Connect {provider} and sign in")
    }
}

/// The page for somebody who followed a link of another site's to connect a provider.
pub mod link_start {
    /// Who should not go on.
    pub const CANCEL_HINT: &str = "If it was not you, cancel. Nothing is changed then.";

    /// How the person came here, and what happens next.
    pub fn explanation(provider: &str) -> String {
        format!(
            "You come from another page. If it was you who wanted this, go on: you go to \
             {provider} and come back."
        )
    }

    /// The button.
    pub fn submit(provider: &str) -> String {
        format!("Go to {provider}")
    }
}

/// The page `/recover`.
pub mod recovery {
    /// The heading.
    pub const HEADING: &str = "Get back into your account";
    /// Who made the link; before the username.
    pub const ORIGIN: &str = "The people who run this service gave you this link for the account";
    /// What to do.
    pub const CHOOSE: &str = "Choose what you want to sign in with from now on.";
    /// No provider is configured.
    pub const NO_PROVIDER: &str = "No way to sign in is set up yet. Ask the people who run this \
        service to add one, then open the link again.";
    /// Before the end of the link's life.
    pub const WORKS_UNTIL: &str = "The link works once, until";
    /// For whom it is not meant.
    pub const NOT_YOU: &str =
        "If it was not you who asked for it, close this page and nothing changes.";
}

/// Names as alternatives: “a”, “a or b”, “a, b or c”.
fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The page `/signed-out`.
pub mod signed_out {
    /// This session has ended.
    pub const HEADING: &str = "You are signed out";
    /// All sessions have ended.
    pub const HEADING_EVERYWHERE: &str = "You are signed out everywhere";
    /// What may still be open.
    pub const ADVICE: &str = "On a shared device, sign out at the service that you came from, too: \
        while you are signed in there, it opens this account again without asking.";
}

/// The page for a browser that drops our cookies.
pub mod cookies {
    /// The heading.
    pub const HEADING: &str = "Your browser does not keep our cookies";
    /// What it means.
    pub const MEANING: &str =
        "Without them we cannot tell that it is you, so the sign-in does not last.";
    /// Before the steps.
    pub const STEPS: &str = "What you can do:";
    /// The other step.
    pub const LEAVE_PRIVATE: &str = "If the window is a private one or an app’s built-in one, open the page in an ordinary one.";

    /// One step.
    pub fn allow(host: &str) -> String {
        format!("In the browser’s settings, allow cookies for {host}.")
    }
}

/// Error pages.
pub mod error {
    /// Before the request's id.
    pub const REQUEST_ID: &str = "If you ask for help, quote this number:";
}

/// When trying again makes sense.
pub fn try_again_in(wait: Duration) -> String {
    match wait.as_secs() {
        0 | 1 => "Try again in a second.".to_owned(),
        seconds @ 2..=90 => format!("Try again in {seconds} seconds."),
        seconds @ 91..=5400 => format!("Try again in {} minutes.", seconds.div_ceil(60)),
        seconds => format!("Try again in {} hours.", seconds.div_ceil(3600)),
    }
}

/// The form of the built-in development provider.
pub mod development_provider {
    /// Stands where the deployer's name stands on other pages.
    pub const NAME: &str = "Development provider";
    /// The heading.
    pub const HEADING: &str = "Who do you want to be?";
    /// What this is.
    pub const EXPLANATION: &str = "Any name works and no password is asked. This page stands in \
        for a real provider, on this machine only.";
    /// Label of the name's field.
    pub const FIELD_NAME: &str = "Name";
    /// Label of the address' field.
    pub const FIELD_EMAIL: &str = "Email address";
    /// What the address is for.
    pub const EMAIL_HINT: &str = "A made-up one is fine: nothing is sent to it.";
    /// Heading of what is wrong.
    pub const PROBLEM: &str = "Something is missing";
    /// The button.
    pub const SUBMIT: &str = "Continue";
}

/// The first letter of a name, for the round mark before it.
pub fn initial(name: &str) -> String {
    name.trim().chars().next().map_or_else(String::new, |first| first.to_uppercase().collect())
}

/// A moment as people read it, in UTC.
pub fn moment(at: Timestamp) -> String {
    const FORM: &[FormatItem<'_>] =
        format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    OffsetDateTime::from_unix_timestamp(at.seconds())
        .ok()
        .and_then(|moment| moment.format(FORM).ok())
        .unwrap_or_else(|| at.to_rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_to_what_people_say() {
        let after = |seconds| try_again_in(Duration::from_secs(seconds));
        assert_eq!(after(0), "Try again in a second.");
        assert_eq!(after(12), "Try again in 12 seconds.");
        assert_eq!(after(121), "Try again in 3 minutes.");
        assert_eq!(after(7201), "Try again in 3 hours.");
    }

    #[test]
    fn names_are_listed_as_people_say_them() {
        assert_eq!(one_of(["Google"]), "Google");
        assert_eq!(one_of(["Google", "GitHub"]), "Google or GitHub");
        assert_eq!(one_of(["Google", "GitHub", "GitLab"]), "Google, GitHub or GitLab");
    }

    #[test]
    fn moments_are_written_out() {
        assert_eq!(moment(Timestamp::from_seconds(1_700_000_000)), "14 November 2023, 22:13 UTC");
    }
}
