//! What stands in contrib/ for other people's programs: manifests of Kubernetes, and the unit of systemd.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::{Backend, Server};
use crate::processes::{BINARY, Process, free_port, text, write_private};
use crate::real_clients::program::installed;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("contrib/kubernetes")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn python(arguments: &[&str]) -> String {
    let program = installed().join("python/bin/python");
    let output =
        Command::new(program).arg("-B").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A manifest as JSON.
fn manifest(name: &str) -> Value {
    let file = root().join("contrib/kubernetes").join(name);
    let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    serde_json::from_str(&python(&["-c", read, file.to_str().unwrap()])).unwrap()
}

fn container() -> Value {
    manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn a_validator_accepts_the_manifests_and_all_of_them_are_applied() {
    let mut applied = BTreeSet::new();
    for file in manifests() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "kustomization.yaml" {
            continue;
        }
        // Strict: a member that Kubernetes does not know is an error.
        let said = Command::new(installed().join("python/bin/python"))
            .args(["-B", "-m", "kubernetes_validate", "--strict"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
        applied.insert(name);
    }
    // The example of a secret is for people to read.
    assert!(applied.remove("secret.example.yaml"));
    let kustomization = manifest("kustomization.yaml");
    let listed = kustomization["resources"].as_array().unwrap().iter();
    assert_eq!(
        listed.map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(),
        applied
    );
}

/// What `latchkey validate --offline` says of the configuration in the ConfigMap, in an environment.
fn validated(environment: &[(String, String)]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("latchkey.toml");
    let toml = manifest("configmap.yaml")["data"]["latchkey.toml"].as_str().unwrap().to_owned();
    std::fs::write(&config, toml).unwrap();
    Command::new(BINARY)
        .args(["config", "--config"])
        .arg(&config)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap()
}

#[test]
fn the_configuration_in_the_manifests_is_valid_with_a_secret_and_refused_with_the_example_of_one() {
    let secret = manifest("secret.example.yaml")["stringData"].clone();
    let names: Vec<String> = secret.as_object().unwrap().keys().cloned().collect();
    let real = |name: &String| {
        let value = match name.as_str() {
            "LATCHKEY_SECRET" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            // As the example has it, options included.
            "DATABASE_URL" => {
                secret[name].as_str().unwrap().strip_prefix("to be replaced: ").unwrap()
            }
            _ => "value",
        };
        (name.clone(), value.to_owned())
    };
    let environment: Vec<_> = names.iter().map(real).collect();
    let valid = validated(&environment);
    assert!(valid.status.success(), "{}", text(&valid.stderr));
    // Each is needed, so that the example names no more than there is.
    for missing in 0..environment.len() {
        let mut environment = environment.clone();
        let (name, _) = environment.remove(missing);
        let refused = validated(&environment);
        assert_eq!(refused.status.code(), Some(1), "{name}");
        assert!(text(&refused.stderr).contains(&name), "{}", text(&refused.stderr));
    }
    let as_it_stands = |name: &String| (name.clone(), secret[name].as_str().unwrap().to_owned());
    let refused = validated(&names.iter().map(as_it_stands).collect::<Vec<_>>());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("server.secret_key"), "{}", text(&refused.stderr));
}

#[actix_web::test]
async fn probes_ports_user_and_times_of_the_manifests_are_those_of_the_server_and_the_image() {
    let container = container();
    let server = Server::start(Backend::Sqlite, "").await;
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["port"], "http");
        let path = asked["path"].as_str().unwrap();
        assert_eq!(server.browser().get(path).await.status(), StatusCode::OK, "{probe}: {path}");
    }
    let configmap = manifest("configmap.yaml");
    let config: toml::Table = configmap["data"]["latchkey.toml"].as_str().unwrap().parse().unwrap();
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == name).unwrap();
        format!("0.0.0.0:{}", port["containerPort"])
    };
    assert_eq!(config["server"]["listen"].as_str(), Some(port("http").as_str()));
    assert_eq!(config["telemetry"]["metrics_listen"].as_str(), Some(port("metrics").as_str()));
    let image = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(image.contains("EXPOSE 8080") && image.contains("10001"));

    let deployment = manifest("deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"], 10001);
    let grace = config["server"]["shutdown_grace"].as_str().unwrap();
    let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > grace);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("service.yaml")["spec"]["selector"], labels);
    let budget = manifest("poddisruptionbudget.yaml");
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
}

/// The lines of the unit that set something.
fn unit() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("contrib/systemd/latchkey.service")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_unit_gives_a_shutdown_the_time_that_it_takes() {
    let unit = unit();
    let value = |key: &str| unit.iter().find(|(found, _)| found == key).unwrap().1.as_str();
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 20 + 20);
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
}

#[test]
fn the_service_manager_hears_that_it_is_ready_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = || {
        let mut message = [0; 64];
        let length = heard.recv(&mut message).unwrap();
        text(&message[..length])
    };
    let config = folder.path().join("latchkey.toml");
    write_private(
        &config,
        "[server]\npublic_url = \"http://127.0.0.1:8080\"\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
    );
    let port = free_port();
    let child = Command::new(BINARY)
        .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
        .env("LATCHKEY_SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
        .env("NOTIFY_SOCKET", &socket)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process { child, url: String::new() };
    assert_eq!(hear(), "READY=1");
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    process.signal("-TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert!(process.child.wait().unwrap().success());
}
