//! Signing in at an OpenID Connect provider by the authorization code flow (OpenID Connect Core
//! §3.1, with PKCE and the issuer in the answer).

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use url::Url;

use super::ProviderError;
use super::authorization::{Attempt, AuthorizationRequest, CallbackParameters, Exchange};
use super::discovery::Metadata;
use super::http::HttpClient;
use super::id_token::{Expected, TokenProblem, UnverifiedToken, Verified};
use super::identity::{self, Fields, ProviderIdentity};
use super::oauth::listed_emails;
use super::token_endpoint::{TokenEndpoint, exchange};
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

    /// The settings, to be kept.
    pub fn shared_settings(&self) -> &Arc<Provider> {
        &self.0
    }

    /// Where the browser is sent (Core §3.1.2.1).
    pub fn authorization_url(
        &self,
        metadata: &Metadata,
        request: &AuthorizationRequest<'_>,
    ) -> Url {
        let endpoint = &metadata.authorization_endpoint;
        let mut url = request.address(endpoint, &self.0.client_id, &self.scope());
        url.query_pairs_mut().append_pair("nonce", request.nonce);
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

    /// Turns what the callback brought into a person. The caller limits the time.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn identify(
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
        let endpoint = TokenEndpoint {
            url: &metadata.token_endpoint,
            authentication: metadata.client_authentication,
            reach: metadata.reach,
        };
        let tokens = exchange(http, &self.0, &endpoint, Exchange::of(answer, attempt)).await?;
        let id_token = tokens.id_token.as_ref().ok_or(TokenProblem::Missing)?;
        let verified = self.verify(source, &metadata, id_token, attempt, clock.now()).await?;
        let fields = Fields::of_openid(&self.0.mapping);
        let userinfo = match &metadata.userinfo_endpoint {
            Some(endpoint) if !fields.tell_email(&verified.claims) => {
                let http = http.asking(&self.0.name, "userinfo");
                let claims = http.get_json(endpoint, Some(&tokens.access_token), metadata.reach);
                of_same_person(claims.await?, &verified.subject)?
            }
            _ => Map::new(),
        };
        let sources = [&verified.claims, &userinfo];
        let (subject, auth_time) = (verified.subject.clone(), verified.auth_time);
        let mut person = identity::read(&self.0, &fields, subject, auth_time, &sources);
        if let Some(url) = &self.0.emails_url {
            person.emails =
                listed_emails(http, &self.0, url, &tokens.access_token, metadata.reach).await?;
        }
        Ok(person)
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
