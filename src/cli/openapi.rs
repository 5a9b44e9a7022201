//! `latchkey openapi`: the description of the HTTP interface.

use crate::config::settings::Settings;
use crate::routes::openapi::document;

/// Prints the bytes that `/openapi.json` serves with these settings.
pub fn run(settings: &Settings) {
    anstream::print!("{}", document::text(settings));
}
