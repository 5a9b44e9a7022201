//! The schema, on a server shared by several binaries.

use futures_util::future::join_all;
use latchkey::clock::Clock;
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::secret::Secret;
use latchkey::store::error::OpenError;
use latchkey::store::{check_schema, migrate, migration_status, open};

use super::{execute, fresh_settings};

#[tokio::test]
async fn processes_that_start_at_once_apply_each_migration_once() {
    let (settings, _guard) = fresh_settings();
    let applied = join_all((0..8).map(|_| migrate(&settings))).await;
    let mut versions: Vec<u32> = applied
        .into_iter()
        .flat_map(|migrations| migrations.unwrap())
        .map(|one| one.version)
        .collect();
    versions.sort_unstable();
    let known = migration_status(&settings).await.unwrap();
    assert_eq!(versions, known.iter().map(|one| one.version).collect::<Vec<_>>());
    assert!(known.iter().all(|one| one.applied_on.is_some()));
    check_schema(&settings).await.unwrap();
}

#[tokio::test]
async fn an_empty_schema_is_outdated_and_listing_it_changes_nothing() {
    let (settings, _guard) = fresh_settings();
    for _ in 0..2 {
        let known = migration_status(&settings).await.unwrap();
        assert!(!known.is_empty() && known.iter().all(|one| one.applied_on.is_none()));
        let error = check_schema(&settings).await.unwrap_err();
        let newest = known.last().unwrap().version;
        assert!(
            matches!(error, OpenError::Outdated { found: 0, needed } if needed == newest),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_older_binary_starts_unless_a_newer_migration_says_no() {
    let (settings, guard) = fresh_settings();
    let newest = migrate(&settings).await.unwrap().last().unwrap().version;
    let schema = &guard.schema;
    let newer = |version: u32, oldest: u32| {
        format!(
            "INSERT INTO {schema}.refinery_schema_history (version, name, applied_on, checksum)
             VALUES ({version}, 'newer', '2030-01-01T00:00:00Z', '1');
             INSERT INTO {schema}.schema_compatibility VALUES ({version}, {oldest})"
        )
    };
    execute(&guard.url, &newer(98, newest)).await;
    check_schema(&settings).await.unwrap();
    assert_eq!(migrate(&settings).await.unwrap(), []);

    execute(&guard.url, &newer(99, newest + 1)).await;
    for error in [check_schema(&settings).await.unwrap_err(), migrate(&settings).await.unwrap_err()]
    {
        assert!(
            matches!(error, OpenError::TooNew { found: 99, oldest, known } if oldest == newest + 1 && known == newest),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_without_the_password() {
    let (settings, guard) = fresh_settings();
    let url = guard.url.expose().to_owned();
    let (start, end) = url.split_once('@').unwrap();
    let (user, password) = start.rsplit_once(':').unwrap();
    let (server, _) = end.split_once('/').unwrap();
    let wrong_password = format!("{user}:hunter2@{end}");
    let wrong_server = format!("{user}:{password}@127.0.0.1:1/postgres");
    let wrong_database = format!("{start}@{server}/no_such_database");
    for (url, reason) in [
        (wrong_password, "refuses this user's password"),
        (wrong_server, "onnection refused"),
        (wrong_database, "\"no_such_database\" does not exist"),
    ] {
        let url = StoreUrl::Postgres(Secret::new(url));
        let settings = StoreSettings { url, ..settings.clone() };
        let Err(opened) = open(&settings, &Clock::system()).await else { panic!("it opened") };
        let migrated = migrate(&settings).await.unwrap_err();
        for error in [opened, migrated] {
            assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(reason) && text.contains("127.0.0.1"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains(password), "{text}");
        }
    }
}

#[tokio::test]
async fn a_schema_is_used_whatever_characters_its_name_has() {
    let (settings, guard) = fresh_settings();
    let name = format!("{} \"odd\"; --", guard.schema);
    let settings = StoreSettings { schema: Some(name.clone()), ..settings };
    migrate(&settings).await.unwrap();
    check_schema(&settings).await.unwrap();
    let quoted = name.replace('"', "\"\"");
    execute(&guard.url, &format!("DROP SCHEMA \"{quoted}\" CASCADE")).await;
}
