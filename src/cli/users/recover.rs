//! `latchkey users recover`: a way back for somebody who lost their only provider.

use serde_json::json;

use super::Users;
use crate::actors::db_writer::apply;
use crate::cli::desk::{self, Absent, Desk};
use crate::cli::{Failure, Format, output};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Settings;
use crate::protocol::random;
use crate::protocol::sealed::{Purpose, Sealer};
use crate::routes::auth::recover;
use crate::routes::auth::tickets::{RECOVERY_LIFE, RecoveryTicket};
use crate::routes::pages::places;
use crate::startup;
use crate::store::Store;
use crate::store::model::{Actor, AuditEntry, User, UserStatus};
use crate::store::operation::AppendAudit;

/// A way back into an account.
#[derive(Debug)]
pub struct RecoveryLink {
    /// Whose account.
    pub user: User,
    /// The address to open.
    pub url: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl Users<'_> {
    /// Prints a link that attaches a new way to sign in to an account, once.
    pub(super) async fn recover(&self, who: &str) -> Result<(), Failure> {
        let Desk { settings, format, clock, store } = &self.0;
        let RecoveryLink { user, url, expires_at } = make(settings, clock, store, who).await?;
        match format {
            Format::Json => output::json(&json!({
                "id": user.id, "username": user.username, "url": url, "expires_at": expires_at,
            })),
            Format::Text => {
                let (name, until) = (&user.username, output::minute(expires_at));
                let accent = output::ACCENT;
                output::line(format_args!(
                    "A way back into the account {name}, for one use, until {until}:\n\n  {accent}{url}{accent:#}\n\nWhoever opens it can connect a new way to sign in to this account: hand it to {name} alone."
                ));
            }
        }
        Ok(())
    }
}

/// Makes the link, and notes in the audit trail that it was made.
///
/// # Errors
/// If there is no such person, if they are locked, or if the store cannot be asked.
pub async fn make_recovery_link(
    settings: &Settings,
    clock: &Clock,
    who: &str,
) -> Result<RecoveryLink, Failure> {
    let store = desk::open_store(settings, clock, Absent::Refused).await?;
    make(settings, clock, &store, who).await
}

async fn make(
    settings: &Settings,
    clock: &Clock,
    store: &Store,
    who: &str,
) -> Result<RecoveryLink, Failure> {
    let user = super::find(store, who).await?;
    if user.status == UserStatus::Locked {
        let name = &user.username;
        return Err(Failure::new(format!(
            "{name} is locked, and a new way to sign in would not let them in. Unlock the account first."
        )));
    }
    let now = clock.now();
    let expires_at = now.plus(RECOVERY_LIFE);
    let ticket =
        RecoveryTicket { id: random::text::<16>(), user: user.id, expires: expires_at.millis() };
    let target = format!("user:{}", user.id);
    let mut entry = AuditEntry::new(now, Actor::CommandLine, "user.recovery_offered", target);
    entry.details = json!({ "expires_at": expires_at });
    let writer = startup::start_writer_alone(settings, store);
    apply(&writer, AppendAudit(entry)).await.map_err(Failure::of)?;
    let sealer = Sealer::new(&settings.server.secret_key);
    let sealed = sealer.seal(Purpose::Recovery, &ticket, expires_at);
    let path = places::with_query(recover::PATH, &[("ticket", &sealed)]);
    Ok(RecoveryLink { user, url: settings.server.public_url.join(&path), expires_at })
}
