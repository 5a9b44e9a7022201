//! Attacks on accounts: taking somebody's way to sign in, name or address, or learning of them.

use futures_util::future::join_all;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::scene::{
    Attempt, INVALID_STATE, Refusal, Scene, begin, get_with_cookies, links, set_cookies,
};
use crate::harness::{Backend, Browser, Server, body, cookie, location};
use crate::openid_provider::{Behaviour, Change};
use crate::sign_in::hidden_token;

const IDENTITY_TAKEN: Refusal = (409, "identity_taken");
const UNAUTHENTICATED: Refusal = (401, "unauthenticated");

/// The page that asks whether to connect, in the browser of a signed-in person.
async fn asked(browser: &Browser) -> String {
    let attempt = begin(browser, "/auth/link/op").await;
    let answer = browser.get(&attempt.back()).await;
    assert_eq!(location(&answer).as_deref(), Some("/link"));
    browser.page("/link").await.text().await.unwrap()
}

async fn say_yes(browser: &Browser, page: &str) -> Response {
    browser.post_form("/auth/form/link", &[("form_token", &hidden_token(page))]).await
}

async fn g16_an_identity_of_somebody_else_is_not_moved_and_its_owner_not_told(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let owner = scene.signed_up("hidden-owner").await;
    let id = body(owner.get("/auth/me").await).await["id"].as_str().unwrap().to_owned();
    let alice = scene.server.signed_in("alice").await;
    let back = |attempt: &Attempt| attempt.back();
    let page = scene.refuses_the_way_back(&alice, "/auth/link/op", back, IDENTITY_TAKEN).await;
    for told in ["hidden-owner", &id, "rivka@example.com", "Rivka"] {
        assert!(!page.contains(told), "{page}");
    }
    assert!(page.contains("href=\"/account\""), "{page}");
    assert_eq!((links(&owner).await, links(&alice).await), (1, 1));
    let attempt = begin(&scene.server.browser(), "/auth/op").await;
    let answer = get_with_cookies(&scene.server, &attempt.back(), &attempt.cookie).await;
    assert!(cookie(&answer, "auth_refresh").is_some(), "the owner still signs in");
}

/// Somebody else was faster while the question was open.
async fn g16_an_identity_that_was_taken_meanwhile_is_not_moved(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let alice = scene.server.signed_in("alice").await;
    let page = asked(&alice).await;
    let owner = scene.signed_up("hidden-owner").await;
    let before = scene.server.rows().await;
    let refused = scene.refuses(&before, say_yes(&alice, &page).await, IDENTITY_TAKEN).await;
    assert!(!refused.contains("hidden-owner"), "{refused}");
    assert_eq!((links(&owner).await, links(&alice).await), (1, 1));
}

async fn g16_of_two_who_connect_one_identity_at_once_one_gets_it(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let people = [scene.server.signed_in("alice").await, scene.server.signed_in("bob").await];
    let pages = [asked(&people[0]).await, asked(&people[1]).await];
    let answers = join_all(people.iter().zip(&pages).map(|(one, page)| say_yes(one, page))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409]);
    for (person, answer) in people.iter().zip(answers) {
        let won = answer.status() == StatusCode::SEE_OTHER;
        assert_eq!(links(person).await, if won { 2 } else { 1 });
    }
    assert_eq!(scene.server.audited("identity.linked").await, 1);
}

/// The end of all accounts as another node would bring it: no browser here hears of it.
async fn delete_everybody(server: &Server) {
    server
        .execute(
            "DELETE FROM emails; DELETE FROM identities; UPDATE users SET status = 'deleted';
             UPDATE token_families SET revoked_at = 1800000000000, revoke_reason = 'deleted'",
        )
        .await;
}

async fn g18_a_deleted_account_gets_no_further_way_to_sign_in(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let server = &scene.server;
    let alice = server.signed_in("alice").await;
    let access = cookie(&alice.post("/auth/refresh").await, "auth_access").unwrap();
    let page = asked(&alice).await;
    let attempt = begin(&alice, "/auth/link/op").await;
    delete_everybody(server).await;
    let before = server.rows().await;

    scene.refuses(&before, alice.get("/auth/link/op").await, UNAUTHENTICATED).await;
    let bearer = Client::builder().no_proxy().build().unwrap();
    let start = bearer.get(format!("{}/auth/link/op", server.url)).bearer_auth(&access).send();
    scene.refuses(&before, start.await.unwrap(), UNAUTHENTICATED).await;
    scene.refuses(&before, alice.get(&attempt.back()).await, UNAUTHENTICATED).await;
    scene.refuses(&before, say_yes(&alice, &page).await, UNAUTHENTICATED).await;

    // Neither the name nor the identities stand in anybody's way.
    scene.signed_up("rivka").await;
    let again = server.signed_in("alice").await;
    assert_eq!(links(&again).await, 1);
}

/// The same if the deletion falls between the question and the write.
async fn g18_a_person_deleted_with_a_live_session_gets_no_further_way_to_sign_in(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let alice = scene.server.signed_in("alice").await;
    let page = asked(&alice).await;
    scene
        .server
        .execute("DELETE FROM emails; DELETE FROM identities; UPDATE users SET status = 'deleted'")
        .await;
    let before = scene.server.rows().await;
    scene.refuses(&before, say_yes(&alice, &page).await, UNAUTHENTICATED).await;
    scene.signed_up("rivka").await;
}

/// A browser without the ticket has nothing to set up and gets 401 (docs/errors.md), where the row says
/// 400 or 409.
async fn g20_a_setup_ticket_works_once_in_its_browser_for_its_purpose(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let server = &scene.server;
    let browser = server.browser();
    let attempt = begin(&browser, "/auth/op").await;
    let ticket = cookie(&browser.get(&attempt.back()).await, "auth_setup").unwrap();
    let page = browser.page("/onboarding").await.text().await.unwrap();
    let form_token = hidden_token(&page);
    let before = server.rows().await;
    let name = json!({ "username": "rivka" });

    // Another browser, and the form's token in a browser that sets up somebody else.
    let expired: Refusal = (401, "setup_expired");
    let stranger = server.browser();
    scene.refuses(&before, stranger.post_json("/auth/setup", &name).await, expired).await;
    scene.refuses(&before, stranger.get("/auth/setup").await, expired).await;
    scene.refuses(&before, stranger.page("/onboarding").await, expired).await;
    stranger.sign_in("mallory").await;
    let fields = [("form_token", form_token.as_str()), ("username", "mallory")];
    let answer = stranger.post_form("/auth/form/setup", &fields).await;
    scene.refuses(&before, answer, (403, "csrf_rejected")).await;

    // Another purpose.
    let login = attempt.cookie.split('=').next().unwrap();
    for (target, cookies, expected) in [
        (attempt.back(), format!("{login}={ticket}"), INVALID_STATE),
        ("/link".to_owned(), format!("auth_link={ticket}"), (400, "link_expired")),
        ("/auth/recover".to_owned(), format!("auth_recovery={ticket}"), (400, "recovery_expired")),
        ("/auth/me".to_owned(), format!("auth_access={ticket}"), UNAUTHENTICATED),
        ("/auth/link/op".to_owned(), format!("auth_refresh={ticket}"), UNAUTHENTICATED),
        ("/auth/setup".to_owned(), format!("auth_setup={}", attempt.cookie), expired),
        ("/auth/setup".to_owned(), format!("auth_setup={form_token}"), expired),
    ] {
        let answer = get_with_cookies(server, &target, &cookies).await;
        scene.refuses(&before, answer, expected).await;
    }
    let fields = [("form_token", ticket.as_str()), ("username", "rivka")];
    let answer = browser.post_form("/auth/form/setup", &fields).await;
    scene.refuses(&before, answer, (403, "csrf_rejected")).await;

    // A second ticket of the same person, used after the account exists.
    let later = server.browser();
    let attempt = begin(&later, "/auth/op").await;
    later.get(&attempt.back()).await;
    let created = browser.post_json("/auth/setup", &name).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let before = server.rows().await;
    let other = json!({ "username": "rivka-again" });
    let answer = later.post_json("/auth/setup", &other).await;
    scene.refuses(&before, answer, IDENTITY_TAKEN).await;
    // The same ticket once more.
    let client = Client::builder().no_proxy().build().unwrap();
    let replay = client
        .post(format!("{}/auth/setup", server.url))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", format!("auth_setup={ticket}"))
        .header("content-type", "application/json")
        .body(other.to_string());
    scene.refuses(&before, replay.send().await.unwrap(), (409, "already_used")).await;
    scene.refuses(&before, browser.post_json("/auth/setup", &other).await, expired).await;

    // Too late.
    let slow = server.browser();
    slow.sign_in("noa").await;
    server.clock.advance(std::time::Duration::from_secs(600));
    let answer = slow.post_json("/auth/setup", &json!({ "username": "noa" })).await;
    scene.refuses(&before, answer, expired).await;
}

/// Each in its own browser, from the callback on.
async fn two_first_sign_ins_of_one_identity_at_once_make_one_account(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let urls = [scene.server.url.clone(), scene.server.url.clone()];
    first_sign_ins_at_once(&scene, &urls).await;
}

#[actix_web::test]
async fn two_first_sign_ins_of_one_identity_on_two_nodes_make_one_account() {
    let scene = Scene::honest(Backend::Postgres).await;
    let other = scene.server.beside(|_| {}).await;
    first_sign_ins_at_once(&scene, &[scene.server.url.clone(), other.url.clone()]).await;
}

async fn first_sign_ins_at_once(scene: &Scene, urls: &[String; 2]) {
    let signing_up = urls.iter().enumerate().map(|(number, url)| async move {
        let browser = Browser::new(url);
        let attempt = begin(&browser, "/auth/op").await;
        let answer = browser.get(&attempt.back()).await;
        assert_eq!(location(&answer).as_deref(), Some("/onboarding"));
        let name = json!({ "username": format!("rivka-{number}") });
        (browser, name)
    });
    let ready = join_all(signing_up).await;
    let setups = ready.iter().map(|(browser, name)| browser.post_json("/auth/setup", name));
    let (created, refused): (Vec<_>, Vec<_>) =
        join_all(setups).await.into_iter().partition(|it| it.status() == StatusCode::CREATED);
    assert_eq!((created.len(), refused.len()), (1, 1));
    let rows = scene.server.rows().await;
    for answer in refused {
        scene.refuses(&rows, answer, IDENTITY_TAKEN).await;
    }
    let count = |table| rows.iter().find(|(name, _)| *name == table).unwrap().1;
    let counts = ["users", "identities", "token_families"].map(count);
    assert_eq!(counts, [1, 1, 1]);
    // The other one gets in by signing in again, to the same account.
    for url in urls {
        let browser = Browser::new(url);
        let attempt = begin(&browser, "/auth/op").await;
        assert_eq!(location(&browser.get(&attempt.back()).await).as_deref(), Some("/"));
    }
    assert_eq!(scene.server.app.store.read.user_count().await.unwrap(), 1);
}

async fn a_name_taken_between_page_and_submit_lets_the_person_choose_again(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let server = &scene.server;
    let taken: Refusal = (409, "username_taken");
    let by_json = server.browser();
    let attempt = begin(&by_json, "/auth/op").await;
    by_json.get(&attempt.back()).await;
    let by_form = server.browser();
    by_form.sign_in("noa").await;
    let page = by_form.page("/onboarding").await.text().await.unwrap();
    let free = "/auth/username-available?username=Wanted";
    assert_eq!(body(by_form.get(free).await).await["available"], true);
    server.signed_in("wanted").await;

    let before = server.rows().await;
    let answer = by_json.post_json("/auth/setup", &json!({ "username": "Wanted" })).await;
    scene.refuses(&before, answer, taken).await;
    let token = hidden_token(&page);
    let fields = [("form_token", token.as_str()), ("username", "Wanted"), ("display_name", "Noa")];
    let answer = by_form.post_form("/auth/form/setup", &fields).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(set_cookies(&answer), [""; 0]);
    let again = answer.text().await.unwrap();
    assert!(again.contains("value=\"Wanted\"") && again.contains("value=\"Noa\""), "{again}");
    assert_eq!(server.rows().await, before);

    let answer = by_json.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let token = hidden_token(&again);
    let fields = [("form_token", token.as_str()), ("username", "noa"), ("display_name", "Noa")];
    let answer = by_form.post_form("/auth/form/setup", &fields).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(body(by_form.get("/auth/me").await).await["username"], "noa");
}

/// The attacker's provider says that they have an address, and not that it is verified.
const VICTIMS_ADDRESS: Change = |claims| {
    claims["email"] = "victim@dev.localhost".into();
    claims["email_verified"] = false.into();
};

/// All that a newcomer with that address is told on the way to an account, without what is random in
/// every answer. `victim` has an account, with the same address or another.
async fn way_of_a_newcomer(backend: Backend, victim: &str) -> Vec<String> {
    let behaviour = Behaviour { claims: VICTIMS_ADDRESS, ..Behaviour::default() };
    let scene = Scene::start(backend, vec![behaviour], "").await;
    let server = &scene.server;
    let owner = server.signed_in(victim).await;
    let attacker = server.browser();
    let attempt = begin(&attacker, "/auth/op").await;
    let mut told = vec![told(server, attacker.get(&attempt.back()).await).await];
    for target in ["/onboarding", "/auth/setup", "/link", "/auth/link/op", "/login"] {
        for answer in [attacker.get(target).await, attacker.page(target).await] {
            told.push(self::told(server, answer).await);
        }
    }
    let created = attacker.post_json("/auth/setup", &json!({ "username": "mallory" })).await;
    told.push(self::told(server, created).await);
    told.push(self::told(server, attacker.get("/auth/me").await).await);
    told.push(self::told(server, attacker.page("/account").await).await);
    // Two accounts, each with its own identity, whoever knows what of whom.
    assert_eq!((links(&owner).await, links(&attacker).await), (1, 1));
    assert_eq!(body(owner.get("/auth/me").await).await["emails"].as_array().unwrap().len(), 1);
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 2);
    told
}

/// Status, headers, the cookies with the length of their values, and body; random values and our address
/// replaced.
async fn told(server: &Server, answer: Response) -> String {
    let mut lines = vec![answer.status().to_string()];
    for (name, value) in answer.headers() {
        if !["date", "x-request-id", "set-cookie"].contains(&name.as_str()) {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
    }
    // Their order is another at each start.
    lines.sort();
    for set in set_cookies(&answer) {
        let (value, attributes) = set.split_once(';').unwrap();
        let (name, value) = value.split_once('=').unwrap();
        // A login cookie's name is random, too.
        let name = name.split_at(name.len().min("auth_login_".len())).0;
        lines.push(format!("{name}={} characters;{attributes}", value.len()));
    }
    let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap().replace(&request, "(request)");
    let forms = text.match_indices("name=\"form_token\"");
    let mut random: Vec<String> = forms.map(|(start, _)| hidden_token(&text[start..])).collect();
    if let Some(id) = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|body| Some(body["id"].as_str()?.to_owned()))
    {
        random.push(id);
    }
    lines.push(text);
    let port = server.url.rsplit_once(':').unwrap().1;
    random
        .iter()
        .fold(lines.join("\n"), |text, value| text.replace(value, "(random)"))
        .replace(port, "(port)")
}

async fn an_unverified_address_of_somebody_else_is_worth_nothing_and_tells_nothing(
    backend: Backend,
) {
    let of_a_victim = way_of_a_newcomer(backend, "victim").await;
    let of_nobody = way_of_a_newcomer(backend, "bystan").await;
    assert_eq!(of_a_victim.len(), of_nobody.len());
    for (one, other) in of_a_victim.iter().zip(&of_nobody) {
        assert_eq!(one, other);
    }
    let shown: &str = &of_a_victim[3];
    assert!(shown.contains("\"existing_account\":false"), "{shown}");
    assert!(of_a_victim[0].contains("location: /onboarding"), "{}", of_a_victim[0]);
}

crate::on_both_stores!(
    g16_an_identity_of_somebody_else_is_not_moved_and_its_owner_not_told,
    g16_an_identity_that_was_taken_meanwhile_is_not_moved,
    g16_of_two_who_connect_one_identity_at_once_one_gets_it,
    g18_a_deleted_account_gets_no_further_way_to_sign_in,
    g18_a_person_deleted_with_a_live_session_gets_no_further_way_to_sign_in,
    g20_a_setup_ticket_works_once_in_its_browser_for_its_purpose,
    two_first_sign_ins_of_one_identity_at_once_make_one_account,
    a_name_taken_between_page_and_submit_lets_the_person_choose_again,
    an_unverified_address_of_somebody_else_is_worth_nothing_and_tells_nothing,
);
