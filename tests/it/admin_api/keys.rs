//! What admins do with signing keys.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use latchkey::protocol::jwt::Algorithm;
use latchkey::store::model::AuditPage;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ES256, admin, assert_refused, got, id_of, send};
use crate::attacks::logout::key_file;
use crate::harness::{BEGIN, Backend, Server, body};

async fn keys_are_rotated_and_shown(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let first = got(&alice, "/admin/keys").await["items"][0].clone();
    assert_eq!((&first["state"], &first["algorithm"]), (&json!("active"), &json!("ES256")));
    assert!(first.get("private").is_none() && first["compromised"] == false);

    server.clock.advance(Duration::from_secs(1));
    let staged = body(send(&alice, &Method::POST, "/admin/keys/rotate", &Value::Null).await).await;
    assert_eq!((&staged["is_new"], &staged["replaces"]), (&json!(true), &first["kid"]));
    let signs_from = BEGIN.plus(Duration::from_secs(3_601)).to_rfc3339();
    assert_eq!(staged["signs_from"], signs_from, "after publish_ahead");
    let again = body(alice.post_json("/admin/keys/rotate", &json!({})).await).await;
    assert_eq!((&again["is_new"], &again["kid"]), (&json!(false), &staged["kid"]));

    let now = body(alice.post_json("/admin/keys/rotate", &json!({ "now": true })).await).await;
    assert_eq!(now["kid"], staged["kid"]);
    let states = got(&alice, "/admin/keys").await;
    let state = |at: usize| states["items"][at]["state"].as_str().unwrap().to_owned();
    assert_eq!((state(0), state(1)), ("retired".to_owned(), "active".to_owned()));
    let other = alice.post_json("/admin/keys/rotate", &json!({ "algorithm": "EdDSA" })).await;
    assert_eq!(
        (other.status(), body(other).await["algorithm"].clone()),
        (StatusCode::OK, json!("EdDSA"))
    );

    let page = AuditPage { action: Some("key.activated".to_owned()), ..AuditPage::newest(9) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].actor, format!("user:{}", id_of(&alice).await));
    assert!(rows[0].request_id.is_some() && rows[0].address.as_deref() == Some("127.0.0.1"));

    for (body, field) in [
        (json!({ "now": "yes" }), "now"),
        (json!({ "algorithm": "none" }), "algorithm"),
        (json!({ "algorithm": 7 }), "algorithm"),
        (json!({ "bits": 512 }), "bits"),
    ] {
        let answer = alice.post_json("/admin/keys/rotate", &body).await;
        assert_refused(answer, 422, "invalid_field", Some(field)).await;
    }
    assert_eq!(got(&alice, "/admin/keys").await["items"].as_array().unwrap().len(), 3);
}

async fn keys_from_files_are_not_made_here(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let file = key_file(&folder, "key.pem", Algorithm::ES256);
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let further = format!("{ES256}files = [\"{}\"]\n", file.display());
    let server = Server::start(backend, &further).await;
    let alice = admin(&server, "alice").await;
    let answer = send(&alice, &Method::POST, "/admin/keys/rotate", &Value::Null).await;
    assert_refused(answer, 409, "keys_from_files", None).await;
}

crate::on_both_stores!(keys_are_rotated_and_shown, keys_from_files_are_not_made_here);
