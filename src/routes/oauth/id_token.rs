//! ID tokens that come back to us.

use crate::app::App;
use crate::protocol::jwt::{ID_TOKEN, IdClaims, TokenError};
use crate::protocol::key;

/// What an ID token of ours says that comes back as a hint. That it has expired does not matter: it says
/// who was signed in, not who is (OpenID Connect Core §3.1.2.1). Whom it was for is the caller's to check.
///
/// # Errors
/// [`TokenError`] for whatever is no ID token of ours, signed by a key that is still published.
pub fn read_hint(app: &App, token: &str) -> Result<IdClaims, TokenError> {
    let now = app.clock.now();
    let keys = app.key_snapshot();
    let claims: IdClaims = key::verify(token, ID_TOKEN, |kid| keys.verifier(kid, now))?;
    if claims.iss != app.settings.server.public_url.as_str() {
        return Err(TokenError::WrongAudience);
    }
    Ok(claims)
}
