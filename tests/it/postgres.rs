//! The PostgreSQL backend: what it adds to the contract of all stores, and how it bears faults.

pub(crate) mod cluster;
mod faults;
mod migrations;
mod proxy;
mod races;
pub(crate) mod sample;

use std::sync::OnceLock;

use latchkey::clock::Clock;
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::random;
use latchkey::protocol::secret::Secret;
use latchkey::store::{self, Store};

use cluster::PrivateCluster;

/// The server that tests share: the one named in `LATCHKEY_TEST_POSTGRES` (see `tests/with-postgres`),
/// else one of this process.
fn shared_server() -> Secret {
    static OWN: OnceLock<PrivateCluster> = OnceLock::new();
    match std::env::var("LATCHKEY_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => Secret::new(url),
        _ => OWN.get_or_init(PrivateCluster::start).url(),
    }
}

/// Drops a test's schema when the test is over, in case the server goes on.
pub(crate) struct Guard {
    url: Secret,
    schema: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), std::mem::take(&mut self.schema));
        let removal = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sql = format!("SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {schema} CASCADE");
            runtime.block_on(execute(&url, &sql));
        });
        // A test that failed has said why.
        drop(removal.join());
    }
}

/// Runs statements on a server, beside the store.
pub(crate) async fn execute(url: &Secret, sql: &str) {
    let client = connect(url).await;
    client.batch_execute(sql).await.unwrap();
}

/// A connection to a server, beside the store.
pub(crate) async fn connect(url: &Secret) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Settings of a store in an empty schema.
pub(crate) fn settings_on(url: Secret) -> (StoreSettings, Guard) {
    let schema = random::bytes::<8>().map(|byte| format!("{byte:02x}")).concat();
    let schema = format!("test_{schema}");
    (settings_in(url.clone(), &schema), Guard { url, schema })
}

/// Settings of a store in a schema.
pub(crate) fn settings_in(url: Secret, schema: &str) -> StoreSettings {
    StoreSettings {
        url: StoreUrl::Postgres(url),
        max_connections: 4,
        migrate_on_start: true,
        schema: Some(schema.to_owned()),
    }
}

/// Settings of a store in an empty schema on the shared server.
pub(crate) fn fresh_settings() -> (StoreSettings, Guard) {
    settings_on(shared_server())
}

/// An empty store on the shared server.
pub(crate) async fn fresh_store() -> (Store, Guard) {
    let (settings, guard) = fresh_settings();
    store::migrate(&settings).await.unwrap();
    (open(&settings).await, guard)
}

/// Opens a store with a clock that stands still.
pub(crate) async fn open(settings: &StoreSettings) -> Store {
    store::open(settings, &Clock::manual(sample::NOW)).await.unwrap()
}
