//! The development provider's token and userinfo endpoints (OpenID Connect Core §3.1.3, §5.3).

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{CLIENT_ID, Code, DevelopmentProvider, LARGEST_FORM, TOKEN_LIFE, Ticket};
use crate::protocol::pkce;
use crate::routes::parameters::{Parameters, read_form};

/// `POST /dev/idp/token` (RFC 6749 §4.1.3, RFC 7636 §4.5)
pub(super) async fn exchange(
    request: HttpRequest,
    payload: Payload,
    provider: Data<DevelopmentProvider>,
) -> HttpResponse {
    let form = read_form(&request, payload, LARGEST_FORM).await.map_err(|_| "invalid_request");
    let (mut answer, body) = match form.and_then(|form| redeem(&provider, &form)) {
        Ok(code) => (HttpResponse::Ok(), tokens(&provider, code)),
        Err(error) => (HttpResponse::BadRequest(), json!({ "error": error })),
    };
    answer.insert_header((CACHE_CONTROL, "no-store")).json(body)
}

fn redeem(provider: &DevelopmentProvider, form: &Parameters) -> Result<Code, &'static str> {
    if form.get("grant_type") != Some("authorization_code") {
        return Err("unsupported_grant_type");
    }
    if form.get("client_id") != Some(CLIENT_ID) {
        return Err("invalid_client");
    }
    let code = form.get("code").ok_or("invalid_request")?;
    let Some(Ticket::Code(code)) = provider.open(code) else { return Err("invalid_grant") };
    let same_address = form.get("redirect_uri") == Some(provider.redirect_uri().as_str());
    let verifier = form.get("code_verifier").unwrap_or_default();
    if !same_address || !pkce::verify(verifier, &code.code_challenge) {
        return Err("invalid_grant");
    }
    Ok(code)
}

fn tokens(provider: &DevelopmentProvider, code: Code) -> Value {
    let now = provider.clock.now();
    let expires = now.plus(TOKEN_LIFE);
    let mut claims = code.person.claims();
    claims["iss"] = json!(provider.issuer());
    claims["aud"] = json!(CLIENT_ID);
    claims["iat"] = json!(now.seconds());
    claims["exp"] = json!(expires.seconds());
    claims["auth_time"] = json!(code.auth_time);
    if let Some(nonce) = code.nonce {
        claims["nonce"] = json!(nonce);
    }
    json!({
        "access_token": provider.seal(&Ticket::Access(code.person), expires),
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFE.as_secs(),
        "id_token": provider.key.sign("JWT", &claims),
        "scope": "openid profile email",
    })
}

/// `GET /dev/idp/userinfo`
pub(super) async fn userinfo(
    request: HttpRequest,
    provider: Data<DevelopmentProvider>,
) -> HttpResponse {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    match token.and_then(|token| provider.open(token)) {
        Some(Ticket::Access(person)) => {
            HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(person.claims())
        }
        _ => HttpResponse::Unauthorized()
            .insert_header((WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
            .finish(),
    }
}
