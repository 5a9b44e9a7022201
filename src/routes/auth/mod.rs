//! Signing in with cookies: everything under `/auth`.

pub mod callback;
pub mod form;
pub mod logout;
pub mod me;
pub mod opening;
pub mod providers;
pub mod refresh;
pub mod resume;
pub mod setup;
pub mod start;
pub mod tickets;
pub mod username_available;
