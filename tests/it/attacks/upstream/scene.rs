//! A server beside a provider that misbehaves, and what every refusal must look like.

use latchkey::error::ErrorCode;
use latchkey::store::model::SessionId;
use reqwest::header::SET_COOKIE;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::grants::session;
use crate::harness::{Backend, Browser, Rows, Server, body, location};
use crate::openid_provider::{Behaviour, CLIENT_ID, CLIENT_SECRET, TestProvider};

/// Status and code of a refusal.
pub type Refusal = (u16, &'static str);

pub const INVALID_STATE: Refusal = (400, "invalid_state");
pub const TOKEN_INVALID: Refusal = (400, "provider_token_invalid");
pub const PROVIDER_ERROR: Refusal = (502, "provider_error");
pub const PROVIDER_TIMEOUT: Refusal = (504, "provider_timeout");

/// A server where people sign in at the provider `op`, or at the built-in one.
pub struct Scene {
    pub server: Server,
    pub op: TestProvider,
}

impl Scene {
    /// The provider behaves in the first of these ways; `further` goes into `[server]`.
    pub async fn start(backend: Backend, behaviours: Vec<Behaviour>, further: &str) -> Self {
        let op = TestProvider::start_changing(behaviours);
        let server = Server::start(backend, &format!("{further}{}", block(&op.url))).await;
        Self { server, op }
    }

    /// A provider at which nothing is wrong.
    pub async fn honest(backend: Backend) -> Self {
        Self::start(backend, vec![Behaviour::default()], "").await
    }

    /// A browser in which the provider's one person has set up an account.
    pub async fn signed_up(&self, name: &str) -> Browser {
        let browser = self.server.browser();
        let attempt = begin(&browser, "/auth/op").await;
        let answer = browser.get(&attempt.back()).await;
        assert_eq!(location(&answer).as_deref(), Some("/onboarding"));
        let created = browser.post_json("/auth/setup", &json!({ "username": name })).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        browser
    }

    /// Checks that an answer refuses, and that `before` is still all that is stored.
    pub async fn refuses(&self, before: &Rows, answer: Response, expected: Refusal) -> String {
        refuses(&self.server, before, answer, expected).await
    }

    /// Goes to the provider twice and comes back with `change`, as a program and as a person. Both are
    /// refused, and end the attempt. Returns the person's page.
    pub async fn refuses_the_way_back(
        &self,
        browser: &Browser,
        start: &str,
        change: impl Fn(&Attempt) -> String,
        expected: Refusal,
    ) -> String {
        let before = self.server.rows().await;
        let attempt = begin(browser, start).await;
        let address = change(&attempt);
        self.refuses(&before, browser.get(&address).await, expected).await;
        // The cookie went with the answer: the attempt is over.
        self.refuses(&before, browser.get(&address).await, INVALID_STATE).await;
        let attempt = begin(browser, start).await;
        self.refuses(&before, browser.page(&change(&attempt)).await, expected).await
    }
}

/// The provider's block in the configuration.
pub fn block(issuer: &str) -> String {
    format!(
        "[[providers]]\nname = \"op\"\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = \"{CLIENT_SECRET}\"\ntrust_email = true\n"
    )
}

/// An attempt under way: what the browser carries to the provider, and what it keeps.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub state: String,
    pub nonce: String,
    pub challenge: String,
    /// Name and value of the attempt's cookie.
    pub cookie: String,
}

impl Attempt {
    /// What an answer that sends a browser to the provider says.
    pub fn of(answer: &Response) -> Self {
        let target = location(answer).unwrap_or_else(|| panic!("{}", answer.status()));
        let target = Url::parse(&target).unwrap();
        let parameter = |name: &str| {
            let mut pairs = target.query_pairs();
            pairs.find(|(found, _)| found == name).unwrap().1.into_owned()
        };
        let login = set_cookies(answer).into_iter().find(|set| set.starts_with("auth_login_"));
        Self {
            state: parameter("state"),
            nonce: parameter("nonce"),
            challenge: parameter("code_challenge"),
            cookie: login.unwrap().split(';').next().unwrap().to_owned(),
        }
    }

    /// The code that the provider would give for this attempt.
    pub fn code(&self) -> String {
        format!("{}.{}", self.nonce, self.challenge)
    }

    /// Our callback as the provider would call it.
    pub fn back(&self) -> String {
        self.back_with(&[])
    }

    /// The same with further parameters.
    pub fn back_with(&self, further: &[(&str, &str)]) -> String {
        let code = self.code();
        let known = [("code", code.as_str()), ("state", &self.state)];
        callback("op", &[&known, further].concat())
    }
}

/// The callback of a provider.
pub fn callback(provider: &str, parameters: &[(&str, &str)]) -> String {
    format!("/auth/{provider}/callback?{}", query(parameters))
}

pub fn query(parameters: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// Sends a browser to the provider.
pub async fn begin(browser: &Browser, start: &str) -> Attempt {
    let answer = browser.get(start).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    Attempt::of(&answer)
}

/// Asks with these cookies and no others, and keeps none that are set.
pub async fn get_with_cookies(server: &Server, target: &str, cookies: &str) -> Response {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{}{target}", server.url))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", cookies)
        .send()
        .await
        .unwrap()
}

/// The cookies that an answer sets, as they stand.
pub fn set_cookies(answer: &Response) -> Vec<String> {
    let set = answer.headers().get_all(SET_COOKIE);
    set.iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Checks a refusal: status and code, or the page that tells it with a way on; no cookie but such as are
/// cleared; nothing stored beside what `before` counted. Returns the body.
pub async fn refuses(
    server: &Server,
    before: &Rows,
    answer: Response,
    expected: Refusal,
) -> String {
    let (status, code) = expected;
    let cookies = set_cookies(&answer);
    let is_page = answer.headers()["content-type"].to_str().unwrap().starts_with("text/html");
    let told = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(told.as_u16(), status, "{code} was expected, not {body}");
    for set in cookies {
        let value = set.split(';').next().unwrap().split_once('=').unwrap().1;
        assert!(value.is_empty() && set.contains("Max-Age=0"), "{code} sets {set}");
    }
    if is_page {
        let title = ErrorCode::ALL.iter().find(|one| one.as_str() == code).unwrap().title();
        assert!(body.starts_with("<!doctype html>"), "{body}");
        assert!(body.contains(&format!("<h1>{}</h1>", title.replace('\'', "&#39;"))), "{body}");
        assert!(body.contains("<a class=\"button\" href=\"/"), "{code} leads nowhere: {body}");
    } else {
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], code);
        assert!(problem["request_id"].is_string(), "{problem}");
    }
    assert_eq!(server.rows().await, *before, "{code} left something behind");
    body
}

/// The members of a JSON answer.
/// How many ways to sign in the person of a browser has.
pub async fn links(browser: &Browser) -> usize {
    body(browser.get("/auth/me/links").await).await["items"].as_array().unwrap().len()
}

/// The session that a browser's access token names.
pub async fn session_of(browser: &Browser) -> SessionId {
    session(browser).await.sid
}
