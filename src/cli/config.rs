//! `latchkey config`: the effective configuration.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::output::{self, DIM};
use crate::cli::{Failure, Format, load};
use crate::config::Request;

/// Prints every value with where it comes from; secrets are redacted.
///
/// # Errors
/// The problems of the configuration.
pub fn run(explicit: Option<PathBuf>, format: Format) -> Result<(), Failure> {
    let loaded = load(&Request::of_process(explicit)).map_err(Failure::of)?;
    if format == Format::Json {
        let items: Vec<_> = loaded
            .entries
            .iter()
            .map(|entry| json!({ "key": entry.key, "value": entry.value, "origin": entry.origin.to_string() }))
            .collect();
        output::json(&json!({ "items": items, "next_cursor": null }));
        return Ok(());
    }
    let lines: Vec<String> =
        loaded.entries.iter().map(|entry| format!("{} = {}", entry.key, entry.value)).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(60);
    for (line, entry) in lines.iter().zip(&loaded.entries) {
        let padding = " ".repeat(width.saturating_sub(line.chars().count()));
        output::line(format_args!("{line}{padding}  {DIM}{}{DIM:#}", entry.origin));
    }
    Ok(())
}
