//! What discovery promises and what tokens say (E24 to E26): everything is tried at the endpoints themselves.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as LibraryAlgorithm, decode_header};
use latchkey::protocol::client::{AuthMethod, GrantType};
use latchkey::protocol::jwt::Algorithm;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::grants::{
    Granted, REDIRECT_URI, Reply, VERIFIER, claims, code_with, form, grant, http, introspected,
    post_as, redeem, send, session, userinfo, verified,
};
use crate::harness::{Backend, Browser, Server, body, location};
use crate::oauth_authorize::{Scene, field, is_error, request, told};
use crate::oauth_logout::logout;
use crate::oauth_token::assertions::{self, Key};
use crate::registration::{Registered, register, register_public};

async fn document(server: &Server) -> Value {
    body(server.browser().get("/.well-known/openid-configuration").await).await
}

/// The words of a list of discovery.
fn list(document: &Value, name: &str) -> Vec<String> {
    serde_json::from_value(document[name].clone()).unwrap_or_else(|_| panic!("no list {name}"))
}

async fn e24_requests_as_promised_work_and_no_others(backend: Backend) {
    let custom = "[[scopes]]\nname = \"badge\"\ndescription = \"See your badge\"\n";
    let scene = Scene::start(backend, custom, |metadata| {
        metadata.auto_approve = true;
        metadata.scope = "openid profile email roles offline_access badge address".to_owned();
    })
    .await;
    let document = document(&scene.server).await;
    let refused = async |parameter, value, error| {
        is_error(&scene, &scene.ask(&[(parameter, Some(value))]).await, error);
    };

    for response_type in list(&document, "response_types_supported") {
        scene.open(&told(&scene.ask(&[("response_type", Some(&response_type))]).await));
    }
    for other in ["token", "id_token", "none", "code token", "code id_token", "CODE"] {
        refused("response_type", other, "unsupported_response_type").await;
    }
    for mode in list(&document, "response_modes_supported") {
        let answer = scene.ask(&[("response_mode", Some(&mode))]).await;
        let told = match mode.as_str() {
            "query" => told(&answer),
            "form_post" => {
                let page = answer.text().await.unwrap();
                [("code".to_owned(), field(&page, "code"))].into()
            }
            other => panic!("nobody has tried {other}"),
        };
        scene.open(&told);
    }
    for other in ["fragment", "web_message", "jwt", "query.jwt", "form_post.jwt"] {
        refused("response_mode", other, "invalid_request").await;
    }
    for method in list(&document, "code_challenge_methods_supported") {
        scene.open(&told(&scene.ask(&[("code_challenge_method", Some(&method))]).await));
    }
    for other in ["plain", "S512", "s256"] {
        refused("code_challenge_method", other, "invalid_request").await;
    }
    for scope in list(&document, "scopes_supported") {
        let granted = grant(&scene.server, &scene.browser, &scene.client, &scope).await;
        assert_eq!(granted.claims.scope, scope);
        assert_eq!(granted.id_token.is_empty(), scope != "openid");
    }
    for other in ["address", "phone", "OPENID"] {
        refused("scope", other, "invalid_scope").await;
    }
    for prompt in list(&document, "prompt_values_supported") {
        let answer = scene.ask(&[("prompt", Some(&prompt))]).await;
        match prompt.as_str() {
            "none" => drop(scene.open(&told(&answer))),
            "login" | "select_account" => {
                let login = location(&answer).unwrap();
                assert!(login.starts_with("/login?") && login.contains(&prompt), "{login}");
            }
            "consent" => {
                let page = answer.text().await.unwrap();
                assert!(page.contains("Example app wants to use your account"), "{page}");
            }
            other => panic!("nobody has tried {other}"),
        }
    }
    for other in ["create", "LOGIN", "none login"] {
        refused("prompt", other, "invalid_request").await;
    }
    for (parameter, error) in [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ] {
        refused(parameter, "https://app.example/x", error).await;
    }
}

async fn e24_grants_as_promised_work_and_no_others(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let client = register(&server, |metadata| metadata.grant_types = GrantType::ALL.to_vec()).await;
    let browser = server.signed_in("alice").await;
    let granted = grant(&server, &browser, &client, "openid").await;
    for grant_type in list(&document(&server).await, "grant_types_supported") {
        let code = code_with(&browser, &client, &[]).await;
        let further = match grant_type.as_str() {
            "authorization_code" => vec![
                ("code", code.as_str()),
                ("redirect_uri", REDIRECT_URI),
                ("code_verifier", VERIFIER),
            ],
            "refresh_token" => vec![("refresh_token", granted.refresh.as_str())],
            "client_credentials" => vec![],
            other => panic!("nobody has tried {other}"),
        };
        let parameters = [&[("grant_type", grant_type.as_str())], &further[..]].concat();
        post_as(&server.url, &client, &parameters).await.granted();
    }
    for other in [
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:openid:params:grant-type:ciba",
    ] {
        let reply = post_as(&server.url, &client, &[("grant_type", other)]).await;
        reply.refused(400, "unsupported_grant_type");
    }
}

/// The clients of each way to prove who one is.
struct Clients {
    by_secret: Registered,
    by_key: Registered,
    public: Registered,
    keys: [Key; 3],
}

impl Clients {
    async fn new(server: &Server) -> Self {
        let keys = Algorithm::ALL.map(Key::new);
        let by_key = register(server, |metadata| {
            metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
            metadata.jwks = Some(assertions::set(&keys.each_ref()));
        })
        .await;
        let by_secret = register(server, |_| {}).await;
        Self { by_secret, by_key, public: register_public(server).await, keys }
    }

    /// Posts a form to an endpoint by one of the ways of discovery.
    async fn send(
        &self,
        server: &Server,
        address: &str,
        way: &str,
        algorithm: LibraryAlgorithm,
        parameters: &[(&str, &str)],
    ) -> Response {
        match way {
            "client_secret_basic" => {
                let request = http()
                    .post(address)
                    .basic_auth(&self.by_secret.id, Some(&self.by_secret.secret))
                    .header("content-type", "application/x-www-form-urlencoded");
                request.body(form(parameters)).send().await.unwrap()
            }
            "client_secret_post" => {
                send(address, &[parameters, &self.by_secret.identity()].concat()).await
            }
            "none" => send(address, &[parameters, &self.public.identity()].concat()).await,
            "private_key_jwt" => {
                let claims = assertions::claims(server, &self.by_key, &json!({}));
                let assertion = self.key(algorithm).sign(algorithm, &claims);
                let proof =
                    [("client_assertion_type", assertions::TYPE), ("client_assertion", &assertion)];
                send(address, &[parameters, &proof].concat()).await
            }
            other => panic!("nobody has tried {other}"),
        }
    }

    fn key(&self, algorithm: LibraryAlgorithm) -> &Key {
        let [rsa, ec, ed] = &self.keys;
        match algorithm {
            LibraryAlgorithm::ES256 => ec,
            LibraryAlgorithm::EdDSA => ed,
            _ => rsa,
        }
    }
}

async fn e24_clients_prove_themselves_as_promised_and_in_no_other_way(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let clients = Clients::new(&server).await;
    let document = document(&server).await;
    // A client that is let in hears that its refresh token, or its token, is none.
    let parameters = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("token", "x")];
    let is_let_in = |answer: &Reply, endpoint| match endpoint {
        "token" => answer.body["error"] == "invalid_grant",
        _ => answer.status == StatusCode::OK,
    };
    let ask = async |endpoint, way: &str, algorithm| {
        let address = document[format!("{endpoint}_endpoint")].as_str().unwrap();
        let answer = clients.send(&server, address, way, algorithm, &parameters).await;
        match endpoint {
            "revocation" if answer.status() == StatusCode::OK => {
                Reply { status: StatusCode::OK, headers: answer.headers().clone(), body: json!({}) }
            }
            _ => Reply::of(answer).await,
        }
    };
    for endpoint in ["token", "revocation", "introspection"] {
        let promised = list(&document, &format!("{endpoint}_endpoint_auth_methods_supported"));
        for method in AuthMethod::ALL.map(AuthMethod::as_str) {
            let answer = ask(endpoint, method, LibraryAlgorithm::ES256).await;
            if promised.iter().any(|promised| promised == method) {
                assert!(is_let_in(&answer, endpoint), "{endpoint} {method}: {answer:?}");
            } else {
                answer.refused(401, "invalid_client");
            }
        }
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        let promised = list(&document, &name);
        for algorithm in [
            LibraryAlgorithm::RS256,
            LibraryAlgorithm::RS384,
            LibraryAlgorithm::RS512,
            LibraryAlgorithm::PS256,
            LibraryAlgorithm::PS384,
            LibraryAlgorithm::PS512,
            LibraryAlgorithm::ES256,
            LibraryAlgorithm::EdDSA,
        ] {
            let answer = ask(endpoint, "private_key_jwt", algorithm).await;
            if promised.contains(&format!("{algorithm:?}")) {
                assert!(is_let_in(&answer, endpoint), "{endpoint} {algorithm:?}: {answer:?}");
            } else {
                answer.refused(401, "invalid_client");
            }
        }
    }
}

/// The members of a token's claims.
fn members(claims: &Value) -> Vec<&str> {
    claims.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What a client gets whose ID tokens are signed with `algorithm`, and the algorithms that really sign.
async fn granted_with(
    server: &Server,
    browser: &Browser,
    algorithm: Algorithm,
) -> (Registered, Granted) {
    let client =
        register(server, |metadata| metadata.id_token_signed_response_alg = algorithm).await;
    server.signer(algorithm).await;
    let granted = grant(server, browser, &client, "openid profile email").await;
    let signed_with = |token: &str| format!("{:?}", decode_header(token).unwrap().alg);
    assert_eq!(signed_with(&granted.id_token), algorithm.as_str());
    assert_eq!(signed_with(&granted.access), server.app.settings.keys.algorithm.as_str());
    (client, granted)
}

async fn e25_an_access_token_says_what_rfc_9068_asks_for_and_no_more(backend: Backend) {
    for algorithm in Algorithm::ALL {
        let server =
            Server::start(backend, &format!("[keys]\nalgorithm = \"{algorithm}\"\n")).await;
        let browser = server.signed_in("alice").await;
        let (client, granted) = granted_with(&server, &browser, algorithm).await;
        let said = verified(&server, &granted.access, "at+jwt", &client.id).await;
        let required = ["aud", "client_id", "exp", "grant_id", "iat", "iss", "jti", "scope"];
        assert_eq!(members(&said), [&required[..], &["sid", "sub", "username"]].concat());
        let (session, now) = (session(&browser).await, server.clock.now().seconds());
        for (claim, value) in [
            ("iss", json!(server.url)),
            ("aud", json!(client.id)),
            ("client_id", json!(client.id)),
            ("sub", json!(session.sub)),
            ("sid", json!(session.sid)),
            ("iat", json!(now)),
            ("exp", json!(now + 900)),
            ("scope", json!("openid profile email")),
            ("username", json!("alice")),
        ] {
            assert_eq!(said[claim], value, "{claim}");
        }
        assert!(said["jti"].as_str().unwrap().len() >= 16);
        let other = grant(&server, &browser, &client, "openid").await;
        assert_ne!(other.claims.jti, granted.claims.jti);
        assert_eq!(other.claims.username, None, "no name without the scope");
    }
}

async fn e26_an_id_token_says_who_and_fits_its_access_token(backend: Backend) {
    let server = Server::start(backend, "[keys]\nalgorithm = \"ES256\"\n").await;
    let browser = server.signed_in("alice").await;
    // The sign-in is older than the token.
    server.clock.advance(std::time::Duration::from_secs(60));
    let session = session(&browser).await;
    for algorithm in list(&document(&server).await, "id_token_signing_alg_values_supported") {
        let algorithm = Algorithm::parse(&algorithm).unwrap();
        let (client, granted) = granted_with(&server, &browser, algorithm).await;
        let said = verified(&server, &granted.id_token, "JWT", &client.id).await;
        let expected = [
            "at_hash",
            "aud",
            "auth_time",
            "exp",
            "iat",
            "iss",
            "name",
            "nonce",
            "preferred_username",
            "sid",
            "sub",
        ];
        assert_eq!(members(&said), expected, "no azp, as there is one audience");
        let hash = match algorithm {
            Algorithm::RS256 | Algorithm::ES256 => digest(&SHA256, granted.access.as_bytes()),
            Algorithm::EdDsa => digest(&SHA512, granted.access.as_bytes()),
        };
        let half = &hash.as_ref()[..hash.as_ref().len() / 2];
        let now = server.clock.now().seconds();
        for (claim, value) in [
            ("iss", json!(server.url)),
            ("aud", json!(client.id)),
            ("sub", json!(session.sub)),
            ("sid", json!(session.sid)),
            ("nonce", json!("the nonce")),
            ("auth_time", json!(now - 60)),
            ("iat", json!(now)),
            ("at_hash", json!(URL_SAFE_NO_PAD.encode(half))),
        ] {
            assert_eq!(said[claim], value, "{algorithm} {claim}");
        }
        let nonce = "n \u{e9}\"&";
        let code = code_with(&browser, &client, &[("nonce", Some(nonce))]).await;
        let other = Granted::from(redeem(&server.url, &client, &code).await);
        assert_eq!(claims::<Value>(&other.id_token)["nonce"], nonce);
        let code = code_with(&browser, &client, &[("nonce", None)]).await;
        let other = Granted::from(redeem(&server.url, &client, &code).await);
        assert!(claims::<Value>(&other.id_token).get("nonce").is_none());

        // Neither is taken for the other.
        let answer = userinfo(&server, &granted.id_token).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{algorithm}");
        let found = introspected(&server, &client, &granted.id_token).await;
        assert_eq!(found, json!({ "active": false }), "{algorithm}");
        let hint = ("id_token_hint", granted.access.as_str());
        let silent = [(hint.0, Some(hint.1)), ("prompt", Some("none"))];
        let answer = told(&browser.page(&request(&client.id, &silent)).await);
        assert_eq!(answer["error"], "invalid_request", "{algorithm}");
        let answer = browser.page(&logout(&[hint])).await;
        assert_eq!(answer.status(), StatusCode::OK, "{algorithm}: the person is asked");
        assert!(browser.is_signed_in().await);
        let hint = [("id_token_hint", Some(granted.id_token.as_str())), ("prompt", Some("none"))];
        assert!(told(&browser.page(&request(&client.id, &hint)).await).contains_key("code"));
    }
}

crate::on_both_stores!(
    e24_requests_as_promised_work_and_no_others,
    e24_grants_as_promised_work_and_no_others,
    e24_clients_prove_themselves_as_promised_and_in_no_other_way,
    e25_an_access_token_says_what_rfc_9068_asks_for_and_no_more,
    e26_an_id_token_says_who_and_fits_its_access_token,
);
