//! `latchkey users …`: people, for operators.

mod delete;
mod list;
mod options;
mod recover;
mod show;
mod token;

use serde_json::{Value, json};

use crate::administration::{self, AdministrationError};
use crate::cli::desk::{Absent, Desk};
use crate::cli::{Failure, Format, output};
use crate::config::settings::Settings;
use crate::routes::session::{UserBody, tokens_live_for};
use crate::store::Store;
use crate::store::model::{Email, Role, User, UserStatus};
pub use options::{List, NamedRole, NamedStatus, UsersCommand, Who};
pub use recover::{RecoveryLink, make_recovery_link};

/// Does what the command says.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn run(
    settings: &Settings,
    format: Format,
    command: UsersCommand,
) -> Result<(), Failure> {
    let users = Users(Desk::open(settings, format, Absent::Refused).await?);
    match command {
        UsersCommand::List(page) => users.list(page).await,
        UsersCommand::Show(Who { who }) => users.show(&who).await,
        UsersCommand::Promote(Who { who }) => users.set_role(&who, Role::Admin).await,
        UsersCommand::Demote(Who { who }) => users.set_role(&who, Role::User).await,
        UsersCommand::Lock(Who { who }) => users.lock(&who).await,
        UsersCommand::Unlock(Who { who }) => users.unlock(&who).await,
        UsersCommand::Sessions(Who { who }) => users.sessions(&who).await,
        UsersCommand::Revoke(Who { who }) => users.revoke(&who).await,
        UsersCommand::Delete { who, yes } => users.delete(&who, yes).await,
        UsersCommand::Token { who, ttl } => users.token(&who, ttl).await,
        UsersCommand::Recover(Who { who }) => users.recover(&who).await,
    }
}

/// A person by username or id.
async fn find(store: &Store, who: &str) -> Result<User, Failure> {
    let found = administration::find(store.read.as_ref(), who).await.map_err(Failure::of)?;
    found.ok_or_else(|| {
        Failure::new(format!(
            "There is nobody with the username or id {who:?}. `latchkey users list --query TEXT` finds people by the beginning of a name or address."
        ))
    })
}

/// A person by the names of the HTTP interface.
fn document(settings: &Settings, user: &User, emails: Vec<Email>) -> Value {
    let mut document = json!(UserBody::new(user, settings).with_emails(emails));
    document["status"] = json!(user.status.as_str());
    document
}

/// These commands, at their desk.
struct Users<'s>(Desk<'s>);

impl Users<'_> {
    async fn find(&self, who: &str) -> Result<User, Failure> {
        find(&self.0.store, who).await
    }

    /// What a person can do about it, where the error alone does not say.
    fn failure(name: &str, error: &AdministrationError) -> Failure {
        match error {
            AdministrationError::LastAdmin => Failure::new(format!(
                "{name} is the only admin who can sign in, and nobody could run this service without one. Make somebody else an admin first: `latchkey users promote NAME`."
            )),
            AdministrationError::Unknown => {
                Failure::new(format!("{name} was deleted just now. Nothing was changed."))
            }
            other => Failure::of(other),
        }
    }

    /// The person as they are now, or the sentence for a person who reads it.
    async fn tell(&self, user: &User, sentence: String) -> Result<(), Failure> {
        match self.0.format {
            Format::Json => {
                let emails = self.0.store.read.emails(user.id).await.map_err(Failure::of)?;
                output::json(&document(self.0.settings, user, emails));
            }
            Format::Text => output::line(&sentence),
        }
        Ok(())
    }

    async fn set_role(&self, who: &str, role: Role) -> Result<(), Failure> {
        let before = self.find(who).await?;
        let user = administration::set_role(&self.0.writer(), self.0.by(), before.id, role, false)
            .await
            .map_err(|error| Self::failure(&before.username, &error))?;
        let name = &user.username;
        let sentence = match (before.role == role, role) {
            (true, Role::Admin) => format!("{name} is an admin already; nothing changed."),
            (true, Role::User) => format!("{name} is no admin; nothing changed."),
            (false, Role::Admin) => format!(
                "{name} is an admin now. The admin interface lets them in at once; their access token says so after its next refresh."
            ),
            (false, Role::User) => {
                format!("{name} is no admin any more. The admin interface refuses them at once.")
            }
        };
        self.tell(&user, sentence).await
    }

    async fn lock(&self, who: &str) -> Result<(), Failure> {
        let before = self.find(who).await?;
        let tokens_live_for = tokens_live_for(self.0.settings.tokens.access_ttl);
        let (user, ended) =
            administration::lock(&self.0.writer(), self.0.by(), before.id, tokens_live_for)
                .await
                .map_err(|error| Self::failure(&before.username, &error))?;
        let name = &user.username;
        let sentence = if before.status == UserStatus::Locked {
            format!("{name} is locked already; nothing changed.")
        } else {
            format!(
                "{name} is locked. {} A running server refuses their tokens within a second.\nNothing was deleted: `latchkey users unlock {name}` lets them in again.",
                what_ended(ended.families.len())
            )
        };
        self.tell(&user, sentence).await
    }

    async fn unlock(&self, who: &str) -> Result<(), Failure> {
        let before = self.find(who).await?;
        let user = administration::unlock(&self.0.writer(), self.0.by(), before.id)
            .await
            .map_err(|error| Self::failure(&before.username, &error))?;
        let name = &user.username;
        let sentence = if before.status == UserStatus::Locked {
            format!("{name} can sign in again. What had ended stays ended.")
        } else {
            format!("{name} is not locked; nothing changed.")
        };
        self.tell(&user, sentence).await
    }

    async fn revoke(&self, who: &str) -> Result<(), Failure> {
        let user = self.find(who).await?;
        let tokens_live_for = tokens_live_for(self.0.settings.tokens.access_ttl);
        let ended = administration::revoke_sessions(
            &self.0.writer(),
            self.0.by(),
            user.id,
            tokens_live_for,
        )
        .await
        .map_err(|error| Self::failure(&user.username, &error))?;
        let (name, count) = (&user.username, ended.families.len());
        match self.0.format {
            Format::Json => {
                output::json(&json!({ "id": user.id, "username": name, "ended": count }));
            }
            Format::Text if count == 0 => {
                output::line(format_args!("{name} is signed in nowhere; nothing changed."));
            }
            Format::Text => output::line(format_args!(
                "{} A running server refuses their tokens within a second. {name} can sign in again.",
                what_ended(count)
            )),
        }
        Ok(())
    }
}

/// How much a person was signed in to.
fn what_ended(families: usize) -> String {
    match families {
        0 => "They were signed in nowhere.".to_owned(),
        1 => "The one sign-in that they had, here or at an app, has ended.".to_owned(),
        several => format!("The {several} sign-ins that they had, here and at apps, have ended."),
    }
}
