//! Signing in at other people's servers: we are their relying party (OpenID Connect), or a client that
//! asks whose an access token is (OAuth 2).
//!
//! [`configured::SignInProvider`] is the whole of it for a route: where to send the browser, and who
//! came back. What an OpenID Connect provider says of itself ([`discovery::Metadata`]) is kept by the
//! actor `ProviderMetadata`; every request goes through the one guarded [`http::HttpClient`].

pub mod address;
pub mod authorization;
pub mod configured;
pub mod discovery;
pub mod error;
pub mod http;
pub mod id_token;
pub mod identity;
pub mod key_set;
pub mod oauth;
pub mod openid;
pub mod strict_json;
mod token_endpoint;

pub use error::ProviderError;
