//! Attacks with tokens at what is open to clients' access tokens: userinfo and introspection. Those at our own
//! interface are in `tests/it/tokens.rs`; what happens to keys, in `tests/it/keys.rs`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey::actors::key_ring::{Reload, Retire, RotateKey};
use latchkey::administration::By;
use latchkey::protocol::jwt::{
    ACCESS_TOKEN, Algorithm, ClientAccessClaims, ID_TOKEN, LOGOUT_TOKEN,
};
use latchkey::protocol::key::{SigningKey, generate};
use latchkey::protocol::random;
use latchkey::protocol::sealed::Purpose;
use latchkey::store::model::{Actor, FamilyId, UserId};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::resources::assert_invalid;
use crate::forged::signed;
use crate::grants::{Granted, claims, grant, introspected, send, send_as, userinfo};
use crate::harness::{BEGIN, Backend, Browser, Server, body};
use crate::identity::{access_of, me_by_bearer};
use crate::registration::{Registered, register};

struct Scene {
    server: Server,
    browser: Browser,
    client: Registered,
    granted: Granted,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        Self::with(backend, "").await
    }

    /// With further lines of `[server]`.
    async fn with(backend: Backend, further: &str) -> Self {
        let further = format!("{further}[keys]\nalgorithm = \"ES256\"\n");
        let server = Server::start(backend, &further).await;
        let browser = server.signed_in("alice").await;
        let client = register(&server, |metadata| metadata.resource_server = true).await;
        let granted = grant(&server, &browser, &client, "openid").await;
        let scene = Self { server, browser, client, granted };
        assert_eq!(scene.opens(&scene.granted.access).await, (true, true));
        scene
    }

    /// Whether userinfo and introspection take a token. Whatever they do not take is refused in one way.
    async fn opens(&self, token: &str) -> (bool, bool) {
        // What a header cannot carry goes into the form.
        let answer = match reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")) {
            Ok(_) if token.trim() == token && !token.is_empty() => {
                userinfo(&self.server, token).await
            }
            _ => {
                let fields = [("access_token", token)];
                self.server.browser().post_form("/oauth/userinfo", &fields).await
            }
        };
        let is_open = answer.status() == StatusCode::OK;
        if !is_open && !token.is_empty() {
            assert_invalid(answer).await;
        }
        let fields = [("token", token)];
        let found = send_as(&self.server, &self.client, "/oauth/introspect", &fields).await;
        if token.is_empty() {
            assert_eq!(found.status(), StatusCode::BAD_REQUEST);
            return (is_open, false);
        }
        assert_eq!(found.status(), StatusCode::OK);
        let found = body(found).await;
        let is_active = found["active"] == true;
        assert!(is_active || found == json!({ "active": false }), "{found}");
        (is_open, is_active)
    }

    async fn refuse(&self, token: &str) {
        let shown: String = token.chars().take(400).collect();
        assert_eq!(self.opens(token).await, (false, false), "{shown}");
    }

    /// The real claims with changes, really signed.
    async fn changed(&self, typ: &str, changes: &[(&str, Value)]) -> String {
        signed(&self.server, typ, &self.claims(changes)).await
    }

    fn claims(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = serde_json::to_value(&self.granted.claims).unwrap();
        for (name, value) in changes {
            if *value == json!("absent") {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        claims
    }

    /// The real token with another header, and with another signature if there is one.
    fn with_header(&self, header: &Value, signature: Option<&str>) -> String {
        let parts: Vec<&str> = self.granted.access.split('.').collect();
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{}.{}", parts[1], signature.unwrap_or(parts[2]))
    }

    fn header(&self) -> Value {
        let part = self.granted.access.split('.').next().unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }
}

pub async fn e01_a_token_without_a_signature_is_none(backend: Backend) {
    let scene = Scene::new(backend).await;
    for alg in ["none", "None", "NONE", ""] {
        let mut header = scene.header();
        header["alg"] = json!(alg);
        for signature in [Some(""), Some("e30"), None] {
            scene.refuse(&scene.with_header(&header, signature)).await;
        }
    }
    scene.refuse(&scene.with_header(&scene.header(), Some(""))).await;
}

pub async fn e03_the_algorithm_comes_from_our_key(backend: Backend) {
    let scene = Scene::new(backend).await;
    for alg in ["RS256", "RS384", "PS256", "ES384", "EdDSA", "HS256", "es256"] {
        let mut header = scene.header();
        header["alg"] = json!(alg);
        scene.refuse(&scene.with_header(&header, None)).await;
    }
    // HS256 by the public key as its secret.
    let mut header = scene.header();
    header["alg"] = json!("HS256");
    let jwks = body(scene.browser.get("/.well-known/jwks.json").await).await;
    let unsigned = scene.with_header(&header, Some(""));
    let input = unsigned.trim_end_matches('.');
    for secret in [jwks["keys"][0]["x"].as_str().unwrap(), &jwks["keys"][0].to_string()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, input.as_bytes()));
        scene.refuse(&format!("{input}.{tag}")).await;
    }
}

pub async fn e04_a_kid_names_a_key_of_ours_or_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    for kid in [
        json!("../../etc/passwd"),
        json!("' OR 1=1 --"),
        json!("x".repeat(5_000)),
        json!("a\0b"),
        json!(7),
        json!(["a"]),
        Value::Null,
        json!(""),
    ] {
        let mut header = scene.header();
        header["kid"] = kid;
        scene.refuse(&scene.with_header(&header, None)).await;
    }
    let mut header = scene.header();
    header.as_object_mut().unwrap().remove("kid");
    scene.refuse(&scene.with_header(&header, None)).await;
}

pub async fn e05_keys_in_the_header_are_not_looked_at(backend: Backend) {
    let scene = Scene::new(backend).await;
    let own = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
    let jwk: Value = serde_json::from_str(&own.public().jwk).unwrap();
    // Signed by the attacker's key, which the header brings or names.
    let foreign = own.sign(ACCESS_TOKEN, &scene.claims(&[]));
    scene.refuse(&foreign).await;
    let claims = foreign.split('.').nth(1).unwrap();
    let signature = foreign.split('.').nth(2).unwrap();
    for kid in [scene.header()["kid"].clone(), json!(own.public().kid)] {
        for (member, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!(format!("{}/keys", scene.server.url))),
            ("x5u", json!("https://evil.example/chain.pem")),
            ("x5c", json!(["MIIB"])),
        ] {
            let mut header = scene.header();
            header["kid"] = kid.clone();
            header[member] = value;
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            scene.refuse(&format!("{header}.{claims}.{signature}")).await;
        }
    }
}

pub async fn e07_times_are_numbers_in_their_order(backend: Backend) {
    let scene = Scene::new(backend).await;
    let now = scene.server.clock.now().seconds();
    for (name, value) in [
        ("exp", json!(now - 120)),
        ("exp", json!((now + 100).to_string())),
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(-1)),
        ("exp", json!(9_223_372_036_854_775_808_u64)),
        ("exp", Value::Null),
        ("exp", json!("absent")),
        ("iat", json!(now + 120)),
        ("iat", json!(now.to_string())),
        ("iat", json!("absent")),
        ("nbf", json!(now + 1_000_000_000)),
        ("nbf", json!("tomorrow")),
    ] {
        scene.refuse(&scene.changed(ACCESS_TOKEN, &[(name, value)]).await).await;
    }
}

pub async fn e08_the_leeway_is_30_seconds(backend: Backend) {
    let scene = Scene::new(backend).await;
    let now = scene.server.clock.now().seconds();
    for (name, value, expected) in [
        ("exp", now - 20, true),
        ("exp", now - 29, true),
        ("exp", now - 30, false),
        ("iat", now + 30, true),
        ("iat", now + 31, false),
    ] {
        let token = scene.changed(ACCESS_TOKEN, &[(name, json!(value))]).await;
        assert_eq!(scene.opens(&token).await, (expected, expected), "{name} {}", value - now);
    }
}

pub async fn e09_no_other_token_of_ours_is_an_access_token(backend: Backend) {
    let scene = Scene::new(backend).await;
    let claims = &scene.granted.claims;
    let now = scene.server.clock.now();
    let id_token = json!({
        "iss": claims.iss, "sub": claims.sub, "aud": claims.client_id, "exp": claims.exp,
        "iat": claims.iat, "auth_time": claims.iat, "nonce": "n", "sid": claims.sid,
    });
    let logout_token = json!({
        "iss": claims.iss, "sub": claims.sub, "aud": claims.client_id, "iat": claims.iat,
        "exp": claims.exp, "jti": claims.jti, "sid": claims.sid,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    for token in [
        signed(&scene.server, ID_TOKEN, &id_token).await,
        signed(&scene.server, LOGOUT_TOKEN, &logout_token).await,
        // Neither is taken for one by its claims alone, nor by its type alone.
        signed(&scene.server, ACCESS_TOKEN, &id_token).await,
        signed(&scene.server, ACCESS_TOKEN, &logout_token).await,
        scene.changed(ID_TOKEN, &[]).await,
        scene.changed(LOGOUT_TOKEN, &[]).await,
        access_of(&scene.browser).await,
    ] {
        scene.refuse(&token).await;
    }
    for purpose in [Purpose::Code, Purpose::Consent, Purpose::EndSession] {
        let until = now.plus(Duration::from_secs(60));
        let sealed = scene.server.app.sealer.seal(purpose, &scene.claims(&[]), until);
        scene.refuse(&sealed).await;
    }
    let answer = userinfo(&scene.server, &scene.granted.refresh).await;
    assert_invalid(answer).await;
}

pub async fn e10_of_every_combination_each_interface_takes_its_own_alone(backend: Backend) {
    let scene = Scene::new(backend).await;
    let own_audience = json!(scene.server.url);
    let first_party = claims::<Value>(&access_of(&scene.browser).await);
    let foreign = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
    let other_algorithm = SigningKey::from_pkcs8(&generate(Algorithm::EdDsa, 0).unwrap()).unwrap();
    let own = scene.server.signer(Algorithm::ES256).await;
    for typ in [ACCESS_TOKEN, ID_TOKEN, LOGOUT_TOKEN, "application/at+jwt"] {
        for aud in [own_audience.clone(), json!(scene.client.id), json!([own_audience, "app"])] {
            for client_id in ["latchkey", scene.client.id.as_str()] {
                for key in [own.as_ref(), &foreign, &other_algorithm] {
                    // Everything that either kind has, so that only these four tell them apart.
                    let mut claims = scene.claims(&[]);
                    claims["auth_time"] = first_party["auth_time"].clone();
                    claims["aud"] = aud.clone();
                    claims["client_id"] = json!(client_id);
                    let token = key.sign(typ, &claims);
                    let is_genuine = typ == ACCESS_TOKEN && std::ptr::eq(key, own.as_ref());
                    let is_ours = is_genuine && client_id == "latchkey" && aud == own_audience;
                    let is_clients = is_genuine && client_id == scene.client.id;
                    let case = format!("{typ} {aud} {client_id} {}", key.public().algorithm);
                    let me = me_by_bearer(&scene.server.url, &token).await;
                    assert_eq!(me == StatusCode::OK, is_ours, "{case}: {me}");
                    assert_eq!(scene.opens(&token).await, (is_clients, is_clients), "{case}");
                }
            }
        }
    }
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", scene.server.url))),
        ("client_id", json!("absent")),
        ("client_id", json!("somebody else")),
        ("sub", json!("absent")),
        ("sub", json!(UserId::new(scene.server.clock.now()))),
        ("aud", json!("absent")),
        ("grant_id", json!("not an id")),
        ("grant_id", json!(FamilyId::new(scene.server.clock.now()))),
        ("sid", json!(7)),
    ] {
        let token = scene.changed(ACCESS_TOKEN, &[(name, value.clone())]).await;
        let me = me_by_bearer(&scene.server.url, &token).await;
        assert_eq!(me, StatusCode::UNAUTHORIZED, "{name} {value}");
        scene.refuse(&token).await;
    }
    assert_eq!(
        me_by_bearer(&scene.server.url, &scene.granted.access).await,
        StatusCode::UNAUTHORIZED
    );
}

pub async fn e12_only_the_strict_compact_form_is_read(backend: Backend) {
    let scene = Scene::new(backend).await;
    let token = &scene.granted.access;
    let parts: Vec<&str> = token.split('.').collect();
    let stray = {
        // The last character of a 64-byte signature carries four stray bits.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = parts[2].split_at(parts[2].len() - 1);
        let next = alphabet.as_bytes()[alphabet.find(last).unwrap() ^ 1] as char;
        format!("{}.{}.{rest}{next}", parts[0], parts[1])
    };
    let twice = |part: &str, member: &str| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        URL_SAFE_NO_PAD.encode(text.replacen('{', &format!("{{{member},"), 1))
    };
    for bad in [
        format!("{token}="),
        format!("{token}."),
        format!("{token}.x"),
        format!(".{token}"),
        token[..token.len() - 1].to_owned(),
        token.replace('.', ".."),
        format!("{}\t{}", &token[..5], &token[5..]),
        format!(" {token}x"),
        format!("{token}\n"),
        stray,
        format!("{}.{}.{}", twice(parts[0], "\"alg\":\"none\""), parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        "...".to_owned(),
        "é".to_owned(),
        String::new(),
    ] {
        scene.refuse(&bad).await;
    }
    // Members of the claims that are there twice, really signed: the signature does not make up for it.
    #[derive(serde::Serialize)]
    struct Twice<'a> {
        scope: &'a str,
        #[serde(flatten)]
        claims: Value,
    }
    let claims = scene.claims(&[]);
    scene
        .refuse(&signed(&scene.server, ACCESS_TOKEN, &Twice { scope: "openid", claims }).await)
        .await;
}

pub async fn e13_degenerate_signatures_are_none(backend: Backend) {
    let scene = Scene::new(backend).await;
    let signature = scene.granted.access.split('.').nth(2).unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |bytes: &[u8]| [&[0x02, 0x21, 0x00], bytes].concat();
    let der = [vec![0x30, 0x46], integer(&raw[..32]), integer(&raw[32..])].concat();
    // The order of P-256: s = n - s is another signature of the same text to a lax library; r = s = n is zero.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    for bad in [
        vec![0; 64],
        [order, order].concat(),
        [&raw[..32], &[0; 32]].concat(),
        [&[0; 32], &raw[32..]].concat(),
        der,
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        vec![0],
    ] {
        let signature = URL_SAFE_NO_PAD.encode(bad);
        scene.refuse(&scene.with_header(&scene.header(), Some(&signature))).await;
    }
}

pub async fn e14_huge_and_deep_tokens_are_refused_early(backend: Backend) {
    let scene = Scene::with(backend, "max_body = 30000\n").await;
    let huge = "a".repeat(60_000);
    for (path, name) in [("/oauth/userinfo", "access_token"), ("/oauth/introspect", "token")] {
        let answer = send(&format!("{}{path}", scene.server.url), &[(name, &huge)]).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(body(answer).await["error"], "invalid_request", "{path}");
    }
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    for member in ["kid", "further"] {
        let mut header = scene.header();
        header[member] = json!("deep");
        let header = header.to_string().replace("\"deep\"", &deep);
        scene.refuse(&format!("{}.e30.e30", URL_SAFE_NO_PAD.encode(header))).await;
    }
    let long = scene.changed(ACCESS_TOKEN, &[("scope", json!("openid ".repeat(2_000)))]).await;
    scene.refuse(&long).await;
}

pub async fn e15_the_jwks_holds_public_members_alone(backend: Backend) {
    for algorithm in Algorithm::ALL {
        let server =
            Server::start(backend, &format!("[keys]\nalgorithm = \"{algorithm}\"\n")).await;
        let jwks = body(server.browser().get("/.well-known/jwks.json").await).await;
        for key in jwks["keys"].as_array().unwrap() {
            let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            let known = ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"];
            assert!(members.iter().all(|member| known.contains(member)), "{members:?}");
            assert!(key["kid"].is_string() && key["alg"] == algorithm.as_str());
            assert_eq!(key["use"], "sig");
        }
    }
}

/// The JWKS itself: `the_jwks_can_be_cached`. Discovery is cached for less, as it says other things.
pub async fn e16_documents_are_cached_by_everybody_and_carry_no_credentials(backend: Backend) {
    let scene = Scene::new(backend).await;
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let request = scene.browser.client.get(format!("{}{path}", scene.server.url));
        let answer = request.header("origin", "https://evil.example").send().await.unwrap();
        let headers = answer.headers();
        assert!(headers["cache-control"].to_str().unwrap().starts_with("public, max-age="));
        assert!(headers["etag"].to_str().unwrap().starts_with('"'));
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert!(!headers.contains_key("set-cookie"));
    }
}

/// Under load: `rotating_under_load_loses_no_verification`.
pub async fn e17_a_key_is_published_before_it_signs_and_while_its_tokens_live(backend: Backend) {
    let scene = Scene::new(backend).await;
    let server = &scene.server;
    server.stop_tickers();
    let published = async || -> Vec<String> {
        server.app.key_ring.ask(Reload).await.unwrap().unwrap();
        let document = body(server.browser().get("/.well-known/jwks.json").await).await;
        let keys = document["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let issued = async || {
        let now = server.clock.now().seconds();
        let times = ClientAccessClaims { iat: now, exp: now + 900, ..scene.granted.claims.clone() };
        let token = signed(server, ACCESS_TOKEN, &times).await;
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        (header["kid"].as_str().unwrap().to_owned(), token)
    };
    server.clock.advance(Duration::from_secs(1));
    let by = By::local(Actor::System, BEGIN);
    let rotate = RotateKey { algorithm: None, bits: None, now: false, by };
    let report = server.app.key_ring.ask(rotate).await.unwrap().unwrap();
    let (old, new) = (report.replaces.unwrap().0, report.kid);
    assert_eq!(published().await, [old.clone(), new.clone()]);
    let ahead = report.signs_from.since(server.clock.now());
    assert_eq!(ahead, server.app.settings.keys.publish_ahead);

    server.clock.advance(ahead - Duration::from_secs(1));
    let (kid, last) = issued().await;
    assert_eq!(kid, old);
    server.clock.advance(Duration::from_secs(1));
    let (kid, first) = issued().await;
    assert_eq!(kid, new);
    assert_eq!(scene.opens(&first).await, (true, true));
    server.clock.advance(Duration::from_secs(898));
    assert_eq!(published().await, [old, new.clone()]);
    assert_eq!(scene.opens(&last).await, (true, true), "the last second of its life");
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(published().await, [new]);
}

/// At `/auth/me`: `a_compromised_key_is_gone_at_once_with_its_tokens`; from the command line:
/// `keys_made_by_the_command_line_reach_a_live_server`.
pub async fn e19_tokens_of_a_stolen_key_are_dead_at_once(backend: Backend) {
    let scene = Scene::new(backend).await;
    scene.server.stop_tickers();
    let kid = scene.header()["kid"].as_str().unwrap().to_owned();
    scene.server.clock.advance(Duration::from_secs(1));
    let by = By::local(Actor::System, BEGIN);
    let rotate = RotateKey { algorithm: None, bits: None, now: true, by };
    scene.server.app.key_ring.ask(rotate).await.unwrap().unwrap();
    assert_eq!(scene.opens(&scene.granted.access).await, (true, true), "retired, not stolen");
    let retire = Retire { kid, compromised: true, by: Actor::System };
    scene.server.app.key_ring.ask(retire).await.unwrap().unwrap();
    scene.refuse(&scene.granted.access).await;
    assert_eq!(
        scene.opens(&signed(&scene.server, ACCESS_TOKEN, &scene.granted.claims).await).await,
        (true, true),
        "the new key signs"
    );
}

/// Two keys cannot have one kid: it is made of the key (RFC 7638). An expired token is called expired.
pub async fn e21_a_kid_is_made_of_its_key_and_expiry_is_named(backend: Backend) {
    let scene = Scene::new(backend).await;
    let key = SigningKey::from_pkcs8(&generate(Algorithm::ES256, 0).unwrap()).unwrap();
    let jwk: Value = serde_json::from_str(&key.public().jwk).unwrap();
    let text =
        format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{},\"y\":{}}}", jwk["x"], jwk["y"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    assert_eq!(key.public().kid, URL_SAFE_NO_PAD.encode(digest));
    scene.server.clock.advance(Duration::from_secs(931));
    let answer = userinfo(&scene.server, &scene.granted.access).await;
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("expired"), "{challenge}");
}

pub async fn e22_the_issuer_is_the_configured_one_whatever_the_host_header_says(backend: Backend) {
    let scene = Scene::new(backend).await;
    // As `serve` runs it: `dev` refuses other hosts.
    if backend == Backend::Sqlite {
        let request = scene
            .browser
            .client
            .get(format!("{}/.well-known/openid-configuration", scene.server.url));
        let answer = request.header("host", "evil.example").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
        return;
    }
    let node = scene.server.beside(|_| {}).await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let request = scene.browser.client.get(format!("{}{path}", node.url));
        let request = request
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https");
        let text = request.send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("evil.example"), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["issuer"], scene.server.url);
        assert_eq!(document["issuer"], scene.granted.claims.iss);
    }
}

/// That every list is what the code goes by: `discovery_says_what_the_code_goes_by`, and that every endpoint
/// is there: `every_endpoint_of_discovery_is_there`.
pub async fn e24_discovery_has_every_member_that_clients_look_for(backend: Backend) {
    let scene = Scene::new(backend).await;
    let document = body(scene.browser.get("/.well-known/openid-configuration").await).await;
    for member in [
        // OpenID Connect Discovery §3 requires these.
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        // And these are what else there is.
        "revocation_endpoint",
        "introspection_endpoint",
        "end_session_endpoint",
        "scopes_supported",
        "claims_supported",
        "code_challenge_methods_supported",
        "prompt_values_supported",
        "authorization_response_iss_parameter_supported",
    ] {
        assert!(!document[member].is_null(), "{member}");
    }
    assert_eq!(document["issuer"], scene.server.url, "byte by byte, without a slash at the end");
    let algorithms = document["id_token_signing_alg_values_supported"].as_array().unwrap();
    assert!(algorithms.contains(&json!("RS256")) && !algorithms.contains(&json!("none")));
    for absent in [
        "registration_endpoint",
        "device_authorization_endpoint",
        "pushed_authorization_request_endpoint",
        "check_session_iframe",
        "userinfo_signing_alg_values_supported",
    ] {
        assert!(document[absent].is_null(), "{absent} is not there");
    }
}

/// A person's id in the place of a client's, and the reverse, opens nobody's account.
pub async fn e10_a_client_cannot_pass_for_a_person(backend: Backend) {
    let scene = Scene::new(backend).await;
    let someone = UserId::new(scene.server.clock.now());
    for changes in [
        vec![("grant_id", json!("absent")), ("sid", json!("absent"))],
        vec![("grant_id", json!("absent")), ("sub", json!(someone))],
        vec![
            ("grant_id", json!("absent")),
            ("sid", json!("absent")),
            ("sub", json!(scene.client.id)),
            ("jti", json!(random::text::<16>())),
        ],
    ] {
        let token = scene.changed(ACCESS_TOKEN, &changes).await;
        let answer = userinfo(&scene.server, &token).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{changes:?}");
        let found = introspected(&scene.server, &scene.client, &token).await;
        assert!(found.get("username").is_none(), "{found}");
    }
}

crate::on_both_stores!(
    e01_a_token_without_a_signature_is_none,
    e03_the_algorithm_comes_from_our_key,
    e04_a_kid_names_a_key_of_ours_or_nothing,
    e05_keys_in_the_header_are_not_looked_at,
    e07_times_are_numbers_in_their_order,
    e08_the_leeway_is_30_seconds,
    e09_no_other_token_of_ours_is_an_access_token,
    e10_of_every_combination_each_interface_takes_its_own_alone,
    e10_a_client_cannot_pass_for_a_person,
    e12_only_the_strict_compact_form_is_read,
    e13_degenerate_signatures_are_none,
    e14_huge_and_deep_tokens_are_refused_early,
    e15_the_jwks_holds_public_members_alone,
    e16_documents_are_cached_by_everybody_and_carry_no_credentials,
    e17_a_key_is_published_before_it_signs_and_while_its_tokens_live,
    e19_tokens_of_a_stolen_key_are_dead_at_once,
    e21_a_kid_is_made_of_its_key_and_expiry_is_named,
    e22_the_issuer_is_the_configured_one_whatever_the_host_header_says,
    e24_discovery_has_every_member_that_clients_look_for,
);
