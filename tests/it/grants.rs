//! Codes and tokens for tests, without the authorization endpoint.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::clock::Timestamp;
use latchkey::protocol::authorization_code::{AuthorizationCode, fingerprint};
use latchkey::protocol::jwt::AccessClaims;
use latchkey::protocol::pkce;
use latchkey::protocol::sealed::Purpose;
use latchkey::store::model::{FamilyId, RevocationKind};
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::harness::{Browser, Server, cookie};
use crate::registration::Registered;

/// Where registered clients get their codes.
pub const REDIRECT_URI: &str = "https://app.example/callback";

/// The verifier of every code, unless a test makes it otherwise.
pub const VERIFIER: &str = "a-verifier-of-43-characters-or-more._~0123456789";

/// The claims of a token, unproven.
pub fn claims<T: DeserializeOwned>(token: &str) -> T {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// The session of a browser, as its access token tells it.
pub async fn session(browser: &Browser) -> AccessClaims {
    let answer = browser.post("/auth/refresh").await;
    claims(&cookie(&answer, "auth_access").expect("the browser is signed in"))
}

/// A code for a signed-in person, after `change` had a word on it.
pub fn code_in(
    server: &Server,
    client: &Registered,
    session: &AccessClaims,
    change: impl FnOnce(&mut AuthorizationCode),
) -> String {
    let now = server.clock.now();
    let mut code = AuthorizationCode {
        family: FamilyId::new(now),
        client_id: client.id.clone(),
        redirect_uri: fingerprint(REDIRECT_URI),
        scope: "openid profile email".to_owned(),
        resource: String::new(),
        nonce: Some("a nonce".to_owned()),
        code_challenge: Some(pkce::challenge(VERIFIER)),
        user: session.sub,
        session: session.sid,
        auth_time: session.auth_time,
        needs_consent: false,
        issued_at: now.millis(),
    };
    change(&mut code);
    let expires = Timestamp::from_millis(code.issued_at).plus(server.app.settings.tokens.code_ttl);
    server.app.sealer.seal(Purpose::Code, &code, expires)
}

/// A code for whoever is signed in in this browser.
pub async fn code_for(
    server: &Server,
    client: &Registered,
    browser: &Browser,
    change: impl FnOnce(&mut AuthorizationCode),
) -> String {
    code_in(server, client, &session(browser).await, change)
}

/// What the token endpoint answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    /// Takes an answer apart.
    pub async fn of(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        Self { status, headers, body }
    }

    /// A member that must be a text.
    pub fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {self:?}"))
    }

    /// The answer, which must be tokens.
    #[track_caller]
    pub fn granted(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self
    }

    /// Checks that it is a refusal by the rules of the protocol, in exactly the RFC's shape.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str) {
        assert_eq!((self.status.as_u16(), self.text("error")), (status, error), "{self:?}");
        let members: Vec<&String> = self.body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["error", "error_description"]);
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        let description = self.text("error_description");
        assert!(!description.is_empty() && description.bytes().all(plain), "{description}");
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
    }
}

/// An HTTP client that knows no cookies, one for each test: making it takes longer than a server waits.
pub fn http() -> Client {
    thread_local!(static HTTP: Client = Client::builder().no_proxy().build().unwrap());
    HTTP.with(Client::clone)
}

/// Parameters as a form.
pub fn form(parameters: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// Posts parameters to the token endpoint, as they are.
pub async fn post(url: &str, parameters: &[(&str, &str)]) -> Reply {
    let request = http()
        .post(format!("{url}/oauth/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form(parameters));
    Reply::of(request.send().await.unwrap()).await
}

/// Posts parameters as a client with a secret.
pub async fn post_as(url: &str, client: &Registered, parameters: &[(&str, &str)]) -> Reply {
    let identity = [("client_id", client.id.as_str()), ("client_secret", client.secret.as_str())];
    post(url, &[&identity, parameters].concat()).await
}

/// Redeems a code as it should be.
pub async fn redeem(url: &str, client: &Registered, code: &str) -> Reply {
    redeem_with(url, client, code, &[]).await
}

/// Redeems a code as it should be, with further parameters.
pub async fn redeem_with(
    url: &str,
    client: &Registered,
    code: &str,
    further: &[(&str, &str)],
) -> Reply {
    let parameters = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ];
    post_as(url, client, &[&parameters, further].concat()).await
}

/// Presents a refresh token.
pub async fn refresh(url: &str, client: &Registered, token: &str) -> Reply {
    refresh_with(url, client, token, &[]).await
}

/// Presents a refresh token with further parameters.
pub async fn refresh_with(
    url: &str,
    client: &Registered,
    token: &str,
    further: &[(&str, &str)],
) -> Reply {
    let parameters = [("grant_type", "refresh_token"), ("refresh_token", token)];
    post_as(url, client, &[&parameters, further].concat()).await
}

/// Whether the access tokens of a grant are refused from now on.
pub async fn is_revoked(server: &Server, access_token: &str) -> bool {
    let grant = claims::<Value>(access_token)["grant_id"].as_str().unwrap().to_owned();
    let now = server.clock.now();
    let revoked = server.app.store.read.revocations(Timestamp::default(), now).await.unwrap();
    revoked.iter().any(|found| found.kind == RevocationKind::Family && found.id == grant)
}
