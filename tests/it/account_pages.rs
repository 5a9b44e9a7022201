//! What the pages of an account say and ask, beside the forms that they post.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use crate::harness::{Backend, Browser, Server, cookie, location};
use crate::people_provider::PeopleProvider;
use crate::pictures::picture;
use crate::sign_in::hidden_token;

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
    let resume = "/auth/resume?return_to=%2Faccount%2Fdelete%3Fresumed%3D1";
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

/// The hidden token of the form that posts to `/auth/form/{action}` on a page.
fn token_of(page: &str, action: &str) -> String {
    let (_, form) =
        page.split_once(&format!("action=\"/auth/form/{action}\"")).expect("such a form");
    hidden_token(form)
}

/// Posts a form of a page with its token.
async fn post(browser: &Browser, path: &str, action: &str, fields: &[(&str, &str)]) -> Response {
    let page = browser.page(path).await.text().await.unwrap();
    let token = token_of(&page, action);
    let fields: Vec<_> =
        [("form_token", token.as_str())].into_iter().chain(fields.to_vec()).collect();
    browser.post_form(&format!("/auth/form/{action}"), &fields).await
}

async fn names_are_changed_by_the_forms_and_shown_again_when_they_are_wrong(backend: Backend) {
    let server = Server::start(backend, "").await;
    server.signed_in("bob").await;
    let browser = server.signed_in("alice").await;
    let saved = post(&browser, "/account", "profile", &[("display_name", " Alice A. ")]).await;
    assert_eq!(location(&saved).as_deref(), Some("/account?done=profile"));
    let long = "x".repeat(81);
    let refused = post(&browser, "/account", "profile", &[("display_name", &long)]).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = refused.text().await.unwrap();
    assert!(page.contains(&long) && page.contains("id=\"display_name-error\""), "{page}");

    let taken = post(&browser, "/account", "username", &[("username", "BOB")]).await;
    assert_eq!(taken.status(), StatusCode::CONFLICT);
    let page = taken.text().await.unwrap();
    assert!(page.contains("“BOB” belongs to another account.") && page.contains("BOB2"), "{page}");
    let changed = post(&browser, "/account", "username", &[("username", "alicia")]).await;
    assert_eq!(location(&changed).as_deref(), Some("/account?done=username"));
    assert!(cookie(&changed, "auth_access").is_some(), "the new name is in the token at once");
    let page = browser.page("/account").await.text().await.unwrap();
    assert!(page.contains("Alice A.") && page.contains("alicia"), "{page}");
    assert!(page.contains("You can change it again from "), "{page}");
    assert!(!page.contains("/auth/form/username"), "{page}");
}

async fn a_session_elsewhere_is_ended_by_the_form(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let elsewhere = server.browser();
    elsewhere.sign_in("alice").await;
    let page = browser.page("/account").await.text().await.unwrap();
    let (_, row) = page.split_once("name=\"session\" value=\"").expect("another session");
    let id = row.split_once('"').unwrap().0.to_owned();
    let ended = post(&browser, "/account", "session", &[("session", &id)]).await;
    assert_eq!(location(&ended).as_deref(), Some("/account?done=session"));
    assert_eq!(elsewhere.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::OK);
    elsewhere.sign_in("alice").await;
    let ended = post(&browser, "/account", "session", &[("others", "true")]).await;
    assert_eq!(location(&ended).as_deref(), Some("/account?done=others"));
    assert_eq!(elsewhere.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    let forged = [("form_token", "x"), ("others", "true")];
    let refused = browser.post_form("/auth/form/session", &forged).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

async fn a_picture_is_sent_and_removed_by_the_form(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let send = async |file: &[u8], further: &str| {
        let page = browser.page("/account").await.text().await.unwrap();
        let token = token_of(&page, "avatar");
        let part = |head: &str, body: &[u8]| {
            let head = format!("--line\r\nContent-Disposition: form-data; {head}\r\n\r\n");
            [head.as_bytes(), body, b"\r\n"].concat()
        };
        let mut body = part("name=\"form_token\"", token.as_bytes());
        body.extend(part("name=\"file\"; filename=\"me.png\"", file));
        if !further.is_empty() {
            body.extend(part(&format!("name=\"{further}\""), b"true"));
        }
        body.extend(b"--line--\r\n");
        browser
            .client
            .post(format!("{}/auth/form/avatar", browser.url))
            .header("content-type", "multipart/form-data; boundary=line")
            .header("accept", "text/html")
            .body(body)
            .send()
            .await
            .unwrap()
    };
    let sent = send(&picture([0, 200, 0]), "").await;
    assert_eq!(location(&sent).as_deref(), Some("/account?done=avatar"));
    let page = browser.page("/account").await.text().await.unwrap();
    assert!(page.contains("<img class=\"avatar\" src=\"/avatars/"), "{page}");
    let refused = send(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "").await;
    assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let page = refused.text().await.unwrap();
    assert!(page.contains("id=\"file-error\"") && page.contains("PNG, JPEG"), "{page}");
    let removed = send(b"", "remove").await;
    assert_eq!(location(&removed).as_deref(), Some("/account?done=avatar-removed"));
    let page = browser.page("/account").await.text().await.unwrap();
    assert!(!page.contains("<img class=\"avatar\""), "{page}");
}

async fn an_account_is_deleted_by_the_form_once_its_name_is_typed(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let wrong = post(&browser, "/account/delete", "delete", &[("username", "bob")]).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text().await.unwrap().contains("id=\"username-error\""));
    let stale = browser.page("/account/delete").await.text().await.unwrap();
    server.clock.advance(Duration::from_secs(15 * 60));
    let token = token_of(&stale, "delete");
    let fields = [("form_token", token.as_str()), ("username", "alice")];
    let late = browser.post_form("/auth/form/delete", &fields).await;
    assert_eq!(late.status(), StatusCode::FORBIDDEN);
    assert!(late.text().await.unwrap().replace("&#38;", "&").contains("/login?prompt=login&"));
    browser.sign_in("alice").await;
    let gone = post(&browser, "/account/delete", "delete", &[("username", " ALICE ")]).await;
    assert_eq!(location(&gone).as_deref(), Some("/login?deleted=true"));
    let told = browser.page("/login?deleted=true").await.text().await.unwrap();
    assert!(told.contains("Your account is deleted."), "{told}");
    assert_eq!(server.app.store.read.user_count().await.unwrap(), 0);
}

async fn a_browser_that_keeps_no_cookie_is_told_so_and_not_sent_in_circles(backend: Backend) {
    let server = Server::start(backend, "").await;
    let forgetful = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(3))
        .no_proxy()
        .build()
        .unwrap();
    for path in ["/account", "/account/delete", "/auth/link/dev"] {
        let request = forgetful.get(format!("{}{path}", server.url)).header("accept", "text/html");
        let page = request.send().await.unwrap().text().await.unwrap();
        assert!(page.contains("Your browser does not keep our cookies"), "{path}: {page}");
        assert!(!page.contains("resumed"), "{path}: {page}");
    }
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
    names_are_changed_by_the_forms_and_shown_again_when_they_are_wrong,
    a_session_elsewhere_is_ended_by_the_form,
    a_picture_is_sent_and_removed_by_the_form,
    an_account_is_deleted_by_the_form_once_its_name_is_typed,
    a_browser_that_keeps_no_cookie_is_told_so_and_not_sent_in_circles,
    the_account_is_shown_with_a_form_for_each_thing,
    names_that_do_not_change_have_no_form,
    what_was_done_is_said_on_top,
    deleting_is_explained_to_who_signed_in_lately,
    only_who_is_signed_out_is_told_that_the_account_is_gone,
);
