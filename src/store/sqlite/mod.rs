//! The SQLite backend: one file, one writing thread, a few reading ones.

mod accounts;
mod administration;
mod audit;
mod changes;
mod clients;
mod connection;
pub mod copy;
mod deliveries;
mod expired;
mod grants;
mod identities;
mod links;
mod migrations;
mod names;
mod people;
mod reader;
mod requests;
mod revocations;
mod row;
mod sign_in;
mod signing_keys;
mod spent;
mod token_families;
mod users;
mod worker;
mod writer;

use std::path::Path;
use std::sync::Arc;

use crate::store::error::OpenError;
use crate::store::{Counters, MigrationStatus, Store};
use reader::Readers;
use writer::Writer;

/// Opens the database file, without looking at its schema's version; a missing file is made.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn open(path: &Path, max_connections: usize) -> Result<Store, OpenError> {
    let counters = Arc::new(Counters::default());
    // The writer comes first: it makes what the others only read.
    let write = Writer::open(path, Arc::clone(&counters)).await?;
    let read = Readers::open(path, max_connections, Arc::clone(&counters)).await?;
    Ok(Store {
        read: Arc::new(read),
        changes: Arc::new(write.changes()),
        write: Arc::new(write),
        counters,
        kind: "SQLite",
    })
}

/// Makes the folder of a database, for this user alone, if it is missing.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub fn make_folder_of(path: &Path) -> Result<(), OpenError> {
    connection::make_folder_of(path).map_err(|error| connection::unreachable(path, error))
}

/// Applies the migrations that are missing and returns them; a missing file is made.
///
/// # Errors
/// [`OpenError`].
pub async fn migrate(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    on_a_thread(path, migrations::migrate).await
}

/// Lists all known migrations and whether they are applied; of a missing file none are.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn migration_status(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    on_a_thread(path, migrations::status).await
}

/// Checks that the schema fits this binary; a missing file is an outdated schema.
///
/// # Errors
/// [`OpenError`].
pub async fn check_schema(path: &Path) -> Result<(), OpenError> {
    on_a_thread(path, migrations::check).await
}

async fn on_a_thread<T: Send + 'static>(
    path: &Path,
    work: fn(&Path) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .unwrap_or_else(|error| Err(OpenError::Migration(error.to_string())))
}
