//! Chromium, driven by its own driver: as much of the WebDriver protocol as a person's steps need.
//!
//! Nothing here sleeps: whatever is looked for, the driver itself waits for, up to [`PATIENCE`].

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

/// How long the driver waits for what is looked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one command may take, whatever else the machine does.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// The member by which the protocol marks a reference to an element (WebDriver §11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Tab, as the protocol writes it (WebDriver §17.4.2).
pub const TAB: &str = "\u{e004}";
/// Tab with Shift.
pub const BACKTAB: &str = "\u{e008}\u{e004}";
/// Enter.
pub const ENTER: &str = "\u{e007}";
/// End, which leads to the end of a field.
pub const END: &str = "\u{e010}";

/// A browser with a window, a profile of its own, and an origin that paths are relative to.
pub struct Chromium {
    driver: Driver,
    client: reqwest::Client,
    session: String,
    url: String,
    runs_scripts: bool,
    profile: TempDir,
}

impl Chromium {
    /// A fresh browser for the server at `url`.
    ///
    /// # Panics
    /// If Chromium or its driver is not installed.
    pub async fn start(url: &str) -> Self {
        Self::start_with(url, true).await
    }

    /// The same with JavaScript off, as a person can set it.
    pub async fn without_scripts(url: &str) -> Self {
        Self::start_with(url, false).await
    }

    async fn start_with(url: &str, runs_scripts: bool) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let driver = Driver::start(&profile);
        let client =
            reqwest::Client::builder().timeout(COMMAND_DEADLINE).no_proxy().build().unwrap();
        let mut chromium = Self {
            driver,
            client,
            session: String::new(),
            url: url.to_owned(),
            runs_scripts,
            profile,
        };
        let wishes = chromium.capabilities();
        let opened = chromium.command(Method::POST, "", &wishes).await;
        chromium.driver.session = Some(opened["sessionId"].as_str().unwrap().to_owned());
        chromium.session = format!("/{}", opened["sessionId"].as_str().unwrap());
        chromium
    }

    fn capabilities(&self) -> Value {
        let profile = self.profile.path().join("profile");
        let scripts = if self.runs_scripts { 1 } else { 2 };
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--no-proxy-server",
                "--window-size=1280,900", format!("--user-data-dir={}", profile.display()),
            ],
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
        json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "implicit": patience, "pageLoad": patience, "script": patience },
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } })
    }

    /// Whether pages may run scripts.
    pub fn runs_scripts(&self) -> bool {
        self.runs_scripts
    }

    /// Sends a command of this session; what it answers.
    async fn command(&self, method: Method, path: &str, body: &Value) -> Value {
        let address = format!("{}/session{}{path}", self.driver.url(), self.session);
        let is_get = method == Method::GET;
        let mut request = self.client.request(method, &address);
        if !is_get {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            let message = value["message"].as_str().unwrap_or_default();
            let first = message.lines().next().unwrap_or_default();
            panic!("{path} {body:.300}\n{error}: {first}\n{}", self.described().await);
        }
        value
    }

    /// What the page says, for the message of a failure.
    async fn described(&self) -> String {
        if self.session.is_empty() {
            return String::new();
        }
        let source = async |path: &str| {
            let address = format!("{}/session{}{path}", self.driver.url(), self.session);
            let text = self.client.get(address).send().await.ok()?.text().await.ok()?;
            let value: Value = serde_json::from_str(&text).ok()?;
            Some(value["value"].as_str()?.to_owned())
        };
        let (address, page) = (source("/url").await, source("/source").await);
        format!("at {}\n{}", address.unwrap_or_default(), page.unwrap_or_default())
    }

    /// A command of Chromium's own (Chrome DevTools Protocol).
    pub async fn devtools(&self, name: &str, parameters: &Value) -> Value {
        self.command(
            Method::POST,
            "/goog/cdp/execute",
            &json!({ "cmd": name, "params": parameters }),
        )
        .await
    }

    /// Runs the body of a function in the page; what it returns. Pages' policies do not bind it.
    pub async fn evaluate(&self, body: &str) -> Value {
        self.command(Method::POST, "/execute/sync", &json!({ "script": body, "args": [] })).await
    }

    /// The same for a body that calls its last argument when it is done.
    pub async fn evaluate_later(&self, body: &str) -> Value {
        self.command(Method::POST, "/execute/async", &json!({ "script": body, "args": [] })).await
    }

    /// Goes to a path of the server or to any address, and waits until it is loaded.
    pub async fn open(&self, target: &str) {
        let address = if target.starts_with('/') {
            format!("{}{target}", self.url)
        } else {
            target.to_owned()
        };
        self.command(Method::POST, "/url", &json!({ "url": address })).await;
    }

    /// Opens a further tab and goes on in it; the one before.
    pub async fn open_tab(&self) -> Tab {
        let opened = self.command(Method::POST, "/window/new", &json!({ "type": "tab" })).await;
        self.switch_to(&Tab(opened["handle"].clone())).await
    }

    /// Goes on in another tab; the one before.
    pub async fn switch_to(&self, tab: &Tab) -> Tab {
        let before = self.command(Method::GET, "/window", &Value::Null).await;
        self.command(Method::POST, "/window", &json!({ "handle": tab.0 })).await;
        Tab(before)
    }

    /// Where the browser is.
    pub async fn address(&self) -> Url {
        let address = self.command(Method::GET, "/url", &Value::Null).await;
        Url::parse(address.as_str().unwrap()).unwrap()
    }

    /// Waits until the page has an element; its reference.
    pub async fn find(&self, xpath: &str) -> Element {
        let found = self
            .command(Method::POST, "/element", &json!({ "using": "xpath", "value": xpath }))
            .await;
        Element(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// Waits until the page's heading is this one.
    pub async fn shows(&self, heading: &str) {
        self.find(&format!("//h1[normalize-space()={}]", quoted(heading))).await;
    }

    /// Waits until this stands somewhere on the page, in one element.
    pub async fn says(&self, text: &str) {
        self.find(&format!("//main//*[contains(normalize-space(), {})]", quoted(text))).await;
    }

    /// The text of the page's main part, as it is seen.
    pub async fn text(&self) -> String {
        let main = self.find("//main").await;
        let text =
            self.command(Method::GET, &format!("/element/{}/text", main.0), &Value::Null).await;
        text.as_str().unwrap().to_owned()
    }

    /// Clicks the link or button of this name.
    pub async fn click(&self, name: &str) {
        let name = quoted(name);
        let element = self
            .find(&format!(
                "//*[self::a or self::button][normalize-space()={name} or @aria-label={name} \
                 or .//span[normalize-space()={name}]]"
            ))
            .await;
        self.command(Method::POST, &format!("/element/{}/click", element.0), &json!({})).await;
    }

    /// Types into the field with this label, in place of what is there.
    pub async fn fill(&self, label: &str, text: &str) {
        let Element(id) = self.field(label).await;
        self.command(Method::POST, &format!("/element/{id}/clear"), &json!({})).await;
        self.command(Method::POST, &format!("/element/{id}/value"), &json!({ "text": text })).await;
    }

    /// Puts a file into the field with this label.
    pub async fn choose_file(&self, label: &str, file: &std::path::Path) {
        let Element(id) = self.field(label).await;
        let text = file.to_str().unwrap();
        self.command(Method::POST, &format!("/element/{id}/value"), &json!({ "text": text })).await;
    }

    /// The field with this label.
    async fn field(&self, label: &str) -> Element {
        self.find(&format!("//*[@id=//label[normalize-space()={}]/@for]", quoted(label))).await
    }

    /// What the field with this label holds.
    pub async fn value_of(&self, label: &str) -> String {
        let Element(id) = self.field(label).await;
        let path = format!("/element/{id}/property/value");
        self.command(Method::GET, &path, &Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Presses keys, or types some text, wherever the focus is. All are let go at the end.
    pub async fn press(&self, keys: &str) {
        let stroke = |kind: &str, key: char| json!({ "type": kind, "value": key });
        let is_shift = |key: &char| *key == '\u{e008}';
        let mut strokes: Vec<Value> = Vec::new();
        for key in keys.chars() {
            strokes.push(stroke("keyDown", key));
            if !is_shift(&key) {
                strokes.push(stroke("keyUp", key));
            }
        }
        strokes.extend(keys.chars().filter(is_shift).map(|key| stroke("keyUp", key)));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.command(Method::POST, "/actions", &json!({ "actions": [keyboard] })).await;
    }

    /// Where the focus is: an element's id, else the name or address that tells it apart.
    pub async fn focus(&self) -> String {
        let found = self.command(Method::GET, "/element/active", &Value::Null).await;
        let id = found[ELEMENT].as_str().unwrap();
        for attribute in ["id", "href", "aria-label", "value"] {
            let path = format!("/element/{id}/attribute/{attribute}");
            let value = self.command(Method::GET, &path, &Value::Null).await;
            if let Some(value) = value.as_str().filter(|value| !value.is_empty()) {
                return value.to_owned();
            }
        }
        let text = self.command(Method::GET, &format!("/element/{id}/text"), &Value::Null).await;
        text.as_str().unwrap().to_owned()
    }

    /// What the console said since it was last asked, but for the status of answers: those the tests
    /// judge themselves. Violations of a page's policy are here.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.command(Method::POST, "/se/log", &json!({ "type": "browser" })).await;
        let is_answer = |entry: &Value| {
            entry["source"] == "network"
                && entry["message"].as_str().unwrap().contains("responded with a status of")
        };
        let is_complaint = |entry: &&Value| {
            matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")) && !is_answer(entry)
        };
        let entries = entries.as_array().unwrap().iter();
        entries.filter(is_complaint).map(|entry| entry["message"].to_string()).collect()
    }

    /// Ends the browser; its console must have had nothing to complain about.
    pub async fn close(self) {
        assert_eq!(self.complaints().await, Vec::<String>::new(), "the console complains");
    }
}

/// A tab of the browser.
pub struct Tab(Value);

/// A reference to an element of the page.
pub struct Element(String);

/// A string of XPath 1.0, which knows no escapes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('"') { '\'' } else { '"' };
    assert!(!text.contains(quote), "{text} has both kinds of quotes");
    format!("{quote}{text}{quote}")
}

/// The driver's process. With it ends the browser that it has started.
struct Driver {
    child: Child,
    port: u16,
    session: Option<String>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    fn start(home: &TempDir) -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            // Whatever the two keep beside the profile goes with it.
            .envs([("HOME", home.path()), ("TMPDIR", home.path())])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver: {error}. Use ./run test, or tests/with-servers, which installs it")
            });
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut driver = Self { child, port: 0, session: None, output };
        driver.port = driver.told_port();
        driver
    }

    /// The port of the driver's choice, which it says when it listens.
    fn told_port(&mut self) -> u16 {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "chromedriver ended: {said}");
            said += &line;
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                return rest.trim().trim_end_matches('.').parse().unwrap();
            }
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets the driver end its browser. Not by the asynchronous client: this runs in a drop, maybe while a
    /// test fails.
    fn end_session(&self, session: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.port
        )?;
        // It answers when the browser has ended, and keeps the connection.
        stream.read(&mut [0; 512]).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let ended = self.session.take().map(|session| self.end_session(&session));
        if !matches!(ended, Some(Ok(()))) {
            // The browser is in the driver's group of processes.
            let group = format!("-{}", self.child.id());
            let _gone = Command::new("kill").args(["-KILL", "--", &group]).status();
        }
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
