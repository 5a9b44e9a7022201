//! The audit trail.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::guard::Admin;
use super::listing::{CURSOR, LIMIT, Listing};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::routes::openapi::operation::{Access, Answer, Operation, Page, Parameter, Tag};
use crate::store::AuditRow;
use crate::store::model::AuditPage;

/// An entry.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct EntryBody {
    /// Rises with time.
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: Uuid,
    /// When.
    at: Timestamp,
    /// Who: `user:…`, `cli`, `system` or `anonymous`.
    actor: String,
    /// What, as `noun.verb`.
    action: String,
    /// Whom or what it was done to, as `kind:id`.
    target: String,
    /// The request that caused it.
    request_id: Option<String>,
    /// Where from, while it is kept.
    address: Option<String>,
    /// Further facts, such as the members that were changed.
    details: Value,
    /// Personal values, while they are kept; `null` if there are none.
    personal: Value,
}

impl From<AuditRow> for EntryBody {
    fn from(row: AuditRow) -> Self {
        let AuditRow { id, at, actor, action, target, request_id, address, details, personal } =
            row;
        Self { id, at, actor, action, target, request_id, address, details, personal }
    }
}

/// How `GET /admin/audit` is described.
pub const SHOW: Operation = Operation {
    id: "list_audit_entries",
    tag: Tag::Administration,
    summary: "The audit trail",
    description: "The newest first. Who, what, whom, when, and from where.",
    access: Access::Admin,
    parameters: &[
        Parameter::query("actor", "Only what they did: `user:ID`, `cli`, `system` or `anonymous`."),
        Parameter::query("action", "Only these actions, such as `user.role_changed`."),
        Parameter::query("target", "Only what was done to this, as `kind:id`."),
        Parameter::query("since", "Only entries of this moment or later, as RFC 3339 writes it."),
        Parameter::query("until", "Only entries before this moment, as RFC 3339 writes it."),
        LIMIT,
        CURSOR,
    ],
    answers: &[Answer::json::<Page<EntryBody>>(200, "Entries, the newest first.")],
    ..Operation::PLAIN
};

/// `GET /admin/audit?actor=&action=&target=&since=&until=&limit=&cursor=`.
///
/// # Errors
/// Those of [`Admin`] and [`Listing`]; 503 if the store cannot be asked.
pub async fn show(
    _: Admin,
    request: HttpRequest,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let listing = Listing::of(&request, &["actor", "action", "target", "since", "until"])?;
    let text = |name| listing.filter(name).map(str::to_owned);
    let moment = |name| {
        let allowed = "It is a moment as RFC 3339 writes it, such as 2026-01-31T12:00:00Z.";
        listing.parsed(name, allowed, |text| text.parse::<Timestamp>().ok())
    };
    let page = AuditPage {
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        since: moment("since")?,
        until: moment("until")?,
        before: listing.after(&app)?,
        newer_than: None,
        limit: listing.rows(),
    };
    let rows = app.store.read.audit(&page).await?;
    Ok(HttpResponse::Ok().json(listing.page(&app, rows, |row| row.id, EntryBody::from)))
}
