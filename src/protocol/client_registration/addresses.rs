//! Addresses in a registration. They are judged as they are written, not as a lenient parser reads them:
//! they will be compared character by character, and browsers will follow them.

use url::Url;

use super::Refusal;
use crate::protocol::client::ApplicationType;
use crate::providers::address::{self, AddressError, Reach};

/// Longest address.
const LONGEST: usize = 2_000;

/// Hosts that are the person's own machine (RFC 8252 §7.3), as a redirect URI may write them.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

type Checked<T = ()> = Result<T, Refusal>;

/// Where a browser may be sent with an answer (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §4.1.3).
pub(super) fn redirect(text: &str, application_type: ApplicationType) -> Checked {
    let url = plain(text)?;
    match url.scheme() {
        "https" => web(text, &url),
        "http" => {
            web(text, &url)?;
            if LOOPBACK.contains(&host(text)) {
                return Ok(());
            }
            let better = text.replacen("http://", "https://", 1);
            Err(Refusal::new("is http on a host that is not the person's own machine")
                .did_you_mean(Some(&better)))
        }
        scheme if !is_reverse_domain(scheme) => Err(refused_scheme(text, scheme)),
        _ if application_type == ApplicationType::Native => Ok(()),
        _ => Err(Refusal::new("has a scheme of its own, which only a native client may have")
            .remedy("set application_type to \"native\"")),
    }
}

/// Where we ask or tell something ourselves (`jwks_uri`, `backchannel_logout_uri`).
pub(super) fn receiver(text: &str, allow_private: bool) -> Checked {
    let url = plain(text)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(refused_scheme(text, url.scheme()));
    }
    web(text, &url)?;
    let reach = if allow_private { Reach::Private } else { Reach::Public };
    address::check(&url, reach).map_err(|error| match error {
        AddressError::Insecure => {
            let better = text.replacen("http://", "https://", 1);
            Refusal::new("is not https").did_you_mean(Some(&better))
        }
        AddressError::Unusual => Refusal::new("is not a plain address"),
        AddressError::NotPublic => Refusal::new("lies on a private or loopback address")
            .remedy("such receivers need server.allow_private_receivers = true"),
    })
}

/// A page for people.
pub(super) fn page(text: &str) -> Checked {
    let url = plain(text)?;
    match url.scheme() {
        "https" | "http" => web(text, &url),
        scheme => Err(refused_scheme(text, scheme)),
    }
}

/// What an access token may be for (RFC 8707 §2): any absolute URI.
pub(super) fn resource(text: &str, issuer: &str) -> Checked {
    characters(text)?;
    if is_issuer(text, issuer) {
        return Err(Refusal::new("is the issuer itself, whose own API takes no client's tokens"));
    }
    let url = Url::parse(text).map_err(|_| Refusal::new("is not an absolute URI"))?;
    if url.fragment().is_some() {
        return Err(Refusal::new("has a fragment").remedy("leave out what follows the #"));
    }
    Ok(())
}

/// Whether a text is another way to write the issuer.
pub(super) fn is_issuer(text: &str, issuer: &str) -> bool {
    let normal = |text: &str| {
        let url = Url::parse(text.trim()).ok()?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    };
    text == issuer || normal(text).is_some_and(|text| Some(text) == normal(issuer))
}

fn refused_scheme(text: &str, scheme: &str) -> Refusal {
    // "localhost:3000/callback" has the scheme "localhost".
    let is_host = scheme == "localhost" && !text.contains("://");
    let refusal = Refusal::new(format!("has the scheme {scheme}:, which is not allowed"));
    if is_host {
        return refusal.did_you_mean(Some(&format!("http://{text}")));
    }
    refusal.remedy("begin it with https://")
}

/// RFC 8252 §7.1: a domain name that its owner turned around.
fn is_reverse_domain(scheme: &str) -> bool {
    scheme.contains('.') && scheme.split('.').all(|label| !label.is_empty())
}

/// What RFC 3986 §2 lets an address consist of.
fn characters(text: &str) -> Checked {
    if text.is_empty() {
        return Err(Refusal::new("is empty"));
    }
    if text.len() > LONGEST {
        return Err(Refusal::new(format!("is longer than {LONGEST} characters")));
    }
    let is_legal = |character: char| {
        character.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(character)
    };
    match text.chars().find(|character| !is_legal(*character)) {
        None => {}
        Some(illegal) if illegal.is_ascii() => {
            return Err(Refusal::new(format!("holds {illegal:?}, which no address may hold"))
                .remedy("percent-encode it"));
        }
        Some(_) => {
            return Err(Refusal::new("holds characters beyond ASCII")
                .remedy("write the host in Punycode, and percent-encode the rest"));
        }
    }
    let is_encoded =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_encoded) {
        return Err(Refusal::new("holds a % that two hexadecimal digits do not follow"));
    }
    Ok(())
}

/// An absolute address without anything that two readers could read in two ways.
fn plain(text: &str) -> Checked<Url> {
    characters(text)?;
    if text.contains('*') {
        return Err(Refusal::new("holds a wildcard").remedy("register each address by itself"));
    }
    if text.contains('#') {
        return Err(Refusal::new("has a fragment").remedy("leave out the # and what follows it"));
    }
    let url = Url::parse(text).map_err(|_| {
        let guess = format!("https://{text}");
        let is_better = !text.contains(':') && text.contains('.') && !text.starts_with(['/', '.']);
        Refusal::new("is not an absolute address").did_you_mean(is_better.then_some(&*guess))
    })?;
    if authority(text).contains('@') {
        return Err(Refusal::new("has a user name or password").remedy("leave them out"));
    }
    let rest = text.split_once(':').map_or("", |(_, rest)| rest);
    if rest.trim_matches('/').is_empty() {
        return Err(Refusal::new("names no place").remedy("write a host or a path"));
    }
    let path = rest.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if path.split('/').any(is_dots) {
        return Err(Refusal::new("has a segment of dots, which browsers take away")
            .remedy("write the path that is meant"));
    }
    Ok(url)
}

/// An http(s) address whose host every reader reads as we do.
fn web(text: &str, url: &Url) -> Checked {
    let read = url.host_str().unwrap_or_default();
    let is_exact = text.starts_with(&format!("{}://", url.scheme()))
        && !read.is_empty()
        && host(text).eq_ignore_ascii_case(read);
    if is_exact {
        return Ok(());
    }
    Err(Refusal::new("is not written as it would be read").did_you_mean(Some(url.as_str())))
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The host as it is written, without the port.
fn host(text: &str) -> &str {
    let authority = authority(text);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(checked: Checked) -> String {
        checked.map_or_else(|refusal| refusal.reason, |()| "is allowed".to_owned())
    }

    #[test]
    fn redirect_uris_that_are_safe_are_taken() {
        for web in [
            "https://app.example/callback",
            "https://app.example",
            "https://app.example:8443/cb?tenant=a%20b",
            "https://xn--bcher-kva.example/",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:3000/",
            "http://[::1]:3000/cb",
            "http://localhost:3000/cb",
        ] {
            for kind in [ApplicationType::Web, ApplicationType::Native] {
                assert_eq!(redirect(web, kind), Ok(()), "{web}");
            }
        }
        for own in ["com.example.app:/oauth", "com.example.app://oauth/cb"] {
            assert_eq!(redirect(own, ApplicationType::Native), Ok(()), "{own}");
            assert_eq!(
                reason(redirect(own, ApplicationType::Web)),
                "has a scheme of its own, which only a native client may have"
            );
        }
    }

    #[test]
    fn hostile_redirect_uris_are_refused_each_for_its_own_reason() {
        let long = format!("https://app.example/{}", "a".repeat(LONGEST));
        for (hostile, expected) in [
            ("", "is empty"),
            (long.as_str(), "is longer than 2000 characters"),
            ("/callback", "is not an absolute address"),
            ("//app.example/cb", "is not an absolute address"),
            ("app.example/cb", "is not an absolute address"),
            ("https://", "is not an absolute address"),
            ("https:///cb", "is not written as it would be read"),
            ("https:app.example/cb", "is not written as it would be read"),
            ("https:/app.example/cb", "is not written as it would be read"),
            ("HTTPS://app.example/cb", "is not written as it would be read"),
            ("https://app.example/cb#", "has a fragment"),
            ("https://app.example/cb#f", "has a fragment"),
            ("https://ok.example@evil.example/cb", "has a user name or password"),
            ("https://user:pass@ok.example/cb", "has a user name or password"),
            ("http://127.0.0.1:80@evil.example/", "has a user name or password"),
            ("https://@ok.example/cb", "has a user name or password"),
            ("com.example.app://me@host/cb", "has a user name or password"),
            ("https://*.app.example/cb", "holds a wildcard"),
            ("https://app.example/*", "holds a wildcard"),
            ("https://app.example/a b", "holds ' ', which no address may hold"),
            (" https://app.example/cb", "holds ' ', which no address may hold"),
            ("https://app.example/cb\n", "holds '\\n', which no address may hold"),
            ("https://app.exa\tmple/cb", "holds '\\t', which no address may hold"),
            ("https://app.example\\@evil.example", "holds '\\\\', which no address may hold"),
            ("https://app.example/\u{0}", "holds '\\0', which no address may hold"),
            ("https://app.example/\"", "holds '\"', which no address may hold"),
            ("https://app.example/<b>", "holds '<', which no address may hold"),
            ("https://b\u{fc}cher.example/", "holds characters beyond ASCII"),
            ("https://app.example/\u{202e}cb", "holds characters beyond ASCII"),
            ("https://app.example/%", "holds a % that two hexadecimal digits do not follow"),
            ("https://app.example/%zz", "holds a % that two hexadecimal digits do not follow"),
            ("https://app.example/cb/../evil", "has a segment of dots, which browsers take away"),
            ("https://app.example/%2E%2e/e", "has a segment of dots, which browsers take away"),
            ("https://app.example/./cb", "has a segment of dots, which browsers take away"),
            ("https://2130706433/cb", "is not written as it would be read"),
            ("https://0x7f.1/cb", "is not written as it would be read"),
            ("https://ex%61mple.com/cb", "is not written as it would be read"),
            ("https://app.example:99999/cb", "is not an absolute address"),
            ("http://app.example/cb", "is http on a host that is not the person's own machine"),
            ("http://127.0.0.2/cb", "is http on a host that is not the person's own machine"),
            ("http://10.0.0.1/cb", "is http on a host that is not the person's own machine"),
            ("http://127.0.0.1.evil/", "is http on a host that is not the person's own machine"),
            ("http://localhost./cb", "is http on a host that is not the person's own machine"),
            ("http://a.localhost/cb", "is http on a host that is not the person's own machine"),
            ("http://LOCALHOST/cb", "is http on a host that is not the person's own machine"),
            ("http://[::ffff:127.0.0.1]/cb", "is not written as it would be read"),
            ("http://2130706433/cb", "is not written as it would be read"),
            ("javascript:alert(1)", "has the scheme javascript:, which is not allowed"),
            ("JavaScript:alert(1)", "has the scheme javascript:, which is not allowed"),
            ("data:text/html,hello", "has the scheme data:, which is not allowed"),
            ("vbscript:x", "has the scheme vbscript:, which is not allowed"),
            ("file:///etc/passwd", "has the scheme file:, which is not allowed"),
            ("blob:https://app.example/x", "has the scheme blob:, which is not allowed"),
            ("about:blank", "has the scheme about:, which is not allowed"),
            ("ftp://app.example/", "has the scheme ftp:, which is not allowed"),
            ("ws://app.example/", "has the scheme ws:, which is not allowed"),
            ("myapp:/cb", "has the scheme myapp:, which is not allowed"),
            ("myapp://cb", "has the scheme myapp:, which is not allowed"),
            ("urn:ietf:wg:oauth:2.0:oob", "has the scheme urn:, which is not allowed"),
            ("com..app:/cb", "has the scheme com..app:, which is not allowed"),
            ("com.example.app:", "names no place"),
            ("com.example.app://", "names no place"),
        ] {
            assert_eq!(reason(redirect(hostile, ApplicationType::Native)), expected, "{hostile:?}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        let remedy = |text| redirect(text, ApplicationType::Web).unwrap_err().remedy.unwrap();
        assert_eq!(remedy("app.example/cb"), "did you mean https://app.example/cb?");
        assert_eq!(remedy("http://app.example/cb"), "did you mean https://app.example/cb?");
        assert_eq!(remedy("localhost:3000/cb"), "did you mean http://localhost:3000/cb?");
        assert_eq!(remedy("com.example.app:/cb"), "set application_type to \"native\"");
    }

    #[test]
    fn receivers_are_public_unless_private_ones_are_allowed() {
        for public in ["https://app.example/logout", "https://1.1.1.1/keys.json"] {
            assert_eq!(receiver(public, false), Ok(()), "{public}");
        }
        for inside in [
            "https://127.0.0.1/x",
            "http://127.0.0.1:4000/x",
            "http://localhost:4000/x",
            "https://localhost/x",
            "https://[::1]/x",
            "https://10.1.2.3/x",
            "https://169.254.169.254/x",
            "https://[fd00::1]/x",
        ] {
            assert_eq!(
                reason(receiver(inside, false)),
                "lies on a private or loopback address",
                "{inside}"
            );
            assert_eq!(receiver(inside, true), Ok(()), "{inside}");
        }
        for (bad, expected) in [
            ("http://app.example/x", "is not https"),
            ("http://10.1.2.3/x", "is not https"),
            ("https://app.example/x#f", "has a fragment"),
            ("https://u@app.example/x", "has a user name or password"),
            ("https://0x7f000001/x", "is not written as it would be read"),
            ("ftp://app.example/x", "has the scheme ftp:, which is not allowed"),
            ("com.example.app:/x", "has the scheme com.example.app:, which is not allowed"),
        ] {
            assert_eq!(reason(receiver(bad, true)), expected, "{bad}");
        }
    }

    #[test]
    fn resources_are_absolute_and_never_the_issuer() {
        let issuer = "https://auth.example";
        for good in ["https://api.example", "https://auth.example/api", "urn:example:orders"] {
            assert_eq!(resource(good, issuer), Ok(()), "{good}");
        }
        for (bad, expected) in [
            (
                "https://auth.example",
                "is the issuer itself, whose own API takes no client's tokens",
            ),
            (
                "HTTPS://AUTH.example:443/",
                "is the issuer itself, whose own API takes no client's tokens",
            ),
            ("https://api.example#f", "has a fragment"),
            ("/orders", "is not an absolute URI"),
            ("https://api.example/a b", "holds ' ', which no address may hold"),
        ] {
            assert_eq!(reason(resource(bad, issuer)), expected, "{bad}");
        }
    }
}
