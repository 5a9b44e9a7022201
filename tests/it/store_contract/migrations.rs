//! The schema's versions.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use latchkey::store::error::OpenError;
use latchkey::store::{check_schema, migrate, migration_status};

use super::Database;
use super::fixtures::{created, open_again};

const NAMES: [(u32, &str); 7] = [
    (1, "people"),
    (2, "sessions"),
    (3, "keys"),
    (4, "audit"),
    (5, "names"),
    (6, "clients"),
    (7, "administration"),
];

/// Makes the database look as if a binary with a further migration had migrated it.
async fn add_a_newer_migration(database: &impl Database, oldest_binary: Option<u32>) {
    database
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (8, 'later', '2030-01-01T00:00:00Z', '1')",
        )
        .await;
    if let Some(oldest) = oldest_binary {
        database
            .execute(&format!(
                "INSERT INTO schema_compatibility (version, oldest_binary) VALUES (8, {oldest})"
            ))
            .await;
    }
}

pub async fn a_fresh_database_is_migrated_once(database: &impl Database) {
    let settings = database.settings();
    let pending = migration_status(settings).await.unwrap();
    let names: Vec<_> = pending.iter().map(|one| (one.version, one.name.as_str())).collect();
    assert_eq!(names, NAMES);
    assert!(pending.iter().all(|one| one.applied_on.is_none()));

    let applied = migrate(settings).await.unwrap();
    assert!(applied.iter().all(|one| one.applied_on.is_some()));
    assert_eq!(migration_status(settings).await.unwrap(), applied);
    assert_eq!(migrate(settings).await.unwrap(), []);
    check_schema(settings).await.unwrap();
    created(&open_again(database).await, "ada").await;
}

pub async fn migrations_run_once_for_all_who_start_at_once(database: &impl Database) {
    let all = join_all((0..6).map(|_| migrate(database.settings()))).await;
    let mut times_applied = BTreeMap::new();
    for applied in all {
        for migration in applied.unwrap() {
            *times_applied.entry((migration.version, migration.name)).or_insert(0) += 1;
        }
    }
    let once = NAMES.map(|(version, name)| ((version, name.to_owned()), 1));
    assert_eq!(times_applied, BTreeMap::from(once));
    check_schema(database.settings()).await.unwrap();
}

pub async fn an_outdated_schema_is_refused(database: &impl Database) {
    let settings = database.settings();
    let empty = check_schema(settings).await;
    assert!(matches!(empty, Err(OpenError::Outdated { found: 0, needed: 7 })), "{empty:?}");
    migrate(settings).await.unwrap();
    database.execute("DELETE FROM refinery_schema_history WHERE version = 7").await;
    let older = check_schema(settings).await;
    assert!(matches!(older, Err(OpenError::Outdated { found: 6, needed: 7 })), "{older:?}");
}

pub async fn a_newer_schema_that_works_with_this_binary_is_left_alone(database: &impl Database) {
    let settings = database.settings();
    migrate(settings).await.unwrap();
    add_a_newer_migration(database, Some(7)).await;
    check_schema(settings).await.unwrap();
    assert_eq!(migrate(settings).await.unwrap(), []);
    assert_eq!(migration_status(settings).await.unwrap().len(), 7, "those that are known");
    created(&open_again(database).await, "ada").await;
}

pub async fn a_newer_schema_that_needs_a_newer_binary_is_refused(database: &impl Database) {
    let settings = database.settings();
    migrate(settings).await.unwrap();
    add_a_newer_migration(database, Some(8)).await;
    for result in [check_schema(settings).await, migrate(settings).await.map(drop)] {
        assert!(
            matches!(result, Err(OpenError::TooNew { found: 8, oldest: 8, known: 7 })),
            "{result:?}"
        );
    }
}

pub async fn a_newer_schema_that_does_not_say_is_refused(database: &impl Database) {
    let settings = database.settings();
    migrate(settings).await.unwrap();
    add_a_newer_migration(database, None).await;
    for result in [check_schema(settings).await, migrate(settings).await.map(drop)] {
        assert!(matches!(result, Err(OpenError::TooNew { found: 8, .. })), "{result:?}");
    }
}

pub async fn a_migration_that_was_altered_is_refused(database: &impl Database) {
    let settings = database.settings();
    migrate(settings).await.unwrap();
    database.execute("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2").await;
    let result = migrate(settings).await;
    assert!(matches!(result, Err(OpenError::Migration(_))), "{result:?}");
}
