//! What the demo app keeps: in sealed cookies of its own path, since it has no store.

use std::time::Duration;

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::header::{HeaderValue, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::PATH;
use super::server::Trouble;
use crate::app::App;
use crate::clock::Timestamp;
use crate::protocol::random;
use crate::protocol::sealed::Purpose;

/// How long a sign-in may take.
const ATTEMPT_LIFE: Duration = Duration::from_secs(10 * 60);

/// How long tokens are kept.
const GRANT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A browser silently drops a longer cookie (RFC 6265 §6.1 demands no more).
const LONGEST_COOKIE: usize = 4096;

const ATTEMPT: &str = "demo_attempt";
const TOKENS: &str = "demo_tokens";
/// In a cookie of its own: two tokens with long signatures are too much for one.
const ID_TOKEN: &str = "demo_id_token";

/// A sign-in under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) code_verifier: String,
    started: i64,
}

/// What came back from the token endpoint.
pub(super) struct Grant {
    pub(super) tokens: Tokens,
    pub(super) id_token: Option<String>,
}

/// All of a grant but the ID token.
#[derive(Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) scope: Option<String>,
    /// When the access token expires, in seconds.
    pub(super) expires: i64,
}

impl Attempt {
    /// A sign-in that begins now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            state: random::text::<16>(),
            nonce: random::text::<16>(),
            code_verifier: random::text::<32>(),
            started: now.seconds(),
        }
    }

    pub(super) fn started(&self) -> Timestamp {
        Timestamp::from_seconds(self.started)
    }

    /// The one that this browser began.
    pub(super) fn of(request: &HttpRequest, app: &App) -> Option<Self> {
        open(request, app, ATTEMPT)
    }

    pub(super) fn keep(&self, app: &App) -> Result<Cookie<'static>, Trouble> {
        seal(app, ATTEMPT, self, ATTEMPT_LIFE)
    }

    pub(super) fn forget(app: &App) -> Cookie<'static> {
        cookie(app, ATTEMPT, String::new(), Duration::ZERO)
    }
}

impl Grant {
    /// What this browser keeps.
    pub(super) fn of(request: &HttpRequest, app: &App) -> Option<Self> {
        let tokens = open(request, app, TOKENS)?;
        Some(Self { tokens, id_token: open(request, app, ID_TOKEN) })
    }

    pub(super) fn keep(&self, app: &App) -> Result<[Cookie<'static>; 2], Trouble> {
        let id_token = match &self.id_token {
            Some(id_token) => seal(app, ID_TOKEN, id_token, GRANT_LIFE)?,
            None => cookie(app, ID_TOKEN, String::new(), Duration::ZERO),
        };
        Ok([seal(app, TOKENS, &self.tokens, GRANT_LIFE)?, id_token])
    }

    pub(super) fn forget(app: &App) -> [Cookie<'static>; 2] {
        [TOKENS, ID_TOKEN].map(|name| cookie(app, name, String::new(), Duration::ZERO))
    }
}

/// The cookie's name is sealed with it, so that none stands in for another.
fn seal(
    app: &App,
    name: &'static str,
    value: &impl Serialize,
    life: Duration,
) -> Result<Cookie<'static>, Trouble> {
    let expires = app.clock.now().plus(life);
    let sealed = app.sealer.seal(Purpose::DemoApp, &(name, value), expires);
    let cookie = cookie(app, name, sealed, life);
    if cookie.to_string().len() > LONGEST_COOKIE { Err(Trouble::too_long()) } else { Ok(cookie) }
}

fn open<T: DeserializeOwned>(request: &HttpRequest, app: &App, name: &str) -> Option<T> {
    let sealed = request.cookie(name)?;
    let (sealed_for, value): (String, T) =
        app.sealer.open(Purpose::DemoApp, sealed.value(), app.clock.now()).ok()?;
    (sealed_for == name).then_some(value)
}

fn cookie(app: &App, name: &'static str, value: String, life: Duration) -> Cookie<'static> {
    Cookie::build(name, value)
        .path(PATH)
        .secure(app.settings.server.public_url.is_https())
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(time::Duration::seconds(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)))
        .finish()
}

/// Sets a cookie with an answer that is made already.
pub(super) fn add(answer: &mut HttpResponse, cookie: &Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        answer.headers_mut().append(SET_COOKIE, value);
    }
}
