//! Signing out for apps, and telling apps of it: `/oauth/logout` and back-channel logout, with a receiver
//! that counts and can fail.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode as ReceiverStatus;
use actix_web::web::{Data, Form};
use actix_web::{HttpResponse, web};
use latchkey::actors::outbox::{Idle, Wake};
use latchkey::protocol::client::ClientMetadata;
use latchkey::protocol::jwt::AccessClaims;
use latchkey::store::model::AuditPage;
use regex::Regex;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::forged::id_token;
use crate::grants::{self, claims, form, grant, session};
use crate::harness::{Backend, Browser, Server, body, cookie, location, present};
use crate::identity::further;
use crate::registration::{Registered, register, remove};
use crate::stub_server::StubServer;

crate::on_both_stores!(
    an_app_signs_its_person_out_and_gets_them_back,
    who_cannot_show_a_token_of_the_person_has_them_asked,
    the_answer_needs_the_page_and_the_session,
    an_expired_session_is_renewed_on_the_way,
    whoever_is_not_signed_in_is_led_on,
    a_form_comes_to_the_same_as_a_link,
    a_frontend_has_its_own_farewell,
    a_receiver_that_fails_is_tried_again_later,
    after_a_day_a_receiver_is_given_up,
    a_receiver_that_refuses_is_given_up_at_once,
    a_removed_client_is_not_told,
    private_receivers_are_told_only_if_that_is_allowed,
    what_is_due_at_the_end_is_delivered_by_the_next_server,
    what_is_being_sent_at_the_end_is_given_to_the_next_server,
    a_server_without_keys_yet_delivers_when_it_has_them,
    many_deliveries_are_all_made,
);

/// Receivers on this machine are allowed, and keys are made fast.
pub const SETTINGS: &str = "allow_private_receivers = true\n[keys]\nalgorithm = \"ES256\"\n";

/// Where the app takes people back.
pub const BACK: &str = "https://app.example/signed-out";

/// What the receiver got, and how it answers.
struct State {
    tokens: watch::Sender<Vec<String>>,
    status: AtomicU16,
    /// A permit for each request that may be answered.
    released: Semaphore,
}

/// An app's server that takes logout tokens; ends with the test.
pub struct Receiver {
    server: StubServer,
    state: Data<State>,
}

#[derive(Deserialize)]
struct LogoutForm {
    logout_token: String,
}

async fn take(form: Form<LogoutForm>, state: Data<State>) -> HttpResponse {
    state.tokens.send_modify(|tokens| tokens.push(form.logout_token.clone()));
    state.released.acquire().await.unwrap().forget();
    let status = ReceiverStatus::from_u16(state.status.load(Ordering::SeqCst)).unwrap();
    HttpResponse::build(status).body("x".repeat(100_000))
}

impl Receiver {
    pub fn start() -> Self {
        let state = Data::new(State {
            tokens: watch::Sender::new(Vec::new()),
            status: AtomicU16::new(200),
            released: Semaphore::new(1_000),
        });
        let shared = state.clone();
        let server = StubServer::start(move |routes| {
            routes.app_data(shared.clone()).route("/logout", web::post().to(take));
        });
        Self { server, state }
    }

    pub fn uri(&self) -> String {
        format!("{}/logout", self.server.url)
    }

    /// Answers so from now on.
    pub fn answers(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// Answers nothing until [`Receiver::release`].
    pub fn hold(&self) {
        self.state.released.forget_permits(usize::MAX);
    }

    pub fn release(&self) {
        self.state.released.add_permits(1_000);
    }

    /// The logout tokens so far.
    pub fn tokens(&self) -> Vec<String> {
        self.state.tokens.borrow().clone()
    }

    /// Waits until there are so many.
    pub async fn has(&self, number: usize) -> Vec<String> {
        let mut tokens = self.state.tokens.subscribe();
        let arriving = tokens.wait_for(|tokens| tokens.len() >= number);
        let arrived = tokio::time::timeout(Duration::from_secs(60), arriving).await;
        arrived.expect("the receiver is told").unwrap().clone()
    }
}

/// Registers an app that takes people back to [`BACK`] and is told of sign-outs by `receiver`.
pub async fn app(server: &Server, receiver: &Receiver) -> Registered {
    app_with(server, receiver, |_| {}).await
}

pub async fn app_with(
    server: &Server,
    receiver: &Receiver,
    change: impl FnOnce(&mut ClientMetadata),
) -> Registered {
    register(server, |metadata| {
        metadata.auto_approve = true;
        metadata.post_logout_redirect_uris = vec![BACK.to_owned()];
        metadata.backchannel_logout_uri = Some(receiver.uri());
        change(metadata);
    })
    .await
}

/// `/oauth/logout` with these parameters.
pub fn logout(parameters: &[(&str, &str)]) -> String {
    format!("/oauth/logout?{}", form(parameters))
}

/// Goes by way of a resume, if there is one.
pub async fn arrive(browser: &Browser, target: &str) -> Response {
    let mut answer = browser.page(target).await;
    for _ in 0..2 {
        match location(&answer)
            .filter(|location| location.starts_with('/') && location.contains("resume"))
        {
            Some(next) => answer = browser.page(&next).await,
            None => break,
        }
    }
    answer
}

/// Lets the outbox do what is due; when it returns, all of that was tried.
pub async fn deliver(server: &Server) {
    server.app.outbox.tell(Wake);
    server.app.outbox.ask(Idle).await.unwrap();
}

/// How many deliveries the store holds.
pub async fn held(server: &Server) -> i64 {
    server.rows().await.into_iter().find(|(table, _)| *table == "deliveries").unwrap().1
}

/// The claims of a logout token, as an app verifies it.
pub async fn verified(server: &Server, app: &Registered, token: &str) -> Value {
    grants::verified(server, token, "logout+jwt", &app.id).await
}

/// The hidden fields of a page's form.
pub fn hidden(html: &str) -> Vec<(String, String)> {
    let field = Regex::new("<input type=\"hidden\" name=\"([^\"]*)\" value=\"([^\"]*)\">").unwrap();
    field.captures_iter(html).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

/// Answers yes on the page that asks.
pub async fn confirm(browser: &Browser, html: &str) -> Response {
    let fields = hidden(html);
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post_form("/auth/form/end-session", &fields).await
}

async fn an_app_signs_its_person_out_and_gets_them_back(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    grant(&server, &browser, &app, "openid").await;
    let hint = id_token(&server, &app, &who, |_| {}).await;
    // The life of the ID token is over, its session is not.
    server.clock.advance(Duration::from_secs(3_600));
    browser.refresh().await.unwrap();
    let target = logout(&[
        ("id_token_hint", &hint),
        ("post_logout_redirect_uri", BACK),
        ("state", "a b&c=d"),
    ]);
    let answer = browser.page(&target).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&answer).unwrap(), format!("{BACK}?state=a+b%26c%3Dd"));
    for name in ["auth_access", "auth_refresh"] {
        assert_eq!(cookie(&answer, name).as_deref(), Some(""), "{name} is cleared");
    }
    assert!(!browser.is_signed_in().await);
    assert_eq!(server.audited("session.ended").await, 1);

    let tokens = receiver.has(1).await;
    let claims = verified(&server, &app, &tokens[0]).await;
    assert_eq!(claims["sid"], who.sid.to_string());
    assert_eq!(claims["sub"], who.sub.to_string());
    deliver(&server).await;
    assert_eq!((receiver.tokens().len(), held(&server).await), (1, 0));
    let metrics = server.app.metrics.encode();
    assert!(metrics.contains("latchkey_logout_deliveries_total{outcome=\"delivered\"} 1\n"));
}

async fn who_cannot_show_a_token_of_the_person_has_them_asked(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    let of_alice = id_token(&server, &app, &session(&alice).await, |_| {}).await;
    let back = ("post_logout_redirect_uri", BACK);
    for parameters in [
        vec![("client_id", app.id.as_str()), back, ("state", "s")],
        vec![("id_token_hint", of_alice.as_str()), back, ("state", "s")],
    ] {
        let page = bob.page(&logout(&parameters)).await;
        assert_eq!(page.status(), StatusCode::OK);
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");
        let html = page.text().await.unwrap();
        assert!(html.contains("Sign out?") && html.contains(">bob<"), "{html}");
        assert!(html.contains("Example app asks to sign you out.") && !html.contains("alice"));
        assert!(bob.is_signed_in().await, "a question changes nothing");
        let answer = confirm(&bob, &html).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(location(&answer).unwrap(), format!("{BACK}?state=s"));
        assert!(!bob.is_signed_in().await);
        bob.sign_in("bob").await;
    }
    assert!(alice.is_signed_in().await);
    // Without an app the way ends here.
    let html = bob.page("/oauth/logout").await.text().await.unwrap();
    assert!(html.contains("Another page asks to sign you out."));
    assert_eq!(location(&confirm(&bob, &html).await).unwrap(), "/signed-out");
}

async fn the_answer_needs_the_page_and_the_session(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    let target = logout(&[("client_id", &app.id), ("post_logout_redirect_uri", BACK)]);
    let html = alice.page(&target).await.text().await.unwrap();
    let fields = hidden(&html);
    let (token, request) = (fields[0].1.as_str(), fields[1].1.as_str());
    // The page of another session, no page, a request of one's own making.
    for (browser, fields) in [
        (&bob, vec![("form_token", token), ("request", request)]),
        (&alice, vec![("request", request)]),
        (&alice, vec![("form_token", token)]),
        (&alice, vec![("form_token", token), ("request", token)]),
    ] {
        let refused = browser.post_form("/auth/form/end-session", &fields).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{fields:?}");
        assert!(browser.is_signed_in().await);
    }
    let from_elsewhere = alice
        .client
        .post(format!("{}/auth/form/end-session", server.url))
        .header("sec-fetch-site", "cross-site")
        .header("origin", "https://evil.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("form_token={token}&request={request}"));
    assert_eq!(from_elsewhere.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(alice.is_signed_in().await);
    // Who left in the meantime is led on all the same.
    alice.post("/auth/logout").await;
    assert_eq!(location(&confirm(&alice, &html).await).as_deref(), Some(BACK));
}

async fn an_expired_session_is_renewed_on_the_way(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    let hint = id_token(&server, &app, &who, |_| {}).await;
    server.clock.advance(Duration::from_secs(3_600));
    let state = "s".repeat(1_400);
    let target =
        logout(&[("id_token_hint", &hint), ("post_logout_redirect_uri", BACK), ("state", &state)]);
    let first = browser.page(&target).await;
    assert!(location(&first).unwrap().starts_with("/auth/resume?"));
    let answer = arrive(&browser, &target).await;
    assert_eq!(location(&answer).unwrap(), format!("{BACK}?state={state}"));
    assert!(!browser.is_signed_in().await);
    assert_eq!(server.audited("session.ended").await, 1);

    // Whoever keeps no cookies is not led round in circles.
    let forgetful = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let mut target = target;
    for _ in 0..2 {
        let answer = forgetful.get(format!("{}{target}", server.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        target = location(&answer).unwrap();
    }
    let last = forgetful.get(format!("{}{target}", server.url)).send().await.unwrap();
    assert_eq!(last.status(), StatusCode::OK);
}

async fn whoever_is_not_signed_in_is_led_on(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let hint =
        id_token(&server, &app, &session(&server.signed_in("alice").await).await, |_| {}).await;
    let back = ("post_logout_redirect_uri", BACK);
    for (parameters, end) in [
        (vec![("id_token_hint", hint.as_str()), back], BACK),
        (vec![("client_id", app.id.as_str()), back], BACK),
        (vec![("client_id", app.id.as_str())], "/signed-out"),
        (vec![], "/signed-out"),
        (vec![("logout_hint", "alice"), ("ui_locales", "de")], "/signed-out"),
    ] {
        let answer = arrive(&server.browser(), &logout(&parameters)).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(location(&answer).unwrap(), end, "{parameters:?}");
    }
}

async fn a_form_comes_to_the_same_as_a_link(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let hint = id_token(&server, &app, &session(&browser).await, |_| {}).await;
    // As another site's page posts it: without our cookies, and with its own origin.
    let form =
        [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", BACK), ("state", "ü &")];
    let posted = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/oauth/logout", server.url))
        .header("origin", "https://app.example")
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
    let posted = posted.send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::SEE_OTHER);
    let target = location(&posted).unwrap();
    assert_eq!(target, logout(&form));
    let answer = browser.page(&target).await;
    assert_eq!(location(&answer).unwrap(), format!("{BACK}?state=%C3%BC+%26"));
    assert!(!browser.is_signed_in().await);
}

async fn a_frontend_has_its_own_farewell(backend: Backend) {
    let settings = format!("frontend_url = \"https://front.example\"\n{SETTINGS}");
    let (server, receiver) = (Server::start(backend, &settings).await, Receiver::start());
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    let who = session(&browser).await;
    let page = browser.page("/oauth/logout").await;
    assert_eq!(page.status(), StatusCode::OK, "the question is always ours");
    assert!(page.text().await.unwrap().contains("href=\"https://front.example/account\""));
    let answer = browser
        .page(&logout(&[("id_token_hint", &id_token(&server, &app, &who, |_| {}).await)]))
        .await;
    assert_eq!(location(&answer).unwrap(), "https://front.example/signed-out");
}

/// A server with an app that has a grant in a session which has just ended.
async fn after_a_sign_out(
    backend: Backend,
    settings: &str,
    status: u16,
) -> (Server, Receiver, Registered) {
    let (server, receiver) = (Server::start(backend, settings).await, Receiver::start());
    receiver.answers(status);
    let app = app(&server, &receiver).await;
    let browser = server.signed_in("alice").await;
    grant(&server, &browser, &app, "openid").await;
    assert_eq!(browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    deliver(&server).await;
    (server, receiver, app)
}

async fn a_receiver_that_fails_is_tried_again_later(backend: Backend) {
    let (server, receiver, app) = after_a_sign_out(backend, SETTINGS, 500).await;
    deliver(&server).await;
    assert_eq!((receiver.tokens().len(), held(&server).await), (1, 1), "not before it is due");
    for (wait, status) in [(5, 503), (10, 302), (20, 404), (40, 204)] {
        receiver.answers(status);
        server.clock.advance(Duration::from_secs(wait));
        deliver(&server).await;
    }
    assert_eq!(held(&server).await, 0);
    let tokens = receiver.tokens();
    assert_eq!(tokens.len(), 5);
    let (first, last) =
        (verified(&server, &app, &tokens[0]).await, verified(&server, &app, &tokens[4]).await);
    assert_eq!(first["jti"], last["jti"], "one delivery");
    assert_eq!(last["iat"].as_i64().unwrap() - first["iat"].as_i64().unwrap(), 75, "a fresh token");
    assert_eq!(server.audited("logout.undelivered").await, 0);
}

async fn after_a_day_a_receiver_is_given_up(backend: Backend) {
    let (server, receiver, _app) = after_a_sign_out(backend, SETTINGS, 500).await;
    let mut hours = 0;
    while held(&server).await > 0 {
        server.clock.advance(Duration::from_secs(3_600));
        hours += 1;
        deliver(&server).await;
    }
    // Jitter decides whether one more attempt fits into the day.
    assert!((23..=24).contains(&hours), "{hours}");
    assert_eq!(receiver.tokens().len(), hours + 1);
    assert_eq!(server.audited("logout.undelivered").await, 1);
}

async fn a_receiver_that_refuses_is_given_up_at_once(backend: Backend) {
    let (server, receiver, app) = after_a_sign_out(backend, SETTINGS, 400).await;
    assert_eq!((receiver.tokens().len(), held(&server).await), (1, 0));
    let audit = server.app.store.read.audit(&AuditPage::newest(100)).await.unwrap();
    let entry = audit.iter().find(|row| row.action == "logout.undelivered").unwrap();
    assert_eq!(entry.target, format!("client:{}", app.id));
    assert_eq!(entry.details["attempts"], 1);
}

async fn a_removed_client_is_not_told(backend: Backend) {
    let (server, receiver, app) = after_a_sign_out(backend, SETTINGS, 500).await;
    remove(&server, &app).await;
    server.clock.advance(Duration::from_secs(5));
    deliver(&server).await;
    // What waited for it went with it.
    assert_eq!((receiver.tokens().len(), held(&server).await), (1, 0));
    assert_eq!(server.audited("logout.undelivered").await, 0);
}

async fn private_receivers_are_told_only_if_that_is_allowed(backend: Backend) {
    let strict = "[keys]\nalgorithm = \"ES256\"\n";
    let (server, receiver, _app) = after_a_sign_out(backend, strict, 200).await;
    assert_eq!((receiver.tokens().len(), held(&server).await), (0, 1));
}

async fn what_is_due_at_the_end_is_delivered_by_the_next_server(backend: Backend) {
    let (server, receiver, app) = after_a_sign_out(backend, SETTINGS, 500).await;
    assert_eq!(receiver.tokens().len(), 1);
    receiver.answers(200);
    // Nobody here looks any more when it is due.
    server.stop_tickers();
    server.app.outbox.ask(Idle).await.unwrap();
    server.clock.advance(Duration::from_secs(5));
    let next = server.restarted().await;
    let tokens = receiver.has(2).await;
    verified(&next, &app, &tokens[1]).await;
    next.app.outbox.ask(Idle).await.unwrap();
    assert_eq!(held(&next).await, 0);
}

async fn what_is_being_sent_at_the_end_is_given_to_the_next_server(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    receiver.hold();
    let browser = server.signed_in("alice").await;
    // More than are sent at once: some are under way and some wait.
    for _ in 0..12 {
        let app = app(&server, &receiver).await;
        grant(&server, &browser, &app, "openid").await;
    }
    browser.post("/auth/logout").await;
    let sent = receiver.has(8).await;
    let next = server.restarted().await;
    receiver.release();
    // The clock stands still: nothing waits for a lease to end.
    receiver.has(8 + 12).await;
    next.app.outbox.ask(Idle).await.unwrap();
    assert_eq!((receiver.tokens().len(), held(&next).await), (20, 0));
    let ids = |tokens: &[String]| -> BTreeSet<String> {
        let id = |token: &String| claims::<Value>(token)["jti"].as_str().unwrap().to_owned();
        tokens.iter().map(id).collect()
    };
    let (before, after) = (ids(&sent), ids(&receiver.tokens()[8..]));
    assert!(
        (before.len(), after.len()) == (8, 12) && before.is_subset(&after),
        "the same, told again"
    );
}

async fn a_server_without_keys_yet_delivers_when_it_has_them(backend: Backend) {
    let settings = "allow_private_receivers = true\n[keys]\nalgorithm = \"RS256\"\n";
    let (server, receiver, _app) = after_a_sign_out(backend, settings, 500).await;
    receiver.answers(200);
    server.stop_tickers();
    server.app.outbox.ask(Idle).await.unwrap();
    // The next one has to make a key first, which takes it much longer than to see what is due.
    server.execute("DELETE FROM signing_keys").await;
    server.clock.advance(Duration::from_secs(5));
    let next = server.restarted().await;
    receiver.has(2).await;
    next.app.outbox.ask(Idle).await.unwrap();
    assert_eq!((receiver.tokens().len(), held(&next).await), (2, 0));
    assert!(!next.app.metrics.encode().contains("outcome=\"put_off\"} 1"));
}

async fn many_deliveries_are_all_made(backend: Backend) {
    let (server, receiver) = (Server::start(backend, SETTINGS).await, Receiver::start());
    let browser = server.signed_in("alice").await;
    for _ in 0..70 {
        let app = app(&server, &receiver).await;
        grant(&server, &browser, &app, "openid").await;
    }
    browser.post("/auth/logout").await;
    deliver(&server).await;
    assert_eq!((receiver.tokens().len(), held(&server).await), (70, 0));
}

#[actix_web::test]
async fn two_nodes_tell_each_client_once() {
    let (one, receiver) = (Server::start(Backend::Postgres, SETTINGS).await, Receiver::start());
    let other = one.beside(|_| {}).await;
    let browser = one.signed_in("alice").await;
    for _ in 0..40 {
        let app = app(&one, &receiver).await;
        grant(&one, &browser, &app, "openid").await;
    }
    one.stop_tickers();
    other.stop_tickers();
    browser.post("/auth/logout").await;
    tokio::join!(deliver(&one), deliver(&other));
    deliver(&one).await;
    let mut ids = Vec::new();
    for token in receiver.tokens() {
        ids.push(claims::<Value>(&token)["jti"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), receiver.tokens().len(), held(&one).await), (40, 40, 0));
}

/// Ends sessions in each way that there is; each tells the app. For each: who did it, and how many sessions
/// end by it.
pub async fn every_end_of_a_session_tells_its_apps(backend: Backend) {
    let settings = format!("{SETTINGS}[tokens]\nsession_grace = \"0s\"\n");
    let (server, receiver) = (Server::start(backend, &settings).await, Receiver::start());
    // The word to look is enough; polling only makes up for lost ones.
    server.stop_tickers();
    let app = app(&server, &receiver).await;
    let mut told = 0;
    let mut tells = async |what: &str, sessions: Vec<AccessClaims>| {
        server.app.outbox.ask(Idle).await.unwrap();
        let tokens = receiver.has(told + sessions.len()).await;
        assert_eq!(tokens.len(), told + sessions.len(), "{what}");
        let mut named = Vec::new();
        for token in &tokens[told..] {
            named.push(verified(&server, &app, token).await["sid"].as_str().unwrap().to_owned());
        }
        for who in &sessions {
            assert!(named.contains(&who.sid.to_string()), "{what}");
        }
        told = tokens.len();
    };
    let granted = async |browser: &Browser| {
        grant(&server, browser, &app, "openid").await;
        session(browser).await
    };
    let browser = server.signed_in("alice").await;
    let first = granted(&browser).await;
    browser.post("/auth/logout").await;
    tells("a sign-out", vec![first]).await;

    let (one, other) = (further(&server, "alice").await, further(&server, "alice").await);
    let both = vec![granted(&one).await, granted(&other).await];
    one.post("/auth/logout-all").await;
    tells("a sign-out everywhere", both).await;

    let (one, other) = (further(&server, "alice").await, further(&server, "alice").await);
    let ended = granted(&other).await;
    granted(&one).await;
    one.delete(&format!("/auth/sessions/{}", ended.sid)).await;
    tells("the end of another session", vec![ended]).await;

    let ended = granted(&further(&server, "alice").await).await;
    one.delete("/auth/sessions").await;
    tells("the end of all others", vec![ended]).await;

    let browser = further(&server, "alice").await;
    let old = browser.refresh().await.unwrap();
    let ended = granted(&browser).await;
    for _ in 0..3 {
        browser.refresh().await.unwrap();
    }
    let reused = present(&browser.client, &server.url, &old).await;
    assert_eq!(reused.status(), StatusCode::UNAUTHORIZED);
    tells("a stolen session", vec![ended]).await;

    server.signed_in("bob").await;
    let browser = further(&server, "alice").await;
    let ended = granted(&browser).await;
    browser.sign_in("bob").await;
    tells("another person's sign-in", vec![ended]).await;

    let browser = further(&server, "alice").await;
    let last = granted(&browser).await;
    let open = session(&one).await;
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    tells("a deletion", vec![last, open]).await;
}

#[actix_web::test]
async fn discovery_names_the_way_out() {
    let server = Server::start(Backend::Sqlite, "").await;
    let discovery = body(server.browser().get("/.well-known/openid-configuration").await).await;
    assert_eq!(discovery["end_session_endpoint"], format!("{}/oauth/logout", server.url));
    assert_eq!(discovery["backchannel_logout_supported"], json!(true));
    assert_eq!(discovery["backchannel_logout_session_supported"], json!(true));
}
