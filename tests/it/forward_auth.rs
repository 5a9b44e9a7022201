//! An app behind a proxy that asks `/auth/verify`: by Caddy and nginx with the files in `contrib`, and asked
//! directly for what these do not send.

use std::time::Duration;

use reqwest::header::HeaderName;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::deployment::{ADMIN, Deployment, Front};
use crate::harness::{Backend, Browser, Server, body, code, cookie, location};
use crate::processes::run;

/// What the app was sent under a name, however it was spelt.
fn sent(echo: &Value, name: &str) -> Vec<String> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    echo["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|header| plain(header[0].as_str().unwrap()) == name)
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}

/// What the app was sent with a request that reached it.
async fn reached(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("this is not the app: {text}"))
}

/// Asks for a page of the app, as a browser does.
async fn page(deployment: &Deployment, browser: &Browser, target: &str) -> Response {
    let request = browser.client.get(format!("{}{target}", deployment.app_url));
    request.header("accept", "text/html,*/*;q=0.8").send().await.unwrap()
}

async fn within_bounds<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("the proxies follow")
}

/// The session's cookies by their whole names.
fn cookies(answer: &Response) -> (String, String) {
    let value = |name: &str| cookie(answer, name).unwrap_or_else(|| panic!("no {name}"));
    (value("__Host-auth_access"), value("__Secure-auth_refresh"))
}

async fn people_are_led_to_the_sign_in_and_back_and_the_app_knows_them(front: Front) {
    let deployment = Deployment::start_behind(front, 2, "").await;
    let (url, app_url) = (&deployment.url, &deployment.app_url);
    let there = format!("{app_url}/orders?page=2&q=a%20b");
    let known = deployment.signed_in("rivka").await;

    // Signed out: by the resume to the sign-in.
    let browser = deployment.browser(true);
    let led = page(&deployment, &browser, "/orders?page=2&q=a%20b").await;
    assert_eq!(led.status(), StatusCode::FOUND);
    assert_eq!(led.headers()["cache-control"], "no-store");
    let resume = location(&led).unwrap();
    assert!(resume.starts_with(&format!("{url}/auth/resume?return_to=")), "{resume}");
    let login = browser.page(&resume).await;
    assert_eq!(login.status(), StatusCode::SEE_OTHER);
    let login = location(&login).unwrap();
    let query = login.strip_prefix("/login?").unwrap_or_else(|| panic!("{login}"));
    assert_eq!(browser.page(&login).await.status(), StatusCode::OK);
    let back = deployment.sign_in(&browser, "rivka", query).await;
    assert_eq!(location(&back), Some(there), "to the very page");

    // Signed in: three headers, and none of our cookies.
    let echo = body(page(&deployment, &browser, "/orders?page=2&q=a%20b").await).await;
    assert_eq!(echo["target"], "/orders?page=2&q=a%20b");
    let me = body(known.get("/auth/me").await).await;
    assert_eq!(sent(&echo, "x-auth-user"), ["rivka"]);
    assert_eq!(sent(&echo, "x-auth-id"), [me["id"].as_str().unwrap()]);
    assert_eq!(sent(&echo, "x-auth-role"), ["user"]);
    let refreshed = known.post("/auth/refresh").await;
    let (access, refresh) = cookies(&refreshed);
    let plain = deployment.browser(false);
    let with_cookies = |target: &str, cookies: String| {
        plain.client.get(format!("{app_url}{target}")).header("cookie", cookies)
    };
    let all = format!(
        "before=1; __Host-auth_access={access}; between=2; __Secure-auth_refresh={refresh}; after=3"
    );
    let echo = reached(with_cookies("/auth/x", all).header("accept", "text/html")).await;
    let kept = sent(&echo, "cookie").concat();
    assert!(!kept.contains(&access) && !kept.contains(&refresh), "{kept}");
    for own in ["before=1", "between=2", "after=3"] {
        assert!(kept.contains(own), "{kept}");
    }

    // An access token alone, by cookie and by header; what is sent reaches the app.
    let echo = reached(with_cookies("/", format!("__Host-auth_access={access}"))).await;
    assert_eq!(sent(&echo, "x-auth-user"), ["rivka"]);
    let upload = plain.client.post(format!("{app_url}/upload")).bearer_auth(&access);
    let echo = reached(upload.body(vec![b'x'; 200_000])).await;
    assert_eq!((&echo["method"], &echo["length"]), (&"POST".into(), &200_000.into()));
    assert_eq!(sent(&echo, "x-auth-user"), ["rivka"]);

    // The beginning of a WebSocket is let through as what it is.
    let http_1 = deployment.client().http1_only().build().unwrap();
    let socket = http_1
        .get(format!("{app_url}/socket"))
        .header("cookie", format!("__Host-auth_access={access}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let echo = reached(socket).await;
    assert_eq!(sent(&echo, "upgrade"), ["websocket"]);

    // An access token that has gone is renewed in passing.
    let led = page(&deployment, &plain, "/orders").await;
    let resumed = plain
        .send(
            plain
                .client
                .get(location(&led).unwrap())
                .header("cookie", format!("__Secure-auth_refresh={refresh}")),
        )
        .await;
    assert_eq!(location(&resumed), Some(format!("{app_url}/orders")));
    let (renewed, _) = cookies(&resumed);
    reached(with_cookies("/orders", format!("__Host-auth_access={renewed}"))).await;
}

async fn nobody_gets_past_the_proxy(front: Front) {
    let mut deployment = Deployment::start_behind(front, 2, "").await;
    let app_url = deployment.app_url.clone();
    let person = deployment.signed_in("rivka").await;
    let admin = deployment.signed_in(ADMIN).await;
    let nobody = deployment.browser(true);
    let get = |browser: &Browser, target: &str| browser.client.get(format!("{app_url}{target}"));

    // What reads no page, or changes something, is refused and led nowhere.
    for request in [
        get(&nobody, "/api").header("accept", "application/json"),
        nobody.client.post(format!("{app_url}/form")).header("accept", "text/html").body("a=b"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(location(&answer), None);
    }
    for token in ["Bearer junk", "Basic cml2a2E6cml2a2E="] {
        let request = get(&person, "/").header("authorization", token);
        let answer = request.header("accept", "text/html").send().await.unwrap();
        assert_ne!(answer.status(), StatusCode::OK, "{token}");
    }

    // Whoever names themselves is not believed, in any spelling.
    let spellings = |name: &str| {
        [
            name.to_owned(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
            name.replace('-', "."),
            name.to_uppercase(),
        ]
    };
    let mut request = get(&person, "/");
    for name in ["x-auth-user", "x-auth-id", "x-auth-role"] {
        for spelling in spellings(name) {
            let spelling = HeaderName::from_bytes(spelling.as_bytes()).unwrap();
            request = request.header(spelling.clone(), "admin").header(spelling, "admin");
        }
    }
    let echo = reached(request).await;
    assert_eq!(sent(&echo, "x-auth-user"), ["rivka"]);
    assert_eq!(sent(&echo, "x-auth-role"), ["user"]);
    assert_eq!(sent(&echo, "x-auth-id").len(), 1);
    let request = get(&nobody, "/").header("x-auth-user", "rivka").header("x-auth-role", "admin");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // Nor whoever says that something else was asked for.
    let request = get(&nobody, "/here")
        .header("accept", "text/html")
        .header("x-forwarded-uri", "/elsewhere")
        .header("x-forwarded-host", "evil.example")
        .header("x-original-url", "https://evil.example/");
    let led = location(&request.send().await.unwrap()).unwrap();
    assert!(
        led.contains("%2Fhere&") && !led.contains("elsewhere") && !led.contains("evil"),
        "{led}"
    );

    // Nor can anybody have something left out of what the app is told.
    let http_1 = deployment.client().http1_only().build().unwrap();
    let (access, refresh) = cookies(&person.post("/auth/refresh").await);
    let request = http_1
        .get(format!("{app_url}/"))
        .bearer_auth(&access)
        .header("connection", "x-auth-user, x-auth-id, x-auth-role, cookie");
    let echo = reached(request).await;
    assert_eq!(sent(&echo, "x-auth-user"), ["rivka"]);
    assert_eq!(sent(&echo, "x-auth-role"), ["user"]);

    // An app that is broken into plants cookies beside ours: it still gets none of ours.
    for planted in [
        format!(
            "__Host-auth_access={access}; __Secure-auth_refresh={refresh}; __Secure-auth_refresh=x"
        ),
        format!("__Host-auth_access={access}; __Secure-auth_access=x"),
        format!(
            "__Secure-auth_access=x; __Secure-auth_refresh={refresh}; __Host-auth_access={access}; __Host-auth_refresh=x"
        ),
    ] {
        let request = http_1.get(format!("{app_url}/auth/x")).header("cookie", &planted);
        let kept = sent(&reached(request).await, "cookie").concat();
        assert!(!kept.contains(&access) && !kept.contains(&refresh), "{planted}: {kept}");
    }

    // Who sends credentials of another kind is not led about: signing in would lead here again.
    let request =
        get(&nobody, "/").basic_auth("rivka", Some("rivka")).header("accept", "text/html");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    // A place for admins, in any form that an app may take for it.
    for path in ["/admin;a=b", "/admin;a=b/x", "/ADMIN/x"] {
        assert_eq!(
            get(&person, path).send().await.unwrap().status(),
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    for path in ["/admin", "/admin/users", "/admin/../admin/x", "/%61dmin/x"] {
        let answer = get(&person, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(sent(&reached(get(&admin, path)).await, "x-auth-role"), ["admin"], "{path}");
    }
    let led = get(&nobody, "/admin/").header("accept", "text/html").send().await.unwrap();
    assert_eq!(led.status(), StatusCode::FOUND);

    // A session that ends is over here, too; and so is a person who is locked.
    let other = deployment.signed_in("rivka").await;
    reached(get(&other, "/")).await;
    let access = cookies(&other.post("/auth/refresh").await).0;
    let by_token = || nobody.client.get(format!("{app_url}/")).bearer_auth(&access);
    reached(by_token()).await;
    assert_eq!(other.post("/auth/logout").await.status(), StatusCode::NO_CONTENT);
    within_bounds(async {
        while by_token().send().await.unwrap().status() != StatusCode::UNAUTHORIZED {}
    })
    .await;
    reached(get(&person, "/")).await;
    let locked = run(&["users", "lock", "rivka"], &deployment.config);
    assert!(locked.status.success(), "{locked:?}");
    within_bounds(async {
        while get(&person, "/").send().await.unwrap().status() != StatusCode::UNAUTHORIZED {}
    })
    .await;

    // The metrics are not for the outside.
    let metrics = nobody.client.get(format!("{}/metrics", deployment.url)).send().await.unwrap();
    assert_eq!(metrics.status(), StatusCode::NOT_FOUND);

    // Without Latchkey the door is shut.
    reached(get(&admin, "/")).await;
    deployment.nodes.iter_mut().for_each(super::deployment::Node::kill);
    for browser in [&admin, &nobody] {
        let answer = get(browser, "/").send().await.unwrap();
        assert!(answer.status().is_server_error(), "{}", answer.status());
    }
}

#[actix_web::test]
async fn caddy_leads_people_to_the_sign_in_and_back_and_the_app_knows_them() {
    people_are_led_to_the_sign_in_and_back_and_the_app_knows_them(Front::Caddy).await;
}

#[actix_web::test]
async fn nginx_leads_people_to_the_sign_in_and_back_and_the_app_knows_them() {
    people_are_led_to_the_sign_in_and_back_and_the_app_knows_them(Front::Nginx).await;
}

#[actix_web::test]
async fn nobody_gets_past_caddy() {
    nobody_gets_past_the_proxy(Front::Caddy).await;
}

#[actix_web::test]
async fn nobody_gets_past_nginx() {
    nobody_gets_past_the_proxy(Front::Nginx).await;
}

/// A server behind a proxy on this machine, with an app at another name of the same domain.
async fn behind_a_proxy(trusted: &str, domain: &str) -> Server {
    let further = format!(
        "trusted_proxies = [\"{trusted}\"]\nreturn_to = [\"http://127.0.0.1:3000\", \"https://app.example.com\"]\n\
         [keys]\nalgorithm = \"ES256\"\n{domain}"
    );
    Server::start(Backend::Sqlite, &further).await
}

/// Asks as a proxy does, for a browser that wants a page.
async fn verify(browser: &Browser, query: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = browser
        .client
        .get(format!("{}/auth/verify{query}", browser.url))
        .header("accept", "text/html");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request).await
}

const HERE: [(&str, &str); 4] = [
    ("x-forwarded-method", "GET"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "127.0.0.1:3000"),
    ("x-forwarded-uri", "/orders?page=2"),
];

#[actix_web::test]
async fn the_sign_in_leads_back_where_that_is_allowed_and_told_by_a_trusted_proxy() {
    let server = behind_a_proxy("127.0.0.1/32", "").await;
    let browser = server.browser();
    let back = format!(
        "{}/auth/resume?return_to=http%3A%2F%2F127.0.0.1%3A3000%2Forders%3Fpage%3D2&sign_in=true",
        server.url
    );
    let login = format!("{}/login", server.url);
    let nginx = ("x-original-url", "http://127.0.0.1:3000/orders?page=2");
    // What is asked for elsewhere, or by cookies that do not come there, leads to the sign-in alone.
    for (headers, expected) in [
        (&HERE[..], &back),
        (&[nginx, ("x-original-method", "GET")], &back),
        (&[("x-original-url", "https://evil.example/")], &login),
        (&[("x-original-url", "https://app.example.com/")], &login),
        (&[("x-original-url", "http://x@127.0.0.1:3000/")], &login),
        (&[nginx, nginx], &login),
        (&[], &login),
    ] {
        let refused = verify(&browser, "", headers).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refused.headers()["x-auth-login"], expected.as_str(), "{headers:?}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        assert_eq!(code(refused).await, "unauthenticated");
        let led = verify(&browser, "?redirect=true", headers).await;
        assert_eq!(led.status(), StatusCode::FOUND);
        assert_eq!(location(&led).as_ref(), Some(expected), "{headers:?}");
        assert!(!led.headers().contains_key("set-cookie"));
    }
    for method in ["POST", "get", "GET, POST"] {
        let headers = [("x-forwarded-method", method), HERE[1], HERE[2], HERE[3]];
        let refused = verify(&browser, "?redirect=true", &headers).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{method}");
    }
    let with_token = [HERE[0], HERE[1], HERE[2], HERE[3], ("authorization", "Bearer junk")];
    let refused = verify(&browser, "?redirect=true", &with_token).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "a sign-in would change nothing");

    let stranger = behind_a_proxy("192.0.2.1/32", "").await;
    let refused = verify(&stranger.browser(), "", &HERE).await;
    assert_eq!(refused.headers()["x-auth-login"], format!("{}/login", stranger.url).as_str());
}

#[actix_web::test]
async fn who_resumes_without_a_session_signs_in_and_is_led_back() {
    let server = behind_a_proxy("127.0.0.1/32", "").await;
    let resume = "/auth/resume?return_to=http%3A%2F%2F127.0.0.1%3A3000%2F&sign_in=true";
    let browser = server.browser();
    let led = location(&browser.page(resume).await);
    assert_eq!(led.as_deref(), Some("/login?return_to=http%3A%2F%2F127.0.0.1%3A3000%2F"));
    let led = location(&server.signed_in("alice").await.page(resume).await);
    assert_eq!(led.as_deref(), Some("http://127.0.0.1:3000/"));

    // What is too long to be kept along a sign-in still is where a session that is there is led back to.
    let long = format!("http://127.0.0.1:3000/search?q={}", "a".repeat(4_000));
    let headers =
        [HERE[0], HERE[1], HERE[2], ("x-forwarded-uri", &long["http://127.0.0.1:3000".len()..])];
    let resume = location(&verify(&browser, "?redirect=true", &headers).await).unwrap();
    assert_eq!(location(&browser.page(&resume).await).as_deref(), Some("/login"));
    let led = location(&server.signed_in("bob").await.page(&resume).await);
    assert_eq!(led, Some(long));
    // Longer than any address may be: to the sign-in, which can be asked for.
    let longest = format!("/search?q={}", "/".repeat(4_000));
    let headers = [HERE[0], HERE[1], HERE[2], ("x-forwarded-uri", longest.as_str())];
    let led = location(&verify(&browser, "?redirect=true", &headers).await);
    assert_eq!(led, Some(format!("{}/login", server.url)));

    let refused = browser.get("/auth/resume?sign_in=perhaps").await;
    assert_eq!(code(refused).await, "invalid_field");
}

#[actix_web::test]
async fn a_role_is_asked_of_the_store_and_everything_else_of_nobody() {
    let server = behind_a_proxy("127.0.0.1/32", "").await;
    let browser = server.signed_in("alice").await;
    browser.refresh().await.unwrap();
    let reads = || server.app.store.counters.reads();
    let before = reads();
    for _ in 0..100 {
        let passed = verify(&browser, "?redirect=true", &HERE).await;
        assert_eq!(passed.status(), StatusCode::NO_CONTENT);
        assert_eq!(passed.headers()["x-auth-user"], "alice");
        assert_eq!(passed.headers()["x-auth-role"], "user");
        assert_eq!(passed.headers()["cache-control"], "no-store");
    }
    // What the owners read from time to time is all.
    assert!(reads() - before < 50, "{} reads", reads() - before);
    let before = reads();
    for _ in 0..10 {
        let passed = verify(&browser, "?role=user", &HERE).await;
        assert_eq!(passed.status(), StatusCode::NO_CONTENT);
    }
    assert!(reads() - before >= 10);
    assert_eq!(code(verify(&browser, "?role=admin", &HERE).await).await, "forbidden");
    // The token says "user" until it is renewed; the store knows better, and the other way round.
    server.execute("UPDATE users SET role = 'admin'").await;
    let passed = verify(&browser, "?role=admin", &HERE).await;
    assert_eq!(passed.headers()["x-auth-role"], "admin");
    server.execute("UPDATE users SET role = 'user'").await;
    assert_eq!(verify(&browser, "?role=admin", &HERE).await.status(), StatusCode::FORBIDDEN);
    for query in ["?role=owner", "?role=", "?redirect=yes", "?roles=admin", "?role=admin&x"] {
        assert_eq!(code(verify(&browser, query, &HERE).await).await, "invalid_field", "{query}");
    }
    let request = browser.client.post(format!("{}/auth/verify", server.url));
    assert_eq!(browser.send(request).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}
