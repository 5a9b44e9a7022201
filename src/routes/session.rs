//! Who is signed in, and the two cookies of a session.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::cookie::Cookie;
use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use schemars::JsonSchema;
use serde::Serialize;

use super::cookies::Kind;
use super::pages::places;
use super::rate_limit;
use crate::actors::rate_limiter::Tier;
use crate::actors::revocations::IsRevoked;
use crate::app::App;
use crate::avatars::name;
use crate::clock::Timestamp;
use crate::config::settings::{Origin, Settings};
use crate::error::{ApiError, ErrorCode};
use crate::protocol::jwt::{ACCESS_TOKEN, AccessClaims, LEEWAY_SECONDS, TokenError};
use crate::protocol::key::SigningKey;
use crate::protocol::refresh_token::{FamilyKind, Presented, RefreshTokenError};
use crate::protocol::rotation::{self, Verdict};
use crate::protocol::{key, random};
use crate::store::model::{
    Email, FIRST_PARTY, FamilyId, FamilyWithUser, Role, SessionId, User, UserId,
};

/// Scope of first-party tokens.
pub const FIRST_PARTY_SCOPE: &str = "openid profile email";

/// How long an access token can be accepted after its issue: its life and the leeway.
pub fn tokens_live_for(access_ttl: Duration) -> Duration {
    access_ttl + Duration::from_secs(LEEWAY_SECONDS.unsigned_abs())
}

/// A request with a valid first-party access token, by cookie or by bearer header.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// What the token says.
    pub claims: AccessClaims,
}

impl FromRequest for Authenticated {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let app = request.app_data::<Data<App>>().expect("the app is registered").clone();
            authenticate(&request, &app).await
        })
    }
}

/// Checks the access token of a request, and the rate of its session.
///
/// Where `Authorization` is present it alone decides: cookies are not looked at.
///
/// # Errors
/// `unauthenticated`, `rate_limited`; 503 if it cannot be known whether the token was revoked.
pub async fn authenticate(request: &HttpRequest, app: &App) -> Result<Authenticated, ApiError> {
    let found = find(request, app).await;
    at_its_rate(request, app, found).await
}

/// As [`authenticate`], for who counts the request otherwise.
///
/// # Errors
/// `unauthenticated`, `duplicate_cookie`; 503 if it cannot be known whether the token was revoked.
pub(super) async fn find(request: &HttpRequest, app: &App) -> Result<Authenticated, ApiError> {
    match bearer_token(request)? {
        Some(token) => find_session(&token, app).await,
        None => find_session_of_browser(request, app).await,
    }
}

/// The session of a browser that comes for a page: by the access cookie alone, whatever else is sent.
/// Counts as [`authenticate`] does.
///
/// # Errors
/// `duplicate_cookie`, `rate_limited`; 503 if it cannot be known whether the token was revoked.
pub async fn of_browser(
    request: &HttpRequest,
    app: &App,
) -> Result<Option<Authenticated>, ApiError> {
    let found = find_session_of_browser(request, app).await;
    match at_its_rate(request, app, found).await {
        Ok(session) => Ok(Some(session)),
        Err(error) if error.code == ErrorCode::Unauthenticated => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts a request: for its session, or where there is none for the address.
async fn at_its_rate(
    request: &HttpRequest,
    app: &App,
    found: Result<Authenticated, ApiError>,
) -> Result<Authenticated, ApiError> {
    match found {
        Ok(session) => {
            let session_name = session.claims.sid.to_string();
            rate_limit::by_name(request, app, Tier::Api, session_name).await?;
            Ok(session)
        }
        Err(refusal) => {
            rate_limit::by_address(request, app, Tier::Public).await?;
            Err(refusal)
        }
    }
}

async fn find_session_of_browser(
    request: &HttpRequest,
    app: &App,
) -> Result<Authenticated, ApiError> {
    let token = app.cookies.read(request, Kind::Access)?.ok_or_else(unauthenticated)?;
    find_session(token, app).await
}

async fn find_session(token: &str, app: &App) -> Result<Authenticated, ApiError> {
    let (claims, kid) = verify_first_party(token, app).map_err(|error| {
        ApiError::new(ErrorCode::Unauthenticated, format!("Sign in again: {error}."))
    })?;
    if app.revocations.ask(IsRevoked::new(&claims, &kid)).await?? {
        return Err(ApiError::new(
            ErrorCode::Unauthenticated,
            "Sign in again: this session has ended.",
        ));
    }
    Ok(Authenticated { claims })
}

/// The live session of a request and its active person: by the refresh cookie where the browser sends it,
/// else by the access token. Changes nothing; a refresh token that would be reuse opens nothing here,
/// either.
///
/// # Errors
/// `duplicate_cookie`, `rate_limited`; 503 if it cannot be known.
pub async fn live(request: &HttpRequest, app: &App) -> Result<Option<FamilyWithUser>, ApiError> {
    let presented = match request.headers().contains_key(AUTHORIZATION) {
        true => None,
        false => presented_refresh(request, app)?,
    };
    let now = app.clock.now();
    if let Some(presented) = presented {
        let session_name = presented.family.to_string();
        rate_limit::by_name(request, app, Tier::Api, session_name).await?;
        let live = app.store.read.family(presented.family).await?;
        return Ok(live.filter(|live| opens(presented, live, app, now)));
    }
    let session = match authenticate(request, app).await {
        Ok(session) => session,
        Err(error) if error.code == ErrorCode::Unauthenticated => return Ok(None),
        Err(error) => return Err(error),
    };
    let live = app.store.read.family(FamilyId(session.claims.sid.0)).await?;
    Ok(live.filter(|live| app.lifetimes.is_live(live, now)))
}

/// New cookies for a browser that changed something that stands in its access token: at the live
/// generation, as a refresh would answer. `None` where the request brought no refresh token of this
/// session: whoever has an access token alone gets no longer life by it.
///
/// # Errors
/// `duplicate_cookie`; 503 if the store cannot be asked or there is no key to sign with.
pub async fn renewed(
    request: &HttpRequest,
    app: &App,
    session: SessionId,
) -> Result<Option<SessionCookies>, ApiError> {
    if request.headers().contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let Some(presented) = presented_refresh(request, app)? else { return Ok(None) };
    let now = app.clock.now();
    let live = app.store.read.family(presented.family).await?;
    let live = live.filter(|live| live.family.session == session);
    match live.filter(|live| opens(presented, live, app, now)) {
        Some(live) => issue(app, &live, now).map(Some),
        None => Ok(None),
    }
}

/// Whether a refresh by this token would be answered with the live one.
fn opens(presented: Presented, live: &FamilyWithUser, app: &App, now: Timestamp) -> bool {
    let verdict = rotation::judge(presented, live, &app.lifetimes, now);
    matches!(verdict, Verdict::Advance | Verdict::Keep)
}

/// The answer to who must be signed in and is not.
pub fn unauthenticated() -> ApiError {
    ApiError::new(ErrorCode::Unauthenticated, "Sign in, or send an access token.")
}

/// How long after a sign-in a person may change by what they sign in, and the like.
pub const RECENT: Duration = Duration::from_secs(15 * 60);

/// Refuses a session whose person signed in too long ago. The page leads by a new sign-in to `here`.
///
/// # Errors
/// `reauthentication_required`.
pub fn check_recent(auth_time: Timestamp, now: Timestamp, here: &str) -> Result<(), ApiError> {
    if now < auth_time.plus(RECENT) {
        return Ok(());
    }
    let max_age = RECENT.as_secs().to_string();
    let query = [("prompt", "login"), ("max_age", max_age.as_str()), ("return_to", here)];
    Err(ApiError::new(
        ErrorCode::ReauthenticationRequired,
        "This needs a sign-in of the last 15 minutes. Sign in again, so that it is certain that it is you.",
    )
    .leading_to(places::with_query("/login", &query)))
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1, scheme without regard to case).
///
/// # Errors
/// `unauthenticated` for several such headers, another scheme, and what is not well-formed.
pub(super) fn bearer_token(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    let refused = || {
        ApiError::new(ErrorCode::Unauthenticated, "Send one header “Authorization: Bearer TOKEN”.")
    };
    if values.next().is_some() {
        return Err(refused());
    }
    let text = value.to_str().map_err(|_| refused())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused());
    }
    Ok(Some(token.trim_matches(' ').to_owned()))
}

/// Verifies one of our own access tokens: signature, type, issuer, audience, client, times.
fn verify_first_party(token: &str, app: &App) -> Result<(AccessClaims, String), TokenError> {
    let now = app.clock.now();
    let keys = app.key_snapshot();
    let mut kid = String::new();
    let claims: AccessClaims = key::verify(token, ACCESS_TOKEN, |found| {
        kid = found.to_owned();
        keys.verifier(found, now)
    })?;
    let issuer = app.settings.server.public_url.as_str();
    if claims.iss != issuer || claims.aud != issuer || claims.client_id != FIRST_PARTY {
        return Err(TokenError::WrongAudience);
    }
    claims.check_times(now)?;
    Ok((claims, kid))
}

/// The refresh cookie of a request, if its tag is right. Asks nobody.
///
/// # Errors
/// `duplicate_cookie`.
pub fn presented_refresh(request: &HttpRequest, app: &App) -> Result<Option<Presented>, ApiError> {
    let Some(text) = app.cookies.read(request, Kind::Refresh)? else { return Ok(None) };
    match app.refresh_tokens.read(FamilyKind::Session, FIRST_PARTY, text) {
        Ok(presented) => Ok(Some(presented)),
        Err(error) => {
            match error {
                RefreshTokenError::Forged => app.metrics.count_forged(),
                RefreshTokenError::UnknownKey => app.metrics.count_unknown_secret(),
            }
            Ok(None)
        }
    }
}

/// The cookies of a session at its live generation.
#[derive(Debug)]
pub struct SessionCookies {
    /// With a new access token.
    pub access: Cookie<'static>,
    /// With the live refresh token.
    pub refresh: Cookie<'static>,
    /// Life of the access token.
    pub expires_in: Duration,
}

/// A first-party access token of a session.
pub fn access_token(
    issuer: &Origin,
    signer: &SigningKey,
    FamilyWithUser { family, user }: &FamilyWithUser,
    now: Timestamp,
    life: Duration,
) -> String {
    let claims = AccessClaims {
        iss: issuer.as_str().to_owned(),
        sub: user.id,
        aud: issuer.as_str().to_owned(),
        client_id: FIRST_PARTY.to_owned(),
        scope: family.scope.clone(),
        exp: now.plus(life).seconds(),
        iat: now.seconds(),
        jti: random::text::<16>(),
        sid: family.session,
        auth_time: family.auth_time.seconds(),
        username: Some(user.username.clone()),
        role: Some(user.role),
    };
    signer.sign(ACCESS_TOKEN, &claims)
}

/// Signs an access token and writes both cookies.
///
/// # Errors
/// `temporarily_unavailable` while this node has no key to sign with.
pub fn issue(app: &App, live: &FamilyWithUser, now: Timestamp) -> Result<SessionCookies, ApiError> {
    let family = &live.family;
    let settings = &app.settings;
    let keys = app.key_snapshot();
    let signer = keys.signer(settings.keys.algorithm, now).ok_or_else(|| {
        ApiError::new(ErrorCode::TemporarilyUnavailable, "Try again in a moment.")
            .retry_after(Duration::from_secs(1))
            .cause("there is no key to sign with")
    })?;
    let expires_in = settings.tokens.access_ttl;
    let access = access_token(&settings.server.public_url, signer, live, now, expires_in);
    let presented =
        Presented { kind: FamilyKind::Session, family: family.id, generation: family.generation };
    let refresh = app.refresh_tokens.issue(presented, FIRST_PARTY);
    for kind in ["access", "refresh"] {
        app.metrics.count_token("session", kind);
    }
    let refresh_life = app.lifetimes.expires(family).since(now);
    Ok(SessionCookies {
        access: app.cookies.set(Kind::Access, access, expires_in),
        refresh: app.cookies.set(Kind::Refresh, refresh, refresh_life),
        expires_in,
    })
}

/// A person as JSON answers show them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub struct UserBody {
    /// Never changes.
    id: UserId,
    /// As the person wrote it; it may change.
    username: String,
    /// What pages show, if the person has chosen it.
    display_name: Option<String>,
    /// Where the picture is, if there is one.
    avatar_url: Option<String>,
    /// What the person may do.
    role: Role,
    /// The addresses that providers told; not everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    emails: Option<Vec<Email>>,
    /// When the account was made.
    created_at: Timestamp,
}

impl UserBody {
    /// Without addresses, as `/auth/refresh` answers.
    pub fn new(user: &User, settings: &Settings) -> Self {
        let avatar_url = user.avatar.as_ref().and_then(|avatar| name::address(settings, avatar));
        Self {
            id: user.id,
            username: user.username.clone(),
            display_name: user.display_name.clone(),
            avatar_url,
            role: user.role,
            emails: None,
            created_at: user.created_at,
        }
    }

    /// With addresses.
    #[must_use]
    pub fn with_emails(self, emails: Vec<Email>) -> Self {
        Self { emails: Some(emails), ..self }
    }
}
