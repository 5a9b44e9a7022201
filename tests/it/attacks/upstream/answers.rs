//! Attacks by what the provider answers, or by what somebody makes of it on the way.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::scene::{
    Attempt, INVALID_STATE, PROVIDER_ERROR, PROVIDER_TIMEOUT, Refusal, Scene, TOKEN_INVALID, begin,
    callback, get_with_cookies,
};
use crate::harness::{Backend, body, cookie, location};
use crate::openid_provider::{Behaviour, CLIENT_ID, Change, NOW, Reply, Signature};

const PROMISES_ISS: Change =
    |document| document["authorization_response_iss_parameter_supported"] = true.into();

/// As a token without an address makes us ask at userinfo.
const WITHOUT_EMAIL: Change = |claims| {
    claims.as_object_mut().unwrap().remove("email");
};

async fn g04_an_answer_that_does_not_name_its_issuer_as_promised_is_refused(backend: Backend) {
    let promising = Behaviour { discovery: PROMISES_ISS, ..Behaviour::default() };
    let scene = Scene::start(backend, vec![promising], "").await;
    let browser = scene.server.browser();
    let own = scene.op.url.clone();
    let slashed = format!("{own}/");
    for iss in ["", "https://evil.example", &slashed, &own.to_uppercase()] {
        let named = |attempt: &Attempt| attempt.back_with(&[("iss", iss)]);
        scene.refuses_the_way_back(&browser, "/auth/op", named, TOKEN_INVALID).await;
    }
    let silent = |attempt: &Attempt| attempt.back();
    scene.refuses_the_way_back(&browser, "/auth/op", silent, TOKEN_INVALID).await;
    // Errors, too, must name it.
    let denied = |attempt: &Attempt| {
        callback("op", &[("error", "access_denied"), ("state", &attempt.state)])
    };
    scene.refuses_the_way_back(&browser, "/auth/op", denied, TOKEN_INVALID).await;
    assert_eq!(scene.op.state.token_requests(), 0, "the code was shown to nobody");
    let attempt = begin(&browser, "/auth/op").await;
    let back = browser.get(&attempt.back_with(&[("iss", &own)])).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"));
}

async fn g04_an_answer_that_names_another_issuer_is_refused_also_without_a_promise(
    backend: Backend,
) {
    let scene = Scene::honest(backend).await;
    let browser = scene.server.browser();
    let other = |attempt: &Attempt| attempt.back_with(&[("iss", "https://evil.example")]);
    scene.refuses_the_way_back(&browser, "/auth/op", other, TOKEN_INVALID).await;
    assert_eq!(scene.op.state.token_requests(), 0);
}

const WRONG_CLAIMS: [Change; 19] = [
    |claims| claims["iss"] = "https://evil.example".into(),
    |claims| claims["iss"] = format!("{}/", claims["iss"].as_str().unwrap()).into(),
    |claims| claims["aud"] = "another".into(),
    |claims| claims["aud"] = json!([]),
    |claims| claims["aud"] = json!([CLIENT_ID, "another"]),
    |claims| claims["azp"] = "another".into(),
    |claims| claims["nonce"] = "another".into(),
    |claims| claims["nonce"] = Value::Null,
    |claims| claims["nonce"] = "".into(),
    |claims| claims["exp"] = (NOW.seconds() - 61).into(),
    |claims| claims["exp"] = Value::Null,
    |claims| claims["exp"] = "9999999999".into(),
    |claims| claims["iat"] = (NOW.seconds() + 61).into(),
    |claims| claims["nbf"] = (NOW.seconds() + 61).into(),
    |claims| claims["sub"] = "".into(),
    |claims| claims["sub"] = Value::Null,
    |claims| claims["sub"] = 7.into(),
    |claims| claims["sub"] = "a".repeat(256).into(),
    |claims| claims["sub"] = "7\u{0}".into(),
];

/// None of these makes the account of `7` open, nor a new one.
async fn g05_a_token_for_somebody_else_or_another_time_is_refused(backend: Backend) {
    let wrong = WRONG_CLAIMS.map(|claims| Behaviour { claims, ..Behaviour::default() });
    refuses_each(backend, &wrong, TOKEN_INVALID).await;
}

async fn g05_a_token_without_a_signature_of_the_provider_is_refused(backend: Backend) {
    let signatures = [
        Signature::Missing,
        Signature::HmacOfPublicKey,
        Signature::OfOtherClaims,
        Signature::OfKeyInside,
    ];
    let forged = signatures.map(|signature| Behaviour { signature, ..Behaviour::default() });
    let scene = refuses_each(backend, &forged, TOKEN_INVALID).await;
    assert_eq!(scene.op.state.elsewhere_requests(), 0, "a token does not say where its key is");
    scene.op.state.behave(0);
    scene.op.state.sign_with(1);
    let unpublished = |attempt: &Attempt| attempt.back();
    let browser = scene.server.browser();
    scene.refuses_the_way_back(&browser, "/auth/op", unpublished, TOKEN_INVALID).await;
}

/// A server that knows the person, so that belief would open a session; each of `wrong` is refused.
async fn refuses_each(backend: Backend, wrong: &[Behaviour], expected: Refusal) -> Scene {
    let behaviours = [&[Behaviour::default()], wrong].concat();
    let scene = Scene::start(backend, behaviours, "").await;
    scene.signed_up("rivka").await;
    let browser = scene.server.browser();
    for number in 1..=wrong.len() {
        scene.op.state.behave(number);
        let back = |attempt: &Attempt| attempt.back();
        scene.refuses_the_way_back(&browser, "/auth/op", back, expected).await;
    }
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    scene
}

async fn g06_userinfo_about_somebody_else_is_refused(backend: Backend) {
    let subjects: [Change; 4] = [
        |claims| claims["sub"] = "8".into(),
        |claims| claims["sub"] = 7.into(),
        |claims| claims["sub"] = Value::Null,
        |claims| *claims = json!({ "email": "victim@example.com", "email_verified": true }),
    ];
    let about_others = subjects.map(|userinfo| Behaviour {
        claims: WITHOUT_EMAIL,
        userinfo,
        ..Behaviour::default()
    });
    refuses_each(backend, &about_others, TOKEN_INVALID).await;
}

/// A refused code is about the attempt; all else of the token endpoint is about the provider.
async fn the_token_endpoints_refusal_is_told_by_whom_it_is_about(backend: Backend) {
    let refusing = |error| Behaviour { token_reply: Reply::Refusal(error), ..Behaviour::default() };
    refuses_each(backend, &[refusing("invalid_grant")], TOKEN_INVALID).await;
    let others = ["invalid_client", "server_error", "<script>alert(1)</script>"].map(refusing);
    refuses_each(backend, &others, PROVIDER_ERROR).await;
}

const MARKUP: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'";

async fn g07_a_denial_is_a_page_without_a_word_of_the_provider(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let browser = scene.server.browser();
    let denied: Refusal = (403, "provider_denied");
    for error in ["access_denied", "server_error", MARKUP, "a\r\nSet-Cookie: auth_access=x"] {
        let back = |attempt: &Attempt| {
            callback(
                "op",
                &[
                    ("error", error),
                    ("error_description", MARKUP),
                    ("error_uri", "javascript:alert(1)"),
                    ("state", &attempt.state),
                    // An answer that denies and grants at once denies.
                    ("code", &attempt.code()),
                ],
            )
        };
        let page = scene.refuses_the_way_back(&browser, "/auth/op", back, denied).await;
        for hostile in ["<script", "<img", "onerror", "javascript:", "alert(1)", "panicked"] {
            assert!(!page.contains(hostile), "{page}");
        }
    }
    assert_eq!(scene.op.state.token_requests(), 0);
    let attempt = begin(&browser, "/auth/op").await;
    assert_eq!(location(&browser.get(&attempt.back()).await).as_deref(), Some("/onboarding"));
}

/// What the provider says of a person is text, on every page that shows it.
async fn g07_hostile_text_of_a_provider_is_escaped_on_every_page(backend: Backend) {
    let hostile: Change = |claims| {
        claims["name"] = MARKUP.into();
        claims["preferred_username"] = MARKUP.into();
        claims["picture"] = "javascript:alert(1)".into();
        claims["email"] = "\"><script>alert(1)</script>@example.com".into();
    };
    let behaviour = Behaviour { claims: hostile, ..Behaviour::default() };
    let scene = Scene::start(backend, vec![behaviour], "").await;
    let is_text = |page: &str| {
        assert!(page.contains("&#60;script&#62;"), "{page}");
        for markup in ["<script>alert", "<img", "javascript:"] {
            assert!(!page.contains(markup), "{page}");
        }
    };
    let alice = scene.server.signed_in("alice").await;
    let attempt = begin(&alice, "/auth/link/op").await;
    assert_eq!(location(&alice.get(&attempt.back()).await).as_deref(), Some("/link"));
    is_text(&alice.page("/link").await.text().await.unwrap());

    let browser = scene.server.browser();
    let attempt = begin(&browser, "/auth/op").await;
    assert_eq!(location(&browser.get(&attempt.back()).await).as_deref(), Some("/onboarding"));
    let onboarding = browser.page("/onboarding").await.text().await.unwrap();
    is_text(&onboarding);
    let token = crate::sign_in::hidden_token(&onboarding);
    let typed = [("form_token", token.as_str()), ("username", MARKUP), ("display_name", MARKUP)];
    let again = browser.post_form("/auth/form/setup", &typed).await;
    assert_eq!(again.status(), StatusCode::UNPROCESSABLE_ENTITY);
    is_text(&again.text().await.unwrap());
    let created = browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    is_text(&browser.page("/account").await.text().await.unwrap());
}

const UNUSABLE: [Reply; 12] = [
    Reply::Status(500),
    Reply::Status(503),
    Reply::Status(302),
    Reply::Html,
    Reply::InvalidJson,
    Reply::Large,
    Reply::LargeUnannounced,
    Reply::Compressed,
    Reply::Redirect("/elsewhere"),
    Reply::Redirect("http://169.254.169.254/latest/meta-data"),
    Reply::Redirect("https://10.0.0.1/token"),
    Reply::Redirect("http://localhost/elsewhere"),
];

/// The state of a refused attempt is consumed by taking its cookie away: to remember it, a row would have
/// to be left behind, which spec.md section 4 keeps for what worked.
async fn g08_an_unusable_answer_to_a_callback_ends_the_attempt(backend: Backend) {
    let base = Behaviour { claims: WITHOUT_EMAIL, ..Behaviour::default() };
    let unusable: Vec<Behaviour> = UNUSABLE
        .into_iter()
        .flat_map(|reply| {
            [Behaviour { token_reply: reply, ..base }, Behaviour { userinfo_reply: reply, ..base }]
        })
        .collect();
    let scene = refuses_each(backend, &unusable, PROVIDER_ERROR).await;
    assert_eq!(scene.op.state.elsewhere_requests(), 0, "no redirect is followed");
    // An attempt that met one may be made again by whoever still has its cookie.
    let browser = scene.server.browser();
    let attempt = begin(&browser, "/auth/op").await;
    browser.get(&attempt.back()).await;
    scene.op.state.behave(0);
    let again = get_with_cookies(&scene.server, &attempt.back(), &attempt.cookie).await;
    assert!(cookie(&again, "auth_refresh").is_some());
}

/// A connection that ends in the middle of an answer counts as a provider that is not there.
async fn g08_a_connection_that_ends_early_ends_the_attempt(backend: Backend) {
    let base = Behaviour { claims: WITHOUT_EMAIL, ..Behaviour::default() };
    let dropping = [
        Behaviour { token_reply: Reply::Dropped, ..base },
        Behaviour { userinfo_reply: Reply::Dropped, ..base },
    ];
    refuses_each(backend, &dropping, PROVIDER_TIMEOUT).await;
}

/// Before anybody is sent to it, a provider says where and by which keys; here it does not.
async fn g08_nobody_is_sent_to_a_provider_that_says_nonsense_of_itself(backend: Backend) {
    let unusable: Vec<Behaviour> = UNUSABLE
        .into_iter()
        .flat_map(|reply| {
            [
                Behaviour { discovery_reply: reply, ..Behaviour::default() },
                Behaviour { jwks_reply: reply, ..Behaviour::default() },
            ]
        })
        .collect();
    nobody_is_sent(backend, &unusable, PROVIDER_ERROR).await;
    let dropping = [
        Behaviour { discovery_reply: Reply::Dropped, ..Behaviour::default() },
        Behaviour { jwks_reply: Reply::Dropped, ..Behaviour::default() },
    ];
    nobody_is_sent(backend, &dropping, PROVIDER_TIMEOUT).await;
}

/// Metadata that leads inside the network, or to another issuer, is not followed.
async fn nobody_is_sent_to_a_provider_whose_metadata_leads_inside_or_elsewhere(backend: Backend) {
    let documents: [Change; 11] = [
        |document| document["jwks_uri"] = "https://169.254.169.254/latest".into(),
        |document| document["jwks_uri"] = "http://op.example/jwks".into(),
        |document| document["jwks_uri"] = "file:///etc/passwd".into(),
        |document| document["token_endpoint"] = "https://10.0.0.1/token".into(),
        |document| document["token_endpoint"] = "http://[::ffff:10.0.0.1]/token".into(),
        |document| document["token_endpoint"] = "https://user:word@op.example/token".into(),
        |document| document["userinfo_endpoint"] = "https://[fd00::1]/userinfo".into(),
        |document| document["userinfo_endpoint"] = "https://192.168.1.1/userinfo".into(),
        |document| document["authorization_endpoint"] = "javascript:alert(1)".into(),
        |document| document["issuer"] = "https://evil.example".into(),
        |document| document["id_token_signing_alg_values_supported"] = json!(["none", "HS256"]),
    ];
    let misleading = documents.map(|discovery| Behaviour { discovery, ..Behaviour::default() });
    nobody_is_sent(backend, &misleading, PROVIDER_ERROR).await;
}

async fn nobody_is_sent(backend: Backend, wrong: &[Behaviour], expected: Refusal) {
    let behaviours = [wrong, &[Behaviour::default()]].concat();
    let scene = Scene::start(backend, behaviours, "").await;
    let browser = scene.server.browser();
    let alice = scene.server.signed_in("alice").await;
    let before = scene.server.rows().await;
    // A failure is remembered for five seconds.
    let later = || scene.server.clock.advance(Duration::from_secs(5));
    for number in 0..wrong.len() {
        scene.op.state.behave(number);
        scene.refuses(&before, browser.get("/auth/op").await, expected).await;
        scene.refuses(&before, browser.page("/auth/op").await, expected).await;
        let page = scene.refuses(&before, alice.page("/auth/link/op").await, expected).await;
        assert!(page.contains("href=\"/account\""), "{page}");
        later();
    }
    assert_eq!(scene.op.state.elsewhere_requests(), 0);
    scene.op.state.behave(wrong.len());
    begin(&browser, "/auth/op").await;
}

/// spec.md section 4: JSON `true` of a provider whose word counts, and nothing else; "true" as a string is
/// never verified, not for any named provider.
async fn g11_only_json_true_makes_an_address_verified(backend: Backend) {
    let flags: [Change; 8] = [
        |claims| claims["email_verified"] = true.into(),
        |claims| claims["email_verified"] = "true".into(),
        |claims| claims["email_verified"] = "True".into(),
        |claims| claims["email_verified"] = 1.into(),
        |claims| claims["email_verified"] = json!([true]),
        |claims| claims["email_verified"] = json!({ "value": true }),
        |claims| claims["email_verified"] = Value::Null,
        |claims| {
            claims.as_object_mut().unwrap().remove("email_verified");
        },
    ];
    let told = flags.map(|claims| Behaviour { claims, ..Behaviour::default() });
    let scene = Scene::start(backend, told.to_vec(), "").await;
    // Somebody has that very address, verified.
    scene.server.signed_in("tamar").await;
    scene
        .server
        .execute(
            "UPDATE emails SET address = 'rivka@example.com', address_key = 'rivka@example.com'",
        )
        .await;
    let before = scene.server.rows().await;
    for number in 0..flags.len() {
        scene.op.state.behave(number);
        let browser = scene.server.browser();
        let attempt = begin(&browser, "/auth/op").await;
        let answer = browser.get(&attempt.back()).await;
        let place = if number == 0 { "/link" } else { "/onboarding" };
        assert_eq!(location(&answer).as_deref(), Some(place), "{number}");
        assert_eq!(cookie(&answer, "auth_link").is_some_and(|set| !set.is_empty()), number == 0);
        let shown = body(browser.get("/auth/setup").await).await;
        assert_eq!(shown["existing_account"], number == 0);
        assert_eq!(scene.server.rows().await, before, "never linked silently");
    }
    let browser = scene.signed_up("rivka").await;
    let me = body(browser.get("/auth/me").await).await;
    assert_eq!(me["emails"][0]["verified"], false);
}

crate::on_both_stores!(
    g04_an_answer_that_does_not_name_its_issuer_as_promised_is_refused,
    g04_an_answer_that_names_another_issuer_is_refused_also_without_a_promise,
    g05_a_token_for_somebody_else_or_another_time_is_refused,
    g05_a_token_without_a_signature_of_the_provider_is_refused,
    g06_userinfo_about_somebody_else_is_refused,
    the_token_endpoints_refusal_is_told_by_whom_it_is_about,
    g07_a_denial_is_a_page_without_a_word_of_the_provider,
    g07_hostile_text_of_a_provider_is_escaped_on_every_page,
    g08_an_unusable_answer_to_a_callback_ends_the_attempt,
    g08_a_connection_that_ends_early_ends_the_attempt,
    g08_nobody_is_sent_to_a_provider_that_says_nonsense_of_itself,
    nobody_is_sent_to_a_provider_whose_metadata_leads_inside_or_elsewhere,
    g11_only_json_true_makes_an_address_verified,
);

/// All at once, since each takes the whole of the eight seconds that a provider has.
#[actix_web::test]
async fn g08_a_provider_that_does_not_finish_is_given_up_within_ten_seconds() {
    let base = Behaviour { claims: WITHOUT_EMAIL, ..Behaviour::default() };
    let slow = [
        Behaviour { token_reply: Reply::Never, ..base },
        Behaviour { token_reply: Reply::Stalling, ..base },
        Behaviour { userinfo_reply: Reply::Stalling, ..base },
        Behaviour { discovery_reply: Reply::Never, ..base },
        Behaviour { jwks_reply: Reply::Stalling, ..base },
    ];
    let mut scenes = Vec::new();
    for behaviour in slow {
        scenes.push(Scene::start(Backend::Sqlite, vec![behaviour], "").await);
    }
    let waiting = scenes.iter().enumerate().map(|(number, scene)| async move {
        let browser = scene.server.browser();
        let before = scene.server.rows().await;
        let target = match number {
            0..3 => begin(&browser, "/auth/op").await.back(),
            _ => "/auth/op".to_owned(),
        };
        let asking = tokio::time::timeout(Duration::from_secs(10), browser.page(&target));
        let answer = asking.await.expect("an answer within ten seconds");
        let page = scene.refuses(&before, answer, PROVIDER_TIMEOUT).await;
        assert!(page.contains("not_answering=op"), "the way on says which: {page}");
        if number < 3 {
            let again = browser.get(&target).await;
            scene.refuses(&before, again, INVALID_STATE).await;
        }
    });
    join_all(waiting).await;
}
