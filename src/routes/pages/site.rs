//! What all pages share.

use url::Url;

use super::assets::Assets;
use super::response::source_of;
use super::theme::Theme;
use crate::config::settings::{Branding, Origin};

/// The deployer's name, logo and colours, and the files that go with them. Made once, at start.
#[derive(Clone, Debug)]
pub struct Site {
    name: String,
    logo: Option<String>,
    logo_source: Option<String>,
    frontend_source: Option<String>,
    assets: Assets,
}

impl Site {
    /// Follows `[branding]`. A logo that is neither a path nor an http(s) address is left out.
    pub fn new(branding: &Branding) -> Self {
        let is_path = |logo: &str| logo.starts_with('/') && !logo.starts_with("//");
        let source = |logo: &str| {
            let url = Url::parse(logo).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.and_then(|url| source_of(&url))
        };
        let logo_source = branding.logo.as_deref().and_then(source);
        let is_shown = |logo: &&String| is_path(logo) || logo_source.is_some();
        Self {
            name: branding.name.clone(),
            logo: branding.logo.as_ref().filter(is_shown).cloned(),
            logo_source,
            frontend_source: None,
            assets: Assets::new(&Theme::new(branding.accent.as_deref())),
        }
    }

    /// The deployer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets every form lead on to the deployer's frontend, where there is one.
    #[must_use]
    pub fn leading_to(self, frontend: Option<&Origin>) -> Self {
        let url = frontend.and_then(|origin| Url::parse(origin.as_str()).ok());
        Self { frontend_source: url.as_ref().and_then(source_of), ..self }
    }

    /// The address of the deployer's logo.
    pub fn logo(&self) -> Option<&str> {
        self.logo.as_deref()
    }

    /// Where the logo comes from, as a source of the content security policy; `None` is ourselves.
    pub fn logo_source(&self) -> Option<&str> {
        self.logo_source.as_deref()
    }

    /// The deployer's frontend, as a source of the content security policy.
    pub fn frontend_source(&self) -> Option<&str> {
        self.frontend_source.as_deref()
    }

    /// The static files.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logo(address: &str) -> (Option<String>, Option<String>) {
        let logo = Some(address.to_owned());
        let site = Site::new(&Branding { name: "Acme".to_owned(), logo, accent: None });
        (site.logo, site.logo_source)
    }

    #[test]
    fn only_a_logo_of_ours_or_of_the_web_is_shown() {
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(logo("/logo.svg"), (own("/logo.svg"), None));
        assert_eq!(
            logo("https://cdn.example/a.png"),
            (own("https://cdn.example/a.png"), own("https://cdn.example"))
        );
        for refused in ["//cdn.example/a", "javascript:alert(1)", "ftp://cdn.example/a", "logo.png"]
        {
            assert_eq!(logo(refused), (None, None), "{refused}");
        }
    }
}
