//! `latchkey backup` and `latchkey restore`: copies of a database that is in use, and what they are good for.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::clock::Clock;
use latchkey::config::settings::{SecretKey, Store as StoreSettings, StoreUrl};

use latchkey::protocol::refresh_token::{FamilyKind, RefreshTokens};
use latchkey::store;
use latchkey::store::model::FIRST_PARTY;
use reqwest::{Client, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Server, cookie, present};
use crate::operator::Operator;
use crate::processes::{BINARY, Process, free_port, run, run_json, text, write_private};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A folder with a configuration of `latchkey dev` on SQLite; sessions advance at each refresh.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with_secret(SECRET)
    }

    fn with_secret(secret: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:8080\"\npublic_url = \"http://127.0.0.1:8080\"\n\
             secret_key = \"{secret}\"\n[keys]\nalgorithm = \"ES256\"\n[tokens]\nsession_grace = \"0s\"\n"
        );
        write_private(&folder.path().join("latchkey.toml"), &config);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("latchkey.toml")
    }

    fn start(&self) -> Process {
        Process::dev(self.folder.path(), free_port())
    }

    fn backup(&self, file: &Path) -> Value {
        run_json(&["backup", file.to_str().unwrap()], &self.config())
    }

    fn restore(&self, file: &Path) -> Value {
        run_json(&["restore", file.to_str().unwrap()], &self.config())
    }

    /// Why a command fails, after which there is nothing new in the folder.
    fn refused(&self, arguments: &[&str], status: i32) -> String {
        let before = self.names();
        let output = run(arguments, &self.config());
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert_eq!(self.names(), before);
        text(&output.stderr)
    }

    /// The names in the folder, but those that a lock and a read leave.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| ![".lock", "-wal", "-shm"].iter().any(|end| name.ends_with(end)))
            .collect();
        names.sort();
        names
    }

    /// What runs the words that a command says to run next.
    fn next(&self, command: &str) -> String {
        let script = format!("exec {}", command.replacen("latchkey ", &format!("{BINARY} "), 1));
        let mut shell = Command::new("sh");
        let line = script.replacen("exec LATCHKEY_STORE__URL", "LATCHKEY_STORE__URL", 1);
        shell.args(["-c", &line]).env("LATCHKEY_CONFIG", self.config()).env("NO_COLOR", "1");
        let output = shell.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn signed_in(url: &str, name: &str) -> String {
    let browser = Browser::new(url);
    browser.sign_in(name).await;
    let answer = browser.post_json("/auth/setup", &json!({ "username": name })).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    cookie(&answer, "auth_refresh").unwrap()
}

/// Makes the database large enough that copying it takes a while.
fn fill(database: &Path, megabytes: usize) {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO spent (id, until) SELECT 'filler' || i || hex(zeroblob(480)), 1 << 50 FROM n",
        megabytes * 1_000
    );
    connection.execute_batch(&insert).unwrap();
}

#[actix_web::test]
async fn every_rotation_answered_before_a_backup_of_64_busy_chains_began_is_in_it() {
    let place = Place::new();
    let server = place.start();
    let client = client();
    let mut chains = Vec::new();
    for number in 0..64 {
        chains.push(RefCell::new(signed_in(&server.url, &format!("user{number}")).await));
    }
    fill(&place.path("latchkey.db"), 30);
    let (answers, stop) = (RefCell::new(0), RefCell::new(false));
    let load = join_all(chains.iter().map(|chain| async {
        while !*stop.borrow() {
            let token = chain.borrow().clone();
            let answer = present(&client, &server.url, &token).await;
            assert_eq!(answer.status(), StatusCode::OK);
            *chain.borrow_mut() = cookie(&answer, "auth_refresh").unwrap();
            *answers.borrow_mut() += 1;
        }
    }));
    let until = async |number: usize| {
        while *answers.borrow() < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let file = place.path("backup.db");
    let work = async {
        until(300).await;
        let before: Vec<String> = chains.iter().map(|chain| chain.borrow().clone()).collect();
        let (config, name) = (place.config(), file.display().to_string());
        let output = tokio::task::spawn_blocking(move || run(&["backup", &name], &config));
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let during = *answers.borrow();
        until(during + 200).await;
        *stop.borrow_mut() = true;
        (before, during)
    };
    let (_, (before, during)) = tokio::join!(load, work);
    println!("{during} rotations were answered by the end of the backup, 300 before it");
    assert!(during > 300 + 64, "the backup kept nobody from refreshing");
    drop(server);

    let elsewhere = Place::new();
    let restored = elsewhere.restore(&file);
    assert_eq!(restored["users"], 64);
    let settings = StoreSettings {
        url: StoreUrl::Sqlite(elsewhere.path("latchkey.db")),
        max_connections: 1,
        migrate_on_start: false,
        schema: None,
    };
    let opened = store::open(&settings, &Clock::system()).await.unwrap();
    let families: std::collections::HashMap<_, _> =
        opened.read.live_families().await.unwrap().into_iter().collect();
    let tokens =
        RefreshTokens::new(&[SecretKey::new(b"0123456789abcdef0123456789abcdef".to_vec())]);
    for token in &before {
        let answered = tokens.read(FamilyKind::Session, FIRST_PARTY, token).unwrap();
        let stored = families.get(&answered.family).copied();
        assert!(stored >= Some(answered.generation), "{stored:?} for {answered:?}");
    }
    drop(opened);
    // What every browser holds works there, whichever rotations came after the backup.
    let server = elsewhere.start();
    for chain in &chains {
        let token = chain.borrow().clone();
        let answer = present(&client, &server.url, &token).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[actix_web::test]
async fn o19_what_was_signed_out_since_a_backup_comes_back_until_the_command_that_it_names_is_run()
{
    let place = Place::new();
    let client = client();
    let file = place.path("backup.db");
    let (stolen, taken_at) = {
        let server = place.start();
        let stolen = signed_in(&server.url, "ada").await;
        let taken_at = place.backup(&file)["taken_at"].clone();
        let answer = client
            .post(format!("{}/auth/logout", server.url))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("auth_refresh={stolen}"))
            .send();
        assert_eq!(answer.await.unwrap().status(), StatusCode::NO_CONTENT);
        let refused = present(&client, &server.url, &stolen).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        (stolen, taken_at)
    };
    let restored = place.restore(&file);
    assert_eq!(restored["taken_at"], taken_at);
    let next: Vec<&str> =
        restored["next"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let [revoke, read] = next[..] else { panic!("{next:?}") };
    assert!(revoke.starts_with("latchkey sessions revoke --before 20"), "{revoke}");
    {
        // This is why: the token lives again.
        let server = place.start();
        let answer = present(&client, &server.url, &stolen).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let told = place.next(revoke);
    assert!(told.starts_with("Ended 1 sign-in"), "{told}");
    let told = place.next(read);
    assert!(told.contains("session.ended"), "the kept database tells what was done since: {told}");
    let server = place.start();
    let refused = present(&client, &server.url, &stolen).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    // Whoever signs in afterwards stays, though the command may be run once more.
    let fresh = signed_in(&server.url, "grace").await;
    place.next(revoke);
    assert_eq!(present(&client, &server.url, &fresh).await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn a_backup_is_private_whole_and_never_overwrites() {
    let place = Place::new();
    drop(place.start());
    let file = place.path("backup.db");
    let told = place.backup(&file);
    assert_eq!(told["bytes"], std::fs::metadata(&file).unwrap().len());
    assert_eq!((&told["users"], &told["schema"], &told["keys"]), (&json!(0), &json!(8), &json!(1)));
    let missing = told["not_included"].to_string();
    for expected in ["server.secret_key", "the folder ", "latchkey.toml"] {
        assert!(missing.contains(expected), "{missing}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let bytes = std::fs::read(&file).unwrap();
    let told = place.refused(&["backup", file.to_str().unwrap()], 1);
    assert!(told.contains("is there already") && told.contains("Choose another name"), "{told}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert!(place.refused(&["backup", "-"], 2).contains("Name a file"));
    let told = place.refused(&["backup", place.folder.path().to_str().unwrap()], 2);
    assert!(told.contains("is a folder"), "{told}");
    let told = place.refused(&["backup", "/proc/nowhere/backup.db"], 1);
    assert!(told.starts_with("There is no folder /proc/nowhere: make it first"), "{told}");
    std::fs::write(place.path("other.db.partial"), "somebody's").unwrap();
    let told = place.refused(&["backup", place.path("other.db").to_str().unwrap()], 1);
    assert!(told.contains("is being written, or was cut off"), "{told}");

    let empty = Place::new();
    let told = empty.refused(&["backup", empty.path("backup.db").to_str().unwrap()], 1);
    assert!(told.starts_with("There is no database "), "{told}");
}

#[actix_web::test]
async fn a_backup_that_does_not_fit_leaves_nothing() {
    let place = Place::new();
    drop(place.start());
    fill(&place.path("latchkey.db"), 4);
    let file = place.path("backup.db");
    // In units of 512 bytes; the signal is ignored, so that a write fails as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let before = place.names();
    let output = Command::new("sh")
        .args(["-c", limited, BINARY, "backup", file.to_str().unwrap(), "--config"])
        .arg(place.config())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains("backup.db could not be written: "), "{told}");
    assert!(told.contains("Nothing was left of it."), "{told}");
    assert_eq!(place.names(), before);
}

#[actix_web::test]
async fn ctrl_c_ends_a_backup_and_leaves_nothing() {
    let place = Place::new();
    drop(place.start());
    fill(&place.path("latchkey.db"), 100);
    let file = place.path("backup.db");
    // On a machine that is busy with something else it may have been faster than we are.
    for _ in 0..10 {
        let child = Command::new(BINARY)
            .args(["backup", file.to_str().unwrap(), "--config"])
            .arg(place.config())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !place.path("backup.db.partial").exists() && !file.exists() {
            std::thread::yield_now();
        }
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            std::fs::remove_file(&file).unwrap();
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let told = text(&output.stderr);
        assert!(told.starts_with("Stopped. Nothing was left of "), "{told}");
        assert_eq!(place.names(), ["latchkey.db", "latchkey.toml"]);
        return;
    }
    panic!("no backup was slow enough to be stopped");
}

#[actix_web::test]
async fn a_restore_refuses_what_would_not_start_and_changes_nothing() {
    let place = Place::new();
    let file = place.path("backup.db");
    let backup = file.to_str().unwrap().to_owned();
    {
        let _server = place.start();
        place.backup(&file);
        let told = place.refused(&["restore", &backup], 1);
        assert!(told.contains("A server uses ") && told.contains("stop it first"), "{told}");
    }
    let database = place.path("latchkey.db");
    let before = std::fs::read(&database).unwrap();
    assert!(place.refused(&["restore", "-"], 2).contains("Name the file"));
    assert!(place.refused(&["restore", "/"], 2).contains("is not a file"));
    let told = place.refused(&["restore", database.to_str().unwrap()], 1);
    assert!(told.contains("is the database itself"), "{told}");

    let bad = place.path("bad.db");
    let changed = |change: &dyn Fn(&Connection)| {
        std::fs::copy(&file, &bad).unwrap();
        change(&Connection::open(&bad).unwrap());
        place.refused(&["restore", bad.to_str().unwrap()], 1)
    };
    let told = changed(&|copy| {
        copy.execute_batch(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')",
        )
        .unwrap();
    });
    assert!(told.contains("Start a newer latchkey"), "{told}");
    let told = changed(&|copy| {
        let tables = "PRAGMA foreign_keys = OFF; DROP TABLE signing_keys";
        copy.execute_batch(tables).unwrap();
    });
    assert!(told.contains("none of Latchkey"), "{told}");
    let mut bytes = std::fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x5a);
    std::fs::write(&bad, bytes).unwrap();
    let told = place.refused(&["restore", bad.to_str().unwrap()], 1);
    assert!(told.contains("is damaged"), "{told}");
    std::fs::write(&bad, "not a database").unwrap();
    let told = place.refused(&["restore", bad.to_str().unwrap()], 1);
    assert!(told.contains("is no database"), "{told}");
    assert_eq!(std::fs::read(&database).unwrap(), before);

    let stranger = Place::with_secret("ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=");
    let told = stranger.refused(&["restore", &backup], 1);
    assert!(told.contains("Is server.secret_key the one that sealed it?"), "{told}");
    assert!(!stranger.path("latchkey.db").exists());
}

#[actix_web::test]
async fn a_restore_keeps_what_was_there_and_is_in_the_trail() {
    let place = Place::new();
    let file = place.path("backup.db");
    {
        let server = place.start();
        signed_in(&server.url, "ada").await;
        place.backup(&file);
        signed_in(&server.url, "grace").await;
    }
    let restored = place.restore(&file);
    let count = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        let users = "SELECT count(*) FROM users";
        connection.query_row(users, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let kept = PathBuf::from(restored["kept_as"].as_str().unwrap());
    assert_eq!((count(&place.path("latchkey.db")), count(&kept)), (1, 2));
    assert_eq!(count(&file), 1);
    let mode = std::fs::metadata(place.path("latchkey.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let trail = run_json(&["audit", "tail", "--action", "database.restored"], &place.config());
    assert_eq!(trail["items"][0]["details"]["schema"], 8);
    assert_eq!(trail["items"].as_array().unwrap().len(), 1);
    let export = place.path("trail.jsonl");
    run(&["audit", "export", "--output", export.to_str().unwrap()], &place.config());
    let verified = run(&["audit", "verify", export.to_str().unwrap()], &place.config());
    assert!(verified.status.success(), "{}", text(&verified.stderr));

    // The database that was kept goes back the same way, whatever its log still holds.
    let again = place.restore(&kept);
    assert_eq!(again["users"], 2);
    assert!(again["taken_at"].is_null());
    assert_eq!(
        again["next"][0],
        json!(format!("latchkey sessions revoke --before 0 --config {}", place.config().display()))
    );
    let told = run(&["restore", file.to_str().unwrap()], &place.config());
    let told = text(&told.stdout);
    for expected in
        ["Restored ", "is kept as ", "sessions revoke --before 20", "Bring back the pictures"]
    {
        assert!(told.contains(expected), "{told}");
    }
}

#[actix_web::test]
async fn a_restore_that_is_killed_leaves_the_old_database_or_the_new() {
    let place = Place::new();
    let file = place.path("backup.db");
    {
        let server = place.start();
        signed_in(&server.url, "ada").await;
        place.backup(&file);
        signed_in(&server.url, "grace").await;
    }
    let mut found = [0, 0, 0];
    for round in 0_u32..24 {
        let mut child = Command::new(BINARY)
            .args(["restore", file.to_str().unwrap(), "--config"])
            .arg(place.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Later from round to round; where it is by then is the machine's to say.
        for _ in 0..round * 400 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let connection = Connection::open(place.path("latchkey.db")).unwrap();
        let check: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let users: u8 =
            connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
        found[usize::from(users)] += 1;
    }
    println!("[none, the new, the old]: {found:?}");
    assert_eq!(found[0], 0);
    place.restore(&file);
}

#[actix_web::test]
async fn on_postgresql_both_commands_name_its_own_programs_and_no_password() {
    let server = Server::start(Backend::Postgres, "").await;
    let operator = Operator::beside(&server, "");
    let StoreUrl::Postgres(url) = &server.app.settings.store.url else { panic!("no PostgreSQL") };
    let password = url.expose().split([':', '@']).nth(2).unwrap();
    for (command, program) in
        [("backup", "pg_dump --format=custom --file=x.db"), ("restore", "pg_restore ")]
    {
        let told = operator.refused(&[command, "x.db"], 1);
        assert!(told.contains(program) && told.contains("postgresql://latchkey@"), "{told}");
        assert!(told.contains(" --schema="), "{told}");
        assert!(!told.contains(password), "{told}");
    }
}
