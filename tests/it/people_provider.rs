//! A plain OAuth 2 provider that keeps nothing: the code *is* the person, as JSON in base64url. The test
//! writes it, so that anybody can come back from it; a real browser comes back as whom the address of the
//! provider names.

use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::web::{Form, Query};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Browser, location};
use crate::stub_server::StubServer;

/// The provider.
pub struct PeopleProvider(StubServer);

impl PeopleProvider {
    pub fn start() -> Self {
        Self(StubServer::start(|routes| {
            routes
                .route("/authorize", web::get().to(authorize))
                .route("/token", web::post().to(token))
                .route("/person", web::get().to(person));
        }))
    }

    /// Our configuration for it, under a name of the test's choice.
    pub fn block(&self, name: &str, further: &str) -> String {
        self.block_leading_to(name, "/authorize", further)
    }

    /// The same, where a browser comes straight back as `person`.
    pub fn block_as(&self, person: &Value, name: &str, further: &str) -> String {
        self.block_leading_to(name, &format!("/authorize?person={}", written(person)), further)
    }

    fn block_leading_to(&self, name: &str, authorize: &str, further: &str) -> String {
        let url = self.origin();
        format!(
            "[[providers]]\nname = \"{name}\"\nclient_id = \"us\"\nauth_url = \"{url}{authorize}\"\n\
             token_url = \"{url}/token\"\nuserinfo_url = \"{url}/person\"\n{further}\
             mapping = {{ subject = \"id\", username = \"login\", name = \"name\", email = \"email\", \
             email_verified = \"verified\", picture = \"picture\" }}\n"
        )
    }

    /// The provider's origin.
    pub fn origin(&self) -> &str {
        &self.0.url
    }
}

/// A person with an id, and an address that the provider has checked.
pub fn somebody(id: &str, address: &str) -> Value {
    json!({ "id": id, "login": id, "name": format!("{id} there"), "email": address, "verified": true })
}

/// The callback with which `person` comes back to `start`, an answer that leads to the provider.
pub fn way_back(start: &reqwest::Response, person: &Value) -> String {
    let target = location(start).unwrap_or_else(|| panic!("{:?}", start.status()));
    let target = Url::parse(&target).unwrap();
    let sent =
        |name: &str| target.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
    let code = written(person);
    format!("{}?code={code}&state={}", sent("redirect_uri"), sent("state"))
}

/// Goes from `path` to the provider and comes back as `person`; the answer of our callback.
pub async fn go_and_come_back(browser: &Browser, path: &str, person: &Value) -> reqwest::Response {
    let start = browser.get(path).await;
    browser.page(&way_back(&start, person)).await
}

/// A person as a code.
fn written(person: &Value) -> String {
    URL_SAFE_NO_PAD.encode(person.to_string())
}

#[derive(Deserialize)]
struct Asked {
    person: String,
    redirect_uri: String,
    state: String,
}

async fn authorize(asked: Query<Asked>) -> HttpResponse {
    let back = format!("{}?code={}&state={}", asked.redirect_uri, asked.person, asked.state);
    HttpResponse::Found().insert_header((LOCATION, back)).finish()
}

#[derive(Deserialize)]
struct Exchange {
    code: String,
}

async fn token(form: Form<Exchange>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "access_token": form.code, "token_type": "bearer" }))
}

async fn person(request: HttpRequest) -> HttpResponse {
    let header = request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap();
    let code = header.strip_prefix("Bearer ").unwrap();
    HttpResponse::Ok().content_type("application/json").body(URL_SAFE_NO_PAD.decode(code).unwrap())
}
