//! Latchkey: a self-hosted auth server.

pub mod clock;
pub mod config;
pub mod error;
pub mod protocol;
pub mod routes;
pub mod store;
