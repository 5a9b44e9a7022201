//! The binary itself, as an operator runs it: started, killed, stopped, started again.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Guard, cookie, present};
use crate::postgres;

pub const BINARY: &str = env!("CARGO_BIN_EXE_latchkey");

/// A `latchkey dev` process; killed on drop.
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    /// Starts `latchkey dev` on a data directory and waits until it says that it is ready.
    pub fn dev(data_dir: &Path, port: u16) -> Self {
        let mut child = Command::new(BINARY)
            .args(["dev", "--port", &port.to_string(), "--data-dir"])
            .arg(data_dir)
            .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting: Vec<String> = lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.starts_with("Ready in"))
            .collect();
        let login = greeting
            .iter()
            .flat_map(|line| line.split(' '))
            .find_map(|word| word.strip_suffix("/login"));
        let url = login.expect("a server that becomes ready says where to sign in").to_owned();
        // The rest is read on, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A data directory whose configuration uses the store; sessions advance at each refresh.
async fn data_dir(backend: Backend) -> (tempfile::TempDir, Guard) {
    let directory = tempfile::tempdir().unwrap();
    let (store, guard): (String, Guard) = match backend {
        Backend::Sqlite => ("url = \"sqlite:latchkey.db\"".to_owned(), Box::new(())),
        Backend::Postgres => {
            let (settings, guard) = postgres::fresh_settings();
            let latchkey::config::settings::StoreUrl::Postgres(url) = settings.url else {
                panic!("no PostgreSQL");
            };
            let schema = settings.schema.unwrap();
            (format!("url = \"{}\"\nschema = \"{schema}\"", url.expose()), Box::new(guard))
        }
    };
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:8080\"\npublic_url = \"http://127.0.0.1:8080\"\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
         [store]\n{store}\n[keys]\nalgorithm = \"ES256\"\n[tokens]\nsession_grace = \"0s\"\n"
    );
    write_private(&directory.path().join("latchkey.toml"), &config);
    (directory, guard)
}

pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

/// One session's tokens: what was answered last, and what was presented after that.
#[derive(Clone, Debug)]
struct Chain {
    answered: String,
}

/// Refreshes all chains until told to stop or cut off; counts the answers.
async fn load(url: &str, chains: &mut [Chain], answers: &AtomicUsize, stop: &AtomicBool) {
    let client = client();
    join_all(chains.iter_mut().map(|chain| async {
        while !stop.load(Ordering::Relaxed) {
            let request = client
                .post(format!("{url}/auth/refresh"))
                .header("sec-fetch-site", "same-origin")
                .header("cookie", format!("auth_refresh={}", chain.answered));
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    chain.answered = cookie(&answer, "auth_refresh").unwrap();
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE),
                Err(_) => return, // the server is gone
            }
        }
    }))
    .await;
}

async fn open_chains(url: &str, count: usize) -> Vec<Chain> {
    let mut chains = Vec::new();
    for number in 0..count {
        let browser = Browser::new(url);
        browser.sign_in(&format!("user{number}")).await;
        let body = json!({ "username": format!("user{number}") });
        let answer = browser.post_json("/auth/setup", &body).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        chains.push(Chain { answered: cookie(&answer, "auth_refresh").unwrap() });
    }
    chains
}

async fn a_killed_server_loses_nothing_that_it_answered(backend: Backend) {
    let (directory, _guard) = data_dir(backend).await;
    let port = free_port();
    let mut process = Process::dev(directory.path(), port);
    let url = process.url.clone();
    let mut chains = open_chains(&url, 8).await;
    for round in 0..5 {
        let answers = Arc::new(AtomicUsize::new(0));
        let never = AtomicBool::new(false);
        let kill = async {
            while answers.load(Ordering::Relaxed) < 150 + 37 * round {
                tokio::task::yield_now().await;
            }
            process.kill();
        };
        tokio::join!(load(&url, &mut chains, &answers, &never), kill);
        process = Process::dev(directory.path(), port);
        let client = client();
        for chain in &mut chains {
            let answer = present(&client, &url, &chain.answered).await;
            assert_eq!(answer.status(), StatusCode::OK, "the successor that was answered works");
            chain.answered = cookie(&answer, "auth_refresh").unwrap();
        }
    }
    // One live generation each: what is two behind ends the family, and the live one with it.
    let client = client();
    for chain in &chains {
        let grandparent = chain.answered.clone();
        let parent = cookie(&present(&client, &url, &grandparent).await, "auth_refresh").unwrap();
        let live = cookie(&present(&client, &url, &parent).await, "auth_refresh").unwrap();
        assert_eq!(present(&client, &url, &grandparent).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(present(&client, &url, &live).await.status(), StatusCode::UNAUTHORIZED);
    }
}

async fn a_terminated_server_answers_what_it_took_and_exits_with_0(backend: Backend) {
    let (directory, _guard) = data_dir(backend).await;
    let port = free_port();
    let mut process = Process::dev(directory.path(), port);
    let url = process.url.clone();
    let mut chains = open_chains(&url, 8).await;
    let (answers, never) = (AtomicUsize::new(0), AtomicBool::new(false));
    let terminate = async {
        while answers.load(Ordering::Relaxed) < 200 {
            tokio::task::yield_now().await;
        }
        process.signal("-TERM");
    };
    tokio::join!(load(&url, &mut chains, &answers, &never), terminate);
    assert!(process.child.wait().unwrap().success());
    let process = Process::dev(directory.path(), port);
    let client = client();
    for chain in &chains {
        let answer = present(&client, &process.url, &chain.answered).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

crate::on_both_stores!(
    a_killed_server_loses_nothing_that_it_answered,
    a_terminated_server_answers_what_it_took_and_exits_with_0,
    a_recovery_link_of_the_command_line_opens_at_a_live_server,
);

pub fn run(arguments: &[&str], config: &Path) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .args(["--config".as_ref(), config.as_os_str()])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON that a command prints.
pub fn run_json(arguments: &[&str], config: &Path) -> Value {
    let output = run(&[arguments, &["--format", "json"]].concat(), config);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[actix_web::test]
async fn several_processes_on_one_postgresql_make_one_key() {
    let (directory, _guard) = data_dir(Backend::Postgres).await;
    let config = directory.path().join("latchkey.toml");
    let mut children = Vec::new();
    for _ in 0..4 {
        let port = free_port();
        let child = Command::new(BINARY)
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .env("LATCHKEY_SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        children.push(Process { child, url: format!("http://127.0.0.1:{port}") });
    }
    let client = client();
    let mut documents = Vec::new();
    for process in &children {
        until_ready(&client, &process.url).await;
        let jwks = client.get(format!("{}/.well-known/jwks.json", process.url)).send();
        documents.push(jwks.await.unwrap().text().await.unwrap());
    }
    documents.dedup();
    assert_eq!(documents.len(), 1, "all publish the same");
    assert_eq!(run_json(&["keys", "list"], &config)["items"].as_array().unwrap().len(), 1);
}

async fn a_recovery_link_of_the_command_line_opens_at_a_live_server(backend: Backend) {
    let (directory, _guard) = data_dir(backend).await;
    let config = directory.path().join("latchkey.toml");
    let process = Process::dev(directory.path(), free_port());
    let browser = Browser::new(&process.url);
    browser.sign_in("alice").await;
    let created = browser.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);

    let made = run_json(&["users", "recover", "ALICE"], &config);
    assert_eq!(made["username"], "alice");
    // The configuration's public address: `--port` is of that one start alone.
    let link = made["url"].as_str().unwrap().replace("http://127.0.0.1:8080", &process.url);
    let page = Browser::new(&process.url).follow(&link).await;
    assert_eq!((page.status(), page.url().path()), (StatusCode::OK, "/auth/recover"));
    assert!(page.text().await.unwrap().contains("alice"));
    let told = run(&["users", "recover", "alice"], &config);
    let told = text(&told.stdout);
    assert!(told.contains("alice, for one use, until "), "{told}");
    assert!(told.contains("\n  http://127.0.0.1:8080/auth/recover?ticket="), "{told}");

    let missing = run(&["users", "recover", "nobody"], &config);
    assert_eq!(missing.status.code(), Some(1));
    let told = text(&missing.stderr);
    assert!(told.starts_with("There is nobody with the username or id \"nobody\"."), "{told}");
    assert_eq!(run(&["users", "recover"], &config).status.code(), Some(2));
}

/// Asks until the server is ready, for a minute at most.
pub async fn until_ready(client: &Client, url: &str) {
    let asking = async {
        loop {
            let answer = client.get(format!("{url}/ready")).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the server gets ready");
}

async fn keys_made_by_the_command_line_reach_a_live_server(backend: Backend) {
    let (directory, _guard) = data_dir(backend).await;
    let config = directory.path().join("latchkey.toml");
    let process = Process::dev(directory.path(), free_port());
    let made = run_json(&["generate-keys"], &config);
    assert_eq!(made["is_new"], true);
    let kid = made["kid"].as_str().unwrap().to_owned();
    let again = run_json(&["keys", "rotate"], &config);
    assert_eq!(
        (again["is_new"].as_bool(), again["kid"].as_str()),
        (Some(false), Some(kid.as_str()))
    );
    let client = client();
    let appears = |expected: bool| {
        let (client, url, kid) = (client.clone(), process.url.clone(), kid.clone());
        async move {
            let asking = async {
                loop {
                    let jwks =
                        client.get(format!("{url}/.well-known/jwks.json")).send().await.unwrap();
                    if jwks.text().await.unwrap().contains(&kid) == expected {
                        return;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(60), asking)
                .await
                .expect("the server follows");
        }
    };
    appears(true).await;
    let retired = run_json(&["keys", "retire", &kid, "--compromised"], &config);
    assert_eq!(retired["outcome"], "retired");
    appears(false).await;
    let states: Vec<String> = run_json(&["keys", "list"], &config)["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["active", "removed"]);
}

#[actix_web::test]
async fn the_command_line_works_beside_a_live_server_on_sqlite() {
    keys_made_by_the_command_line_reach_a_live_server(Backend::Sqlite).await;
}

#[actix_web::test]
async fn the_command_line_works_beside_a_live_server_on_postgresql() {
    keys_made_by_the_command_line_reach_a_live_server(Backend::Postgres).await;
}

#[test]
fn the_first_start_makes_private_files_and_the_second_keeps_them() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let port = free_port();
    Process::dev(&directory, port).kill();
    let mode =
        |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["latchkey.toml", "secret", "latchkey.db"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    let before = (read("latchkey.toml"), read("secret"));
    Process::dev(&directory, free_port()).kill();
    assert_eq!((read("latchkey.toml"), read("secret")), before);
}

#[actix_web::test]
async fn port_0_is_any_free_one_and_all_addresses_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Process::dev(directory.path(), 0);
    let issuer = async |url: &str| {
        let metadata = client().get(format!("{url}/.well-known/openid-configuration"));
        let metadata = metadata.send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&metadata).unwrap()["issuer"].clone()
    };
    assert_eq!(issuer(&server.url).await, server.url);
    let config = std::fs::read_to_string(directory.path().join("latchkey.toml")).unwrap();
    assert!(config.contains(&format!("public_url = \"{}\"", server.url)), "{config}");
}

#[test]
fn a_folder_for_the_database_is_made_at_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[server]\nlisten = \"127.0.0.1:8080\"\npublic_url = \"http://127.0.0.1:8080\"\n\
                  secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
                  [store]\nurl = \"sqlite:deep/down/latchkey.db\"\n";
    write_private(&directory.path().join("latchkey.toml"), config);
    drop(Process::dev(directory.path(), free_port()));
    assert!(directory.path().join("deep/down/latchkey.db").exists());
}

#[test]
fn a_second_server_on_one_sqlite_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Process::dev(directory.path(), free_port());
    let second = Command::new(BINARY)
        .args(["dev", "--port", &free_port().to_string(), "--data-dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second.stderr).contains("another latchkey server uses"),
        "{}",
        text(&second.stderr)
    );
}

#[test]
fn development_refuses_to_be_reached_from_outside() {
    let directory = tempfile::tempdir().unwrap();
    write_private(
        &directory.path().join("latchkey.toml"),
        "[server]\nlisten = \"0.0.0.0:8080\"\npublic_url = \"http://127.0.0.1:8080\"\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
    );
    let refused =
        Command::new(BINARY).args(["dev", "--data-dir"]).arg(directory.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("not a loopback address"), "{}", text(&refused.stderr));
}

#[test]
fn development_reads_no_configuration_but_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.toml");
    write_private(&other, "");
    let refused = Command::new(BINARY)
        .args(["dev", "--config"])
        .arg(&other)
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let reason = text(&refused.stderr);
    assert!(reason.contains("reads ./latchkey-data/latchkey.toml, not "), "{reason}");
    assert!(!directory.path().join("latchkey-data").exists(), "nothing was made");
}

#[test]
fn a_wrong_configuration_is_told_whole_and_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latchkey.toml");
    write_private(
        &config,
        "[server]\npublic_url = \"auth.example.com\"\nsecret_key = \"hunter2hunter2\"\n[tokens]\nacess_ttl = \"15m\"\n",
    );
    let output = run(&["serve"], &config);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for expected in [
        "3 problems",
        "line 2",
        "server.public_url",
        "did you mean access_ttl",
        "Nothing was started.",
    ] {
        assert!(said.contains(expected), "{expected:?} is missing in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn wrong_usage_is_status_2_and_help_is_there() {
    let wrong = Command::new(BINARY).arg("serv").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    assert!(help.status.success());
    for command in
        ["dev", "serve", "migrate", "validate", "config", "generate-keys", "keys", "healthcheck"]
    {
        assert!(text(&help.stdout).contains(command), "{command}");
    }
}

#[test]
fn key_files_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let output = Command::new(BINARY)
            .args(["generate-keys", "--format", "json", "--algorithm", algorithm, "--output"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mode = |name: &str| {
            let path = PathBuf::from(made[name].as_str().unwrap());
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("private"), mode("public")), (0o600, 0o644));
    }
}

#[test]
fn migrations_are_listed_and_applied_and_a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latchkey.toml");
    write_private(
        &config,
        "[server]\npublic_url = \"http://127.0.0.1:8080\"\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n[store]\nmigrate_on_start = false\n",
    );
    let serve = run(&["serve"], &config);
    assert_eq!(serve.status.code(), Some(1));
    assert!(text(&serve.stderr).contains("latchkey migrate"), "{}", text(&serve.stderr));
    let pending = run_json(&["migrate", "--status"], &config);
    assert!(pending["items"].as_array().unwrap().iter().all(|one| one["applied_on"].is_null()));
    let applied = run_json(&["migrate"], &config);
    assert_eq!(
        applied["items"].as_array().unwrap().len(),
        pending["items"].as_array().unwrap().len()
    );
    assert_eq!(run_json(&["migrate"], &config)["items"].as_array().unwrap().len(), 0);
}

/// Reported, not asserted: figures belong into benchmarks.
/// A configuration with a database beside it that is not there yet.
fn configured(folder: &Path, further: &str) -> PathBuf {
    let config = folder.join("latchkey.toml");
    write_private(
        &config,
        &format!(
            "[server]\npublic_url = \"http://127.0.0.1:8080\"\n\
             secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n{further}"
        ),
    );
    config
}

/// Commands that look at what is there, or change it.
const BESIDE: [&[&str]; 8] = [
    &["keys", "list"],
    &["keys", "reseal"],
    &["users", "list"],
    &["users", "promote", "rivka"],
    &["clients", "list"],
    &["sessions", "revoke", "--before", "0"],
    &["audit", "tail"],
    &["audit", "export"],
];

#[test]
fn commands_make_no_database_where_there_is_none() {
    for command in BESIDE {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path(), "");
        let refused = run(command, &config);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(said.starts_with("There is no database ") && said.contains("store.url"), "{said}");
        assert!(!folder.path().join("latchkey.db").exists(), "{command:?}");
    }
    for command in [
        &["generate-keys"][..],
        &["clients", "register", "--public", "App", "--redirect-uri", "https://app.example/"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let made = run(command, &configured(folder.path(), ""));
        assert!(made.status.success(), "{command:?}: {}", text(&made.stderr));
    }
}

#[test]
fn commands_leave_an_older_schema_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "");
    assert!(run(&["generate-keys"], &config).status.success());
    let database = rusqlite::Connection::open(folder.path().join("latchkey.db")).unwrap();
    database
        .execute_batch(
            "DELETE FROM refinery_schema_history WHERE version = 8;
             DELETE FROM schema_compatibility WHERE version = 8;",
        )
        .unwrap();
    let pending = || {
        let all = run_json(&["migrate", "--status"], &config);
        all["items"].as_array().unwrap().iter().filter(|one| one["applied_on"].is_null()).count()
    };
    for command in BESIDE.into_iter().chain([&["generate-keys"][..]]) {
        let refused = run(command, &config);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(said.contains("version 7") && said.contains("`latchkey migrate`"), "{said}");
        assert_eq!(pending(), 1, "{command:?}");
    }
    assert!(run(&["migrate"], &config).status.success());
    assert!(run(&["keys", "list"], &config).status.success());
}

#[test]
fn validation_finds_folders_that_cannot_be_written_and_says_when_nobody_can_sign_in() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_json(&["validate"], &configured(folder.path(), ""));
    let checks = said["items"].as_array().unwrap();
    let providers = checks.iter().find(|one| one["check"] == "providers").unwrap();
    assert!(providers["detail"].as_str().unwrap().contains("nobody can sign in"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the configuration: {left:?}");

    // Nobody makes files in there, root included.
    let further = "[store]\nurl = \"sqlite:/proc/latchkey/latchkey.db\"\n[avatars]\nstore = \"file:/proc/avatars\"\n";
    let refused = run(&["validate", "--offline"], &configured(folder.path(), further));
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout);
    for expected in [
        "store: this user cannot write in /proc",
        "pictures: none can be stored: this user cannot write in /proc",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_help_of_a_command_has_its_own_options_first_and_no_lines_cut_by_hand() {
    let help =
        text(&Command::new(BINARY).args(["generate-keys", "--help"]).output().unwrap().stdout);
    let at = |option: &str| help.find(option).unwrap_or_else(|| panic!("{option}: {help}"));
    assert!(at("--bits") < at("--config") && at("--config") < at("--format"), "{help}");
    let help =
        text(&Command::new(BINARY).args(["users", "token", "--help"]).output().unwrap().stdout);
    assert!(help.contains("\"90s\"") && !help.contains('\\'), "{help}");
    let mut backup = Command::new(BINARY);
    let help = backup.args(["backup", "--help"]).env("COLUMNS", "100").output().unwrap();
    let help = text(&help.stdout);
    assert!(help.contains("\nanswered before it began. It is written"), "{help}");
}

#[test]
fn cold_start_and_memory_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    Process::dev(directory.path(), port).kill();
    let watch = latchkey::clock::Stopwatch::start();
    let process = Process::dev(directory.path(), port);
    let started = watch.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let resident = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    println!("dev with keys present: ready after {} ms, {resident}", started.as_millis());
    assert!(process.url.starts_with("http://127.0.0.1"));
}

/// A certificate that no name fits; the files.
fn certificate(folder: &Path, name: &str) -> [PathBuf; 2] {
    let files = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=nobody.invalid", "-out"])
        .arg(&files[0])
        .arg("-keyout")
        .arg(&files[1])
        .output()
        .expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    files
}

#[actix_web::test]
async fn the_health_check_asks_by_tls_and_takes_the_configured_certificate_alone() {
    let (directory, _guard) = data_dir(Backend::Sqlite).await;
    let [pem, key] = certificate(directory.path(), "own");
    let port = free_port();
    let config = directory.path().join("latchkey.toml");
    let write = |pem: &Path, key: &Path| {
        write_private(
            &config,
            &format!(
                "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"https://auth.example.com\"\n\
                 secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
                 [server.tls]\ncert = \"{}\"\nkey = \"{}\"\n[store]\nurl = \"sqlite:latchkey.db\"\n",
                pem.display(),
                key.display(),
            ),
        );
    };
    write(&pem, &key);
    let nobody = run(&["healthcheck"], &config);
    assert!(!nobody.status.success());
    let child = Command::new(BINARY)
        .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
        .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Process { child, url: String::new() };
    let becoming_ready = async {
        while !run(&["healthcheck"], &config).status.success() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), becoming_ready).await.unwrap();

    // Whoever else has the port is not this server.
    let [pem, key] = certificate(directory.path(), "other");
    write(&pem, &key);
    let stranger = run(&["healthcheck"], &config);
    assert!(!stranger.status.success());
    let told = text(&stranger.stderr);
    assert!(told.contains("certificate"), "{told}");
}

#[test]
fn a_command_whose_reader_has_seen_enough_ends_well() {
    let (gone, to) = std::io::pipe().unwrap();
    drop(gone);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [["completions", "bash"], ["man", "users"]] {
        let printing =
            |stdout: Stdio| Command::new(BINARY).args(arguments).stdout(stdout).output().unwrap();
        let unread = printing(to.try_clone().unwrap().into());
        assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(0), String::new()));
        let unwritten = printing(full.try_clone().unwrap().into());
        assert_eq!(unwritten.status.code(), Some(1));
        let reason = text(&unwritten.stderr);
        assert!(reason.starts_with("Standard output cannot be written: No space left"), "{reason}");
    }
}

/// A log that cannot be written is lost; sign-ins go on.
#[actix_web::test]
async fn a_log_that_cannot_be_written_neither_ends_nor_holds_up_anything() {
    let (gone, to) = std::io::pipe().unwrap();
    drop(gone);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    // Nobody reads this one, and it is full after 64 KiB.
    let (_stuck, unread) = std::io::pipe().unwrap();
    for stderr in [Stdio::from(to), Stdio::from(full), Stdio::from(unread)] {
        let (directory, _guard) = data_dir(Backend::Sqlite).await;
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let child = Command::new(BINARY)
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("latchkey.toml"))
            .env("LATCHKEY_SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("LATCHKEY_SERVER__PUBLIC_URL", &url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut process = Process { child, url };
        let client = client();
        until_ready(&client, &process.url).await;
        for _ in 0..1_000 {
            let answer = client.get(format!("{}/auth/providers", process.url)).send().await;
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
        process.signal("-TERM");
        let ended = actix_web::web::block(move || process.child.wait().unwrap()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}
