//! The way back to a client.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use url::Url;
use url::form_urlencoded::Serializer;

use super::request::Addressee;
use crate::app::App;
use crate::routes::oauth::error::{Refusal, plain};
use crate::routes::pages::response::page_leading_to;
use crate::routes::pages::views::WayBack;

/// Sends a code (RFC 6749 §4.1.2).
pub fn send_code(app: &App, to: &Addressee, code: &str) -> HttpResponse {
    send(app, to, &[("code", code)])
}

/// Sends an error (RFC 6749 §4.1.2.1).
pub fn send_refusal(app: &App, to: &Addressee, refusal: &Refusal) -> HttpResponse {
    app.metrics.count_error(refusal.code.as_str());
    let description = plain(&refusal.description);
    send(app, to, &[("error", refusal.code.as_str()), ("error_description", &description)])
}

/// With `state` as it came, and `iss` (RFC 9207 §2).
fn send(app: &App, to: &Addressee, parameters: &[(&str, &str)]) -> HttpResponse {
    let mut fields = parameters.to_vec();
    fields.extend(to.state.as_deref().map(|state| ("state", state)));
    fields.push(("iss", app.settings.server.public_url.as_str()));
    if to.by_form {
        return by_form(app, to, fields);
    }
    HttpResponse::SeeOther()
        .insert_header((LOCATION, with_parameters(&to.redirect_uri, &fields)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .finish()
}

/// A page whose form is posted to the client.
fn by_form(app: &App, to: &Addressee, fields: Vec<(&str, &str)>) -> HttpResponse {
    let view = WayBack { site: &app.site, client: name_of(to), action: &to.redirect_uri, fields };
    let destination = Url::parse(&to.redirect_uri).ok();
    page_leading_to(StatusCode::OK, &view, destination.as_slice())
}

/// What people know the client by.
pub fn name_of(to: &Addressee) -> &str {
    match to.client.metadata.client_name.as_str() {
        "" => &to.client.client_id,
        name => name,
    }
}

/// The redirect URI keeps its own query (RFC 6749 §3.1.2). Browsers carry the fragment of the address that
/// led to a redirect over to one that has none, so this one has one that means nothing.
fn with_parameters(redirect_uri: &str, fields: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(fields).finish();
    let separator = match redirect_uri.split_once('?') {
        None => "?",
        Some((_, before)) if before.is_empty() || before.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{redirect_uri}{separator}{query}#_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_redirect_uri_is_kept() {
        let fields = [("code", "a b"), ("state", "é&#")];
        let query = "code=a+b&state=%C3%A9%26%23#_";
        for (redirect_uri, before) in [
            ("https://a.example/cb", "https://a.example/cb?"),
            ("https://a.example/cb?x=1", "https://a.example/cb?x=1&"),
            ("https://a.example/cb?", "https://a.example/cb?"),
            ("com.example.app:/cb", "com.example.app:/cb?"),
        ] {
            assert_eq!(with_parameters(redirect_uri, &fields), format!("{before}{query}"));
        }
    }
}
