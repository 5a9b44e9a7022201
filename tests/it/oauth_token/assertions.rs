//! Clients that prove themselves by an assertion (`private_key_jwt`, RFC 7523).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use latchkey::protocol::client::{AuthMethod, GrantType};
use latchkey::protocol::jwt::Algorithm as OurAlgorithm;
use latchkey::protocol::key::{SigningKey, generate};
use serde_json::{Value, json};

use crate::grants::{Reply, post};
use crate::harness::{Backend, Server};
use crate::on_both_stores;
use crate::registration::{Registered, register};
use crate::stub_server::StubServer;

pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key of a client.
pub struct Key {
    signs: EncodingKey,
    public: Value,
}

impl Key {
    pub fn new(algorithm: OurAlgorithm) -> Self {
        let der = generate(algorithm, 2048).unwrap();
        let key = SigningKey::from_pkcs8(&der).unwrap();
        let mut public: Value = serde_json::from_str(&key.public().jwk).unwrap();
        // Good for whatever the key can do.
        public.as_object_mut().unwrap().remove("alg");
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(&der[..])
        );
        let signs = match algorithm {
            OurAlgorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            OurAlgorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            OurAlgorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        Self { signs: signs.unwrap(), public }
    }

    fn kid(&self) -> &str {
        self.public["kid"].as_str().unwrap()
    }

    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid().to_owned()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }
}

pub fn set(keys: &[&Key]) -> Value {
    json!({ "keys": keys.iter().map(|key| &key.public).collect::<Vec<_>>() })
}

/// A client with these keys that may act for itself.
async fn client_with(server: &Server, keys: &[&Key]) -> Registered {
    register(server, |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
        metadata.grant_types = vec![GrantType::ClientCredentials];
        metadata.jwks = Some(set(keys));
    })
    .await
}

/// Good claims of an assertion, with changes; `null` takes a claim away.
pub fn claims(server: &Server, client: &Registered, changes: &Value) -> Value {
    let now = server.clock.now().seconds();
    let mut claims = json!({
        "iss": client.id, "sub": client.id, "aud": format!("{}/oauth/token", server.url),
        "exp": now + 60, "iat": now, "jti": latchkey::protocol::random::text::<16>(),
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

async fn present(url: &str, assertion: &str) -> Reply {
    present_with(url, assertion, &[]).await
}

async fn present_with(url: &str, assertion: &str, further: &[(&str, &str)]) -> Reply {
    let parameters = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    post(url, &[&parameters, further].concat()).await
}

pub async fn a_client_proves_itself_by_each_algorithm_and_once(backend: Backend) {
    let server = Server::start(backend, "").await;
    let keys = OurAlgorithm::ALL.map(Key::new);
    let [rsa, ec, ed] = &keys;
    let client = client_with(&server, &[rsa, ec, ed]).await;
    for (key, algorithm) in [
        (rsa, Algorithm::RS256),
        (rsa, Algorithm::PS256),
        (ec, Algorithm::ES256),
        (ed, Algorithm::EdDSA),
    ] {
        for changes in [
            json!({}),
            json!({ "aud": server.url }),
            json!({ "aud": [server.url] }),
            json!({ "iat": null }),
            json!({ "exp": server.clock.now().seconds() + 3_600 }),
            json!({ "exp": server.clock.now().seconds() - 10 }), // within the leeway
        ] {
            let assertion = key.sign(algorithm, &claims(&server, &client, &changes));
            present(&server.url, &assertion).await.granted();
            present(&server.url, &assertion).await.refused(401, "invalid_client");
        }
    }
    // With the id beside it, if it is the same.
    let assertion = ec.sign(Algorithm::ES256, &claims(&server, &client, &json!({})));
    present_with(&server.url, &assertion, &[("client_id", &client.id)]).await.granted();
    // Another client's jti is another.
    let other = client_with(&server, &[ec]).await;
    for client in [&client, &other] {
        let claims = claims(&server, client, &json!({ "jti": "1" }));
        present(&server.url, &ec.sign(Algorithm::ES256, &claims)).await.granted();
    }
    // What is kept of it goes when it would have expired.
    server.clock.advance(Duration::from_secs(91));
    let old =
        claims(&server, &client, &json!({ "jti": "1", "exp": server.clock.now().seconds() - 31 }));
    let old = ec.sign(Algorithm::ES256, &old);
    present(&server.url, &old).await.refused(401, "invalid_client");
}

pub async fn any_other_assertion_is_refused(backend: Backend) {
    let server = Server::start(backend, "").await;
    let [rsa, ec, stranger] =
        [OurAlgorithm::RS256, OurAlgorithm::ES256, OurAlgorithm::ES256].map(Key::new);
    let client = client_with(&server, &[&rsa, &ec]).await;
    let by_secret = register(&server, |metadata| {
        metadata.grant_types = vec![GrantType::ClientCredentials];
        metadata.jwks = Some(set(&[&ec]));
    })
    .await;
    let now = server.clock.now().seconds();
    let token_endpoint = format!("{}/oauth/token", server.url);
    let writes = server.app.store.counters.writes();
    for changes in [
        json!({ "iss": null }),
        json!({ "iss": "other" }),
        json!({ "sub": null }),
        json!({ "sub": "other" }),
        json!({ "iss": "other", "sub": "other" }),
        json!({ "iss": by_secret.id, "sub": by_secret.id }),
        json!({ "iss": "x".repeat(300), "sub": "x".repeat(300) }),
        json!({ "aud": null }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": format!("{}/", server.url) }),
        json!({ "aud": [] }),
        json!({ "aud": [server.url, token_endpoint] }),
        json!({ "aud": [server.url, "https://other.example"] }),
        json!({ "exp": null }),
        json!({ "exp": now - 30 }),
        json!({ "exp": now + 3_601 }),
        json!({ "exp": i64::MAX }),
        json!({ "exp": "soon" }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
        json!({ "iat": now + 31 }),
        json!({ "nbf": now + 31 }),
    ] {
        let assertion = ec.sign(Algorithm::ES256, &claims(&server, &client, &changes));
        let reply = present(&server.url, &assertion).await;
        assert_eq!(reply.status.as_u16(), 401, "{changes}");
        reply.refused(401, "invalid_client");
    }
    let good = claims(&server, &client, &json!({}));
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with_header = |header: Value| {
        let token = ec.sign(Algorithm::ES256, &good);
        format!("{}.{}", encode(&header), token.split_once('.').unwrap().1)
    };
    let unsigned = |alg: &str, signature: &str| {
        format!("{}.{}.{signature}", encode(&json!({ "alg": alg })), encode(&good))
    };
    let hmac = EncodingKey::from_secret(client.secret.as_bytes());
    let hmac = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good, &hmac).unwrap();
    let token = ec.sign(Algorithm::ES256, &good);
    let typ = Header { typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::ES256) };
    for bad in [
        String::new() + "x",
        "..".to_owned(),
        format!("{token}="),
        format!("{token}.x"),
        format!(" {token}"),
        unsigned("none", ""),
        unsigned("none", "c2ln"),
        hmac,
        stranger.sign(Algorithm::ES256, &good),
        rsa.sign(Algorithm::RS384, &good),
        rsa.sign(Algorithm::PS512, &good),
        jsonwebtoken::encode(&typ, &good, &ec.signs).unwrap(),
        with_header(json!({ "alg": "ES256", "kid": ec.kid(), "crit": ["exp"] })),
        with_header(json!({ "alg": "EdDSA", "kid": ec.kid() })),
        with_header(json!({ "alg": "ES256", "kid": rsa.kid() })),
        with_header(json!({ "alg": "ES256", "jwk": stranger.public, "kid": stranger.kid() })),
    ] {
        present(&server.url, &bad).await.refused(401, "invalid_client");
    }
    let wrong_id = [("client_id", by_secret.id.as_str())];
    present_with(&server.url, &token, &wrong_id).await.refused(401, "invalid_client");
    assert_eq!(server.app.store.counters.writes(), writes, "refusals spend nothing");

    // Two ways at once, or a type that nobody knows.
    let both = [("client_secret", client.secret.as_str())];
    present_with(&server.url, &token, &both).await.refused(400, "invalid_request");
    let another_type = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ("client_assertion", token.as_str()),
    ];
    post(&server.url, &another_type).await.refused(400, "invalid_request");
    // The client's secret does not do instead, nor its id alone.
    let grant = ("grant_type", "client_credentials");
    crate::grants::post_as(&server.url, &client, &[grant]).await.refused(401, "invalid_client");
    let id_alone = [grant, ("client_id", client.id.as_str())];
    post(&server.url, &id_alone).await.refused(401, "invalid_client");
    present(&server.url, &token).await.granted();
}

/// A server that publishes keys, and how often it was asked.
fn publish(
    document: impl Fn(usize) -> Value + Clone + Send + 'static,
) -> (StubServer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let stub = StubServer::start(move |config| {
        let (document, counted) = (document.clone(), Arc::clone(&counted));
        config.route(
            "/jwks.json",
            web::get().to(move || {
                let document = document(counted.fetch_add(1, Ordering::Relaxed));
                async move { HttpResponse::Ok().json(document) }
            }),
        );
    });
    (stub, asked)
}

async fn client_at(server: &Server, uri: &str) -> Registered {
    register(server, |metadata| {
        metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
        metadata.grant_types = vec![GrantType::ClientCredentials];
        metadata.jwks_uri = Some(uri.to_owned());
    })
    .await
}

pub async fn published_keys_are_fetched_once_and_anew_once_a_minute(backend: Backend) {
    let further = "allow_private_receivers = true\n";
    let server = Server::start(backend, further).await;
    let [first, second, third] = [OurAlgorithm::ES256; 3].map(Key::new);
    let documents = [set(&[&first]), set(&[&first, &second]), set(&[&third])];
    let (stub, asked) = publish(move |number| documents[number.min(2)].clone());
    let client = client_at(&server, &format!("{}/jwks.json", stub.url)).await;
    let assertion = |key: &Key| key.sign(Algorithm::ES256, &claims(&server, &client, &json!({})));
    let asked = || asked.load(Ordering::Relaxed);

    for _ in 0..5 {
        present(&server.url, &assertion(&first)).await.granted();
    }
    assert_eq!(asked(), 1);
    // An unknown key: not more than once a minute.
    for _ in 0..5 {
        present(&server.url, &assertion(&second)).await.refused(401, "invalid_client");
    }
    assert_eq!(asked(), 1);
    server.clock.advance(Duration::from_secs(61));
    for _ in 0..5 {
        present(&server.url, &assertion(&second)).await.granted();
        present(&server.url, &assertion(&third)).await.refused(401, "invalid_client");
    }
    assert_eq!(asked(), 2);
    // After ten minutes in any case: a key that was taken back ends.
    server.clock.advance(Duration::from_secs(600));
    present(&server.url, &assertion(&first)).await.refused(401, "invalid_client");
    present(&server.url, &assertion(&third)).await.granted();
    assert_eq!(asked(), 3);
}

pub async fn keys_that_cannot_be_had_prove_nothing(backend: Backend) {
    let server = Server::start(backend, "allow_private_receivers = true\n").await;
    let key = Key::new(OurAlgorithm::ES256);
    let large = json!({ "keys": [key.public], "padding": "x".repeat(100_000) });
    let (too_large, _) = publish(move |_| large.clone());
    let (no_keys, _) = publish(|_| json!([]));
    for uri in [
        format!("{}/jwks.json", too_large.url),
        format!("{}/jwks.json", no_keys.url),
        format!("{}/nothing.json", no_keys.url),
        "http://127.0.0.1:1/jwks.json".to_owned(),
        "nonsense".to_owned(),
    ] {
        let client = client_at(&server, &uri).await;
        let assertion = key.sign(Algorithm::ES256, &claims(&server, &client, &json!({})));
        present(&server.url, &assertion).await.refused(401, "invalid_client");
    }
}

/// Whatever is registered, this machine's insides are not asked unless the deployer says so.
pub async fn keys_on_private_addresses_are_not_fetched(backend: Backend) {
    let server = Server::start(backend, "").await;
    let key = Key::new(OurAlgorithm::ES256);
    let document = set(&[&key]);
    let (stub, asked) = publish(move |_| document.clone());
    let port = stub.url.rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254"] {
        let client = client_at(&server, &format!("http://{host}:{port}/jwks.json")).await;
        let assertion = key.sign(Algorithm::ES256, &claims(&server, &client, &json!({})));
        present(&server.url, &assertion).await.refused(401, "invalid_client");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

on_both_stores!(
    a_client_proves_itself_by_each_algorithm_and_once,
    any_other_assertion_is_refused,
    published_keys_are_fetched_once_and_anew_once_a_minute,
    keys_that_cannot_be_had_prove_nothing,
    keys_on_private_addresses_are_not_fetched,
);
