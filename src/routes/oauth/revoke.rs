//! Tokens that a client gives back (RFC 7009).

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::access_token;
use super::client_authentication::authenticate;
use super::error::{OAuthCode, OAuthError};
use crate::actors::db_writer::apply;
use crate::actors::revocations::Add;
use crate::actors::token_families::End;
use crate::app::App;
use crate::clock::Timestamp;
use crate::protocol::jwt::LEEWAY_SECONDS;
use crate::protocol::refresh_token::{FamilyKind, RefreshTokens};
use crate::routes::openapi::operation::{Access, Answer, Body, Field, Operation, Tag};
use crate::routes::parameters::read_form;
use crate::routes::{edge, rate_limit};
use crate::store::model::{
    Actor, AuditEntry, Client, FIRST_PARTY, FamilyId, FamilyWithUser, Revocation, RevocationKind,
};
use crate::store::operation::{RecordRevocation, Revoke, RevokeTarget};

/// How `POST /oauth/revoke` is described.
pub const REVOKE: Operation = Operation {
    id: "revoke_token",
    tag: Tag::Provider,
    summary: "Give a token back",
    description: "RFC 7009. A refresh token ends its grant, with every access token of it; an access token ends alone.",
    access: Access::Client,
    body: Body::Form(&[
        Field::new("token", "The token.").required(),
        Field::new("token_type_hint", "Accepted, and not needed."),
    ]),
    answers: &[Answer::empty(200, "It does not work any more; also for one that never did.")],
    oauth_errors: &[OAuthCode::UnauthorizedClient],
    ..Operation::PLAIN
};

/// `POST /oauth/revoke`: a refresh token ends its grant, with every access token of it; an access token
/// ends alone. 200 and nothing else, also for what is unknown, malformed or over: the client has what it
/// wants.
///
/// # Errors
/// `invalid_client`; `invalid_request` without a token; `unauthorized_client` for a token of another
/// client, to which nothing happens; 503 if the end could not be stored: never a false 200.
pub async fn revoke(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, OAuthError> {
    let form = read_form(&request, payload, app.settings.server.max_body).await?;
    let client = authenticate(&request, &form, &app).await?;
    let token = form.get("token").ok_or_else(|| {
        OAuthError::new(OAuthCode::InvalidRequest, "Send the token in the parameter token.")
    })?;
    let means = Means { request: &request, client: &client, app: &app };
    // By its form a token is of one kind or the other, so token_type_hint has nothing to say.
    match RefreshTokens::claimed_family(token) {
        Some(claimed) => means.end_refresh_token(token, claimed).await?,
        None => means.end_access_token(token).await?,
    }
    Ok(HttpResponse::Ok().finish())
}

/// Who wants a token to end.
struct Means<'a> {
    request: &'a HttpRequest,
    client: &'a Client,
    app: &'a App,
}

impl Means<'_> {
    async fn end_refresh_token(&self, token: &str, claimed: FamilyId) -> Result<(), OAuthError> {
        let Self { app, client, .. } = self;
        let Some(live) = app.store.read.family(claimed).await? else { return Ok(()) };
        let family = &live.family;
        // The tag covers the client's id: only what reads as the family's own is a token of it.
        let read = app.refresh_tokens.read(FamilyKind::Client, &family.client_id, token);
        if family.client_id == FIRST_PARTY || read.is_err() {
            return Ok(());
        }
        if family.client_id != client.client_id {
            return Err(of_another());
        }
        if client.came_after(family.created_at) || family.revoked_at.is_some() {
            return Ok(());
        }
        let revoke = Revoke {
            target: RevokeTarget::Family(family.id),
            only_if_reused: None,
            reason: "revoked",
            now: app.clock.now(),
            tokens_live_for: app.access_tokens_live_for,
            audit: self.audit_of_grant(&live),
        };
        app.families.of(&family.id).ask(End(revoke)).await??;
        Ok(())
    }

    async fn end_access_token(&self, token: &str) -> Result<(), OAuthError> {
        let Self { app, client, .. } = self;
        let Ok(genuine) = access_token::read(token, app) else { return Ok(()) };
        if genuine.claims.client_id != client.client_id {
            return Err(of_another());
        }
        if genuine.is_revoked(app).await? {
            return Ok(());
        }
        let claims = &genuine.claims;
        let target = match claims.grant_id {
            Some(_) => format!("user:{}", claims.sub),
            None => format!("client:{}", claims.client_id),
        };
        let mut audit = self.audit("token.revoked", target);
        audit.details = json!({ "client_id": claims.client_id, "family": claims.grant_id });
        let until = Timestamp::from_seconds(claims.exp.saturating_add(LEEWAY_SECONDS));
        let revocation = Revocation { kind: RevocationKind::Token, id: claims.jti.clone(), until };
        let stored = apply(&app.writer, RecordRevocation { revocation, audit }).await?;
        app.revocations.ask(Add(vec![stored])).await?;
        Ok(())
    }

    fn audit_of_grant(&self, live: &FamilyWithUser) -> AuditEntry {
        let family = &live.family;
        let mut audit = self.audit("grant.revoked", format!("user:{}", family.user));
        audit.details = json!({
            "family": family.id, "client_id": family.client_id, "session": family.session,
        });
        audit
    }

    /// The client did it, and the details say which: it is neither a person nor ourselves.
    fn audit(&self, action: &'static str, target: String) -> AuditEntry {
        let mut audit = AuditEntry::new(self.app.clock.now(), Actor::Anonymous, action, target);
        audit.request_id = Some(edge::request_id());
        audit.address = Some(rate_limit::client_address(self.request, self.app).ip.to_string());
        audit
    }
}

fn of_another() -> OAuthError {
    OAuthError::new(OAuthCode::UnauthorizedClient, "This token was issued to another client.")
}
