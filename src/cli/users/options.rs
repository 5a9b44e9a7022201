//! What `latchkey users …` is called with.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::units::parse_duration;
use crate::store::model::{LONGEST_COMMAND_LINE_TOKEN, Role, UserPosition, UserStatus};

/// What to do with people.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List people, the newest first, or those who match
    #[command(after_help = "\
With --query those whose username begins so come first, then those whose display name, then those whose \
verified address does; upper and lower case are the same. A long list ends with the command for its next page.

Examples:
  latchkey users list                                     everybody, the newest first
  latchkey users list --query riv                         whose name or address begins with riv
  latchkey users list --role admin                        who runs this service
  latchkey users list --status locked --format json       for a script; next_cursor is null at the end")]
    List(List),
    /// Show a person: role, status, addresses, ways to sign in
    #[command(after_help = "\
Examples:
  latchkey users show rivka
  latchkey users show 0198f2c1-7d4e-7c3a-9b60-1f2e3d4c5b6a --format json")]
    Show(Who),
    /// Make somebody an admin
    #[command(after_help = "\
The admin interface lets them in at once; the access token of a session says so after its next refresh.

Example:
  latchkey users promote rivka")]
    Promote(Who),
    /// Take the role of an admin from somebody; the last admin keeps it
    #[command(after_help = "\
The admin interface refuses them at once, whatever their access token still says.

Example:
  latchkey users demote rivka")]
    Demote(Who),
    /// Keep somebody out until they are unlocked: their sessions end at once, nothing is deleted
    #[command(after_help = "\
A running server refuses their tokens within a second, and shows them a page that says so when they sign in. \
The last admin cannot be locked.

Example:
  latchkey users lock rivka")]
    Lock(Who),
    /// Let a locked person sign in again
    #[command(after_help = "Example:\n  latchkey users unlock rivka")]
    Unlock(Who),
    /// List where somebody is signed in
    #[command(after_help = "Example:\n  latchkey users sessions rivka")]
    Sessions(Who),
    /// End everything that somebody is signed in to, apps included; they can sign in again
    #[command(after_help = "\
A running server refuses their tokens within a second. To keep them out, too, use `latchkey users lock`.

Example:
  latchkey users revoke rivka")]
    Revoke(Who),
    /// Delete somebody for good, with their ways to sign in, sessions and pictures
    #[command(after_help = "\
What stays is the id, so that nobody ever gets it again, and the username, held against others for \
usernames.hold. The last admin cannot be deleted.

On a terminal it asks for the username first. Elsewhere it needs --yes.

Examples:
  latchkey users delete rivka
  latchkey users delete rivka --yes --format json")]
    Delete {
        /// Username or id
        #[arg(value_name = "USER")]
        who: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print an access token of somebody, for scripts that call the HTTP interface
    #[command(after_help = "\
The token is printed alone on standard output. It is noted in the audit trail and cannot be renewed. It is \
listed among the person's sessions and ends with them: by `latchkey users revoke`, lock or delete, by the \
account page, by DELETE /auth/sessions/{id} with its sid. A key that is taken out of use ends it early, too.

Examples:
  curl -H \"Authorization: Bearer $(latchkey users token rivka)\" https://auth.example/auth/me
  latchkey users token rivka --ttl 5m --format json")]
    Token {
        /// Username or id
        #[arg(value_name = "USER")]
        who: String,
        /// How long it works: "90s", "15m", at most 1h
        #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = life)]
        ttl: Duration,
    },
    /// Print a link, for one use within an hour, that attaches a new way to sign in to an account
    #[command(after_help = "\
For people whose only provider is lost. The link is noted in the audit trail, and so is its use.

Example:
  latchkey users recover rivka")]
    Recover(Who),
}

/// Who is meant.
#[derive(Debug, Args)]
pub struct Who {
    /// Username or id
    #[arg(value_name = "USER")]
    pub(super) who: String,
}

/// Which people to list.
#[derive(Debug, Args)]
pub struct List {
    /// Whose username, display name or verified address begins so
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) query: Option<String>,
    /// Only those of this role
    #[arg(long, value_enum, value_name = "ROLE")]
    pub(super) role: Option<NamedRole>,
    /// Only those of this status; without it, everybody who was not deleted
    #[arg(long, value_enum, value_name = "STATUS")]
    pub(super) status: Option<NamedStatus>,
    /// How many on a page
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Where to go on, as the page before said
    #[arg(long, value_name = "CURSOR", allow_hyphen_values = true, value_parser = super::list::read_cursor)]
    pub(super) cursor: Option<UserPosition>,
}

/// A role by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NamedRole {
    /// Everybody else
    User,
    /// Who may use the admin interface
    Admin,
}

impl From<NamedRole> for Role {
    fn from(name: NamedRole) -> Self {
        match name {
            NamedRole::User => Self::User,
            NamedRole::Admin => Self::Admin,
        }
    }
}

/// A status by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NamedStatus {
    /// Who can sign in
    Active,
    /// Who cannot until they are unlocked
    Locked,
    /// Of whom only the id is left
    Deleted,
}

impl From<NamedStatus> for UserStatus {
    fn from(name: NamedStatus) -> Self {
        match name {
            NamedStatus::Active => Self::Active,
            NamedStatus::Locked => Self::Locked,
            NamedStatus::Deleted => Self::Deleted,
        }
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = parse_duration(text).ok_or("write a duration such as 90s or 15m")?;
    if life.is_zero() {
        Err("it is at least 1s".to_owned())
    } else if life > LONGEST_COMMAND_LINE_TOKEN {
        Err("it is at most 1h: whoever needs a token for longer asks for another".to_owned())
    } else {
        Ok(life)
    }
}
