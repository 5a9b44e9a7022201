//! Signing in at a plain OAuth 2 provider (RFC 6749 §4.1, with PKCE): the access token is shown at the
//! provider's user endpoint, and the settings say what its answer means.
//!
//! There is no ID token here. That the code belongs to this browser is shown by `state` and the PKCE
//! verifier alone, and when the person signed in is not told: the callback's time counts.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::ProviderError;
use super::address::Reach;
use super::authorization::{AuthorizationRequest, Exchange};
use super::discovery::{ClientAuthentication, reach_of};
use super::http::HttpClient;
use super::identity::{self, Fields, ProviderIdentity};
use super::token_endpoint::{TokenEndpoint, exchange};
use crate::config::settings::Provider;
use crate::protocol::secret::Secret;
use crate::store::model::Email;

/// A configured OAuth 2 provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OAuthProvider(Arc<Provider>);

impl OAuthProvider {
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

    /// Where the browser is sent.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] if the settings name no such place.
    pub fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
    ) -> Result<Url, ProviderError> {
        let endpoint = self.authorization_endpoint()?;
        Ok(request.address(endpoint, &self.0.client_id, &self.0.scopes.join(" ")))
    }

    pub(super) fn authorization_endpoint(&self) -> Result<&Url, ProviderError> {
        required(self.0.auth_url.as_ref(), "auth_url")
    }

    /// Turns what the callback brought into a person. The caller limits the time.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn identify(
        &self,
        http: &HttpClient,
        sent: Exchange<'_>,
    ) -> Result<ProviderIdentity, ProviderError> {
        let provider = &*self.0;
        let reach = reach_of(provider);
        let endpoint = TokenEndpoint {
            url: required(provider.token_url.as_ref(), "token_url")?,
            authentication: ClientAuthentication::of_settings(provider),
            reach,
        };
        let tokens = exchange(http, provider, &endpoint, sent).await?;
        let userinfo = required(provider.userinfo_url.as_ref(), "userinfo_url")?;
        let answer: Map<String, Value> = http
            .asking(&provider.name, "userinfo")
            .get_json(userinfo, Some(&tokens.access_token), reach)
            .await?;
        let path = required(provider.mapping.subject.as_ref(), "mapping.subject")?;
        let subject = identity::subject(&answer, path).ok_or_else(|| {
            ProviderError::Answer(format!("the user endpoint sends no usable {path:?}"))
        })?;
        let fields = Fields::of_oauth(&provider.mapping);
        let mut person = identity::read(provider, &fields, subject, None, &[&answer]);
        if let Some(url) = &provider.emails_url {
            person.emails = listed_emails(http, provider, url, &tokens.access_token, reach).await?;
        }
        Ok(person)
    }
}

fn required<'a, T>(value: Option<&'a T>, key: &str) -> Result<&'a T, ProviderError> {
    value.ok_or_else(|| ProviderError::Misconfigured(format!("its settings have no {key}")))
}

/// Asks for a list of addresses in GitHub's form, and takes the one that the person made the first.
pub(super) async fn listed_emails(
    http: &HttpClient,
    provider: &Provider,
    url: &Url,
    access_token: &Secret,
    reach: Reach,
) -> Result<Vec<Email>, ProviderError> {
    let http = http.asking(&provider.name, "userinfo");
    let listed = http.get_json(url, Some(access_token), reach).await?;
    Ok(identity::primary_email(provider, listed).into_iter().collect())
}
