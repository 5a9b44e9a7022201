//! Makes the document: OpenAPI 3.1.1, whose schemas are those of JSON Schema 2020-12.

use std::collections::{BTreeMap, BTreeSet};

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operation::{
    Access, Answer, Body, Content, Field, FieldKind, Header, Operation, Parameter, Tag,
};
use crate::config::settings::Settings;
use crate::error::ErrorCode;
use crate::routes::admin::idempotency;
use crate::routes::cookies::{Cookies, Kind};
use crate::routes::edge::{PROBLEM, Problem, in_oauth};
use crate::routes::endpoint::{Endpoint, Limit};
use crate::routes::endpoints;
use crate::routes::oauth::error::{OAuthCode, OAuthProblem};
use crate::routes::pages::errors::is_shown_to_people;
use crate::routes::parameters::FORM;

/// What holds for every operation.
const ABOUT: &str = "\
The HTTP interface of Latchkey, a self-hosted auth server.\n\n\
**Errors** are problem documents (RFC 9457) with a stable `code`; under `/oauth` they are in the words of RFC 6749. \
A request whose `Accept` names `text/html` gets a page instead, or is led to the page `/error` of the frontend where \
there is one. `docs/errors.md` explains every code.\n\n\
**Cookies.** A change that is authenticated by cookie has to come from an own page or an allowed origin: \
`Sec-Fetch-Site: same-origin`, or such an `Origin`. Where `Authorization` is sent, it alone decides.\n\n\
**Everywhere.** GET is also answered as HEAD, with the same head. Another method of a path is answered 405, with \
`Allow`. Preflights (OPTIONS) are answered 204. Each answer has the id of the request in `X-Request-Id`. Lists answer \
`items` and `next_cursor`. Times are RFC 3339 in UTC; those of tokens are seconds since the epoch.";

/// The document, as it is served and printed.
pub fn text(settings: &Settings) -> String {
    format!("{}\n", document(settings))
}

/// The document of all routes, as these settings make them.
pub fn document(settings: &Settings) -> Value {
    let mut writer = Writer::new(settings);
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints() {
        let methods = endpoint.operations.iter().map(|(method, operation)| {
            (method.to_lowercase(), writer.operation(&endpoint, method, operation))
        });
        paths.insert(endpoint.path.to_owned(), Value::Object(methods.collect()));
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Latchkey",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": settings.server.public_url.as_str() }],
        "tags": Tag::ALL.map(|tag| json!({ "name": tag.as_str(), "description": tag.about() })),
        "paths": paths,
        "components": writer.components(),
    })
}

/// What is collected while operations are written.
struct Writer<'a> {
    settings: &'a Settings,
    cookies: Cookies,
    /// Schemas of what is answered.
    told: SchemaGenerator,
    /// Schemas of what is read: what may be left out differs, so these stand in their place.
    read: SchemaGenerator,
    /// The answers that say no, each by the codes that it can have.
    refusals: Map<String, Value>,
}

/// How a refusal is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As a problem document, or for people as a page.
    Problem,
    /// In the words of OAuth, to programs alone.
    OAuth,
    /// The same, or for people as a page.
    OAuthOrPage,
}

impl Manner {
    fn of(path: &str) -> Self {
        match path.starts_with("/oauth/") {
            false => Self::Problem,
            true if is_shown_to_people(path) => Self::OAuthOrPage,
            true => Self::OAuth,
        }
    }
}

impl<'a> Writer<'a> {
    fn new(settings: &'a Settings) -> Self {
        let draft = || {
            SchemaSettings::draft2020_12().with(|draft| {
                draft.meta_schema = None;
                draft.definitions_path = "/components/schemas".into();
            })
        };
        Self {
            settings,
            cookies: Cookies::new(settings),
            told: draft().for_serialize().into_generator(),
            read: draft().for_deserialize().with(|draft| draft.inline_subschemas = true).into(),
            refusals: Map::new(),
        }
    }

    fn operation(&mut self, endpoint: &Endpoint, method: &str, operation: &Operation) -> Value {
        let mut written = json!({
            "operationId": operation.id,
            "tags": [operation.tag.as_str()],
            "summary": operation.summary,
            "security": security(operation.access, endpoint.path),
            "responses": self.responses(endpoint, method, operation),
        });
        if !operation.description.is_empty() {
            written["description"] = operation.description.into();
        }
        if !operation.parameters.is_empty() {
            let parameters = operation.parameters.iter().map(|one| self.parameter(one));
            written["parameters"] = parameters.collect();
        }
        if let Some(body) = self.body(operation) {
            written["requestBody"] = body;
        }
        written
    }

    fn parameter(&mut self, parameter: &Parameter) -> Value {
        let mut schema = (parameter.schema)(&mut self.read).into();
        if parameter.is_required {
            deny_empty(&mut schema);
        }
        json!({
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.description,
            "required": parameter.is_required,
            "schema": schema,
        })
    }

    fn body(&mut self, operation: &Operation) -> Option<Value> {
        let (media_type, schema, is_required) = match operation.body {
            Body::None => return None,
            Body::Json(schema) => ("application/json", schema(&mut self.read).into(), true),
            Body::OptionalJson(schema) => {
                ("application/json", schema(&mut self.read).into(), false)
            }
            Body::Form(fields) => (FORM, form(fields, operation.access), true),
            Body::OptionalForm(fields) => (FORM, form(fields, operation.access), false),
            Body::Multipart(fields) => {
                ("multipart/form-data", form(fields, operation.access), true)
            }
        };
        let content = Map::from_iter([(media_type.to_owned(), json!({ "schema": schema }))]);
        Some(json!({ "required": is_required, "content": content }))
    }

    fn responses(&mut self, endpoint: &Endpoint, method: &str, operation: &Operation) -> Value {
        let mut responses = Map::new();
        for answer in operation.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        let manner = Manner::of(endpoint.path);
        // An error is a page, and that is the frontend's.
        if manner == Manner::Problem && self.settings.server.frontend_url.is_some() {
            let elsewhere = Answer::redirect(303, "For a person: to a page of the frontend.");
            responses.entry("303").or_insert_with(|| self.answer(&elsewhere));
        }
        for (status, codes) in refused(endpoint, method, operation, manner) {
            responses.insert(status.to_string(), self.refusal(manner, status, codes));
        }
        Value::Object(responses)
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut written = json!({
            "description": answer.description,
            "headers": self.headers(answer),
        });
        match answer.content {
            Content::Empty => {}
            Content::Json(media_type, schema) => {
                let mut schema = schema(&mut self.told).into();
                simplify(&mut schema);
                written["content"][media_type] = json!({ "schema": schema });
            }
            Content::Other(media_types) => {
                for media_type in media_types {
                    // Text is told from bytes.
                    let is_text = media_type.contains("text") || media_type.contains("xml");
                    let schema = if is_text { json!({ "type": "string" }) } else { json!({}) };
                    written["content"][*media_type] = json!({ "schema": schema });
                }
            }
        }
        written
    }

    fn headers(&self, answer: &Answer) -> Value {
        let mut headers = Map::from_iter([("X-Request-Id".to_owned(), request_id())]);
        if matches!(answer.status, 302 | 303) {
            let mut location = header("Where to.", true);
            location["schema"]["format"] = "uri-reference".into();
            headers.insert("Location".to_owned(), location);
        }
        let names = |kinds: &[Kind]| {
            let names = kinds.iter().map(|kind| format!("`{}`", self.cookies.name(*kind)));
            names.collect::<Vec<_>>().join(", ")
        };
        for one in answer.headers {
            let (name, written) = match one {
                Header::Always(name, description) => (*name, header(description, true)),
                Header::Sets(kinds) => (
                    "Set-Cookie",
                    header(&format!("Sets {} where they are new.", names(kinds)), false),
                ),
                Header::Clears(kinds) => {
                    ("Set-Cookie", header(&format!("Clears {}.", names(kinds)), false))
                }
            };
            headers.insert(name.to_owned(), written);
        }
        Value::Object(headers)
    }

    /// An answer that says no, which is written once for all that can be refused in the same way.
    fn refusal(&mut self, manner: Manner, status: u16, codes: BTreeSet<&'static str>) -> Value {
        let prefix = match manner {
            Manner::Problem => "problem",
            Manner::OAuth => "oauth",
            Manner::OAuthOrPage => "oauth_or_page",
        };
        let listed: Vec<&str> = codes.into_iter().collect();
        let name = format!("{prefix}.{status}.{}", listed.join("."));
        if !self.refusals.contains_key(&name) {
            let written = self.written_refusal(manner, status, &listed);
            self.refusals.insert(name.clone(), written);
        }
        json!({ "$ref": format!("#/components/responses/{name}") })
    }

    fn written_refusal(&mut self, manner: Manner, status: u16, codes: &[&str]) -> Value {
        let page = || json!({ "schema": { "type": "string" } });
        let (member, media_type, base) = match manner {
            Manner::Problem => ("code", PROBLEM, self.told.subschema_for::<Problem<'_>>()),
            Manner::OAuth | Manner::OAuthOrPage => {
                ("error", "application/json", self.told.subschema_for::<OAuthProblem>())
            }
        };
        let narrowed = Map::from_iter([(member.to_owned(), json!({ "enum": codes }))]);
        let schema = json!({ "allOf": [base, { "properties": narrowed }] });
        let mut content = Map::from_iter([(media_type.to_owned(), json!({ "schema": schema }))]);
        if manner != Manner::OAuth {
            content.insert("text/html".to_owned(), page());
        }
        let mut headers = Map::from_iter([("X-Request-Id".to_owned(), request_id())]);
        match status {
            401 => {
                let challenge = header("How to authenticate.", manner == Manner::Problem);
                headers.insert("WWW-Authenticate".to_owned(), challenge);
            }
            429 | 503 => {
                let wait = header("Seconds to wait before asking again.", true);
                headers.insert("Retry-After".to_owned(), wait);
            }
            _ => {}
        }
        let quoted: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        json!({ "description": quoted.join(", "), "headers": headers, "content": content })
    }

    fn components(mut self) -> Value {
        let mut schemas = Value::Object(self.told.take_definitions(true));
        simplify(&mut schemas);
        let cookie = |kind, description: &str| {
            json!({
                "type": "apiKey", "in": "cookie", "name": self.cookies.name(kind),
                "description": description,
            })
        };
        let discovery = self.settings.server.public_url.join("/.well-known/openid-configuration");
        json!({
            "schemas": schemas,
            "responses": self.refusals,
            "headers": {
                "RequestId": {
                    "description": "The id of the request: also in the log and in the audit trail.",
                    "required": true,
                    "schema": { "type": "string" },
                },
            },
            "securitySchemes": {
                "access_cookie": cookie(Kind::Access, "The access token of a browser's session."),
                "refresh_cookie": cookie(
                    Kind::Refresh,
                    "The refresh token of a browser's session, sent to paths below `/auth` alone.",
                ),
                "setup_cookie": cookie(Kind::Setup, "Who is choosing a name for a new account."),
                "recovery_cookie": cookie(Kind::Recovery, "Who has followed a recovery link."),
                "access_token": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A first-party access token, as `latchkey users token` prints it.",
                },
                "client_secret_basic": {
                    "type": "http", "scheme": "basic",
                    "description": "The id and secret of a client. Others send `client_secret`, a \
                        `client_assertion`, or as public clients their `client_id` alone, in the form.",
                },
                "client_access_token": {
                    "type": "openIdConnect", "openIdConnectUrl": discovery,
                    "description": "An access token that a client was given for a person.",
                },
            },
        })
    }
}

/// Text that has to be there counts as absent where it is empty (RFC 6749 §3.1).
fn deny_empty(schema: &mut Value) {
    if schema["type"] == "string" && schema.get("format").is_none() {
        schema["minLength"] = 1.into();
    }
}

/// Says the same of what is answered more briefly: what may be absent is never null, and words to choose from
/// are one list.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(simplify),
        Value::Object(schema) => {
            schema.values_mut().for_each(simplify);
            let required = schema.get("required").and_then(Value::as_array).cloned();
            let required = required.unwrap_or_default();
            if let Some(Value::Object(members)) = schema.get_mut("properties") {
                let optional =
                    members.iter_mut().filter(|(name, _)| !required.contains(&json!(name)));
                optional.for_each(|(_, member)| deny_null(member));
            }
            let words = schema.get("oneOf").and_then(Value::as_array).and_then(|parts| {
                parts.iter().map(|part| part.get("const").cloned()).collect::<Option<Vec<_>>>()
            });
            if let Some(words) = words {
                schema.remove("oneOf");
                schema.insert("enum".to_owned(), words.into());
            }
        }
        _ => {}
    }
}

fn deny_null(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(parts)) = schema.get_mut("anyOf") {
        parts.retain(|part| part["type"] != "null");
        if let [Value::Object(only)] = &parts[..] {
            let only = only.clone();
            schema.remove("anyOf");
            // What is said of the member outdoes what is said of its type.
            only.into_iter().for_each(|(name, value)| {
                schema.entry(name).or_insert(value);
            });
        }
    }
}

fn request_id() -> Value {
    json!({ "$ref": "#/components/headers/RequestId" })
}

fn header(description: &str, is_required: bool) -> Value {
    json!({ "description": description, "required": is_required, "schema": { "type": "string" } })
}

fn security(access: Access, path: &str) -> Value {
    let by = |scheme: &str| json!({ scheme: [] });
    // The refresh cookie is not sent elsewhere.
    let session = || {
        let refresh = path.starts_with("/auth/").then(|| by("refresh_cookie"));
        [by("access_token"), by("access_cookie")].into_iter().chain(refresh)
    };
    match access {
        Access::Anybody => json!([]),
        Access::Visitor => std::iter::once(json!({})).chain(session()).collect(),
        Access::Session => session().collect(),
        Access::Person => json!([by("access_token"), by("access_cookie")]),
        Access::Admin => json!([{ "access_token": ["admin"] }, { "access_cookie": ["admin"] }]),
        Access::Refresh => json!([by("refresh_cookie")]),
        Access::Setup => json!([by("setup_cookie")]),
        Access::Recovery => json!([by("recovery_cookie")]),
        Access::Client => json!([by("client_secret_basic"), {}]),
        Access::ClientToken => json!([{ "client_access_token": ["openid"] }]),
    }
}

/// How a client authenticates within a form (RFC 6749 §2.3.1, RFC 7523 §2.2).
const OF_CLIENT: [Field; 4] = [
    Field::new("client_id", "Which client it is, where that is not in the header."),
    Field::new("client_secret", "Its secret, for `client_secret_post`."),
    Field::new("client_assertion_type", "For `private_key_jwt`."),
    Field::new("client_assertion", "What the client has signed, for `private_key_jwt`."),
];

fn form(fields: &[Field], access: Access) -> Value {
    let of_client: &[Field] = if access == Access::Client { &OF_CLIENT } else { &[] };
    let all = || fields.iter().chain(of_client);
    let properties: Map<String, Value> = all()
        .map(|field| {
            let mut schema = match field.kind {
                FieldKind::Text => json!({ "type": "string" }),
                FieldKind::Repeated => json!({ "type": "array", "items": { "type": "string" } }),
                FieldKind::File => json!({ "type": "string", "format": "binary" }),
            };
            schema["description"] = field.description.into();
            if field.is_required {
                deny_empty(&mut schema);
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> =
        all().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// Every code that an operation can be refused with, by status.
fn refused(
    endpoint: &Endpoint,
    method: &str,
    operation: &Operation,
    manner: Manner,
) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let mut refused: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    let codes = operation.errors.iter().copied().chain(implied(endpoint, method, operation));
    for code in codes {
        let name = match manner {
            Manner::Problem => code.as_str(),
            Manner::OAuth | Manner::OAuthOrPage => in_oauth(code).as_str(),
        };
        refused.entry(code.status().as_u16()).or_default().insert(name);
    }
    let of_client: &[OAuthCode] = match operation.access {
        Access::Client => &[OAuthCode::InvalidClient, OAuthCode::InvalidRequest],
        Access::ClientToken => {
            &[OAuthCode::InvalidToken, OAuthCode::InsufficientScope, OAuthCode::InvalidRequest]
        }
        _ => &[],
    };
    for code in operation.oauth_errors.iter().chain(of_client) {
        refused.entry(code.status().as_u16()).or_default().insert(code.as_str());
    }
    refused
}

/// The codes that follow from what an operation is.
fn implied(endpoint: &Endpoint, method: &str, operation: &Operation) -> Vec<ErrorCode> {
    use ErrorCode as E;
    // The edge.
    let mut codes = vec![E::UriTooLong, E::HeadersTooLarge, E::WrongHost, E::Internal];
    if endpoint.limit != Limit::None {
        codes.extend([
            E::RateLimited,
            E::Overloaded,
            E::StoreUnavailable,
            E::TemporarilyUnavailable,
        ]);
    }
    if operation.access.is_by_cookie() {
        codes.push(E::DuplicateCookie);
        if method != "GET" {
            codes.push(E::CsrfRejected);
        }
    }
    match operation.access {
        Access::Anybody | Access::Visitor | Access::Client | Access::ClientToken => {}
        Access::Person | Access::Session => codes.push(E::Unauthenticated),
        Access::Admin => codes.extend([E::Unauthenticated, E::Forbidden]),
        Access::Refresh => codes.extend([E::SessionEnded, E::CookiesNotSent]),
        Access::Setup => codes.push(E::SetupExpired),
        Access::Recovery => codes.push(E::RecoveryExpired),
    }
    if operation.parameters.iter().any(|parameter| parameter.place == "query") {
        codes.extend([E::InvalidRequest, E::DuplicateParameter]);
    }
    if operation.parameters.iter().any(|parameter| parameter.name == idempotency::NAME) {
        codes.extend([E::InvalidRequest, E::IdempotencyKeyReused, E::IdempotencyKeyInUse]);
    }
    match operation.body {
        Body::None => {}
        Body::Json(_) | Body::OptionalJson(_) | Body::Multipart(_) => codes.push(E::InvalidField),
        Body::Form(_) | Body::OptionalForm(_) => codes.push(E::DuplicateParameter),
    }
    if !matches!(operation.body, Body::None) {
        codes.extend([
            E::InvalidRequest,
            E::UnsupportedMediaType,
            E::PayloadTooLarge,
            E::RequestTimeout,
        ]);
    }
    if matches!(operation.body, Body::Multipart(_)) {
        codes.push(E::DuplicateParameter);
    }
    codes
}
