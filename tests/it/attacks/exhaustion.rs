//! Attacks on what a server has only so much of (attacks L02 and M01 to M06).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::clock::Stopwatch;
use latchkey::protocol::client::GrantType;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::forged;
use crate::grants::{Reply, for_itself, http, post_as, redeem, refresh, session};
use crate::harness::{Backend, Server, body, present};
use crate::raw_http::{Heard, hear};
use crate::registration::register;

/// Within which a slow connection is closed: what the row says, and something for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(15);

/// Sends `begin`, then `drip` each half second, until the server closes; what it said, and how long it took.
async fn drip(authority: &str, begin: &str, drip: &str) -> (Heard, Duration) {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let watch = Stopwatch::start();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let dripping = async {
        let mut pace = tokio::time::interval(Duration::from_millis(500));
        loop {
            pace.tick().await;
            if to.write_all(drip.as_bytes()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let heard = tokio::select! {
        heard = hear(&mut from) => heard,
        () = dripping => unreachable!("dripping has no end"),
    };
    (heard, watch.elapsed())
}

/// How long an ordinary request takes at most while `attack` goes on.
async fn beside<T>(server: &Server, attack: impl Future<Output = T>) -> (T, Vec<Duration>) {
    let browser = server.signed_in("alice").await;
    let mut times = Vec::new();
    let mut attack = std::pin::pin!(attack);
    loop {
        let watch = Stopwatch::start();
        tokio::select! {
            done = &mut attack => return (done, times),
            answer = browser.get("/auth/me") => {
                assert_eq!(answer.status(), StatusCode::OK);
                times.push(watch.elapsed());
            }
        }
    }
}

#[actix_web::test]
async fn l02_slow_heads_and_bodies_are_closed_in_time_and_others_are_served() {
    let server = Server::start(Backend::Sqlite, "").await;
    let authority = server.url.trim_start_matches("http://");
    let head = |target: &str, further: &str| {
        format!("{target} HTTP/1.1\r\nHost: {authority}\r\n{further}")
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answered = head("GET /health", "\r\n");
    let slow = [
        // A head that does not end, at once, and behind a request that was answered.
        (head("GET /health", ""), "X-A: b\r\n"),
        ("G".to_owned(), "E"),
        (String::new(), ""),
        (answered.clone() + &head("GET /health", ""), "X-A: b\r\n"),
        (answered + "G", "E"),
        // A body that does not end: announced, in chunks, and one that nobody asked for.
        (head("POST /oauth/token", &format!("{form}Content-Length: 1000\r\n\r\n")), "a"),
        (
            head("POST /oauth/token", &format!("{form}Transfer-Encoding: chunked\r\n\r\n")),
            "1\r\na\r\n",
        ),
        (
            head(
                "POST /auth/setup",
                "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
            ),
            " ",
        ),
        (head("GET /health", "Transfer-Encoding: chunked\r\n\r\n"), "1\r\na\r\n"),
        (head("GET /health", "Content-Length: 1000\r\n\r\n"), "a"),
    ];
    let attack = join_all(
        std::iter::repeat_n(&slow, 30).flatten().map(|(begin, more)| drip(authority, begin, more)),
    );
    let (heard, times) = beside(&server, attack).await;
    assert_eq!(heard.len(), 300);
    for (at, (heard, took)) in heard.iter().enumerate() {
        let what = format!("{:?} {took:?} {heard:?}", slow[at % slow.len()]);
        assert!(heard.closed && *took < CLOSED_WITHIN, "{what}");
        let statuses = heard.statuses();
        assert!(
            statuses.iter().all(|status| matches!(status, 200 | 400 | 401 | 403 | 408)),
            "{what}"
        );
    }
    // They were served all the time, and at once.
    assert!(times.len() > 100, "{} requests", times.len());
    let slowest = times.iter().max().unwrap();
    assert!(*slowest < Duration::from_secs(1), "{slowest:?}");
}

#[actix_web::test]
async fn l02_who_does_not_read_is_not_waited_for() {
    let server = Server::start(Backend::Sqlite, "").await;
    let authority: std::net::SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    // As many requests for the largest answers as the connection takes; nobody reads them.
    let page = server.browser().page("/login").await.text().await.unwrap();
    let (_, style) = page.split_once("href=\"/static/").unwrap();
    let style = style.split('"').next().unwrap();
    let request = format!("GET /static/{style} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let requests = request.repeat(200);
    let attack = join_all((0..8).map(|_| async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(authority).await.unwrap();
        let watch = Stopwatch::start();
        // Nothing is taken any more, or the connection is reset.
        let sending = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_secs(30), sending).await;
        (ended.is_ok(), watch.elapsed())
    }));
    let (ended, times) = beside(&server, attack).await;
    for (ended, took) in ended {
        assert!(ended && took < CLOSED_WITHIN * 2, "{ended} {took:?}");
    }
    // Until the connections take no more they are as any load; from then on nobody waits for them.
    let mut times = times;
    times.sort_unstable();
    assert!(times.len() > 100, "{} requests", times.len());
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(500), "{median:?}");
}

/// As long as a request counts in these tests.
const LIMITS: &str = "[rate_limits]\nlogin = { per = \"1m\", burst = 4 }\n\
    token = { per = \"1m\", burst = 4 }\napi = { per = \"1m\", burst = 4 }\n\
    public = { per = \"1m\", burst = 4 }\n[tokens]\nsession_grace = \"0s\"\n";

/// A server behind a proxy, so that a test can come from many addresses.
async fn behind_a_proxy() -> Server {
    let further = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{LIMITS}");
    Server::start_with(Backend::Sqlite, &further, |settings| settings.rate_limits.exempt.clear())
        .await
}

/// Sends a request from an address.
async fn from(request: RequestBuilder, address: &str) -> Response {
    request.header("x-forwarded-for", address).send().await.unwrap()
}

/// A client without cookies that follows nothing.
fn plain() -> Client {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The seconds that a refusal says to wait, in its header and its body.
async fn wait_of(refused: Response) -> u64 {
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let told = body(refused).await;
    let is_ours = told["code"] == "rate_limited" && told["detail"].is_string();
    assert!(is_ours || told["error"] == "temporarily_unavailable", "{told}");
    seconds
}

#[actix_web::test]
async fn m01_a_flood_is_told_the_true_wait_and_works_after_it() {
    let server = behind_a_proxy().await;
    let plain = plain();
    let alice = server.browser();
    let client = register(&server, |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
    })
    .await;
    let url = server.url.clone();
    alice.sign_in("alice").await;
    let created = alice.post_json("/auth/setup", &serde_json::json!({ "username": "alice" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let access = crate::harness::cookie(&created, "auth_access").unwrap();
    let by_client = crate::grants::form(
        &[&client.identity()[..], &[("grant_type", "client_credentials")]].concat(),
    );
    let form = "application/x-www-form-urlencoded";
    type Ask<'a> = Box<dyn Fn() -> RequestBuilder + 'a>;
    let floods: Vec<(&str, Ask<'_>)> = vec![
        ("sign-ins by address", Box::new(|| plain.get(format!("{url}/auth/dev")))),
        (
            "tokens by client",
            Box::new(|| {
                plain
                    .post(format!("{url}/oauth/token"))
                    .header("content-type", form)
                    .body(by_client.clone())
            }),
        ),
        (
            "forged refreshes by address",
            Box::new(|| {
                let forged = format!("auth_refresh={}", "A".repeat(80));
                plain
                    .post(format!("{url}/auth/refresh"))
                    .header("sec-fetch-site", "same-origin")
                    .header("cookie", forged)
            }),
        ),
        (
            "the account by session",
            Box::new(|| plain.get(format!("{url}/auth/me")).bearer_auth(&access)),
        ),
        ("documents by address", Box::new(|| plain.get(format!("{url}/auth/providers")))),
    ];
    for (number, (what, ask)) in floods.iter().enumerate() {
        server.clock.advance(Duration::from_secs(60));
        let address = format!("198.51.100.{number}");
        let mut passed = None;
        for round in 0..4 {
            let status = from(ask(), &address).await.status();
            assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "{what}: {round}");
            assert_eq!(*passed.get_or_insert(status), status, "{what}");
        }
        let wait = wait_of(from(ask(), &address).await).await;
        assert_eq!(wait, 15, "{what}: one of four a minute comes back in a quarter of it");
        server.clock.advance(Duration::from_secs(6));
        let wait = wait_of(from(ask(), &address).await).await;
        assert_eq!(wait, 9, "{what}: the refusal used up nothing");
        server.clock.advance(Duration::from_secs(wait - 1));
        assert_eq!(wait_of(from(ask(), &address).await).await, 1, "{what}");
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(Some(from(ask(), &address).await.status()), passed, "{what}: as it said");
    }
}

#[actix_web::test]
async fn m02_claims_of_other_addresses_are_no_way_around_a_limit() {
    /// The header that a request claims another address by.
    type Claim = fn(usize) -> (&'static str, String);
    let claims: [Claim; 7] = [
        |n| ("x-forwarded-for", format!("203.0.113.{n}")),
        |n| ("x-forwarded-for", format!("203.0.113.{n}, 203.0.113.{}", n + 1)),
        |n| ("x-real-ip", format!("203.0.113.{n}")),
        |n| ("forwarded", format!("for=203.0.113.{n}")),
        |n| ("true-client-ip", format!("203.0.113.{n}")),
        |n| ("cf-connecting-ip", format!("203.0.113.{n}")),
        |n| ("client-ip", format!("203.0.113.{n}")),
    ];
    let plain = plain();
    for claim in claims {
        // Directly: nobody is trusted, and this machine counts.
        let server = Server::start_with(Backend::Sqlite, LIMITS, |settings| {
            settings.rate_limits.exempt.clear();
        })
        .await;
        let mut passed = 0;
        for number in 0..12 {
            let (name, value) = claim(number);
            let request = plain.get(format!("{}/auth/dev", server.url)).header(name, value);
            passed += usize::from(request.send().await.unwrap().status() == StatusCode::FOUND);
        }
        assert_eq!(passed, 4, "{:?}, directly", claim(0));

        // By a proxy that appends the address that it sees, as nginx and HAProxy do.
        let server = behind_a_proxy().await;
        let mut passed = HashMap::new();
        for number in 0..24 {
            let client = format!("198.51.100.{}", number % 2);
            let (name, value) = claim(number);
            let mut request = plain.get(format!("{}/auth/dev", server.url));
            let mut forwarded = client.clone();
            if name == "x-forwarded-for" {
                forwarded = format!("{value}, {client}");
            } else {
                request = request.header(name, value);
            }
            let answer = from(request, &forwarded).await;
            *passed.entry(client).or_insert(0) += usize::from(answer.status() == StatusCode::FOUND);
        }
        assert!(passed.values().all(|passed| *passed == 4), "{:?}: {passed:?}", claim(0));
    }

    // A /64 is one address, whatever stands behind it.
    let server = behind_a_proxy().await;
    let mut passed = 0;
    for number in 0..12 {
        let address = format!("2001:db8:1:2:{number}::{number}");
        let answer = from(plain.get(format!("{}/auth/dev", server.url)), &address).await;
        passed += usize::from(answer.status() == StatusCode::FOUND);
    }
    assert_eq!(passed, 4);
}

#[actix_web::test]
async fn m06_failures_of_an_attacker_do_not_keep_out_who_has_the_secret() {
    let server = behind_a_proxy().await;
    let plain = plain();
    let client = register(&server, |metadata| metadata.grant_types = GrantType::ALL.to_vec()).await;
    let browser = server.browser();
    browser.sign_in("alice").await;
    browser.post_json("/auth/setup", &serde_json::json!({ "username": "alice" })).await;
    let who = session(&browser).await;
    let code = forged::code(&server, &client, &who, |_| {});
    let granted = redeem(&server.url, &client, &code).await.granted();
    server.clock.advance(Duration::from_secs(60));

    // From one address, from many, and from the one that the client itself comes from.
    let wrong = crate::grants::form(&[
        ("client_id", &client.id),
        ("client_secret", "wrong"),
        ("grant_type", "client_credentials"),
    ]);
    let mut refused = 0;
    for number in 0..60 {
        let address =
            ["198.51.100.1".to_owned(), format!("203.0.113.{number}"), "127.0.0.1".to_owned()];
        let request = plain
            .post(format!("{}/oauth/token", server.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(wrong.clone());
        let answer = from(request, &address[number % 3]).await;
        refused += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 10, "{refused} of the attacker's are limited");
    for_itself(&server.url, &client).await;
    let code = forged::code(&server, &client, &who, |_| {});
    redeem(&server.url, &client, &code).await.granted();
    refresh(&server.url, &client, granted.text("refresh_token")).await.granted();

    // Nor does who guesses cookies keep out whose they are, who comes from the same address.
    let mut status = StatusCode::OK;
    for _ in 0..12 {
        status = present(&http(), &server.url, &"A".repeat(80)).await.status();
    }
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(browser.refresh().await.is_ok());
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::OK);
    let reply: Reply = post_as(&server.url, &client, &[("grant_type", "x")]).await;
    reply.refused(400, "unsupported_grant_type");
}
