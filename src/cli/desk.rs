//! What a command on people, clients or sessions works with: the store, its time, and who acts.

use crate::actors::db_writer::DbWriter;
use crate::actors::mailbox::Mailbox;
use crate::administration::By;
use crate::cli::{Failure, Format};
use crate::clock::Clock;
use crate::config::settings::{Settings, StoreUrl};
use crate::startup;
use crate::store::error::OpenError;
use crate::store::model::Actor;
use crate::store::{self, Store};

/// What becomes of a database in which nothing of Latchkey is yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is made, as the server's first start would: for what is prepared before that.
    Made,
    /// The command refuses: there is nothing to be read or changed, and the address is perhaps mistaken.
    Refused,
}

/// Opens the store for a command. A schema that is there is never changed in passing: servers of another version may
/// use it, or it is what an operator would go back to.
///
/// # Errors
/// A sentence on what stood in the way.
pub(super) async fn open_store(
    settings: &Settings,
    clock: &Clock,
    absent: Absent,
) -> Result<Store, Failure> {
    match store::check_schema(&settings.store).await {
        Err(OpenError::Outdated { found: 0, .. }) if absent == Absent::Made => {}
        Err(OpenError::Outdated { found: 0, .. }) => return Err(nothing_there(settings)),
        Err(OpenError::Outdated { found, needed }) => {
            return Err(Failure::new(format!(
                "The database schema is at version {found}, and this binary needs {needed}. `latchkey migrate` brings it up to date; this command changes no schema."
            )));
        }
        other => other.map_err(Failure::of)?,
    }
    startup::open_store(settings, clock).await.map_err(Failure::of)
}

fn nothing_there(settings: &Settings) -> Failure {
    let what = match &settings.store.url {
        StoreUrl::Sqlite(path) if path.exists() => {
            format!("{} holds nothing of Latchkey yet", path.display())
        }
        StoreUrl::Sqlite(path) => format!("There is no database {} yet", path.display()),
        StoreUrl::Postgres(_) => "The database holds nothing of Latchkey yet".to_owned(),
    };
    Failure::new(format!(
        "{what}. The server's first start makes it, and so does `latchkey migrate`. If it should be there, look at store.url: `latchkey config` says where it comes from."
    ))
}

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
    pub(super) async fn open(
        settings: &'s Settings,
        format: Format,
        absent: Absent,
    ) -> Result<Self, Failure> {
        let clock = Clock::system();
        let store = open_store(settings, &clock, absent).await?;
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
