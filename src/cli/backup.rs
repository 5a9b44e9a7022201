//! `latchkey backup FILE`: one consistent copy of a SQLite database, beside a live server.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::progress::{Far, Progress};
use crate::cli::{Failure, Format, output};
use crate::clock::Stopwatch;
use crate::config::Loaded;
use crate::config::settings::{AvatarStore, Settings, StoreUrl};
use crate::store::postgres;
use crate::store::sqlite::copy::{self, Contents, CopyError, Step};

/// What stands behind the name of a file that is not whole yet.
const PARTIAL: &str = ".partial";

/// Writes the backup: whole and checked under its name, or not at all.
///
/// # Errors
/// A sentence on what stood in the way; nothing is left behind then.
pub async fn run(loaded: &Loaded, format: Format, file: &Path) -> Result<(), Failure> {
    let settings = &loaded.settings;
    let database = match &settings.store.url {
        StoreUrl::Sqlite(path) => path.clone(),
        StoreUrl::Postgres(url) => {
            let address = postgres::address_without_password(url).map_err(Failure::of)?;
            let file = output::quoted(&file.display().to_string());
            return Err(Failure::new(format!(
                "`latchkey backup` copies SQLite files. This store is PostgreSQL, which is backed up by its own program, \
                 while servers run:\n\n  pg_dump --format=custom --file={file}{} --dbname={}",
                schema_option(settings),
                output::quoted(&address)
            )));
        }
    };
    check_name(file)?;
    if !database.exists() {
        return Err(Failure::new(format!(
            "There is no database {} yet: nothing to back up.",
            database.display()
        )));
    }
    let watch = Stopwatch::start();
    let mut progress = Progress::start()?;
    let new = NewFile::begin(file)?;
    let (from, to) = (database.clone(), new.partial.clone());
    let work = move |stop: &copy::Stop, tell: &mut dyn FnMut(Far)| {
        let mut size = 0;
        copy::copy(&from, &to, stop, |step| {
            tell(match step {
                Step::Copied { done, all } => {
                    size = all;
                    let what = format!("{} of {} copied", output::size(done), output::size(all));
                    Far { done, all, what }
                }
                Step::Checking => Far { done: size, all: size, what: "checking".to_owned() },
            });
        })
    };
    let copied = progress.watch(work).await?;
    progress.finish();
    let contents = copied.map_err(|error| not_copied(&database, file, error))?;
    let bytes = new.finish()?;
    let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    match format {
        Format::Json => output::json(&json!({
            "file": file, "bytes": bytes, "took_ms": took_ms, "taken_at": contents.taken_at,
            "schema": contents.schema, "users": contents.users, "sessions": contents.sessions,
            "keys": contents.keys.len(), "not_included": not_included(loaded),
        })),
        Format::Text => tell(loaded, file, &contents, bytes, took_ms),
    }
    Ok(())
}

fn tell(loaded: &Loaded, file: &Path, contents: &Contents, bytes: u64, took_ms: u64) {
    let Contents { users, sessions, .. } = contents;
    output::line(format_args!(
        "Wrote {}: {} in {}.{} s, checked, readable by you alone. It holds {}, {} and {}.\n\nNot in it, and needed with it:\n",
        file.display(),
        output::size(bytes),
        took_ms / 1_000,
        took_ms % 1_000 / 100,
        people(*users),
        output::count(*sessions, "sign-in"),
        output::count(contents.keys.len() as u64, "signing key")
    ));
    not_included(loaded).iter().for_each(|line| output::line(format_args!("  {line}")));
}

/// "1 person", "2 people".
pub(super) fn people(count: u64) -> String {
    if count == 1 { "1 person".to_owned() } else { format!("{count} people") }
}

/// What a database needs beside it.
fn not_included(loaded: &Loaded) -> Vec<String> {
    let Settings { avatars, keys, .. } = &loaded.settings;
    let mut missing = vec![
        "the server secret (server.secret_key): without it the signing keys do not open".to_owned(),
    ];
    missing.push(pictures(&avatars.store));
    if !keys.files.is_empty() {
        let files: Vec<_> = keys.files.iter().map(|file| file.display().to_string()).collect();
        missing.push(format!("the key files: {}", files.join(", ")));
    }
    missing
        .extend(loaded.file.as_ref().map(|file| format!("the configuration: {}", file.display())));
    missing
}

/// Where the pictures are.
pub(super) fn pictures(store: &AvatarStore) -> String {
    match store {
        AvatarStore::File(folder) => format!("the pictures: the folder {}", folder.display()),
        AvatarStore::S3 { bucket, prefix, .. } => {
            format!("the pictures: the bucket {bucket}, below \"{prefix}\"")
        }
    }
}

/// `--schema`, where one is configured.
pub(super) fn schema_option(settings: &Settings) -> String {
    let option = |schema: &String| format!(" --schema={}", output::quoted(schema));
    settings.store.schema.as_ref().map(option).unwrap_or_default()
}

fn check_name(file: &Path) -> Result<(), Failure> {
    if file == Path::new("-") {
        return Err(Failure::usage(
            "A backup is checked before it counts, so it goes to a file and not to standard output. Name a file.",
        ));
    }
    if file.is_dir() || file.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::usage(format!(
            "{} is a folder. Name the file in it, such as {}.",
            file.display(),
            file.join("latchkey-backup.db").display()
        )));
    }
    if file.symlink_metadata().is_ok() {
        return Err(there_already(file));
    }
    Ok(())
}

fn there_already(file: &Path) -> Failure {
    Failure::new(format!(
        "{} is there already, and backups overwrite nothing. Choose another name.",
        file.display()
    ))
}

fn not_copied(database: &Path, file: &Path, error: CopyError) -> Failure {
    let shown = file.display();
    Failure::new(match error {
        CopyError::Stopped => format!("Stopped. Nothing was left of {shown}."),
        CopyError::Full => format!(
            "There is no room for {shown}: the disk is full. Nothing was left of it. Name a file on another disk, or make room."
        ),
        CopyError::Damaged(what) => format!(
            "{} is damaged, and so was its copy, which was removed: {what}. Keep the file as it is, and restore an earlier backup.",
            database.display()
        ),
        CopyError::Foreign => {
            format!("{} is no database of Latchkey. There is no backup.", database.display())
        }
        CopyError::Open(error) => format!("{error}. There is no backup."),
        error => format!("{shown} could not be written: {error}. Nothing was left of it."),
    })
}

/// A file that appears under its name when it is whole.
struct NewFile {
    name: PathBuf,
    partial: PathBuf,
    /// Open until the end: closing any descriptor of a file ends the locks that SQLite has on it.
    file: File,
    is_whole: bool,
}

impl NewFile {
    fn begin(name: &Path) -> Result<Self, Failure> {
        let partial = with_suffix(name, PARTIAL);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::new(format!(
                "{} is there: another backup to this name is being written, or was cut off. Remove it if none is.",
                partial.display()
            )),
            std::io::ErrorKind::NotFound => Failure::new(format!(
                "There is no folder {}: make it first, readable by you alone.",
                folder_of(name).display()
            )),
            _ => Failure::about(&partial, "cannot be made", &error),
        })?;
        Ok(Self { name: name.to_owned(), partial, file, is_whole: false })
    }

    /// Makes it durable and gives it its name; answers its size.
    fn finish(mut self) -> Result<u64, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!(
                "{} could not be written: {error}. Nothing was left of it.",
                self.name.display()
            ))
        };
        let bytes = self.file.metadata().map_err(failed)?.len();
        self.file.sync_all().map_err(failed)?;
        match fs::hard_link(&self.partial, &self.name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(there_already(&self.name));
            }
            // Not every file system gives a file two names.
            Err(_) if self.name.symlink_metadata().is_ok() => {
                return Err(there_already(&self.name));
            }
            Err(_) => fs::rename(&self.partial, &self.name).map_err(failed)?,
        }
        self.is_whole = true;
        remove(&self.partial);
        sync_folder_of(&self.name).map_err(failed)?;
        Ok(bytes)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                remove(&with_suffix(&self.partial, suffix));
            }
        }
    }
}

/// Removes a file of ours; it may not be there.
pub(super) fn remove(path: &Path) {
    let _gone = fs::remove_file(path);
}

/// A path with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the names in a file's folder durable.
///
/// # Errors
/// If the folder cannot be read or flushed.
pub(super) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
