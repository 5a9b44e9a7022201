//! `/account/apps`: all apps that may use an account, a page at a time.

use std::cmp::Reverse;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::account::{active_user, signed_in};
use super::login::redirect;
use super::places::{self, Place, with_query};
use super::response::page;
use super::resuming;
use super::text::Done;
use super::views::{AccountApps, AppRow};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::form;
use crate::routes::openapi::operation::{Access, Answer, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::store::model::{AppAccess, FamilyWithUser, SessionId, UserId};

/// Its path.
pub const PATH: &str = "/account/apps";

/// How `GET /account/apps` is described.
pub const APPS: Operation = Operation {
    id: "show_account_apps",
    tag: Tag::Pages,
    summary: "The apps that have access to the account",
    access: Access::Visitor,
    parameters: &[
        Parameter::query("page", "Which page; the first without it."),
        Parameter::query("done", "What has just been done."),
    ],
    answers: &[Answer::page("The page."), resuming::SIGN_IN],
    errors: &[ErrorCode::AccountLocked],
    ..Operation::PLAIN
};

/// `GET /account/apps?page=…&done=app`; without a session by way of `/auth/resume` to `/login`.
///
/// # Errors
/// `account_locked`; 503 if the store cannot be asked.
pub async fn apps(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let number = query.get("page").map_or(1, page_number);
    let done = query.get("done").and_then(Done::parse).filter(|done| *done == Done::App);
    let here = address(&app, number, done);
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(here));
    }
    let session = match signed_in(&request, &app, &here).await? {
        Ok(session) => session,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let user = active_user(&app, session.claims.sub).await?;
    let visit = Visit { user: user.id, session: session.claims.sid, number };
    show(&app, &visit, None, done).await
}

/// Which page a query or a form means. What is no number means the first one.
pub fn page_number(text: &str) -> usize {
    text.parse().unwrap_or(1)
}

/// 303 to that page, which says that an app's access is taken back.
pub fn done(app: &App, number: usize) -> HttpResponse {
    redirect(address(app, number, Some(Done::App)))
}

/// That page again, with what is wrong. For errors that [`super::account::shows`] allows.
///
/// # Errors
/// 503 if the store cannot be asked for the rest of the page.
pub async fn again(
    app: &App,
    live: &FamilyWithUser,
    number: usize,
    error: &ApiError,
) -> Result<HttpResponse, ApiError> {
    let visit = Visit { user: live.user.id, session: live.family.session, number };
    show(app, &visit, Some(error), None).await
}

/// Those that `apps` holds, the one allowed last first.
pub(super) fn rows(apps: &[AppAccess]) -> Vec<AppRow<'_>> {
    let mut rows: Vec<AppRow<'_>> = apps
        .iter()
        .map(|AppAccess { client_id, client_name, since, last_used_at, .. }| {
            let name = if client_name.is_empty() { client_id } else { client_name };
            AppRow { client_id, name, since: *since, last_used: *last_used_at }
        })
        .collect();
    rows.sort_by_key(|row| Reverse(row.since));
    rows
}

/// A frontend has one page for the whole account.
fn address(app: &App, number: usize, done: Option<Done>) -> String {
    let done = done.map(|done| ("done", done.as_str()));
    if app.settings.server.frontend_url.is_some() {
        return places::address(app, Place::Account, done.as_slice());
    }
    let number = number.to_string();
    let query: Vec<_> = [("page", number.as_str())].into_iter().chain(done).collect();
    with_query(PATH, &query)
}

/// Who looks at which page.
struct Visit {
    user: UserId,
    session: SessionId,
    number: usize,
}

async fn show(
    app: &App,
    visit: &Visit,
    error: Option<&ApiError>,
    notice: Option<Done>,
) -> Result<HttpResponse, ApiError> {
    let apps = app.store.read.apps(visit.user).await?;
    let view = AccountApps {
        site: &app.site,
        form_token: &form::token(app, "app", &visit.session.to_string()),
        notice,
        failure: error.map(|error| error.detail.as_str()),
        apps: rows(&apps),
        number: visit.number,
    };
    Ok(page(error.map_or(StatusCode::OK, |error| error.code.status()), &view))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn the_app_allowed_last_comes_first_and_one_without_a_name_has_its_id() {
        let access = |client_id: &str, client_name: &str, since| AppAccess {
            client_id: client_id.to_owned(),
            client_name: client_name.to_owned(),
            client_uri: None,
            scope: String::new(),
            since: Timestamp::from_seconds(since),
            last_used_at: None,
        };
        let apps = [access("a", "Alpha", 1), access("b", "", 2), access("c", "Gamma", 1)];
        let names: Vec<&str> = rows(&apps).iter().map(|row| row.name).collect();
        assert_eq!(names, ["b", "Alpha", "Gamma"]);
    }

    #[test]
    fn what_is_no_number_means_the_first_page() {
        for (text, number) in [("2", 2), ("1", 1), ("", 1), ("-3", 1), ("two", 1), ("1e9", 1)] {
            assert_eq!(page_number(text), number, "{text}");
        }
    }
}
