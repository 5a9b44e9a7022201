//! Where the pages are: ours, or those of the deployer's frontend.

use url::form_urlencoded::Serializer;

use crate::app::App;

/// A page that redirects lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Choose a provider.
    Login,
    /// Choose a name.
    Onboarding,
    /// Connect a sign-in to an account that is there.
    Link,
    /// The person's account.
    Account,
    /// After signing out.
    SignedOut,
}

impl Place {
    /// Its path, here and at the frontend.
    pub fn path(self) -> &'static str {
        match self {
            Self::Login => "/login",
            Self::Onboarding => "/onboarding",
            Self::Link => "/link",
            Self::Account => "/account",
            Self::SignedOut => "/signed-out",
        }
    }
}

/// The address of a page: a path of ours, or the frontend's address where there is one.
pub fn address(app: &App, place: Place, query: &[(&str, &str)]) -> String {
    let path = place.path();
    let base = app
        .settings
        .server
        .frontend_url
        .as_ref()
        .map_or_else(|| path.to_owned(), |frontend| frontend.join(path));
    with_query(&base, query)
}

/// An address with a query, if there is anything to say in it.
pub fn with_query(address: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return address.to_owned();
    }
    format!("{address}?{}", Serializer::new(String::new()).extend_pairs(query).finish())
}
