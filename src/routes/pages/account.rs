//! `/account`: what a person sees and changes of their account.
//!
//! How its forms in [`crate::routes::auth::form`] answer: [`done`] after a success, and after an error
//! that [`shows`] allows [`again`], with what was typed.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::account_apps;
use super::login::redirect;
use super::places::{self, Place};
use super::response::page;
use super::resuming;
use super::text::Done;
use super::views::{
    Account, AccountErrors, AccountTokens, Address, ProviderButton, SessionRow, Way,
};
use crate::app::App;
use crate::avatars::name;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::sessions::SessionBody;
use crate::routes::auth::{form, sessions};
use crate::routes::openapi::operation::{Access, Answer, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::session::{Authenticated, authenticate};
use crate::store::model::{
    AppAccess, FamilyWithUser, Identity, SessionId, User, UserId, UserStatus,
};

/// How `GET /account` is described.
pub const ACCOUNT: Operation = Operation {
    id: "show_account",
    tag: Tag::Pages,
    summary: "The account",
    access: Access::Visitor,
    parameters: &[Parameter::query("done", "What has just been done.")],
    answers: &[Answer::page("The page."), resuming::SIGN_IN],
    errors: &[ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `GET /account?done=…`; without a session by way of `/auth/resume` to `/login`.
///
/// # Errors
/// `account_locked`; 503 if the store cannot be asked.
pub async fn account(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let done = query.get("done").and_then(Done::parse);
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(address(&app, done)));
    }
    let here = address(&app, done);
    let session = match signed_in(&request, &app, &here).await? {
        Ok(session) => session,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let user = active_user(&app, session.claims.sub).await?;
    let visit = Visit {
        user: &user,
        session: session.claims.sid,
        signed_in_at: Timestamp::from_seconds(session.claims.auth_time),
    };
    let held = Held::of(&app, &visit).await?;
    Ok(show(&app, &visit, &held, Typed::Nothing, None, done))
}

/// The session of somebody who looks at a page of the account, or where that leads without one.
///
/// # Errors
/// 503 if it cannot be known.
pub(super) async fn signed_in(
    request: &HttpRequest,
    app: &App,
    here: &str,
) -> Result<Result<Authenticated, HttpResponse>, ApiError> {
    match authenticate(request, app).await {
        Ok(session) => Ok(Ok(session)),
        Err(error) if error.code == ErrorCode::Unauthenticated => {
            resuming::lead_on(request, app, here).map(Err)
        }
        Err(error) => Err(error),
    }
}

/// The person, if they may see the account.
///
/// # Errors
/// `account_locked`; 503 if the store cannot be asked.
pub(in crate::routes) async fn active_user(app: &App, id: UserId) -> Result<User, ApiError> {
    let user = app.store.read.user(id).await?;
    user.filter(|user| user.status == UserStatus::Active).ok_or_else(|| {
        ApiError::new(ErrorCode::AccountLocked, "Ask the people who run this service to unlock it.")
    })
}

/// What a form of the page sent, to be shown again.
#[derive(Clone, Copy, Debug)]
pub enum Typed<'a> {
    /// `/auth/form/username`.
    Username(&'a str),
    /// `/auth/form/profile`.
    DisplayName(&'a str),
    /// `/auth/form/avatar`: browsers do not let a page hold a file again.
    Avatar,
    /// A form without fields to type in.
    Nothing,
}

/// Whether the page can show this error, so that the person can mend it: any but those that end the
/// visit, or that somebody else may have caused.
pub fn shows(error: &ApiError) -> bool {
    use ErrorCode as E;
    !matches!(
        error.code,
        E::Unauthenticated
            | E::SessionEnded
            | E::AccountLocked
            | E::ReauthenticationRequired
            | E::CsrfRejected
            | E::CookiesNotSent
            | E::DuplicateCookie
            | E::DuplicateParameter
            | E::InvalidRequest
            | E::Internal
    )
}

/// The page again, with what was typed and what is wrong with it.
///
/// # Errors
/// 503 if the store cannot be asked for the rest of the page.
pub async fn again(
    app: &App,
    live: &FamilyWithUser,
    typed: Typed<'_>,
    error: &ApiError,
) -> Result<HttpResponse, ApiError> {
    let visit = Visit {
        user: &live.user,
        session: live.family.session,
        signed_in_at: live.family.auth_time,
    };
    let held = Held::of(app, &visit).await?;
    Ok(show(app, &visit, &held, typed, Some(error), None))
}

/// 303 to the page, which says what was done.
pub fn done(app: &App, what: Done) -> HttpResponse {
    redirect(address(app, Some(what)))
}

fn address(app: &App, done: Option<Done>) -> String {
    let query = done.map(|done| ("done", done.as_str()));
    places::address(app, Place::Account, query.as_slice())
}

/// Who looks at the page.
struct Visit<'a> {
    user: &'a User,
    session: SessionId,
    signed_in_at: Timestamp,
}

/// What the store holds for the page beside the person.
struct Held {
    identities: Vec<Identity>,
    sessions: Vec<SessionBody>,
    apps: Vec<AppAccess>,
    /// When the username may be changed, if not at once.
    username_next_change: Option<Timestamp>,
}

impl Held {
    async fn of(app: &App, visit: &Visit<'_>) -> Result<Self, ApiError> {
        let user = visit.user.id;
        let identities = app.store.read.identities(user).await?;
        let sessions = sessions::list(app, user, visit.session).await?;
        let apps = app.store.read.apps(user).await?;
        let former = app.store.read.former_usernames(user).await?;
        let cooldown = app.settings.usernames.change_cooldown;
        let next_change = former.last().map(|last| last.until.plus(cooldown));
        let username_next_change = next_change.filter(|next| app.clock.now() < *next);
        Ok(Self { identities, sessions, apps, username_next_change })
    }

    fn sessions(&self) -> Vec<SessionRow<'_>> {
        self.sessions
            .iter()
            .map(|session| SessionRow {
                id: session.id.to_string(),
                label: &session.user_agent,
                network: Some(session.network.clone()).filter(|network| !network.is_empty()),
                since: session.created_at,
                last_used: session.last_used_at,
                current: session.current,
            })
            .collect()
    }

    fn ways<'a>(&'a self, app: &'a App) -> Vec<Way<'a>> {
        let identities = &self.identities;
        let is_usable = |identity: &Identity| app.providers.get(&identity.provider).is_some();
        let usable = identities.iter().filter(|identity| is_usable(identity)).count();
        // What is left must let the person in.
        let can_be_removed = |identity: &Identity| match is_usable(identity) {
            true => usable > 1,
            false => identities.len() > 1,
        };
        identities
            .iter()
            .map(|identity| Way {
                name: &identity.provider,
                display_name: app.providers.display_name(&identity.provider),
                subject: &identity.subject,
                address: identity.emails.first().map(|email| email.address.as_str()),
                can_be_removed: can_be_removed(identity),
            })
            .collect()
    }

    fn others<'a>(&self, app: &'a App) -> Vec<ProviderButton<'a>> {
        let is_connected =
            |name: &str| self.identities.iter().any(|identity| identity.provider == name);
        app.providers
            .iter()
            .map(|provider| provider.settings())
            .filter(|settings| !is_connected(&settings.name))
            .map(|settings| ProviderButton::plain(&settings.name, &settings.display_name))
            .collect()
    }

    /// What several providers tell is shown once, and is verified if one of them vouches for it.
    fn emails(&self) -> Vec<Address<'_>> {
        let mut emails: Vec<Address<'_>> = Vec::new();
        for email in self.identities.iter().flat_map(|identity| &identity.emails) {
            match emails.iter_mut().find(|shown| shown.address == email.address) {
                Some(shown) => shown.verified |= email.verified,
                None => emails.push(Address { address: &email.address, verified: email.verified }),
            }
        }
        emails
    }
}

fn show(
    app: &App,
    visit: &Visit<'_>,
    held: &Held,
    typed: Typed<'_>,
    error: Option<&ApiError>,
    notice: Option<Done>,
) -> HttpResponse {
    let user = visit.user;
    let avatar = user.avatar.as_ref().and_then(|avatar| name::address(&app.settings, avatar));
    // At this server, the page's own policy covers the path.
    let avatar = avatar.map(|address| {
        let path = address.strip_prefix(app.settings.server.public_url.as_str());
        path.filter(|path| path.starts_with('/')).map_or_else(|| address.clone(), str::to_owned)
    });
    let view = Account {
        site: &app.site,
        tokens: &tokens(app, visit.session),
        notice,
        errors: error.map_or_else(AccountErrors::default, |error| errors(typed, error)),
        username: &user.username,
        username_typed: match typed {
            Typed::Username(text) => text,
            _ => &user.username,
        },
        username_rules: &app.settings.usernames,
        username_next_change: held.username_next_change,
        display_name: user.display_name.as_deref(),
        display_name_typed: match typed {
            Typed::DisplayName(text) => text,
            _ => user.display_name.as_deref().unwrap_or_default(),
        },
        avatar: avatar.as_deref(),
        avatar_max_bytes: app.settings.avatars.max_bytes,
        emails: held.emails(),
        ways: held.ways(app),
        others: held.others(app),
        sessions: held.sessions(),
        apps: account_apps::rows(&held.apps),
        signed_in_at: visit.signed_in_at,
    };
    page(error.map_or(StatusCode::OK, |error| error.code.status()), &view)
}

fn tokens(app: &App, session: SessionId) -> AccountTokens {
    let session = session.to_string();
    let token = |action| form::token(app, action, &session);
    AccountTokens {
        avatar: token("avatar"),
        profile: token("profile"),
        username: token("username"),
        unlink: token("unlink"),
        session: token("session"),
        app: token("app"),
        sign_out: token("sign-out"),
    }
}

/// Where an error stands: at the field of its form if it is about what was typed, else on top alone.
fn errors<'a>(typed: Typed<'_>, error: &'a ApiError) -> AccountErrors<'a> {
    let is_about_what_was_typed = error.field.is_some()
        || matches!(
            error.code.status(),
            StatusCode::CONFLICT
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY
        );
    let sentence = Some(error.detail.as_str());
    let none = AccountErrors::default();
    match typed {
        Typed::Username(_) if is_about_what_was_typed => {
            AccountErrors { username: sentence, ..none }
        }
        Typed::DisplayName(_) if is_about_what_was_typed => {
            AccountErrors { display_name: sentence, ..none }
        }
        Typed::Avatar if is_about_what_was_typed => AccountErrors { avatar: sentence, ..none },
        _ => AccountErrors { failure: sentence, ..none },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stands_where_it_can_be_mended() {
        let taken = ApiError::new(ErrorCode::UsernameTaken, "taken");
        let large = ApiError::new(ErrorCode::PayloadTooLarge, "large");
        let busy = ApiError::new(ErrorCode::Overloaded, "busy");
        assert_eq!(errors(Typed::Username("a"), &taken).username, Some("taken"));
        assert_eq!(errors(Typed::Avatar, &large).avatar, Some("large"));
        let name = ApiError::new(ErrorCode::InvalidField, "name").field("display_name");
        assert_eq!(errors(Typed::DisplayName("a"), &name).display_name, Some("name"));
        let on_top = errors(Typed::Username("a"), &busy);
        assert_eq!((on_top.username, on_top.failure), (None, Some("busy")));
        assert_eq!(errors(Typed::Nothing, &taken).failure, Some("taken"));
    }

    #[test]
    fn what_ends_the_visit_has_a_page_of_its_own() {
        let is_shown = |code| shows(&ApiError::new(code, ""));
        for code in [ErrorCode::UsernameTaken, ErrorCode::PayloadTooLarge, ErrorCode::Overloaded] {
            assert!(is_shown(code), "{code:?}");
        }
        for code in [ErrorCode::CsrfRejected, ErrorCode::ReauthenticationRequired] {
            assert!(!is_shown(code), "{code:?}");
        }
    }
}
