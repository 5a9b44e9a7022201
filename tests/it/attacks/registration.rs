//! Attacks on the registration of clients, by the command line.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::actors::db_writer::apply;
use latchkey::actors::revocations::IsRevoked;
use latchkey::protocol::client::ClientMetadata;
use latchkey::protocol::jwt::AccessClaims;
use latchkey::registration::{self, By, RegistrationError};
use latchkey::store::model::{Actor, AuditEntry, FamilyId};
use latchkey::store::operation::{ConsentOutcome, GiveConsent, Spent};
use serde_json::{Value, json};

use crate::clients_command::{Desk, follows, known};
use crate::harness::{Backend, Server};
use crate::identity::access_of;

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
    let rotated = desk.json(&["rotate-secret", "app", "--overlap", "2h"]);
    let second = of(&rotated);
    let until = rotated["former_client_secret_expires_at"].as_i64().unwrap();
    let overlap = until - server.clock.now().seconds();
    assert!((7_190..7_260).contains(&overlap), "{overlap}");
    let stored = server.app.store.read.client("app").await.unwrap().unwrap();
    let former = stored.former_secret.unwrap();
    assert!(former.hash.is_of(&first) && stored.secret.unwrap().is_of(&second));
    assert_eq!(former.until.seconds(), until);

    // Of three secrets two work, and after a theft one.
    let third = of(&desk.json(&["rotate-secret", "app"]));
    let stored = server.app.store.read.client("app").await.unwrap().unwrap();
    assert!(stored.former_secret.unwrap().hash.is_of(&second));
    let fourth = of(&desk.json(&["rotate-secret", "app", "--overlap", "0"]));
    follows(&server, "app", |client| {
        client.is_some_and(|client| {
            client.former_secret.is_none()
                && client.secret.as_ref().is_some_and(|secret| secret.is_of(&fourth))
        })
    })
    .await;

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

/// The claims of somebody's access token.
async fn claims(server: &Server, name: &str) -> AccessClaims {
    let token = access_of(&server.signed_in(name).await).await;
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Its codes die with it, too: who redeems one must be a client that is registered.
async fn k08_a_removed_client_has_no_access_left(backend: Backend) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let app = &server.app;
    let desk = Desk::beside(&server);
    desk.app("app");
    let person = claims(&server, "alice").await;
    let now = server.clock.now();
    let consent = GiveConsent {
        user: person.sub,
        asked_in: FamilyId(person.sid.0),
        client_id: "app".to_owned(),
        scope: "openid".to_owned(),
        resource: String::new(),
        spends: Spent { id: "a page".to_owned(), until: now.plus(Duration::from_secs(600)) },
        audit: AuditEntry::new(
            now,
            Actor::User(person.sub),
            "consent.given",
            "client:app".to_owned(),
        ),
    };
    assert_eq!(apply(&app.writer, consent).await.unwrap(), ConsentOutcome::Given);
    let of_client = AccessClaims { client_id: "app".to_owned(), ..person.clone() };
    let is_revoked =
        async || app.revocations.ask(IsRevoked::new(&of_client, "kid")).await.unwrap().unwrap();
    assert!(!is_revoked().await);

    desk.told(&["remove", "app"]);
    let refused = async {
        while !is_revoked().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("its tokens are refused");
    follows(&server, "app", |client| client.is_none()).await;
    assert_eq!(app.store.read.consent(person.sub, "app").await.unwrap(), None);
    assert_eq!(app.store.read.apps(person.sub).await.unwrap(), []);

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
