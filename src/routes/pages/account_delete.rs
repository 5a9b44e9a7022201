//! `/account/delete`: what deleting means, and the last question before it.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::account::{active_user, signed_in};
use super::login::redirect;
use super::places::{self, Place};
use super::response::page;
use super::resuming;
use super::text;
use super::views::DeleteAccount;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::comparison_key;
use crate::routes::auth::form;
use crate::routes::openapi::operation::{Access, Answer, Operation, Tag};
use crate::routes::session::check_recent;
use crate::store::model::{FamilyWithUser, SessionId, User};

/// Its path.
pub const PATH: &str = "/account/delete";

/// How `GET /account/delete` is described.
pub const ASK: Operation = Operation {
    id: "show_deletion",
    tag: Tag::Pages,
    summary: "Decide whether to delete the account",
    access: Access::Visitor,
    answers: &[Answer::page("The page."), resuming::SIGN_IN],
    errors: &[ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `GET /account/delete`; after a sign-in that is not fresh by way of another.
///
/// # Errors
/// `account_locked`; 503 if the store cannot be asked.
pub async fn ask(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(places::address(&app, Place::Account, &[])));
    }
    let session = match signed_in(&request, &app, PATH).await? {
        Ok(session) => session,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let auth_time = Timestamp::from_seconds(session.claims.auth_time);
    if let Err(stale) = check_recent(auth_time, app.clock.now(), PATH) {
        return match stale.way_on() {
            Some(way_on) => Ok(redirect(way_on.to_owned())),
            None => Err(stale),
        };
    }
    let user = active_user(&app, session.claims.sub).await?;
    Ok(show(&app, &user, session.claims.sid, "", None))
}

/// Whether what was typed is the person's username, without regard to case.
///
/// # Errors
/// `invalid_field`, for [`again`].
pub fn check_typed(typed: &str, user: &User) -> Result<(), ApiError> {
    if comparison_key(typed.trim()) == comparison_key(&user.username) {
        return Ok(());
    }
    let mismatch = text::account_delete::MISMATCH;
    Err(ApiError::new(ErrorCode::InvalidField, mismatch).field("username"))
}

/// The page again, with what was typed and what is wrong with it. For errors that
/// [`super::account::shows`] allows.
pub fn again(app: &App, live: &FamilyWithUser, typed: &str, error: &ApiError) -> HttpResponse {
    show(app, &live.user, live.family.session, typed, Some(error))
}

/// Where the form leads once the account is gone.
pub fn farewell(app: &App) -> String {
    places::address(app, Place::Login, &[("deleted", "true")])
}

fn show(
    app: &App,
    user: &User,
    session: SessionId,
    typed: &str,
    error: Option<&ApiError>,
) -> HttpResponse {
    let detail = |is_of_field| {
        error
            .filter(|error| error.field.is_some() == is_of_field)
            .map(|error| error.detail.as_str())
    };
    let view = DeleteAccount {
        site: &app.site,
        form_token: &form::token(app, "delete", &session.to_string()),
        username: &user.username,
        hold: app.settings.usernames.hold,
        username_typed: typed,
        username_error: detail(true),
        failure: detail(false),
    };
    page(error.map_or(StatusCode::OK, |error| error.code.status()), &view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::{Role, UserId, UserStatus};

    #[test]
    fn only_the_own_username_confirms() {
        let now = Timestamp::from_seconds(1);
        let user = User {
            id: UserId::new(now),
            username: "Rivka".to_owned(),
            display_name: Some("Riv".to_owned()),
            avatar: None,
            role: Role::User,
            status: UserStatus::Active,
            created_at: now,
        };
        for typed in ["Rivka", "rivka", " RIVKA\n"] {
            assert!(check_typed(typed, &user).is_ok(), "{typed:?}");
        }
        for typed in ["", "Riv", "rivka2", "ri vka"] {
            let error = check_typed(typed, &user).unwrap_err();
            assert_eq!(
                (error.code, error.field.as_deref()),
                (ErrorCode::InvalidField, Some("username"))
            );
        }
    }
}
