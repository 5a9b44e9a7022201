//! The actors: owners of all shared mutable state. One file each, its messages on top.

pub mod auditor;
pub mod change_listener;
pub mod client_keys;
pub mod clients;
pub mod configuration;
pub mod db_writer;
#[cfg(feature = "fault-injection")]
pub mod fault;
mod fetched;
pub mod grant_reader;
pub mod janitor;
pub mod key_ring;
pub mod mailbox;
pub mod outbox;
pub mod picture_decoder;
pub mod pictures;
pub mod provider_metadata;
pub mod rate_limiter;
pub mod revocations;
pub mod shards;
pub mod status;
pub mod supervisor;
pub mod ticker;
pub mod token_families;
