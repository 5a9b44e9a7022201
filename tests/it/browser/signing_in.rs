//! From the sign-in page to an account and out again.

use super::driver::Chromium;
use crate::harness::{Backend, Server};

/// From the sign-in page to the choice of a name, as `name` at the development provider.
pub(super) async fn arrive(chromium: &Chromium, name: &str) {
    chromium.open("/").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.click("Continue with Development provider").await;
    chromium.shows("Who do you want to be?").await;
    chromium.fill("Name", name).await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
}

/// The whole way, with a name that somebody has. Each page is looked at under a name that begins so.
async fn the_whole_way(chromium: &Chromium, server: &Server, prefix: &str) {
    server.signed_in("alice").await;
    chromium.open("/").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.look_at(&format!("{prefix}login")).await;
    chromium.click("Continue with Development provider").await;
    chromium.look_at(&format!("{prefix}development-provider")).await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    assert_eq!(chromium.address().await.path(), "/onboarding");
    chromium.look_at(&format!("{prefix}onboarding")).await;

    chromium.fill("Username", "Alice").await;
    chromium.fill("Display name (optional)", "Rivka C.").await;
    chromium.click("Use this name").await;
    chromium.says("“Alice” belongs to another account. “Alice2” is free.").await;
    assert_eq!(chromium.focus().await, "problem", "the summary is what is read first");
    assert_eq!(chromium.value_of("Username").await, "Alice", "what was typed is still there");
    assert_eq!(chromium.value_of("Display name (optional)").await, "Rivka C.");
    chromium.look_at(&format!("{prefix}onboarding-taken")).await;

    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    chromium.shows("Your account").await;
    assert_eq!(chromium.address().await.path(), "/account");
    chromium.says("rivka@dev.localhost").await;
    chromium.look_at(&format!("{prefix}account")).await;

    chromium.click("Sign out").await;
    chromium.shows("You are signed out").await;
    chromium.look_at(&format!("{prefix}signed-out")).await;
    chromium.open("/account").await;
    chromium.shows("Sign in to Latchkey").await;
    // Now there is an account, and a provider that was used last.
    chromium.says("last used").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Your account").await;
    chromium.click("Sign out everywhere").await;
    chromium.shows("You are signed out everywhere").await;
}

/// An account of this name, from the sign-in page on; ends on its page.
pub(super) async fn sign_up(chromium: &Chromium, name: &str) {
    arrive(chromium, name).await;
    chromium.fill("Username", name).await;
    chromium.click("Use this name").await;
    chromium.shows("Your account").await;
}

#[actix_web::test]
async fn people_sign_in_choose_a_name_and_leave() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    the_whole_way(&chromium, &server, "").await;
    chromium.close().await;
}

#[actix_web::test]
async fn people_without_javascript_sign_in_choose_a_name_and_leave() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::without_scripts(&server.url).await;
    the_whole_way(&chromium, &server, "plain-").await;
    chromium.close().await;
}

#[actix_web::test]
async fn a_name_is_judged_while_it_is_typed() {
    let server = Server::start(Backend::Sqlite, "").await;
    server.signed_in("alice").await;
    let chromium = Chromium::start(&server.url).await;
    arrive(&chromium, "rivka").await;
    let told = async |state: &str, text: &str| {
        let line =
            format!("//*[@id='username-live'][@data-state='{state}'][contains(., '{text}')]");
        chromium.find(&line).await;
    };
    chromium.fill("Username", "ALICE").await;
    told("taken", "taken, try ALICE2").await;
    chromium.look_at("onboarding-live-taken").await;
    chromium.fill("Username", "rivka").await;
    told("free", "free").await;
    chromium.look_at("onboarding-live-free").await;
    chromium.fill("Username", "-wrong").await;
    told("taken", "letter").await;
    chromium.fill("Username", "ri").await;
    chromium.find("//*[@id='username-live'][not(node())]").await;
    // What was found wrong goes with the name that it was about.
    chromium.fill("Username", "alice").await;
    chromium.click("Use this name").await;
    chromium.find("//*[@id='username'][@aria-invalid='true']").await;
    chromium.fill("Username", "rivka").await;
    told("free", "free").await;
    chromium.find("//*[@id='username'][not(@aria-invalid)]").await;
    chromium.close().await;
}
