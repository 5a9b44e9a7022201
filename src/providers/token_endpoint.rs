//! Exchanging a code at a provider's token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.5).

use std::fmt;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::http::StatusCode;
use oauth2::{
    AuthType, AuthorizationCode, Client, ClientId, ClientSecret, ExtraTokenFields, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::ProviderError;
use super::address::Reach;
use super::authorization::Exchange;
use super::discovery::ClientAuthentication;
use super::http::HttpClient;
use super::identity::clean;
use crate::config::settings::Provider;
use crate::protocol::secret::Secret;

/// Where codes are exchanged, and how.
pub(super) struct TokenEndpoint<'a> {
    /// Its address.
    pub(super) url: &'a Url,
    /// How we prove who we are.
    pub(super) authentication: ClientAuthentication,
    /// How far the request may reach.
    pub(super) reach: Reach,
}

/// What comes back.
pub(super) struct Tokens {
    pub(super) access_token: Secret,
    /// Of OpenID Connect providers alone.
    pub(super) id_token: Option<Secret>,
}

#[derive(Deserialize, Serialize)]
struct IdTokenField {
    #[serde(default)]
    id_token: Option<String>,
}

impl fmt::Debug for IdTokenField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl ExtraTokenFields for IdTokenField {}

type CodeClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// Exchanges a code for tokens.
///
/// # Errors
/// [`ProviderError`].
pub(super) async fn exchange(
    http: &HttpClient,
    provider: &Provider,
    endpoint: &TokenEndpoint<'_>,
    exchange: Exchange<'_>,
) -> Result<Tokens, ProviderError> {
    let redirect_uri = RedirectUrl::new(exchange.redirect_uri.to_owned()).map_err(|_| {
        ProviderError::Misconfigured("the redirect URI is not an address".to_owned())
    })?;
    let mut client = CodeClient::new(ClientId::new(provider.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(endpoint.url.clone()))
        .set_redirect_uri(redirect_uri)
        .set_auth_type(match endpoint.authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            ClientAuthentication::Post | ClientAuthentication::None => AuthType::RequestBody,
        });
    if let Some(secret) = &provider.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let send = |request: HttpRequest| async {
        Ok::<_, ProviderError>(as_refusal(http.send(request, endpoint.reach).await?))
    };
    let answer = client
        .exchange_code(AuthorizationCode::new(exchange.code.expose().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(exchange.code_verifier.expose().to_owned()))
        .request_async(&send)
        .await
        .map_err(refusal)?;
    Ok(Tokens {
        access_token: Secret::new(answer.access_token().secret().as_str()),
        id_token: answer.extra_fields().id_token.as_deref().map(Secret::new),
    })
}

/// GitHub and others refuse with status 200: what names an error and holds no token is a refusal.
fn as_refusal(mut answer: HttpResponse) -> HttpResponse {
    #[derive(Deserialize)]
    struct Members {
        error: Option<String>,
        access_token: Option<serde::de::IgnoredAny>,
    }
    if answer.status() == StatusCode::OK
        && let Ok(Members { error: Some(_), access_token: None }) =
            serde_json::from_slice(answer.body())
    {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    answer
}

fn refusal(error: RequestTokenError<ProviderError, BasicErrorResponse>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(answer) => ProviderError::Refused {
            error: clean(answer.error().as_ref(), 64).unwrap_or_default(),
            description: answer.error_description().and_then(|text| clean(text, 200)),
        },
        RequestTokenError::Parse(..) => {
            ProviderError::Answer("the token endpoint sends no such JSON as it must".to_owned())
        }
        RequestTokenError::Other(_) => {
            ProviderError::Answer("the token endpoint sends no JSON".to_owned())
        }
    }
}
