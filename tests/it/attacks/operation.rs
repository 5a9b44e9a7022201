//! What happens to a server beside what people do to it: databases that are away, frozen or behind something, disks
//! and descriptors that run out.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::clock::Stopwatch;
use latchkey::config::settings::StoreUrl;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::harness::{Backend, Browser, Server, code, cookie, present};
use crate::pictures::picture;
use crate::postgres::cluster::PrivateCluster;
use crate::postgres::{fresh_settings, settings_on};
use crate::processes::{BINARY, Process, free_port, run, text, until_ready, write_private};
use crate::uploads::upload;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NO_GRACE: &str = "[tokens]\nsession_grace = \"0s\"\n";

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

/// A configuration in a folder.
fn configuration(folder: &Path, store: &str) -> PathBuf {
    let file = folder.join("latchkey.toml");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:8080\"\npublic_url = \"http://127.0.0.1:8080\"\n\
         secret_key = \"{SECRET}\"\n{store}[keys]\nalgorithm = \"ES256\"\n{NO_GRACE}"
    );
    write_private(&file, &config);
    file
}

fn on_postgres(url: &StoreUrl, schema: &str) -> String {
    let StoreUrl::Postgres(url) = url else { panic!("no PostgreSQL") };
    format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", url.expose())
}

async fn signed_in(url: &str, name: &str) -> (Browser, String) {
    let browser = Browser::new(url);
    browser.sign_in(name).await;
    let answer = browser.post_json("/auth/setup", &json!({ "username": name })).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let token = cookie(&answer, "auth_refresh").unwrap();
    (browser, token)
}

/// `latchkey serve`, and what it says; killed on drop.
struct Serving {
    child: Child,
    url: String,
    said: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Serving {
    fn start(config: &Path) -> Self {
        let port = free_port();
        let mut child = Command::new(BINARY)
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .env("LATCHKEY_SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, url: format!("http://127.0.0.1:{port}"), said }
    }

    /// Waits until it says something.
    fn says(&mut self, what: &str) {
        let found = self.said.by_ref().map_while(Result::ok).any(|line| line.contains(what));
        assert!(found, "it ended without saying {what:?}");
    }

    fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[actix_web::test]
async fn o03_the_example_configuration_does_not_start_before_it_has_a_secret_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/latchkey.example.toml");
    let config = folder.path().join("latchkey.toml");
    std::fs::copy(example, &config).unwrap();
    let refused = run(&["serve"], &config);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    assert!(told.contains("LATCHKEY_SECRET") && told.contains("Nothing was started."), "{told}");
}

#[actix_web::test]
async fn o04_a_server_waits_for_a_database_that_comes_up_later_and_not_for_one_that_refuses_it() {
    let mut cluster = PrivateCluster::start();
    let (settings, _guard) = settings_on(cluster.url());
    let folder = tempfile::tempdir().unwrap();
    let store = on_postgres(&settings.url, settings.schema.as_ref().unwrap());
    let config = configuration(folder.path(), &store);
    cluster.kill();
    let mut waiting = Serving::start(&config);
    waiting.says("it is tried again");
    assert!(TcpStream::connect(waiting.url.trim_start_matches("http://")).is_err());
    let mut ended = Serving::start(&config);
    ended.says("it is tried again");
    assert_eq!(ended.terminate(), Some(0), "who does not want to wait need not");

    cluster.restart();
    until_ready(&client(), &waiting.url).await;
    assert_eq!(waiting.terminate(), Some(0));

    let StoreUrl::Postgres(url) = &settings.url else { panic!("no PostgreSQL") };
    let (start, end) = url.expose().split_once('@').unwrap();
    let wrong = format!("{}:wrong@{end}", start.rsplit_once(':').unwrap().0);
    let config = configuration(folder.path(), &format!("[store]\nurl = \"{wrong}\"\n"));
    let watch = Stopwatch::start();
    let refused = run(&["serve"], &config);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("refuses this user's password"));
    assert!(watch.elapsed() < Duration::from_secs(10));
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[actix_web::test]
async fn o06_a_frozen_database_costs_quick_refusals_and_nothing_else() {
    let cluster = PrivateCluster::start();
    let (store, guard) = settings_on(cluster.url());
    let server =
        Server::start_with(Backend::Postgres, NO_GRACE, |settings| settings.store = store).await;
    let client = client();
    let mut tokens = Vec::new();
    for number in 0..8 {
        let browser = server.signed_in(&format!("user{number}")).await;
        tokens.push(browser.refresh().await.unwrap());
    }
    let before = threads();
    cluster.freeze();
    // Many more than there are connections, each of which would wait for the database.
    let asked = join_all(tokens.iter().cycle().take(200).map(|token| async {
        let watch = Stopwatch::start();
        (present(&client, &server.url, token).await, watch.elapsed())
    }));
    let others = async {
        for path in ["/health", "/.well-known/jwks.json", "/.well-known/openid-configuration"] {
            let watch = Stopwatch::start();
            let answer = client.get(format!("{}{path}", server.url)).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert!(watch.elapsed() < Duration::from_secs(2), "{path}: {:?}", watch.elapsed());
        }
        let ready = client.get(format!("{}/ready", server.url)).send().await.unwrap();
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    };
    let (answers, ()) = tokio::join!(asked, others);
    let mut longest = Duration::ZERO;
    for (answer, took) in answers {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        longest = longest.max(took);
    }
    println!("200 refreshes at a frozen database: the last 503 after {} ms", longest.as_millis());
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    assert!(threads() <= before + 4, "{} threads, {before} before", threads());

    cluster.thaw();
    let watch = Stopwatch::start();
    until_ready(&client, &server.url).await;
    println!("ready again after {} ms", watch.elapsed().as_millis());
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    for token in &tokens {
        assert_eq!(present(&client, &server.url, token).await.status(), StatusCode::OK);
    }
    assert_eq!(server.audited("family.reuse_detected").await, 0);
    assert!(server.stop().await);
    drop(guard);
}

/// A disk of a few megabytes, unmounted on drop; only root may make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={megabytes}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "latchkey-test"]).arg(folder.path());
        let is_mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !is_mounted {
            println!("nobody but root can make a small disk: not tried");
        }
        is_mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0x20), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        path
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open there, as after a failed test, keeps it until they are done.
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[actix_web::test]
async fn o10_a_full_disk_is_told_reads_go_on_and_room_mends_it() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    configuration(disk.path(), "");
    let server = Process::dev(disk.path(), free_port());
    let client = client();
    let (browser, mut token) = signed_in(&server.url, "ada").await;
    let filler = disk.fill();
    let mut answered = 0;
    let refused = loop {
        let answer = present(&client, &server.url, &token).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        token = cookie(&answer, "auth_refresh").unwrap();
        answered += 1;
        assert!(answered < 20_000, "the disk is never full");
    };
    println!("{answered} rotations went into what was left");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(code(refused).await, "store_unavailable");
    let uploaded = upload(&browser, &picture([200, 30, 30])).await;
    assert_eq!(uploaded.status(), StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/auth/me", "/auth/sessions", "/health", "/.well-known/jwks.json"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::OK, "{path}");
    }
    let config = disk.path().join("latchkey.toml");
    let file = disk.path().join("backup.db");
    let backup = run(&["backup", file.to_str().unwrap()], &config);
    assert_eq!(backup.status.code(), Some(1));
    let told = text(&backup.stderr);
    assert!(told.contains("the disk is full. Nothing was left of it."), "{told}");
    assert!(!file.exists() && !disk.path().join("backup.db.partial").exists());

    std::fs::remove_file(filler).unwrap();
    let answer = present(&client, &server.url, &token).await;
    assert_eq!(answer.status(), StatusCode::OK, "with no restart");
    assert_eq!(upload(&browser, &picture([30, 200, 30])).await.status(), StatusCode::OK);
    drop(server);
    let connection = rusqlite::Connection::open(disk.path().join("latchkey.db")).unwrap();
    let check = "PRAGMA integrity_check";
    let check: String = connection.query_row(check, [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[actix_web::test]
async fn o18_a_folder_that_cannot_be_written_is_named_at_the_start() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let config = configuration(disk.path(), "");
    drop(Process::dev(disk.path(), free_port()));
    disk.remount("ro");
    let refused = run(&["serve"], &config);
    disk.remount("rw");
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    assert!(told.contains("latchkey.db") && told.contains("Read-only file system"), "{told}");
}

#[actix_web::test]
async fn o18_a_log_that_was_deleted_costs_what_was_in_it_and_signs_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), "");
    let server = Process::dev(folder.path(), free_port());
    let client = client();
    let (_, token) = signed_in(&server.url, "ada").await;
    let database = folder.path().join("latchkey.db");
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.query_row(checkpoint, [], |_| Ok(())).unwrap();
    let answer = present(&client, &server.url, &token).await;
    let token = cookie(&answer, "auth_refresh").unwrap();
    drop(server); // killed: the rotation is in the log alone
    drop(connection);
    // The last connection to close brings the log into the file; a kill leaves it.
    for log in ["-wal", "-shm"] {
        let _there_or_not = std::fs::remove_file(format!("{}{log}", database.display()));
    }
    let server = Process::dev(folder.path(), free_port());
    let answer = present(&client, &server.url, &token).await;
    assert_eq!(answer.status(), StatusCode::OK, "it is taken for what it is: lost commits");
}

#[actix_web::test]
async fn o20_without_descriptors_new_connections_wait_and_nothing_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    let port = free_port();
    let limited = "ulimit -n 96; exec \"$0\" \"$@\"";
    let child = Command::new("sh")
        .args(["-c", limited, BINARY, "serve", "--config"])
        .arg(&config)
        .env("LATCHKEY_SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Process { child, url: format!("http://127.0.0.1:{port}") };
    until_ready(&client(), &server.url).await;
    // They say nothing, and are held.
    let held: Vec<TcpStream> =
        (0..300).map_while(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    assert!(held.len() > 96, "{}", held.len());
    let impatient =
        Client::builder().no_proxy().timeout(Duration::from_millis(500)).build().unwrap();
    let asked = impatient.get(format!("{}/health", server.url)).send().await;
    assert!(asked.is_err(), "there is no descriptor for another connection");
    assert!(server.child.try_wait().unwrap().is_none(), "it goes on");
    drop(held);
    let watch = Stopwatch::start();
    until_ready(&client(), &server.url).await;
    println!("ready again after {} ms", watch.elapsed().as_millis());
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
}

/// Debian's pgbouncer before the server of the tests; killed on drop.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(url: &str, mode: &str) -> Self {
        let (user, rest) = url.trim_start_matches("postgres://").split_once(':').unwrap();
        let (password, rest) = rest.split_once('@').unwrap();
        let (address, _) = rest.split_once('/').unwrap();
        let (host, server) = address.split_once(':').unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Whoever runs it reads what is here; it does not run as root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = free_port();
        let users = folder.path().join("users");
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).unwrap();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = {mode}\ndefault_pool_size = 10\n",
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        if crate::postgres::cluster::is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs pgbouncer (Debian: apt-get install pgbouncer)");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { child, port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[actix_web::test]
async fn o22_a_pooler_in_transaction_mode_is_refused_with_a_sentence_and_one_of_sessions_works() {
    let (settings, _guard) = fresh_settings();
    let StoreUrl::Postgres(url) = &settings.url else { panic!("no PostgreSQL") };
    let schema = settings.schema.as_ref().unwrap();
    let store = |url: &str| format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
    let through = |pooler: &Pooler| {
        let (start, end) = url.expose().split_once('@').unwrap();
        let database = end.split_once('/').unwrap().1;
        store(&format!("{start}@127.0.0.1:{}/{database}", pooler.port))
    };
    let folder = tempfile::tempdir().unwrap();
    let pooler = Pooler::start(url.expose(), "transaction");
    let config = configuration(folder.path(), &through(&pooler));
    for command in [&["migrate"] as &[&str], &["serve"], &["users", "list"]] {
        if command == ["users", "list"] {
            // It reads what somebody else has made.
            let direct = configuration(folder.path(), &store(url.expose()));
            assert!(run(&["migrate"], &direct).status.success());
            configuration(folder.path(), &through(&pooler));
        }
        let refused = run(command, &config);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        let told = text(&refused.stderr);
        assert!(told.contains("a pooler in transaction mode"), "{command:?}: {told}");
        assert!(told.contains("pool_mode = session"), "{told}");
    }
    drop(pooler);
    let pooler = Pooler::start(url.expose(), "session");
    configuration(folder.path(), &through(&pooler));
    let server = Process::dev(folder.path(), free_port());
    let (_, token) = signed_in(&server.url, "ada").await;
    assert_eq!(present(&client(), &server.url, &token).await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn o17_this_binary_serves_beside_the_next_one_or_refuses_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "");
    drop(Process::dev(folder.path(), free_port()));
    let newer = |oldest: u32| {
        let database = folder.path().join("latchkey.db");
        let sql = format!(
            "INSERT OR IGNORE INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (99, 'later', '2030-01-01T00:00:00Z', '1');
             INSERT OR REPLACE INTO schema_compatibility (version, oldest_binary)
             VALUES (99, {oldest})"
        );
        rusqlite::Connection::open(database).unwrap().execute_batch(&sql).unwrap();
    };
    newer(8);
    let server = Process::dev(folder.path(), free_port());
    let (_, token) = signed_in(&server.url, "ada").await;
    assert_eq!(present(&client(), &server.url, &token).await.status(), StatusCode::OK);
    drop(server);
    newer(99);
    for command in [&["serve"] as &[&str], &["migrate"], &["users", "list"]] {
        let refused = run(command, &config);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        let told = text(&refused.stderr);
        assert!(told.contains("Start a newer latchkey"), "{command:?}: {told}");
    }
}
