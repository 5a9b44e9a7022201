//! Clients that run in browsers on other origins.

use reqwest::{Method, StatusCode};

use crate::grants::{code_for, form, http, redeem};
use crate::harness::{Backend, Server};
use crate::registration::register;

#[actix_web::test]
async fn any_origin_may_call_what_reads_no_cookie() {
    let further = "cors_origins = [\"https://frontend.example\"]\n";
    let server = Server::start(Backend::Sqlite, further).await;
    let client = register(&server, |_| {}).await;
    let browser = server.signed_in("alice").await;
    for (path, origin) in [
        ("/oauth/token", "https://spa.example"),
        ("/oauth/token", "null"),
        ("/oauth/token", "https://frontend.example"),
        ("/oauth/userinfo", "https://spa.example"),
        ("/oauth/revoke", "https://spa.example"),
    ] {
        let preflight = http()
            .request(Method::OPTIONS, format!("{}{path}", server.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type")
            .send()
            .await
            .unwrap();
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT, "{path}");
        let headers = preflight.headers();
        assert_eq!(headers["access-control-allow-origin"], "*", "{path} {origin}");
        assert!(!headers.contains_key("access-control-allow-credentials"), "{path}");
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        assert!(allowed.contains("Authorization") && allowed.contains("Content-Type"));
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }

    // Answers and refusals alike can be read; cookies that come along decide nothing.
    let parameters = [("grant_type", "authorization_code"), ("client_id", "nobody"), ("code", "x")];
    let refused = browser
        .client
        .post(format!("{}/oauth/token", server.url))
        .header("origin", "https://spa.example")
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form(&parameters))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    assert!(!refused.headers().contains_key("access-control-allow-credentials"));
    let exposed = refused.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("WWW-Authenticate") && exposed.contains("X-Request-Id"));
    let code = code_for(&browser, &client, "openid").await;
    let granted = redeem(&server.url, &client, &code).await.granted();
    assert_eq!(granted.headers["access-control-allow-origin"], "*");
    assert!(!granted.headers.contains_key("set-cookie"));

    // The account's own interface stays closed to other origins.
    let preflight = http()
        .request(Method::OPTIONS, format!("{}/auth/me", server.url))
        .header("origin", "https://spa.example")
        .header("access-control-request-method", "GET")
        .send()
        .await
        .unwrap();
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
}
