//! Clients for tests, registered without the command line.

use latchkey::actors::db_writer::apply;
use latchkey::protocol::client::ClientMetadata;
use latchkey::protocol::random;
use latchkey::store::model::{Actor, AuditEntry, Client, SecretHash};
use latchkey::store::operation::{RegisterClient, RegisterClientOutcome};

use crate::harness::Server;

/// A registered client.
#[derive(Clone, Debug)]
pub struct Registered {
    pub id: String,
    pub secret: String,
}

/// Registers a client called "Example app" with a secret, after `change` had a word on it.
pub async fn register(server: &Server, change: impl FnOnce(&mut ClientMetadata)) -> Registered {
    let (id, secret) = (random::text::<12>(), random::text::<32>());
    let mut metadata = ClientMetadata {
        client_name: "Example app".to_owned(),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        ..ClientMetadata::default()
    };
    change(&mut metadata);
    let now = server.clock.now();
    let client = Client {
        client_id: id.clone(),
        metadata,
        secret: Some(SecretHash::of(&secret)),
        former_secret: None,
        created_at: now,
        updated_at: now,
    };
    let audit = AuditEntry::new(now, Actor::System, "client.registered", format!("client:{id}"));
    let outcome = apply(&server.app.writer, RegisterClient { client, audit }).await.unwrap();
    assert_eq!(outcome, RegisterClientOutcome::Registered);
    Registered { id, secret }
}
