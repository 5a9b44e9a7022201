//! The authorization request and its answer: redirect URIs, parameters, PKCE, prompts, consent.

use std::time::Duration;

use latchkey::protocol::client::{ApplicationType, AuthMethod};
use latchkey::protocol::pkce;
use reqwest::{Response, StatusCode};
use url::form_urlencoded;

use crate::grants::{REDIRECT_URI, VERIFIER};
use crate::harness::{Backend, location};
use crate::oauth_authorize::sign_in::{id_token, led_to_login, sign_in_from};
use crate::oauth_authorize::{
    Scene, decide, field, is_error, is_stranded, query, request, told, told_at,
};
use crate::registration::{register, update};
use crate::sign_in::hidden_token;

/// Checks that no such address is sent anything, whatever the rest of the request.
async fn is_refused_everywhere(scene: &Scene, redirect_uri: &str) {
    let redirect_uri = ("redirect_uri", Some(redirect_uri));
    for other in [
        ("nonce", Some("n")),
        ("prompt", Some("none")),
        ("response_type", Some("token")),
        ("response_mode", Some("form_post")),
        ("scope", Some("unheard-of")),
    ] {
        is_stranded(scene.ask(&[redirect_uri, other]).await, &format!("{redirect_uri:?}")).await;
    }
}

async fn a02_an_address_with_more_than_the_registered_one_gets_nothing(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for suffix in ["/x", "/", "evil", "?x=1", "#f", "?", "#", "%00", ";x"] {
        is_refused_everywhere(&scene, &format!("{REDIRECT_URI}{suffix}")).await;
    }
}

async fn a03_an_address_is_compared_before_anything_is_decoded(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for path in ["/../evil", "/%2e%2e/evil", "/%252e%252e/evil", "/..;/evil", "/."] {
        is_refused_everywhere(&scene, &format!("{REDIRECT_URI}{path}")).await;
    }
    is_refused_everywhere(&scene, "https://app.example/%63allback").await;
    is_refused_everywhere(&scene, "https://app.example/a/../callback").await;
}

async fn a04_a_name_before_the_host_makes_it_another_address(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.redirect_uris.push("http://127.0.0.1/cb".to_owned());
    })
    .await;
    for address in [
        "https://app.example@evil.example/callback",
        "https://app.example:x@evil.example/callback",
        "https://x@app.example/callback",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
    ] {
        is_refused_everywhere(&scene, address).await;
    }
}

async fn a05_a_host_that_looks_the_same_is_another(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.redirect_uris.push("http://127.0.0.1/cb".to_owned());
    })
    .await;
    for address in [
        "https://APP.example/callback",
        "https://app.example./callback",
        "https://\u{430}pp.example/callback",
        "https:\\\\app.example\\callback",
        "https://app.example\t/callback",
        "https://app.example\n/callback",
        "https://app.example/callback ",
        "http://[::ffff:127.0.0.1]/cb",
        "http://2130706433/cb",
    ] {
        is_refused_everywhere(&scene, address).await;
    }
}

async fn a06_at_a_loopback_address_the_port_is_free(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.redirect_uris = vec!["http://127.0.0.1/cb".into(), "http://[::1]/cb".into()];
    })
    .await;
    for address in ["http://127.0.0.1:51004/cb", "http://127.0.0.1/cb", "http://[::1]:51004/cb"] {
        let answer = scene.ask(&[("redirect_uri", Some(address))]).await;
        scene.open(&told_at(&answer, address));
    }
}

async fn a07_nothing_but_the_port_is_free(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.application_type = ApplicationType::Native;
        metadata.redirect_uris = vec!["http://127.0.0.1/cb".into(), "http://localhost/cb".into()];
    })
    .await;
    for address in [
        "http://127.0.0.1:51004/other",
        "https://127.0.0.1:51004/cb",
        "http://localhost:51004/cb",
        "http://127.0.0.2:51004/cb",
        "http://127.0.0.1.evil/cb",
        "http://[::1]:51004/cb",
    ] {
        is_refused_everywhere(&scene, address).await;
    }
}

async fn a08_elsewhere_the_port_is_part_of_the_address(backend: Backend) {
    // A registered loopback address has a free port whatever the client calls itself.
    let scene = Scene::trusted(backend).await;
    for port in [":443", ":8443", ":80"] {
        is_refused_everywhere(&scene, &format!("https://app.example{port}/callback")).await;
    }
}

async fn a10_an_address_must_be_named(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    is_stranded(scene.ask(&[("redirect_uri", None)]).await, "one registered").await;
    is_stranded(scene.ask(&[("redirect_uri", Some(""))]).await, "an empty one").await;
    update(&scene.server, &scene.client, |metadata| {
        metadata.redirect_uris.push("https://b.example/".into())
    })
    .await;
    is_stranded(scene.ask(&[("redirect_uri", None)]).await, "two registered").await;
    for client_id in [None, Some(""), Some("nobody")] {
        is_stranded(scene.ask(&[("client_id", client_id)]).await, "no such client").await;
    }
}

async fn a12_no_shortcut_passes_by_the_check(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    scene.open(&told(&decide(&scene.browser, &page, "allow").await));
    is_refused_everywhere(&scene, "https://evil.example/callback").await;
    let evil = query(&scene.client.id, &[("redirect_uri", Some("https://evil.example/"))]);
    let here = location(&posted(&scene, evil).await).unwrap();
    assert!(here.starts_with("/oauth/authorize?"), "{here}");
    is_stranded(scene.browser.page(&here).await, "posted").await;
}

/// What a form on another site's page sends to the endpoint.
async fn posted(scene: &Scene, form: String) -> Response {
    scene
        .browser
        .client
        .post(format!("{}/oauth/authorize", scene.server.url))
        .header("sec-fetch-site", "cross-site")
        .header("origin", "https://app.example")
        .header("accept", "text/html")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap()
}

async fn a13_an_answer_goes_only_where_it_may_go_by_then(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    update(&scene.server, &scene.client, |metadata| {
        metadata.redirect_uris = vec!["https://b.example/".into()]
    })
    .await;
    let before = scene.server.rows().await;
    for decision in ["allow", "deny"] {
        is_stranded(decide(&scene.browser, &page, decision).await, decision).await;
    }
    assert_eq!(scene.server.rows().await, before);
}

async fn a14_a_repeated_parameter_is_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let ordinary = scene.request(&[]);
    for name in ["client_id", "redirect_uri"] {
        let value = if name == "client_id" { scene.client.id.as_str() } else { REDIRECT_URI };
        is_stranded(scene.browser.page(&format!("{ordinary}&{name}={value}")).await, name).await;
    }
    for pair in ["scope=openid", "nonce=n", "prompt=", "prompt=&prompt=", "response_type=code"] {
        let times =
            if pair.starts_with("prompt=") { format!("{pair}&{pair}") } else { pair.into() };
        let answer = scene.browser.page(&format!("{ordinary}&{times}")).await;
        is_error(&scene, &answer, "invalid_request");
    }
    let told = told(&scene.browser.page(&format!("{ordinary}&state=other")).await);
    assert_eq!((told["error"].as_str(), told.get("state")), ("invalid_request", None));
}

async fn a15_a_parameter_in_query_and_body_is_there_twice(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let post = async |changes: &[(&str, Option<&str>)], body: &[(&str, &str)]| {
        let answer = scene.browser.post_form(&scene.request(changes), body).await;
        scene.browser.page(&location(&answer).unwrap()).await
    };
    let answer = post(&[], &[("scope", "openid")]).await;
    is_error(&scene, &answer, "invalid_request");
    let answer = post(&[], &[("redirect_uri", REDIRECT_URI)]).await;
    is_stranded(answer, "redirect_uri").await;
    let answer = post(&[("scope", None)], &[("scope", "openid")]).await;
    assert_eq!(scene.open(&told(&answer)).scope, "openid");
}

async fn a17_an_unknown_parameter_is_ignored(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for further in ["extra=foobar", "claims=%7B%7D", "display=popup&ui_locales=he&acr_values=1"] {
        let answer = scene.browser.page(&format!("{}&{further}", scene.request(&[]))).await;
        scene.open(&told(&answer));
    }
}

async fn a18_a_request_may_be_posted(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let posted = posted(&scene, query(&scene.client.id, &[])).await;
    assert_eq!(posted.status(), StatusCode::SEE_OTHER);
    let answer = scene.browser.page(&location(&posted).unwrap()).await;
    scene.open(&told(&answer));
}

async fn a20_nothing_but_a_code_is_issued_here(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for wanted in ["token", "id_token", "code token", "code id_token", "none", "CODE"] {
        let answer = scene.ask(&[("response_type", Some(wanted))]).await;
        is_error(&scene, &answer, "unsupported_response_type");
        assert!(!location(&answer).unwrap().contains("access_token"));
    }
    is_error(&scene, &scene.ask(&[("response_type", None)]).await, "invalid_request");
}

async fn a21_an_unknown_way_to_answer_is_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for mode in ["fragment", "form_post.jwt", "web_message", "junk", "QUERY"] {
        is_error(&scene, &scene.ask(&[("response_mode", Some(mode))]).await, "invalid_request");
    }
    scene.open(&told(&scene.ask(&[("response_mode", Some("query"))]).await));
}

async fn a22_requests_within_requests_are_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let elsewhere = crate::openid_provider::TestProvider::start(Default::default());
    let uri = format!("{}/elsewhere", elsewhere.url);
    for (name, value, error) in [
        ("request", "eyJhbGciOiJub25lIn0.e30.", "request_not_supported"),
        ("request_uri", uri.as_str(), "request_uri_not_supported"),
        ("registration", "{}", "registration_not_supported"),
    ] {
        is_error(&scene, &scene.ask(&[(name, Some(value))]).await, error);
    }
    assert_eq!(elsewhere.state.elsewhere_requests(), 0, "nothing is fetched");
}

async fn a23_a_client_gets_no_scope_that_it_is_not_registered_for(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.scope = "openid profile gone".to_owned();
    })
    .await;
    for scope in ["email", "openid roles", "openid offline_access", "unheard-of", "gone", "OPENID"]
    {
        is_error(&scene, &scene.ask(&[("scope", Some(scope))]).await, "invalid_scope");
    }
}

async fn a24_scopes_are_a_set_of_legal_words(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for scope in ["openid profile", "profile openid openid", " openid   profile "] {
        let code = scene.open(&told(&scene.ask(&[("scope", Some(scope))]).await));
        let mut words: Vec<&str> = code.scope.split(' ').collect();
        words.sort_unstable();
        assert_eq!(words, ["openid", "profile"]);
    }
    let many: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for bad in ["openid\tprofile", "openid\u{1}", "openid\"", "\u{e9}", " ", &many.join(" ")] {
        is_error(&scene, &scene.ask(&[("scope", Some(bad))]).await, "invalid_scope");
    }
    // Ten thousand of them are too long for any request.
    let flood = query(&scene.client.id, &[("scope", Some(&"s ".repeat(10_000)))]);
    is_error(&scene, &posted(&scene, flood).await, "invalid_request");
}

async fn a26_a_state_comes_back_as_it_was(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let long = "s".repeat(1_500);
    for state in
        [long.as_str(), "a&b=c#d", "\"'<>`", "a\r\nb: c", "\u{e9}\u{5d0}\u{1f511}", "%41+ ~"]
    {
        let told = told(&scene.ask(&[("state", Some(state))]).await);
        assert_eq!(told["state"], state);
        scene.open(&told);
        let refused = self::told(&scene.ask(&[("state", Some(state)), ("scope", Some("x"))]).await);
        assert_eq!(refused["state"], state);
    }
    // Our limit is lower than the catalogue's, so that the request fits into a cookie.
    for length in [1_501, 4_097] {
        let state = "s".repeat(length);
        let told = told(&scene.ask(&[("state", Some(&state))]).await);
        assert_eq!((told["error"].as_str(), &told["state"]), ("invalid_request", &state));
    }
}

async fn a27_an_old_fragment_is_not_carried_on(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for changes in [("nonce", Some("n")), ("scope", Some("unheard-of"))] {
        let answer = scene.ask(&[changes]).await;
        assert!(location(&answer).unwrap().ends_with("#_"));
    }
}

async fn a28_in_silence_no_page_is_shown(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let silent = [("prompt", Some("none"))];
    is_error(&scene, &scene.ask(&silent).await, "consent_required");
    for prompt in ["none login", "login none", "none consent", "none select_account"] {
        is_error(&scene, &scene.ask(&[("prompt", Some(prompt))]).await, "invalid_request");
    }
    is_error(
        &scene,
        &scene.ask(&[("prompt", Some("none")), ("max_age", Some("0"))]).await,
        "consent_required",
    );
    scene.server.clock.advance(Duration::from_secs(60));
    let aged = [("prompt", Some("none")), ("max_age", Some("59"))];
    is_error(&scene, &scene.ask(&aged).await, "login_required");
    // Without a session, the browser is asked for its refresh cookie before the answer.
    let nobody = scene.server.browser();
    let resume = location(&nobody.page(&scene.request(&silent)).await).unwrap();
    assert!(resume.starts_with("/auth/resume?"), "{resume}");
    let back = location(&nobody.page(&resume).await).unwrap();
    is_error(&scene, &nobody.page(&back).await, "login_required");
}

async fn a29_who_must_sign_in_again_does(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for (changes, passed_on) in
        [([("prompt", Some("login"))], "prompt=login"), ([("max_age", Some("1"))], "max_age=1")]
    {
        scene.server.clock.advance(Duration::from_secs(5));
        let before = scene.server.clock.now();
        let login = led_to_login(&scene.browser, &scene.request(&changes)).await;
        assert!(login.contains(passed_on), "{login}");
        scene.server.clock.advance(Duration::from_secs(5));
        let here = sign_in_from(&scene.browser, &login, "alice").await;
        let code = scene.open(&told(&scene.browser.page(&here).await));
        assert!(code.auth_time > before.seconds());
    }
    // A fresh sign-in of the person's own accord is no answer to the wish of a client.
    let again = scene.request(&[("prompt", Some("login"))]);
    scene.browser.sign_in("alice").await;
    let answer = scene.browser.page(&again).await;
    assert!(location(&answer).unwrap().starts_with("/login?"));
}

async fn a30_a_hint_of_another_person_gets_no_code(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let hint = id_token(&scene, |claims| claims.sub = "somebody else".to_owned()).await;
    let changes = [("id_token_hint", Some(hint.as_str())), ("prompt", Some("none"))];
    is_error(&scene, &scene.ask(&changes).await, "login_required");
}

fn is_framed_by_nobody(answer: &Response) {
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
}

async fn a32_no_page_can_be_framed(backend: Backend) {
    let scene = Scene::asking(backend).await;
    is_framed_by_nobody(&scene.ask(&[]).await);
    is_framed_by_nobody(&scene.ask(&[("client_id", None)]).await);
    let posted = [("response_mode", Some("form_post")), ("scope", Some("x"))];
    is_framed_by_nobody(&scene.ask(&posted).await);
    for path in ["/login", "/account", "/auth/form/consent"] {
        is_framed_by_nobody(&scene.browser.page(path).await);
    }
}

async fn a33_nobody_says_yes_in_anothers_place(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    let (token, waiting) = (hidden_token(&page), field(&page, "request"));
    let other = scene.ask(&[]).await.text().await.unwrap();
    let account = scene.browser.page("/account").await.text().await.unwrap();
    let post = async |token: &str, site: &str, origin: Option<&str>| {
        let fields = [("form_token", token), ("request", &waiting), ("decision", "allow")];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = scene
            .browser
            .client
            .post(format!("{}/auth/form/consent", scene.server.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(body).send().await.unwrap().status()
    };
    let before = scene.server.rows().await;
    let evil = Some("https://evil.example");
    assert_eq!(post(&token, "cross-site", evil).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&token, "same-site", evil).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&token, "cross-site", Some("null")).await, StatusCode::FORBIDDEN);
    assert_eq!(post("", "same-origin", None).await, StatusCode::FORBIDDEN);
    let of_another_form = hidden_token(&account);
    assert_eq!(post(&of_another_form, "same-origin", None).await, StatusCode::FORBIDDEN);
    assert_eq!(scene.server.rows().await, before);
    scene.open(&told(&decide(&scene.browser, &other, "allow").await));
}

async fn a34_a_question_to_another_person_is_not_answered_and_stays_open(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[]).await.text().await.unwrap();
    let mallory = scene.server.signed_in("mallory").await;
    let own = mallory.page(&scene.request(&[])).await.text().await.unwrap();
    let same_person_elsewhere = scene.server.browser();
    same_person_elsewhere.sign_in("alice").await;
    let (waiting, token) = (field(&page, "request"), hidden_token(&own));
    let fields = [("form_token", token.as_str()), ("request", &waiting), ("decision", "allow")];
    let answer = mallory.post_form("/auth/form/consent", &fields).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = decide(&mallory, &page, "allow").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = decide(&same_person_elsewhere, &page, "allow").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    scene.open(&told(&decide(&scene.browser, &page, "allow").await));
}

async fn a35_what_is_granted_is_what_was_shown(backend: Backend) {
    let scene = Scene::asking(backend).await;
    let page = scene.ask(&[("scope", Some("openid"))]).await.text().await.unwrap();
    let (token, waiting) = (hidden_token(&page), field(&page, "request"));
    let fields = [
        ("form_token", token.as_str()),
        ("request", &waiting),
        ("decision", "allow"),
        ("scope", "openid profile email"),
    ];
    let answer = scene.browser.post_form("/auth/form/consent", &fields).await;
    assert_eq!(scene.open(&told(&answer)).scope, "openid");
    let wider = scene.ask(&[("prompt", Some("none"))]).await;
    is_error(&scene, &wider, "consent_required");
}

async fn a36_an_app_that_others_can_pose_as_asks_each_time(backend: Backend) {
    let own = "com.example.app:/done";
    let scene = Scene::start(backend, "", |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::None;
        metadata.application_type = ApplicationType::Native;
        metadata.redirect_uris.push(own.to_owned());
    })
    .await;
    let here = ("redirect_uri", Some(own));
    for _ in 0..2 {
        let page = scene.ask(&[here]).await.text().await.unwrap();
        assert!(page.contains("the app on this device"), "{page}");
        let answer = decide(&scene.browser, &page, "allow").await;
        scene.open(&told_at(&answer, own));
    }
    let silent = told_at(&scene.ask(&[here, ("prompt", Some("none"))]).await, own);
    assert_eq!(silent["error"], "consent_required");
    // On the web nobody else gets the answer.
    scene.open(&told(&scene.ask(&[]).await));
    update(&scene.server, &scene.client, |metadata| metadata.auto_approve = true).await;
    scene.open(&told_at(&scene.ask(&[here]).await, own));
}

async fn a37_no_page_tells_others_where_it_is(backend: Backend) {
    let scene = Scene::asking(backend).await;
    // Ours is same-origin, so that a form's origin is known: others are told as little by it.
    let page = scene.ask(&[]).await;
    assert_eq!(page.headers()["referrer-policy"], "same-origin");
    let text = page.text().await.unwrap();
    for part in ["src=\"http", "src=\"//", "href=\"http", "href=\"//"] {
        assert!(!text.contains(part), "{part}: {text}");
    }
    let answer = decide(&scene.browser, &text, "allow").await;
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
}

async fn b01_a_challenge_is_required(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let none = [("code_challenge", None), ("code_challenge_method", None)];
    is_error(&scene, &scene.ask(&none).await, "invalid_request");
    let empty = [("code_challenge", Some(""))];
    is_error(&scene, &scene.ask(&empty).await, "invalid_request");
}

async fn b02_a_plain_challenge_is_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    for method in [Some("plain"), Some("s256"), Some("S512"), None] {
        let answer = scene.ask(&[("code_challenge_method", method)]).await;
        is_error(&scene, &answer, "invalid_request");
    }
}

async fn b04_a_malformed_challenge_is_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let good = pkce::challenge(VERIFIER);
    let padded = format!("{good}=");
    let long = "a".repeat(129);
    let plus = format!("+{}", &good[1..]);
    let wide = format!("\u{e9}{}", &good[2..]);
    for bad in [&good[1..], &padded, &long, &plus, &wide, &format!("{} ", &good[1..])] {
        let answer = scene.ask(&[("code_challenge", Some(bad))]).await;
        is_error(&scene, &answer, "invalid_request");
    }
}

async fn b05_b06_a_code_remembers_whether_there_was_a_challenge(backend: Backend) {
    let scene = Scene::start(backend, "", |metadata| {
        metadata.auto_approve = true;
        metadata.require_pkce = false;
    })
    .await;
    let bound = scene.open(&told(&scene.ask(&[]).await));
    assert_eq!(bound.code_challenge, Some(pkce::challenge(VERIFIER)));
    let none = [("code_challenge", None), ("code_challenge_method", None)];
    assert_eq!(scene.open(&told(&scene.ask(&none).await)).code_challenge, None);
}

async fn b08_two_challenges_are_refused(backend: Backend) {
    let scene = Scene::trusted(backend).await;
    let twice = format!("{}&code_challenge={}", scene.request(&[]), pkce::challenge("b"));
    is_error(&scene, &scene.browser.page(&twice).await, "invalid_request");
    let other = register(&scene.server, |metadata| metadata.auto_approve = true).await;
    let twice = format!("{}&code_challenge_method=S256", request(&other.id, &[]));
    is_error(&scene, &scene.browser.page(&twice).await, "invalid_request");
}

crate::on_both_stores!(
    a02_an_address_with_more_than_the_registered_one_gets_nothing,
    a03_an_address_is_compared_before_anything_is_decoded,
    a04_a_name_before_the_host_makes_it_another_address,
    a05_a_host_that_looks_the_same_is_another,
    a06_at_a_loopback_address_the_port_is_free,
    a07_nothing_but_the_port_is_free,
    a08_elsewhere_the_port_is_part_of_the_address,
    a10_an_address_must_be_named,
    a12_no_shortcut_passes_by_the_check,
    a13_an_answer_goes_only_where_it_may_go_by_then,
    a14_a_repeated_parameter_is_refused,
    a15_a_parameter_in_query_and_body_is_there_twice,
    a17_an_unknown_parameter_is_ignored,
    a18_a_request_may_be_posted,
    a20_nothing_but_a_code_is_issued_here,
    a21_an_unknown_way_to_answer_is_refused,
    a22_requests_within_requests_are_refused,
    a23_a_client_gets_no_scope_that_it_is_not_registered_for,
    a24_scopes_are_a_set_of_legal_words,
    a26_a_state_comes_back_as_it_was,
    a27_an_old_fragment_is_not_carried_on,
    a28_in_silence_no_page_is_shown,
    a29_who_must_sign_in_again_does,
    a30_a_hint_of_another_person_gets_no_code,
    a32_no_page_can_be_framed,
    a33_nobody_says_yes_in_anothers_place,
    a34_a_question_to_another_person_is_not_answered_and_stays_open,
    a35_what_is_granted_is_what_was_shown,
    a36_an_app_that_others_can_pose_as_asks_each_time,
    a37_no_page_tells_others_where_it_is,
    b01_a_challenge_is_required,
    b02_a_plain_challenge_is_refused,
    b04_a_malformed_challenge_is_refused,
    b05_b06_a_code_remembers_whether_there_was_a_challenge,
    b08_two_challenges_are_refused,
);
