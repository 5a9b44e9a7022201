//! `latchkey audit export`: the whole trail as JSON Lines, closed by a signed statement.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::json;
use uuid::Uuid;

use crate::actors::db_writer::apply;
use crate::actors::key_ring::Reload;
use crate::cli::desk::{self, Absent};
use crate::cli::{Failure, Format, output};
use crate::clock::{Clock, Stopwatch};
use crate::config::settings::Settings;
use crate::notary::{Notary, Wanted};
use crate::protocol::audit_chain::Digest;
use crate::protocol::audit_trail::export::{ClosingLine, ExportedEntry, write_line};
use crate::protocol::audit_trail::statement::{self, Closing, Head, Moment};
use crate::startup::{self, KeyActors};
use crate::store::ReadStore;
use crate::store::model::{Actor, AuditEntry, ChainHead, ChainedRow};
use crate::store::operation::AppendAudit;

/// Entries read at once.
const PAGE: u32 = 500;

/// Entries without a chain that are exported: one is enough to say that somebody else wrote it.
const UNCHAINED: u32 = 10_000;

/// How long to work before saying how far it is.
const SILENCE: Duration = Duration::from_secs(3);

/// Writes the trail, to a new file that nobody else can read or to standard output.
///
/// # Errors
/// A sentence on what stood in the way; a file that was begun is removed then.
pub async fn run(settings: &Settings, format: Format, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut output = BufWriter::new(std::io::stdout().lock());
        export(settings, &mut output).await?;
        return Ok(());
    };
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = create().map_err(|error| Failure::about(path, "cannot be made", &error))?;
    let written = write_to(settings, &file).await;
    if written.is_err() {
        // Half an export is none: its end is what says that it is whole.
        let _gone = std::fs::remove_file(path);
    }
    let closing = written?;
    match format {
        Format::Json => output::json(&json!({
            "file": path, "entries": closing.entries, "exported_at": closing.at, "digest": closing.digest,
        })),
        Format::Text => output::line(format_args!(
            "Exported {} to {}, readable by you alone: it holds personal values.\n\nAnybody who has it and the server's keys can check it:\n\n  latchkey audit verify {} --jwks jwks.json",
            output::entries(closing.entries),
            path.display(),
            path.display()
        )),
    }
    Ok(())
}

async fn write_to(settings: &Settings, file: &File) -> Result<Closing, Failure> {
    let mut output = BufWriter::new(file);
    let closing = export(settings, &mut output).await?;
    file.sync_all().map_err(Failure::of)?;
    Ok(closing)
}

/// Notes in the trail that it is exported, and writes it.
async fn export(settings: &Settings, output: &mut dyn Write) -> Result<Closing, Failure> {
    let clock = Clock::system();
    let store = desk::open_store(settings, &clock, Absent::Refused).await?;
    let KeyActors { writer, key_ring, keys } =
        startup::start_key_actors(settings, &clock, &store).map_err(Failure::of)?;
    key_ring.ask(Reload).await.map_err(Failure::of)?.map_err(Failure::of)?;
    let notary = startup::notary(settings, &clock, &store, &writer, &keys);
    // Before anything is written: without a key there is no export.
    notary.signer().map_err(Failure::of)?;
    let entry = AuditEntry::new(
        clock.now(),
        Actor::CommandLine,
        "audit.exported",
        "audit:trail".to_owned(),
    );
    apply(&writer, AppendAudit(entry)).await.map_err(Failure::of)?;
    // A fresh checkpoint leaves little to the closing statement.
    notary.checkpoint(Wanted::Now).await.map_err(Failure::of)?;
    Export { notary: &notary, read: store.read.as_ref(), written: Written::new(output) }.run().await
}

struct Export<'a> {
    notary: &'a Notary,
    read: &'a dyn ReadStore,
    written: Written<'a>,
}

impl Export<'_> {
    async fn run(mut self) -> Result<Closing, Failure> {
        let before = self.notary.standing().await.map_err(Failure::of)?;
        // What is written from here on is not of this export.
        let heads = self.read.chain_heads(None).await.map_err(Failure::of)?;
        // The last entry of each chain in the file, and how far checkpoints in the file cover each.
        let mut last: Vec<Head> = Vec::new();
        let mut covered: HashSet<(Uuid, u64)> = HashSet::new();
        let mut signers: BTreeSet<String> = BTreeSet::new();
        for ChainHead { place, .. } in heads {
            let mut after = 0;
            let mut end = None;
            while after < place.position {
                let wanted = u64::from(PAGE).min(place.position - after);
                let wanted = u32::try_from(wanted).unwrap_or(PAGE);
                let page =
                    self.read.chain(place.chain, after, wanted).await.map_err(Failure::of)?;
                let Some(newest) = page.last() else { break };
                (after, end) =
                    (position(newest).unwrap_or(place.position), crate::notary::head(newest));
                for row in page {
                    if row.action == statement::ACTION
                        && let Some(checkpoint) = self.notary.open(&row.details)
                    {
                        let named = checkpoint.heads.iter().chain(&checkpoint.previous);
                        covered.extend(named.map(|head| (head.chain, head.position)));
                        signers.extend(checkpoint.signers);
                    }
                    self.written.entry(row)?;
                }
            }
            last.extend(end);
        }
        for row in self.read.unchained(UNCHAINED).await.map_err(Failure::of)? {
            self.written.entry(row)?;
        }
        // What was removed meanwhile was announced before.
        let after = self.notary.standing().await.map_err(Failure::of)?;
        let signer = self.notary.signer().map_err(Failure::of)?;
        signers.extend(after.signers);
        let signers: Vec<String> = signers.into_iter().collect();
        let mut keys = self.notary.public_keys(&signers).await.map_err(Failure::of)?;
        keys.sort_by(|one, other| one.kid.cmp(&other.kid));
        let closing = Closing {
            iss: self.notary.issuer.clone(),
            at: Moment(self.notary.clock.now()),
            number: before.number,
            previous: before.previous,
            removed_before: before.removed_before.max(after.removed_before).map(Moment),
            heads: last
                .into_iter()
                .filter(|head| !covered.contains(&(head.chain, head.position)))
                .collect(),
            entries: self.written.entries,
            digest: self.written.digest(),
            keys: keys.iter().filter_map(|key| serde_json::from_str(&key.jwk).ok()).collect(),
        };
        self.written
            .close(&ClosingLine { statement: signer.sign(statement::CLOSING, &closing) })?;
        Ok(closing)
    }
}

fn position(row: &ChainedRow) -> Option<u64> {
    row.place.map(|place| place.position)
}

/// What was written so far.
struct Written<'a> {
    output: &'a mut dyn Write,
    context: Context,
    entries: u64,
    watch: Stopwatch,
    told: Duration,
}

impl<'a> Written<'a> {
    fn new(output: &'a mut dyn Write) -> Self {
        let (context, watch) = (Context::new(&SHA256), Stopwatch::start());
        Self { output, context, entries: 0, watch, told: Duration::ZERO }
    }

    fn entry(&mut self, row: ChainedRow) -> Result<(), Failure> {
        let line = write_line(&ExportedEntry::from(row));
        self.output.write_all(line.as_bytes()).map_err(not_written)?;
        self.context.update(line.as_bytes());
        self.entries += 1;
        if self.entries.is_multiple_of(u64::from(PAGE)) {
            let elapsed = self.watch.elapsed();
            if elapsed >= self.told + SILENCE {
                self.told = elapsed;
                output::complain(format_args!("{} exported", output::entries(self.entries)));
            }
        }
        Ok(())
    }

    fn digest(&self) -> Digest {
        let digest = self.context.clone().finish();
        Digest::from_slice(digest.as_ref()).expect("SHA-256 gives 32 bytes")
    }

    fn close(&mut self, line: &ClosingLine) -> Result<(), Failure> {
        self.output
            .write_all(write_line(line).as_bytes())
            .and_then(|()| self.output.flush())
            .map_err(not_written)
    }
}

fn not_written(error: std::io::Error) -> Failure {
    Failure::new(format!("The export cannot be written: {error}"))
}
