//! `latchkey restore FILE`: puts a backup in the place of a SQLite database, and keeps what was there.
//!
//! At every moment the database's name leads to a whole database, the old one or the new: the backup is copied
//! beside it, checked and made ready there; the old one is brought into one file, gets a second name under which it
//! is kept, and is replaced under its first by a rename.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::actors::key_ring;
use crate::administration::By;
use crate::cli::backup::{people, pictures, remove, schema_option, sync_folder_of, with_suffix};
use crate::cli::progress::{Far, Progress};
use crate::cli::{Failure, Format, output};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::{Settings, StoreUrl};
use crate::protocol::audit_trail::statement::Moment;
use crate::protocol::sealed::Sealer;
use crate::startup::{self, StartError};
use crate::store::model::Actor;
use crate::store::sqlite::copy::{self, Contents, CopyError, Stop};
use crate::store::{postgres, sqlite};

/// What stands behind the name of a database that is being made ready.
const NEW: &str = ".restoring";

/// Bytes that are copied between two looks at whether to go on.
const STEP: usize = 1 << 20;

/// Puts the backup in the database's place.
///
/// # Errors
/// A sentence on what stood in the way; the database is as it was then.
pub async fn run(
    settings: &Settings,
    format: Format,
    config: Option<&Path>,
    file: &Path,
) -> Result<(), Failure> {
    let configured = match &settings.store.url {
        StoreUrl::Sqlite(path) => path,
        StoreUrl::Postgres(url) => {
            let address = postgres::address_without_password(url).map_err(Failure::of)?;
            let file = output::quoted(&file.display().to_string());
            return Err(Failure::new(format!(
                "`latchkey restore` puts SQLite files in place. This store is PostgreSQL, whose own program restores a dump \
                 into an empty database, with all servers stopped:\n\n  pg_restore --exit-on-error --single-transaction --no-owner{} --dbname={} {file}",
                schema_option(settings),
                output::quoted(&address),
            )));
        }
    };
    let database = find(configured)?;
    check_file(file, &database)?;
    let _lock = lock(settings, configured)?;
    let new = NewDatabase::begin(&database)?;
    let mut progress = Progress::start()?;
    let contents = bring(&mut progress, file, &new).await?;
    progress.finish();
    let clock = Clock::system();
    can_sign(settings, &contents, clock.now())?;

    let is_ready = !contents.is_outdated || settings.store.migrate_on_start;
    if contents.is_outdated && is_ready {
        sqlite::migrate(&new.path).await.map_err(unchanged)?;
    }
    let details = json!({ "taken_at": contents.taken_at.map(Moment), "schema": contents.schema });
    let entry = By::local(Actor::CommandLine, clock.now()).entry(
        "database.restored",
        "database:sqlite".to_owned(),
        details,
    );
    // An older schema may have no place for the entry.
    copy::settle(&new.path, is_ready.then_some(&entry)).map_err(unchanged)?;
    let kept = new.take_the_place_of(&database, clock.now())?;

    let restored = Restored { settings, config, file, database, contents, kept, is_ready };
    match format {
        Format::Json => output::json(&restored.json()),
        Format::Text => restored.tell(),
    }
    Ok(())
}

/// The database's own path, whatever links lead to it; its folder is made if it is missing.
fn find(configured: &Path) -> Result<PathBuf, Failure> {
    sqlite::make_folder_of(configured).map_err(Failure::of)?;
    match fs::canonicalize(configured) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(configured.to_owned()),
        Err(error) => Err(Failure::about(configured, "cannot be found", &error)),
    }
}

fn check_file(file: &Path, database: &Path) -> Result<(), Failure> {
    if file == Path::new("-") {
        return Err(Failure::usage(
            "A backup is read twice, so it comes from a file and not from standard input. Name the file.",
        ));
    }
    let found =
        fs::metadata(file).map_err(|error| Failure::about(file, "cannot be read", &error))?;
    if !found.is_file() {
        return Err(Failure::usage(format!(
            "{} is not a file. Name the backup itself.",
            file.display()
        )));
    }
    let same = |present: fs::Metadata| (present.dev(), present.ino()) == (found.dev(), found.ino());
    if fs::metadata(database).is_ok_and(same) {
        return Err(Failure::new(format!("{} is the database itself.", file.display())));
    }
    Ok(())
}

fn lock(settings: &Settings, database: &Path) -> Result<Option<File>, Failure> {
    startup::lock_database(settings).map_err(|error| match error {
        StartError::Locked(_) => Failure::new(format!(
            "A server uses {}: stop it first. Nothing was changed.",
            database.display()
        )),
        other => Failure::of(other),
    })
}

/// Copies the backup beside the database and says what it holds.
async fn bring(
    progress: &mut Progress,
    file: &Path,
    new: &NewDatabase,
) -> Result<Contents, Failure> {
    let (from, to) = (file.to_owned(), new.path.clone());
    let work = move |stop: &Stop, tell: &mut dyn FnMut(Far)| {
        copy_file(&from, &to, stop, tell)?;
        // What was not yet brought into a database that was copied by other means.
        let log = with_suffix(&from, "-wal");
        if log.exists() {
            copy_file(&log, &with_suffix(&to, "-wal"), stop, tell)?;
        }
        tell(Far { done: 1, all: 1, what: "checking".to_owned() });
        copy::examine(&to, stop)
    };
    progress.watch(work).await?.map_err(|error| {
        let shown = file.display();
        Failure::new(match error {
            CopyError::Stopped => "Stopped. Nothing was changed.".to_owned(),
            CopyError::Full => format!(
                "There is no room beside the database for a copy of {shown}: the disk is full. Nothing was changed."
            ),
            CopyError::Damaged(what) => format!(
                "{shown} is no database, or is damaged: {what}. Nothing was changed; restore another backup."
            ),
            CopyError::Foreign => {
                format!("{shown} is a database, but none of Latchkey. Nothing was changed.")
            }
            error => format!("{shown} cannot be restored: {error}. Nothing was changed."),
        })
    })
}

fn copy_file(
    from: &Path,
    to: &Path,
    stop: &Stop,
    tell: &mut dyn FnMut(Far),
) -> Result<(), CopyError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            CopyError::Full
        }
        _ => CopyError::Failed(error.to_string()),
    };
    let mut source = File::open(from).map_err(failed)?;
    let all = source.metadata().map_err(failed)?.len();
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .map_err(failed)?;
    let mut buffer = vec![0; STEP];
    let mut done = 0;
    loop {
        let read = source.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..read]).map_err(failed)?;
        done += read as u64;
        let what = format!("{} of {} copied", output::size(done), output::size(all));
        tell(Far { done, all, what });
        if stop.load(Ordering::Relaxed) {
            return Err(CopyError::Stopped);
        }
    }
}

/// A server that cannot sign does not start: better not to put such a database in place.
fn can_sign(settings: &Settings, contents: &Contents, now: Timestamp) -> Result<(), Failure> {
    let sealer = Sealer::new(&settings.server.secret_key);
    let tokens_live_for = startup::key_tokens_live_for(settings);
    key_ring::all_open(&sealer, &contents.keys, tokens_live_for, now).map_err(unchanged)
}

fn unchanged(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{error}. Nothing was changed."))
}

/// A database that waits beside the other.
struct NewDatabase {
    path: PathBuf,
}

impl NewDatabase {
    /// What an earlier run may have left is taken away: who has the lock is alone.
    fn begin(database: &Path) -> Result<Self, Failure> {
        let new = Self { path: with_suffix(database, NEW) };
        new.remove();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new.path)
            .map_err(|error| Failure::about(&new.path, "cannot be made", &error))?;
        Ok(new)
    }

    /// Gives it the database's name, for good; answers under which name the database that was there is kept.
    fn take_the_place_of(
        self,
        database: &Path,
        now: Timestamp,
    ) -> Result<Option<PathBuf>, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!(
                "{} could not be replaced: {error}. It is as it was.",
                database.display()
            ))
        };
        let new = File::open(&self.path).map_err(failed)?;
        give_to_owner(&self.path, database).map_err(failed)?;
        new.sync_all().map_err(failed)?;
        let kept = keep(database, now)?;
        fs::rename(&self.path, database).map_err(failed)?;
        sync_folder_of(database).map_err(failed)?;
        Ok(kept)
    }

    fn remove(&self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            remove(&with_suffix(&self.path, suffix));
        }
    }
}

impl Drop for NewDatabase {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Who restores as root does it for the user as whom the server runs: the owner of the present database, or of
/// the folder.
fn give_to_owner(new: &Path, database: &Path) -> std::io::Result<()> {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
    let owner =
        fs::metadata(database).or_else(|_| fs::metadata(folder.unwrap_or(Path::new("."))))?;
    let present = fs::metadata(new)?;
    if present.uid() == 0 && (owner.uid(), owner.gid()) != (present.uid(), present.gid()) {
        chown(new, Some(owner.uid()), Some(owner.gid()))?;
        let lock = with_suffix(database, ".lock");
        if fs::metadata(&lock)?.uid() == 0 {
            chown(lock, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

/// Gives the database that is there a second name, under which it stays.
fn keep(database: &Path, now: Timestamp) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "{} could not be kept under another name: {error}. It is as it was.",
            database.display()
        ))
    };
    let logs = ["-wal", "-shm", "-journal"];
    let moment = Moment(now).to_string().replace([':', '-'], "");
    let kept = with_suffix(database, &format!(".before-restore-{moment}"));
    if database.exists() {
        match copy::fold(database) {
            Ok(()) => {}
            Err(CopyError::InUse) => {
                return Err(Failure::new(format!(
                    "Another program has {} open: end it first. Nothing was changed.",
                    database.display()
                )));
            }
            // It cannot be read, which may be why it is replaced: it is kept as it is, in all its files.
            Err(error) => output::complain(format_args!(
                "The database that is there cannot be read ({error}). It is kept as it is."
            )),
        }
        if kept.exists() {
            return Err(failed(&format!("{} is there already", kept.display())));
        }
        if fs::hard_link(database, &kept).is_err() {
            // Not every file system gives a file two names.
            fs::copy(database, &kept)
                .and_then(|_| File::open(&kept)?.sync_all())
                .map_err(|error| failed(&error))?;
        }
    }
    // A log beside the new database would be taken for its own.
    let mut is_there = database.exists();
    for suffix in logs {
        let log = with_suffix(database, suffix);
        if log.exists() {
            is_there = true;
            fs::rename(&log, with_suffix(&kept, suffix)).map_err(|error| failed(&error))?;
        }
    }
    sync_folder_of(database).map_err(|error| failed(&error))?;
    Ok(is_there.then_some(kept))
}

/// What was done, and what is left to do.
struct Restored<'a> {
    settings: &'a Settings,
    config: Option<&'a Path>,
    file: &'a Path,
    database: PathBuf,
    contents: Contents,
    kept: Option<PathBuf>,
    is_ready: bool,
}

impl Restored<'_> {
    /// What the database knows nothing of happened from this moment on.
    fn known_until(&self) -> Option<Timestamp> {
        self.contents.taken_at.or(self.contents.last_entry)
    }

    /// Everything that was signed in by the backup's time. Where the file does not say when it was taken, all until
    /// now: its sessions can be younger than its last entry.
    fn revoke(&self) -> String {
        let taken_at = self.contents.taken_at;
        let before = taken_at.map_or_else(|| "0".to_owned(), |at| Moment(at).to_string());
        self.command(&format!("sessions revoke --before {before}"))
    }

    /// What is in the trail of the database that was replaced, and not in this one.
    fn read_the_rest(&self) -> Option<String> {
        // In whole seconds: a little too much is listed rather than too little.
        let since = self.known_until()?.to_rfc3339();
        let url = output::quoted(&format!("sqlite:{}", self.kept.as_ref()?.display()));
        let tail = format!("audit tail --limit 10000 --since {since}");
        Some(format!("LATCHKEY_STORE__URL={url} {}", self.command(&tail)))
    }

    fn command(&self, words: &str) -> String {
        let config = self.config.map(|config| output::quoted(&config.display().to_string()));
        let config = config.map(|config| format!(" --config {config}")).unwrap_or_default();
        format!("latchkey {words}{config}")
    }

    fn json(&self) -> serde_json::Value {
        let Contents { taken_at, schema, users, sessions, .. } = &self.contents;
        let migrate = (!self.is_ready).then(|| self.command("migrate"));
        let next: Vec<String> =
            migrate.into_iter().chain([self.revoke()]).chain(self.read_the_rest()).collect();
        json!({
            "database": self.database, "file": self.file, "taken_at": taken_at, "schema": schema,
            "users": users, "sessions": sessions, "kept_as": self.kept, "next": next,
        })
    }

    fn tell(&self) {
        let Contents { taken_at, users, sessions, .. } = &self.contents;
        let as_of = taken_at.map_or_else(
            || "The file does not say when it was taken".to_owned(),
            |at| format!("It is as it was at {}", at.to_rfc3339()),
        );
        output::line(format_args!(
            "Restored {} from {}. {as_of}: {}, {}.",
            self.database.display(),
            self.file.display(),
            people(*users),
            output::count(*sessions, "sign-in")
        ));
        if let Some(kept) = &self.kept {
            output::line(format_args!("The database that was there is kept as {}", kept.display()));
        }
        output::line("\nWhat happened since is undone. Before you start the server:\n");
        if !self.is_ready {
            output::line(format_args!(
                "  {}\n    brings its schema up to date\n",
                self.command("migrate")
            ));
        }
        output::line(format_args!(
            "  {}\n    ends what was signed in then: what was signed out or found stolen since would be signed in again\n",
            self.revoke()
        ));
        if let Some(command) = self.read_the_rest() {
            output::line(format_args!(
                "  {command}\n    lists what was done since, to do again what must be: people locked or deleted, keys retired as stolen\n"
            ));
        }
        output::line(format_args!(
            "Bring back {}, from the same time or later.",
            pictures(&self.settings.avatars.store)
        ));
    }
}
