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

/// Something that a person did on `/account`, said on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Another picture.
    Avatar,
    /// No picture any more.
    AvatarRemoved,
    /// Another display name, or none.
    Profile,
    /// Another username.
    Username,
    /// A provider is connected.
    Link,
    /// A provider is disconnected.
    Unlink,
    /// One other session has ended.
    Session,
    /// All other sessions have ended.
    Others,
    /// An app has no access any more.
    App,
}

impl Done {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Avatar,
        Self::AvatarRemoved,
        Self::Profile,
        Self::Username,
        Self::Link,
        Self::Unlink,
        Self::Session,
        Self::Others,
        Self::App,
    ];

    /// As `?done=` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avatar => "avatar",
            Self::AvatarRemoved => "avatar-removed",
            Self::Profile => "profile",
            Self::Username => "username",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Session => "session",
            Self::Others => "others",
            Self::App => "app",
        }
    }

    /// Reads what [`Done::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|done| done.as_str() == text)
    }

    /// What is so now.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Avatar => "Your new picture is in place.",
            Self::AvatarRemoved => "Your picture is removed.",
            Self::Profile => "Your display name is saved.",
            Self::Username => "Your username is changed.",
            Self::Link => "That way to sign in is connected.",
            Self::Unlink => "That way to sign in is disconnected.",
            Self::Session => "That device is signed out.",
            Self::Others => "All your other devices are signed out.",
            Self::App => "That app has no access any more.",
        }
    }
}

/// The page `/account`.
pub mod account {
    use std::time::Duration;

    use super::{Timestamp, Usernames, day, moment, period};

    /// The heading.
    pub const HEADING: &str = "Your account";
    /// Title of the browser's tab while there is something to correct.
    pub const TITLE_WITH_PROBLEM: &str = "Problem: your account";
    /// Heading of what is wrong.
    pub const NOT_SAVED: &str = "Nothing is changed yet";
    /// Before the name of the person.
    pub const SIGNED_IN_AS: &str = "You are signed in as";
    /// Name of the list of sections.
    pub const SECTIONS: &str = "On this page";
    /// Heading of name and picture.
    pub const PROFILE: &str = "Profile";
    /// What the picture is, to those who do not see it.
    pub const YOUR_PICTURE: &str = "Your picture";
    /// Label of the picture's field.
    pub const PICTURE: &str = "Picture";
    /// Saves the picture.
    pub const USE_PICTURE: &str = "Use this picture";
    /// Takes the picture away.
    pub const REMOVE_PICTURE: &str = "Remove picture";
    /// Label of the display name's field.
    pub const DISPLAY_NAME: &str = "Display name (optional)";
    /// What the display name is.
    pub const DISPLAY_NAME_HINT: &str =
        "Shown beside your username, written any way you like. Leave it empty to have none.";
    /// Saves the display name.
    pub const SAVE_DISPLAY_NAME: &str = "Save display name";
    /// Label of the username.
    pub const USERNAME: &str = "Username";
    /// Saves the username.
    pub const CHANGE_USERNAME: &str = "Change username";
    /// Where usernames stay as they are.
    pub const USERNAME_IS_FIXED: &str = "It stays as you chose it.";
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
    /// Heading of the sessions.
    pub const SESSIONS: &str = "Where you are signed in";
    /// Before the start of this session, where the sessions are not listed.
    pub const SINCE: &str = "Signed in here since";
    /// Before the day on which a session began.
    pub const SIGNED_IN: &str = "Since";
    /// Before the moment at which a session was used last.
    pub const LAST_USED: &str = "Last used";
    /// Marks the session that looks.
    pub const THIS_DEVICE: &str = "this device";
    /// Ends a session; [`sign_out_which`] says which one to those who do not see it.
    pub const SIGN_OUT: &str = "Sign out";
    /// Ends all sessions but this one.
    pub const SIGN_OUT_OTHERS: &str = "Sign out all other devices";
    /// Ends all sessions.
    pub const SIGN_OUT_EVERYWHERE: &str = "Sign out everywhere";
    /// What the last button does.
    pub const EVERYWHERE_HINT: &str =
        "“Sign out everywhere” ends your sessions on all devices, this one too.";
    /// Heading of the apps.
    pub const APPS: &str = "Apps with access";
    /// Before the day from which an app has access.
    pub const ALLOWED_SINCE: &str = "Allowed since";
    /// Takes access away; [`take_back_which`] says whose to those who do not see it.
    pub const TAKE_BACK: &str = "Take back";
    /// What the last button does.
    pub const TAKE_BACK_HINT: &str = "An app whose access you take back is signed out at once, and asks you before it comes again.";
    /// Heading of download and deletion.
    pub const DATA: &str = "Your data";
    /// What the file holds.
    pub const EXPORT_HINT: &str =
        "A file with everything that is kept about you here, for you or for another service.";
    /// Downloads the file.
    pub const EXPORT: &str = "Download your data";
    /// What the link does.
    pub const DELETE_HINT: &str =
        "You see what goes and what stays first. Nothing is deleted before you confirm it.";
    /// Leads to the deletion.
    pub const DELETE: &str = "Delete your account";

    /// What a picture may be.
    pub fn picture_hint(max_bytes: usize) -> String {
        let size = match max_bytes {
            small @ ..0x10_0000 => format!("{} KB", small / 0x400),
            large => format!("{} MB", large / 0x10_0000),
        };
        format!("PNG, JPEG, WebP or GIF, up to {size}. What is shown is the square in its middle.")
    }

    /// What changing the username means.
    pub fn username_change(rules: &Usernames) -> Option<String> {
        let hold =
            sentence(rules.hold, |time| format!("nobody else can take your old name for {time}"));
        let cooldown =
            sentence(rules.change_cooldown, |time| format!("you can change it again after {time}"));
        match (hold, cooldown) {
            (Some(hold), Some(cooldown)) => {
                Some(format!("After a change, {hold}, and {cooldown}."))
            }
            (one, other) => one.or(other).map(|part| format!("After a change, {part}.")),
        }
    }

    fn sentence(time: Duration, write: impl Fn(String) -> String) -> Option<String> {
        (!time.is_zero()).then(|| write(period(time)))
    }

    /// From when on the username can be changed.
    pub fn next_change(at: Timestamp) -> String {
        format!("You can change it again from {} on.", moment(at))
    }

    /// The full name of a button that takes a provider away.
    pub fn disconnect_which(provider: &str, address: Option<&str>) -> String {
        match address {
            Some(address) => format!("{DISCONNECT} {provider} ({address})"),
            None => format!("{DISCONNECT} {provider}"),
        }
    }

    /// The full name of a button that ends a session.
    pub fn sign_out_which(label: &str, since: Timestamp) -> String {
        format!("{SIGN_OUT} {label}, signed in since {}", day(since))
    }

    /// The full name of a button that takes an app's access away.
    pub fn take_back_which(client: &str) -> String {
        format!("{TAKE_BACK} the access of {client}")
    }

    /// Below the list, where there are more apps than it shows: leads to all of them.
    pub fn all_apps(number: usize) -> String {
        format!("All apps with access ({number})")
    }

    /// Below the list, where there are more sessions than it shows.
    pub fn more_sessions(number: usize) -> String {
        format!("And {number} more. “{SIGN_OUT_OTHERS}” ends those, too.")
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

/// The page `/account/apps`; what it shares with `/account` is there.
pub mod account_apps {
    /// Title of the browser's tab while there is a problem.
    pub const TITLE_WITH_PROBLEM: &str = "Problem: apps with access";
    /// Heading of what is wrong.
    pub const NOT_TAKEN_BACK: &str = "No access is taken back";
    /// Where there are none.
    pub const NONE: &str = "No app has access to your account.";
    /// Names the links to the other pages.
    pub const PAGES: &str = "Pages of the list";
    /// Leads to the apps allowed later.
    pub const NEWER: &str = "Newer";
    /// Leads to the apps allowed earlier.
    pub const OLDER: &str = "Older";

    /// Which of the pages this is.
    pub fn place(number: usize, pages: usize) -> String {
        format!("Page {number} of {pages}, the apps allowed last first.")
    }
}

/// The page `/account/delete`.
pub mod account_delete {
    use std::time::Duration;

    use super::period;

    /// The heading.
    pub const HEADING: &str = "Delete your account?";
    /// Title of the browser's tab while there is something to correct.
    pub const TITLE_WITH_PROBLEM: &str = "Problem: delete your account?";
    /// Heading of what is wrong.
    pub const NOT_DELETED: &str = "Your account is not deleted";
    /// How far it goes.
    pub const LEAD: &str = "It is deleted at once, and nobody can bring it back.";
    /// Heading of what goes.
    pub const GOES: &str = "What goes";
    /// What goes.
    pub const GOES_ITEMS: [&str; 4] = [
        "Your names, your picture and your email addresses",
        "All your ways to sign in",
        "All devices that you are signed in on, this one too",
        "What you allowed apps to see; what they have seen, they may keep",
    ];
    /// Heading of what stays.
    pub const STAYS: &str = "What stays";
    /// What stays.
    pub const STAYS_ITEMS: [&str; 2] = [
        "The number of your account, so that nobody else is ever taken for you",
        "A record of what was done in it and when, under that number alone",
    ];
    /// What can be done before.
    pub const COPY_HINT: &str = "To keep a copy, download your data first.";
    /// Label of the field.
    pub const CONFIRM: &str = "Your username, to confirm";
    /// What the field takes; before the username.
    pub const CONFIRM_HINT: &str = "Type";
    /// The field does not hold the username.
    pub const MISMATCH: &str =
        "This is not the username of your account. Type it as it stands above the field.";
    /// The button.
    pub const SUBMIT: &str = "Delete this account";
    /// Gives it up.
    pub const KEEP: &str = "Keep it";

    /// What becomes of the username.
    pub fn username(username: &str, hold: Duration) -> String {
        if hold.is_zero() {
            format!("The name “{username}” is free for others at once")
        } else {
            let hold = period(hold);
            format!("The name “{username}”, held for {hold}: nobody can pose as you by it")
        }
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

/// The page that asks whether to sign out, for an app.
pub mod end_session {
    /// The heading.
    pub const HEADING: &str = "Sign out?";
    /// Where nobody says which app asks.
    pub const SOMEBODY: &str = "Another page asks to sign you out.";
    /// Who is signed in.
    pub const ACCOUNT: &str = "Signed in as";
    /// The answer yes.
    pub const SUBMIT: &str = "Sign out";
    /// The answer no.
    pub const STAY: &str = "Stay signed in";
    /// What each answer means.
    pub const HINT: &str = "Signing out ends your session in this browser, and apps that you use with it may \
        sign you out, too. If you did not ask for it, stay: nothing is changed then.";

    /// Which app asks.
    pub fn asker(client: &str) -> String {
        format!("{client} asks to sign you out.")
    }
}

/// The page that asks whether an app may use an account.
pub mod consent {
    /// Leads to the sign-in page.
    pub const ANOTHER: &str = "Use another account";
    /// Who the person is.
    pub const IDENTITY: &str = "That it is you, each time you come";
    /// The username.
    pub const NAME: &str = "Your name";
    /// The display name.
    pub const DISPLAY_NAME: &str = "Your display name";
    /// The picture.
    pub const PICTURE: &str = "Your picture";
    /// The address.
    pub const ADDRESS: &str = "Your email address";
    /// What the person may do here.
    pub const ROLE: &str = "What you may do here";
    /// Access goes on.
    pub const OFFLINE: &str = "All of this while you are away, too";
    /// Access to another service.
    pub const RESOURCE: &str = "What is yours at";
    /// Where the person goes, where that is no place on the web.
    pub const APP_HERE: &str = "Then you go back to the app on this device.";
    /// Before the host that the person goes to.
    pub const GOES_TO: &str = "Then you go to";
    /// How it is undone.
    pub const TAKE_BACK: &str = "You can take this back in your account at any time.";
    /// The button that says yes.
    pub const ALLOW: &str = "Allow";
    /// The button that says no.
    pub const DENY: &str = "Deny";

    /// The heading.
    pub fn heading(client: &str) -> String {
        format!("{client} wants to use your account")
    }

    /// Before the list.
    pub fn sees(client: &str) -> String {
        format!("{client} will see:")
    }
}

/// The page that takes a person back to an app by a form.
pub mod way_back {
    /// What to do if the browser does not go on by itself.
    pub const ADVICE: &str = "If you do not get there by yourself, go on from here.";
    /// The button.
    pub const SUBMIT: &str = "Go on";

    /// The heading.
    pub fn heading(client: &str) -> String {
        format!("You go back to {client}")
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

/// The demo app of `latchkey dev`, which developers look at: it may use their words.
pub mod demo_app {
    /// Its name, also where people are asked for their consent.
    pub const NAME: &str = "Demo app";
    /// The heading before anything has happened.
    pub const HEADING: &str = "An app that signs in here";
    /// What this is.
    pub const EXPLANATION: &str = "It is registered like any other client, uses the authorization \
        code flow with PKCE, and shows the tokens that it gets.";
    /// Leads to the server.
    pub const SIGN_IN: &str = "Sign in";
    /// The heading above what was got.
    pub const HEADING_SIGNED_IN: &str = "What the app has got";
    /// Gets new tokens.
    pub const REFRESH: &str = "Refresh";
    /// Asks userinfo, and stands above what it says.
    pub const USERINFO: &str = "Userinfo";
    /// Ends the session, at the server too.
    pub const SIGN_OUT: &str = "Sign out";
    /// Stands above the access token.
    pub const ACCESS_TOKEN: &str = "Access token";
    /// Before the time.
    pub const EXPIRES: &str = "Expires";
    /// Stands above the ID token.
    pub const ID_TOKEN: &str = "ID token";
    /// What the app did with it.
    pub const VERIFIED: &str = "The app has checked where it comes from and whom it is for.";
    /// Stands above the refresh token.
    pub const REFRESH_TOKEN: &str = "Refresh token";
    /// Opens the token as it came.
    pub const RAW: &str = "As it came";
    /// The browser began nothing.
    pub const NO_ATTEMPT: &str = "No sign-in is under way in this browser. Begin one here.";
    /// The answer is to another request.
    pub const OTHER_STATE: &str = "The answer belongs to another sign-in: its state is not the one \
        that this browser sent.";
    /// The answer has neither code nor error.
    pub const NO_CODE: &str = "The answer brings no code.";
    /// The server sent the person back without access.
    pub const DENIED: &str = "The server sent you back with an error.";
    /// The server answered the app with an error.
    pub const REFUSED: &str = "The server refused what the app asked.";
    /// The server could not be asked, or its answer is not to be believed.
    pub const FAILED: &str = "The app cannot use what the server said.";
    /// There is nothing to refresh with.
    pub const NO_REFRESH_TOKEN: &str = "The app has got no refresh token.";
    /// No cookie can hold it.
    pub const TOO_LONG: &str = "The tokens are longer than a cookie can be, and this app has no \
        other place to keep them.";
}

/// The first letter of a name, for the round mark before it.
pub fn initial(name: &str) -> String {
    name.trim().chars().next().map_or_else(String::new, |first| first.to_uppercase().collect())
}

/// The letters that stand for a person without a picture: the first of the first and the last word.
pub fn initials(name: &str) -> String {
    let mut words = name.split_whitespace();
    let (first, last) = (words.next(), words.next_back());
    [first, last].into_iter().flatten().map(initial).collect()
}

/// A length of time as people say it, rounded down.
pub fn period(time: Duration) -> String {
    let (number, unit) = match time.as_secs() {
        seconds @ ..60 => (seconds, "second"),
        seconds @ 60..3600 => (seconds / 60, "minute"),
        seconds @ 3600..86_400 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}

/// A moment as people read it, in UTC.
pub fn moment(at: Timestamp) -> String {
    written(
        at,
        format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC"),
    )
}

/// The day of a moment as people read it, in UTC.
pub fn day(at: Timestamp) -> String {
    written(at, format_description!("[day padding:none] [month repr:long] [year]"))
}

fn written(at: Timestamp, form: &[FormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp(at.seconds())
        .ok()
        .and_then(|moment| moment.format(form).ok())
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
    fn lengths_of_time_are_said_in_one_unit() {
        let after = |seconds| period(Duration::from_secs(seconds));
        assert_eq!(after(1), "1 second");
        assert_eq!(after(90), "1 minute");
        assert_eq!(after(7200), "2 hours");
        assert_eq!(after(90 * 86_400), "90 days");
    }

    #[test]
    fn what_a_change_of_name_means_follows_from_the_rules() {
        let rules = |hold, cooldown| Usernames {
            min_length: 3,
            max_length: 24,
            pattern: regex::Regex::new(DEFAULT_PATTERN).unwrap(),
            allow_changes: true,
            change_cooldown: Duration::from_secs(cooldown),
            hold: Duration::from_secs(hold),
            reserved: Vec::new(),
        };
        let says = |hold, cooldown| account::username_change(&rules(hold, cooldown));
        let both = "After a change, nobody else can take your old name for 1 day, and you can change \
                    it again after 1 hour.";
        assert_eq!(says(86_400, 3600).as_deref(), Some(both));
        let one = "After a change, you can change it again after 1 hour.";
        assert_eq!(says(0, 3600).as_deref(), Some(one));
        assert_eq!(says(0, 0), None);
    }

    #[test]
    fn a_person_without_a_picture_has_one_letter_or_two() {
        assert_eq!(initials("rivka"), "R");
        assert_eq!(initials("  Rivka van der Cohen "), "RC");
        assert_eq!(initials("élan ß"), "ÉSS");
        assert_eq!(initials(" "), "");
    }

    #[test]
    fn pictures_are_measured_as_people_say_it() {
        assert!(account::picture_hint(2 << 20).contains("up to 2 MB."));
        assert!(account::picture_hint(512 << 10).contains("up to 512 KB."));
    }

    #[test]
    fn what_was_done_is_read_as_it_is_written() {
        for done in Done::ALL {
            assert_eq!(Done::parse(done.as_str()), Some(done));
        }
        assert_eq!(Done::parse("anything"), None);
    }

    #[test]
    fn names_are_listed_as_people_say_them() {
        assert_eq!(one_of(["Google"]), "Google");
        assert_eq!(one_of(["Google", "GitHub"]), "Google or GitHub");
        assert_eq!(one_of(["Google", "GitHub", "GitLab"]), "Google, GitHub or GitLab");
    }

    #[test]
    fn moments_are_written_out() {
        let at = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(moment(at), "14 November 2023, 22:13 UTC");
        assert_eq!(day(at), "14 November 2023");
    }
}
