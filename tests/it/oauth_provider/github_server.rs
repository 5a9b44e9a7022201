//! A small server that answers as GitHub documents it, and is as strict.

use std::path::Path;

use actix_web::http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use actix_web::web::{Form, Query};
use actix_web::{HttpRequest, HttpResponse, web};
use latchkey::config;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;
use url::{Position, Url};

use super::server::{AuthorizationRequest, CLIENT_SECRET, Exchange, Grant};
use crate::stub_server::StubServer;

/// An OAuth App that is registered with our callback.
pub(super) const OAUTH_APP: &str = "Iv0aBcDeFg";

/// An OAuth App that is registered with another callback.
pub(super) const ANOTHER_OAUTH_APP: &str = "Iv0gFeDcBa";

/// A GitHub App, which knows no scopes and may not see addresses.
pub(super) const GITHUB_APP: &str = "Iv1.0a1b2c3d";

/// Each application with its callback, of which we know no more than the path.
const REGISTERED: [(&str, &str); 3] = [
    (OAUTH_APP, "/auth/github/callback"),
    (ANOTHER_OAUTH_APP, "/auth/elsewhere/callback"),
    (GITHUB_APP, "/auth/github/callback"),
];

const CODE: &str = "code_";
const ACCESS_TOKEN: &str = "gho_";

/// Starts the server.
pub(super) fn start() -> StubServer {
    StubServer::start(|routes| {
        routes
            .route("/login/oauth/authorize", web::get().to(authorize))
            .route("/login/oauth/access_token", web::post().to(access_token))
            .route("/user", web::get().to(user))
            .route("/user/emails", web::get().to(emails));
    })
}

/// The preset's four endpoints, with this server in place of GitHub's.
pub(super) fn endpoints(server: &StubServer) -> String {
    let text = format!(
        "[server]\npublic_url = \"{}\"\nsecret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
         [[providers]]\nname = \"github\"\nclient_id = \"{OAUTH_APP}\"\nclient_secret = \"{CLIENT_SECRET}\"\n",
        server.url
    );
    let settings =
        config::parse(&text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    let preset = &settings.providers[0];
    let endpoint = |key: &str, address: &Option<Url>| {
        let path = &address.as_ref().unwrap()[Position::BeforePath..];
        format!("{key} = \"{}{path}\"\n", server.url)
    };
    [
        endpoint("auth_url", &preset.auth_url),
        endpoint("token_url", &preset.token_url),
        endpoint("userinfo_url", &preset.userinfo_url),
        endpoint("emails_url", &preset.emails_url),
    ]
    .concat()
}

async fn authorize(request: Query<AuthorizationRequest>) -> HttpResponse {
    match request.grant() {
        Some(grant) => request.lead_back(&[("code", &grant.written_as(CODE))]),
        None => request.lead_back(&[
            ("error", "access_denied"),
            ("error_description", "The user said no."),
            ("error_uri", "https://docs.github.example/access-denied"),
        ]),
    }
}

/// Refusals have status 200.
async fn access_token(request: HttpRequest, form: Form<Exchange>) -> HttpResponse {
    let registered = REGISTERED.iter().find(|(id, _)| Some(*id) == form.client_id.as_deref());
    let is_secret = form.client_secret.as_deref() == Some(CLIENT_SECRET)
        && !request.headers().contains_key(AUTHORIZATION);
    let Some((client_id, callback)) = registered.filter(|_| is_secret) else {
        return refusal("incorrect_client_credentials", "The id or the secret is wrong.");
    };
    let Some(grant) = form.grant(CODE, client_id) else {
        return refusal("bad_verification_code", "The code is wrong or has expired.");
    };
    if !grant.leads_to(callback) {
        return refusal("redirect_uri_mismatch", "The redirect URI is not the registered one.");
    }
    let scope = if *client_id == GITHUB_APP { "" } else { &*grant.scope.replace(' ', ",") };
    let token = grant.written_as(ACCESS_TOKEN);
    let accepted = request.headers().get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("application/json")) {
        let tokens = json!({ "access_token": token, "scope": scope, "token_type": "bearer" });
        return HttpResponse::Ok().content_type("application/json; charset=utf-8").json(tokens);
    }
    let pairs = [("access_token", &*token), ("scope", scope), ("token_type", "bearer")];
    HttpResponse::Ok()
        .content_type("application/x-www-form-urlencoded; charset=utf-8")
        .body(Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn refusal(error: &str, description: &str) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json; charset=utf-8").json(json!({
        "error": error,
        "error_description": description,
        "error_uri": format!("/troubleshooting/#{error}"),
    }))
}

/// Answers by the grant whose access token a request shows; without such, as GitHub does then.
fn admitted(request: &HttpRequest, answer: impl FnOnce(Grant) -> HttpResponse) -> HttpResponse {
    if !request.headers().contains_key(USER_AGENT) {
        let told = "Say in the header User-Agent who you are.\r\n";
        return HttpResponse::Forbidden().content_type("text/html; charset=utf-8").body(told);
    }
    Grant::of_bearer(ACCESS_TOKEN, request).map_or_else(|| problem(401, "Bad credentials"), answer)
}

fn problem(status: u16, message: &str) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap())
        .content_type("application/json; charset=utf-8")
        .json(json!({
            "message": message,
            "documentation_url": "https://docs.github.example/rest",
            "status": status.to_string(),
        }))
}

async fn user(request: HttpRequest) -> HttpResponse {
    admitted(&request, |grant| HttpResponse::Ok().json(profile(grant.person)))
}

/// The profile of a person, of which a test says only what matters to it; `emails` are not in it.
fn profile(person: Value) -> Value {
    let mut profile = json!({
        "login": "rivka-codes", "id": 583_231, "node_id": "MDQ6VXNlcjU4MzIzMQ==",
        "avatar_url": "https://avatars.github.example/u/583231?v=4", "gravatar_id": "",
        "url": "https://api.github.example/users/rivka-codes",
        "html_url": "https://github.example/rivka-codes",
        "type": "User", "user_view_type": "private", "site_admin": false,
        "name": "Rivka Cohen", "company": null, "blog": "", "location": "Haifa",
        "email": "public@profile.example", "hireable": null, "bio": null, "twitter_username": null,
        "notification_email": null, "public_repos": 3, "public_gists": 0, "followers": 20,
        "following": 1, "created_at": "2011-01-25T18:44:36Z", "updated_at": "2026-01-03T08:01:02Z",
        "two_factor_authentication": true,
        "plan": { "name": "free", "space": 976_562_499, "private_repos": 10_000, "collaborators": 0 },
    });
    let members = profile.as_object_mut().unwrap();
    let Value::Object(said) = person else { panic!("no person: {person}") };
    members.extend(said);
    members.remove("emails");
    profile
}

/// Which part of a list is asked for; without a wish the first thirty, and never more than a hundred.
#[derive(Deserialize)]
struct Page {
    #[serde(default = "thirty")]
    per_page: usize,
}

fn thirty() -> usize {
    30
}

async fn emails(request: HttpRequest, page: Query<Page>) -> HttpResponse {
    admitted(&request, |grant| {
        if grant.client_id == GITHUB_APP {
            return problem(403, "Resource not accessible by integration");
        }
        if !grant.scope.split(' ').any(|scope| matches!(scope, "user" | "user:email")) {
            return problem(404, "Not Found");
        }
        let listed = match grant.person.get("emails") {
            Some(listed) => listed.as_array().unwrap().clone(),
            None => ["rivka@old.example", "rivka@example.com", "rivka@typing.example"]
                .map(|address| {
                    let is_primary = address == "rivka@example.com";
                    let visibility = is_primary.then_some("private");
                    json!({
                        "email": address, "primary": is_primary,
                        "verified": address != "rivka@typing.example", "visibility": visibility,
                    })
                })
                .to_vec(),
        };
        let part = listed.into_iter().take(page.per_page.min(100));
        HttpResponse::Ok().json(part.collect::<Vec<_>>())
    })
}
