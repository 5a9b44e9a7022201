//! The client credentials grant (RFC 6749 §4.4): a client asks for itself, and nobody has signed in.

use actix_web::HttpRequest;

use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::protocol::scope::{OF_PEOPLE, Scope};
use crate::routes::oauth::error::{OAuthCode, OAuthError};
use crate::routes::oauth::issue::{self, Extent, Signers, TokenAnswer};
use crate::routes::parameters::Parameters;
use crate::routes::rate_limit;
use crate::store::model::Client;

/// An access token for the client itself. Nothing is written.
///
/// # Errors
/// `unauthorized_client` for who cannot prove to be this client, `invalid_scope`, `invalid_target`; 429, 503.
pub(super) async fn issue(
    request: &HttpRequest,
    form: &Parameters,
    client: &Client,
    app: &App,
) -> Result<TokenAnswer, OAuthError> {
    if client.metadata.is_public() {
        let description = "A public client cannot act for itself: anybody could say to be it.";
        return Err(OAuthError::new(OAuthCode::UnauthorizedClient, description));
    }
    let name = format!("client {}", client.client_id);
    rate_limit::by_name(request, app, Tier::Token, name).await?;
    let now = app.clock.now();
    let registered = Scope::parse(&client.metadata.scope).unwrap_or_default();
    let allowed = registered.filtered(|word| !OF_PEOPLE.contains(&word));
    let scope = match form.get("scope") {
        None => allowed,
        Some(asked) => {
            Scope::parse(asked).filter(|asked| asked.is_within(&allowed)).ok_or_else(|| {
                let description = "The client may ask only for scopes that it is registered for and that are not about people.";
                OAuthError::new(OAuthCode::InvalidScope, description)
            })?
        }
    };
    let asked = form.all("resource").next().is_some();
    let allowed = if asked { client.metadata.resources.clone() } else { Vec::new() };
    let resources = issue::resources(allowed, client, form)?;
    let signers = Signers::find(app, client, &scope, now)?;
    Ok(issue::for_client(app, client, &signers, Extent { scope, resources }, now))
}
