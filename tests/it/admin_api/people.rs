//! What admins do with people.

use std::time::Duration;

use latchkey::store::model::{AuditPage, Role};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{ES256, admin, assert_refused, got, id_of, send, set_role};
use crate::grants::{grant, userinfo};
use crate::harness::{Backend, Browser, Server, body, code};
use crate::identity::{access_of, further, me_by_bearer};
use crate::pictures::{objects, picture};
use crate::registration::register;
use crate::uploads::upload;

async fn act(browser: &Browser, user: &str, what: &str) -> Response {
    send(browser, &Method::POST, &format!("/admin/users/{user}/{what}"), &Value::Null).await
}

async fn a_person_is_shown_with_all_that_is_known(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    further(&server, "bob").await;
    let id = id_of(&bob).await;
    let shown = got(&alice, &format!("/admin/users/{id}")).await;
    let me = got(&bob, "/auth/me").await;
    for (name, value) in me.as_object().unwrap() {
        assert_eq!(shown[name], *value, "{name}");
    }
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["links"], got(&bob, "/auth/me/links").await["items"]);
    let sessions = shown["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session["current"] == false), "they are not the admin's");
    let own = got(&alice, &format!("/admin/users/{}", id_of(&alice).await)).await;
    assert_eq!((&own["sessions"][0]["current"], &own["role"]), (&json!(true), &json!("admin")));
}

async fn a_locked_person_is_out_until_they_are_unlocked(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let (id, token) = (id_of(&bob).await.to_string(), access_of(&bob).await);
    let client = register(&server, |metadata| {
        metadata.scope = "openid offline_access".to_owned();
    })
    .await;
    let granted = grant(&server, &bob, &client, "openid offline_access").await;

    let answer = act(&alice, &id, "lock").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let shown = body(answer).await;
    assert_eq!((&shown["status"], &shown["id"]), (&json!("locked"), &json!(id)));
    assert_eq!(shown["emails"][0]["address"], "bob@dev.localhost");
    assert_eq!(me_by_bearer(&server.url, &token).await, StatusCode::UNAUTHORIZED, "at once");
    assert!(bob.refresh().await.is_err());
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::UNAUTHORIZED);
    server.browser().sign_in("bob").await;
    let again = server.browser();
    again.sign_in("bob").await;
    assert!(!again.is_signed_in().await);
    assert_eq!(act(&alice, &id, "lock").await.status(), StatusCode::OK, "again changes nothing");
    assert_eq!(server.audited("user.locked").await, 1);

    let answer = act(&alice, &id, "unlock").await;
    assert_eq!(body(answer).await["status"], "active");
    assert!(bob.refresh().await.is_err(), "what ended stays ended");
    assert!(further(&server, "bob").await.is_signed_in().await);
    assert_eq!(server.audited("user.unlocked").await, 1);
}

async fn sessions_end_and_their_person_can_sign_in_again(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let other = further(&server, "bob").await;
    let (id, token) = (id_of(&bob).await.to_string(), access_of(&other).await);
    assert_eq!(act(&alice, &id, "revoke-sessions").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(me_by_bearer(&server.url, &token).await, StatusCode::UNAUTHORIZED);
    assert!(bob.refresh().await.is_err() && other.refresh().await.is_err());
    assert!(alice.is_signed_in().await);
    assert!(further(&server, "bob").await.is_signed_in().await);
}

async fn a_deleted_person_is_gone_with_their_picture(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let (id, token) = (id_of(&bob).await.to_string(), access_of(&bob).await);
    assert_eq!(upload(&bob, &picture([200, 30, 30])).await.status(), StatusCode::OK);
    assert!(!objects(&server).is_empty());
    let path = format!("/admin/users/{id}");
    assert_eq!(act(&alice, &id, "lock").await.status(), StatusCode::OK, "also while locked");
    assert_eq!(alice.delete(&path).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(me_by_bearer(&server.url, &token).await, StatusCode::UNAUTHORIZED);
    assert!(objects(&server).is_empty());
    assert_eq!(alice.get(&path).await.status(), StatusCode::NOT_FOUND);
    assert_refused(alice.delete(&path).await, 404, "not_found", None).await;
    let listed = got(&alice, "/admin/users").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let gone = got(&alice, "/admin/users?status=deleted").await;
    assert_eq!((&gone["items"][0]["id"], &gone["items"][0]["emails"]), (&json!(id), &json!([])));
    let newcomer = server.browser();
    newcomer.sign_in("bob").await;
    let taken = newcomer.post_json("/auth/setup", &json!({ "username": "bob" })).await;
    assert_eq!(code(taken).await, "username_taken", "the name is held");
}

async fn changes_are_in_the_trail_with_who_whom_and_from_where(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let (own, id) = (id_of(&alice).await, id_of(&bob).await.to_string());
    server.clock.advance(Duration::from_secs(1));
    let role = format!("/admin/users/{id}/role");
    let answer = alice.patch_json(&role, &json!({ "role": "admin" })).await;
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(body(answer).await["role"], "admin");
    for what in ["revoke-sessions", "lock"] {
        server.clock.advance(Duration::from_secs(1));
        act(&alice, &id, what).await;
    }
    let page = AuditPage { actor: Some(format!("user:{own}")), ..AuditPage::newest(3) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["user.locked", "user.sessions_revoked", "user.role_changed"]);
    for row in &rows {
        assert_eq!(row.target, format!("user:{id}"));
        assert_eq!(row.address.as_deref(), Some("127.0.0.1"));
    }
    assert_eq!(rows[2].request_id.as_ref(), Some(&request_id));
    assert_eq!(rows[2].details, json!({ "role": "admin" }));
    // Nothing of somebody who deletes themselves stays.
    assert_eq!(act(&alice, &id, "unlock").await.status(), StatusCode::OK);
    set_role(&server, id_of(&further(&server, "bob").await).await, Role::Admin).await;
    assert_eq!(alice.delete(&format!("/admin/users/{own}")).await.status(), StatusCode::NO_CONTENT);
    let page = AuditPage { actor: Some(format!("user:{own}")), ..AuditPage::newest(100) };
    let rows = server.app.store.read.audit(&page).await.unwrap();
    assert!(rows.iter().all(|row| row.address.is_none() && row.personal.is_null()), "{rows:?}");
}

crate::on_both_stores!(
    a_person_is_shown_with_all_that_is_known,
    a_locked_person_is_out_until_they_are_unlocked,
    sessions_end_and_their_person_can_sign_in_again,
    a_deleted_person_is_gone_with_their_picture,
    changes_are_in_the_trail_with_who_whom_and_from_where,
);
