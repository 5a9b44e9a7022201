//! Whole sign-ins at an OpenID Connect provider that we did not write: its pages, its validation, its
//! keys. What a provider does wrong is tried in `provider_sign_in`.

pub mod process;

use std::time::Duration;

use futures_util::future::join_all;
use latchkey::clock::Timestamp;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::grants::session;
use crate::harness::{Backend, Browser, Server, body, code, cookie, location};
use process::{
    CLIENT_SECRET, IndependentProvider, Setting, Stop, asks_who_signs_in, between, cancel,
    go_through, walk,
};

/// A server, and a provider where it is registered.
struct Scene {
    server: Server,
    provider: IndependentProvider,
    name: &'static str,
}

impl Scene {
    /// `further` is added to the provider's block in our configuration.
    async fn start(backend: Backend, setting: Setting, further: &str) -> Self {
        Self::start_with(backend, setting, |provider, _| provider.block(further)).await
    }

    async fn start_with(
        backend: Backend,
        setting: Setting,
        block: impl FnOnce(&IndependentProvider, &str) -> String,
    ) -> Self {
        let mut started = None;
        let server = Server::start_at_present(backend, |url| {
            block(started.insert(IndependentProvider::start(&setting, url)), url)
        })
        .await;
        Self { server, provider: started.unwrap(), name: setting.name }
    }

    /// Begins a sign-in and stops where the provider asks, or leads back.
    async fn begin(&self, browser: &Browser, query: &str) -> Stop {
        walk(browser, &format!("/auth/{}?{query}", self.name)).await
    }

    /// A whole sign-in of a person; what our callback answers.
    async fn sign_in(&self, browser: &Browser, person: &str, query: &str) -> Response {
        let stop = self.begin(browser, query).await;
        browser.page(&go_through(browser, stop, person).await).await
    }

    /// The first sign-in of a person, with an account of that name at its end: the account.
    async fn sign_up(&self, browser: &Browser, person: &str) -> Value {
        let back = self.sign_in(browser, person, "").await;
        assert_eq!(location(&back).as_deref(), Some("/onboarding"));
        let created = browser.post_json("/auth/setup", &json!({ "username": person })).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        body(created).await
    }

    async fn users(&self) -> u64 {
        self.server.app.store.read.user_count().await.unwrap()
    }

    /// Nobody has an account, a session, or an entry about one.
    async fn has_no_row(&self) -> bool {
        let store = &self.server.app.store.read;
        self.users().await == 0
            && store.live_families().await.unwrap().is_empty()
            && self.server.audited("session.opened").await == 0
    }

    /// When the one person who is signed in did so, as their session knows.
    async fn auth_time(&self) -> Timestamp {
        let store = &self.server.app.store.read;
        let [(family, _)] = store.live_families().await.unwrap()[..] else {
            panic!("not exactly one session");
        };
        store.family(family).await.unwrap().unwrap().family.auth_time
    }

    /// Moves the clocks of both sides on; what they show then, to the second.
    fn advance(&mut self, seconds: u64) -> Timestamp {
        self.server.clock.advance(Duration::from_secs(seconds));
        self.provider.advance(seconds)
    }
}

/// What `emails` of a user hold.
fn emails(address: &str, verified: bool, provider: &str) -> Value {
    json!([{ "address": address, "verified": verified, "provider": provider }])
}

/// Signs a person in for the first time, again in the same browser, and in another one.
async fn comes_back(scene: &Scene, person: &str, emails: Value) {
    let browser = scene.server.browser();
    let begun = scene.begin(&browser, "return_to=/account").await;
    assert!(matches!(&begun, Stop::Page(page) if asks_who_signs_in(page)), "{begun:?}");
    let back = browser.page(&go_through(&browser, begun, person).await).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"));
    assert!(scene.has_no_row().await, "nothing is stored before a name is chosen");
    let created = browser.post_json("/auth/setup", &json!({ "username": "chosen" })).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(location(&created).as_deref(), Some("/account"));
    let created = body(created).await;
    assert_eq!(created["emails"], emails);
    let me = body(browser.get("/auth/me").await).await;
    assert_eq!((&me["id"], &me["emails"]), (&created["id"], &emails));

    assert_eq!(browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);

    // The provider still knows them in this browser, and asks nothing.
    let Stop::Back(address) = scene.begin(&browser, "return_to=/account").await else {
        panic!("the provider asks again");
    };
    let stranger = scene.server.browser();
    for (browser, back) in [
        (&browser, browser.page(&address).await),
        (&stranger, scene.sign_in(&stranger, person, "return_to=/account").await),
    ] {
        assert_eq!(location(&back).as_deref(), Some("/account"));
        let me = body(browser.get("/auth/me").await).await;
        assert_eq!((&me["id"], &me["emails"]), (&created["id"], &emails));
    }
    assert_eq!(scene.users().await, 1);
}

async fn a_preset_brings_people_back_to_their_account_and_its_word_on_addresses_counts(
    backend: Backend,
) {
    let scene = Scene::start(backend, Setting::named("google"), "").await;
    comes_back(&scene, "rivka", emails("rivka@example.com", true, "google")).await;
}

async fn a_cancelled_sign_in_is_a_page_and_leaves_no_row(backend: Backend) {
    let scene = Scene::start(backend, Setting::named("google"), "").await;
    let browser = scene.server.browser();
    let Stop::Page(page) = scene.begin(&browser, "").await else { panic!("no page") };
    let Stop::Back(address) = cancel(&browser, &page).await else { panic!("no way back") };
    assert!(address.contains("error=access_denied") && address.contains("iss="), "{address}");
    let answer = browser.page(&address).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(cookie(&answer, "auth_refresh"), None);
    let page = answer.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Google"), "{page}");
    assert!(scene.has_no_row().await);

    let Stop::Page(page) = scene.begin(&browser, "").await else { panic!("no page") };
    let Stop::Back(address) = cancel(&browser, &page).await else { panic!("no way back") };
    assert_eq!(code(browser.get(&address).await).await, "provider_denied");
    // Whoever thinks better of it gets in.
    scene.sign_up(&browser, "rivka").await;
}

async fn a_wrong_client_secret_is_a_provider_error_and_leaves_no_row(backend: Backend) {
    let scene = Scene::start_with(backend, Setting::named("google"), |provider, _| {
        provider.block("").replace(CLIENT_SECRET, "another secret")
    })
    .await;
    let browser = scene.server.browser();
    let stop = scene.begin(&browser, "").await;
    let answer = browser.get(&go_through(&browser, stop, "rivka").await).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(cookie(&answer, "auth_refresh"), None);
    assert_eq!(code(answer).await, "provider_error");
    assert!(scene.has_no_row().await);
}

async fn sign_ins_begun_in_parallel_in_one_browser_all_work_in_reverse_order(backend: Backend) {
    let scene = Scene::start(backend, Setting::named("google"), "").await;
    let browser = scene.server.browser();
    let account = scene.sign_up(&browser, "rivka").await;
    let browser = scene.server.browser();
    let begin = |number| {
        let (scene, browser) = (&scene, &browser);
        async move { (number, scene.begin(browser, &format!("return_to=/tab/{number}")).await) }
    };
    // As many as one browser may have.
    let begun = join_all((0..5).map(begin)).await;
    for (number, stop) in begun.into_iter().rev() {
        assert!(matches!(&stop, Stop::Page(page) if asks_who_signs_in(page)), "{stop:?}");
        let back = browser.page(&go_through(&browser, stop, "rivka").await).await;
        assert_eq!(location(&back), Some(format!("/tab/{number}")));
        assert_eq!(body(browser.get("/auth/me").await).await["id"], account["id"]);
    }
    assert_eq!(scene.users().await, 1);
}

crate::on_both_stores!(
    a_preset_brings_people_back_to_their_account_and_its_word_on_addresses_counts,
    a_cancelled_sign_in_is_a_page_and_leaves_no_row,
    a_wrong_client_secret_is_a_provider_error_and_leaves_no_row,
    sign_ins_begun_in_parallel_in_one_browser_all_work_in_reverse_order,
);

#[actix_web::test]
async fn another_providers_word_on_addresses_counts_only_where_it_is_trusted() {
    for (person, further, address, verified) in [
        ("rivka", "", "rivka@example.com", false),
        ("rivka", "trust_email = true\n", "rivka@example.com", true),
        ("noa", "trust_email = true\n", "noa@example.com", false),
    ] {
        let setting = Setting { auth_method: "client_secret_post", ..Setting::named("work") };
        let scene = Scene::start(Backend::Sqlite, setting, further).await;
        comes_back(&scene, person, emails(address, verified, "work")).await;
    }
}

#[actix_web::test]
async fn a_client_without_a_secret_signs_people_in() {
    let setting = Setting { auth_method: "none", ..Setting::named("work") };
    let scene = Scene::start(Backend::Sqlite, setting, "").await;
    comes_back(&scene, "rivka", emails("rivka@example.com", false, "work")).await;
}

#[actix_web::test]
async fn claims_that_are_only_at_userinfo_are_found_there() {
    let setting = Setting { userinfo_only: true, ..Setting::named("google") };
    let scene = Scene::start(Backend::Sqlite, setting, "").await;
    comes_back(&scene, "rivka", emails("rivka@example.com", true, "google")).await;
}

#[actix_web::test]
async fn what_a_provider_tells_of_a_person_is_suggested() {
    for userinfo_only in [false, true] {
        let setting = Setting { userinfo_only, ..Setting::named("google") };
        let scene = Scene::start(Backend::Sqlite, setting, "").await;
        let browser = scene.server.browser();
        scene.sign_in(&browser, "rivka", "").await;
        let shown = body(browser.get("/auth/setup").await).await;
        assert_eq!(shown["display_name"], "Rivka Cohen");
        assert_eq!(shown["suggested_username"], "rivka-c");
        assert_eq!(shown["masked_email"], "r…a@e…e.com");
    }
}

#[actix_web::test]
async fn every_algorithm_of_the_provider_is_verified() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let setting = Setting { algorithm, ..Setting::named("work") };
        let scene = Scene::start(Backend::Sqlite, setting, "").await;
        scene.sign_up(&scene.server.browser(), "rivka").await;
    }
}

#[actix_web::test]
async fn an_answer_that_names_no_issuer_or_another_is_refused() {
    let scene = Scene::start(Backend::Sqlite, Setting::named("work"), "").await;
    let browser = scene.server.browser();
    let stop = scene.begin(&browser, "").await;
    let mut address = go_through(&browser, stop, "rivka").await;
    for other in ["", "&iss=https%3A%2F%2Fevil.example"] {
        let named = between(&format!("{address}&"), "&iss=", "&").to_owned();
        let changed = address.replace(&format!("&iss={named}"), other);
        assert_ne!(changed, address);
        assert_eq!(code(browser.get(&changed).await).await, "provider_token_invalid");
        let Stop::Back(next) = scene.begin(&browser, "").await else { panic!("no way back") };
        address = next;
    }
    assert!(scene.has_no_row().await);
    assert_eq!(location(&browser.page(&address).await).as_deref(), Some("/onboarding"));
}

#[actix_web::test]
async fn the_hint_of_who_signs_in_reaches_the_providers_form() {
    let scene = Scene::start(Backend::Sqlite, Setting::named("work"), "").await;
    let browser = scene.server.browser();
    let stop = scene.begin(&browser, "login_hint=rivka%40example.com").await;
    let Stop::Page(page) = stop else { panic!("no page") };
    assert!(asks_who_signs_in(&page) && page.contains("value=\"rivka@example.com\""), "{page}");
}

#[actix_web::test]
async fn a_fresh_sign_in_is_asked_of_the_provider_and_its_time_is_kept() {
    let mut scene = Scene::start(Backend::Sqlite, Setting::named("work"), "").await;
    let first = scene.advance(0);
    let browser = scene.server.browser();
    scene.sign_up(&browser, "rivka").await;
    let sid = session(&browser).await.sid;

    // Recent enough: nothing is asked, and it is the first time that counts.
    scene.advance(30);
    let Stop::Back(address) = scene.begin(&browser, "max_age=60").await else {
        panic!("the provider asks though the sign-in is recent");
    };
    assert_eq!(browser.page(&address).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(scene.auth_time().await, first);

    for query in ["max_age=60", "prompt=login&max_age=3600", "prompt=login"] {
        let now = scene.advance(600);
        let stop = scene.begin(&browser, query).await;
        assert!(matches!(&stop, Stop::Page(page) if asks_who_signs_in(page)), "{query}: {stop:?}");
        let back = browser.page(&go_through(&browser, stop, "rivka").await).await;
        assert_eq!(back.status(), StatusCode::SEE_OTHER, "{query}");
        assert_eq!(scene.auth_time().await.seconds(), now.seconds(), "{query}");
        assert_eq!(session(&browser).await.sid, sid, "it stays the same session");
    }
}

#[actix_web::test]
async fn a_provider_that_ends_in_the_middle_costs_its_own_sign_ins_alone() {
    let mut other = None;
    let mut scene =
        Scene::start_with(Backend::Sqlite, Setting::named("google"), |provider, url| {
            let work = other.insert(IndependentProvider::start(&Setting::named("work"), url));
            format!("{}{}", provider.block(""), work.block(""))
        })
        .await;
    let browser = scene.server.browser();
    let stop = scene.begin(&browser, "").await;
    let address = go_through(&browser, stop, "rivka").await;
    scene.provider.end();
    let answer = browser.get(&address).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(code(answer).await, "provider_timeout");
    // Once what it said about itself is too old, nobody is sent there any more.
    scene.server.clock.advance(Duration::from_secs(3_600));
    let answer = browser.get("/auth/google").await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(code(answer).await, "provider_timeout");
    assert!(scene.has_no_row().await);

    let mut work = other.unwrap();
    work.advance(3_600);
    let stop = walk(&browser, "/auth/work").await;
    let back = browser.page(&go_through(&browser, stop, "rivka").await).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"));
}
