//! The demo app at `/dev/app`: an ordinary client, which shows what it gets.
//!
//! It lives in this server's process and knows nothing that another client would not: it is registered
//! like one, and asks the server by HTTP. It keeps nothing but cookies.

mod kept;
mod server;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::administration::By;
use crate::app::App;
use crate::config::settings::{Origin, Settings};
use crate::error::ApiError;
use crate::protocol::client::{AuthMethod, ClientMetadata};
use crate::registration::{self, RegistrationError};
use crate::routes::csrf;
use crate::routes::endpoint::{Endpoint, Limit};
use crate::routes::openapi::operation::Operation;
use crate::routes::pages::response::page;
use crate::routes::pages::text::demo_app as text;
use crate::routes::pages::views::{DemoApp, DemoGrant, DemoTrouble, ShownToken};
use crate::routes::parameters::Parameters;
use crate::store::model::Actor;
use kept::{Attempt, Grant};
use server::{Server, Trouble};

/// The app's id at the server; there is no secret.
pub const CLIENT_ID: &str = "demo-app";

/// Where the app is.
pub const PATH: &str = "/dev/app";

/// What the app asks for.
const SCOPE: [&str; 3] = ["openid", "profile", "email"];

/// Where the server sends people back to.
fn redirect_uri(public_url: &Origin) -> String {
    public_url.join("/dev/app/callback")
}

/// What is registered about the app.
fn metadata(settings: &Settings) -> ClientMetadata {
    let public_url = &settings.server.public_url;
    ClientMetadata {
        // Of which there is a key in any case.
        id_token_signed_response_alg: settings.keys.algorithm,
        client_name: text::NAME.to_owned(),
        redirect_uris: vec![redirect_uri(public_url)],
        scope: SCOPE.join(" "),
        token_endpoint_auth_method: AuthMethod::None,
        post_logout_redirect_uris: vec![public_url.join(PATH)],
        ..ClientMetadata::default()
    }
}

/// Registers the app, or brings what is registered up to date: the port may be another one now.
///
/// # Errors
/// [`RegistrationError`] if the store does not answer.
pub async fn register(app: &App) -> Result<(), RegistrationError> {
    let by = By::local(Actor::System, app.clock.now());
    let metadata = metadata(&app.settings);
    let (read, writer) = (&*app.store.read, &app.writer);
    registration::ensure(read, writer, &app.client_rules, by, CLIENT_ID, metadata).await.map(drop)
}

/// The app's routes.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(PATH, Limit::None).get(home, Operation::UNTOLD),
        Endpoint::new("/dev/app/start", Limit::None).get(start, Operation::UNTOLD),
        Endpoint::new("/dev/app/callback", Limit::None).get(callback, Operation::UNTOLD),
        Endpoint::new("/dev/app/refresh", Limit::None).post(refresh, Operation::UNTOLD),
        Endpoint::new("/dev/app/userinfo", Limit::None).get(userinfo, Operation::UNTOLD),
        Endpoint::new("/dev/app/sign-out", Limit::None).post(sign_out, Operation::UNTOLD),
    ]
}

/// `GET /dev/app`: what the app has got, or what it is.
async fn home(request: HttpRequest, app: Data<App>) -> HttpResponse {
    show(&app, StatusCode::OK, Grant::of(&request, &app).as_ref(), None, None)
}

/// `GET /dev/app/start`: sends the browser to the server (RFC 6749 §4.1.1).
async fn start(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let begun = async {
        let server = Server::discover(&app).await?;
        let attempt = Attempt::new(app.clock.now());
        Ok((server.authorization_url(&attempt), attempt.keep(&app)?))
    };
    match begun.await {
        Ok((url, cookie)) => HttpResponse::Found()
            .insert_header((LOCATION, url.as_str()))
            .insert_header((CACHE_CONTROL, "no-store"))
            .cookie(cookie)
            .finish(),
        Err(trouble) => told(&request, &app, &trouble),
    }
}

/// `GET /dev/app/callback`: the way back. Whatever came of it, the attempt is over.
///
/// # Errors
/// `invalid_request`, `duplicate_parameter` for a query that cannot be read.
async fn callback(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let mut answer = match redeem(&request, &app, &query).await {
        Ok(grant) => lead_home(&app, &grant, || told(&request, &app, &Trouble::too_long())),
        Err(trouble) => told(&request, &app, &trouble),
    };
    kept::add(&mut answer, &Attempt::forget(&app));
    Ok(answer)
}

async fn redeem(request: &HttpRequest, app: &App, query: &Parameters) -> Result<Grant, Trouble> {
    let attempt = Attempt::of(request, app).ok_or_else(|| Trouble::of_answer(text::NO_ATTEMPT))?;
    let state = query.get("state").unwrap_or_default();
    verify_slices_are_equal(state.as_bytes(), attempt.state.as_bytes())
        .map_err(|_| Trouble::of_answer(text::OTHER_STATE))?;
    let server = Server::discover(app).await?;
    server.check_issuer(query.get("iss"))?;
    if query.get("error").is_some() {
        return Err(Trouble::denied(query));
    }
    let code = query.get("code").ok_or_else(|| Trouble::of_answer(text::NO_CODE))?;
    server.redeem(code, &attempt).await
}

/// `POST /dev/app/refresh`: new tokens for the refresh token (RFC 6749 §6).
///
/// # Errors
/// `csrf_rejected`.
async fn refresh(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let Some(grant) = Grant::of(&request, &app) else { return Ok(home_again()) };
    let refreshed = async { Server::discover(&app).await?.refresh(&grant).await };
    Ok(match refreshed.await {
        Ok(grant) => lead_home(&app, &grant, || told(&request, &app, &Trouble::too_long())),
        Err(trouble) => told(&request, &app, &trouble),
    })
}

/// `GET /dev/app/userinfo`: what the access token opens (OpenID Connect Core §5.3).
async fn userinfo(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let Some(grant) = Grant::of(&request, &app) else { return home_again() };
    let asked = async { Server::discover(&app).await?.userinfo(&grant.tokens.access_token).await };
    match asked.await {
        Ok(claims) => show(&app, StatusCode::OK, Some(&grant), Some(&claims), None),
        Err(trouble) => told(&request, &app, &trouble),
    }
}

/// `POST /dev/app/sign-out`: forgets the tokens and sends the browser to the server, so that the session
/// there ends, too (OpenID Connect RP-Initiated Logout §2).
///
/// # Errors
/// `csrf_rejected`.
async fn sign_out(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let Some(grant) = Grant::of(&request, &app) else { return Ok(home_again()) };
    let mut answer = match server::logout_url(&app, grant.id_token.as_deref()).await {
        Ok(url) => HttpResponse::SeeOther().insert_header((LOCATION, url.as_str())).finish(),
        Err(trouble) => show(&app, trouble.status, None, None, Some(&trouble)),
    };
    for cookie in Grant::forget(&app) {
        kept::add(&mut answer, &cookie);
    }
    Ok(answer)
}

/// Keeps what was got and leads to the page that shows it; `otherwise` answers where no cookie can hold
/// it.
fn lead_home(app: &App, grant: &Grant, otherwise: impl FnOnce() -> HttpResponse) -> HttpResponse {
    let Ok(cookies) = grant.keep(app) else { return otherwise() };
    let mut answer = home_again();
    for cookie in cookies {
        kept::add(&mut answer, &cookie);
    }
    answer
}

fn home_again() -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, PATH))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

/// The page with what went wrong on top.
fn told(request: &HttpRequest, app: &App, trouble: &Trouble) -> HttpResponse {
    show(app, trouble.status, Grant::of(request, app).as_ref(), None, Some(trouble))
}

fn show(
    app: &App,
    status: StatusCode,
    grant: Option<&Grant>,
    userinfo: Option<&str>,
    trouble: Option<&Trouble>,
) -> HttpResponse {
    let view = DemoApp {
        site: &app.site,
        trouble: trouble
            .map(|trouble| DemoTrouble { what: &trouble.what, answer: trouble.answer.as_deref() }),
        userinfo,
        grant: grant.map(|grant| DemoGrant {
            scope: grant.tokens.scope.as_deref(),
            expires: grant.tokens.expires,
            access_token: ShownToken::of(&grant.tokens.access_token),
            id_token: grant.id_token.as_deref().map(ShownToken::of),
            refresh_token: grant.tokens.refresh_token.as_deref(),
        }),
    };
    page(status, &view)
}
