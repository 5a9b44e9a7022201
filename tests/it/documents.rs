//! The documents say what the code does: codes, metrics, dependencies, promises, links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use latchkey::error::ErrorCode;
use latchkey::protocol::claims::Claim;
use latchkey::protocol::client_registration::MEMBERS;
use latchkey::routes::oauth::error::OAuthCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of a document's tables: the cells of each, first cells in backquotes.
fn rows(document: &str) -> Vec<Vec<String>> {
    document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands in backquotes, in order.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The codes that the tables of a text explain, each with its status.
fn explained(text: &str) -> BTreeSet<(String, String)> {
    rows(text).into_iter().map(|row| (quoted(&row[0])[0].to_owned(), row[1].clone())).collect()
}

#[test]
fn every_error_code_is_explained_with_its_status() {
    let document = read("docs/errors.md");
    let (ours, of_oauth) = document.split_once("## Under /oauth").unwrap();
    let known = ErrorCode::ALL.map(|code| (code.as_str(), code.status().as_u16()));
    assert_eq!(explained(ours), texts(&known));
    let known = OAuthCode::ALL.map(|code| (code.as_str(), code.status().as_u16()));
    assert_eq!(explained(of_oauth), texts(&known));
}

fn texts(known: &[(&str, u16)]) -> BTreeSet<(String, String)> {
    known.iter().map(|(code, status)| ((*code).to_owned(), status.to_string())).collect()
}

#[test]
fn every_claim_is_explained_with_its_scope() {
    let documented: Vec<(String, String)> = rows(&read("docs/resources.md"))
        .into_iter()
        .map(|row| (quoted(&row[0])[0].to_owned(), quoted(&row[1])[0].to_owned()))
        .collect();
    let known = Claim::ALL.map(|claim| (claim.as_str().to_owned(), claim.scope().to_owned()));
    assert_eq!(documented, known);
}

#[test]
fn every_member_of_a_registration_is_explained() {
    let documented: Vec<String> = rows(&read("docs/registration.md"))
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| quoted(&row[0])[0].to_owned())
        .collect();
    assert_eq!(documented, MEMBERS);
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let document = read("docs/dependencies.md");
    let (program, tests) = document.split_once("## Of tests").unwrap();
    for (section, listed) in [("dependencies", program), ("dev-dependencies", tests)] {
        let listed: Vec<String> =
            rows(listed).iter().map(|row| quoted(&row[0])[0].to_owned()).collect();
        let declared: Vec<String> = manifest[section].as_table().unwrap().keys().cloned().collect();
        assert_eq!(listed, declared, "[{section}]");
    }
}

#[test]
fn every_promise_of_the_architecture_has_a_test_of_that_name() {
    let document = read("ARCHITECTURE.md");
    let (_, promises) = document.split_once("## What must stay true").unwrap();
    let named: Vec<&str> = promises
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.rsplit(" | ").next())
        .flat_map(quoted)
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let sources: Vec<String> = files("rs")
        .into_iter()
        .filter(|path| !path.ends_with("documents.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for name in named {
        // By its function, or by the macro that makes it one for each store.
        let is_there = |source: &String| {
            source.contains(&format!("fn {name}(")) || source.contains(&format!("    {name}: \""))
        };
        assert!(sources.iter().any(is_there), "there is no test {name}");
    }
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    for document in files("md") {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !path.is_empty() {
                let file = document.parent().unwrap().join(path);
                assert!(file.exists(), "{} links to {target}", document.display());
            }
        }
    }
}

/// Asserts that every paragraph of a document's blocks in a language, of which there are at least `least`,
/// stands in one of the files.
fn assert_is_from(document: &str, language: &str, files: &[&str], least: usize) {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let files: Vec<String> = files.iter().map(|file| trimmed(&read(file))).collect();
    let (text, fence) = (read(document), format!("```{language}\n"));
    let blocks = text.split(&fence).skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    let parts: Vec<&str> =
        blocks.flat_map(|block| block.split("\n\n")).filter(|part| !part.is_empty()).collect();
    assert!(parts.len() >= least, "{parts:?}");
    for part in parts {
        let is_there = files.iter().any(|file| file.contains(&trimmed(part)));
        assert!(is_there, "{document} has what is in none of its files:\n{part}");
    }
}

#[test]
fn the_code_of_the_frontend_document_is_that_of_the_example() {
    let example = ["examples/frontend/session.js", "examples/frontend/app.js"];
    assert_is_from("docs/frontend.md", "js", &example, 5);
}

#[test]
fn the_code_of_the_documents_on_clients_is_what_the_tests_run() {
    let clients = "tests/independent/clients";
    let from = |document, language, files: &[&str], least| {
        let files: Vec<String> = files.iter().map(|file| format!("{clients}/{file}")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_is_from(document, language, &files, least);
    };
    from("docs/clients.md", "js", &["openid-client.mjs", "spa/app.js"], 10);
    from("docs/clients.md", "python", &["authlib_client.py"], 6);
    from("docs/clients.md", "apache", &["apache/latchkey.conf"], 3);
    from("docs/resource-servers.md", "js", &["verify-jose.mjs"], 3);
    from("docs/resource-servers.md", "python", &["verify_pyjwt.py"], 3);
    let rust = ["tests/it/real_clients/resource_servers.rs"];
    assert_is_from("docs/resource-servers.md", "rust", &rust, 2);
}

/// A configuration of nothing but what every server needs.
const SERVER: &str = "[server]\npublic_url = \"https://auth.example.com\"\n\
                      secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";

#[test]
fn every_provider_in_the_documents_is_a_configuration_that_works() {
    use std::os::unix::fs::PermissionsExt;
    let document = read("docs/providers.md");
    let blocks: Vec<&str> =
        document.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latchkey.toml");
    for block in blocks {
        std::fs::write(&config, format!("{SERVER}{block}")).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        let named: toml::Table = block.parse().unwrap();
        let provider = named["providers"][0].as_table().unwrap();
        let variables = provider.values().filter_map(|value| value.as_str()?.strip_prefix("env:"));
        let output = Command::new(env!("CARGO_BIN_EXE_latchkey"))
            .args(["validate", "--offline", "--config"])
            .arg(&config)
            .envs(variables.map(|variable| (variable, "a value")))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{block}\n{said}");
        let name = provider["name"].as_str().unwrap();
        let redirect_uri = format!("https://auth.example.com/auth/{name}/callback");
        assert!(document.contains(&redirect_uri), "{redirect_uri} is not told");
    }
}

#[test]
fn every_action_of_the_audit_trail_is_explained() {
    let document = read("docs/audit.md");
    let table = document.split("## Chains").next().unwrap();
    let explained: BTreeSet<String> =
        rows(table).iter().map(|row| quoted(&row[0])[0].to_owned()).collect();
    let nouns = "session sessions user family identity consent grant token logout client key audit admin \
                 configuration database";
    let mut written = BTreeSet::new();
    for path in files("rs") {
        if !path.starts_with(root().join("src")) || path.starts_with(root().join("src/config")) {
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        for literal in code.split('"') {
            let Some((noun, verb)) = literal.split_once('.') else { continue };
            let is_verb = !verb.is_empty()
                && verb.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_verb && verb != "html" && nouns.split(' ').any(|known| known == noun) {
                written.insert(literal.to_owned());
            }
        }
    }
    assert_eq!(explained, written);
}

/// All files of the project with an extension.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "docs", "examples"].map(|folder| root().join(folder)).to_vec();
    found.extend(entries(root()));
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.is_file() && path.extension().is_some_and(|found| found == extension));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
