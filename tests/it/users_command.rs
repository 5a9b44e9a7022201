//! `latchkey users …` and `latchkey sessions …`: the binary itself, alone and beside a live server.

mod bootstrap;
mod manual;
mod tokens;

use std::process::{Command, Stdio};
use std::time::Duration;

use latchkey::cli::users::make_recovery_link;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Server, body, code, cookie, location};
use crate::operator::Operator;
use crate::pictures::{objects, picture};
use crate::processes::text;
use crate::uploads::upload;

crate::on_both_stores!(
    people_are_listed_page_by_page_and_found_by_what_they_are_called,
    a_person_is_shown_by_the_names_of_the_http_interface,
    a_role_is_given_and_taken_beside_a_live_server,
    k03_the_command_line_never_takes_the_last_admin,
    k03_of_two_commands_that_take_two_admins_at_once_one_stays,
    a_locked_person_is_out_at_once_and_back_at_once_when_unlocked,
    every_way_in_ends_on_the_same_page_while_locked,
    all_that_somebody_is_signed_in_to_ends,
    a_deleted_person_is_gone_with_their_pictures_and_the_name_is_held,
    sessions_of_before_a_moment_end_and_later_ones_stay,
);

/// A server at present, with an operator beside it.
pub async fn scene(backend: Backend) -> (Server, Operator) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let operator = Operator::beside(&server, "");
    (server, operator)
}

/// Asks until a request is answered with this status: within a second, on machines that are as slow as they like.
pub async fn becomes(status: StatusCode, ask: impl AsyncFn() -> Response) -> Response {
    let asking = async {
        loop {
            let answer = ask().await;
            if answer.status() == status {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the server follows")
}

async fn people_are_listed_page_by_page_and_found_by_what_they_are_called(backend: Backend) {
    let (server, operator) = scene(backend).await;
    assert!(operator.told(&["users", "list"]).starts_with("Nobody has signed up yet."));
    for name in ["rivka", "adam", "rina", "noa"] {
        server.clock.advance(Duration::from_millis(5));
        server.signed_in(name).await;
    }
    let names = |listed: &Value| -> Vec<String> {
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|item| item["username"].as_str().unwrap().to_owned()).collect()
    };
    let all = operator.json(&["users", "list"]);
    assert_eq!(names(&all), ["noa", "rina", "adam", "rivka"], "the newest first");
    assert_eq!(all["next_cursor"], Value::Null);

    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut arguments = vec!["users", "list", "--limit", "3"];
        arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor.as_str()]));
        let page = operator.json(&arguments);
        seen.extend(names(&page));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        server.clock.advance(Duration::from_millis(5));
        server.signed_in("late").await;
    }
    assert_eq!(seen, ["noa", "rina", "adam", "rivka"], "whoever comes meanwhile moves nobody");

    operator.told(&["users", "promote", "adam"]);
    operator.told(&["users", "lock", "rina"]);
    for (arguments, expected) in [
        (&["--query", "RI"] as &[&str], &["rina", "rivka"] as &[&str]),
        (&["--query", "noa@dev."], &["noa"]),
        (&["--query", "%"], &[]),
        (&["--query", "_"], &[]),
        (&["--role", "admin"], &["adam"]),
        (&["--status", "locked"], &["rina"]),
        (&["--query", "ri", "--status", "active"], &["rivka"]),
        (&["--status", "deleted"], &[]),
    ] {
        let listed = operator.json(&[&["users", "list"], arguments].concat());
        assert_eq!(names(&listed), expected, "{arguments:?}");
    }

    let told = operator.told(&["users", "list", "--limit", "2", "--status", "active"]);
    let lines: Vec<&str> = told.lines().collect();
    let columns = ["USERNAME", "NAME", "ROLE", "STATUS", "ADDRESS", "SINCE", "ID"];
    let places = columns.map(|column| lines[0].find(column));
    assert!(places.is_sorted() && places[0].is_some(), "{told}");
    let before = |line: &str, word: &str| line.split(word).next().unwrap().chars().count();
    assert_eq!(before(lines[0], "ADDRESS"), before(lines[2], "noa@dev.localhost"), "{told}");
    let next = told.lines().last().unwrap().trim();
    assert!(next.starts_with("latchkey users list --limit 2 --status active"), "{next}");
    // The command that is printed works as it is.
    let again: Vec<&str> = next.split(' ').skip(1).collect();
    let further = operator.told(
        &again[..again.len() - 4]
            .iter()
            .chain(&again[again.len() - 2..])
            .copied()
            .collect::<Vec<_>>(),
    );
    assert!(further.contains("adam") && further.contains("rivka"), "{further}");
    let nobody = operator.told(&["users", "list", "--query", "zz"]);
    assert_eq!(nobody, "Nobody matches. `latchkey users list` shows everybody.\n");
}

async fn a_person_is_shown_by_the_names_of_the_http_interface(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let browser = server.signed_in("rivka").await;
    let me = body(browser.get("/auth/me").await).await;
    let mut shown = operator.json(&["users", "show", "RIVKA"]);
    assert_eq!(shown["status"], "active");
    shown.as_object_mut().unwrap().remove("status");
    assert_eq!(shown, me);
    let id = me["id"].as_str().unwrap();
    assert_eq!(operator.json(&["users", "show", id])["id"], me["id"]);
    assert_eq!(operator.json(&["users", "list"])["items"][0]["emails"], me["emails"]);

    let told = operator.told(&["users", "show", "rivka"]);
    for expected in [
        "rivka\n\n",
        "  id            ",
        "rivka@dev.localhost (verified, dev)",
        "  signs in by   dev (since ",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    let listed = body(browser.get("/auth/sessions").await).await;
    let mut sessions = operator.json(&["users", "sessions", "rivka"]);
    assert_eq!(sessions["items"][0]["current"], false);
    sessions["items"][0]["current"] = json!(true);
    assert_eq!(sessions, listed);
    let told = operator.told(&["users", "sessions", "rivka"]);
    assert!(told.starts_with("BROWSER"), "{told}");
    browser.post("/auth/logout").await;
    assert_eq!(operator.told(&["users", "sessions", "rivka"]), "rivka is signed in nowhere.\n");

    for command in
        ["show", "promote", "demote", "lock", "unlock", "sessions", "revoke", "token", "recover"]
    {
        let said = operator.refused(&["users", command, "nobody"], 1);
        assert!(said.starts_with("There is nobody with the username or id \"nobody\"."), "{said}");
    }
}

/// What the access token of a browser's next refresh says of the role.
async fn role_after_refresh(browser: &Browser) -> Value {
    let answer = browser.post("/auth/refresh").await;
    let token = cookie(&answer, "auth_access").expect("an access token");
    crate::grants::claims::<Value>(&token)["role"].clone()
}

async fn a_role_is_given_and_taken_beside_a_live_server(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let (rivka, _noa) = (server.signed_in("rivka").await, server.signed_in("noa").await);
    let promoted = operator.json(&["users", "promote", "rivka"]);
    assert_eq!((&promoted["username"], &promoted["role"]), (&json!("rivka"), &json!("admin")));
    assert_eq!(body(rivka.get("/auth/me").await).await["role"], "admin");
    assert_eq!(role_after_refresh(&rivka).await, "admin");
    assert_eq!(
        operator.told(&["users", "promote", "rivka"]),
        "rivka is an admin already; nothing changed.\n"
    );
    assert!(operator.told(&["users", "promote", "noa"]).starts_with("noa is an admin now."));
    assert!(
        operator.told(&["users", "demote", "rivka"]).starts_with("rivka is no admin any more.")
    );
    assert_eq!(
        operator.told(&["users", "demote", "rivka"]),
        "rivka is no admin; nothing changed.\n"
    );
    assert_eq!(body(rivka.get("/auth/me").await).await["role"], "user");
    assert_eq!(role_after_refresh(&rivka).await, "user");
    assert_eq!(server.audited("user.role_changed").await, 3);
}

async fn k03_the_command_line_never_takes_the_last_admin(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let rivka = server.signed_in("rivka").await;
    server.signed_in("noa").await;
    operator.told(&["users", "promote", "rivka"]);
    operator.told(&["users", "promote", "noa"]);
    // An admin who cannot sign in is none.
    operator.told(&["users", "lock", "noa"]);
    for command in [&["demote"] as &[&str], &["lock"], &["delete", "--yes"]] {
        let said = operator.refused(&[&["users"], command, &["rivka"]].concat(), 1);
        assert!(said.starts_with("rivka is the only admin who can sign in"), "{said}");
        assert!(said.contains("`latchkey users promote NAME`"), "{said}");
    }
    let shown = operator.json(&["users", "show", "rivka"]);
    assert_eq!((&shown["role"], &shown["status"]), (&json!("admin"), &json!("active")));
    assert!(rivka.is_signed_in().await);
    operator.told(&["users", "unlock", "noa"]);
    operator.told(&["users", "demote", "rivka"]);
}

async fn k03_of_two_commands_that_take_two_admins_at_once_one_stays(backend: Backend) {
    let (server, operator) = scene(backend).await;
    for name in ["rivka", "noa"] {
        server.signed_in(name).await;
        operator.told(&["users", "promote", name]);
    }
    let takes = [["demote", "rivka"], ["lock", "noa"]].map(|[command, who]| {
        Command::new(env!("CARGO_BIN_EXE_latchkey"))
            .args(["users", command, who, "--config"])
            .arg(&operator.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut statuses = takes.map(|child| child.wait_with_output().unwrap().status.code());
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(0), Some(1)]);
    let admins = operator.json(&["users", "list", "--role", "admin", "--status", "active"]);
    assert_eq!(admins["items"].as_array().unwrap().len(), 1);
}

/// Comes back from the development provider as a person's browser does.
async fn sign_in_page(browser: &Browser, name: &str) -> Response {
    let start = browser.page(&format!("/auth/dev?login_hint={name}")).await;
    let back = location(&browser.page(&location(&start).unwrap()).await).unwrap();
    browser.page(&back).await
}

async fn a_locked_person_is_out_at_once_and_back_at_once_when_unlocked(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let browser = server.signed_in("rivka").await;
    let before = server.rows().await;
    let locked = operator.json(&["users", "lock", "rivka"]);
    assert_eq!((&locked["username"], &locked["status"]), (&json!("rivka"), &json!("locked")));
    becomes(StatusCode::UNAUTHORIZED, async || browser.get("/auth/me").await).await;
    let refused = browser.post("/auth/refresh").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    for name in ["auth_access", "auth_refresh"] {
        assert_eq!(cookie(&refused, name).as_deref(), Some(""), "{name} is cleared");
    }
    assert_eq!(code(refused).await, "account_locked");
    assert_eq!(
        operator.told(&["users", "lock", "rivka"]),
        "rivka is locked already; nothing changed.\n"
    );
    assert!(operator.refused(&["users", "token", "rivka"], 1).contains("cannot sign in"));
    let kept = ["users", "identities", "emails", "token_families"];
    let of = |rows: &crate::harness::Rows| -> Vec<_> {
        rows.iter().filter(|(table, _)| kept.contains(table)).copied().collect()
    };
    assert_eq!(of(&server.rows().await), of(&before), "nothing is deleted");

    assert!(operator.told(&["users", "unlock", "rivka"]).starts_with("rivka can sign in again."));
    server.catch_up();
    let again = server.browser();
    again.sign_in("rivka").await;
    assert!(again.is_signed_in().await, "no revocation is left over");
    assert!(again.refresh().await.is_ok());
    assert!(!browser.is_signed_in().await, "what had ended stays ended");
    for action in ["user.locked", "user.unlocked"] {
        assert_eq!(server.audited(action).await, 1, "{action}");
    }
}

async fn every_way_in_ends_on_the_same_page_while_locked(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let waiting = server.signed_in("rivka").await;
    let (settings, clock) = (&server.app.settings, &server.clock);
    let link = make_recovery_link(settings, clock, "rivka").await.unwrap();
    let browser = server.browser();
    browser.page(&link.url).await;
    operator.told(&["users", "lock", "rivka"]);
    for page in
        [sign_in_page(&server.browser(), "rivka").await, browser.page("/auth/recover").await]
    {
        assert_eq!(page.status(), StatusCode::FORBIDDEN);
        let page = page.text().await.unwrap();
        assert!(page.contains("This account is locked"), "{page}");
        assert!(page.contains("Ask the people who run this service to unlock it."), "{page}");
    }
    // A page that comes by with the old cookies leads to the sign-in, and that to the same page.
    becomes(StatusCode::UNAUTHORIZED, async || waiting.get("/auth/me").await).await;
    // Until this node has heard of the end of the session, the account's page says itself what is the matter.
    let led = waiting.follow("/account").await;
    let is_told = led.url().path() == "/account" && led.status() == StatusCode::FORBIDDEN;
    assert!(is_told || led.url().path() == "/login", "{} {}", led.status(), led.url());
    assert_eq!(sign_in_page(&waiting, "rivka").await.status(), StatusCode::FORBIDDEN);
    assert!(operator.refused(&["users", "recover", "rivka"], 1).contains("is locked"));
}

async fn all_that_somebody_is_signed_in_to_ends(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let (one, noa) = (server.signed_in("rivka").await, server.signed_in("noa").await);
    let other = server.browser();
    other.sign_in("rivka").await;
    let ended = operator.json(&["users", "revoke", "rivka"]);
    assert_eq!((&ended["username"], &ended["ended"]), (&json!("rivka"), &json!(2)));
    for browser in [&one, &other] {
        becomes(StatusCode::UNAUTHORIZED, async || browser.get("/auth/me").await).await;
        assert_eq!(browser.refresh().await, Err(StatusCode::UNAUTHORIZED));
    }
    assert!(noa.is_signed_in().await);
    assert_eq!(
        operator.told(&["users", "revoke", "rivka"]),
        "rivka is signed in nowhere; nothing changed.\n"
    );
    one.sign_in("rivka").await;
    assert!(one.is_signed_in().await);
    let told = operator.told(&["users", "revoke", "rivka"]);
    assert!(
        told.starts_with("The one sign-in that they had, here or at an app, has ended."),
        "{told}"
    );
}

async fn a_deleted_person_is_gone_with_their_pictures_and_the_name_is_held(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let browser = server.signed_in("rivka").await;
    assert_eq!(upload(&browser, &picture([9, 9, 9])).await.status(), StatusCode::OK);
    assert_eq!(objects(&server).len(), 2);
    let said = operator.refused(&["users", "delete", "rivka"], 2);
    assert!(said.contains("Say --yes if you mean it."), "{said}");
    assert!(browser.is_signed_in().await);
    let deleted = operator.json(&["users", "delete", "rivka", "--yes"]);
    assert_eq!((&deleted["username"], &deleted["outcome"]), (&json!("rivka"), &json!("deleted")));
    becomes(StatusCode::UNAUTHORIZED, async || browser.get("/auth/me").await).await;
    assert!(objects(&server).is_empty());
    operator.refused(&["users", "show", "rivka"], 1);
    operator.refused(&["users", "show", deleted["id"].as_str().unwrap()], 1);
    let tombstones = operator.json(&["users", "list", "--status", "deleted"]);
    assert_eq!(tombstones["items"][0]["id"], deleted["id"]);
    server.catch_up();
    let free = server.browser().get("/auth/username-available?username=rivka").await;
    assert_eq!(body(free).await["available"], false);

    server.signed_in("noa").await;
    let told = operator.told(&["users", "delete", "noa", "--yes"]);
    assert!(told.starts_with("Deleted noa, with their ways to sign in"), "{told}");
    assert!(told.contains("Nobody else can take the name until "), "{told}");
}

async fn sessions_of_before_a_moment_end_and_later_ones_stay(backend: Backend) {
    let (server, operator) = scene(backend).await;
    let (rivka, noa) = (server.signed_in("rivka").await, server.signed_in("noa").await);
    server.clock.advance(Duration::from_secs(3_600));
    let later = server.browser();
    later.sign_in("noa").await;
    let nothing = operator.told(&["sessions", "revoke", "--before", "1h"]);
    assert!(nothing.starts_with("Nothing was signed in that was opened before "), "{nothing}");
    let future = operator.refused(&["sessions", "revoke", "--before", "2099-01-01"], 2);
    assert!(future.starts_with("2099-01-01 00:00 UTC has not come yet."), "{future}");
    let ended = operator.json(&["sessions", "revoke", "--before", "0"]);
    assert_eq!(ended["ended"], 2);
    assert!(ended["before"].as_str().unwrap().ends_with('Z'));
    for browser in [&rivka, &noa] {
        becomes(StatusCode::UNAUTHORIZED, async || browser.get("/auth/me").await).await;
        assert_eq!(browser.refresh().await, Err(StatusCode::UNAUTHORIZED));
    }
    assert!(later.is_signed_in().await);
    assert_eq!(server.audited("sessions.revoked").await, 1);
}

#[test]
fn wrong_usage_of_users_and_sessions_is_status_2() {
    let operator = Operator::alone();
    for (wrong, said) in [
        (&["users"] as &[&str], "Usage"),
        (&["users", "show"], "USER"),
        (&["users", "list", "--limit", "0"], "1..=1000"),
        (&["users", "list", "--limit=-1"], "1..=1000"),
        (&["users", "list", "--role", "owner"], "user, admin"),
        (&["users", "list", "--status", "gone"], "active, locked, deleted"),
        (
            &["users", "list", "--cursor", "eyJhIjoxfQ"],
            "it is not one that `latchkey users list` printed",
        ),
        (&["users", "token", "rivka", "--ttl", "61m"], "it is at most 1h"),
        (&["users", "token", "rivka", "--ttl", "0"], "it is at least 1s"),
        (&["users", "token", "rivka", "--ttl", "soon"], "write a duration"),
        (&["sessions", "revoke"], "--before"),
        (&["sessions", "revoke", "--before", "yesterday"], "write a moment such as"),
    ] {
        let output = operator.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(text(&output.stderr).contains(said), "{wrong:?}: {}", text(&output.stderr));
    }
}

#[test]
fn k05_a_forged_cursor_is_refused_or_only_another_place() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let operator = Operator::alone();
    let cursor = |position: &str| URL_SAFE_NO_PAD.encode(position);
    let injected = cursor(
        r#"{"found_by":"username","key":"' OR 1=1 --","id":"00000000-0000-7000-8000-000000000000"}"#,
    );
    let listed = operator.json(&["users", "list", "--query", "a", "--cursor", &injected]);
    assert_eq!(listed["items"], json!([]));
    for wrong in [
        "",
        "%",
        &cursor("{}"),
        &cursor(r#"{"found_by":"password","key":"","id":"00000000-0000-7000-8000-000000000000"}"#),
        &cursor(r#"{"found_by":"nothing","key":"","id":"1"}"#),
        &cursor(
            r#"{"found_by":"nothing","key":"","id":"00000000-0000-7000-8000-000000000000","x":1}"#,
        ),
    ] {
        operator.refused(&["users", "list", &format!("--cursor={wrong}")], 2);
    }
}
