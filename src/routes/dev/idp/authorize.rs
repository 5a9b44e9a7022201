//! The development provider's authorization endpoint (OpenID Connect Core §3.1.2).

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded::Serializer;

use super::person::Person;
use super::{CLIENT_ID, CODE_LIFE, Code, DevelopmentProvider, LARGEST_FORM, Ticket};
use crate::error::{ApiError, ErrorCode};
use crate::routes::pages::response::page_leading_anywhere;
use crate::routes::pages::site::Site;
use crate::routes::pages::views;
use crate::routes::parameters::{Parameters, read_form};

/// What the form carries along, so that its answer says all that the request said.
const CARRIED: [&str; 8] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

/// `GET /dev/idp/authorize`: the form, or straight back with the name in `login_hint`. A repeated
/// sign-in (`prompt=login`) is no different: there is nothing to check.
///
/// # Errors
/// `invalid_request` if there is nobody to send back to; what else is wrong, the relying party is
/// told (RFC 6749 §4.1.2.1).
pub(super) async fn show(
    request: HttpRequest,
    provider: Data<DevelopmentProvider>,
    site: Data<Site>,
) -> Result<HttpResponse, ApiError> {
    let asked = Parameters::of_query(&request)?;
    check_client(&provider, &asked)?;
    if let Err(error) = check_request(&asked) {
        return Ok(send_back(&provider, &asked, "error", error));
    }
    Ok(match asked.get("login_hint") {
        Some(name) => sign_in(&provider, &site, &asked, name, ""),
        None if asked.get("prompt") == Some("none") => {
            send_back(&provider, &asked, "error", "login_required")
        }
        None => form(&site, &asked, StatusCode::OK, ("", ""), None),
    })
}

/// `POST /dev/idp/authorize`: the form, filled in.
///
/// # Errors
/// As [`show`].
pub(super) async fn submit(
    request: HttpRequest,
    payload: Payload,
    provider: Data<DevelopmentProvider>,
    site: Data<Site>,
) -> Result<HttpResponse, ApiError> {
    let asked = read_form(&request, payload, LARGEST_FORM).await?;
    check_client(&provider, &asked)?;
    Ok(match check_request(&asked) {
        Ok(()) => {
            let name = asked.get("name").unwrap_or_default();
            sign_in(&provider, &site, &asked, name, asked.get("email").unwrap_or_default())
        }
        Err(error) => send_back(&provider, &asked, "error", error),
    })
}

/// Whether there is somebody to send back to.
fn check_client(provider: &DevelopmentProvider, asked: &Parameters) -> Result<(), ApiError> {
    let refused = |detail: &str| Err(ApiError::new(ErrorCode::InvalidRequest, detail));
    if asked.get("client_id") != Some(CLIENT_ID) {
        return refused("The development provider serves this server alone.");
    }
    if asked.get("redirect_uri") != Some(provider.redirect_uri().as_str()) {
        return refused("The address to return to is not this server's.");
    }
    Ok(())
}

fn check_request(asked: &Parameters) -> Result<(), &'static str> {
    if asked.get("response_type") != Some("code") {
        return Err("unsupported_response_type");
    }
    let scope = asked.get("scope").unwrap_or_default();
    if !scope.split(' ').any(|scope| scope == "openid") {
        return Err("invalid_scope");
    }
    // An S256 challenge has exactly 43 characters (RFC 7636 §4.2).
    let has_challenge = asked.get("code_challenge").is_some_and(|text| text.len() == 43);
    if !has_challenge || asked.get("code_challenge_method") != Some("S256") {
        return Err("invalid_request");
    }
    Ok(())
}

fn sign_in(
    provider: &DevelopmentProvider,
    site: &Site,
    asked: &Parameters,
    name: &str,
    email: &str,
) -> HttpResponse {
    let person = match Person::new(name, email) {
        Ok(person) => person,
        Err(error) => {
            return form(site, asked, StatusCode::UNPROCESSABLE_ENTITY, (name, email), Some(error));
        }
    };
    let now = provider.clock.now();
    let code = Ticket::Code(Code {
        person,
        code_challenge: asked.get("code_challenge").unwrap_or_default().to_owned(),
        nonce: asked.get("nonce").map(str::to_owned),
        auth_time: now.seconds(),
    });
    send_back(provider, asked, "code", &provider.seal(&code, now.plus(CODE_LIFE)))
}

/// Back to the registered address, with the issuer (RFC 9207).
fn send_back(
    provider: &DevelopmentProvider,
    asked: &Parameters,
    name: &str,
    value: &str,
) -> HttpResponse {
    let mut query = Serializer::new(String::new());
    query.append_pair(name, value).append_pair("iss", &provider.issuer());
    if let Some(state) = asked.get("state") {
        query.append_pair("state", state);
    }
    HttpResponse::SeeOther()
        .insert_header((LOCATION, format!("{}?{}", provider.redirect_uri(), query.finish())))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

fn form(
    site: &Site,
    asked: &Parameters,
    status: StatusCode,
    (name, email): (&str, &str),
    error: Option<&str>,
) -> HttpResponse {
    let carried = CARRIED
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), asked.get(field)?.to_owned())));
    let hidden = carried.collect();
    let view = views::DevelopmentProvider {
        site,
        action: "/dev/idp/authorize",
        hidden,
        name,
        email,
        error,
    };
    // A sign-in may end at any client that asked for it; which one is sealed for the server to read.
    page_leading_anywhere(status, &view)
}
