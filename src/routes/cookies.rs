//! Our cookies: one builder for setting and clearing, so that name, path and domain always agree.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::header::COOKIE;

use crate::config::settings::{SameSite as SameSiteSetting, Settings};
use crate::error::{ApiError, ErrorCode};

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The access token.
    Access,
    /// The refresh token.
    Refresh,
    /// The account waiting to be set up.
    Setup,
    /// The identity waiting to be connected.
    Link,
    /// The way back into an account that is being gone.
    Recovery,
    /// The outcome of a resume, for half a minute.
    Resume,
    /// The provider that was used last: no secret, only a convenience.
    LastProvider,
}

/// The names and attributes of our cookies.
#[derive(Clone, Debug)]
pub struct Cookies {
    prefix: String,
    domain: Option<String>,
    secure: bool,
    same_site: SameSite,
}

impl Cookies {
    /// By `[cookies]`; `server.public_url` alone decides Secure and the name prefixes.
    pub fn new(settings: &Settings) -> Self {
        Self {
            prefix: settings.cookies.prefix.clone(),
            domain: settings.cookies.domain.clone(),
            secure: settings.server.public_url.is_https(),
            same_site: match settings.cookies.same_site {
                SameSiteSetting::Lax => SameSite::Lax,
                SameSiteSetting::None => SameSite::None,
            },
        }
    }

    /// The path of a cookie.
    fn path(kind: Kind) -> &'static str {
        match kind {
            Kind::Refresh | Kind::Recovery => "/auth",
            Kind::Access | Kind::Setup | Kind::Link | Kind::Resume | Kind::LastProvider => "/",
        }
    }

    /// Only the session's cookies may be shared with a domain or sent to other sites.
    fn is_of_session(kind: Kind) -> bool {
        matches!(kind, Kind::Access | Kind::Refresh)
    }

    /// The full name, with the prefix that browsers enforce (RFC 6265bis §4.1.3).
    pub fn name(&self, kind: Kind) -> String {
        let suffix = match kind {
            Kind::Access => "access",
            Kind::Refresh => "refresh",
            Kind::Setup => "setup",
            Kind::Link => "link",
            Kind::Recovery => "recovery",
            Kind::Resume => "resume",
            Kind::LastProvider => "provider",
        };
        let has_domain = self.domain.is_some() && Self::is_of_session(kind);
        let is_host_bound = Self::path(kind) == "/" && !has_domain;
        format!("{}{}_{suffix}", self.browser_prefix(is_host_bound), self.prefix)
    }

    fn browser_prefix(&self, is_host_bound: bool) -> &'static str {
        match (self.secure, is_host_bound) {
            (false, _) => "",
            (true, true) => "__Host-",
            (true, false) => "__Secure-",
        }
    }

    /// Sets a cookie for `max_age`.
    pub fn set(&self, kind: Kind, value: String, max_age: Duration) -> Cookie<'static> {
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        self.build(kind, self.name(kind), value, Self::path(kind), seconds)
    }

    /// Clears a cookie.
    pub fn clear(&self, kind: Kind) -> Cookie<'static> {
        self.build(kind, self.name(kind), String::new(), Self::path(kind), 0)
    }

    fn build(
        &self,
        kind: Kind,
        name: String,
        value: String,
        path: &'static str,
        seconds: i64,
    ) -> Cookie<'static> {
        let of_session = Self::is_of_session(kind);
        let same_site = if of_session { self.same_site } else { SameSite::Lax };
        let mut cookie = Cookie::build(name, value)
            .path(path)
            .secure(self.secure)
            .http_only(true)
            .same_site(same_site)
            .max_age(time::Duration::seconds(seconds))
            .finish();
        if let (true, Some(domain)) = (of_session, &self.domain) {
            cookie.set_domain(domain.clone());
        }
        cookie
    }

    /// Start of the names of login cookies; the attempt's eight characters follow.
    fn login_prefix(&self) -> String {
        format!("{}{}_login_", self.browser_prefix(false), self.prefix)
    }

    /// Sets the cookie of a sign-in attempt.
    pub fn set_login(&self, attempt: &str, value: String, max_age: Duration) -> Cookie<'static> {
        let name = format!("{}{attempt}", self.login_prefix());
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        self.build(Kind::Setup, name, value, "/auth", seconds)
    }

    /// Clears the cookie of a sign-in attempt.
    pub fn clear_login(&self, attempt: &str) -> Cookie<'static> {
        let name = format!("{}{attempt}", self.login_prefix());
        self.build(Kind::Setup, name, String::new(), "/auth", 0)
    }

    /// The sign-in attempts that the browser holds: eight characters and sealed value each.
    pub fn logins<'a>(&self, request: &'a HttpRequest) -> Vec<(&'a str, &'a str)> {
        let prefix = self.login_prefix();
        pairs(request)
            .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?, value)))
            .collect()
    }

    /// The value of a cookie, if the browser sent it.
    ///
    /// # Errors
    /// `duplicate_cookie` if it was sent twice: another path or subdomain has planted one, and
    /// nobody can tell which is ours.
    pub fn read<'a>(
        &self,
        request: &'a HttpRequest,
        kind: Kind,
    ) -> Result<Option<&'a str>, ApiError> {
        let name = self.name(kind);
        let mut values = pairs(request).filter(|(found, _)| *found == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(ApiError::new(
                ErrorCode::DuplicateCookie,
                format!(
                    "The cookie {name} was sent twice. Delete this site's cookies and sign in again."
                ),
            ));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// Whether the browser sent any cookie of ours.
    pub fn any(&self, request: &HttpRequest) -> bool {
        pairs(request).any(|(name, _)| {
            name.trim_start_matches("__Host-")
                .trim_start_matches("__Secure-")
                .starts_with(&self.prefix)
        })
    }
}

/// The pairs of all Cookie headers (RFC 6265 §4.2.1).
fn pairs(request: &HttpRequest) -> impl Iterator<Item = (&str, &str)> {
    request
        .headers()
        .get_all(COOKIE)
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn cookies(secure: bool, domain: Option<&str>) -> Cookies {
        Cookies {
            prefix: "auth".to_owned(),
            domain: domain.map(str::to_owned),
            secure,
            same_site: SameSite::Lax,
        }
    }

    #[test]
    fn names_carry_the_prefix_that_their_attributes_allow() {
        let https = cookies(true, None);
        assert_eq!(https.name(Kind::Access), "__Host-auth_access");
        assert_eq!(https.name(Kind::Refresh), "__Secure-auth_refresh");
        assert_eq!(https.name(Kind::Setup), "__Host-auth_setup");
        let shared = cookies(true, Some("example.com"));
        assert_eq!(shared.name(Kind::Access), "__Secure-auth_access");
        assert_eq!(shared.name(Kind::Setup), "__Host-auth_setup");
        let http = cookies(false, None);
        assert_eq!(http.name(Kind::Access), "auth_access");
        assert_eq!(
            http.set_login("abcdefgh", String::new(), Duration::ZERO).name(),
            "auth_login_abcdefgh"
        );
    }

    #[test]
    fn setting_and_clearing_agree_on_name_path_and_domain() {
        for cookies in
            [cookies(true, None), cookies(true, Some("example.com")), cookies(false, None)]
        {
            for kind in [Kind::Access, Kind::Refresh, Kind::Setup, Kind::Resume, Kind::LastProvider]
            {
                let set = cookies.set(kind, "value".to_owned(), Duration::from_secs(60));
                let clear = cookies.clear(kind);
                assert_eq!(
                    (set.name(), set.path(), set.domain(), set.secure(), set.same_site()),
                    (clear.name(), clear.path(), clear.domain(), clear.secure(), clear.same_site())
                );
                assert_eq!(set.http_only(), Some(true));
                assert_eq!(clear.max_age(), Some(time::Duration::ZERO));
            }
        }
    }

    #[test]
    fn a_cookie_sent_twice_is_refused() {
        let cookies = cookies(false, None);
        let request = TestRequest::default()
            .insert_header((COOKIE, "auth_refresh=a; other=1; auth_refresh=b; auth_access=c"))
            .to_http_request();
        assert_eq!(
            cookies.read(&request, Kind::Refresh).unwrap_err().code,
            ErrorCode::DuplicateCookie
        );
        assert_eq!(cookies.read(&request, Kind::Access).unwrap(), Some("c"));
        assert_eq!(cookies.read(&request, Kind::Setup).unwrap(), None);
    }
}
