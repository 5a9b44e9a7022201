//! Where a person goes after signing in: only to places that the deployer allows.

use url::Url;

use crate::config::settings::{Origin, Server};
use crate::error::{ApiError, ErrorCode};

/// Longest address that is kept along a sign-in: a whole authorization request, and what it is brought back
/// with. Sealed into its cookie, it stays below the 4,096 bytes that browsers keep.
const LONGEST: usize = 2_700;

/// Checks a `return_to`: a path of ours, or an address of our origin, the frontend, or an allowed
/// origin. Checked when a sign-in starts and again when it is used.
///
/// # Errors
/// `invalid_return_to`.
pub fn check(return_to: &str, server: &Server) -> Result<String, ApiError> {
    find(return_to, server).filter(|_| can_be_kept(return_to)).ok_or_else(refused)
}

/// The same where a browser is sent on at once and nothing is kept: there the requests of apps and addresses at
/// other origins, which are longer than those of ours, may be as long as any.
///
/// # Errors
/// `invalid_return_to`.
pub fn check_at_once(return_to: &str, server: &Server) -> Result<String, ApiError> {
    let may_be_long = return_to.starts_with("/oauth/") || !return_to.starts_with('/');
    find(return_to, server).filter(|_| may_be_long || can_be_kept(return_to)).ok_or_else(refused)
}

/// Whether what [`check_at_once`] let pass can be kept along a sign-in, too.
pub fn can_be_kept(return_to: &str) -> bool {
    return_to.len() <= LONGEST
}

fn refused() -> ApiError {
    ApiError::new(
        ErrorCode::InvalidReturnTo,
        "return_to is a path on this server or an address of an origin that is allowed in server.return_to.",
    )
    .field("return_to")
}

/// Browsers read `\` as `/` and drop tabs and line ends, so those never pass.
fn find(return_to: &str, server: &Server) -> Option<String> {
    let is_plain = return_to.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte != b'\\');
    if !is_plain || !return_to.is_ascii() {
        return None;
    }
    if return_to.starts_with('/') {
        let base = Url::parse(server.public_url.as_str()).ok()?;
        let url = base.join(return_to).ok()?;
        let stays = !return_to.starts_with("//")
            && Origin::of(&url) == server.public_url
            && url.username().is_empty();
        return stays.then(|| return_to.to_owned());
    }
    if !return_to.starts_with("https://") && !return_to.starts_with("http://") {
        return None;
    }
    let url = Url::parse(return_to).ok()?;
    let origin = Origin::of(&url);
    let is_allowed = url.username().is_empty()
        && url.password().is_none()
        && std::iter::once(&server.public_url)
            .chain(&server.frontend_url)
            .chain(&server.return_to)
            .any(|allowed| *allowed == origin);
    is_allowed.then(|| url.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: Origin::parse("https://auth.example.com").unwrap(),
            workers: 1,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            frontend_url: None,
            return_to: vec![Origin::parse("https://app.example.com").unwrap()],
            secret_key: Vec::new(),
            max_body: 1,
            allow_private_receivers: false,
            drain: std::time::Duration::ZERO,
            shutdown_grace: std::time::Duration::ZERO,
            tls: None,
        }
    }

    #[test]
    fn paths_of_ours_and_allowed_origins_pass() {
        for good in
            ["/", "/account?a=1#b", "https://app.example.com/x", "https://auth.example.com/"]
        {
            assert!(check(good, &server()).is_ok(), "{good}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "/%09/evil.example\t",
            "/\tevil",
            "/a\r\nb",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example.com@evil.example/",
            "https://app.example.com.evil.example/",
            "https://user@app.example.com/",
            "http://app.example.com/",
            "https://evil.example/",
            "account",
            "https://app.example.com:444/",
            "/a b",
            "///evil.example",
            "/é",
        ] {
            assert!(check(bad, &server()).is_err(), "{bad}");
        }
        let long = format!("/oauth/{}", "a".repeat(5_000));
        assert!(check(&long, &server()).is_err());
        assert_eq!(check_at_once(&long, &server()).unwrap(), long);
        assert!(can_be_kept("/oauth/authorize") && !can_be_kept(&long));
        let app = format!("https://app.example.com{long}");
        assert_eq!(check_at_once(&app, &server()).unwrap(), app);
        for bad in [&long[6..], "/oauth/\\evil.example", "//oauth/a", "https://evil.example/"] {
            assert!(check_at_once(bad, &server()).is_err(), "{bad}");
        }
    }
}
