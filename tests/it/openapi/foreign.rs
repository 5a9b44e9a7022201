//! Other people's programs read the document: openapi-spec-validator, and schemathesis, which calls every
//! operation with all that the document allows and does not allow, and looks at what it gets.

use std::process::{Command, Stdio};

use crate::harness::{Backend, Server};
use crate::real_clients::program::installed;

/// Runs a module of Python beside a running server; what it says.
async fn python(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(installed().join("python/bin/python"));
    command.args(["-B", "-m"]).args(arguments).stdin(Stdio::null());
    command.envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")]);
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(&folder);
    let output = actix_web::web::block(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(format!("{said}\n{complaints}")) }
}

#[actix_web::test]
async fn a_validator_accepts_the_document() {
    let server = Server::start(Backend::Sqlite, "").await;
    let address = format!("{}/openapi.json", server.url);
    let said = python(&["openapi_spec_validator", "--schema", "3.1", &address]).await;
    said.unwrap_or_else(|complaints| panic!("{complaints}"));
}

/// What may end the session that all goes by: called last, each as often as it takes.
const ENDING: [&str; 3] = ["sign_out", "sign_out_everywhere", "delete_me"];

/// An access token of a person who may call as much as possible.
async fn access_token(server: &Server) -> String {
    let browser = server.browser();
    browser.sign_in("rivka").await;
    let setup = serde_json::json!({ "username": "rivka" });
    let answer = browser.post_json("/auth/setup", &setup).await;
    crate::harness::cookie(&answer, "auth_access").expect("who has set up an account is signed in")
}

async fn schemathesis(server: &Server, token: &str, filters: &[&str]) {
    let address = format!("{}/openapi.json", server.url);
    let header = format!("Authorization: Bearer {token}");
    let mut arguments = vec!["schemathesis.cli", "run", &address, "--header", &header];
    // Whether a well-formed value is accepted, no schema tells: an address may be somebody else's, a ticket old.
    arguments.extend(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    arguments.extend(["--phases", "coverage,fuzzing", "--max-examples", "10", "--no-shrink"]);
    arguments.extend(["--generation-deterministic", "--warnings", "off", "--no-color"]);
    arguments.extend(filters);
    let said = python(&arguments).await;
    said.unwrap_or_else(|complaints| panic!("{complaints}"));
}

#[actix_web::test]
async fn schemathesis_finds_no_answer_outside_the_document() {
    let server = Server::start(Backend::Sqlite, "").await;
    let token = access_token(&server).await;
    let [all, last]: [Vec<&str>; 2] = ["--exclude-operation-id", "--include-operation-id"]
        .map(|filter| ENDING.iter().flat_map(|id| [filter, id]).collect());
    schemathesis(&server, &token, &all).await;
    assert!(server.app.store.read.user_count().await.unwrap() > 0);
    schemathesis(&server, &token, &last).await;
}
