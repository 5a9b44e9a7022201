//! How a route is described: a constant of plain data beside its handler, which the table of routes takes
//! together with it. What follows from the rest is not repeated there: who may not call is refused, a body
//! can be too large, a limit can be reached; `document` adds it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::error::ErrorCode;
use crate::routes::cookies::Kind;
use crate::routes::oauth::error::OAuthCode;

/// One method of one path.
///
/// ```
/// use latchkey::error::ErrorCode;
/// use latchkey::routes::openapi::operation::{Access, Answer, Body, Operation, Parameter, Tag};
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct ThingBody {
///     name: String,
/// }
///
/// /// How `GET /things/{name}` is described.
/// pub const SHOW: Operation = Operation {
///     id: "show_thing",
///     tag: Tag::Account,
///     summary: "A thing",
///     access: Access::Person,
///     parameters: &[Parameter::path("name", "Which one.")],
///     answers: &[Answer::json::<ThingBody>(200, "The thing.")],
///     errors: &[ErrorCode::NotFound],
///     ..Operation::PLAIN
/// };
/// ```
#[derive(Clone, Copy)]
pub struct Operation {
    /// A stable name in snake_case, by which generated clients call it.
    pub id: &'static str,
    /// What it belongs to.
    pub tag: Tag,
    /// A few words, without a full stop.
    pub summary: &'static str,
    /// Further sentences, if they are needed.
    pub description: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What stands in the path, the query and the headers.
    pub parameters: &'static [Parameter],
    /// What it reads.
    pub body: Body,
    /// Every answer that is no error.
    pub answers: &'static [Answer],
    /// The codes of its own refusals. Those that follow from access, parameters, body and limit, and those
    /// of the edge, are added.
    pub errors: &'static [ErrorCode],
    /// The same in the words of OAuth, under `/oauth`.
    pub oauth_errors: &'static [OAuthCode],
}

impl Operation {
    /// What all have in common that say nothing else.
    pub const PLAIN: Self = Self {
        id: "",
        tag: Tag::System,
        summary: "",
        description: "",
        access: Access::Anybody,
        parameters: &[],
        body: Body::None,
        answers: &[],
        errors: &[],
        oauth_errors: &[],
    };

    /// What `latchkey dev` has for itself and no document tells of.
    pub const UNTOLD: Self = Self::PLAIN;
}

/// What an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// What machines ask.
    System,
    /// Signing in, up and out.
    SignIn,
    /// The account of who is signed in.
    Account,
    /// OAuth 2.0 and OpenID Connect, for other people's apps.
    Provider,
    /// Pages for people, and what they post.
    Pages,
    /// What admins do.
    Administration,
}

impl Tag {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 6] = [
        Self::System,
        Self::SignIn,
        Self::Account,
        Self::Provider,
        Self::Pages,
        Self::Administration,
    ];

    /// Its name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::SignIn => "sign-in",
            Self::Account => "account",
            Self::Provider => "provider",
            Self::Pages => "pages",
            Self::Administration => "administration",
        }
    }

    /// What it is about.
    pub fn about(self) -> &'static str {
        match self {
            Self::System => "What machines ask: health, metrics, keys, this document.",
            Self::SignIn => {
                "Signing in at a provider, choosing a name, staying signed in, signing out."
            }
            Self::Account => "The account of the person who is signed in.",
            Self::Provider => "OAuth 2.0 and OpenID Connect for apps that people sign in to.",
            Self::Pages => "Pages for people, and the forms that they post.",
            Self::Administration => {
                "What admins do with people, clients, keys and the audit trail."
            }
        }
    }
}

/// Who may call an operation, and by what they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; nobody is looked at.
    Anybody,
    /// Anybody; who is signed in, by whatever cookie, is treated as such.
    Visitor,
    /// Who is signed in: by the access cookie or a first-party access token as bearer.
    Person,
    /// The same, and an admin.
    Admin,
    /// Who is signed in: by the refresh cookie, the access cookie or a first-party access token as bearer.
    Session,
    /// Who has a refresh cookie.
    Refresh,
    /// Who is choosing a name for a new account: the setup cookie.
    Setup,
    /// Who has followed a recovery link: the recovery cookie.
    Recovery,
    /// A registered client, which authenticates as it is registered.
    Client,
    /// Whoever has an access token of a client, with the scope `openid`.
    ClientToken,
}

impl Access {
    /// Whether cookies can prove it, so that changes have to come from an own page.
    pub fn is_by_cookie(self) -> bool {
        !matches!(self, Self::Anybody | Self::Client | Self::ClientToken)
    }
}

/// Makes the schema of a type; what it refers to is collected on the way.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A value in the path, the query or a header.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands: `path`, `query` or `header`.
    pub place: &'static str,
    /// What it is for: a sentence.
    pub description: &'static str,
    /// Whether the request is refused without it.
    pub is_required: bool,
    /// What it may be.
    pub schema: SchemaOf,
}

impl Parameter {
    /// A part of the path.
    pub const fn path(name: &'static str, description: &'static str) -> Self {
        Self { name, place: "path", description, is_required: true, schema: schema::<String> }
    }

    /// A parameter of the query that may be left out.
    pub const fn query(name: &'static str, description: &'static str) -> Self {
        Self { name, place: "query", description, is_required: false, schema: schema::<String> }
    }

    /// A header that may be left out.
    pub const fn header(name: &'static str, description: &'static str) -> Self {
        Self { name, place: "header", description, is_required: false, schema: schema::<String> }
    }

    /// One that must be there.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// One that is no text.
    #[must_use]
    pub const fn of<T: JsonSchema>(self) -> Self {
        Self { schema: schema::<T>, ..self }
    }
}

/// What an operation reads beside its parameters.
#[derive(Clone, Copy)]
pub enum Body {
    /// Nothing.
    None,
    /// `application/json`.
    Json(SchemaOf),
    /// The same, but all of it may be left out.
    OptionalJson(SchemaOf),
    /// `application/x-www-form-urlencoded`, with these fields.
    Form(&'static [Field]),
    /// `multipart/form-data`, with these fields.
    Multipart(&'static [Field]),
    /// The form of POST; also what is there may be left out altogether.
    OptionalForm(&'static [Field]),
}

impl Body {
    /// The JSON of a type.
    pub const fn json<T: JsonSchema>() -> Self {
        Self::Json(schema::<T>)
    }

    /// The JSON of a type, which may be left out.
    pub const fn optional_json<T: JsonSchema>() -> Self {
        Self::OptionalJson(schema::<T>)
    }
}

/// A field of a form.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is for: a sentence.
    pub description: &'static str,
    /// Whether the request is refused without it.
    pub is_required: bool,
    /// Whether it is a file, or may be there several times.
    pub kind: FieldKind,
}

/// What a field of a form holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text, once.
    Text,
    /// Text, as often as one likes.
    Repeated,
    /// The bytes of a file.
    File,
}

impl Field {
    /// Text that may be left out.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description, is_required: false, kind: FieldKind::Text }
    }

    /// One that must be there.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// One that holds something else than text.
    #[must_use]
    pub const fn holding(self, kind: FieldKind) -> Self {
        Self { kind, ..self }
    }
}

/// An answer that is no error.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it means: a sentence.
    pub description: &'static str,
    /// What it holds.
    pub content: Content,
    /// The headers that matter.
    pub headers: &'static [Header],
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// Nothing.
    Empty,
    /// `application/json`, or a media type that is JSON, too.
    Json(&'static str, SchemaOf),
    /// Something else, of one of these media types.
    Other(&'static [&'static str]),
}

impl Answer {
    /// The JSON of a type.
    pub const fn json<T: JsonSchema>(status: u16, description: &'static str) -> Self {
        Self::json_as::<T>("application/json", status, description)
    }

    /// The JSON of a type, under a media type of its own.
    pub const fn json_as<T: JsonSchema>(
        media_type: &'static str,
        status: u16,
        description: &'static str,
    ) -> Self {
        Self { content: Content::Json(media_type, schema::<T>), ..Self::empty(status, description) }
    }

    /// No content.
    pub const fn empty(status: u16, description: &'static str) -> Self {
        Self { status, description, content: Content::Empty, headers: &[] }
    }

    /// A page.
    pub const fn page(description: &'static str) -> Self {
        Self::other(&["text/html"], description)
    }

    /// Content of one of these media types.
    pub const fn other(media_types: &'static [&'static str], description: &'static str) -> Self {
        Self { content: Content::Other(media_types), ..Self::empty(200, description) }
    }

    /// A redirect; `status` is 302 or 303, `description` says where to.
    pub const fn redirect(status: u16, description: &'static str) -> Self {
        Self::empty(status, description)
    }

    /// To who has a fresh copy (RFC 9110 §15.4.5).
    pub const NOT_MODIFIED: Self =
        Self::empty(304, "The copy that `If-None-Match` names is fresh.").with(&[Header::ETAG]);

    /// With headers that matter.
    #[must_use]
    pub const fn with(self, headers: &'static [Header]) -> Self {
        Self { headers, ..self }
    }
}

/// A header of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Header {
    /// One that is always there: its name, and what it holds.
    Always(&'static str, &'static str),
    /// The cookies that are set.
    Sets(&'static [Kind]),
    /// The cookies that are cleared.
    Clears(&'static [Kind]),
}

impl Header {
    /// By which a copy is known to be fresh.
    pub const ETAG: Self = Self::Always("ETag", "Names this version of the document.");
    /// How long a copy may be kept.
    pub const CACHING: Self = Self::Always("Cache-Control", "How long a copy may be kept.");
}

/// The schema of a type.
fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A part of a list.
#[derive(Debug, serde::Serialize)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where the next part begins: the value of `cursor` for it. `null` with the last part.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is answered as a whole.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

impl<T: JsonSchema> JsonSchema for Page<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("PageOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<Vec<T>>();
        schemars::json_schema!({
            "type": "object",
            "required": ["items", "next_cursor"],
            "properties": {
                "items": items,
                "next_cursor": {
                    "description": "Where the next part begins: send it as `cursor`. Null with the last part.",
                    "type": ["string", "null"],
                },
            },
        })
    }
}
