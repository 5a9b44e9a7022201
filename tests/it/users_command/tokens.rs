//! `latchkey users token`: what it opens, and everything that ends it.

use std::time::Duration;

use latchkey::config::units::parse_duration;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{becomes, scene};
use crate::grants::claims;
use crate::harness::{Backend, Browser, Server, body};
use crate::operator::Operator;
use crate::processes::text;

crate::on_both_stores!(
    a_token_of_the_command_line_acts_as_the_person_until_it_expires,
    it_ends_with_everything_that_ends_sessions,
    it_stays_refused_for_as_long_as_it_could_live,
    it_is_no_recent_sign_in,
);

/// A request with a token.
async fn by(server: &Server, token: &str, path: &str) -> Response {
    let browser = Browser::without_cookies(&server.url);
    let request = browser.client.get(format!("{}{path}", server.url)).bearer_auth(token);
    browser.send(request).await
}

fn token(operator: &Operator, further: &[&str]) -> (String, String) {
    let issued = operator.json(&[&["users", "token", "rivka"], further].concat());
    let text = |member: &str| issued[member].as_str().unwrap().to_owned();
    (text("access_token"), text("sid"))
}

async fn a_token_of_the_command_line_acts_as_the_person_until_it_expires(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let browser = server.signed_in("rivka").await;
    operator.told(&["users", "promote", "rivka"]);
    let output = operator.run(&["users", "token", "rivka"]);
    let (token, hint) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(hint, "It acts as rivka for 15m; `latchkey users revoke rivka` ends it earlier.\n");
    let token = token.strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace), "the token stands alone");
    server.catch_up();
    let me = by(&server, token, "/auth/me").await;
    assert_eq!(me.status(), StatusCode::OK);
    assert_eq!(body(me).await, body(browser.get("/auth/me").await).await);
    let said: Value = claims(token);
    for (claim, value) in [
        ("aud", json!(server.url)),
        ("iss", json!(server.url)),
        ("client_id", json!("latchkey")),
        ("role", json!("admin")),
        ("username", json!("rivka")),
    ] {
        assert_eq!(said[claim], value, "{claim}");
    }
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 900);

    let listed = body(browser.get("/auth/sessions").await).await;
    let items = listed["items"].as_array().unwrap();
    let of_token = items.iter().find(|item| item["id"] == said["sid"]).expect("it is listed");
    assert_eq!(
        (&of_token["provider"], &of_token["user_agent"], &of_token["current"]),
        (&json!("cli"), &json!("Command line"), &json!(false))
    );
    assert_eq!(of_token["last_used_at"], of_token["created_at"]);
    let page = browser.page("/account").await.text().await.unwrap();
    assert!(page.contains("Command line"), "{page}");
    let rows = server.audited("session.token_issued").await;
    assert_eq!(rows, 1);

    let issued = operator.json(&["users", "token", "rivka", "--ttl", "1h"]);
    assert_eq!((&issued["token_type"], &issued["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(issued["sid"], claims::<Value>(issued["access_token"].as_str().unwrap())["sid"]);

    let ttl = parse_duration("15m").unwrap();
    server.clock.advance(ttl);
    let listed = operator.json(&["users", "sessions", "rivka"]);
    drop(listed);
    let sessions =
        body(by(&server, issued["access_token"].as_str().unwrap(), "/auth/sessions").await).await;
    let items = sessions["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["id"] != said["sid"]), "over with its token");
    assert_eq!(items[0]["id"], issued["sid"], "the one that asks");
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(by(&server, token, "/auth/me").await.status(), StatusCode::UNAUTHORIZED);
}

async fn it_ends_with_everything_that_ends_sessions(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let browser = server.signed_in("rivka").await;
    for way in ["revoke", "session", "others", "itself", "everywhere", "lock", "delete"] {
        let (token, sid) = token(&operator, &[]);
        server.catch_up();
        assert_eq!(by(&server, &token, "/auth/me").await.status(), StatusCode::OK, "{way}");
        match way {
            "revoke" | "lock" => {
                operator.told(&["users", way, "rivka"]);
            }
            "delete" => {
                operator.told(&["users", "delete", "rivka", "--yes"]);
            }
            "session" => {
                let ended = browser.delete(&format!("/auth/sessions/{sid}")).await;
                assert_eq!(ended.status(), StatusCode::NO_CONTENT);
            }
            "others" => {
                let ended = browser.delete("/auth/sessions").await;
                assert_eq!(ended.status(), StatusCode::NO_CONTENT);
            }
            "itself" => {
                let script = Browser::without_cookies(&server.url);
                let logout = format!("{}/auth/logout", server.url);
                let ended = script.send(script.client.post(logout).bearer_auth(&token)).await;
                assert_eq!(ended.status(), StatusCode::NO_CONTENT);
            }
            _ => {
                let ended = browser.post("/auth/logout-all").await;
                assert_eq!(ended.status(), StatusCode::NO_CONTENT);
            }
        }
        becomes(StatusCode::UNAUTHORIZED, async || by(&server, &token, "/auth/me").await).await;
        match way {
            "revoke" | "everywhere" => {
                browser.sign_in("rivka").await;
                assert!(browser.is_signed_in().await);
            }
            "lock" => {
                operator.told(&["users", "unlock", "rivka"]);
            }
            _ => {}
        }
    }
}

async fn it_stays_refused_for_as_long_as_it_could_live(backend: Backend) {
    let short = "[tokens]\naccess_ttl = \"1m\"\n";
    let server = Server::start_at_present(backend, |_| short.to_owned()).await;
    let operator = Operator::beside(&server, short);
    let browser = server.signed_in("rivka").await;
    let (one, sid) = token(&operator, &["--ttl", "1h"]);
    let (other, _) = token(&operator, &["--ttl", "1h"]);
    server.catch_up();
    assert_eq!(
        browser.delete(&format!("/auth/sessions/{sid}")).await.status(),
        StatusCode::NO_CONTENT
    );
    operator.told(&["users", "revoke", "rivka"]);
    for minutes in [0, 30, 29] {
        server.clock.advance(Duration::from_secs(minutes * 60));
        for token in [&one, &other] {
            becomes(StatusCode::UNAUTHORIZED, async || by(&server, token, "/auth/me").await).await;
        }
    }
}

async fn it_is_no_recent_sign_in(backend: Backend) {
    let (server, operator) = scene(backend).await;
    server.signed_in("rivka").await;
    server.execute("UPDATE users SET created_at = created_at - 3600000").await;
    let (token, _) = token(&operator, &[]);
    server.catch_up();
    let script = Browser::without_cookies(&server.url);
    let request = script.client.delete(format!("{}/auth/me", server.url)).bearer_auth(&token);
    let answer = script.send(request).await;
    assert_eq!(crate::harness::code(answer).await, "reauthentication_required");
}

#[test]
fn without_a_key_it_says_where_one_comes_from() {
    let operator = Operator::alone();
    operator.refused(&["users", "token", "rivka"], 1);
}
