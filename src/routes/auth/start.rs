//! The way to a provider.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::tickets::{ATTEMPT_LENGTH, LOGIN_LIFE, LoginTicket};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::{pkce, random};
use crate::providers::openid::{AuthorizationRequest, MetadataSource, OpenIdProvider};
use crate::routes::parameters::Parameters;
use crate::routes::return_to;

/// Most sign-in attempts that one browser holds at a time; the oldest goes.
const MOST_ATTEMPTS: usize = 5;

/// Longest hint that is passed on.
const LONGEST_HINT: usize = 320;

/// Values of `prompt` that are passed on (OpenID Connect Core §3.1.2.1).
const PROMPTS: [&str; 3] = ["login", "consent", "select_account"];

/// `GET /auth/{provider}?return_to=…&login_hint=…&prompt=…&max_age=…`: 302 to the provider with
/// state, PKCE S256 and nonce, which wait in a sealed cookie of this attempt.
///
/// # Errors
/// `unknown_provider`, `invalid_return_to`, `invalid_field`; `provider_timeout` and
/// `provider_error` while the provider cannot be asked where to go.
pub async fn start(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let provider = find(&app, &name)?;
    let return_to = return_to::check(query.get("return_to").unwrap_or("/"), &app.settings.server)?;
    let prompt = query.get("prompt").map(check_prompt).transpose()?;
    let max_age = query.get("max_age").map(check_max_age).transpose()?;
    let login_hint = query.get("login_hint").filter(|hint| hint.len() <= LONGEST_HINT);

    let metadata = app.provider_metadata.metadata(&name, None).await?;
    let now = app.clock.now();
    let attempt = random::text::<6>();
    let ticket = LoginTicket {
        state: format!("{attempt}{}", random::text::<24>()),
        provider: name.clone(),
        nonce: random::text::<24>(),
        code_verifier: random::text::<32>(),
        return_to,
        max_age,
        started_at: now.millis(),
    };
    let location = provider.authorization_url(
        &metadata,
        &AuthorizationRequest {
            redirect_uri: &callback_address(&app, &name),
            state: &ticket.state,
            nonce: &ticket.nonce,
            pkce_challenge: &pkce::challenge(&ticket.code_verifier),
            login_hint,
            prompt,
            max_age: max_age.map(Duration::from_secs),
        },
    );
    let sealed = app.sealer.seal(Purpose::Login, &ticket, now.plus(LOGIN_LIFE));
    let mut answer = HttpResponse::Found();
    answer
        .insert_header((LOCATION, location.as_str()))
        .cookie(app.cookies.set_login(&attempt, sealed, LOGIN_LIFE));
    forget_oldest(&request, &app, &mut answer);
    Ok(answer.finish())
}

/// A configured provider.
///
/// # Errors
/// `unknown_provider`.
pub fn find<'a>(app: &'a App, name: &str) -> Result<&'a OpenIdProvider, ApiError> {
    app.providers.get(name).ok_or_else(|| {
        ApiError::new(ErrorCode::UnknownProvider, "Choose one of the ways on the sign-in page.")
    })
}

/// Where a provider sends people back to.
pub fn callback_address(app: &App, provider: &str) -> String {
    app.settings.server.public_url.join(&format!("/auth/{provider}/callback"))
}

fn check_prompt(prompt: &str) -> Result<&'static str, ApiError> {
    PROMPTS.into_iter().find(|known| *known == prompt).ok_or_else(|| {
        let detail = format!("prompt is one of {}.", PROMPTS.join(", "));
        ApiError::new(ErrorCode::InvalidField, detail).field("prompt")
    })
}

fn check_max_age(max_age: &str) -> Result<u64, ApiError> {
    max_age.parse().map_err(|_| {
        ApiError::new(ErrorCode::InvalidField, "max_age is a number of seconds.").field("max_age")
    })
}

/// Makes room for one more attempt: what does not open goes first, then the oldest.
fn forget_oldest(request: &HttpRequest, app: &App, answer: &mut HttpResponseBuilder) {
    let now = app.clock.now();
    let mut attempts: Vec<(i64, &str)> = app
        .cookies
        .logins(request)
        .into_iter()
        .filter(|(attempt, _)| is_attempt(attempt))
        .map(|(attempt, sealed)| {
            let ticket = app.sealer.open::<LoginTicket>(Purpose::Login, sealed, now);
            (ticket.map_or(i64::MIN, |ticket| ticket.started_at), attempt)
        })
        .collect();
    attempts.sort_unstable();
    let surplus = (attempts.len() + 1).saturating_sub(MOST_ATTEMPTS);
    for (_, attempt) in attempts.into_iter().take(surplus) {
        answer.cookie(app.cookies.clear_login(attempt));
    }
}

/// Whether this can be the name of an attempt: it goes into a Set-Cookie header.
fn is_attempt(text: &str) -> bool {
    text.len() == ATTEMPT_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
