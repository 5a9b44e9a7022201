//! `/auth/recover`: with what a person who lost a provider wants to sign in from now on.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::response::page;
use super::views::{ProviderButton, Recovery};
use crate::app::App;
use crate::routes::auth::tickets::RecoveryTicket;
use crate::store::model::User;

/// The page for the holder of a recovery link.
pub fn page_for(app: &App, user: &User, ticket: &RecoveryTicket) -> HttpResponse {
    let providers = app
        .providers
        .iter()
        .map(|provider| provider.settings())
        .map(|settings| ProviderButton::plain(&settings.name, &settings.display_name))
        .collect();
    let view =
        Recovery { site: &app.site, username: &user.username, providers, until: ticket.expiry() };
    page(StatusCode::OK, &view)
}
