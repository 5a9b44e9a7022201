//! Owner of what is known about registered clients: a cache in front of the store.
//!
//! An entry is good for half a second, so a change by another node or the command line is seen within a
//! second without anybody being told. While `ChangeListener` hears what changes, it is good for ten: it is
//! forgotten with the first change of any client, and should that notice get lost, ten seconds heal it. A
//! link that has said nothing for two seconds counts as none. While the store cannot be asked, nobody is let
//! in on an old entry.

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

/// The changes of clients were heard until now, and so many there were.
///
/// Told all the time and with a number, not once a change: whatever of it is lost, the next one makes up for.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Heard {
    /// Another number than before means that clients changed.
    pub changes: u64,
}

/// How long an entry is good for when nobody would tell of a change.
const FRESH: Duration = Duration::from_millis(500);

/// How long an entry is good for while changes are heard.
const FRESH_WHILE_HEARD: Duration = Duration::from_secs(10);

/// How long changes count as heard.
const SILENCE: Duration = Duration::from_secs(2);

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
    /// When changes were last heard, and how many there were then.
    heard: Option<(Instant, u64)>,
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
        Self { read, status, entries: HashMap::new(), heard: None, next_reading: 0 }
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

    /// How long entries are good for at this moment.
    fn good_for(&self) -> Duration {
        let is_heard = self.heard.is_some_and(|(heard, _)| heard.elapsed() < SILENCE);
        if is_heard { FRESH_WHILE_HEARD } else { FRESH }
    }

    /// Lets go of what is not good any more; of everything that nobody waits for, if that is not enough.
    fn make_room(&mut self) {
        if self.entries.len() < MOST_ENTRIES {
            return;
        }
        let good_for = self.good_for();
        self.entries.retain(|_, entry| entry.is_good(good_for));
        if self.entries.len() >= MOST_ENTRIES {
            self.entries.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
        }
    }

    /// Lets go of a client. Who waits for a reading that began before the change gets one that begins
    /// after it.
    fn forget(&mut self, id: &str, context: &mut Context<Self>) {
        if let Some(Entry::Asked { waiting, .. }) = self.entries.remove(id) {
            let mut waiting = waiting.into_iter();
            if let Some(first) = waiting.next() {
                self.ask(id.to_owned(), first, context);
                if let Some(Entry::Asked { waiting: now, .. }) = self.entries.get_mut(id) {
                    now.extend(waiting);
                }
            }
        }
    }
}

impl Entry {
    fn is_good(&self, good_for: Duration) -> bool {
        match self {
            Self::Known { since, .. } => since.elapsed() < good_for,
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
        self.heard = None;
    }
}

impl Handler<FindClient> for Clients {
    type Result = ResponseFuture<Found>;

    fn handle(&mut self, FindClient(id): FindClient, context: &mut Context<Self>) -> Self::Result {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Box::pin(std::future::ready(Ok(None)));
        }
        let (reply, answer) = oneshot::channel();
        let good_for = self.good_for();
        match self.entries.get_mut(&id) {
            Some(Entry::Known { client, since }) if since.elapsed() < good_for => {
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
        self.forget(&id, context);
    }
}

impl Handler<Heard> for Clients {
    type Result = ();

    fn handle(&mut self, Heard { changes }: Heard, context: &mut Context<Self>) {
        let before = self.heard.replace((Instant::now(), changes));
        if before.is_none_or(|(_, before)| before != changes) {
            self.entries.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
            let asked: Vec<String> = self.entries.keys().cloned().collect();
            for id in asked {
                self.forget(&id, context);
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
