//! The first admin, whom the environment names.

use latchkey::config::settings::BootstrapAdmin;
use latchkey::routes::dev::idp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::grants::claims;
use crate::harness::{Backend, Browser, Server, body, cookie};
use crate::operator::Operator;

crate::on_both_stores!(
    k07_the_named_identity_becomes_the_first_admin_and_its_session_says_so,
    k07_who_signs_in_becomes_admin_once_and_stays_demoted,
    k07_of_many_sign_ins_at_once_one_makes_the_admin,
    k07_nobody_becomes_admin_while_there_is_one,
);

async fn server(backend: Backend, name: &str) -> Server {
    let subject = idp::subject_of(name).unwrap();
    Server::start_with(backend, "", |settings| {
        settings.bootstrap_admin = Some(BootstrapAdmin { provider: "dev".to_owned(), subject });
    })
    .await
}

async fn role(browser: &Browser) -> Value {
    body(browser.get("/auth/me").await).await["role"].clone()
}

async fn k07_the_named_identity_becomes_the_first_admin_and_its_session_says_so(backend: Backend) {
    let server = server(backend, "rivka").await;
    let noa = server.signed_in("noa").await;
    assert_eq!(role(&noa).await, "user");
    let browser = server.browser();
    browser.sign_in("rivka").await;
    let setup = json!({ "username": "boss", "display_name": null });
    let created = browser.post_json("/auth/setup", &setup).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let token: Value = claims(&cookie(&created, "auth_access").unwrap());
    assert_eq!((&token["role"], &token["username"]), (&json!("admin"), &json!("boss")));
    assert_eq!(body(created).await["role"], "admin");
    assert_eq!(role(&browser).await, "admin");
    let rows = server.app.store.read.audit(&latchkey::store::model::AuditPage::newest(100)).await;
    let rows = rows.unwrap();
    let changed: Vec<_> = rows.iter().filter(|row| row.action == "user.role_changed").collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (changed[0].actor.as_str(), &changed[0].details["role"]),
        ("system", &json!("admin"))
    );
}

async fn k07_who_signs_in_becomes_admin_once_and_stays_demoted(backend: Backend) {
    let server = server(backend, "rivka").await;
    server.execute("SELECT 1").await;
    let settings = &server.app.settings;
    assert!(settings.bootstrap_admin.is_some());
    // As if they had signed up before the variable was set.
    let browser = server.signed_in("rivka").await;
    server.execute("UPDATE users SET role = 'user'").await;
    let back = browser.sign_in("rivka").await;
    let token: Value = claims(&cookie(&back, "auth_access").unwrap());
    assert_eq!(token["role"], "admin", "the session that is opened says so");
    server.signed_in("noa").await;
    server.execute("UPDATE users SET role = 'admin' WHERE username = 'noa'").await;
    server.execute("UPDATE users SET role = 'user' WHERE username = 'rivka'").await;
    browser.sign_in("rivka").await;
    assert_eq!(role(&browser).await, "user");
    assert_eq!(server.audited("user.role_changed").await, 2);
}

async fn k07_of_many_sign_ins_at_once_one_makes_the_admin(backend: Backend) {
    let server = server(backend, "rivka").await;
    server.signed_in("rivka").await;
    server.execute("UPDATE users SET role = 'user'").await;
    let before = server.audited("user.role_changed").await;
    let browsers: Vec<Browser> = (0..8).map(|_| server.browser()).collect();
    let answers =
        futures_util::future::join_all(browsers.iter().map(|browser| browser.sign_in("rivka")))
            .await;
    for answer in &answers {
        let token: Value = claims(&cookie(answer, "auth_access").unwrap());
        assert_eq!(token["role"], "admin");
    }
    assert_eq!(server.audited("user.role_changed").await, before + 1);
}

async fn k07_nobody_becomes_admin_while_there_is_one(backend: Backend) {
    let server = server(backend, "rivka").await;
    server.signed_in("noa").await;
    server.execute("UPDATE users SET role = 'admin'").await;
    let browser = server.signed_in("rivka").await;
    assert_eq!(role(&browser).await, "user");
    // An admin who is locked out is none.
    server.execute("UPDATE users SET status = 'locked' WHERE username = 'noa'").await;
    browser.sign_in("rivka").await;
    assert_eq!(role(&browser).await, "admin");
}

#[test]
fn the_variable_is_shown_and_checked() {
    let operator = Operator::alone();
    let run = |value: &str, command: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_latchkey"))
            .args([command, "--config"])
            .arg(&operator.config)
            .env("LATCHKEY_BOOTSTRAP_ADMIN", value)
            .output()
            .unwrap()
    };
    let shown = crate::processes::text(&run("dev:rivka", "config").stdout);
    assert!(
        shown.contains("LATCHKEY_BOOTSTRAP_ADMIN = \"dev:rivka\"")
            && shown.contains("environment LATCHKEY_BOOTSTRAP_ADMIN"),
        "{shown}"
    );
    for (value, reason) in [
        ("rivka", "is not PROVIDER:SUBJECT; write it as google:"),
        (":rivka", "is not PROVIDER:SUBJECT"),
        ("google:1", "names google, which is no provider of the configuration"),
    ] {
        let output = run(value, "config");
        assert_eq!(output.status.code(), Some(1), "{value}");
        let said = crate::processes::text(&output.stderr);
        assert!(
            said.contains(&format!("environment  LATCHKEY_BOOTSTRAP_ADMIN = \"{value}\""))
                && said.contains(reason),
            "{said}"
        );
    }
}
