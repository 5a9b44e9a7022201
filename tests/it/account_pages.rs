//! What the pages of an account say and ask, beside the forms that they post.

use std::time::Duration;

use reqwest::StatusCode;

use crate::harness::{Backend, Server, location};
use crate::people_provider::PeopleProvider;

async fn the_account_is_shown_with_a_form_for_each_thing(backend: Backend) {
    let people = PeopleProvider::start();
    let server = Server::start(backend, &people.block("forge", "")).await;
    let browser = server.signed_in("alice").await;
    let answer = browser.page("/account").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("; script-src 'self'; connect-src 'self'"), "{policy}");
    assert!(policy.contains("img-src 'self'; "), "{policy}");
    let page = answer.text().await.unwrap();
    for action in ["avatar", "profile", "username", "sign-out"] {
        assert!(page.contains(&format!("action=\"/auth/form/{action}\"")), "{action}: {page}");
    }
    let connect = "/auth/link/forge?return_to=%2Faccount%3Fdone%3Dlink";
    for link in ["/auth/me/export", "/account/delete", connect] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}: {page}");
    }
    assert!(page.contains("value=\"alice\" required"), "{page}");
    assert!(!page.contains("class=\"notice"), "{page}");
}

async fn names_that_do_not_change_have_no_form(backend: Backend) {
    let server = Server::start(backend, "[usernames]\nallow_changes = false\n").await;
    let browser = server.signed_in("alice").await;
    let page = browser.page("/account").await.text().await.unwrap();
    assert!(!page.contains("/auth/form/username") && !page.contains("<script"), "{page}");
    assert!(page.contains("It stays as you chose it."), "{page}");
}

async fn what_was_done_is_said_on_top(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let page = browser.page("/account?done=profile").await.text().await.unwrap();
    assert!(page.contains("<title>Your display name is saved. Your account · "), "{page}");
    for other in ["/account?done=", "/account?done=<script>", "/account?said=profile"] {
        let page = browser.page(other).await.text().await.unwrap();
        assert!(page.contains("<title>Your account · "), "{other}: {page}");
    }
}

async fn deleting_is_explained_to_who_signed_in_lately(backend: Backend) {
    let server = Server::start(backend, "").await;
    let nobody = server.browser().page("/account/delete").await;
    let resume = "/auth/resume?return_to=%2Faccount%2Fdelete";
    assert_eq!(location(&nobody).as_deref(), Some(resume));

    let browser = server.signed_in("alice").await;
    let answer = browser.page("/account/delete").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let page = answer.text().await.unwrap();
    assert!(page.contains("action=\"/auth/form/delete\"") && page.contains("“alice”"), "{page}");
    assert!(page.contains("held for 90 days"), "{page}");

    server.clock.advance(Duration::from_secs(15 * 60));
    browser.refresh().await.unwrap();
    let late = browser.page("/account/delete").await;
    assert_eq!(late.status(), StatusCode::SEE_OTHER);
    let way_on = location(&late).unwrap();
    assert_eq!(way_on, "/login?prompt=login&max_age=900&return_to=%2Faccount%2Fdelete");
    let login = browser.page(&way_on).await.text().await.unwrap();
    assert!(login.contains("It has been a while since you signed in."), "{login}");
}

async fn only_who_is_signed_out_is_told_that_the_account_is_gone(backend: Backend) {
    let server = Server::start(backend, "").await;
    let gone = "Your account is deleted.";
    let told = server.browser().page("/login?deleted=true").await.text().await.unwrap();
    assert!(told.contains(gone), "{told}");
    let browser = server.signed_in("alice").await;
    let told = browser.page("/login?deleted=true").await.text().await.unwrap();
    assert!(!told.contains(gone), "{told}");
}

crate::on_both_stores!(
    the_account_is_shown_with_a_form_for_each_thing,
    names_that_do_not_change_have_no_form,
    what_was_done_is_said_on_top,
    deleting_is_explained_to_who_signed_in_lately,
    only_who_is_signed_out_is_told_that_the_account_is_gone,
);
