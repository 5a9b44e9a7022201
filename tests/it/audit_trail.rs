//! The audit trail: what is signed about it, exported, and found out by whoever verifies an export.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::actors::auditor::CheckpointNow;
use latchkey::actors::janitor::Run;
use latchkey::cli::audit::verify::read_keys;
use latchkey::notary::Checkpointed;
use latchkey::protocol::audit_chain::{Digest, commitment, hash};
use latchkey::protocol::audit_trail::export::{ExportedEntry, read_line, write_line};
use latchkey::protocol::audit_trail::statement::{self, Signed};
use latchkey::protocol::audit_trail::survey::{SurveyError, Surveyor, TrustedKeys};
use latchkey::protocol::audit_trail::verifier::{Finding, Intact, Tampering, Verifier};
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::key::{PublicKey, SigningKey, generate};
use latchkey::store::model::AuditPage;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clients_command::Desk;
use crate::harness::{Backend, Browser, Server, code};
use crate::processes::{Process, free_port, run, text, write_private};

const ES256: &str = "[keys]\nalgorithm = \"ES256\"\n";

/// A server with a little history that a checkpoint covers.
async fn server(backend: Backend) -> Server {
    let server = Server::start_at_present(backend, |_| ES256.to_owned()).await;
    server.signed_in("alice").await;
    checkpoint(&server).await;
    server.signed_in("bob").await;
    checkpoint(&server).await;
    server
}

async fn checkpoint(server: &Server) {
    let written = server.app.auditor.ask(CheckpointNow).await.unwrap().unwrap();
    assert!(matches!(written, Checkpointed::Written(_)), "{written:?}");
}

/// An export with the keys that were published at that time.
struct Export {
    bytes: Vec<u8>,
    keys: PathBuf,
    directory: tempfile::TempDir,
}

impl Export {
    /// Exports the trail of a server, as an operator does.
    async fn of(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (file, keys) =
            (directory.path().join("trail.jsonl"), directory.path().join("jwks.json"));
        let desk = Desk::beside_with(server, &ES256.replace("[keys]", "\n[keys]"));
        let output = desk.run(&["audit", "export", "--output", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let published = server.browser().get("/.well-known/jwks.json").await.text().await.unwrap();
        std::fs::write(&keys, published).unwrap();
        Self { bytes: std::fs::read(file).unwrap(), keys, directory }
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn entries(&self) -> Vec<ExportedEntry> {
        let lines = self.lines();
        let entries = &lines[..lines.len() - 1];
        entries.iter().map(|line| read_line(line).expect("an entry")).collect()
    }

    fn trusted(&self) -> TrustedKeys {
        read_keys(&self.keys).unwrap()
    }

    /// What the command says of other bytes, verified with the published keys.
    fn command_on(&self, bytes: &[u8]) -> (bool, Value, String) {
        let file = self.directory.path().join("other.jsonl");
        std::fs::write(&file, bytes).unwrap();
        command(&["--format", "json", "audit", "verify"], &file, Some(&self.keys))
    }

    fn passes(&self) -> Value {
        let (is_intact, told, error) = self.command_on(&self.bytes);
        assert!(is_intact, "{error}");
        told
    }

    /// What is found in other lines.
    fn finding(&self, lines: &[Vec<u8>]) -> Finding {
        match judged(&lines.concat(), &self.trusted()) {
            Err(Refusal::Finding(finding)) => *finding,
            other => panic!("{other:?}"),
        }
    }
}

/// Runs the command as somebody without configuration does.
fn command(words: &[&str], file: &Path, keys: Option<&Path>) -> (bool, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.args(words).arg(file).current_dir("/");
    if let Some(keys) = keys {
        command.arg("--jwks").arg(keys);
    }
    let output = command.output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.success(), told, text(&output.stderr))
}

#[derive(Debug)]
enum Refusal {
    File(SurveyError),
    Finding(Box<Finding>),
}

/// What the verifier says of some bytes.
fn judged(bytes: &[u8], trusted: &TrustedKeys) -> Result<Intact, Refusal> {
    let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
    let mut surveyor = Surveyor::default();
    lines().for_each(|line| surveyor.feed(line.to_vec()));
    let mut verifier = Verifier::new(surveyor.finish(trusted).map_err(Refusal::File)?);
    lines().for_each(|line| verifier.feed(line));
    verifier.finish().map_err(Refusal::Finding)
}

/// An entry with the hash that it has at its place after another.
fn relinked(mut entry: ExportedEntry, previous: Digest) -> ExportedEntry {
    let (chain, position) = (entry.chain.unwrap(), entry.position.unwrap());
    entry.hash = Some(hash(chain, position, previous, &entry.content()));
    entry
}

async fn an_untouched_export_passes_and_says_what_it_holds(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    let told = export.passes();
    assert_eq!(told["outcome"], "intact");
    assert_eq!(told["entries"], export.entries().len());
    assert_eq!(told["checkpoints"], 3, "that of the export included");
    let actions: Vec<String> = export.entries().into_iter().map(|entry| entry.action).collect();
    for action in
        ["key.staged", "user.created", "session.opened", "audit.checkpoint", "audit.exported"]
    {
        assert!(actions.iter().any(|found| found == action), "{action}");
    }
    for entry in export.entries() {
        if let (Some(personal), Some(salt)) = (&entry.personal, entry.salt) {
            assert_eq!(entry.commitment, Some(commitment(&salt.0, personal)));
        }
    }
}

async fn every_byte_counts_and_its_line_is_named(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    let trusted = export.trusted();
    let last = export.lines().len() as u64;
    let mut line = 1;
    // What is verified does not depend on the store: on one of them a part is enough.
    let is_tried = |at: usize| backend == Backend::Sqlite || at.is_multiple_of(7);
    for at in 0..export.bytes.len() {
        if !is_tried(at) {
            line += u64::from(export.bytes[at] == b'\n');
            continue;
        }
        let mut bytes = export.bytes.clone();
        bytes[at] ^= 1;
        match judged(&bytes, &trusted) {
            Ok(_) => panic!("byte {at} of line {line} was changed and nobody noticed"),
            Err(Refusal::Finding(finding)) => {
                assert_eq!(
                    (finding.line, finding.outcome),
                    (line, Tampering::Changed),
                    "{at}: {finding:?}"
                );
            }
            // Where the end does not hold, nothing can be said of the rest.
            Err(Refusal::File(error)) => {
                let is_in_sight = line == last || export.bytes[at] == b'\n' || at < 12;
                assert!(is_in_sight, "{at} in line {line}: {error}");
            }
        }
        line += u64::from(export.bytes[at] == b'\n');
    }
}

async fn a_removed_row_is_named(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    let (lines, entries) = (export.lines(), export.entries());
    for (index, entry) in entries.iter().enumerate() {
        let mut without = lines.clone();
        without.remove(index);
        let finding = export.finding(&without);
        assert_eq!(finding.outcome, Tampering::Removed, "{finding:?}");
        assert_eq!((finding.chain, finding.position), (entry.chain, entry.position));
        assert_eq!(finding.line, index as u64 + 1);
    }
    // The whole chain of the command, and the end.
    let chain = entries.last().unwrap().chain;
    let first = entries.iter().position(|entry| entry.chain == chain).unwrap();
    let without = [&lines[..first], &lines[entries.len()..]].concat();
    let finding = export.finding(&without);
    assert_eq!(
        (finding.outcome, finding.chain, finding.position),
        (Tampering::Removed, chain, Some(1))
    );
    for cut in [lines.len() - 1, 1] {
        let (is_intact, _, error) = export.command_on(&lines[..cut].concat());
        assert!(!is_intact && error.contains("without the signed statement"), "{error}");
    }
}

async fn an_inserted_row_is_named(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    let (lines, entries) = (export.lines(), export.entries());
    // Copied to each place.
    for (from, copy) in lines[..entries.len()].iter().enumerate() {
        for to in 0..=entries.len() {
            let mut with = lines.clone();
            with.insert(to, copy.clone());
            let finding = export.finding(&with);
            assert_eq!(finding.outcome, Tampering::Inserted, "{from} → {to}: {finding:?}");
            assert_eq!(finding.id, Some(entries[from].id.to_string()));
        }
    }
    // Forged with the right hashes, at the end of a chain.
    let last = entries.last().unwrap();
    let mut forged = last.clone();
    (forged.id, forged.position) =
        (Uuid::from_u128(7), forged.position.map(|position| position + 1));
    let forged = relinked(forged, last.hash.unwrap());
    let mut with = lines.clone();
    with.insert(entries.len(), write_line(&forged).into_bytes());
    let finding = export.finding(&with);
    assert_eq!(finding.outcome, Tampering::Inserted);
    assert_eq!(finding.id, Some(forged.id.to_string()));
    // Forged in the middle, at the place of another.
    let mut forged = entries[2].clone();
    forged.action = "user.unlocked".to_owned();
    let forged = relinked(forged, entries[1].hash.unwrap());
    for (to, named) in [(2, 3), (3, 4)] {
        let mut with = lines.clone();
        with.insert(to, write_line(&forged).into_bytes());
        let finding = export.finding(&with);
        assert_eq!((finding.outcome, finding.line), (Tampering::Inserted, named), "{finding:?}");
        assert_eq!(finding.action.as_deref(), Some("user.unlocked"));
    }
    // A whole forged chain, and an entry in none.
    let mut forged = entries[0].clone();
    (forged.chain, forged.position) = (Some(Uuid::max()), Some(1));
    let forged = relinked(forged, Digest::NONE);
    let loose = ExportedEntry { chain: None, position: None, hash: None, ..entries[0].clone() };
    for entry in [forged, loose] {
        let mut with = lines.clone();
        with.insert(entries.len(), write_line(&entry).into_bytes());
        let finding = export.finding(&with);
        assert_eq!(
            (finding.outcome, finding.line),
            (Tampering::Inserted, entries.len() as u64 + 1)
        );
    }
}

async fn swapped_lines_are_named(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    for index in 0..export.entries().len() - 1 {
        let mut lines = export.lines();
        lines.swap(index, index + 1);
        let finding = export.finding(&lines);
        assert_eq!((finding.outcome, finding.line), (Tampering::Inserted, index as u64 + 1));
    }
}

async fn hashes_made_anew_are_found_out(backend: Backend) {
    let server = server(backend).await;
    let export = Export::of(&server).await;
    let mut entries = export.entries();
    let victim = entries.iter().position(|entry| entry.action == "user.created").unwrap();
    entries[victim].action = "user.deleted".to_owned();
    for index in victim..entries.len() {
        if entries[index].chain != entries[victim].chain {
            break;
        }
        let previous = entries[index - 1].hash.unwrap();
        entries[index] = relinked(entries[index].clone(), previous);
    }
    let mut lines: Vec<Vec<u8>> =
        entries.iter().map(|entry| write_line(entry).into_bytes()).collect();
    lines.push(export.lines().pop().unwrap());
    let finding = export.finding(&lines);
    assert_eq!(finding.outcome, Tampering::Changed);
    let named = finding.position.unwrap()..=finding.until_position.or(finding.position).unwrap();
    assert_eq!(finding.chain, entries[victim].chain);
    assert!(named.contains(&entries[victim].position.unwrap()), "{finding:?}");
}

async fn it_passes_across_a_key_rotation_and_a_restart(backend: Backend) {
    let server = server(backend).await;
    let before = Export::of(&server).await;
    let desk = Desk::beside_with(&server, &ES256.replace("[keys]", "\n[keys]"));
    assert!(desk.run(&["keys", "rotate", "--now"]).status.success());
    server.catch_up();
    server.clock.advance(Duration::from_secs(3_600));
    let server = server.restarted().await;
    server.app.key_ring.ask(latchkey::actors::key_ring::Reload).await.unwrap().unwrap();
    // The restarted server may have signed it by itself.
    server.app.auditor.ask(CheckpointNow).await.unwrap().unwrap();
    let export = Export::of(&server).await;
    assert_ne!(
        export.trusted().keys().collect::<Vec<_>>(),
        before.trusted().keys().collect::<Vec<_>>()
    );
    let told = export.passes();
    assert_eq!(told["keys"], 2, "the closing statement vouches for the former key");
    // With the keys of that time the earlier export is verified still, with those of today not.
    before.passes();
    let (is_intact, _, error) = {
        let file = before.directory.path().join("trail.jsonl");
        command(&["audit", "verify"], &file, Some(&export.keys))
    };
    assert!(!is_intact && error.contains("not among the given ones"), "{error}");
    // The store still has all of them.
    let file = before.directory.path().join("trail.jsonl");
    let output = desk.run(&["audit", "verify", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("is intact"));
}

async fn it_passes_after_a_deletion_and_after_retention(backend: Backend) {
    let server = server(backend).await;
    let person = server.signed_in("carol").await;
    server.signed_in("dave").await;
    let answer = person.delete("/auth/me").await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{}", code(answer).await);
    let export = Export::of(&server).await;
    assert!(
        export.entries().iter().any(|entry| entry.commitment.is_some() && entry.personal.is_none())
    );
    export.passes();
    let all = export.entries().len();

    server.clock.advance(Duration::from_secs(401 * 86_400));
    server.signed_in("erin").await;
    let removed = server.app.janitor.ask(Run).await.unwrap().unwrap();
    assert!(removed.audit > 5, "{removed:?}");
    let export = Export::of(&server).await;
    assert!(export.entries().len() < all);
    let told = export.passes();
    assert!(told["removed_before"].is_string());
}

/// Does something to the database of a server, exports, and returns what is found.
async fn found_after(server: &Server, sql: &str) -> Finding {
    server.execute(sql).await;
    let export = Export::of(server).await;
    let (is_intact, told, error) = export.command_on(&export.bytes);
    assert!(!is_intact, "{sql} was not noticed");
    assert!(error.contains("is not intact"), "{error}");
    let finding = export.finding(&export.lines());
    assert_eq!(told["outcome"], json!(finding)["outcome"]);
    finding
}

async fn changes_of_the_database_are_named(backend: Backend) {
    for (sql, outcome, is_exact) in [
        (
            "UPDATE audit_events SET action = 'user.locked' WHERE action = 'user.created' AND position < 5",
            Tampering::Changed,
            true,
        ),
        ("UPDATE audit_events SET at = at + 1 WHERE position = 2", Tampering::Changed, true),
        ("DELETE FROM audit_events WHERE position = 3", Tampering::Removed, true),
        (
            "DELETE FROM audit_details WHERE id IN (SELECT id FROM audit_events WHERE position = 3)",
            Tampering::Changed,
            true,
        ),
        (
            "DELETE FROM audit_events WHERE action = 'audit.checkpoint' AND target = 'checkpoint:1'",
            Tampering::Removed,
            true,
        ),
        (
            "DELETE FROM audit_events WHERE action = 'audit.checkpoint' AND target = 'checkpoint:2'",
            Tampering::Removed,
            false,
        ),
        ("DELETE FROM audit_events WHERE position >= 5", Tampering::Removed, false),
        ("DELETE FROM audit_events", Tampering::Removed, false),
        (
            "INSERT INTO audit_events (id, at, actor, action, target, details)
          SELECT x.id, e.at, e.actor, e.action, e.target, e.details FROM audit_events e,
                 (SELECT id FROM users LIMIT 1) x WHERE e.position = 2",
            Tampering::Inserted,
            true,
        ),
    ] {
        let server = server(backend).await;
        let finding = found_after(&server, sql).await;
        assert_eq!(finding.outcome, outcome, "{sql}: {finding:?}");
        assert!(!is_exact || finding.until_position.is_none(), "{sql}: {finding:?}");
    }
}

/// Somebody who has the database, but neither keys nor secret, brings a key of their own.
async fn keys_of_others_vouch_for_nothing(backend: Backend) {
    let server = server(backend).await;
    let honest = Export::of(&server).await;
    let key = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
    let PublicKey { kid, jwk, .. } = key.public();
    server
        .execute(&format!(
            "INSERT INTO signing_keys (kid, algorithm, public_jwk, created_at, signs_from, compromised)
             VALUES ('{kid}', 'ES256', '{jwk}', 1, 1, false)"
        ))
        .await;
    // The last checkpoint, signed anew with another past.
    let entries = honest.entries();
    let last = entries.iter().rfind(|entry| entry.action == "audit.checkpoint").unwrap();
    let signed: Signed = serde_json::from_str(&last.details).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(signed.statement.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let forged = Signed { statement: key.sign(statement::CHECKPOINT, &claims), ..signed };
    let mut entry = last.clone();
    entry.details = serde_json::to_string(&forged).unwrap();
    let before = entries.iter().find(|entry| {
        entry.chain == last.chain && entry.position == last.position.map(|position| position - 1)
    });
    let entry = relinked(entry, before.map_or(Digest::NONE, |before| before.hash.unwrap()));
    let hash: String = entry.hash.unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = match backend {
        Backend::Sqlite => format!("x'{hash}'"),
        Backend::Postgres => format!("'\\x{hash}'"),
    };
    let finding = found_after(
        &server,
        &format!(
            "UPDATE audit_events SET details = '{}', hash = {hash} WHERE target = '{}'",
            entry.details, entry.target
        ),
    )
    .await;
    assert_eq!(finding.id, Some(last.id.to_string()), "{finding:?}");
    assert_eq!(finding.outcome, Tampering::Changed);
    assert!(finding.reason.contains("was never one of this server"), "{finding:?}");
}

async fn a_checkpoint_is_signed_when_it_is_due_and_there_is_news(backend: Backend) {
    let server = Server::start_at_present(backend, |_| ES256.to_owned()).await;
    server.stop_tickers();
    server.signed_in("alice").await;
    let number = server.audited("audit.checkpoint").await;
    checkpoint(&server).await;
    let again = server.app.auditor.ask(CheckpointNow).await.unwrap().unwrap();
    assert_eq!(again, Checkpointed::NotNeeded, "it does not feed on itself");
    assert_eq!(server.audited("audit.checkpoint").await, number + 1);
    server.signed_in("bob").await;
    checkpoint(&server).await;
}

async fn who_is_kept_out_is_noted(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("alice").await;
    let user = server.app.store.read.user_by_name("alice").await.unwrap().unwrap();
    server.execute("UPDATE users SET status = 'locked'").await;
    let answer = server.browser().sign_in("alice").await;
    assert!(answer.status().is_redirection() || answer.status() == StatusCode::FORBIDDEN);
    let page = AuditPage { action: Some("session.refused".to_owned()), ..AuditPage::newest(9) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].actor.as_str(), &rows[0].target),
        ("anonymous", &format!("user:{}", user.id))
    );
    assert_eq!(rows[0].details, json!({ "provider": "dev", "reason": "account_locked" }));
    assert_eq!(rows[0].address.as_deref(), Some("127.0.0.1"));

    let closed = Server::start(backend, "[signup]\nmode = \"closed\"\n").await;
    closed.browser().sign_in("bob").await;
    let rows = closed.app.store.read.audit(&page).await.unwrap();
    assert_eq!(rows[0].target, "provider:dev");
    assert_eq!(rows[0].details["reason"], "signup_closed");
}

async fn the_newest_entries_are_shown(backend: Backend) {
    let server = server(backend).await;
    let desk = Desk::beside(&server);
    let told = desk.run(&["audit", "tail", "--format", "json", "--limit", "3"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let ids: Vec<&str> =
        told["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted(), "the newest stands last");
    let told = desk.run(&["audit", "tail", "--action", "user.created"]);
    let lines = text(&told.stdout);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let none = desk.run(&["audit", "tail", "--action", "no.such"]);
    assert_eq!(text(&none.stdout).trim(), "The audit trail has no such entries.");
    let wrong = desk.run(&["audit", "tail", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
}

async fn who_follows_is_shown_what_comes_and_nothing_twice(backend: Backend) {
    let server = server(backend).await;
    let desk = Desk::beside(&server);
    server.signed_in("dora").await;
    let mut child = desk.begin(&["audit", "tail", "-f", "--limit", "2", "--format", "json"]);
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let id_of = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry["id"].as_str().unwrap().to_owned()
    };
    // What was there before: then it follows.
    let mut ids = vec![id_of(&lines.recv().await.unwrap()), id_of(&lines.recv().await.unwrap())];
    for round in 0..3 {
        server.catch_up();
        let name = format!("carol{round}");
        server.signed_in(&name).await;
        let until_shown = async {
            loop {
                let line = lines.recv().await.unwrap();
                ids.push(id_of(&line));
                if line.contains("\"session.opened\"") {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), until_shown).await.expect("it is shown");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let shown = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), shown, "nothing is shown twice");
}

#[actix_web::test]
async fn it_passes_with_two_nodes() {
    let one = server(Backend::Postgres).await;
    let other = one.beside(|_| {}).await;
    for round in 0..3 {
        one.signed_in(&format!("one{round}")).await;
        other.signed_in(&format!("other{round}")).await;
        let (first, second) =
            tokio::join!(one.app.auditor.ask(CheckpointNow), other.app.auditor.ask(CheckpointNow));
        let written = [first.unwrap().unwrap(), second.unwrap().unwrap()];
        assert!(written.iter().any(|one| matches!(one, Checkpointed::Written(_))), "{written:?}");
    }
    let export = Export::of(&one).await;
    assert!(export.passes()["chains"].as_u64() >= Some(3));
}

#[actix_web::test]
async fn it_passes_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latchkey.toml");
    for round in 0..3 {
        let process = Process::dev(directory.path(), free_port());
        let browser = Browser::new(&process.url);
        browser.sign_in(&format!("user{round}")).await;
        drop(process);
    }
    let file = directory.path().join("trail.jsonl");
    let exported = run(&["audit", "export", "--output", file.to_str().unwrap()], &config);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let verified = run(&["audit", "verify", file.to_str().unwrap()], &config);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let again = run(&["audit", "export", "--output", file.to_str().unwrap()], &config);
    assert_eq!(again.status.code(), Some(1), "an export is never overwritten");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// The first line of a server's log that tells of an action.
fn logged(action: &str, format: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latchkey.toml");
    let port = free_port();
    write_private(
        &config,
        &format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
             secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
             [store]\nurl = \"sqlite:latchkey.db\"\n{ES256}[audit]\nlog = true\n\
             [telemetry]\nlog_level = \"error\"\nlog_format = \"{format}\"\n"
        ),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .args(["serve", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).find(|line| line.contains(action));
    child.kill().unwrap();
    child.wait().unwrap();
    found.expect("it is in the log")
}

#[test]
fn the_log_has_a_copy_in_its_own_format() {
    let line: Value = serde_json::from_str(&logged("key.staged", "json")).unwrap();
    assert_eq!((&line["message"], &line["action"]), (&json!("audit"), &json!("key.staged")));
    assert_eq!((&line["actor"], &line["position"]), (&json!("system"), &json!(1)));
    assert!(line["target"].as_str().unwrap().starts_with("key:"));
    let details: Value = serde_json::from_str(line["details"].as_str().unwrap()).unwrap();
    assert_eq!(details["algorithm"], "ES256");
    let line = logged("key.staged", "text");
    assert!(line.contains("INFO audit action=\"key.staged\" target=\"key:"), "{line}");
}

#[test]
fn what_is_no_export_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("jwks.json");
    std::fs::write(&keys, "{\"keys\":[]}").unwrap();
    for (content, sentence) in [
        ("", "The file is empty"),
        ("hello\n", "This is no export of an audit trail"),
        ("{\"chain\":null}\n", "ends at line 1 without the signed statement"),
        ("{\"statement\":\"a.b.c\"}\n", "The closing statement (line 1) was changed"),
    ] {
        let file = directory.path().join("file");
        std::fs::write(&file, content).unwrap();
        let (is_intact, _, error) = command(&["audit", "verify"], &file, Some(&keys));
        assert!(!is_intact && error.contains(sentence), "{content:?}: {error}");
    }
}

crate::on_both_stores!(
    keys_of_others_vouch_for_nothing,
    a_checkpoint_is_signed_when_it_is_due_and_there_is_news,
    who_is_kept_out_is_noted,
    the_newest_entries_are_shown,
    who_follows_is_shown_what_comes_and_nothing_twice,
    an_untouched_export_passes_and_says_what_it_holds,
    every_byte_counts_and_its_line_is_named,
    a_removed_row_is_named,
    an_inserted_row_is_named,
    swapped_lines_are_named,
    hashes_made_anew_are_found_out,
    it_passes_across_a_key_rotation_and_a_restart,
    it_passes_after_a_deletion_and_after_retention,
    changes_of_the_database_are_named,
);
