//! A whole server in the test's process: its own port, its own store, a clock that the test moves.

use latchkey::store::model::{Actor, AuditPage};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use latchkey::actors::configuration::{self, ReloadError, Reloaded};
use latchkey::actors::key_ring::Reload;
use latchkey::administration::By;
use latchkey::app::App;
use latchkey::cli::dev;
use latchkey::clock::{Clock, Timestamp};
use latchkey::config;
use latchkey::config::Given;
use latchkey::config::problem::Problems;
use latchkey::config::settings::{AvatarStore, Settings, StoreUrl};
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::key::SigningKey;
use latchkey::running::Running;
use latchkey::startup;
use reqwest::header::{HeaderMap, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::conformance::checked;
use crate::processes::write_private;
use crate::store_contract::fixtures::TABLES;
use crate::{postgres, sqlite};

/// When every test begins.
pub const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Which store a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// Keeps a test's store alive; removes it on drop.
pub type Guard = Box<dyn std::any::Any>;

/// A running server.
pub struct Server {
    running: Option<Running>,
    pub app: App,
    pub clock: Clock,
    pub url: String,
    connection: OnceCell<tokio_postgres::Client>,
    _guard: Guard,
}

/// Settings of a development server on a port, with a fresh store.
pub async fn settings(backend: Backend, port: u16, further: &str) -> (Settings, Guard) {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\nworkers = 2\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n{further}"
    );
    let mut settings = config::parse(&text, std::path::Path::new("."))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let guard: Guard = match backend {
        Backend::Sqlite => {
            let (store, guard) = sqlite::fresh_settings();
            settings.store = store;
            Box::new(guard)
        }
        Backend::Postgres => {
            let (store, guard) = postgres::fresh_settings();
            settings.store = store;
            Box::new(guard)
        }
    };
    let pictures = tempfile::tempdir().unwrap();
    settings.avatars.store = AvatarStore::File(pictures.path().join("avatars"));
    dev::make_fit(&mut settings);
    (settings, Box::new((guard, pictures)))
}

impl Server {
    /// Starts a development server; `further` is added to its configuration behind `[server]`.
    pub async fn start(backend: Backend, further: &str) -> Self {
        Self::start_with(backend, further, |_| {}).await
    }

    /// As [`Server::start`], with a last word on the settings.
    pub async fn start_with(
        backend: Backend,
        further: &str,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut settings, guard) = settings(backend, port, further).await;
        change(&mut settings);
        Self::run(listener, settings, true, Clock::manual(BEGIN), guard).await
    }

    /// As [`Server::start`], with a clock that stands at the present until the test moves it: for what
    /// other people's servers sign. The configuration may depend on the server's own address.
    pub async fn start_at_present(backend: Backend, further: impl FnOnce(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let further = further(&format!("http://127.0.0.1:{port}"));
        let (settings, guard) = settings(backend, port, &further).await;
        Self::run(listener, settings, true, Clock::manual(Clock::system_time()), guard).await
    }

    /// A development server that can read its configuration again: `further` stands behind `[server]` in its
    /// file, and `change` has a last word each time that it is read.
    pub async fn start_from_file(
        backend: Backend,
        further: &str,
        change: fn(&mut Settings),
    ) -> (Self, ConfigurationFile) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (elsewhere, guard) = settings(backend, port, "").await;
        let file = ConfigurationFile::new(port, further);
        let request = config::Request {
            explicit: Some(file.path()),
            environment: std::collections::BTreeMap::new(),
            working_directory: file.folder.path().to_owned(),
        };
        let pictures = elsewhere.avatars.store.clone();
        let load = move || {
            let mut loaded = config::load(&request)?;
            loaded.settings.avatars.store = pictures.clone();
            dev::make_fit(&mut loaded.settings);
            change(&mut loaded.settings);
            Ok(loaded)
        };
        let mut loaded = load().unwrap_or_else(|problems: Problems| panic!("{problems}"));
        loaded.settings.store = elsewhere.store;
        let given = Given::new(loaded, Arc::new(load));
        (Self::run(listener, given, true, Clock::manual(BEGIN), guard).await, file)
    }

    /// Has it read again, as SIGHUP does.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let by = By::local(Actor::System, self.clock.now());
        self.app.configuration.ask(configuration::Reload { by }).await.unwrap()
    }

    /// A server at present that keeps pictures elsewhere.
    pub async fn start_with_pictures_at(backend: Backend, place: AvatarStore) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut settings, guard) = settings(backend, port, "").await;
        settings.avatars.store = place;
        Self::run(listener, settings, true, Clock::manual(Clock::system_time()), guard).await
    }

    /// Another node on the same PostgreSQL and clock, as `latchkey serve` runs it.
    pub async fn beside(&self, change: impl FnOnce(&mut Settings)) -> Self {
        self.beside_with(self.clock.clone(), change).await
    }

    /// The same by a clock of its own.
    pub async fn beside_with(&self, clock: Clock, change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = self.app.settings.clone();
        settings.server.listen = listener.local_addr().unwrap();
        change(&mut settings);
        Self::run(listener, settings, false, clock, Box::new(())).await
    }

    async fn run(
        listener: TcpListener,
        settings: impl Into<Given>,
        is_development: bool,
        clock: Clock,
        guard: Guard,
    ) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut running = startup::start_on(listener, settings, is_development, clock.clone())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        running.signing_key_is_there().await;
        Self {
            app: running.app.clone(),
            running: Some(running),
            clock,
            url,
            connection: OnceCell::new(),
            _guard: guard,
        }
    }

    /// Drains and stops the server; whether all was finished.
    pub async fn stop(mut self) -> bool {
        self.running.take().unwrap().stop().await
    }

    /// Stops the server and starts another on the same store, as `latchkey serve` runs it.
    pub async fn restarted(mut self) -> Self {
        assert!(self.running.take().unwrap().stop().await);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = self.app.settings.clone();
        settings.server.listen = listener.local_addr().unwrap();
        Self::run(listener, settings, false, self.clock, self._guard).await
    }

    /// Ends polling and listening, so that counters stand still.
    pub fn stop_tickers(&self) {
        self.stop_polling();
        let listener = self.app.change_listener.clone();
        actix_web::rt::spawn(async move { listener.drain(Duration::from_secs(10)).await });
    }

    /// Ends polling, so that what changes elsewhere is known by listening alone.
    pub fn stop_polling(&self) {
        self.running.as_ref().unwrap().stop_tickers();
    }

    /// How many changes it heard of.
    pub fn changes_heard(&self) -> u64 {
        self.metric("latchkey_changes_heard_total")
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.app.metrics.encode();
        let mut values =
            metrics.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        values.next().unwrap_or_else(|| panic!("there is no {name}")) as u64
    }

    /// A browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// A browser in which `name` has signed in and set up an account of that name.
    pub async fn signed_in(&self, name: &str) -> Browser {
        let browser = self.browser();
        browser.sign_in(name).await;
        let answer = browser
            .post_json("/auth/setup", &json!({ "username": name, "display_name": null }))
            .await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        browser
    }

    /// The key that signs with an algorithm, as soon as there is one: that of a client is made within a
    /// second of its registration.
    pub async fn signer(&self, algorithm: Algorithm) -> Arc<SigningKey> {
        let asking = async {
            loop {
                if let Some(key) = self.app.key_snapshot().signer(algorithm, self.clock.now()) {
                    return Arc::clone(key);
                }
                self.app.key_ring.ask(Reload).await.unwrap().unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("a key is made")
    }

    /// Moves a clock that stands to the present, where the command line has gone on.
    pub fn catch_up(&self) {
        let behind = Clock::system_time().since(self.clock.now());
        self.clock.advance(behind);
    }

    /// How many audit entries of an action there are.
    pub async fn audited(&self, action: &str) -> usize {
        let rows = self.app.store.read.audit(&AuditPage::newest(1_000)).await.unwrap();
        rows.iter().filter(|row| row.action == action).count()
    }
}

/// The configuration of a server that reads it again.
pub struct ConfigurationFile {
    pub folder: tempfile::TempDir,
    port: u16,
}

/// The server secret of every test.
pub const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

impl ConfigurationFile {
    fn new(port: u16, further: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap(), port };
        file.write(further);
        file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("latchkey.toml")
    }

    /// Writes it anew, with what stands behind `[server]`.
    pub fn write(&self, further: &str) {
        self.write_with_secret(&format!("\"{SECRET}\""), further);
    }

    /// Writes it anew, with another server secret.
    pub fn write_with_secret(&self, secret: &str, further: &str) {
        let port = self.port;
        let scheme = if further.contains("[server.tls]") { "https" } else { "http" };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"{scheme}://127.0.0.1:{port}\"\nworkers = 2\n\
             secret_key = {secret}\n{further}"
        );
        write_private(&self.path(), &text);
    }
}

/// How many rows each table has.
pub type Rows = Vec<(&'static str, i64)>;

/// The store, seen past the server.
impl Server {
    /// How many rows each table has.
    pub async fn rows(&self) -> Rows {
        let counts = TABLES.map(|table| format!("(SELECT count(*) FROM {table})"));
        let sql = format!("SELECT {}", counts.join(", "));
        let counted: Vec<i64> = match &self.app.settings.store.url {
            StoreUrl::Sqlite(path) => rusqlite::Connection::open(path)
                .unwrap()
                .query_row(&sql, [], |row| (0..TABLES.len()).map(|at| row.get(at)).collect())
                .unwrap(),
            StoreUrl::Postgres(_) => {
                let row = self.connection().await.query_one(&sql, &[]).await.unwrap();
                (0..TABLES.len()).map(|at| row.get(at)).collect()
            }
        };
        TABLES.into_iter().zip(counted).collect()
    }

    /// Every row of every table, as text.
    pub async fn everything(&self) -> Vec<String> {
        let mut rows = Vec::new();
        match &self.app.settings.store.url {
            StoreUrl::Sqlite(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                let sql = "SELECT name FROM sqlite_schema WHERE type = 'table'";
                let mut tables = connection.prepare(sql).unwrap();
                for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap() {
                    let table = table.unwrap();
                    let mut all = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
                    let columns = all.column_count();
                    let text = |row: &rusqlite::Row<'_>, at| match row.get_ref(at).unwrap() {
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        ValueRef::Blob(bytes) => match uuid::Uuid::from_slice(bytes) {
                            Ok(id) => id.to_string(),
                            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
                        },
                        other => format!("{other:?}"),
                    };
                    let found = all.query_map([], |row| {
                        Ok((0..columns).map(|at| text(row, at)).collect::<Vec<_>>().join(" "))
                    });
                    rows.extend(found.unwrap().map(|row| format!("{table}: {}", row.unwrap())));
                }
            }
            StoreUrl::Postgres(_) => {
                let db = self.connection().await;
                let sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()";
                for table in db.query(sql, &[]).await.unwrap() {
                    let table: String = table.get(0);
                    let all = format!("SELECT to_jsonb(t)::text FROM {table} t");
                    let found = db.query(&all, &[]).await.unwrap();
                    rows.extend(
                        found.iter().map(|row| format!("{table}: {}", row.get::<_, String>(0))),
                    );
                }
            }
        }
        rows
    }

    /// Runs SQL, as a failover or an operator would change the store.
    pub async fn execute(&self, sql: &str) {
        match &self.app.settings.store.url {
            StoreUrl::Sqlite(path) => {
                rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
            }
            StoreUrl::Postgres(_) => self.connection().await.batch_execute(sql).await.unwrap(),
        }
    }

    /// A connection of our own to PostgreSQL.
    pub async fn connection(&self) -> &tokio_postgres::Client {
        self.connection.get_or_init(|| self.connect()).await
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let store = &self.app.settings.store;
        let StoreUrl::Postgres(url) = &store.url else { panic!("no PostgreSQL") };
        let client = postgres::connect(url).await;
        let schema = store.schema.as_ref().unwrap();
        client.batch_execute(&format!("SET search_path TO {schema}")).await.unwrap();
        client
    }
}

/// An HTTP client with a cookie jar that follows no redirect by itself.
#[derive(Clone)]
pub struct Browser {
    pub client: Client,
    pub url: String,
}

impl Browser {
    pub fn new(url: &str) -> Self {
        Self::with_jar(url, true)
    }

    /// One that keeps no cookies: each request brings its own.
    pub fn without_cookies(url: &str) -> Self {
        Self::with_jar(url, false)
    }

    fn with_jar(url: &str, has_jar: bool) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        let client = Client::builder()
            .cookie_store(has_jar)
            .redirect(Policy::none())
            .default_headers(headers)
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .unwrap();
        Self { client, url: url.to_owned() }
    }

    fn address(&self, target: &str) -> String {
        if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", self.url) }
    }

    pub async fn get(&self, target: &str) -> Response {
        self.send(self.client.get(self.address(target))).await
    }

    /// As a person's browser asks for a page.
    pub async fn page(&self, target: &str) -> Response {
        self.send(self.client.get(self.address(target)).header("accept", "text/html")).await
    }

    pub async fn post(&self, target: &str) -> Response {
        self.send(self.client.post(self.address(target))).await
    }

    pub async fn post_json(&self, target: &str, body: &Value) -> Response {
        self.send_json(self.client.post(self.address(target)), body).await
    }

    pub async fn patch_json(&self, target: &str, body: &Value) -> Response {
        self.send_json(self.client.patch(self.address(target)), body).await
    }

    pub async fn delete(&self, target: &str) -> Response {
        self.send(self.client.delete(self.address(target))).await
    }

    pub async fn post_form(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .client
            .post(self.address(target))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html")
            .header(ORIGIN, &self.url)
            .body(body);
        self.send(request).await
    }

    async fn send_json(&self, request: RequestBuilder, body: &Value) -> Response {
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// Sends a request; an answer of the server is as its document says.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        send_to(&self.url, request).await
    }

    /// Follows redirects from `target` and returns the first answer that is none.
    pub async fn follow(&self, target: &str) -> Response {
        let mut answer = self.page(target).await;
        for _ in 0..10 {
            let Some(location) = location(&answer) else { return answer };
            answer = self.page(&location).await;
        }
        panic!("redirects without end from {target}");
    }

    /// Signs in at the development provider; ends where the callback leads.
    pub async fn sign_in(&self, name: &str) -> Response {
        let start = self.get(&format!("/auth/dev?login_hint={name}")).await;
        let to_provider = location(&start).unwrap_or_else(|| panic!("{:?}", start.status()));
        let back = location(&self.get(&to_provider).await).expect("the provider leads back");
        self.get(&back).await
    }

    /// Whether somebody is signed in here.
    pub async fn is_signed_in(&self) -> bool {
        self.get("/auth/me").await.status() == StatusCode::OK
    }

    /// `POST /auth/refresh`; the new refresh token if it worked.
    pub async fn refresh(&self) -> Result<String, StatusCode> {
        let answer = self.post("/auth/refresh").await;
        if answer.status() == StatusCode::OK {
            Ok(cookie(&answer, "auth_refresh").expect("a refresh cookie"))
        } else {
            Err(answer.status())
        }
    }
}

/// Sends a request; an answer of the server at this address is as its document says.
pub async fn send_to(server: &str, request: RequestBuilder) -> Response {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, url) = (request.method().clone(), request.url().clone());
    let answer = client.execute(request).await.unwrap();
    // Who calls it by another name is led to its own.
    let is_ours = url.as_str().starts_with(server) && url.host_str() != Some("localhost");
    if is_ours { checked(method.as_str(), url.path(), answer).await } else { answer }
}

/// Where an answer leads.
pub fn location(answer: &Response) -> Option<String> {
    answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned())
}

/// The value of a cookie that an answer sets.
pub fn cookie(answer: &Response, name: &str) -> Option<String> {
    answer
        .headers()
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().unwrap().split(';').next()?.split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
        .next_back()
}

/// Presents a refresh token, without any cookie jar.
pub async fn present(client: &Client, url: &str, token: &str) -> Response {
    client
        .post(format!("{url}/auth/refresh"))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", format!("auth_refresh={token}"))
        .send()
        .await
        .unwrap()
}

/// The JSON of an answer.
pub async fn body(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// The code of an error answer.
pub async fn code(answer: Response) -> String {
    let body = body(answer).await;
    body["code"].as_str().unwrap_or_else(|| panic!("no code in {body}")).to_owned()
}
