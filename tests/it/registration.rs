//! Clients for tests, registered, changed and removed without the command line.

use std::time::Duration;

use latchkey::actors::clients::Forget;
use latchkey::actors::db_writer::apply;
use latchkey::protocol::client::{AuthMethod, ClientMetadata};
use latchkey::protocol::random;
use latchkey::store::model::{Actor, AuditEntry, Client, SecretHash};
use latchkey::store::operation::{
    RegisterClient, RegisterClientOutcome, RemoveClient, UpdateClient, UpdateClientOutcome,
};

use crate::harness::Server;

/// A registered client.
#[derive(Clone, Debug)]
pub struct Registered {
    pub id: String,
    /// Empty if the client is a public one.
    pub secret: String,
}

impl Registered {
    /// Who it says to be in the body of a request.
    pub fn identity(&self) -> Vec<(&str, &str)> {
        let mut identity = vec![("client_id", self.id.as_str())];
        if !self.secret.is_empty() {
            identity.push(("client_secret", &self.secret));
        }
        identity
    }

    /// What is written into the audit log about it.
    pub fn audit(&self, server: &Server, action: &'static str) -> AuditEntry {
        AuditEntry::new(server.clock.now(), Actor::System, action, format!("client:{}", self.id))
    }
}

/// Registers a client called "Example app" with a secret, after `change` had a word on it. Its ID tokens
/// are signed with what there is a key for, so that nobody waits for another.
pub async fn register(server: &Server, change: impl FnOnce(&mut ClientMetadata)) -> Registered {
    let mut metadata = ClientMetadata {
        client_name: "Example app".to_owned(),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        id_token_signed_response_alg: server.app.settings.keys.algorithm,
        ..ClientMetadata::default()
    };
    change(&mut metadata);
    let secret = match metadata.token_endpoint_auth_method {
        AuthMethod::None => String::new(),
        _ => random::text::<32>(),
    };
    let registered = Registered { id: random::text::<12>(), secret };
    let now = server.clock.now();
    let client = Client {
        client_id: registered.id.clone(),
        secret: (!registered.secret.is_empty()).then(|| SecretHash::of(&registered.secret)),
        metadata,
        former_secret: None,
        created_at: now,
        updated_at: now,
    };
    let audit = registered.audit(server, "client.registered");
    let outcome = apply(&server.app.writer, RegisterClient { client, audit }).await.unwrap();
    assert_eq!(outcome, RegisterClientOutcome::Registered);
    registered
}

/// Registers a client without a secret.
pub async fn register_public(server: &Server) -> Registered {
    register(server, |metadata| metadata.token_endpoint_auth_method = AuthMethod::None).await
}

/// Changes what is registered, as an admin would on this node.
pub async fn update(
    server: &Server,
    client: &Registered,
    change: impl FnOnce(&mut ClientMetadata),
) {
    let known = server.app.store.read.client(&client.id).await.unwrap().unwrap();
    let mut metadata = known.metadata;
    change(&mut metadata);
    let update = UpdateClient {
        client_id: client.id.clone(),
        metadata,
        known: known.updated_at,
        audit: client.audit(server, "client.updated"),
    };
    let outcome = apply(&server.app.writer, update).await.unwrap();
    assert_eq!(outcome, UpdateClientOutcome::Updated);
    has_changed(server, client).await;
}

/// Removes a client, as an admin would on this node.
pub async fn remove(server: &Server, client: &Registered) {
    let removal = RemoveClient {
        client_id: client.id.clone(),
        tokens_live_until: server.clock.now().plus(Duration::from_secs(930)),
        audit: client.audit(server, "client.removed"),
    };
    assert!(apply(&server.app.writer, removal).await.unwrap().is_some());
    has_changed(server, client).await;
}

/// Has this node read a client anew.
pub async fn has_changed(server: &Server, client: &Registered) {
    server.app.clients.ask(Forget(client.id.clone())).await.unwrap();
}
