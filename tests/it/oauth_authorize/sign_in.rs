//! Who is signed in, and whether that will do.

use std::time::Duration;

use latchkey::protocol::jwt::IdClaims;
use latchkey::store::model::{FamilyId, SessionId};
use reqwest::StatusCode;
use serde_json::json;

use super::{Scene, is_error, request, told};
use crate::forged;
use crate::grants::session;
use crate::harness::{Backend, Browser, Server, location};
use crate::openid_provider::{Behaviour, CLIENT_ID, CLIENT_SECRET, NOW, TestProvider};
use crate::registration::register;

/// Follows our own redirects from `target` to the sign-in page, and returns its address.
pub async fn led_to_login(browser: &Browser, target: &str) -> String {
    let mut target = target.to_owned();
    for _ in 0..5 {
        let answer = browser.page(&target).await;
        target = location(&answer).unwrap_or_else(|| panic!("{} at {target}", answer.status()));
        if target.starts_with("/login?") {
            return target;
        }
    }
    panic!("no sign-in page, but {target}");
}

/// Signs in at the development provider from a sign-in page, and returns the address that follows.
pub async fn sign_in_from(browser: &Browser, login: &str, name: &str) -> String {
    let page = browser.page(login).await.text().await.unwrap();
    let (_, rest) = page.split_once("href=\"/auth/dev?").expect("a button");
    let query = rest.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&");
    let start = browser.get(&format!("/auth/dev?{query}&login_hint={name}")).await;
    let to_provider = location(&start).unwrap_or_else(|| panic!("{}", start.status()));
    let back = location(&browser.get(&to_provider).await).unwrap();
    location(&browser.get(&back).await).unwrap()
}

async fn who_is_not_signed_in_signs_in_and_goes_on(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let browser = scene.server.browser();
    let login = led_to_login(&browser, &scene.request(&[])).await;
    assert!(!login.contains("reauthenticated") && !login.contains("prompt="), "{login}");
    let here = sign_in_from(&browser, &login, "alice").await;
    assert_eq!(here, scene.request(&[]));
    scene.open(&told(&browser.page(&here).await));
}

async fn a_newcomer_goes_on_after_choosing_a_name(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let browser = scene.server.browser();
    let login = led_to_login(&browser, &scene.request(&[("prompt", Some("login"))])).await;
    assert_eq!(sign_in_from(&browser, &login, "bob").await, "/onboarding");
    let page = browser.page("/onboarding").await;
    // The form ends at the app, since nobody is asked there.
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("form-action 'self' https://app.example; "), "{policy}");
    let created = browser.post_json("/auth/setup", &json!({ "username": "bob" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    scene.open(&told(&browser.page(&location(&created).unwrap()).await));
}

async fn wishes_are_passed_on_to_the_sign_in(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let changes = [
        ("prompt", Some("login consent select_account")),
        ("max_age", Some("60")),
        ("login_hint", Some("alice@example.com")),
    ];
    let login = led_to_login(&scene.server.browser(), &scene.request(&changes)).await;
    for wish in ["prompt=login+select_account&", "max_age=60&", "login_hint=alice%40example.com"] {
        assert!(login.contains(wish), "{wish}: {login}");
    }
}

async fn an_expired_access_cookie_is_renewed_in_passing(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    scene.server.clock.advance(Duration::from_secs(20 * 60));
    let resume = location(&scene.ask(&[("prompt", Some("none"))]).await).unwrap();
    assert!(resume.starts_with("/auth/resume?return_to=%2Foauth%2Fauthorize"), "{resume}");
    let back = location(&scene.browser.page(&resume).await).unwrap();
    scene.open(&told(&scene.browser.page(&back).await));
}

async fn a_browser_that_keeps_no_cookies_is_told_so(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let forgetful = Browser {
        client: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap(),
        url: scene.server.url.clone(),
    };
    let page = forgetful.follow(&scene.request(&[])).await.text().await.unwrap();
    assert!(page.contains("Your browser does not keep our cookies"), "{page}");
    let silent = scene.request(&[("prompt", Some("none"))]);
    let resume = location(&forgetful.page(&silent).await).unwrap();
    let back = location(&forgetful.page(&resume).await).unwrap();
    is_error(&scene, &forgetful.page(&back).await, "login_required");
}

async fn a_bearer_token_signs_nobody_in(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let signed_in = scene.server.browser();
    signed_in.sign_in("alice").await;
    let answer = signed_in.post("/auth/refresh").await;
    let access = crate::harness::cookie(&answer, "auth_access").unwrap();
    let nobody = scene.server.browser();
    let address = format!("{}{}", scene.server.url, scene.request(&[]));
    let answer = nobody.client.get(address).bearer_auth(access).send().await.unwrap();
    assert!(location(&answer).unwrap().starts_with("/auth/resume?"));
    // Nor does one that is no token keep a person out who is signed in.
    let address = format!("{}{}", scene.server.url, scene.request(&[]));
    let answer = scene.browser.client.get(address).bearer_auth("x").send().await.unwrap();
    scene.open(&told(&answer));
}

async fn a_new_sign_in_is_asked_for_and_checked(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let signed_up = scene.server.clock.now();
    scene.server.clock.advance(Duration::from_secs(120));
    scene.browser.refresh().await.unwrap();
    for changes in [[("prompt", Some("login"))], [("max_age", Some("60"))]] {
        let login = led_to_login(&scene.browser, &scene.request(&changes)).await;
        let back = url::form_urlencoded::parse(login.split_once('?').unwrap().1.as_bytes())
            .find(|(name, _)| name == "return_to")
            .unwrap()
            .1
            .into_owned();
        // Who comes back without a sign-in is told from who signed in.
        is_error(&scene, &scene.browser.page(&back).await, "login_required");
        // And what was sealed for one request is of no use for another.
        let (_, ticket) = back.split_once("&reauthenticated=").unwrap();
        let other = scene.request(&[changes[0], ("state", Some("another"))]);
        let answer = scene.browser.page(&format!("{other}&reauthenticated={ticket}")).await;
        assert!(location(&answer).unwrap().starts_with("/login?"));
        let answer = scene.browser.page(&format!("{other}&reauthenticated=forged")).await;
        assert!(location(&answer).unwrap().starts_with("/login?"));
    }
    for changes in [[("prompt", Some("login"))], [("max_age", Some("60"))]] {
        let login = led_to_login(&scene.browser, &scene.request(&changes)).await;
        scene.server.clock.advance(Duration::from_secs(5));
        let here = sign_in_from(&scene.browser, &login, "alice").await;
        let code = scene.open(&told(&scene.browser.page(&here).await));
        assert_eq!(code.auth_time, scene.server.clock.now().seconds());
        assert!(code.auth_time > signed_up.seconds());
        scene.server.clock.advance(Duration::from_secs(120));
        scene.browser.refresh().await.unwrap();
    }
    // A sign-in that is young enough will do without another.
    scene.open(&told(&scene.ask(&[("max_age", Some("121"))]).await));
}

async fn the_choice_of_an_account_is_offered_once(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let choosing = scene.request(&[("prompt", Some("select_account"))]);
    let login = led_to_login(&scene.browser, &choosing).await;
    let here = sign_in_from(&scene.browser, &login, "alice").await;
    scene.open(&told(&scene.browser.page(&here).await));
    assert!(location(&scene.browser.page(&choosing).await).unwrap().starts_with("/login?"));
}

/// A server beside a provider whose sign-in is as old as its behaviours say.
async fn with_provider(backend: Backend) -> (TestProvider, Server) {
    let fresh: fn(&mut serde_json::Value) = |claims| claims["auth_time"] = NOW.seconds().into();
    let old: fn(&mut serde_json::Value) =
        |claims| claims["auth_time"] = (NOW.seconds() - 3600).into();
    let behaviours = [fresh, old].map(|claims| Behaviour { claims, ..Behaviour::default() });
    let op = TestProvider::start_changing(behaviours.into());
    let block = format!(
        "[[providers]]\nname = \"op\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\ntrust_email = true\n",
        op.url
    );
    let server = Server::start(backend, &block).await;
    (op, server)
}

/// Goes to the provider and comes back.
async fn by_way_of_op(browser: &Browser, query: &str) -> reqwest::Response {
    let start = browser.get(&format!("/auth/op?{query}")).await;
    let to_provider = url::Url::parse(&location(&start).unwrap()).unwrap();
    let parameter = |name: &str| {
        let found = to_provider.query_pairs().find(|(known, _)| known == name);
        found.unwrap().1.into_owned()
    };
    let code = format!("{}.{}", parameter("nonce"), parameter("code_challenge"));
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("code", &code)
        .append_pair("state", &parameter("state"))
        .finish();
    browser.get(&format!("/auth/op/callback?{query}")).await
}

async fn a_provider_that_asked_nobody_does_not_make_a_sign_in_new(backend: Backend) {
    let (op, server) = with_provider(backend).await;
    let client = register(&server, |metadata| metadata.auto_approve = true).await;
    let browser = server.browser();
    by_way_of_op(&browser, "").await;
    let created = browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    server.clock.advance(Duration::from_secs(10));
    let login = led_to_login(&browser, &request(&client.id, &[("prompt", Some("login"))])).await;
    let query = login.split_once('?').unwrap().1;
    op.state.behave(1);
    let back = by_way_of_op(&browser, query).await;
    let here = location(&back).unwrap();
    let told = told(&browser.page(&here).await);
    assert_eq!(told["error"], "login_required");
    assert_eq!(told["iss"], server.url);
}

/// An ID token of the scene's person that is long over, of a session that has ended.
pub async fn id_token(scene: &Scene, change: impl FnOnce(&mut IdClaims)) -> String {
    let now = scene.server.clock.now();
    forged::id_token(&scene.server, &scene.client, &session(&scene.browser).await, |claims| {
        claims.exp -= 90_000;
        claims.iat -= 90_000;
        claims.auth_time = claims.iat;
        claims.sid = SessionId(FamilyId::new(now).0);
        change(claims);
    })
    .await
}

async fn a_hint_says_who_it_must_be(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let own = id_token(&scene, |_| {}).await;
    for prompt in [None, Some("none")] {
        let answer = scene.ask(&[("id_token_hint", Some(&own)), ("prompt", prompt)]).await;
        scene.open(&told(&answer));
    }
    let others = id_token(&scene, |claims| claims.sub = "somebody else".to_owned()).await;
    let silent = scene.ask(&[("id_token_hint", Some(&others)), ("prompt", Some("none"))]).await;
    is_error(&scene, &silent, "login_required");
    // Where a page may be shown, another person may sign in; the same one again is not asked twice.
    let asked = scene.request(&[("id_token_hint", Some(&others))]);
    let login = led_to_login(&scene.browser, &asked).await;
    let here = sign_in_from(&scene.browser, &login, "alice").await;
    is_error(&scene, &scene.browser.page(&here).await, "login_required");
}

async fn a_hint_that_is_none_of_ours_is_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let good = id_token(&scene, |_| {}).await;
    let elsewhere = id_token(&scene, |claims| claims.aud = "another-client".to_owned()).await;
    let issuer = id_token(&scene, |claims| claims.iss = "https://evil.example".to_owned()).await;
    let access = scene.browser.post("/auth/refresh").await;
    let access = crate::harness::cookie(&access, "auth_access").unwrap();
    let cut = &good[..good.len() - 8];
    for bad in [elsewhere.as_str(), &issuer, &access, cut, "x", "a.b.c"] {
        let answer = scene.ask(&[("id_token_hint", Some(bad))]).await;
        is_error(&scene, &answer, "invalid_request");
    }
}

crate::on_both_stores!(
    who_is_not_signed_in_signs_in_and_goes_on,
    a_newcomer_goes_on_after_choosing_a_name,
    wishes_are_passed_on_to_the_sign_in,
    an_expired_access_cookie_is_renewed_in_passing,
    a_browser_that_keeps_no_cookies_is_told_so,
    a_bearer_token_signs_nobody_in,
    a_new_sign_in_is_asked_for_and_checked,
    the_choice_of_an_account_is_offered_once,
    a_provider_that_asked_nobody_does_not_make_a_sign_in_new,
    a_hint_says_who_it_must_be,
    a_hint_that_is_none_of_ours_is_refused,
);
