//! The OAuth 2.0 and OpenID Connect provider: other people's apps as clients.

pub mod authorize;
pub mod client_authentication;
pub mod error;
pub mod id_token;
