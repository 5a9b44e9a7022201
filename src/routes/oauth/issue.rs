//! What a client is given: access tokens (RFC 9068), ID tokens (OpenID Connect Core §2), refresh tokens, and
//! the answer that they travel in (RFC 6749 §5.1).

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, PRAGMA};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::{OAuthCode, OAuthError};
use crate::app::App;
use crate::avatars::name;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::claims::PersonClaims;
use crate::protocol::client::GrantType;
use crate::protocol::jwt::{
    ACCESS_TOKEN, Algorithm, Audience, ClientAccessClaims, ID_TOKEN, IdClaims,
};
use crate::protocol::key::SigningKey;
use crate::protocol::random;
use crate::protocol::refresh_token::{FamilyKind, Presented};
use crate::protocol::scope::{self, Scope};
use crate::routes::parameters::Parameters;
use crate::store::model::{Client, Email, FamilyWithUser, User};

/// The answer of the token endpoint (RFC 6749 §5.1).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tokens")]
pub struct TokenAnswer {
    /// A JWT (RFC 9068).
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// For the next access token; not for `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Who signed in, with the scope `openid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    /// Always told, since it may be less than was asked; absent where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

impl TokenAnswer {
    /// Which tokens are in it, as the metrics spell it.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let refresh = self.refresh_token.is_some().then_some("refresh");
        let id = self.id_token.is_some().then_some("id");
        std::iter::once("access").chain(refresh).chain(id)
    }

    /// As it is sent: for nobody to keep but the client.
    pub fn into_response(self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((PRAGMA, "no-cache"))
            .json(self)
    }
}

/// The keys that an answer will be signed with. They are looked for before anything is spent, so that a node
/// without them costs nobody a code.
#[derive(Debug)]
pub struct Signers {
    access: Arc<SigningKey>,
    id: Option<Arc<SigningKey>>,
}

impl Signers {
    /// The keys for tokens of this client with these scopes.
    ///
    /// # Errors
    /// 503 while this node has none.
    pub fn find(
        app: &App,
        client: &Client,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<Self, OAuthError> {
        let keys = app.key_snapshot();
        let signer = |algorithm| {
            keys.signer(algorithm, now).cloned().ok_or_else(|| {
                ApiError::new(ErrorCode::TemporarilyUnavailable, "Try again in a moment.")
                    .retry_after(Duration::from_secs(1))
                    .cause(format!("there is no {algorithm} key to sign with"))
            })
        };
        let access = signer(app.settings.keys.algorithm)?;
        let wanted = client.metadata.id_token_signed_response_alg;
        let id = scope.has(scope::OPENID).then(|| signer(wanted)).transpose()?;
        Ok(Self { access, id })
    }
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What it opens.
    pub scope: Scope,
    /// Where (RFC 8707); nowhere in particular if there are none.
    pub resources: Vec<String>,
}

impl Extent {
    /// What is left for one token of what was granted: what the client is still registered for and, where
    /// `scope` or the form's `resource` ask for less, no more than that (RFC 6749 §6, RFC 8707 §2.2).
    ///
    /// # Errors
    /// `invalid_scope` and `invalid_target` for more than was granted.
    pub fn narrowed(
        granted_scope: &str,
        granted_resources: &str,
        scope: Option<&str>,
        client: &Client,
        form: &Parameters,
    ) -> Result<Self, OAuthError> {
        let registered = Scope::parse(&client.metadata.scope).unwrap_or_default();
        let granted = Scope::parse(granted_scope).unwrap_or_default();
        let granted = granted.filtered(|word| registered.has(word));
        let scope = match scope {
            None => granted,
            Some(asked) => {
                Scope::parse(asked).filter(|asked| asked.is_within(&granted)).ok_or_else(|| {
                    let description = "The scope exceeds what was granted.";
                    OAuthError::new(OAuthCode::InvalidScope, description)
                })?
            }
        };
        let granted = granted_resources.split(' ').filter(|resource| !resource.is_empty());
        let resources = resources(granted.map(str::to_owned).collect(), client, form)?;
        Ok(Self { scope, resources })
    }
}

/// The resources of a token: those that are asked for, else all that are allowed. One that the client is not
/// registered for any more is not.
///
/// # Errors
/// `invalid_target`.
pub fn resources(
    allowed: Vec<String>,
    client: &Client,
    form: &Parameters,
) -> Result<Vec<String>, OAuthError> {
    let refused = || {
        let description = "A token for this resource was not granted.";
        OAuthError::new(OAuthCode::InvalidTarget, description)
    };
    let had_any = !allowed.is_empty();
    let registered = &client.metadata.resources;
    let allowed: Vec<String> =
        allowed.into_iter().filter(|resource| registered.contains(resource)).collect();
    let mut asked: Vec<String> = Vec::new();
    for resource in form.all("resource") {
        if !allowed.iter().any(|known| known == resource) {
            return Err(refused());
        }
        if !asked.iter().any(|known| known == resource) {
            asked.push(resource.to_owned());
        }
    }
    if !asked.is_empty() {
        return Ok(asked);
    }
    // A token that was for certain places alone does not come to be for another.
    if had_any && allowed.is_empty() { Err(refused()) } else { Ok(allowed) }
}

/// What the scopes open of a person.
pub fn person_claims<'a>(
    app: &'a App,
    user: &'a User,
    emails: &'a [Email],
    scope: &Scope,
) -> PersonClaims<'a> {
    let settings = &app.settings;
    let picture = || name::address(settings, user.avatar.as_deref()?);
    PersonClaims::of(user, emails, picture, scope, &settings.scopes)
}

/// An ID token: who signed in, and what the scopes open of them, since many libraries look nowhere else. The
/// address is at userinfo alone: it is not at hand here, and to look it up would cost every login a read.
#[derive(Serialize)]
struct IdToken<'a> {
    #[serde(flatten)]
    claims: IdClaims,
    #[serde(flatten)]
    person: PersonClaims<'a>,
}

/// The tokens of a grant at its live generation. `nonce` comes from the authorization request.
pub fn for_person(
    app: &App,
    client: &Client,
    signers: &Signers,
    live: &FamilyWithUser,
    extent: Extent,
    nonce: Option<String>,
    now: Timestamp,
) -> TokenAnswer {
    let FamilyWithUser { family, user } = live;
    let has = |word| extent.scope.has(word);
    let claims = ClientAccessClaims {
        sub: user.id.to_string(),
        sid: Some(family.session),
        grant_id: Some(family.id),
        username: has(scope::PROFILE).then(|| user.username.clone()),
        role: has(scope::ROLES).then_some(user.role),
        ..claims(app, client, &extent, now)
    };
    let access_token = signers.access.sign(ACCESS_TOKEN, &claims);
    // The scopes decide, too: a key may have been looked for before it was known what they are.
    let id_signer = signers.id.as_ref().filter(|_| has(scope::OPENID));
    let id_token = id_signer.map(|key| {
        let claims = IdClaims {
            iss: claims.iss.clone(),
            sub: claims.sub.clone(),
            aud: client.client_id.clone(),
            exp: now.plus(app.settings.tokens.id_ttl).seconds(),
            iat: now.seconds(),
            auth_time: family.auth_time.seconds(),
            nonce,
            at_hash: Some(at_hash(&access_token, key.public().algorithm)),
            sid: family.session,
        };
        let person = person_claims(app, user, &[], &extent.scope);
        key.sign(ID_TOKEN, &IdToken { claims, person })
    });
    let refresh_token = client.metadata.may_use(GrantType::RefreshToken).then(|| {
        let token = Presented {
            kind: FamilyKind::Client,
            family: family.id,
            generation: family.generation,
        };
        app.refresh_tokens.issue(token, &client.client_id)
    });
    TokenAnswer { refresh_token, id_token, ..answer(app, access_token, extent) }
}

/// An access token for the client itself (RFC 6749 §4.4.3): nothing else.
pub fn for_client(
    app: &App,
    client: &Client,
    signers: &Signers,
    extent: Extent,
    now: Timestamp,
) -> TokenAnswer {
    let access_token = signers.access.sign(ACCESS_TOKEN, &claims(app, client, &extent, now));
    answer(app, access_token, extent)
}

fn answer(app: &App, access_token: String, extent: Extent) -> TokenAnswer {
    TokenAnswer {
        access_token,
        token_type: "Bearer",
        expires_in: app.settings.tokens.access_ttl.as_secs(),
        refresh_token: None,
        id_token: None,
        scope: extent.scope.to_string(),
    }
}

/// Claims about the client itself.
fn claims(app: &App, client: &Client, extent: &Extent, now: Timestamp) -> ClientAccessClaims {
    let Client { client_id, metadata, .. } = client;
    let audience = match extent.resources.is_empty() {
        false => Audience::of(extent.resources.clone()),
        true => Audience::One(metadata.audience.as_ref().unwrap_or(client_id).clone()),
    };
    ClientAccessClaims {
        iss: app.settings.server.public_url.as_str().to_owned(),
        sub: client_id.clone(),
        aud: audience,
        client_id: client_id.clone(),
        scope: extent.scope.to_string(),
        exp: now.plus(app.settings.tokens.access_ttl).seconds(),
        iat: now.seconds(),
        jti: random::text::<16>(),
        sid: None,
        grant_id: None,
        username: None,
        role: None,
    }
}

/// The left half of the access token's hash, by the ID token's algorithm (OpenID Connect Core §3.1.3.6).
/// Ed25519 hashes with SHA-512 (RFC 8032 §5.1).
fn at_hash(access_token: &str, algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::ES256 => &SHA256,
        Algorithm::EdDsa => &SHA512,
    };
    let hash = digest(hash, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_is_the_left_half_of_the_algorithms_hash() {
        // The example of OpenID Connect Core, appendix A.3.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(token, Algorithm::RS256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(token, Algorithm::ES256), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(token, Algorithm::EdDsa).len(), 43);
    }
}
