//! The description of the HTTP interface, made from the table of routes whenever it is asked for: it costs
//! nobody anything who does not ask.

pub mod document;
pub mod operation;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::{Schema, SchemaGenerator, json_schema};

use self::operation::{Answer, Content, Header, Operation, Tag};
use super::system;
use crate::app::App;
use crate::protocol::entity_tag;

/// Where it is served.
pub const PATH: &str = "/openapi.json";

/// How long it may be cached, in seconds.
const MAX_AGE: u64 = 300;

/// How `GET /openapi.json` is described.
pub const DOCUMENT: Operation = Operation {
    id: "get_openapi",
    tag: Tag::System,
    summary: "This document",
    answers: &[
        Answer {
            content: Content::Json("application/json", openapi),
            ..Answer::empty(200, "OpenAPI 3.1.").with(&[Header::ETAG, Header::CACHING])
        },
        Answer::NOT_MODIFIED,
    ],
    ..Operation::PLAIN
};

fn openapi(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["openapi", "info", "paths"],
        "additionalProperties": true,
    })
}

/// `GET /openapi.json`: what `latchkey openapi` prints.
pub async fn document(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let body = document::text(&app.settings);
    let etag = entity_tag::of(body.as_bytes());
    system::cacheable(&request, "application/json", MAX_AGE, &etag, &body.into())
}
