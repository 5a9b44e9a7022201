//! The way back from a provider.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::opening::{
    audit, last_provider, new_family, refuse_tokens_of, replaced, session_before, spent_login,
};
use super::setup::SIGN_IN_AGAIN;
use super::start::{callback_address, find};
use super::tickets::{ATTEMPT_LENGTH, LOGIN_LIFE, LoginTicket, SETUP_LIFE, SetupTicket};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::settings::SignupMode;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::secret::Secret;
use crate::protocol::{random, username};
use crate::providers::identity::ProviderIdentity;
use crate::providers::openid::{Attempt, CallbackParameters, MetadataSource, OpenIdProvider};
use crate::routes::cookies::Kind;
use crate::routes::pages::places::{self, Place};
use crate::routes::parameters::Parameters;
use crate::routes::return_to;
use crate::routes::session;
use crate::store::model::{User, UserStatus};
use crate::store::operation::{IdentityRefresh, SignIn, SignInOutcome};

/// `GET /auth/{provider}/callback`: checks state, issuer and the provider's proof. A known identity
/// is signed in and sent to `return_to`; an unknown one goes on to choose a name.
///
/// # Errors
/// `invalid_state`, `provider_denied`, `provider_token_invalid`, `provider_error`,
/// `provider_timeout`, `signup_closed`, `account_locked`. Refusals leave no row behind.
pub async fn callback(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let provider = find(&app, &name)?;
    let ticket = open_ticket(&request, &app, &query, &name)?;
    // Whatever follows, this attempt is over: its cookie goes.
    let attempt_over = app.cookies.clear_login(&ticket.state[..ATTEMPT_LENGTH]);
    let answer = finish(&request, &app, provider, &query, ticket).await;
    match answer {
        Ok(mut answer) => {
            answer.add_cookie(&attempt_over).map_err(|error| {
                ApiError::new(ErrorCode::Internal, "The cookie could not be written.").cause(error)
            })?;
            Ok(answer)
        }
        Err(error) => Err(error.cookie(&attempt_over)),
    }
}

/// The sealed ticket of the attempt that `state` names, if this browser began it with this provider.
fn open_ticket(
    request: &HttpRequest,
    app: &App,
    query: &Parameters,
    provider: &str,
) -> Result<LoginTicket, ApiError> {
    let refused = |cause: &str| {
        ApiError::new(
            ErrorCode::InvalidState,
            "It was finished before, took too long, or began in another browser. Sign in again.",
        )
        .cause(cause)
    };
    let state = query.get("state").ok_or_else(|| refused("no state"))?;
    let attempt = state.get(..ATTEMPT_LENGTH).ok_or_else(|| refused("short state"))?;
    let cookies = app.cookies.logins(request);
    let mut sealed = cookies.iter().filter(|(name, _)| *name == attempt).map(|(_, value)| *value);
    let (Some(sealed), None) = (sealed.next(), sealed.next()) else {
        return Err(refused("no cookie of this attempt"));
    };
    let ticket: LoginTicket = app
        .sealer
        .open(Purpose::Login, sealed, app.clock.now())
        .map_err(|error| refused(&error.to_string()))?;
    verify_slices_are_equal(ticket.state.as_bytes(), state.as_bytes())
        .map_err(|_| refused("state differs from the cookie's"))?;
    if ticket.provider != provider {
        return Err(refused("began with another provider"));
    }
    Ok(ticket)
}

async fn finish(
    request: &HttpRequest,
    app: &App,
    provider: &OpenIdProvider,
    query: &Parameters,
    ticket: LoginTicket,
) -> Result<HttpResponse, ApiError> {
    if let Some(error) = query.get("error") {
        let metadata = app.provider_metadata.metadata(&ticket.provider, None).await?;
        provider.check_issuer(&metadata, query.get("iss"))?;
        return Err(ApiError::new(
            ErrorCode::ProviderDenied,
            format!("{} says that the sign-in was not completed. You can try again, or choose another way.", provider.settings().display_name),
        )
        .cause(error.escape_debug()));
    }
    let code = query.get("code").ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidRequest, "The provider sent no code. Sign in again.")
            .field("code")
    })?;
    let identity = provider
        .finish(
            &app.http_client,
            &app.provider_metadata,
            &app.clock,
            &CallbackParameters {
                code: Secret::new(code),
                iss: query.get("iss").map(str::to_owned),
            },
            &Attempt {
                redirect_uri: callback_address(app, &ticket.provider),
                nonce: ticket.nonce.clone(),
                code_verifier: Secret::new(ticket.code_verifier.as_str()),
                max_age: ticket.max_age.map(Duration::from_secs),
                started_at: ticket.started(),
            },
        )
        .await?;
    let known = app.store.read.user_by_identity(&ticket.provider, &identity.subject).await?;
    match known {
        Some(user) => sign_in(request, app, user, identity, &ticket).await,
        None => begin_setup(app, provider, identity, &ticket),
    }
}

async fn sign_in(
    request: &HttpRequest,
    app: &App,
    user: User,
    identity: ProviderIdentity,
    ticket: &LoginTicket,
) -> Result<HttpResponse, ApiError> {
    if user.status != UserStatus::Active {
        return Err(locked());
    }
    let now = app.clock.now();
    let before = session_before(request, app).await?;
    let kept = before.as_ref().filter(|live| live.user.id == user.id).map(|live| live.family.id);
    let ended = before.filter(|live| live.user.id != user.id);
    let ends = ended.map(|live| replaced(request, app, &live, now));
    let family = new_family(request, app, kept, user.id, &ticket.provider, identity.auth_time, now);
    let mut audit = audit(request, app, user.id, "session.opened", now);
    audit.target = format!("session:{}", family.session);
    audit.details = serde_json::json!({ "provider": ticket.provider });
    let write = SignIn {
        spends: spent_login(&ticket.state, ticket.started()),
        identity: IdentityRefresh {
            provider: ticket.provider.clone(),
            subject: identity.subject,
            emails: identity.emails,
        },
        ends: ends.clone(),
        family,
        audit,
    };
    match apply(&app.writer, write).await? {
        SignInOutcome::Opened(live) => {
            refuse_tokens_of(app, ends.as_ref()).await?;
            let cookies = session::issue(app, &live, now)?;
            let target = return_to::check(&ticket.return_to, &app.settings.server)?;
            Ok(HttpResponse::SeeOther()
                .insert_header((LOCATION, target))
                .cookie(cookies.access)
                .cookie(cookies.refresh)
                .cookie(app.cookies.clear(Kind::Resume))
                .cookie(app.cookies.clear(Kind::Setup))
                .cookie(last_provider(app, &ticket.provider))
                .finish())
        }
        SignInOutcome::AlreadySpent => Err(ApiError::new(ErrorCode::InvalidState, SIGN_IN_AGAIN)),
        SignInOutcome::NotAllowed => Err(locked()),
    }
}

fn locked() -> ApiError {
    ApiError::new(ErrorCode::AccountLocked, "Ask the people who run this service to unlock it.")
}

/// An unknown identity may choose a name, if the deployer lets it in.
fn begin_setup(
    app: &App,
    provider: &OpenIdProvider,
    identity: ProviderIdentity,
    login: &LoginTicket,
) -> Result<HttpResponse, ApiError> {
    let signup = provider.settings().signup.as_ref().unwrap_or(&app.settings.signup);
    let has_allowed_domain = || {
        identity.emails.iter().filter(|email| email.verified).any(|email| {
            email.address.rsplit_once('@').is_some_and(|(_, domain)| {
                signup.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
            })
        })
    };
    let is_allowed = match signup.mode {
        SignupMode::Open => true,
        SignupMode::Domains => has_allowed_domain(),
        SignupMode::Closed => false,
    };
    if !is_allowed {
        return Err(ApiError::new(
            ErrorCode::SignupClosed,
            "There is no account for this sign-in, and new ones are not open to it. If you have an account, sign in the way you did before; otherwise ask the people who run this service.",
        ));
    }
    let now = app.clock.now();
    let expires = now.plus(SETUP_LIFE);
    let rules = &app.settings.usernames;
    let suggestion = identity
        .username_hint
        .as_deref()
        .or_else(|| identity.emails.first().map(|email| email.address.as_str()));
    let suggested_username = suggestion.and_then(|hint| username::suggest(hint, rules));
    let mut ticket = SetupTicket {
        id: random::text::<16>(),
        login: login.state.clone(),
        provider: login.provider.clone(),
        subject: identity.subject,
        emails: identity.emails.into_iter().map(|email| (email.address, email.verified)).collect(),
        suggested_username,
        display_name: identity.display_name,
        auth_time: identity.auth_time.unwrap_or(now).millis(),
        return_to: login.return_to.clone(),
        login_expires: login.started().plus(LOGIN_LIFE).millis(),
        expires: expires.millis(),
    };
    let sealed = seal_within_a_cookie(app, &mut ticket, expires);
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, places::address(app, Place::Onboarding, &[])))
        .cookie(app.cookies.set(Kind::Setup, sealed, SETUP_LIFE))
        .finish())
}

/// Browsers drop cookies over 4,096 bytes without a word, so what matters least goes first.
fn seal_within_a_cookie(app: &App, ticket: &mut SetupTicket, expires: Timestamp) -> String {
    const LARGEST: usize = 3_800;
    ticket.emails.sort_by_key(|(_, verified)| !verified);
    loop {
        let sealed = app.sealer.seal(Purpose::Setup, ticket, expires);
        if sealed.len() <= LARGEST {
            return sealed;
        }
        if ticket.emails.len() > 1 {
            ticket.emails.pop();
        } else if ticket.display_name.take().is_none() {
            "/".clone_into(&mut ticket.return_to);
        }
    }
}
