//! How a page is sent: with the headers that let it do no more than it needs.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use url::{Host, Url};

use super::views::Page;

/// Sends a page whose forms, if any, end on this server.
pub fn page(status: StatusCode, view: &impl Page) -> HttpResponse {
    page_leading_to(status, view, &[])
}

/// Sends a page whose form can end anywhere on the web: where its redirects lead is not known here.
pub fn page_leading_anywhere(status: StatusCode, view: &impl Page) -> HttpResponse {
    let anywhere = ["http", "https"].map(str::to_owned).map(|scheme| format!("{scheme}:"));
    leading_to(status, view, anywhere.into())
}

/// Sends a page whose form ends, by way of redirects, at one of `destinations`: browsers check each
/// hop against `form-action`. Where there is a frontend, any form can end there: our pages lead on to
/// its, and so do errors.
pub fn page_leading_to<P: Page>(
    status: StatusCode,
    view: &P,
    destinations: &[Url],
) -> HttpResponse {
    leading_to(status, view, destinations.iter().filter_map(source_of).collect())
}

fn leading_to<P: Page>(status: StatusCode, view: &P, mut sources: Vec<String>) -> HttpResponse {
    sources.extend(view.site().frontend_source().map(str::to_owned));
    sources.sort_unstable();
    sources.dedup();
    let destination = (!sources.is_empty()).then(|| sources.join(" "));
    let destination = destination.as_deref();
    let picture = view.picture().and_then(|address| Url::parse(address).ok());
    let picture = picture.as_ref().and_then(source_of);
    let pictures = [view.site().logo_source(), picture.as_deref()];
    let policy = policy(&pictures, destination, P::HAS_SCRIPT);
    HttpResponse::build(status)
        .content_type(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .body(view.to_html())
}

/// The content security policy (CSP Level 3).
fn policy(pictures: &[Option<&str>], destination: Option<&str>, has_script: bool) -> String {
    let with = |source: Option<&str>| source.map_or(String::new(), |source| format!(" {source}"));
    let pictures: String = pictures.iter().copied().map(with).collect();
    let script = if has_script { "; script-src 'self'; connect-src 'self'" } else { "" };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'{pictures}; form-action 'self'{}; \
         frame-ancestors 'none'; base-uri 'none'{script}",
        with(destination),
    )
}

/// The narrowest source expression that covers `url` (CSP Level 3 §2.3.1); `None` if there is none
/// that can be written safely.
///
/// An app's own scheme has no host, and IPv6 addresses have no source expression: there the scheme
/// stands alone.
pub(super) fn source_of(url: &Url) -> Option<String> {
    let source = match url.host() {
        Some(Host::Domain(_) | Host::Ipv4(_)) if matches!(url.scheme(), "http" | "https") => {
            url.origin().ascii_serialization()
        }
        _ => format!("{}:", url.scheme()),
    };
    // A host may hold `;`, which would end the directive.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.-_+".contains(&byte);
    source.bytes().all(is_plain).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Origin;
    use crate::routes::pages::samples;
    use crate::routes::pages::views::SignedOut;

    fn header(answer: &HttpResponse, name: &str) -> String {
        answer.headers().get(name).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_page_may_do_no_more_than_it_needs() {
        let site = samples::site();
        let answer = page(StatusCode::OK, &SignedOut { site: &site, everywhere: false });
        assert_eq!(
            header(&answer, "content-security-policy"),
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(header(&answer, "x-frame-options"), "DENY");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "referrer-policy"), "same-origin");
        assert_eq!(header(&answer, "cross-origin-opener-policy"), "same-origin");
        assert_eq!(header(&answer, "cache-control"), "no-store");
        assert_eq!(header(&answer, "content-type"), "text/html; charset=utf-8");
    }

    #[test]
    fn only_the_page_with_a_script_may_run_one() {
        assert!(!policy(&[], None, false).contains("script-src"));
        assert!(policy(&[], None, true).ends_with("; script-src 'self'; connect-src 'self'"));
    }

    #[test]
    fn pictures_from_elsewhere_are_named() {
        let policy =
            policy(&[Some("https://a.example"), None, Some("https://b.example")], None, false);
        assert!(
            policy.contains("; img-src 'self' https://a.example https://b.example; "),
            "{policy}"
        );
    }

    #[test]
    fn a_form_that_leads_away_names_that_one_place() {
        let site = samples::site();
        let destination = Url::parse("https://app.example:8443/callback?state=a;b").unwrap();
        let view = SignedOut { site: &site, everywhere: false };
        let answer = page_leading_to(StatusCode::OK, &view, &[destination]);
        let policy = header(&answer, "content-security-policy");
        assert!(policy.contains("; form-action 'self' https://app.example:8443; "), "{policy}");
    }

    #[test]
    fn every_form_may_lead_to_the_frontend() {
        let frontend = Origin::parse("https://app.example").unwrap();
        let site = samples::site().leading_to(Some(&frontend));
        let view = SignedOut { site: &site, everywhere: false };
        let destinations = ["https://app.example/x", "https://provider.example/authorize"];
        let destinations = destinations.map(|text| Url::parse(text).unwrap());
        let policy = |answer| header(&answer, "content-security-policy");
        let alone = policy(page(StatusCode::OK, &view));
        assert!(alone.contains("; form-action 'self' https://app.example; "), "{alone}");
        let several = policy(page_leading_to(StatusCode::OK, &view, &destinations));
        let expected = "; form-action 'self' https://app.example https://provider.example; ";
        assert!(several.contains(expected), "{several}");
    }

    #[test]
    fn a_source_cannot_smuggle_in_a_directive() {
        let source = |text: &str| source_of(&Url::parse(text).unwrap());
        assert_eq!(source("http://127.0.0.1:9/x").as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(source("http://[::1]:9/x").as_deref(), Some("http:"));
        assert_eq!(source("com.example.app:/done").as_deref(), Some("com.example.app:"));
        assert_eq!(source("https://a.example;script-src/x"), None);
        assert_eq!(source("https://a.example,b.example/x"), None);
    }
}
