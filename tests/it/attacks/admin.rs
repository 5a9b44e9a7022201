//! Attacks on the interface of admins.

use std::time::Duration;

use futures_util::future::join_all;
use latchkey::administration::{self, By};
use latchkey::store::model::{Actor, Role, UserId, UserPage, UserStatus};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::admin_api::{ES256, admin, assert_refused, got, id_of, request, send, set_role};
use crate::grants::{code_for, grant, introspected, redeem, refresh, userinfo};
use crate::harness::{Backend, Browser, Server, body, code};
use crate::identity::{access_of, further};
use crate::registration::{Registered, register};

/// A request by a token alone, to whichever node.
fn by_bearer(url: &str, token: &str, method: Method, path: &str) -> RequestBuilder {
    thread_local!(static HTTP: Client = Client::builder().no_proxy().build().unwrap());
    HTTP.with(|client| client.request(method, format!("{url}{path}")).bearer_auth(token))
}

/// How many can administrate.
async fn admins(server: &Server) -> Vec<UserId> {
    let page = UserPage {
        role: Some(Role::Admin),
        status: Some(UserStatus::Active),
        limit: 10,
        ..UserPage::default()
    };
    let found = server.app.store.read.users(&page).await.unwrap();
    found.people.into_iter().map(|found| found.user.id).collect()
}

async fn k02_a_demoted_or_locked_admin_is_out_at_once(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = admin(&server, "bob").await;
    // Renewed as an admin, so that the token itself says so.
    let (token, id) = (access_of(&bob).await, id_of(&bob).await);
    let asks = async || {
        let sent = by_bearer(&server.url, &token, Method::GET, "/admin/users");
        sent.send().await.unwrap()
    };
    assert_eq!(asks().await.status(), StatusCode::OK);
    let role = format!("/admin/users/{id}/role");
    let demoted = alice.patch_json(&role, &json!({ "role": "user" })).await;
    assert_eq!(demoted.status(), StatusCode::OK);
    let answer = asks().await;
    assert_eq!(
        (answer.status(), code(answer).await.as_str()),
        (StatusCode::FORBIDDEN, "forbidden")
    );
    assert!(bob.is_signed_in().await, "signed in all the same");
    alice.patch_json(&role, &json!({ "role": "admin" })).await;
    assert_eq!(asks().await.status(), StatusCode::OK, "and the other way round");
    // By another process, whose revocations this node has yet to hear of.
    let by = By::local(Actor::CommandLine, server.clock.now());
    administration::lock(&server.app.writer, by, id, Duration::ZERO).await.unwrap();
    assert!(matches!(asks().await.status(), StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED));
    assert_eq!(got(&alice, &format!("/admin/users/{id}")).await["status"], "locked");
}

/// What two admins do to each other, or each to themselves.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Demote,
    Lock,
    Delete,
}

impl Attempt {
    fn request(self, url: &str, token: &str, whom: UserId) -> RequestBuilder {
        let path = format!("/admin/users/{whom}");
        match self {
            Self::Demote => by_bearer(url, token, Method::PATCH, &format!("{path}/role"))
                .header("content-type", "application/json")
                .body(r#"{"role":"user"}"#),
            Self::Lock => by_bearer(url, token, Method::POST, &format!("{path}/lock")),
            Self::Delete => by_bearer(url, token, Method::DELETE, &path),
        }
    }
}

/// Of two admins who go for each other (or for themselves) at once, one stays, and nobody waits for ever.
async fn race(server: &Server, urls: [&str; 2], rounds: usize) {
    for round in 0..rounds {
        let [one, other] = [format!("one{round}"), format!("other{round}")];
        let (one, other) = (admin(server, &one).await, admin(server, &other).await);
        let tokens = [access_of(&one).await, access_of(&other).await];
        let ids = [id_of(&one).await, id_of(&other).await];
        // Demoting can be gone back on: it is tried most.
        for attempt in [Attempt::Demote; 5].into_iter().chain([Attempt::Lock, Attempt::Delete]) {
            for on_themselves in [false, true] {
                if admins(server).await.len() < 2 {
                    break;
                }
                let whom = |at: usize| ids[if on_themselves { at } else { 1 - at }];
                let sent = (0..2).map(|at| attempt.request(urls[at], &tokens[at], whom(at)).send());
                let answers = join_all(sent).await;
                let statuses: Vec<u16> =
                    answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
                let left = admins(server).await;
                assert_eq!(left.len(), 1, "{attempt:?} {statuses:?}");
                let done = statuses.iter().filter(|status| (200..300).contains(*status)).count();
                assert_eq!(done, 1, "{attempt:?} {statuses:?}");
                assert!(
                    statuses
                        .iter()
                        .all(|status| matches!(status, 200 | 204 | 401 | 403 | 404 | 409)),
                    "{statuses:?}"
                );
                for id in ids {
                    let person = server.app.store.read.user(id).await.unwrap().unwrap();
                    if person.status == UserStatus::Active {
                        set_role(server, id, Role::Admin).await;
                    }
                }
            }
        }
        // The next two are alone again.
        server.execute("UPDATE users SET role = 'user' WHERE role = 'admin'").await;
    }
}

async fn k03_of_two_admins_who_go_for_each_other_one_stays(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    race(&server, [&server.url, &server.url], 4).await;
}

#[actix_web::test]
async fn k03_over_two_nodes_one_admin_stays() {
    let server = Server::start(Backend::Postgres, ES256).await;
    let beside = server.beside(|_| {}).await;
    race(&server, [&server.url, &beside.url], 4).await;
}

async fn k03_the_last_admin_stays_one(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let id = id_of(&alice).await;
    // A locked admin does not count: they cannot run anything.
    let bob = admin(&server, "bob").await;
    let path = format!("/admin/users/{}", id_of(&bob).await);
    assert_eq!(alice.post(&format!("{path}/lock")).await.status(), StatusCode::OK);
    let own = format!("/admin/users/{id}");
    let demotion = json!({ "role": "user" });
    for _ in 0..2 {
        assert_refused(
            alice.patch_json(&format!("{own}/role"), &demotion).await,
            409,
            "last_admin",
            None,
        )
        .await;
        assert_refused(alice.post(&format!("{own}/lock")).await, 409, "last_admin", None).await;
        assert_refused(alice.delete(&own).await, 409, "last_admin", None).await;
        assert_refused(alice.delete("/auth/me").await, 409, "last_admin", None).await;
    }
    assert!(alice.is_signed_in().await);
    assert_eq!(alice.post(&format!("{path}/unlock")).await.status(), StatusCode::OK);
    assert_eq!(alice.patch_json(&format!("{own}/role"), &demotion).await.status(), StatusCode::OK);
    assert_refused(alice.get("/admin/users").await, 403, "forbidden", None).await;
    assert_eq!(admins(&server).await, [id_of(&further(&server, "bob").await).await]);
}

async fn k05_cursors_and_limits_that_are_made_up_are_refused(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    for name in ["bob", "carol"] {
        server.clock.advance(Duration::from_millis(2));
        server.signed_in(name).await;
    }
    for _ in 0..2 {
        register(&server, |_| {}).await;
    }
    let cursor =
        async |path: &str| got(&alice, path).await["next_cursor"].as_str().unwrap().to_owned();
    let users = cursor("/admin/users?limit=1").await;
    let searched = cursor("/admin/users?limit=1&role=user").await;
    let clients = cursor("/admin/clients?limit=1").await;
    let audit = cursor("/admin/audit?limit=1").await;
    let mut forged = users.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(20, last);
    for cursor in [
        forged.as_str(),
        &users[..users.len() - 4],
        &searched,
        &clients,
        &audit,
        "1",
        "-1",
        "'%20OR%201=1--",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        &"A".repeat(4_000),
    ] {
        let answer = alice.get(&format!("/admin/users?cursor={cursor}")).await;
        assert_refused(answer, 400, "invalid_request", Some("cursor")).await;
    }
    for path in ["/admin/clients?cursor=", "/admin/audit?cursor=", "/admin/users?query=b&cursor="] {
        let answer = alice.get(&format!("{path}{users}")).await;
        assert_refused(answer, 400, "invalid_request", Some("cursor")).await;
    }
    for limit in ["-1", "0", "201", "4294967297", "1;DROP TABLE users", "null", "1.0"] {
        let answer = alice.get(&format!("/admin/users?limit={limit}")).await;
        assert_refused(answer, 400, "invalid_request", Some("limit")).await;
    }
    for unknown in ["sort", "order", "order_by", "offset", "page", "filter"] {
        let answer = alice.get(&format!("/admin/users?{unknown}=id")).await;
        assert_refused(answer, 400, "invalid_request", Some(unknown)).await;
    }
    // It holds no personal value that could be read, and is good for a day.
    let path = format!("/admin/users?limit=1&cursor={users}");
    assert_eq!(got(&alice, &path).await["items"][0]["username"], "bob");
    server.clock.advance(Duration::from_secs(24 * 60 * 60));
    alice.refresh().await.unwrap();
    assert_refused(alice.get(&path).await, 400, "invalid_request", Some("cursor")).await;
}

async fn k06_no_other_member_gives_a_role_and_no_empty_filter_means_everybody(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let id = id_of(&bob).await;
    for (path, sent) in [
        ("/auth/me", json!({ "display_name": "Bob", "role": "admin" })),
        ("/auth/me/username", json!({ "username": "bobby", "role": "admin" })),
    ] {
        let answer = bob.patch_json(path, &sent).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
    let role = format!("/admin/users/{id}/role");
    assert_refused(
        bob.patch_json(&role, &json!({ "role": "admin" })).await,
        403,
        "forbidden",
        None,
    )
    .await;
    for (sent, field) in [
        (json!({ "role": "admin", "status": "active" }), Some("status")),
        (json!({ "role": "admin", "id": id_of(&alice).await }), Some("id")),
        (json!({ "Role": "admin" }), Some("Role")),
        (json!({ "role": "owner" }), Some("role")),
        (json!({ "role": ["admin"] }), Some("role")),
        (json!({ "role": null }), Some("role")),
        (json!({}), Some("role")),
        (json!(["admin"]), None),
    ] {
        let answer = alice.patch_json(&role, &sent).await;
        assert_refused(answer, 422, "invalid_field", field).await;
    }
    let twice = request(&alice, &Method::PATCH, &role, &Value::Null)
        .header("content-type", "application/json")
        .body(r#"{"role":"user","role":"admin"}"#);
    assert_refused(alice.send(twice).await, 422, "invalid_field", None).await;
    let found = server.app.store.read.user(id).await.unwrap().unwrap();
    assert_eq!((found.role, found.username.as_str()), (Role::User, "bob"));
    for filter in ["users?query=", "users?role=", "users?status=", "audit?actor=", "audit?action="]
    {
        let answer = alice.get(&format!("/admin/{filter}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{filter}");
    }
}

/// Nobody makes themselves the first admin by the interface: not while there is none, however many try.
async fn k07_nobody_becomes_the_first_admin_by_the_interface(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let mut people = Vec::new();
    for name in ["alice", "bob", "carol"] {
        people.push(server.signed_in(name).await);
    }
    let promote = async |browser: &Browser| {
        let path = format!("/admin/users/{}/role", id_of(browser).await);
        let answer = browser.patch_json(&path, &json!({ "role": "admin" })).await;
        (answer.status(), code(answer).await)
    };
    for answer in join_all(people.iter().map(promote)).await {
        assert_eq!(answer, (StatusCode::FORBIDDEN, "forbidden".to_owned()));
    }
    assert_eq!(admins(&server).await, []);
}

async fn k08_a_client_that_an_admin_removes_has_no_access_left(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let app = &server.app;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let person = id_of(&bob).await;
    let resource_server = register(&server, |metadata| metadata.resource_server = true).await;
    let members = json!({
        "client_name": "App", "client_id": "app", "scope": "openid offline_access",
        "redirect_uris": ["https://app.example/callback"], "id_token_signed_response_alg": "ES256",
    });
    let registered = body(alice.post_json("/admin/clients", &members).await).await;
    let secret = registered["client_secret"].as_str().unwrap().to_owned();
    let client = Registered { id: "app".to_owned(), secret };
    let granted = grant(&server, &bob, &client, "openid offline_access").await;
    let code = code_for(&bob, &client, "openid").await;
    assert_eq!(userinfo(&server, &granted.access).await.status(), StatusCode::OK);

    let path = "/admin/clients/app";
    assert_eq!(alice.delete(path).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        userinfo(&server, &granted.access).await.status(),
        StatusCode::UNAUTHORIZED,
        "at once"
    );
    for token in [&granted.access, &granted.refresh] {
        let found = introspected(&server, &resource_server, token).await;
        assert_eq!(found, json!({ "active": false }));
    }
    redeem(&server.url, &client, &code).await.refused(401, "invalid_client");
    refresh(&server.url, &client, &granted.refresh).await.refused(401, "invalid_client");
    assert_eq!(app.store.read.consent(person, "app").await.unwrap(), None);
    assert_eq!(app.store.read.apps(person).await.unwrap(), []);
    assert_refused(alice.get(path).await, 404, "not_found", None).await;
    assert_refused(alice.delete(path).await, 404, "not_found", None).await;
    // Nobody takes the id over while a token of the former client may live.
    assert_refused(alice.post_json("/admin/clients", &members).await, 409, "client_id_taken", None)
        .await;
    assert_eq!(server.audited("client.removed").await, 1);
}

async fn k09_a_change_by_an_admin_changes_only_what_is_named(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let members = json!({
        "client_name": "App", "client_id": "app", "redirect_uris": ["https://app.example/cb"],
        "scope": "openid offline_access", "auto_approve": true, "require_pkce": false, "audience": "orders",
        "resources": ["https://api.example/"], "id_token_signed_response_alg": "ES256",
        "resource_server": true, "token_endpoint_auth_method": "client_secret_post",
        "software_version": "7", "contacts": ["ops@app.example"], "tos_uri": "https://app.example/terms",
        "post_logout_redirect_uris": ["https://app.example/"],
    });
    let mut expected = body(alice.post_json("/admin/clients", &members).await).await;
    let secret = expected.as_object_mut().unwrap().remove("client_secret").unwrap();
    let path = "/admin/clients/app";
    for (member, value) in [
        ("redirect_uris", json!(["https://new.example/"])),
        ("scope", json!("openid")),
        ("client_name", json!("Renamed")),
        ("auto_approve", json!(false)),
        ("grant_types", json!(["authorization_code"])),
        ("require_pkce", json!(true)),
    ] {
        expected[member] = value.clone();
        let updated = body(alice.patch_json(path, &json!({ member: value })).await).await;
        assert_eq!(updated, expected, "{member}");
        assert_eq!(got(&alice, path).await, expected, "{member}");
    }
    let nothing = alice.patch_json(path, &json!({})).await;
    assert_eq!((nothing.status(), body(nothing).await), (StatusCode::OK, expected.clone()));
    let removed = body(alice.patch_json(path, &json!({ "tos_uri": null })).await).await;
    expected.as_object_mut().unwrap().remove("tos_uri");
    assert_eq!(removed, expected);
    // Several at once, each of another member: none takes another's back.
    let changes = [
        ("client_name", json!("At once")),
        ("scope", json!("openid email")),
        ("auto_approve", json!(true)),
    ];
    let answers = join_all(changes.iter().map(|(member, value)| {
        let alice = alice.clone();
        async move { send(&alice, &Method::PATCH, path, &json!({ *member: value })).await }
    }))
    .await;
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    for (member, value) in changes {
        expected[member] = value;
    }
    assert_eq!(got(&alice, path).await, expected);
    let client = server.app.store.read.client("app").await.unwrap().unwrap();
    assert!(client.secret.unwrap().is_of(secret.as_str().unwrap()), "the secret is as it was");
}

crate::on_both_stores!(
    k02_a_demoted_or_locked_admin_is_out_at_once,
    k03_of_two_admins_who_go_for_each_other_one_stays,
    k03_the_last_admin_stays_one,
    k05_cursors_and_limits_that_are_made_up_are_refused,
    k06_no_other_member_gives_a_role_and_no_empty_filter_means_everybody,
    k07_nobody_becomes_the_first_admin_by_the_interface,
    k08_a_client_that_an_admin_removes_has_no_access_left,
    k09_a_change_by_an_admin_changes_only_what_is_named,
);
