//! Exchanging a code at a provider's token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.5).

use std::fmt;
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::helpers::deserialize_untagged_enum_case_insensitive;
use oauth2::http::StatusCode;
use oauth2::{
    AccessToken, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardRevocableToken, TokenResponse, TokenUrl,
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

/// What we read of an answer (RFC 6749 §5.1). The access token is used once and at once: neither its
/// scope nor its life matters, and some providers write them otherwise than they must.
#[derive(Deserialize, Serialize)]
struct Answer {
    access_token: AccessToken,
    #[serde(deserialize_with = "deserialize_untagged_enum_case_insensitive")]
    token_type: BasicTokenType,
    #[serde(default)]
    id_token: Option<String>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

type CodeClient = Client<
    BasicErrorResponse,
    Answer,
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
    if let Some(secret) = &provider.client_secret
        && endpoint.authentication != ClientAuthentication::None
    {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let http = &http.asking(&provider.name, "token");
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
        access_token: Secret::new(answer.access_token.secret().as_str()),
        id_token: answer.id_token.as_deref().map(Secret::new),
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
