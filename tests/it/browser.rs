//! The pages as people meet them: in Chromium, with JavaScript and without, by mouse and by keyboard.
//!
//! On SQLite alone, but for the demo app: which store is behind a page makes no difference to it. The rules
//! behind the pages are tried without a browser, on both stores, in `sign_in` and `linking`.

mod account;
mod consent;
mod demo_app;
pub mod driver;
mod frontend;
mod keyboard;
mod linking;
mod logout;
mod looking;
mod signing_in;
mod troubles;
