//! Exchanging a code at a provider's token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.5).

use std::fmt;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthType, AuthorizationCode, Client, ClientId, ClientSecret, ExtraTokenFields, HttpRequest,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use super::ProviderError;
use super::discovery::{ClientAuthentication, Metadata};
use super::http::HttpClient;
use super::id_token::TokenProblem;
use super::identity::clean;
use crate::config::settings::Provider;
use crate::protocol::secret::Secret;

/// What is sent.
pub(super) struct Exchange<'a> {
    /// The code that the callback brought.
    pub(super) code: &'a Secret,
    /// The same as in the authorization request.
    pub(super) redirect_uri: &'a str,
    /// Belongs to the challenge in the authorization request.
    pub(super) code_verifier: &'a Secret,
}

/// What comes back.
pub(super) struct Tokens {
    pub(super) id_token: Secret,
    pub(super) access_token: Secret,
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

type OpenIdClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// Exchanges a code for tokens.
///
/// # Errors
/// [`ProviderError`]; [`TokenProblem::Missing`] without an ID token.
pub(super) async fn exchange(
    http: &HttpClient,
    provider: &Provider,
    metadata: &Metadata,
    exchange: Exchange<'_>,
) -> Result<Tokens, ProviderError> {
    let redirect_uri = RedirectUrl::new(exchange.redirect_uri.to_owned()).map_err(|_| {
        ProviderError::Misconfigured("the redirect URI is not an address".to_owned())
    })?;
    let mut client = OpenIdClient::new(ClientId::new(provider.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
        .set_redirect_uri(redirect_uri)
        .set_auth_type(match metadata.client_authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            ClientAuthentication::Post | ClientAuthentication::None => AuthType::RequestBody,
        });
    if let Some(secret) = &provider.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let send = |request: HttpRequest| http.send(request, metadata.reach);
    let answer = client
        .exchange_code(AuthorizationCode::new(exchange.code.expose().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(exchange.code_verifier.expose().to_owned()))
        .request_async(&send)
        .await
        .map_err(refusal)?;
    let id_token = answer.extra_fields().id_token.as_deref().ok_or(TokenProblem::Missing)?;
    Ok(Tokens {
        id_token: Secret::new(id_token),
        access_token: Secret::new(answer.access_token().secret().as_str()),
    })
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
