//! The OpenAPI document: it tells of every route and of nothing else, and other people's programs understand
//! it. That answers are as it says, `conformance` looks at with every request of every test.

mod foreign;
mod reference;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use latchkey::config;
use latchkey::error::ErrorCode;
use latchkey::routes::endpoints;
use latchkey::routes::openapi::document::document;
use reqwest::header::{ALLOW, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Backend, Server, body, code};
use crate::processes::{Process, free_port};

/// The document of a configuration: what stands below `[server]`.
fn document_of(further: &str) -> Value {
    let text = format!(
        "[server]\nsecret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n{further}"
    );
    let settings = config::parse(&text, Path::new("."));
    document(&settings.unwrap_or_else(|problems| panic!("{problems}")))
}

const PUBLIC_URL: &str = "public_url = \"https://auth.example.com\"\n";

/// The operations of a document: path, method, and what is told.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, told) in methods.as_object().unwrap() {
            found.push((path.as_str(), method.as_str(), told));
        }
    }
    found
}

/// The names in the braces of a path.
fn placeholders(path: &str) -> BTreeSet<&str> {
    path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

#[actix_web::test]
async fn the_document_tells_of_every_route_and_of_no_other() {
    let server = Server::start(Backend::Sqlite, "").await;
    let browser = server.browser();
    let served = body(browser.get("/openapi.json").await).await;
    let told: BTreeSet<(String, String)> = operations(&served)
        .into_iter()
        .map(|(path, method, _)| (path.to_owned(), method.to_uppercase()))
        .collect();
    let registered: BTreeSet<(String, String)> = endpoints()
        .iter()
        .flat_map(|endpoint| {
            let methods = endpoint.operations.iter();
            methods.map(|(method, _)| (endpoint.path.to_owned(), (*method).to_owned()))
        })
        .collect();
    assert_eq!(told, registered);
    // The router agrees: it names the same methods where another is tried.
    for endpoint in endpoints() {
        let address = endpoint.path.replace(['{', '}'], "");
        let request = browser.client.request(Method::PUT, format!("{}{address}", server.url));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{address}");
        let allowed: BTreeSet<String> = answer.headers()[ALLOW]
            .to_str()
            .unwrap()
            .split(", ")
            .filter(|method| *method != "HEAD")
            .map(str::to_owned)
            .collect();
        let methods: BTreeSet<String> =
            endpoint.operations.iter().map(|(method, _)| (*method).to_owned()).collect();
        assert_eq!(allowed, methods, "{address}");
    }
    assert_eq!(code(browser.get("/elsewhere").await).await, "not_found");
}

#[test]
fn no_route_is_registered_past_the_table() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut builders = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("web::resource("))
            {
                builders.push(path.file_name().unwrap().to_owned());
            }
        }
    }
    assert_eq!(builders, ["endpoint.rs"]);
}

#[test]
fn every_operation_is_described_in_full() {
    let document = document_of(PUBLIC_URL);
    let tags: Vec<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    for (path, method, told) in operations(&document) {
        let id = told["operationId"].as_str().unwrap();
        let is_snake = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(is_snake && !id.is_empty(), "{method} {path} is called {id:?}");
        assert!(ids.insert(id), "there are two of {id}");
        let summary = told["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{id}: {summary}");
        assert!(tags.contains(&told["tags"][0].as_str().unwrap()), "{id}");
        let answers = told["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with(['2', '3'])), "{id}");
        let parameters = told["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let in_path: BTreeSet<&str> =
            in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, placeholders(path), "{id}");
    }
}

#[test]
fn every_error_code_is_answered_by_some_operation() {
    let document = document_of(PUBLIC_URL);
    let answers = document["components"]["responses"].as_object().unwrap();
    let told: BTreeSet<&str> = answers
        .keys()
        .filter_map(|name| name.strip_prefix("problem."))
        .flat_map(|name| name.split('.').skip(1))
        .collect();
    // Which is what other methods than the document's are answered.
    let elsewhere = [ErrorCode::MethodNotAllowed];
    let known: BTreeSet<&str> = ErrorCode::ALL
        .into_iter()
        .filter(|code| !elsewhere.contains(code))
        .map(ErrorCode::as_str)
        .collect();
    assert_eq!(told, known);
}

#[test]
fn names_and_addresses_are_those_of_the_configuration() {
    let plain = document_of(PUBLIC_URL);
    assert_eq!(plain["servers"], json!([{ "url": "https://auth.example.com" }]));
    let schemes = &plain["components"]["securitySchemes"];
    assert_eq!(schemes["access_cookie"]["name"], "__Host-auth_access");
    assert_eq!(schemes["refresh_cookie"]["name"], "__Secure-auth_refresh");
    assert!(plain["paths"]["/health"]["get"]["responses"].get("303").is_none());

    let other = "public_url = \"http://127.0.0.1:8080\"\nfrontend_url = \"http://127.0.0.1:3000\"\n\
                 [cookies]\nprefix = \"id\"\n";
    let other = document_of(other);
    assert_eq!(other["servers"][0]["url"], "http://127.0.0.1:8080");
    assert_eq!(other["components"]["securitySchemes"]["access_cookie"]["name"], "id_access");
    let set = &other["paths"]["/auth/refresh"]["post"]["responses"]["200"]["headers"]["Set-Cookie"];
    assert_eq!(set["description"], "Sets `id_access`, `id_refresh` where they are new.");
    assert!(other["paths"]["/health"]["get"]["responses"].get("303").is_some());
}

#[actix_web::test]
async fn a_copy_of_the_document_is_fresh_until_it_changes() {
    let server = Server::start(Backend::Sqlite, "").await;
    let browser = server.browser();
    let first = browser.get("/openapi.json").await;
    assert_eq!(first.headers()[CACHE_CONTROL], "public, max-age=300");
    let tag = first.headers()[ETAG].clone();
    let request = browser.client.get(format!("{}/openapi.json", server.url));
    let again = browser.send(request.header(IF_NONE_MATCH, tag)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.text().await.unwrap(), "");
}

#[actix_web::test]
async fn the_command_prints_the_bytes_that_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::dev(directory.path(), free_port());
    let served = reqwest::get(format!("{}/openapi.json", process.url)).await.unwrap();
    let served = served.bytes().await.unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .args(["openapi", "--config"])
        .arg(directory.path().join("latchkey.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(served, output.stdout);
    assert_eq!(served.last(), Some(&b'\n'));
}
