//! Connections: how the file is made and opened, and what its errors mean.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::error::{OpenError, StoreError};

/// How long a statement waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the switch to write-ahead logging is tried again: somebody wins each time.
const SWITCH_ATTEMPTS: usize = 16;

/// More than there are statements, so that each is parsed once.
const CACHED_STATEMENTS: usize = 64;

/// Opens the file for writing; makes it, readable by this user alone, if it is missing.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    create(path).map_err(|error| unreachable(path, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, flags, 2048)?;
    let mode = switch_to_wal(&connection).map_err(|error| unreachable(path, error))?;
    if mode != "wal" {
        return Err(unreachable(path, "this file system does not support write-ahead logging"));
    }
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 16777216")
        .map_err(|error| unreachable(path, error))?;
    Ok(connection)
}

/// Switches to write-ahead logging, unless that was done before; returns the mode.
///
/// Of several processes that switch a new file at once, SQLite refuses some immediately, whatever
/// the timeout: each holds the lock that the other waits for. A transaction does wait, so the one
/// who was refused begins one, and then finds the file switched.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<String> {
    let switch =
        || connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
    for _ in 0..SWITCH_ATTEMPTS {
        match switch() {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
            }
            result => return result,
        }
    }
    switch()
}

/// Opens the file, which must exist, for reading.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX, 512)
}

fn open(path: &Path, flags: OpenFlags, cache_kibibytes: i64) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        // Otherwise a plan is made again whenever another value is bound: half of a rotation's time.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // A negative size is in KiB. The file system caches pages, too, and is shared.
        connection.pragma_update(None, "cache_size", -cache_kibibytes)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| unreachable(path, error))
}

/// Makes the folder of a file, for this user alone, if it is missing.
pub(super) fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

fn create(path: &Path) -> io::Result<()> {
    make_folder_of(path)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // Closing any descriptor of a file ends all of the process's locks on it, those of an
            // SQLite connection opened meanwhile, too. So this one stays open.
            std::mem::forget(file);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn unreachable(path: &Path, cause: impl std::fmt::Display) -> OpenError {
    OpenError::Unreachable(format!(
        "{} cannot be opened: {cause}; does the folder exist and may this user write to it?",
        path.display()
    ))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let message = error.to_string();
        match error {
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..) => Self::Inconsistent(message),
            _ => match error.sqlite_error_code() {
                Some(
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen,
                ) => Self::Unavailable(message),
                Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure) => {
                    Self::Unwritable(message)
                }
                _ => Self::Refused(message),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pragma(connection: &Connection, name: &str) -> String {
        let query = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_commit_is_on_the_disk_before_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&folder.path().join("latchkey.db")).unwrap();
        assert_eq!(pragma(&connection, "journal_mode"), "wal");
        assert_eq!(pragma(&connection, "synchronous"), "2", "FULL");
    }

    #[test]
    fn references_are_enforced() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&folder.path().join("latchkey.db")).unwrap();
        assert_eq!(pragma(&connection, "foreign_keys"), "1");
    }

    #[test]
    fn a_connection_for_reading_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        drop(open_for_writing(&path).unwrap());
        let error = open_for_reading(&path).unwrap().execute_batch("CREATE TABLE t (n)");
        let error = StoreError::from(error.unwrap_err());
        assert!(matches!(error, StoreError::Unwritable(_)), "{error}");
    }

    #[test]
    fn a_lock_that_is_not_given_up_is_a_transient_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latchkey.db");
        let holder = open_for_writing(&path).unwrap();
        let waiting = open_for_writing(&path).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        waiting.busy_timeout(Duration::ZERO).unwrap();
        let error = StoreError::from(waiting.execute_batch("BEGIN IMMEDIATE").unwrap_err());
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
}
