//! `latchkey migrate [--status]`.

use serde_json::json;

use crate::cli::{Failure, Format, output};
use crate::config::settings::Settings;
use crate::store::{self, MigrationStatus};

/// Applies what is missing, or lists what there is.
///
/// # Errors
/// A sentence on why the database cannot be reached or does not fit.
pub async fn run(settings: &Settings, format: Format, status: bool) -> Result<(), Failure> {
    if status {
        let all = store::migration_status(&settings.store).await.map_err(Failure::of)?;
        list(&all, format);
        return Ok(());
    }
    let applied = store::migrate(&settings.store).await.map_err(Failure::of)?;
    store::check_schema(&settings.store).await.map_err(Failure::of)?;
    match format {
        Format::Json => print_json(&applied),
        Format::Text if applied.is_empty() => output::line("The schema is up to date."),
        Format::Text => {
            for migration in &applied {
                output::line(format_args!("Applied V{} {}", migration.version, migration.name));
            }
            output::line(format_args!(
                "{} applied; the schema is up to date.",
                output::count(applied.len() as u64, "migration")
            ));
        }
    }
    Ok(())
}

fn list(all: &[MigrationStatus], format: Format) {
    if format == Format::Json {
        return print_json(all);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|migration| {
            let applied = migration.applied_on.clone().unwrap_or_else(|| "pending".to_owned());
            vec![format!("V{}", migration.version), migration.name.clone(), applied]
        })
        .collect();
    output::table(&["VERSION", "NAME", "APPLIED"], &rows);
    let pending = all.iter().filter(|migration| migration.applied_on.is_none()).count() as u64;
    if pending > 0 {
        output::line(format_args!(
            "\n{} pending: `latchkey migrate` applies them.",
            output::count(pending, "migration")
        ));
    }
}

fn print_json(migrations: &[MigrationStatus]) {
    let items: Vec<_> = migrations
        .iter()
        .map(|migration| json!({
            "version": migration.version, "name": migration.name, "applied_on": migration.applied_on,
        }))
        .collect();
    output::json(&json!({ "items": items, "next_cursor": null }));
}
