//! `latchkey users token`: an access token for scripts.

use std::time::Duration;

use serde_json::json;

use super::Users;
use crate::actors::db_writer::apply;
use crate::actors::key_ring::Reload;
use crate::cli::{Failure, Format, output};
use crate::clock::Timestamp;
use crate::routes::session::{FIRST_PARTY_SCOPE, access_token};
use crate::startup::{self, KeyActors};
use crate::store::model::{
    COMMAND_LINE, FIRST_PARTY, FamilyId, NewFamily, SessionId, User, UserStatus,
};
use crate::store::operation::OpenSession;

impl Users<'_> {
    /// Prints a new access token.
    pub(super) async fn token(&self, who: &str, ttl: Duration) -> Result<(), Failure> {
        let settings = self.0.settings;
        let user = self.find(who).await?;
        let name = &user.username;
        if user.status == UserStatus::Locked {
            return Err(is_locked(name));
        }
        let KeyActors { writer, key_ring, keys } =
            startup::start_key_actors(settings, &self.0.clock, &self.0.store)
                .map_err(Failure::of)?;
        key_ring.ask(Reload).await.map_err(Failure::of)?.map_err(Failure::of)?;
        let by = self.0.by();
        let now = by.at;
        let keys = keys.borrow().clone();
        let signer = keys.signer(settings.keys.algorithm, now).ok_or_else(|| {
            Failure::new("There is no key to sign with yet. The server makes one when it starts, and so does `latchkey generate-keys`.")
        })?;
        // Neither session nor key outlives what the configuration says; the token does not pretend to.
        let published = keys.keys().iter().find(|key| key.stored.kid == signer.public().kid);
        let published = published.and_then(|key| key.life.published_until);
        let life = ttl
            .min(settings.tokens.session_max_age)
            .min(published.map_or(ttl, |until| until.since(now)));
        let family = family(&user, now);
        let session = family.session;
        let details = json!({ "expires_at": now.plus(life) });
        let audit = by.entry("session.token_issued", format!("session:{session}"), details);
        // Over with the token: a session is over once it was not used for that long.
        let last_used = now.plus(life).minus(settings.tokens.refresh_ttl);
        let opened = apply(&writer, OpenSession { family, last_used, audit }).await;
        let live = opened.map_err(Failure::of)?.ok_or_else(|| is_locked(name))?;
        let token = access_token(&settings.server.public_url, signer, &live, now, life);
        match self.0.format {
            Format::Json => output::json(&json!({
                "access_token": token, "token_type": "Bearer", "expires_in": life.as_secs(), "sid": session,
            })),
            Format::Text => {
                output::line(&token);
                output::complain(format_args!(
                    "It acts as {name} for {}; `latchkey users revoke {name}` ends it earlier.",
                    output::duration(life)
                ));
            }
        }
        Ok(())
    }
}

fn is_locked(name: &str) -> Failure {
    Failure::new(format!(
        "{name} cannot sign in, and a token would open nothing. `latchkey users unlock {name}` lets them in again."
    ))
}

/// The session of the token. Nobody signed in for it, so it is no recent sign-in: it dates from the account's.
fn family(user: &User, now: Timestamp) -> NewFamily {
    let id = FamilyId::new(now);
    NewFamily {
        id,
        user: user.id,
        session: SessionId(id.0),
        client_id: FIRST_PARTY.to_owned(),
        scope: FIRST_PARTY_SCOPE.to_owned(),
        resource: String::new(),
        auth_time: user.created_at,
        created_at: now,
        provider: COMMAND_LINE.to_owned(),
        user_agent: "Command line".to_owned(),
        network: String::new(),
    }
}
