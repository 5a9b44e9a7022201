//! Access tokens that are not what they seem: each is refused at our own interface (attacks E01 to
//! E13), and each refusal tells nothing but that.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Server, cookie};

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn me(browser: &Browser, token: &str) -> StatusCode {
    let Ok(header) = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")) else {
        return StatusCode::UNAUTHORIZED; // what cannot be sent cannot be accepted
    };
    let request =
        browser.client.get(format!("{}/auth/me", browser.url)).header("authorization", header);
    let answer = request.send().await.unwrap();
    if answer.status() == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    }
    answer.status()
}

struct Forge {
    server: Server,
    browser: Browser,
    token: String,
}

impl Forge {
    async fn new(algorithm: &str) -> Self {
        let server =
            Server::start(Backend::Sqlite, &format!("[keys]\nalgorithm = \"{algorithm}\"\n")).await;
        let browser = server.signed_in("alice").await;
        let token = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
        Self { server, browser, token }
    }

    fn parts(&self) -> (Value, Value, String) {
        let parts: Vec<&str> = self.token.split('.').collect();
        (decode(parts[0]), decode(parts[1]), parts[2].to_owned())
    }

    /// The real claims with changes, really signed.
    fn signed(&self, typ: &str, changes: &[(&str, Value)]) -> String {
        let (_, mut claims, _) = self.parts();
        for (name, value) in changes {
            if *value == json!("absent") {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        let keys = self.server.app.key_snapshot();
        let algorithm = self.server.app.settings.keys.algorithm;
        keys.signer(algorithm, self.server.clock.now()).unwrap().sign(typ, &claims)
    }
}

#[actix_web::test]
async fn e01_e03_e05_the_header_decides_nothing() {
    let forge = Forge::new("RS256").await;
    assert_eq!(me(&forge.browser, &forge.token).await, StatusCode::OK);
    let (header, claims, signature) = forge.parts();
    let jwks: Value = serde_json::from_str(
        &forge.browser.get("/.well-known/jwks.json").await.text().await.unwrap(),
    )
    .unwrap();
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("alg", json!("RS384")),
        ("alg", json!("PS256")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("x".repeat(5_000))),
        ("kid", json!(7)),
        ("kid", Value::Null),
        ("typ", json!("JWT")),
        ("crit", json!(["exp"])),
        ("jwk", jwks["keys"][0].clone()),
        ("jku", json!("https://evil.example/jwks.json")),
    ] {
        let mut changed = header.clone();
        changed[member] = value.clone();
        for signature in [signature.as_str(), ""] {
            let token = format!("{}.{}.{signature}", encode(&changed), encode(&claims));
            assert_eq!(
                me(&forge.browser, &token).await,
                StatusCode::UNAUTHORIZED,
                "{member} {value}"
            );
        }
    }
    // HS256 with the public key as the secret.
    let mut changed = header.clone();
    changed["alg"] = json!("HS256");
    let input = format!("{}.{}", encode(&changed), encode(&claims));
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        jwks["keys"][0]["n"].as_str().unwrap().as_bytes(),
    );
    let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, input.as_bytes()));
    assert_eq!(me(&forge.browser, &format!("{input}.{tag}")).await, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn e07_e08_times_are_numbers_and_are_kept_within_the_leeway() {
    let forge = Forge::new("ES256").await;
    let now = forge.server.clock.now().seconds();
    for (name, value) in [
        ("exp", json!(now - 120)),
        ("exp", json!((now + 100).to_string())),
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(-1)),
        ("exp", json!(9_223_372_036_854_775_808_u64)),
        ("exp", Value::Null),
        ("exp", json!("absent")),
        ("iat", json!(now + 120)),
        ("iat", json!("absent")),
    ] {
        let token = forge.signed("at+jwt", &[(name, value.clone())]);
        assert_eq!(me(&forge.browser, &token).await, StatusCode::UNAUTHORIZED, "{name} {value}");
    }
    let late = forge.signed("at+jwt", &[("exp", json!(now - 20))]);
    assert_eq!(me(&forge.browser, &late).await, StatusCode::OK, "within the leeway of 30 s");
}

#[actix_web::test]
async fn e09_e10_tokens_for_others_are_not_ours() {
    let forge = Forge::new("EdDSA").await;
    for (typ, changes) in [
        ("JWT", vec![]),
        ("logout+jwt", vec![]),
        ("at+jwt", vec![("aud", json!("app"))]),
        ("at+jwt", vec![("aud", json!([forge.server.url]))]),
        ("at+jwt", vec![("client_id", json!("app"))]),
        ("at+jwt", vec![("client_id", json!("absent"))]),
        ("at+jwt", vec![("iss", json!("https://evil.example"))]),
        ("at+jwt", vec![("iss", json!(format!("{}/", forge.server.url)))]),
        ("at+jwt", vec![("sub", json!("not-a-uuid"))]),
        ("at+jwt", vec![("sub", json!("01890000-0000-7000-8000-000000000000"))]),
        ("at+jwt", vec![("sid", json!("absent"))]),
        ("at+jwt", vec![("role", json!("root"))]),
    ] {
        let token = forge.signed(typ, &changes);
        assert_eq!(me(&forge.browser, &token).await, StatusCode::UNAUTHORIZED, "{typ} {changes:?}");
    }
}

#[actix_web::test]
async fn e12_only_the_strict_compact_form_is_read() {
    let forge = Forge::new("ES256").await;
    let token = &forge.token;
    let parts: Vec<&str> = token.split('.').collect();
    let flipped = {
        // The last character of a 64-byte signature carries four stray bits.
        let last = parts[2].chars().next_back().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().nth(alphabet.find(last).unwrap() ^ 1).unwrap();
        format!("{}.{}.{}{next}", parts[0], parts[1], &parts[2][..parts[2].len() - 1])
    };
    for bad in [
        format!("{token}="),
        format!("{token}."),
        format!("{token}.x"),
        format!(".{token}"),
        token[..token.len() - 1].to_owned(),
        token.replace('.', ".."),
        token.replace('-', "+"),
        format!("{}\t{}", &token[..5], &token[5..]),
        flipped,
        "x".repeat(20_000),
    ] {
        if bad != *token {
            assert_eq!(
                me(&forge.browser, &bad).await,
                StatusCode::UNAUTHORIZED,
                "{}",
                &bad[..bad.len().min(60)]
            );
        }
    }
}

#[actix_web::test]
async fn f04_f05_f06_the_bearer_header_alone_counts_where_it_is_present() {
    let forge = Forge::new("ES256").await;
    let ask = |header: String| {
        forge
            .browser
            .client
            .get(format!("{}/auth/me", forge.server.url))
            .header("authorization", header)
            .send()
    };
    for (header, status) in [
        (format!("bearer {}", forge.token), StatusCode::OK),
        (format!("BEARER   {}", forge.token), StatusCode::OK),
        (format!("Bearer\t{}", forge.token), StatusCode::UNAUTHORIZED),
        ("Bearer".to_owned(), StatusCode::UNAUTHORIZED),
        ("Bearer x".to_owned(), StatusCode::UNAUTHORIZED), // with a good cookie beside it
        (format!("Basic {}", forge.token), StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(ask(header.clone()).await.unwrap().status(), status, "{header:.12}");
    }
    let bare = reqwest::Client::builder().no_proxy().build().unwrap();
    let query = bare.get(format!("{}/auth/me?access_token={}", forge.server.url, forge.token));
    let answer = query.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer", "no error code without a token");
}

#[actix_web::test]
async fn e25_the_token_has_the_claims_of_rfc_9068() {
    let forge = Forge::new("RS256").await;
    let (header, claims, _) = forge.parts();
    assert_eq!(header["typ"], "at+jwt");
    let members: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    for required in
        ["iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti", "sid", "username", "role"]
    {
        assert!(members.contains(&required), "{required}");
    }
    assert!(!members.contains(&"nbf") && !members.contains(&"email"), "{members:?}");
    assert_eq!(claims["aud"], claims["iss"]);
    assert_eq!(claims["client_id"], "latchkey");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
}
