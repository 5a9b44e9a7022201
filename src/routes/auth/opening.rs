//! What opening a session takes, whether its person is known or new.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::cookie::Cookie;
use url::Url;

use crate::actors::outbox::Wake;
use crate::actors::pictures::fetch_later;
use crate::actors::revocations::Add;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::routes::cookies::Kind;
use crate::routes::session::{self, FIRST_PARTY_SCOPE};
use crate::routes::{edge, rate_limit, user_agent};
use crate::store::model::{
    Actor, AuditEntry, FIRST_PARTY, FamilyId, FamilyWithUser, NewFamily, Revocation,
    RevocationKind, SessionId, UserId,
};
use crate::store::operation::{Revoke, RevokeTarget};

/// How long a browser remembers which provider was used last.
const LAST_PROVIDER_LIFE: Duration = Duration::from_secs(180 * 86_400);

/// Remembers which button this person used.
pub fn last_provider(app: &App, provider: &str) -> Cookie<'static> {
    app.cookies.set(Kind::LastProvider, provider.to_owned(), LAST_PROVIDER_LIFE)
}

/// Has the picture that a provider told made the person's, some time soon, unless they have one.
pub fn fetch_picture(app: &App, user: UserId, told: Option<&str>) {
    if let Some(address) = told.and_then(|address| Url::parse(address).ok()) {
        fetch_later(&app.pictures, user, address);
    }
}

/// The live session that this browser has, if any.
///
/// # Errors
/// `duplicate_cookie`; 503 if the store cannot be asked.
pub async fn session_before(
    request: &HttpRequest,
    app: &App,
) -> Result<Option<FamilyWithUser>, ApiError> {
    let Some(presented) = session::presented_refresh(request, app)? else { return Ok(None) };
    let live = app.store.read.family(presented.family).await?;
    let now = app.clock.now();
    Ok(live.filter(|live| {
        live.family.revoked_at.is_none() && now < app.lifetimes.expires(&live.family)
    }))
}

/// The end of another person's session in this browser.
pub fn replaced(request: &HttpRequest, app: &App, live: &FamilyWithUser, now: Timestamp) -> Revoke {
    let mut audit = audit(request, app, live.user.id, "session.ended", now);
    audit.target = format!("session:{}", live.family.session);
    audit.details = serde_json::json!({ "reason": "another person signed in" });
    Revoke {
        target: RevokeTarget::Session(live.family.session),
        only_if_reused: None,
        reason: "replaced",
        now,
        tokens_live_for: app.access_tokens_live_for,
        audit,
    }
}

/// Makes this node refuse the access tokens of a session that a sign-in has ended, before the answer, and
/// has its clients told.
///
/// # Errors
/// 503; the end is stored all the same, and known within a second.
pub async fn refuse_tokens_of(app: &App, ended: Option<&Revoke>) -> Result<(), ApiError> {
    let Some(Revoke { target: RevokeTarget::Session(session), now, tokens_live_for, .. }) = ended
    else {
        return Ok(());
    };
    app.outbox.tell(Wake);
    let revocation = Revocation {
        kind: RevocationKind::Session,
        id: session.to_string(),
        until: now.plus(*tokens_live_for),
    };
    Ok(app.revocations.ask(Add(vec![revocation])).await?)
}

/// A new session's family; `kept` is the family of the same person in this browser.
pub fn new_family(
    request: &HttpRequest,
    app: &App,
    kept: Option<FamilyId>,
    user: UserId,
    provider: &str,
    auth_time: Option<Timestamp>,
    now: Timestamp,
) -> NewFamily {
    let id = kept.unwrap_or_else(|| FamilyId::new(now));
    let header = request.headers().get(actix_web::http::header::USER_AGENT);
    let agent = header
        .map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    NewFamily {
        id,
        user,
        session: SessionId(id.0),
        client_id: FIRST_PARTY.to_owned(),
        scope: FIRST_PARTY_SCOPE.to_owned(),
        resource: String::new(),
        auth_time: auth_time.unwrap_or(now),
        created_at: now,
        provider: provider.to_owned(),
        user_agent: user_agent::label(&agent),
        network: rate_limit::client_address(request, app).coarse(),
    }
}

/// An audit entry of this request.
pub fn audit(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    action: &'static str,
    now: Timestamp,
) -> AuditEntry {
    let mut audit = AuditEntry::new(now, Actor::User(user), action, format!("user:{user}"));
    audit.request_id = Some(edge::request_id());
    audit.address = Some(rate_limit::client_address(request, app).ip.to_string());
    audit
}
