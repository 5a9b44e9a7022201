//! An app asks for access: the question, both answers, and the ways back.

use super::driver::Chromium;
use super::signing_in::sign_up;
use crate::harness::{Backend, Server};
use crate::oauth_authorize::apps::allow_many;
use crate::oauth_authorize::request;
use crate::registration::{Registered, register};

/// A client that waits for its answers at a page of this very server that anybody can see.
async fn example(server: &Server) -> Registered {
    register(server, |metadata| {
        metadata.scope = "openid profile email roles offline_access".to_owned();
        metadata.redirect_uris = vec![format!("{}/signed-out", server.url)];
    })
    .await
}

/// Asks, says no, asks again and says yes; from then on nobody is asked, until access is taken back.
async fn the_whole_question(chromium: &Chromium, server: &Server, prefix: &str) {
    let client = example(server).await;
    let redirect_uri = format!("{}/signed-out", server.url);
    let scope = Some("openid profile email roles offline_access");
    let asked = request(&client.id, &[("redirect_uri", Some(&redirect_uri)), ("scope", scope)]);
    let told = async |name: &str| {
        chromium.shows("You are signed out").await;
        let address = chromium.address().await;
        let found = address.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_else(|| panic!("{address}"))
    };
    sign_up(chromium, "rivka").await;
    chromium.open(&asked).await;
    chromium.shows("Example app wants to use your account").await;
    for shown in ["Your name: rivka", "Your email address: rivka@dev.localhost"] {
        chromium.says(shown).await;
    }
    chromium.look_at(&format!("{prefix}consent")).await;
    chromium.click("Deny").await;
    assert_eq!(told("error").await, "access_denied");
    chromium.open(&asked).await;
    chromium.click("Allow").await;
    assert_eq!(told("state").await, "the state");
    assert!(!told("code").await.is_empty());
    chromium.open(&asked).await;
    assert!(!told("code").await.is_empty(), "nobody is asked twice");

    chromium.open("/account").await;
    chromium.says("Apps with access").await;
    chromium.look_at(&format!("{prefix}account-apps")).await;
    chromium.click("Take back the access of Example app").await;
    chromium.says("That app has no access any more.").await;
    chromium.open(&asked).await;
    chromium.shows("Example app wants to use your account").await;
    chromium.click("Use another account").await;
    chromium.shows("Sign in to Latchkey").await;
}

/// From the account's page to the last app of all, and its access back.
async fn the_whole_list(chromium: &Chromium, server: &Server, prefix: &str) {
    let browser = server.signed_in("rivka").await;
    allow_many(server, &browser, 25).await;
    chromium.open("/login").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Your account").await;
    chromium.look_at(&format!("{prefix}account-newest-apps")).await;
    chromium.click("All apps with access (25)").await;
    chromium.shows("Apps with access").await;
    chromium.look_at(&format!("{prefix}account-all-apps")).await;
    chromium.click("Older").await;
    chromium.says("Page 2 of 2").await;
    chromium.click("Take back the access of App 01").await;
    chromium.says("That app has no access any more.").await;
    chromium.says("Page 2 of 2").await;
    chromium.look_at(&format!("{prefix}account-all-apps-older")).await;
    chromium.click("Newer").await;
    chromium.says("Page 1 of 2").await;
    chromium.click("Go to your account").await;
    chromium.says("All apps with access (24)").await;
}

#[actix_web::test]
async fn all_apps_are_turned_over_and_the_oldest_is_taken_back() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    the_whole_list(&chromium, &server, "").await;
    chromium.close().await;
}

#[actix_web::test]
async fn without_javascript_all_apps_are_turned_over_and_the_oldest_is_taken_back() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::without_scripts(&server.url).await;
    the_whole_list(&chromium, &server, "plain-").await;
    chromium.close().await;
}

#[actix_web::test]
async fn an_app_is_denied_allowed_and_taken_back() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    the_whole_question(&chromium, &server, "").await;
    chromium.close().await;
}

#[actix_web::test]
async fn without_javascript_an_app_is_denied_allowed_and_taken_back() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::without_scripts(&server.url).await;
    the_whole_question(&chromium, &server, "plain-").await;
    chromium.close().await;
}

#[actix_web::test]
async fn who_comes_without_a_session_or_a_name_gets_to_another_origin_all_the_same() {
    let server = Server::start(Backend::Sqlite, "").await;
    let elsewhere = Server::start(Backend::Sqlite, "").await;
    let redirect_uri = format!("{}/signed-out", elsewhere.url);
    let client = register(&server, |metadata| {
        metadata.auto_approve = true;
        metadata.redirect_uris = vec![redirect_uri.clone()];
    })
    .await;
    let chromium = Chromium::start(&server.url).await;
    let arrived = async || {
        chromium.shows("You are signed out").await;
        let address = chromium.address().await;
        assert!(address.as_str().starts_with(&redirect_uri), "{address}");
        assert!(address.query_pairs().any(|(name, _)| name == "code"), "{address}");
    };
    let asked = request(&client.id, &[("redirect_uri", Some(&redirect_uri))]);
    chromium.open(&asked).await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    arrived().await;
    // The form of the provider ends there, too, once the name is known.
    let again = [("redirect_uri", Some(redirect_uri.as_str())), ("prompt", Some("login"))];
    chromium.open(&request(&client.id, &again)).await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    arrived().await;
    chromium.close().await;
}

#[actix_web::test]
async fn an_answer_is_posted_by_a_page_that_waits_for_nobody() {
    let server = Server::start(Backend::Sqlite, "").await;
    let receiver = crate::stub_server::StubServer::start(|routes| {
        routes.route("/", actix_web::web::post().to(receive));
    });
    let redirect_uri = format!("{}/", receiver.url);
    let client = register(&server, |metadata| {
        metadata.auto_approve = true;
        metadata.redirect_uris = vec![redirect_uri.clone()];
    })
    .await;
    let changes =
        [("redirect_uri", Some(redirect_uri.as_str())), ("response_mode", Some("form_post"))];
    let asked = request(&client.id, &changes);
    let chromium = Chromium::start(&server.url).await;
    sign_up(&chromium, "rivka").await;
    chromium.open(&asked).await;
    chromium.shows("Received code iss state").await;
    chromium.close().await;

    let plain = Chromium::without_scripts(&server.url).await;
    plain.open(&asked).await;
    plain.click("Continue with Development provider").await;
    plain.fill("Name", "rivka").await;
    plain.click("Continue").await;
    plain.shows("You go back to Example app").await;
    plain.look_at("plain-way-back").await;
    plain.click("Go on").await;
    plain.shows("Received code iss state").await;
    plain.close().await;
}

/// A client's page, which tells what it was sent.
async fn receive(
    form: actix_web::web::Form<std::collections::BTreeMap<String, String>>,
) -> actix_web::HttpResponse {
    let names: Vec<&str> = form.keys().map(String::as_str).collect();
    actix_web::HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html><html lang=\"en\"><title>App</title><h1>Received {}</h1></html>",
        names.join(" ")
    ))
}
