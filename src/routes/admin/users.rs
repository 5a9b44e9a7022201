//! People.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::guard::Admin;
use super::idempotency::{self, Reply};
use super::listing::{CURSOR, LIMIT, Listing};
use crate::actors::outbox::Wake;
use crate::actors::revocations::Add;
use crate::administration::{self, AdministrationError};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::deletion;
use crate::routes::auth::links::{self, Link};
use crate::routes::auth::sessions::{self, SessionBody};
use crate::routes::openapi::operation::{Access, Answer, Body, Operation, Page, Parameter, Tag};
use crate::routes::parameters::{read_members, refuse_others};
use crate::routes::session::UserBody;
use crate::store::model::{
    Email, FoundBy, FoundUser, Role, User, UserId, UserList, UserPage, UserPosition, UserStatus,
};
use crate::store::operation::RevokeOutcome;

/// Where they are.
pub const PATH: &str = "/admin/users";

/// A person as admins see them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManagedUser")]
struct PersonBody {
    #[serde(flatten)]
    user: UserBody,
    /// Whether the person can sign in; of who is `deleted`, only the id is left.
    status: UserStatus,
}

impl PersonBody {
    fn new(app: &App, user: &User, emails: Vec<Email>) -> Self {
        Self { user: UserBody::new(user, &app.settings).with_emails(emails), status: user.status }
    }
}

/// The same with all that is known of them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManagedUserInDetail")]
struct WholePersonBody {
    #[serde(flatten)]
    person: PersonBody,
    /// The ways to sign in that they have, oldest first.
    links: Vec<Link>,
    /// Where they are signed in, the newest use first.
    sessions: Vec<SessionBody>,
}

/// How `GET /admin/users` is described.
pub const LIST: Operation = Operation {
    id: "list_users",
    tag: Tag::Administration,
    summary: "People, all of them or those who are searched for",
    description: "The newest first; of a search, those whose username begins so, then those whose display name, \
        then those whose verified address does. Who comes or goes meanwhile moves nobody else.",
    access: Access::Admin,
    parameters: &[
        Parameter::query(
            "query",
            "How a username, a display name or a verified address begins, whatever the case; or a whole id.",
        ),
        Parameter::query("role", "Only those who may do this: `user` or `admin`.").of::<Role>(),
        Parameter::query(
            "status",
            "Only those of this status: `active`, `locked` or `deleted`; without it, all who are not deleted.",
        )
        .of::<UserStatus>(),
        LIMIT,
        CURSOR,
    ],
    answers: &[Answer::json::<Page<PersonBody>>(200, "The people.")],
    ..Operation::PLAIN
};

/// `GET /admin/users?query=&role=&status=&limit=&cursor=`.
///
/// # Errors
/// Those of [`Admin`] and [`Listing`]; 503 if the store cannot be asked.
pub async fn list(
    _: Admin,
    request: HttpRequest,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let listing = Listing::of(&request, &["query", "role", "status"])?;
    let role = listing.parsed("role", "It is user or admin.", Role::parse)?;
    let status = listing.parsed("status", "It is active, locked or deleted.", UserStatus::parse)?;
    let query = listing.filter("query");
    let page = UserPage {
        search: query.map(administration::search),
        role,
        status,
        after: listing.after(&app)?,
        limit: listing.limit(),
    };
    let found = match query.and_then(whole_id) {
        Some(id) => UserList { people: Vec::from_iter(by_id(&app, id, &page).await?), next: None },
        None => app.store.read.users(&page).await?,
    };
    let UserList { people, next } = found;
    let shown = |FoundUser { user, emails, .. }| PersonBody::new(&app, &user, emails);
    let items = people.into_iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(listing.part(&app, items, next)))
}

/// An id in the one form in which we write it.
fn whole_id(text: &str) -> Option<UserId> {
    let id = Uuid::try_parse(text).ok()?;
    (id.to_string() == text).then_some(UserId(id))
}

/// The person of an id, if they are among those who are asked for.
async fn by_id(app: &App, id: UserId, page: &UserPage) -> Result<Option<FoundUser>, ApiError> {
    let is_asked_for = |user: &User| {
        page.role.is_none_or(|role| role == user.role)
            && match page.status {
                None => user.status != UserStatus::Deleted,
                Some(status) => status == user.status,
            }
    };
    let Some(user) = app.store.read.user(id).await?.filter(is_asked_for) else { return Ok(None) };
    let emails = app.store.read.emails(id).await?;
    let position = UserPosition { found_by: FoundBy::Nothing, key: String::new(), id };
    Ok(Some(FoundUser { user, emails, position }))
}

const ID: Parameter = Parameter::path("id", "Whose.");

/// How `GET /admin/users/{id}` is described.
pub const SHOW: Operation = Operation {
    id: "show_user",
    tag: Tag::Administration,
    summary: "A person, with their ways to sign in and their sessions",
    access: Access::Admin,
    parameters: &[ID],
    answers: &[Answer::json::<WholePersonBody>(200, "The person.")],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `GET /admin/users/{id}`.
///
/// # Errors
/// Those of [`Admin`]; `not_found`; 503 if the store cannot be asked.
pub async fn show(
    admin: Admin,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let user = find(&app, &id).await?;
    let (emails, links, sessions) = futures_util::try_join!(
        async { Ok(app.store.read.emails(user.id).await?) },
        links::list(&app, user.id),
        sessions::list(&app, user.id, admin.session),
    )?;
    let person = PersonBody::new(&app, &user, emails);
    Ok(HttpResponse::Ok().json(WholePersonBody { person, links, sessions }))
}

/// The person of an id, who is no tombstone.
async fn find(app: &App, id: &str) -> Result<User, ApiError> {
    let id = whole_id(id).ok_or(AdministrationError::Unknown)?;
    let found = app.store.read.user(id).await?;
    let found = found.filter(|user| user.status != UserStatus::Deleted);
    Ok(found.ok_or(AdministrationError::Unknown)?)
}

/// How `DELETE /admin/users/{id}` is described.
pub const DELETE: Operation = Operation {
    id: "delete_user",
    tag: Tag::Administration,
    summary: "Delete an account",
    description: "As its person would, also while it is locked. The id is never used again; the name is held for \
        `usernames.hold`.",
    answers: &[Answer::empty(204, "It is deleted, and its sessions have ended.")],
    errors: &[ErrorCode::NotFound, ErrorCode::LastAdmin],
    ..SHOW
};

/// `DELETE /admin/users/{id}`: 204.
///
/// # Errors
/// Those of [`Admin`]; `not_found`, `last_admin`; 503 if it could not be stored.
pub async fn delete(
    admin: Admin,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let user = find(&app, &id).await?;
    let mut by = admin.by(&app);
    if user.id == admin.id {
        // It would be the first personal value of a person who is gone.
        by.address = None;
    }
    let held_until = administration::held_until(by.at, app.settings.usernames.hold);
    let tokens_live_until = administration::tokens_live_until(by.at, app.access_tokens_live_for);
    let deleted =
        administration::delete(&app.writer, by, user.id, held_until, tokens_live_until).await?;
    deletion::finish(&app, &user, deleted.avatar, deleted.revocations).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The body of `PATCH /admin/users/{id}/role`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read member by member; this describes it")]
struct RoleBody {
    /// What the person may do from now on.
    role: Role,
}

/// How `PATCH /admin/users/{id}/role` is described.
pub const SET_ROLE: Operation = Operation {
    id: "set_user_role",
    tag: Tag::Administration,
    summary: "Make a person an admin, or no admin any more",
    description: "It counts from the next request on. The last admin who can sign in stays one.",
    body: Body::json::<RoleBody>(),
    answers: &[Answer::json::<PersonBody>(200, "The person as they are now.")],
    errors: &[ErrorCode::NotFound, ErrorCode::LastAdmin],
    ..SHOW
};

/// `PATCH /admin/users/{id}/role` with `{"role"}`: 200 with the person.
///
/// # Errors
/// Those of [`Admin`]; `not_found`, `invalid_field`, `last_admin`; 503 if it could not be stored.
pub async fn set_role(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let user = find(&app, &id).await?;
    let members = read_members(&request, payload, app.settings.server.max_body, false).await?;
    refuse_others(&members, &["role"])?;
    let role = members.get("role").and_then(Value::as_str).and_then(Role::parse);
    let role = role.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidField, "It is user or admin.").field("role")
    })?;
    let user = administration::set_role(&app.writer, admin.by(&app), user.id, role, false).await?;
    Ok(HttpResponse::Ok().json(shown(&app, &user).await?))
}

async fn shown(app: &App, user: &User) -> Result<PersonBody, ApiError> {
    let emails = app.store.read.emails(user.id).await?;
    Ok(PersonBody::new(app, user, emails))
}

/// How `POST /admin/users/{id}/lock` is described.
pub const LOCK: Operation = Operation {
    id: "lock_user",
    tag: Tag::Administration,
    summary: "Keep a person out until they are unlocked",
    description: "Their sessions and the access of their apps end at once; nothing is deleted.",
    access: Access::Admin,
    parameters: &[ID, idempotency::KEY],
    answers: &[Answer::json::<PersonBody>(200, "The person, who is locked, now or before.")],
    errors: &[ErrorCode::NotFound, ErrorCode::LastAdmin],
    ..Operation::PLAIN
};

/// `POST /admin/users/{id}/lock`: 200 with the person.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `not_found`, `last_admin`; 503 if it could not be stored.
pub async fn lock(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let (app, user) = (&shared, find(&shared, &id).await?);
        let live_for = app.access_tokens_live_for;
        let (user, ended) = administration::lock(&app.writer, by, user.id, live_for).await?;
        refuse(app, ended).await?;
        Ok(Reply::json(StatusCode::OK, &shown(app, &user).await?))
    });
    idempotency::once(&request, &app, &admin, &Map::new(), work).await
}

/// Makes this node refuse the tokens of what ended, and has its apps told.
async fn refuse(app: &App, ended: RevokeOutcome) -> Result<(), ApiError> {
    app.outbox.tell(Wake);
    Ok(app.revocations.ask(Add(ended.revocations)).await?)
}

/// How `POST /admin/users/{id}/unlock` is described.
pub const UNLOCK: Operation = Operation {
    id: "unlock_user",
    summary: "Let a locked person in again",
    description: "They sign in anew.",
    answers: &[Answer::json::<PersonBody>(200, "The person, who can sign in.")],
    errors: &[ErrorCode::NotFound],
    ..LOCK
};

/// `POST /admin/users/{id}/unlock`: 200 with the person.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `not_found`; 503 if it could not be stored.
pub async fn unlock(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let (app, user) = (&shared, find(&shared, &id).await?);
        let user = administration::unlock(&app.writer, by, user.id).await?;
        Ok(Reply::json(StatusCode::OK, &shown(app, &user).await?))
    });
    idempotency::once(&request, &app, &admin, &Map::new(), work).await
}

/// How `POST /admin/users/{id}/revoke-sessions` is described.
pub const REVOKE_SESSIONS: Operation = Operation {
    id: "revoke_user_sessions",
    summary: "End everything that a person is signed in to",
    description: "Apps included. They can sign in again.",
    answers: &[Answer::empty(204, "Nothing of it is left.")],
    errors: &[ErrorCode::NotFound],
    ..LOCK
};

/// `POST /admin/users/{id}/revoke-sessions`: 204.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `not_found`; 503 if it could not be stored.
pub async fn revoke_sessions(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let (app, user) = (&shared, find(&shared, &id).await?);
        let live_for = app.access_tokens_live_for;
        let ended = administration::revoke_sessions(&app.writer, by, user.id, live_for).await?;
        refuse(app, ended).await?;
        Ok(Reply::nothing())
    });
    idempotency::once(&request, &app, &admin, &Map::new(), work).await
}

impl From<AdministrationError> for ApiError {
    fn from(error: AdministrationError) -> Self {
        let code = match error {
            AdministrationError::Unknown => ErrorCode::NotFound,
            AdministrationError::LastAdmin => ErrorCode::LastAdmin,
            AdministrationError::NotFirst => ErrorCode::Forbidden,
            AdministrationError::Write(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}
