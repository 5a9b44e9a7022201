//! The SQLite backend: the contract, and what only a file can have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "nobody uses this binary as a library")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use latchkey::clock::Clock;
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::store::error::OpenError;
use latchkey::store::{self, Store};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store_contract::fixtures::created;
use crate::store_contract::{Database, store_contract};

/// A folder with one database file.
pub struct Guard {
    folder: TempDir,
    settings: StoreSettings,
}

impl Guard {
    fn path(&self) -> PathBuf {
        self.folder.path().join("latchkey.db")
    }

    fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

impl Database for Guard {
    fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    async fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn settings(path: PathBuf) -> StoreSettings {
    StoreSettings {
        url: StoreUrl::Sqlite(path),
        max_connections: 4,
        migrate_on_start: true,
        schema: None,
    }
}

/// A place for a database.
pub fn fresh_settings() -> (StoreSettings, Guard) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("latchkey.db"));
    (settings.clone(), Guard { folder, settings })
}

/// A migrated, empty store.
pub async fn fresh_store() -> (Store, Guard) {
    let (settings, guard) = fresh_settings();
    store::migrate(&settings).await.unwrap();
    (store::open(&settings, &Clock::system()).await.unwrap(), guard)
}

store_contract!();

#[tokio::test]
async fn the_file_can_be_read_by_its_owner_alone() {
    let (store, guard) = fresh_store().await;
    created(&store, "ada").await;
    for name in ["latchkey.db", "latchkey.db-wal", "latchkey.db-shm"] {
        let metadata = guard.folder.path().join(name).metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_made_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("deep/down/latchkey.db"));
    store::migrate(&settings).await.unwrap();
    store::check_schema(&settings).await.unwrap();
    let made = folder.path().join("deep/down").metadata().unwrap();
    assert_eq!(made.mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_in_one_sentence() {
    let (_, guard) = fresh_store().await;
    let settings = settings(guard.path().join("latchkey.db"));
    for result in [
        store::open(&settings, &Clock::system()).await.map(drop),
        store::migrate(&settings).await.map(drop),
    ] {
        let Err(error @ OpenError::Unreachable(_)) = result else { panic!("{result:?}") };
        let message = error.to_string();
        assert!(message.contains("latchkey.db/latchkey.db cannot be opened: "), "{message}");
        assert!(message.ends_with("; does the folder exist and may this user write to it?"));
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (settings, guard) = fresh_settings();
    std::fs::write(guard.path(), "listen = \"127.0.0.1:8080\"\n".repeat(100)).unwrap();
    assert!(matches!(
        store::open(&settings, &Clock::system()).await.map(drop),
        Err(OpenError::Unreachable(_))
    ));
    assert!(matches!(store::migration_status(&settings).await, Err(OpenError::Unreachable(_))));
    assert!(matches!(store::check_schema(&settings).await, Err(OpenError::Unreachable(_))));
}

#[tokio::test]
async fn asking_for_the_status_makes_no_file() {
    let (settings, guard) = fresh_settings();
    store::migration_status(&settings).await.unwrap();
    assert!(matches!(store::check_schema(&settings).await, Err(OpenError::Outdated { .. })));
    assert!(!guard.path().exists());
}

#[tokio::test]
async fn the_end_of_a_session_is_found_by_its_id() {
    let (_store, guard) = fresh_store().await;
    let plan = "EXPLAIN QUERY PLAN
        SELECT * FROM token_families
         WHERE id = X'01' AND client_id = 'latchkey'
            OR session_id = X'01' AND client_id <> 'latchkey' AND NOT offline";
    let connection = guard.connection();
    let mut statement = connection.prepare(plan).unwrap();
    let steps = statement.query_map([], |row| row.get::<_, String>("detail")).unwrap();
    let steps = Vec::from_iter(steps.map(Result::unwrap)).join("; ");
    assert!(!steps.contains("SCAN"), "{steps}");
}

#[tokio::test]
async fn another_process_that_holds_the_write_lock_is_waited_for() {
    let (store, guard) = fresh_store().await;
    let other = guard.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (person, ()) = tokio::join!(created(&store, "ada"), async {
        // Reads go on meanwhile.
        assert_eq!(store.read.user_count().await.unwrap(), 0);
        other.execute_batch("COMMIT").unwrap();
    });
    assert_eq!(store.read.user(person.user.id).await.unwrap(), Some(person.user));
}
