//! A new person chooses a name: the account, its identity and its first session, all or nothing.

use std::collections::BTreeSet;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::bootstrap::promoted;
use super::newcomer::{closed, owner_of};
use super::opening::{
    audit, fetch_picture, last_provider, new_family, refuse_tokens_of, replaced, session_before,
};
use super::tickets::{LOGIN_LIFE, SPENT_LEEWAY, SetupTicket, spent_login};
use super::username_available::{refusal, taken};
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::display_name;
use crate::protocol::sealed::Purpose;
use crate::protocol::username::{check, comparison_key};
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Body, Header, Operation, Tag};
use crate::routes::parameters::read_json;
use crate::routes::session::{self, SessionCookies, UserBody};
use crate::routes::{csrf, return_to};
use crate::store::model::{FamilyWithUser, Role, User, UserId, UserStatus};
use crate::store::operation::{CreateUser, CreateUserOutcome, IdentityRefresh, Spent};

/// What to do when a ticket was spent or ran out.
pub const SIGN_IN_AGAIN: &str = "It was finished before or took too long. Sign in again.";

/// The body of `POST /auth/setup`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetupBody {
    /// The name of the account.
    username: String,
    /// Absent: what the provider says. `null` or empty: none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    display_name: Option<Option<String>>,
}

/// Tells a member that is there, even as `null`, from one that is not.
///
/// # Errors
/// For a value that is neither text nor `null`.
pub fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What a frontend shows while a name is chosen.
#[derive(Serialize, JsonSchema)]
struct Setup {
    /// The provider that vouches.
    provider: String,
    /// A name to propose.
    suggested_username: Option<String>,
    /// What the provider calls the person.
    display_name: Option<String>,
    /// The first address with all but its ends hidden.
    masked_email: Option<String>,
    /// Whether an account has one of the verified addresses.
    existing_account: bool,
    /// By what that account signs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    existing_providers: Option<BTreeSet<String>>,
    /// Whether a new account may be made all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_sign_up: Option<bool>,
}

/// How `GET /auth/setup` is described.
pub const SHOW: Operation = Operation {
    id: "show_setup",
    tag: Tag::SignIn,
    summary: "What is known of who chooses a name",
    access: Access::Setup,
    answers: &[Answer::json::<Setup>(200, "What the provider says.")],
    ..Operation::PLAIN
};

/// `GET /auth/setup`: what a frontend shows while a name is chosen.
///
/// # Errors
/// `setup_expired`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let ticket = open_ticket(&request, &app)?;
    let owner = owner_of(&app, &ticket.emails()).await?;
    let mut shown = Setup {
        masked_email: ticket.masked_email(),
        existing_account: owner.is_some(),
        existing_providers: None,
        may_sign_up: None,
        provider: ticket.provider,
        suggested_username: ticket.suggested_username,
        display_name: ticket.display_name,
    };
    if let Some(user) = owner {
        // What the page `/link` says: by what that account signs in, and whether it must be that one.
        let identities = app.store.read.identities(user).await?;
        let providers = identities.into_iter().map(|identity| identity.provider);
        shown.existing_providers = Some(providers.collect());
        shown.may_sign_up = Some(ticket.may_sign_up);
    }
    Ok(HttpResponse::Ok().json(shown))
}

/// What a setup can be refused for.
pub const SETUP_ERRORS: &[ErrorCode] = &[
    ErrorCode::InvalidField,
    ErrorCode::SignupClosed,
    ErrorCode::UsernameInvalid,
    ErrorCode::UsernameReserved,
    ErrorCode::UsernameTaken,
    ErrorCode::IdentityTaken,
    ErrorCode::AlreadyUsed,
    ErrorCode::InvalidReturnTo,
];

/// How `POST /auth/setup` is described.
pub const SETUP: Operation = Operation {
    id: "set_up_account",
    tag: Tag::SignIn,
    summary: "Make the account",
    description: "After a refusal the setup cookie still works.",
    access: Access::Setup,
    body: Body::json::<SetupBody>(),
    answers: &[Answer::json::<UserBody>(201, "The new person, who is signed in.").with(&[
        Header::Always("Location", "Where the person wanted to go."),
        Header::Sets(&[Kind::Access, Kind::Refresh, Kind::LastProvider]),
    ])],
    errors: SETUP_ERRORS,
    ..Operation::PLAIN
};

/// `POST /auth/setup`: 201 with the user, `Location` with where to go, and the session's cookies.
///
/// # Errors
/// `setup_expired`, `csrf_rejected`, `signup_closed`, `username_invalid`, `username_reserved`, `username_taken`,
/// `identity_taken`, `already_used`, `invalid_return_to`. After a refusal the setup cookie still works.
pub async fn setup(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let ticket = open_ticket(&request, &app)?;
    let body: SetupBody = read_json(&request, payload, app.settings.server.max_body).await?;
    let display_name = match &body.display_name {
        Some(chosen) => chosen.as_deref(),
        None => ticket.display_name.as_deref(),
    };
    let created = create(&request, &app, &ticket, &body.username, display_name).await?;
    let user = UserBody::new(&created.live.user, &app.settings).with_emails(ticket.emails());
    Ok(created.answer(&app, &ticket, HttpResponse::Created()).json(user))
}

/// The setup ticket of this browser.
///
/// # Errors
/// `setup_expired`, `duplicate_cookie`.
pub fn open_ticket(request: &HttpRequest, app: &App) -> Result<SetupTicket, ApiError> {
    let expired = || {
        ApiError::new(
            ErrorCode::SetupExpired,
            "Nobody is signing up in this browser, or it took too long. Sign in again.",
        )
    };
    let sealed = app.cookies.read(request, Kind::Setup)?.ok_or_else(expired)?;
    let ticket: SetupTicket = app
        .sealer
        .open(Purpose::Setup, sealed, app.clock.now())
        .map_err(|error| expired().cause(error))?;
    // The provider may have been taken out of the configuration since.
    app.providers.get(&ticket.provider).ok_or_else(expired)?;
    Ok(ticket)
}

/// A person who was just created, and their cookies.
pub struct Created {
    /// The person and the session.
    pub live: FamilyWithUser,
    /// Where they go.
    pub return_to: String,
    cookies: SessionCookies,
}

impl Created {
    /// Adds cookies and `Location` to an answer.
    pub fn answer(
        self,
        app: &App,
        ticket: &SetupTicket,
        mut answer: actix_web::HttpResponseBuilder,
    ) -> actix_web::HttpResponseBuilder {
        answer
            .insert_header((LOCATION, self.return_to))
            .cookie(self.cookies.access)
            .cookie(self.cookies.refresh)
            .cookie(app.cookies.clear(Kind::Setup))
            .cookie(app.cookies.clear(Kind::Link))
            .cookie(app.cookies.clear(Kind::Resume))
            .cookie(last_provider(app, &ticket.provider));
        answer
    }
}

/// Creates the person of a setup ticket.
///
/// # Errors
/// As [`setup`].
pub async fn create(
    request: &HttpRequest,
    app: &App,
    ticket: &SetupTicket,
    username: &str,
    display_name: Option<&str>,
) -> Result<Created, ApiError> {
    if !ticket.may_sign_up {
        return Err(closed());
    }
    let return_to = return_to::check(&ticket.return_to, &app.settings.server)?;
    check(username, &app.settings.usernames).map_err(|error| refusal(&error))?;
    let display_name = display_name.map(check_display_name).transpose()?.flatten();
    let now = app.clock.now();
    let user = User {
        id: UserId::new(now),
        username: username.to_owned(),
        display_name,
        avatar: None,
        role: Role::User,
        status: UserStatus::Active,
        created_at: now,
    };
    let auth_time = Some(Timestamp::from_millis(ticket.auth_time));
    let family = new_family(request, app, None, user.id, &ticket.provider, auth_time, now);
    let mut created = audit(request, app, user.id, "user.created", now);
    created.details = json!({ "provider": ticket.provider, "personal": { "username": username } });
    let mut opened = audit(request, app, user.id, "session.opened", now);
    opened.target = format!("session:{}", family.session);
    opened.details = json!({ "provider": ticket.provider });
    let before = session_before(request, app).await?;
    let ends = before.map(|live| replaced(request, app, &live, now));
    let login_started = Timestamp::from_millis(ticket.login_expires).minus(LOGIN_LIFE);
    let write = CreateUser {
        username_key: comparison_key(username),
        identity: IdentityRefresh {
            provider: ticket.provider.clone(),
            subject: ticket.subject.clone(),
            emails: ticket.emails(),
        },
        family,
        spends: vec![
            Spent {
                id: format!("setup:{}", ticket.id),
                until: Timestamp::from_millis(ticket.expires).plus(SPENT_LEEWAY),
            },
            spent_login(&ticket.login, login_started),
        ],
        ends: ends.clone(),
        audit: vec![created, opened],
        user,
    };
    match apply(&app.writer, write).await? {
        CreateUserOutcome::Created(live) => {
            refuse_tokens_of(app, ends.as_ref()).await?;
            fetch_picture(app, live.user.id, ticket.picture.as_deref());
            let identity = (ticket.provider.as_str(), ticket.subject.as_str());
            let live = promoted(request, app, identity, *live, now).await?;
            let cookies = session::issue(app, &live, now)?;
            Ok(Created { live, return_to, cookies })
        }
        CreateUserOutcome::AlreadySpent => {
            Err(ApiError::new(ErrorCode::AlreadyUsed, SIGN_IN_AGAIN))
        }
        CreateUserOutcome::IdentityTaken => {
            Err(ApiError::new(ErrorCode::IdentityTaken, "Sign in again to get to that account."))
        }
        CreateUserOutcome::UsernameTaken => Err(taken(app, username).await),
    }
}

/// A display name as a person may write it.
///
/// # Errors
/// `invalid_field`.
pub fn check_display_name(text: &str) -> Result<Option<String>, ApiError> {
    display_name::check(text).map_err(|error| {
        ApiError::new(ErrorCode::InvalidField, error.to_string()).field("display_name")
    })
}
