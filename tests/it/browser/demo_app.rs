//! The demo app, as a newcomer meets it: without a script, from the first click to the sign-out.

use latchkey::routes::dev::app;

use super::driver::Chromium;
use crate::harness::{Backend, Server};
use crate::on_both_stores;

on_both_stores!(the_demo_app_signs_people_in_shows_what_it_gets_and_signs_them_out,);

async fn the_demo_app_signs_people_in_shows_what_it_gets_and_signs_them_out(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    app::register(&server.app).await.unwrap();
    let chromium = Chromium::without_scripts(&server.url).await;
    chromium.open("/dev/app").await;
    chromium.shows("An app that signs in here").await;
    chromium.look_at("demo-app").await;
    chromium.click("Sign in").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    chromium.says("Demo app").await;
    chromium.click("Allow").await;
    chromium.shows("What the app has got").await;
    chromium.find("//*[@id='id-token-claims'][contains(., '\"aud\": \"demo-app\"')]").await;
    chromium.find("//*[@id='access-token-claims'][contains(., '\"username\": \"rivka\"')]").await;
    chromium.find("//*[@id='refresh-token']").await;
    chromium.look_at("demo-app-signed-in").await;

    let shown = chromium.text().await;
    let (_, rest) = shown.split_once("\"jti\": \"").unwrap();
    let id = rest.split_once('"').unwrap().0;
    chromium.click("Refresh").await;
    let another = "//*[@id='access-token-claims'][contains(., '\"jti\"')]";
    chromium.find(&format!("{another}[not(contains(., '{id}'))]")).await;
    chromium.click("Userinfo").await;
    chromium.find("//*[@id='userinfo'][contains(., 'rivka@dev.localhost')]").await;

    chromium.click("Sign out").await;
    chromium.shows("An app that signs in here").await;
    chromium.open("/account").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.close().await;
}
