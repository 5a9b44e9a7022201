//! The configuration is changed while the server runs: what takes effect, what waits, what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::actors::configuration::{ReloadError, Reloaded};
use latchkey::certificate::Certificate;
use latchkey::config::problem::Problem;
use latchkey::config::settings::{self, Settings};
use latchkey::protocol::jwt::Algorithm;
use latchkey::store::model::AuditPage;
use reqwest::{Client, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::admin_api::{ES256, admin, id_of};
use crate::harness::{Backend, Browser, SECRET, Server, body, code, cookie, present};
use crate::identity::access_of;
use crate::processes::{BINARY, free_port, run, write_private};

const OTHER_SECRET: &str = "mJ0Vx2dYhQ8rT5bN7cK1wZ3eA6uG9iLpOqSfXyHnRkE=";

fn as_it_is(_: &mut Settings) {}

/// What was applied, where nothing waits for a restart.
async fn applied(server: &Server) -> Vec<String> {
    let Reloaded { applied, needs_restart } = server.reload().await.unwrap();
    assert_eq!(needs_restart, Vec::<String>::new());
    applied
}

/// What the configuration is refused for.
async fn problems(server: &Server) -> Vec<Problem> {
    match server.reload().await {
        Err(ReloadError::Refused(problems)) => problems.problems,
        other => panic!("{other:?}"),
    }
}

async fn login_page(browser: &Browser) -> String {
    browser.page("/login").await.text().await.unwrap()
}

fn google(display_name: &str) -> String {
    format!(
        "[[providers]]\nname = \"google\"\ndisplay_name = \"{display_name}\"\nclient_id = \"id\"\n\
         client_secret = \"the-secret-of-google\"\n"
    )
}

async fn a_bad_file_changes_nothing_and_tells_all_its_problems(backend: Backend) {
    let (server, file) = Server::start_from_file(backend, ES256, as_it_is).await;
    let alice = admin(&server, "alice").await;
    file.write(&format!(
        "{ES256}[branding]\nname = \"Acme\"\n[tokens]\nacces_ttl = \"15m\"\nid_ttl = \"soon\"\n"
    ));
    let answer = alice.post("/admin/reload").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let problem = body(answer).await;
    assert_eq!(problem["code"], "configuration_invalid");
    assert!(problem["detail"].as_str().unwrap().contains("2 problems in"), "{problem}");
    let of = |at: usize, member: &str| problem["problems"][at][member].clone();
    assert_eq!(problem["problems"].as_array().unwrap().len(), 2);
    assert_eq!((of(0, "line"), of(0, "key")), (json!(11), json!("tokens.acces_ttl")));
    assert_eq!(of(0, "remedy"), "did you mean access_ttl?");
    assert_eq!((of(1, "line"), of(1, "key")), (json!(12), json!("tokens.id_ttl")));
    assert!(!of(1, "reason").is_null() && !of(1, "file").is_null());

    assert!(!login_page(&alice).await.contains("Acme"), "nothing has changed");
    assert_eq!(server.audited("configuration.reloaded").await, 0);
    assert_eq!(reloads(&server), (0, 1, 0));

    // Once it is mended all of it takes effect.
    file.write(&format!("{ES256}[branding]\nname = \"Acme\"\n[tokens]\nid_ttl = \"10m\"\n"));
    let answer = alice.post("/admin/reload").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let told = body(answer).await;
    assert_eq!(told, json!({ "applied": ["tokens.id_ttl", "branding.name"], "needs_restart": [] }));
    assert!(login_page(&alice).await.contains("Acme"));
    let page =
        AuditPage { action: Some("configuration.reloaded".to_owned()), ..AuditPage::newest(9) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].actor, format!("user:{}", id_of(&alice).await));
    assert_eq!(rows[0].details["applied"], json!(["tokens.id_ttl", "branding.name"]));
    assert_eq!(reloads(&server), (1, 1, 0));

    // Nothing more to do is no entry, and a file that is gone is a problem like any other.
    assert_eq!(applied(&server).await, Vec::<String>::new());
    assert_eq!(server.audited("configuration.reloaded").await, 1);
    std::fs::remove_file(file.path()).unwrap();
    assert!(problems(&server).await[0].reason.starts_with("cannot be read"));
    assert!(login_page(&alice).await.contains("Acme"));
}

/// How many were applied, refused and failed.
fn reloads(server: &Server) -> (u64, u64, u64) {
    let of = |outcome: &str| {
        server.metric(&format!("latchkey_configuration_reloads_total{{outcome=\"{outcome}\"}}"))
    };
    (of("applied"), of("refused"), of("failed"))
}

async fn a_reload_with_a_key_is_done_once(backend: Backend) {
    let (server, file) = Server::start_from_file(backend, ES256, as_it_is).await;
    let alice = admin(&server, "alice").await;
    let reload = || {
        let request = alice.client.post(format!("{}/admin/reload", server.url));
        alice.send(request.header("idempotency-key", "one"))
    };
    file.write(&format!("{ES256}[branding]\nname = \"Acme\"\n"));
    let first = body(reload().await).await;
    file.write(&format!("{ES256}[branding]\nname = \"Other\"\n"));
    assert_eq!(body(reload().await).await, first, "the same request again");
    assert!(login_page(&alice).await.contains("Acme"));
}

crate::on_both_stores!(
    a_bad_file_changes_nothing_and_tells_all_its_problems,
    a_reload_with_a_key_is_done_once,
    a_new_server_secret_signs_nobody_out,
    what_was_issued_before_a_shorter_life_stays_revoked,
    reloads_under_load_lose_no_refresh,
);

#[actix_web::test]
async fn providers_come_change_and_go() {
    let (server, file) = Server::start_from_file(Backend::Sqlite, ES256, as_it_is).await;
    let browser = server.browser();
    let names = async || {
        let items = body(browser.get("/auth/providers").await).await["items"].clone();
        let name = |item: &Value| item["display_name"].as_str().unwrap().to_owned();
        items.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(browser.get("/auth/google").await.status(), StatusCode::NOT_FOUND);
    file.write(&format!("{ES256}{}", google("Google")));
    assert_eq!(applied(&server).await, ["providers[0]"]);
    assert_eq!(names().await, ["Development provider", "Google"]);
    file.write(&format!("{ES256}{}", google("Work")));
    assert_eq!(applied(&server).await, ["providers[0].display_name"]);
    assert_eq!(names().await, ["Development provider", "Work"]);
    file.write(&format!("{ES256}{}", google("Work").replace("the-secret", "another-secret")));
    assert_eq!(applied(&server).await, ["providers[0].client_secret"]);
    file.write(ES256);
    assert_eq!(applied(&server).await, ["providers[0]"]);
    assert_eq!(browser.get("/auth/google").await.status(), StatusCode::NOT_FOUND);
    // Who signs in by another one is not disturbed.
    server.signed_in("alice").await;
}

/// A provider that is somewhere else by now is asked there.
#[actix_web::test]
async fn a_provider_that_moved_is_asked_where_it_is_now() {
    let (other, _file) = Server::start_from_file(Backend::Sqlite, ES256, as_it_is).await;
    let work = |issuer: &str| {
        format!(
            "{ES256}[[providers]]\nname = \"work\"\nclient_id = \"id\"\nallow_private = true\nissuer = \"{issuer}\"\n"
        )
    };
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (server, file) = Server::start_from_file(Backend::Sqlite, &work(&nowhere), as_it_is).await;
    let browser = server.browser();
    assert!(browser.get("/auth/work").await.status().is_server_error());
    file.write(&work(&format!("{}/dev/idp", other.url)));
    assert_eq!(applied(&server).await, ["providers[0].issuer"]);
    let answer = browser.get("/auth/work").await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(&other.url), "{location}");
}

#[actix_web::test]
async fn lifetimes_signup_origins_proxies_and_pages_follow_at_once() {
    let (server, file) = Server::start_from_file(Backend::Sqlite, ES256, as_it_is).await;
    let alice = admin(&server, "alice").await;
    let life = async || {
        let answer = alice.post("/auth/refresh").await;
        let of = |cookie: &str| {
            let found = answer.headers().get_all("set-cookie").iter();
            let found = found.filter_map(|value| value.to_str().ok());
            found.filter(|value| value.starts_with(cookie)).map(str::to_owned).next_back()
        };
        of("auth_access").unwrap()
    };
    assert!(life().await.contains("Max-Age=900"));
    let allowed = async || {
        let request = alice.client.get(format!("{}/auth/providers", server.url));
        let answer = request.header("origin", "https://app.example").send().await.unwrap();
        answer.headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(allowed().await, None);
    file.write(&format!(
        "cors_origins = [\"https://app.example\"]\ntrusted_proxies = [\"127.0.0.1/32\"]\n{ES256}\
         [tokens]\naccess_ttl = \"5m\"\n[signup]\nmode = \"closed\"\n\
         [branding]\nname = \"Acme\"\naccent = \"#aa0000\"\n[usernames]\nmin_length = 9\n\
         [cookies]\nprefix = \"auth\"\n"
    ));
    let request = alice.client.post(format!("{}/admin/reload", server.url));
    let told = body(alice.send(request).await).await;
    assert_eq!(
        told["applied"],
        json!([
            "server.trusted_proxies",
            "server.cors_origins",
            "tokens.access_ttl",
            "signup.mode",
            "branding.name",
            "branding.accent",
            "usernames.min_length",
        ])
    );
    assert!(life().await.contains("Max-Age=300"), "{}", life().await);
    assert_eq!(allowed().await.unwrap(), "https://app.example");
    // The proxy's word counts now: it is in the trail.
    file.write(ES256);
    let request = alice.client.post(format!("{}/admin/reload", server.url));
    let request = request.header("x-forwarded-for", "203.0.113.9");
    assert_eq!(alice.send(request).await.status(), StatusCode::OK);
    let page =
        AuditPage { action: Some("configuration.reloaded".to_owned()), ..AuditPage::newest(9) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    let mut addresses: Vec<_> = rows.iter().filter_map(|row| row.address.as_deref()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["127.0.0.1", "203.0.113.9"]);

    file.write(&format!("{ES256}[signup]\nmode = \"closed\"\n[branding]\naccent = \"#aa0000\"\n"));
    applied(&server).await;
    let newcomer = server.browser();
    let answer = newcomer.sign_in("carol").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(code(answer).await, "signup_closed");
    // The page and its style sheet go together.
    let page = login_page(&newcomer).await;
    let style = page.split('"').find(|part| part.starts_with("/static/") && part.ends_with(".css"));
    let style = newcomer.get(style.unwrap()).await;
    assert_eq!(style.status(), StatusCode::OK);
    assert!(style.text().await.unwrap().to_lowercase().contains("#aa0000"));
}

#[actix_web::test]
async fn rate_limits_follow_and_tiers_that_stay_keep_their_buckets() {
    const LIMITS: &str = "[rate_limits]\nlogin = { per = \"1m\", burst = 3 }\npublic = { per = \"1m\", burst = 4 }\n";
    fn counts_everybody(settings: &mut Settings) {
        settings.rate_limits.exempt.clear();
    }
    let (server, file) = Server::start_from_file(Backend::Sqlite, LIMITS, counts_everybody).await;
    let browser = server.browser();
    let passes = async |target: &str| {
        let mut passed = 0;
        while browser.get(target).await.status() != StatusCode::TOO_MANY_REQUESTS {
            passed += 1;
            assert!(passed < 50, "{target}");
        }
        passed
    };
    assert_eq!(passes("/auth/dev").await, 3);
    assert_eq!(passes("/auth/providers").await, 4);
    file.write(&LIMITS.replace("burst = 3", "burst = 7"));
    assert_eq!(applied(&server).await, ["rate_limits.login.burst"]);
    assert_eq!(passes("/auth/dev").await, 7);
    assert_eq!(passes("/auth/providers").await, 0, "this tier has not changed");
    // What is swept is counted by the new limiter's own time.
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(passes("/auth/dev").await, 7);
}

async fn a_new_server_secret_signs_nobody_out(backend: Backend) {
    let (server, file) = Server::start_from_file(backend, ES256, as_it_is).await;
    let alice = admin(&server, "alice").await;
    // Alone it opens nothing that is stored.
    file.write_with_secret(&format!("\"{OTHER_SECRET}\""), ES256);
    let refused = problems(&server).await;
    assert_eq!((refused.len(), refused[0].key.as_str()), (1, "server.secret_key"));
    assert!(refused[0].reason.starts_with("does not open signing key"), "{refused:?}");
    assert!(alice.refresh().await.is_ok(), "nothing has changed");

    let before = cookie(&alice.post("/auth/refresh").await, "auth_refresh").unwrap();
    file.write_with_secret(&format!("[\"{OTHER_SECRET}\", \"{SECRET}\"]"), ES256);
    let answer = alice.post("/admin/reload").await;
    let text = answer.text().await.unwrap();
    assert!(text.contains("server.secret_key") && !text.contains(OTHER_SECRET), "{text}");
    server.clock.advance(Duration::from_secs(61));
    let after = alice.refresh().await.unwrap();
    assert_ne!(before[..8], after[..8], "another secret signs");
    assert!(alice.is_signed_in().await);
    // What the former one sealed is sealed anew; then it can go, and sessions stay.
    let of_system = latchkey::store::model::Actor::System;
    let reseal = latchkey::actors::key_ring::Reseal { by: of_system };
    assert_eq!(server.app.key_ring.ask(reseal).await.unwrap().unwrap(), 1);
    file.write_with_secret(&format!("\"{OTHER_SECRET}\""), ES256);
    assert_eq!(applied(&server).await, ["server.secret_key"]);
    assert!(alice.refresh().await.is_ok());
    for row in server.everything().await {
        assert!(!row.contains(OTHER_SECRET) && !row.contains(SECRET), "{row}");
    }
}

async fn what_was_issued_before_a_shorter_life_stays_revoked(backend: Backend) {
    let long = format!("{ES256}[tokens]\naccess_ttl = \"1h\"\n");
    let (server, file) = Server::start_from_file(backend, &long, as_it_is).await;
    let alice = server.signed_in("alice").await;
    let token = access_of(&alice).await;
    let bearer = Client::builder().no_proxy().build().unwrap();
    let ask = async || {
        let request = bearer.get(format!("{}/auth/me", server.url)).bearer_auth(&token);
        request.send().await.unwrap().status()
    };
    assert_eq!(ask().await, StatusCode::OK);
    file.write(&format!("{ES256}[tokens]\naccess_ttl = \"1m\"\n"));
    assert_eq!(applied(&server).await, ["tokens.access_ttl"]);
    alice.post("/auth/logout").await;
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    let kept = server.app.snapshots.current().access_tokens_live_for;
    assert!(kept >= Duration::from_secs(3_600), "{kept:?}");
    let rows = server
        .app
        .store
        .read
        .revocations(latchkey::clock::Timestamp::default(), server.clock.now())
        .await
        .unwrap();
    let until = rows.iter().map(|revoked| revoked.until).max().unwrap();
    assert!(until.since(server.clock.now()) >= Duration::from_secs(3_600));
}

#[actix_web::test]
async fn what_cannot_change_is_named_and_stays() {
    let (server, file) = Server::start_from_file(Backend::Sqlite, ES256, as_it_is).await;
    let metrics = free_port();
    file.write(&format!(
        "shutdown_grace = \"1s\"\n{ES256}[branding]\nname = \"Acme\"\n\
         [store]\nurl = \"sqlite:elsewhere.db\"\n\
         [telemetry]\nlog_format = \"json\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\n\
         [server.tls]\ncert = \"{0}\"\nkey = \"{0}\"\n",
        file.path().display()
    ));
    let Reloaded { applied, needs_restart } = server.reload().await.unwrap();
    assert_eq!(applied, ["branding.name"]);
    let waiting = [
        "server.public_url",
        "server.shutdown_grace",
        "server.tls",
        "store.url",
        "telemetry.log_format",
        "telemetry.metrics_listen",
    ];
    assert_eq!(needs_restart, waiting);
    let running = server.app.snapshots.current();
    let before = &server.app.settings;
    assert_eq!(format!("{:?}", running.settings.server), format!("{:?}", before.server));
    assert_eq!(format!("{:?}", running.settings.store), format!("{:?}", before.store));
    assert!(login_page(&server.browser()).await.contains("Acme"), "the rest is applied");
    // They are named until they are in force, or taken back.
    assert_eq!(server.reload().await.unwrap().needs_restart, waiting);
    file.write(&format!("{ES256}[branding]\nname = \"Acme\"\n"));
    assert_eq!(server.reload().await.unwrap(), Reloaded::default());
}

#[actix_web::test]
async fn another_algorithm_signs_from_the_next_request_on() {
    let (server, file) = Server::start_from_file(Backend::Sqlite, ES256, as_it_is).await;
    let alice = server.signed_in("alice").await;
    let algorithm = |token: &str| {
        use base64::Engine;
        let head = token.split('.').next().unwrap();
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap();
        serde_json::from_slice::<Value>(&head).unwrap()["alg"].as_str().unwrap().to_owned()
    };
    let former = access_of(&alice).await;
    assert_eq!(algorithm(&former), "ES256");
    file.write("[keys]\nalgorithm = \"EdDSA\"\n");
    assert_eq!(applied(&server).await, ["keys.algorithm"]);
    let now = server.clock.now();
    assert!(server.app.key_snapshot().signer(Algorithm::EdDsa, now).is_some());
    assert_eq!(algorithm(&access_of(&alice).await), "EdDSA");
    let bearer = Client::builder().no_proxy().build().unwrap();
    let asked = bearer.get(format!("{}/auth/me", server.url)).bearer_auth(&former);
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK, "the former key verifies");
}

async fn reloads_under_load_lose_no_refresh(backend: Backend) {
    let text = |number: usize| {
        let mark = format!("configured-{number}");
        format!(
            "{ES256}[tokens]\nsession_grace = \"0s\"\naccess_ttl = \"{}m\"\n[branding]\nname = \"{mark}\"\n{}",
            number + 1,
            google(&mark)
        )
    };
    let (server, file) = Server::start_from_file(backend, &text(0), as_it_is).await;
    let mut tokens = Vec::new();
    for number in 0..6 {
        tokens.push(server.signed_in(&format!("user{number}")).await.refresh().await.unwrap());
    }
    let client = Client::builder().no_proxy().build().unwrap();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let refreshing = join_all(tokens.into_iter().map(async |mut token| {
        while !stop.load(Ordering::Relaxed) {
            let answer = present(&client, &server.url, &token).await;
            assert_eq!(answer.status(), StatusCode::OK);
            token = cookie(&answer, "auth_refresh").unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
        }
        // Nothing was lost: the last one that was answered is live.
        assert_eq!(present(&client, &server.url, &token).await.status(), StatusCode::OK);
    }));
    // A page shows the deployer's name and a provider's: both of one configuration, whichever.
    let looking = async {
        let browser = server.browser();
        while !stop.load(Ordering::Relaxed) {
            let page = login_page(&browser).await;
            let mut marks: Vec<&str> = page
                .split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
                .filter(|word| word.starts_with("configured-"))
                .collect();
            assert!(marks.len() >= 2, "{page}");
            marks.dedup();
            assert_eq!(marks.len(), 1, "a mixture: {marks:?}");
        }
    };
    let reloading = async {
        for number in 1..=20 {
            file.write(&text(number));
            let changed = applied(&server).await;
            let expected = ["tokens.access_ttl", "branding.name", "providers[0].display_name"];
            assert_eq!(changed, expected);
            let before = answered.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) < before + 12 {
                tokio::task::yield_now().await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(refreshing, looking, reloading);
    assert_eq!(reloads(&server), (20, 0, 0));
}

/// Each actor that holds a part of the configuration is broken after a reload: it comes back with the new one.
#[cfg(feature = "fault-injection")]
#[actix_web::test]
async fn an_actor_that_restarts_after_a_reload_has_the_new_values() {
    const LIMITS: &str = "[rate_limits]\nlogin = { per = \"1m\", burst = 40 }\n";
    fn counts_everybody(settings: &mut Settings) {
        settings.rate_limits.exempt.clear();
    }
    let before = format!("{ES256}{LIMITS}[tokens]\nsession_grace = \"0s\"\n");
    let (server, file) = Server::start_from_file(Backend::Sqlite, &before, counts_everybody).await;
    let alice = server.signed_in("alice").await;
    // From now on a second use is reuse, and logging in is possible twice a minute.
    file.write(&format!(
        "{ES256}{}[tokens]\nsession_grace = \"0s\"\nretry_window = \"0s\"\n",
        LIMITS.replace("40", "2")
    ));
    assert_eq!(applied(&server).await, ["tokens.retry_window", "rate_limits.login.burst"]);
    let breaker = Client::builder().no_proxy().build().unwrap();
    for actor in ["token_families", "rate_limiter", "key_ring", "db_writer", "configuration"] {
        let fault = format!("{}/dev/fault/{actor}?kind=panic", server.url);
        assert_eq!(breaker.post(fault).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }
    let token = alice.refresh().await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let first = present(&client, &server.url, &token).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(present(&client, &server.url, &token).await.status(), StatusCode::UNAUTHORIZED);
    let browser = server.browser();
    let mut passed = 0;
    while browser.get("/auth/dev").await.status() == StatusCode::FOUND {
        passed += 1;
    }
    assert_eq!(passed, 2);
    // The owner of the configuration, too, goes on from where it was.
    file.write(&before);
    assert_eq!(applied(&server).await, ["tokens.retry_window", "rate_limits.login.burst"]);
}

/// A certificate for this machine, made by openssl.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=latchkey test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.pem")))
        .output()
        .expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts these certificates alone.
fn connect(authority: &str, trusted: &[&Path]) -> Tls {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tcp = TcpStream::connect(authority).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
}

/// Asks on a connection that stays open; the certificate that it was opened with.
fn ask(stream: &mut Tls, authority: &str) -> CertificateDer<'static> {
    write!(stream, "GET /health HTTP/1.1\r\nHost: {authority}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the connection was closed");
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[actix_web::test]
async fn a_certificate_is_exchanged_under_connections() {
    let text = format!("{ES256}[server.tls]\ncert = \"now.pem\"\nkey = \"now.key\"\n");
    let folder = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        certificate(folder.path(), name);
    }
    let (pem, key) = (|name: &str| format!("{name}.pem"), |name: &str| format!("{name}.key"));
    let absolute = |name: &str| folder.path().join(name).display().to_string();
    let use_pair = |cert: &str, private: &str| {
        std::fs::copy(absolute(&pem(cert)), absolute("now.pem")).unwrap();
        let content = std::fs::read_to_string(absolute(&key(private))).unwrap();
        write_private(&folder.path().join("now.key"), &content);
    };
    use_pair("first", "first");
    let text = text.replace("now.", &format!("{}/now.", folder.path().display()));
    let (server, file) = Server::start_from_file(Backend::Sqlite, &text, as_it_is).await;
    let authority = server.url.trim_start_matches("http://").to_owned();
    let of = |name: &str| CertificateDer::from_pem_file(absolute(&pem(name))).unwrap();
    let both = [folder.path().join("first.pem"), folder.path().join("second.pem")];
    let on_a_new_one = async || {
        let (authority, both) = (authority.clone(), both.clone());
        let asking = move || {
            let mut stream = connect(&authority, &[&both[0], &both[1]]);
            let certificate = ask(&mut stream, &authority);
            (stream, certificate)
        };
        tokio::task::spawn_blocking(asking).await.unwrap()
    };
    let (mut old, seen) = on_a_new_one().await;
    assert_eq!(seen, of("first"));

    // A certificate that does not go with its key, and none at all, change nothing.
    use_pair("second", "first");
    let refused = problems(&server).await;
    assert_eq!((refused.len(), refused[0].key.as_str()), (1, "server.tls.cert"));
    assert!(refused[0].reason.contains("is not the certificate of the key"), "{refused:?}");
    std::fs::write(absolute("now.pem"), "").unwrap();
    assert_eq!(problems(&server).await[0].key, "server.tls.cert");
    assert_eq!(on_a_new_one().await.1, of("first"));

    // Renewed in its files: their names have not changed.
    use_pair("second", "second");
    assert_eq!(applied(&server).await, ["server.tls.cert", "server.tls.key"]);
    assert_eq!(on_a_new_one().await.1, of("second"));
    let shared = authority.clone();
    let still = tokio::task::spawn_blocking(move || ask(&mut old, &shared)).await.unwrap();
    assert_eq!(still, of("first"), "the connection of before goes on");
    assert_eq!(applied(&server).await, Vec::<String>::new());

    // By other names.
    file.write(&text.replace("now.", "first."));
    assert_eq!(applied(&server).await, ["server.tls.cert", "server.tls.key"]);
    assert_eq!(on_a_new_one().await.1, of("first"));
    // Without TLS at all the running one stays.
    file.write(ES256);
    let waiting = ["server.public_url", "server.tls"];
    assert_eq!(server.reload().await.unwrap().needs_restart, waiting);
    assert_eq!(on_a_new_one().await.1, of("first"));
}

fn own(folder: &Path, certificate: &str, key: &str) -> Result<Certificate, String> {
    let (cert, key) = (folder.join(certificate), folder.join(key));
    Certificate::read(&settings::Tls { cert, key }).map_err(|error| error.to_string())
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let made = made.expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn what_is_the_matter_with_a_certificate_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(folder, "own");
    certificate(folder, "other");
    for command in [
        "pkey -in own.key -aes256 -passout pass:x -out encrypted.key",
        "ec -in own.key -aes256 -passout pass:x -out encrypted-traditional.key",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.key",
        "req -new -key own.key -subj /CN=own -out own.csr",
        "x509 -req -in own.csr -CA other.pem -CAkey other.key -set_serial 1 -out first-version.pem",
    ] {
        openssl(folder, command);
    }
    let pem = std::fs::read_to_string(folder.join("own.pem")).unwrap();
    let other = std::fs::read_to_string(folder.join("other.pem")).unwrap();
    for (name, content) in [
        ("empty", String::new()),
        ("cut-off.pem", pem[..200].to_owned()),
        ("chain.pem", format!("{pem}{other}")),
        ("wrong-order.pem", format!("{other}{pem}")),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    for (certificate, key, reason) in [
        ("own.pem", "encrypted.key", "server.tls.key: FOLDER/encrypted.key: is encrypted"),
        ("own.pem", "encrypted-traditional.key", "is encrypted"),
        ("own.pem", "short.key", "is no key for TLS"),
        ("own.pem", "empty", "holds no private key in PEM"),
        ("own.pem", "own.csr", "holds no private key in PEM"),
        ("own.pem", "other.key", "is not the certificate of the key"),
        ("wrong-order.pem", "own.key", "in a chain, that one stands first"),
        ("empty", "own.key", "server.tls.cert: FOLDER/empty: holds no certificate"),
        ("cut-off.pem", "own.key", "is not whole"),
        ("first-version.pem", "own.key", "is a certificate of version 1"),
    ] {
        let error = own(folder, certificate, key).unwrap_err();
        let reason = reason.replace("FOLDER", &folder.display().to_string());
        assert!(error.contains(&reason), "{certificate}, {key}: {error}");
    }
    let fine = own(folder, "chain.pem", "own.key").unwrap();
    let until = fine.valid_until().unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(fine.untimely(until.minus(day)), None);
    assert!(fine.untimely(until).unwrap().starts_with("expired at "));
    assert!(fine.untimely(until.minus(3 * day)).unwrap().starts_with("is valid from "));
}

#[test]
fn validate_finds_what_a_start_would_refuse_of_certificates() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "own");
    certificate(folder.path(), "other");
    let config = folder.path().join("latchkey.toml");
    let validate = |key: &str| {
        let text = format!(
            "[server]\npublic_url = \"https://127.0.0.1:8443\"\nsecret_key = \"{SECRET}\"\n\
             [server.tls]\ncert = \"own.pem\"\nkey = \"{key}\"\n"
        );
        write_private(&config, &text);
        let output = run(&["validate", "--offline"], &config);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, said) = validate("own.key");
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("ok       certificate: goes with its key, and is valid until 2"),
        "{said}"
    );
    let (status, said) = validate("other.key");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("problem  certificate: server.tls.cert"), "{said}");
}

#[actix_web::test]
async fn who_connects_and_says_nothing_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "own");
    let own = folder.path().join("own.pem");
    let text = format!(
        "{ES256}[server.tls]\ncert = \"{}\"\nkey = \"{}\"\n",
        own.display(),
        folder.path().join("own.key").display()
    );
    let one_worker: fn(&mut Settings) = |settings| settings.server.workers = 1;
    let (server, _file) = Server::start_from_file(Backend::Sqlite, &text, one_worker).await;
    let authority = server.url.trim_start_matches("http://").to_owned();
    let asking = move || {
        let silent: Vec<TcpStream> =
            (0..300).map(|_| TcpStream::connect(&authority).unwrap()).collect();
        let seen = ask(&mut connect(&authority, &[&own]), &authority);
        assert_eq!(seen, CertificateDer::from_pem_file(&own).unwrap());
        // Answered while the first one is still waited for.
        silent[0].set_nonblocking(true).unwrap();
        let nothing = (&silent[0]).read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    };
    tokio::task::spawn_blocking(asking).await.unwrap();
}

/// `latchkey dev`, whose log is read.
struct Process {
    child: Child,
    log: Receiver<String>,
    said: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    fn start(folder: &Path, port: u16) -> Self {
        let mut child = Command::new(BINARY)
            .args(["dev", "--port", &port.to_string(), "--data-dir"])
            .arg(folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _nobody_listens = sender.send(line);
                }
            });
        }
        Self { child, log, said: Vec::new() }
    }

    fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Reads on until a line holds this.
    fn says(&mut self, what: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|error| panic!("no {what:?}: {error}\n{}", self.said.join("\n")));
            self.said.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }
}

#[actix_web::test]
async fn sighup_reads_it_again_and_the_log_says_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().join("latchkey.toml"), free_port());
    let write = move |further: &str| {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
             secret_key = \"{SECRET}\"\n{further}"
        );
        write_private(&path, &text);
    };
    write(ES256);
    let mut process = Process::start(folder.path(), port);
    let url = format!("http://127.0.0.1:{port}");
    process.says("Ready in");
    let browser = Browser::new(&url);
    let told = tokio::task::spawn_blocking(move || {
        // A bad file: every problem on a line of its own, and nothing changes.
        write(&format!("{ES256}[branding]\nname = 7\n[tokens]\nacces_ttl = \"1m\"\n"));
        process.hang_up();
        process.says("WARN the configuration was not reloaded: nothing has changed");
        let first = process.says("branding.name");
        assert!(first.contains("WARN line 8: branding.name = 7"), "{first}");
        let second = process.says("acces_ttl");
        assert!(second.contains("did you mean access_ttl?"), "{second}");

        write(&format!(
            "max_body = \"2MiB\"\nworkers = 3\n{ES256}[branding]\nname = \"Acme\"\n\
             [telemetry]\nlog_level = \"debug\"\n[audit]\nlog = true\n{}",
            google("Google")
        ));
        process.hang_up();
        let line = process.says("configuration reloaded");
        for part in ["server.max_body", "branding.name", "telemetry.log_level", "providers[0]"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(line.contains("needs_restart=\"server.workers\""), "{line}");
        // The trail is copied to the log by now.
        write(ES256);
        process.hang_up();
        process.says("action=\"configuration.reloaded\"");
        process.says("configuration reloaded");
        write(&format!("{ES256}[branding]\nname = \"Acme\"\n[telemetry]\nlog_level = \"debug\"\n"));
        process.hang_up();
        process.says("configuration reloaded");
        process
    });
    let mut process = told.await.unwrap();
    assert!(login_page(&browser).await.contains("Acme"));
    // What is asked all day is told at debug alone.
    browser.get("/health").await;
    let process = tokio::task::spawn_blocking(move || {
        process.says("DEBUG latchkey::routes::edge: 200 GET /health");
        process
    });
    let process = process.await.unwrap();
    for secret in [SECRET, "the-secret-of-google"] {
        assert!(!process.said.iter().any(|line| line.contains(secret)));
    }
}

/// A named pipe at which nobody writes stands for a file on a server that is away.
#[test]
fn a_file_that_does_not_answer_holds_up_neither_further_reloads_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().join("latchkey.toml"), free_port());
    let mut process = Process::start(folder.path(), port);
    process.says("Ready in");
    let aside = folder.path().join("aside.toml");
    std::fs::rename(&path, &aside).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    process.hang_up();
    process.says("a file did not answer within 10 s");
    std::fs::rename(&aside, &path).unwrap();
    process.hang_up();
    process.says("configuration reloaded");
    process.signal("-TERM");
    process.says("stopped");
    assert!(process.child.wait().unwrap().success());
}

#[test]
fn sighup_during_the_start_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut process = Process::start(folder.path(), port);
    // From the moment on at which the configuration is made, which is after the signals are listened for.
    while !folder.path().join("latchkey.toml").exists() {
        assert!(process.child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    for _ in 0..5 {
        process.hang_up();
    }
    process.says("Ready in");
    assert!(process.child.try_wait().unwrap().is_none());
}
