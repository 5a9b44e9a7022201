//! `/oauth/logout`: an app leads a person here to sign them out (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use url::Url;
use url::form_urlencoded::Serializer;

use super::id_token::read_hint;
use crate::actors::clients::FindClient;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::jwt::IdClaims;
use crate::protocol::sealed::Purpose;
use crate::routes::auth::form;
use crate::routes::auth::logout::{SESSION_COOKIES, cleared, end_session, signed_in};
use crate::routes::auth::tickets::FORM_LIFE;
use crate::routes::openapi::operation::{
    Access, Answer, Body, Field, Header, Operation, Parameter, Tag,
};
use crate::routes::pages::login::redirect;
use crate::routes::pages::places::{self, Place};
use crate::routes::pages::response::page_leading_to;
use crate::routes::pages::resuming;
use crate::routes::pages::views::EndSession;
use crate::routes::parameters::{Parameters, read_form};
use crate::routes::session::{self, Authenticated};
use crate::routes::{csrf, rate_limit};
use crate::store::model::Client;

/// Its path.
pub const PATH: &str = "/oauth/logout";

/// What the form of the confirmation is called in its token.
const ACTION: &str = "end-session";

/// The parameters that mean something here (§2). `logout_hint` and `ui_locales` are accepted and not
/// needed: the cookie tells who is signed in, and the pages are in one language.
const PARAMETERS: [&str; 6] = [
    "id_token_hint",
    "client_id",
    "post_logout_redirect_uri",
    "state",
    "logout_hint",
    "ui_locales",
];

/// What a request comes down to once it is checked; sealed while the person is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wish {
    /// The app that leads here, as far as it says so.
    client_id: Option<String>,
    /// Where to go afterwards: an address of that app.
    back_to: Option<String>,
    /// Handed back there.
    state: Option<String>,
}

/// How `POST /oauth/logout` is described.
pub const BY_POST: Operation = Operation {
    id: "post_end_session_of_app",
    tag: Tag::Provider,
    summary: "The same from a form",
    description: "Leads to the same by GET, where the browser sends its cookies wherever the form was.",
    body: Body::Form(&[
        Field::new(
            "id_token_hint",
            "An ID token of the person, which proves that the app knows them.",
        ),
        Field::new("client_id", "Which app it is."),
        Field::new("post_logout_redirect_uri", "Where to go afterwards: as registered."),
        Field::new("state", "What the app wants to find there."),
        Field::new("logout_hint", "Accepted, and not needed."),
        Field::new("ui_locales", "Accepted, and not needed."),
    ]),
    answers: &[Answer::redirect(303, "To the same by GET.")],
    ..Operation::PLAIN
};

/// `POST /oauth/logout`: 303 to the same by GET, where the browser sends its cookies wherever the form was.
///
/// # Errors
/// Those of a malformed form.
pub async fn by_post(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    let pairs: Vec<(&str, &str)> =
        PARAMETERS.into_iter().filter_map(|name| Some((name, form.get(name)?))).collect();
    Ok(redirect(places::with_query(PATH, &pairs)))
}

/// How `GET /oauth/logout` is described.
pub const LOGOUT: Operation = Operation {
    id: "end_session_of_app",
    tag: Tag::Provider,
    summary: "Sign a person out at an app's wish",
    description: "OpenID Connect RP-Initiated Logout 1.0. A browser comes here. Who cannot show an ID token of the person \
        who is signed in has that person asked first.",
    access: Access::Visitor,
    parameters: &[
        Parameter::query(
            "id_token_hint",
            "An ID token of the person, which proves that the app knows them.",
        ),
        Parameter::query("client_id", "Which app it is."),
        Parameter::query("post_logout_redirect_uri", "Where to go afterwards: as registered."),
        Parameter::query("state", "What the app wants to find there."),
        Parameter::query("logout_hint", "Accepted, and not needed."),
        Parameter::query("ui_locales", "Accepted, and not needed."),
    ],
    answers: &[
        Answer::redirect(303, "Back to the app, or to our farewell.")
            .with(&[Header::Clears(SESSION_COOKIES)]),
        Answer::page("The question."),
    ],
    errors: &[ErrorCode::InvalidRequest],
    ..Operation::PLAIN
};

/// `GET /oauth/logout`: signs this browser out and leads back to the app. Whoever cannot show an ID token of
/// the person who is signed in has that person asked first.
///
/// # Errors
/// `invalid_request` for an address that is not registered, or for two clients; 503 if the end could not be
/// stored.
pub async fn logout(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let hint = Hint::of(&app, &query).await?;
    let named = query.get("client_id");
    let wish = Wish {
        client_id: hint.client().or(named).map(str::to_owned),
        back_to: query.get("post_logout_redirect_uri").map(str::to_owned),
        state: query.get("state").map(str::to_owned),
    };
    if named.is_some() && named != wish.client_id.as_deref() {
        return Err(refused("It is unclear which app asks."));
    }
    let client = wish.client(&app).await?;
    if wish.back_to.is_some() && wish.address(client.as_deref()).is_none() {
        return Err(refused(
            "The app wants to be returned to at an address that it is not known by.",
        ));
    }
    let Some(session) = session::of_browser(&request, &app).await? else {
        if resuming::found_nobody(&request, &app)? {
            // Somebody who makes up a hint is not led anywhere by it.
            let back = wish.address(client.as_deref()).filter(|_| !matches!(hint, Hint::Unknown));
            return Ok(farewell(&app, back));
        }
        let here = request.uri().path_and_query().map_or(PATH, |target| target.as_str());
        return resuming::lead_on(&request, &app, here);
    };
    let (person, sid) = (session.claims.sub, session.claims.sid);
    if hint.is_of(&session) {
        end_session(&request, &app, sid, person, wish.client_id.as_deref()).await?;
        return Ok(farewell(&app, wish.address(client.as_deref())));
    }
    ask(&app, &session, &wish, client.as_deref()).await
}

/// How `POST /auth/form/end-session` is described.
pub const CONFIRMED: Operation = Operation {
    id: "post_end_of_session_of_app",
    tag: Tag::Pages,
    summary: "Confirm to be signed out at an app's wish",
    access: Access::Visitor,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("request", "What the app wants, sealed in the page.").required(),
    ]),
    answers: &[Answer::redirect(303, "Back to the app, or to our farewell.")
        .with(&[Header::Clears(SESSION_COOKIES)])],
    ..Operation::PLAIN
};

/// `POST /auth/form/end-session`, the answer yes to the question.
///
/// # Errors
/// `csrf_rejected`; 503 if the end could not be stored.
pub async fn confirmed(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    let sealed = form.get("request").unwrap_or_default();
    let wish: Wish =
        app.sealer.open(Purpose::EndSession, sealed, app.clock.now()).map_err(|error| {
            ApiError::new(
                ErrorCode::CsrfRejected,
                "The page was open for too long. Go back to the app and sign out there once more.",
            )
            .cause(error)
        })?;
    match signed_in(&request, &app).await? {
        Some((session, user)) => {
            form::check_token(&app, &form, ACTION, &session.to_string())?;
            rate_limit::by_name(&request, &app, Tier::Api, session.to_string()).await?;
            end_session(&request, &app, session, user, wish.client_id.as_deref()).await?;
        }
        None => rate_limit::by_address(&request, &app, Tier::Public).await?,
    }
    let client = wish.client(&app).await?;
    Ok(farewell(&app, wish.address(client.as_deref())))
}

/// What an app shows to prove that it knows the person.
enum Hint {
    /// Nothing.
    None,
    /// What no key of ours has signed, or for an app that is gone.
    Unknown,
    /// An ID token of ours.
    Known(Box<IdClaims>),
}

impl Hint {
    async fn of(app: &App, query: &Parameters) -> Result<Self, ApiError> {
        let Some(token) = query.get("id_token_hint") else { return Ok(Self::None) };
        let claims = match read_hint(app, token) {
            Ok(claims) => claims,
            Err(reason) => {
                tracing::debug!(%reason, "an ID token that came as a hint is not believed");
                return Ok(Self::Unknown);
            }
        };
        let client = app.clients.ask(FindClient(claims.aud.clone())).await??;
        // What was issued before belongs to another client, which had the id then.
        let is_for = |client: &Client| !client.came_after(Timestamp::from_seconds(claims.iat));
        Ok(match client.is_some_and(|client| is_for(&client)) {
            true => Self::Known(Box::new(claims)),
            false => Self::Unknown,
        })
    }

    fn client(&self) -> Option<&str> {
        match self {
            Self::Known(claims) => Some(&claims.aud),
            Self::None | Self::Unknown => None,
        }
    }

    /// Whether it was issued to the person, or in the session, that is signed in here.
    fn is_of(&self, session: &Authenticated) -> bool {
        match self {
            Self::Known(claims) => {
                claims.sid == session.claims.sid || claims.sub == session.claims.sub.to_string()
            }
            Self::None | Self::Unknown => false,
        }
    }
}

impl Wish {
    async fn client(&self, app: &App) -> Result<Option<Arc<Client>>, ApiError> {
        match &self.client_id {
            Some(id) => Ok(app.clients.ask(FindClient(id.clone())).await??),
            None => Ok(None),
        }
    }

    /// Where to go afterwards, if that is registered, character by character (§3), with the `state`.
    fn address(&self, client: Option<&Client>) -> Option<String> {
        let back_to = self.back_to.as_ref()?;
        let registered = &client?.metadata.post_logout_redirect_uris;
        registered.contains(back_to).then(|| match &self.state {
            None => back_to.clone(),
            Some(state) => {
                let separator = if back_to.contains('?') { '&' } else { '?' };
                let state = Serializer::new(String::new()).append_pair("state", state).finish();
                format!("{back_to}{separator}{state}")
            }
        })
    }
}

fn refused(what: &str) -> ApiError {
    let detail = format!(
        "{what} So nothing was done. If you are signed in here, you can sign out on your account page."
    );
    ApiError::new(ErrorCode::InvalidRequest, detail).leading_to("/account")
}

/// The end of the way: back to the app, or to our own farewell. The cookies go in any case.
fn farewell(app: &App, back: Option<String>) -> HttpResponse {
    let target = back.unwrap_or_else(|| places::address(app, Place::SignedOut, &[]));
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((LOCATION, target));
    cleared(app, answer)
}

/// The page that asks.
async fn ask(
    app: &App,
    session: &Authenticated,
    wish: &Wish,
    client: Option<&Client>,
) -> Result<HttpResponse, ApiError> {
    let person = app.store.read.user(session.claims.sub).await?;
    let until = app.clock.now().plus(FORM_LIFE);
    let back = wish.address(client).and_then(|address| Url::parse(&address).ok());
    let view = EndSession {
        site: &app.site,
        form_token: &form::token(app, ACTION, &session.claims.sid.to_string()),
        request: &app.sealer.seal(Purpose::EndSession, wish, until),
        username: person.as_ref().map_or("", |person| person.username.as_str()),
        client: client.map(|client| client.metadata.client_name.as_str()),
        stay: &places::address(app, Place::Account, &[]),
    };
    Ok(page_leading_to(StatusCode::OK, &view, back.as_slice()))
}
