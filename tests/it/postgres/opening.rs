//! Reaching a server, or not.

use latchkey::clock::{Clock, Timestamp};
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::secret::Secret;
use latchkey::store::error::OpenError;
use latchkey::store::{check_schema, migrate, open};

use super::cluster::PrivateCluster;
use super::{connect, fresh_settings, fresh_store, settings_on};

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
    let no_tls = format!("{url}?sslmode=require");
    for (url, reason) in [
        (wrong_password, "refuses this user's password"),
        (wrong_server, "onnection refused"),
        (wrong_database, "\"no_such_database\" does not exist"),
        (no_tls, "server does not support TLS"),
    ] {
        let url = StoreUrl::Postgres(Secret::new(url));
        let settings = StoreSettings { url, ..settings.clone() };
        let opened = open(&settings, &Clock::system()).await.map(drop);
        let migrated = migrate(&settings).await.map(drop);
        for result in [opened, migrated] {
            let error = result.unwrap_err();
            let may_answer_later = matches!(error, OpenError::Unanswering(_));
            assert_eq!(may_answer_later, reason == "onnection refused", "{error:?}");
            let text = error.to_string();
            assert!(text.contains(reason) && text.contains("127.0.0.1"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains(password), "{text}");
        }
    }
}

#[tokio::test]
async fn a_standby_is_waited_for_and_never_read() {
    let primary = PrivateCluster::start();
    let (settings, _guard) = settings_on(primary.url());
    migrate(&settings).await.unwrap();
    let standby = primary.standby();
    let beside = StoreSettings { url: StoreUrl::Postgres(standby.url()), ..settings.clone() };
    let opened = open(&beside, &Clock::system()).await.map(drop);
    let migrated = migrate(&beside).await.map(drop);
    for result in [opened, migrated, check_schema(&beside).await] {
        let error = result.unwrap_err();
        assert!(matches!(error, OpenError::Unanswering(_)), "{error:?}");
        assert!(error.to_string().contains("it is a standby"), "{error}");
    }
    standby.promote();
    migrate(&beside).await.unwrap();
    open(&beside, &Clock::system()).await.unwrap();
}

#[tokio::test]
async fn a_schema_is_made_once_the_server_takes_writes() {
    let (settings, guard) = fresh_settings();
    let url = format!("{}?options=-c%20default_transaction_read_only%3Don", guard.url.expose());
    let read_only = StoreUrl::Postgres(Secret::new(url));
    let error = migrate(&StoreSettings { url: read_only, ..settings.clone() }).await.unwrap_err();
    assert!(matches!(error, OpenError::Unanswering(_)), "{error:?}");
    assert!(error.to_string().contains("takes no writes"), "{error}");
    migrate(&settings).await.unwrap();
}

#[tokio::test]
async fn a_schema_is_used_whatever_characters_its_name_has() {
    let (settings, guard) = fresh_settings();
    let name = format!("{} \"odd\"; --", guard.schema);
    let settings = StoreSettings { schema: Some(name.clone()), ..settings };
    migrate(&settings).await.unwrap();
    check_schema(&settings).await.unwrap();
    let sql = format!("DROP SCHEMA \"{}\" CASCADE", name.replace('"', "\"\""));
    connect(&guard.url).await.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn opening_takes_over_the_servers_time() {
    let (_store, guard) = fresh_store().await;
    let clock = Clock::system();
    let past = std::future::ready(Ok::<_, ()>(Timestamp::from_seconds(1_000)));
    clock.follow(past).await.unwrap();
    let store = open(&guard.settings, &clock).await.unwrap();
    let server = store.read.time().await.unwrap();
    assert!(server.since(clock.now()).as_secs() < 60 && clock.now().since(server).as_secs() < 60);
}

#[tokio::test]
async fn sslmode_says_whether_the_server_must_prove_who_it_is() {
    let cluster = PrivateCluster::start_with_tls();
    let file = cluster.certificate();
    let ours = format!("sslrootcert={}", file.display());
    let at_name = cluster.url().expose().replace("127.0.0.1", "localhost");
    let by_address = cluster.url().expose().to_owned();
    for (url, options, is_accepted) in [
        (&by_address, "sslmode=disable", true),
        (&by_address, "sslmode=prefer", true),
        (&by_address, "sslmode=require", false),
        (&by_address, "sslmode=verify-full", false),
        (&by_address, &format!("sslmode=require&{ours}"), true),
        (&by_address, &format!("sslmode=verify-full&{ours}"), true),
        // The certificate is for the address alone.
        (&at_name, &format!("sslmode=verify-full&{ours}"), false),
    ] {
        let url = StoreUrl::Postgres(Secret::new(format!("{url}?{options}")));
        let (settings, _) = fresh_settings();
        let settings = StoreSettings { url, schema: None, ..settings };
        let opened = open(&settings, &Clock::system()).await.map(drop);
        assert_eq!(opened.is_ok(), is_accepted, "{options}: {opened:?}");
    }
}
