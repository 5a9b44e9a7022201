//! Links that listen: whose notifications count, and what becomes of a link that breaks.

use std::time::Duration;

use latchkey::store::error::StoreError;
use latchkey::store::{Change, Changes};

use super::cluster::PrivateCluster;
use super::faults::stores_by_proxy;
use super::proxy::Cut;
use super::{fresh_store, fresh_store_on};
use crate::store_contract::changes::is_told;
use crate::store_contract::fixtures::{client, registered};

/// Waits until the link is lost.
async fn is_lost(mut link: Box<dyn Changes>) {
    let losing = async {
        loop {
            match link.next().await {
                Ok(told) => assert_eq!(told, None),
                Err(error) => return error,
            }
        }
    };
    // Promised are two seconds.
    let error = tokio::time::timeout(Duration::from_secs(60), losing).await.expect("it is noticed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn changes_in_other_schemas_are_not_told() {
    let ((store, _guard), (other, _other_guard)) = (fresh_store().await, fresh_store().await);
    let mut link = store.changes.listen().await.unwrap();
    registered(&other, client("shop")).await;
    assert_eq!(link.next().await.unwrap(), None);
    registered(&store, client("shop")).await;
    is_told(&mut link, Change::Clients).await;
}

#[tokio::test]
async fn a_link_that_is_cut_is_noticed_and_another_hears() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let link = store.changes.listen().await.unwrap();
    proxy.cut(Cut::Request("pg_listening_channels"));
    is_lost(link).await;
    assert!(proxy.was_cut());
    let mut link = store.changes.listen().await.unwrap();
    registered(&direct, client("shop")).await;
    is_told(&mut link, Change::Clients).await;
}

#[tokio::test]
async fn a_notification_that_is_lost_with_its_link_is_an_error_and_no_silence() {
    let (store, direct, proxy, _guard) = stores_by_proxy().await;
    let link = store.changes.listen().await.unwrap();
    proxy.cut(Cut::Answer("latchkey_changes"));
    registered(&direct, client("shop")).await;
    is_lost(link).await;
    assert!(proxy.was_cut());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_taken_for_a_quiet_one() {
    let cluster = PrivateCluster::start();
    let (store, _guard) = fresh_store_on(cluster.url()).await;
    let mut link = store.changes.listen().await.unwrap();
    assert_eq!(link.next().await.unwrap(), None);
    cluster.freeze();
    is_lost(link).await;
    let again = store.changes.listen().await.map(drop);
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    cluster.thaw();
    store.changes.listen().await.unwrap();
}
