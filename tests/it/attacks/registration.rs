//! Attacks on the registration of clients, by the command line.

use std::time::Duration;

use latchkey::administration::By;
use latchkey::protocol::client::ClientMetadata;
use latchkey::registration::{self, RegistrationError};
use latchkey::store::model::{Actor, Client};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::clients_command::{Desk, follows, known};
use crate::grants::{code_for, grant, introspected, post_as, redeem, refresh, session, userinfo};
use crate::harness::{Backend, Server};
use crate::registration::{Registered, register};

/// Registered URIs are compared character by character, so none may be there that says one thing to us and
/// another to a browser.
#[test]
fn a04_uris_that_lead_elsewhere_are_not_registered() {
    let desk = Desk::alone("");
    for uri in [
        "https://ok.example@evil.example/cb",
        "http://127.0.0.1:80@evil.example/",
        "https://ok.example:pass@evil.example/",
        "https://ok.example\\@evil.example/",
        "https://ok.example/cb#evil",
        "https://ok.example/cb/../evil",
        "https://*.ok.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "javascript:alert(1)//https://ok.example/",
        "data:text/html,https://ok.example/",
        "https:ok.example/cb",
        "//ok.example/cb",
    ] {
        for arguments in [
            vec!["register", "App", "--redirect-uri", uri],
            vec!["register", "App", "--native", "--redirect-uri", uri],
        ] {
            let said = desk.refused(&arguments);
            assert!(said.starts_with("redirect_uris[0] = "), "{uri}: {said}");
        }
        let after_sign_out = format!("post_logout_redirect_uris={}", json!([uri]));
        let beside = ["register", "App", "--redirect-uri", "https://ok.example/", "--set"];
        let said = desk.refused(&[&beside[..], &[&after_sign_out]].concat());
        assert!(said.starts_with("post_logout_redirect_uris[0] = "), "{uri}: {said}");
    }
    assert_eq!(desk.json(&["list"])["items"], json!([]));
}

async fn c29_no_client_gets_an_id_of_a_person(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let alice = server.signed_in("alice").await;
    let me: Value =
        serde_json::from_str(&alice.get("/auth/me").await.text().await.unwrap()).unwrap();
    let desk = Desk::beside(&server);
    desk.app("taken");
    let id = me["id"].as_str().unwrap();
    let shouted = id.to_uppercase();
    let of_nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    let redirect_uri = "https://app.example/";
    let mut answers = Vec::new();
    for id in ["taken", id, &shouted, of_nobody, "latchkey"] {
        let chosen = ["register", "App", "--redirect-uri", redirect_uri, "--client-id", id];
        let said = desk.refused(&chosen);
        assert!(said.starts_with(&format!("The id {id:?} is taken.")), "{said}");
        answers.push(said.replace(&format!("{id:?}"), "ID"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "nobody learns who exists: {answers:?}");
    assert_eq!(desk.json(&["list"])["items"].as_array().unwrap().len(), 1);
}

async fn c30_a_rotated_secret_overlaps_as_stated_and_is_never_shown_again(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let desk = Desk::beside(&server);
    let of = |document: &Value| document["client_secret"].as_str().unwrap().to_owned();
    let first = of(&desk.app("app"));
    let presents = async |secret: &str| {
        let client = Registered { id: "app".to_owned(), secret: secret.to_owned() };
        let reply = post_as(
            &server.url,
            &client,
            &[("grant_type", "refresh_token"), ("refresh_token", "x")],
        );
        reply.await.text("error").to_owned()
    };
    assert_eq!(presents(&first).await, "invalid_grant");
    let rotated = desk.json(&["rotate-secret", "app", "--overlap", "2h"]);
    let second = of(&rotated);
    let until = rotated["former_client_secret_expires_at"].as_i64().unwrap();
    let overlap = until - server.clock.now().seconds();
    assert!((7_190..7_260).contains(&overlap), "{overlap}");
    let stored = server.app.store.read.client("app").await.unwrap().unwrap();
    let former = stored.former_secret.unwrap();
    assert!(former.hash.is_of(&first) && stored.secret.unwrap().is_of(&second));
    assert_eq!(former.until.seconds(), until);

    let has_secret = |client: Option<&Client>, secret: &str| {
        let known = client.and_then(|client| client.secret.as_ref());
        known.is_some_and(|known| known.is_of(secret))
    };
    follows(&server, "app", |client| has_secret(client, &second)).await;
    for secret in [&first, &second] {
        assert_eq!(presents(secret).await, "invalid_grant", "the client is known by it");
    }
    server.clock.advance(Duration::from_secs(7_260));
    assert_eq!(presents(&first).await, "invalid_client");
    assert_eq!(presents(&second).await, "invalid_grant");

    // Of three secrets two work, and after a theft one.
    let third = of(&desk.json(&["rotate-secret", "app"]));
    let stored = server.app.store.read.client("app").await.unwrap().unwrap();
    assert!(stored.former_secret.unwrap().hash.is_of(&second));
    let fourth = of(&desk.json(&["rotate-secret", "app", "--overlap", "0"]));
    follows(&server, "app", |client| {
        client.is_some_and(|client| {
            client.former_secret.is_none() && has_secret(Some(client), &fourth)
        })
    })
    .await;
    for (secret, error) in
        [(&second, "invalid_client"), (&third, "invalid_client"), (&fourth, "invalid_grant")]
    {
        assert_eq!(presents(secret).await, error);
    }

    let everywhere = [
        desk.json(&["list"]).to_string(),
        desk.json(&["show", "app"]).to_string(),
        desk.told(&["list"]),
        desk.told(&["show", "app"]),
        server.everything().await.join("\n"),
    ]
    .concat();
    for secret in [first, second, third, fourth] {
        assert!(!everywhere.contains(&secret));
    }
}

/// Its codes, refresh tokens and access tokens die with it.
async fn k08_a_removed_client_has_no_access_left(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let app = &server.app;
    let desk = Desk::beside(&server);
    let client = desk.client("app");
    let resource_server = register(&server, |metadata| metadata.resource_server = true).await;
    follows(&server, "app", |client| client.is_some()).await;
    server.catch_up();
    let browser = server.signed_in("alice").await;
    let person = session(&browser).await;
    let granted = grant(&server, &browser, &client, "openid").await;
    let code = code_for(&browser, &client, "openid").await;
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::OK);
    assert!(app.store.read.consent(person.sub, "app").await.unwrap().is_some());

    desk.told(&["remove", "app"]);
    let refused = async {
        while userinfo(&server, &granted.access).await.status() != StatusCode::UNAUTHORIZED {}
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("its tokens are refused");
    follows(&server, "app", |client| client.is_none()).await;
    redeem(&server.url, &client, &code).await.refused(401, "invalid_client");
    refresh(&server.url, &client, &granted.refresh).await.refused(401, "invalid_client");
    for token in [&granted.access, &granted.refresh] {
        let found = introspected(&server, &resource_server, token).await;
        assert_eq!(found, json!({ "active": false }));
    }
    assert_eq!(app.store.read.consent(person.sub, "app").await.unwrap(), None);
    assert_eq!(app.store.read.apps(person.sub).await.unwrap(), []);
    let now = server.clock.now();

    // Nobody takes the id over while a token of the former client may live.
    let again = ["register", "App", "--client-id", "app", "--redirect-uri", "https://app.example/"];
    assert!(desk.refused(&again).starts_with("The id \"app\" is taken."));
    let later = now.plus(Duration::from_secs(3_600));
    let metadata = ClientMetadata {
        client_name: "App".to_owned(),
        redirect_uris: vec!["https://app.example/".to_owned()],
        ..ClientMetadata::default()
    };
    let rules = registration::rules(&app.settings).unwrap();
    let by = By::local(Actor::System, later);
    let id = Some("app".to_owned());
    assert!(registration::register(&app.writer, &rules, by, id, metadata).await.is_ok());
}

async fn k09_an_update_changes_only_what_is_named(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let desk = Desk::beside(&server);
    let mut expected = desk.json(&[
        "register",
        "App",
        "--client-id",
        "app",
        "--redirect-uri",
        "https://app.example/cb",
        "--scope",
        "openid offline_access",
        "--auto-approve",
        "--set",
        "require_pkce=false",
        "--set",
        "audience=orders",
        "--set",
        "resources=[\"https://api.example/\"]",
        "--set",
        "id_token_signed_response_alg=ES256",
        "--set",
        "resource_server=true",
        "--set",
        "token_endpoint_auth_method=client_secret_post",
        "--set",
        "software_version=7",
        "--set",
        "software_version=\"7\"",
    ]);
    let secret = expected.as_object_mut().unwrap().remove("client_secret").unwrap();
    for (arguments, member, value) in [
        (
            ["--redirect-uri", "https://new.example/"],
            "redirect_uris",
            json!(["https://new.example/"]),
        ),
        (["--scope", "openid"], "scope", json!("openid")),
        (["--set", "client_name=Renamed"], "client_name", json!("Renamed")),
        (["--set", "auto_approve=false"], "auto_approve", json!(false)),
        (["--grant", "authorization_code"], "grant_types", json!(["authorization_code"])),
        (["--set", "require_pkce=true"], "require_pkce", json!(true)),
    ] {
        expected[member] = value;
        let updated = desk.json(&[&["update", "app"], &arguments[..]].concat());
        assert_eq!(updated, expected, "{member}");
        assert_eq!(desk.json(&["show", "app"]), expected, "{member}");
    }
    follows(&server, "app", |client| client.is_some_and(|client| client.metadata.require_pkce))
        .await;
    let client = known(&server, "app").await.unwrap();
    assert!(client.secret.as_ref().unwrap().is_of(secret.as_str().unwrap()));

    // A refused change changes nothing, nor does one that knew another state.
    let bad =
        ["update", "app", "--scope", "openid email", "--redirect-uri", "http://evil.example/"];
    desk.refused(&bad);
    desk.told(&["update", "app", "--set", "client_name=By somebody else"]);
    let rules = registration::rules(&server.app.settings).unwrap();
    let by = By::local(Actor::System, server.clock.now());
    let mine = ClientMetadata { client_name: "Mine".to_owned(), ..client.metadata.clone() };
    let late = registration::update(&server.app.writer, &rules, by, &client, mine).await;
    assert!(matches!(late, Err(RegistrationError::Changed)), "{late:?}");
    expected["client_name"] = json!("By somebody else");
    assert_eq!(desk.json(&["show", "app"]), expected);
}

crate::on_both_stores!(
    c29_no_client_gets_an_id_of_a_person,
    c30_a_rotated_secret_overlaps_as_stated_and_is_never_shown_again,
    k08_a_removed_client_has_no_access_left,
    k09_an_update_changes_only_what_is_named,
);
