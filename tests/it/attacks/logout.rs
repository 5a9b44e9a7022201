//! Attacks on signing out.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::actors::key_ring::{KeyRingError, Reload, Retire};
use latchkey::cli::{Format, validate};
use latchkey::protocol::jwt::{Algorithm, ID_TOKEN};
use latchkey::protocol::key::{SigningKey, generate};
use latchkey::store::model::{Actor, FamilyId};
use latchkey::store::operation::RetireKeyOutcome;
use reqwest::StatusCode;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::forged::id_token;
use crate::grants::{grant, session};
use crate::harness::{Backend, Server, location, present};
use crate::oauth_logout::{
    BACK, Receiver, SETTINGS, app, app_with, arrive, deliver,
    every_end_of_a_session_tells_its_apps, held, logout, verified,
};

crate::on_both_stores!(
    f21_nobody_is_led_to_an_address_that_is_not_registered,
    f21_a_hint_that_is_not_ours_ends_nothing_and_leads_nowhere,
    f23_after_a_sign_out_nothing_of_the_session_works,
    f24_every_end_of_a_session_tells_its_apps,
    f25_a_logout_token_is_what_it_must_be_and_comes_until_it_is_taken,
    n03_what_was_being_sent_when_a_server_ended_is_sent_again,
    e20_the_last_key_that_clients_need_is_not_retired,
    e20_an_algorithm_that_no_file_signs_with_is_a_problem_of_the_configuration,
);

async fn f21_nobody_is_led_to_an_address_that_is_not_registered(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let elsewhere = app_with(&server, &receiver, |metadata| {
        metadata.post_logout_redirect_uris = vec!["https://other.example/".to_owned()];
    })
    .await;
    let browser = server.signed_in("alice").await;
    let hint = id_token(&server, &app, &session(&browser).await, |_| {}).await;
    for wanted in [
        "https://app.example/signed-out?a=b",
        "https://app.example/signed-out/",
        "https://app.example/signed-out#a",
        "https://app.example/Signed-out",
        "https://app.example:443/signed-out",
        "https://APP.example/signed-out",
        "https://app.example/x/../signed-out",
        "https://other.example/",
        "https://evil.example/",
        "//app.example/signed-out",
        "javascript:alert(1)",
        "https://app.example/callback",
    ] {
        for browser in [&browser, &server.browser()] {
            let target = logout(&[("id_token_hint", &hint), ("post_logout_redirect_uri", wanted)]);
            let page = browser.page(&target).await;
            assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{wanted}");
            assert_eq!(location(&page), None);
            assert!(page.text().await.unwrap().contains("href=\"/account\""), "a way on");
        }
    }
    // Of no app, of an unknown one, or of two.
    for parameters in [
        vec![("post_logout_redirect_uri", BACK)],
        vec![("client_id", "nobody"), ("post_logout_redirect_uri", BACK)],
        vec![("id_token_hint", hint.as_str()), ("client_id", elsewhere.id.as_str())],
    ] {
        let page = browser.page(&logout(&parameters)).await;
        assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{parameters:?}");
    }
    assert!(browser.is_signed_in().await);
    assert_eq!(server.audited("session.ended").await, 0);
}

async fn f21_a_hint_that_is_not_ours_ends_nothing_and_leads_nowhere(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    let good = id_token(&server, &app, &who, |_| {}).await;
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let kid = server.app.key_snapshot().keys()[0].stored.kid.clone();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = encode(&json!({ "alg": "none", "typ": "JWT", "kid": kid }));
    let other_issuer = {
        let mut claims = claims.clone();
        claims["iss"] = json!("https://evil.example");
        let now = server.clock.now();
        server.app.key_snapshot().signer(Algorithm::ES256, now).unwrap().sign(ID_TOKEN, &claims)
    };
    let foreign = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
    let access = crate::identity::access_of(&browser).await;
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], encode(&claims), URL_SAFE_NO_PAD.encode([0; 64])),
        foreign.sign(ID_TOKEN, &claims),
        other_issuer,
        access,
        "x".to_owned(),
    ] {
        let hint = ("id_token_hint", forged.as_str());
        let back = ("post_logout_redirect_uri", BACK);
        let alone = browser.page(&logout(&[hint, back])).await;
        assert_eq!((alone.status(), location(&alone)), (StatusCode::BAD_REQUEST, None));
        // Who says which app it is has the person asked, as without a hint.
        let with_client = [hint, ("client_id", app.id.as_str()), back];
        let question = browser.page(&logout(&with_client)).await;
        assert_eq!((question.status(), location(&question)), (StatusCode::OK, None));
        assert!(browser.is_signed_in().await, "{forged}");
        // Where nobody is signed in it leads nowhere, either.
        let farewell = arrive(&server.browser(), &logout(&with_client)).await;
        assert_eq!(location(&farewell).as_deref(), Some("/signed-out"));
    }
    assert_eq!(server.audited("session.ended").await, 0);
    // A bearer token beside the cookies changes nothing.
    let request =
        browser.client.get(format!("{}{}", server.url, logout(&[("id_token_hint", &good)])));
    let answer = request.header("authorization", "Bearer x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(!browser.is_signed_in().await);
}

async fn f23_after_a_sign_out_nothing_of_the_session_works(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    let granted = grant(&server, &browser, &app, "openid").await;
    let attributes = |answer: &reqwest::Response| {
        let lines = answer.headers().get_all(SET_COOKIE).iter();
        let mut found: Vec<String> = lines
            .map(|line| line.to_str().unwrap())
            .filter(|line| !line.starts_with("auth_resume"))
            .map(|line| {
                let (name, rest) = line.split_once('=').unwrap();
                let mut rest: Vec<&str> = rest
                    .split("; ")
                    .skip(1)
                    .filter(|part| !part.starts_with("Max-Age") && !part.starts_with("Expires"))
                    .collect();
                rest.sort_unstable();
                format!("{name} {}", rest.join(" "))
            })
            .collect();
        found.sort();
        found
    };
    let refreshed = browser.post("/auth/refresh").await;
    let set = attributes(&refreshed);
    let refresh = crate::harness::cookie(&refreshed, "auth_refresh").unwrap();
    let access = crate::harness::cookie(&refreshed, "auth_access").unwrap();
    let left = browser
        .page(&logout(&[("id_token_hint", &id_token(&server, &app, &who, |_| {}).await)]))
        .await;
    assert_eq!(attributes(&left), set, "the same path, domain and flags");
    let replayed = present(&browser.client, &server.url, &refresh).await;
    assert_eq!(replayed.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(crate::identity::me_by_bearer(&server.url, &access).await, StatusCode::UNAUTHORIZED);
    for id in [granted.claims.grant_id.unwrap(), FamilyId(who.sid.0)] {
        let family = server.app.store.read.family(id).await.unwrap().unwrap().family;
        assert!(family.revoked_at.is_some());
    }
}

async fn f24_every_end_of_a_session_tells_its_apps(backend: Backend) {
    every_end_of_a_session_tells_its_apps(backend).await;
}

async fn f25_a_logout_token_is_what_it_must_be_and_comes_until_it_is_taken(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    receiver.answers(500);
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    grant(&server, &browser, &app, "openid").await;
    browser.post("/auth/logout").await;
    deliver(&server).await;
    receiver.answers(200);
    server.clock.advance(Duration::from_secs(5));
    deliver(&server).await;
    let tokens = receiver.tokens();
    assert_eq!((tokens.len(), held(&server).await), (2, 0));
    for token in tokens {
        let claims = verified(&server, &app, &token).await;
        let members: Vec<&String> = claims.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"],
            "no nonce"
        );
        let event = "http://schemas.openid.net/event/backchannel-logout";
        assert_eq!(claims["events"], json!({ event: {} }));
        assert_eq!((&claims["sub"], &claims["sid"]), (&json!(who.sub), &json!(who.sid)));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
        // It does not pass for an ID token.
        let target = logout(&[("id_token_hint", &token), ("post_logout_redirect_uri", BACK)]);
        let page = server.browser().page(&target).await;
        assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    }
}

async fn n03_what_was_being_sent_when_a_server_ended_is_sent_again(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    receiver.hold();
    let browser = server.signed_in("alice").await;
    grant(&server, &browser, &app, "openid").await;
    browser.post("/auth/logout").await;
    receiver.has(1).await;
    // It ends without an answer, and so without having settled anything.
    let next = server.restarted().await;
    receiver.release();
    // It was given back, so that nobody waits until the lease would be over.
    deliver(&next).await;
    let tokens = receiver.tokens();
    assert_eq!((tokens.len(), held(&next).await), (2, 0));
    let (first, second) =
        (verified(&next, &app, &tokens[0]).await, verified(&next, &app, &tokens[1]).await);
    assert_eq!(first["jti"], second["jti"], "whoever got both can tell");
}

/// The crash is made by the fault that `latchkey dev` has for tests.
#[cfg(feature = "fault-injection")]
async fn n03_a_crash_of_who_delivers_loses_no_delivery(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    receiver.hold();
    let mut told = Vec::new();
    for (number, name) in ["alice", "bob", "carol"].into_iter().enumerate() {
        let browser = server.signed_in(name).await;
        told.push(session(&browser).await.sid);
        grant(&server, &browser, &app, "openid").await;
        browser.post("/auth/logout").await;
        receiver.has(number + 1).await;
        let fault = format!("{}/dev/fault/outbox?kind=panic", server.url);
        let broken = crate::grants::http().post(fault).send().await.unwrap();
        assert_eq!(broken.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            held(&server).await,
            i64::try_from(number + 1).unwrap(),
            "whoever crashed has settled nothing"
        );
    }
    receiver.release();
    server.clock.advance(Duration::from_secs(60));
    deliver(&server).await;
    assert_eq!(held(&server).await, 0);
    // Each at least once; more often where the crash came between the delivery and its record.
    let mut delivered = std::collections::HashSet::new();
    for token in receiver.tokens() {
        delivered.insert(verified(&server, &app, &token).await["sid"].clone());
    }
    assert_eq!(delivered, told.into_iter().map(|sid| json!(sid)).collect());
    assert!(server.stop().await);
}

#[cfg(feature = "fault-injection")]
mod crashes {
    crate::on_both_stores!(n03_a_crash_of_who_delivers_loses_no_delivery);

    use super::n03_a_crash_of_who_delivers_loses_no_delivery;
}

/// A key file of an algorithm.
pub fn key_file(folder: &tempfile::TempDir, name: &str, algorithm: Algorithm) -> PathBuf {
    use base64::engine::general_purpose::STANDARD;
    let der = generate(algorithm, 2048).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(&*der)
    );
    let path = folder.path().join(name);
    std::fs::write(&path, pem).unwrap();
    path
}

async fn e20_the_last_key_that_clients_need_is_not_retired(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let files =
        vec![key_file(&folder, "es", Algorithm::ES256), key_file(&folder, "rs", Algorithm::RS256)];
    let server =
        Server::start_with(backend, SETTINGS, |settings| settings.keys.files = files).await;
    let receiver = Receiver::start();
    let signs = |keys: &latchkey::actors::key_ring::KeySnapshot| {
        keys.signer(Algorithm::RS256, server.clock.now()).map(|key| key.public().kid.clone())
    };
    let mut keys = server.app.keys.clone();
    let kid = signs(&keys.wait_for(|keys| signs(keys).is_some()).await.unwrap()).unwrap();
    let retire = async |compromised| {
        let request = Retire { kid: kid.clone(), compromised, by: Actor::System };
        server.app.key_ring.ask(request).await.unwrap()
    };
    app_with(&server, &receiver, |metadata| {
        metadata.id_token_signed_response_alg = Algorithm::RS256;
    })
    .await;
    for compromised in [false, true] {
        let refused = retire(compromised).await.unwrap_err();
        assert!(
            matches!(&refused, KeyRingError::LastOfAlgorithm { kid: named, .. } if *named == kid)
        );
        let sentence = refused.to_string();
        assert!(sentence.contains("keys.files") && sentence.contains("RS256"), "{sentence}");
    }
    assert_eq!(signs(&server.app.key_snapshot()), Some(kid.clone()), "it signs as before");
    // Once no client needs it, it may go.
    server.execute("DELETE FROM clients").await;
    assert_eq!(retire(false).await.unwrap(), RetireKeyOutcome::Retired);
}

async fn e20_an_algorithm_that_no_file_signs_with_is_a_problem_of_the_configuration(
    backend: Backend,
) {
    let folder = tempfile::tempdir().unwrap();
    let files = vec![key_file(&folder, "es", Algorithm::ES256)];
    let server =
        Server::start_with(backend, SETTINGS, |settings| settings.keys.files = files).await;
    let receiver = Receiver::start();
    app(&server, &receiver).await;
    let settings = &server.app.settings;
    assert!(validate::run(settings, Format::Json, false).await.is_ok());
    app_with(&server, &receiver, |metadata| {
        metadata.id_token_signed_response_alg = Algorithm::RS256;
    })
    .await;
    let found = validate::run(settings, Format::Json, false).await.unwrap_err();
    assert_eq!(found.to_string(), "1 problem found.");
    // The others do not suffer from it.
    server.app.key_ring.ask(Reload).await.unwrap().unwrap();
    assert_eq!(server.browser().get("/ready").await.status(), StatusCode::OK);
    assert_eq!(server.app.store.read.keys().await.unwrap().len(), 1);
}
