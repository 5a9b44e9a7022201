//! Attacks on the attempt itself: its state, its browser, its provider, and where it leads.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, StatusCode};
use serde_json::json;

use super::scene::{
    Attempt, INVALID_STATE, Refusal, Scene, TOKEN_INVALID, begin, callback, get_with_cookies,
    links, query, refuses, session_of, set_cookies,
};
use crate::harness::{Backend, Browser, Server, body, code, cookie, location, present};
use crate::openid_provider::Behaviour;
use crate::sign_in::hidden_token;

/// A state is not looked up but compared with the cookie of its attempt.
async fn g01_a_state_that_is_missing_wrong_or_old_is_refused(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let browser = scene.server.browser();
    let before = scene.server.rows().await;
    let attempt = begin(&browser, "/auth/op").await;
    let other = begin(&browser, "/auth/op").await;
    let code = attempt.code();
    let last = if attempt.state.ends_with('A') { "B" } else { "A" };
    let tampered = format!("{}{last}", &attempt.state[..attempt.state.len() - 1]);
    let spliced = format!("{}{}", &attempt.state[..8], &other.state[8..]);
    for state in
        ["", "short", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", &tampered, &spliced, &"a".repeat(4_000)]
    {
        let address = callback("op", &[("code", &code), ("state", state)]);
        scene.refuses(&before, browser.get(&address).await, INVALID_STATE).await;
        scene.refuses(&before, browser.page(&address).await, INVALID_STATE).await;
    }
    let without = callback("op", &[("code", &code)]);
    scene.refuses(&before, browser.get(&without).await, INVALID_STATE).await;
    let twice = format!("{}&state={}", attempt.back(), attempt.state);
    let duplicate = (400, "duplicate_parameter");
    scene.refuses(&before, browser.get(&twice).await, duplicate).await;
    let name = attempt.cookie.split('=').next().unwrap();
    for cookies in [
        String::new(),
        format!("{name}=AAAA"),
        other.cookie.replace(&other.state[..8], &attempt.state[..8]),
        format!("{}; {name}=planted", attempt.cookie),
    ] {
        let answer = get_with_cookies(&scene.server, &attempt.back(), &cookies).await;
        scene.refuses(&before, answer, INVALID_STATE).await;
    }
    assert_eq!(scene.op.state.token_requests(), 0, "the code was shown to nobody");

    scene.server.clock.advance(Duration::from_secs(601));
    scene.refuses(&before, browser.page(&attempt.back()).await, INVALID_STATE).await;
    let answer = get_with_cookies(&scene.server, &attempt.back(), &attempt.cookie).await;
    scene.refuses(&before, answer, INVALID_STATE).await;
}

async fn g01_a_state_works_once_also_when_callbacks_race(backend: Backend) {
    let scene = Scene::honest(backend).await;
    scene.signed_up("rivka").await;
    let before = scene.server.rows().await;
    let attempt = begin(&scene.server.browser(), "/auth/op").await;
    let address = attempt.back();
    let ask = || get_with_cookies(&scene.server, &address, &attempt.cookie);
    let (won, lost): (Vec<_>, Vec<_>) = join_all((0..8).map(|_| ask()))
        .await
        .into_iter()
        .partition(|answer| answer.status() == StatusCode::SEE_OTHER);
    assert_eq!(won.len(), 1);
    let after = scene.server.rows().await;
    let grown: HashSet<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    let grown: HashSet<_> = grown.into_iter().map(|(a, b)| (a.0, b.1 - a.1)).collect();
    assert_eq!(
        grown,
        HashSet::from(
            ["token_families", "spent", "audit_events", "audit_details"].map(|table| (table, 1))
        )
    );
    for answer in lost.into_iter().chain([ask().await]) {
        scene.refuses(&after, answer, INVALID_STATE).await;
    }
}

/// The attempt of a newcomer stores nothing, so that its cookie may come back to the callback; but of all
/// that grows from it, one account is made.
async fn g01_a_state_of_a_newcomer_makes_one_account(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let attempt = begin(&scene.server.browser(), "/auth/op").await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        let answer = get_with_cookies(&scene.server, &attempt.back(), &attempt.cookie).await;
        browsers.push(cookie(&answer, "auth_setup").unwrap());
    }
    let created = set_up(&scene.server, &browsers[0], "rivka").await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let before = scene.server.rows().await;
    for ticket in &browsers[1..] {
        let answer = set_up(&scene.server, ticket, "another").await;
        scene.refuses(&before, answer, (409, "already_used")).await;
    }
}

async fn set_up(server: &Server, ticket: &str, username: &str) -> Response {
    Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/auth/setup", server.url))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", format!("auth_setup={ticket}"))
        .header("content-type", "application/json")
        .body(json!({ "username": username }).to_string())
        .send()
        .await
        .unwrap()
}

/// The cookie has the path /auth (spec.md section 6), so that its name begins with `__Secure-` on https,
/// and not with the row's `__Host-`, which demands the path /.
async fn g02_an_attackers_way_back_signs_nobody_in_elsewhere(backend: Backend) {
    let scene = Scene::honest(backend).await;
    scene.signed_up("mallory").await;
    let before = scene.server.rows().await;
    let start = scene.server.browser().get("/auth/op").await;
    let login = set_cookies(&start).pop().unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/auth", "Max-Age=600"] {
        assert!(login.contains(attribute), "{login}");
    }
    let attackers = Attempt::of(&start);
    let victim = scene.server.browser();
    scene.refuses(&before, victim.get(&attackers.back()).await, INVALID_STATE).await;
    scene.refuses(&before, victim.page(&attackers.back()).await, INVALID_STATE).await;
    assert_eq!(victim.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);

    // Also while the victim is on the way, with whatever of the two is mixed.
    let victims = begin(&victim, "/auth/op").await;
    scene.refuses(&before, victim.get(&attackers.back()).await, INVALID_STATE).await;
    let own = attackers.code();
    let smuggled = callback("op", &[("code", &own), ("state", &victims.state)]);
    scene.refuses(&before, victim.get(&smuggled).await, TOKEN_INVALID).await;
    // A provider that does not look at the verifier is caught by the nonce.
    let victims = begin(&victim, "/auth/op").await;
    let mixed = format!("{}.{}", attackers.nonce, victims.challenge);
    let smuggled = callback("op", &[("code", &mixed), ("state", &victims.state)]);
    scene.refuses(&before, victim.page(&smuggled).await, TOKEN_INVALID).await;
    assert_eq!(victim.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
}

async fn g03_a_state_of_one_provider_is_refused_at_anothers_callback(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let browser = scene.server.browser();
    let before = scene.server.rows().await;
    let at_op = begin(&browser, "/auth/op").await;
    let at_dev = begin(&browser, "/auth/dev?login_hint=rivka").await;
    for (provider, attempt) in [("dev", &at_op), ("op", &at_dev), ("nobody", &at_op)] {
        let code = attempt.code();
        let address = callback(provider, &[("code", &code), ("state", &attempt.state)]);
        scene.refuses(&before, browser.get(&address).await, INVALID_STATE).await;
        scene.refuses(&before, browser.page(&address).await, INVALID_STATE).await;
    }
    assert_eq!(scene.op.state.token_requests(), 0);
    // The attempt is not harmed by it.
    assert_eq!(location(&browser.get(&at_op.back()).await).as_deref(), Some("/onboarding"));
}

/// There is one callback for both (spec.md section 4), so that what a state is for is sealed beside it: a
/// link without its session gets 401, not the row's 400.
async fn g03_a_state_of_a_link_never_signs_in(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let alice = scene.server.signed_in("alice").await;
    let attempt = begin(&alice, "/auth/link/op").await;
    alice.post("/auth/logout").await;
    let before = scene.server.rows().await;
    let unauthenticated = (401, "unauthenticated");
    let answer = get_with_cookies(&scene.server, &attempt.back(), &attempt.cookie).await;
    scene.refuses(&before, answer, unauthenticated).await;
    let page = scene.refuses(&before, alice.page(&attempt.back()).await, unauthenticated).await;
    assert!(page.contains("href=\"/account\""), "{page}");

    // In somebody else's session, and in a later one of the same person.
    for person in ["bob", "alice"] {
        let alice = scene.server.browser();
        alice.sign_in("alice").await;
        let attempt = begin(&alice, "/auth/link/op").await;
        let other = match person {
            "bob" => scene.server.signed_in("bob").await,
            _ => {
                let again = scene.server.browser();
                again.sign_in("alice").await;
                again
            }
        };
        let token = other.refresh().await.unwrap();
        let before = scene.server.rows().await;
        let cookies = format!("{}; auth_refresh={token}", attempt.cookie);
        let answer = get_with_cookies(&scene.server, &attempt.back(), &cookies).await;
        scene.refuses(&before, answer, unauthenticated).await;
        assert_eq!(links(&other).await, 1);
    }
}

async fn g03_a_state_of_a_sign_in_never_links(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let alice = scene.server.signed_in("alice").await;
    let before = scene.server.rows().await;
    let attempt = begin(&alice, "/auth/op").await;
    // Nobody's identity: it goes on to an account of its own.
    let answer = alice.get(&attempt.back()).await;
    assert_eq!(location(&answer).as_deref(), Some("/onboarding"));
    assert_eq!(scene.server.rows().await, before);
    assert_eq!(links(&alice).await, 1);
    let created = alice.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(body(created).await["username"], "rivka");
    let again = scene.server.browser();
    again.sign_in("alice").await;
    assert_eq!(links(&again).await, 1);
}

/// A node that was started with other settings stands for a restart: both know the same secret.
/// Sessions that the provider has opened go on (spec.md has no rule that ends them).
#[actix_web::test]
async fn g19_a_provider_that_was_taken_out_begins_and_ends_nothing() {
    let scene = Scene::honest(Backend::Postgres).await;
    let one = &scene.server;
    let signed_in = scene.signed_up("rivka").await;
    let alice = one.signed_in("alice").await;
    let newcomer = one.browser();
    let other =
        one.beside(|settings| settings.providers.retain(|provider| provider.name != "op")).await;
    let there = |browser: &Browser| Browser { url: other.url.clone(), ..browser.clone() };
    let before = one.rows().await;

    let unknown: Refusal = (404, "unknown_provider");
    for start in ["/auth/op", "/auth/link/op"] {
        refuses(&other, &before, there(&alice).get(start).await, unknown).await;
        refuses(&other, &before, there(&alice).page(start).await, unknown).await;
    }
    let attempt = begin(&newcomer, "/auth/op").await;
    refuses(&other, &before, there(&newcomer).get(&attempt.back()).await, INVALID_STATE).await;
    refuses(&other, &before, there(&newcomer).page(&attempt.back()).await, INVALID_STATE).await;
    assert_eq!(scene.op.state.token_requests(), 1, "by the first sign-up alone");

    // What it had vouched for before and was not used yet.
    one.execute("DELETE FROM emails; DELETE FROM identities WHERE provider = 'op'").await;
    let before = one.rows().await;
    newcomer.get(&attempt.back()).await;
    let body = json!({ "username": "noa" });
    let answer = there(&newcomer).post_json("/auth/setup", &body).await;
    refuses(&other, &before, answer, (401, "setup_expired")).await;
    let attempt = begin(&alice, "/auth/link/op").await;
    assert_eq!(location(&alice.get(&attempt.back()).await).as_deref(), Some("/link"));
    let page = alice.page("/link").await.text().await.unwrap();
    let token = hidden_token(&page);
    let answer = there(&alice).client.post(format!("{}/auth/form/link", other.url));
    let answer = answer
        .header("content-type", "application/x-www-form-urlencoded")
        .body(query(&[("form_token", &token)]))
        .send()
        .await
        .unwrap();
    refuses(&other, &before, answer, (400, "link_expired")).await;

    let offered = there(&newcomer).get("/auth/providers").await.text().await.unwrap();
    assert!(!offered.contains("/auth/op"), "{offered}");
    assert_eq!(there(&signed_in).get("/auth/me").await.status(), StatusCode::OK);
}

const HOSTILE_PLACES: [&str; 20] = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https://evil.example/",
    "//evil.example/..",
    "/\t/evil.example",
    "\t//evil.example",
    "/\r\nLocation: https://evil.example",
    "/\n/evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "https://app.example.com@evil.example/",
    "https://app.example.com:443@evil.example/",
    "https://app.example.com.evil.example/",
    "evil.example",
];

/// spec.md section 4 answers 400 where the row falls back to `/`: nobody is sent to where they did not
/// mean to go.
async fn g21_a_return_to_elsewhere_is_refused_at_the_start(backend: Backend) {
    let allowed = "return_to = [\"https://app.example.com\"]\n";
    let scene = Scene::start(backend, vec![Behaviour::default()], allowed).await;
    let alice = scene.server.signed_in("alice").await;
    let before = scene.server.rows().await;
    let elsewhere: Refusal = (400, "invalid_return_to");
    let long = format!("/{}", "a".repeat(3_000));
    for place in HOSTILE_PLACES.into_iter().chain([long.as_str()]) {
        let query = query(&[("return_to", place)]);
        for start in ["/auth/op", "/auth/link/op", "/login", "/auth/resume"] {
            let address = format!("{start}?{query}");
            scene.refuses(&before, alice.get(&address).await, elsewhere).await;
            let page = scene.refuses(&before, alice.page(&address).await, elsewhere).await;
            assert!(!page.contains("evil.example") && !page.contains("alert(1)"), "{page}");
        }
    }
    // An address of ten kilobytes is not read at all.
    let query = query(&[("return_to", &format!("/{}", "a".repeat(10_240)))]);
    let answer = alice.get(&format!("/auth/op?{query}")).await;
    scene.refuses(&before, answer, (414, "uri_too_long")).await;
    // Percent signs are the path's own business: it stays on this server.
    let attempt = begin(&alice, "/auth/op?return_to=/%2509/evil.example").await;
    assert_eq!(alice.get(&attempt.back()).await.status(), StatusCode::SEE_OTHER);
    let created = alice.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    assert_eq!(location(&created).as_deref(), Some("/%09/evil.example"));
}

/// What was allowed at the start, and is not any more where the sign-in ends.
#[actix_web::test]
async fn g21_a_return_to_that_is_not_allowed_any_more_is_refused_at_its_use() {
    let allowed = "return_to = [\"https://app.example.com\"]\n";
    let scene = Scene::start(Backend::Postgres, vec![Behaviour::default()], allowed).await;
    let one = &scene.server;
    let other = one.beside(|settings| settings.server.return_to.clear()).await;
    let there = |browser: &Browser| Browser { url: other.url.clone(), ..browser.clone() };
    let elsewhere: Refusal = (400, "invalid_return_to");
    let start = "/auth/op?return_to=https://app.example.com/done";

    // A newcomer, at the callback and with the name chosen.
    let before = one.rows().await;
    let browser = one.browser();
    let attempt = begin(&browser, start).await;
    let answer = get_with_cookies(&other, &attempt.back(), &attempt.cookie).await;
    refuses(&other, &before, answer, elsewhere).await;
    browser.get(&attempt.back()).await;
    let name = json!({ "username": "rivka" });
    let answer = there(&browser).post_json("/auth/setup", &name).await;
    refuses(&other, &before, answer, elsewhere).await;
    assert_eq!(browser.post_json("/auth/setup", &name).await.status(), StatusCode::CREATED);

    // A known person.
    let before = one.rows().await;
    let attempt = begin(&browser, start).await;
    let answer = there(&browser).page(&attempt.back()).await;
    let page = refuses(&other, &before, answer, elsewhere).await;
    let (_, way_on) = page.split_once("<a class=\"button\" href=\"").unwrap();
    let way_on = way_on.split('"').next().unwrap();
    assert_eq!(there(&browser).page(way_on).await.status(), StatusCode::OK, "{way_on}");

    // A link that waits for its answer.
    one.execute("DELETE FROM emails; DELETE FROM identities").await;
    let alice = one.signed_in("alice").await;
    let link = start.replace("/auth/op", "/auth/link/op");
    let attempt = begin(&alice, &link).await;
    assert_eq!(location(&alice.get(&attempt.back()).await).as_deref(), Some("/link"));
    let token = hidden_token(&alice.page("/link").await.text().await.unwrap());
    let before = one.rows().await;
    let answer = there(&alice).client.post(format!("{}/auth/form/link", other.url));
    let answer = answer
        .header("content-type", "application/x-www-form-urlencoded")
        .body(query(&[("form_token", &token)]))
        .send()
        .await
        .unwrap();
    refuses(&other, &before, answer, elsewhere).await;
}

/// The same person who signs in again keeps `sid` (spec.md section 6): it was theirs before. Another
/// person gets a new one, and the old one is dead: what an attacker plants ends with the sign-in.
async fn g22_a_session_planted_before_a_sign_in_ends_with_it(backend: Backend) {
    let scene = Scene::honest(backend).await;
    let server = &scene.server;
    let victim = scene.signed_up("rivka").await;
    let sid = session_of(&victim).await;
    let attempt = begin(&victim, "/auth/op").await;
    victim.get(&attempt.back()).await;
    assert_eq!(session_of(&victim).await, sid, "the same person");

    // Known to the server, and new to it.
    for newcomer in [false, true] {
        let attacker = server.browser();
        attacker.sign_in("mallory").await;
        attacker.post_json("/auth/setup", &json!({ "username": "mallory" })).await;
        let planted = attacker.refresh().await.unwrap();
        let access = cookie(&attacker.post("/auth/refresh").await, "auth_access").unwrap();
        let before = session_of(&attacker).await;
        if newcomer {
            server
                .execute("DELETE FROM emails; DELETE FROM identities WHERE provider = 'op'")
                .await;
        }
        // The victim's browser is the attacker's, as far as cookies go.
        let victim = attacker;
        let attempt = begin(&victim, "/auth/op").await;
        victim.get(&attempt.back()).await;
        if newcomer {
            victim.post_json("/auth/setup", &json!({ "username": "noa" })).await;
        }
        assert_ne!(session_of(&victim).await, before);
        let name = body(victim.get("/auth/me").await).await["username"].clone();
        assert_eq!(name, if newcomer { "noa" } else { "rivka" });
        let client = Client::builder().no_proxy().build().unwrap();
        let dead = present(&client, &server.url, &planted).await;
        assert_eq!(dead.status(), StatusCode::UNAUTHORIZED);
        let me = client.get(format!("{}/auth/me", server.url)).bearer_auth(&access).send().await;
        assert_eq!(me.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

crate::on_both_stores!(
    g01_a_state_that_is_missing_wrong_or_old_is_refused,
    g01_a_state_works_once_also_when_callbacks_race,
    g01_a_state_of_a_newcomer_makes_one_account,
    g02_an_attackers_way_back_signs_nobody_in_elsewhere,
    g03_a_state_of_one_provider_is_refused_at_anothers_callback,
    g03_a_state_of_a_link_never_signs_in,
    g03_a_state_of_a_sign_in_never_links,
    g21_a_return_to_elsewhere_is_refused_at_the_start,
    g22_a_session_planted_before_a_sign_in_ends_with_it,
);

/// Status, headers and body, without what is random in every answer.
async fn told(answer: Response, random: &[&str]) -> (StatusCode, HeaderMap, String) {
    let status = answer.status();
    let mut headers = answer.headers().clone();
    for name in ["date", "x-request-id", "set-cookie", "location"] {
        headers.remove(name);
    }
    let cookies: Vec<usize> = set_cookies(&answer).iter().map(String::len).collect();
    let mut text = format!("{:?} {cookies:?} ", location(&answer));
    text.push_str(&answer.text().await.unwrap());
    for value in random {
        text = text.replace(value, "…");
    }
    (status, headers, text)
}

#[actix_web::test]
async fn g23_no_answer_before_a_sign_in_tells_whether_an_address_has_an_account() {
    let scene = Scene::honest(Backend::Sqlite).await;
    scene.server.signed_in("rivka").await;
    let stranger = || scene.server.browser();
    let (known, unknown) = ("rivka@dev.localhost", "tamar@dev.localhost");
    for page in [false, true] {
        for target in ["/auth/providers", "/login", "/auth/op", "/auth/setup", "/link"] {
            let mut answers = Vec::new();
            for address in [known, unknown] {
                let browser = stranger();
                let target = format!("{target}?{}", query(&[("login_hint", address)]));
                let answer =
                    if page { browser.page(&target).await } else { browser.get(&target).await };
                let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
                let mut random = vec![request, address.to_owned(), address.replace('@', "%40")];
                if answer.status() == StatusCode::FOUND {
                    let attempt = Attempt::of(&answer);
                    random.extend([attempt.state, attempt.nonce, attempt.challenge]);
                }
                let random: Vec<&str> = random.iter().map(String::as_str).collect();
                answers.push(told(answer, &random).await);
            }
            assert_eq!(answers[0], answers[1], "{target}");
        }
    }
}

/// An attempt is a cookie of its browser: there is no row to bound, and nothing on our side to keep.
#[actix_web::test]
async fn g24_ten_thousand_starts_leave_nothing_behind() {
    let scene = Scene::honest(Backend::Sqlite).await;
    let server = &scene.server;
    let before = server.rows().await;
    // The first ones make what every server has: connections, threads, caches.
    start_often(server, 1_000).await;
    let memory = resident_bytes();
    start_often(server, 9_000).await;
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes more after 9 000 starts");
    assert_eq!(server.rows().await, before);
    assert_eq!(scene.op.state.discovery_requests(), 1);

    // One browser keeps five of its own.
    let browser = server.browser();
    let mut first = None;
    for _ in 0..20 {
        let attempt = begin(&browser, "/auth/op").await;
        server.clock.advance(Duration::from_millis(1));
        first.get_or_insert(attempt);
    }
    scene.refuses(&before, browser.get(&first.unwrap().back()).await, INVALID_STATE).await;
    let last = begin(&browser, "/auth/op").await;
    assert_eq!(location(&browser.get(&last.back()).await).as_deref(), Some("/onboarding"));
}

async fn start_often(server: &Server, count: usize) {
    let client =
        Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let starting = (0..8).map(|_| async {
        for _ in 0..count / 8 {
            let answer = client.get(format!("{}/auth/op", server.url)).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FOUND);
        }
    });
    join_all(starting).await;
}

/// What this process holds in memory.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[actix_web::test]
async fn g24_one_address_begins_sixty_sign_ins_a_minute() {
    let op = crate::openid_provider::TestProvider::start(Behaviour::default());
    let server = Server::start_with(Backend::Sqlite, &super::scene::block(&op.url), |settings| {
        settings.rate_limits.exempt.clear();
    })
    .await;
    let before = server.rows().await;
    let client =
        Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let start = || async { client.get(format!("{}/auth/op", server.url)).send().await.unwrap() };
    for _ in 0..60 {
        assert_eq!(start().await.status(), StatusCode::FOUND);
    }
    let answer = start().await;
    assert!(answer.headers().contains_key("retry-after"));
    refuses(&server, &before, answer, (429, "rate_limited")).await;
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(start().await.status(), StatusCode::FOUND, "one a second");
    assert_eq!(code(start().await).await, "rate_limited");
}
