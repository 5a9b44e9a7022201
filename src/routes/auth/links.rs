//! The ways to sign in that an account has.

use actix_web::HttpResponse;
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::routes::openapi::operation::{Access, Answer, Operation, Page, Tag};
use crate::routes::session::Authenticated;
use crate::store::model::{Email, Identity, UserId};

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Link {
    /// The provider's name in the configuration.
    provider: String,
    /// The provider's name on its button; its plain name if it is not configured any more.
    display_name: String,
    /// The provider's stable id of the person: tells two accounts at one provider apart.
    subject: String,
    /// The addresses that the provider told.
    emails: Vec<Email>,
    /// Since when it signs the person in.
    linked_at: Timestamp,
    /// When it did so last.
    last_used_at: Timestamp,
}

impl Link {
    fn new(app: &App, identity: Identity) -> Self {
        Self {
            display_name: app.providers.display_name(&identity.provider).to_owned(),
            provider: identity.provider,
            subject: identity.subject,
            emails: identity.emails,
            linked_at: identity.linked_at,
            last_used_at: identity.last_used_at,
        }
    }
}

/// How `GET /auth/me/links` is described.
pub const LINKS: Operation = Operation {
    id: "list_links",
    tag: Tag::Account,
    summary: "The ways to sign in that the account has",
    description: "Oldest first.",
    access: Access::Person,
    answers: &[Answer::json::<Page<Link>>(200, "The identities.")],
    ..Operation::PLAIN
};

/// `GET /auth/me/links`: `{"items": [{"provider", "display_name", "subject", "emails", "linked_at",
/// "last_used_at"}], "next_cursor": null}`, oldest first.
///
/// # Errors
/// `unauthenticated`; 503 if the store cannot be asked.
pub async fn links(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(Page::whole(list(&app, session.claims.sub).await?)))
}

/// The ways to sign in that a person has, oldest first.
///
/// # Errors
/// 503 if the store cannot be asked.
pub async fn list(app: &App, user: UserId) -> Result<Vec<Link>, ApiError> {
    let identities = app.store.read.identities(user).await?;
    Ok(identities.into_iter().map(|identity| Link::new(app, identity)).collect())
}
