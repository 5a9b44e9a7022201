//! The built-in provider of `latchkey dev`, through the ordinary code of signing in.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use async_trait::async_trait;
use latchkey::clock::Clock;
use latchkey::config::settings::{Branding, Mapping, Origin, Provider, SecretKey};
use latchkey::protocol::pkce;
use latchkey::protocol::sealed::Sealer;
use latchkey::protocol::secret::Secret;
use latchkey::providers::ProviderError;
use latchkey::providers::authorization::{Attempt, AuthorizationRequest, CallbackParameters};
use latchkey::providers::configured::SignInProvider;
use latchkey::providers::discovery::{Metadata, discover};
use latchkey::providers::http::{HttpClient, Limits};
use latchkey::providers::identity::ProviderIdentity;
use latchkey::providers::openid::MetadataSource;
use latchkey::routes::dev::idp::{self, DevelopmentProvider};
use latchkey::routes::pages::site::Site;
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use url::Url;

use crate::openid_provider::NOW;
use crate::stub_server::StubServer;

const VERIFIER: &str = "a-code-verifier-of-at-least-forty-three-characters";
const NONCE: &str = "the nonce of this attempt";

/// A server with nothing but the development provider.
struct Scene {
    url: String,
    _server: StubServer,
    clock: Clock,
    party: SignInProvider,
    http: HttpClient,
    metadata: Fixed,
    browser: reqwest::Client,
}

/// What was discovered once.
struct Fixed(Arc<Metadata>);

#[async_trait]
impl MetadataSource for Fixed {
    async fn metadata(
        &self,
        _: &str,
        _: Option<Arc<Metadata>>,
    ) -> Result<Arc<Metadata>, ProviderError> {
        Ok(Arc::clone(&self.0))
    }
}

fn settings(public_url: &Origin) -> Provider {
    Provider {
        name: idp::PROVIDER_NAME.to_owned(),
        display_name: "Development".to_owned(),
        client_id: idp::CLIENT_ID.to_owned(),
        client_secret: None,
        issuer: Some(idp::issuer(public_url)),
        auth_url: None,
        token_url: None,
        userinfo_url: None,
        emails_url: None,
        mapping: Mapping::default(),
        token_endpoint_auth_method: None,
        scopes: Vec::new(),
        trust_email: true,
        allow_private: false,
        signup: None,
    }
}

impl Scene {
    async fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let public_url = Origin::parse(&url).unwrap();
        let clock = Clock::manual(NOW);
        let sealer = Sealer::new(&[SecretKey::new(vec![7; 32])]);
        let text = format!(
            "[server]\npublic_url = \"{url}\"\nreturn_to = [\"http://127.0.0.1:3000\"]\n\
             secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n"
        );
        let configured = latchkey::config::parse(&text, std::path::Path::new(".")).unwrap();
        let provider =
            Data::new(DevelopmentProvider::new(&configured.server, sealer, clock.clone()));
        let branding = Branding { name: "Acme".to_owned(), logo: None, accent: None };
        let site = Data::new(Site::new(&branding));
        let server = StubServer::start_on(listener, move |routes| {
            routes.app_data(provider.clone()).app_data(site.clone());
            for endpoint in idp::endpoints() {
                endpoint.register(routes);
            }
        });
        let settings = Arc::new(settings(&public_url));
        let http = HttpClient::new(Limits::default()).unwrap();
        let metadata = Fixed(Arc::new(discover(&http, &settings).await.unwrap()));
        let party = SignInProvider::new(settings);
        let browser =
            reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { url, _server: server, clock, party, http, metadata, browser }
    }

    fn redirect_uri(&self) -> String {
        format!("{}/auth/dev/callback", self.url)
    }

    async fn authorization_url(&self, login_hint: Option<&str>, prompt: Option<&str>) -> Url {
        let request = AuthorizationRequest {
            redirect_uri: &self.redirect_uri(),
            state: "the state&more",
            nonce: NONCE,
            pkce_challenge: &pkce::challenge(VERIFIER),
            login_hint,
            prompt,
            max_age: None,
        };
        self.party.authorization_url(&self.metadata, &request).await.unwrap()
    }

    async fn get(&self, url: Url) -> Response {
        self.browser.get(url).send().await.unwrap()
    }

    /// Where an answer leads, which must be our callback with the state that was sent.
    fn back(&self, answer: &Response) -> Url {
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let url = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert!(url.as_str().starts_with(&format!("{}?", self.redirect_uri())));
        assert_eq!(parameter(&url, "state").as_deref(), Some("the state&more"));
        url
    }

    async fn finish(
        &self,
        callback: &Url,
        verifier: &str,
    ) -> Result<ProviderIdentity, ProviderError> {
        let answer = CallbackParameters {
            code: Secret::new(parameter(callback, "code").unwrap()),
            iss: parameter(callback, "iss"),
        };
        let attempt = Attempt {
            redirect_uri: self.redirect_uri(),
            nonce: NONCE.to_owned(),
            code_verifier: Secret::new(verifier),
            max_age: Some(Duration::ZERO),
            started_at: NOW,
        };
        self.party.finish(&self.http, &self.metadata, &self.clock, &answer, &attempt).await
    }

    async fn sign_in(&self, name: &str) -> ProviderIdentity {
        let callback = self.back(&self.get(self.authorization_url(Some(name), None).await).await);
        self.finish(&callback, VERIFIER).await.unwrap()
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

fn with(url: &Url, name: &str, value: Option<&str>) -> Url {
    let pairs: Vec<_> = url.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed
}

#[actix::test]
async fn a_hinted_name_signs_in_without_the_form() {
    let scene = Scene::new().await;
    let alice = scene.sign_in("alice").await;
    assert_eq!(alice.username_hint.as_deref(), Some("alice"));
    assert_eq!(alice.display_name.as_deref(), Some("Alice"));
    assert_eq!(alice.emails[0].address, "alice@dev.localhost");
    assert!(alice.emails[0].verified);
    assert_eq!(alice.auth_time, Some(NOW));
    let repeated = scene.get(scene.authorization_url(Some("alice"), Some("login")).await).await;
    scene.back(&repeated);
}

#[actix::test]
async fn a_name_is_the_same_person_after_a_restart() {
    let before = Scene::new().await.sign_in("alice").await.subject;
    let restarted = Scene::new().await;
    assert_eq!(restarted.sign_in("Alice").await.subject, before);
    assert_ne!(restarted.sign_in("bob").await.subject, before);
}

#[actix::test]
async fn the_form_asks_for_a_name_and_leads_back() {
    let scene = Scene::new().await;
    let asked = scene.authorization_url(None, None).await;
    let form = scene.get(asked.clone()).await;
    assert_eq!(form.status(), StatusCode::OK);
    let page = form.text().await.unwrap();
    assert!(page.contains("name=\"name\"") && page.contains("name=\"email\""), "{page}");

    let mut fields: Vec<(String, String)> = asked.query_pairs().into_owned().collect();
    for (name, value) in &fields {
        let hidden = format!("name=\"{name}\" value=\"{}\"", value.replace('&', "&#38;"));
        assert!(page.contains(&hidden), "{hidden} in {page}");
    }
    fields.push(("name".to_owned(), "Rivka Cohen".to_owned()));
    fields.push(("email".to_owned(), "rivka@example.com".to_owned()));
    let address = scene.metadata.0.authorization_endpoint.clone();
    let answer = post(&scene, address, &fields).await;
    let identity = scene.finish(&scene.back(&answer), VERIFIER).await.unwrap();
    assert_eq!(identity.display_name.as_deref(), Some("Rivka Cohen"));
    assert_eq!(identity.emails[0].address, "rivka@example.com");
}

async fn post(scene: &Scene, url: Url, fields: &[(String, String)]) -> Response {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request =
        scene.browser.post(url).header("content-type", "application/x-www-form-urlencoded");
    request.body(body).send().await.unwrap()
}

#[actix::test]
async fn an_odd_name_gets_the_form_again_and_no_code() {
    let scene = Scene::new().await;
    let long = "a".repeat(65);
    for name in [" ", &long, "a\nb", "a\u{7}b"] {
        let answer = scene.get(scene.authorization_url(Some(name), None).await).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{name:?}");
        assert!(answer.text().await.unwrap().contains("Type a"), "{name:?}");
    }
}

#[actix::test]
async fn what_looks_like_markup_is_shown_as_text() {
    let scene = Scene::new().await;
    let name = format!("<script>{}", "a".repeat(80));
    let answer = scene.get(scene.authorization_url(Some(&name), None).await).await;
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script>") && page.contains("&#60;script&#62;"), "{page}");
}

#[actix::test]
async fn nobody_else_is_served_and_nobody_sent_elsewhere() {
    let scene = Scene::new().await;
    let good = scene.authorization_url(Some("alice"), None).await;
    let callback = format!("{}/auth/dev/callback", scene.url);
    for bad in [
        with(&good, "client_id", Some("another")),
        with(&good, "client_id", None),
        with(&good, "redirect_uri", Some("https://evil.example/")),
        with(&good, "redirect_uri", Some(&format!("{callback}/"))),
        with(&good, "redirect_uri", Some(&format!("{callback}?a=b"))),
        with(&good, "redirect_uri", None),
        Url::parse(&format!("{good}&redirect_uri=https://evil.example/")).unwrap(),
        Url::parse(&format!("{good}&state=another")).unwrap(),
    ] {
        let answer = scene.get(bad.clone()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
        assert!(!answer.headers().contains_key("location"));
    }
}

#[actix::test]
async fn other_faults_are_told_to_the_relying_party() {
    let scene = Scene::new().await;
    let good = scene.authorization_url(Some("alice"), None).await;
    for (bad, error) in [
        (with(&good, "response_type", Some("token")), "unsupported_response_type"),
        (with(&good, "scope", Some("email")), "invalid_scope"),
        (with(&good, "code_challenge", None), "invalid_request"),
        (with(&good, "code_challenge", Some("short")), "invalid_request"),
        (with(&good, "code_challenge_method", Some("plain")), "invalid_request"),
        (scene.authorization_url(None, Some("none")).await, "login_required"),
    ] {
        let back = scene.back(&scene.get(bad).await);
        assert_eq!(parameter(&back, "error").as_deref(), Some(error));
        assert_eq!(parameter(&back, "code"), None);
        assert!(
            scene
                .party
                .check_issuer(&scene.metadata, parameter(&back, "iss").as_deref())
                .await
                .is_ok()
        );
    }
}

#[actix::test]
async fn a_code_is_good_for_its_verifier_and_its_minute() {
    let scene = Scene::new().await;
    let callback = scene.back(&scene.get(scene.authorization_url(Some("alice"), None).await).await);
    let refused = |outcome: Result<ProviderIdentity, ProviderError>| matches!(outcome, Err(ProviderError::Refused { error, .. }) if error == "invalid_grant");
    assert!(refused(scene.finish(&callback, &VERIFIER.replace('a', "b")).await));
    let forged = with(&callback, "code", Some("forged"));
    assert!(refused(scene.finish(&forged, VERIFIER).await));
    scene.clock.advance(Duration::from_secs(59));
    assert!(scene.finish(&callback, VERIFIER).await.is_ok());
    scene.clock.advance(Duration::from_secs(1));
    assert!(refused(scene.finish(&callback, VERIFIER).await));
}

#[actix::test]
async fn a_code_is_no_access_token() {
    let scene = Scene::new().await;
    let callback = scene.back(&scene.get(scene.authorization_url(Some("alice"), None).await).await);
    let userinfo = scene.metadata.0.userinfo_endpoint.clone().unwrap();
    for token in [parameter(&callback, "code").unwrap(), "forged".to_owned()] {
        let answer = scene.browser.get(userinfo.clone()).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let without = scene.browser.get(userinfo).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
}
