//! The end-to-end test: against any deployment, from outside, by HTTP alone.
//!
//! `LATCHKEY_E2E_URL=https://auth.example.com ./run e2e` tries that deployment; `./run e2e` alone says what can be
//! set beside. Without an address it starts `latchkey dev` for itself, so that it is part of `./run test`.

#![allow(unreachable_pub, reason = "nobody uses this binary as a library")]

mod journey;
mod own;

use std::env;
use std::time::Duration;

use journey::{Admin, SPREAD, Target};
use reqwest::Certificate;

/// A variable of the environment, if it is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the environment says, if it says an address.
fn elsewhere() -> Result<Option<Target>, String> {
    let Some(url) = variable("LATCHKEY_E2E_URL") else { return Ok(None) };
    let url = url.trim_end_matches('/').to_owned();
    let authorities = match variable("LATCHKEY_E2E_CA") {
        None => Vec::new(),
        Some(path) => {
            let pem = std::fs::read(&path)
                .map_err(|error| format!("LATCHKEY_E2E_CA={path} cannot be read: {error}"))?;
            Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("LATCHKEY_E2E_CA={path} holds no certificate: {error}"))?
        }
    };
    let admin = match (variable("LATCHKEY_E2E_ADMIN_TOKEN"), variable("LATCHKEY_E2E_ADMIN")) {
        (Some(token), _) => Some(Admin::Token(token)),
        (None, name) => name.map(Admin::Person),
    };
    let nodes = variable("LATCHKEY_E2E_NODES").unwrap_or_default();
    Ok(Some(Target {
        url,
        authorities,
        provider: variable("LATCHKEY_E2E_PROVIDER"),
        admin,
        nodes: nodes.split_whitespace().map(|node| node.trim_end_matches('/').to_owned()).collect(),
        rotate_keys: variable("LATCHKEY_E2E_ROTATE_KEYS").is_some_and(|value| value == "1"),
        spread: SPREAD,
    }))
}

#[tokio::test]
async fn people_apps_and_admins_find_everything_as_it_should_be() -> Result<(), String> {
    if let Some(target) = elsewhere()? {
        return journey::all(target).await;
    }
    let server = own::Server::start()?;
    journey::all(Target {
        url: server.url.clone(),
        authorities: Vec::new(),
        provider: None,
        admin: Some(Admin::Person(own::ADMIN.to_owned())),
        nodes: Vec::new(),
        rotate_keys: true,
        spread: Duration::ZERO,
    })
    .await
}
