//! The demo app of `latchkey dev`, without a browser; `browser::demo_app` goes through its pages.

use latchkey::actors::db_writer::apply;
use latchkey::protocol::client::ClientMetadata;
use latchkey::routes::dev::app;
use latchkey::store::model::{Actor, AuditEntry};
use latchkey::store::operation::{UpdateClient, UpdateClientOutcome};
use reqwest::StatusCode;
use url::Url;

use crate::harness::{Backend, Server, code, cookie, location};
use crate::on_both_stores;

on_both_stores!(
    it_is_registered_once_and_kept_up_to_date,
    a_sign_in_begins_with_all_that_binds_it_to_the_browser,
    an_answer_to_nothing_or_to_something_else_is_refused,
    an_error_is_shown_as_it_came,
    requests_from_other_sites_change_nothing,
);

async fn start(backend: Backend) -> Server {
    let server = Server::start_at_present(backend, |_| String::new()).await;
    app::register(&server.app).await.unwrap();
    server
}

async fn it_is_registered_once_and_kept_up_to_date(backend: Backend) {
    let server = start(backend).await;
    let read = async || server.app.store.read.client(app::CLIENT_ID).await.unwrap().unwrap();
    let registered = read().await;
    assert_eq!(registered.metadata.redirect_uris, [format!("{}/dev/app/callback", server.url)]);
    assert!(registered.metadata.is_public() && registered.secret.is_none());
    app::register(&server.app).await.unwrap();
    assert_eq!(read().await, registered);
    assert_eq!(server.audited("client.registered").await, 1);

    // As another port would have it.
    let metadata = ClientMetadata {
        redirect_uris: vec!["http://127.0.0.1:1/dev/app/callback".to_owned()],
        ..registered.metadata.clone()
    };
    let audit = AuditEntry::new(server.clock.now(), Actor::System, "test", String::new());
    let (client_id, known) = (registered.client_id.clone(), registered.updated_at);
    let changed = apply(&server.app.writer, UpdateClient { client_id, metadata, known, audit });
    assert_eq!(changed.await.unwrap(), UpdateClientOutcome::Updated);
    app::register(&server.app).await.unwrap();
    assert_eq!(read().await.metadata, registered.metadata);
    assert_eq!(server.audited("client.updated").await, 1);
}

async fn a_sign_in_begins_with_all_that_binds_it_to_the_browser(backend: Backend) {
    let server = start(backend).await;
    let answer = server.browser().get("/dev/app/start").await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    let attributes = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/dev/app", "Max-Age=600"] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    let url = Url::parse(&location(&answer).unwrap()).unwrap();
    let parameter = |name: &str| {
        url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    };
    let sent = |name| parameter(name).unwrap_or_else(|| panic!("no {name} in {url}"));
    assert_eq!(sent("client_id"), app::CLIENT_ID);
    assert_eq!(sent("response_type"), "code");
    assert_eq!(sent("scope"), "openid profile email");
    assert_eq!(sent("redirect_uri"), format!("{}/dev/app/callback", server.url));
    assert_eq!(sent("code_challenge_method"), "S256");
    assert_eq!(sent("code_challenge").len(), 43);
    assert_eq!((sent("state").len(), sent("nonce").len()), (22, 22));
}

async fn an_answer_to_nothing_or_to_something_else_is_refused(backend: Backend) {
    let server = start(backend).await;
    let browser = server.browser();
    let callback = format!("/dev/app/callback?code=x&state=y&iss={}", server.url);
    let answer = browser.page(&callback).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().await.unwrap().contains("No sign-in is under way in this browser."));

    let begun = browser.get("/dev/app/start").await;
    let answer = browser.page(&callback).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(cookie(&answer, "demo_attempt").as_deref(), Some(""), "the attempt is over");
    assert!(answer.text().await.unwrap().contains("its state is not the one"));

    let state = |answer: &reqwest::Response| {
        let url = Url::parse(&location(answer).unwrap()).unwrap();
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    };
    let late = format!("/dev/app/callback?code=x&state={}&iss={}", state(&begun), server.url);
    assert_eq!(browser.page(&late).await.status(), StatusCode::BAD_REQUEST);

    let begun = state(&browser.get("/dev/app/start").await);
    let answer = browser.page(&format!("/dev/app/callback?code=x&state={begun}")).await;
    assert!(answer.text().await.unwrap().contains("another issuer"), "no iss");
}

async fn an_error_is_shown_as_it_came(backend: Backend) {
    let server = start(backend).await;
    let browser = server.browser();
    let begin = async || {
        let url = Url::parse(&location(&browser.get("/dev/app/start").await).unwrap()).unwrap();
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    };
    let back = format!("/dev/app/callback?iss={}&state={}", server.url, begin().await);
    let answer = browser
        .page(&format!("{back}&error=access_denied&error_description=%3Cb%3EShe+said+no."))
        .await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let page = answer.text().await.unwrap();
    assert!(page.contains("error: access_denied\nerror_description: &#60;b&#62;She said no."));

    let back = format!("/dev/app/callback?iss={}&state={}", server.url, begin().await);
    let answer = browser.page(&format!("{back}&code=forged")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("400 from the token endpoint") && page.contains("invalid_grant"),
        "{page}"
    );
    assert!(cookie(&browser.page("/dev/app").await, "demo_tokens").is_none());
}

async fn requests_from_other_sites_change_nothing(backend: Backend) {
    let server = start(backend).await;
    for action in ["refresh", "sign-out"] {
        let address = format!("{}/dev/app/{action}", server.url);
        let answer = reqwest::Client::new()
            .post(address)
            .header("sec-fetch-site", "cross-site")
            .header("origin", "https://evil.example")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{action}");
        assert_eq!(code(answer).await, "csrf_rejected");
    }
}
