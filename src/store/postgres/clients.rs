//! Table `clients`: what is registered about them.

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use super::{deliveries, revocations};
use crate::clock::Timestamp;
use crate::protocol::client::ClientMetadata;
use crate::protocol::jwt::Algorithm;
use crate::store::model::{Client, FormerSecret, Revocation, RevocationKind, SecretHash};
use crate::store::operation::{
    RegisterClient, RegisterClientOutcome, RemoveClient, RotateClientSecret, UpdateClient,
    UpdateClientOutcome,
};
use crate::store::trail::Notes;

/// The columns of a client, as [`from_row`] reads them.
macro_rules! client_columns {
    () => {
        "client_id, metadata, secret_hash, former_secret_hash, former_secret_until, created_at, \
         updated_at"
    };
}

/// A client by its id.
pub(super) async fn by_id(db: &ClientWrapper, id: &str) -> Result<Option<Client>, Failure> {
    const SQL: &str = concat!("SELECT ", client_columns!(), " FROM clients WHERE client_id = $1");
    // PostgreSQL's text cannot hold it, and refuses the question. Anybody may ask for any client.
    if id.contains('\0') {
        return Ok(None);
    }
    query_first(db, SQL, &[&id]).await?.as_ref().map(from_row).transpose()
}

/// Clients in the order of their ids, after `after`.
pub(super) async fn page(
    db: &ClientWrapper,
    after: &str,
    limit: u32,
) -> Result<Vec<Client>, Failure> {
    const SQL: &str = concat!(
        "SELECT ",
        client_columns!(),
        " FROM clients WHERE client_id > $1 ORDER BY client_id LIMIT $2"
    );
    query(db, SQL, &[&after, &i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// What ID tokens of any client are signed with.
pub(super) async fn algorithms(db: &ClientWrapper) -> Result<Vec<Algorithm>, Failure> {
    const SQL: &str = "
        SELECT DISTINCT id_token_algorithm COLLATE \"C\" AS algorithm FROM clients ORDER BY 1";
    let rows = query(db, SQL, &[]).await?;
    let algorithms = rows.iter().map(|row| {
        let word: String = row.try_get("algorithm")?;
        Algorithm::parse(&word)
            .ok_or_else(|| Failure::inconsistent(format!("a client has the algorithm {word}")))
    });
    algorithms.collect()
}

/// Whether there is such a client. Until the transaction ends nobody can remove it.
pub(super) async fn hold(db: &ClientWrapper, id: &str) -> Result<bool, Failure> {
    const SQL: &str = "SELECT FROM clients WHERE client_id = $1 FOR KEY SHARE";
    Ok(query_first(db, SQL, &[&id]).await?.is_some())
}

fn from_row(row: &Row) -> Result<Client, Failure> {
    let hash = |column| -> Result<Option<SecretHash>, Failure> {
        Ok(row.try_get::<_, Option<&[u8]>>(column)?.and_then(SecretHash::from_bytes))
    };
    let until: Option<i64> = row.try_get("former_secret_until")?;
    let former = hash("former_secret_hash")?.zip(until.map(Timestamp::from_millis));
    Ok(Client {
        client_id: row.try_get("client_id")?,
        metadata: metadata_from(row)?,
        secret: hash("secret_hash")?,
        former_secret: former.map(|(hash, until)| FormerSecret { hash, until }),
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
    })
}

/// Reads the column `metadata`.
pub(super) fn metadata_from(row: &Row) -> Result<ClientMetadata, Failure> {
    serde_json::from_str(row.try_get("metadata")?)
        .map_err(|error| Failure::inconsistent(error.to_string()))
}

fn json(metadata: &ClientMetadata) -> Result<String, Failure> {
    serde_json::to_string(metadata).map_err(|error| Failure::inconsistent(error.to_string()))
}

/// See [`RegisterClient`]. Runs alone; unless it is [`RegisterClientOutcome::Registered`], all is rolled
/// back.
pub(super) async fn register(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &RegisterClient,
) -> Result<RegisterClientOutcome, Failure> {
    // Waits for a transaction that is about to take the id, or to remove the client that has it.
    if !insert(db, &operation.client).await? {
        return Ok(RegisterClientOutcome::IdTaken);
    }
    // Asked only now: having inserted the id, nobody else can remove a client of it any more.
    if is_held(db, &operation.client).await? {
        return Ok(RegisterClientOutcome::IdTaken);
    }
    notes.add(&operation.audit);
    Ok(RegisterClientOutcome::Registered)
}

/// Inserts a client; `false` if another has its id.
async fn insert(db: &ClientWrapper, client: &Client) -> Result<bool, Failure> {
    const SQL: &str = "
        INSERT INTO clients (client_id, metadata, id_token_algorithm, backchannel_logout_uri,
                             secret_hash, former_secret_hash, former_secret_until, created_at,
                             updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (client_id) DO NOTHING";
    let Client { client_id, metadata, secret, former_secret, created_at, updated_at } = client;
    let parameters: Parameters<'_> = &[
        client_id,
        &json(metadata)?,
        &metadata.id_token_signed_response_alg.as_str(),
        &metadata.backchannel_logout_uri,
        &secret.as_ref().map(SecretHash::as_bytes),
        &former_secret.as_ref().map(|former| former.hash.as_bytes()),
        &former_secret.as_ref().map(|former| former.until.millis()),
        &created_at.millis(),
        &updated_at.millis(),
    ];
    Ok(execute(db, SQL, parameters).await? == 1)
}

/// Whether tokens of a former client may still name the id, or tokens of a person do.
async fn is_held(db: &ClientWrapper, client: &Client) -> Result<bool, Failure> {
    const SQL: &str = r#"
        SELECT FROM revocations WHERE kind = $1 AND id = $2 AND "until" > $3
         UNION ALL
        SELECT FROM users WHERE id = $4"#;
    let (kind, as_person) =
        (RevocationKind::Client.as_str(), Uuid::parse_str(&client.client_id).ok());
    let parameters: Parameters<'_> =
        &[&kind, &client.client_id, &client.created_at.millis(), &as_person];
    Ok(query_first(db, SQL, parameters).await?.is_some())
}

/// See [`UpdateClient`]. Runs alone.
pub(super) async fn update(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &UpdateClient,
) -> Result<UpdateClientOutcome, Failure> {
    const SQL: &str = "
        UPDATE clients SET metadata = $2, id_token_algorithm = $3, backchannel_logout_uri = $4,
                           updated_at = greatest($5, updated_at + 1)
         WHERE client_id = $1 AND updated_at = $6";
    let UpdateClient { client_id, metadata, known, audit: entry } = operation;
    let parameters: Parameters<'_> = &[
        client_id,
        &json(metadata)?,
        &metadata.id_token_signed_response_alg.as_str(),
        &metadata.backchannel_logout_uri,
        &entry.at.millis(),
        &known.millis(),
    ];
    if execute(db, SQL, parameters).await? == 0 {
        return Ok(match by_id(db, client_id).await? {
            Some(_) => UpdateClientOutcome::Changed,
            None => UpdateClientOutcome::Unknown,
        });
    }
    notes.add(entry);
    Ok(UpdateClientOutcome::Updated)
}

/// See [`RotateClientSecret`]: whether there is such a client. Runs alone.
pub(super) async fn rotate_secret(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &RotateClientSecret,
) -> Result<bool, Failure> {
    const SQL: &str = "
        UPDATE clients SET former_secret_hash = CASE WHEN $3::bigint IS NOT NULL THEN secret_hash END,
                           former_secret_until = $3, secret_hash = $2,
                           updated_at = greatest($4, updated_at + 1)
         WHERE client_id = $1";
    let RotateClientSecret { client_id, secret, former_until, audit: entry } = operation;
    let former = (*former_until > entry.at).then(|| former_until.millis());
    let parameters: Parameters<'_> = &[client_id, &secret.as_bytes(), &former, &entry.at.millis()];
    let is_changed = execute(db, SQL, parameters).await? == 1;
    if is_changed {
        notes.add(entry);
    }
    Ok(is_changed)
}

/// See [`RemoveClient`]: what was stored, if there was such a client. Runs alone.
pub(super) async fn remove(
    db: &ClientWrapper,
    notes: &mut Notes,
    operation: &RemoveClient,
) -> Result<Option<Revocation>, Failure> {
    const SQL: &str = "DELETE FROM clients WHERE client_id = $1";
    let RemoveClient { client_id, audit: entry, .. } = operation;
    if execute(db, SQL, &[client_id]).await? == 0 {
        return Ok(None);
    }
    let revocations = [operation.revocation()];
    let (stored, ..) = try_join!(
        revocations::store(db, &revocations, entry.at),
        deliveries::remove_all(db, client_id),
    )?;
    notes.add(entry);
    Ok(stored.into_iter().next())
}
