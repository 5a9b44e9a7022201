//! Latchkey: a self-hosted auth server.

pub mod actors;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod protocol;
pub mod providers;
pub mod routes;
pub mod startup;
pub mod store;
pub mod telemetry;
