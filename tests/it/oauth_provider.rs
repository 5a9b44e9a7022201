//! Whole sign-ins at providers that speak plain OAuth 2: one with GitHub's shapes, and one that the
//! settings describe endpoint by endpoint.

mod github;
mod github_server;
mod misbehaviour;
mod server;
mod settings;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Backend, Browser, Server, body, code, cookie, location};
use crate::stub_server::StubServer;

/// A server, and a provider where it is registered.
struct Scene {
    server: Server,
    provider: StubServer,
}

impl Scene {
    async fn start(backend: Backend, provider: StubServer, blocks: &str) -> Self {
        Self { server: Server::start(backend, blocks).await, provider }
    }

    /// A whole sign-in of a person whom the provider knows so; what our callback answers.
    async fn sign_in(&self, browser: &Browser, name: &str, person: &Value) -> Response {
        browser.get(&way_back(browser, &format!("/auth/{name}"), person).await).await
    }

    /// The first sign-in of a person, with an account of that name at its end: the account.
    async fn sign_up(
        &self,
        browser: &Browser,
        name: &str,
        person: &Value,
        username: &str,
    ) -> Value {
        let back = self.sign_in(browser, name, person).await;
        assert_eq!(location(&back).as_deref(), Some("/onboarding"), "{name}: {:?}", back.status());
        let created = browser.post_json("/auth/setup", &json!({ "username": username })).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        body(created).await
    }

    /// The addresses of a new person's account.
    async fn emails_of(&self, name: &str, person: &Value, username: &str) -> Value {
        let browser = self.server.browser();
        self.sign_up(&browser, name, person, username).await;
        body(browser.get("/auth/me").await).await["emails"].clone()
    }

    /// What a sign-in that fails is answered with; nothing is left of it.
    async fn refusal(&self, name: &str, person: &Value) -> (u16, String) {
        let browser = self.server.browser();
        let answer = self.sign_in(&browser, name, person).await;
        self.refused(&browser, answer).await
    }

    /// The status and code of a refusal that left neither a cookie nor a row.
    async fn refused(&self, browser: &Browser, answer: Response) -> (u16, String) {
        for name in ["auth_access", "auth_refresh", "auth_setup", "auth_link"] {
            assert_eq!(cookie(&answer, name), None, "{name}");
        }
        let told = (answer.status().as_u16(), code(answer).await);
        assert_eq!(browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
        assert!(self.has_no_row().await, "{told:?}");
        told
    }

    /// Nobody has an account, a session, or an entry about one.
    async fn has_no_row(&self) -> bool {
        let store = &self.server.app.store.read;
        self.users().await == 0
            && store.live_families().await.unwrap().is_empty()
            && self.server.audited("session.opened").await == 0
    }

    async fn users(&self) -> u64 {
        self.server.app.store.read.user_count().await.unwrap()
    }
}

/// Where a sign-in that begins so leads the browser.
async fn begin(browser: &Browser, path: &str) -> Url {
    let start = browser.get(path).await;
    assert_eq!(start.status(), StatusCode::FOUND);
    Url::parse(&location(&start).unwrap()).unwrap()
}

/// Begins a sign-in and goes through the provider, where this person is signed in; the address that
/// leads back.
async fn way_back(browser: &Browser, path: &str, person: &Value) -> String {
    let mut address = begin(browser, path).await;
    address.query_pairs_mut().append_pair(server::SIGNED_IN, &person.to_string());
    let answer = browser.get(address.as_str()).await;
    location(&answer).unwrap_or_else(|| panic!("no way back: {:?}", answer.status()))
}

/// The address with another value of a parameter in its query, or none.
fn with_parameter(address: &str, name: &str, value: Option<&str>) -> String {
    let mut url = Url::parse(address).unwrap();
    let kept: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
    url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(value.map(|value| (name, value)));
    url.into()
}

/// The value of a parameter in an address's query.
fn parameter(address: &str, name: &str) -> String {
    let url = Url::parse(address).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} in {address}")).1.into_owned()
}

/// What `emails` of a user hold.
fn emails(address: &str, verified: bool, provider: &str) -> Value {
    json!([{ "address": address, "verified": verified, "provider": provider }])
}

/// A refusal as [`Scene::refused`] tells it.
fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
