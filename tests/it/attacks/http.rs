//! HTTP that no library sends, and what is reflected of it (attacks L01 to L10).

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::config::settings::Tls;
use regex::Regex;
use reqwest::{Client, Method, Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::grants::{code_for, redeem};
use crate::harness::{Backend, Browser, Server, cookie};
use crate::oauth_authorize::request;
use crate::processes::{Process, free_port};
use crate::raw_http::{exchange, exchange_parts};
use crate::registration::register;

/// A request that gets 200 and ends its connection: whether it is answered shows how the bytes before it
/// were read.
fn next(authority: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
}

/// How much memory a process has, in KiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[actix_web::test]
async fn l01_what_is_too_large_is_refused_the_connection_closed_and_memory_flat() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::dev(directory.path(), free_port());
    let browser = Browser::new(&process.url);
    browser.sign_in("alice").await;
    let created = browser.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    let access = cookie(&created, "auth_access").unwrap();
    let newcomer = Browser::new(&process.url);
    let back = newcomer.sign_in("mallory").await;
    let setup = cookie(&back, "auth_setup").unwrap();
    let authority = process.url.trim_start_matches("http://");
    let body = "x".repeat(11 << 20);
    let head = |target: &str, kind: &str, further: &str| {
        let cookie = match target.ends_with("/setup") {
            true => format!("auth_setup={setup}"),
            false => format!("auth_access={access}"),
        };
        format!(
            "{target} HTTP/1.1\r\nHost: {authority}\r\nCookie: {cookie}\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Type: {kind}\r\n{further}\r\n"
        )
    };
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=x";
    let parts = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let before = resident(&process);
    let targets = [
        ("PATCH /auth/me", "application/json", ""),
        ("PATCH /auth/me/username", "application/json", ""),
        ("POST /auth/setup", "application/json", ""),
        ("POST /auth/form/setup", form, ""),
        ("POST /auth/form/profile", form, ""),
        ("POST /auth/form/consent", form, ""),
        ("POST /auth/form/end-session", form, ""),
        ("POST /oauth/token", form, ""),
        ("POST /oauth/authorize", form, ""),
        ("POST /oauth/introspect", form, ""),
        ("POST /oauth/revoke", form, ""),
        ("POST /oauth/userinfo", form, ""),
        ("POST /oauth/logout", form, ""),
        ("POST /auth/me/avatar", multipart, parts),
        ("POST /auth/form/avatar", multipart, parts),
    ];
    let body = body.as_str();
    let sent = targets.iter().flat_map(|(target, kind, begin)| {
        let length = begin.len() + body.len();
        let announced = format!("Content-Length: {length}\r\n");
        let chunked = "Transfer-Encoding: chunked\r\n";
        // A browser reads no answer while it still sends, so that a refused form is let arrive.
        let next = match *kind == multipart {
            true => next(authority),
            false => next(authority).replace("Connection: close\r\n", ""),
        };
        let size = format!("{length:x}\r\n{begin}");
        [
            (head(target, kind, &announced) + begin, next.clone()),
            (head(target, kind, chunked) + &size, format!("\r\n0\r\n\r\n{next}")),
        ]
    });
    let mut most = before;
    let refused = sent.map(async |(head, rest)| {
        let parts = [head.as_bytes(), body.as_bytes(), rest.as_bytes()];
        (exchange_parts(authority, &parts).await, head, resident(&process))
    });
    for (heard, head, memory) in join_all(refused).await {
        // One picture of a person at a time: the others are told so before anything is read.
        let is_upload = head.contains("multipart");
        let first = heard.statuses().first().copied();
        let is_refused = first == Some(413) || (is_upload && first == Some(429));
        assert!(is_refused, "{head}: {:.300}", heard.text);
        assert!(heard.closed, "{head}: {:.300}", heard.text);
        most = most.max(memory);
    }
    assert!(most < before + (48 << 10), "{before} KiB became {most} KiB");

    let long = "a".repeat(64 << 10);
    let many: String = (0..64).map(|n| format!("X-{n}: {}\r\n", "a".repeat(1 << 10))).collect();
    for (request, statuses) in [
        (head("GET /login", form, &format!("X-A: {long}\r\n")), vec![431]),
        (head("GET /login", form, &format!("Cookie: {long}\r\n")), vec![431]),
        (head("POST /oauth/token", form, &many), vec![431]),
        (head("GET /login", form, &format!("X-A: {}\r\n", long.repeat(4))), vec![431]),
        (head("GET /login", form, &"X: a\r\n".repeat(200)), vec![431]),
        (head(&format!("GET /{}", &long[..60_000]), form, ""), vec![414]),
        (head(&format!("GET /login?a={}", &long[..9_000]), form, ""), vec![414]),
        // What the parser itself does not take is answered by it, without our shape.
        (head(&format!("GET /{long}"), form, ""), vec![400]),
        (head(&format!("GET /{}", long.repeat(4)), form, ""), vec![431]),
    ] {
        let heard = exchange(authority, request.as_bytes()).await;
        assert_eq!(heard.statuses(), statuses, "{request:.80}: {:.300}", heard.text);
        assert!(heard.closed, "{request:.80}");
    }
    assert!(resident(&process) < before + (48 << 10));
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::OK, "others are served");
}

/// Heads and bodies that two programs could read in two ways. Each gets 400, and nothing that follows it
/// on its connection is answered.
fn ambiguous(authority: &str) -> Vec<String> {
    let get = format!("GET /health HTTP/1.1\r\nHost: {authority}\r\n");
    let post = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {authority}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n"
    );
    let heads = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n\r\na=b",
        "Content-Length: 3\r\nContent-Length: 0\r\n\r\na=b",
        "Content-Length: 3, 3\r\n\r\na=b",
        "Content-Length: +3\r\n\r\na=b",
        "Content-Length: -3\r\n\r\na=b",
        "Content-Length: 0x3\r\n\r\na=b",
        "Content-Length: 3 3\r\n\r\na=b",
        "Content-Length: \r\n\r\n",
        "Content-Length: 18446744073709551619\r\n\r\na=b",
        "Content-Length : 3\r\n\r\na=b",
        "Content-Length\t: 3\r\n\r\na=b",
        " Content-Length: 3\r\n\r\na=b",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\na=b",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding chunked\r\n\r\n0\r\n\r\n",
        "X-A: b\r\n\tfolded\r\nContent-Length: 3\r\n\r\na=b",
        "X-A: b\rContent-Length: 3\r\n\r\na=b",
        "X-A: b\0\r\nContent-Length: 3\r\n\r\na=b",
        ": b\r\nContent-Length: 3\r\n\r\na=b",
    ];
    let chunks = [
        "10000000000000003\r\na=b\r\n0\r\n\r\n",
        "fffffffffffffffff\r\na=b\r\n0\r\n\r\n",
        "-3\r\na=b\r\n0\r\n\r\n",
        "0x3\r\na=b\r\n0\r\n\r\n",
        " 3\r\na=b\r\n0\r\n\r\n",
        "3\na=b\n0\n\n",
        "3;a\nb\r\na=b\r\n0\r\n\r\n",
        "2\r\na=b\r\n0\r\n\r\n",
        "\r\na=b\r\n0\r\n\r\n",
        "3\r\na=bX\r\n0\r\n\r\n",
    ];
    let mut all: Vec<String> = heads.iter().map(|rest| format!("{post}{rest}")).collect();
    all.extend(chunks.iter().map(|rest| format!("{post}Transfer-Encoding: chunked\r\n\r\n{rest}")));
    all.extend([
        format!("{get}Host: other.example\r\n\r\n"),
        format!("{get}X-A : b\r\n\r\n"),
        "GET /health HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /health x HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n Host: {authority}\r\n\r\n"),
        format!("GET /health\0 HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET /health HTTP/9.9\r\nHost: {authority}\r\n\r\n"),
        post.replace("HTTP/1.1", "HTTP/1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        format!("{get}Upgrade: WebSocket\r\nConnection: upgrade\r\n\r\n"),
        format!("{post}Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\na=b"),
    ]);
    all
}

/// What could be read in two ways elsewhere, and has one meaning here, that of the RFC: the answers that a
/// connection with it and [`next`] gets.
///
/// A bare LF ends a line, which a recipient may let it (RFC 9112 §2.2); the parser, which is not ours, shows
/// nobody which it was. It cannot hide a header line: the parser ends each line at each LF, as nginx and
/// HAProxy do, which send their own.
fn unambiguous(authority: &str) -> Vec<(String, Vec<u16>)> {
    let get = format!("GET /health HTTP/1.1\r\nHost: {authority}\r\n");
    let hidden = next(authority).replace("/health", "/nothing");
    let post = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {authority}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n"
    );
    vec![
        (format!("{get}\r\n").replace("\r\n", "\n"), vec![200, 200]),
        (format!("{get}X-A: b\nX-B: c\r\n\r\n"), vec![200, 200]),
        (format!("{get}X-A: b\nContent-Length: 3\r\n\r\na=b"), vec![200, 200]),
        (format!("{get}Content-Length: {}\r\n\r\n{hidden}", hidden.len()), vec![200, 200]),
        (
            format!(
                "{get}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
                hidden.len()
            ),
            vec![200, 200],
        ),
        // No client, but well-formed; what a trailer says of the length is not looked at.
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\na=b\r\n0\r\nContent-Length: 200\r\n\r\n"
            ),
            vec![400, 200],
        ),
        (format!("{post}Content-Length: 3\r\n\r\na=b"), vec![400, 200]),
        ("\r\n\r\n".to_owned(), vec![200]),
    ]
}

#[actix_web::test]
async fn l03_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let server = Server::start(Backend::Sqlite, "").await;
    let authority = server.url.trim_start_matches("http://");
    for attack in ambiguous(authority) {
        let heard = exchange(authority, (attack.clone() + &next(authority)).as_bytes()).await;
        assert_eq!(heard.statuses(), [400], "{attack:?}: {}", heard.text);
        assert!(heard.closed, "{attack:?}");
    }
    for (request, statuses) in unambiguous(authority) {
        let heard = exchange(authority, (request.clone() + &next(authority)).as_bytes()).await;
        // A body that nobody reads ends its connection, with or without what was there already.
        let told = heard.statuses();
        assert!(!told.is_empty() && statuses.starts_with(&told), "{request:?}: {}", heard.text);
        assert!(heard.closed, "{request:?}");
    }
    // What announces more than it sends waits for the rest, never for the next request's answer.
    let endless = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\nffffffffffffffff\r\n{}",
        next(authority)
    );
    let heard = exchange(authority, endless.as_bytes()).await;
    assert!(heard.closed && heard.statuses() == [408], "{}", heard.text);
}

/// Both programs keep one connection to the server, so that all that a client could add to another's request
/// or take of its answer lies on the same one.
mod behind_proxies {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::reverse_proxy::{Reserved, ReverseProxy, haproxy, nginx};

    async fn behind_nginx(server: &str) -> ReverseProxy {
        ReverseProxy::start(nginx(), Reserved::new(), |folder, listen| {
            let folder = folder.display();
            format!(
                "daemon off; master_process off; worker_processes 1; pid {folder}/pid;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{\n\
                 access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
                 fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;\n\
                 scgi_temp_path {folder}/scgi; proxy_request_buffering off;\n\
                 upstream latchkey {{ server {server} max_fails=0; keepalive 1; }}\n\
                 server {{ listen {listen}; location / {{\n\
                 proxy_pass http://latchkey; proxy_http_version 1.1;\n\
                 proxy_set_header Host {server}; proxy_set_header Connection \"\";\n\
                 }} }} }}\n"
            )
        })
        .await
    }

    async fn behind_haproxy(server: &str) -> ReverseProxy {
        ReverseProxy::start(haproxy(), Reserved::new(), |_, listen| {
            format!(
                "global\n  nbthread 1\n\
                 defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
                 \x20 http-reuse always\n  retries 3\n  retry-on conn-failure empty-response\n\
                 frontend all\n  bind {listen}\n  default_backend latchkey\n\
                 backend latchkey\n  http-request set-header Host {server}\n\
                 \x20 server latchkey {server}\n"
            )
        })
        .await
    }

    async fn nothing_reaches_another_client(server: &Server, proxy: ReverseProxy) {
        let authority = &proxy.authority;
        let metrics = || server.app.metrics.encode();
        assert!(!metrics().contains("route=\"/signed-out\""));
        // What an attacker would have the server take for a request of its own.
        let smuggled = format!("GET /signed-out HTTP/1.1\r\nHost: {authority}\r\nX-Rest: ");
        let pipelined = unambiguous(authority).into_iter().map(|(request, _)| request);
        let mut asked = 0;
        for attack in ambiguous(authority).into_iter().chain(pipelined) {
            let bytes = if asked % 2 == 0 { attack.clone() } else { attack.clone() + &smuggled };
            let mut attacker = TcpStream::connect(authority).await.unwrap();
            attacker.write_all(bytes.as_bytes()).await.unwrap();
            // Either it is answered or the proxy waits for more; the others come after it or beside it.
            let mut some = [0; 4096];
            let answer = attacker.read(&mut some);
            let _none = tokio::time::timeout(Duration::from_millis(200), answer).await;
            for _ in 0..3 {
                let heard = exchange(authority, next(authority).as_bytes()).await;
                assert!(heard.closed, "{attack:?}");
                assert_eq!(heard.statuses(), [200], "{attack:?}: {}", heard.text);
                assert!(heard.text.contains("{\"status\":\"ok\"}"), "{attack:?}: {}", heard.text);
                asked += 1;
            }
            drop(attacker);
        }
        let metrics = metrics();
        assert!(!metrics.contains("route=\"/signed-out\""), "{metrics}");
        let answered: usize = metrics
            .lines()
            .filter(|line| line.contains("route=\"/health\",status=\"200\""))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
            .sum();
        assert!(answered >= asked, "{answered} of {asked} came from the server");
    }

    #[actix_web::test]
    async fn l03_behind_nginx_no_answer_reaches_another_client() {
        let server = Server::start(Backend::Sqlite, "").await;
        let proxy = behind_nginx(server.url.trim_start_matches("http://")).await;
        nothing_reaches_another_client(&server, proxy).await;
    }

    #[actix_web::test]
    async fn l03_behind_haproxy_no_answer_reaches_another_client() {
        let server = Server::start(Backend::Sqlite, "").await;
        let proxy = behind_haproxy(server.url.trim_start_matches("http://")).await;
        nothing_reaches_another_client(&server, proxy).await;
    }
}

/// What a server says to a client that offers these protocols by ALPN: the one that it takes, and its answer
/// to `request`.
fn by_tls(
    authority: &str,
    certificate: &std::path::Path,
    offered: &[&[u8]],
    request: &[u8],
) -> (Option<Vec<u8>>, String) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = std::net::TcpStream::connect(authority).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    let mut answer = Vec::new();
    // Who offers nothing that is spoken here fails at the handshake.
    if stream.write_all(request).is_ok() {
        let _without_close_notify = stream.read_to_end(&mut answer);
    }
    let taken = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    (taken, String::from_utf8_lossy(&answer).into_owned())
}

/// HTTP/2 is not spoken, so that none of its floods applies.
#[actix_web::test]
async fn l04_http_2_is_spoken_neither_by_alpn_nor_by_prior_knowledge_nor_by_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=latchkey test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&tls.key)
        .arg("-out")
        .arg(&tls.cert)
        .output()
        .expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = tls.cert.clone();
    let plain = Server::start(Backend::Sqlite, "").await;
    let plain_authority = plain.url.trim_start_matches("http://").to_owned();
    let secure = Server::start_with(Backend::Sqlite, "", |settings| {
        settings.server.tls = Some(tls);
    })
    .await;
    let authority = secure.url.trim_start_matches("http://").to_owned();

    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let request = next(&authority);
    let upgrade = |authority: &str| {
        format!(
            "GET /health HTTP/1.1\r\nHost: {authority}\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
             Connection: Upgrade, HTTP2-Settings, close\r\n\r\n"
        )
    };
    let upgraded = upgrade(&authority);
    let told = tokio::task::spawn_blocking(move || {
        let ask =
            |offered: &[&[u8]], request: &[u8]| by_tls(&authority, &certificate, offered, request);
        [
            ask(&[b"h2", b"http/1.1"], request.as_bytes()),
            ask(&[b"h2"], preface),
            ask(&[], preface),
            ask(&[b"http/1.1"], preface),
            ask(&[], upgraded.as_bytes()),
        ]
    })
    .await
    .unwrap();
    let [both, alone, unasked, otherwise, upgraded] = told;
    assert_eq!(both.0.as_deref(), Some(&b"http/1.1"[..]));
    assert!(both.1.starts_with("HTTP/1.1 200 OK"), "{}", both.1);
    assert_eq!(alone, (None, String::new()), "there is no handshake");
    for (_, answer) in [unasked, otherwise] {
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    }
    assert!(upgraded.1.starts_with("HTTP/1.1 200 OK"), "{}", upgraded.1);
    let heard = exchange(&plain_authority, preface).await;
    assert_eq!((heard.statuses(), heard.closed), (vec![400], true), "{}", heard.text);
    let heard = exchange(&plain_authority, upgrade(&plain_authority).as_bytes()).await;
    assert_eq!((heard.statuses(), heard.closed), (vec![200], true), "{}", heard.text);
}

/// Headers that claim another address of the server, as proxies and attackers send them.
const SPOOFED: &[(&str, &str)] = &[
    ("host", "evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-prefix", "//evil.example"),
    ("x-forwarded-server", "evil.example"),
    ("x-original-url", "//evil.example/"),
    ("x-rewrite-url", "//evil.example/"),
    ("x-host", "evil.example"),
    ("forwarded", "for=192.0.2.1;host=evil.example;proto=https"),
];

pub async fn l05_no_header_of_a_request_gets_into_an_address_of_ours(backend: Backend) {
    let server = Server::start(backend, "trusted_proxies = [\"127.0.0.0/8\"]\n").await;
    let public_url = server.url.clone();
    let client = register(&server, |metadata| metadata.auto_approve = true).await;
    let browser = server.signed_in("alice").await;
    // Where names are the reverse proxy's business; `latchkey dev` refuses those that are not its own.
    let mut server = server.restarted().await;
    let browser = Browser { url: server.url.clone(), ..browser };
    let access = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
    let address = Regex::new(r#"https?://[^\s"'<>\\),;]+"#).unwrap();
    let mut found = 0;
    for spoofed in SPOOFED.iter().map(std::slice::from_ref).chain([SPOOFED]) {
        for target in [
            "/",
            "/login",
            "/login?return_to=/account",
            "/account",
            "/signed-out",
            "/nothing",
            "/auth/dev",
            "/auth/dev?return_to=//evil.example",
            "/auth/dev/callback?state=x&code=y",
            "/auth/resume?return_to=/account",
            "/auth/me",
            "/auth/me/export",
            "/auth/providers",
            "/oauth/authorize",
            &request(&client.id, &[]),
            "/oauth/userinfo",
            "/oauth/logout",
            "/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server",
            "/.well-known/jwks.json",
            "//evil.example/%2e%2e",
        ] {
            for accept in ["text/html", "application/json"] {
                let mut request = browser.client.get(format!("{}{target}", server.url));
                request = request
                    .header("accept", accept)
                    .header("cookie", format!("auth_access={access}"));
                for (name, value) in spoofed {
                    request = request.header(*name, *value);
                }
                let answer = request.send().await.unwrap();
                let mut text = format!("{:?}", answer.headers());
                text += &answer.text().await.unwrap();
                let what = format!("{spoofed:?} {target}: {text}");
                assert!(!text.contains("evil.example"), "{what}");
                for address in address.find_iter(&text).map(|found| found.as_str()) {
                    let known =
                        [public_url.as_str(), "https://app.example/callback", "http://www.w3.org/"];
                    let encoded = address.starts_with("http://www.w3.org/");
                    assert!(
                        encoded || known.iter().any(|known| address.starts_with(known)),
                        "{address} in {what}"
                    );
                    found += 1;
                }
            }
        }
    }
    assert!(found > 300, "{found} addresses");
    // Nor into what is signed.
    let code = code_for(&browser, &client, "openid").await;
    let granted = redeem(&server.url, &client, &code).await.granted();
    let said: serde_json::Value = crate::grants::claims(granted.text("id_token"));
    assert_eq!(said["iss"], public_url);
    server = server.restarted().await;
    assert!(server.stop().await);
}

/// A path in forms that a proxy, or a library, may read as the same.
fn forms_of(path: &str) -> Vec<String> {
    let last = path.rfind('/').unwrap();
    let (folder, name) = (&path[..last], &path[last + 1..]);
    let first = name.as_bytes().first().copied().unwrap_or(b'x');
    vec![
        format!("/{path}"),
        format!("{folder}//{name}"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}/x/.."),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/%2e{path}"),
        format!("/x/%2e%2e{path}"),
        format!("/static/..{path}"),
        format!("/.well-known/%2e%2e{path}"),
        format!("/static/%2e%2e%2f{}", &path[1..]),
        format!("/static/..%2f{}", &path[1..]),
        format!("{path};a=b"),
        format!("{folder};a=b/{name}"),
        format!("{path};/../health"),
        format!("{folder}%2F{name}"),
        format!("{folder}%2f{name}"),
        format!("{folder}/%{first:02x}{}", name.get(1..).unwrap_or_default()),
        format!("{folder}/%25{first:02x}{}", name.get(1..).unwrap_or_default()),
        path.to_uppercase(),
        format!("{folder}/{}", name.to_uppercase()),
        format!("{path}%00"),
        format!("{path}%00.css"),
        format!("{path}%20"),
        format!("{path}%0a"),
        format!("{path}%3f"),
        format!("{path}%23"),
        format!("{path}.json"),
        format!("{path}.css"),
        format!("{folder}\\{name}"),
        format!("{folder}/%5c{name}"),
    ]
}

#[actix_web::test]
async fn l06_no_form_of_a_path_is_a_way_around_a_check_or_a_limit() {
    let server = Server::start_with(
        Backend::Sqlite,
        "trusted_proxies = [\"127.0.0.0/8\"]\n[rate_limits]\nlogin = { per = \"1m\", burst = 5 }\n\
         token = { per = \"1m\", burst = 5 }\npublic = { per = \"1m\", burst = 5 }\n",
        |_| {},
    )
    .await;
    let authority = server.url.trim_start_matches("http://");
    let ask = async |method: &str, path: &str, address: &str, further: &str| {
        let bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
             X-Forwarded-For: {address}\r\n{further}Content-Length: 0\r\n\r\n"
        );
        let heard = exchange(authority, bytes.as_bytes()).await;
        assert!(heard.closed && heard.statuses().len() == 1, "{path}: {}", heard.text);
        (heard.statuses()[0], heard.text)
    };
    // Who is nobody gets nowhere by any form, nor does what comes from another site with the cookies of
    // somebody.
    let browser = server.signed_in("alice").await;
    let access = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
    let across = format!("Cookie: auth_access={access}\r\nSec-Fetch-Site: cross-site\r\n");
    for (number, (method, path)) in [
        ("GET", "/auth/me"),
        ("PATCH", "/auth/me"),
        ("DELETE", "/auth/me"),
        ("PATCH", "/auth/me/username"),
        ("GET", "/auth/me/export"),
        ("GET", "/auth/me/links"),
        ("GET", "/auth/me/apps"),
        ("POST", "/auth/me/avatar"),
        ("GET", "/auth/sessions"),
        ("DELETE", "/auth/sessions"),
        ("POST", "/auth/logout-all"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/form/delete"),
        ("POST", "/auth/form/unlink"),
        ("DELETE", "/auth/link/dev"),
        ("GET", "/admin/users"),
        ("PATCH", "/admin/users/x"),
        ("GET", "/admin/clients"),
        ("POST", "/admin/clients"),
        ("GET", "/admin/audit"),
        ("GET", "/metrics"),
        ("GET", "/oauth/userinfo"),
        ("POST", "/oauth/introspect"),
        ("POST", "/oauth/revoke"),
        ("POST", "/oauth/token"),
    ]
    .into_iter()
    .enumerate()
    {
        for (at, form) in forms_of(path).into_iter().chain([path.to_owned()]).enumerate() {
            // Each from an address of its own, so that no limit hides what the route says.
            let address = format!("198.51.{number}.{at}");
            for further in ["", across.as_str()] {
                if method == "GET" && !further.is_empty() {
                    continue; // reading across sites is what the browser forbids
                }
                let (status, text) = ask(method, &form, &address, further).await;
                assert!((400..500).contains(&status), "{method} {form}: {text}");
                // The static files and other providers' names are other routes, that anybody may ask.
                assert!(!text.contains("alice"), "{method} {form}: {text}");
            }
        }
    }
    assert!(browser.is_signed_in().await, "nothing was changed");

    // The forms that are the same route have the same limit: together they pass as often as one.
    for (number, (path, answered)) in
        [("/login", 200), ("/auth/dev", 302), ("/auth/setup", 401), ("/auth/providers", 200)]
            .into_iter()
            .enumerate()
    {
        let address = format!("203.0.113.{number}");
        let mut passed = Vec::new();
        for _ in 0..3 {
            for form in forms_of(path).into_iter().chain([path.to_owned()]) {
                let (status, text) = ask("GET", &form, &address, "").await;
                // What the parser refuses, or is nothing, or another provider, is no other way in.
                assert!([answered, 400, 404, 429].contains(&status), "{form}: {text}");
                if status == answered {
                    passed.push(form);
                }
            }
        }
        // What leads to another provider's name is counted with it.
        assert!((1..=5).contains(&passed.len()), "{path}: {passed:?}");
    }
}

/// What an answer may hold: a page of ours, JSON, or text; nothing that was sent, unescaped.
async fn is_clean(answer: Response, what: &str) {
    let headers = answer.headers().clone();
    let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    for (name, value) in &headers {
        let bytes = value.as_bytes();
        assert!(bytes.iter().all(|byte| (b' '..=b'~').contains(byte)), "{what}: {name} {value:?}");
        assert!(name != "x-injected" && !bytes.starts_with(b"evil"), "{what}: {name} {value:?}");
    }
    assert_eq!(headers["x-content-type-options"], "nosniff", "{what}");
    let text = answer.text().await.unwrap();
    let lower = text.to_lowercase();
    for injected in ["<script>alert", "<img src=x", "\"onmouseover=", "javascript:alert"] {
        let shown = lower.contains(injected);
        let is_json = kind.as_ref().is_some_and(|kind| kind.contains("json"));
        assert!(!shown || (is_json && injected != "<script>alert"), "{what}: {text}");
    }
    match kind.as_deref() {
        Some("text/html; charset=utf-8") => {
            assert!(text.trim_start().starts_with("<!doctype html>"), "{what}: {text}");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'"), "{what}: {policy}");
            assert!(!policy.contains("unsafe-inline"), "{what}: {policy}");
        }
        Some(kind) if kind.contains("json") => {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        Some(kind) => assert!(!kind.contains("html") && !kind.contains("xml"), "{what}: {kind}"),
        None => assert!(text.is_empty(), "{what}: {text}"),
    }
}

pub async fn l10_nothing_that_was_sent_is_answered_as_markup_or_header(backend: Backend) {
    let server = Server::start(backend, "").await;
    let client = register(&server, |_| {}).await;
    let browser = server.signed_in("alice").await;
    let plain =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let payloads = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' \"onmouseover=alert(1) x='",
        "javascript:alert(1)",
        "x\r\nX-Injected: 1\r\n\r\n<script>alert(1)</script>",
        "x\nSet-Cookie: auth_access=evil",
        "\u{2028}</title><script>alert(1)</script>",
        "{{7*7}}${7*7}",
        "\0<script>alert(1)</script>",
    ];
    let query = |name: &str, value: &str| crate::grants::form(&[(name, value)]);
    for payload in payloads {
        let escaped: String = url::form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        let escaped = escaped.replace('+', "%20");
        let mut targets = vec![
            format!("/{escaped}"),
            format!("/auth/{escaped}"),
            format!("/auth/{escaped}/callback"),
            format!("/auth/link/{escaped}"),
            format!("/auth/recover/{escaped}"),
            format!("/auth/sessions/{escaped}"),
            format!("/auth/me/apps/{escaped}"),
            format!("/avatars/{escaped}"),
            format!("/static/{escaped}"),
            format!("/oauth/{escaped}"),
            format!("/admin/users/{escaped}"),
            format!("/.well-known/{escaped}"),
            format!("/login?{escaped}={escaped}"),
        ];
        for (path, names) in [
            ("/login", &["return_to", "error", "login_hint"][..]),
            ("/", &["return_to"]),
            ("/onboarding", &["return_to", "error"]),
            ("/account", &["error", "done"]),
            ("/signed-out", &["return_to", "client"]),
            ("/link", &["error"]),
            ("/auth/dev", &["return_to", "login_hint", "prompt", "max_age", "ui_locales"]),
            ("/auth/dev/callback", &["error", "error_description", "state", "code"]),
            ("/auth/resume", &["return_to"]),
            ("/auth/recover", &["ticket"]),
            ("/auth/username-available", &["username"]),
            ("/oauth/logout", &["client_id", "state", "post_logout_redirect_uri", "id_token_hint"]),
            ("/dev/idp/authorize", &["redirect_uri", "state", "client_id", "login_hint"]),
        ] {
            targets.extend(names.iter().map(|name| format!("{path}?{}", query(name, payload))));
        }
        for name in [
            "client_id",
            "redirect_uri",
            "scope",
            "nonce",
            "prompt",
            "response_type",
            "response_mode",
        ] {
            targets.push(request(&client.id, &[(name, Some(payload))]));
        }
        for target in &targets {
            for accept in ["text/html", "application/json", "*/*"] {
                for client in [&plain, &browser.client] {
                    let request = client.get(format!("{}{target}", server.url));
                    let answer = request.header("accept", accept).send().await.unwrap();
                    is_clean(answer, &format!("{target} {accept}")).await;
                }
            }
        }
        for (method, path) in [
            (Method::POST, "/oauth/token"),
            (Method::PATCH, "/auth/me"),
            (Method::POST, "/auth/setup"),
            (Method::POST, "/auth/form/profile"),
        ] {
            for kind in ["application/json", "application/x-www-form-urlencoded"] {
                let body = if kind.ends_with("json") {
                    json!({ "username": payload, payload: payload }).to_string()
                } else {
                    crate::grants::form(&[("username", payload), (payload, payload)])
                };
                let request =
                    browser.client.request(method.clone(), format!("{}{path}", server.url));
                let answer = request.header("content-type", kind).body(body).send().await.unwrap();
                is_clean(answer, &format!("{method} {path} {payload}")).await;
            }
        }
        let ascii = payload.replace(['\r', '\n', '\0', '\u{2028}'], " ");
        for header in [
            "origin",
            "referer",
            "user-agent",
            "accept-language",
            "x-request-id",
            "authorization",
            "if-none-match",
            "access-control-request-headers",
        ] {
            for method in [Method::GET, Method::OPTIONS] {
                let request = plain.request(method, format!("{}/login", server.url));
                let request =
                    request.header(header, &ascii).header("access-control-request-method", "POST");
                is_clean(request.send().await.unwrap(), &format!("{header}: {ascii}")).await;
            }
        }
    }
}

crate::on_both_stores!(
    l05_no_header_of_a_request_gets_into_an_address_of_ours,
    l10_nothing_that_was_sent_is_answered_as_markup_or_header,
);
