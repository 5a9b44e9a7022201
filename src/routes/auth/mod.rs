//! Signing in with cookies: everything under `/auth`.

pub mod account_form;
pub mod apps;
pub mod avatar;
pub mod bootstrap;
pub mod callback;
pub mod deletion;
pub mod export;
pub mod form;
pub mod link;
pub mod links;
pub mod logout;
pub mod me;
pub mod newcomer;
pub mod opening;
pub mod profile;
pub mod providers;
pub mod recover;
pub mod refresh;
pub mod resume;
pub mod sessions;
pub mod setup;
pub mod start;
pub mod tickets;
pub mod username;
pub mod username_available;
pub mod verify;
