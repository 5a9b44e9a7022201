//! `/account`: who is signed in.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::login::redirect;
use super::places::{self, Place};
use super::response::page;
use super::resuming;
use super::views::{Account, Address, ProviderButton, Way};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::form;
use crate::routes::session::{Authenticated, authenticate};
use crate::store::model::{Identity, UserStatus};

/// `GET /account`; without a session by way of `/auth/resume` to `/login`.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn account(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(places::address(&app, Place::Account, &[])));
    }
    match authenticate(&request, &app).await {
        Ok(session) => show(&app, &session).await,
        Err(error) if error.code == ErrorCode::Unauthenticated => {
            resuming::lead_on(&request, &app, Place::Account.path())
        }
        Err(error) => Err(error),
    }
}

async fn show(app: &App, session: &Authenticated) -> Result<HttpResponse, ApiError> {
    let claims = &session.claims;
    let user = app.store.read.user(claims.sub).await?;
    let user = user.filter(|user| user.status == UserStatus::Active).ok_or_else(|| {
        ApiError::new(ErrorCode::AccountLocked, "Ask the people who run this service to unlock it.")
    })?;
    let identities = app.store.read.identities(claims.sub).await?;
    let is_usable = |identity: &Identity| app.providers.get(&identity.provider).is_some();
    let usable = identities.iter().filter(|identity| is_usable(identity)).count();
    // What is left must let the person in.
    let can_be_removed = |identity: &Identity| match is_usable(identity) {
        true => usable > 1,
        false => identities.len() > 1,
    };
    let ways = identities
        .iter()
        .map(|identity| Way {
            name: &identity.provider,
            display_name: app.providers.display_name(&identity.provider),
            subject: &identity.subject,
            address: identity.emails.first().map(|email| email.address.as_str()),
            can_be_removed: can_be_removed(identity),
        })
        .collect();
    let is_connected =
        |name: &str| identities.iter().any(|identity| identity.provider.as_str() == name);
    let others = app
        .providers
        .iter()
        .map(|provider| provider.settings())
        .filter(|settings| !is_connected(&settings.name))
        .map(|settings| ProviderButton::plain(&settings.name, &settings.display_name))
        .collect();
    // What several providers tell is shown once, and is verified if one of them vouches for it.
    let mut emails: Vec<Address<'_>> = Vec::new();
    for email in identities.iter().flat_map(|identity| &identity.emails) {
        match emails.iter_mut().find(|shown| shown.address == email.address) {
            Some(shown) => shown.verified |= email.verified,
            None => emails.push(Address { address: &email.address, verified: email.verified }),
        }
    }
    let session = claims.sid.to_string();
    let form_token = form::token(app, "sign-out", &session);
    let unlink_token = form::token(app, "unlink", &session);
    let view = Account {
        site: &app.site,
        form_token: &form_token,
        unlink_token: &unlink_token,
        username: &user.username,
        display_name: user.display_name.as_deref(),
        emails,
        ways,
        others,
        signed_in_at: Timestamp::from_seconds(claims.auth_time),
    };
    Ok(page(StatusCode::OK, &view))
}
