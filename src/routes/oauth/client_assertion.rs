//! Clients that prove who they are by their own key: `private_key_jwt` (RFC 7523 §3, OpenID Connect Core §9).

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::discovery;
use crate::actors::client_keys::KeysAt;
use crate::actors::clients::FindClient;
use crate::actors::db_writer::apply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::ApiError;
use crate::protocol::authorization_code::fingerprint;
use crate::protocol::client::AuthMethod;
use crate::protocol::jwt::{Audience, LEEWAY_SECONDS};
use crate::providers::ProviderError;
use crate::providers::id_token::{TokenProblem, UnverifiedToken};
use crate::providers::key_set::KeySet;
use crate::store::model::Client;
use crate::store::operation::{Spend, Spent};

/// What an assertion may be signed with.
pub(super) const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// How far away the end of an assertion's life may be: so long its `jti` is kept.
const LONGEST_LIFE: i64 = 60 * 60;

/// Why an assertion proves nothing; for the log alone.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AssertionProblem {
    /// Not signed as it must be.
    #[error("client assertion: {0}")]
    Token(#[from] TokenProblem),
    /// Its claims are not those of an assertion of this client to us.
    #[error("client assertion: {0}")]
    Claims(&'static str),
    /// No such client, or one that proves itself in another way.
    #[error("client assertion: no client with keys of this id")]
    Client,
    /// The client's keys cannot be had.
    #[error("client assertion: {0}")]
    Keys(ProviderError),
    /// It was used before.
    #[error("client assertion: used before")]
    Replayed,
}

/// Who an assertion says to be, and whether that is so.
pub(super) struct Judged {
    /// The client id, proven or not; empty if none can be read.
    pub id: String,
    /// The client that it proves to be.
    pub client: Result<Arc<Client>, AssertionProblem>,
}

/// The claims of an assertion (RFC 7523 §3); a wrong type is an error, not an absence.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    jti: String,
    #[serde(default)]
    iat: Option<i64>,
    #[serde(default)]
    nbf: Option<i64>,
}

/// Judges an assertion; `id` is the `client_id` beside it, if there is one. One that proves who sends it is
/// spent by that.
///
/// # Errors
/// 503 if it cannot be judged.
pub(super) async fn judge(
    app: &App,
    id: Option<String>,
    assertion: &str,
) -> Result<Judged, ApiError> {
    let (token, claims) = match read(assertion) {
        Ok(read) => read,
        Err(problem) => {
            return Ok(Judged { id: id.unwrap_or_default(), client: Err(problem.into()) });
        }
    };
    let now = app.clock.now();
    let claimed = claims.sub.clone();
    let client = match claims.check(id.as_deref(), &app.settings.server.public_url, now) {
        Ok(()) => prove(app, &token, &claims).await?,
        Err(reason) => Err(AssertionProblem::Claims(reason)),
    };
    Ok(Judged { id: claimed, client })
}

fn read(assertion: &str) -> Result<(UnverifiedToken<'_>, Claims), TokenProblem> {
    let token = UnverifiedToken::parse(assertion, &ALGORITHMS)?;
    let claims = token.unproven_claims()?;
    Ok((token, claims))
}

impl Claims {
    /// Checks what does not need a key.
    fn check(
        &self,
        id: Option<&str>,
        issuer: &crate::config::settings::Origin,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        if self.iss != self.sub || id.is_some_and(|id| id != self.sub) {
            return Err("iss, sub and client_id are not one");
        }
        let audience = match &self.aud {
            Audience::One(audience) => audience,
            Audience::Several(audiences) => match audiences.as_slice() {
                [audience] => audience,
                _ => return Err("it has not exactly one audience"),
            },
        };
        if audience != issuer.as_str() && *audience != issuer.join(discovery::TOKEN) {
            return Err("it is meant for somebody else");
        }
        let now = now.seconds();
        let latest = now.saturating_add(LEEWAY_SECONDS);
        if now >= self.exp.saturating_add(LEEWAY_SECONDS) {
            return Err("it has expired");
        }
        if self.exp > now.saturating_add(LONGEST_LIFE) {
            return Err("it lives for more than an hour");
        }
        if [self.iat, self.nbf].into_iter().flatten().any(|time| time > latest) {
            return Err("it is not valid yet");
        }
        if self.jti.is_empty() { Err("it has no jti") } else { Ok(()) }
    }

    /// What makes it good for one time: what two clients call by one name is not one.
    fn spent(&self) -> Spent {
        let leeway = Duration::from_secs(LEEWAY_SECONDS.unsigned_abs());
        let id = fingerprint(&format!("{}\0{}", self.sub, self.jti));
        Spent { id: format!("jti:{id}"), until: Timestamp::from_seconds(self.exp).plus(leeway) }
    }
}

/// Finds the client, checks the signature by its keys, and spends the assertion.
async fn prove(
    app: &App,
    token: &UnverifiedToken<'_>,
    claims: &Claims,
) -> Result<Result<Arc<Client>, AssertionProblem>, ApiError> {
    let found = app.clients.ask(FindClient(claims.sub.clone())).await??;
    let has_keys = |client: &Arc<Client>| {
        client.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt
    };
    let Some(client) = found.filter(has_keys) else { return Ok(Err(AssertionProblem::Client)) };
    if let Err(problem) = check_signature(app, token, &client).await {
        return match problem {
            AssertionProblem::Keys(ProviderError::Busy(busy)) => Err(busy.into()),
            problem => Ok(Err(problem)),
        };
    }
    let is_first = apply(&app.writer, Spend(claims.spent())).await?;
    Ok(if is_first { Ok(client) } else { Err(AssertionProblem::Replayed) })
}

async fn check_signature(
    app: &App,
    token: &UnverifiedToken<'_>,
    client: &Client,
) -> Result<(), AssertionProblem> {
    if let Some(jwks) = &client.metadata.jwks {
        let keys = KeySet::from_json(jwks.to_string().as_bytes())
            .map_err(|_| AssertionProblem::Claims("the registered keys cannot be read"))?;
        return Ok(token.check_signature(&keys)?);
    }
    let Some(uri) = &client.metadata.jwks_uri else { return Err(AssertionProblem::Client) };
    let keys = keys_at(app, uri, None).await?;
    let Err(problem) = token.check_signature(&keys) else { return Ok(()) };
    // The client may have changed its keys.
    let newer = keys_at(app, uri, Some(Arc::clone(&keys))).await?;
    if Arc::ptr_eq(&newer, &keys) {
        return Err(problem.into());
    }
    Ok(token.check_signature(&newer)?)
}

async fn keys_at(
    app: &App,
    uri: &str,
    newer_than: Option<Arc<KeySet>>,
) -> Result<Arc<KeySet>, AssertionProblem> {
    let asked = app.client_keys.ask(KeysAt { uri: uri.to_owned(), newer_than }).await;
    asked.map_err(|error| AssertionProblem::Keys(error.into()))?.map_err(AssertionProblem::Keys)
}
