//! Bad input on every endpoint gets a 4xx with a code: never a 500, never an echo.

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Server, code};

const ENDPOINTS: &[(&str, &str)] = &[
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/auth/me"),
    ("PATCH", "/auth/me"),
    ("DELETE", "/auth/me"),
    ("PATCH", "/auth/me/username"),
    ("GET", "/auth/me/export"),
    ("GET", "/auth/sessions"),
    ("DELETE", "/auth/sessions"),
    ("DELETE", "/auth/sessions/none"),
    ("POST", "/auth/refresh"),
    ("GET", "/auth/resume"),
    ("GET", "/auth/verify"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/logout-all"),
    ("GET", "/auth/setup"),
    ("POST", "/auth/setup"),
    ("GET", "/auth/username-available"),
    ("POST", "/auth/form/setup"),
    ("POST", "/auth/form/sign-out"),
    ("GET", "/auth/providers"),
    ("GET", "/auth/dev"),
    ("GET", "/auth/dev/callback"),
    ("GET", "/"),
    ("GET", "/login"),
    ("GET", "/onboarding"),
    ("GET", "/account"),
    ("GET", "/signed-out"),
    ("GET", "/avatars/none.jpg"),
    ("GET", "/static/none.css"),
    ("GET", "/dev/idp/authorize"),
    ("POST", "/dev/idp/authorize"),
    ("POST", "/dev/idp/token"),
    ("GET", "/dev/idp/userinfo"),
    ("GET", "/nothing"),
    ("GET", "/oauth/nothing"),
];

const QUERIES: &[&str] = &[
    "",
    "?return_to=%00",
    "?return_to=%ff%fe",
    "?return_to=//evil.example",
    "?return_to=/%0d%0aSet-Cookie:x=1",
    "?state=a&state=b",
    "?code=%00&state=%00",
    "?username=%00",
    "?username=%ff",
    "?username=%E2%80%AEadmin",
    "?username=a&username=b",
    "?error=%3Cscript%3Ealert(1)%3C/script%3E&state=x",
    "?max_age=-1",
    "?max_age=99999999999999999999",
    "?prompt=none",
    "?%zz=%",
    "?a[]=1&a[]=2",
    "?login_hint=%0d%0ax",
];

const BODIES: &[(&str, &[u8])] = &[
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"null"),
    ("application/json", b"[]"),
    ("application/json", b"{\"username\":1}"),
    ("application/json", b"{\"username\":null}"),
    ("application/json", b"{\"username\":\"a\\u0000b\"}"),
    ("application/json", b"{\"username\":\"abc\",\"username\":\"abd\"}"),
    ("application/json", b"{\"username\":\"abc\",\"role\":\"admin\"}"),
    ("application/json", b"{\"username\":\"\xff\xfe\"}"),
    ("application/json", b"{\"username\":\"abc\",\"display_name\":{\"a\":1}}"),
    ("application/x-www-form-urlencoded", b"username=%00&form_token=%ff"),
    ("application/x-www-form-urlencoded", b"form_token=a&form_token=b"),
    ("application/x-www-form-urlencoded", b"\xff\xff=\xfe"),
    ("text/plain", b"hello"),
    ("multipart/form-data", b"--x"),
];

async fn check(answer: reqwest::Response, what: &str) {
    let status = answer.status();
    assert!(!status.is_server_error(), "{what}: {status}");
    assert!(answer.headers().contains_key("x-request-id"), "{what}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{what}");
    if status.is_client_error() {
        let kind = answer.headers().get("content-type").cloned();
        let says_why = answer.headers().contains_key("www-authenticate");
        let text = answer.text().await.unwrap();
        let Some(kind) = kind else {
            assert!(text.is_empty() && says_why, "{what}: {text}"); // RFC 6750 §3
            return;
        };
        let kind = kind.to_str().unwrap();
        assert!(!text.contains("<script>"), "{what}: {text}");
        if kind.contains("json") && !text.is_empty() {
            let body: Value = serde_json::from_str(&text).unwrap();
            assert!(body["code"].is_string() || body["error"].is_string(), "{what}: {text}");
        }
    }
}

pub async fn no_input_causes_an_error_of_ours(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    browser.sign_in("mallory").await; // a setup ticket, so that bodies are read
    let client = &browser.client;
    for (method, path) in ENDPOINTS {
        let method: Method = method.parse().unwrap();
        for query in QUERIES {
            let what = format!("{method} {path}{query}");
            let address = format!("{}{path}{query}", server.url);
            check(client.request(method.clone(), address).send().await.unwrap(), &what).await;
        }
        for (kind, body) in BODIES {
            let what = format!("{method} {path} {kind} {}", String::from_utf8_lossy(body));
            let request = client
                .request(method.clone(), format!("{}{path}", server.url))
                .header(
                    "content-type",
                    reqwest::header::HeaderValue::from_bytes(kind.as_bytes()).unwrap(),
                )
                .body(body.to_vec());
            check(request.send().await.unwrap(), &what).await;
        }
        for header in ["authorization", "cookie", "origin", "user-agent", "if-none-match", "accept"]
        {
            for value in [
                &b"\xff\xfe"[..],
                b"Bearer ",
                b"Bearer a.b.c",
                b"Basic \xc3\xa9",
                b"auth_access=a; auth_access=b; auth_refresh=c; auth_refresh=d; auth_setup=e; auth_setup=f",
                b"auth_access=\xff; auth_login_=; auth_login_abcdefgh=x; =; ;;",
                &[b'x'; 20_000],
            ] {
                let what = format!("{method} {path} {header}");
                let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
                let request = client
                    .request(method.clone(), format!("{}{path}", server.url))
                    .header(header, value);
                check(request.send().await.unwrap(), &what).await;
            }
        }
        for wrong in ["PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            if ENDPOINTS.contains(&(wrong, path)) {
                continue;
            }
            let request = client.request(wrong.parse().unwrap(), format!("{}{path}", server.url));
            let answer = request.send().await.unwrap();
            assert!(
                matches!(answer.status().as_u16(), 404 | 405),
                "{wrong} {path}: {}",
                answer.status()
            );
            if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
                assert!(answer.headers().contains_key("allow"), "{wrong} {path}");
            }
        }
    }
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 0);
}

pub async fn what_is_too_large_is_refused(backend: Backend) {
    let server = Server::start(backend, "max_body = 2000\n").await;
    let browser = server.browser();
    browser.sign_in("mallory").await;
    let large = format!("{{\"username\":\"{}\"}}", "x".repeat(3_000));
    let answer = browser
        .client
        .post(format!("{}/auth/setup", server.url))
        .header("content-type", "application/json")
        .body(large.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(code(answer).await, "payload_too_large");
    let long = browser.get(&format!("/login?x={}", "y".repeat(9_000))).await;
    assert_eq!(long.status(), StatusCode::URI_TOO_LONG);
    let headers =
        browser.client.get(format!("{}/login", server.url)).header("x-a", "y".repeat(40_000));
    assert_eq!(headers.send().await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

pub async fn the_session_cookie_sent_twice_consumes_nothing(backend: Backend) {
    let server = Server::start(backend, "[tokens]\nsession_grace = \"0s\"\n").await;
    let browser = server.signed_in("alice").await;
    let token = browser.refresh().await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("{}/auth/refresh", server.url))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", format!("auth_refresh={token}; auth_refresh=planted"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(code(answer).await, "duplicate_cookie");
    assert!(browser.refresh().await.is_ok());
}

/// What HTTP libraries refuse to send.
pub async fn malformed_http_is_refused_and_the_connection_closed(backend: Backend) {
    let server = Server::start(backend, "").await;
    let host = server.url.trim_start_matches("http://").to_owned();
    for request in [
        "GET /health HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /auth/refresh HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /auth/refresh HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost : H\r\n\r\n",
        "GET /health\0 HTTP/1.1\r\nHost: H\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ] {
        let request = request.replace("Host: H", &format!("Host: {host}"));
        let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(
            std::time::Duration::from_secs(10),
            stream.read_to_end(&mut answer),
        );
        let closed = read.await.is_ok();
        let head = String::from_utf8_lossy(&answer).into_owned();
        assert!(closed && head.starts_with("HTTP/1.1 4"), "{request:?} was answered {head:?}");
    }
}

pub async fn another_host_name_is_refused_in_development(backend: Backend) {
    let server = Server::start(backend, "").await;
    let port = server.url.rsplit_once(':').unwrap().1;
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = |method: Method, host: String| {
        client.request(method, format!("{}/login?a=1", server.url)).header("host", host).send()
    };
    let answer = ask(Method::GET, format!("localhost:{port}")).await.unwrap();
    assert_eq!(answer.headers()["location"], format!("{}/login?a=1", server.url));
    for (method, host) in
        [(Method::POST, format!("localhost:{port}")), (Method::GET, "evil.example".to_owned())]
    {
        let answer = ask(method, host).await.unwrap();
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(code(answer).await, "wrong_host");
    }
}

crate::on_both_stores!(
    no_input_causes_an_error_of_ours,
    the_session_cookie_sent_twice_consumes_nothing,
);

#[actix_web::test]
async fn bodies_addresses_and_headers_are_bounded() {
    what_is_too_large_is_refused(Backend::Sqlite).await;
}

#[actix_web::test]
async fn malformed_http_is_refused() {
    malformed_http_is_refused_and_the_connection_closed(Backend::Sqlite).await;
}

#[actix_web::test]
async fn only_the_public_host_name_is_served() {
    another_host_name_is_refused_in_development(Backend::Sqlite).await;
}
