//! The OAuth 2.0 and OpenID Connect provider: other people's apps as clients.

pub mod access_token;
pub mod client_authentication;
pub mod discovery;
pub mod error;
pub mod introspect;
pub mod revoke;
pub mod userinfo;
