//! A new person chooses a name: the account, its identity and its first session, all or nothing.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::Deserialize;
use serde_json::json;

use super::opening::{
    audit, last_provider, new_family, refuse_tokens_of, replaced, session_before, spent_login,
};
use super::tickets::{LOGIN_LIFE, SPENT_LEEWAY, SetupTicket};
use super::username_available::refusal;
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::sealed::Purpose;
use crate::protocol::username::{check, comparison_key};
use crate::routes::cookies::Kind;
use crate::routes::parameters::read_json;
use crate::routes::session::{self, SessionCookies, UserBody};
use crate::routes::{csrf, return_to};
use crate::store::model::{FamilyWithUser, Role, User, UserId, UserStatus};
use crate::store::operation::{CreateUser, CreateUserOutcome, IdentityRefresh, Spent};

/// What to do when a ticket was spent or ran out.
pub const SIGN_IN_AGAIN: &str = "It was finished before or took too long. Sign in again.";

/// Most characters of a display name.
const LONGEST_DISPLAY_NAME: usize = 80;

/// The body of `POST /auth/setup`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupBody {
    username: String,
    #[serde(default)]
    display_name: Option<String>,
}

/// `GET /auth/setup`: what a frontend shows while a name is chosen.
///
/// # Errors
/// `setup_expired`.
pub async fn show(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let ticket = open_ticket(&request, &app)?;
    let existing_account = has_account(&app, &ticket).await?;
    Ok(HttpResponse::Ok().json(json!({
        "provider": ticket.provider,
        "suggested_username": ticket.suggested_username,
        "display_name": ticket.display_name,
        "masked_email": ticket.masked_email(),
        "existing_account": existing_account,
    })))
}

/// Whether exactly one account holds an address that this person has verified, too.
async fn has_account(app: &App, ticket: &SetupTicket) -> Result<bool, ApiError> {
    let mut holders = 0;
    for (address, _) in ticket.emails.iter().filter(|(_, verified)| *verified) {
        holders += app.store.read.verified_holders(address).await?;
    }
    Ok(holders == 1)
}

/// `POST /auth/setup`: 201 with the user, `Location` with where to go, and the session's cookies.
///
/// # Errors
/// `setup_expired`, `csrf_rejected`, `username_invalid`, `username_reserved`, `username_taken`,
/// `identity_taken`, `already_used`. After a refusal the setup cookie still works.
pub async fn setup(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let ticket = open_ticket(&request, &app)?;
    let body: SetupBody = read_json(&request, payload, app.settings.server.max_body).await?;
    let created =
        create(&request, &app, &ticket, &body.username, body.display_name.as_deref()).await?;
    let user = UserBody::new(&created.live.user, &app).with_emails(ticket.emails());
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
            let cookies = session::issue(app, &live, now)?;
            let return_to = return_to::check(&ticket.return_to, &app.settings.server)?;
            Ok(Created { live: *live, return_to, cookies })
        }
        CreateUserOutcome::AlreadySpent => {
            Err(ApiError::new(ErrorCode::AlreadyUsed, SIGN_IN_AGAIN))
        }
        CreateUserOutcome::IdentityTaken => {
            Err(ApiError::new(ErrorCode::IdentityTaken, "Sign in again to get to that account."))
        }
        CreateUserOutcome::UsernameTaken => Err(ApiError::new(
            ErrorCode::UsernameTaken,
            format!("“{username}” belongs to another account. Choose another name."),
        )
        .field("username")),
    }
}

/// A display name in NFC, trimmed; an empty one is none.
///
/// # Errors
/// `invalid_field` for one that is too long or holds characters that cannot be seen.
fn check_display_name(text: &str) -> Result<Option<String>, ApiError> {
    let refused =
        |detail: String| ApiError::new(ErrorCode::InvalidField, detail).field("display_name");
    let name = ComposingNormalizerBorrowed::new_nfc().normalize(text.trim()).into_owned();
    if name.chars().count() > LONGEST_DISPLAY_NAME {
        return Err(refused(format!(
            "A display name has at most {LONGEST_DISPLAY_NAME} characters."
        )));
    }
    let is_hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if name.chars().any(is_hidden) {
        return Err(refused("A display name holds no control characters.".to_owned()));
    }
    Ok((!name.is_empty()).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_are_normalised_and_bounded() {
        assert_eq!(check_display_name(" Rene\u{301} ").unwrap().as_deref(), Some("René"));
        assert_eq!(check_display_name("  ").unwrap(), None);
        assert!(check_display_name(&"é".repeat(80)).is_ok());
        for bad in ["a\0b", "a\u{202e}b", &"x".repeat(81)] {
            assert_eq!(check_display_name(bad).unwrap_err().field, Some("display_name"));
        }
    }
}
