//! News of what others changed: `LISTEN` on a connection of its own.
//!
//! Triggers tell of every write to the tables that servers keep in memory, whoever writes. A link that
//! says nothing is asked each second whether it still listens, so that a dead one is not taken for a
//! quiet one.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_postgres::{Client, Notification, SimpleQueryMessage};

use super::address::Address;
use super::connect::{CONNECT_LIMIT, Connector, Purpose, describe};
use super::failure::{Failure, within};
use crate::store::error::{OpenError, StoreError};
use crate::store::{Change, ChangeFeed, Changes};

/// What the triggers notify; `LISTEN` below names it, too.
const CHANNEL: &str = "latchkey_changes";

/// How long the link may be quiet before it is asked.
const BEAT: Duration = Duration::from_secs(1);

/// How long an answer on the link may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Notifications that wait for us; further ones wait at the server.
const WAITING: usize = 256;

/// Makes links to the database.
pub(super) struct Feed {
    address: Address,
    connector: Connector,
}

impl Feed {
    /// A feed from this database.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] if TLS cannot be set up.
    pub(super) fn new(address: Address) -> Result<Self, OpenError> {
        let connector = Connector::new(&address, Purpose::Listening)?;
        Ok(Self { address, connector })
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn listen(&self) -> Result<Box<dyn Changes>, StoreError> {
        let (heard, told) = mpsc::channel(WAITING);
        let connecting = self.connector.connect_listening(&self.address.config, heard);
        let client = tokio::time::timeout(CONNECT_LIMIT, connecting)
            .await
            .map_err(|_| StoreError::Unavailable("no connection in time".to_owned()))?
            .map_err(|error| StoreError::Unavailable(describe(&error)))?;
        let schema = within(ANSWER_LIMIT, begin(&client)).await.map_err(Failure::into_error)?;
        Ok(Box::new(Link { client, told, schema }))
    }
}

/// Begins to listen; answers with the schema of our tables.
async fn begin(client: &Client) -> Result<String, Failure> {
    const OURS: &str = "
        SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = 'clients'::regclass";
    client.batch_execute("LISTEN latchkey_changes").await?;
    Ok(client.query_one(OURS, &[]).await?.try_get(0)?)
}

/// A connection that listens.
struct Link {
    client: Client,
    told: mpsc::Receiver<Notification>,
    schema: String,
}

#[async_trait]
impl Changes for Link {
    async fn next(&mut self) -> Result<Option<Change>, StoreError> {
        let quiet = tokio::time::sleep(BEAT);
        tokio::pin!(quiet);
        loop {
            // In this order, so that a swarm of others' notifications does not put off the question.
            tokio::select! {
                biased;
                () = &mut quiet => return self.beat().await.map(|()| None),
                told = self.told.recv() => match told {
                    None => return Err(StoreError::Unavailable("the connection ended".to_owned())),
                    Some(told) => match change(&self.schema, told.payload()) {
                        None => {}
                        change => return Ok(change),
                    },
                },
            }
        }
    }
}

impl Link {
    /// Asks whether this connection still listens. The answer comes behind all notifications that the
    /// server had for us.
    async fn beat(&self) -> Result<(), StoreError> {
        let asking = self.client.simple_query("SELECT pg_listening_channels()");
        let rows = within(ANSWER_LIMIT, asking).await.map_err(Failure::into_error)?;
        let listens = rows.iter().any(|row| match row {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(CHANNEL),
            _ => false,
        });
        // A pooler that gives each statement another connection, for one, does not keep what LISTEN did.
        listens.then_some(()).ok_or_else(|| {
            StoreError::Unavailable("the server forgot that this connection listens".to_owned())
        })
    }
}

/// What a notification tells; `None` if it is of another schema.
fn change(schema: &str, payload: &str) -> Option<Change> {
    match payload.strip_prefix(schema)?.strip_prefix('/')? {
        "clients" => Some(Change::Clients),
        "signing_keys" => Some(Change::Keys),
        "revocations" => Some(Change::Revocations),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_counts_if_it_is_of_our_schema() {
        for (payload, expected) in [
            ("auth/clients", Some(Change::Clients)),
            ("auth/signing_keys", Some(Change::Keys)),
            ("auth/revocations", Some(Change::Revocations)),
            ("auth/users", None),
            ("auth2/clients", None),
            ("auth/2/clients", None),
            ("clients", None),
            ("", None),
        ] {
            assert_eq!(change("auth", payload), expected, "{payload}");
        }
    }
}
