//! Signing in at a server with GitHub's shapes, by the preset.

use serde_json::{Value, json};

use super::github_server::{ANOTHER_OAUTH_APP, GITHUB_APP, OAUTH_APP, endpoints, start};
use super::server::CLIENT_SECRET;
use super::{Scene, body, emails, parameter, told, way_back, with_parameter};
use crate::harness::{Backend, cookie, location};

/// A server where people sign in with GitHub; `further` is added to the provider's block.
async fn at_github(backend: Backend, further: &str) -> Scene {
    as_application(backend, OAUTH_APP, CLIENT_SECRET, further).await
}

async fn as_application(backend: Backend, id: &str, secret: &str, further: &str) -> Scene {
    let github = start();
    let endpoints = endpoints(&github);
    let block = format!(
        "[[providers]]\nname = \"github\"\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n{endpoints}{further}"
    );
    Scene::start(backend, github, &block).await
}

async fn the_login_is_suggested_and_the_primary_address_alone_is_kept(backend: Backend) {
    let scene = at_github(backend, "").await;
    let browser = scene.server.browser();
    let back = scene.sign_in(&browser, "github", &json!({})).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"));
    assert!(scene.has_no_row().await, "nothing is stored before a name is chosen");
    let shown = body(browser.get("/auth/setup").await).await;
    let expected = json!({
        "provider": "github", "suggested_username": "rivka-codes", "display_name": "Rivka Cohen",
        "masked_email": "r…a@e…e.com", "existing_account": false,
    });
    assert_eq!(shown, expected);
    let created = browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    let created = body(created).await;
    let me = body(browser.get("/auth/me").await).await;
    for account in [&created, &me] {
        assert_eq!(account["emails"], emails("rivka@example.com", true, "github"));
        assert_eq!(account["display_name"], "Rivka Cohen");
    }
}

async fn the_id_leads_to_the_account_whatever_login_and_addresses_are_now(backend: Backend) {
    let scene = at_github(backend, "").await;
    let browser = scene.server.browser();
    let account = scene.sign_up(&browser, "github", &json!({}), "rivka").await;
    // Somebody else who took the old login and the old address over is somebody else.
    let heir = scene.server.browser();
    let other = json!({ "id": 583_232 });
    let back = scene.sign_in(&heir, "github", &other).await;
    assert_eq!(location(&back).as_deref(), Some("/link"));
    assert_eq!(cookie(&back, "auth_refresh"), None);
    assert!(heir.get("/auth/me").await.status().is_client_error());

    let renamed = json!({
        "login": "rivka-writes", "name": "R. C.",
        "emails": [
            { "email": "rivka@example.com", "primary": false, "verified": true, "visibility": null },
            { "email": "rivka@new.example", "primary": true, "verified": false, "visibility": null },
        ],
    });
    for browser in [&scene.server.browser(), &browser] {
        let back = scene.sign_in(browser, "github", &renamed).await;
        assert_eq!(location(&back).as_deref(), Some("/"));
        let me = body(browser.get("/auth/me").await).await;
        assert_eq!(me["id"], account["id"]);
        assert_eq!(me["emails"], emails("rivka@new.example", false, "github"));
        assert_eq!(
            (&me["username"], &me["display_name"]),
            (&json!("rivka"), &json!("Rivka Cohen"))
        );
    }
    let addressless = json!({ "emails": [] });
    scene.sign_in(&browser, "github", &addressless).await;
    assert_eq!(body(browser.get("/auth/me").await).await["emails"], json!([]));
    assert_eq!(scene.users().await, 1);
}

async fn a_refusal_with_status_200_is_told_by_its_code_and_leaves_no_row(backend: Backend) {
    let error = told(502, "provider_error");
    let wrong_secret = as_application(backend, OAUTH_APP, "another secret", "").await;
    assert_eq!(wrong_secret.refusal("github", &json!({})).await, error);
    let wrong_callback = as_application(backend, ANOTHER_OAUTH_APP, CLIENT_SECRET, "").await;
    assert_eq!(wrong_callback.refusal("github", &json!({})).await, error);

    let scene = at_github(backend, "").await;
    let browser = scene.server.browser();
    let back = way_back(&browser, "/auth/github", &json!({})).await;
    let answer = browser.get(&with_parameter(&back, "code", Some("made-up"))).await;
    assert_eq!(scene.refused(&browser, answer).await, told(400, "provider_token_invalid"));
    scene.sign_up(&browser, "github", &json!({}), "rivka").await;
}

crate::on_both_stores!(
    the_login_is_suggested_and_the_primary_address_alone_is_kept,
    the_id_leads_to_the_account_whatever_login_and_addresses_are_now,
    a_refusal_with_status_200_is_told_by_its_code_and_leaves_no_row,
);

#[actix_web::test]
async fn a_code_that_another_browser_got_is_of_no_use() {
    let scene = at_github(Backend::Sqlite, "").await;
    let (victim, thief) = (scene.server.browser(), scene.server.browser());
    let stolen = way_back(&victim, "/auth/github", &json!({})).await;
    let own = way_back(&thief, "/auth/github", &json!({ "id": 7 })).await;
    let injected = with_parameter(&own, "code", Some(&parameter(&stolen, "code")));
    let answer = thief.get(&injected).await;
    // The verifier of the thief's attempt does not belong to the code's challenge.
    assert_eq!(scene.refused(&thief, answer).await, told(400, "provider_token_invalid"));
    assert_eq!(location(&victim.get(&stolen).await).as_deref(), Some("/onboarding"));
}

#[actix_web::test]
async fn the_secret_is_in_the_body_unless_the_settings_say_otherwise() {
    let by_header = "token_endpoint_auth_method = \"client_secret_basic\"\n";
    let scene = at_github(Backend::Sqlite, by_header).await;
    assert_eq!(scene.refusal("github", &json!({})).await, told(502, "provider_error"));
}

#[actix_web::test]
async fn a_person_without_a_name_has_none_here_until_they_choose_one() {
    let scene = at_github(Backend::Sqlite, "").await;
    let browser = scene.server.browser();
    scene.sign_in(&browser, "github", &json!({ "name": null, "email": null })).await;
    let shown = body(browser.get("/auth/setup").await).await;
    assert_eq!(
        (&shown["display_name"], &shown["suggested_username"]),
        (&Value::Null, &json!("rivka-codes"))
    );
    browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(body(browser.get("/auth/me").await).await["display_name"], Value::Null);
}

#[actix_web::test]
async fn an_address_is_verified_if_github_says_so_and_is_trusted() {
    for (verified, further, expected) in
        [(true, "", true), (false, "", false), (true, "trust_email = false\n", false)]
    {
        let scene = at_github(Backend::Sqlite, further).await;
        let person = json!({ "emails": [
            { "email": "rivka@old.example", "primary": false, "verified": true, "visibility": null },
            { "email": "rivka@example.com", "primary": true, "verified": verified, "visibility": null },
        ]});
        let kept = scene.emails_of("github", &person, "rivka").await;
        assert_eq!(kept, emails("rivka@example.com", expected, "github"), "{verified} {further}");
    }
}

#[actix_web::test]
async fn a_primary_address_behind_many_others_is_the_one() {
    let scene = at_github(Backend::Sqlite, "").await;
    let listed: Vec<Value> = (0..40)
        .map(|number| {
            json!({ "email": format!("{number}@example.com"), "primary": number == 39, "verified": true })
        })
        .collect();
    let kept = scene.emails_of("github", &json!({ "emails": listed }), "rivka").await;
    assert_eq!(kept, emails("39@example.com", true, "github"));
}

#[actix_web::test]
async fn nobody_gets_in_whose_addresses_may_not_be_seen() {
    // It answers 404 to the one and 403 to the other.
    let without_scope = at_github(Backend::Sqlite, "scopes = [\"read:user\"]\n").await;
    let github_app = as_application(Backend::Sqlite, GITHUB_APP, CLIENT_SECRET, "").await;
    for scene in [without_scope, github_app] {
        assert_eq!(scene.refusal("github", &json!({})).await, told(502, "provider_error"));
    }
    let that_scope = at_github(Backend::Sqlite, "scopes = [\"user:email\"]\n").await;
    that_scope.sign_up(&that_scope.server.browser(), "github", &json!({}), "rivka").await;
}

#[actix_web::test]
async fn a_profile_without_a_usable_id_is_nobodys() {
    let scene = at_github(Backend::Sqlite, "").await;
    let lists = json!([583_231]);
    for id in
        [json!(583_231.5), json!(5e300), json!(true), Value::Null, json!(""), json!({}), lists]
    {
        let answered = scene.refusal("github", &json!({ "id": id })).await;
        assert_eq!(answered, told(502, "provider_error"), "{id}");
    }
    scene.sign_up(&scene.server.browser(), "github", &json!({}), "rivka").await;
    let renamed = at_github(Backend::Sqlite, "[providers.mapping]\nsubject = \"missing\"\n").await;
    assert_eq!(renamed.refusal("github", &json!({})).await, told(502, "provider_error"));
}

#[actix_web::test]
async fn an_id_names_the_same_person_as_a_number_and_as_text() {
    let scene = at_github(Backend::Sqlite, "").await;
    let browser = scene.server.browser();
    let account = scene.sign_up(&browser, "github", &json!({ "id": 583_231 }), "rivka").await;
    for id in [json!("583231"), json!(583_231)] {
        let browser = scene.server.browser();
        let back = scene.sign_in(&browser, "github", &json!({ "id": id })).await;
        assert_eq!(location(&back).as_deref(), Some("/"), "{id}");
        assert_eq!(body(browser.get("/auth/me").await).await["id"], account["id"]);
    }
    assert_eq!(scene.users().await, 1);
}

#[actix_web::test]
async fn who_cancels_is_told_so_and_leaves_no_row() {
    let scene = at_github(Backend::Sqlite, "").await;
    let browser = scene.server.browser();
    let back = way_back(&browser, "/auth/github", &Value::Null).await;
    assert_eq!(parameter(&back, "error"), "access_denied");
    let page = browser.page(&back).await.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("GitHub"), "{page}");
    assert_eq!(scene.refusal("github", &Value::Null).await, told(403, "provider_denied"));
}

#[actix_web::test]
async fn the_server_in_githubs_place_refuses_what_github_refuses() {
    let scene = at_github(Backend::Sqlite, "").await;
    let url = &scene.provider.url;
    let user = format!("{url}/user");
    let client = scene.server.browser().client;
    let answer = client.get(&user).bearer_auth("gho_").send().await.unwrap();
    assert_eq!(answer.status(), 403, "without a User-Agent");
    let named = || client.get(&user).header("user-agent", "tests");
    for refused in [named(), named().bearer_auth("gho_made-up"), named().bearer_auth("code_")] {
        let answer = refused.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(body(answer).await["message"], "Bad credentials");
    }
}
