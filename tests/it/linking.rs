//! Several ways to sign in to one account, and the way back for who lost the only one.

use std::time::Duration;

use futures_util::future::join;
use latchkey::cli::users::make_recovery_link;
use latchkey::store::model::UserStatus;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Server, body, code, cookie, location};
use crate::people_provider::{PeopleProvider, go_and_come_back, somebody, way_back};
use crate::sign_in::hidden_token;

/// A server with the development provider and two more, `forge` with trusted addresses.
struct Scene {
    server: Server,
    people: PeopleProvider,
}

impl Scene {
    async fn start(backend: Backend) -> Self {
        Self::start_with(backend, "").await
    }

    /// `further` stands in `[server]`.
    async fn start_with(backend: Backend, further: &str) -> Self {
        let people = PeopleProvider::start();
        let trusted = people.block("forge", "trust_email = true\ndisplay_name = \"Forge\"\n");
        let blocks = format!("{further}{trusted}{}", people.block("club", ""));
        Self { server: Server::start(backend, &blocks).await, people }
    }

    /// The same, where nobody may make an account by `forge`.
    async fn closed(backend: Backend) -> Self {
        let people = PeopleProvider::start();
        let further = "trust_email = true\nsignup = { mode = \"closed\" }\n";
        let server = Server::start(backend, &people.block("forge", further)).await;
        Self { server, people }
    }

    async fn links(&self, browser: &Browser) -> Vec<(String, String)> {
        let body = body(browser.get("/auth/me/links").await).await;
        let items = body["items"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        items.iter().map(|item| (text(&item["provider"]), text(&item["subject"]))).collect()
    }

    async fn counts(&self) -> (u64, usize, usize) {
        let store = &self.server.app.store.read;
        let families = store.live_families().await.unwrap().len();
        (store.user_count().await.unwrap(), families, self.server.audited("identity.linked").await)
    }
}

async fn id(browser: &Browser) -> String {
    body(browser.get("/auth/me").await).await["id"].as_str().unwrap().to_owned()
}

/// Says yes on the page `/link`.
async fn confirm(browser: &Browser) -> Response {
    let page = browser.page("/link").await;
    assert_eq!(page.status(), StatusCode::OK);
    let token = hidden_token(&page.text().await.unwrap());
    browser.post_form("/auth/form/link", &[("form_token", &token)]).await
}

/// Connects `person` at `provider` to the account that `browser` is signed in to.
pub async fn connect(browser: &Browser, provider: &str, person: &Value) {
    let asked = go_and_come_back(browser, &format!("/auth/link/{provider}"), person).await;
    assert_eq!(location(&asked).as_deref(), Some("/link"), "{:?}", asked.status());
    let done = confirm(browser).await;
    assert_eq!(
        (done.status(), location(&done).as_deref()),
        (StatusCode::SEE_OTHER, Some("/account"))
    );
}

async fn a_further_way_to_sign_in_leads_to_the_same_account(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let person = somebody("octo", "octo@forge.example");
    let asked = go_and_come_back(&browser, "/auth/link/forge", &person).await;
    assert_eq!(
        (asked.status(), location(&asked).as_deref()),
        (StatusCode::SEE_OTHER, Some("/link"))
    );
    assert_eq!(scene.links(&browser).await.len(), 1, "nothing is connected before it is confirmed");
    let page = browser.page("/link").await.text().await.unwrap();
    assert!(page.contains("octo") && page.contains("alice") && page.contains("Forge"), "{page}");
    let done = confirm(&browser).await;
    assert_eq!(location(&done).as_deref(), Some("/account"));

    let links = scene.links(&browser).await;
    assert_eq!((links.len(), links[0].0.as_str()), (2, "dev"));
    assert_eq!(links[1], ("forge".to_owned(), "octo".to_owned()));
    let me = body(browser.get("/auth/me").await).await;
    assert_eq!(
        me["emails"],
        json!([
            { "address": "alice@dev.localhost", "verified": true, "provider": "dev" },
            { "address": "octo@forge.example", "verified": true, "provider": "forge" },
        ])
    );
    // A name that was never set is filled; the account page lists both.
    assert_eq!(me["display_name"], "octo there");
    let account = browser.page("/account").await.text().await.unwrap();
    assert!(account.contains("Forge") && account.contains("octo@forge.example"), "{account}");

    let elsewhere = scene.server.browser();
    let back = go_and_come_back(&elsewhere, "/auth/forge", &person).await;
    assert_eq!(location(&back).as_deref(), Some("/"));
    assert_eq!(id(&elsewhere).await, id(&browser).await);
    assert_eq!(scene.counts().await, (1, 2, 1));
}

async fn an_address_told_anew_replaces_the_old_and_a_set_name_stays(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    connect(&browser, "forge", &somebody("octo", "old@forge.example")).await;
    let mut later = somebody("octo", "new@forge.example");
    later["verified"] = json!("true");
    later["name"] = json!("Another name");
    go_and_come_back(&browser, "/auth/forge", &later).await;
    let me = body(browser.get("/auth/me").await).await;
    assert_eq!(
        me["emails"][1],
        json!({ "address": "new@forge.example", "verified": false, "provider": "forge" })
    );
    assert_eq!(me["display_name"], "octo there");
}

async fn a_way_to_sign_in_is_taken_away_but_never_the_last(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let remove = async |path: &str| {
        browser.client.delete(format!("{}{path}", browser.url)).send().await.unwrap()
    };
    let last = remove("/auth/link/dev").await;
    assert_eq!(last.status(), StatusCode::CONFLICT);
    assert_eq!(code(last).await, "last_identity");

    let person = somebody("octo", "octo@forge.example");
    connect(&browser, "forge", &person).await;
    connect(&browser, "forge", &somebody("octo2", "octo2@forge.example")).await;
    assert_eq!(remove("/auth/link/forge?subject=octo2").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(scene.links(&browser).await.len(), 2);
    assert_eq!(remove("/auth/link/forge").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(remove("/auth/link/forge").await.status(), StatusCode::NO_CONTENT, "the same again");
    assert_eq!(scene.links(&browser).await.len(), 1);
    assert_eq!(code(remove("/auth/link/nowhere").await).await, "unknown_provider");
    assert_eq!(scene.server.audited("identity.unlinked").await, 2);

    let back = go_and_come_back(&scene.server.browser(), "/auth/forge", &person).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"), "it is nobody's again");

    let from_elsewhere = browser
        .client
        .delete(format!("{}/auth/link/dev", browser.url))
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(code(from_elsewhere).await, "csrf_rejected");
    let stranger = scene.server.browser();
    let refused = stranger.client.delete(format!("{}/auth/link/dev", browser.url)).send().await;
    assert_eq!(refused.unwrap().status(), StatusCode::UNAUTHORIZED);
}

async fn the_account_page_takes_a_way_to_sign_in_away(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    connect(&browser, "forge", &somebody("octo", "octo@forge.example")).await;
    let page = browser.page("/account").await.text().await.unwrap();
    let (_, form) = page.split_once("action=\"/auth/form/unlink\"").expect("a form to disconnect");
    let token = hidden_token(form);
    let fields = [("form_token", token.as_str()), ("provider", "forge"), ("subject", "octo")];
    let done = browser.post_form("/auth/form/unlink", &fields).await;
    assert_eq!(location(&done).as_deref(), Some("/account?done=unlink"));
    let page = browser.page("/account?done=unlink").await.text().await.unwrap();
    assert!(page.contains("That way to sign in is disconnected."), "{page}");
    assert_eq!(scene.links(&browser).await.len(), 1);
    let forged = [("form_token", "x"), ("provider", "dev"), ("subject", "alice")];
    let refused = browser.post_form("/auth/form/unlink", &forged).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

async fn nothing_is_connected_without_the_form_of_our_page(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let asked = |subject: &str| somebody(subject, &format!("{subject}@forge.example"));
    go_and_come_back(&browser, "/auth/link/forge", &asked("first")).await;
    let of_another = hidden_token(&browser.page("/link").await.text().await.unwrap());
    go_and_come_back(&browser, "/auth/link/forge", &asked("second")).await;
    let account = browser.page("/account").await.text().await.unwrap();
    for token in ["", "x", &of_another, &hidden_token(&account)] {
        let refused = browser.post_form("/auth/form/link", &[("form_token", token)]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{token}");
    }
    let from_elsewhere = browser
        .client
        .post(format!("{}/auth/form/link", browser.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .body(format!("form_token={of_another}"))
        .send()
        .await
        .unwrap();
    assert_eq!(code(from_elsewhere).await, "csrf_rejected");
    assert_eq!(scene.server.audited("identity.linked").await, 0);
    assert_eq!(confirm(&browser).await.status(), StatusCode::SEE_OTHER);
}

async fn the_same_link_again_is_answered_in_the_same_way(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let person = somebody("octo", "octo@forge.example");
    go_and_come_back(&browser, "/auth/link/forge", &person).await;
    let token = hidden_token(&browser.page("/link").await.text().await.unwrap());
    let fields = [("form_token", token.as_str())];
    let (first, second) = join(
        browser.post_form("/auth/form/link", &fields),
        browser.post_form("/auth/form/link", &fields),
    )
    .await;
    for answer in [first, second] {
        assert_eq!(location(&answer).as_deref(), Some("/account"), "{:?}", answer.status());
    }
    assert_eq!(scene.counts().await, (1, 1, 1));
    // And the whole way once more: nothing is left to ask.
    let again =
        go_and_come_back(&browser, "/auth/link/forge?return_to=/account%3Fa", &person).await;
    assert_eq!(location(&again).as_deref(), Some("/account?a"));
    let nothing = browser.post_form("/auth/form/link", &fields).await;
    assert_eq!(nothing.status(), StatusCode::BAD_REQUEST);
    assert_eq!(scene.counts().await, (1, 1, 1));
}

async fn a_matching_verified_address_is_connected_after_proof_alone(backend: Backend) {
    let scene = Scene::start(backend).await;
    let alice = id(&scene.server.signed_in("alice").await).await;
    let browser = scene.server.browser();
    let person = somebody("octo", "Alice@DEV.localhost");
    let met = go_and_come_back(&browser, "/auth/forge?return_to=/account%3Fx", &person).await;
    assert_eq!((met.status(), location(&met).as_deref()), (StatusCode::SEE_OTHER, Some("/link")));
    assert_eq!(cookie(&met, "auth_access"), None, "nobody is signed in by an address");
    let shown = body(browser.get("/auth/setup").await).await;
    assert_eq!(shown["existing_account"], true);
    assert_eq!(shown["existing_providers"], json!(["dev"]));
    let page = browser.page("/link").await.text().await.unwrap();
    assert!(page.contains("A…e@D…V.localhost") && page.contains("Development provider"), "{page}");
    assert!(!page.contains("form_token"), "there is nothing to confirm yet: {page}");
    assert!(page.contains("href=\"/onboarding\""), "{page}");
    let (_, link) = page.split_once("href=\"/auth/dev?").expect("the way to prove it");
    let query = link.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&");

    let back = browser.follow(&format!("/auth/dev?{query}&login_hint=alice")).await;
    assert_eq!(back.url().path(), "/link");
    assert_eq!(id(&browser).await, alice);
    let done = confirm(&browser).await;
    assert_eq!(location(&done).as_deref(), Some("/account?x"));
    let elsewhere = scene.server.browser();
    go_and_come_back(&elsewhere, "/auth/forge", &person).await;
    assert_eq!(id(&elsewhere).await, alice);
    assert_eq!(scene.server.app.store.read.user_count().await.unwrap(), 1);
}

async fn a_matching_address_may_be_kept_apart(backend: Backend) {
    let scene = Scene::start(backend).await;
    scene.server.signed_in("alice").await;
    let browser = scene.server.browser();
    let person = somebody("octo", "alice@dev.localhost");
    go_and_come_back(&browser, "/auth/forge", &person).await;
    let page = browser.page("/onboarding").await;
    assert_eq!(page.status(), StatusCode::OK);
    let answer = browser.post_json("/auth/setup", &json!({ "username": "octo" })).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(browser.page("/link").await.status(), StatusCode::BAD_REQUEST, "the offer is gone");
    // Two accounts hold the address now: nobody can tell which is meant, so there is no offer.
    let third = scene.server.browser();
    let met =
        go_and_come_back(&third, "/auth/forge", &somebody("third", "alice@dev.localhost")).await;
    assert_eq!(location(&met).as_deref(), Some("/onboarding"));
    assert_eq!(body(third.get("/auth/setup").await).await["existing_account"], false);
}

async fn an_address_that_nobody_vouches_for_is_no_offer(backend: Backend) {
    let scene = Scene::start(backend).await;
    scene.server.signed_in("alice").await;
    let mut unverified = somebody("octo", "alice@dev.localhost");
    unverified["verified"] = json!("true");
    for (path, person) in
        [("/auth/forge", unverified), ("/auth/club", somebody("octo", "alice@dev.localhost"))]
    {
        let browser = scene.server.browser();
        let met = go_and_come_back(&browser, path, &person).await;
        assert_eq!(location(&met).as_deref(), Some("/onboarding"), "{path}");
        let shown = body(browser.get("/auth/setup").await).await;
        assert_eq!(shown["existing_account"], false);
        assert_eq!(browser.page("/link").await.status(), StatusCode::BAD_REQUEST);
    }
}

async fn an_offer_is_taken_by_the_matched_account_alone(backend: Backend) {
    let scene = Scene::start(backend).await;
    scene.server.signed_in("alice").await;
    let mallory = scene.server.signed_in("mallory").await;
    let person = somebody("octo", "alice@dev.localhost");
    go_and_come_back(&mallory, "/auth/forge", &person).await;
    let page = mallory.page("/link").await.text().await.unwrap();
    assert!(!page.contains("form_token"), "{page}");
    let refused = mallory.post_form("/auth/form/link", &[("form_token", "x")]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(scene.counts().await, (2, 2, 0));
}

async fn an_offer_is_not_taken_by_an_old_session(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    scene.server.clock.advance(Duration::from_secs(15 * 60));
    browser.refresh().await.unwrap();
    let person = somebody("octo", "alice@dev.localhost");
    go_and_come_back(&browser, "/auth/forge", &person).await;
    let page = browser.page("/link").await.text().await.unwrap();
    assert!(!page.contains("form_token") && page.contains("/auth/dev?"), "{page}");
    let refused = browser.post_form("/auth/form/link", &[("form_token", "x")]).await;
    let page = refused.text().await.unwrap().replace("&#38;", "&");
    assert!(page.contains("/login?prompt=login&max_age=900&return_to=%2Flink"), "{page}");
    assert_eq!(scene.server.audited("identity.linked").await, 0);
    browser.sign_in("alice").await;
    assert_eq!(confirm(&browser).await.status(), StatusCode::SEE_OTHER);
}

async fn where_nobody_new_is_let_in_the_offer_still_stands(backend: Backend) {
    let scene = Scene::closed(backend).await;
    scene.server.signed_in("alice").await;
    let browser = scene.server.browser();
    let person = somebody("octo", "alice@dev.localhost");
    let met = go_and_come_back(&browser, "/auth/forge", &person).await;
    assert_eq!(location(&met).as_deref(), Some("/link"));
    let page = browser.page("/link").await.text().await.unwrap();
    assert!(!page.contains("/onboarding"), "{page}");
    let refused = browser.post_json("/auth/setup", &json!({ "username": "octo" })).await;
    assert_eq!(code(refused).await, "signup_closed");
    browser.sign_in("alice").await;
    assert_eq!(confirm(&browser).await.status(), StatusCode::SEE_OTHER);
    let stranger = somebody("other", "nobody@forge.example");
    let refused = go_and_come_back(&scene.server.browser(), "/auth/forge", &stranger).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(scene.people.origin().starts_with("http"));
}

async fn what_changes_the_ways_in_needs_a_fresh_sign_in(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    scene.server.clock.advance(Duration::from_secs(15 * 60));
    browser.refresh().await.unwrap();
    assert_eq!(code(browser.get("/auth/link/forge").await).await, "reauthentication_required");
    let removed = browser.client.delete(format!("{}/auth/link/dev", browser.url)).send().await;
    assert_eq!(code(removed.unwrap()).await, "reauthentication_required");
    let page = browser.page("/auth/link/forge").await;
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
    let page = page.text().await.unwrap().replace("&#38;", "&");
    let way_on = "/login?prompt=login&max_age=900&return_to=%2Fauth%2Flink%2Fforge";
    assert!(page.contains(way_on), "{page}");
    let login = browser.page(way_on).await.text().await.unwrap().replace("&#38;", "&");
    let button = "/auth/dev?return_to=%2Fauth%2Flink%2Fforge&prompt=login&max_age=900";
    assert!(login.contains(button), "{login}");

    let back = browser.get(&format!("{button}&login_hint=alice")).await;
    let back = location(&browser.get(&location(&back).unwrap()).await).unwrap();
    let back = browser.page(&back).await;
    assert_eq!(location(&back).as_deref(), Some("/auth/link/forge"));
    assert_eq!(browser.get("/auth/link/forge").await.status(), StatusCode::FOUND);
}

async fn who_comes_from_elsewhere_is_asked_first(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    for site in ["cross-site", "same-site", "none"] {
        let answer = browser
            .client
            .get(format!("{}/auth/link/forge?return_to=/account%3Fb", browser.url))
            .header("sec-fetch-site", site)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{site}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let allowed = format!("form-action 'self' {}", scene.people.origin());
        assert!(policy.contains(&allowed), "{policy}");
        let page = answer.text().await.unwrap();
        let token = hidden_token(&page);
        let fields =
            [("form_token", token.as_str()), ("provider", "forge"), ("return_to", "/account?b")];
        let gone = browser.post_form("/auth/form/link", &fields).await;
        assert_eq!(gone.status(), StatusCode::SEE_OTHER);
        let back = way_back(&gone, &somebody("octo", "octo@forge.example"));
        let asked = browser.page(&back).await;
        assert_eq!(location(&asked).as_deref(), Some("/link"));
        let forged = [("form_token", "x"), ("provider", "forge")];
        let refused = browser.post_form("/auth/form/link", &forged).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(location(&confirm(&browser).await).as_deref(), Some("/account?b"));
}

async fn a_link_ends_with_the_session_that_began_it(backend: Backend) {
    let scene = Scene::start(backend).await;
    let person = somebody("octo", "octo@forge.example");
    // Signed out before the way back.
    let browser = scene.server.signed_in("alice").await;
    let back = way_back(&browser.get("/auth/link/forge").await, &person);
    browser.post("/auth/logout").await;
    assert_eq!(code(browser.get(&back).await).await, "unauthenticated");
    // Somebody else signed in before the way back.
    browser.sign_in("alice").await;
    let back = way_back(&browser.get("/auth/link/forge").await, &person);
    browser.sign_in("bob").await;
    browser.post_json("/auth/setup", &json!({ "username": "bob" })).await;
    assert_eq!(code(browser.get(&back).await).await, "unauthenticated");
    // Signed out before the answer.
    browser.sign_in("alice").await;
    let asked = go_and_come_back(&browser, "/auth/link/forge", &person).await;
    assert_eq!(location(&asked).as_deref(), Some("/link"));
    let token = hidden_token(&browser.page("/link").await.text().await.unwrap());
    browser.post("/auth/logout").await;
    let late = browser.post_form("/auth/form/link", &[("form_token", &token)]).await;
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(scene.server.audited("identity.linked").await, 0);
    // Without any session the page leads to the sign-in and back.
    let login = browser.follow("/auth/link/forge").await;
    assert_eq!(login.url().path(), "/login");
    assert_eq!(login.url().query(), Some("return_to=%2Fauth%2Flink%2Fforge"));
    assert_eq!(code(browser.get("/auth/link/forge").await).await, "unauthenticated");
}

async fn a_refresh_token_of_the_past_connects_nothing(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        scene.server.clock.advance(Duration::from_secs(61));
        tokens.push(browser.refresh().await.unwrap());
    }
    let bare = Browser::new(&browser.url);
    let start = async |token: &str| {
        bare.client
            .get(format!("{}/auth/link/forge", bare.url))
            .header("cookie", format!("auth_refresh={token}"))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(start(&tokens[2]).await, StatusCode::FOUND);
    assert_eq!(start(&tokens[1]).await, StatusCode::FOUND, "a tab that is one behind");
    assert_eq!(start(&tokens[0]).await, StatusCode::UNAUTHORIZED);
    assert!(browser.refresh().await.is_ok(), "and asking ended nothing");
}

async fn a_frontend_is_told_of_a_match_and_the_question_stays_ours(backend: Backend) {
    let frontend = "frontend_url = \"http://127.0.0.1:3000\"\n";
    let scene = Scene::start_with(backend, frontend).await;
    scene.server.signed_in("alice").await;
    let browser = scene.server.browser();
    let person = somebody("octo", "alice@dev.localhost");
    let met = go_and_come_back(&browser, "/auth/forge", &person).await;
    assert_eq!(location(&met).as_deref(), Some("http://127.0.0.1:3000/link"));
    let led = browser.page("/link").await;
    assert_eq!(location(&led).as_deref(), Some("http://127.0.0.1:3000/link"));
    browser.sign_in("alice").await;
    assert_eq!(confirm(&browser).await.status(), StatusCode::SEE_OTHER);
}

async fn a_recovery_link_gives_an_account_back_once(backend: Backend) {
    let scene = Scene::start(backend).await;
    let alice = id(&scene.server.signed_in("alice").await).await;
    let browser = scene.server.signed_in("bob").await;
    let made =
        make_recovery_link(&scene.server.app.settings, &scene.server.clock, "Alice").await.unwrap();
    assert_eq!(scene.server.audited("user.recovery_offered").await, 1);
    let second = scene.server.browser();
    for browser in [&browser, &second] {
        let taken = browser.page(&made.url).await;
        assert_eq!(location(&taken).as_deref(), Some("/auth/recover"));
        let page = browser.page("/auth/recover").await.text().await.unwrap();
        assert!(page.contains("alice") && page.contains("href=\"/auth/recover/forge\""), "{page}");
        let person = somebody("octo", "octo@forge.example");
        let asked = go_and_come_back(browser, "/auth/recover/forge", &person).await;
        assert_eq!(location(&asked).as_deref(), Some("/link"), "{:?}", asked.status());
    }

    let done = confirm(&browser).await;
    assert_eq!(location(&done).as_deref(), Some("/account"));
    assert_eq!(id(&browser).await, alice, "whoever was signed in here is not any more");
    assert_eq!(scene.links(&browser).await.len(), 2);
    assert_eq!(scene.server.audited("user.recovered").await, 1);

    // The other window would connect the same identity: that is so already, and opens nothing.
    let late = confirm(&second).await;
    assert_eq!(late.status(), StatusCode::SEE_OTHER);
    assert_eq!(cookie(&late, "auth_access"), None);
    // With another identity it is too late.
    let third = scene.server.browser();
    third.page(&made.url).await;
    go_and_come_back(&third, "/auth/recover/forge", &somebody("evil", "evil@x.example")).await;
    assert_eq!(confirm(&third).await.status(), StatusCode::CONFLICT);
    assert_eq!(scene.links(&browser).await.len(), 2);
}

async fn a_recovery_link_lasts_an_hour_and_connects_nobody_elses(backend: Backend) {
    let scene = Scene::start(backend).await;
    scene.server.signed_in("alice").await;
    let bob = scene.server.signed_in("bob").await;
    connect(&bob, "forge", &somebody("bob", "bob@forge.example")).await;
    let settings = &scene.server.app.settings;
    let made = make_recovery_link(settings, &scene.server.clock, "alice").await.unwrap();
    let browser = scene.server.browser();
    browser.page(&made.url).await;
    let taken =
        go_and_come_back(&browser, "/auth/recover/forge", &somebody("bob", "b@forge.example"))
            .await;
    assert_eq!(taken.status(), StatusCode::CONFLICT);
    assert!(taken.text().await.unwrap().contains("href=\"/auth/recover\""), "a way on");
    // Another's page cannot choose for the person.
    let led = browser
        .client
        .get(format!("{}/auth/recover/forge", browser.url))
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(location(&led).as_deref(), Some("/auth/recover"));

    for bad in ["x".to_owned(), made.url.split_once("ticket=").unwrap().1[1..].to_owned()] {
        let refused = browser.get(&format!("/auth/recover?ticket={bad}")).await;
        assert_eq!(code(refused).await, "recovery_expired");
    }
    let without = scene.server.browser();
    assert_eq!(code(without.get("/auth/recover").await).await, "recovery_expired");
    assert_eq!(code(without.get("/auth/recover/forge").await).await, "recovery_expired");
    let back = way_back(&browser.get("/auth/recover/forge").await, &somebody("o", "o@x.example"));
    scene.server.clock.advance(Duration::from_secs(3601));
    assert_eq!(code(browser.get(&back).await).await, "invalid_state");
    assert_eq!(code(browser.get(&made.url).await).await, "recovery_expired");
    assert_eq!(scene.server.audited("user.recovered").await, 0);
}

async fn a_recovery_link_is_made_by_name_or_id_for_who_is_there(backend: Backend) {
    let scene = Scene::start(backend).await;
    let browser = scene.server.signed_in("alice").await;
    let alice = id(&browser).await;
    let (settings, clock) = (&scene.server.app.settings, &scene.server.clock);
    let missing = make_recovery_link(settings, clock, "nobody").await.unwrap_err();
    assert!(missing.to_string().contains("nobody"), "{missing}");
    let by_id = make_recovery_link(settings, clock, &alice).await.unwrap();
    assert_eq!(by_id.user.status, UserStatus::Active);
    assert_eq!(by_id.user.username, "alice");
    assert_eq!(scene.server.audited("user.recovery_offered").await, 1);
}

crate::on_both_stores!(
    a_further_way_to_sign_in_leads_to_the_same_account,
    an_address_told_anew_replaces_the_old_and_a_set_name_stays,
    a_way_to_sign_in_is_taken_away_but_never_the_last,
    the_account_page_takes_a_way_to_sign_in_away,
    nothing_is_connected_without_the_form_of_our_page,
    the_same_link_again_is_answered_in_the_same_way,
    a_matching_verified_address_is_connected_after_proof_alone,
    a_matching_address_may_be_kept_apart,
    an_address_that_nobody_vouches_for_is_no_offer,
    an_offer_is_taken_by_the_matched_account_alone,
    an_offer_is_not_taken_by_an_old_session,
    where_nobody_new_is_let_in_the_offer_still_stands,
    what_changes_the_ways_in_needs_a_fresh_sign_in,
    who_comes_from_elsewhere_is_asked_first,
    a_link_ends_with_the_session_that_began_it,
    a_refresh_token_of_the_past_connects_nothing,
    a_frontend_is_told_of_a_match_and_the_question_stays_ours,
    a_recovery_link_gives_an_account_back_once,
    a_recovery_link_lasts_an_hour_and_connects_nobody_elses,
    a_recovery_link_is_made_by_name_or_id_for_who_is_there,
);
