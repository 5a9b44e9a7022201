//! Pure rules of the protocols: no I/O, no clock, no actor.

pub mod audit_chain;
pub mod audit_trail;
pub mod authorization_code;
pub mod claims;
pub mod client;
pub mod client_registration;
pub mod display_name;
pub mod entity_tag;
pub mod jwt;
pub mod key;
pub mod key_life;
pub mod pkce;
pub mod random;
pub mod redirect_uri;
pub mod refresh_token;
pub mod rotation;
pub mod scope;
pub mod sealed;
pub mod secret;
pub mod spelling;
pub mod username;
