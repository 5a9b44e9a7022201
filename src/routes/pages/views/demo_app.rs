//! The demo app of `latchkey dev`: for developers, in their words.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::routes::pages::site::Site;
use crate::routes::pages::{text, views::Page};

/// `/dev/app`: what the app is, or what it has got. Its forms have no fields.
#[derive(Debug, Template)]
#[template(path = "dev_app.html")]
pub struct DemoApp<'a> {
    /// Whose page it is.
    pub site: &'a Site,
    /// What went wrong.
    pub trouble: Option<DemoTrouble<'a>>,
    /// The claims that userinfo has just given.
    pub userinfo: Option<&'a str>,
    /// What the app has got.
    pub grant: Option<DemoGrant<'a>>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub struct DemoTrouble<'a> {
    /// In one sentence.
    pub what: &'a str,
    /// What the server said, as it came.
    pub answer: Option<&'a str>,
}

/// What the app has got.
#[derive(Debug)]
pub struct DemoGrant<'a> {
    /// What was granted.
    pub scope: Option<&'a str>,
    /// When the access token expires, in seconds.
    pub expires: i64,
    /// The access token.
    pub access_token: ShownToken<'a>,
    /// The ID token.
    pub id_token: Option<ShownToken<'a>>,
    /// The refresh token, which has no parts to be read.
    pub refresh_token: Option<&'a str>,
}

impl DemoGrant<'_> {
    fn expires(&self) -> String {
        Timestamp::from_seconds(self.expires).to_rfc3339()
    }
}

/// A token, raw and taken apart.
#[derive(Debug)]
pub struct ShownToken<'a> {
    /// As it came.
    pub raw: &'a str,
    /// The header, as indented JSON.
    pub header: Option<String>,
    /// The claims, likewise.
    pub claims: Option<String>,
}

impl<'a> ShownToken<'a> {
    /// Takes a token in compact form apart (RFC 7515 §3.1). Of another one nothing is known.
    pub fn of(raw: &'a str) -> Self {
        let mut parts = raw.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            let value: Value = serde_json::from_slice(&bytes).ok()?;
            Some(format!("{value:#}"))
        });
        let mut next = || parts.next().flatten();
        Self { raw, header: next(), claims: next() }
    }
}

impl Page for DemoApp<'_> {
    fn site(&self) -> &Site {
        self.site
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_apart_and_anything_else_is_not() {
        let raw = format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"x"}"#)
        );
        let shown = ShownToken::of(&raw);
        assert_eq!(shown.header.unwrap(), "{\n  \"alg\": \"none\"\n}");
        assert_eq!(shown.claims.unwrap(), "{\n  \"sub\": \"x\"\n}");
        let opaque = ShownToken::of("b3BhcXVl");
        assert_eq!((opaque.header, opaque.claims), (None, None));
    }
}
