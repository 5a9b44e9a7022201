//! Clients by people who do not know us, unmodified: libraries, and a web server. Each finds out what we
//! can, signs somebody in, verifies, asks, refreshes, and signs out, as its own documentation says.

mod apache;
mod libraries;
mod person;
pub(crate) mod program;
mod resource_servers;
mod single_page;
