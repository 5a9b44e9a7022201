//! The authorization code grant (RFC 6749 §4.1.3).
//!
//! A code is good for one presentation, right or wrong. One that is right opens the grant whose id it holds;
//! one that is wrong spends the code, so that nobody tries again; any other ends what the first one got
//! (§4.1.2).

use std::time::Duration;

use actix_web::HttpRequest;

use super::{count_guess, invalid_grant};
use crate::actors::db_writer::apply;
use crate::actors::rate_limiter::Tier;
use crate::actors::revocations::Add;
use crate::actors::token_families::End;
use crate::app::App;
use crate::clock::Timestamp;
use crate::protocol::authorization_code::{AuthorizationCode, fingerprint};
use crate::protocol::jwt::LEEWAY_SECONDS;
use crate::protocol::pkce;
use crate::protocol::sealed::Purpose;
use crate::routes::oauth::error::OAuthError;
use crate::routes::oauth::form::required;
use crate::routes::oauth::issue::{self, Extent, Signers, TokenAnswer};
use crate::routes::parameters::Parameters;
use crate::routes::{edge, rate_limit};
use crate::store::model::{Actor, AuditEntry, Client, NewFamily};
use crate::store::operation::{
    RedeemCode, RedeemOutcome, Revoke, RevokeOutcome, RevokeTarget, Spend, Spent,
};

/// What is said of every code that gives nothing.
const REFUSED: &str = "The authorization code is invalid, expired, used or not this client's.";

/// Redeems a code: one commit.
///
/// # Errors
/// `invalid_grant`, `invalid_target`; 429, 503.
pub(super) async fn redeem(
    request: &HttpRequest,
    form: &Parameters,
    client: &Client,
    app: &App,
) -> Result<TokenAnswer, OAuthError> {
    let now = app.clock.now();
    let opened = app.sealer.open(Purpose::Code, required(form, "code")?, now);
    let code: AuthorizationCode = match opened {
        Ok(code) => code,
        Err(error) => {
            count_guess(request, app, client).await?;
            return Err(invalid_grant(REFUSED, error));
        }
    };
    let name = format!("client:{}:user:{}", client.client_id, code.user);
    rate_limit::by_name(request, app, Tier::Token, name).await?;
    let presentation = Presentation { request, client, app, code: &code, now };
    if code.client_id != client.client_id {
        // Not the business of who presents it what its own client got for it.
        presentation.spend().await?;
        return Err(invalid_grant(REFUSED, "the code is another client's"));
    }
    if client.came_after(code.issued()) {
        return Err(invalid_grant(REFUSED, "the code is a former client's of this id"));
    }
    let extent = match presentation.judge(form) {
        Ok(extent) => extent,
        Err(refused) => {
            presentation.misused().await?;
            return Err(refused);
        }
    };
    let signers = Signers::find(app, client, &extent.scope, now)?;
    match apply(&app.writer, presentation.redemption()).await? {
        RedeemOutcome::Opened(live) => {
            Ok(issue::for_person(app, client, &signers, &live, extent, code.nonce, now))
        }
        RedeemOutcome::Replayed(ended) => {
            presentation.warn(&ended);
            app.revocations.ask(Add(ended.revocations)).await?;
            Err(invalid_grant(REFUSED, "the code was used before"))
        }
        RedeemOutcome::NotAllowed => {
            Err(invalid_grant(REFUSED, "the person, their session or their consent is gone"))
        }
    }
}

/// A code in the hands of an authenticated client.
struct Presentation<'a> {
    request: &'a HttpRequest,
    client: &'a Client,
    app: &'a App,
    code: &'a AuthorizationCode,
    now: Timestamp,
}

impl Presentation<'_> {
    /// What the tokens are for, if the request is the one that the code was made for.
    fn judge(&self, form: &Parameters) -> Result<Extent, OAuthError> {
        let code = self.code;
        let is_there = |uri: &str| fingerprint(uri) == code.redirect_uri;
        if !form.get("redirect_uri").is_some_and(is_there) {
            let description =
                "redirect_uri is not the one to which the code was sent, or is missing.";
            return Err(invalid_grant(description, "wrong redirect_uri"));
        }
        // A verifier without a challenge shows that somebody took the challenge out (RFC 9700 §4.8.2).
        let is_proven = match (form.get("code_verifier"), &code.code_challenge) {
            (Some(verifier), Some(challenge)) => pkce::verify(verifier, challenge),
            (None, None) => true,
            _ => false,
        };
        if !is_proven {
            let description = "code_verifier does not belong to the code, or is missing.";
            return Err(invalid_grant(description, "wrong code_verifier"));
        }
        // This grant knows no `scope` (RFC 6749 §4.1.3), so what clients send is not looked at (§3.2).
        Extent::narrowed(&code.scope, &code.resource, None, self.client, form)
    }

    fn redemption(&self) -> RedeemCode {
        let Self { code, now, .. } = *self;
        RedeemCode {
            family: NewFamily {
                id: code.family,
                user: code.user,
                session: code.session,
                client_id: code.client_id.clone(),
                scope: code.scope.clone(),
                resource: code.resource.clone(),
                auth_time: Timestamp::from_seconds(code.auth_time),
                created_at: now,
                // These tell a person's browsers apart; the client's are none.
                provider: String::new(),
                user_agent: String::new(),
                network: String::new(),
            },
            spends: self.spent(),
            needs_consent: code.needs_consent,
            tokens_live_for: self.tokens_live_for(),
            audit: self.audit(Actor::User(code.user), "grant.opened"),
            audit_replay: self.audit_replay(),
        }
    }

    fn spent(&self) -> Spent {
        let life = self.app.settings.tokens.code_ttl;
        let leeway = Duration::from_secs(LEEWAY_SECONDS.unsigned_abs());
        Spent {
            id: format!("code:{}", self.code.family),
            until: self.code.issued().plus(life).plus(leeway),
        }
    }

    /// Spends the code for nothing; whether it had not been spent before.
    async fn spend(&self) -> Result<bool, OAuthError> {
        Ok(apply(&self.app.writer, Spend(self.spent())).await?)
    }

    /// The code was presented wrongly by its own client: nobody can use it any more, and if somebody had,
    /// that grant ends.
    async fn misused(&self) -> Result<(), OAuthError> {
        if self.spend().await? {
            return Ok(());
        }
        let family = self.code.family;
        let end = End(Revoke {
            target: RevokeTarget::Family(family),
            only_if_reused: None,
            reason: "code_replayed",
            now: self.now,
            tokens_live_for: self.tokens_live_for(),
            audit: self.audit_replay(),
        });
        let ended = self.app.families.of(&family).ask(end).await??;
        self.warn(&ended);
        Ok(())
    }

    fn tokens_live_for(&self) -> Duration {
        self.app.access_tokens_live_for
    }

    fn audit_replay(&self) -> AuditEntry {
        self.audit(Actor::Anonymous, "grant.code_replayed")
    }

    fn audit(&self, actor: Actor, action: &'static str) -> AuditEntry {
        let Self { request, app, code, now, .. } = *self;
        let mut audit = AuditEntry::new(now, actor, action, format!("user:{}", code.user));
        audit.request_id = Some(edge::request_id());
        audit.address = Some(rate_limit::client_address(request, app).ip.to_string());
        audit.details = serde_json::json!({
            "client_id": code.client_id, "family": code.family, "session": code.session,
        });
        audit
    }

    fn warn(&self, ended: &RevokeOutcome) {
        for family in &ended.families {
            tracing::warn!(
                %family, user = %self.code.user, client = self.code.client_id,
                "an authorization code was used again; its grant is revoked"
            );
        }
    }
}
