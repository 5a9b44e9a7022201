//! Attacks on names and on the end of an account.

use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::grants::{Granted, code_for, grant, redeem, refresh, userinfo};
use crate::harness::{Backend, Browser, Server, body, code};
use crate::identity::{access_of, further, me_by_bearer, rename};
use crate::registration::register;

/// Reserved and misleading names, in any case and form. Here they are 422 with a code of their own,
/// where the catalogue says 400.
async fn i02_reserved_names_are_refused_in_any_form(backend: Backend) {
    let server = Server::start(backend, "[usernames]\npattern = \".*\"\n").await;
    let browser = server.signed_in("alice").await;
    for name in [
        "admin",
        "ROOT",
        "Support",
        "well-known",
        "Well_Known",
        "api",
        "A-P-I",
        "null",
        "sessions",
        "ｎｕｌｌ",
        "ａｄｍｉｎ",
        "ſupport",
        "deleted_7",
        "DELETED",
        "deleted-alice",
    ] {
        let refused = rename(&browser, name).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        assert_eq!(code(refused).await, "username_reserved", "{name}");
    }
    let refused = rename(&browser, "me").await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "too short besides");
    assert_eq!(body(browser.get("/auth/me").await).await["username"], "alice");
}

async fn i03_of_200_who_claim_one_name_at_once_one_gets_it(backend: Backend) {
    let server = Server::start(backend, "").await;
    let mut people: Vec<Browser> = Vec::new();
    for group in 0..10 {
        let names: Vec<String> =
            (0..20).map(|number| format!("person{}", 20 * group + number)).collect();
        people.extend(join_all(names.iter().map(|name| server.signed_in(name))).await);
    }
    let answers = join_all(people.iter().map(|person| rename(person, "Wanted"))).await;
    let mut won = 0;
    for answer in answers {
        match answer.status() {
            StatusCode::OK => won += 1,
            StatusCode::CONFLICT => assert_eq!(code(answer).await, "username_taken"),
            other => panic!("{other}"),
        }
    }
    assert_eq!((won, server.audited("user.username_changed").await), (1, 1));
}

async fn i04_20_changes_at_once_do_not_get_past_the_cooldown(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let names: Vec<String> = (0..20).map(|number| format!("name{number}")).collect();
    let answers = join_all(names.iter().map(|name| rename(&browser, name))).await;
    let mut won = 0;
    for answer in answers {
        match answer.status() {
            StatusCode::OK => won += 1,
            StatusCode::CONFLICT => assert_eq!(code(answer).await, "username_cooldown"),
            other => panic!("{other}"),
        }
    }
    assert_eq!((won, server.audited("user.username_changed").await), (1, 1));
}

async fn i05_a_held_name_is_refused_to_others_and_open_to_its_owner(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nchange_cooldown = 0\n").await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    assert_eq!(rename(&alice, "countess").await.status(), StatusCode::OK);
    let is_available = async |browser: &Browser, name: &str| {
        let answer = browser.get(&format!("/auth/username-available?username={name}")).await;
        body(answer).await["available"] == true
    };
    assert!(is_available(&alice, "Alice").await && is_available(&alice, "COUNTESS").await);
    assert!(!is_available(&bob, "alice").await && !is_available(&bob, "countess").await);
    assert!(!is_available(&server.browser(), "alice").await);
    for twin in ["alice", "ALICE"] {
        assert_eq!(code(rename(&bob, twin).await).await, "username_taken", "{twin}");
    }
    let newcomer = server.browser();
    newcomer.sign_in("eve").await;
    let refused = newcomer.post_json("/auth/setup", &json!({ "username": "alice" })).await;
    assert_eq!(code(refused).await, "username_taken");
    assert_eq!(rename(&alice, "Alice").await.status(), StatusCode::OK);
}

/// The sign-in may be 15 minutes old, as everywhere here.
async fn i09_an_account_is_deleted_by_its_fresh_owner_alone(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let before = server.rows().await;
    // A page of another site sends the browser's cookies along.
    let refresh = browser.refresh().await.unwrap();
    let from_elsewhere = Client::builder().no_proxy().build().unwrap();
    let forged = from_elsewhere
        .delete(format!("{}/auth/me", server.url))
        .header("sec-fetch-site", "cross-site")
        .header("origin", "https://evil.example")
        .header("cookie", format!("auth_refresh={refresh}"))
        .send()
        .await
        .unwrap();
    assert_eq!(code(forged).await, "csrf_rejected");
    let nobody = server.browser().delete("/auth/me").await;
    assert_eq!(code(nobody).await, "unauthenticated");

    server.execute("UPDATE users SET role = 'admin'").await;
    let refused = browser.delete("/auth/me").await;
    assert_eq!((refused.status(), &*code(refused).await), (StatusCode::CONFLICT, "last_admin"));
    server.execute("UPDATE users SET role = 'user'").await;

    server.clock.advance(Duration::from_secs(15 * 60));
    let stale = browser.delete("/auth/me").await;
    assert_eq!(
        (stale.status(), &*code(stale).await),
        (StatusCode::FORBIDDEN, "reauthentication_required")
    );
    assert_eq!(server.rows().await, before);
    browser.sign_in("alice").await;
    assert_eq!(browser.delete("/auth/me").await.status(), StatusCode::NO_CONTENT);
}

async fn i09_of_two_admins_who_go_at_once_one_stays(backend: Backend) {
    let server = Server::start(backend, "").await;
    let (alice, bob) = (server.signed_in("alice").await, server.signed_in("bob").await);
    server.execute("UPDATE users SET role = 'admin'").await;
    let (one, two) = join(alice.delete("/auth/me"), bob.delete("/auth/me")).await;
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
}

async fn i11_nothing_that_races_with_a_deletion_is_left_over_or_brings_anybody_back(
    backend: Backend,
) {
    let settings = "[keys]\nalgorithm = \"ES256\"\n[tokens]\nsession_grace = 0\n";
    let server = Server::start(backend, settings).await;
    let client = register(&server, |metadata| {
        metadata.scope = "openid offline_access".to_owned();
    })
    .await;
    for number in 0..6 {
        let name = format!("alice{number}");
        let browser = server.signed_in(&name).await;
        let elsewhere = further(&server, &name).await;
        let newly = server.browser();
        let access = access_of(&elsewhere).await;
        let scope = "openid offline_access";
        let granted = grant(&server, &elsewhere, &client, scope).await;
        let code = code_for(&elsewhere, &client, scope).await;
        let new_name = format!("countess{number}");
        let profile = json!({ "display_name": "Countess" });
        let (deleted, redeemed, refreshed, ..) = tokio::join!(
            browser.delete("/auth/me"),
            redeem(&server.url, &client, &code),
            refresh(&server.url, &client, &granted.refresh),
            elsewhere.refresh(),
            rename(&elsewhere, &new_name),
            elsewhere.patch_json("/auth/me", &profile),
            newly.sign_in(&name),
            elsewhere.delete("/auth/sessions"),
        );
        // Ending all others may have been faster: then the session that asks is over.
        match deleted.status() {
            StatusCode::NO_CONTENT => {}
            StatusCode::UNAUTHORIZED => {
                browser.sign_in(&name).await;
                let again = browser.delete("/auth/me").await;
                assert_eq!(again.status(), StatusCode::NO_CONTENT);
            }
            other => panic!("{other}"),
        }
        assert_eq!(me_by_bearer(&server.url, &access).await, StatusCode::UNAUTHORIZED);
        assert_eq!(elsewhere.refresh().await, Err(StatusCode::UNAUTHORIZED));
        // What the app got in time is worth nothing, and it gets no more.
        for reply in [redeemed, refreshed] {
            if reply.status != StatusCode::OK {
                reply.refused(400, "invalid_grant");
                continue;
            }
            let last = Granted::from(reply);
            let told = userinfo(&server, &last.access).await;
            assert_eq!(told.status(), StatusCode::UNAUTHORIZED);
            refresh(&server.url, &client, &last.refresh).await.refused(400, "invalid_grant");
        }
        redeem(&server.url, &client, &code).await.refused(400, "invalid_grant");
        refresh(&server.url, &client, &granted.refresh).await.refused(400, "invalid_grant");
        let rows = server.rows().await;
        for table in ["identities", "emails", "token_families", "former_usernames", "consents"] {
            assert!(rows.contains(&(table, 0)), "{table}: {rows:?}");
        }
    }
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 0);
}

crate::on_both_stores!(
    i02_reserved_names_are_refused_in_any_form,
    i03_of_200_who_claim_one_name_at_once_one_gets_it,
    i04_20_changes_at_once_do_not_get_past_the_cooldown,
    i05_a_held_name_is_refused_to_others_and_open_to_its_owner,
    i09_an_account_is_deleted_by_its_fresh_owner_alone,
    i09_of_two_admins_who_go_at_once_one_stays,
    i11_nothing_that_races_with_a_deletion_is_left_over_or_brings_anybody_back,
);
