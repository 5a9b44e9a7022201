//! The image and the compose environment, as far as they can be read: each file holds what the others rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::processes::{BINARY, text};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const CADDYFILE: &str = include_str!("../../contrib/Caddyfile");
const NODES: [&str; 2] = ["latchkey-1", "latchkey-2"];
/// What an operator has to say; compose refuses to start without each.
const SAID: [(&str, &str); 4] = [
    ("LATCHKEY_SITE", "auth.example.com"),
    ("LATCHKEY_PROVIDER_NAME", "work"),
    ("LATCHKEY_PROVIDER_ISSUER", "https://login.example.com"),
    ("LATCHKEY_PROVIDER_CLIENT_ID", "latchkey"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A YAML file, as PyYAML reads it.
fn yaml(name: &str) -> Value {
    let installed = std::env::var_os("LATCHKEY_TEST_SERVERS")
        .expect("this test needs a reader of YAML: use ./run test, or tests/with-servers");
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let output = Command::new(Path::new(&installed).join("python/bin/python"))
        .args(["-c", read])
        .stdin(std::fs::File::open(root().join(name)).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What compose makes of a text: `${NAME}`, `${NAME:-default}`, `${NAME:?why}`.
fn interpolated(text: &str, said: &BTreeMap<String, String>) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, behind) = after.split_once('}').unwrap();
        let (name, otherwise) =
            inner.split_once(':').map_or((inner, None), |(name, how)| (name, Some(how)));
        let value = match (said.get(name).filter(|value| !value.is_empty()), otherwise) {
            (Some(value), _) => value.clone(),
            (None, Some(how)) if how.starts_with('-') => how[1..].to_owned(),
            (None, _) => return Err(name.to_owned()),
        };
        whole.push_str(before);
        whole.push_str(&value);
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn said(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The environment of a service.
fn environment(service: &Value, said: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (name, value) in service["environment"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_else(|| panic!("{name} is no text"));
        environment.insert(name.clone(), interpolated(value, said).unwrap());
    }
    environment
}

fn names(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Object(members) => members.keys().map(String::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// The secrets as they are made for operators.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    make_secrets(folder.path());
    folder
}

fn make_secrets(folder: &Path) {
    let made =
        Command::new(root().join("contrib/compose/make-secrets")).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Runs `latchkey config` with exactly this environment, where the secrets lie in a folder.
fn effective(environment: &BTreeMap<String, String>, secrets: &Path) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["config", "--format", "json"])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| {
            (name, value.replace("/run/secrets/", &format!("{}/", secrets.display())))
        }))
        .current_dir(folder.path())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(text(&output.stderr))
}

#[test]
fn what_the_nodes_are_told_is_a_valid_configuration() {
    let (compose, secrets, said) = (yaml("compose.yaml"), secrets(), said(&SAID));
    for node in NODES {
        let environment = environment(&compose["services"][node], &said);
        effective(&environment, secrets.path()).unwrap();
        // That this can fail: one key that there is not.
        let mut wrong = environment.clone();
        wrong.insert("LATCHKEY_AVATARS__BUCKET".to_owned(), "avatars".to_owned());
        assert!(effective(&wrong, secrets.path()).unwrap_err().contains("AVATARS__BUCKET"));
    }
}

#[test]
fn so_is_what_they_are_told_beside_the_independent_provider() {
    let (compose, test) = (yaml("compose.yaml"), yaml("compose.test.yaml"));
    let lines = std::fs::read_to_string(root().join("tests/compose/environment")).unwrap();
    let pairs = lines.lines().filter(|line| !line.starts_with('#'));
    let said = said(&pairs.map(|line| line.split_once('=').unwrap()).collect::<Vec<_>>());
    let secrets = secrets();
    for node in NODES {
        let mut merged = environment(&compose["services"][node], &said);
        merged.extend(environment(&test["services"][node], &said));
        effective(&merged, secrets.path()).unwrap();
    }
    // The provider and the test have the same addresses.
    let whole = test.to_string();
    for address in [
        &said["LATCHKEY_PROVIDER_ISSUER"],
        &format!("https://{}", said["LATCHKEY_SITE"]),
        &format!(
            "https://{}/auth/{}/callback",
            said["LATCHKEY_SITE"], said["LATCHKEY_PROVIDER_NAME"]
        ),
    ] {
        assert!(whole.contains(address.as_str()), "{address} is not in compose.test.yaml");
    }
    let front = names(&test["services"]["caddy"]["networks"]["front"]["aliases"]);
    assert_eq!(front, BTreeSet::from(["latchkey.test", "provider.test"]));
}

#[test]
fn nothing_is_left_unsaid_that_has_no_default() {
    let compose = yaml("compose.yaml");
    let said = said(&SAID);
    for left in said.keys() {
        let mut others = said.clone();
        others.remove(left);
        let node = &compose["services"][NODES[0]]["environment"];
        let missing = node
            .as_object()
            .unwrap()
            .values()
            .find_map(|value| interpolated(value.as_str().unwrap(), &others).err());
        assert_eq!(missing.as_ref(), Some(left));
    }
}

#[test]
fn every_secret_that_is_given_is_made_and_none_is_ever_changed() {
    let (compose, secrets) = (yaml("compose.yaml"), secrets());
    let made = |name: &str| std::fs::read(secrets.path().join(name)).unwrap();
    let defined = compose["secrets"].as_object().unwrap();
    let before: Vec<_> = defined.keys().map(|name| made(name)).collect();
    for (name, secret) in defined {
        let file = secret["file"].as_str().unwrap();
        assert_eq!(file, format!("${{LATCHKEY_SECRETS:-./secrets}}/{name}"));
    }
    for (name, service) in compose["services"].as_object().unwrap() {
        let given = names(&service["secrets"]);
        assert!(given.iter().all(|secret| defined.contains_key(*secret)), "{name}");
        let used: BTreeSet<String> = service
            .to_string()
            .split("/run/secrets/")
            .skip(1)
            .map(|rest| rest.split(['"', ' ']).next().unwrap().to_owned())
            .collect();
        assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), given, "{name}");
    }
    make_secrets(secrets.path());
    let after: Vec<_> = defined.keys().map(|name| made(name)).collect();
    assert_eq!(before, after);
    let url = String::from_utf8(made("database_url")).unwrap();
    let password = String::from_utf8(made("postgres_password")).unwrap();
    assert_eq!(url, format!("postgres://latchkey:{password}@postgres/latchkey"));
}

#[test]
fn caddy_is_told_what_its_file_asks_for_and_where_the_nodes_listen() {
    let compose = yaml("compose.yaml");
    let told = environment(&compose["services"]["caddy"], &said(&SAID));
    let asked: BTreeSet<&str> =
        CADDYFILE.split("{$").skip(1).map(|rest| rest.split([':', '}']).next().unwrap()).collect();
    for name in ["LATCHKEY_SITE", "LATCHKEY_NODES", "CADDY_GLOBAL_OPTIONS"] {
        assert!(asked.contains(name) && told.contains_key(name), "{name}");
    }
    let port = "8080";
    assert!(DOCKERFILE.contains(&format!("LATCHKEY_SERVER__LISTEN=0.0.0.0:{port}")));
    assert!(DOCKERFILE.contains(&format!("EXPOSE {port}")));
    assert_eq!(told["LATCHKEY_NODES"], NODES.map(|node| format!("{node}:{port}")).join(" "));
    // Caddy is believed, whatever address it gets.
    let node = environment(&compose["services"][NODES[0]], &said(&SAID));
    let subnet = compose["networks"]["front"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let subnet = interpolated(subnet, &said(&SAID)).unwrap();
    assert_eq!(node["LATCHKEY_SERVER__TRUSTED_PROXIES__0"], subnet);
}

#[test]
fn the_nodes_run_as_the_image_and_its_health_check_allow() {
    let compose = yaml("compose.yaml");
    let check = r#"CMD ["/usr/local/bin/latchkey", "healthcheck"]"#;
    assert!(DOCKERFILE.contains(check), "the image has another health check");
    assert!(DOCKERFILE.contains("USER 10001:10001"));
    for node in NODES {
        let service = &compose["services"][node];
        assert_eq!(
            service["healthcheck"]["test"],
            serde_json::json!(["CMD", "/usr/local/bin/latchkey", "healthcheck"])
        );
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
    }
    // Everything that is built from the source is in the context.
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    for needed in ["Cargo.toml", "Cargo.lock", "askama.toml", "benches", "migrations", "src"] {
        assert!(ignored.lines().any(|line| line == format!("!{needed}")), "{needed}");
    }
}
