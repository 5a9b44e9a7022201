//! Several ways to sign in to one account, through the pages.

use latchkey::cli::users::make_recovery_link;

use super::driver::Chromium;
use super::signing_in::{arrive, sign_up};
use crate::harness::{Backend, Server};
use crate::people_provider::{PeopleProvider, somebody};

/// A server where whoever chooses Forge comes back as the person with this id and address. The provider
/// lives as long as the scene.
struct Scene {
    server: Server,
    _people: PeopleProvider,
}

impl Scene {
    async fn start(id: &str, address: &str) -> Self {
        let people = PeopleProvider::start();
        let further = "trust_email = true\ndisplay_name = \"Forge\"\n";
        let block = people.block_as(&somebody(id, address), "forge", further);
        Self { server: Server::start(Backend::Sqlite, &block).await, _people: people }
    }
}

#[actix_web::test]
async fn a_way_to_sign_in_is_connected_used_and_disconnected() {
    let scene = Scene::start("octo", "octo@forge.example").await;
    let chromium = Chromium::start(&scene.server.url).await;
    sign_up(&chromium, "alice").await;
    chromium.says("Connect another before you disconnect this one.").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Connect Forge to your account?").await;
    chromium.says("octo").await;
    chromium.look_at("link-confirmation").await;
    chromium.click("Cancel").await;
    chromium.says("Connect another before you disconnect this one.").await;
    chromium.click("Connect Forge").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    chromium.says("octo@forge.example").await;
    chromium.look_at("account-two-ways").await;

    chromium.click("Sign out").await;
    chromium.click("Sign in again").await;
    chromium.look_at("login-last-used").await;
    chromium.click("Continue with Forge").await;
    chromium.shows("Your account").await;
    chromium.says("alice").await;
    chromium.click("Disconnect Forge (octo@forge.example)").await;
    chromium.says("Connect another before you disconnect this one.").await;
    assert!(!chromium.text().await.contains("octo@forge.example"));
    chromium.close().await;
}

#[actix_web::test]
async fn who_comes_from_elsewhere_is_asked_before_they_go() {
    let scene = Scene::start("octo", "octo@forge.example").await;
    let chromium = Chromium::start(&scene.server.url).await;
    sign_up(&chromium, "alice").await;
    // As if the address had been typed, or followed on another site.
    chromium.open("/auth/link/forge").await;
    chromium.says("You come from another page.").await;
    chromium.look_at("link-start").await;
    chromium.click("Go to Forge").await;
    chromium.says("octo").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    chromium.close().await;
}

#[actix_web::test]
async fn a_matching_address_is_offered_and_proved() {
    let scene = Scene::start("octo", "alice@dev.localhost").await;
    scene.server.signed_in("alice").await;
    let chromium = Chromium::start(&scene.server.url).await;
    chromium.open("/login").await;
    chromium.click("Continue with Forge").await;
    chromium.shows("You already have an account here").await;
    chromium.look_at("link-offer").await;
    chromium.click("Use a separate account").await;
    chromium.shows("Choose your name").await;
    chromium.open("/link").await;
    chromium.click("Sign in with Development provider to connect Forge").await;
    chromium.fill("Name", "alice").await;
    chromium.click("Continue").await;
    chromium.shows("Connect Forge to your account?").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    chromium.says("Forge").await;
    chromium.close().await;
}

#[actix_web::test]
async fn a_recovery_link_leads_back_into_the_account() {
    let scene = Scene::start("octo", "octo@forge.example").await;
    scene.server.signed_in("alice").await;
    let (settings, clock) = (&scene.server.app.settings, &scene.server.clock);
    let made = make_recovery_link(settings, clock, "alice").await.unwrap();
    let chromium = Chromium::start(&scene.server.url).await;
    chromium.open(&made.url).await;
    chromium.shows("Get back into your account").await;
    assert_eq!(chromium.address().await.query(), None, "the link is in no history");
    chromium.look_at("recovery").await;
    chromium.click("Continue with Forge").await;
    chromium.shows("Connect Forge to your account?").await;
    chromium.look_at("recovery-confirmation").await;
    chromium.click("Connect Forge and sign in").await;
    chromium.shows("Your account").await;
    chromium.says("alice").await;
    chromium.close().await;
}

#[actix_web::test]
async fn whose_sign_in_belongs_to_somebody_else_is_told_what_to_do() {
    let scene = Scene::start("octo", "octo@forge.example").await;
    let chromium = Chromium::start(&scene.server.url).await;
    sign_up(&chromium, "alice").await;
    chromium.click("Connect Forge").await;
    chromium.click("Connect Forge").await;
    chromium.click("Sign out").await;
    chromium.shows("You are signed out").await;
    arrive(&chromium, "bob").await;
    chromium.fill("Username", "bob").await;
    chromium.click("Use this name").await;
    chromium.click("Connect Forge").await;
    chromium.says("This Forge account signs in to another account here").await;
    chromium.look_at("error-identity-taken").await;
    chromium.close().await;
}
