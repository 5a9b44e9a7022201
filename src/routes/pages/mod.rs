//! The hosted pages: [`views`] says what each one shows, [`text`] in which words, `templates/` in
//! which order, `static/` and [`theme`] how it looks, [`response`] what it may do.
//!
//! Everything works without JavaScript. All values are escaped by the templates.

pub mod account;
pub mod account_apps;
pub mod account_delete;
pub mod assets;
pub mod errors;
pub mod link;
pub mod login;
pub mod onboarding;
pub mod places;
pub mod recovery;
pub mod response;
pub mod resuming;
pub mod site;
pub mod text;
pub mod theme;
pub mod views;

#[cfg(test)]
mod samples;
