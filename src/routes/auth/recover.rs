//! The way back into an account whose provider is lost: by a link that an operator makes with
//! `latchkey users recover` and hands on.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::start::{ATTEMPT, PARAMETERS, START_ERRORS, Wishes, begin, find};
use super::tickets::{Intent, RecoveryTicket};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::{csrf, pages};
use crate::store::model::UserStatus;

/// Where recovery begins and goes on.
pub const PATH: &str = "/auth/recover";

/// How `GET /auth/recover` is described.
pub const SHOW: Operation = Operation {
    id: "show_recovery",
    tag: Tag::Pages,
    summary: "The way back into an account whose provider is lost",
    description: "With the ticket of `latchkey users recover` it keeps that in a cookie and leads to the same page \
        without it; there the person chooses a provider. Nothing is spent by looking.",
    access: Access::Recovery,
    parameters: &[Parameter::query("ticket", "What the link holds.")],
    answers: &[
        Answer::page("The page."),
        Answer::redirect(303, "To the page without the ticket.")
            .with(&[Header::Sets(&[Kind::Recovery])]),
    ],
    errors: &[ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `GET /auth/recover?ticket=…`: takes the ticket out of the address, where it could be seen, into a
/// cookie; spends nothing, since previews follow links, too. Without a ticket: the page that lets the
/// person choose a provider.
///
/// # Errors
/// `recovery_expired`, `account_locked`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    if let Some(sealed) = query.get("ticket") {
        let ticket = open(&app, sealed)?;
        let life = ticket.expiry().since(app.clock.now()).max(Duration::from_secs(1));
        return Ok(HttpResponse::SeeOther()
            .cookie(app.cookies.set(Kind::Recovery, sealed.to_owned(), life))
            .insert_header((LOCATION, PATH))
            .finish());
    }
    let ticket = of_browser(&request, &app)?;
    let user = app.store.read.user(ticket.user).await?;
    match user {
        Some(user) if user.status == UserStatus::Active => {
            Ok(pages::recovery::page_for(&app, &user, &ticket))
        }
        Some(user) if user.status == UserStatus::Locked => Err(super::callback::locked()),
        _ => Err(expired()),
    }
}

/// How `GET /auth/recover/{provider}` is described.
pub const START: Operation = Operation {
    id: "start_recovery",
    tag: Tag::Pages,
    summary: "Go to a provider whose identity shall be connected",
    access: Access::Recovery,
    parameters: PARAMETERS,
    answers: &[
        Answer::redirect(302, "To the provider.").with(&[ATTEMPT]),
        Answer::redirect(303, "To the page, for who does not come from there."),
    ],
    errors: START_ERRORS,
    ..Operation::PLAIN
};

/// `GET /auth/recover/{provider}`: to the provider, to sign in with what shall be connected.
///
/// # Errors
/// `recovery_expired`, `unknown_provider`; those of a sign-in's start.
pub async fn start(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let ticket = of_browser(&request, &app)?;
    let provider = find(&app, &name)?;
    if !csrf::is_same_origin(request.headers()) {
        // Another's page may not choose; ours is one click away.
        return Ok(HttpResponse::SeeOther().insert_header((LOCATION, PATH)).finish());
    }
    let wishes = Wishes::of(&Parameters::of_query(&request)?, &app, "/account")?;
    begin(&request, &app, provider, wishes, Intent::Recover(ticket), HttpResponse::Found()).await
}

fn of_browser(request: &HttpRequest, app: &App) -> Result<RecoveryTicket, ApiError> {
    let sealed = app.cookies.read(request, Kind::Recovery)?.ok_or_else(expired)?;
    open(app, sealed)
}

fn open(app: &App, sealed: &str) -> Result<RecoveryTicket, ApiError> {
    app.sealer
        .open(Purpose::Recovery, sealed, app.clock.now())
        .map_err(|error| expired().cause(error))
}

fn expired() -> ApiError {
    ApiError::new(
        ErrorCode::RecoveryExpired,
        "It was used before, is older than an hour, or is not whole. Ask the people who gave it to you for a new one.",
    )
}
