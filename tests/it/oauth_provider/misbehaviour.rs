//! What a provider does wrong, and what it comes to for the person, for the store, and for others.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::server;
use super::server::PUBLIC;
use super::settings::{MAPPING, block, person, proper_endpoints};
use super::{Scene, told, way_back};
use crate::harness::{Backend, location};

/// A provider of which one endpoint has another address.
fn with_endpoint(name: &str, url: &str, key: &str, address: &str) -> String {
    let endpoints = proper_endpoints(url).map(|(known, proper)| {
        if known == key { (known, address.to_owned()) } else { (known, proper) }
    });
    let emails_url = (key == "emails_url").then(|| ("emails_url", address.to_owned()));
    let endpoints: Vec<_> = endpoints.into_iter().chain(emails_url).collect();
    block(name, PUBLIC, &endpoints, MAPPING)
}

/// A server with a provider for each reply of the endpoint; they are called by the reply.
async fn with_replies(key: &str, path: &str, replies: &[&str]) -> Scene {
    let provider = server::start();
    let blocks: String = replies
        .iter()
        .map(|reply| {
            let address = format!("{}/{reply}/{path}", provider.url);
            with_endpoint(&named(reply), &provider.url, key, &address)
        })
        .collect();
    Scene::start(Backend::Sqlite, provider, &blocks).await
}

/// A person who has a list of addresses, too.
fn with_emails(mut person: Value) -> Value {
    person["emails"] = json!([{ "email": "rivka@example.com", "primary": true, "verified": true }]);
    person
}

/// A provider's name begins with a letter.
fn named(reply: &str) -> String {
    format!("p-{reply}")
}

#[actix_web::test]
async fn an_unusable_answer_of_any_endpoint_is_a_provider_error_and_leaves_no_row() {
    let replies = [
        "400",
        "401",
        "403",
        "404",
        "429",
        "500",
        "503",
        "html",
        "invalid-json",
        "null",
        "empty-object",
        "text",
        "large",
        "large-unannounced",
        "redirect",
        "redirect-inside",
    ];
    let rivka = with_emails(person(&json!(true)));
    for (key, path) in
        [("token_url", "token"), ("userinfo_url", "userinfo"), ("emails_url", "emails")]
    {
        let scene = with_replies(key, path, &[&replies[..], &["properly"]].concat()).await;
        for reply in replies {
            let answered = scene.refusal(&named(reply), &rivka).await;
            assert_eq!(answered, told(502, "provider_error"), "{path}: {reply}");
        }
        scene.sign_up(&scene.server.browser(), "p-properly", &rivka, "rivka").await;
    }
}

#[actix_web::test]
async fn what_is_not_needed_of_a_token_answer_may_be_written_in_any_way() {
    let scene = with_replies("token_url", "token", &["unlike-the-rfc", "untyped"]).await;
    let rivka = person(&json!(true));
    assert_eq!(scene.refusal("p-untyped", &rivka).await, told(502, "provider_error"));
    scene.sign_up(&scene.server.browser(), "p-unlike-the-rfc", &rivka, "rivka").await;
}

#[actix_web::test]
async fn a_code_that_was_spent_is_at_fault_itself() {
    let scene = with_replies("token_url", "token", &["spent-code"]).await;
    let answered = scene.refusal("p-spent-code", &person(&json!(true))).await;
    assert_eq!(answered, told(400, "provider_token_invalid"));
}

#[actix_web::test]
async fn a_configured_endpoint_on_a_private_network_is_not_asked_because_another_is_local() {
    let provider = server::start();
    let url = &provider.url;
    let blocks = format!(
        "{}{}",
        with_endpoint("token", url, "token_url", "https://10.0.0.1/token"),
        with_endpoint("userinfo", url, "userinfo_url", "https://[fd00::1]/me")
    );
    let scene = Scene::start(Backend::Sqlite, provider, &blocks).await;
    for name in ["token", "userinfo"] {
        // Whoever asked would wait until it is a timeout.
        let answered = scene.refusal(name, &person(&json!(true))).await;
        assert_eq!(answered, told(502, "provider_error"), "{name}");
    }
}

#[actix_web::test]
async fn an_endpoint_that_does_not_finish_its_answer_is_given_up_in_time() {
    let provider = server::start();
    let url = &provider.url;
    let endpoints =
        [("token_url", "token"), ("userinfo_url", "userinfo"), ("emails_url", "emails")];
    let blocks: String = endpoints
        .iter()
        .map(|(key, path)| with_endpoint(path, url, key, &format!("{url}/stalling/{path}")))
        .collect();
    let scene = Scene::start(Backend::Sqlite, provider, &blocks).await;
    let rivka = person(&json!(true));
    // At once: each takes as long as we wait for a provider.
    let answers = join_all(endpoints.map(|(_, path)| scene.refusal(path, &rivka))).await;
    assert_eq!(answers, [(); 3].map(|()| told(504, "provider_timeout")));
}

#[actix_web::test]
async fn a_failed_provider_is_marked_where_its_error_leads_and_the_others_still_work() {
    let provider = server::start();
    let url = &provider.url;
    // A port that is taken, so that nobody else gets it, but not listened on.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let down = format!("http://{}", socket.local_addr().unwrap());
    let failing = [
        ("down-token", "token_url", format!("{down}/token")),
        ("down-userinfo", "userinfo_url", format!("{down}/userinfo")),
        ("down-emails", "emails_url", format!("{down}/emails")),
        ("failing", "userinfo_url", format!("{url}/500/userinfo")),
    ];
    let blocks: String = failing
        .iter()
        .map(|(name, key, address)| with_endpoint(name, url, key, address))
        .chain([block("works", PUBLIC, &proper_endpoints(url), MAPPING)])
        .collect();
    let scene = Scene::start(Backend::Sqlite, provider, &blocks).await;
    let rivka = person(&json!(true));
    for (name, ..) in &failing {
        let expected =
            if *name == "failing" { (502, "provider_error") } else { (504, "provider_timeout") };
        assert_eq!(scene.refusal(name, &rivka).await, told(expected.0, expected.1), "{name}");

        let browser = scene.server.browser();
        let path = format!("/auth/{name}?return_to=/account");
        let error = browser.page(&way_back(&browser, &path, &rivka).await).await;
        assert_eq!(error.status(), expected.0, "{name}");
        let link = link_of(&error.text().await.unwrap());
        assert_eq!(link, format!("/login?not_answering={name}&return_to=%2Faccount"));
        let login = browser.page(&link).await.text().await.unwrap();
        assert_eq!(marked_on(&login), [format!("/auth/{name}?return_to=%2Faccount")]);

        // The same browser gets in another way.
        let back = way_back(&browser, "/auth/works", &rivka).await;
        assert_eq!(location(&browser.get(&back).await).as_deref(), Some("/onboarding"));
        let other = browser.sign_in("alice").await;
        assert_eq!(location(&other).as_deref(), Some("/onboarding"));
    }
}

/// Where the button of an error's page leads.
fn link_of(page: &str) -> String {
    let (_, rest) = page.split_once("<a class=\"button\" href=\"").expect("a button");
    unescaped(rest.split_once('"').unwrap().0)
}

/// Where the marked buttons of the sign-in page lead.
fn marked_on(page: &str) -> Vec<String> {
    let buttons = page.split("<a class=\"choice").skip(1);
    buttons
        .filter(|button| button.split("</a>").next().unwrap().contains("choice-trouble"))
        .map(|button| {
            let (_, rest) = button.split_once("href=\"").unwrap();
            unescaped(rest.split_once('"').unwrap().0)
        })
        .collect()
}

fn unescaped(attribute: &str) -> String {
    attribute.replace("&#38;", "&").replace("&amp;", "&")
}
