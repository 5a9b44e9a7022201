//! Registered clients, by the names of RFC 7591 and OpenID Connect Dynamic Client Registration.

use serde::{Deserialize, Serialize};

use super::jwt::Algorithm;

/// How a client proves who it is at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// HTTP Basic (RFC 6749 §2.3.1).
    #[default]
    ClientSecretBasic,
    /// In the body (RFC 6749 §2.3.1).
    ClientSecretPost,
    /// An assertion signed by the client's own key (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// Not at all: a public client.
    None,
}

impl AuthMethod {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 4] =
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// As registrations and discovery spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }

    /// Whether it needs a secret that we make.
    pub fn takes_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// What a client may do at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.4.
    ClientCredentials,
}

impl GrantType {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 3] =
        [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    /// As requests, registrations and discovery spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// The inverse of [`GrantType::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// What kind of application a client is (OpenID Connect Registration §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// A server, or a page in a browser.
    #[default]
    Web,
    /// A program on the person's own machine (RFC 8252).
    Native,
}

impl ApplicationType {
    /// As registrations spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Native => "native",
        }
    }
}

/// Everything that is registered about a client, apart from its id and secret. As JSON the members have
/// the names of RFC 7591 §2, of OpenID Connect, or our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientMetadata {
    /// What people read on the consent page.
    pub client_name: String,
    /// Where codes may be sent: compared character by character, the port of loopback addresses apart.
    pub redirect_uris: Vec<String>,
    /// What it may do at the token endpoint.
    pub grant_types: Vec<GrantType>,
    /// Which scopes it may ask for, separated by spaces.
    pub scope: String,
    /// How it proves who it is.
    pub token_endpoint_auth_method: AuthMethod,
    /// What it is.
    pub application_type: ApplicationType,
    /// Where people learn about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// Where its terms of service are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// Where people read how it uses what it learns about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// How to reach the people who are responsible for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Which software it is an instance of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Which version of that software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// Its public keys, for `private_key_jwt` (RFC 7517 §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// Where its public keys are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// What ID tokens and logout tokens for it are signed with.
    pub id_token_signed_response_alg: Algorithm,
    /// Where people may be sent after a sign-out (OpenID Connect RP-Initiated Logout §3.1).
    pub post_logout_redirect_uris: Vec<String>,
    /// Where it is told that a session ended (OpenID Connect Back-Channel Logout §2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// Whether it needs the `sid` in logout tokens. We always send it.
    pub backchannel_logout_session_required: bool,
    /// `aud` of its access tokens where no `resource` was granted; its own id if there is none. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Which resources it may ask for (RFC 8707). Ours.
    pub resources: Vec<String>,
    /// Whether an authorization request needs a PKCE challenge. Never off for a public client. Ours.
    pub require_pkce: bool,
    /// Whether people are not asked for their consent. Ours.
    pub auto_approve: bool,
    /// Whether it may introspect tokens of other clients. Ours.
    pub resource_server: bool,
}

/// What a client may ask for unless it is registered otherwise.
pub const DEFAULT_SCOPE: &str = "openid profile email";

impl Default for ClientMetadata {
    fn default() -> Self {
        Self {
            client_name: String::new(),
            redirect_uris: Vec::new(),
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            scope: DEFAULT_SCOPE.to_owned(),
            token_endpoint_auth_method: AuthMethod::default(),
            application_type: ApplicationType::default(),
            client_uri: None,
            logo_uri: None,
            tos_uri: None,
            policy_uri: None,
            contacts: Vec::new(),
            software_id: None,
            software_version: None,
            jwks: None,
            jwks_uri: None,
            id_token_signed_response_alg: Algorithm::RS256,
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            backchannel_logout_session_required: false,
            audience: None,
            resources: Vec::new(),
            require_pkce: true,
            auto_approve: false,
            resource_server: false,
        }
    }
}

impl ClientMetadata {
    /// Whether it cannot keep a secret (RFC 6749 §2.1).
    pub fn is_public(&self) -> bool {
        self.token_endpoint_auth_method == AuthMethod::None
    }

    /// Whether it may use a grant.
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }
}
