//! The first admin, whom the environment names by an identity.

use actix_web::HttpRequest;

use crate::administration::{self, AdministrationError, By};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::routes::{edge, rate_limit};
use crate::store::model::{Actor, FamilyWithUser, Role};

/// Makes the person of a session that was just opened an admin, if the deployer says so of the identity that
/// signed them in and there is no admin. The session as it is now.
///
/// # Errors
/// 503 if it cannot be stored; signing in again tries it again.
pub async fn promoted(
    request: &HttpRequest,
    app: &App,
    (provider, subject): (&str, &str),
    mut live: FamilyWithUser,
    now: Timestamp,
) -> Result<FamilyWithUser, ApiError> {
    let named = app.settings.bootstrap_admin.as_ref();
    let is_named =
        named.is_some_and(|named| named.provider == provider && named.subject == subject);
    if !is_named || live.user.role == Role::Admin {
        return Ok(live);
    }
    let by = By {
        at: now,
        actor: Actor::System,
        request_id: Some(edge::request_id()),
        address: Some(rate_limit::client_address(request, app).ip.to_string()),
    };
    let user = live.user.id;
    match administration::set_role(&app.writer, by, user, Role::Admin, true).await {
        Ok(user) => {
            tracing::info!(user = %user.id, "the first admin, as LATCHKEY_BOOTSTRAP_ADMIN says");
            live.user = user;
            Ok(live)
        }
        // Somebody else is; or the person went meanwhile, and their session with them.
        Err(AdministrationError::Write(error)) => Err(error.into()),
        Err(_) => Ok(live),
    }
}
