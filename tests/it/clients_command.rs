//! `latchkey clients …`: the binary itself, alone and beside a live server.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use latchkey::actors::clients::FindClient;
use latchkey::administration::By;
use latchkey::config::settings::{Settings, StoreUrl};
use latchkey::protocol::client::{AuthMethod, ClientMetadata};
use latchkey::registration;
use latchkey::store::model::{Actor, Client};
use serde_json::{Value, json};

use crate::harness::{Backend, Server};
use crate::processes::{run, text, write_private};
use crate::registration::Registered;

/// A configuration for the command line.
pub struct Desk {
    config: PathBuf,
    directory: tempfile::TempDir,
}

impl Desk {
    /// With a store of its own; `further` stands behind `[server]`.
    pub fn alone(further: &str) -> Self {
        Self::of("sqlite:latchkey.db", "", further)
    }

    /// With the store of a server that runs in this process.
    pub fn beside(server: &Server) -> Self {
        Self::beside_with(server, "")
    }

    /// The same, with `further` behind `[server]`.
    pub fn beside_with(server: &Server, further: &str) -> Self {
        let Settings { store, .. } = &server.app.settings;
        match &store.url {
            StoreUrl::Sqlite(path) => Self::of(&format!("sqlite:{}", path.display()), "", further),
            StoreUrl::Postgres(url) => {
                let schema = store.schema.as_ref().unwrap();
                Self::of(url.expose(), &format!("schema = \"{schema}\""), further)
            }
        }
    }

    fn of(url: &str, schema: &str, further: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = Self { config: directory.path().join("latchkey.toml"), directory };
        desk.configure(url, schema, further);
        desk
    }

    fn configure(&self, url: &str, schema: &str, further: &str) {
        write_private(
            &self.config,
            &format!(
                "[server]\npublic_url = \"https://auth.example\"\n\
                 secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n{further}\n\
                 [store]\nurl = \"{url}\"\n{schema}\n"
            ),
        );
    }

    /// Runs `latchkey …`, which succeeds.
    pub fn does(&self, arguments: &[&str]) {
        let output = run(arguments, &self.config);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }

    /// A command that goes on until it is killed.
    pub fn begin(&self, arguments: &[&str]) -> std::process::Child {
        Command::new(env!("CARGO_BIN_EXE_latchkey"))
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs any command.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &self.config)
    }

    /// Runs `latchkey clients …`.
    pub fn clients(&self, arguments: &[&str]) -> Output {
        run(&[&["clients"], arguments].concat(), &self.config)
    }

    /// The JSON that it prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.clients(&[arguments, &["--format", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What it tells a person.
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.clients(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Why it refuses.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.clients(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Registers a web app of this id, to act as it.
    pub fn client(&self, id: &str) -> Registered {
        let secret = self.app(id)["client_secret"].as_str().unwrap().to_owned();
        Registered { id: id.to_owned(), secret }
    }

    /// Registers a web app of this id.
    pub fn app(&self, id: &str) -> Value {
        let redirect_uri = "https://app.example/callback";
        self.json(&["register", "Example app", "--client-id", id, "--redirect-uri", redirect_uri])
    }
}

/// What a server knows of a client.
pub async fn known(server: &Server, id: &str) -> Option<Arc<Client>> {
    server.app.clients.ask(FindClient(id.to_owned())).await.unwrap().unwrap()
}

/// Asks a server until what it knows is as expected.
pub async fn follows(server: &Server, id: &str, is_expected: impl Fn(Option<&Client>) -> bool) {
    let asking = async {
        while !is_expected(known(server, id).await.as_deref()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the server follows");
}

async fn changes_reach_a_live_server(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let desk = Desk::beside(&server);
    assert_eq!(known(&server, "app").await, None);
    let registered = desk.app("app");
    let has_secret = |client: &Client, secret: &Value| {
        client.secret.as_ref().is_some_and(|hash| hash.is_of(secret.as_str().unwrap()))
    };
    follows(&server, "app", |client| {
        client.is_some_and(|client| has_secret(client, &registered["client_secret"]))
    })
    .await;
    desk.told(&["update", "app", "--auto-approve"]);
    follows(&server, "app", |client| client.is_some_and(|client| client.metadata.auto_approve))
        .await;
    let rotated = desk.json(&["rotate-secret", "app", "--overlap", "0"]);
    follows(&server, "app", |client| {
        client.is_some_and(|client| has_secret(client, &rotated["client_secret"]))
    })
    .await;
    desk.told(&["remove", "app"]);
    follows(&server, "app", |client| client.is_none()).await;
    for action in ["client.registered", "client.updated", "client.secret_rotated", "client.removed"]
    {
        assert_eq!(server.audited(action).await, 1, "{action}");
    }
}

async fn a_fixed_client_is_there_once_and_as_it_should_be(backend: Backend) {
    let server = Server::start(backend, "").await;
    let app = &server.app;
    let rules = registration::rules(&app.settings).unwrap();
    let ensure = async |name: &str| {
        let metadata = ClientMetadata {
            client_name: name.to_owned(),
            redirect_uris: vec![format!("{}/dev/app/callback", server.url)],
            token_endpoint_auth_method: AuthMethod::None,
            ..ClientMetadata::default()
        };
        let by = By::local(Actor::System, server.clock.now());
        registration::ensure(app.store.read.as_ref(), &app.writer, &rules, by, "demo", metadata)
            .await
            .unwrap()
    };
    for (name, registered, updated) in
        [("Demo app", 1, 0), ("Demo app", 1, 0), ("Other app", 1, 1), ("Other app", 1, 1)]
    {
        let ensured = ensure(name).await;
        assert!(ensured.secret.is_none());
        assert_eq!(ensured.client.metadata.client_name, name);
        let stored = app.store.read.client("demo").await.unwrap().unwrap();
        assert_eq!(stored.metadata, ensured.client.metadata);
        assert_eq!(server.audited("client.registered").await, registered);
        assert_eq!(server.audited("client.updated").await, updated);
    }
}

crate::on_both_stores!(
    changes_reach_a_live_server,
    a_fixed_client_is_there_once_and_as_it_should_be,
);

#[test]
fn clients_are_written_by_the_names_of_rfc_7591() {
    let desk = Desk::alone("");
    let made = desk.app("app");
    assert!(made["client_id_issued_at"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(made["client_secret"].as_str().unwrap().len(), 43);
    assert_eq!(made["client_secret_expires_at"], 0);
    for (member, value) in [
        ("client_id", json!("app")),
        ("client_name", json!("Example app")),
        ("redirect_uris", json!(["https://app.example/callback"])),
        ("grant_types", json!(["authorization_code", "refresh_token"])),
        ("response_types", json!(["code"])),
        ("scope", json!("openid profile email")),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("application_type", json!("web")),
        ("id_token_signed_response_alg", json!("RS256")),
        ("require_pkce", json!(true)),
        ("auto_approve", json!(false)),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    let public = desk.json(&[
        "register",
        "Example page",
        "--redirect-uri",
        "https://page.example/",
        "--public",
        "--auto-approve",
        "--scope",
        "openid email",
        "--scope",
        "openid",
    ]);
    assert_eq!(public["client_id"].as_str().unwrap().len(), 22);
    assert_eq!(public["token_endpoint_auth_method"], "none");
    assert_eq!((&public["scope"], &public["auto_approve"]), (&json!("openid email"), &json!(true)));
    for member in ["client_secret", "client_secret_expires_at"] {
        assert!(public.get(member).is_none(), "{member}");
    }
    let service = desk.json(&["register", "Example service", "--grant", "client_credentials"]);
    assert_eq!((&service["scope"], &service["redirect_uris"]), (&json!(""), &json!([])));
    assert!(service["client_secret"].is_string());

    let listed = desk.json(&["list"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    assert_eq!(listed["next_cursor"], Value::Null);
    let shown = desk.json(&["show", "app"]);
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("client_secret");
    assert_eq!(shown, expected);
    assert!(listed["items"].as_array().unwrap().contains(&expected));
}

#[test]
fn of_a_file_the_options_and_set_the_later_wins() {
    let desk = Desk::alone("");
    let file = desk.directory.path().join("client.json");
    let document = json!({
        "client_name": "From the file",
        "client_id": "of-the-file",
        "redirect_uris": ["https://file.example/"],
        "scope": "openid",
        "audience": "orders",
        "client_id_issued_at": 1,
        "response_types": ["code"],
    });
    std::fs::write(&file, document.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let made = desk.json(&[
        "register",
        "From the line",
        "--from",
        file,
        "--redirect-uri",
        "https://line.example/",
        "--set",
        "scope=openid email",
        "--set",
        "redirect_uris=[\"https://set.example/\"]",
        "--set",
        "require_pkce=false",
        "--set",
        "contacts=[\"ops@app.example\"]",
    ]);
    for (member, value) in [
        ("client_id", json!("of-the-file")),
        ("client_name", json!("From the line")),
        ("redirect_uris", json!(["https://set.example/"])),
        ("scope", json!("openid email")),
        ("audience", json!("orders")),
        ("require_pkce", json!(false)),
        ("contacts", json!(["ops@app.example"])),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    // What `show` prints can be edited and given back.
    let shown = desk.json(&["show", "of-the-file"]);
    std::fs::write(file, shown.to_string()).unwrap();
    assert!(desk.told(&["update", "of-the-file", "--from", file]).starts_with("Nothing changed"));
    assert!(desk.refused(&["update", "other", "--from", file]).contains("no client"));
    desk.app("other");
    assert!(desk.refused(&["update", "other", "--from", file]).contains("does not change"));

    std::fs::write(file, "{\"scope\": \"openid\", \"scope\": \"roles\"}").unwrap();
    assert!(desk.refused(&["update", "other", "--from", file]).contains("not a JSON object"));
    std::fs::write(file, "[]").unwrap();
    assert!(desk.refused(&["register", "--from", file]).contains("not a JSON object"));
    assert!(desk.refused(&["register", "--from", "/nowhere.json"]).contains("cannot be read"));
}

#[test]
fn people_read_what_to_do_next() {
    let desk = Desk::alone("");
    assert!(desk.run(&["migrate"]).status.success());
    let empty = desk.told(&["list"]);
    assert!(empty.starts_with("No clients yet. Register one:\n\n  latchkey clients register "));
    let said = desk.told(&["register", "My app", "--redirect-uri", "http://localhost:3000/cb"]);
    for expected in [
        "Registered My app, a confidential client.\n",
        "shown once",
        "  Issuer          https://auth.example\n",
        "  Discovery       https://auth.example/.well-known/openid-configuration\n",
        "  Token           https://auth.example/oauth/token\n",
        "  Redirect URI    http://localhost:3000/cb\n",
        "Next, give the app the issuer, the id, the secret and the redirect URI.",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let service =
        desk.told(&["register", "Job", "--grant", "client_credentials", "--client-id", "job"]);
    assert!(service.contains("curl -u job:SECRET -d grant_type=client_credentials"), "{service}");
    let list = desk.told(&["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    let columns =
        ["NAME", "KIND", "GRANTS", "REGISTERED", "CHANGED"].map(|name| lines[0].find(name));
    assert!(columns.is_sorted() && columns[0].is_some(), "{list}");
    assert_eq!(lines[0].find("KIND"), lines[1].find("confidential"));
    let shown = desk.told(&["show", "job"]);
    assert!(shown.contains("secret") && shown.contains("one, stored as a hash"), "{shown}");
    assert!(
        desk.refused(&["rotate-secret", "nobody"])
            .contains("`latchkey clients list` shows them all.")
    );
    let removed = desk.told(&["remove", "job"]);
    assert!(
        removed.starts_with("Removed Job (job), with its secret, what people allowed it"),
        "{removed}"
    );
    assert!(removed.contains("in 15m at the latest"), "{removed}");
}

#[test]
fn all_problems_are_told_at_once_and_nothing_is_registered() {
    let desk = Desk::alone("");
    let said = desk.refused(&[
        "register",
        "My app",
        "--redirect-uri",
        "http://app.example/cb",
        "--redirect-uri",
        "https://*.app.example/",
        "--scope",
        "openid order",
        "--set",
        "audience=latchkey",
    ]);
    assert!(said.starts_with("4 problems"), "{said}");
    for expected in [
        "  redirect_uris[0] = \"http://app.example/cb\"\n",
        "did you mean https://app.example/cb?",
        "  redirect_uris[1] = \"https://*.app.example/\"\n      holds a wildcard",
        "names order, which is no scope of this server",
        "  audience = \"latchkey\"\n      is the server's own",
        "Nothing was changed.",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let unknown =
        desk.refused(&["register", "My app", "--set", "redirect_uri=https://app.example/"]);
    assert!(unknown.contains("did you mean redirect_uris?"), "{unknown}");
    let without = desk.refused(&["register", "My app"]);
    assert!(without.starts_with("redirect_uris is empty; "), "{without}");
    let public = ["register", "S", "--public", "--grant", "client_credentials"];
    assert!(desk.refused(&public).contains("client_credentials for a public client"));
    assert_eq!(desk.json(&["list"])["items"], json!([]));
}

#[test]
fn wrong_usage_of_clients_is_status_2() {
    let desk = Desk::alone("");
    for wrong in [
        &["register"] as &[&str],
        &["register", "App", "--grant", "implicit"],
        &["register", "App", "--set", "scope"],
        &["register", "App", "--public=perhaps"],
        &["show"],
        &["rotate-secret", "app", "--overlap", "a day"],
        &["rotate-secret", "app", "--overlap", "9999d"],
        &["forget", "app"],
    ] {
        assert_eq!(desk.clients(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let help = desk.told(&["register", "--help"]);
    assert!(help.contains("Examples:") && help.contains("--redirect-uri <URI>"), "{help}");
    let completions = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .args(["completions", "bash"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(text(&completions.stdout).contains("rotate-secret"));
}

#[test]
fn a_client_that_becomes_confidential_gets_its_secret_by_rotation() {
    let desk = Desk::alone("");
    desk.json(&[
        "register",
        "Page",
        "--client-id",
        "page",
        "--redirect-uri",
        "https://p.example/",
        "--public",
    ]);
    assert!(desk.refused(&["rotate-secret", "page"]).contains("authenticates by none"));
    let said = desk.told(&["update", "page", "--public=false"]);
    assert!(said.contains("`latchkey clients rotate-secret page` makes one."), "{said}");
    let rotated = desk.json(&["rotate-secret", "page"]);
    assert!(rotated["client_secret"].is_string());
    assert!(rotated.get("former_client_secret_expires_at").is_none());
}

#[test]
fn validating_names_clients_that_the_configuration_allows_no_more() {
    let orders = "allow_private_receivers = true\n[[scopes]]\nname = \"orders.read\"\n\
                  description = \"See your orders\"\n";
    let desk = Desk::alone(orders);
    let validate = || run(&["validate", "--offline"], &desk.config);
    desk.json(&[
        "register",
        "App",
        "--client-id",
        "app",
        "--redirect-uri",
        "https://app.example/",
        "--scope",
        "openid orders.read",
        "--set",
        "jwks_uri=https://10.0.0.1/keys",
    ]);
    let fits = validate();
    assert!(fits.status.success(), "{}", text(&fits.stdout));
    assert!(text(&fits.stdout).contains("clients: 1 client, as the configuration allows"));
    desk.configure("sqlite:latchkey.db", "", "");
    let misfits = validate();
    assert_eq!(misfits.status.code(), Some(1));
    let said = text(&misfits.stdout);
    for expected in [
        "problem  client app: scope names orders.read, which is no scope of this server",
        "problem  client app: jwks_uri = \"https://10.0.0.1/keys\" lies on a private",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}
