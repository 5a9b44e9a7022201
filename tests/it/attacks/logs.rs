//! What attackers get into our logs, traces and metrics, and what they would find there (attacks L11 and L12).

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use actix_web::HttpResponse;
use actix_web::web::{self, Form};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use latchkey::config::settings::StoreUrl;
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::{key, random};
use percent_encoding::NON_ALPHANUMERIC;
use regex::Regex;
use reqwest::header::SET_COOKIE;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

use crate::grants::{REDIRECT_URI, Reply, VERIFIER, form, http, post, redeem, refresh};
use crate::harness::{Backend, Browser, Guard, Server, body, location};
use crate::oauth_authorize::request;
use crate::pictures::picture;
use crate::processes::{BINARY, Process, free_port, run_json, until_ready, write_private};
use crate::raw_http::exchange;
use crate::registration::Registered;
use crate::stub_server::StubServer;
use crate::telemetry::traces::Collector;
use crate::uploads::upload;

/// A server whose whole output is kept.
pub struct Logged {
    process: Process,
    output: std::thread::JoinHandle<String>,
    config: std::path::PathBuf,
}

const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

impl Logged {
    /// Starts `latchkey dev` that logs all it can.
    pub async fn start(directory: &Path, log_format: &str) -> Self {
        Self::start_with(directory, log_format, "", &[]).await
    }

    /// As [`Logged::start`], with more of a configuration and variables.
    pub async fn start_with(
        directory: &Path,
        log_format: &str,
        further: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let port = free_port();
        let config = directory.join("latchkey.toml");
        write_private(
            &config,
            &format!(
                "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
                 secret_key = \"{SECRET_KEY}\"\n[tokens]\nsession_grace = \"0s\"\n{further}"
            ),
        );
        let (mut from, to) = std::io::pipe().unwrap();
        let child = Command::new(BINARY)
            .args(["dev", "--data-dir"])
            .arg(directory)
            .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "trace")
            .env("LATCHKEY_TELEMETRY__LOG_FORMAT", log_format)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(to.try_clone().unwrap())
            .stderr(to)
            .spawn()
            .unwrap();
        let output = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let process = Process { child, url: format!("http://127.0.0.1:{port}") };
        until_ready(&http(), &process.url).await;
        Self { process, output, config }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// The configuration that it was started with.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// All that it said, once it was told to end and did so in order.
    pub async fn ended(mut self) -> String {
        let id = self.process.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let ended = web::block(move || {
            assert!(self.process.child.wait().unwrap().success());
            self.output.join().unwrap()
        });
        ended.await.unwrap()
    }
}

/// What must not be found: everything of a run that opens something.
#[derive(Default)]
struct Secrets(BTreeSet<String>);

impl Secrets {
    fn keep(&mut self, secret: &str) {
        // What is shorter opens nothing, and would be found by chance.
        if secret.len() >= 16 {
            self.0.insert(secret.to_owned());
        }
    }

    /// Keeps the cookies that an answer sets, the codes and states that its address carries, and the hidden
    /// fields of its page.
    async fn keep_all_of(&mut self, answer: Response) -> String {
        for line in answer.headers().get_all(SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            self.keep(pair.split_once('=').unwrap().1);
        }
        if let Some(location) = location(&answer) {
            self.keep_address(&location);
        }
        let text = answer.text().await.unwrap();
        let hidden =
            Regex::new("name=\"(form_token|request|question)\" value=\"([^\"]+)\"").unwrap();
        for found in hidden.captures_iter(&text) {
            self.keep(&found[2]);
        }
        text
    }

    fn keep_address(&mut self, address: &str) {
        let Some((_, query)) = address.split_once('?') else { return };
        let query = query.split('#').next().unwrap();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if ["code", "state", "nonce", "ticket", "code_verifier"].contains(&name.as_ref()) {
                self.keep(&value);
            }
        }
    }

    fn keep_tokens(&mut self, reply: &Reply) {
        for name in ["access_token", "refresh_token", "id_token"] {
            self.keep(reply.text(name));
        }
    }
}

/// Goes to an address, and on as far as a browser is led within the server; what it is shown.
async fn go(browser: &Browser, secrets: &mut Secrets, target: &str) -> (Option<String>, String) {
    let mut target = target.to_owned();
    loop {
        let answer = browser.page(&target).await;
        let next = location(&answer);
        let text = secrets.keep_all_of(answer).await;
        match next {
            Some(next) if next.starts_with('/') || next.starts_with(&browser.url) => target = next,
            outside => return (outside, text),
        }
    }
}

/// Every way in which a secret could be written.
fn forms(secret: &str) -> BTreeSet<String> {
    let percent = percent_encoding::utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let mut forms = BTreeSet::from([
        secret.to_owned(),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        percent.to_lowercase(),
        percent,
    ]);
    let mut raw = vec![secret.as_bytes().to_vec()];
    raw.extend(URL_SAFE_NO_PAD.decode(secret.trim_end_matches('=')));
    raw.extend(STANDARD.decode(secret));
    for bytes in raw.into_iter().filter(|bytes| bytes.len() >= 16) {
        // Whole groups alone: what follows the secret would change the others.
        let whole = &bytes[..bytes.len() / 3 * 3];
        forms.extend([STANDARD.encode(whole), URL_SAFE_NO_PAD.encode(whole)]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        forms.extend([hex.to_uppercase(), hex]);
        forms.insert(format!("{bytes:?}").trim_matches(['[', ']']).to_owned());
    }
    forms
}

/// An OAuth provider that keeps what it is shown, and whose tokens are random.
fn upstream() -> (StubServer, mpsc::UnboundedReceiver<String>) {
    #[derive(serde::Deserialize)]
    struct Exchange {
        code: String,
        code_verifier: String,
    }
    let (to, seen) = mpsc::unbounded_channel();
    let server = StubServer::start(move |routes| {
        let to = to.clone();
        let token = move |sent: Form<Exchange>| {
            let access_token = random::text::<32>();
            let Exchange { code, code_verifier } = sent.into_inner();
            for secret in [&code, &code_verifier, &access_token] {
                to.send(secret.clone()).unwrap();
            }
            let answer = json!({ "access_token": access_token, "token_type": "bearer" });
            async move { HttpResponse::Ok().json(answer) }
        };
        let person =
            || async { HttpResponse::Ok().json(json!({ "id": "17", "login": "upstream-person" })) };
        routes.route("/token", web::post().to(token)).route("/person", web::get().to(person));
    });
    (server, seen)
}

/// The configuration of a run in which everything that can be secret is: the database's password on
/// PostgreSQL, a bucket that says no, a provider with a secret, a signing key in a file.
struct Scene {
    further: String,
    upstream: StubServer,
    seen: mpsc::UnboundedReceiver<String>,
    _bucket: StubServer,
    _store: Guard,
}

impl Scene {
    fn new(backend: Backend, directory: &Path, secrets: &mut Secrets) -> Self {
        let (upstream, seen) = upstream();
        let bucket = StubServer::start(|routes| {
            routes.default_service(web::to(HttpResponse::Forbidden));
        });
        let [of_provider, of_bucket, key_id] = [0; 3].map(|_| random::text::<32>());
        for secret in [&of_provider, &of_bucket] {
            secrets.keep(secret);
        }
        let der = key::generate(Algorithm::ES256, 2048).unwrap();
        let text = STANDARD.encode(&der);
        secrets.keep(&text);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        lines.iter().for_each(|line| secrets.keep(line));
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        write_private(&directory.join("key.pem"), &pem);
        let (store, guard): (String, Guard) = match backend {
            Backend::Sqlite => (String::new(), Box::new(())),
            Backend::Postgres => {
                let (settings, guard) = crate::postgres::fresh_settings();
                let StoreUrl::Postgres(url) = settings.url else { panic!("no PostgreSQL") };
                let password = Url::parse(url.expose()).unwrap().password().map(str::to_owned);
                if let Some(password) = password {
                    secrets.keep(&password);
                }
                let schema = settings.schema.unwrap();
                let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", url.expose());
                (store, Box::new(guard))
            }
        };
        let url = &upstream.url;
        let further = format!(
            "{store}[keys]\nalgorithm = \"ES256\"\nfiles = [\"key.pem\"]\n\
             [avatars]\nstore = \"s3://pictures\"\nendpoint = \"{}\"\nregion = \"here\"\n\
             access_key = \"{key_id}\"\nsecret_access_key = \"{of_bucket}\"\n\
             [[providers]]\nname = \"upstream\"\nclient_id = \"us\"\nclient_secret = \"{of_provider}\"\n\
             auth_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\nuserinfo_url = \"{url}/person\"\n\
             mapping = {{ subject = \"id\", username = \"login\" }}\n",
            bucket.url
        );
        Self { further, upstream, seen, _bucket: bucket, _store: guard }
    }

    /// Signs in at the provider with the secret: what is sent to it and comes from it is kept.
    async fn sign_in(&mut self, url: &str, secrets: &mut Secrets) {
        let browser = Browser::new(url);
        let (outside, _) = go(&browser, secrets, "/auth/upstream").await;
        let outside = outside.unwrap();
        assert!(outside.starts_with(&self.upstream.url), "{outside}");
        secrets.keep_address(&outside);
        let asked = Url::parse(&outside).unwrap();
        let state = asked.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let code = random::text::<32>();
        let (_, page) =
            go(&browser, secrets, &format!("/auth/upstream/callback?code={code}&state={state}"))
                .await;
        assert!(page.contains("upstream-person"), "{page}");
        let mut count = 0;
        while let Ok(secret) = self.seen.try_recv() {
            secrets.keep(&secret);
            count += 1;
        }
        assert_eq!(count, 3);
        let answer = upload(&browser, &picture([1, 2, 3])).await;
        assert!(!answer.status().is_success());
    }
}

async fn a_run_at_trace_level_tells_no_secret(log_format: &str, backend: Backend) {
    let directory = tempfile::tempdir().unwrap();
    let mut secrets = Secrets::default();
    let mut scene = Scene::new(backend, directory.path(), &mut secrets);
    let mut collector = Collector::start();
    let variables = [("LATCHKEY_TELEMETRY__OTLP_ENDPOINT", collector.server.url.as_str())];
    let server = Logged::start_with(directory.path(), log_format, &scene.further, &variables).await;
    let url = server.process.url.clone();
    secrets.keep(SECRET_KEY);
    secrets.keep("0123456789abcdef0123456789abcdef");
    let registered = run_json(
        &[
            "clients",
            "register",
            "Example app",
            "--redirect-uri",
            REDIRECT_URI,
            "--set",
            "id_token_signed_response_alg=\"ES256\"",
        ],
        &server.config,
    );
    let client = Registered {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        secret: registered["client_secret"].as_str().unwrap().to_owned(),
    };
    secrets.keep(&client.secret);
    secrets.keep(VERIFIER);
    scene.sign_in(&url, &mut secrets).await;

    // Signing in, setting up, refreshing.
    let browser = Browser::new(&url);
    go(&browser, &mut secrets, "/auth/dev?login_hint=alice").await;
    let created = browser.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let mut old = crate::harness::cookie(&created, "auth_refresh").unwrap();
    secrets.keep_all_of(created).await;
    for _ in 0..3 {
        let answer = browser.post("/auth/refresh").await;
        assert_eq!(answer.status(), StatusCode::OK);
        secrets.keep_all_of(answer).await;
    }
    // An app, by code; the client says who it is in either way.
    let state = random::text::<24>();
    secrets.keep(&state);
    let asked =
        request(&client.id, &[("state", Some(&state)), ("scope", Some("openid profile email"))]);
    let code = async |secrets: &mut Secrets| {
        let (_, page) = go(&browser, secrets, &asked).await;
        let answer = crate::oauth_authorize::decide(&browser, &page, "allow").await;
        let code = crate::oauth_authorize::told(&answer).remove("code").unwrap();
        secrets.keep(&code);
        code
    };
    let first = code(&mut secrets).await;
    let granted = redeem(&url, &client, &first).await.granted();
    secrets.keep_tokens(&granted);
    let renewed = refresh(&url, &client, granted.text("refresh_token")).await.granted();
    secrets.keep_tokens(&renewed);
    let basic = STANDARD.encode(format!("{}:{}", client.id, client.secret));
    secrets.keep(&basic);
    let bodies = [
        ("/oauth/introspect", form(&[("token", renewed.text("access_token"))])),
        (
            "/oauth/token",
            form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", renewed.text("refresh_token")),
            ]),
        ),
        ("/oauth/revoke", form(&[("token", renewed.text("refresh_token"))])),
        // Refusals: spent, of another kind, forged, in the wrong place.
        (
            "/oauth/token",
            form(&[
                ("grant_type", "authorization_code"),
                ("code", &first),
                ("redirect_uri", REDIRECT_URI),
                ("code_verifier", VERIFIER),
            ]),
        ),
        (
            "/oauth/token",
            form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", granted.text("access_token")),
            ]),
        ),
        ("/oauth/introspect", form(&[("token", "a-forged-token-of-an-attacker")])),
    ];
    let tokens = Regex::new("\"(?:access|refresh|id)_token\":\"([^\"]+)").unwrap();
    for (path, parameters) in bodies {
        let answer = http()
            .post(format!("{url}{path}?{parameters}"))
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(parameters)
            .send()
            .await
            .unwrap();
        let text = secrets.keep_all_of(answer).await;
        for token in tokens.captures_iter(&text) {
            secrets.keep(&token[1]);
        }
    }
    let wrong = Registered { secret: random::text::<32>(), ..client.clone() };
    secrets.keep(&wrong.secret);
    redeem(&url, &wrong, "a-code-of-an-attacker").await.refused(401, "invalid_client");
    for target in ["/oauth/userinfo", "/auth/me", "/auth/sessions"] {
        for token in [granted.text("access_token"), granted.text("id_token"), &old, "x.y.z"] {
            let request = http().get(format!("{url}{target}?access_token={token}"));
            request.bearer_auth(token).send().await.unwrap();
        }
    }
    // A cookie that is reused, a callback that is replayed, a link that gives an account back.
    for _ in 0..2 {
        crate::harness::present(&http(), &url, &old).await;
        old = old.chars().rev().collect();
        secrets.keep(&old);
    }
    for address in secrets.0.clone() {
        let callback = form(&[("state", &address), ("code", &address)]);
        browser.get(&format!("/auth/dev/callback?{callback}")).await;
        browser.get(&format!("/avatars/{}", address.replace('/', "_"))).await;
    }
    let recovery = run_json(&["users", "recover", "alice"], &server.config);
    let link = recovery["url"].as_str().unwrap().to_owned();
    secrets.keep_address(&link);
    go(&Browser::new(&url), &mut secrets, &link).await;
    go(&browser, &mut secrets, "/account").await;
    browser.post("/auth/logout").await;

    let metrics = http().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("latchkey_trace_spans_total"));
    // Ended in order, so that every span is sent.
    let said = server.ended().await;
    let mut spans = String::new();
    while let Ok(body) = collector.bodies.try_recv() {
        spans += &String::from_utf8_lossy(&body);
    }
    assert!(spans.contains("POST /oauth/token") && spans.contains("ask db_writer"));
    assert!(said.lines().count() > 1_000, "{said}");
    assert!(secrets.0.len() > 30, "{} secrets", secrets.0.len());
    for secret in &secrets.0 {
        for form in forms(secret) {
            for (place, text) in [("log", &said), ("metrics", &metrics), ("spans", &spans)] {
                if text.contains(&form) {
                    let line = text.lines().find(|line| line.contains(&form));
                    panic!("{form} is in the {place}: {line:?}");
                }
            }
        }
    }
    for word in ["PRIVATE KEY", "\"d\":", "code_verifier=", "client_secret="] {
        for text in [&said, &metrics, &spans] {
            assert!(!text.contains(word), "{word} is told");
        }
    }
}

#[actix_web::test]
async fn l11_no_secret_of_a_run_at_trace_level_is_in_its_text_log_metrics_or_spans() {
    a_run_at_trace_level_tells_no_secret("text", Backend::Sqlite).await;
}

#[actix_web::test]
async fn l11_no_secret_of_a_run_at_trace_level_is_in_its_json_log_metrics_or_spans() {
    a_run_at_trace_level_tells_no_secret("json", Backend::Postgres).await;
}

/// What would begin a line of its own, or command a terminal, if it came into a log as it is.
const INJECTED: &[&str] = &[
    "x\r\n2026-01-01T00:00:00Z  INFO forged line",
    "x\n{\"level\":\"INFO\",\"message\":\"forged line\"}",
    "\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}",
    "\u{9b}31m\u{85}next\u{2028}line",
    "\"},{\"forged\":\"line\"",
    "\0\u{8}\u{8}\u{7f}",
];

#[actix_web::test]
async fn l11_nothing_that_is_sent_begins_a_line_or_commands_a_terminal() {
    let begins =
        Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*\s+(TRACE|DEBUG|INFO|WARN|ERROR)\s")
            .unwrap();
    for log_format in ["text", "json"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Logged::start(directory.path(), log_format).await;
        let url = server.process.url.clone();
        let authority = url.trim_start_matches("http://");
        let browser = Browser::new(&url);
        browser.sign_in("mallory").await;
        for injected in INJECTED {
            let encoded: String = injected.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for target in [
                "/",
                "/auth/",
                "/auth/dev/callback?error=",
                "/login?return_to=",
                "/oauth/authorize?client_id=",
                "/avatars/",
                "/auth/username-available?username=",
                "/oauth/logout?id_token_hint=",
            ] {
                browser.get(&format!("{target}{encoded}")).await;
            }
            browser.post_json("/auth/setup", &json!({ "username": injected, *injected: 1 })).await;
            browser.post_json("/auth/setup", &json!(injected)).await;
            post(&url, &[("grant_type", injected), ("client_id", injected), (injected, "1")]).await;
            // Whatever of it a head can hold.
            for name in [
                "User-Agent",
                "X-Forwarded-For",
                "X-Request-Id",
                "Authorization",
                "Cookie",
                "Host",
                "Origin",
                "Content-Type",
            ] {
                let host =
                    if name == "Host" { String::new() } else { format!("Host: {authority}\r\n") };
                let head = format!(
                    "POST /auth/setup HTTP/1.1\r\n{host}Connection: close\r\n{name}: {injected}\r\nContent-Length: 0\r\n\r\n"
                );
                exchange(authority, head.as_bytes()).await;
            }
            let line = format!(
                "G\u{1b}[31mET /{injected} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
            );
            exchange(authority, line.as_bytes()).await;
        }
        let said = server.ended().await;
        let (_greeting, logged) = said.split_once("Ready in").unwrap();
        assert!(logged.lines().count() > 1_000);
        for line in logged.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            assert!(
                !line.chars().any(|character| character.is_control() && character != '\t'),
                "{line:?}"
            );
            if log_format == "json" {
                let Ok(entry) = serde_json::from_str::<Value>(line) else {
                    panic!("no JSON: {line}")
                };
                assert_ne!(entry["message"], "forged line");
                assert!(entry.get("forged").is_none(), "{line}");
            } else {
                assert!(begins.is_match(line), "{line:?}");
            }
        }
    }
}

/// The names and labels that are there, without their values.
async fn series(client: &Client, url: &str) -> BTreeSet<String> {
    let answer = client.get(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.text().await.unwrap();
    text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[actix_web::test]
async fn l12_metrics_do_not_grow_with_what_is_asked_and_are_for_this_machine_alone() {
    let server = Server::start(Backend::Sqlite, "").await;
    let url = &server.url;
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let wave = async || {
        for _ in 0..60 {
            let word = random::text::<9>();
            for path in [
                "/",
                "/auth/",
                "/auth/link/",
                "/avatars/",
                "/static/",
                "/oauth/",
                "/admin/users/",
                "/.well-known/",
                "/auth/me/apps/",
                "/auth/sessions/",
                "/dev/",
            ] {
                client.get(format!("{url}{path}{word}")).send().await.unwrap();
                client.delete(format!("{url}{path}{word}")).send().await.unwrap();
            }
            client
                .get(format!("{url}/auth/{word}/callback?state={word}&code={word}"))
                .send()
                .await
                .unwrap();
            client.get(format!("{url}{}", request(&word, &[]))).send().await.unwrap();
            client
                .get(format!("{url}/login?{word}={word}"))
                .header("user-agent", &word)
                .send()
                .await
                .unwrap();
            let grant =
                [("grant_type", word.as_str()), ("client_id", &word), ("client_secret", &word)];
            post(url, &grant).await;
            let method: String = word.chars().filter(char::is_ascii_alphabetic).collect();
            client.request(method.parse().unwrap(), url).send().await.unwrap();
        }
    };
    wave().await;
    series(&client, url).await; // which is counted, too
    let before = series(&client, url).await;
    wave().await;
    let after = series(&client, url).await;
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");

    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "::1"),
        ("x-forwarded-for", ""),
        ("x-forwarded-for", "192.0.2.1"),
    ] {
        let request = client.get(format!("{url}/metrics")).header(name, value);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{value}");
        assert_eq!(body(answer).await["code"], "not_found");
    }
    // By a proxy, too, they are for this machine and the networks that are exempt.
    let behind = Server::start(
        Backend::Sqlite,
        "trusted_proxies = [\"127.0.0.0/8\"]\n[rate_limits]\nexempt = [\"198.51.100.0/24\"]\n",
    )
    .await;
    for (address, status) in [
        ("192.0.2.1", StatusCode::NOT_FOUND),
        ("127.0.0.1, 192.0.2.1", StatusCode::NOT_FOUND),
        ("192.0.2.1, 198.51.100.7", StatusCode::OK),
    ] {
        let request =
            client.get(format!("{}/metrics", behind.url)).header("x-forwarded-for", address);
        assert_eq!(request.send().await.unwrap().status(), status, "{address}");
    }
}
