//! temp
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
pub fn fresh_settings() -> (StoreSettings, tempfile::TempDir) {
    let d = tempfile::tempdir().unwrap();
    (StoreSettings { url: StoreUrl::Sqlite(d.path().join("latchkey.db")), max_connections: 4, migrate_on_start: true, schema: None }, d)
}
