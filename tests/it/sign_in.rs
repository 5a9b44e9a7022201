//! Signing in and setting up: what works, and what each forgery gets.

use latchkey::store::model::AuditPage;
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::protocol::jwt::AccessClaims;
use reqwest::StatusCode;
use reqwest::header::SET_COOKIE;
use serde_json::json;

use crate::grants::{claims, session};
use crate::harness::{Backend, Browser, Server, body, code, cookie, location};

/// Starts a sign-in and returns the provider's redirect back to us.
async fn callback_of(browser: &Browser, name: &str) -> String {
    let start = browser.get(&format!("/auth/dev?login_hint={name}")).await;
    assert_eq!(start.status(), StatusCode::FOUND);
    location(&browser.get(&location(&start).unwrap()).await).unwrap()
}

pub async fn the_way_from_the_login_page_to_the_account(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let login = browser.follow("/").await;
    assert_eq!(login.url().path(), "/login");
    let onboarding = browser.follow("/auth/dev?login_hint=rivka&return_to=/account").await;
    assert_eq!(onboarding.url().path(), "/onboarding");
    let page = onboarding.text().await.unwrap();
    let token = hidden_token(&page);
    let fields =
        [("form_token", token.as_str()), ("username", "Rivka"), ("display_name", "Rivka C.")];
    let done = browser.post_form("/auth/form/setup", &fields).await;
    assert_eq!(
        (done.status(), location(&done).as_deref()),
        (StatusCode::SEE_OTHER, Some("/account"))
    );
    let account = browser.page("/account").await.text().await.unwrap();
    assert!(account.contains("Rivka") && account.contains("rivka@dev.localhost"), "{account}");

    let (_, form) = account.split_once("action=\"/auth/form/sign-out\"").expect("a form to leave");
    let token = hidden_token(form);
    let left = browser.post_form("/auth/form/sign-out", &[("form_token", &token)]).await;
    assert_eq!(location(&left).as_deref(), Some("/signed-out"));
    assert_eq!(browser.follow("/account").await.url().path(), "/login");
    // The second time there is an account.
    let back = browser.follow("/auth/dev?login_hint=rivka&return_to=/account").await;
    assert_eq!(back.url().path(), "/account");
}

/// The value of a page's hidden form token.
pub fn hidden_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form token");
    rest.split_once('"').unwrap().0.to_owned()
}

pub async fn a_form_may_end_where_sign_ins_may_lead(backend: Backend) {
    let server = Server::start(backend, "return_to = [\"http://127.0.0.1:3000\"]\n").await;
    let browser = server.browser();
    let form = browser.follow("/auth/dev?return_to=http://127.0.0.1:3000/done").await;
    assert_eq!(form.url().path(), "/dev/idp/authorize");
    let policy = |answer: &reqwest::Response| {
        answer.headers()["content-security-policy"].to_str().unwrap().to_owned()
    };
    let expected = "form-action 'self' http://127.0.0.1:3000;";
    // The stand-in provider cannot know where its sign-ins end.
    let anywhere = "form-action 'self' http: https:;";
    assert!(policy(&form).contains(anywhere), "{}", policy(&form));
    let there = "/auth/dev?login_hint=alice&return_to=http://127.0.0.1:3000/done";
    let onboarding = browser.follow(there).await;
    assert!(policy(&onboarding).contains(expected), "{}", policy(&onboarding));
    let created = browser.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    assert_eq!(location(&created).as_deref(), Some("http://127.0.0.1:3000/done"));
    let elsewhere = browser.get("/auth/dev?return_to=http://127.0.0.1:3001/").await;
    assert_eq!(code(elsewhere).await, "invalid_return_to");
}

pub async fn a_callback_is_bound_to_its_attempt_and_browser(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let back = callback_of(&browser, "alice").await;

    let stranger = server.browser();
    let answer = stranger.get(&back).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "another browser");
    assert_eq!(code(answer).await, "invalid_state");

    let without = back.replace("state=", "other=");
    assert_eq!(code(browser.get(&without).await).await, "invalid_state");
    let (head, tail) = back.split_at(back.find("state=").unwrap() + 20);
    let tampered = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    assert_eq!(code(browser.get(&tampered).await).await, "invalid_state");
    assert_eq!(
        code(browser.get(&back.replace("/auth/dev/", "/auth/other/")).await).await,
        "invalid_state",
        "no such provider began anything"
    );
    server.clock.advance(Duration::from_secs(601));
    assert_eq!(code(browser.get(&back).await).await, "invalid_state", "too late");
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 0);
}

pub async fn a_callback_works_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("alice").await;
    let browser = server.browser();
    let start = browser.get("/auth/dev?login_hint=alice").await;
    let login = start.headers().get(SET_COOKIE).unwrap().to_str().unwrap();
    let login = login.split(';').next().unwrap().to_owned();
    let back = location(&browser.get(&location(&start).unwrap()).await).unwrap();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let ask = || client.get(&back).header("cookie", login.clone()).send();
    let answers = join_all((0..8).map(|_| ask())).await;
    let opened = answers
        .into_iter()
        .filter(|answer| cookie(answer.as_ref().unwrap(), "auth_refresh").is_some())
        .count();
    assert_eq!(opened, 1, "eight at once open one session");
    let again = ask().await.unwrap();
    assert!(again.status().is_client_error());
    assert_eq!(server.audited("session.opened").await, 2);
}

pub async fn parallel_attempts_do_not_break_each_other_and_are_bounded(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let first = callback_of(&browser, "alice").await;
    let second = callback_of(&browser, "alice").await;
    assert_eq!(location(&browser.get(&first).await).as_deref(), Some("/onboarding"));
    assert_eq!(location(&browser.get(&second).await).as_deref(), Some("/onboarding"));

    let mut attempts = Vec::new();
    for _ in 0..6 {
        attempts.push(callback_of(&browser, "alice").await);
        server.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(code(browser.get(&attempts[0]).await).await, "invalid_state", "the oldest goes");
    assert_eq!(browser.get(&attempts[1]).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&attempts[5]).await.status(), StatusCode::SEE_OTHER);
}

pub async fn two_first_sign_ins_of_one_identity_make_one_account(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browsers: Vec<Browser> = (0..6).map(|_| server.browser()).collect();
    for browser in &browsers {
        browser.sign_in("alice").await;
    }
    let setups = browsers.iter().enumerate().map(|(number, browser)| async move {
        browser.post_json("/auth/setup", &json!({ "username": format!("alice{number}") })).await
    });
    let answers = join_all(setups).await;
    let created = answers.iter().filter(|answer| answer.status() == StatusCode::CREATED).count();
    assert_eq!(created, 1);
    for answer in answers {
        if answer.status() != StatusCode::CREATED {
            assert_eq!(answer.status(), StatusCode::CONFLICT);
            assert_eq!(code(answer).await, "identity_taken");
        }
    }
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 1);
}

pub async fn a_frontend_learns_what_it_needs_to_draw_the_setup(backend: Backend) {
    let frontend = "http://127.0.0.1:3000";
    let server = Server::start(backend, &format!("cors_origins = [\"{frontend}\"]\n")).await;
    let browser = server.browser();
    assert_eq!(code(browser.get("/auth/setup").await).await, "setup_expired");
    browser.sign_in("rivka").await;
    let shown = body(browser.get("/auth/setup").await).await;
    let expected = json!({
        "provider": "dev", "suggested_username": "rivka", "display_name": "Rivka",
        "masked_email": "r…a@d…v.localhost", "existing_account": false,
    });
    assert_eq!(shown, expected);
    let created = browser
        .client
        .post(format!("{}/auth/setup", browser.url))
        .header("sec-fetch-site", "same-site")
        .header("origin", frontend)
        .header("content-type", "application/json")
        .body(json!({ "username": "rivka" }).to_string())
        .send()
        .await
        .unwrap();
    let header = |name: &str| created.headers()[name].to_str().unwrap();
    assert_eq!((created.status(), header("location")), (StatusCode::CREATED, "/"));
    assert_eq!(header("access-control-allow-origin"), frontend);
    assert!(header("access-control-expose-headers").contains("Location"));
    let person = body(browser.get("/auth/me").await).await;
    // Who says nothing of a display name gets the provider's.
    assert_eq!(person["display_name"], "Rivka");
}

pub async fn a_taken_name_lets_the_person_choose_again(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("alice").await;
    let browser = server.browser();
    browser.sign_in("bob").await;
    for (name, status, expected) in [
        ("ALICE", StatusCode::CONFLICT, "username_taken"),
        ("Admin", StatusCode::UNPROCESSABLE_ENTITY, "username_reserved"),
        ("a", StatusCode::UNPROCESSABLE_ENTITY, "username_invalid"),
        ("b ob", StatusCode::UNPROCESSABLE_ENTITY, "username_invalid"),
    ] {
        let free = body(
            browser
                .get(&format!("/auth/username-available?username={}", name.replace(' ', "+")))
                .await,
        )
        .await;
        assert_eq!(
            (free["available"].as_bool(), free["code"].as_str()),
            (Some(false), Some(expected))
        );
        let answer = browser.post_json("/auth/setup", &json!({ "username": name })).await;
        assert_eq!(answer.status(), status);
        let answer = body(answer).await;
        assert_eq!(
            (answer["code"].as_str(), answer["field"].as_str()),
            (Some(expected), Some("username"))
        );
    }
    let answer = browser.post_json("/auth/setup", &json!({ "username": "bob" })).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(location(&answer).as_deref(), Some("/"));
    assert_eq!(body(answer).await["username"], "bob");
    let again = browser.post_json("/auth/setup", &json!({ "username": "bobby" })).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "the setup cookie is gone");
}

pub async fn for_a_taken_name_a_free_one_is_suggested(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let asked = async |name: &str| {
        body(browser.get(&format!("/auth/username-available?username={name}")).await).await
    };
    for (person, expected) in
        [("Rivka", "RIVKA2"), ("rivka2", "RIVKA-2"), ("rivka-2", "RIVKA3"), ("rivka3", "RIVKA-3")]
    {
        server.signed_in(person).await;
        assert_eq!(asked("RIVKA").await["suggestion"], expected);
    }
    assert_eq!(asked("free").await, json!({ "available": true }));
    // Whoever asks too late, or without a script, is told the same.
    browser.sign_in("late").await;
    let late = body(browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await).await;
    assert_eq!(late["detail"], "“rivka” belongs to another account. “rivka-3” is free.");
    assert!(asked("admin").await.get("suggestion").is_none(), "a rule is explained instead");
    for person in ["rivka-3", "rivka4"] {
        server.signed_in(person).await;
    }
    let crowded = asked("rivka").await;
    assert_eq!((&crowded["available"], crowded.get("suggestion")), (&json!(false), None));
}

pub async fn a_setup_ticket_is_spent_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.browser();
    let answer = browser.sign_in("alice").await;
    let ticket = cookie(&answer, "auth_setup").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |name: String| {
        client
            .post(format!("{}/auth/setup", server.url))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("auth_setup={ticket}"))
            .header("content-type", "application/json")
            .body(json!({ "username": name }).to_string())
            .send()
    };
    let answers = join_all((0..6).map(|number| ask(format!("alice{number}")))).await;
    let statuses: Vec<StatusCode> =
        answers.into_iter().map(|answer| answer.unwrap().status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CREATED).count(), 1);
    assert!(statuses.iter().all(|status| matches!(status.as_u16(), 201 | 409)), "{statuses:?}");
}

pub async fn sign_up_follows_the_deployers_rule(backend: Backend) {
    let closed = Server::start(backend, "[signup]\nmode = \"closed\"\n").await;
    let answer = closed.browser().sign_in("alice").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(code(answer).await, "signup_closed");
    let trail = closed.app.store.read.audit(&AuditPage::newest(10)).await.unwrap();
    let mut actions: Vec<&str> = trail.iter().map(|row| row.action.as_str()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["key.staged", "session.refused"], "the trail alone tells of it");
    let rule = "[signup]\nmode = \"domains\"\nallowed_domains = [\"example.com\"]\n";
    let other = Server::start(backend, rule).await;
    assert_eq!(code(other.browser().sign_in("alice").await).await, "signup_closed");
    let rule = "[signup]\nmode = \"domains\"\nallowed_domains = [\"DEV.localhost\"]\n";
    let ours = Server::start(backend, rule).await;
    let answer = ours.browser().sign_in("alice").await;
    assert_eq!(location(&answer).as_deref(), Some("/onboarding"));
}

pub async fn another_person_in_the_same_browser_ends_the_first_ones_session(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("bob").await;
    let browser = server.signed_in("alice").await;
    let before = browser.post("/auth/refresh").await;
    let (alice, access) =
        (cookie(&before, "auth_refresh").unwrap(), cookie(&before, "auth_access").unwrap());
    browser.sign_in("bob").await;
    assert_eq!(body(browser.get("/auth/me").await).await["username"], "bob");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let old = crate::harness::present(&client, &server.url, &alice).await;
    assert_eq!(old.status(), StatusCode::UNAUTHORIZED);
    let me =
        client.get(format!("{}/auth/me", server.url)).bearer_auth(access).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::UNAUTHORIZED);
}

pub async fn signing_in_again_keeps_the_session_and_renews_its_time(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let first = session(&browser).await;
    server.clock.advance(Duration::from_secs(3600));
    let second = cookie(&browser.sign_in("alice").await, "auth_access").unwrap();
    let second: AccessClaims = claims(&second);
    assert_eq!(first.sid, second.sid, "same session");
    assert!(second.auth_time >= first.auth_time + 3600, "new time of sign-in");
    assert!(browser.refresh().await.is_ok());
}

pub async fn signing_out_everywhere_ends_all_sessions(backend: Backend) {
    let server = Server::start(backend, "").await;
    let here = server.signed_in("alice").await;
    let there = server.browser();
    there.sign_in("alice").await;
    let other = server.signed_in("bob").await;
    assert_eq!(there.get("/auth/me").await.status(), StatusCode::OK);
    assert_eq!(here.post("/auth/logout-all").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(there.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(there.refresh().await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(other.get("/auth/me").await.status(), StatusCode::OK, "nobody else's");
    here.sign_in("alice").await;
    assert_eq!(
        here.get("/auth/me").await.status(),
        StatusCode::OK,
        "a new session in the same second"
    );
}

pub async fn resume_leads_back_and_never_loops(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    // The access cookie runs out; a page goes by way of resume and is shown.
    server.clock.advance(Duration::from_secs(1000));
    let account = browser.follow("/account").await;
    assert_eq!((account.status(), account.url().path()), (StatusCode::OK, "/account"));
    // A browser that keeps no cookies is told so instead of going round.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = client
        .get(format!("{}/account", server.url))
        .header("accept", "text/html")
        .header("cookie", "auth_resume=refreshed")
        .send()
        .await
        .unwrap();
    assert_eq!(told.status(), StatusCode::OK);
    assert!(told.text().await.unwrap().contains("cookies"));
    let away = browser.get("/auth/resume?return_to=https://evil.example/").await;
    assert_eq!(code(away).await, "invalid_return_to");
}

pub async fn requests_from_other_sites_change_nothing(backend: Backend) {
    let allowed = "cors_origins = [\"https://app.example.com\"]\n";
    let server = Server::start(backend, allowed).await;
    let browser = server.signed_in("alice").await;
    let token = browser.refresh().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |headers: &'static [(&'static str, &'static str)], with_cookie: bool| {
        let mut request = client.post(format!("{}/auth/logout", server.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if with_cookie {
            request = request.header("cookie", format!("auth_refresh={token}"));
        }
        async { request.send().await.unwrap() }
    };
    for refused in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "https://app.example.com"), ("origin", "https://evil.example")],
    ] {
        let answer = ask(refused, true).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{refused:?}");
        assert_eq!(code(answer).await, "csrf_rejected");
    }
    assert_eq!(browser.refresh().await.unwrap(), token, "nothing happened");
    let frontend = &[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")][..];
    let answer = ask(frontend, false).await;
    assert_eq!(code(answer).await, "cookies_not_sent");
    let answer = ask(frontend, true).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example.com");
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
}

crate::on_both_stores!(
    the_way_from_the_login_page_to_the_account,
    a_form_may_end_where_sign_ins_may_lead,
    a_callback_is_bound_to_its_attempt_and_browser,
    a_callback_works_once,
    parallel_attempts_do_not_break_each_other_and_are_bounded,
    two_first_sign_ins_of_one_identity_make_one_account,
    a_frontend_learns_what_it_needs_to_draw_the_setup,
    a_taken_name_lets_the_person_choose_again,
    for_a_taken_name_a_free_one_is_suggested,
    a_setup_ticket_is_spent_once,
    sign_up_follows_the_deployers_rule,
    another_person_in_the_same_browser_ends_the_first_ones_session,
    signing_in_again_keeps_the_session_and_renews_its_time,
    signing_out_everywhere_ends_all_sessions,
    resume_leads_back_and_never_loops,
    requests_from_other_sites_change_nothing,
);
