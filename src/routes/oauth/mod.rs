//! The OAuth 2.0 and OpenID Connect provider: other people's apps as clients.

pub mod access_token;
pub mod authorize;
mod client_assertion;
pub mod client_authentication;
pub mod discovery;
pub mod error;
pub mod form;
pub mod id_token;
pub mod introspect;
pub mod issue;
pub mod logout;
pub mod revoke;
pub mod token;
pub mod userinfo;
