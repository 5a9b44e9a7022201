//! What values mean: one function for each kind, from what was written to what it stands for.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use super::problem::{Refusal, nearest};
use super::reader::Parsed;
use super::settings::{Origin, SecretKey};
use super::source::Value;
use super::units::{parse_duration, parse_size, write_duration};
use crate::protocol::secret::Secret;

/// Durations beyond this are taken for mistakes, and kept away from the ends of the calendar.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn wrong_kind(value: &Value, wanted: &str) -> Refusal {
    Refusal::new(format!("is {}; {wanted} belongs here", value.kind()))
}

/// Text that is not empty.
pub(super) fn text(value: &Value) -> Parsed<String> {
    match value.as_text() {
        Some("") => Err(Refusal::new("is empty")),
        Some(text) => Ok(text.to_owned()),
        None => Err(wrong_kind(value, "text").remedy("put it in quotes")),
    }
}

/// A text that is not empty and never shown.
pub(super) fn secret(value: &Value) -> Parsed<Secret> {
    text(value).map(Secret::new)
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Parsed<bool> {
    match value {
        Value::Boolean(flag) => Ok(*flag),
        Value::Loose(text) if text == "true" => Ok(true),
        Value::Loose(text) if text == "false" => Ok(false),
        _ => Err(wrong_kind(value, "true or false")),
    }
}

/// A whole number within `range`.
pub(super) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::Loose(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| wrong_kind(value, "a whole number"))?;
        let within = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
        within.ok_or_else(|| {
            Refusal::new(format!("is not between {} and {}", range.start(), range.end()))
        })
    }
}

/// A number of bytes, bare or as `2MiB`.
pub(super) fn size(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Parsed<usize> {
    move |value| {
        let Some(text) = value.as_text() else { return integer(range.clone())(value) };
        match parse_size(text).and_then(|bytes| i64::try_from(bytes).ok()) {
            Some(bytes) => integer(range.clone())(&Value::Integer(bytes)),
            None if matches!(value, Value::Loose(_)) => integer(range.clone())(value),
            None => Err(Refusal::new("is not a size")
                .remedy("write a number of bytes, or a number with KiB, MiB or GiB")),
        }
    }
}

/// A duration of at least `shortest`.
pub(super) fn duration(shortest: Duration) -> impl Fn(&Value) -> Parsed<Duration> {
    move |value| {
        let parsed = match value {
            Value::Integer(0) => Some(Duration::ZERO),
            Value::Integer(seconds) => {
                return Err(
                    Refusal::new("has no unit").did_you_mean(Some(format!("\"{seconds}s\"")))
                );
            }
            _ => value.as_text().and_then(parse_duration),
        };
        let parsed = parsed.ok_or_else(|| {
            Refusal::new("is not a duration")
                .remedy("write one as \"90s\", \"15m\", \"24h\" or \"30d\"")
        })?;
        if parsed < shortest {
            return Err(Refusal::new("is too short")
                .remedy(format!("it is at least {}", write_duration(shortest))));
        }
        if parsed > LONGEST {
            return Err(Refusal::new("is longer than a hundred years"));
        }
        Ok(parsed)
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    words: impl AsRef<[(&'static str, T)]>,
) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let words = words.as_ref();
        let found = text(value)?;
        let chosen = words.iter().find(|(word, _)| *word == found);
        chosen.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let close = nearest(&found.to_lowercase(), words.iter().map(|(word, _)| *word))
                .or_else(|| nearest(&found, words.iter().map(|(word, _)| *word)));
            Refusal::new(format!("is not one of {}", all.join(", ")))
                .did_you_mean(close.map(|word| format!("\"{word}\"")))
        })
    }
}

/// Text that matches a rule, which `rule` says in words.
pub(super) fn text_where(
    accepts: impl Fn(&str) -> bool,
    rule: &'static str,
) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let text = text(value)?;
        if accepts(&text) { Ok(text) } else { Err(Refusal::new(rule)) }
    }
}

/// An address and a port.
pub(super) fn socket(value: &Value) -> Parsed<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        let port: Option<u16> = text.rsplit(':').next().and_then(|port| port.parse().ok());
        let is_local = text.starts_with(':') || text.starts_with("localhost:");
        let guess = match (port, text.parse::<IpAddr>()) {
            (Some(port), _) if is_local || port.to_string() == text => {
                Some(format!("\"127.0.0.1:{port}\""))
            }
            (_, Ok(ip)) => Some(format!("\"{}\"", SocketAddr::new(ip, 8080))),
            _ => None,
        };
        Refusal::new("is not an IP address with a port").did_you_mean(guess)
    })
}

/// A network as `10.0.0.0/8`, or a single address.
pub(super) fn network(value: &Value) -> Parsed<IpNet> {
    let text = text(value)?;
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(single).map(canonical).ok_or_else(|| {
        Refusal::new("is not a network").remedy("write it as \"10.0.0.0/8\" or \"2001:db8::/32\"")
    })
}

/// IPv4 networks that are written as IPv6 ones (RFC 4291 §2.5.5.2) as what they are, as peers are compared.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(mapped) = network else { return network };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(MAPPED));
    v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

fn address(text: &str) -> Parsed<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(url),
        _ => {
            let guess = format!("https://{}", text.trim_start_matches('/'));
            let is_better =
                !text.contains("://") && Url::parse(&guess).is_ok_and(|url| url.host().is_some());
            Err(Refusal::new("is not an absolute address")
                .did_you_mean(is_better.then(|| format!("\"{guess}\""))))
        }
    }
}

/// Whether the host of an address is this machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn secure(url: Url) -> Parsed<Url> {
    if url.scheme() == "https" || is_loopback(&url) {
        return Ok(url);
    }
    let better = url.as_str().replacen("http://", "https://", 1);
    let better = better.trim_end_matches('/');
    Err(Refusal::new("is http on a host that is not this machine")
        .did_you_mean(Some(format!("\"{better}\""))))
}

/// An origin: scheme, host and port.
pub(super) fn origin(value: &Value) -> Parsed<Origin> {
    let text = text(value)?;
    if text == "*" {
        return Err(Refusal::new("cannot be allowed with credentials").remedy("list each origin"));
    }
    let url = address(&text)?;
    Origin::parse(&text).ok_or_else(|| {
        Refusal::new("is more than an origin")
            .did_you_mean(Some(format!("\"{}\"", Origin::of(&url))))
    })
}

/// An origin that is https, or on this machine.
pub(super) fn secure_origin(value: &Value) -> Parsed<Origin> {
    let origin = origin(value)?;
    secure(address(origin.as_str())?).map(|_| origin)
}

/// An address that is https, or on this machine, without a fragment or credentials.
pub(super) fn endpoint(value: &Value) -> Parsed<Url> {
    secure(plain_endpoint(value)?)
}

/// An address inside the deployment, also without https: what is sent there opens nothing.
pub(super) fn collector(value: &Value) -> Parsed<Url> {
    let url = plain_endpoint(value)?;
    if url.query().is_some() {
        return Err(Refusal::new("has a query").remedy("leave out what follows the ?"));
    }
    Ok(url)
}

/// The same as an endpoint, also by http on another machine.
pub(super) fn plain_endpoint(value: &Value) -> Parsed<Url> {
    let url = address(&text(value)?)?;
    if url.fragment().is_some() {
        return Err(Refusal::new("has a fragment").remedy("leave out what follows the #"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::new("has a user name or password").remedy("leave them out"));
    }
    Ok(url)
}

/// An issuer (OpenID Connect Discovery 1.0 §3): an endpoint without a query, kept as it is written.
pub(super) fn issuer(value: &Value) -> Parsed<String> {
    let url = endpoint(value)?;
    if url.query().is_some() {
        return Err(Refusal::new("has a query").remedy("an issuer has none"));
    }
    if url.path().ends_with("/.well-known/openid-configuration") {
        let issuer = url.as_str().trim_end_matches("/.well-known/openid-configuration");
        return Err(Refusal::new("is the address of the discovery document")
            .did_you_mean(Some(format!("\"{issuer}\""))));
    }
    text(value)
}

/// Fewest bytes of a server secret.
const SECRET_BYTES: usize = 32;
/// 32 random bytes have about 30 different values; what has fewer than this was typed.
const DIFFERENT_BYTES: usize = 8;
/// How to come by a server secret.
pub(super) const MAKE_SECRET: &str = "make one with `openssl rand -base64 32`";

/// A server secret: base64 of either alphabet, with or without padding.
pub(super) fn secret_key(value: &Value) -> Parsed<SecretKey> {
    let text = zeroize::Zeroizing::new(text(value)?);
    let refuse = |reason: String| Refusal::new(reason).remedy(MAKE_SECRET);
    let bytes = [&alphabet::STANDARD, &alphabet::URL_SAFE].into_iter().find_map(|alphabet| {
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        GeneralPurpose::new(alphabet, config).decode(text.as_bytes()).ok()
    });
    let key = SecretKey::new(bytes.ok_or_else(|| refuse("is not base64".to_owned()))?);
    let length = key.expose().len();
    if length < SECRET_BYTES {
        return Err(refuse(format!("has {length} bytes; at least {SECRET_BYTES} are needed")));
    }
    let different: std::collections::BTreeSet<_> = key.expose().iter().collect();
    if different.len() < DIFFERENT_BYTES {
        return Err(refuse("is not random".to_owned()));
    }
    Ok(key)
}

/// A name of a scope or a claim (RFC 6749 §3.3).
pub(super) fn scope_token(value: &Value) -> Parsed<String> {
    let is_legal = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    text_where(is_legal, "is not a single word without quotes")(value)
}

/// A domain, made lower case.
pub(super) fn domain(value: &Value) -> Parsed<String> {
    let text = text(value)?.to_lowercase();
    let bare = text.trim_start_matches(['.', '@']);
    let is_domain = !bare.is_empty()
        && bare.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|character| character.is_alphanumeric() || character == '-')
        });
    if is_domain {
        Ok(bare.to_owned())
    } else {
        Err(Refusal::new("is not a domain").remedy("write it as \"example.com\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(parsed: Parsed<T>) -> (String, String) {
        let refusal = parsed.map(|_| ()).expect_err("it is refused");
        (refusal.reason, refusal.remedy.unwrap_or_default())
    }

    fn assert_refused<T: std::fmt::Debug>(parsed: Parsed<T>, reason: &str, remedy: &str) {
        assert_eq!(refusal(parsed), (reason.to_owned(), remedy.to_owned()));
    }

    #[test]
    fn addresses_to_listen_on_are_suggested() {
        let refused = "is not an IP address with a port";
        for (text, remedy) in [
            ("8080", "did you mean \"127.0.0.1:8080\"?"),
            (":8080", "did you mean \"127.0.0.1:8080\"?"),
            ("localhost:9000", "did you mean \"127.0.0.1:9000\"?"),
            ("0.0.0.0", "did you mean \"0.0.0.0:8080\"?"),
            ("auth.example.com:80", ""),
        ] {
            assert_refused(socket(&text.into()), refused, remedy);
        }
        assert_eq!(socket(&"[::1]:8080".into()).unwrap().port(), 8080);
    }

    #[test]
    fn origins_hold_no_more_than_an_origin() {
        assert_eq!(
            secure_origin(&"https://a.example/".into()).unwrap().as_str(),
            "https://a.example"
        );
        for loopback in
            ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://app.localhost"]
        {
            assert!(secure_origin(&loopback.into()).is_ok(), "{loopback}");
        }
        assert_refused(
            secure_origin(&"a.example".into()),
            "is not an absolute address",
            "did you mean \"https://a.example\"?",
        );
        assert_refused(
            secure_origin(&"https://a.example/auth?x=1".into()),
            "is more than an origin",
            "did you mean \"https://a.example\"?",
        );
        assert_refused(
            secure_origin(&"http://a.example".into()),
            "is http on a host that is not this machine",
            "did you mean \"https://a.example\"?",
        );
        assert_refused(
            origin(&"*".into()),
            "cannot be allowed with credentials",
            "list each origin",
        );
    }

    #[test]
    fn issuers_are_kept_as_they_are_written() {
        assert_eq!(
            issuer(&"https://id.example/tenant/".into()).unwrap(),
            "https://id.example/tenant/"
        );
        assert_refused(
            issuer(&"https://id.example/.well-known/openid-configuration".into()),
            "is the address of the discovery document",
            "did you mean \"https://id.example\"?",
        );
        assert_eq!(refusal(issuer(&"https://id.example/?a=b".into())).0, "has a query");
        assert_eq!(
            refusal(issuer(&"https://me@id.example".into())).0,
            "has a user name or password"
        );
    }

    #[test]
    fn numbers_in_quotes_are_numbers_only_from_the_environment() {
        let parse = integer::<u32>(1..=10);
        assert_eq!(parse(&Value::Loose("7".to_owned())), Ok(7));
        assert_refused(parse(&"7".into()), "is text; a whole number belongs here", "");
        assert_refused(parse(&Value::Integer(11)), "is not between 1 and 10", "");
    }

    #[test]
    fn server_secrets_are_long_and_random() {
        let random = "mJ0Vx2dYhQ8rT5bN7cK1wZ3eA6uG9iLpOqSfXyHnRkE=";
        assert_eq!(secret_key(&random.into()).unwrap().expose().len(), 32);
        assert!(secret_key(&random.trim_end_matches('=').into()).is_ok());
        for (weak, reason) in [
            ("c2hvcnQ=", "has 5 bytes; at least 32 are needed"),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "is not random"),
            ("correct horse battery staple", "is not base64"),
        ] {
            assert_refused(secret_key(&weak.into()), reason, MAKE_SECRET);
        }
    }

    #[test]
    fn durations_have_units_and_limits() {
        let parse = duration(Duration::from_secs(1));
        assert_eq!(parse(&"1s".into()), Ok(Duration::from_secs(1)));
        assert_refused(parse(&"0s".into()), "is too short", "it is at least 1s");
        assert_refused(parse(&Value::Integer(900)), "has no unit", "did you mean \"900s\"?");
        assert_refused(
            parse(&"15 minutes".into()),
            "is not a duration",
            "write one as \"90s\", \"15m\", \"24h\" or \"30d\"",
        );
        assert_refused(parse(&"99999d".into()), "is longer than a hundred years", "");
        assert_eq!(duration(Duration::ZERO)(&Value::Integer(0)), Ok(Duration::ZERO));
    }

    #[test]
    fn words_are_suggested() {
        let parse = choice(&[("open", 1), ("closed", 2)]);
        assert_refused(
            parse(&"Closed".into()),
            "is not one of \"open\", \"closed\"",
            "did you mean \"closed\"?",
        );
    }
}
