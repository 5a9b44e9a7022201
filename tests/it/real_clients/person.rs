//! A person who goes through our pages, from an app and back to it.

use regex::Regex;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::harness::{Backend, Browser, Server, location};

/// A server at present, on which somebody called `rivka` has an account, and that person's id.
pub(super) async fn server_with_rivka(backend: Backend) -> (Server, String) {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    let browser = server.signed_in("rivka").await;
    let me = browser.get("/auth/me").await.text().await.unwrap();
    let me: Value = serde_json::from_str(&me).unwrap();
    let id = me["id"].as_str().unwrap().to_owned();
    (server, id)
}

/// Goes from an address to one that begins with `back`: signs in as rivka, and agrees to what is asked.
pub(super) async fn walk(browser: &Browser, target: &str, back: &str) -> String {
    let mut answer = browser.page(target).await;
    for _ in 0..20 {
        if let Some(next) = location(&answer) {
            let next = String::from(answer.url().join(&next).unwrap());
            if next.starts_with(back) {
                return next;
            }
            answer = browser.page(&next).await;
            continue;
        }
        let (status, address) = (answer.status(), answer.url().clone());
        let page = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{address}: {page}");
        answer = if let Some(href) = way_in(&page) {
            browser.page(&format!("{href}&login_hint=rivka")).await
        } else {
            agree(browser, &page).await
        };
    }
    panic!("pages without end, at last {}", answer.url());
}

/// Where the button of the development provider leads.
fn way_in(page: &str) -> Option<String> {
    captured(page, r#"href="(/auth/dev\?[^"]*)""#).into_iter().next()
}

/// Presses the first button of the page's form.
async fn agree(browser: &Browser, page: &str) -> Response {
    let forms = captured(page, r#"(?s)<form method="post"(.*?)</form>"#);
    let form = forms.first().unwrap_or_else(|| panic!("there is nothing to press: {page}"));
    let action = captured(form, r#"^ action="([^"]+)""#);
    let fields: Vec<(String, String)> =
        pairs(form, r#"<input type="hidden" name="([^"]*)" value="([^"]*)""#)
            .into_iter()
            .chain(
                pairs(form, r#"<button [^>]*name="([^"]*)" value="([^"]*)""#).into_iter().take(1),
            )
            .collect();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post_form(&action[0], &fields).await
}

fn captured(text: &str, pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| unescaped(&found[1])).collect()
}

fn pairs(text: &str, pattern: &str) -> Vec<(String, String)> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| (unescaped(&found[1]), unescaped(&found[2]))).collect()
}

fn unescaped(text: &str) -> String {
    let references =
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    let references = references.into_iter().chain([("&amp;", "&")]);
    references.fold(text.to_owned(), |text, (reference, meant)| text.replace(reference, meant))
}
