//! ID tokens as they come back to us.

use crate::app::App;
use crate::protocol::jwt::{ID_TOKEN, IdClaims, TokenError};
use crate::protocol::key;

/// Reads an ID token of ours that a client shows as a hint: signature, type and issuer are checked. Its
/// life may be over (OpenID Connect RP-Initiated Logout §4, Core §3.1.2.1).
///
/// # Errors
/// [`TokenError`]; `UnknownKey` also for a token whose key is not published any more.
pub fn read_hint(app: &App, token: &str) -> Result<IdClaims, TokenError> {
    let now = app.clock.now();
    let keys = app.key_snapshot();
    let claims: IdClaims = key::verify(token, ID_TOKEN, |kid| keys.verifier(kid, now))?;
    if claims.iss != app.settings.server.public_url.as_str() {
        return Err(TokenError::WrongAudience);
    }
    Ok(claims)
}
