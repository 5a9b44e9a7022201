//! All integration tests in one binary.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod development_provider;
mod openid_provider;
mod provider_sign_in;
