//! A provider that the settings describe: its endpoints, where facts stand, how we authenticate.

use std::time::Duration;

use serde_json::{Value, json};

use super::server;
use super::server::{BY_BASIC, BY_POST, CLIENT_SECRET, PUBLIC};
use super::{Scene, begin, body, emails, told, way_back, with_parameter};
use crate::harness::{Backend, location};

/// The keys of a block that every provider here has.
pub(super) fn block(
    name: &str,
    client_id: &str,
    endpoints: &[(&str, String)],
    further: &str,
) -> String {
    let mut text = format!("[[providers]]\nname = \"{name}\"\nclient_id = \"{client_id}\"\n");
    for (key, address) in endpoints {
        text.extend([key, " = \"", address, "\"\n"]);
    }
    text.push_str(further);
    text
}

/// The three endpoints of a provider that does all as it should.
pub(super) fn proper_endpoints(url: &str) -> [(&'static str, String); 3] {
    [
        ("auth_url", format!("{url}/authorize")),
        ("token_url", format!("{url}/properly/token")),
        ("userinfo_url", format!("{url}/properly/userinfo")),
    ]
}

/// The line with our secret.
pub(super) fn secret() -> String {
    format!("client_secret = \"{CLIENT_SECRET}\"\n")
}

/// Where [`person`] has each fact.
pub(super) const MAPPING: &str = r#"[providers.mapping]
subject = "data.user.id"
username = "data.user.handle"
name = "data.user.names.1"
email = "data.mail.address"
email_verified = "data.mail.confirmed"
picture = "data.user.picture"
"#;

/// A person as the provider tells of them, with that flag.
pub(super) fn person(confirmed: &Value) -> Value {
    json!({ "data": {
        "user": { "id": 42, "handle": "rivka.c", "names": ["R.", "Rivka Cohen"], "picture": "https://p.example/42" },
        "mail": { "address": "rivka@example.com", "confirmed": confirmed },
    }})
}

/// A server with the provider `forge`; `further` is added to its block.
async fn at_forge(backend: Backend, client_id: &str, further: &str) -> Scene {
    let provider = server::start();
    let block = block("forge", client_id, &proper_endpoints(&provider.url), further);
    Scene::start(backend, provider, &block).await
}

async fn each_fact_is_found_where_the_settings_say(backend: Backend) {
    let further = format!("{}trust_email = true\n{MAPPING}", secret());
    let scene = at_forge(backend, BY_BASIC, &further).await;
    let browser = scene.server.browser();
    let back = scene.sign_in(&browser, "forge", &person(&json!(true))).await;
    assert_eq!(location(&back).as_deref(), Some("/onboarding"));
    let shown = body(browser.get("/auth/setup").await).await;
    let expected = json!({
        "provider": "forge", "suggested_username": "rivka-c", "display_name": "Rivka Cohen",
        "masked_email": "r…a@e…e.com", "existing_account": false,
    });
    assert_eq!(shown, expected);
    let created = browser.post_json("/auth/setup", &json!({ "username": "rivka" })).await;
    let account = body(created).await;
    assert_eq!(account["emails"], emails("rivka@example.com", true, "forge"));

    // The subject alone is needed, and the same digits are the same subject.
    let bare = json!({ "data": { "user": { "id": "42" } } });
    let again = scene.server.browser();
    let back = scene.sign_in(&again, "forge", &bare).await;
    assert_eq!(location(&back).as_deref(), Some("/"));
    let me = body(again.get("/auth/me").await).await;
    assert_eq!((&me["id"], &me["emails"]), (&account["id"], &json!([])));
    assert_eq!(scene.users().await, 1);
}

crate::on_both_stores!(each_fact_is_found_where_the_settings_say);

#[actix_web::test]
async fn the_secret_is_shown_as_the_settings_say() {
    let by_basic = "token_endpoint_auth_method = \"client_secret_basic\"\n";
    let by_post = "token_endpoint_auth_method = \"client_secret_post\"\n";
    let secret = secret();
    let accepted = [
        (BY_BASIC, secret.clone()),
        (BY_BASIC, format!("{secret}{by_basic}")),
        (BY_POST, format!("{secret}{by_post}")),
        (PUBLIC, String::new()),
    ];
    for (client_id, further) in accepted {
        let scene = at_forge(Backend::Sqlite, client_id, &format!("{further}{MAPPING}")).await;
        scene.sign_up(&scene.server.browser(), "forge", &person(&json!(true)), "rivka").await;
    }
    let refused = [
        (BY_BASIC, format!("{secret}{by_post}")),
        (BY_BASIC, "client_secret = \"another\"\n".to_owned()),
        (BY_BASIC, String::new()),
        (BY_POST, secret.clone()),
        (PUBLIC, format!("{secret}{by_post}")),
    ];
    for (client_id, further) in refused {
        let scene = at_forge(Backend::Sqlite, client_id, &format!("{further}{MAPPING}")).await;
        let answered = scene.refusal("forge", &person(&json!(true))).await;
        assert_eq!(answered, told(502, "provider_error"), "{client_id} {further}");
    }
}

#[actix_web::test]
async fn an_address_is_verified_by_json_true_of_a_trusted_provider_alone() {
    let mut unsaid = person(&Value::Null);
    unsaid["data"]["mail"].as_object_mut().unwrap().remove("confirmed");
    let people = [
        ("yes", person(&json!(true)), true),
        ("text", person(&json!("true")), false),
        ("number", person(&json!(1)), false),
        ("nothing", person(&Value::Null), false),
        ("unsaid", unsaid, false),
    ];
    for (further, is_trusted) in
        [("trust_email = true\n", true), ("trust_email = false\n", false), ("", false)]
    {
        let further = format!("{further}{MAPPING}");
        let scene = at_forge(Backend::Sqlite, PUBLIC, &further).await;
        for (number, (username, person, is_confirmed)) in people.iter().enumerate() {
            let mut person = person.clone();
            person["data"]["user"]["id"] = json!(number);
            // Of their own: a verified address that an account has would be asked about.
            let address = format!("{username}@example.com");
            person["data"]["mail"]["address"] = json!(address);
            let kept = scene.emails_of("forge", &person, username).await;
            let expected = emails(&address, is_trusted && *is_confirmed, "forge");
            assert_eq!(kept, expected, "{username} {further}");
        }
    }
}

#[actix_web::test]
async fn a_list_of_addresses_stands_in_the_place_of_the_mapped_one() {
    let provider = server::start();
    let url = &provider.url;
    let emails_url = [("emails_url", format!("{url}/properly/emails"))];
    let endpoints = [&proper_endpoints(url)[..], &emails_url].concat();
    let further = format!("trust_email = true\n{MAPPING}");
    let text = block("forge", PUBLIC, &endpoints, &further);
    let scene = Scene::start(Backend::Sqlite, provider, &text).await;
    let mut rivka = person(&json!(true));
    rivka["emails"] = json!([
        { "email": "second@example.com", "primary": false, "verified": true },
        { "email": "first@example.com", "primary": true, "verified": "true" },
    ]);
    let kept = scene.emails_of("forge", &rivka, "rivka").await;
    assert_eq!(kept, emails("first@example.com", false, "forge"));
}

#[actix_web::test]
async fn the_request_says_what_was_wished_and_keeps_what_the_address_said() {
    let address = "https://forge.example/authorize?tenant=a%20b&tenant=c";
    let endpoints = [
        ("auth_url", address.to_owned()),
        ("token_url", "https://forge.example/token".to_owned()),
        ("userinfo_url", "https://forge.example/me".to_owned()),
    ];
    let scoped = format!("scopes = [\"profile\", \"email\"]\n{MAPPING}");
    let blocks = format!(
        "{}{}",
        block("scoped", PUBLIC, &endpoints, &scoped),
        block("unscoped", PUBLIC, &endpoints, MAPPING)
    );
    let scene = Scene::start(Backend::Sqlite, server::start(), &blocks).await;
    let browser = scene.server.browser();
    let wishes = "login_hint=r%26c%40example.com&prompt=login%20consent&max_age=900";
    for (name, query, further) in [
        ("scoped", wishes, &["scope", "login_hint", "prompt", "max_age"][..]),
        ("scoped", "", &["scope"]),
        ("unscoped", wishes, &["login_hint", "prompt", "max_age"]),
        ("unscoped", "", &[]),
    ] {
        let sent = begin(&browser, &format!("/auth/{name}?{query}")).await;
        assert_eq!(&sent[..url::Position::AfterPath], "https://forge.example/authorize");
        let pairs: Vec<(String, String)> = sent.query_pairs().into_owned().collect();
        let kept = [("tenant", "a b"), ("tenant", "c")];
        assert_eq!(pairs[..2], kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let value = |name: &str| {
            let mut found = pairs.iter().filter(|(known, _)| known == name);
            let value = found.next().map(|(_, value)| value.as_str());
            assert_eq!(found.next(), None, "{name} is there twice");
            value
        };
        let callback = format!("{}/auth/{name}/callback", scene.server.url);
        let own = [
            ("response_type", "code"),
            ("client_id", PUBLIC),
            ("redirect_uri", callback.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let wished = [
            ("scope", "profile email"),
            ("login_hint", "r&c@example.com"),
            ("prompt", "login consent"),
            ("max_age", "900"),
        ];
        for (name, expected) in own {
            assert_eq!(value(name), Some(expected));
        }
        for (name, expected) in wished {
            assert_eq!(value(name), further.contains(&name).then_some(expected), "{name}");
        }
        // 30 random bytes, and a digest of 32, in base64url.
        let lengths = ["state", "code_challenge"].map(|name| value(name).unwrap().len());
        assert_eq!(lengths, [40, 43]);
        // No ID token will carry a nonce.
        assert_eq!((value("nonce"), pairs.len()), (None, 2 + own.len() + 2 + further.len()));
    }
}

#[actix_web::test]
async fn the_moment_of_the_return_counts_as_that_of_the_sign_in() {
    let scene = at_forge(Backend::Sqlite, PUBLIC, MAPPING).await;
    let (browser, rivka) = (scene.server.browser(), person(&json!(true)));
    scene.sign_up(&browser, "forge", &rivka, "rivka").await;
    let back = way_back(&browser, "/auth/forge?max_age=30", &rivka).await;
    scene.server.clock.advance(Duration::from_secs(60));
    assert_eq!(location(&browser.get(&back).await).as_deref(), Some("/"));
    let store = &scene.server.app.store.read;
    let [(family, _)] = store.live_families().await.unwrap()[..] else {
        panic!("not exactly one session");
    };
    let auth_time = store.family(family).await.unwrap().unwrap().family.auth_time;
    assert_eq!(auth_time, scene.server.clock.now());
}

#[actix_web::test]
async fn an_issuer_in_the_answer_is_ignored() {
    let scene = at_forge(Backend::Sqlite, PUBLIC, MAPPING).await;
    let browser = scene.server.browser();
    for (person, status) in [(person(&json!(true)), 303), (Value::Null, 403)] {
        for iss in ["https://forge.example", "", "no address"] {
            let back = way_back(&browser, "/auth/forge", &person).await;
            let answer = browser.get(&with_parameter(&back, "iss", Some(iss))).await;
            assert_eq!(answer.status(), status, "{iss}");
        }
    }
}
