//! Where a request comes from: what proxies say, and what clients would like to be believed.

use reqwest::StatusCode;

use crate::deployment::{Deployment, Front};
use crate::harness::{Backend, Browser, Server, body, location};

/// What a client may send to be taken for somebody else.
const FORGED: [(&str, &str); 6] = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-real-ip", "203.0.113.9"),
    ("x-client-ip", "203.0.113.9"),
    ("forwarded", "for=203.0.113.9;proto=http;host=evil.example"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "evil.example"),
];

/// The networks in which a person is signed in, as their list of sessions shows it.
async fn networks(browser: &Browser) -> Vec<String> {
    let list = body(browser.get("/auth/sessions").await).await;
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["network"].as_str().unwrap().to_owned()).collect()
}

async fn a_client_is_who_the_proxy_sees(front: Front) {
    // What is counted by address may be asked for so often, and no more for a day.
    let further = "[rate_limits]\nlogin = { per = \"1d\", burst = 10 }\n";
    let deployment = Deployment::start_behind(front, 2, further).await;
    // A browser that forges all it sends, the whole way.
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
    for (name, value) in FORGED {
        headers.append(name, value.parse().unwrap());
        headers.append(name, value.parse().unwrap());
    }
    let client = deployment
        .client()
        .cookie_store(true)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers)
        .build()
        .unwrap();
    let forger = Browser { client, url: deployment.url.clone() };
    // The first request shows where addresses are made from.
    let start = forger.client.get(format!("{}/auth/independent", deployment.url));
    let to_provider = location(&start.send().await.unwrap()).unwrap();
    assert!(!to_provider.contains("evil"), "{to_provider}");
    let discovery = forger.get("/.well-known/openid-configuration").await;
    assert_eq!(body(discovery).await["issuer"], deployment.url.as_str());

    let person = deployment.signed_in("rivka").await;
    assert_eq!(networks(&person).await, ["127.0.0.0/24"]);
    let back = deployment.sign_in(&forger, "rivka", "").await;
    assert_eq!(back.status(), StatusCode::SEE_OTHER);
    assert_eq!(networks(&forger).await, ["127.0.0.0/24"; 2]);

    // One bucket, whoever the client claims to be.
    let plain = deployment.browser(false);
    let mut refused = 0;
    for number in 0..40 {
        let start = plain
            .client
            .get(format!("{}/auth/independent", deployment.url))
            .header("x-forwarded-for", format!("203.0.113.{number}, 198.51.100.{number}"))
            .header("x-forwarded-for", format!("2001:db8::{number}"));
        let status = start.send().await.unwrap().status();
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    // Each of the two nodes counts for itself.
    assert!(refused >= 20, "{refused}");
    let audit = crate::processes::run(&["audit", "tail", "--format", "json"], &deployment.config);
    let trail = crate::processes::text(&audit.stdout);
    assert!(trail.contains("127.0.0.1"), "{trail}");
    assert!(!trail.contains("203.0.113") && !trail.contains("2001:db8"), "{trail}");
}

#[actix_web::test]
async fn a_client_is_who_caddy_sees() {
    a_client_is_who_the_proxy_sees(Front::Caddy).await;
}

#[actix_web::test]
async fn a_client_is_who_nginx_sees() {
    a_client_is_who_the_proxy_sees(Front::Nginx).await;
}

/// Where a session is opened by a request with these headers, of which a name may be there several times.
async fn network_of(server: &Server, name: &str, headers: &[(&str, &str)]) -> String {
    let browser = server.browser();
    let start = location(&browser.get(&format!("/auth/dev?login_hint={name}")).await).unwrap();
    let back = location(&browser.get(&start).await).unwrap();
    let mut request = browser.client.get(back);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request).await;
    let mut request = browser
        .client
        .post(format!("{}/auth/setup", server.url))
        .header("content-type", "application/json")
        .body(serde_json::json!({ "username": name }).to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    assert_eq!(browser.send(request).await.status(), StatusCode::CREATED);
    networks(&browser).await.concat()
}

#[actix_web::test]
async fn of_trusted_proxies_the_rightmost_address_that_is_none_counts() {
    let further = "trusted_proxies = [\"127.0.0.1/32\", \"10.0.0.0/8\", \"fd00::/8\"]\n[keys]\nalgorithm = \"ES256\"\n";
    let server = Server::start(Backend::Sqlite, further).await;
    let long = format!("{}198.51.100.7", "192.0.2.1, ".repeat(2_000));
    let for_ = "x-forwarded-for";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "127.0.0.0/24"),
        (&[(for_, "198.51.100.7")], "198.51.100.0/24"),
        (&[(for_, "203.0.113.9, 198.51.100.7")], "198.51.100.0/24"),
        // Several hops, of which all but the first are ours.
        (&[(for_, "203.0.113.9, 198.51.100.7, 10.1.1.1, 10.2.2.2")], "198.51.100.0/24"),
        (&[(for_, "198.51.100.7,fd00::1,10.2.2.2")], "198.51.100.0/24"),
        // Several lines are one list (RFC 9110 §5.3).
        (&[(for_, "203.0.113.9"), (for_, "198.51.100.7"), (for_, "10.1.1.1")], "198.51.100.0/24"),
        (&[(for_, "2001:db8:1:2::3")], "2001:db8:1::/48"),
        (&[(for_, "203.0.113.9, [2001:db8:1:2::3]:4711")], "2001:db8:1::/48"),
        (&[(for_, "::ffff:198.51.100.7")], "198.51.100.0/24"),
        (&[(for_, "198.51.100.7:4711")], "198.51.100.0/24"),
        (&[(for_, "  198.51.100.7  ")], "198.51.100.0/24"),
        // What cannot be read ends the walk at the last that could be.
        (&[(for_, "198.51.100.7, unknown")], "127.0.0.0/24"),
        (&[(for_, "198.51.100.7, unknown, 10.1.1.1")], "10.1.1.0/24"),
        (&[(for_, "198.51.100.7,")], "127.0.0.0/24"),
        (&[(for_, "")], "127.0.0.0/24"),
        (&[(for_, "999.1.1.1")], "127.0.0.0/24"),
        (&[(for_, "198.51.100.7/32")], "127.0.0.0/24"),
        (&[(for_, &long)], "198.51.100.0/24"),
        // Nothing else is looked at.
        (&[("forwarded", "for=198.51.100.7"), ("x-real-ip", "198.51.100.7")], "127.0.0.0/24"),
        (&[("forwarded", "for=203.0.113.9"), (for_, "198.51.100.7")], "198.51.100.0/24"),
    ];
    for (number, (headers, expected)) in cases.iter().enumerate() {
        let found = network_of(&server, &format!("person{number}"), headers).await;
        assert_eq!(found, *expected, "{:.200}", format!("{headers:?}"));
    }
}

#[actix_web::test]
async fn an_untrusted_peer_is_itself_whatever_it_sends() {
    let further = "trusted_proxies = [\"10.0.0.0/8\"]\n[keys]\nalgorithm = \"ES256\"\n";
    let server = Server::start(Backend::Sqlite, further).await;
    assert_eq!(network_of(&server, "forger", &FORGED).await, "127.0.0.0/24");
    let of_ours = [("x-forwarded-for", "198.51.100.7, 10.1.1.1")];
    assert_eq!(network_of(&server, "other", &of_ours).await, "127.0.0.0/24");
}
