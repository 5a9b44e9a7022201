//! Log lines: one for each request, and the id of the request on everything that is logged on its behalf.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::attacks::logs::Logged;
use crate::grants::{REDIRECT_URI, post};
use crate::harness::{Browser, cookie, present};
use crate::processes::run_json;
use crate::raw_http::exchange;

/// A run in which something is warned of on behalf of a request: a refresh token that is used again.
async fn run(log_format: &str) -> (String, Vec<(&'static str, String)>) {
    let directory = tempfile::tempdir().unwrap();
    let server = Logged::start(directory.path(), log_format).await;
    let url = server.url().to_owned();
    let registered = run_json(
        &[
            "clients",
            "register",
            "Worker",
            "--redirect-uri",
            REDIRECT_URI,
            "--grant",
            "client_credentials",
        ],
        server.config(),
    );
    let [client, secret] =
        ["client_id", "client_secret"].map(|name| registered[name].as_str().unwrap());
    let browser = Browser::new(&url);
    browser.sign_in("alice").await;
    let created = browser.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    let old = cookie(&created, "auth_refresh").unwrap();
    for _ in 0..2 {
        assert_eq!(browser.post("/auth/refresh").await.status().as_u16(), 200);
    }
    let id =
        |answer: &reqwest::Response| answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let reused = present(&crate::grants::http(), &url, &old).await;
    assert_eq!(reused.status().as_u16(), 401);
    let granted = post(
        &url,
        &[("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret)],
    )
    .await;
    let ids = vec![
        ("reused", id(&reused)),
        ("granted", granted.headers["x-request-id"].to_str().unwrap().to_owned()),
        ("client", client.to_owned()),
    ];
    (server.ended().await, ids)
}

fn id_of<'a>(ids: &'a [(&'static str, String)], name: &str) -> &'a str {
    &ids.iter().find(|(known, _)| *known == name).unwrap().1
}

#[actix_web::test]
async fn a_request_is_one_line_of_text_and_whatever_it_brings_about_has_its_id() {
    let (said, ids) = run("text").await;
    let (reused, granted, client) =
        (id_of(&ids, "reused"), id_of(&ids, "granted"), id_of(&ids, "client"));
    let lines_of = |id: &str| -> Vec<&str> {
        let ending = format!("req={id}");
        said.lines().filter(|line| line.ends_with(&ending)).collect()
    };
    let line = Regex::new(&format!(
        r"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z  INFO 200 POST /oauth/token client_credentials client={client} \d+\.\dms req={granted}$"
    ))
    .unwrap();
    assert_eq!(lines_of(granted).iter().filter(|found| line.is_match(found)).count(), 1);
    let warned: Vec<_> =
        lines_of(reused).into_iter().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("a refresh token was used again"), "{warned:?}");
    // Never twice, and never without.
    let requests: Vec<&str> =
        said.lines().filter(|line| line.contains(" INFO ") && line.contains("ms ")).collect();
    assert!(requests.len() > 5);
    for line in requests {
        assert_eq!(line.matches("req=").count(), 1, "{line}");
    }
}

#[actix_web::test]
async fn in_json_each_fact_is_a_member_and_the_id_is_where_it_always_is() {
    let (said, ids) = run("json").await;
    let (reused, granted, client) =
        (id_of(&ids, "reused"), id_of(&ids, "granted"), id_of(&ids, "client"));
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |id: &str| lines.iter().filter(|line| line["req"] == id).collect::<Vec<_>>();
    let line = of(granted).into_iter().find(|line| line["message"] == "request").unwrap();
    for (member, value) in [
        ("level", json!("INFO")),
        ("target", json!("latchkey::routes::edge")),
        ("status", json!(200)),
        ("method", json!("POST")),
        ("route", json!("/oauth/token")),
        ("grant", json!("client_credentials")),
        ("client", json!(client)),
    ] {
        assert_eq!(line[member], value, "{line}");
    }
    assert!(line["timestamp"].is_string() && line["ms"].is_number(), "{line}");
    let levels: BTreeSet<&str> =
        of(reused).iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert!(levels.contains("WARN"), "{levels:?}");
}

/// What a stranger sends is nobody's error, and does not decide how long a line is.
#[actix_web::test]
async fn what_strangers_send_makes_neither_errors_nor_long_lines() {
    let directory = tempfile::tempdir().unwrap();
    let level = [("LATCHKEY_TELEMETRY__LOG_LEVEL", "debug")];
    let server = Logged::start_with(directory.path(), "text", "", &level).await;
    let authority = server.url().strip_prefix("http://").unwrap().to_owned();
    let long = "M".repeat(5000);
    let heads: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        &format!("{long} /login HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
            .into_bytes(),
    ];
    for head in heads {
        exchange(&authority, head).await;
    }
    let said = server.ended().await;
    assert!(!said.contains(" ERROR "), "{said}");
    let method = &long[..17];
    let line = said.lines().find(|line| line.contains(" INFO 405 ")).unwrap();
    assert!(line.contains(&format!(" 405 {method} /login ")), "{line}");
}
