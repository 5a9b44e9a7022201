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
use crate::routes::openapi::operation::Answer;

/// What a page answers without a session.
pub(in crate::routes) const SIGN_IN: Answer = Answer::redirect(
    303,
    "To the sign-in, for a browser in which nobody is signed in recently enough.",
);

/// What a page adds to its own address when it asks for a resume, so that it knows a browser that keeps
/// not even the marker of the outcome, and does not ask for ever.
pub(in crate::routes) const ASKED: &str = "resumed=1";

/// Asks once for the session to be resumed; then decides by the outcome. `here` is path and query of
/// the page.
///
/// # Errors
/// `duplicate_cookie`.
pub fn lead_on(request: &HttpRequest, app: &App, here: &str) -> Result<HttpResponse, ApiError> {
    let has_asked = request.query_string().split('&').any(|pair| pair == ASKED);
    let here = here.strip_suffix(ASKED).map_or(here, |before| &before[..before.len() - 1]);
    Ok(match Outcome::of(request, app)? {
        None if has_asked => not_kept(app, here),
        None => {
            let separator = if here.contains('?') { '&' } else { '?' };
            let back = format!("{here}{separator}{ASKED}");
            redirect(places::with_query("/auth/resume", &[("return_to", &back)]))
        }
        Some(Outcome::SignedOut) => {
            redirect(places::address(app, Place::Login, &[("return_to", here)]))
        }
        Some(Outcome::Refreshed) => not_kept(app, here),
    })
}

/// Whether a resume has just found that nobody is signed in.
///
/// # Errors
/// `duplicate_cookie`.
pub fn found_nobody(request: &HttpRequest, app: &App) -> Result<bool, ApiError> {
    Ok(Outcome::of(request, app)? == Some(Outcome::SignedOut))
}

/// Tells that the browser drops our cookies. `here` is where the person wanted to go.
pub(in crate::routes) fn not_kept(app: &App, here: &str) -> HttpResponse {
    let host = app.settings.server.public_url.authority();
    page(StatusCode::OK, &CookiesNotKept { site: &app.site, host, return_to: Some(here) })
}
