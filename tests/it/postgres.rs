//! The PostgreSQL backend: the contract, what only several nodes can do, and how it bears faults.

mod changes;
pub(crate) mod cluster;
mod faults;
mod nodes;
mod opening;
pub(crate) mod proxy;

use std::sync::OnceLock;
use std::time::Duration;

use latchkey::clock::Clock;
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::random;
use latchkey::protocol::secret::Secret;
use latchkey::store::{self, Store};

use crate::store_contract::{Database, store_contract};
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

/// A schema of its own, which goes with this in case the server stays.
pub(crate) struct Guard {
    url: Secret,
    schema: String,
    settings: StoreSettings,
}

impl Guard {
    /// A connection beside the store.
    async fn connect(&self) -> tokio_postgres::Client {
        let client = connect(&self.url).await;
        client.batch_execute(&format!("SET search_path = {}", self.schema)).await.unwrap();
        client
    }
}

impl Database for Guard {
    fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    async fn execute(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        self.connect().await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// A server that a failed test left frozen is not waited for.
const LIMIT: Duration = Duration::from_secs(60);

impl Drop for Guard {
    fn drop(&mut self) {
        let url = self.url.clone();
        let sql = format!("SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        // The test's own runtime cannot be waited for from here.
        let removal = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let removal = async { connect(&url).await.batch_execute(&sql).await.unwrap() };
            runtime.block_on(async { tokio::time::timeout(LIMIT, removal).await.unwrap() });
        });
        // If it fails, so did the test, and has said why.
        drop(removal.join());
    }
}

pub(crate) async fn connect(url: &Secret) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Settings of a store in a schema of its own, which is not made yet.
pub(crate) fn settings_on(url: Secret) -> (StoreSettings, Guard) {
    let name = random::bytes::<8>().map(|byte| format!("{byte:02x}")).concat();
    let schema = format!("test_{name}");
    let settings = StoreSettings {
        url: StoreUrl::Postgres(url.clone()),
        max_connections: 4,
        migrate_on_start: true,
        schema: Some(schema.clone()),
    };
    (settings.clone(), Guard { url, schema, settings })
}

/// The same on the shared server.
pub(crate) fn fresh_settings() -> (StoreSettings, Guard) {
    settings_on(shared_server())
}

/// A migrated, empty store on the shared server.
pub(crate) async fn fresh_store() -> (Store, Guard) {
    fresh_store_on(shared_server()).await
}

/// The same on another server.
async fn fresh_store_on(url: Secret) -> (Store, Guard) {
    let (settings, guard) = settings_on(url);
    store::migrate(&settings).await.unwrap();
    (store::open(&settings, &Clock::system()).await.unwrap(), guard)
}

store_contract!();
