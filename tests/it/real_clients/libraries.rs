//! Libraries of JavaScript and Python, from the first request to the sign-out.

use latchkey::protocol::client::AuthMethod;
use serde_json::{Value, json};

use super::person::{server_with_rivka, walk};
use super::program::Program;
use super::resource_servers::VERIFIERS;
use crate::harness::Backend;
use crate::on_both_stores;
use crate::registration::register;

on_both_stores!(
    openid_client_signs_people_in_and_out,
    oauth4webapi_signs_people_in_and_out,
    oauth4webapi_does_so_without_a_secret,
    authlib_signs_people_in_and_out,
);

const REDIRECT_URI: &str = "https://app.example/callback";
const SIGNED_OUT_URI: &str = "https://app.example/signed-out";

/// Runs a client's program through its whole dialogue, as a public client or one with a secret.
async fn run(backend: Backend, program: &str, is_public: bool) {
    let (server, person) = server_with_rivka(backend).await;
    let client = register(&server, |metadata| {
        metadata.post_logout_redirect_uris = vec![SIGNED_OUT_URI.to_owned()];
        if is_public {
            metadata.token_endpoint_auth_method = AuthMethod::None;
        }
    })
    .await;
    let secret = if is_public { "" } else { &client.secret };
    let mut program = Program::start(program, &[&server.url, &client.id, secret, REDIRECT_URI]);
    let browser = server.browser();

    let begun = program.next().await;
    let authorization_url = begun["authorization_url"].as_str().unwrap();
    program.say(&walk(&browser, authorization_url, REDIRECT_URI).await);
    assert!(browser.is_signed_in().await);

    let signed_in = program.next().await;
    assert_eq!(signed_in["step"], "signed in");
    let (tokens, claims) = (&signed_in["tokens"], &signed_in["claims"]);
    assert_eq!(claims["sub"], *person);
    assert_eq!(claims["iss"], *server.url);
    assert_eq!(claims["aud"], *client.id);
    assert!(claims["nonce"].is_string() && claims["auth_time"].is_number(), "{claims}");
    assert_eq!(tokens["token_type"].as_str().unwrap().to_lowercase(), "bearer");
    let access_token = tokens["access_token"].as_str().unwrap();
    for verifier in VERIFIERS {
        let claims = verifier.verify(&server.url, &client.id, access_token).await.unwrap();
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(person), &json!(client.id)));
    }

    let expected = json!({
        "step": "userinfo",
        "claims": {
            "sub": person, "name": "rivka", "preferred_username": "rivka",
            "email": "rivka@dev.localhost", "email_verified": true,
        },
    });
    assert_eq!(program.next().await, expected);
    let refreshed = program.next().await;
    assert_eq!(refreshed["step"], "refreshed");
    assert_ne!(refreshed["tokens"]["access_token"], access_token);
    assert_ne!(refreshed["tokens"]["refresh_token"], Value::Null);
    assert_eq!(program.next().await, expected);
    let revoked = program.next().await;
    assert_eq!(revoked, json!({ "step": "revoked", "error": "invalid_grant" }));

    let left = program.next().await;
    walk(&browser, left["logout_url"].as_str().unwrap(), SIGNED_OUT_URI).await;
    assert!(!browser.is_signed_in().await);
    program.end().await.unwrap();
}

async fn openid_client_signs_people_in_and_out(backend: Backend) {
    run(backend, "openid-client.mjs", false).await;
}

async fn oauth4webapi_signs_people_in_and_out(backend: Backend) {
    run(backend, "oauth4webapi.mjs", false).await;
}

async fn oauth4webapi_does_so_without_a_secret(backend: Backend) {
    run(backend, "oauth4webapi.mjs", true).await;
}

async fn authlib_signs_people_in_and_out(backend: Backend) {
    run(backend, "authlib_client.py", false).await;
}
