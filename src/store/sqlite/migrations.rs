//! Where the schema stands, and moving it on.

use std::path::Path;

use refinery_core::traits::sync::{Query, Transaction as Applies};
use refinery_core::{Migrate, Migration, Runner};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit;
use super::connection::{open_for_reading, open_for_writing, unreachable};
use crate::store::MigrationStatus;
use crate::store::error::OpenError;

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "generated")]
    refinery::embed_migrations!("migrations/sqlite");
}

/// The migrations of this binary. Later ones, which it does not know, are left alone: whether it
/// works with them is in `schema_compatibility`.
fn runner() -> Runner {
    embedded::migrations::runner().set_abort_missing(false)
}

/// Applies what is missing and returns it.
pub(super) fn migrate(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    let mut connection = open_for_writing(path)?;
    // The write lock is held from the first look to the commit: a second process that migrates at
    // the same time waits, and then finds nothing to do.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| OpenError::Unreachable(error.to_string()))?;
    if let Err(error @ OpenError::TooNew { .. }) = judge(&transaction) {
        return Err(error);
    }
    let mut locked = Locked(transaction);
    let report = runner().run(&mut locked).map_err(failed)?;
    audit::adopt(&locked.0).map_err(|error| OpenError::Unreachable(error.to_string()))?;
    locked.0.commit().map_err(failed)?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(|migration| describe(migration, Some(migration)))
        .collect())
}

/// Lists what this binary knows and whether it is applied.
pub(super) fn status(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = if path.exists() {
        applied(&open_for_reading(path)?).map_err(|error| unreachable(path, error))?
    } else {
        Vec::new()
    };
    let mut known = runner().get_migrations().clone();
    known.sort();
    let describe_known = |migration: &Migration| {
        describe(migration, applied.iter().find(|one| one.version() == migration.version()))
    };
    Ok(known.iter().map(describe_known).collect())
}

/// Checks that the schema fits this binary.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        judge(&open_for_reading(path)?)
    } else {
        Err(OpenError::Outdated { found: 0, needed: newest(runner().get_migrations()) })
    }
}

/// Checks that the schema of an open database fits this binary.
pub(super) fn judge(connection: &Connection) -> Result<(), OpenError> {
    let read = |error: rusqlite::Error| OpenError::Unreachable(error.to_string());
    let applied = applied(connection).map_err(read)?;
    let runner = runner();
    let (found, known) = (newest(&applied), newest(runner.get_migrations()));
    if found > known {
        let oldest = oldest_binary(connection, known, found).map_err(read)?;
        if known < oldest {
            return Err(OpenError::TooNew { found, oldest, known });
        }
    }
    let is_applied =
        |migration: &Migration| applied.iter().any(|one| one.version() == migration.version());
    if runner.get_migrations().iter().all(is_applied) {
        Ok(())
    } else {
        Err(OpenError::Outdated { found, needed: known })
    }
}

/// The oldest binary schema that works with all migrations after `known`. A migration that does
/// not say works with none older than itself.
fn oldest_binary(connection: &Connection, known: u32, found: u32) -> rusqlite::Result<u32> {
    connection.query_row(
        "SELECT coalesce(max(coalesce(oldest_binary, version)), ?2)
           FROM refinery_schema_history LEFT JOIN schema_compatibility USING (version)
          WHERE version > ?1",
        [known, found],
        |row| row.get(0),
    )
}

/// The migrations that the database has seen, oldest first.
fn applied(connection: &Connection) -> rusqlite::Result<Vec<Migration>> {
    if !connection.table_exists(None, "refinery_schema_history")? {
        return Ok(Vec::new());
    }
    read_history(
        connection,
        "SELECT version, name, applied_on, checksum FROM refinery_schema_history ORDER BY version",
    )
}

fn read_history(connection: &Connection, query: &str) -> rusqlite::Result<Vec<Migration>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| {
        let applied_on: String = row.get(2)?;
        let checksum: String = row.get(3)?;
        Ok(Migration::applied(
            row.get(0)?,
            row.get(1)?,
            // Only shown; and no checksum that cannot be read equals ours.
            OffsetDateTime::parse(&applied_on, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            checksum.parse().unwrap_or_default(),
        ))
    })?;
    rows.collect()
}

fn newest(migrations: &[Migration]) -> u32 {
    migrations.iter().map(version).max().unwrap_or_default()
}

fn version(migration: &Migration) -> u32 {
    u32::try_from(migration.version()).unwrap_or_default()
}

fn describe(migration: &Migration, applied: Option<&Migration>) -> MigrationStatus {
    MigrationStatus {
        version: version(migration),
        name: migration.name().to_owned(),
        applied_on: applied
            .and_then(Migration::applied_on)
            .and_then(|moment| moment.replace_nanosecond(0).ok())
            .and_then(|moment| moment.format(&Rfc3339).ok()),
    }
}

fn failed(error: impl std::fmt::Display) -> OpenError {
    OpenError::Migration(error.to_string())
}

/// A transaction in which all migrations run. Left to itself, refinery would look in one
/// transaction and migrate in others, and two processes could both find the same one missing.
struct Locked<'a>(Transaction<'a>);

impl Applies for Locked<'_> {
    type Error = rusqlite::Error;

    fn execute<'a, T: Iterator<Item = &'a str>>(
        &mut self,
        queries: T,
    ) -> Result<usize, Self::Error> {
        let mut count = 0;
        for query in queries {
            self.0.execute_batch(query)?;
            count += 1;
        }
        Ok(count)
    }
}

impl Query<Vec<Migration>> for Locked<'_> {
    fn query(&mut self, query: &str) -> Result<Vec<Migration>, Self::Error> {
        read_history(&self.0, query)
    }
}

impl Migrate for Locked<'_> {}
