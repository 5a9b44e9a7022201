//! `/link`: an identity waits to be connected to an account. Who may say yes is asked; a newcomer whose
//! address an account has is told what is so and how to prove that it is theirs.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::login::redirect;
use super::places::{self, Place};
use super::response::{page, page_leading_to};
use super::resuming;
use super::views::{LinkConfirmation, LinkOffer, LinkStart, ProviderButton};
use crate::app::App;
use crate::config::settings::Provider;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::link::{form_binding, judge, open_ticket};
use crate::routes::auth::tickets::{Confirmation, LinkTicket};
use crate::routes::auth::{form, setup};
use crate::routes::oauth::authorize::destination;
use crate::routes::openapi::operation::{Access, Answer, Operation, Tag};
use crate::routes::session;
use crate::store::model::FamilyWithUser;

/// How `GET /link` is described.
pub const LINK: Operation = Operation {
    id: "show_link",
    tag: Tag::Pages,
    summary: "Decide whether to connect what waits",
    access: Access::Visitor,
    answers: &[Answer::page("The question, or the offer.")],
    errors: &[
        ErrorCode::LinkExpired,
        ErrorCode::Unauthenticated,
        ErrorCode::Forbidden,
        ErrorCode::ReauthenticationRequired,
    ],
    ..Operation::PLAIN
};

/// `GET /link`.
///
/// # Errors
/// `link_expired`, `forbidden` for somebody else's session; 503 if the store cannot be asked.
pub async fn link(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let ticket = open_ticket(&request, &app)?;
    let live = session::live(&request, &app).await?;
    let is_offer = ticket.confirmed_by == Confirmation::Owner;
    let may_resume = matches!(ticket.confirmed_by, Confirmation::Session(_));
    if live.is_none() && may_resume {
        return resuming::lead_on(&request, &app, Place::Link.path());
    }
    match judge(&app, &ticket, live) {
        Ok(asked) => confirmation(&app, &ticket, asked.as_ref()).await,
        // Not signed in, or as somebody else, or too long ago.
        Err(_) if is_offer && app.settings.server.frontend_url.is_some() => {
            Ok(redirect(places::address(&app, Place::Link, &[])))
        }
        Err(_) if is_offer => offer(&request, &app, &ticket).await,
        Err(error) => Err(error.leading_to("/account")),
    }
}

async fn confirmation(
    app: &App,
    ticket: &LinkTicket,
    asked: Option<&FamilyWithUser>,
) -> Result<HttpResponse, ApiError> {
    let owner = match asked {
        Some(live) => Some(live.user.clone()),
        None => app.store.read.user(ticket.user).await?,
    };
    let owner = owner.ok_or_else(|| {
        ApiError::new(ErrorCode::LinkExpired, "The account that it was for is not there any more.")
    })?;
    let session = asked.map(|live| live.family.session);
    let form_token = form::token(app, "link", &form_binding(ticket, session));
    let label = ticket.label();
    let recovers = asked.is_none();
    let view = LinkConfirmation {
        site: &app.site,
        form_token: &form_token,
        username: &owner.username,
        provider: app.providers.display_name(&ticket.provider),
        identity: label.as_deref(),
        recovers,
        cancel: if recovers { "/login" } else { "/account" },
    };
    // The form ends, by way of its 303, where the person wanted to go.
    let destination = destination(app, &ticket.return_to).await?;
    Ok(page_leading_to(StatusCode::OK, &view, destination.as_slice()))
}

async fn offer(
    request: &HttpRequest,
    app: &App,
    ticket: &LinkTicket,
) -> Result<HttpResponse, ApiError> {
    let identities = app.store.read.identities(ticket.user).await?;
    let is_known =
        |settings: &Provider| identities.iter().any(|identity| identity.provider == settings.name);
    let known = app
        .providers
        .iter()
        .map(|provider| provider.settings())
        .filter(|settings| is_known(settings))
        .map(|settings| ProviderButton::plain(&settings.name, &settings.display_name))
        .collect();
    let separate = setup::open_ticket(request, app).is_ok_and(|setup| setup.may_sign_up);
    let masked_email = ticket.masked_email().unwrap_or_default();
    let view = LinkOffer {
        site: &app.site,
        provider: app.providers.display_name(&ticket.provider),
        masked_email: &masked_email,
        known,
        return_to: Place::Link.path(),
        separate,
    };
    Ok(page(StatusCode::OK, &view))
}

/// The page that asks before a person who came from elsewhere is sent to a provider.
pub async fn start(
    app: &App,
    live: &FamilyWithUser,
    provider: &Provider,
    return_to: &str,
) -> HttpResponse {
    let form_token = form::token(app, "link", &live.family.session.to_string());
    let view = LinkStart {
        site: &app.site,
        form_token: &form_token,
        username: &live.user.username,
        name: &provider.name,
        provider: &provider.display_name,
        return_to,
    };
    let destination = match app.providers.get(&provider.name) {
        Some(provider) => provider.authorization_endpoint(&app.provider_metadata).await.ok(),
        None => None,
    };
    page_leading_to(StatusCode::OK, &view, destination.as_slice())
}
