//! Codes at the token endpoint (attacks B05 to B16).

use latchkey::store::model::AuditPage;
use std::time::Duration;

use latchkey::protocol::jwt::{AccessClaims, IdClaims};
use latchkey::protocol::pkce;
use reqwest::StatusCode;

use crate::grants::{
    REDIRECT_URI, Reply, VERIFIER, claims, code_for, code_with, is_dead, is_revoked, post_as,
    redeem, refresh, session,
};
use crate::harness::{Backend, Browser, Server};
use crate::registration::{Registered, register, remove};
use crate::{forged, on_both_stores};

const SCOPE: &str = "openid profile email";

struct Scene {
    server: Server,
    client: Registered,
    browser: Browser,
    session: AccessClaims,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
        let client = register(&server, |_| {}).await;
        let browser = server.signed_in("alice").await;
        let session = session(&browser).await;
        Self { server, client, browser, session }
    }

    async fn code(&self) -> String {
        code_for(&self.browser, &self.client, SCOPE).await
    }

    /// Presents a code with these parameters beside it.
    async fn present(&self, code: &str, parameters: &[(&str, &str)]) -> Reply {
        let always = [("grant_type", "authorization_code"), ("code", code)];
        post_as(&self.server.url, &self.client, &[&always, parameters].concat()).await
    }

    async fn redeem(&self, code: &str) -> Reply {
        redeem(&self.server.url, &self.client, code).await
    }

    /// Presents a code wrongly, which must be refused, spend it, and end what it gave before.
    async fn misuse(&self, parameters: &[(&str, &str)], error: &str) {
        let unused = self.code().await;
        self.present(&unused, parameters).await.refused(400, error);
        self.redeem(&unused).await.refused(400, "invalid_grant");
        let used = self.code().await;
        let granted = self.redeem(&used).await.granted();
        self.present(&used, parameters).await.refused(400, error);
        self.is_dead(&granted).await;
    }

    async fn is_dead(&self, granted: &Reply) {
        is_dead(&self.server, &self.client, granted).await;
    }
}

pub async fn b05_a_code_with_a_challenge_needs_its_verifier(backend: Backend) {
    let scene = Scene::new(backend).await;
    let uri = ("redirect_uri", REDIRECT_URI);
    let mut wrong = VERIFIER.to_owned();
    wrong.replace_range(..1, "b");
    let challenge = pkce::challenge(VERIFIER);
    let (short, long) = (&VERIFIER[..42], VERIFIER.repeat(3));
    for verifier in ["", &wrong, short, &long, &challenge, &format!("{VERIFIER} ")] {
        scene.misuse(&[uri, ("code_verifier", verifier)], "invalid_grant").await;
    }
    scene.misuse(&[uri], "invalid_grant").await;
}

pub async fn b06_a_verifier_without_a_challenge_is_refused(backend: Backend) {
    let scene = Scene::new(backend).await;
    let bare = || {
        forged::code(&scene.server, &scene.client, &scene.session, |code| {
            code.code_challenge = None
        })
    };
    let code = bare();
    scene.redeem(&code).await.refused(400, "invalid_grant");
    scene.present(&code, &[("redirect_uri", REDIRECT_URI)]).await.refused(400, "invalid_grant");
    scene.present(&bare(), &[("redirect_uri", REDIRECT_URI)]).await.granted();
}

pub async fn b09_a_second_redemption_ends_what_the_first_one_got(backend: Backend) {
    let scene = Scene::new(backend).await;
    // Known before the answer, not by the node's next look at the store.
    scene.server.stop_tickers();
    for moved_on in [false, true] {
        let code = scene.code().await;
        let granted = scene.redeem(&code).await.granted();
        let token = granted.text("refresh_token");
        let newer = match moved_on {
            true => Some(refresh(&scene.server.url, &scene.client, token).await.granted()),
            false => None,
        };
        scene.server.clock.advance(Duration::from_secs(30));
        scene.redeem(&code).await.refused(400, "invalid_grant");
        scene.is_dead(&granted).await;
        if let Some(newer) = newer {
            scene.is_dead(&newer).await;
        }
        scene.redeem(&code).await.refused(400, "invalid_grant");
    }
    let rows = scene.server.app.store.read.audit(&AuditPage::newest(100)).await.unwrap();
    let replays: Vec<_> = rows.iter().filter(|row| row.action == "grant.code_replayed").collect();
    assert_eq!(replays.len(), 2, "once for each grant that ended");
    for row in replays {
        assert_eq!(row.target, format!("user:{}", scene.session.sub));
        let told = row.details.to_string();
        assert!(told.contains(&scene.client.id), "{told}");
        assert!(told.contains(&scene.session.sid.to_string()), "{told}");
    }
    // Other grants of the person go on.
    let other = scene.redeem(&scene.code().await).await.granted();
    refresh(&scene.server.url, &scene.client, other.text("refresh_token")).await.granted();
}

pub async fn b11_a_code_in_another_clients_hands_is_spent(backend: Backend) {
    let scene = Scene::new(backend).await;
    let other = register(&scene.server, |_| {}).await;
    let code = scene.code().await;
    redeem(&scene.server.url, &other, &code).await.refused(400, "invalid_grant");
    scene.redeem(&code).await.refused(400, "invalid_grant");
    // Another client cannot end what the right one got.
    let code = scene.code().await;
    let granted = scene.redeem(&code).await.granted();
    redeem(&scene.server.url, &other, &code).await.refused(400, "invalid_grant");
    assert!(!is_revoked(&scene.server, granted.text("access_token")).await);
    refresh(&scene.server.url, &scene.client, granted.text("refresh_token")).await.granted();
}

pub async fn b12_the_redirect_uri_must_be_the_same(backend: Backend) {
    let scene = Scene::new(backend).await;
    let verifier = ("code_verifier", VERIFIER);
    for other in [
        "",
        "https://app.example/callback/",
        "https://app.example/Callback",
        "https://app.example/callback?a=b",
        "https://app.example/%63allback",
        "https://evil.example/callback",
    ] {
        scene.misuse(&[verifier, ("redirect_uri", other)], "invalid_grant").await;
    }
    scene.misuse(&[verifier], "invalid_grant").await;
}

pub async fn b12_a_wrong_resource_spends_the_code_too(backend: Backend) {
    let scene = Scene::new(backend).await;
    let parameters = [
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
        ("resource", "https://other.example/"),
    ];
    scene.misuse(&parameters, "invalid_target").await;
}

pub async fn b13_a_code_lives_for_a_minute(backend: Backend) {
    let scene = Scene::new(backend).await;
    let (early, late) = (scene.code().await, scene.code().await);
    scene.server.clock.advance(Duration::from_millis(59_999));
    scene.redeem(&early).await.granted();
    scene.server.clock.advance(Duration::from_millis(1));
    scene.redeem(&late).await.refused(400, "invalid_grant");
}

pub async fn b14_a_code_is_worth_nothing_once_its_ground_is_gone(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let client = register(&server, |_| {}).await;
    // Signed out.
    let browser = server.signed_in("alice").await;
    let code = code_for(&browser, &client, SCOPE).await;
    assert_eq!(browser.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
    // Deleted.
    let browser = server.signed_in("bob").await;
    let code = code_for(&browser, &client, SCOPE).await;
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
    redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
    // Without the consent that it rests on.
    let browser = server.signed_in("carol").await;
    let carol = session(&browser).await;
    let code = forged::code(&server, &client, &carol, |code| code.needs_consent = true);
    redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
    let code = code_for(&browser, &client, SCOPE).await;
    let withdrawn = browser.delete(&format!("/auth/me/apps/{}", client.id)).await;
    assert_eq!(withdrawn.status(), StatusCode::NO_CONTENT);
    redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
    // Of a former client of this id.
    let code = forged::code(&server, &client, &carol, |code| code.issued_at -= 5_001);
    redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
    // The client is gone.
    let code = code_for(&browser, &client, SCOPE).await;
    remove(&server, &client).await;
    redeem(&server.url, &client, &code).await.refused(401, "invalid_client");
    // Locked.
    let other = register(&server, |_| {}).await;
    let code = code_for(&browser, &other, SCOPE).await;
    server.execute("UPDATE users SET status = 'locked' WHERE status = 'active'").await;
    redeem(&server.url, &other, &code).await.refused(400, "invalid_grant");
    assert_eq!(server.audited("grant.opened").await, 0);
}

/// Our codes are sealed rather than stored hashed: what we never made costs no read and writes nothing.
pub async fn b15_guesses_cost_nothing_and_are_limited(backend: Backend) {
    let scene = Scene::new(backend).await;
    let code = scene.code().await;
    let counters = &scene.server.app.store.counters;
    scene.redeem("warm up the cache of clients").await.refused(400, "invalid_grant");
    let writes = counters.writes();
    for position in (0..code.len()).step_by(7) {
        let mut changed = code.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        scene.redeem(&changed).await.refused(400, "invalid_grant");
    }
    for guess in ["x", &code[1..], &code[..code.len() - 1], &format!("{code}="), &code.repeat(20)] {
        scene.redeem(guess).await.refused(400, "invalid_grant");
    }
    assert_eq!(counters.writes(), writes);
    scene.redeem(&code).await.granted();

    let limits = "[rate_limits]\ntoken = { per = \"1m\", burst = 5 }\n";
    let server = Server::start_with(backend, limits, |settings| {
        settings.rate_limits.exempt.clear();
    })
    .await;
    let client = register(&server, |_| {}).await;
    for _ in 0..5 {
        redeem(&server.url, &client, "guess").await.refused(400, "invalid_grant");
    }
    let limited = redeem(&server.url, &client, "guess").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
}

/// The client's own verifier and nonce are what an injected code does not fit.
pub async fn b16_an_injected_code_fits_neither_verifier_nor_nonce(backend: Backend) {
    let scene = Scene::new(backend).await;
    let attackers = forged::code(&scene.server, &scene.client, &scene.session, |code| {
        code.code_challenge = Some(pkce::challenge(&"x".repeat(43)));
    });
    scene.redeem(&attackers).await.refused(400, "invalid_grant");
    for nonce in [Some("n-0S6_WzA2Mj"), Some("with \"quotes\" and \u{e9}"), None] {
        let code = code_with(&scene.browser, &scene.client, &[("nonce", nonce)]).await;
        let id: IdClaims = claims(scene.redeem(&code).await.granted().text("id_token"));
        assert_eq!(id.nonce.as_deref(), nonce, "unchanged");
    }
}

on_both_stores!(
    b05_a_code_with_a_challenge_needs_its_verifier,
    b06_a_verifier_without_a_challenge_is_refused,
    b09_a_second_redemption_ends_what_the_first_one_got,
    b11_a_code_in_another_clients_hands_is_spent,
    b12_the_redirect_uri_must_be_the_same,
    b12_a_wrong_resource_spends_the_code_too,
    b13_a_code_lives_for_a_minute,
    b14_a_code_is_worth_nothing_once_its_ground_is_gone,
    b15_guesses_cost_nothing_and_are_limited,
    b16_an_injected_code_fits_neither_verifier_nor_nonce,
);
