//! `oidc-client-ts` in Chromium: a page on another origin, a client without a secret.

use std::net::TcpListener;

use actix_web::{HttpRequest, HttpResponse, web};
use latchkey::protocol::client::AuthMethod;
use serde_json::Value;

use super::program::{installed, sources};
use crate::browser::driver::Chromium;
use crate::harness::{Backend, Server};
use crate::on_both_stores;
use crate::registration::register;
use crate::stub_server::StubServer;

on_both_stores!(oidc_client_ts_signs_people_in_and_out,);

/// What the page's file says in the place of the server and the client.
const WRITTEN: [&str; 2] = ["https://auth.example.com", "CLIENT_ID"];

/// A file of the page or of the packages that it loads.
fn file(path: &str, server: &str, client: &str) -> HttpResponse {
    let (file, content_type) = match path {
        "/app.js" => (sources().join("spa/app.js"), "text/javascript"),
        "/oidc-client-ts.js" => (
            installed().join("node_modules/oidc-client-ts/dist/esm/oidc-client-ts.js"),
            "text/javascript",
        ),
        "/jwt-decode.js" => {
            (installed().join("node_modules/jwt-decode/build/esm/index.js"), "text/javascript")
        }
        _ => (sources().join("spa/index.html"), "text/html"),
    };
    let mut text = std::fs::read_to_string(file).unwrap();
    if path == "/app.js" {
        text = text.replace(WRITTEN[0], server).replace(WRITTEN[1], client);
    }
    HttpResponse::Ok().content_type(content_type).body(text)
}

/// What the page knows of the person.
async fn user(chromium: &Chromium) -> Value {
    let text = chromium.evaluate("return document.getElementById(\"user\").textContent;").await;
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

async fn oidc_client_ts_signs_people_in_and_out(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let client = register(&server, |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::None;
        metadata.redirect_uris = vec![format!("{origin}/callback")];
        metadata.post_logout_redirect_uris = vec![format!("{origin}/")];
    })
    .await;
    let (url, id) = (server.url.clone(), client.id.clone());
    let _page = StubServer::start_on(listener, move |routes| {
        let (url, id) = (url.clone(), id.clone());
        let serve = move |request: HttpRequest| std::future::ready(file(request.path(), &url, &id));
        routes.default_service(web::to(serve));
    });

    let chromium = Chromium::start(&origin).await;
    chromium.open("/").await;
    chromium.shows("Signed out").await;
    chromium.click("Sign in").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    chromium.click("Allow").await;
    chromium.shows("Signed in").await;
    let signed_in = user(&chromium).await;
    let profile = &signed_in["profile"];
    assert_eq!(profile["iss"], *server.url);
    assert_eq!(profile["aud"], *client.id);
    // These come from userinfo, by a request from the page's own origin.
    assert_eq!(profile["preferred_username"], "rivka");
    assert_eq!(profile["email"], "rivka@dev.localhost");

    chromium.click("Renew").await;
    let before = signed_in["access_token"].as_str().unwrap();
    chromium
        .find(&format!("//pre[contains(., 'access_token')][not(contains(., '{before}'))]"))
        .await;
    let renewed = user(&chromium).await;
    assert_eq!(renewed["profile"]["sub"], profile["sub"]);

    chromium.click("Give back").await;
    chromium.find("//pre[contains(., '\"refresh_token\":null')]").await;
    for action in ["grant.revoked", "token.revoked"] {
        assert_eq!(server.audited(action).await, 1, "{action}");
    }

    chromium.click("Sign out").await;
    chromium.shows("Signed out").await;
    assert_eq!(chromium.address().await.as_str(), format!("{origin}/"));
    // The session at the server is over, too.
    chromium.click("Sign in").await;
    chromium.shows("Sign in to Latchkey").await;
    chromium.close().await;
}
