//! Several actors of one kind, each the owner of a part of the keys.

use std::hash::{BuildHasher, Hash};

use actix::Actor;

use super::mailbox::Mailbox;

/// A fixed number of shards. The same key goes to the same shard, hence in order.
#[derive(Debug)]
pub struct Shards<A: Actor> {
    shards: std::sync::Arc<[Mailbox<A>]>,
    hasher: std::hash::RandomState,
}

impl<A: Actor> Clone for Shards<A> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), hasher: self.hasher.clone() }
    }
}

impl<A: Actor> Shards<A> {
    /// Starts `count` shards, at least one, with `start(index)`.
    pub fn start(count: usize, start: impl FnMut(usize) -> Mailbox<A>) -> Self {
        Self {
            shards: (0..count.max(1)).map(start).collect(),
            hasher: std::hash::RandomState::new(),
        }
    }

    /// The owner of a key. The hash is seeded for each process, so nobody outside can aim at one
    /// shard.
    pub fn of(&self, key: &impl Hash) -> &Mailbox<A> {
        let index = self.hasher.hash_one(key) % self.shards.len() as u64;
        &self.shards[usize::try_from(index).unwrap_or(0)]
    }

    /// All shards.
    pub fn all(&self) -> &[Mailbox<A>] {
        &self.shards
    }
}
