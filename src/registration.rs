//! Registering clients and changing them: what the command line, development and administrators do alike.
//!
//! A change is checked against the rules, written with its line of the audit trail, and takes effect at
//! once. What this node remembers of the client is for the caller to forget.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::actors::db_writer::{DbWriter, WriteError, apply};
use crate::actors::mailbox::Mailbox;
use crate::administration::By;
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::protocol::client::{AuthMethod, ClientMetadata};
use crate::protocol::client_registration::{
    IdError, Problems, Rules, check, check_id, response_types,
};
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::SigningKey;
use crate::protocol::random;
use crate::protocol::secret::Secret;
use crate::startup::{StartError, read_key_files};
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Client, FormerSecret, Revocation, SecretHash};
use crate::store::operation::{
    RegisterClient, RegisterClientOutcome, RemoveClient, RotateClientSecret, UpdateClient,
    UpdateClientOutcome,
};

/// Why a client was not registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The id that was chosen is not allowed.
    #[error("The id {id:?} {problem}.")]
    Id {
        /// Which id.
        id: String,
        /// What is wrong with it.
        problem: IdError,
    },
    /// What is to be registered is not allowed.
    #[error("{0}")]
    Metadata(#[from] Problems),
    /// Somebody else changed the client in the meantime.
    #[error(
        "The client was changed by somebody else in the meantime. Nothing was changed; look at it and try again."
    )]
    Changed,
    /// There is no such client.
    #[error("There is no client with the id {0:?}.")]
    Unknown(String),
    /// The client has no use for a secret.
    #[error("The client authenticates by {}, which needs no secret.", .0.as_str())]
    NoSecret(AuthMethod),
    /// The writer did not confirm it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client, and the secret that it was just given, which nobody can read again.
#[derive(Clone, Debug)]
pub struct Registered {
    /// As it is stored.
    pub client: Client,
    /// Its new secret.
    pub secret: Option<Secret>,
}

/// The rules of this configuration.
///
/// # Errors
/// [`StartError::KeyFile`] if a file of `keys.files` cannot be read.
pub fn rules(settings: &Settings) -> Result<Rules, StartError> {
    Ok(rules_with(settings, &read_key_files(settings)?))
}

/// The rules of this configuration, with its key files.
pub fn rules_with(settings: &Settings, files: &[Arc<SigningKey>]) -> Rules {
    let algorithms = match files {
        // Keys that live in the store are made as they are needed.
        [] => Algorithm::ALL.to_vec(),
        files => Algorithm::ALL
            .into_iter()
            .filter(|algorithm| files.iter().any(|key| key.public().algorithm == *algorithm))
            .collect(),
    };
    Rules {
        issuer: settings.server.public_url.to_string(),
        scopes: settings.scopes.iter().map(|scope| scope.name.clone()).collect(),
        algorithms,
        allow_private_receivers: settings.server.allow_private_receivers,
    }
}

/// Registers a client by an id that was chosen, or a random one.
///
/// # Errors
/// [`RegistrationError::Id`], [`RegistrationError::Metadata`], [`RegistrationError::Write`].
pub async fn register(
    writer: &Mailbox<DbWriter>,
    rules: &Rules,
    by: By,
    chosen_id: Option<String>,
    metadata: ClientMetadata,
) -> Result<Registered, RegistrationError> {
    /// 22 characters of base64url.
    const ID_BYTES: usize = 16;
    let client_id = chosen_id.unwrap_or_else(random::text::<ID_BYTES>);
    let refused_id = |problem| RegistrationError::Id { id: client_id.clone(), problem };
    check_id(&client_id).map_err(refused_id)?;
    check(&metadata, rules)?;
    let secret = metadata.token_endpoint_auth_method.takes_secret().then(new_secret);
    let client = Client {
        secret: secret.as_ref().map(|secret| SecretHash::of(secret.expose())),
        former_secret: None,
        created_at: by.at,
        updated_at: by.at,
        client_id: client_id.clone(),
        metadata,
    };
    let details = json!({ "client_name": client.metadata.client_name });
    let audit = by.entry("client.registered", about(&client_id), details);
    match apply(writer, RegisterClient { client: client.clone(), audit }).await? {
        RegisterClientOutcome::Registered => Ok(Registered { client, secret }),
        RegisterClientOutcome::IdTaken => Err(refused_id(IdError::Taken)),
    }
}

fn about(client_id: &str) -> String {
    format!("client:{client_id}")
}

/// 256 random bits.
fn new_secret() -> Secret {
    Secret::new(random::text::<32>())
}

/// Registers a client of a fixed id unless it is there, and changes it if it is there and differs.
///
/// # Errors
/// As [`register`] and [`update`].
pub async fn ensure(
    read: &dyn ReadStore,
    writer: &Mailbox<DbWriter>,
    rules: &Rules,
    by: By,
    client_id: &str,
    metadata: ClientMetadata,
) -> Result<Registered, RegistrationError> {
    match read.client(client_id).await? {
        None => register(writer, rules, by, Some(client_id.to_owned()), metadata).await,
        Some(client) => {
            update(writer, rules, by, &client, metadata.clone()).await?;
            Ok(Registered { client: Client { metadata, ..client }, secret: None })
        }
    }
}

/// Replaces what is registered about a client, as the caller knows it; the names of the members that
/// differ. If none does, nothing is written.
///
/// # Errors
/// [`RegistrationError::Metadata`], [`RegistrationError::Changed`], [`RegistrationError::Unknown`],
/// [`RegistrationError::Write`].
pub async fn update(
    writer: &Mailbox<DbWriter>,
    rules: &Rules,
    by: By,
    known: &Client,
    metadata: ClientMetadata,
) -> Result<Vec<String>, RegistrationError> {
    let members = differing(&known.metadata, &metadata);
    if members.is_empty() {
        return Ok(members);
    }
    check(&metadata, rules)?;
    let client_id = known.client_id.clone();
    let audit = by.entry("client.updated", about(&client_id), json!({ "members": members }));
    let write = UpdateClient { client_id, metadata, known: known.updated_at, audit };
    match apply(writer, write).await? {
        UpdateClientOutcome::Updated => Ok(members),
        UpdateClientOutcome::Changed => Err(RegistrationError::Changed),
        UpdateClientOutcome::Unknown => Err(RegistrationError::Unknown(known.client_id.clone())),
    }
}

/// The names of the members in which two registrations differ.
fn differing(one: &ClientMetadata, other: &ClientMetadata) -> Vec<String> {
    let (one, other) = (members(one), members(other));
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

fn members(metadata: &ClientMetadata) -> Map<String, Value> {
    match serde_json::to_value(metadata) {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("texts, flags and JSON are written as an object"),
    }
}

/// How long a former secret works unless somebody says otherwise.
pub const USUAL_OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// Nobody overlaps for longer: a former secret that works for good is no former one.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Gives a client another secret; its present one works until `former_until`.
///
/// # Errors
/// [`RegistrationError::NoSecret`], [`RegistrationError::Unknown`], [`RegistrationError::Write`].
pub async fn rotate_secret(
    writer: &Mailbox<DbWriter>,
    by: By,
    known: &Client,
    former_until: Timestamp,
) -> Result<Registered, RegistrationError> {
    let method = known.metadata.token_endpoint_auth_method;
    if !method.takes_secret() {
        return Err(RegistrationError::NoSecret(method));
    }
    let client_id = known.client_id.clone();
    let at = by.at;
    let secret = new_secret();
    let hash = SecretHash::of(secret.expose());
    let former_secret = known
        .secret
        .clone()
        .filter(|_| former_until > at)
        .map(|hash| FormerSecret { hash, until: former_until });
    let details = json!({ "former_until": former_secret.as_ref().map(|former| former.until) });
    let audit = by.entry("client.secret_rotated", about(&client_id), details);
    let write = RotateClientSecret {
        client_id: client_id.clone(),
        secret: hash.clone(),
        former_until,
        audit,
    };
    if !apply(writer, write).await? {
        return Err(RegistrationError::Unknown(client_id));
    }
    let client = Client { secret: Some(hash), former_secret, updated_at: at, ..known.clone() };
    Ok(Registered { client, secret: Some(secret) })
}

/// Removes a client: its secrets, consents and grants go with it, and its access tokens are refused. What
/// refuses them is the answer.
///
/// # Errors
/// [`RegistrationError::Unknown`], [`RegistrationError::Write`].
pub async fn remove(
    writer: &Mailbox<DbWriter>,
    by: By,
    client_id: &str,
    tokens_live_until: Timestamp,
) -> Result<Revocation, RegistrationError> {
    let audit = by.entry("client.removed", about(client_id), Value::Null);
    let write = RemoveClient { client_id: client_id.to_owned(), tokens_live_until, audit };
    let removed = apply(writer, write).await?;
    removed.ok_or_else(|| RegistrationError::Unknown(client_id.to_owned()))
}

/// Every client, in the order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn all(read: &dyn ReadStore) -> Result<Vec<Client>, StoreError> {
    const PAGE: u32 = 500;
    let mut all: Vec<Client> = Vec::new();
    loop {
        let after = all.last().map(|client| client.client_id.clone());
        let page = read.clients(after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// A client as JSON, by the names of RFC 7591 §3.2.1. The secret is in it only where it was just made.
pub fn document(client: &Client, secret: Option<&Secret>) -> Value {
    let mut document = Map::new();
    document.insert("client_id".to_owned(), json!(client.client_id));
    document.insert("client_id_issued_at".to_owned(), json!(client.created_at.seconds()));
    if let Some(secret) = secret {
        document.insert("client_secret".to_owned(), json!(secret.expose()));
    }
    if client.metadata.token_endpoint_auth_method.takes_secret() {
        // Never: a secret is replaced, not outlived.
        document.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    if let Some(former) = &client.former_secret {
        let until = former.until.seconds();
        document.insert("former_client_secret_expires_at".to_owned(), json!(until));
    }
    document.extend(members(&client.metadata));
    document.insert("response_types".to_owned(), json!(response_types(&client.metadata)));
    Value::Object(document)
}

/// Members of [`document`] that say something and register nothing.
pub const ANSWERED: [&str; 3] =
    ["client_id_issued_at", "client_secret_expires_at", "former_client_secret_expires_at"];
