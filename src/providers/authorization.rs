//! What a sign-in at any provider begins and ends with: the request that the browser carries there, and
//! the answer that it brings back (RFC 6749 §4.1.1, §4.1.2).

use std::time::Duration;

use url::Url;

use crate::clock::Timestamp;
use crate::protocol::secret::Secret;

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

impl AuthorizationRequest<'_> {
    /// The endpoint's address with the request in its query; what stands there already stays.
    pub(super) fn address(&self, endpoint: &Url, client_id: &str, scope: &str) -> Url {
        let mut url = endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", self.redirect_uri);
        if !scope.is_empty() {
            query.append_pair("scope", scope);
        }
        query
            .append_pair("state", self.state)
            .append_pair("code_challenge", self.pkce_challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(login_hint) = self.login_hint {
            query.append_pair("login_hint", login_hint);
        }
        if let Some(prompt) = self.prompt {
            query.append_pair("prompt", prompt);
        }
        if let Some(max_age) = self.max_age {
            query.append_pair("max_age", &max_age.as_secs().to_string());
        }
        drop(query);
        url
    }
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

/// What is shown to the token endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The code that the callback brought.
    pub code: &'a Secret,
    /// The same as in the authorization request.
    pub redirect_uri: &'a str,
    /// Belongs to the challenge in the authorization request.
    pub code_verifier: &'a Secret,
}

impl<'a> Exchange<'a> {
    /// What this answer to this attempt is exchanged with.
    pub fn of(answer: &'a CallbackParameters, attempt: &'a Attempt) -> Self {
        Self {
            code: &answer.code,
            redirect_uri: &attempt.redirect_uri,
            code_verifier: &attempt.code_verifier,
        }
    }
}
