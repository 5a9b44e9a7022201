//! The actors: owners of all shared mutable state. One file each, its messages on top.

pub mod mailbox;
pub mod status;
pub mod supervisor;
