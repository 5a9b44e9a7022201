//! The way to a provider.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::tickets::{ATTEMPT_LENGTH, Intent, LOGIN_LIFE, LoginTicket};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::{pkce, random};
use crate::providers::authorization::AuthorizationRequest;
use crate::providers::configured::SignInProvider;
use crate::routes::openapi::operation::{Answer, Header, Operation, Parameter, Tag};
use crate::routes::pages::places;
use crate::routes::parameters::Parameters;
use crate::routes::return_to;

/// Most sign-in attempts that one browser holds at a time; the oldest goes.
const MOST_ATTEMPTS: usize = 5;

/// Longest hint that is passed on.
pub const LONGEST_HINT: usize = 320;

/// Values of `prompt` that are passed on (OpenID Connect Core §3.1.2.1).
pub const PROMPTS: [&str; 3] = ["login", "consent", "select_account"];

/// What the caller of a sign-in may wish, beside the provider.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Where the person goes afterwards, checked.
    pub return_to: String,
    /// Who probably signs in.
    pub login_hint: Option<String>,
    /// Words of [`PROMPTS`], separated by spaces.
    pub prompt: Option<String>,
    /// Oldest sign-in at the provider that will do, in seconds.
    pub max_age: Option<u64>,
}

impl Wishes {
    /// Reads `return_to`, `login_hint`, `prompt` and `max_age`.
    ///
    /// # Errors
    /// `invalid_return_to`, `invalid_field`.
    pub fn of(parameters: &Parameters, app: &App, return_to: &str) -> Result<Self, ApiError> {
        let return_to = parameters.get("return_to").unwrap_or(return_to);
        let hint = parameters.get("login_hint").filter(|hint| hint.len() <= LONGEST_HINT);
        Ok(Self {
            return_to: return_to::check(return_to, &app.settings.server)?,
            login_hint: hint.map(str::to_owned),
            prompt: parameters.get("prompt").map(check_prompt).transpose()?,
            max_age: parameters.get("max_age").map(check_max_age).transpose()?,
        })
    }
}

/// What every start of a way to a provider takes.
pub const PARAMETERS: &[Parameter] = &[
    Parameter::path("provider", "The provider's name."),
    Parameter::query(
        "return_to",
        "Where the person goes afterwards: a path of this server, or an address on an allowed origin.",
    ),
    Parameter::query("login_hint", "Who probably signs in; passed on."),
    Parameter::query(
        "prompt",
        "`login`, `consent`, `select_account`, or several of them with spaces between; passed on.",
    ),
    Parameter::query(
        "max_age",
        "Oldest sign-in at the provider that will do, in seconds; passed on.",
    )
    .of::<u64>(),
];

/// What every start of a way to a provider can be refused for.
pub const START_ERRORS: &[ErrorCode] = &[
    ErrorCode::UnknownProvider,
    ErrorCode::InvalidReturnTo,
    ErrorCode::InvalidField,
    ErrorCode::ProviderError,
    ErrorCode::ProviderTimeout,
];

/// The cookie of an attempt.
pub const ATTEMPT: Header =
    Header::Always("Set-Cookie", "The sealed state of this attempt, in a cookie of its own.");

/// How `GET /auth/{provider}` is described.
pub const START: Operation = Operation {
    id: "start_sign_in",
    tag: Tag::SignIn,
    summary: "Go to a provider to sign in",
    description: "With `state`, PKCE S256 and, at OpenID Connect providers, `nonce`, which wait in a sealed cookie \
        of this attempt, for ten minutes.",
    parameters: PARAMETERS,
    answers: &[Answer::redirect(302, "To the provider.").with(&[ATTEMPT])],
    errors: START_ERRORS,
    ..Operation::PLAIN
};

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
    let wishes = Wishes::of(&query, &app, "/")?;
    begin(&request, &app, provider, wishes, Intent::SignIn, HttpResponse::Found()).await
}

/// Sends the browser to a provider.
///
/// # Errors
/// `provider_timeout` and `provider_error` while the provider cannot be asked where to go.
pub async fn begin(
    request: &HttpRequest,
    app: &App,
    provider: &SignInProvider,
    wishes: Wishes,
    intent: Intent,
    mut answer: HttpResponseBuilder,
) -> Result<HttpResponse, ApiError> {
    let name = &provider.settings().name;
    let attempt = random::text::<6>();
    let mut ticket = LoginTicket {
        state: format!("{attempt}{}", random::text::<24>()),
        provider: name.clone(),
        nonce: random::text::<24>(),
        code_verifier: random::text::<32>(),
        return_to: wishes.return_to,
        max_age: wishes.max_age,
        started_at: 0,
        intent,
    };
    let asked = AuthorizationRequest {
        redirect_uri: &callback_address(app, name),
        state: &ticket.state,
        nonce: &ticket.nonce,
        pkce_challenge: &pkce::challenge(&ticket.code_verifier),
        login_hint: wishes.login_hint.as_deref(),
        prompt: wishes.prompt.as_deref(),
        max_age: wishes.max_age.map(Duration::from_secs),
    };
    let location = provider
        .authorization_url(&app.provider_metadata, &asked)
        .await
        .map_err(|error| lead_back(app, error.into(), &ticket))?;
    // Counted from when the person leaves: the provider may have been slow to say where to.
    let now = app.clock.now();
    ticket.started_at = now.millis();
    let sealed = app.sealer.seal(Purpose::Login, &ticket, now.plus(LOGIN_LIFE));
    answer
        .insert_header((LOCATION, location.as_str()))
        .cookie(app.cookies.set_login(&attempt, sealed, LOGIN_LIFE));
    forget_oldest(request, app, &mut answer);
    Ok(answer.finish())
}

/// Lets the page of an error lead to where another way can be chosen, and nothing that was wished be
/// lost on the way.
pub fn lead_back(app: &App, mut error: ApiError, ticket: &LoginTicket) -> ApiError {
    let is_trouble = matches!(error.code, ErrorCode::ProviderError | ErrorCode::ProviderTimeout);
    if is_trouble {
        let name = app.providers.display_name(&ticket.provider);
        error.detail = format!(
            "We could not finish the sign-in with {name}. Try again in a moment, or sign in another way; the others work as usual."
        );
    }
    let path = match &ticket.intent {
        Intent::Link { .. } => "/account".to_owned(),
        Intent::Recover(_) => "/auth/recover".to_owned(),
        Intent::SignIn => {
            let mut query = Vec::new();
            if is_trouble {
                query.push(("not_answering", ticket.provider.as_str()));
            }
            // What is refused here would be refused there.
            if ticket.return_to != "/" && error.code != ErrorCode::InvalidReturnTo {
                query.push(("return_to", ticket.return_to.as_str()));
            }
            places::with_query("/login", &query)
        }
    };
    error.leading_to(path)
}

/// A configured provider.
///
/// # Errors
/// `unknown_provider`.
pub fn find<'a>(app: &'a App, name: &str) -> Result<&'a SignInProvider, ApiError> {
    app.providers.get(name).ok_or_else(|| {
        ApiError::new(ErrorCode::UnknownProvider, "Choose one of the ways on the sign-in page.")
    })
}

/// Where a provider sends people back to.
pub fn callback_address(app: &App, provider: &str) -> String {
    app.settings.server.public_url.join(&format!("/auth/{provider}/callback"))
}

fn check_prompt(prompt: &str) -> Result<String, ApiError> {
    if prompt.split(' ').all(|word| PROMPTS.contains(&word)) {
        return Ok(prompt.to_owned());
    }
    let detail = format!("prompt is one or several of {}.", PROMPTS.join(", "));
    Err(ApiError::new(ErrorCode::InvalidField, detail).field("prompt"))
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
