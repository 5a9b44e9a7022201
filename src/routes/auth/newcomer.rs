//! An identity that nobody has yet: it may choose a name, or be connected to an account that has one of
//! its addresses. Nothing is ever connected by an address alone.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;

use super::link;
use super::tickets::{Confirmation, LOGIN_LIFE, LoginTicket, SETUP_LIFE, SetupTicket, seal_within};
use crate::app::App;
use crate::config::settings::{Signup, SignupMode};
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::{random, username};
use crate::providers::configured::SignInProvider;
use crate::providers::identity::ProviderIdentity;
use crate::routes::cookies::Kind;
use crate::routes::pages::places::{self, Place};
use crate::store::model::{Email, UserId};

/// Largest sealed ticket; the cookie's name and attributes come to it.
const LARGEST: usize = 3_800;

/// Lets an unknown identity choose a name, if the deployer lets it in; where its verified address
/// belongs to an account, the page `/link` comes first.
///
/// # Errors
/// `signup_closed`.
pub async fn welcome(
    app: &App,
    provider: &SignInProvider,
    identity: ProviderIdentity,
    login: &LoginTicket,
) -> Result<HttpResponse, ApiError> {
    let signup = provider.settings().signup.as_ref().unwrap_or(&app.settings.signup);
    let may_sign_up = is_let_in(signup, &identity.emails);
    let owner = owner_of(app, &identity.emails).await?;
    if owner.is_none() && !may_sign_up {
        return Err(closed());
    }
    let (setup, place) = (setup_ticket(app, &identity, login, may_sign_up), Place::Onboarding);
    let mut answer = HttpResponse::SeeOther();
    answer.cookie(app.cookies.set(Kind::Setup, setup, SETUP_LIFE));
    let place = match owner {
        None => {
            answer.cookie(app.cookies.clear(Kind::Link));
            place
        }
        Some(user) => {
            let confirmed_by = Confirmation::Owner;
            answer.cookie(link::waiting_cookie(app, identity, login, user, confirmed_by));
            Place::Link
        }
    };
    Ok(answer.insert_header((LOCATION, places::address(app, place, &[]))).finish())
}

/// Whoever may not make an account.
pub fn closed() -> ApiError {
    ApiError::new(
        ErrorCode::SignupClosed,
        "There is no account for this sign-in, and new ones are not open to it. If you have an account, sign in the way you did before; otherwise ask the people who run this service.",
    )
}

fn is_let_in(signup: &Signup, emails: &[Email]) -> bool {
    let has_allowed_domain = || {
        emails.iter().filter(|email| email.verified).any(|email| {
            email.address.rsplit_once('@').is_some_and(|(_, domain)| {
                signup.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
            })
        })
    };
    match signup.mode {
        SignupMode::Open => true,
        SignupMode::Domains => has_allowed_domain(),
        SignupMode::Closed => false,
    }
}

/// The one account that holds one of these verified addresses as a verified one of its own; none if
/// there are several, since nobody could tell which is meant.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn owner_of(app: &App, emails: &[Email]) -> Result<Option<UserId>, ApiError> {
    let verified: Vec<String> =
        emails.iter().filter(|email| email.verified).map(|email| email.address.clone()).collect();
    if verified.is_empty() {
        return Ok(None);
    }
    Ok(match app.store.read.verified_holders(&verified).await?[..] {
        [only] => Some(only),
        _ => None,
    })
}

fn setup_ticket(
    app: &App,
    identity: &ProviderIdentity,
    login: &LoginTicket,
    may_sign_up: bool,
) -> String {
    let now = app.clock.now();
    let expires = now.plus(SETUP_LIFE);
    let suggestion = identity
        .username_hint
        .as_deref()
        .or_else(|| identity.emails.first().map(|email| email.address.as_str()));
    let suggested_username =
        suggestion.and_then(|hint| username::suggest(hint, &app.settings.usernames));
    let mut ticket = SetupTicket {
        id: random::text::<16>(),
        login: login.state.clone(),
        provider: login.provider.clone(),
        subject: identity.subject.clone(),
        emails: without_provider(&identity.emails),
        suggested_username,
        display_name: identity.display_name.clone(),
        picture: identity.picture.as_ref().map(ToString::to_string),
        may_sign_up,
        auth_time: identity.auth_time.unwrap_or(now).millis(),
        return_to: login.return_to.clone(),
        login_expires: login.started().plus(LOGIN_LIFE).millis(),
        expires: expires.millis(),
    };
    let give_up = SetupTicket::give_up;
    seal_within(&app.sealer, Purpose::Setup, &mut ticket, expires, LARGEST, give_up)
}

/// Address and verified flag of each, the verified ones first.
pub fn without_provider(emails: &[Email]) -> Vec<(String, bool)> {
    let mut kept: Vec<_> =
        emails.iter().map(|email| (email.address.clone(), email.verified)).collect();
    kept.sort_by_key(|(_, verified)| !verified);
    kept
}
