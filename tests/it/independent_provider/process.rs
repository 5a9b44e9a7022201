//! The provider's process, and a person who goes through its pages.

use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use latchkey::clock::Timestamp;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Browser, location};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/openid-provider.mjs");

/// Our id at every such provider.
pub const CLIENT_ID: &str = "latchkey";

/// A secret that has to be encoded on its way, in whatever manner.
pub const CLIENT_SECRET: &str = "s3cret & more: 100%";

/// What a provider is.
#[derive(Clone)]
pub struct Setting {
    /// The name that our configuration calls it by.
    pub name: &'static str,
    /// How we authenticate.
    pub auth_method: &'static str,
    /// What its ID tokens are signed with.
    pub algorithm: &'static str,
    /// Whether claims are at userinfo alone.
    pub userinfo_only: bool,
    /// Whether any name signs in, with an address at example.com, and not only those who have an account.
    pub everybody: bool,
}

impl Setting {
    /// A provider that takes the secret by HTTP Basic and says everything in ID tokens.
    pub fn named(name: &'static str) -> Self {
        let (auth_method, algorithm) = ("client_secret_basic", "RS256");
        Self { name, auth_method, algorithm, userinfo_only: false, everybody: false }
    }

    fn is_public(&self) -> bool {
        self.auth_method == "none"
    }
}

/// A provider on a port of the system's choice; ends with the test's process, however that ends.
pub struct IndependentProvider {
    pub issuer: String,
    setting: Setting,
    child: Child,
    wishes: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Drop for IndependentProvider {
    fn drop(&mut self) {
        self.end();
    }
}

impl IndependentProvider {
    /// Starts a provider where the server at `url` is registered, and waits until it listens.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    pub fn start(setting: &Setting, url: &str) -> Self {
        let installed = std::env::var_os("LATCHKEY_TEST_SERVERS").expect(
            "this test signs in at somebody else's server: use ./run test, or tests/with-servers, which installs it",
        );
        let mut client = json!({
            "client_id": CLIENT_ID,
            "redirect_uris": [format!("{url}/auth/{}/callback", setting.name)],
            "response_types": ["code"],
            "grant_types": ["authorization_code"],
            "token_endpoint_auth_method": setting.auth_method,
            "id_token_signed_response_alg": setting.algorithm,
        });
        if !setting.is_public() {
            client["client_secret"] = CLIENT_SECRET.into();
        }
        let scene = json!({
            "clients": [client],
            "accounts": accounts(),
            "auth_methods": [setting.auth_method],
            "userinfo_only": setting.userinfo_only,
            "everybody": setting.everybody,
        });
        let mut child = Command::new("node")
            .args([PROGRAM, &scene.to_string()])
            .env("LATCHKEY_TEST_SERVERS", installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js can be started");
        let wishes = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let (issuer, setting) = (String::new(), setting.clone());
        let mut provider = Self { issuer, setting, child, wishes, answers };
        let listening = provider.answer();
        listening["issuer"].as_str().unwrap().clone_into(&mut provider.issuer);
        provider
    }

    /// The block of our configuration for this provider; `further` is added to it.
    pub fn block(&self, further: &str) -> String {
        let Self { setting, issuer, .. } = self;
        let secret = if setting.is_public() {
            String::new()
        } else {
            format!("client_secret = \"{CLIENT_SECRET}\"\n")
        };
        let name = setting.name;
        format!(
            "[[providers]]\nname = \"{name}\"\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT_ID}\"\n{secret}{further}"
        )
    }

    /// Moves the provider's clock on; what it shows then.
    pub fn advance(&mut self, seconds: u64) -> Timestamp {
        let wish = json!({ "advance": seconds });
        writeln!(self.wishes.as_mut().unwrap(), "{wish}").unwrap();
        Timestamp::from_seconds(self.answer()["now"].as_i64().unwrap())
    }

    /// Ends the process.
    pub fn end(&mut self) {
        self.wishes = None;
        self.child.wait().unwrap();
    }

    fn answer(&mut self) -> Value {
        let line = self.answers.next().expect("the provider has ended").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// Everybody who has an account there.
fn accounts() -> Value {
    json!({
        "rivka": {
            "email": "rivka@example.com", "email_verified": true, "name": "Rivka Cohen",
            "preferred_username": "rivka.c", "picture": "https://pictures.example.com/rivka.png",
        },
        "noa": { "email": "noa@example.com", "email_verified": false, "name": "Noa" },
    })
}

/// Where the way through a provider stops.
#[derive(Debug)]
pub enum Stop {
    /// At a page of the provider: its text.
    Page(String),
    /// On the way back to us: the address.
    Back(String),
}

/// Follows redirects from an address of ours to a page of the provider, or back to us.
pub async fn walk(browser: &Browser, target: &str) -> Stop {
    let mut answer = browser.page(target).await;
    // A server whose database has other things to do says so, and is asked again.
    for _ in 0..5 {
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer = browser.page(target).await;
        }
    }
    walk_on(browser, answer).await
}

async fn walk_on(browser: &Browser, mut answer: Response) -> Stop {
    let ours = format!("{}/", browser.url);
    for _ in 0..10 {
        let Some(next) = location(&answer) else {
            let (status, address) = (answer.status(), answer.url().clone());
            let page = answer.text().await.unwrap();
            assert!(status.is_success(), "{status} from {address}: {page}");
            return Stop::Page(page);
        };
        let next = String::from(answer.url().join(&next).unwrap());
        if next.starts_with(&ours) {
            return Stop::Back(next);
        }
        answer = browser.page(&next).await;
    }
    panic!("redirects without end, at last from {}", answer.url());
}

/// Goes through all pages of the provider as a person of this name; the address that leads back.
pub async fn go_through(browser: &Browser, mut stop: Stop, person: &str) -> String {
    for _ in 0..5 {
        let page = match stop {
            Stop::Back(address) => return address,
            Stop::Page(page) => page,
        };
        let login = [("prompt", "login"), ("login", person), ("password", "any will do")];
        let consent = [("prompt", "consent")];
        let fields: &[_] = if asks_who_signs_in(&page) { &login } else { &consent };
        let form = between(&page, "action=\"", "\"");
        stop = walk_on(browser, browser.post_form(form, fields).await).await;
    }
    panic!("pages without end, at last {stop:?}");
}

/// Whether a page of the provider is the one to sign in at; otherwise it asks for consent.
pub fn asks_who_signs_in(page: &str) -> bool {
    page.contains("name=\"login\"")
}

/// Presses the cancel link of a page of the provider.
pub async fn cancel(browser: &Browser, page: &str) -> Stop {
    let link = between(page, "<a href=\"", "\"");
    walk(browser, link).await
}

/// What stands in a text between two others.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}
