//! Latchkey: a self-hosted auth server.

pub mod actors;
pub mod clock;
pub mod config;
pub mod error;
pub mod protocol;
pub mod providers;
pub mod store;
