//! A small OpenID Connect provider that misbehaves on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, CONTENT_ENCODING, LOCATION};
use actix_web::web::{Bytes, Data, Form};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use latchkey::clock::Timestamp;
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::key::{SigningKey, generate};
use latchkey::protocol::pkce;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stub_server::StubServer;

/// When every test begins.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Our id and secret at the provider; both need encoding in a Basic header.
pub(crate) const CLIENT_ID: &str = "latch:key";
pub(crate) const CLIENT_SECRET: &str = "s3cret & more";

/// Changes a JSON document before it is sent.
pub(crate) type Change = fn(&mut Value);

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reply {
    #[default]
    Properly,
    Status(u16),
    Html,
    InvalidJson,
    /// Ten megabytes.
    Large,
    /// Ten megabytes of which nothing is announced.
    LargeUnannounced,
    Compressed,
    /// To that address.
    Redirect(&'static str),
    /// The start of an answer, and then the end of the connection.
    Dropped,
    /// Nothing at all.
    Never,
    /// The start of an answer, and then nothing.
    Stalling,
    /// An OAuth error.
    Refusal(&'static str),
}

/// How ID tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Signature {
    #[default]
    Own,
    Missing,
    HmacOfPublicKey,
    /// Made for other claims.
    OfOtherClaims,
    /// By a key that the token's own header brings along.
    OfKeyInside,
}

/// What a provider does; by default all as it should.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) discovery: Change,
    pub(crate) claims: Change,
    pub(crate) userinfo: Change,
    pub(crate) signature: Signature,
    pub(crate) discovery_reply: Reply,
    pub(crate) jwks_reply: Reply,
    pub(crate) token_reply: Reply,
    pub(crate) userinfo_reply: Reply,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            discovery: |_| {},
            claims: |_| {},
            userinfo: |_| {},
            signature: Signature::Own,
            discovery_reply: Reply::Properly,
            jwks_reply: Reply::Properly,
            token_reply: Reply::Properly,
            userinfo_reply: Reply::Properly,
        }
    }
}

/// What a provider has and what it was asked.
pub(crate) struct State {
    url: String,
    behaviours: Vec<Behaviour>,
    behaves: AtomicUsize,
    keys: [SigningKey; 2],
    signs_with: AtomicUsize,
    publishes: AtomicUsize,
    discovery_requests: AtomicUsize,
    token_requests: AtomicUsize,
    elsewhere_requests: AtomicUsize,
}

impl State {
    /// Goes on to another of the behaviours that it was started with.
    pub(crate) fn behave(&self, behaviour: usize) {
        assert!(behaviour < self.behaviours.len());
        self.behaves.store(behaviour, Ordering::SeqCst);
    }

    fn behaviour(&self) -> Behaviour {
        self.behaviours[self.behaves.load(Ordering::SeqCst)]
    }

    /// Signs with the other key, whether it is published or not.
    pub(crate) fn sign_with(&self, key: usize) {
        self.signs_with.store(key, Ordering::SeqCst);
    }

    /// Publishes the other key.
    pub(crate) fn publish(&self, key: usize) {
        self.publishes.store(key, Ordering::SeqCst);
    }

    pub(crate) fn discovery_requests(&self) -> usize {
        self.discovery_requests.load(Ordering::SeqCst)
    }

    pub(crate) fn token_requests(&self) -> usize {
        self.token_requests.load(Ordering::SeqCst)
    }

    /// How often somebody went where a redirect or a token led.
    pub(crate) fn elsewhere_requests(&self) -> usize {
        self.elsewhere_requests.load(Ordering::SeqCst)
    }
}

/// A provider on a port of its own; ends with the test.
pub(crate) struct TestProvider {
    pub(crate) url: String,
    pub(crate) state: Data<State>,
    _server: StubServer,
}

impl TestProvider {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        Self::start_changing(vec![behaviour])
    }

    /// Behaves in the first of these ways until [`State::behave`] chooses another.
    pub(crate) fn start_changing(behaviours: Vec<Behaviour>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = || SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
        let state = Data::new(State {
            url: url.clone(),
            behaviours,
            behaves: AtomicUsize::new(0),
            keys: [key(), key()],
            signs_with: AtomicUsize::new(0),
            publishes: AtomicUsize::new(0),
            discovery_requests: AtomicUsize::new(0),
            token_requests: AtomicUsize::new(0),
            elsewhere_requests: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let server = StubServer::start_on(listener, move |routes| {
            routes
                .app_data(shared.clone())
                .route("/.well-known/openid-configuration", web::get().to(discovery))
                .route("/jwks", web::get().to(jwks))
                .route("/token", web::post().to(token))
                .route("/userinfo", web::get().to(userinfo))
                .route("/elsewhere", web::route().to(elsewhere));
        });
        Self { url, state, _server: server }
    }
}

/// What an endpoint that answers so sends, where `proper` is what it should.
pub(crate) async fn answer(reply: Reply, proper: Value) -> HttpResponse {
    let mut ok = HttpResponse::Ok();
    ok.content_type("application/json");
    let large = || Bytes::from(vec![b' '; 10 * 1024 * 1024]);
    match reply {
        Reply::Properly => ok.json(proper),
        Reply::Status(status) => {
            HttpResponse::build(status.try_into().unwrap()).json(json!({"error": "server_error"}))
        }
        Reply::Html => ok.content_type("text/html").body("<!doctype html><p>Sorry</p>"),
        Reply::InvalidJson => ok.body("{\"a\":"),
        Reply::Large => ok.body(large()),
        Reply::LargeUnannounced => ok.streaming(stream::iter([Ok::<_, actix_web::Error>(large())])),
        Reply::Compressed => ok.insert_header((CONTENT_ENCODING, "gzip")).body("\x1f\x08"),
        Reply::Redirect(address) => {
            HttpResponse::TemporaryRedirect().insert_header((LOCATION, address)).finish()
        }
        Reply::Dropped => {
            let end = Err(actix_web::error::ErrorInternalServerError("dropped"));
            ok.streaming(stream::iter([Ok(Bytes::from_static(b"{")), end]))
        }
        Reply::Never => std::future::pending().await,
        Reply::Stalling => {
            let start = stream::iter([Ok::<_, actix_web::Error>(Bytes::from_static(b"{"))]);
            ok.streaming(start.chain(stream::pending()))
        }
        Reply::Refusal(error) => HttpResponse::BadRequest()
            .json(json!({"error": error, "error_description": "no\u{0} such code"})),
    }
}

async fn discovery(state: Data<State>) -> HttpResponse {
    state.discovery_requests.fetch_add(1, Ordering::SeqCst);
    let url = &state.url;
    let mut document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize?tenant=a"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "jwks_uri": format!("{url}/jwks"),
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
    });
    (state.behaviour().discovery)(&mut document);
    answer(state.behaviour().discovery_reply, document).await
}

async fn elsewhere(state: Data<State>) -> HttpResponse {
    state.elsewhere_requests.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

async fn jwks(state: Data<State>) -> HttpResponse {
    let key = &state.keys[state.publishes.load(Ordering::SeqCst)];
    let jwk: Value = serde_json::from_str(&key.public().jwk).unwrap();
    answer(state.behaviour().jwks_reply, json!({"keys": [jwk]})).await
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    code_verifier: String,
    redirect_uri: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// A code is `nonce.challenge`.
async fn token(state: Data<State>, request: HttpRequest, form: Form<Exchange>) -> HttpResponse {
    state.token_requests.fetch_add(1, Ordering::SeqCst);
    let (nonce, challenge) = form.code.split_once('.').unwrap();
    let good = form.grant_type == "authorization_code"
        && form.redirect_uri.ends_with("/auth/op/callback")
        && pkce::verify(&form.code_verifier, challenge);
    let reply = match (is_authenticated(&request, &form), good) {
        (false, _) => Reply::Refusal("invalid_client"),
        (true, false) => Reply::Refusal("invalid_grant"),
        (true, true) => state.behaviour().token_reply,
    };
    let tokens = json!({
        "access_token": "the access token",
        "token_type": "Bearer",
        "id_token": id_token(&state, nonce),
    });
    answer(reply, tokens).await
}

/// By Basic (RFC 6749 §2.3.1: each part form-encoded first), or in the body, but not both.
fn is_authenticated(request: &HttpRequest, form: &Exchange) -> bool {
    let expected = format!("Basic {}", STANDARD.encode("latch%3Akey:s3cret+%26+more"));
    match request.headers().get(AUTHORIZATION) {
        Some(header) => *header == *expected && form.client_secret.is_none(),
        None => {
            form.client_id.as_deref() == Some(CLIENT_ID)
                && form.client_secret.as_deref().is_none_or(|secret| secret == CLIENT_SECRET)
        }
    }
}

fn id_token(state: &State, nonce: &str) -> String {
    let key = &state.keys[state.signs_with.load(Ordering::SeqCst)];
    let mut claims = json!({
        "iss": state.url, "sub": "7", "aud": CLIENT_ID, "nonce": nonce,
        "iat": NOW.seconds(), "exp": NOW.plus(Duration::from_secs(3600)).seconds(),
        "email": "rivka@example.com", "email_verified": true,
        "name": "Rivka Cohen", "preferred_username": "rivka",
    });
    (state.behaviour().claims)(&mut claims);
    let kid = &key.public().kid;
    match state.behaviour().signature {
        Signature::Own => key.sign("JWT", &claims),
        Signature::Missing => {
            let header = json!({"alg": "none", "kid": kid}).to_string();
            let claims = claims.to_string();
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
        }
        Signature::HmacOfPublicKey => {
            let header = jsonwebtoken::Header { kid: Some(kid.clone()), ..Default::default() };
            let secret = jsonwebtoken::EncodingKey::from_secret(key.public().jwk.as_bytes());
            jsonwebtoken::encode(&header, &claims, &secret).unwrap()
        }
        Signature::OfOtherClaims => {
            let signed = key.sign("JWT", &claims);
            claims["sub"] = "8".into();
            let parts: Vec<&str> = signed.split('.').collect();
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
        }
        Signature::OfKeyInside => {
            let der = generate(Algorithm::ES256, 0).unwrap();
            let own = SigningKey::from_pkcs8(&der).unwrap();
            let header = jsonwebtoken::Header {
                kid: Some(own.public().kid.clone()),
                jwk: Some(serde_json::from_str(&own.public().jwk).unwrap()),
                jku: Some(format!("{}/elsewhere", state.url)),
                x5u: Some(format!("{}/elsewhere", state.url)),
                ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
            };
            let secret = jsonwebtoken::EncodingKey::from_ec_der(&der);
            jsonwebtoken::encode(&header, &claims, &secret).unwrap()
        }
    }
}

async fn userinfo(state: Data<State>, request: HttpRequest) -> HttpResponse {
    assert_eq!(request.headers().get(AUTHORIZATION).unwrap(), "Bearer the access token");
    let mut claims = json!({"sub": "7", "email": "from@userinfo.example", "email_verified": true});
    (state.behaviour().userinfo)(&mut claims);
    answer(state.behaviour().userinfo_reply, claims).await
}
