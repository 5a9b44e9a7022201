//! Signing in at OpenID Connect providers: we are their relying party.
//!
//! [`openid::OpenIdProvider`] is the whole of it for a route: where to send the browser, and who came
//! back. What it needs from the provider beforehand ([`discovery::Metadata`]) is kept by the actor
//! `ProviderMetadata`; every request goes through the one guarded [`http::HttpClient`].

pub mod address;
pub mod configured;
pub mod discovery;
pub mod error;
pub mod http;
pub mod id_token;
pub mod identity;
pub mod key_set;
pub mod openid;
pub mod strict_json;
mod token_endpoint;

pub use error::ProviderError;
