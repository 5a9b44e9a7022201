//! The way back into an account whose provider is lost: by a link that an operator makes with
//! `latchkey users recover` and hands on.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::start::{Wishes, begin, find};
use super::tickets::{Intent, RecoveryTicket};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::routes::cookies::Kind;
use crate::routes::parameters::Parameters;
use crate::routes::{csrf, pages};
use crate::store::model::UserStatus;

/// Where recovery begins and goes on.
pub const PATH: &str = "/auth/recover";

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
