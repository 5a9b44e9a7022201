//! What clients do at our endpoints: getting a code by way of a browser, redeeming and refreshing, asking
//! about people and tokens. What nobody would be given is made in `forged`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use latchkey::clock::Timestamp;
use latchkey::protocol::jwt::{AccessClaims, ClientAccessClaims};
use latchkey::store::model::RevocationKind;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Browser, Server, body, location, send_to};
use crate::identity::access_of;
use crate::oauth_authorize::{decide, request, told};
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
    claims(&access_of(browser).await)
}

/// A code of the authorization endpoint for whoever is signed in in this browser, by an ordinary request
/// with `changes`. The person allows what they are asked for.
pub async fn code_with(
    browser: &Browser,
    client: &Registered,
    changes: &[(&str, Option<&str>)],
) -> String {
    let mut answer = browser.page(&request(&client.id, changes)).await;
    // An access cookie that is over is renewed in passing.
    while let Some(next) = location(&answer).filter(|next| next.starts_with('/')) {
        answer = browser.page(&next).await;
    }
    if answer.status() == StatusCode::OK {
        let page = answer.text().await.unwrap();
        answer = decide(browser, &page, "allow").await;
    }
    let mut told = told(&answer);
    told.remove("code").unwrap_or_else(|| panic!("no code in {told:?}"))
}

/// A code for these scopes.
pub async fn code_for(browser: &Browser, client: &Registered, scope: &str) -> String {
    code_with(browser, client, &[("scope", Some(scope))]).await
}

/// What a client was given.
#[derive(Clone, Debug)]
pub struct Granted {
    pub access: String,
    pub refresh: String,
    /// Empty without `openid`.
    pub id_token: String,
    pub claims: ClientAccessClaims,
}

impl From<Reply> for Granted {
    #[track_caller]
    fn from(reply: Reply) -> Self {
        let reply = reply.granted();
        let text = |member: &str| reply.body[member].as_str().unwrap_or_default().to_owned();
        let access = text("access_token");
        let claims = claims(&access);
        Self { refresh: text("refresh_token"), id_token: text("id_token"), access, claims }
    }
}

/// What a client is given that the person in this browser signs in to.
pub async fn grant(
    server: &Server,
    browser: &Browser,
    client: &Registered,
    scope: &str,
) -> Granted {
    let code = code_for(browser, client, scope).await;
    redeem(&server.url, client, &code).await.into()
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
        is_plain(self.text("error_description"));
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
    }
}

/// Checks what the RFC allows in a description (RFC 6749 §4.1.2.1, §5.2).
#[track_caller]
pub fn is_plain(description: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    assert!(!description.is_empty() && description.bytes().all(plain), "{description}");
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

/// Posts parameters as a form.
pub async fn send(address: &str, parameters: &[(&str, &str)]) -> Response {
    let form_type = "application/x-www-form-urlencoded";
    let request = http().post(address).header("content-type", form_type);
    let server = &address[..address.find("/oauth/").unwrap_or(address.len())];
    send_to(server, request.body(form(parameters))).await
}

/// Posts parameters to an endpoint as a client that says who it is in the body.
pub async fn send_as(
    server: &Server,
    client: &Registered,
    path: &str,
    parameters: &[(&str, &str)],
) -> Response {
    send(&format!("{}{path}", server.url), &[&client.identity(), parameters].concat()).await
}

/// Posts parameters to the token endpoint, as they are.
pub async fn post(url: &str, parameters: &[(&str, &str)]) -> Reply {
    Reply::of(send(&format!("{url}/oauth/token"), parameters).await).await
}

/// Posts parameters to the token endpoint as a client.
pub async fn post_as(url: &str, client: &Registered, parameters: &[(&str, &str)]) -> Reply {
    post(url, &[&client.identity(), parameters].concat()).await
}

/// A token of a client for itself.
pub async fn for_itself(url: &str, client: &Registered) -> String {
    let reply = post_as(url, client, &[("grant_type", "client_credentials")]).await;
    reply.granted().text("access_token").to_owned()
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

/// Asks userinfo with a token in the header.
pub async fn userinfo(server: &Server, token: &str) -> Response {
    let request = http().get(format!("{}/oauth/userinfo", server.url));
    send_to(&server.url, request.bearer_auth(token)).await
}

/// What introspection says of a token.
pub async fn introspected(server: &Server, client: &Registered, token: &str) -> Value {
    let answer = send_as(server, client, "/oauth/introspect", &[("token", token)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    body(answer).await
}

/// The claims of a token, verified as somebody does who knows the JWKS alone, with another library.
pub async fn verified(server: &Server, token: &str, typ: &str, audience: &str) -> Value {
    let keys = http().get(format!("{}/.well-known/jwks.json", server.url));
    let keys = send_to(&server.url, keys).await;
    let keys: JwkSet = serde_json::from_value(body(keys).await).unwrap();
    let header = decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some(typ));
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.set_audience(&[audience]);
    validation.set_issuer(&[server.app.settings.server.public_url.as_str()]);
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    decode::<Value>(token, &key, &validation).unwrap().claims
}

/// Checks that nothing is left of a grant, at once.
pub async fn is_dead(server: &Server, client: &Registered, granted: &Reply) {
    let (access, token) = (granted.text("access_token"), granted.text("refresh_token"));
    assert_eq!(userinfo(server, access).await.status(), StatusCode::UNAUTHORIZED);
    for token in [access, token] {
        assert_eq!(introspected(server, client, token).await, json!({ "active": false }));
    }
    refresh(&server.url, client, token).await.refused(400, "invalid_grant");
}
