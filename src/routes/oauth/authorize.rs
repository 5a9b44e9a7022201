//! `/oauth/authorize` (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2): parse, judge, act.
//!
//! [`request`] finds out whom an answer may be sent to and what is asked for, [`judge`] what that comes to,
//! [`consent`] asks the person, [`answer`] leads back. A request that nobody has to be asked about is
//! answered without a write.

pub mod answer;
pub mod consent;
pub mod judge;
pub mod request;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use url::Url;

use self::answer::{send_code, send_refusal};
use self::judge::{Consenting, Question, Reauthentication, Resumed, Session, Step};

pub use self::request::PATH;
use self::request::{Addressee, AuthorizationRequest, Query, REAUTHENTICATED, RESUMED};
use super::error::{OAuthCode, Refusal};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::authorization_code::{AuthorizationCode, fingerprint};
use crate::protocol::redirect_uri::has_own_scheme;
use crate::protocol::scope::Scope;
use crate::protocol::sealed::Purpose;
use crate::routes::auth::resume::Outcome;
use crate::routes::auth::start::LONGEST_HINT;
use crate::routes::auth::tickets::LOGIN_LIFE;
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Operation, Parameter, Tag};
use crate::routes::pages::login::redirect;
use crate::routes::pages::places::{self, Place};
use crate::routes::pages::resuming;
use crate::routes::parameters::read_form_text;
use crate::routes::session::{self, Authenticated};
use crate::store::model::{FamilyId, SessionId, UserId};

/// How `GET /oauth/authorize` is described.
pub const GET: Operation = Operation {
    id: "authorize",
    tag: Tag::Provider,
    summary: "Ask a person for access to their account",
    description: "RFC 6749 §4.1.1, OpenID Connect Core §3.1.2, with PKCE S256. A browser comes here. What the app is \
        told it finds at its redirect URI, `error` included, with its own `state` and our `iss`; where the app or its \
        redirect URI is unknown, nobody is redirected.",
    access: Access::Visitor,
    parameters: &[
        Parameter::query("client_id", "Which app asks.").required(),
        Parameter::query("redirect_uri", "Where it wants the answer: as registered.").required(),
        Parameter::query("response_type", "`code`."),
        Parameter::query("scope", "What it wants, separated by spaces."),
        Parameter::query("state", "What it wants to find with the answer."),
        Parameter::query("nonce", "What it wants to find in the ID token."),
        Parameter::query("code_challenge", "The S256 challenge (RFC 7636)."),
        Parameter::query("code_challenge_method", "`S256`."),
        Parameter::query("prompt", "`none`, or `login`, `consent`, `select_account`."),
        Parameter::query("max_age", "Oldest sign-in that will do, in seconds."),
        Parameter::query("login_hint", "Who probably signs in."),
        Parameter::query("id_token_hint", "Who was signed in there."),
        Parameter::query("response_mode", "`query` or `form_post`."),
        Parameter::query(
            "resource",
            "Which resources the access token is for (RFC 8707); several times for several.",
        )
        .of::<Vec<String>>(),
    ],
    answers: &[
        Answer::redirect(303, "Back to the app with a code or an error, or on to the sign-in."),
        Answer::page("The question whether the app may, or with `form_post` the way back to it."),
    ],
    errors: &[ErrorCode::InvalidRequest, ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `GET /oauth/authorize`.
///
/// # Errors
/// `invalid_request` where there is nobody to send an answer to; `rate_limited`, `duplicate_cookie`; 503
/// if it cannot be known who is signed in or what they allowed.
pub async fn get(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    authorize(&request, &app, Query::parse(request.query_string())).await
}

/// How `POST /oauth/authorize` is described.
pub const POST: Operation = Operation {
    id: "post_authorize",
    tag: Tag::Provider,
    summary: "The same from a form",
    description: "Leads to the same request by GET, since only that one is sent the cookies of a person who comes from \
        another site. The fields are the parameters of GET.",
    body: Body::Form(&[
        Field::new("client_id", "Which app asks."),
        Field::new("redirect_uri", "Where it wants the answer: as registered."),
    ]),
    answers: &[Answer::redirect(303, "To the same by GET, or back to the app with an error.")],
    errors: &[ErrorCode::InvalidRequest],
    ..Operation::PLAIN
};

/// `POST /oauth/authorize`: 303 to the same request by GET, since only that one is sent the cookies of a
/// person who comes from another site. What is in the query and in the body is there twice.
///
/// # Errors
/// As [`get`]; those of a form.
pub async fn post(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let form = read_form_text(&request, payload, app.settings.server.max_body).await?;
    let query = Query::parse(&format!("{}&{form}", request.query_string()));
    if query.can_be_sent_on() {
        // What is wrong with it is said once, by GET.
        return Ok(redirect(query.address()));
    }
    authorize(&request, &app, query).await
}

async fn authorize(
    request: &HttpRequest,
    app: &App,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let session = session::of_browser(request, app).await?;
    let to = request::addressee(&query, app).await?;
    match decide(request, app, &query, &to, session).await? {
        Ok(answer) => Ok(answer),
        Err(refusal) => Ok(send_refusal(app, &to, &refusal)),
    }
}

async fn decide(
    request: &HttpRequest,
    app: &App,
    query: &Query,
    to: &Addressee,
    session: Option<Authenticated>,
) -> Result<Result<HttpResponse, Refusal>, ApiError> {
    let asked = match AuthorizationRequest::parse(query, &to.client, app) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let now = app.clock.now();
    let returned = returned(app, query);
    let seen = session.as_ref().map(|session| Session {
        user: session.claims.sub.to_string(),
        auth_time: session.claims.auth_time,
    });
    let resumed = match Outcome::of(request, app)? {
        Some(Outcome::SignedOut) => Resumed::SignedOut,
        Some(Outcome::Refreshed) => Resumed::CookiesLost,
        None if query.was_resumed => Resumed::CookiesLost,
        None => Resumed::NotYet,
    };
    let step = judge::next(&asked.wishes, seen.as_ref(), returned.as_ref(), resumed, now.seconds());
    match (step, session) {
        (Step::GoOn, Some(session)) => {
            let person = Person::of(&session);
            ask_or_answer(app, query, to, &asked, &person).await
        }
        (Step::Resume | Step::GoOn, _) => {
            // Whoever comes back from a sign-in has still come back from it.
            let ticket = query.reauthenticated.as_deref().filter(|_| returned.is_some());
            let back = match ticket {
                Some(ticket) => {
                    format!("{}&{RESUMED}=1", query.address_with(REAUTHENTICATED, ticket))
                }
                None => query.address_with(RESUMED, "1"),
            };
            Ok(Ok(redirect(places::with_query("/auth/resume", &[("return_to", &back)]))))
        }
        (Step::TellOfCookies, _) => Ok(Ok(resuming::not_kept(app, &query.address()))),
        (Step::SignIn, session) => {
            let auth_time = session.map(|session| session.claims.auth_time);
            Ok(Ok(redirect(sign_in_address(app, query, &asked, auth_time, false))))
        }
        (Step::LoginRequired(why), _) => Ok(Err(Refusal::new(OAuthCode::LoginRequired, why))),
    }
}

/// Who answers a request, and in which session.
#[derive(Clone, Copy, Debug)]
struct Person {
    user: UserId,
    session: SessionId,
    auth_time: i64,
}

impl Person {
    fn of(session: &Authenticated) -> Self {
        let claims = &session.claims;
        Self { user: claims.sub, session: claims.sid, auth_time: claims.auth_time }
    }
}

/// The way to the sign-in page that the person comes back from, if it was for this request and not too
/// long ago.
fn returned(app: &App, query: &Query) -> Option<Reauthentication> {
    let sealed = query.reauthenticated.as_deref()?;
    let ticket: Reauthentication =
        app.sealer.open(Purpose::Reauthentication, sealed, app.clock.now()).ok()?;
    (ticket.fingerprint == query.fingerprint()).then_some(ticket)
}

/// The sign-in page, from where the person comes back to this request.
fn sign_in_address(
    app: &App,
    query: &Query,
    asked: &AuthorizationRequest,
    auth_time_before: Option<i64>,
    as_another: bool,
) -> String {
    let wishes = &asked.wishes;
    let back = if wishes.may_need_sign_in() {
        let now = app.clock.now();
        let ticket = Reauthentication {
            fingerprint: query.fingerprint(),
            asked_at: now.seconds(),
            auth_time_before,
        };
        let sealed = app.sealer.seal(Purpose::Reauthentication, &ticket, now.plus(LOGIN_LIFE));
        query.address_with(REAUTHENTICATED, &sealed)
    } else {
        query.address()
    };
    let words = [(wishes.login, "login"), (wishes.select_account || as_another, "select_account")];
    let words: Vec<&str> =
        words.into_iter().filter(|(wished, _)| *wished).map(|(_, word)| word).collect();
    let prompt = words.join(" ");
    let max_age = wishes.max_age.map(|seconds| seconds.to_string());
    let hint = asked.login_hint.as_deref().filter(|hint| !as_another && hint.len() <= LONGEST_HINT);
    let mut further = vec![("return_to", back.as_str())];
    further.extend((!prompt.is_empty()).then_some(("prompt", prompt.as_str())));
    further.extend(max_age.as_deref().map(|max_age| ("max_age", max_age)));
    further.extend(hint.map(|hint| ("login_hint", hint)));
    places::address(app, Place::Login, &further)
}

/// A code for the client, unless the person has to be asked first.
async fn ask_or_answer(
    app: &App,
    query: &Query,
    to: &Addressee,
    asked: &AuthorizationRequest,
    person: &Person,
) -> Result<Result<HttpResponse, Refusal>, ApiError> {
    let metadata = &to.client.metadata;
    let consenting = Consenting {
        auto_approve: metadata.auto_approve,
        can_be_posed_as: metadata.is_public() && has_own_scheme(&to.redirect_uri),
        is_remembered: !metadata.auto_approve && is_remembered(app, to, asked, person).await?,
    };
    match judge::question(&asked.wishes, consenting) {
        Question::No => Ok(Ok(send_code(app, to, &code(app, to, asked, person)))),
        Question::Yes => consent::ask(app, query, to, asked, person).await.map(Ok),
        Question::NotAllowed => {
            let description = "The person has not allowed this yet.";
            Ok(Err(Refusal::new(OAuthCode::ConsentRequired, description)))
        }
    }
}

/// Whether the person allowed the client all of this before.
async fn is_remembered(
    app: &App,
    to: &Addressee,
    asked: &AuthorizationRequest,
    person: &Person,
) -> Result<bool, ApiError> {
    let Some(given) = app.store.read.consent(person.user, &to.client.client_id).await? else {
        return Ok(false);
    };
    let scope = Scope::parse(&given.scope).unwrap_or_default();
    let has_resource = |asked: &String| given.resource.split(' ').any(|known| known == asked);
    Ok(asked.scope.is_within(&scope) && asked.resource.iter().all(has_resource))
}

/// A new code.
fn code(app: &App, to: &Addressee, asked: &AuthorizationRequest, person: &Person) -> String {
    let now = app.clock.now();
    let code = AuthorizationCode {
        family: FamilyId::new(now),
        client_id: to.client.client_id.clone(),
        redirect_uri: fingerprint(&to.redirect_uri),
        scope: asked.scope.to_string(),
        resource: asked.resource_text(),
        nonce: asked.nonce.clone(),
        code_challenge: asked.code_challenge.clone(),
        user: person.user,
        session: person.session,
        auth_time: person.auth_time,
        needs_consent: !to.client.metadata.auto_approve,
        issued_at: now.millis(),
    };
    app.sealer.seal(Purpose::Code, &code, now.plus(app.settings.tokens.code_ttl))
}

/// Where a form of ours ends, by way of redirects, if it leads to `return_to`: at a client, if that is an
/// authorization request that can be answered without a page. Browsers check it against `form-action`.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn destination(app: &App, return_to: &str) -> Result<Option<Url>, ApiError> {
    let here = return_to.strip_prefix(app.settings.server.public_url.as_str()).unwrap_or(return_to);
    let Some(query) = here.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('?')) else {
        return Ok(Url::parse(return_to).ok());
    };
    match request::addressee(&Query::parse(query), app).await {
        Ok(to) => Ok(Url::parse(&to.redirect_uri).ok()),
        Err(error) if error.code.status().is_client_error() => Ok(None),
        Err(error) => Err(error),
    }
}
