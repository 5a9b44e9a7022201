//! The page that asks, and what follows from the answer.

use std::time::Duration;

use reqwest::StatusCode;

use super::{Scene, decide, field, is_error, told, told_at};
use crate::harness::{Backend, location};
use crate::registration::update;
use crate::sign_in::hidden_token;

async fn a_person_is_asked_once(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let before = scene.server.rows().await;
    let page = scene.ask(&[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("form-action 'self' https://app.example; "), "{policy}");
    let page = page.text().await.unwrap();
    assert_eq!(scene.server.rows().await, before, "asking writes nothing");
    let answer = decide(&scene.browser, &page, "allow").await;
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let told = told(&answer);
    assert_eq!((told["state"].as_str(), &told["iss"]), ("the state", &scene.server.url));
    let code = scene.open(&told);
    assert!(code.needs_consent);
    assert_eq!(code.scope, "openid profile");
    assert_eq!(scene.server.audited("consent.given").await, 1);

    let before = scene.server.rows().await;
    for changes in
        [("scope", Some("openid")), ("prompt", Some("none")), ("scope", Some("profile openid"))]
    {
        assert!(scene.open(&super::told(&scene.ask(&[changes]).await)).needs_consent);
    }
    assert_eq!(scene.server.rows().await, before, "what is remembered is not written again");
    for changes in [("scope", Some("openid email")), ("prompt", Some("consent"))] {
        let page = scene.ask(&[changes]).await.text().await.unwrap();
        assert!(page.contains("Example app wants to use your account"), "{page}");
    }
}

async fn who_says_no_has_written_nothing(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let before = scene.server.rows().await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    is_error(&scene, &decide(&scene.browser, &page, "deny").await, "access_denied");
    assert_eq!(scene.server.rows().await, before);
    is_error(&scene, &scene.ask(&[("prompt", Some("none"))]).await, "consent_required");
    let undecided = decide(&scene.browser, &page, "").await;
    assert_eq!(undecided.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

async fn the_page_says_what_is_asked_for(backend: Backend) {
    let further = "[[scopes]]\nname = \"notes\"\ndescription = \"Read your notes\"\nclaims = []\n";
    let scene = Scene::start(backend, further, |metadata| {
        metadata.scope = "openid profile email roles offline_access notes".to_owned();
        metadata.resources = vec!["https://api.example".to_owned()];
    })
    .await;
    let scope = Some("openid profile email roles offline_access notes");
    let resource = ("resource", Some("https://api.example"));
    let page = scene.ask(&[("scope", scope), resource]).await.text().await.unwrap();
    for part in [
        "<h1 dir=\"auto\">Example app wants to use your account</h1>",
        "<span dir=\"auto\">Your name</span>: <strong><bdi>alice</bdi></strong>",
        "<span dir=\"auto\">Your email address</span>: <strong><bdi>alice@dev.localhost</bdi></strong>",
        "<span dir=\"auto\">What you may do here</span>: <strong><bdi>user</bdi></strong>",
        "Read your notes",
        "https://api.example",
        "All of this while you are away, too",
        "Then you go to <strong><bdi>app.example</bdi></strong>.",
        "You can take this back in your account",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let little = scene.ask(&[("scope", Some("openid"))]).await.text().await.unwrap();
    for part in ["Your name", "alice@dev.localhost", "Read your notes", "api.example"] {
        assert!(!little.contains(part), "{part}: {little}");
    }
}

async fn another_account_can_be_chosen(backend: Backend) {
    let scene = Scene::asking(backend).await;
    scene.server.signed_in("bob").await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    let (before, _) = page.split_once("\">Use another account").unwrap();
    let login = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    assert!(login.contains("prompt=select_account"), "{login}");
    let here = super::sign_in::sign_in_from(&scene.browser, &login, "bob").await;
    let page = scene.browser.page(&here).await.text().await.unwrap();
    assert!(page.contains("<bdi>bob</bdi>"), "{page}");
}

async fn an_answer_counts_once(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.open(&told(&decide(&scene.browser, &page, "allow").await));
    let again = decide(&scene.browser, &page, "allow").await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(scene.server.audited("consent.given").await, 1);
}

async fn a_late_answer_counts_nothing(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.server.clock.advance(Duration::from_secs(9 * 60));
    scene.browser.refresh().await.unwrap();
    scene.server.clock.advance(Duration::from_secs(60));
    let late = decide(&scene.browser, &page, "allow").await;
    assert_eq!(late.status(), StatusCode::FORBIDDEN);
    assert!(late.text().await.unwrap().contains("The page was open for too long."));
}

async fn an_expired_access_cookie_loses_no_answer(backend: Backend) {
    let further = "[tokens]\naccess_ttl = \"1m\"\n";
    let scene = Scene::start(backend, further, |_| {}).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.server.clock.advance(Duration::from_secs(5 * 60));
    assert_eq!(scene.browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    scene.open(&told(&decide(&scene.browser, &page, "allow").await));
}

async fn an_answer_after_the_sign_out_leads_to_the_sign_in(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.browser.post("/auth/logout").await;
    let answer = decide(&scene.browser, &page, "allow").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let told = answer.text().await.unwrap();
    assert!(told.contains("href=\"/login?return_to=%2Foauth%2Fauthorize%3F"), "{told}");
    assert_eq!(scene.server.audited("consent.given").await, 0);
}

async fn a_bearer_token_answers_for_nobody(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    let access = scene.browser.post("/auth/refresh").await;
    let access = crate::harness::cookie(&access, "auth_access").unwrap();
    let fields = [
        ("form_token", hidden_token(&page)),
        ("request", field(&page, "request")),
        ("decision", "allow".to_owned()),
    ];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/auth/form/consent", scene.server.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .bearer_auth(access)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(scene.server.audited("consent.given").await, 0);
}

async fn a_narrower_registration_asks_anew(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.scope = "openid profile email".to_owned();
    })
    .await;
    let asked = scene.ask(&[("scope", None)]).await.text().await.unwrap();
    update(&scene.server, &scene.client, |metadata| metadata.scope = "openid profile".to_owned())
        .await;
    let answer = decide(&scene.browser, &asked, "allow").await;
    let here = location(&answer).unwrap();
    assert!(here.starts_with("/oauth/authorize?"), "{here}");
    assert_eq!(scene.server.audited("consent.given").await, 0);
    let page = scene.browser.page(&here).await.text().await.unwrap();
    assert!(!page.contains("Your email address"), "{page}");
    let answer = decide(&scene.browser, &page, "allow").await;
    assert_eq!(scene.open(&told(&answer)).scope, "openid profile");
}

async fn a_query_of_the_redirect_uri_is_kept(backend: Backend) {
    let with_query = "https://app.example/callback?tenant=a";
    let scene = Scene::start(backend, "", |metadata| {
        metadata.redirect_uris.push(with_query.to_owned());
    })
    .await;
    let page = scene.ask(&[("redirect_uri", Some(with_query))]).await.text().await.unwrap();
    let told = told_at(&decide(&scene.browser, &page, "allow").await, with_query);
    assert_eq!(told["tenant"], "a");
    scene.open(&told);
}

crate::on_both_stores!(
    a_person_is_asked_once,
    who_says_no_has_written_nothing,
    the_page_says_what_is_asked_for,
    another_account_can_be_chosen,
    an_answer_counts_once,
    a_late_answer_counts_nothing,
    an_expired_access_cookie_loses_no_answer,
    an_answer_after_the_sign_out_leads_to_the_sign_in,
    a_bearer_token_answers_for_nobody,
    a_narrower_registration_asks_anew,
    a_query_of_the_redirect_uri_is_kept,
);
