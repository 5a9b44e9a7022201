//! Connections that are not ours alone: a pooler that hands each transaction to any of its own.
//!
//! Limits, the schema, prepared statements and LISTEN belong to a connection. Behind such a pooler they would
//! be set for others, and be missing where they are needed.

use tokio_postgres::Client;

use super::address::Address;
use super::connect::{CONNECT_LIMIT, describe};
use super::{not_connected, tls, unanswering, unreachable};
use crate::store::error::OpenError;

/// A pooler that is busy may give us different connections by chance.
const ATTEMPTS: usize = 3;

/// Refuses a pooler in transaction mode, told by two connections that are served by one process. What was set on
/// them is taken back then, as it would stay with the pooler.
///
/// # Errors
/// [`OpenError::Unreachable`] if there is one; what else [`OpenError`] says, if there is no answer.
pub(super) async fn refuse(
    address: &Address,
    one: &Client,
    other: &Client,
) -> Result<(), OpenError> {
    for _ in 0..ATTEMPTS {
        if process(address, one).await? == process(address, other).await? {
            for client in [one, other] {
                if let Err(error) = client.simple_query("RESET ALL").await {
                    tracing::debug!(%error, "settings stay with the pooler");
                }
            }
            return Err(OpenError::Unreachable(format!(
                "{} is reached by a pooler in transaction mode, behind which connections keep neither their settings nor LISTEN. Set pool_mode = session for this database there, or name PostgreSQL itself in store.url",
                address.place()
            )));
        }
    }
    Ok(())
}

/// A connection as it comes: nothing is set that would stay with the pooler.
pub(super) async fn connect(address: &Address) -> Result<Client, OpenError> {
    let connecting = address.config.connect(tls::connector(&address.trust)?);
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok((client, connection))) => {
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok(client)
        }
        Ok(Err(error)) => Err(not_connected(address, &error)),
        Err(_) => {
            Err(unanswering(address, &format!("no answer within {} s", CONNECT_LIMIT.as_secs())))
        }
    }
}

/// The server's process that answers. Asked without a prepared statement, which such a pooler may not know.
async fn process(address: &Address, client: &Client) -> Result<Option<String>, OpenError> {
    let asked = client.simple_query("SELECT pg_backend_pid()");
    let answer = match tokio::time::timeout(CONNECT_LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error| unreachable(address, &describe(&error)))?,
        Err(_) => return Err(unanswering(address, "it does not answer in time")),
    };
    Ok(answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
