//! What people see when something goes wrong, and how they go on from there.

use std::time::Duration;

use actix_web::{HttpResponse, web};

use super::driver::Chromium;
use super::signing_in::{arrive, sign_up};
use crate::harness::{Backend, Server};
use crate::stub_server::StubServer;

#[actix_web::test]
async fn a_provider_that_does_not_work_is_marked_and_the_others_do() {
    let broken = StubServer::start(|routes| {
        routes.default_service(web::to(HttpResponse::ServiceUnavailable));
    });
    let block = format!(
        "[[providers]]\nname = \"work\"\ndisplay_name = \"Work account\"\nissuer = \"{}\"\n\
         client_id = \"us\"\nclient_secret = \"a secret\"\n",
        broken.url
    );
    let server = Server::start(Backend::Sqlite, &block).await;
    let chromium = Chromium::start(&server.url).await;
    chromium.open("/login").await;
    chromium.click("Continue with Work account").await;
    chromium.says("We could not finish the sign-in with Work account.").await;
    chromium.look_at("error-provider").await;
    chromium.click("Sign in another way").await;
    chromium.says("not answering just now").await;
    chromium.look_at("login-provider-down").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "alice").await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    chromium.close().await;
}

#[actix_web::test]
async fn an_error_page_says_what_to_do_and_leads_on() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    chromium.open("/nowhere").await;
    chromium.says("There is nothing at this address.").await;
    chromium.find("//main//code[string-length(.) = 36]").await;
    chromium.look_at("error-not-found").await;
    chromium.click("Go to the start page").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.close().await;
}

#[actix_web::test]
async fn a_setup_that_took_too_long_begins_anew() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    arrive(&chromium, "rivka").await;
    server.clock.advance(Duration::from_secs(601));
    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    chromium.says("Sign in again").await;
    chromium.look_at("error-setup-expired").await;
    chromium.click("Sign in again").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.close().await;
}

#[actix_web::test]
async fn a_page_that_was_open_for_long_still_works() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    sign_up(&chromium, "rivka").await;
    // The access token has expired: the page resumes the session, and the form does in passing.
    server.clock.advance(Duration::from_secs(1_000));
    chromium.open("/account").await;
    chromium.shows("Your account").await;
    server.clock.advance(Duration::from_secs(1_000));
    chromium.click("Sign out").await;
    chromium.shows("You are signed out").await;
    chromium.close().await;
}
