//! The schema: applied, listed, and compared with what this binary knows.

use std::collections::BTreeMap;

use refinery::Runner;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::address::Address;
use super::connect::{CONNECT_LIMIT, Connector, Purpose, describe, quote};
use super::{audit, not_connected, pooler, unanswering, unreachable};
use crate::store::MigrationStatus;
use crate::store::error::OpenError;
use deadpool_postgres::Connect;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// Held while migrating, in the whole database. A constant of our own.
const MIGRATION_LOCK: i64 = 7_307_226_941_834_552_178;

/// Applied migrations: version, name and time.
type Applied = BTreeMap<u32, (String, String)>;

/// Applies what is missing and returns it. Of several processes one does it; the others wait for it.
pub(super) async fn migrate(address: &Address) -> Result<Vec<MigrationStatus>, OpenError> {
    let mut client = connect(address).await?;
    pooler::refuse(address, &client, &pooler::connect(address).await?).await?;
    if is_read_only(&client).await.map_err(|error| unreachable(address, &describe(&error)))? {
        return Err(unanswering(address, "it takes no writes"));
    }
    // The lock belongs to the session: should this process die, it is free all the same.
    match client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            return Err(OpenError::Migration(
                "another process has been migrating this database for a minute; wait for it or end it"
                    .to_owned(),
            ));
        }
        Err(error) => return Err(unreachable(address, &describe(&error))),
    }
    let migrated = migrate_locked(&mut client, address).await;
    if let Err(error) = client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await {
        tracing::debug!(%error, "the migration lock goes with its connection");
    }
    migrated
}

/// Whether the server was made to take no writes, as some do whose disk is full.
async fn is_read_only(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("SELECT current_setting('transaction_read_only')", &[]).await?;
    let setting: String = row.try_get(0)?;
    Ok(setting == "on")
}

async fn migrate_locked(
    client: &mut Client,
    address: &Address,
) -> Result<Vec<MigrationStatus>, OpenError> {
    create_schema(client, address).await?;
    let before = applied(client, address).await?;
    check_newer(client, address, &before).await?;
    // A newer binary's migrations are missing here, and that is fine.
    let runner = runner().set_abort_missing(false);
    runner.run_async(client).await.map_err(|error| OpenError::Migration(reason(&error)))?;
    let adopted = audit::adopt(client).await;
    adopted.map_err(|failure| OpenError::Migration(failure.into_error().to_string()))?;
    let after = applied(client, address).await?;
    let new = known().into_keys().filter(|version| !before.contains_key(version));
    Ok(new.map(|version| status(version, &after)).collect())
}

/// refinery's own text says which migration; the server's says why.
fn reason(error: &refinery::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = match inner.downcast_ref::<tokio_postgres::Error>() {
            Some(refusal) => describe(refusal),
            None => inner.to_string(),
        };
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Lists all migrations that this binary knows; changes nothing.
pub(super) async fn list(address: &Address) -> Result<Vec<MigrationStatus>, OpenError> {
    let client = connect(address).await?;
    let applied = applied(&client, address).await?;
    Ok(known().into_keys().map(|version| status(version, &applied)).collect())
}

/// Checks that the schema fits this binary; changes nothing.
pub(super) async fn check(address: &Address) -> Result<(), OpenError> {
    let client = connect(address).await?;
    let applied = applied(&client, address).await?;
    check_newer(&client, address, &applied).await?;
    if known().keys().all(|version| applied.contains_key(version)) {
        return Ok(());
    }
    let found = applied.keys().next_back().copied().unwrap_or(0);
    Err(OpenError::Outdated { found, needed: newest_known() })
}

fn runner() -> Runner {
    embedded::migrations::runner()
}

/// Version and name of each migration in this binary.
fn known() -> BTreeMap<u32, String> {
    let migrations = runner();
    let versions = migrations.get_migrations().iter();
    versions.map(|migration| (migration.version() as u32, migration.name().to_owned())).collect()
}

fn newest_known() -> u32 {
    known().into_keys().next_back().unwrap_or(0)
}

fn status(version: u32, applied: &Applied) -> MigrationStatus {
    let name = known().remove(&version).unwrap_or_default();
    let applied_on = applied.get(&version).map(|(_, time)| time.clone());
    MigrationStatus { version, name, applied_on }
}

async fn connect(address: &Address) -> Result<Client, OpenError> {
    let connector = Connector::new(address, Purpose::Migrating)?;
    match tokio::time::timeout(CONNECT_LIMIT, connector.connect(&address.config)).await {
        Ok(Ok((client, _))) => Ok(client),
        Ok(Err(error)) => Err(not_connected(address, &error)),
        Err(_) => {
            Err(unanswering(address, &format!("no answer within {} s", CONNECT_LIMIT.as_secs())))
        }
    }
}

/// Asked for before it is created: whoever may not create schemas may still use one that is there.
async fn create_schema(client: &Client, address: &Address) -> Result<(), OpenError> {
    let Some(schema) = &address.schema else { return Ok(()) };
    let failed = |error: tokio_postgres::Error| {
        OpenError::Migration(format!("schema {schema} cannot be made: {}", describe(&error)))
    };
    let found = client
        .query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[schema])
        .await
        .map_err(failed)?;
    if found.is_none() {
        let sql = format!("CREATE SCHEMA {}", quote(schema));
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

async fn applied(client: &Client, address: &Address) -> Result<Applied, OpenError> {
    let failed = |error: tokio_postgres::Error| unreachable(address, &describe(&error));
    let is_there = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await
        .map_err(failed)?;
    if !is_there.try_get::<_, bool>(0).map_err(failed)? {
        return Ok(Applied::new());
    }
    let sql = "SELECT version, name, applied_on FROM refinery_schema_history";
    let mut applied = Applied::new();
    for row in client.query(sql, &[]).await.map_err(failed)? {
        let version: i32 = row.try_get(0).map_err(failed)?;
        let name = row.try_get(1).map_err(failed)?;
        let applied_on = row.try_get(2).map_err(failed)?;
        applied.insert(version.unsigned_abs(), (name, applied_on));
    }
    Ok(applied)
}

/// Whether migrations that this binary does not know say that they work with it.
async fn check_newer(
    client: &Client,
    address: &Address,
    applied: &Applied,
) -> Result<(), OpenError> {
    let known = newest_known();
    let Some(&found) = applied.keys().next_back().filter(|&&found| found > known) else {
        return Ok(());
    };
    let failed = |error: tokio_postgres::Error| unreachable(address, &describe(&error));
    let sql = "SELECT max(oldest_binary) FROM schema_compatibility WHERE version > $1";
    let known_in_sql = i32::try_from(known).unwrap_or(i32::MAX);
    let row = client.query_one(sql, &[&known_in_sql]).await.map_err(failed)?;
    // A newer schema that says nothing is not trusted.
    let oldest: Option<i32> = row.try_get(0).map_err(failed)?;
    let oldest = oldest.map_or(found, i32::unsigned_abs);
    if oldest > known { Err(OpenError::TooNew { found, oldest, known }) } else { Ok(()) }
}
