//! Signing out for an app.

use actix_web::{HttpResponse, web};

use super::driver::Chromium;
use super::signing_in::sign_up;
use crate::forged::id_token;
use crate::grants::session;
use crate::harness::{Backend, Server};
use crate::oauth_logout::{SETTINGS, logout};
use crate::registration::register;
use crate::stub_server::StubServer;

/// The question with both answers, the address that is not the app's, and the way without a question. Each
/// page is looked at under a name that begins so.
async fn the_ways_out(chromium: &Chromium, server: &Server, prefix: &str) {
    let site = StubServer::start(|routes| {
        let page = || async {
            HttpResponse::Ok()
                .content_type("text/html")
                .body("<title>App</title><h1>Back at the app</h1>")
        };
        routes.route("/back", web::get().to(page));
    });
    let back = format!("{}/back", site.url);
    let app = register(server, |metadata| {
        metadata.post_logout_redirect_uris = vec![back.clone()];
    })
    .await;
    let parameters =
        [("client_id", app.id.as_str()), ("post_logout_redirect_uri", &back), ("state", "s")];
    let target = logout(&parameters);

    sign_up(chromium, "rivka").await;
    chromium.open(&target).await;
    chromium.shows("Sign out?").await;
    chromium.says("Example app asks to sign you out.").await;
    chromium.look_at(&format!("{prefix}end-session")).await;
    chromium.click("Stay signed in").await;
    chromium.shows("Your account").await;
    chromium.open(&target).await;
    chromium.click("Sign out").await;
    chromium.shows("Back at the app").await;
    assert_eq!(chromium.address().await.query(), Some("state=s"));

    chromium
        .open(&logout(&[
            ("client_id", &app.id),
            ("post_logout_redirect_uri", "https://app.example/"),
        ]))
        .await;
    chromium.says("you can sign out on your account page.").await;
    chromium.look_at(&format!("{prefix}end-session-refused")).await;
    chromium.click("Go to your account").await;
    chromium.shows("Sign in to Latchkey").await;
}

#[actix_web::test]
async fn people_are_asked_before_an_app_signs_them_out() {
    let server = Server::start(Backend::Sqlite, SETTINGS).await;
    let chromium = Chromium::start(&server.url).await;
    the_ways_out(&chromium, &server, "").await;
    // Where the app knows the person, there is nothing to ask.
    let browser = server.signed_in("alice").await;
    let app = register(&server, |_| {}).await;
    let hint = id_token(&server, &app, &session(&browser).await, |_| {}).await;
    chromium.open("/login").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "alice").await;
    chromium.click("Continue").await;
    chromium.shows("Your account").await;
    chromium.open(&logout(&[("id_token_hint", &hint)])).await;
    chromium.shows("You are signed out").await;
    chromium.close().await;
}

#[actix_web::test]
async fn people_without_javascript_are_asked_before_an_app_signs_them_out() {
    let server = Server::start(Backend::Sqlite, SETTINGS).await;
    let chromium = Chromium::without_scripts(&server.url).await;
    the_ways_out(&chromium, &server, "plain-").await;
    chromium.close().await;
}
