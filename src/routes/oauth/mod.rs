//! The OAuth 2.0 and OpenID Connect provider: other people's apps as clients.

mod client_assertion;
pub mod client_authentication;
pub mod error;
pub mod form;
pub mod issue;
pub mod token;
