//! `/admin`: what admins do with people, clients, keys and the audit trail. One file a topic.
//!
//! [`guard::Admin`] stands first in each handler: who may not come here learns nothing of ids, queries and
//! bodies. Changes and their lines of the audit trail are one transaction; when one is answered, this node
//! refuses the tokens of what ended.

pub mod actors;
pub mod audit;
pub mod clients;
pub mod guard;
pub mod idempotency;
pub mod keys;
pub mod listing;
pub mod reload;
pub mod users;
