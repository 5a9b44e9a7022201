//! The apps that a person gave access, and taking that back.

use std::time::Duration;

use latchkey::protocol::client::ClientMetadata;
use reqwest::StatusCode;
use serde_json::Value;

use super::{Scene, decide, told};
use crate::grants::grant;
use crate::harness::{Backend, Browser, Server, code, location};
use crate::registration::register;
use crate::sign_in::hidden_token;

async fn allowed(scene: &Scene) {
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.open(&told(&decide(&scene.browser, &page, "allow").await));
}

async fn apps_are_listed_and_taken_back(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let list = async || -> Value {
        let answer = scene.browser.get("/auth/me/apps").await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    assert_eq!(list().await, serde_json::json!({ "items": [], "next_cursor": null }));
    let target = format!("/auth/me/apps/{}", scene.client.id);
    let nothing = scene.browser.delete(&target).await;
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    allowed(&scene).await;
    let listed = list().await;
    let expected = serde_json::json!({
        "client_id": scene.client.id,
        "client_name": "Example app",
        "client_uri": null,
        "scope": "openid profile",
        "since": scene.server.clock.now().to_rfc3339(),
        "last_used_at": null,
    });
    assert_eq!(listed["items"], serde_json::json!([expected]));
    assert_eq!(scene.browser.delete(&target).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(scene.browser.delete(&target).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(list().await["items"], serde_json::json!([]));
    assert_eq!(scene.server.audited("consent.withdrawn").await, 1);
    let asked = scene.ask(&[]).await.text().await.unwrap();
    assert!(asked.contains("wants to use your account"), "the app asks again: {asked}");
}

async fn apps_are_taken_back_on_the_account_page(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.browser.page("/account").await.text().await.unwrap();
    assert!(!page.contains("Apps with access"), "{page}");
    allowed(&scene).await;
    let page = scene.browser.page("/account").await.text().await.unwrap();
    assert!(page.contains("aria-label=\"Take back the access of Example app\""), "{page}");
    let (_, form) = page.split_once("action=\"/auth/form/app\"").unwrap();
    let token = hidden_token(form);
    let fields = [("form_token", token.as_str()), ("client_id", &scene.client.id)];
    let answer = scene.browser.post_form("/auth/form/app", &fields).await;
    assert_eq!(location(&answer).as_deref(), Some("/account?done=app"));
    let page = scene.browser.page("/account?done=app").await.text().await.unwrap();
    assert!(page.contains("That app has no access any more."), "{page}");
    assert!(!page.contains("Apps with access"), "{page}");
    let again = scene.browser.post_form("/auth/form/app", &fields).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

async fn only_the_person_takes_access_back(backend: Backend) {
    let scene = Scene::asking(backend).await;
    allowed(&scene).await;
    let target = format!("/auth/me/apps/{}", scene.client.id);
    let nobody = scene.server.browser();
    assert_eq!(nobody.delete(&target).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(nobody.get("/auth/me/apps").await.status(), StatusCode::UNAUTHORIZED);
    let bob = scene.server.signed_in("bob").await;
    assert_eq!(bob.delete(&target).await.status(), StatusCode::NOT_FOUND);
    let foreign = scene
        .browser
        .client
        .delete(format!("{}{target}", scene.server.url))
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(code(foreign).await, "csrf_rejected");
    let forged = [("form_token", "x"), ("client_id", scene.client.id.as_str())];
    let answer = scene.browser.post_form("/auth/form/app", &forged).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    scene.open(&told(&scene.ask(&[("prompt", Some("none"))]).await));
}

/// Gives as many apps access, one a second: the last is the newest.
pub async fn allow_many(server: &Server, browser: &Browser, number: usize) {
    for nth in 1..=number {
        let name = format!("App {nth:02}");
        let change = |metadata: &mut ClientMetadata| {
            metadata.client_name = name;
            metadata.auto_approve = true;
        };
        let client = register(server, change).await;
        grant(server, browser, &client, "openid profile").await;
        server.clock.advance(Duration::from_secs(1));
    }
}

/// The apps of a page as it lists them: name and id.
fn listed(page: &str) -> Vec<(String, String)> {
    let buttons = page.split("name=\"client_id\" value=\"").skip(1);
    let row = buttons.map(|rest| {
        let (id, rest) = rest.split_once('"').unwrap();
        let (_, rest) = rest.split_once("Take back the access of ").unwrap();
        (rest.split_once('"').unwrap().0.to_owned(), id.to_owned())
    });
    row.collect()
}

/// “App 25” down to “App 06”, and the like.
fn names(newest: usize, oldest: usize) -> Vec<String> {
    (oldest..=newest).rev().map(|nth| format!("App {nth:02}")).collect()
}

async fn all_apps_are_seen_and_taken_back_page_by_page(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    allow_many(&server, &browser, 25).await;
    let read = async |path: &str| browser.page(path).await.text().await.unwrap();
    let shown = async |path: &str| -> Vec<String> {
        listed(&read(path).await).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(shown("/account").await, names(25, 23));
    let link = "<a href=\"/account/apps\">All apps with access (25)</a>";
    assert!(read("/account").await.contains(link));
    assert_eq!(shown("/account/apps").await, names(25, 6));
    assert_eq!(shown("/account/apps?page=2").await, names(5, 1));
    for (page, number) in [("3", 2), ("18446744073709551615", 2), ("0", 1), ("<b>", 1), ("", 1)] {
        let expected = if number == 2 { names(5, 1) } else { names(25, 6) };
        assert_eq!(shown(&format!("/account/apps?page={page}")).await, expected, "{page}");
    }
    let first = read("/account/apps").await;
    assert!(first.contains("href=\"/account/apps?page=2\">Older<") && !first.contains("Newer"));
    let second = read("/account/apps?page=2").await;
    assert!(second.contains("href=\"/account/apps?page=1\">Newer<") && !second.contains("Older"));

    // All that a page lists, by its own form, and the same page says so.
    for (number, page) in [("2", &second), ("1", &first)] {
        assert!(page.contains(&format!("name=\"page\" value=\"{number}\"")), "{page}");
        let token = hidden_token(page);
        let target = format!("/account/apps?page={number}&done=app");
        for (name, id) in listed(page) {
            let fields = [("form_token", token.as_str()), ("page", number), ("client_id", &id)];
            let answer = browser.post_form("/auth/form/app", &fields).await;
            assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{name}");
            assert_eq!(location(&answer).as_deref(), Some(target.as_str()), "{name}");
            let after = read(&target).await;
            assert!(after.contains("That app has no access any more."), "{after}");
            assert!(listed(&after).iter().all(|(left, _)| *left != name), "{name}");
        }
    }
    assert!(read("/account/apps?page=2").await.contains("No app has access to your account."));
    assert_eq!(server.audited("consent.withdrawn").await, 25);
}

async fn what_fails_on_the_page_of_all_apps_is_told_there_and_leads_nowhere_else(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    allow_many(&server, &browser, 4).await;
    let page = browser.page("/account/apps").await.text().await.unwrap();
    let token = hidden_token(&page);
    let (_, id) = &listed(&page)[0];
    let unknown = [("form_token", token.as_str()), ("page", "1"), ("client_id", "unknown")];
    let answer = browser.post_form("/auth/form/app", &unknown).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let again = answer.text().await.unwrap();
    assert!(again.contains("<title>Problem: apps with access"), "{again}");
    assert!(again.contains("No app of this id has access to your account."), "{again}");
    assert_eq!(listed(&again), listed(&page), "the apps are still there to be taken back");
    let fields =
        [("form_token", token.as_str()), ("page", "//evil.example"), ("client_id", id.as_str())];
    let answer = browser.post_form("/auth/form/app", &fields).await;
    assert_eq!(location(&answer).as_deref(), Some("/account/apps?page=1&done=app"));
    let page = browser.page("/account/apps?done=username").await.text().await.unwrap();
    assert!(page.contains("<title>Apps with access · "), "nothing was done here: {page}");
}

async fn the_page_of_all_apps_is_for_who_is_signed_in(backend: Backend) {
    let server = Server::start(backend, "").await;
    let nobody = server.browser().page("/account/apps?page=2").await;
    let resume = "/auth/resume?return_to=%2Faccount%2Fapps%3Fpage%3D2%26resumed%3D1";
    assert_eq!(location(&nobody).as_deref(), Some(resume));
    let browser = server.signed_in("alice").await;
    let answer = browser.page("/account/apps").await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let page = answer.text().await.unwrap();
    assert!(page.contains("No app has access to your account."), "{page}");
}

async fn a_frontend_shows_the_apps_on_its_own_account_page(backend: Backend) {
    let further = "frontend_url = \"https://app.example\"\n";
    let server = Server::start(backend, further).await;
    let answer = server.browser().page("/account/apps?page=2&done=app").await;
    let target = "https://app.example/account?done=app";
    assert_eq!(location(&answer).as_deref(), Some(target));
}

crate::on_both_stores!(
    a_frontend_shows_the_apps_on_its_own_account_page,
    all_apps_are_seen_and_taken_back_page_by_page,
    apps_are_listed_and_taken_back,
    apps_are_taken_back_on_the_account_page,
    only_the_person_takes_access_back,
    the_page_of_all_apps_is_for_who_is_signed_in,
    what_fails_on_the_page_of_all_apps_is_told_there_and_leads_nowhere_else,
);
