//! Looking after an account: names, picture, sessions, and its end.

use super::driver::Chromium;
use super::signing_in::sign_up;
use crate::harness::{Backend, Server};
use crate::pictures::picture;

/// Each page is looked at under a name that begins with `prefix`.
async fn look_after_an_account(chromium: &Chromium, server: &Server, prefix: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.png");
    std::fs::write(&path, picture([0, 120, 200])).unwrap();
    server.signed_in("alice").await;
    sign_up(chromium, "rivka").await;

    chromium.fill("Display name (optional)", "Rivka Cohen").await;
    chromium.click("Save display name").await;
    chromium.says("Your display name is saved.").await;
    chromium.choose_file("Picture", &path).await;
    chromium.click("Use this picture").await;
    chromium.find("//img[@class='avatar'][starts-with(@src, '/avatars/')]").await;
    chromium.look_at(&format!("{prefix}account-with-picture")).await;

    chromium.fill("Username", "alice").await;
    chromium.click("Change username").await;
    chromium.says("“alice2” is free.").await;
    assert_eq!(chromium.focus().await, "problem", "the summary is what is read first");
    chromium.look_at(&format!("{prefix}account-name-taken")).await;
    chromium.fill("Username", "rivkale").await;
    chromium.click("Change username").await;
    chromium.says("You can change it again from").await;

    let elsewhere = server.browser();
    elsewhere.sign_in("rivka").await;
    chromium.open("/account").await;
    chromium.find("//button[@name='session']").await;
    chromium.look_at(&format!("{prefix}account-sessions")).await;
    chromium.click("Sign out all other devices").await;
    chromium.find("//div[@role='status']").await;
    assert_eq!(elsewhere.get("/auth/me").await.status(), 401);

    chromium.click("Delete your account").await;
    chromium.shows("Delete your account?").await;
    chromium.look_at(&format!("{prefix}account-delete")).await;
    chromium.fill("Your username, to confirm", "rivka").await;
    chromium.click("Delete this account").await;
    chromium.find("//*[@id='username'][@aria-invalid='true']").await;
    chromium.look_at(&format!("{prefix}account-delete-mistyped")).await;
    chromium.fill("Your username, to confirm", "rivkale").await;
    chromium.click("Delete this account").await;
    chromium.says("Your account is deleted.").await;
    chromium.look_at(&format!("{prefix}account-deleted")).await;
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 1);
}

#[actix_web::test]
async fn people_look_after_their_account() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    look_after_an_account(&chromium, &server, "").await;
    chromium.close().await;
}

#[actix_web::test]
async fn people_without_javascript_look_after_their_account() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::without_scripts(&server.url).await;
    look_after_an_account(&chromium, &server, "plain-").await;
    chromium.close().await;
}
