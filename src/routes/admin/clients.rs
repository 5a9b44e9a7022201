//! Clients: apps and services that may use this server, by the names of RFC 7591.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::guard::Admin;
use super::idempotency::{self, Reply};
use super::listing::{CURSOR, LIMIT, Listing};
use crate::actors::clients::Forget;
use crate::actors::revocations::Add;
use crate::app::App;
use crate::config::units::parse_duration;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::client_registration::{
    IdError, MEMBERS, Problems, check_id, first, member_schema, merged,
};
use crate::registration::{
    self, ANSWERED, LONGEST_OVERLAP, RegistrationError, USUAL_OVERLAP, document,
};
use crate::routes::openapi::operation::{
    Access, Answer, Body, Header, Operation, Page, Parameter, Tag,
};
use crate::routes::parameters::{read_members, refuse_others};
use crate::store::model::Client;

/// Where they are.
pub const PATH: &str = "/admin/clients";

/// How [`document`] is described.
struct ClientBody;

impl JsonSchema for ClientBody {
    fn schema_name() -> Cow<'static, str> {
        "Client".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut members = named();
        let seconds = |description: &str| json!({ "type": "integer", "description": description });
        let further = [
            ("client_id_issued_at", seconds("When it was registered, in seconds since the epoch.")),
            (
                "client_secret",
                json!({ "type": "string", "description": "Its secret: only in the answer to the request that made it." }),
            ),
            ("client_secret_expires_at", seconds("Always 0: a secret is replaced, not outlived.")),
            (
                "former_client_secret_expires_at",
                seconds("Until when the secret before works, in seconds since the epoch."),
            ),
        ];
        members.extend(further.map(|(name, schema)| (name.to_owned(), schema)));
        json_schema!({
            "type": "object",
            "description": "A client, by the names of RFC 7591 and our own. `docs/registration.md` explains each.",
            "required": ["client_id", "client_id_issued_at", "client_name", "redirect_uris", "grant_types",
                         "response_types", "scope", "token_endpoint_auth_method", "application_type"],
            "properties": members,
        })
    }
}

/// What can be registered, and the id.
fn named() -> Map<String, Value> {
    let members = MEMBERS.iter().map(|name| ((*name).to_owned(), member_schema(name)));
    let id = json!({ "type": "string", "description": "Never changes." });
    std::iter::once(("client_id".to_owned(), id)).chain(members).collect()
}

/// How a registration is described.
struct RegistrationBody;

impl JsonSchema for RegistrationBody {
    fn schema_name() -> Cow<'static, str> {
        "Registration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "required": ["client_name"], "properties": nullable() })
    }
}

/// How a change is described.
struct ChangeBody;

impl JsonSchema for ChangeBody {
    fn schema_name() -> Cow<'static, str> {
        "ClientChange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "properties": nullable() })
    }
}

/// `null` is the default.
fn nullable() -> Map<String, Value> {
    let or_null = |schema| json!({ "anyOf": [schema, { "type": "null" }] });
    named().into_iter().map(|(name, schema)| (name, or_null(schema))).collect()
}

/// How `GET /admin/clients` is described.
pub const LIST: Operation = Operation {
    id: "list_clients",
    tag: Tag::Administration,
    summary: "The clients",
    description: "In the order of their ids.",
    access: Access::Admin,
    parameters: &[LIMIT, CURSOR],
    answers: &[Answer::json::<Page<ClientBody>>(200, "The clients.")],
    ..Operation::PLAIN
};

/// `GET /admin/clients?limit=&cursor=`.
///
/// # Errors
/// Those of [`Admin`] and [`Listing`]; 503 if the store cannot be asked.
pub async fn list(
    _: Admin,
    request: HttpRequest,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let listing = Listing::of(&request, &[])?;
    let after: Option<String> = listing.after(&app)?;
    let clients = app.store.read.clients(after.as_deref(), listing.rows()).await?;
    let position = |client: &Client| client.client_id.clone();
    Ok(HttpResponse::Ok()
        .json(listing.page(&app, clients, position, |client| document(&client, None))))
}

/// How `POST /admin/clients` is described.
pub const REGISTER: Operation = Operation {
    id: "register_client",
    tag: Tag::Administration,
    summary: "Register a client",
    description: "`client_id` is an id of your choice; without it, a random one. The secret is in this answer and \
        nowhere else.",
    access: Access::Admin,
    parameters: &[idempotency::KEY],
    body: Body::json::<RegistrationBody>(),
    answers: &[Answer::json::<ClientBody>(201, "It is registered.")
        .with(&[Header::Always("Location", "Where the client is.")])],
    errors: &[ErrorCode::ClientIdTaken],
    ..Operation::PLAIN
};

/// `POST /admin/clients` with the members of a registration: 201 with the client and its secret.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `invalid_field`, `client_id_taken`; 503 if it could not be
/// stored.
pub async fn register(
    admin: Admin,
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let sent = read_members(&request, payload, app.settings.server.max_body, false).await?;
    let (id, members) = apart(sent.clone())?;
    let metadata = first(&members).map_err(RegistrationError::from)?;
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let app = &shared;
        let registered =
            registration::register(&app.writer, &app.client_rules, by, id, metadata).await?;
        let client_id = &registered.client.client_id;
        app.clients.ask(Forget(client_id.clone())).await?;
        let body = document(&registered.client, registered.secret.as_ref());
        Ok(Reply::json(StatusCode::CREATED, &body).at(format!("{PATH}/{client_id}")))
    });
    idempotency::once(&request, &app, &admin, &sent, work).await
}

/// The id that is named, and what is to be registered. What an answer of ours tells beside that is no request.
fn apart(
    mut members: Map<String, Value>,
) -> Result<(Option<String>, Map<String, Value>), ApiError> {
    members.retain(|member, _| !ANSWERED.contains(&member.as_str()));
    match members.remove("client_id") {
        None | Some(Value::Null) => Ok((None, members)),
        Some(Value::String(id)) => Ok((Some(id), members)),
        Some(_) => Err(refused("client_id", "It is text.")),
    }
}

fn refused(member: &str, detail: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidField, detail).field(member)
}

const ID: Parameter = Parameter::path("id", "Its `client_id`.");

/// How `GET /admin/clients/{id}` is described.
pub const SHOW: Operation = Operation {
    id: "show_client",
    tag: Tag::Administration,
    summary: "A client",
    access: Access::Admin,
    parameters: &[ID],
    answers: &[Answer::json::<ClientBody>(200, "All that is registered, except its secret.")],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `GET /admin/clients/{id}`.
///
/// # Errors
/// Those of [`Admin`]; `not_found`; 503 if the store cannot be asked.
pub async fn show(_: Admin, id: Path<String>, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let client = find(&app, &id).await?;
    Ok(HttpResponse::Ok().json(document(&client, None)))
}

/// A client as the store has it.
async fn find(app: &App, id: &str) -> Result<Client, ApiError> {
    let unknown = || RegistrationError::Unknown(id.to_owned());
    // What no client can be called is not looked for.
    check_id(id).map_err(|_| unknown())?;
    Ok(app.store.read.client(id).await?.ok_or_else(unknown)?)
}

/// How `PATCH /admin/clients/{id}` is described.
pub const UPDATE: Operation = Operation {
    id: "update_client",
    tag: Tag::Administration,
    summary: "Change what is registered about a client",
    description: "What is not named stays as it is; `null` is the default again; a list is replaced whole.",
    access: Access::Admin,
    parameters: &[ID],
    body: Body::json::<ChangeBody>(),
    answers: &[Answer::json::<ClientBody>(200, "The client as it is now.")],
    errors: &[ErrorCode::NotFound, ErrorCode::ClientChanged],
    ..Operation::PLAIN
};

/// `PATCH /admin/clients/{id}` with the members that change: 200 with the client.
///
/// # Errors
/// Those of [`Admin`]; `not_found`, `invalid_field`, `client_changed`; 503 if it could not be stored.
pub async fn update(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    /// Changes of different members do not get in each other's way, unless there are very many.
    const ATTEMPTS: usize = 5;
    let mut known = find(&app, &id).await?;
    let sent = read_members(&request, payload, app.settings.server.max_body, false).await?;
    let (named_id, members) = apart(sent)?;
    if named_id.is_some_and(|named| named != *id) {
        return Err(refused("client_id", "The id of a client does not change."));
    }
    for attempt in 1.. {
        let metadata = merged(&known.metadata, &members).map_err(RegistrationError::from)?;
        let by = admin.by(&app);
        match registration::update(&app.writer, &app.client_rules, by, &known, metadata).await {
            Err(RegistrationError::Changed) if attempt < ATTEMPTS => {
                known = find(&app, &id).await?;
            }
            outcome => {
                outcome?;
                break;
            }
        }
    }
    app.clients.ask(Forget(id.clone())).await?;
    Ok(HttpResponse::Ok().json(document(&find(&app, &id).await?, None)))
}

/// How `DELETE /admin/clients/{id}` is described.
pub const REMOVE: Operation = Operation {
    id: "remove_client",
    tag: Tag::Administration,
    summary: "Remove a client",
    description: "Its secrets, what people allowed it, and all access that it has go with it.",
    answers: &[Answer::empty(204, "It is gone, and its tokens are refused here.")],
    ..SHOW
};

/// `DELETE /admin/clients/{id}`: 204.
///
/// # Errors
/// Those of [`Admin`]; `not_found`; 503 if it could not be stored.
pub async fn remove(
    admin: Admin,
    id: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let client = find(&app, &id).await?;
    let by = admin.by(&app);
    let until = by.at.plus(app.access_tokens_live_for);
    let refused = registration::remove(&app.writer, by, &client.client_id, until).await?;
    app.revocations.ask(Add(vec![refused])).await?;
    app.clients.ask(Forget(client.client_id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The body of `POST /admin/clients/{id}/rotate-secret`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read member by member; this describes it")]
struct RotateBody {
    /// How long the present secret still works, as `90s`, `24h` or `7d`, at most `365d`; without it, `24h`.
    /// `0` ends it at once.
    #[schemars(default)]
    overlap: Option<String>,
}

/// How `POST /admin/clients/{id}/rotate-secret` is described.
pub const ROTATE_SECRET: Operation = Operation {
    id: "rotate_client_secret",
    tag: Tag::Administration,
    summary: "Give a client another secret",
    description: "It is in this answer and nowhere else. The present one works until \
        `former_client_secret_expires_at`, one from before that no longer. The body may be left out.",
    access: Access::Admin,
    parameters: &[ID, idempotency::KEY],
    body: Body::optional_json::<RotateBody>(),
    answers: &[Answer::json::<ClientBody>(200, "The client with its new secret.")],
    errors: &[ErrorCode::NotFound, ErrorCode::NoClientSecret],
    ..Operation::PLAIN
};

/// `POST /admin/clients/{id}/rotate-secret` with `{"overlap"?}`: 200 with the client and its new secret.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `not_found`, `invalid_field`, `no_client_secret`; 503 if it
/// could not be stored.
pub async fn rotate_secret(
    admin: Admin,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let known = find(&app, &id).await?;
    let sent = read_members(&request, payload, app.settings.server.max_body, true).await?;
    refuse_others(&sent, &["overlap"])?;
    let overlap = match sent.get("overlap") {
        None | Some(Value::Null) => USUAL_OVERLAP,
        Some(named) => named
            .as_str()
            .and_then(parse_duration)
            .filter(|overlap| *overlap <= LONGEST_OVERLAP)
            .ok_or_else(|| {
                refused("overlap", "It is a duration such as 90s, 24h or 7d, at most 365d, or 0.")
            })?,
    };
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let app = &shared;
        let until = by.at.plus(overlap);
        let rotated = registration::rotate_secret(&app.writer, by, &known, until).await?;
        app.clients.ask(Forget(known.client_id)).await?;
        Ok(Reply::json(StatusCode::OK, &document(&rotated.client, rotated.secret.as_ref())))
    });
    idempotency::once(&request, &app, &admin, &sent, work).await
}

impl From<RegistrationError> for ApiError {
    fn from(error: RegistrationError) -> Self {
        let code = match &error {
            RegistrationError::Id { problem: IdError::Illegal, .. } => {
                return refused("client_id", &error.to_string());
            }
            RegistrationError::Id { problem: IdError::Taken, .. } => ErrorCode::ClientIdTaken,
            RegistrationError::Metadata(problems) => return of_problems(problems),
            RegistrationError::Changed => ErrorCode::ClientChanged,
            RegistrationError::Unknown(_) => ErrorCode::NotFound,
            RegistrationError::NoSecret(_) => ErrorCode::NoClientSecret,
            RegistrationError::Write(error) => return error.clone().into(),
            RegistrationError::Store(error) => return error.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}

/// All that is wrong; the field is the member of the first.
fn of_problems(problems: &Problems) -> ApiError {
    let sentences: Vec<String> = problems.iter().map(|problem| format!("{problem}.")).collect();
    let member = problems.iter().next().and_then(|problem| problem.member.split(['[', '.']).next());
    refused(member.unwrap_or_default(), &sentences.join(" "))
}
