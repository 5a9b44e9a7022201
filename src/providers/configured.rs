//! The configured providers, by name.

use std::sync::Arc;

use super::openid::OpenIdProvider;
use crate::config::settings::Provider;

/// All providers that people can sign in with, in the configuration's order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Providers(Arc<[OpenIdProvider]>);

impl Providers {
    /// Takes those that name an issuer: what we speak is OpenID Connect.
    pub fn new(settings: &[Arc<Provider>]) -> Self {
        let speaks_openid = |provider: &&Arc<Provider>| {
            let has_issuer = provider.issuer.is_some();
            if !has_issuer {
                tracing::warn!(
                    provider = provider.name,
                    "this provider names no issuer and is left out: it does not speak OpenID Connect"
                );
            }
            has_issuer
        };
        let providers = settings.iter().filter(speaks_openid);
        Self(providers.map(|provider| OpenIdProvider::new(Arc::clone(provider))).collect())
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&OpenIdProvider> {
        self.iter().find(|provider| provider.settings().name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &OpenIdProvider> {
        self.0.iter()
    }
}
