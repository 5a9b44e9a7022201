//! What machines ask: whether it is ready, what it can do, which keys it signs with.

use reqwest::{Method, StatusCode};

use super::browser::Body;
use super::{Outcome, Scene, check, failure, text_of};

/// Health and readiness, of each node that can be reached.
pub async fn it_is_ready_and_says_so(scene: &Scene) -> Outcome {
    for entrance in scene.entrances() {
        for (path, status) in [("/health", "ok"), ("/ready", "ready")] {
            let url = format!("{entrance}{path}");
            let answer = scene.caller.ask(Method::GET, &url, &[scene.host()], Body::None).await?;
            let answer = answer.expect(StatusCode::OK)?;
            check(answer.json()?["status"] == status, || format!("{answer}; not {status}"))?;
            answer.has("cache-control", "no-store")?;
            let head = scene.caller.ask(Method::HEAD, &url, &[scene.host()], Body::None).await?;
            check(head.expect(StatusCode::OK)?.body.is_empty(), || {
                format!("HEAD {path} has a body")
            })?;
        }
    }
    Ok(())
}

/// Discovery and keys: complete, cacheable, and asked again by their tag.
pub async fn it_publishes_what_it_can_do_and_its_keys(scene: &Scene) -> Outcome {
    let browser = scene.browser()?;
    let origin = &scene.target.url;
    let metadata = browser.get("/.well-known/openid-configuration").await?;
    let metadata = metadata.expect(StatusCode::OK)?;
    let document = metadata.json()?;
    check(document["issuer"] == origin.as_str(), || {
        format!("the issuer is {}, and people reach it at {origin}", document["issuer"])
    })?;
    for member in [
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "jwks_uri",
        "revocation_endpoint",
        "introspection_endpoint",
        "end_session_endpoint",
    ] {
        let address = text_of(&document, member)?;
        check(address.starts_with(&format!("{origin}/")), || format!("{member} is {address}"))?;
    }
    let same = browser.get("/.well-known/oauth-authorization-server").await?;
    check(same.expect(StatusCode::OK)?.json()? == document, || {
        "RFC 8414 and OpenID Connect are told different things".to_owned()
    })?;
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json"] {
        let url = format!("{origin}{path}");
        let answer = scene.caller.ask(Method::GET, &url, &[], Body::None).await?;
        let answer = answer.expect(StatusCode::OK)?;
        answer.has("cache-control", "public, max-age=")?;
        answer.has("access-control-allow-origin", "*")?;
        let tag = ("if-none-match", answer.header("etag").to_owned());
        scene
            .caller
            .ask(Method::GET, &url, &[tag], Body::None)
            .await?
            .expect(StatusCode::NOT_MODIFIED)?;
    }
    let keys = browser.get("/.well-known/jwks.json").await?.expect(StatusCode::OK)?;
    keys.has("content-type", "application/jwk-set+json")?;
    let set = keys.json()?;
    let listed = set["keys"].as_array().filter(|keys| !keys.is_empty());
    let Some(listed) = listed else { return failure("no key is published") };
    for key in listed {
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            check(key.get(member).is_none(), || {
                format!("a published key has its private {member}")
            })?;
        }
    }
    let api = browser.get("/openapi.json").await?.expect(StatusCode::OK)?;
    check(api.json()?["openapi"].is_string(), || format!("{api}; no OpenAPI document"))
}

/// Headers of pages, of answers for scripts, and of errors.
pub async fn answers_have_the_headers_that_protect_them(scene: &Scene) -> Outcome {
    let browser = scene.browser()?;
    let page = browser.page("/login").await?.expect(StatusCode::OK)?;
    page.has("content-type", "text/html")?;
    page.has("content-security-policy", "default-src 'none'")?;
    page.has("content-security-policy", "frame-ancestors 'none'")?;
    page.has("x-frame-options", "DENY")?;
    page.has("referrer-policy", "same-origin")?;
    page.has("cross-origin-opener-policy", "same-origin")?;
    page.has("cache-control", "no-store")?;
    let refused = browser.get("/auth/me").await?.expect(StatusCode::UNAUTHORIZED)?;
    check(refused.json()?["code"] == "unauthenticated", || format!("{refused}; another code"))?;
    let missing = browser.get("/nothing-is-here").await?.expect(StatusCode::NOT_FOUND)?;
    missing.has("content-type", "application/problem+json")?;
    for answer in [&page, &refused, &missing] {
        answer.has("x-content-type-options", "nosniff")?;
        check(!answer.header("x-request-id").is_empty(), || format!("{answer}; no X-Request-Id"))?;
        check(answer.header("x-powered-by").is_empty(), || format!("{answer}; it boasts"))?;
    }
    // Metrics are for this machine and for those who are let in, never for everybody.
    let metrics = browser.get("/metrics").await?;
    check(matches!(metrics.status, StatusCode::OK | StatusCode::NOT_FOUND), || {
        format!("{metrics}; metrics are there or they are not")
    })
}
