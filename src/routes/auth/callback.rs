//! The way back from a provider.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::bootstrap::promoted;
use super::opening::{
    audit, last_provider, new_family, refuse_tokens_of, replaced, session_before,
};
use super::setup::SIGN_IN_AGAIN;
use super::start::{callback_address, lead_back};
use super::tickets::{ATTEMPT_LENGTH, Confirmation, Intent, LoginTicket, spent_login};
use super::{link, newcomer};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::secret::Secret;
use crate::providers::authorization::{Attempt, CallbackParameters};
use crate::providers::configured::SignInProvider;
use crate::providers::identity::ProviderIdentity;
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Answer, Header, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::{edge, rate_limit, return_to, session};
use crate::store::model::{Actor, AuditEntry, User, UserId, UserStatus};
use crate::store::operation::{AppendAudit, IdentityRefresh, SignIn, SignInOutcome};

/// How `GET /auth/{provider}/callback` is described.
pub const CALLBACK: Operation = Operation {
    id: "finish_sign_in",
    tag: Tag::SignIn,
    summary: "Come back from a provider",
    description: "A known identity is signed in; an unknown one chooses a name, or is offered to be connected to the \
        account that has its verified address. Who is refused leaves nothing behind but a line of the audit trail.",
    parameters: &[
        Parameter::path("provider", "The provider's name."),
        Parameter::query("state", "As it was sent.").required(),
        Parameter::query("code", "What the provider gives for tokens."),
        Parameter::query("iss", "Who answers (RFC 9207)."),
        Parameter::query("error", "Why the provider does not sign the person in."),
    ],
    answers: &[Answer::redirect(
        303,
        "To where the person wanted to go, to choose a name, or to the question whether to connect.",
    )
    .with(&[Header::Sets(&[
        Kind::Access,
        Kind::Refresh,
        Kind::Setup,
        Kind::Link,
        Kind::LastProvider,
    ])])],
    errors: &[
        ErrorCode::InvalidState,
        ErrorCode::ProviderDenied,
        ErrorCode::ProviderTokenInvalid,
        ErrorCode::ProviderError,
        ErrorCode::ProviderTimeout,
        ErrorCode::SignupClosed,
        ErrorCode::AccountLocked,
        ErrorCode::IdentityTaken,
        ErrorCode::InvalidReturnTo,
        ErrorCode::Unauthenticated,
        ErrorCode::DuplicateCookie,
    ],
    ..Operation::PLAIN
};

/// `GET /auth/{provider}/callback`: checks state, issuer and the provider's proof. A known identity
/// is signed in and sent to `return_to`; an unknown one goes on to choose a name, or to the page that
/// offers to connect it. Who came to connect a further way to sign in is asked to confirm it.
///
/// # Errors
/// `invalid_state`, `provider_denied`, `provider_token_invalid`, `provider_error`,
/// `provider_timeout`, `signup_closed`, `account_locked`, `identity_taken`, `invalid_return_to` where
/// it is not allowed any more. Refusals leave no row behind; where the provider vouches for somebody whom we
/// do not let in, the audit trail says so.
pub async fn callback(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    // A provider that is not configured (any more) began nothing.
    let provider = app.providers.get(&name).ok_or_else(|| not_continued("no such provider"))?;
    let count = |outcome| app.metrics.providers().count_sign_in(&name, outcome);
    let ticket = open_ticket(&request, &app, &query, &name)
        .inspect_err(|error| count(outcome_of(error.code)))?;
    // Whatever follows, this attempt is over: its cookie goes.
    let attempt_over = app.cookies.clear_login(&ticket.state[..ATTEMPT_LENGTH]);
    match finish(&request, &app, provider, &query, &ticket)
        .await
        .inspect_err(|error| count(outcome_of(error.code)))
    {
        Ok((mut answer, outcome)) => {
            count(outcome);
            answer.add_cookie(&attempt_over).map_err(|error| {
                ApiError::new(ErrorCode::Internal, "The cookie could not be written.").cause(error)
            })?;
            Ok(answer)
        }
        Err(error) if error.way_on().is_some() => Err(error.cookie(&attempt_over)),
        Err(error) => Err(lead_back(&app, error, &ticket).cookie(&attempt_over)),
    }
}

/// How a sign-in ended that ended with an error, as the metrics spell it.
fn outcome_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ProviderDenied => "denied",
        ErrorCode::InvalidState => "invalid_state",
        ErrorCode::ProviderError | ErrorCode::ProviderTimeout => "provider_failed",
        ErrorCode::ProviderTokenInvalid => "token_invalid",
        code if code.status().is_client_error() => "refused",
        _ => "failed",
    }
}

fn not_continued(cause: &str) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidState,
        "It was finished before, took too long, or began in another browser. Sign in again.",
    )
    .cause(cause)
}

/// The sealed ticket of the attempt that `state` names, if this browser began it with this provider.
fn open_ticket(
    request: &HttpRequest,
    app: &App,
    query: &Parameters,
    provider: &str,
) -> Result<LoginTicket, ApiError> {
    let state = query.get("state").ok_or_else(|| not_continued("no state"))?;
    let attempt = state.get(..ATTEMPT_LENGTH).ok_or_else(|| not_continued("short state"))?;
    let cookies = app.cookies.logins(request);
    let mut sealed = cookies.iter().filter(|(name, _)| *name == attempt).map(|(_, value)| *value);
    let (Some(sealed), None) = (sealed.next(), sealed.next()) else {
        return Err(not_continued("no cookie of this attempt"));
    };
    let ticket: LoginTicket = app
        .sealer
        .open(Purpose::Login, sealed, app.clock.now())
        .map_err(|error| not_continued(&error.to_string()))?;
    verify_slices_are_equal(ticket.state.as_bytes(), state.as_bytes())
        .map_err(|_| not_continued("state differs from the cookie's"))?;
    if ticket.provider != provider {
        return Err(not_continued("began with another provider"));
    }
    Ok(ticket)
}

async fn finish(
    request: &HttpRequest,
    app: &App,
    provider: &SignInProvider,
    query: &Parameters,
    ticket: &LoginTicket,
) -> Result<(HttpResponse, &'static str), ApiError> {
    let signed_in = |answer| (answer, "signed_in");
    let to_be_confirmed = |answer| (answer, "to_be_confirmed");
    // It was allowed when the sign-in started; the configuration may be another by now.
    return_to::check(&ticket.return_to, &app.settings.server)?;
    if let Some(error) = query.get("error") {
        provider.check_issuer(&app.provider_metadata, query.get("iss")).await?;
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
    match (&ticket.intent, known) {
        (Intent::SignIn, Some(user)) => {
            sign_in(request, app, user, identity, ticket).await.map(signed_in)
        }
        (Intent::SignIn, None) => {
            let answer = newcomer::welcome(app, provider, identity, ticket).await;
            if answer.as_ref().is_err_and(|error| error.code == ErrorCode::SignupClosed) {
                let target = format!("provider:{}", ticket.provider);
                note_refusal(request, app, target, &ticket.provider, "signup_closed").await?;
            }
            answer.map(|answer| (answer, "new_person"))
        }
        (Intent::Link { user, session }, known) => {
            link::ask(request, app, identity, ticket, (*user, *session), known)
                .await
                .map(to_be_confirmed)
        }
        // The identity is connected already: it opens the account by itself.
        (Intent::Recover(recovery), Some(user)) if user.id == recovery.user => {
            sign_in(request, app, user, identity, ticket).await.map(signed_in)
        }
        (Intent::Recover(_), Some(_)) => Err(link::identity_taken(app, &ticket.provider)),
        (Intent::Recover(recovery), None) => Ok(to_be_confirmed(link::waiting(
            app,
            identity,
            ticket,
            recovery.user,
            Confirmation::Recovery(recovery.clone()),
        ))),
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
        return Err(keep_out(request, app, user.id, ticket).await?);
    }
    let target = return_to::check(&ticket.return_to, &app.settings.server)?;
    let now = app.clock.now();
    let before = session_before(request, app).await?;
    let kept = before.as_ref().filter(|live| live.user.id == user.id).map(|live| live.family.id);
    let ended = before.filter(|live| live.user.id != user.id);
    let ends = ended.map(|live| replaced(request, app, &live, now));
    let family = new_family(request, app, kept, user.id, &ticket.provider, identity.auth_time, now);
    let named = identity.subject.clone();
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
            let live = promoted(request, app, (&ticket.provider, &named), *live, now).await?;
            let cookies = session::issue(app, &live, now)?;
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
        SignInOutcome::NotAllowed => Err(keep_out(request, app, user.id, ticket).await?),
    }
}

/// Notes that a person who is locked, or was deleted a moment ago, wanted to sign in; the answer to them.
async fn keep_out(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    ticket: &LoginTicket,
) -> Result<ApiError, ApiError> {
    let target = format!("user:{user}");
    note_refusal(request, app, target, &ticket.provider, "account_locked").await?;
    Ok(locked())
}

/// Notes that somebody for whom a provider vouches was not let in. Sign-ins are limited by address, and so
/// are these.
async fn note_refusal(
    request: &HttpRequest,
    app: &App,
    target: String,
    provider: &str,
    reason: &'static str,
) -> Result<(), ApiError> {
    let now = app.clock.now();
    let mut entry = AuditEntry::new(now, Actor::Anonymous, "session.refused", target);
    entry.request_id = Some(edge::request_id());
    entry.address = Some(rate_limit::client_address(request, app).ip.to_string());
    entry.details = serde_json::json!({ "provider": provider, "reason": reason });
    Ok(apply(&app.writer, AppendAudit(entry)).await?)
}

/// The answer to who is locked out.
pub fn locked() -> ApiError {
    ApiError::new(ErrorCode::AccountLocked, "Ask the people who run this service to unlock it.")
}
