//! What a reverse proxy asks before it lets a request through to an app that knows no sign-in of its own:
//! is somebody signed in, and who?

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use super::me;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::config::settings::Settings;
use crate::error::{ApiError, ErrorCode};
use crate::routes::client_address::ClientAddress;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Parameter, Tag};
use crate::routes::pages::places::{self, Place};
use crate::routes::parameters::Parameters;
use crate::routes::{rate_limit, return_to, session};
use crate::store::model::Role;

/// Where proxies ask.
pub const PATH: &str = "/auth/verify";

const USER: HeaderName = HeaderName::from_static("x-auth-user");
const ID: HeaderName = HeaderName::from_static("x-auth-id");
const ROLE: HeaderName = HeaderName::from_static("x-auth-role");

/// Where a person signs in who is not, for proxies that lead them there by themselves.
const SIGN_IN: HeaderName = HeaderName::from_static("x-auth-login");

/// Longest path and query by which a browser is led to the sign-in: what this server reads of an address.
const LONGEST_ADDRESS: usize = 8 << 10;

/// How `GET /auth/verify` is described.
pub const VERIFY: Operation = Operation {
    id: "verify_request",
    tag: Tag::SignIn,
    summary: "Whether a reverse proxy may let a request through, and whose it is",
    description: "For `forward_auth` and `auth_request`: docs/proxies.md. A refusal with 401 has the header \
        `X-Auth-Login`, the address at which the person signs in and from which they come back. What was asked \
        of the proxy is read from `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`, or from \
        `X-Original-Method` and `X-Original-URL`, if the peer is in `server.trusted_proxies`. Asks no store, but \
        for a role. Counted by the limit of `public`: for each session by itself, and for an address where \
        there is none.",
    access: Access::Person,
    parameters: &[
        Parameter::query(
            "redirect",
            "`true` leads browsers to the sign-in by a 302 in place of the 401.",
        ),
        Parameter::query(
            "role",
            "`admin` refuses everybody else, by the store's word at this moment.",
        ),
        Parameter::header("X-Forwarded-Method", "The method that the proxy was asked with."),
        Parameter::header("X-Forwarded-Proto", "`https` or `http`."),
        Parameter::header("X-Forwarded-Host", "The host that the proxy was asked for."),
        Parameter::header("X-Forwarded-Uri", "Path and query that the proxy was asked for."),
        Parameter::header("X-Original-Method", "The method, where `X-Forwarded-Method` is absent."),
        Parameter::header(
            "X-Original-URL",
            "The whole address, where `X-Forwarded-Uri` is absent.",
        ),
    ],
    answers: &[
        Answer::empty(204, "It may.").with(&[
            Header::Always(
                "X-Auth-User",
                "The username; what is not visible ASCII, and `%`, is percent-encoded as UTF-8.",
            ),
            Header::Always("X-Auth-Id", "The id of the person, which never changes."),
            Header::Always("X-Auth-Role", "`user` or `admin`."),
        ]),
        Answer::redirect(302, "To the sign-in, for a browser in which nobody is signed in."),
    ],
    errors: &[ErrorCode::Forbidden, ErrorCode::InvalidField],
    ..Operation::PLAIN
};

/// `GET /auth/verify?redirect=true&role=admin`: 204 with who it is.
///
/// # Errors
/// `unauthenticated`, with where to sign in; `forbidden` without the role; `duplicate_cookie`,
/// `rate_limited`; 503 if it cannot be known.
pub async fn verify(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let Wish { leads_browsers, needed } = Wish::of(&query)?;
    let claims = match session::find(&request, &app).await {
        Ok(session) => session.claims,
        Err(refusal) => {
            rate_limit::by_address(&request, &app, Tier::Public).await?;
            return refuse(&request, &app, leads_browsers, refusal);
        }
    };
    // One page of an app is many requests, so they take nothing from what the account's own pages may ask.
    let name = format!("verify:{}", claims.sid);
    rate_limit::by_name(&request, &app, Tier::Public, name).await?;
    let (username, role) = match needed {
        // A role that was taken away counts at once, not when the token expires.
        Some(_) => match me::active(&app, claims.sub).await {
            Ok(user) => (Some(user.username), Some(user.role)),
            Err(error) if error.code == ErrorCode::Unauthenticated => {
                return refuse(&request, &app, leads_browsers, error);
            }
            Err(error) => return Err(error),
        },
        None => (claims.username, claims.role),
    };
    // First-party tokens always name both.
    let (Some(username), Some(role)) = (username, role) else {
        return refuse(&request, &app, leads_browsers, session::unauthenticated());
    };
    if needed == Some(Role::Admin) && role != Role::Admin {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            format!(
                "This is for admins, and you are signed in as {username}. Ask one of them to do it, or to make you one."
            ),
        ));
    }
    Ok(HttpResponse::NoContent()
        .insert_header((USER, header_value(&encoded(&username))))
        .insert_header((ID, header_value(&claims.sub.to_string())))
        .insert_header((ROLE, HeaderValue::from_static(role.as_str())))
        .finish())
}

/// What the proxy wishes of the answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Whether browsers are led to the sign-in by a redirect.
    leads_browsers: bool,
    /// The role that the person must have.
    needed: Option<Role>,
}

impl Wish {
    /// Reads them strictly, the empty ones, too: what is misspelt would let through whom it should keep out.
    fn of(query: &Parameters) -> Result<Self, ApiError> {
        let mut wish = Self::default();
        for (name, value) in query.iter() {
            match (name, value, Role::parse(value)) {
                ("redirect", "true", _) => wish.leads_browsers = true,
                ("redirect", "false", _) => wish.leads_browsers = false,
                ("redirect", ..) => return Err(not_a_choice("redirect", "true or false")),
                ("role", _, Some(role)) => wish.needed = Some(role),
                ("role", _, None) => return Err(not_a_choice("role", "user or admin")),
                _ => {
                    let detail = "The parameters here are redirect and role.";
                    return Err(ApiError::new(ErrorCode::InvalidField, detail).field(name));
                }
            }
        }
        Ok(wish)
    }
}

fn not_a_choice(parameter: &'static str, choices: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidField, format!("{parameter} is {choices}.")).field(parameter)
}

/// Says where to sign in: to a browser that wants a page and can come back to it by a redirect, if that is
/// wished.
fn refuse(
    request: &HttpRequest,
    app: &App,
    leads_browsers: bool,
    refusal: ApiError,
) -> Result<HttpResponse, ApiError> {
    if refusal.code != ErrorCode::Unauthenticated {
        return Err(refusal);
    }
    let trusted = ClientAddress::is_of_proxy(request, &app.settings.server.trusted_proxies);
    let asked = if trusted { Asked::of(request.headers()) } else { Asked::default() };
    let sign_in = header_value(&sign_in_address(app, asked.url.as_deref()));
    // Where a header alone decides, signing in would change nothing, and lead here again.
    let by_cookie = !request.headers().contains_key(AUTHORIZATION);
    if leads_browsers && by_cookie && asked.is_read && wants_page(request.headers()) {
        let mut answer = HttpResponse::Found();
        return Ok(answer.insert_header((LOCATION, sign_in)).finish());
    }
    Err(refusal.header(SIGN_IN, sign_in))
}

/// Whether any header says that a page is wished.
fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("text/html"))
}

/// Where a person signs in who asked for this address. By the resume, which renews a session that is still
/// there and leads back without showing anything.
fn sign_in_address(app: &App, url: Option<&str>) -> String {
    let settings = &app.settings;
    let back = url
        .and_then(|url| return_to::check_at_once(url, &settings.server).ok())
        .filter(|url| gets_cookies(url, settings));
    let resume = back.map(|back| {
        places::with_query("/auth/resume", &[("return_to", &back), ("sign_in", "true")])
    });
    let address = resume
        .filter(|resume| resume.len() <= LONGEST_ADDRESS)
        .unwrap_or_else(|| places::address(app, Place::Login, &[]));
    if address.starts_with('/') { settings.server.public_url.join(&address) } else { address }
}

/// Whether the browser sends the session's cookies there; otherwise who is led back would be led here
/// again, for ever.
fn gets_cookies(url: &str, settings: &Settings) -> bool {
    let host = |url: &str| Some(Url::parse(url).ok()?.host_str()?.to_owned());
    let public_url = &settings.server.public_url;
    let Some(asked) = host(url) else { return false };
    let is_covered = match &settings.cookies.domain {
        None => host(public_url.as_str()).as_ref() == Some(&asked),
        Some(domain) => {
            let domain = domain.trim_start_matches('.');
            asked == *domain || asked.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        }
    };
    let is_covered = is_covered && (url.starts_with("https://") || !public_url.is_https());
    if !is_covered {
        static WARNED: std::sync::Once = std::sync::Once::new();
        WARNED.call_once(|| {
            tracing::warn!(
                host = asked,
                "a proxy asks for an app that browsers do not send the session's cookies to; set cookies.domain to a domain that covers it, or serve it by https"
            );
        });
    }
    is_covered
}

/// What a proxy says that it was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// The whole address, if it is told.
    url: Option<String>,
    /// Whether it only reads, so that it can be asked again after a sign-in.
    is_read: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { url: None, is_read: true }
    }
}

impl Asked {
    fn of(headers: &HeaderMap) -> Self {
        let told = |name: &str| once(headers, name);
        let url =
            match (told("x-forwarded-proto"), told("x-forwarded-host"), told("x-forwarded-uri")) {
                (Some(scheme), Some(host), Some(target)) if target.starts_with('/') => {
                    Some(format!("{scheme}://{host}{target}"))
                }
                _ => told("x-original-url").map(str::to_owned),
            };
        let names = ["x-forwarded-method", "x-original-method"];
        let is_read = names.iter().find(|name| headers.contains_key(**name)).is_none_or(|name| {
            once(headers, name).is_some_and(|method| {
                [Method::GET.as_str(), Method::HEAD.as_str()].contains(&method)
            })
        });
        Self { url, is_read }
    }
}

/// The value of a header that is there once: of two, nobody can tell which one the proxy wrote.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// All but visible ASCII, and what announces a code.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A text as the value of a header. What names usually consist of stays as it is.
fn encoded(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, NOT_PLAIN).into()
}

fn header_value(text: &str) -> HeaderValue {
    // All that comes here is visible ASCII: an address by the rules of URLs, an id, or encoded just now.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Asked::of(&map)
    }

    const FORWARDED: [(&str, &str); 3] = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/orders?page=2"),
    ];

    #[test]
    fn what_was_asked_is_read_as_caddy_and_as_nginx_tell_it() {
        let expected = Some("https://app.example.com/orders?page=2".to_owned());
        assert_eq!(asked(&FORWARDED).url, expected);
        let original = ("x-original-url", "https://app.example.com/orders?page=2");
        assert_eq!(asked(&[original]).url, expected);
        assert_eq!(asked(&[]), Asked::default());
    }

    #[test]
    fn what_is_told_twice_or_in_parts_is_not_believed() {
        for twice in FORWARDED {
            assert_eq!(asked(&[&FORWARDED[..], &[twice]].concat()).url, None, "{twice:?}");
        }
        for missing in 0..3 {
            let mut headers = FORWARDED.to_vec();
            headers.remove(missing);
            assert_eq!(asked(&headers).url, None, "{missing}");
        }
        let original = ("x-original-url", "https://app.example.com/");
        assert_eq!(asked(&[original, original]).url, None);
        let elsewhere = [FORWARDED[0], FORWARDED[1], ("x-forwarded-uri", "@evil.example/")];
        assert_eq!(asked(&elsewhere).url, None);
    }

    #[test]
    fn only_what_reads_can_be_asked_again() {
        for name in ["x-forwarded-method", "x-original-method"] {
            assert!(asked(&[(name, "GET")]).is_read && asked(&[(name, "HEAD")]).is_read);
            for method in ["POST", "get", "", "GET, POST"] {
                assert!(!asked(&[(name, method)]).is_read, "{name}: {method}");
            }
            assert!(!asked(&[(name, "GET"), (name, "GET")]).is_read);
        }
    }

    #[test]
    fn a_name_is_a_header_whatever_it_consists_of() {
        for (name, expected) in [
            ("alice", "alice"),
            ("alice.b-c_d+e@f", "alice.b-c_d+e@f"),
            ("רבקה", "%D7%A8%D7%91%D7%A7%D7%94"),
            ("100% me", "100%25%20me"),
            ("a\r\nX-Auth-Role: admin", "a%0D%0AX-Auth-Role:%20admin"),
            ("\u{7f}", "%7F"),
        ] {
            assert_eq!(encoded(name), expected);
            assert!(HeaderValue::from_str(&encoded(name)).is_ok());
        }
    }
}
