//! Whole copies of a database file: taken while others write, and looked at before one takes a database's
//! place.
//!
//! A copy is made by SQLite's online backup, page by page, from a connection that holds one read transaction
//! all the while. In write-ahead logging such a transaction sees the database as it was when it began, so that
//! no commit of the server makes the copy begin anew, and it keeps nobody from writing. `VACUUM INTO` would give
//! the same snapshot, but in one statement that tells nobody how far it is, and builds every index again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::connection::{open_for_reading, unreachable};
use super::{audit, migrations, row, signing_keys, users};
use crate::clock::{Clock, Timestamp};
use crate::store::error::{OpenError, StoreError};
use crate::store::model::{AuditEntry, StoredKey};
use crate::store::trail::{Notes, Trail};

/// Pages that are copied between two looks at whether to go on: 1 MiB.
const STEP: i32 = 256;

/// Steps of SQLite's machine between two looks at whether to go on.
const LOOK: i32 = 100_000;

/// What a copy tells of itself, in the copy alone: who restores it must know what may have changed since.
const NOTE: &str = "latchkey_backup";

/// Set to end the work between two steps.
pub type Stop = Arc<AtomicBool>;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of all bytes are copied.
    Copied {
        /// Bytes that are there.
        done: u64,
        /// All bytes.
        all: u64,
    },
    /// What was copied is being read again.
    Checking,
}

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Whatever was committed before this moment is in it, and nothing that was committed much later; `None`
    /// if the file does not say.
    pub taken_at: Option<Timestamp>,
    /// When the last thing happened that it knows of.
    pub last_entry: Option<Timestamp>,
    /// The newest migration that it has seen.
    pub schema: u32,
    /// Whether migrations of this binary are missing.
    pub is_outdated: bool,
    /// People, tombstones apart.
    pub users: u64,
    /// Sign-ins, here and at apps, that have not ended.
    pub sessions: u64,
    /// Its signing keys.
    pub keys: Vec<StoredKey>,
}

/// Why there is no copy, or why one is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Whoever waited wants it no more.
    #[error("stopped")]
    Stopped,
    /// There is no room left for it.
    #[error("the disk is full")]
    Full,
    /// It is no database, or it is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is a database of something else.
    #[error("it is no database of Latchkey")]
    Foreign,
    /// Somebody else is using it.
    #[error("somebody else is using it")]
    InUse,
    /// It cannot be opened, or its schema is too new.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::OperationInterrupted) => Self::Stopped,
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged(error.to_string())
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Copies a database that others may be writing to into an empty file, and checks what was copied.
///
/// `tell` hears how far it is. The file is complete, and in need of no other, when this returns; flushing it
/// is the caller's. Blocks.
///
/// # Errors
/// [`CopyError`]; the file is of no use then.
pub fn copy(
    from: &Path,
    to: &Path,
    stop: &Stop,
    mut tell: impl FnMut(Step),
) -> Result<Contents, CopyError> {
    let source = open_for_reading(from)?;
    source.execute_batch("BEGIN")?;
    // The snapshot is that of the first read.
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let taken_at = just_after_everything(&source)?;
    let page_size = source.query_row("PRAGMA page_size", [], |row| row::count(row, 0))?;

    let mut target = open_private(to)?;
    // A file that is cut off is thrown away whole, and flushed once, at the end.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    {
        let backup = Backup::new(&source, &mut target)?;
        loop {
            let step = backup.step(STEP)?;
            let progress = backup.progress();
            let (all, left) = (progress.pagecount.max(0), progress.remaining.max(0));
            let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0).saturating_mul(page_size);
            tell(Step::Copied { done: bytes(all - left), all: bytes(all) });
            match step {
                StepResult::Done => break,
                _ if stop.load(Ordering::Relaxed) => return Err(CopyError::Stopped),
                StepResult::More => {}
                _ => return Err(CopyError::InUse),
            }
        }
    }
    drop(source);
    stop_when_told(&mut target, stop)?;
    tell(Step::Checking);
    is_sound(&target, "quick_check")?;
    note(&target, taken_at)?;
    stand_alone(&target)?;
    let mut contents = contents(&target)?;
    contents.taken_at = Some(taken_at);
    target.close().map_err(|(_, error)| error)?;
    Ok(contents)
}

/// Says what a private copy of somebody's file holds, after checking every page, row and index. Blocks.
///
/// # Errors
/// [`CopyError`]: it is damaged, something else's, or newer than this binary.
pub fn examine(path: &Path, stop: &Stop) -> Result<Contents, CopyError> {
    let mut connection = open_private(path)?;
    stop_when_told(&mut connection, stop)?;
    // What a write-ahead log beside it holds becomes part of it.
    stand_alone(&connection)?;
    is_sound(&connection, "integrity_check")?;
    contents(&connection)
}

/// Makes a private copy ready to take a database's place: what it says of itself as a copy is taken out, `entry`
/// is added to its trail, and it needs no file beside it. Blocks.
///
/// # Errors
/// [`CopyError`].
pub fn settle(path: &Path, entry: Option<&AuditEntry>) -> Result<(), CopyError> {
    let connection = open_private(path)?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; DROP TABLE IF EXISTS {NOTE}"))?;
    if let Some(entry) = entry {
        let mut notes = Notes::default();
        notes.add(entry);
        audit::append(&connection, &Trail::default().link(notes))?;
    }
    connection.execute_batch("COMMIT")?;
    stand_alone(&connection)?;
    connection.close().map_err(|(_, error)| error.into())
}

/// Brings everything of a database that nobody uses into its one file, so that it can be moved. Blocks.
///
/// # Errors
/// [`CopyError::InUse`] if somebody has it open; [`CopyError::Damaged`] and the like if it cannot be read.
pub fn fold(path: &Path) -> Result<(), CopyError> {
    stand_alone(&open_private(path)?)
}

/// Opens a file that is there, to write to it.
fn open_private(path: &Path) -> Result<Connection, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| unreachable(path, error).into())
}

fn stop_when_told(connection: &mut Connection, stop: &Stop) -> Result<(), CopyError> {
    let stop = Arc::clone(stop);
    Ok(connection.progress_handler(LOOK, Some(move || stop.load(Ordering::Relaxed)))?)
}

/// A moment after all that the snapshot holds, and before all that it does not, as far as clocks go.
fn just_after_everything(snapshot: &Connection) -> Result<Timestamp, CopyError> {
    let now = Clock::system_time();
    if !snapshot.table_exists(None, "token_families")? {
        return Err(CopyError::Foreign);
    }
    // Ids begin with the time at which they were made.
    let newest = "SELECT created_at FROM token_families ORDER BY id DESC LIMIT 1";
    let newest = snapshot.query_row(newest, [], |row| row::time(row, 0)).optional()?;
    let after = |moment: Timestamp| Timestamp::from_millis(moment.millis().saturating_add(1));
    Ok(newest.map_or(now, |newest| after(newest).max(now)))
}

fn is_sound(connection: &Connection, check: &str) -> Result<(), CopyError> {
    let mut statement = connection.prepare(&format!("PRAGMA {check}(1)"))?;
    let found: Option<String> = statement.query_row([], |row| row.get(0)).optional()?;
    match found.as_deref() {
        Some("ok") => Ok(()),
        Some(other) => Err(CopyError::Damaged(other.trim().replace('\n', " "))),
        None => Err(CopyError::Damaged("it cannot be checked".to_owned())),
    }
}

/// Leaves write-ahead logging, in which a database is more than one file; a server turns it on again.
fn stand_alone(connection: &Connection) -> Result<(), CopyError> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode == "delete" { Ok(()) } else { Err(CopyError::InUse) }
}

fn note(connection: &Connection, taken_at: Timestamp) -> Result<(), CopyError> {
    connection.execute_batch(&format!(
        "DROP TABLE IF EXISTS {NOTE};
         CREATE TABLE {NOTE} (taken_at INTEGER NOT NULL, version TEXT NOT NULL)"
    ))?;
    let insert = format!("INSERT INTO {NOTE} VALUES (?1, ?2)");
    connection.execute(&insert, params![taken_at.millis(), env!("CARGO_PKG_VERSION")])?;
    Ok(())
}

fn contents(connection: &Connection) -> Result<Contents, CopyError> {
    for table in ["refinery_schema_history", "users", "token_families", "signing_keys"] {
        if !connection.table_exists(None, table)? {
            return Err(CopyError::Foreign);
        }
    }
    let is_outdated = match migrations::judge(connection) {
        Ok(()) => false,
        Err(OpenError::Outdated { .. }) => true,
        Err(other) => return Err(other.into()),
    };
    let schema = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    let sessions = "SELECT count(*) FROM token_families WHERE revoked_at IS NULL";
    let last_entry = "SELECT at FROM audit_events ORDER BY id DESC LIMIT 1";
    let taken_at = if connection.table_exists(None, NOTE)? {
        let query = format!("SELECT taken_at FROM {NOTE}");
        connection.query_row(&query, [], |row| row::time(row, 0)).optional()?
    } else {
        None
    };
    Ok(Contents {
        taken_at,
        last_entry: connection.query_row(last_entry, [], |row| row::time(row, 0)).optional()?,
        schema: connection.query_row(schema, [], |row| row.get(0))?,
        is_outdated,
        users: users::count(connection)?,
        sessions: connection.query_row(sessions, [], |row| row::count(row, 0))?,
        keys: signing_keys::all(connection)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::Actor;

    fn migrated(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("latchkey.db");
        migrations::migrate(&path).unwrap();
        path
    }

    fn write(connection: &Connection, number: usize) {
        connection
            .execute(
                "INSERT INTO spent (id, until) VALUES (?1, ?2)",
                params![format!("{number:0>900}"), 1],
            )
            .unwrap();
    }

    fn empty(path: &Path) {
        std::fs::File::create_new(path).unwrap();
    }

    #[test]
    fn commits_during_a_copy_neither_wait_nor_start_it_anew_nor_get_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = migrated(folder.path());
        let writer = super::super::connection::open_for_writing(&path).unwrap();
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        (0..2_000).for_each(|number| write(&writer, number));
        let to = folder.path().join("copy.db");
        empty(&to);
        let (mut steps, mut last) = (0, 0);
        let mut written = 2_000;
        copy(&path, &to, &Stop::default(), |step| {
            write(&writer, written);
            written += 1;
            if let Step::Copied { done, .. } = step {
                assert!(done > last, "the copy never goes back: {done} after {last}");
                (steps, last) = (steps + 1, done);
            }
        })
        .unwrap();
        assert!(steps > 1, "{steps} steps");
        let copied = Connection::open(&to).unwrap();
        let count: i64 =
            copied.query_row("SELECT count(*) FROM spent", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 2_000);
    }

    #[test]
    fn a_copy_is_one_file_that_says_when_it_was_taken_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = migrated(folder.path());
        let to = folder.path().join("copy.db");
        empty(&to);
        let taken = copy(&path, &to, &Stop::default(), |_| {}).unwrap();
        assert_eq!(examine(&to, &Stop::default()).unwrap(), taken);
        let entry = AuditEntry::new(
            Clock::system_time(),
            Actor::CommandLine,
            "a.b",
            "database:sqlite".to_owned(),
        );
        settle(&to, Some(&entry)).unwrap();
        let settled = examine(&to, &Stop::default()).unwrap();
        assert_eq!((settled.taken_at, settled.last_entry), (None, Some(entry.at)));
        let names = std::fs::read_dir(folder.path()).unwrap();
        let copies: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("copy"))
            .collect();
        assert_eq!(copies, ["copy.db"]);
    }

    #[test]
    fn what_is_damaged_or_of_something_else_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = migrated(folder.path());
        fold(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let examined = examine(&path, &Stop::default());
        assert!(matches!(examined, Err(CopyError::Damaged(_))), "{examined:?}");

        let text = folder.path().join("text");
        std::fs::write(&text, "no database at all, but a long text".repeat(100)).unwrap();
        let examined = examine(&text, &Stop::default());
        assert!(matches!(examined, Err(CopyError::Damaged(_))), "{examined:?}");

        let foreign = folder.path().join("foreign.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let examined = examine(&foreign, &Stop::default());
        assert!(matches!(examined, Err(CopyError::Foreign)), "{examined:?}");
    }

    #[test]
    fn a_copy_ends_when_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = migrated(folder.path());
        let writer = super::super::connection::open_for_writing(&path).unwrap();
        (0..2_000).for_each(|number| write(&writer, number));
        let to = folder.path().join("copy.db");
        empty(&to);
        let stop = Stop::default();
        let copied = copy(&path, &to, &stop, |_| stop.store(true, Ordering::Relaxed));
        assert!(matches!(copied, Err(CopyError::Stopped)), "{copied:?}");
    }
}
