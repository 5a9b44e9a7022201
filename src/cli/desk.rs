//! What a command on people, clients or sessions works with: the store, its time, and who acts.

use crate::actors::db_writer::DbWriter;
use crate::actors::mailbox::Mailbox;
use crate::administration::By;
use crate::cli::{Failure, Format};
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::startup;
use crate::store::Store;
use crate::store::model::Actor;

/// What a command works with.
pub(super) struct Desk<'s> {
    /// The configuration.
    pub(super) settings: &'s Settings,
    /// How results are printed.
    pub(super) format: Format,
    /// Tells the store's time.
    pub(super) clock: Clock,
    /// The open store.
    pub(super) store: Store,
}

impl<'s> Desk<'s> {
    /// Opens the store.
    ///
    /// # Errors
    /// A sentence on what stood in the way.
    pub(super) async fn open(settings: &'s Settings, format: Format) -> Result<Self, Failure> {
        let clock = Clock::system();
        let store = startup::open_store(settings, &clock).await.map_err(Failure::of)?;
        Ok(Self { settings, format, clock, store })
    }

    /// The owner of the writes, for this command.
    pub(super) fn writer(&self) -> Mailbox<DbWriter> {
        startup::start_writer_alone(self.settings, &self.store)
    }

    /// The operator, now.
    pub(super) fn by(&self) -> By {
        By::local(Actor::CommandLine, self.clock.now())
    }
}
