//! What a provider says about itself (OpenID Connect Discovery): endpoints, abilities, keys.

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use url::Url;

use super::ProviderError;
use super::address::{Reach, names_loopback};
use super::http::{HttpClient, check};
use super::key_set::{self, KeySet, allowed_algorithm};
use crate::config::settings::{Provider, TokenEndpointAuthMethod};

/// How we prove at the token endpoint who we are (RFC 6749 §2.3, OpenID Connect Core §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
    /// `none`: we have no secret, or it is not asked for.
    None,
}

impl ClientAuthentication {
    /// As the settings say, for a provider that says nothing: `client_secret_basic` is what every
    /// server must take (RFC 6749 §2.3.1).
    pub fn of_settings(provider: &Provider) -> Self {
        match (&provider.client_secret, provider.token_endpoint_auth_method) {
            (None, _) => Self::None,
            (Some(_), Some(TokenEndpointAuthMethod::ClientSecretPost)) => Self::Post,
            (Some(_), _) => Self::Basic,
        }
    }
}

/// What signing in at a provider needs to know of it.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Where the browser is sent.
    pub authorization_endpoint: Url,
    /// Where a code is exchanged.
    pub token_endpoint: Url,
    /// Where the person's claims can be asked for.
    pub userinfo_endpoint: Option<Url>,
    /// Whether every answer names its issuer (RFC 9207).
    pub names_issuer: bool,
    /// What ID tokens may be signed with; empty if the provider does not say.
    pub algorithms: Vec<Algorithm>,
    /// How we authenticate.
    pub client_authentication: ClientAuthentication,
    /// The keys that verify ID tokens.
    pub keys: KeySet,
    /// How far requests on behalf of this provider may reach.
    pub reach: Reach,
}

/// The members of the document that we read (Discovery §3, RFC 9207 §3).
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// How far requests on behalf of a provider may reach: onto this machine only if the settings
/// themselves name it.
pub fn reach_of(provider: &Provider) -> Reach {
    if provider.allow_private {
        return Reach::Private;
    }
    let issuer = provider.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
    let configured = [
        &issuer,
        &provider.auth_url,
        &provider.token_url,
        &provider.userinfo_url,
        &provider.emails_url,
    ];
    if configured.into_iter().flatten().any(names_loopback) {
        Reach::Loopback
    } else {
        Reach::Public
    }
}

/// Fetches a provider's metadata and keys, within the client's total time.
///
/// # Errors
/// [`ProviderError`]; `Misconfigured` if the document is another issuer's (Discovery §4.3), names
/// endpoints out of reach, or leaves nothing that both sides can do.
pub async fn discover(http: &HttpClient, provider: &Provider) -> Result<Metadata, ProviderError> {
    tokio::time::timeout(http.limits().total, fetch(http, provider))
        .await
        .unwrap_or(Err(ProviderError::Timeout))
}

async fn fetch(http: &HttpClient, provider: &Provider) -> Result<Metadata, ProviderError> {
    let reach = reach_of(provider);
    let issuer = provider.issuer.as_deref().ok_or_else(|| misconfigured("it has no issuer"))?;
    let asking = |endpoint| http.asking(&provider.name, endpoint);
    let document: Document =
        asking("discovery").get_json(&address_of(issuer)?, None, reach).await?;
    if document.issuer != issuer {
        return Err(misconfigured("its metadata names another issuer than the settings"));
    }
    check(&document.jwks_uri, reach)?;
    let keys: key_set::Document = asking("keys").get_json(&document.jwks_uri, None, reach).await?;
    document.into_metadata(provider, KeySet::new(keys), reach)
}

/// Discovery §4.1: a slash at the end of the issuer is not doubled.
fn address_of(issuer: &str) -> Result<Url, ProviderError> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::parse(&format!("{base}/.well-known/openid-configuration"))
        .map_err(|_| misconfigured("its issuer is not an address"))
}

fn misconfigured(reason: &str) -> ProviderError {
    ProviderError::Misconfigured(reason.to_owned())
}

impl Document {
    fn into_metadata(
        self,
        provider: &Provider,
        keys: KeySet,
        reach: Reach,
    ) -> Result<Metadata, ProviderError> {
        let authorization_endpoint = provider.auth_url.clone().or(self.authorization_endpoint);
        let token_endpoint = provider.token_url.clone().or(self.token_endpoint);
        let metadata = Metadata {
            authorization_endpoint: authorization_endpoint
                .ok_or_else(|| misconfigured("it has no authorization endpoint"))?,
            token_endpoint: token_endpoint
                .ok_or_else(|| misconfigured("it has no token endpoint"))?,
            userinfo_endpoint: provider.userinfo_url.clone().or(self.userinfo_endpoint),
            names_issuer: self.authorization_response_iss_parameter_supported,
            algorithms: algorithms(&self.id_token_signing_alg_values_supported)?,
            client_authentication: match provider.token_endpoint_auth_method {
                Some(_) => ClientAuthentication::of_settings(provider),
                None => client_authentication(
                    provider.client_secret.is_some(),
                    self.token_endpoint_auth_methods_supported.as_deref(),
                )?,
            },
            keys,
            reach,
        };
        check(&metadata.authorization_endpoint, reach)?;
        check(&metadata.token_endpoint, reach)?;
        metadata.userinfo_endpoint.as_ref().map_or(Ok(()), |url| check(url, reach))?;
        Ok(metadata)
    }
}

fn algorithms(announced: &[String]) -> Result<Vec<Algorithm>, ProviderError> {
    let allowed: Vec<_> = announced.iter().filter_map(|name| allowed_algorithm(name)).collect();
    if allowed.is_empty() && !announced.is_empty() {
        return Err(misconfigured("it signs ID tokens with no algorithm that is allowed"));
    }
    Ok(allowed)
}

/// Picks the method; where none is announced it is `client_secret_basic` (Discovery §3).
fn client_authentication(
    has_secret: bool,
    announced: Option<&[String]>,
) -> Result<ClientAuthentication, ProviderError> {
    if !has_secret {
        return Ok(ClientAuthentication::None);
    }
    let offers = |method: &str| {
        announced.is_none_or(|methods| methods.iter().any(|offered| offered == method))
    };
    if offers("client_secret_basic") {
        Ok(ClientAuthentication::Basic)
    } else if offers("client_secret_post") {
        Ok(ClientAuthentication::Post)
    } else if offers("none") {
        // It asks nobody for a secret: then ours stays here.
        Ok(ClientAuthentication::None)
    } else {
        Err(misconfigured("its token endpoint takes no client secret"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(has_secret: bool, announced: Option<&[&str]>) -> Option<ClientAuthentication> {
        let announced: Option<Vec<String>> =
            announced.map(|methods| methods.iter().map(|method| (*method).to_owned()).collect());
        client_authentication(has_secret, announced.as_deref()).ok()
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        use ClientAuthentication::{Basic, None as Public, Post};
        assert_eq!(picked(true, None), Some(Basic));
        assert_eq!(picked(true, Some(&["client_secret_post", "client_secret_basic"])), Some(Basic));
        assert_eq!(picked(true, Some(&["private_key_jwt", "client_secret_post"])), Some(Post));
        assert_eq!(picked(true, Some(&["private_key_jwt"])), None);
        assert_eq!(picked(false, Some(&["none"])), Some(Public));
        assert_eq!(picked(true, Some(&["none"])), Some(Public));
    }

    #[test]
    fn only_allowed_algorithms_are_kept_of_those_announced() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(algorithms(&names(&["none", "HS256", "ES256"])).unwrap(), [Algorithm::ES256]);
        assert_eq!(algorithms(&[]).unwrap(), []);
        assert!(algorithms(&names(&["none", "HS256"])).is_err());
    }

    #[test]
    fn the_slash_at_an_issuers_end_is_not_doubled() {
        let expected = "https://op.example/a/.well-known/openid-configuration";
        assert_eq!(address_of("https://op.example/a").unwrap().as_str(), expected);
        assert_eq!(address_of("https://op.example/a/").unwrap().as_str(), expected);
        assert!(address_of("op.example").is_err());
    }
}
