//! The page `/consent` that asks a person whether a client may use their account, and what they answer.
//!
//! The request waits in the page, sealed for this person and session. It is read anew with the answer: what
//! is registered may have changed meanwhile.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::answer::{name_of, send_code, send_refusal};
use super::request::{self, Addressee, AuthorizationRequest, Query};
use super::{Person, code, sign_in_address};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::random;
use crate::protocol::redirect_uri::has_own_scheme;
use crate::protocol::scope::{EMAIL, OFFLINE_ACCESS, OPENID, PROFILE, ROLES};
use crate::protocol::sealed::Purpose;
use crate::routes::auth::form;
use crate::routes::auth::opening::audit;
use crate::routes::auth::tickets::SPENT_LEEWAY;
use crate::routes::oauth::error::{OAuthCode, Refusal};
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Operation, Tag};
use crate::routes::pages::account::active_user;
use crate::routes::pages::login::redirect;
use crate::routes::pages::places::with_query;
use crate::routes::pages::response::page_leading_to;
use crate::routes::pages::text::consent as text;
use crate::routes::pages::views::{Consent, ConsentRow};
use crate::routes::parameters::read_form;
use crate::routes::{csrf, session};
use crate::store::model::{Email, FamilyId, FamilyWithUser, SessionId, User, UserId};
use crate::store::operation::{ConsentOutcome, GiveConsent, Spent};

/// How long a person may take to answer.
const LIFE: Duration = Duration::from_secs(600);

/// Where the page posts to.
pub const FORM: &str = "/auth/form/consent";

/// The name of the form of the page.
const ACTION: &str = "consent";

/// A request that waits for an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ConsentTicket {
    /// The id that is spent.
    id: String,
    /// Who is asked.
    user: UserId,
    /// In which session.
    session: SessionId,
    /// The request.
    request: String,
    /// The scopes that the page shows.
    scope: String,
    /// The resources that the page shows.
    resource: String,
    /// When it was made, in milliseconds since the Unix epoch.
    asked_at: i64,
}

impl ConsentTicket {
    fn expires(&self) -> Timestamp {
        Timestamp::from_millis(self.asked_at).plus(LIFE)
    }

    fn spent(&self) -> Spent {
        Spent { id: format!("consent:{}", self.id), until: self.expires().plus(SPENT_LEEWAY) }
    }
}

/// The page that asks.
///
/// # Errors
/// `account_locked`; 503 if the store cannot be asked.
pub(super) async fn ask(
    app: &App,
    query: &Query,
    to: &Addressee,
    asked: &AuthorizationRequest,
    person: &Person,
) -> Result<HttpResponse, ApiError> {
    let user = active_user(app, person.user).await?;
    let emails = match asked.scope.has(EMAIL) {
        true => app.store.read.emails(user.id).await?,
        false => Vec::new(),
    };
    let ticket = ConsentTicket {
        id: random::text::<16>(),
        user: user.id,
        session: person.session,
        request: query.text().to_owned(),
        scope: asked.scope.to_string(),
        resource: asked.resource_text(),
        asked_at: app.clock.now().millis(),
    };
    let destination = Url::parse(&to.redirect_uri).ok();
    let host = destination.as_ref().and_then(Url::host_str);
    let is_here = has_own_scheme(&to.redirect_uri) || matches!(host, Some("127.0.0.1" | "[::1]"));
    let view = Consent {
        site: &app.site,
        form_token: &form::token(app, ACTION, &person.session.to_string()),
        request: &app.sealer.seal(Purpose::Consent, &ticket, ticket.expires()),
        client: name_of(to),
        username: &user.username,
        rows: rows(app, asked, &user, &emails),
        host: host.filter(|_| !is_here),
        another: &sign_in_address(app, query, asked, Some(person.auth_time), true),
    };
    Ok(page_leading_to(StatusCode::OK, &view, destination.as_slice()))
}

/// What the client will see and may do, in the order in which it asked.
fn rows<'a>(
    app: &'a App,
    asked: &'a AuthorizationRequest,
    user: &'a User,
    emails: &'a [Email],
) -> Vec<ConsentRow<'a>> {
    let row = |what: &'a str, value: Option<&'a str>| ConsentRow { what, value };
    let mut rows: Vec<ConsentRow<'a>> = Vec::new();
    for word in asked.scope.words() {
        match word {
            OPENID => rows.push(row(text::IDENTITY, None)),
            PROFILE => {
                rows.push(row(text::NAME, Some(&user.username)));
                let display_name = user.display_name.as_deref();
                rows.extend(display_name.map(|name| row(text::DISPLAY_NAME, Some(name))));
                rows.extend(user.avatar.is_some().then(|| row(text::PICTURE, None)));
            }
            EMAIL => {
                // A client is told one address: the one that somebody vouches for.
                let told = emails.iter().find(|email| email.verified).or(emails.first());
                rows.push(row(text::ADDRESS, told.map(|email| email.address.as_str())));
            }
            ROLES => rows.push(row(text::ROLE, Some(user.role.as_str()))),
            OFFLINE_ACCESS => rows.push(row(text::OFFLINE, None)),
            other => {
                let scope = app.settings.scopes.iter().find(|scope| scope.name == other);
                let description = scope.map(|scope| scope.description.as_str());
                rows.push(row(description.filter(|text| !text.is_empty()).unwrap_or(other), None));
            }
        }
    }
    rows.extend(asked.resource.iter().map(|resource| row(text::RESOURCE, Some(resource))));
    rows
}

/// How `POST /auth/form/consent` is described.
pub const ANSWER: Operation = Operation {
    id: "post_consent",
    tag: Tag::Pages,
    summary: "Answer whether an app may use the account",
    access: Access::Session,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("request", "The request, sealed in the page.").required(),
        Field::new("decision", "`allow` or `deny`.").required(),
    ]),
    answers: &[
        Answer::redirect(303, "Back to the app, or to the question anew where it has changed."),
        Answer::page("With `form_post` the way back to the app."),
    ],
    errors: &[
        ErrorCode::NotFound,
        ErrorCode::InvalidField,
        ErrorCode::InvalidRequest,
        ErrorCode::AlreadyUsed,
    ],
    ..Operation::PLAIN
};

/// `POST /auth/form/consent` with `form_token`, `request` and `decision`, `allow` or `deny`: back to the
/// client, with a code or `access_denied`.
///
/// # Errors
/// `csrf_rejected`; `unauthenticated`; `not_found` for a question that somebody else was asked, which stays
/// open; `already_used`; `invalid_request` where the client or its address are not registered any more; 503
/// if the answer could not be stored.
pub async fn answer(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    // Only a person in front of the page answers it.
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(session::unauthenticated());
    }
    let fields = read_form(&request, payload, app.settings.server.max_body).await?;
    let sealed = fields.get("request").unwrap_or_default();
    let ticket: ConsentTicket =
        app.sealer.open(Purpose::Consent, sealed, app.clock.now()).map_err(too_late)?;
    let query = Query::parse(&ticket.request);
    let Some(live) = session::live(&request, &app).await? else {
        return Err(sign_in_first(&query));
    };
    if ticket.user != live.user.id || ticket.session != live.family.session {
        return Err(ApiError::new(ErrorCode::NotFound, "You were not asked this."));
    }
    form::check_token(&app, &fields, ACTION, &live.family.session.to_string())?;
    let to = request::addressee(&query, &app).await?;
    match fields.get("decision") {
        Some("allow") => allow(&request, &app, &query, &to, &ticket, &live).await,
        Some("deny") => {
            let refusal = Refusal::new(OAuthCode::AccessDenied, "The person did not allow it.");
            Ok(send_refusal(&app, &to, &refusal))
        }
        _ => {
            let detail = "Choose whether to allow it.";
            Err(ApiError::new(ErrorCode::InvalidField, detail).field("decision"))
        }
    }
}

async fn allow(
    request: &HttpRequest,
    app: &App,
    query: &Query,
    to: &Addressee,
    ticket: &ConsentTicket,
    live: &FamilyWithUser,
) -> Result<HttpResponse, ApiError> {
    let asked = match AuthorizationRequest::parse(query, &to.client, app) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(send_refusal(app, to, &refusal)),
    };
    let shown = (ticket.scope.as_str(), ticket.resource.as_str());
    let is_as_shown = shown == (&asked.scope.to_string(), &asked.resource_text());
    if !is_as_shown || to.client.came_after(Timestamp::from_millis(ticket.asked_at)) {
        // What the person said yes to is not what is asked for now.
        return Ok(redirect(query.address()));
    }
    let now = app.clock.now();
    let client_id = &to.client.client_id;
    let mut entry = audit(request, app, live.user.id, "consent.given", now);
    entry.target = format!("client:{client_id}");
    entry.details = json!({ "scope": ticket.scope, "resource": ticket.resource });
    let write = GiveConsent {
        user: live.user.id,
        asked_in: FamilyId(live.family.session.0),
        client_id: client_id.clone(),
        scope: ticket.scope.clone(),
        resource: ticket.resource.clone(),
        spends: ticket.spent(),
        audit: entry,
    };
    match apply(&app.writer, write).await? {
        ConsentOutcome::Given => {
            let person = Person {
                user: live.user.id,
                session: live.family.session,
                auth_time: live.family.auth_time.seconds(),
            };
            Ok(send_code(app, to, &code(app, to, &asked, &person)))
        }
        ConsentOutcome::AlreadySpent => Err(ApiError::new(
            ErrorCode::AlreadyUsed,
            "You have answered this before. Go back to the app; if it does not let you in, start there again.",
        )),
        ConsentOutcome::NotAllowed => Err(sign_in_first(query)),
    }
}

fn sign_in_first(query: &Query) -> ApiError {
    session::unauthenticated().leading_to(with_query("/login", &[("return_to", &query.address())]))
}

fn too_late(cause: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ErrorCode::CsrfRejected,
        "The page was open for too long. Go back to the app and start there again.",
    )
    .cause(cause)
}
