//! PostgreSQL: what production and several nodes use.
//!
//! `reader` and `writer` are the two sides; each table has a file with its statements, and
//! `operations` puts them together. Correctness lies in conditional statements alone: any number of
//! nodes may write.

mod accounts;
mod address;
mod administration;
mod audit;
mod changes;
mod clients;
mod connect;
mod deliveries;
mod failure;
mod grants;
mod identities;
mod links;
mod migrations;
mod names;
mod operations;
mod people;
mod pooler;
mod read_back;
mod reader;
mod requests;
mod revocations;
mod signing_keys;
mod spent;
mod tls;
mod token_families;
mod users;
mod writer;

use std::sync::Arc;

use deadpool_postgres::{Pool, PoolError};

use self::address::Address;
use self::connect::{Purpose, describe_pool_error};
use super::{Counters, MigrationStatus, Store};
use crate::clock::Clock;
use crate::config::settings::Store as StoreSettings;
use crate::protocol::secret::Secret;
use crate::store::error::OpenError;

/// `store.url` as PostgreSQL's own programs take it, without the password.
///
/// # Errors
/// [`OpenError::Unreachable`] if it is no address.
pub fn address_without_password(url: &Secret) -> Result<String, OpenError> {
    Ok(Address::parse(url, None)?.to_string())
}

/// Opens the store: connects, takes over the server's time, and warns if its commits are not durable.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn open(
    url: &Secret,
    settings: &StoreSettings,
    clock: &Clock,
) -> Result<Store, OpenError> {
    let address = Address::parse(url, settings.schema.as_deref())?;
    let counters = Arc::new(Counters::default());
    let reading = connect::pool(&address, Purpose::Reading, settings.max_connections)?;
    let writing = connect::pool(&address, Purpose::Writing, 1)?;
    greet(&address, &reading, &writing, clock).await?;
    Ok(Store {
        read: Arc::new(reader::Reader { pool: reading, counters: Arc::clone(&counters) }),
        write: Arc::new(writer::Writer { pool: writing, counters: Arc::clone(&counters) }),
        changes: Arc::new(changes::Feed::new(address)?),
        counters,
        kind: "PostgreSQL",
    })
}

/// Applies the migrations that are missing and returns them. Safe in several processes at once.
///
/// # Errors
/// [`OpenError`].
pub async fn migrate(
    url: &Secret,
    settings: &StoreSettings,
) -> Result<Vec<MigrationStatus>, OpenError> {
    migrations::migrate(&Address::parse(url, settings.schema.as_deref())?).await
}

/// Lists all known migrations and whether they are applied; changes nothing.
///
/// # Errors
/// [`OpenError::Unreachable`].
pub async fn migration_status(
    url: &Secret,
    settings: &StoreSettings,
) -> Result<Vec<MigrationStatus>, OpenError> {
    migrations::list(&Address::parse(url, settings.schema.as_deref())?).await
}

/// Checks that the schema fits this binary; changes nothing.
///
/// # Errors
/// [`OpenError::Outdated`], [`OpenError::TooNew`], [`OpenError::Unreachable`].
pub async fn check_schema(url: &Secret, settings: &StoreSettings) -> Result<(), OpenError> {
    migrations::check(&Address::parse(url, settings.schema.as_deref())?).await
}

/// The first conversation with the server.
async fn greet(
    address: &Address,
    reading: &Pool,
    writing: &Pool,
    clock: &Clock,
) -> Result<(), OpenError> {
    let failed = |reason: String| unreachable(address, &reason);
    let unusable = |error: PoolError| match error {
        PoolError::Backend(error) => not_connected(address, &error),
        PoolError::Timeout(_) => unanswering(address, &describe_pool_error(error)),
        other => failed(describe_pool_error(other)),
    };
    let db = reading.get().await.map_err(unusable)?;
    let other = writing.get().await.map_err(unusable)?;
    pooler::refuse(address, &db, &other).await?;
    let time = clock.follow(reader::time(&db)).await;
    time.map_err(|failure| failed(failure.into_error().to_string()))?;
    for setting in ["fsync", "synchronous_commit"] {
        let row = db
            .query_one("SELECT current_setting($1)", &[&setting])
            .await
            .map_err(|error| failed(connect::describe(&error)))?;
        let value: String = row.try_get(0).map_err(|error| failed(error.to_string()))?;
        if value == "off" {
            tracing::warn!(
                setting,
                "PostgreSQL's {setting} is off: a crash of its machine can lose sign-ins that were confirmed; turn it on"
            );
        }
    }
    Ok(())
}

/// Where, why, and what to do; never with the password.
fn unreachable(address: &Address, reason: &str) -> OpenError {
    OpenError::Unreachable(sentence(address, reason))
}

/// The same of a server that may answer another time.
fn unanswering(address: &Address, reason: &str) -> OpenError {
    OpenError::Unanswering(sentence(address, reason))
}

/// The same of an attempt to connect that failed.
fn not_connected(address: &Address, error: &tokio_postgres::Error) -> OpenError {
    let may_answer_later = match error.as_db_error() {
        Some(refusal) => failure::is_disconnection(refusal.code()),
        // What is wrong with a certificate comes as invalid data, and stays wrong.
        None => std::error::Error::source(error)
            .and_then(|cause| cause.downcast_ref::<std::io::Error>())
            .map_or(error.is_closed(), |cause| cause.kind() != std::io::ErrorKind::InvalidData),
    };
    let reason = connect::describe(error);
    if may_answer_later { unanswering(address, &reason) } else { unreachable(address, &reason) }
}

fn sentence(address: &Address, reason: &str) -> String {
    format!(
        "PostgreSQL at {} cannot be used: {reason}. Check store.url and that the server runs",
        address.place()
    )
}
