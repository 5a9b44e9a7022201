//! `/onboarding`: a new person chooses a name.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::login::redirect;
use super::places::{self, Place};
use super::response::page_leading_to;
use super::views::Onboarding;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::form;
use crate::routes::auth::setup::open_ticket;
use crate::routes::auth::tickets::SetupTicket;
use crate::routes::oauth::authorize::destination;
use crate::routes::openapi::operation::{Access, Answer, Operation, Tag};

/// How `GET /onboarding` is described.
pub const ONBOARDING: Operation = Operation {
    id: "show_onboarding",
    tag: Tag::Pages,
    summary: "Choose a name for a new account",
    access: Access::Setup,
    answers: &[Answer::page("The page.")],
    ..Operation::PLAIN
};

/// `GET /onboarding`.
///
/// # Errors
/// `setup_expired`.
pub async fn onboarding(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(places::address(&app, Place::Onboarding, &[])));
    }
    let ticket = open_ticket(&request, &app)?;
    let username = ticket.suggested_username.clone().unwrap_or_default();
    let display_name = ticket.display_name.clone().unwrap_or_default();
    show(&app, &ticket, &username, &display_name, None).await
}

/// Whether the page can show this error next to its fields, so that the person can mend it.
pub fn shows(error: &ApiError) -> bool {
    use ErrorCode as E;
    matches!(
        error.code,
        E::UsernameTaken
            | E::UsernameReserved
            | E::UsernameInvalid
            | E::InvalidField
            | E::Overloaded
            | E::StoreUnavailable
            | E::TemporarilyUnavailable
            | E::RateLimited
    )
}

/// The page again, with what was typed and what is wrong with it.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn again(
    app: &App,
    ticket: &SetupTicket,
    username: &str,
    display_name: &str,
    error: &ApiError,
) -> Result<HttpResponse, ApiError> {
    show(app, ticket, username, display_name, Some(error)).await
}

async fn show(
    app: &App,
    ticket: &SetupTicket,
    username: &str,
    display_name: &str,
    error: Option<&ApiError>,
) -> Result<HttpResponse, ApiError> {
    let of_field = |field: &str| {
        error
            .filter(|error| error.field.as_deref() == Some(field))
            .map(|error| error.detail.as_str())
    };
    let provider = app.providers.get(&ticket.provider);
    let masked_email = ticket.masked_email();
    let form_token = form::token(app, "setup", &ticket.id);
    let view = Onboarding {
        site: &app.site,
        form_token: &form_token,
        provider: provider
            .map_or(ticket.provider.as_str(), |provider| &provider.settings().display_name),
        masked_email: masked_email.as_deref(),
        rules: &app.settings.usernames,
        username,
        display_name,
        username_error: of_field("username"),
        display_name_error: of_field("display_name"),
        failure: error.filter(|error| error.field.is_none()).map(|error| error.detail.as_str()),
    };
    let status = error.map_or(StatusCode::OK, |error| error.code.status());
    // The form ends, by way of its 303, where the person wanted to go.
    let destination = destination(app, &ticket.return_to).await?;
    Ok(page_leading_to(status, &view, destination.as_slice()))
}
