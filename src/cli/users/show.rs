//! `latchkey users show` and `latchkey users sessions`: one person.

use serde_json::json;

use super::{Users, document};
use crate::cli::output::{self, member};
use crate::cli::{Failure, Format};
use crate::protocol::rotation::Lifetimes;
use crate::routes::auth::sessions::{self, SessionBody};
use crate::store::model::{Email, Identity, User};

impl Users<'_> {
    /// Prints what is known of a person.
    pub(super) async fn show(&self, who: &str) -> Result<(), Failure> {
        /// The longest name, and a gap.
        const WIDTH: usize = 13;
        let user = self.find(who).await?;
        let emails = self.0.store.read.emails(user.id).await.map_err(Failure::of)?;
        if self.0.format == Format::Json {
            output::json(&document(self.0.settings, &user, emails));
            return Ok(());
        }
        let identities = self.0.store.read.identities(user.id).await.map_err(Failure::of)?;
        let sessions = self.live_sessions(&user).await?;
        let now = self.0.clock.now();
        match &user.display_name {
            Some(name) => {
                output::line(format_args!("{} ({})\n", user.username, output::visible(name)))
            }
            None => output::line(format_args!("{}\n", user.username)),
        }
        let used = sessions.first().map(|session| output::moment(session.last_used_at, now));
        let signed_in = match used {
            Some(used) => format!("{} (last used {used})", sessions.len()),
            None => "none".to_owned(),
        };
        let way = |identity: &Identity| {
            format!(
                "{} (since {}, last used {})",
                identity.provider,
                output::moment(identity.linked_at, now),
                output::moment(identity.last_used_at, now)
            )
        };
        for (name, values) in [
            ("id", vec![user.id.to_string()]),
            ("role", vec![user.role.as_str().to_owned()]),
            ("status", vec![user.status.as_str().to_owned()]),
            ("since", vec![output::moment(user.created_at, now)]),
            ("addresses", or_none(emails.iter().map(address).collect())),
            ("signs in by", or_none(identities.iter().map(way).collect())),
            ("sessions", vec![signed_in]),
        ] {
            member(name, &values, WIDTH);
        }
        Ok(())
    }

    /// Prints where a person is signed in.
    pub(super) async fn sessions(&self, who: &str) -> Result<(), Failure> {
        let user = self.find(who).await?;
        let sessions = self.live_sessions(&user).await?;
        if self.0.format == Format::Json {
            output::json(&json!({ "items": sessions, "next_cursor": null }));
            return Ok(());
        }
        if sessions.is_empty() {
            output::line(format_args!("{} is signed in nowhere.", user.username));
            return Ok(());
        }
        let now = self.0.clock.now();
        let or_dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
        let rows: Vec<Vec<String>> = sessions
            .into_iter()
            .map(|session| {
                vec![
                    or_dash(output::visible(&session.user_agent)),
                    or_dash(session.network),
                    session.provider,
                    output::moment(session.created_at, now),
                    output::moment(session.last_used_at, now),
                    session.id.to_string(),
                ]
            })
            .collect();
        output::table(&["BROWSER", "NETWORK", "PROVIDER", "SINCE", "LAST USED", "ID"], &rows);
        Ok(())
    }

    async fn live_sessions(&self, user: &User) -> Result<Vec<SessionBody>, Failure> {
        let sessions = self.0.store.read.sessions(user.id).await.map_err(Failure::of)?;
        let lifetimes = Lifetimes::new(&self.0.settings.tokens);
        Ok(sessions::live(sessions, &lifetimes, self.0.clock.now()))
    }
}

fn address(email: &Email) -> String {
    let word = if email.verified { "verified" } else { "not verified" };
    format!("{} ({word}, {})", output::visible(&email.address), email.provider)
}

fn or_none(values: Vec<String>) -> Vec<String> {
    if values.is_empty() { vec!["none".to_owned()] } else { values }
}
