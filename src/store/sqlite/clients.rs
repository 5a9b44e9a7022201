//! `clients`: what is registered about them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{deliveries, revocations, row};
use crate::protocol::client::ClientMetadata;
use crate::protocol::jwt::Algorithm;
use crate::store::error::StoreError;
use crate::store::model::{Client, FormerSecret, Revocation, RevocationKind, SecretHash};
use crate::store::operation::{
    RegisterClient, RegisterClientOutcome, RemoveClient, RotateClientSecret, UpdateClient,
    UpdateClientOutcome,
};
use crate::store::trail::Notes;

const COLUMNS: &str = "client_id, metadata, secret_hash, former_secret_hash, former_secret_until,
                       created_at, updated_at";

/// A client by its id.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<Client>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM clients WHERE client_id = ?1");
    Ok(connection.prepare_cached(&query)?.query_row(params![id], read).optional()?)
}

/// Clients in the order of their ids, after `after`.
pub(super) fn page(
    connection: &Connection,
    after: &str,
    limit: u32,
) -> Result<Vec<Client>, StoreError> {
    let query =
        format!("SELECT {COLUMNS} FROM clients WHERE client_id > ?1 ORDER BY client_id LIMIT ?2");
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map(params![after, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What ID tokens of any client are signed with.
pub(super) fn algorithms(connection: &Connection) -> Result<Vec<Algorithm>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT id_token_algorithm FROM clients ORDER BY 1")?;
    let rows = statement.query_map([], |row| row::word(row, 0, Algorithm::parse))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Client> {
    let hash = |column| -> rusqlite::Result<Option<SecretHash>> {
        Ok(row.get::<_, Option<[u8; 32]>>(column)?.and_then(|bytes| SecretHash::from_bytes(&bytes)))
    };
    let former = hash(3)?.zip(row::optional_time(row, 4)?);
    Ok(Client {
        client_id: row.get(0)?,
        metadata: row::parsed(row, 1)?,
        secret: hash(2)?,
        former_secret: former.map(|(hash, until)| FormerSecret { hash, until }),
        created_at: row::time(row, 5)?,
        updated_at: row::time(row, 6)?,
    })
}

fn json(metadata: &ClientMetadata) -> Result<String, StoreError> {
    serde_json::to_string(metadata).map_err(|error| StoreError::Inconsistent(error.to_string()))
}

/// Registers a client.
pub(super) fn register(
    connection: &Connection,
    notes: &mut Notes,
    request: &RegisterClient,
) -> Result<RegisterClientOutcome, StoreError> {
    let Client { client_id, metadata, secret, former_secret, created_at, updated_at } =
        &request.client;
    let as_person = Uuid::parse_str(client_id).ok().map(Uuid::into_bytes);
    let is_taken = connection
        .prepare_cached(
            "SELECT 1 FROM clients WHERE client_id = ?1
              UNION ALL SELECT 1 FROM revocations WHERE kind = ?2 AND id = ?1 AND until > ?3
              UNION ALL SELECT 1 FROM users WHERE id = ?4",
        )?
        .exists(params![
            client_id,
            RevocationKind::Client.as_str(),
            created_at.millis(),
            as_person
        ])?;
    if is_taken {
        return Ok(RegisterClientOutcome::IdTaken);
    }
    connection
        .prepare_cached(
            "INSERT INTO clients (client_id, metadata, id_token_algorithm, backchannel_logout_uri,
                                  secret_hash, former_secret_hash, former_secret_until, created_at,
                                  updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            client_id,
            json(metadata)?,
            metadata.id_token_signed_response_alg.as_str(),
            metadata.backchannel_logout_uri,
            secret.as_ref().map(SecretHash::as_bytes),
            former_secret.as_ref().map(|former| former.hash.as_bytes()),
            former_secret.as_ref().map(|former| former.until.millis()),
            created_at.millis(),
            updated_at.millis(),
        ])?;
    notes.add(&request.audit);
    Ok(RegisterClientOutcome::Registered)
}

/// Replaces what is registered.
pub(super) fn update(
    connection: &Connection,
    notes: &mut Notes,
    request: &UpdateClient,
) -> Result<UpdateClientOutcome, StoreError> {
    let UpdateClient { client_id, metadata, known, audit: entry } = request;
    let Some(present) = find(connection, client_id)? else {
        return Ok(UpdateClientOutcome::Unknown);
    };
    if present.updated_at != *known {
        return Ok(UpdateClientOutcome::Changed);
    }
    connection
        .prepare_cached(
            "UPDATE clients SET metadata = ?2, id_token_algorithm = ?3, backchannel_logout_uri = ?4,
                                updated_at = max(?5, updated_at + 1)
              WHERE client_id = ?1",
        )?
        .execute(params![
            client_id,
            json(metadata)?,
            metadata.id_token_signed_response_alg.as_str(),
            metadata.backchannel_logout_uri,
            entry.at.millis(),
        ])?;
    notes.add(entry);
    Ok(UpdateClientOutcome::Updated)
}

/// Gives a client another secret. Returns whether there is such a client.
pub(super) fn rotate_secret(
    connection: &Connection,
    notes: &mut Notes,
    request: &RotateClientSecret,
) -> Result<bool, StoreError> {
    let RotateClientSecret { client_id, secret, former_until, audit: entry } = request;
    let former = (*former_until > entry.at).then(|| former_until.millis());
    let changed = connection
        .prepare_cached(
            "UPDATE clients SET former_secret_hash = CASE WHEN ?3 IS NULL THEN NULL ELSE secret_hash END,
                                former_secret_until = ?3, secret_hash = ?2,
                                updated_at = max(?4, updated_at + 1)
              WHERE client_id = ?1",
        )?
        .execute(params![client_id, secret.as_bytes(), former, entry.at.millis()])?;
    if changed > 0 {
        notes.add(entry);
    }
    Ok(changed > 0)
}

/// Removes a client with all consents and all that it was to be told, and has its tokens refused.
pub(super) fn remove(
    connection: &Connection,
    notes: &mut Notes,
    request: &RemoveClient,
) -> Result<Option<Revocation>, StoreError> {
    let removed = connection
        .prepare_cached("DELETE FROM clients WHERE client_id = ?1")?
        .execute(params![request.client_id])?;
    if removed == 0 {
        return Ok(None);
    }
    deliveries::remove_all(connection, &request.client_id)?;
    notes.add(&request.audit);
    let Revocation { kind, id, until } = request.revocation();
    revocations::record(connection, kind, id, until, request.audit.at).map(Some)
}
