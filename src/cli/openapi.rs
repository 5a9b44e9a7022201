//! `latchkey openapi`: the description of the HTTP interface.

use crate::cli::output;
use crate::config::settings::Settings;
use crate::routes::openapi::document;

/// Prints the bytes that `/openapi.json` serves with these settings.
pub fn run(settings: &Settings) {
    output::print(document::text(settings));
}
