//! Codes and tokens that our endpoints would not give, made with the server's own keys.

use latchkey::clock::Timestamp;
use latchkey::protocol::authorization_code::{AuthorizationCode, fingerprint};
use latchkey::protocol::jwt::{AccessClaims, ID_TOKEN, IdClaims};
use latchkey::protocol::pkce;
use latchkey::protocol::sealed::Purpose;
use latchkey::store::model::FamilyId;
use serde::Serialize;

use crate::grants::{REDIRECT_URI, VERIFIER};
use crate::harness::Server;
use crate::registration::Registered;

/// A code for a signed-in person, after `change` had a word on it.
pub fn code(
    server: &Server,
    client: &Registered,
    session: &AccessClaims,
    change: impl FnOnce(&mut AuthorizationCode),
) -> String {
    let now = server.clock.now();
    let mut code = AuthorizationCode {
        family: FamilyId::new(now),
        client_id: client.id.clone(),
        redirect_uri: fingerprint(REDIRECT_URI),
        scope: "openid profile email".to_owned(),
        resource: String::new(),
        nonce: Some("a nonce".to_owned()),
        code_challenge: Some(pkce::challenge(VERIFIER)),
        user: session.sub,
        session: session.sid,
        auth_time: session.auth_time,
        needs_consent: false,
        issued_at: now.millis(),
    };
    change(&mut code);
    let expires = Timestamp::from_millis(code.issued_at).plus(server.app.settings.tokens.code_ttl);
    server.app.sealer.seal(Purpose::Code, &code, expires)
}

/// Signs anything with the server's own key.
pub async fn signed(server: &Server, typ: &str, claims: &impl Serialize) -> String {
    server.signer(server.app.settings.keys.algorithm).await.sign(typ, claims)
}

/// An ID token of a session, after `change` had a word on it.
pub async fn id_token(
    server: &Server,
    client: &Registered,
    session: &AccessClaims,
    change: impl FnOnce(&mut IdClaims),
) -> String {
    let now = server.clock.now().seconds();
    let mut claims = IdClaims {
        iss: server.app.settings.server.public_url.as_str().to_owned(),
        sub: session.sub.to_string(),
        aud: client.id.clone(),
        exp: now + 900,
        iat: now,
        auth_time: session.auth_time,
        nonce: None,
        at_hash: None,
        sid: session.sid,
    };
    change(&mut claims);
    signed(server, ID_TOKEN, &claims).await
}
