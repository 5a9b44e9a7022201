//! Everything that is held about a person, to take along. `docs/export.md` explains each member.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::Data;
use serde_json::{Value, json};

use super::me;
use crate::app::App;
use crate::avatars::name;
use crate::error::ApiError;
use crate::routes::session::Authenticated;
use crate::store::AuditRow;
use crate::store::error::StoreError;
use crate::store::model::{Actor, AppAccess, Identity, Session, UserId};

/// Audit entries that are read at once.
const STEP: u32 = 500;

/// Most audit entries of one export; older ones are left out, and it says so.
const MOST_ENTRIES: usize = 10_000;

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
    let addresses: Vec<_> = identities.iter().flat_map(|identity| &identity.emails).collect();
    let document = json!({
        "exported_at": app.clock.now(),
        "account": {
            "id": user.id,
            "username": user.username,
            "display_name": user.display_name,
            "avatar_url": user.avatar.as_ref().and_then(|avatar| name::address(&app.settings, avatar)),
            "role": user.role,
            "status": user.status.as_str(),
            "created_at": user.created_at,
        },
        "emails": addresses,
        "links": identities.iter().map(link).collect::<Vec<_>>(),
        "former_usernames": former
            .iter()
            .map(|name| json!({ "username": name.username, "since": name.since, "until": name.until }))
            .collect::<Vec<_>>(),
        "held_usernames": held
            .iter()
            .map(|name| json!({ "username": name.username_key, "until": name.until }))
            .collect::<Vec<_>>(),
        "sessions": sessions.iter().map(shown_session).collect::<Vec<_>>(),
        "apps": apps.iter().map(shown_app).collect::<Vec<_>>(),
        "audit": entries.iter().map(|entry| shown_entry(entry, user.id)).collect::<Vec<_>>(),
        "audit_is_complete": is_complete,
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"account.json\""))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(document))
}

fn link(identity: &Identity) -> Value {
    let addresses: Vec<_> = identity.emails.iter().map(|email| &email.address).collect();
    json!({
        "provider": identity.provider,
        "subject": identity.subject,
        "emails": addresses,
        "linked_at": identity.linked_at,
        "last_used_at": identity.last_used_at,
    })
}

fn shown_session(session: &Session) -> Value {
    let family = &session.family;
    json!({
        "id": family.session,
        "created_at": family.created_at,
        "last_used_at": family.rotated_at,
        "signed_in_at": family.auth_time,
        "ended_at": family.revoked_at,
        "provider": session.provider,
        "user_agent": session.user_agent,
        "network": session.network,
        "scope": family.scope,
    })
}

fn shown_app(app: &AppAccess) -> Value {
    json!({
        "client_id": app.client_id,
        "client_name": app.client_name,
        "scope": app.scope,
        "since": app.since,
        "last_used_at": app.last_used_at,
    })
}

/// What another person did to this one is told, but not who it was and from where.
fn shown_entry(entry: &AuditRow, user: UserId) -> Value {
    let own = Actor::User(user).to_string();
    let is_of_another = entry.actor.starts_with("user:") && entry.actor != own;
    json!({
        "at": entry.at,
        "actor": if is_of_another { "another" } else { &entry.actor },
        "action": entry.action,
        "target": entry.target,
        "request_id": entry.request_id,
        "address": if is_of_another { None } else { entry.address.as_ref() },
        "details": entry.details,
        "personal": entry.personal,
    })
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
