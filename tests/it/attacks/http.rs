//! HTTP that no library sends, and what is reflected of it (attacks L01 to L10).

use std::collections::BTreeSet;

use latchkey::protocol::client::DEFAULT_SCOPE;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};

use crate::grants::{code_for, redeem, userinfo};
use crate::harness::{Backend, Browser, Server, cookie, location};
use crate::oauth_authorize::request;
use crate::processes::{Process, free_port};
use crate::raw_http::exchange;
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
    let created =
        browser.post_json("/auth/setup", &serde_json::json!({ "username": "alice" })).await;
    let access = cookie(&created, "auth_access").unwrap();
    let authority = process.url.trim_start_matches("http://");
    let body = "x".repeat(11 << 20);
    let head = |target: &str, kind: &str, further: &str| {
        format!(
            "{target} HTTP/1.1\r\nHost: {authority}\r\nCookie: auth_access={access}\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Type: {kind}\r\n{further}\r\n"
        )
    };
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=x";
    let parts = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let before = resident(&process);
    let mut most = before;
    for (target, kind, begin) in [
        ("PATCH /auth/me", "application/json", ""),
        ("PATCH /auth/me/username", "application/json", ""),
        ("DELETE /auth/me", "application/json", ""),
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
    ] {
        let announced = format!("Content-Length: {}\r\n", begin.len() + body.len());
        let chunked = "Transfer-Encoding: chunked\r\n";
        let whole = format!("{begin}{body}");
        for (further, sent) in [
            (announced.as_str(), whole.clone()),
            (chunked, format!("{:x}\r\n{whole}\r\n0\r\n\r\n", whole.len())),
        ] {
            let bytes = head(target, kind, further) + &sent + &next(authority);
            let heard = exchange(authority, bytes.as_bytes()).await;
            let what = format!("{target} {kind} {further}: {:.300}", heard.text);
            // What asks for more than this browser has is refused before the body is looked at.
            let first = heard.statuses().first().copied();
            assert!(matches!(first, Some(400 | 401 | 403 | 413)), "{what}");
            assert!(heard.closed, "{what}");
            most = most.max(resident(&process));
        }
        if kind != multipart {
            continue;
        }
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
        let heard = exchange(authority, (request.clone() + &next(authority)).as_bytes()).await;
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
        assert_eq!(heard.statuses(), statuses, "{request:?}: {}", heard.text);
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
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    /// A reverse proxy in front of a server; ends with the test.
    struct Proxy {
        child: Child,
        authority: String,
        _folder: tempfile::TempDir,
    }

    impl Drop for Proxy {
        fn drop(&mut self) {
            let _already_ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    impl Proxy {
        /// Starts `program` with the configuration that `configure` writes for a folder, the address to
        /// listen on and that of the server.
        async fn start(
            program: &str,
            arguments: &[&str],
            server: &str,
            configure: impl FnOnce(&Path, &str, &str) -> String,
        ) -> Self {
            let folder = tempfile::tempdir().unwrap();
            // They take no port of the system's choice. Nobody else gets this one while the socket is open;
            // they do, since they allow the same and the socket does not listen.
            let reserved = TcpSocket::new_v4().unwrap();
            reserved.set_reuseaddr(true).unwrap();
            reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let authority = reserved.local_addr().unwrap().to_string();
            let file = folder.path().join("proxy.conf");
            std::fs::write(&file, configure(folder.path(), &authority, server)).unwrap();
            let child = Command::new(program)
                .args(arguments)
                .arg(&file)
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("{program} cannot be started: use ./run test, or tests/with-servers, which installs it: {error}")
                });
            let mut proxy = Self { child, authority, _folder: folder };
            let asking = async {
                while TcpStream::connect(&proxy.authority).await.is_err() {
                    let ended = proxy.child.try_wait().unwrap();
                    assert_eq!(ended, None, "{program} does not start");
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), asking).await.unwrap();
            proxy
        }

        async fn nginx(server: &str) -> Self {
            let arguments = ["-e", "stderr", "-p", ".", "-c"];
            Self::start("/usr/sbin/nginx", &arguments, server, |folder, listen, server| {
                let folder = folder.display();
                format!(
                    "daemon off; master_process off; worker_processes 1; pid {folder}/pid;\n\
                     events {{ worker_connections 256; }}\n\
                     http {{\n\
                     access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
                     fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;\n\
                     scgi_temp_path {folder}/scgi; proxy_request_buffering off;\n\
                     upstream latchkey {{ server {server} max_conns=1; keepalive 1; }}\n\
                     server {{ listen {listen}; location / {{\n\
                     proxy_pass http://latchkey; proxy_http_version 1.1;\n\
                     proxy_set_header Host {server}; proxy_set_header Connection \"\";\n\
                     }} }} }}\n"
                )
            })
            .await
        }

        async fn haproxy(server: &str) -> Self {
            let arguments = ["-db", "-f"];
            Self::start("/usr/sbin/haproxy", &arguments, server, |_, listen, server| {
                format!(
                    "global\n  nbthread 1\n\
                     defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
                     \x20 http-reuse always\n\
                     frontend all\n  bind {listen}\n  default_backend latchkey\n\
                     backend latchkey\n  http-request set-header Host {server}\n\
                     \x20 server latchkey {server} maxconn 1\n"
                )
            })
            .await
        }
    }

    async fn nothing_reaches_another_client(server: &Server, proxy: Proxy) {
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
            tokio::io::AsyncWriteExt::write_all(&mut attacker, bytes.as_bytes()).await.unwrap();
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
        let proxy = Proxy::nginx(server.url.trim_start_matches("http://")).await;
        nothing_reaches_another_client(&server, proxy).await;
    }

    #[actix_web::test]
    async fn l03_behind_haproxy_no_answer_reaches_another_client() {
        let server = Server::start(Backend::Sqlite, "").await;
        let proxy = Proxy::haproxy(server.url.trim_start_matches("http://")).await;
        nothing_reaches_another_client(&server, proxy).await;
    }
}

