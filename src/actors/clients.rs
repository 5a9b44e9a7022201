//! Owner of what is known about registered clients: a cache in front of the store.
//!
//! An entry is good for half a second, so a change by another node or the command line is seen within a
//! second without anybody being told, and a lost notification cannot matter. While the store cannot be
//! asked, nobody is let in on an old entry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::mailbox::Drain;
use super::status::ActorStatus;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::Client;

/// The client of this id, if there is one.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<Arc<Client>>, StoreError>")]
pub struct FindClient(pub String);

/// This client was just changed or removed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forget(pub String);

/// How long an entry is good for.
const FRESH: Duration = Duration::from_millis(500);

/// Most entries that are kept. Ids that nobody has are entries, too.
const MOST_ENTRIES: usize = 4096;

/// Longest id that is looked for: none is longer.
pub const LONGEST_ID: usize = 128;

type Found = Result<Option<Arc<Client>>, StoreError>;

/// The owner.
pub struct Clients {
    read: Arc<dyn ReadStore>,
    status: Arc<ActorStatus>,
    entries: HashMap<String, Entry>,
    /// Tells a reading from one that began before its entry was forgotten.
    next_reading: u64,
}

enum Entry {
    Known {
        client: Option<Arc<Client>>,
        since: Instant,
    },
    /// A reading is under way, and these wait for it.
    Asked {
        reading: u64,
        waiting: Vec<oneshot::Sender<Found>>,
    },
}

/// A reading is over.
#[derive(Message)]
#[rtype(result = "()")]
struct Read {
    id: String,
    reading: u64,
    found: Found,
}

impl Clients {
    /// Knows the clients of this store.
    pub fn new(read: Arc<dyn ReadStore>, status: Arc<ActorStatus>) -> Self {
        Self { read, status, entries: HashMap::new(), next_reading: 0 }
    }

    /// Reads a client for those who wait.
    fn ask(&mut self, id: String, waiting: oneshot::Sender<Found>, context: &mut Context<Self>) {
        self.make_room();
        let reading = self.next_reading;
        self.next_reading += 1;
        self.entries.insert(id.clone(), Entry::Asked { reading, waiting: vec![waiting] });
        let (read, owner) = (Arc::clone(&self.read), context.address());
        actix::spawn(async move {
            let found = read.client(&id).await.map(|client| client.map(Arc::new));
            owner.do_send(Read { id, reading, found });
        });
    }

    /// Lets go of what is not good any more; of everything that nobody waits for, if that is not enough.
    fn make_room(&mut self) {
        if self.entries.len() < MOST_ENTRIES {
            return;
        }
        self.entries.retain(|_, entry| entry.is_fresh());
        if self.entries.len() >= MOST_ENTRIES {
            self.entries.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
        }
    }
}

impl Entry {
    fn is_fresh(&self) -> bool {
        match self {
            Self::Known { since, .. } => since.elapsed() < FRESH,
            Self::Asked { .. } => true,
        }
    }
}

impl Actor for Clients {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for Clients {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.entries.clear();
    }
}

impl Handler<FindClient> for Clients {
    type Result = ResponseFuture<Found>;

    fn handle(&mut self, FindClient(id): FindClient, context: &mut Context<Self>) -> Self::Result {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Box::pin(std::future::ready(Ok(None)));
        }
        let (reply, answer) = oneshot::channel();
        match self.entries.get_mut(&id) {
            Some(Entry::Known { client, since }) if since.elapsed() < FRESH => {
                return Box::pin(std::future::ready(Ok(client.clone())));
            }
            Some(Entry::Asked { waiting, .. }) => waiting.push(reply),
            Some(Entry::Known { .. }) | None => self.ask(id, reply, context),
        }
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable("clients are being read again".to_owned()))
            })
        })
    }
}

impl Handler<Read> for Clients {
    type Result = ();

    fn handle(&mut self, Read { id, reading, found }: Read, _: &mut Context<Self>) {
        let is_this = |entry: &Entry| matches!(entry, Entry::Asked { reading: asked, .. } if *asked == reading);
        if !self.entries.get(&id).is_some_and(is_this) {
            return; // forgotten in between, or of before a restart
        }
        let Some(Entry::Asked { waiting, .. }) = self.entries.remove(&id) else { return };
        if let Ok(client) = &found {
            let known = Entry::Known { client: client.clone(), since: Instant::now() };
            self.entries.insert(id, known);
        }
        for reply in waiting {
            let _gone = reply.send(found.clone());
        }
    }
}

impl Handler<Forget> for Clients {
    type Result = ();

    fn handle(&mut self, Forget(id): Forget, context: &mut Context<Self>) {
        // Who waits for a reading that began before the change gets one that begins after it.
        if let Some(Entry::Asked { waiting, .. }) = self.entries.remove(&id) {
            let mut waiting = waiting.into_iter();
            if let Some(first) = waiting.next() {
                self.ask(id.clone(), first, context);
                if let Some(Entry::Asked { waiting: now, .. }) = self.entries.get_mut(&id) {
                    now.extend(waiting);
                }
            }
        }
    }
}

impl Handler<Drain> for Clients {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Clients);
