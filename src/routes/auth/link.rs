//! Connecting a further way to sign in to an account.
//!
//! Three ways lead to one question, which the page `/link` asks and `POST /auth/form/link` answers: a
//! signed-in person who wants it, a newcomer whose verified address an account has, and a person with a
//! recovery link. Who may say yes is sealed into the ticket that waits in the meantime.

use actix_web::cookie::Cookie;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::bootstrap::promoted;
use super::newcomer::without_provider;
use super::opening::{
    audit, fetch_picture, last_provider, new_family, refuse_tokens_of, replaced, session_before,
};
use super::start::{ATTEMPT, PARAMETERS, Wishes, begin, find};
use super::tickets::{Confirmation, Intent, LINK_LIFE, LinkTicket, LoginTicket, seal_within};
use super::{form, setup::SIGN_IN_AGAIN};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::random;
use crate::protocol::sealed::Purpose;
use crate::providers::identity::ProviderIdentity;
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Operation, Parameter, Tag};
use crate::routes::pages::places::Place;
use crate::routes::pages::resuming;
use crate::routes::pages::text::Done;
use crate::routes::parameters::Parameters;
use crate::routes::session::{self, Authenticated, check_recent};
use crate::routes::{csrf, edge, pages};
use crate::store::model::{FamilyWithUser, SessionId, User, UserId};
use crate::store::operation::{
    IdentityRefresh, LinkIdentity, LinkOutcome, UnlinkIdentities, UnlinkOutcome,
};

/// Largest sealed ticket: it travels beside the session's cookies and perhaps a setup ticket.
const LARGEST: usize = 2_600;

/// How `GET /auth/link/{provider}` is described.
pub const START: Operation = Operation {
    id: "start_link",
    tag: Tag::Account,
    summary: "Go to a provider to add a way to sign in",
    description: "Needs a sign-in of the last 15 minutes.",
    access: Access::Session,
    parameters: PARAMETERS,
    answers: &[
        Answer::redirect(302, "To the provider.").with(&[ATTEMPT]),
        Answer::page("The question, for a person who comes from another site."),
        Answer::redirect(303, "To the sign-in, for a browser in which nobody is signed in."),
    ],
    errors: &[
        ErrorCode::ReauthenticationRequired,
        ErrorCode::UnknownProvider,
        ErrorCode::InvalidReturnTo,
        ErrorCode::InvalidField,
        ErrorCode::ProviderError,
        ErrorCode::ProviderTimeout,
    ],
    ..Operation::PLAIN
};

/// `GET /auth/link/{provider}?return_to=…`: to the provider, from one of our pages; a person who comes
/// from elsewhere is asked first, since others' pages can lead here, too.
///
/// # Errors
/// `unauthenticated`, `reauthentication_required`, `unknown_provider`; those of a sign-in's start.
pub async fn start(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let here = request.uri().path_and_query().map_or("/account", |target| target.as_str());
    let Some(live) = session::live(&request, &app).await? else {
        return if edge::wants_page(request.headers()) {
            resuming::lead_on(&request, &app, here)
        } else {
            Err(session::unauthenticated())
        };
    };
    check_recent(live.family.auth_time, app.clock.now(), here)?;
    let provider = find(&app, &name)?;
    let wishes = Wishes::of(&Parameters::of_query(&request)?, &app, "/account")?;
    if !csrf::is_same_origin(request.headers()) {
        return Ok(pages::link::start(&app, &live, provider.settings(), &wishes.return_to).await);
    }
    let intent = Intent::Link { user: live.user.id, session: live.family.session };
    begin(&request, &app, provider, wishes, intent, HttpResponse::Found()).await
}

/// The same from the form of the page that asks first: `form_token`, `provider`, `return_to`.
///
/// # Errors
/// As [`start`], and `csrf_rejected`.
pub async fn start_by_form(
    request: &HttpRequest,
    app: &App,
    fields: &Parameters,
    provider: &str,
) -> Result<HttpResponse, ApiError> {
    let live = session::live(request, app).await?.ok_or_else(session::unauthenticated)?;
    form::check_token(app, fields, "link", &live.family.session.to_string())?;
    let again = format!("/auth/link/{provider}");
    check_recent(live.family.auth_time, app.clock.now(), &again)?;
    let provider = find(app, provider)?;
    let wishes = Wishes::of(fields, app, "/account")?;
    let intent = Intent::Link { user: live.user.id, session: live.family.session };
    begin(request, app, provider, wishes, intent, HttpResponse::SeeOther()).await
}

/// What follows on the way back from the provider: the question, unless there is nothing to ask.
///
/// # Errors
/// `unauthenticated` if the session that started this has ended or is another by now;
/// `identity_taken`.
pub async fn ask(
    request: &HttpRequest,
    app: &App,
    identity: ProviderIdentity,
    login: &LoginTicket,
    (user, session): (UserId, SessionId),
    known: Option<User>,
) -> Result<HttpResponse, ApiError> {
    let live = session::live(request, app).await?;
    if live.is_none_or(|live| live.user.id != user || live.family.session != session) {
        return Err(session_is_over());
    }
    match known {
        // Connected already: what was wanted is so.
        Some(owner) if owner.id == user => {
            let target = crate::routes::return_to::check(&login.return_to, &app.settings.server)?;
            Ok(HttpResponse::SeeOther().insert_header((LOCATION, target)).finish())
        }
        Some(_) => Err(identity_taken(app, &login.provider)),
        None => Ok(waiting(app, identity, login, user, Confirmation::Session(session))),
    }
}

fn session_is_over() -> ApiError {
    ApiError::new(
        ErrorCode::Unauthenticated,
        "The session that this was started in has ended. Sign in, and start from your account again.",
    )
}

/// The identity is somebody else's; whose is not told.
pub fn identity_taken(app: &App, provider: &str) -> ApiError {
    let name = app.providers.display_name(provider);
    ApiError::new(
        ErrorCode::IdentityTaken,
        format!(
            "This {name} account signs in to another account here, and nothing has changed. Choose another {name} account, or sign in with this one."
        ),
    )
}

/// To the page that asks, with what waits for the answer.
pub fn waiting(
    app: &App,
    identity: ProviderIdentity,
    login: &LoginTicket,
    user: UserId,
    confirmed_by: Confirmation,
) -> HttpResponse {
    HttpResponse::SeeOther()
        .cookie(waiting_cookie(app, identity, login, user, confirmed_by))
        // This question is always ours to ask, whatever frontend there is.
        .insert_header((LOCATION, Place::Link.path()))
        .finish()
}

/// What waits, in its cookie.
pub fn waiting_cookie(
    app: &App,
    identity: ProviderIdentity,
    login: &LoginTicket,
    user: UserId,
    confirmed_by: Confirmation,
) -> Cookie<'static> {
    let now = app.clock.now();
    let expires = now.plus(LINK_LIFE);
    let mut ticket = LinkTicket {
        id: random::text::<16>(),
        login: login.state.clone(),
        provider: login.provider.clone(),
        subject: identity.subject,
        emails: without_provider(&identity.emails),
        username_hint: identity.username_hint,
        display_name: identity.display_name,
        picture: identity.picture.map(String::from),
        auth_time: identity.auth_time.unwrap_or(now).millis(),
        user,
        confirmed_by,
        return_to: login.return_to.clone(),
        login_started: login.started_at,
        expires: expires.millis(),
    };
    let give_up = LinkTicket::give_up;
    let sealed = seal_within(&app.sealer, Purpose::Link, &mut ticket, expires, LARGEST, give_up);
    app.cookies.set(Kind::Link, sealed, LINK_LIFE)
}

/// What waits in this browser.
///
/// # Errors
/// `link_expired`, `duplicate_cookie`.
pub fn open_ticket(request: &HttpRequest, app: &App) -> Result<LinkTicket, ApiError> {
    let expired = || {
        ApiError::new(
            ErrorCode::LinkExpired,
            "It was connected before, or it took too long. Start from your account again.",
        )
    };
    let sealed = app.cookies.read(request, Kind::Link)?.ok_or_else(expired)?;
    let ticket: LinkTicket = app
        .sealer
        .open(Purpose::Link, sealed, app.clock.now())
        .map_err(|error| expired().cause(error))?;
    app.providers.get(&ticket.provider).ok_or_else(expired)?;
    Ok(ticket)
}

/// What the form of the question is bound to: this ticket, and the session that may answer.
pub fn form_binding(ticket: &LinkTicket, asked: Option<SessionId>) -> String {
    let session = asked.map_or_else(|| "recovery".to_owned(), |session| session.to_string());
    format!("{}:{session}", ticket.id)
}

/// The session that may answer for this ticket; `None` where a recovery link does.
///
/// # Errors
/// `unauthenticated`; `forbidden` for anybody else's session; `reauthentication_required`.
pub fn judge(
    app: &App,
    ticket: &LinkTicket,
    live: Option<FamilyWithUser>,
) -> Result<Option<FamilyWithUser>, ApiError> {
    let of_owner = |live: Option<FamilyWithUser>| {
        let live = live.ok_or_else(session_is_over)?;
        if live.user.id == ticket.user {
            Ok(live)
        } else {
            Err(ApiError::new(
                ErrorCode::Forbidden,
                "Somebody else is signed in here than the account that this was started for. Nothing has changed.",
            ))
        }
    };
    match &ticket.confirmed_by {
        Confirmation::Recovery(_) => Ok(None),
        Confirmation::Session(session) => {
            let live = of_owner(live)?;
            if live.family.session == *session { Ok(Some(live)) } else { Err(session_is_over()) }
        }
        Confirmation::Owner => {
            let live = of_owner(live)?;
            check_recent(live.family.auth_time, app.clock.now(), Place::Link.path())?;
            Ok(Some(live))
        }
    }
}

/// The answer yes, from the form: connects what waits. The same again is answered in the same way.
///
/// # Errors
/// `link_expired`, those of [`judge`], `csrf_rejected`, `invalid_return_to`, `identity_taken`,
/// `already_used`, `account_locked`.
pub async fn confirm(
    request: &HttpRequest,
    app: &App,
    fields: &Parameters,
) -> Result<HttpResponse, ApiError> {
    let ticket = open_ticket(request, app)?;
    let asked = judge(app, &ticket, session::live(request, app).await?)?;
    let session = asked.as_ref().map(|live| live.family.session);
    form::check_token(app, fields, "link", &form_binding(&ticket, session))?;
    let target = crate::routes::return_to::check(&ticket.return_to, &app.settings.server)?;
    let now = app.clock.now();
    let write = writing(request, app, &ticket, asked.as_ref(), now).await?;
    let ends = write.ends.clone();
    let opened = match apply(&app.writer, write).await? {
        LinkOutcome::Linked(opened) => {
            fetch_picture(app, ticket.user, ticket.picture.as_deref());
            opened
        }
        LinkOutcome::AlreadyLinked => None,
        LinkOutcome::IdentityTaken => return Err(identity_taken(app, &ticket.provider)),
        LinkOutcome::AlreadySpent => {
            return Err(ApiError::new(ErrorCode::AlreadyUsed, SIGN_IN_AGAIN));
        }
        LinkOutcome::NotAllowed if asked.is_some() => return Err(session_is_over()),
        LinkOutcome::NotAllowed => return Err(super::callback::locked()),
    };
    refuse_tokens_of(app, ends.as_ref()).await?;
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((LOCATION, target));
    for over in [Kind::Link, Kind::Setup, Kind::Recovery] {
        answer.cookie(app.cookies.clear(over));
    }
    if let Some(live) = opened {
        let identity = (ticket.provider.as_str(), ticket.subject.as_str());
        let live = promoted(request, app, identity, *live, now).await?;
        let cookies = session::issue(app, &live, now)?;
        answer
            .cookie(cookies.access)
            .cookie(cookies.refresh)
            .cookie(app.cookies.clear(Kind::Resume))
            .cookie(last_provider(app, &ticket.provider));
    }
    Ok(answer.finish())
}

async fn writing(
    request: &HttpRequest,
    app: &App,
    ticket: &LinkTicket,
    asked: Option<&FamilyWithUser>,
    now: Timestamp,
) -> Result<LinkIdentity, ApiError> {
    let mut linked = audit(request, app, ticket.user, "identity.linked", now);
    linked.details = json!({
        "provider": ticket.provider, "personal": { "subject": ticket.subject },
    });
    let mut entries = vec![linked];
    let (mut opens, mut ends) = (None, None);
    if asked.is_none() {
        // A recovery link opens a session, too, and ends whoever was signed in here.
        let auth_time = Some(Timestamp::from_millis(ticket.auth_time));
        let provider = &ticket.provider;
        let family = new_family(request, app, None, ticket.user, provider, auth_time, now);
        let mut opened = audit(request, app, ticket.user, "session.opened", now);
        opened.target = format!("session:{}", family.session);
        opened.details = json!({ "provider": provider });
        entries.push(audit(request, app, ticket.user, "user.recovered", now));
        entries.push(opened);
        opens = Some(family);
        let before = session_before(request, app).await?;
        ends = before.map(|live| replaced(request, app, &live, now));
    }
    Ok(LinkIdentity {
        user: ticket.user,
        identity: IdentityRefresh {
            provider: ticket.provider.clone(),
            subject: ticket.subject.clone(),
            emails: ticket.emails(),
        },
        display_name: ticket.display_name.clone(),
        asked_in: asked.map(|live| live.family.id),
        spends: ticket.spends(),
        opens,
        ends,
        now,
        audit: entries,
    })
}

/// How `DELETE /auth/link/{provider}` is described.
pub const UNLINK: Operation = Operation {
    id: "unlink",
    tag: Tag::Account,
    summary: "Take a way to sign in away",
    description: "Needs a sign-in of the last 15 minutes. Without `subject` all identities at the provider go.",
    access: Access::Person,
    parameters: &[
        Parameter::path("provider", "The provider's name."),
        Parameter::query("subject", "Which identity: the `subject` of the list."),
    ],
    answers: &[Answer::empty(204, "It is gone, now or before.")],
    errors: &[
        ErrorCode::ReauthenticationRequired,
        ErrorCode::LastIdentity,
        ErrorCode::UnknownProvider,
    ],
    ..Operation::PLAIN
};

/// `DELETE /auth/link/{provider}`: 204, also if there was nothing to disconnect. Takes all of the
/// person's identities at this provider, or with `?subject=` the one that [`super::links`] names.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`, `reauthentication_required`, `last_identity`;
/// `unknown_provider` for one that is neither configured nor connected.
pub async fn unlink(
    request: HttpRequest,
    session: Authenticated,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let auth_time = Timestamp::from_seconds(session.claims.auth_time);
    check_recent(auth_time, app.clock.now(), "/account")?;
    let user = session.claims.sub;
    let query = Parameters::of_query(&request)?;
    let subject = query.get("subject").map(str::to_owned);
    disconnect(&request, &app, user, &name, subject).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes identities from a person.
///
/// # Errors
/// `last_identity`, `unknown_provider`, `unauthenticated`.
pub async fn disconnect(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    provider: &str,
    subject: Option<String>,
) -> Result<(), ApiError> {
    let mut entry = audit(request, app, user, "identity.unlinked", app.clock.now());
    entry.details = json!({ "provider": provider, "personal": { "subject": subject } });
    let configured = app.providers.iter().map(|provider| provider.settings().name.clone());
    let write = UnlinkIdentities {
        user,
        provider: provider.to_owned(),
        subject,
        usable: configured.collect(),
        audit: entry,
    };
    match apply(&app.writer, write).await? {
        UnlinkOutcome::Unlinked => Ok(()),
        UnlinkOutcome::NotLinked => find(app, provider).map(drop),
        UnlinkOutcome::Last => Err(ApiError::new(
            ErrorCode::LastIdentity,
            "Without it you could not get in any more. Connect another way to sign in, then disconnect this one.",
        )),
        UnlinkOutcome::NotAllowed => Err(session::unauthenticated()),
    }
}

/// 303 to the account after the form of the account page: `provider`, `subject`.
///
/// # Errors
/// As [`unlink`].
pub async fn unlink_by_form(
    request: &HttpRequest,
    app: &App,
    live: &FamilyWithUser,
    fields: &Parameters,
) -> Result<HttpResponse, ApiError> {
    check_recent(live.family.auth_time, app.clock.now(), "/account")?;
    let missing = || ApiError::new(ErrorCode::InvalidField, "It says which one to disconnect.");
    let provider = fields.get("provider").ok_or_else(|| missing().field("provider"))?;
    let subject = fields.get("subject").map(str::to_owned);
    disconnect(request, app, live.user.id, provider, subject).await?;
    Ok(pages::account::done(app, Done::Unlink))
}
