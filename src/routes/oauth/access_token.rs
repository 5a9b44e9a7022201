//! Access tokens of clients, as they come back to us.

use crate::actors::revocations::IsRevoked;
use crate::app::App;
use crate::protocol::jwt::{ACCESS_TOKEN, ClientAccessClaims, TokenError};
use crate::protocol::key;
use crate::store::model::{FIRST_PARTY, FamilyWithUser};

use super::error::OAuthError;

/// A client's access token that we signed and that has not expired.
#[derive(Clone, Debug)]
pub struct Genuine {
    /// What it says.
    pub claims: ClientAccessClaims,
    kid: String,
}

/// Reads a client's access token: signature by a published key, type, issuer, times. One of our own cookies
/// is none, nor are ID tokens and logout tokens. Whether it was revoked is another question:
/// [`Genuine::is_revoked`].
///
/// # Errors
/// [`TokenError`].
///
/// Spec: RFC 9068 §4.
pub fn read(token: &str, app: &App) -> Result<Genuine, TokenError> {
    let now = app.clock.now();
    let keys = app.key_snapshot();
    let mut kid = String::new();
    let claims: ClientAccessClaims = key::verify(token, ACCESS_TOKEN, |found| {
        kid = found.to_owned();
        keys.verifier(found, now)
    })?;
    let is_ours = claims.iss == app.settings.server.public_url.as_str();
    if !is_ours || claims.client_id == FIRST_PARTY {
        return Err(TokenError::WrongAudience);
    }
    claims.check_times(now)?;
    Ok(Genuine { claims, kid })
}

impl Genuine {
    /// Whether `live` is the grant of this token's client and person, and still opens anything.
    pub fn rests_on(&self, live: &FamilyWithUser, app: &App) -> bool {
        let FamilyWithUser { family, user } = live;
        app.lifetimes.is_live(live, app.clock.now())
            && self.claims.grant_id == Some(family.id)
            && self.claims.client_id == family.client_id
            && self.claims.sub == user.id.to_string()
    }

    /// Whether the token, or anything that it rests on, was revoked.
    ///
    /// # Errors
    /// 503 if that cannot be known.
    pub async fn is_revoked(&self, app: &App) -> Result<bool, OAuthError> {
        Ok(app.revocations.ask(IsRevoked::of_client(&self.claims, &self.kid)).await??)
    }
}
