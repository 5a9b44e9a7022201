//! The authorization endpoint, the page that asks, and apps with access.

pub mod apps;
mod consent;
pub mod sign_in;

use std::collections::BTreeMap;

use latchkey::protocol::authorization_code::{AuthorizationCode, fingerprint};
use latchkey::protocol::client::{AuthMethod, ClientMetadata, GrantType};
use latchkey::protocol::pkce;
use latchkey::protocol::sealed::Purpose;
use reqwest::{Response, StatusCode};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::grants::{REDIRECT_URI, VERIFIER, is_plain};
use crate::harness::{Backend, Browser, Server, location};
use crate::registration::{Registered, register, update};
use crate::sign_in::hidden_token;

/// A server with a registered client and a signed-in person.
pub struct Scene {
    pub server: Server,
    pub client: Registered,
    pub browser: Browser,
}

impl Scene {
    /// The client is trusted by the deployer, so that nobody is asked.
    pub async fn trusted(backend: Backend) -> Self {
        Self::start(backend, "", |metadata| metadata.auto_approve = true).await
    }

    /// The person is asked for consent.
    pub async fn asking(backend: Backend) -> Self {
        Self::start(backend, "", |_| {}).await
    }

    pub async fn start(
        backend: Backend,
        further: &str,
        change: impl FnOnce(&mut ClientMetadata),
    ) -> Self {
        let server = Server::start(backend, further).await;
        let client = register(&server, change).await;
        let browser = server.signed_in("alice").await;
        Self { server, client, browser }
    }

    /// An ordinary request, with `changes`: a value of `None` leaves a parameter out.
    pub fn request(&self, changes: &[(&str, Option<&str>)]) -> String {
        request(&self.client.id, changes)
    }

    /// What the request is answered with, as this person's browser sends it.
    pub async fn ask(&self, changes: &[(&str, Option<&str>)]) -> Response {
        self.browser.page(&self.request(changes)).await
    }

    /// What a code of an answer says.
    pub fn open(&self, answer: &Answer) -> AuthorizationCode {
        let code = answer.get("code").unwrap_or_else(|| panic!("no code in {answer:?}"));
        let now = self.server.clock.now();
        self.server.app.sealer.open(Purpose::Code, code, now).expect("a code of ours")
    }
}

/// An ordinary authorization request of a client, with `changes`.
pub fn request(client_id: &str, changes: &[(&str, Option<&str>)]) -> String {
    format!("/oauth/authorize?{}", query(client_id, changes))
}

/// Its parameters as a form.
pub fn query(client_id: &str, changes: &[(&str, Option<&str>)]) -> String {
    let challenge = pkce::challenge(VERIFIER);
    let usual = [
        ("client_id", client_id),
        ("redirect_uri", REDIRECT_URI),
        ("response_type", "code"),
        ("scope", "openid profile"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = usual.into_iter().filter(|(name, _)| !is_changed(name));
    let changed = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    Serializer::new(String::new()).extend_pairs(kept.chain(changed)).finish()
}

/// The parameters that a client is sent.
pub type Answer = BTreeMap<String, String>;

/// What a redirect tells the client that waits at `redirect_uri`.
pub fn told_at(answer: &Response, redirect_uri: &str) -> Answer {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let location = location(answer).unwrap();
    let rest = location.strip_prefix(redirect_uri);
    let rest = rest.unwrap_or_else(|| panic!("{location} does not lead to {redirect_uri}"));
    assert!(rest.starts_with(['?', '&']) && rest.ends_with("#_"), "{location}");
    let pairs: Vec<(String, String)> =
        Url::parse(&location).unwrap().query_pairs().into_owned().collect();
    let names = pairs.len();
    let told: Answer = pairs.into_iter().collect();
    assert_eq!(told.len(), names, "{location}: each parameter once");
    told
}

/// What a redirect tells the example app.
pub fn told(answer: &Response) -> Answer {
    told_at(answer, REDIRECT_URI)
}

/// Checks that an answer is this error, sent to the example app in exactly the RFC's shape.
pub fn is_error(scene: &Scene, answer: &Response, error: &str) {
    let told = told(answer);
    let names: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(names, ["error", "error_description", "iss", "state"], "{told:?}");
    assert_eq!(told["error"], error, "{told:?}");
    assert_eq!(told["state"], "the state");
    assert_eq!(told["iss"], scene.server.url);
    is_plain(&told["error_description"]);
}

/// Checks that an answer is a page or document of ours with 400, and leads nowhere.
pub async fn is_stranded(answer: Response, context: &str) {
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{context}");
    assert_eq!(location(&answer), None, "{context}");
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("frame-ancestors 'none'"), "{context}: {policy}");
    assert_eq!(answer.headers()["x-frame-options"], "DENY", "{context}");
    let page = answer.text().await.unwrap();
    assert!(page.contains("Go back to the app and start again"), "{context}: {page}");
}

/// The value of a hidden field of a page.
pub fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect("such a field");
    rest.split_once('"').unwrap().0.to_owned()
}

/// Answers the question of a page.
pub async fn decide(browser: &Browser, page: &str, decision: &str) -> Response {
    let (token, waiting) = (hidden_token(page), field(page, "request"));
    let fields = [("form_token", token.as_str()), ("request", &waiting), ("decision", decision)];
    browser.post_form("/auth/form/consent", &fields).await
}

async fn a_code_says_all_that_it_was_asked_for(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.resources = vec!["https://api.example".into(), "https://b.example/x".into()];
    })
    .await;
    let before = scene.server.rows().await;
    let request = scene.request(&[]);
    let request =
        format!("{request}&resource=https://api.example&resource=https://b.example/x&extra=foobar");
    let answer = scene.browser.page(&request).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let told = told(&answer);
    assert_eq!(told["state"], "the state");
    assert_eq!(told["iss"], scene.server.url);
    let code = scene.open(&told);
    let (session, now) = (scene.browser.get("/auth/sessions").await, scene.server.clock.now());
    let session: serde_json::Value = serde_json::from_str(&session.text().await.unwrap()).unwrap();
    assert_eq!(code.session.to_string(), session["items"][0]["id"].as_str().unwrap());
    assert_eq!(code.client_id, scene.client.id);
    assert_eq!(code.redirect_uri, fingerprint(REDIRECT_URI));
    assert_eq!(code.scope, "openid profile");
    assert_eq!(code.resource, "https://api.example https://b.example/x");
    assert_eq!(code.nonce.as_deref(), Some("the nonce"));
    assert_eq!(code.code_challenge, Some(pkce::challenge(VERIFIER)));
    assert_eq!((code.auth_time, code.issued_at), (now.seconds(), now.millis()));
    assert!(!code.needs_consent, "nobody was asked");
    assert_eq!(scene.server.rows().await, before, "nothing is written");

    let ttl = scene.server.app.settings.tokens.code_ttl;
    scene.server.clock.advance(ttl);
    let sealer = &scene.server.app.sealer;
    let late =
        sealer.open::<AuthorizationCode>(Purpose::Code, &told["code"], scene.server.clock.now());
    assert!(late.is_err(), "a code is good for {ttl:?}");
}

async fn without_a_scope_the_usual_ones_are_meant(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.scope = "openid email offline_access".to_owned();
    })
    .await;
    let code = scene.open(&told(&scene.ask(&[("scope", None)]).await));
    assert_eq!(code.scope, "openid email");
    let asked = Some("offline_access  openid openid");
    let code = scene.open(&told(&scene.ask(&[("scope", asked)]).await));
    assert_eq!(code.scope, "offline_access openid");
}

async fn resources_are_those_that_are_registered(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.resources = vec!["https://api.example".to_owned()];
    })
    .await;
    let issuer = scene.server.url.clone();
    let issuer_with_slash = format!("{issuer}/");
    for bad in [
        "https://other.example",
        "https://api.example/",
        "https://api.example#f",
        "/relative",
        "not a uri",
        issuer.as_str(),
        &issuer_with_slash,
    ] {
        let answer = scene.ask(&[("resource", Some(bad))]).await;
        is_error(&scene, &answer, "invalid_target");
    }
}

/// Those of RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6 and RFC 8707 §2. What is our own trouble is told
/// on a page: `without_the_database_the_provider_says_so_and_loses_nothing`.
async fn every_error_is_sent_to_the_client_as_the_rfc_says(backend: Backend) {
    let scene = Scene::asking(backend).await;
    for (changes, error) in [
        (vec![("response_type", None)], "invalid_request"),
        (vec![("response_type", Some(""))], "invalid_request"),
        (vec![("response_mode", Some("fragment"))], "invalid_request"),
        (vec![("code_challenge", None)], "invalid_request"),
        (vec![("prompt", Some("never"))], "invalid_request"),
        (vec![("max_age", Some("-1"))], "invalid_request"),
        (vec![("nonce", Some("one")), ("nonce", Some("two"))], "invalid_request"),
        (vec![("response_type", Some("token"))], "unsupported_response_type"),
        (vec![("scope", Some("unheard-of"))], "invalid_scope"),
        (vec![("scope", Some("openid \u{e9}"))], "invalid_scope"),
        (vec![("resource", Some("https://other.example"))], "invalid_target"),
        (vec![("request", Some("x"))], "request_not_supported"),
        (vec![("request_uri", Some("https://app.example/x"))], "request_uri_not_supported"),
        (vec![("registration", Some("{}"))], "registration_not_supported"),
        (vec![("prompt", Some("none"))], "consent_required"),
    ] {
        is_error(&scene, &scene.ask(&changes).await, error);
    }
    let page = scene.ask(&[]).await.text().await.unwrap();
    is_error(&scene, &decide(&scene.browser, &page, "deny").await, "access_denied");
    update(&scene.server, &scene.client, |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
    })
    .await;
    is_error(&scene, &scene.ask(&[]).await, "unauthorized_client");
    update(&scene.server, &scene.client, |metadata| {
        metadata.grant_types = vec![GrantType::AuthorizationCode];
    })
    .await;
    let nobody = Scene { browser: scene.server.browser(), ..scene };
    let silent = [("prompt", Some("none"))];
    let mut answer = nobody.ask(&silent).await;
    while let Some(next) = location(&answer).filter(|next| next.starts_with('/')) {
        answer = nobody.browser.page(&next).await;
    }
    is_error(&nobody, &answer, "login_required");
}

async fn answers_are_posted_where_that_is_asked_for(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let posted = async |changes: &[(&str, Option<&str>)]| {
        let mut all = vec![("response_mode", Some("form_post"))];
        all.extend_from_slice(changes);
        let answer = scene.ask(&all).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("form-action 'self' https://app.example; "), "{policy}");
        assert!(policy.contains("script-src 'self'"), "{policy}");
        answer.text().await.unwrap()
    };
    let page = posted(&[]).await;
    assert!(page.contains(&format!("method=\"post\" action=\"{REDIRECT_URI}\"")), "{page}");
    let answer: Answer = [("code".to_owned(), field(&page, "code"))].into();
    assert_eq!(scene.open(&answer).client_id, scene.client.id);
    assert_eq!(field(&page, "state"), "the state");
    assert_eq!(field(&page, "iss"), scene.server.url);
    for (changes, error) in [
        (("scope", Some("unheard-of")), "invalid_scope"),
        (("prompt", Some("none login")), "invalid_request"),
        (("code_challenge", None), "invalid_request"),
    ] {
        let page = posted(&[changes]).await;
        assert_eq!(field(&page, "error"), error);
        assert_eq!(field(&page, "state"), "the state");
        assert!(!page.contains("name=\"code\""), "{page}");
    }
}

async fn requests_may_be_posted(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    // As a page of another site posts it: without our cookies, and from a foreign origin.
    let post = async |query: &str, body: &str| {
        let address = format!("{}/oauth/authorize{query}", scene.server.url);
        let foreign = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let request = foreign.post(address).header("origin", "https://app.example");
        let form = "application/x-www-form-urlencoded";
        request.header("content-type", form).body(body.to_owned()).send().await.unwrap()
    };
    let answer = post("", &query(&scene.client.id, &[])).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&answer).unwrap(), scene.request(&[]));
    scene.open(&told(&scene.browser.page(&location(&answer).unwrap()).await));
    // A body that no address can hold is judged where it is.
    let long = "x".repeat(20_000);
    let answer = post("", &query(&scene.client.id, &[("state", Some(&long))])).await;
    assert_eq!(told(&answer)["error"], "invalid_request");
    let many = "a=1&".repeat(200_000);
    assert_eq!(post("", &many).await.status(), StatusCode::BAD_REQUEST);
}

async fn who_is_no_browser_is_told_in_the_words_of_the_rfc(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let answer = scene.browser.get("/oauth/authorize?client_id=nobody&redirect_uri=x").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["error"], "invalid_request");
    assert!(body["error_description"].is_string());
}

async fn an_error_page_is_ours_even_where_there_is_a_frontend(backend: Backend) {
    let further = "frontend_url = \"https://frontend.example\"\n";
    let scene = Scene::start(backend, further, |_| {}).await;
    let stray = scene.ask(&[("redirect_uri", Some("https://evil.example"))]).await;
    is_stranded(stray, "with a frontend").await;
    let asked = scene.ask(&[]).await.text().await.unwrap();
    assert!(asked.contains("Example app wants to use your account"), "{asked}");
    let nobody = scene.server.browser();
    let resume = location(&nobody.page(&scene.request(&[])).await).unwrap();
    let back = location(&nobody.page(&resume).await).unwrap();
    let login = location(&nobody.page(&back).await).unwrap();
    assert!(login.starts_with("https://frontend.example/login?return_to=%2Foauth"), "{login}");
}

async fn a_request_as_long_as_may_be_survives_the_sign_in(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let state = "s".repeat(1_500);
    let changes = |filler| {
        [("state", Some(state.as_str())), ("prompt", Some("login")), ("filler", Some(filler))]
    };
    let shortest = query(&scene.client.id, &changes("")).len();
    let filler = "f".repeat(2_500 - shortest);
    let request = scene.request(&changes(&filler));
    let login = location(&scene.browser.page(&request).await).unwrap();
    let start = login.replace("/login?", "/auth/dev?login_hint=alice&");
    let to_provider = scene.browser.get(&start).await;
    let set = to_provider.headers()["set-cookie"].to_str().unwrap().to_owned();
    let pair = set.split(';').next().unwrap();
    assert!(pair.len() <= 4_096, "browsers drop a cookie of {} bytes", pair.len());
    let to_provider = location(&to_provider).unwrap();
    let back = location(&scene.browser.get(&to_provider).await).unwrap();
    let here = location(&scene.browser.get(&back).await).unwrap();
    let told = told(&scene.browser.page(&here).await);
    assert_eq!(told["state"], state);
    scene.open(&told);
    let too_long = scene.request(&changes(&format!("{filler}f")));
    assert_eq!(self::told(&scene.browser.page(&too_long).await)["error"], "invalid_request");
}

async fn a_confidential_client_may_do_without_a_challenge_where_that_is_registered(
    backend: Backend,
) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.require_pkce = false;
    })
    .await;
    let none = [("code_challenge", None), ("code_challenge_method", None)];
    assert_eq!(scene.open(&told(&scene.ask(&none).await)).code_challenge, None);
    is_error(&scene, &scene.ask(&[("code_challenge", None)]).await, "invalid_request");
    let public = register(&scene.server, |metadata| {
        metadata.require_pkce = false;
        metadata.token_endpoint_auth_method = AuthMethod::None;
    })
    .await;
    let answer = scene.browser.page(&request(&public.id, &none)).await;
    is_error(&scene, &answer, "invalid_request");
}

crate::on_both_stores!(
    a_code_says_all_that_it_was_asked_for,
    without_a_scope_the_usual_ones_are_meant,
    resources_are_those_that_are_registered,
    every_error_is_sent_to_the_client_as_the_rfc_says,
    answers_are_posted_where_that_is_asked_for,
    requests_may_be_posted,
    who_is_no_browser_is_told_in_the_words_of_the_rfc,
    an_error_page_is_ours_even_where_there_is_a_frontend,
    a_request_as_long_as_may_be_survives_the_sign_in,
    a_confidential_client_may_do_without_a_challenge_where_that_is_registered,
);
