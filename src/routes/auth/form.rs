//! What the hosted pages post: `/auth/form/<action>`, below the path of the refresh cookie, so that
//! an expired access cookie does not lose what was typed.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::link;
use super::logout::{SESSION_COOKIES, cleared, sign_out, signed_in};
use super::setup::{SETUP_ERRORS, create, open_ticket};
use super::tickets::{FORM_LIFE, FormTicket};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::routes::cookies::Kind;
use crate::routes::csrf;
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Header, Operation, Tag};
use crate::routes::pages::onboarding;
use crate::routes::pages::places::{self, Place};
use crate::routes::parameters::{Parameters, read_form};

/// The hidden field that every form of ours has.
pub const TOKEN: Field = Field::new("form_token", "The hidden field of the page.").required();

/// Makes the hidden field of a form, bound to a session or setup ticket.
pub fn token(app: &App, action: &str, bound_to: &str) -> String {
    let ticket = FormTicket { action: action.to_owned(), bound_to: bound_to.to_owned() };
    app.sealer.seal(Purpose::Form, &ticket, app.clock.now().plus(FORM_LIFE))
}

/// Checks the hidden field of a form.
///
/// # Errors
/// `csrf_rejected`.
pub fn check_token(
    app: &App,
    form: &Parameters,
    action: &str,
    bound_to: &str,
) -> Result<(), ApiError> {
    let refused = || {
        ApiError::new(
            ErrorCode::CsrfRejected,
            "The page was open for too long or belongs to another session. Load it again.",
        )
    };
    let sealed = form.get("form_token").ok_or_else(refused)?;
    let ticket: FormTicket = app
        .sealer
        .open(Purpose::Form, sealed, app.clock.now())
        .map_err(|error| refused().cause(error))?;
    let expected = FormTicket { action: action.to_owned(), bound_to: bound_to.to_owned() };
    if ticket == expected { Ok(()) } else { Err(refused()) }
}

/// How `POST /auth/form/setup` is described.
pub const SETUP: Operation = Operation {
    id: "post_setup",
    tag: Tag::Pages,
    summary: "Make the account",
    description: "What another name can mend is shown on the page again, with the status of the error.",
    access: Access::Setup,
    body: Body::Form(&[
        TOKEN,
        Field::new("username", "The name of the account."),
        Field::new("display_name", "What pages show; empty for none."),
    ]),
    answers: &[Answer::redirect(303, "To where the person wanted to go.")
        .with(&[Header::Sets(&[Kind::Access, Kind::Refresh, Kind::LastProvider])])],
    errors: SETUP_ERRORS,
    ..Operation::PLAIN
};

/// `POST /auth/form/setup`: as `POST /auth/setup`; answers 303, or the page again with what was
/// typed.
///
/// # Errors
/// Those of setup that another name cannot mend.
pub async fn setup(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let ticket = open_ticket(&request, &app)?;
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    check_token(&app, &form, "setup", &ticket.id)?;
    let username = form.get("username").unwrap_or_default();
    let display_name = form.get("display_name");
    match create(&request, &app, &ticket, username, display_name).await {
        Ok(created) => Ok(created.answer(&app, &ticket, HttpResponse::SeeOther()).finish()),
        Err(error) if onboarding::shows(&error) => {
            let display_name = display_name.unwrap_or_default();
            onboarding::again(&app, &ticket, username, display_name, &error).await
        }
        Err(error) => Err(error),
    }
}

/// How `POST /auth/form/link` is described.
pub const LINK: Operation = Operation {
    id: "post_link",
    tag: Tag::Pages,
    summary: "Go on to a provider, or connect what waits",
    access: Access::Session,
    body: Body::Form(&[
        TOKEN,
        Field::new(
            "provider",
            "The provider to go on to; without it the answer is yes to what waits.",
        ),
        Field::new("return_to", "Where to go afterwards, with `provider`."),
        Field::new("login_hint", "Who probably signs in, with `provider`."),
        Field::new("prompt", "Passed on to the provider."),
        Field::new("max_age", "Passed on to the provider."),
    ]),
    answers: &[Answer::redirect(303, "To the provider, or to where the person wanted to go.")
        .with(&[Header::Sets(&[Kind::Access, Kind::Refresh, Kind::LastProvider])])],
    errors: &[
        ErrorCode::ReauthenticationRequired,
        ErrorCode::UnknownProvider,
        ErrorCode::InvalidReturnTo,
        ErrorCode::InvalidField,
        ErrorCode::ProviderError,
        ErrorCode::ProviderTimeout,
        ErrorCode::LinkExpired,
        ErrorCode::Forbidden,
        ErrorCode::IdentityTaken,
        ErrorCode::AlreadyUsed,
        ErrorCode::AccountLocked,
    ],
    ..Operation::PLAIN
};

/// `POST /auth/form/link`: with `provider` on to that provider, without it the answer yes to what waits.
///
/// # Errors
/// Those of [`link::start_by_form`] and [`link::confirm`].
pub async fn link(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    match form.get("provider") {
        Some(provider) => link::start_by_form(&request, &app, &form, provider).await,
        None => link::confirm(&request, &app, &form).await,
    }
}

/// How `POST /auth/form/sign-out` is described.
pub const LEAVE: Operation = Operation {
    id: "post_sign_out",
    tag: Tag::Pages,
    summary: "Sign out, here or everywhere",
    access: Access::Visitor,
    body: Body::Form(&[
        Field { is_required: false, ..TOKEN },
        Field::new("everywhere", "`true` for all sessions."),
    ]),
    answers: &[Answer::redirect(303, "To the farewell.").with(&[Header::Clears(SESSION_COOKIES)])],
    errors: &[ErrorCode::CookiesNotSent],
    ..Operation::PLAIN
};

/// `POST /auth/form/sign-out`, with `everywhere=true` for all sessions: 303 to the farewell.
///
/// # Errors
/// As `POST /auth/logout`.
pub async fn leave(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    let everywhere = form.get("everywhere") == Some("true");
    if let Some((session, _)) = signed_in(&request, &app).await? {
        check_token(&app, &form, "sign-out", &session.to_string())?;
        sign_out(&request, &app, everywhere).await?;
    }
    let query: &[(&str, &str)] = if everywhere { &[("everywhere", "true")] } else { &[] };
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((LOCATION, places::address(&app, Place::SignedOut, query)));
    Ok(cleared(&app, answer))
}
