//! The apps that a person gave access, and taking that back.

use reqwest::StatusCode;
use serde_json::Value;

use super::{Scene, decide, told};
use crate::harness::{Backend, code, location};
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

crate::on_both_stores!(
    apps_are_listed_and_taken_back,
    apps_are_taken_back_on_the_account_page,
    only_the_person_takes_access_back,
);
