//! Clients by people who do not know us, unmodified: libraries, and a web server. Each finds out what we
//! can, signs somebody in, verifies, asks, refreshes, and signs out, as its own documentation says.
//!
//! On SQLite alone: which store is behind an answer makes no difference to who gets it.

mod apache;
mod libraries;
mod person;
mod program;
mod resource_servers;
mod single_page;
