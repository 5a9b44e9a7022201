//! What the account page posts: below `/auth/form`, where the refresh cookie is sent, so that an expired
//! access cookie loses nothing of what was typed. Each answers 303, or the page again with what was typed
//! and what is wrong with it.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use uuid::Uuid;

use super::form::check_token;
use super::logout::{SESSION_COOKIES, cleared};
use super::{apps, avatar, deletion, form, profile, sessions, username};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::cookies::Kind;
use crate::routes::multipart::FILE;
use crate::routes::openapi::operation::{
    Access, Answer, Body, Field, FieldKind, Header, Operation, Tag,
};
use crate::routes::pages::account::{Typed, again, done, shows};
use crate::routes::pages::text::Done;
use crate::routes::pages::{account_apps, account_delete};
use crate::routes::parameters::{Parameters, read_form};
use crate::routes::{csrf, session};
use crate::store::model::{FamilyWithUser, SessionId};

/// What all of these have in common.
const SHOWN_AGAIN: &str =
    "What another input can mend is shown on the page again, with the status of the error.";

const DONE: Answer = Answer::redirect(303, "To the account page, which says what was done.");

/// Who posts, once it is certain that it is a page of ours and a live session.
async fn visitor(request: &HttpRequest, app: &App) -> Result<FamilyWithUser, ApiError> {
    csrf::check(request, &app.settings.server)?;
    session::live(request, app).await?.ok_or_else(session::unauthenticated)
}

async fn fields(
    request: &HttpRequest,
    payload: Payload,
    app: &App,
    action: &str,
    live: &FamilyWithUser,
) -> Result<Parameters, ApiError> {
    let form = read_form(request, payload, app.settings.server.max_body).await?;
    check_token(app, &form, action, &live.family.session.to_string())?;
    Ok(form)
}

/// The page again where that can mend an error.
async fn or_again(
    app: &App,
    live: &FamilyWithUser,
    typed: Typed<'_>,
    outcome: Result<HttpResponse, ApiError>,
) -> Result<HttpResponse, ApiError> {
    match outcome {
        Err(error) if shows(&error) => again(app, live, typed, &error).await,
        outcome => outcome,
    }
}

/// How `POST /auth/form/profile` is described.
pub const DISPLAY_NAME: Operation = Operation {
    id: "post_display_name",
    tag: Tag::Pages,
    summary: "Change the display name",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("display_name", "What pages show; empty for none."),
    ]),
    answers: &[DONE],
    errors: &[ErrorCode::InvalidField],
    ..Operation::PLAIN
};

/// `POST /auth/form/profile` with `display_name`, which may be empty.
///
/// # Errors
/// Those of [`profile::update`] that another name cannot mend.
pub async fn display_name(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "profile", &live).await?;
    let typed = form.get("display_name").unwrap_or_default();
    let updated = profile::update(&request, &app, live.user.id, Some(typed)).await;
    let outcome = updated.map(|_| done(&app, Done::Profile));
    or_again(&app, &live, Typed::DisplayName(typed), outcome).await
}

/// How `POST /auth/form/username` is described.
pub const ANOTHER_USERNAME: Operation = Operation {
    id: "post_username",
    tag: Tag::Pages,
    summary: "Change the username",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[form::TOKEN, Field::new("username", "The new name.")]),
    answers: &[DONE.with(&[Header::Sets(&[Kind::Access, Kind::Refresh])])],
    errors: &[
        ErrorCode::Forbidden,
        ErrorCode::UsernameInvalid,
        ErrorCode::UsernameReserved,
        ErrorCode::UsernameTaken,
        ErrorCode::UsernameCooldown,
    ],
    ..Operation::PLAIN
};

/// `POST /auth/form/username` with `username`; new cookies go with the answer, so that the new name is in
/// the access token at once.
///
/// # Errors
/// Those of [`username::change`] that another name cannot mend.
pub async fn another_username(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "username", &live).await?;
    let typed = form.get("username").unwrap_or_default();
    let changing = async {
        username::change(&request, &app, live.user.id, typed).await?;
        let mut answer = done(&app, Done::Username);
        if let Some(cookies) = session::renewed(&request, &app, live.family.session).await? {
            for cookie in [cookies.access, cookies.refresh] {
                answer.add_cookie(&cookie).map_err(|error| {
                    ApiError::new(ErrorCode::Internal, "The cookie could not be written.")
                        .cause(error)
                })?;
            }
        }
        Ok(answer)
    };
    let outcome = changing.await;
    or_again(&app, &live, Typed::Username(typed), outcome).await
}

/// How `POST /auth/form/avatar` is described.
pub const PICTURE: Operation = Operation {
    id: "post_avatar",
    tag: Tag::Pages,
    summary: "Choose a picture, or do without",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Multipart(&[
        form::TOKEN,
        Field::new(FILE, "The picture.").holding(FieldKind::File),
        Field::new("remove", "`true` to do without."),
    ]),
    answers: &[DONE],
    errors: &[ErrorCode::InvalidField],
    ..Operation::PLAIN
};

/// `POST /auth/form/avatar`, as multipart, with `file` or `remove=true`.
///
/// # Errors
/// Those of [`avatar::replace`] that another picture cannot mend.
pub async fn picture(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let user = live.user.id;
    let changing = async {
        let (_place, form) = avatar::receive(&request, payload, &app, user).await?;
        check_token(&app, &form.fields, "avatar", &live.family.session.to_string())?;
        // A browser sends the empty choice of a file along with the button that removes.
        if form.fields.get("remove") == Some("true") {
            avatar::remove(&request, &app, user).await?;
            return Ok(done(&app, Done::AvatarRemoved));
        }
        let file = form.file.ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidField, "Choose a picture first.").field("file")
        })?;
        avatar::replace(&request, &app, user, file).await?;
        Ok(done(&app, Done::Avatar))
    };
    let outcome = changing.await;
    or_again(&app, &live, Typed::Avatar, outcome).await
}

/// How `POST /auth/form/session` is described.
pub const END_SESSION: Operation = Operation {
    id: "post_end_of_session",
    tag: Tag::Pages,
    summary: "End a session, or all others",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("session", "The id of the one to end."),
        Field::new("others", "`true` for all but this one."),
    ]),
    answers: &[DONE],
    errors: &[ErrorCode::InvalidField, ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `POST /auth/form/session` with `session`, the id of the one to end, or `others=true`.
///
/// # Errors
/// Those of [`sessions::end`].
pub async fn end_session(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "session", &live).await?;
    let (user, current) = (live.user.id, live.family.session);
    let ending = async {
        if form.get("others") == Some("true") {
            sessions::end_others(&request, &app, user, current).await?;
            return Ok(done(&app, Done::Others));
        }
        let named =
            form.get("session").and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(|| {
                ApiError::new(ErrorCode::InvalidField, "It says which session to end.")
                    .field("session")
            })?;
        sessions::end(&request, &app, user, SessionId(named)).await?;
        Ok(done(&app, Done::Session))
    };
    let outcome = ending.await;
    or_again(&app, &live, Typed::Nothing, outcome).await
}

/// How `POST /auth/form/app` is described.
pub const TAKE_BACK: Operation = Operation {
    id: "post_end_of_app",
    tag: Tag::Pages,
    summary: "Take an app's access away",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("client_id", "Which one."),
        Field::new("page", "The page of `/account/apps` that it is sent from."),
    ]),
    answers: &[DONE],
    errors: &[ErrorCode::InvalidField, ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `POST /auth/form/app` with `client_id`: takes an app's access away. With `page` it comes from that page
/// of `/account/apps` and leads back there, else to `/account`.
///
/// # Errors
/// Those of [`apps::take_back`] that the page cannot show.
pub async fn take_back(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "app", &live).await?;
    let page = form.get("page").map(account_apps::page_number);
    let taking = async {
        let client_id = form.get("client_id").ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidField, "It says whose access to take back.")
                .field("client_id")
        })?;
        apps::take_back(&request, &app, live.user.id, client_id).await
    };
    match (taking.await, page) {
        (Ok(()), Some(page)) => Ok(account_apps::done(&app, page)),
        (Err(error), Some(page)) if shows(&error) => {
            account_apps::again(&app, &live, page, &error).await
        }
        (outcome, _) => {
            let outcome = outcome.map(|()| done(&app, Done::App));
            or_again(&app, &live, Typed::Nothing, outcome).await
        }
    }
}

/// How `POST /auth/form/delete` is described.
pub const DELETE: Operation = Operation {
    id: "post_deletion",
    tag: Tag::Pages,
    summary: "Delete the account",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[form::TOKEN, Field::new("username", "The username, typed to be certain.")]),
    answers: &[Answer::redirect(303, "To the sign-in page, which says that it is deleted.")
        .with(&[Header::Clears(SESSION_COOKIES)])],
    errors: &[ErrorCode::ReauthenticationRequired, ErrorCode::InvalidField, ErrorCode::LastAdmin],
    ..Operation::PLAIN
};

/// `POST /auth/form/delete` with `username`, typed to be certain; ends at the sign-in page.
///
/// # Errors
/// `reauthentication_required`, and those of [`deletion::delete`] that the page cannot show.
pub async fn delete(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "delete", &live).await?;
    session::check_recent(live.family.auth_time, app.clock.now(), account_delete::PATH)?;
    let typed = form.get("username").unwrap_or_default();
    let deleting = async {
        account_delete::check_typed(typed, &live.user)?;
        deletion::delete(&app, &live).await
    };
    match deleting.await {
        Ok(()) => {
            let mut answer = HttpResponse::SeeOther();
            answer.insert_header((LOCATION, account_delete::farewell(&app)));
            Ok(cleared(&app, answer))
        }
        Err(error) if shows(&error) => Ok(account_delete::again(&app, &live, typed, &error)),
        Err(error) => Err(error),
    }
}

/// How `POST /auth/form/unlink` is described.
pub const UNLINK: Operation = Operation {
    id: "post_unlink",
    tag: Tag::Pages,
    summary: "Take a way to sign in away",
    description: SHOWN_AGAIN,
    access: Access::Session,
    body: Body::Form(&[
        form::TOKEN,
        Field::new("provider", "The provider's name."),
        Field::new("subject", "Which identity there."),
    ]),
    answers: &[DONE],
    errors: &[
        ErrorCode::ReauthenticationRequired,
        ErrorCode::InvalidField,
        ErrorCode::LastIdentity,
        ErrorCode::UnknownProvider,
    ],
    ..Operation::PLAIN
};

/// `POST /auth/form/unlink`: takes a way to sign in away.
///
/// # Errors
/// Those of [`super::link::unlink_by_form`] that the page cannot show.
pub async fn unlink(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let live = visitor(&request, &app).await?;
    let form = fields(&request, payload, &app, "unlink", &live).await?;
    let outcome = super::link::unlink_by_form(&request, &app, &live, &form).await;
    or_again(&app, &live, Typed::Nothing, outcome).await
}
