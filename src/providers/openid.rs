//! Signing in at an OpenID Connect provider by the authorization code flow (OpenID Connect Core
//! §3.1, with PKCE and the issuer in the answer).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use url::Url;

use super::ProviderError;
use super::discovery::Metadata;
use super::http::HttpClient;
use super::id_token::{Expected, TokenProblem, UnverifiedToken, Verified};
use super::identity::{self, ProviderIdentity};
use super::token_endpoint::{Exchange, exchange};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Provider;
use crate::protocol::secret::Secret;

/// Keeps what providers say about themselves.
#[async_trait]
pub trait MetadataSource: Send + Sync {
    /// A provider's metadata, by the provider's name. With `newer_than`, what the caller has did not
    /// do: it gets the same again only if asking anew is not due yet.
    async fn metadata(
        &self,
        provider: &str,
        newer_than: Option<Arc<Metadata>>,
    ) -> Result<Arc<Metadata>, ProviderError>;
}

/// What the browser is sent to the provider with.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Our callback.
    pub redirect_uri: &'a str,
    /// Ties the answer to the browser.
    pub state: &'a str,
    /// Ties the ID token to the attempt.
    pub nonce: &'a str,
    /// The S256 challenge of the attempt's verifier.
    pub pkce_challenge: &'a str,
    /// Who probably signs in.
    pub login_hint: Option<&'a str>,
    /// `login`, `select_account`, …
    pub prompt: Option<&'a str>,
    /// How long ago the person may have signed in at the provider.
    pub max_age: Option<Duration>,
}

/// What the callback brought, once its `state` was checked.
#[derive(Clone, Debug)]
pub struct CallbackParameters {
    /// The authorization code.
    pub code: Secret,
    /// The issuer, if it was named (RFC 9207).
    pub iss: Option<String>,
}

/// What was kept of the attempt since it began.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Our callback, as it was sent.
    pub redirect_uri: String,
    /// The nonce, as it was sent.
    pub nonce: String,
    /// Belongs to the challenge that was sent.
    pub code_verifier: Secret,
    /// The limit, as it was sent.
    pub max_age: Option<Duration>,
    /// When the attempt began.
    pub started_at: Timestamp,
}

/// A configured OpenID Connect provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenIdProvider(Arc<Provider>);

impl OpenIdProvider {
    /// Signs in as these settings say.
    pub fn new(settings: Arc<Provider>) -> Self {
        Self(settings)
    }

    /// The settings.
    pub fn settings(&self) -> &Provider {
        &self.0
    }

    /// Where the browser is sent (Core §3.1.2.1).
    pub fn authorization_url(
        &self,
        metadata: &Metadata,
        request: &AuthorizationRequest<'_>,
    ) -> Url {
        let mut url = metadata.authorization_endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.0.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &self.scope())
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.pkce_challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(login_hint) = request.login_hint {
            query.append_pair("login_hint", login_hint);
        }
        if let Some(prompt) = request.prompt {
            query.append_pair("prompt", prompt);
        }
        if let Some(max_age) = request.max_age {
            query.append_pair("max_age", &max_age.as_secs().to_string());
        }
        drop(query);
        url
    }

    fn scope(&self) -> String {
        let mut scopes: Vec<&str> = self.0.scopes.iter().map(String::as_str).collect();
        if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        scopes.join(" ")
    }

    /// Checks which issuer an answer names, errors included (RFC 9207 §2.4).
    ///
    /// # Errors
    /// [`TokenProblem::AnswerIssuer`] if it is another one, or missing though promised.
    pub fn check_issuer(
        &self,
        metadata: &Metadata,
        iss: Option<&str>,
    ) -> Result<(), ProviderError> {
        match iss {
            Some(iss) if Some(iss) == self.0.issuer.as_deref() => Ok(()),
            None if !metadata.names_issuer => Ok(()),
            _ => Err(TokenProblem::AnswerIssuer.into()),
        }
    }

    /// Turns what the callback brought into a person, within the client's total time.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn finish(
        &self,
        http: &HttpClient,
        source: &dyn MetadataSource,
        clock: &Clock,
        answer: &CallbackParameters,
        attempt: &Attempt,
    ) -> Result<ProviderIdentity, ProviderError> {
        let finishing = self.identify(http, source, clock, answer, attempt);
        tokio::time::timeout(http.limits().total, finishing)
            .await
            .unwrap_or(Err(ProviderError::Timeout))
    }

    async fn identify(
        &self,
        http: &HttpClient,
        source: &dyn MetadataSource,
        clock: &Clock,
        answer: &CallbackParameters,
        attempt: &Attempt,
    ) -> Result<ProviderIdentity, ProviderError> {
        let metadata = source.metadata(&self.0.name, None).await?;
        // Before the code is shown to anybody: the answer may come from another provider.
        self.check_issuer(&metadata, answer.iss.as_deref())?;
        let sent = Exchange {
            code: &answer.code,
            redirect_uri: &attempt.redirect_uri,
            code_verifier: &attempt.code_verifier,
        };
        let tokens = exchange(http, &self.0, &metadata, sent).await?;
        let verified =
            self.verify(source, &metadata, &tokens.id_token, attempt, clock.now()).await?;
        let userinfo = match &metadata.userinfo_endpoint {
            Some(endpoint) if !identity::has_email(&verified.claims) => {
                let claims = http.get_json(endpoint, Some(&tokens.access_token), metadata.reach);
                of_same_person(claims.await?, &verified.subject)?
            }
            _ => Map::new(),
        };
        let sources = [&verified.claims, &userinfo];
        let (subject, auth_time) = (verified.subject.clone(), verified.auth_time);
        Ok(identity::read(&self.0.name, self.0.trust_email, subject, auth_time, &sources))
    }

    /// Verifies an ID token; if its key is not among those known, with newer ones.
    async fn verify(
        &self,
        source: &dyn MetadataSource,
        metadata: &Arc<Metadata>,
        id_token: &Secret,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Verified, ProviderError> {
        let expected = Expected {
            issuer: self.0.issuer.as_deref().unwrap_or_default(),
            client_id: &self.0.client_id,
            nonce: &attempt.nonce,
            started_at: attempt.started_at,
            max_age: attempt.max_age,
            now,
        };
        let token = UnverifiedToken::parse(id_token.expose(), &metadata.algorithms)?;
        match token.verify(&metadata.keys, &expected) {
            Err(TokenProblem::UnknownKey | TokenProblem::Signature) => {
                let newer = source.metadata(&self.0.name, Some(Arc::clone(metadata))).await?;
                Ok(token.verify(&newer.keys, &expected)?)
            }
            verdict => Ok(verdict?),
        }
    }
}

/// Core §5.3.2: an answer about somebody else is not used.
fn of_same_person(
    claims: Map<String, Value>,
    subject: &str,
) -> Result<Map<String, Value>, ProviderError> {
    if claims.get("sub").and_then(Value::as_str) == Some(subject) {
        Ok(claims)
    } else {
        Err(TokenProblem::UserinfoSubject.into())
    }
}
