//! How values are shown without their secrets.

use serde_json::Value as Json;

use super::source::Value;

/// What stands for a secret wherever values are shown.
pub(super) const REDACTED: &str = "[redacted]";

/// How a value is shown; what it changes is a secret.
pub(super) type Show = fn(&Value) -> Json;

/// Shows a value as it is, except for the password of an address.
pub(super) fn plainly(value: &Value) -> Json {
    match value.as_text() {
        Some(text) => without_credentials(text).into(),
        None => value.to_json(),
    }
}

/// Shows nothing of a value.
pub(super) fn redacted(_: &Value) -> Json {
    REDACTED.into()
}

/// An address without a password, be it before the host, in the query, or (where the address is
/// broken) in the place of a port.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    if let Some((credentials, host)) = rest.rsplit_once('@')
        && let Some((user, _)) = credentials.split_once(':')
    {
        return format!("{scheme}://{user}:{REDACTED}@{}", without_password_parameter(host));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let is_port =
        |text: &str| text.ends_with(']') || text.chars().all(|digit| digit.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if !is_port(port) => format!("{scheme}://{host}:{REDACTED}"),
        _ => format!("{scheme}://{}", without_password_parameter(rest)),
    }
}

fn without_password_parameter(text: &str) -> String {
    match text.split_once('?') {
        Some((rest, query)) if query.to_lowercase().contains("password") => {
            format!("{rest}?{REDACTED}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_all_but_its_password() {
        let cases = [
            ("https://auth.example.com:8443/a?b=c", "https://auth.example.com:8443/a?b=c"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("postgres://app@db/auth", "postgres://app@db/auth"),
            ("postgres://a:5432,b:5432/auth", "postgres://a:5432,b:5432/auth"),
            ("postgres://app:pw@a,b/auth", "postgres://app:[redacted]@a,b/auth"),
            ("postgres://app:p@w/x@a/auth", "postgres://app:[redacted]@a/auth"),
            ("postgres://a/auth?user=app&password=pw", "postgres://a/auth?[redacted]"),
            (
                "postgres://app:pw@a/auth?sslpassword=pw",
                "postgres://app:[redacted]@a/auth?[redacted]",
            ),
            ("postgres://app:pw", "postgres://app:[redacted]"),
            ("redis://:pw@cache", "redis://:[redacted]@cache"),
            ("sqlite:latchkey.db", "sqlite:latchkey.db"),
        ];
        for (address, shown) in cases {
            assert_eq!(plainly(&address.into()), shown, "{address}");
        }
    }
}
