//! The interface of admins: who may use it, and what it does. Attacks on it are in `attacks::admin`.

mod clients;
mod idempotency;
mod keys;
mod lists;
mod people;

use latchkey::actors::clients::FindClient;
use latchkey::administration::{self, By};
use latchkey::store::model::{Actor, AuditPage, Role, UserId};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::grants::session;
use crate::harness::{Backend, Browser, Server, body, code};
use crate::identity::access_of;
use crate::registration::register;

/// A server whose keys are quickly made.
pub const ES256: &str = "[keys]\nalgorithm = \"ES256\"\n";

/// Whose session it is.
pub async fn id_of(browser: &Browser) -> UserId {
    session(browser).await.sub
}

/// Gives a person a role, as the command line would.
pub async fn set_role(server: &Server, user: UserId, role: Role) {
    let by = By::local(Actor::CommandLine, server.clock.now());
    administration::set_role(&server.app.writer, by, user, role, false).await.unwrap();
}

/// A browser in which an admin of this name is signed in.
pub async fn admin(server: &Server, name: &str) -> Browser {
    let browser = server.signed_in(name).await;
    set_role(server, id_of(&browser).await, Role::Admin).await;
    browser
}

/// A request of a browser, with a body where there is one.
pub fn request(browser: &Browser, method: &Method, path: &str, body: &Value) -> RequestBuilder {
    let request = browser.client.request(method.clone(), format!("{}{path}", browser.url));
    match body {
        Value::Null => request,
        body => request.header("content-type", "application/json").body(body.to_string()),
    }
}

/// Sends it.
pub async fn send(browser: &Browser, method: &Method, path: &str, body: &Value) -> Response {
    browser.send(request(browser, method, path, body)).await
}

/// The JSON of a GET that must be answered.
pub async fn got(browser: &Browser, path: &str) -> Value {
    let answer = browser.get(path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    body(answer).await
}

/// Checks a refusal: its status, its code, and the member that it names.
pub async fn assert_refused(answer: Response, status: u16, code: &str, field: Option<&str>) {
    let found = answer.status().as_u16();
    let problem = body(answer).await;
    let (is_code, is_field) = (problem["code"].as_str(), problem["field"].as_str());
    assert_eq!((found, is_code, is_field), (status, Some(code), field), "{problem}");
}

/// Every endpoint; `user` and `client` stand where ids do.
fn endpoints(user: &str, client: &str) -> Vec<(Method, String, Value)> {
    let users = |rest: &str| format!("/admin/users/{user}{rest}");
    let clients = |rest: &str| format!("/admin/clients/{client}{rest}");
    vec![
        (Method::GET, "/admin/users".to_owned(), Value::Null),
        (Method::GET, users(""), Value::Null),
        (Method::PATCH, users("/role"), json!({ "role": "user" })),
        (Method::POST, users("/lock"), Value::Null),
        (Method::POST, users("/unlock"), Value::Null),
        (Method::POST, users("/revoke-sessions"), Value::Null),
        (Method::DELETE, users(""), Value::Null),
        (Method::GET, "/admin/clients".to_owned(), Value::Null),
        (Method::POST, "/admin/clients".to_owned(), json!({ "client_name": "App" })),
        (Method::GET, clients(""), Value::Null),
        (Method::PATCH, clients(""), json!({ "client_name": "App" })),
        (Method::POST, clients("/rotate-secret"), json!({ "overlap": "1h" })),
        (Method::DELETE, clients(""), Value::Null),
        (Method::GET, "/admin/keys".to_owned(), Value::Null),
        (Method::POST, "/admin/keys/rotate".to_owned(), Value::Null),
        (Method::GET, "/admin/audit".to_owned(), Value::Null),
        (Method::GET, "/admin/actors".to_owned(), Value::Null),
        (Method::POST, "/admin/reload".to_owned(), Value::Null),
    ]
}

/// Ids that are nobody's, and what is no id.
const NOBODY: [&str; 4] = ["01890a5d-ac96-774b-bcce-b302099a8057", "%00", "%ff%fe", "..%2f..%2fx"];

async fn each_endpoint_is_for_admins_alone(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let bob = server.signed_in("bob").await;
    let nobody = server.browser();
    let id = id_of(&bob).await.to_string();
    let client = register(&server, |_| {}).await;
    let token = access_of(&bob).await;
    let mut refused = 0;
    for id in [id.as_str(), NOBODY[0], NOBODY[1], NOBODY[2]] {
        for (method, path, body) in endpoints(id, &client.id) {
            let what = format!("{method} {path}");
            let answer = send(&nobody, &method, &path, &body).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
            assert_eq!(code(answer).await, "unauthenticated", "{what}");

            // Neither the body nor the query nor its media type is looked at before.
            let query = format!("{path}?limit=x&unknown=1");
            let sent = request(&bob, &method, &query, &Value::Null).body("<no json>");
            assert_refused(bob.send(sent).await, 403, "forbidden", None).await;
            refused += 1;
            let by_bearer = Client::builder().no_proxy().build().unwrap();
            let sent = by_bearer.request(method.clone(), format!("{}{path}", server.url));
            let answer = sent.bearer_auth(&token).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{what} by bearer");
            refused += 1;

            if method == Method::GET {
                continue;
            }
            for (name, value) in
                [("origin", "https://evil.example"), ("origin", "null"), ("accept", "*/*")]
            {
                let sent = request(&alice, &method, &path, &body)
                    .header("sec-fetch-site", "cross-site")
                    .header(name, value)
                    .header("content-type", "text/plain");
                assert_refused(alice.send(sent).await, 403, "csrf_rejected", None).await;
            }
        }
    }
    let rows = server.app.store.read.audit(&AuditPage::newest(1_000)).await.unwrap();
    let of_bob: Vec<_> = rows.iter().filter(|row| row.action == "admin.refused").collect();
    assert_eq!(of_bob.len(), refused, "each refusal of who is signed in is in the trail");
    let actor = format!("user:{}", id_of(&bob).await);
    assert!(of_bob.iter().all(|row| row.actor == actor && row.request_id.is_some()));
    assert!(of_bob.iter().all(|row| row.address.as_deref() == Some("127.0.0.1")));
    let is_of_role = |target: &str| target == "route:/admin/users/{id}/role";
    let of_role: Vec<_> = of_bob.iter().filter(|row| is_of_role(&row.target)).collect();
    assert!(of_role.len() == 8 && of_role.iter().all(|row| row.details["method"] == "PATCH"));
    let untouched = server.app.store.read.client(&client.id).await.unwrap();
    assert_eq!(untouched.unwrap().metadata.client_name, "Example app");
}

async fn unknown_ids_are_not_found(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let own = id_of(&alice).await.to_string();
    let shouted = own.to_uppercase();
    let huge = "9".repeat(4_000);
    for id in NOBODY.into_iter().chain([shouted.as_str(), huge.as_str(), "-1", "latchkey"]) {
        for (method, path, body) in endpoints(id, id) {
            if !path.contains(id) {
                continue;
            }
            let answer = send(&alice, &method, &path, &body).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(code(answer).await, "not_found");
        }
    }
    assert!(server.app.clients.ask(FindClient("latchkey".to_owned())).await.unwrap().is_ok());
}

async fn other_methods_are_told_which_there_are(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    for (path, allowed) in [
        ("/admin/users", "GET, HEAD"),
        ("/admin/users/x", "GET, HEAD, DELETE"),
        ("/admin/users/x/role", "PATCH"),
        ("/admin/users/x/lock", "POST"),
        ("/admin/clients", "GET, HEAD, POST"),
        ("/admin/clients/x", "GET, HEAD, PATCH, DELETE"),
        ("/admin/clients/x/rotate-secret", "POST"),
        ("/admin/keys", "GET, HEAD"),
        ("/admin/keys/rotate", "POST"),
        ("/admin/audit", "GET, HEAD"),
        ("/admin/actors", "GET, HEAD"),
    ] {
        let answer = send(&alice, &Method::PUT, path, &Value::Null).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers()["allow"], allowed, "{path}");
    }
    assert_eq!(alice.get("/admin").await.status(), StatusCode::NOT_FOUND);
}

async fn actors_are_shown_with_their_times(backend: Backend) {
    let server = Server::start(backend, ES256).await;
    let alice = admin(&server, "alice").await;
    let items = got(&alice, "/admin/actors").await["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), server.app.statuses.len());
    let writer = items.iter().find(|actor| actor["name"] == "db_writer").unwrap();
    assert_eq!((&writer["state"], &writer["restarts"]), (&json!("running"), &json!(0)));
    assert!(writer["answered"].as_u64().unwrap() > 0);
    assert!(writer["handling_time"]["count"].as_u64().unwrap() > 0);
    assert!(writer["handling_time"]["total_seconds"].as_f64().unwrap() > 0.0);
}

crate::on_both_stores!(
    each_endpoint_is_for_admins_alone,
    unknown_ids_are_not_found,
    other_methods_are_told_which_there_are,
    actors_are_shown_with_their_times,
);
