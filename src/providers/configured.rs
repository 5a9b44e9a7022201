//! The configured providers, by name, whatever they speak.

use std::sync::Arc;

use url::Url;

use super::ProviderError;
use super::authorization::{Attempt, AuthorizationRequest, CallbackParameters, Exchange};
use super::http::HttpClient;
use super::identity::ProviderIdentity;
use super::oauth::OAuthProvider;
use super::openid::{MetadataSource, OpenIdProvider};
use crate::clock::Clock;
use crate::config::settings::Provider;

/// A provider that people can sign in with. Cheap to clone.
#[derive(Clone, Debug)]
pub enum SignInProvider {
    /// It has an issuer, and proves who signed in by ID tokens.
    OpenId(OpenIdProvider),
    /// It has an endpoint that says whose an access token is.
    OAuth(OAuthProvider),
}

impl SignInProvider {
    /// An issuer makes it an OpenID Connect provider, whatever endpoints are overridden.
    pub fn new(settings: Arc<Provider>) -> Self {
        if settings.issuer.is_some() {
            Self::OpenId(OpenIdProvider::new(settings))
        } else {
            Self::OAuth(OAuthProvider::new(settings))
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Provider {
        match self {
            Self::OpenId(provider) => provider.settings(),
            Self::OAuth(provider) => provider.settings(),
        }
    }

    /// The settings, to be kept.
    pub fn shared_settings(&self) -> &Arc<Provider> {
        match self {
            Self::OpenId(provider) => provider.shared_settings(),
            Self::OAuth(provider) => provider.shared_settings(),
        }
    }

    /// Where the browser is sent.
    ///
    /// # Errors
    /// [`ProviderError`] if the provider would have to be asked first and does not answer.
    pub async fn authorization_url(
        &self,
        source: &dyn MetadataSource,
        request: &AuthorizationRequest<'_>,
    ) -> Result<Url, ProviderError> {
        match self {
            Self::OpenId(provider) => {
                let metadata = source.metadata(&provider.settings().name, None).await?;
                Ok(provider.authorization_url(&metadata, request))
            }
            Self::OAuth(provider) => provider.authorization_url(request),
        }
    }

    /// The address of [`Self::authorization_url`] without the request.
    ///
    /// # Errors
    /// [`ProviderError`] if the provider would have to be asked first and does not answer.
    pub async fn authorization_endpoint(
        &self,
        source: &dyn MetadataSource,
    ) -> Result<Url, ProviderError> {
        match self {
            Self::OpenId(provider) => {
                let metadata = source.metadata(&provider.settings().name, None).await?;
                Ok(metadata.authorization_endpoint.clone())
            }
            Self::OAuth(provider) => provider.authorization_endpoint().cloned(),
        }
    }

    /// Checks which issuer an answer names, errors included (RFC 9207 §2.4). A plain OAuth 2 provider
    /// has none to compare with; each provider has a callback of its own, which keeps them apart.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn check_issuer(
        &self,
        source: &dyn MetadataSource,
        iss: Option<&str>,
    ) -> Result<(), ProviderError> {
        match self {
            Self::OpenId(provider) => {
                let metadata = source.metadata(&provider.settings().name, None).await?;
                provider.check_issuer(&metadata, iss)
            }
            Self::OAuth(_) => Ok(()),
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
        let finishing = async {
            match self {
                Self::OpenId(provider) => {
                    provider.identify(http, source, clock, answer, attempt).await
                }
                Self::OAuth(provider) => {
                    provider.identify(http, Exchange::of(answer, attempt)).await
                }
            }
        };
        tokio::time::timeout(http.limits().total, finishing)
            .await
            .unwrap_or(Err(ProviderError::Timeout))
    }
}

/// All providers that people can sign in with, in the configuration's order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Providers(Arc<[SignInProvider]>);

impl Providers {
    /// All of the settings'.
    pub fn new(settings: &[Arc<Provider>]) -> Self {
        Self(settings.iter().map(|provider| SignInProvider::new(Arc::clone(provider))).collect())
    }

    /// All of the settings', those that are as before taken over from the former ones.
    pub fn following(former: Option<&Self>, settings: &[Provider]) -> Self {
        let known = |provider: &Provider| {
            former?.get(&provider.name).filter(|known| known.settings() == provider).cloned()
        };
        let made = |provider: &Provider| SignInProvider::new(Arc::new(provider.clone()));
        Self(
            settings
                .iter()
                .map(|provider| known(provider).unwrap_or_else(|| made(provider)))
                .collect(),
        )
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&SignInProvider> {
        self.iter().find(|provider| provider.settings().name == name)
    }

    /// What people call a provider; its name where it is not configured any more.
    pub fn display_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.get(name).map_or(name, |provider| &provider.settings().display_name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SignInProvider> {
        self.0.iter()
    }
}
