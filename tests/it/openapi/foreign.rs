//! Other people's programs read the document: openapi-spec-validator, and schemathesis, which calls every
//! operation with all that the document allows and does not allow, and looks at what it gets.

use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;

use super::{PUBLIC_URL, document_of};
use crate::admin_api::admin;
use crate::harness::{Backend, Server};
use crate::identity::access_of;
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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, document_of(PUBLIC_URL).to_string()).unwrap();
    let file = file.to_str().unwrap();
    let said = python(&["openapi_spec_validator", "--schema", "3.1", file]).await;
    said.unwrap_or_else(|complaints| panic!("{complaints}"));
}

/// What ends the session that all goes by: called last, each by somebody else.
const ENDING: [&str; 8] = [
    "end_session",
    "sign_out",
    "sign_out_everywhere",
    "delete_me",
    "revoke_user_sessions",
    "set_user_role",
    "lock_user",
    "delete_user",
];

/// An access token of somebody who may call everything.
async fn access_token(server: &Server, name: &str) -> String {
    access_of(&admin(server, name).await).await
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
    let token = access_token(&server, "rivka").await;
    // Keys are rotated on the way: the one that signed this token did so for a while.
    server.clock.advance(Duration::from_secs(1));
    let all: Vec<&str> = ENDING.iter().flat_map(|id| ["--exclude-operation-id", id]).collect();
    schemathesis(&server, &token, &all).await;
    let browser = server.browser();
    let me = browser.client.get(format!("{}/admin/users", server.url)).bearer_auth(&token);
    assert_eq!(browser.send(me).await.status(), StatusCode::OK, "all of it was called by an admin");
    for (number, id) in ENDING.iter().enumerate() {
        let token = access_token(&server, &format!("person{number}")).await;
        schemathesis(&server, &token, &["--include-operation-id", id]).await;
    }
}
