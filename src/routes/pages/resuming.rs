//! Pages that need a session and find no access token.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use super::login::redirect;
use super::places::{self, Place};
use super::response::page;
use super::views::CookiesNotKept;
use crate::app::App;
use crate::error::ApiError;
use crate::routes::auth::resume::Outcome;

/// Asks once for the session to be resumed; then decides by the outcome. `here` is path and query of
/// the page.
///
/// # Errors
/// `duplicate_cookie`.
pub fn lead_on(request: &HttpRequest, app: &App, here: &str) -> Result<HttpResponse, ApiError> {
    Ok(match Outcome::of(request, app)? {
        None => redirect(places::with_query("/auth/resume", &[("return_to", here)])),
        Some(Outcome::SignedOut) => {
            redirect(places::address(app, Place::Login, &[("return_to", here)]))
        }
        Some(Outcome::Refreshed) => {
            let host = app.settings.server.public_url.authority();
            page(StatusCode::OK, &CookiesNotKept { site: &app.site, host, return_to: Some(here) })
        }
    })
}
