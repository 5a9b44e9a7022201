//! Everything that is held about a person, to take along. `docs/export.md` explains each member.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::me;
use crate::app::App;
use crate::avatars::name;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Tag};
use crate::routes::session::Authenticated;
use crate::store::AuditRow;
use crate::store::error::StoreError;
use crate::store::model::{Actor, AppAccess, Email, Identity, Role, Session, SessionId, UserId};

/// Audit entries that are read at once.
const STEP: u32 = 500;

/// Most audit entries of one export; older ones are left out, and it says so.
const MOST_ENTRIES: usize = 10_000;

/// How `GET /auth/me/export` is described.
pub const EXPORT: Operation = Operation {
    id: "export_me",
    tag: Tag::Account,
    summary: "Everything that is held about the person",
    description: "To be saved as a file. `docs/export.md` explains each member.",
    access: Access::Person,
    answers: &[Answer::json::<Export<'_>>(200, "All of it.")
        .with(&[Header::Always("Content-Disposition", "Proposes a name for the file.")])],
    ..Operation::PLAIN
};

/// `GET /auth/me/export`: a JSON document to be saved.
///
/// # Errors
/// `unauthenticated`; 503 if the store cannot be asked.
pub async fn export(session: Authenticated, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let user = me::active(&app, session.claims.sub).await?;
    let read = &app.store.read;
    let identities = read.identities(user.id).await?;
    let former = read.former_usernames(user.id).await?;
    let held = read.held_usernames(user.id).await?;
    let sessions = read.sessions(user.id).await?;
    let apps = read.apps(user.id).await?;
    let (entries, is_complete) = entries(&app, user.id).await?;
    let document = Export {
        exported_at: app.clock.now(),
        account: Account {
            id: user.id,
            username: &user.username,
            display_name: user.display_name.as_deref(),
            avatar_url: user
                .avatar
                .as_ref()
                .and_then(|avatar| name::address(&app.settings, avatar)),
            role: user.role,
            status: user.status.as_str(),
            created_at: user.created_at,
        },
        emails: identities.iter().flat_map(|identity| &identity.emails).collect(),
        links: identities.iter().map(ExportedLink::of).collect(),
        former_usernames: former
            .iter()
            .map(|name| FormerName {
                username: &name.username,
                since: name.since,
                until: name.until,
            })
            .collect(),
        held_usernames: held
            .iter()
            .map(|name| HeldName { username: &name.username_key, until: name.until })
            .collect(),
        sessions: sessions.iter().map(ExportedSession::of).collect(),
        apps: apps.iter().map(ExportedApp::of).collect(),
        audit: entries.iter().map(|entry| ExportedEntry::of(entry, user.id)).collect(),
        audit_is_complete: is_complete,
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"account.json\""))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(document))
}

/// Everything that is held about a person.
#[derive(Serialize, JsonSchema)]
struct Export<'a> {
    /// When this was.
    exported_at: Timestamp,
    /// The person.
    account: Account<'a>,
    /// Every address that a provider told.
    emails: Vec<&'a Email>,
    /// The ways to sign in.
    links: Vec<ExportedLink<'a>>,
    /// The names that the person had.
    former_usernames: Vec<FormerName<'a>>,
    /// The names that are held for the person.
    held_usernames: Vec<HeldName<'a>>,
    /// Where the person was and is signed in.
    sessions: Vec<ExportedSession<'a>>,
    /// The apps that have access.
    apps: Vec<ExportedApp<'a>>,
    /// What the audit trail holds about the person, newest first.
    audit: Vec<ExportedEntry<'a>>,
    /// Whether that is all of it.
    audit_is_complete: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Account<'a> {
    id: UserId,
    username: &'a str,
    display_name: Option<&'a str>,
    avatar_url: Option<String>,
    role: Role,
    status: &'static str,
    created_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct FormerName<'a> {
    username: &'a str,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct HeldName<'a> {
    username: &'a str,
    until: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ExportedLink<'a> {
    provider: &'a str,
    subject: &'a str,
    emails: Vec<&'a str>,
    linked_at: Timestamp,
    last_used_at: Timestamp,
}

impl<'a> ExportedLink<'a> {
    fn of(identity: &'a Identity) -> Self {
        Self {
            provider: &identity.provider,
            subject: &identity.subject,
            emails: identity.emails.iter().map(|email| email.address.as_str()).collect(),
            linked_at: identity.linked_at,
            last_used_at: identity.last_used_at,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ExportedSession<'a> {
    id: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    signed_in_at: Timestamp,
    ended_at: Option<Timestamp>,
    provider: &'a str,
    user_agent: &'a str,
    network: &'a str,
    scope: &'a str,
}

impl<'a> ExportedSession<'a> {
    fn of(session: &'a Session) -> Self {
        let family = &session.family;
        Self {
            id: family.session,
            created_at: family.created_at,
            last_used_at: session.last_used_at(),
            signed_in_at: family.auth_time,
            ended_at: family.revoked_at,
            provider: &session.provider,
            user_agent: &session.user_agent,
            network: &session.network,
            scope: &family.scope,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ExportedApp<'a> {
    client_id: &'a str,
    client_name: &'a str,
    scope: &'a str,
    since: Timestamp,
    last_used_at: Option<Timestamp>,
}

impl<'a> ExportedApp<'a> {
    fn of(app: &'a AppAccess) -> Self {
        Self {
            client_id: &app.client_id,
            client_name: &app.client_name,
            scope: &app.scope,
            since: app.since,
            last_used_at: app.last_used_at,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ExportedEntry<'a> {
    at: Timestamp,
    actor: &'a str,
    action: &'a str,
    target: &'a str,
    request_id: Option<&'a str>,
    address: Option<&'a str>,
    details: &'a Value,
    personal: &'a Value,
}

impl<'a> ExportedEntry<'a> {
    /// What another person did to this one is told, but not who it was and from where.
    fn of(entry: &'a AuditRow, user: UserId) -> Self {
        let own = Actor::User(user).to_string();
        let is_of_another = entry.actor.starts_with("user:") && entry.actor != own;
        Self {
            at: entry.at,
            actor: if is_of_another { "another" } else { &entry.actor },
            action: &entry.action,
            target: &entry.target,
            request_id: entry.request_id.as_deref(),
            address: if is_of_another { None } else { entry.address.as_deref() },
            details: &entry.details,
            personal: &entry.personal,
        }
    }
}

/// The audit entries about a person, newest first, and whether these are all.
async fn entries(app: &App, user: UserId) -> Result<(Vec<AuditRow>, bool), StoreError> {
    let mut entries: Vec<AuditRow> = Vec::new();
    while entries.len() < MOST_ENTRIES {
        let before = entries.last().map(|last| last.id);
        let step = app.store.read.audit_about(user, before, STEP).await?;
        let is_end = step.len() < STEP as usize;
        entries.extend(step);
        if is_end {
            return Ok((entries, true));
        }
    }
    Ok((entries, false))
}
