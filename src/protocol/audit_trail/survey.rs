//! The first reading of an export: who signed it, and what is signed about its entries.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use super::export::{ClosingLine, ExportedEntry, read_line};
use super::statement::{self, Checkpoint, Closing, Head, Signed};
use crate::clock::Timestamp;
use crate::protocol::audit_chain::Digest;
use crate::protocol::jwt::TokenError;
use crate::protocol::key::{PublicKey, VerificationKey, verify_long};

/// Public keys by their ids.
pub type TrustedKeys = HashMap<String, VerificationKey>;

/// Why a file cannot be verified at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// Not a byte.
    #[error("The file is empty. `latchkey audit export` makes one that can be verified.")]
    Empty,
    /// Something else.
    #[error("This is no export of an audit trail: `latchkey audit export` makes one.")]
    Foreign,
    /// The end is missing.
    #[error(
        "The export ends at line {0} without the signed statement that closes it: it was cut off, or the statement was changed or removed. What it says cannot be verified; export the trail again."
    )]
    NoClosing(u64),
    /// The end is signed by somebody else.
    #[error(
        "The closing statement (line {line}) is signed by the key {kid}, which is not among the given ones. Give the keys of the server that made the export, as its /.well-known/jwks.json had them at that time."
    )]
    UnknownKey {
        /// Where.
        line: u64,
        /// Which key.
        kid: String,
    },
    /// The end does not fit its signature.
    #[error(
        "The closing statement (line {line}) was changed: {reason}. What the export says cannot be verified."
    )]
    Closing {
        /// Where.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A hash that an entry must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Required {
    pub hash: Digest,
    pub at: Timestamp,
    /// The checkpoint that says so; `None` is the closing statement.
    pub by: Option<u64>,
}

/// What is wrong with the statement of a checkpoint's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The statement is not what was signed.
    Changed(String),
    /// There are two of this number.
    Doubled(u64),
    /// The one before it was gone when it was signed.
    Orphan(u64),
}

/// Where each chain must have which hash.
pub(super) type Requirements = BTreeMap<Uuid, BTreeMap<u64, Vec<Required>>>;

/// What the first reading found: with it the second one judges each entry.
#[derive(Debug)]
pub struct Survey {
    /// How many lines there are, the closing one included.
    pub(super) lines: u64,
    /// Of all bytes before the closing line.
    pub(super) digest: Digest,
    pub(super) closing: Closing,
    pub(super) required: Requirements,
    /// By the line of the checkpoint's entry.
    pub(super) flaws: HashMap<u64, Flaw>,
    /// Everybody who was deleted, as entries name them.
    pub(super) deleted: HashSet<String>,
    /// How many checkpoints are sound.
    pub(super) checkpoints: u64,
    /// The number of the last sound one.
    pub(super) last_checkpoint: u64,
}

/// Reads an export for the first time, line by line.
pub struct Surveyor {
    context: Context,
    lines: u64,
    first_is_entry: bool,
    last: Vec<u8>,
    checkpoints: Vec<(u64, ExportedEntry)>,
    deleted: HashSet<String>,
}

impl Default for Surveyor {
    fn default() -> Self {
        Self {
            context: Context::new(&SHA256),
            lines: 0,
            first_is_entry: false,
            last: Vec::new(),
            checkpoints: Vec::new(),
            deleted: HashSet::new(),
        }
    }
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Surveyor({} lines)", self.lines)
    }
}

/// How every entry begins, and every closing line.
const ENTRY: &[u8] = b"{\"chain\":";
const STATEMENT: &[u8] = b"{\"statement\":";

impl Surveyor {
    /// Takes the next line, with its end.
    pub fn feed(&mut self, line: Vec<u8>) {
        let before = std::mem::replace(&mut self.last, line);
        if self.lines > 0 {
            self.context.update(&before);
            self.note(&before);
        }
        self.lines += 1;
        if self.lines == 1 {
            self.first_is_entry = self.last.starts_with(ENTRY) || self.last.starts_with(STATEMENT);
        }
    }

    /// Keeps what the second reading needs of a line that is not the last.
    fn note(&mut self, line: &[u8]) {
        // No text inside an entry can hold these: its quotation marks are escaped.
        let is_needed = std::str::from_utf8(line).is_ok_and(|line| {
            line.contains("\"action\":\"audit.checkpoint\"")
                || line.contains("\"action\":\"user.deleted\"")
        });
        if !is_needed {
            return;
        }
        let Some(entry) = read_line::<ExportedEntry>(line) else { return };
        if entry.action == statement::ACTION {
            self.checkpoints.push((self.lines, entry));
        } else if entry.action == "user.deleted" {
            self.deleted.insert(entry.target);
        }
    }

    /// Judges what is signed, by the keys that whoever verifies trusts.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub fn finish(self, trusted: &TrustedKeys) -> Result<Survey, SurveyError> {
        let closing = self.closing(trusted)?;
        let digest =
            Digest::from_slice(self.context.finish().as_ref()).expect("SHA-256 gives 32 bytes");
        let keys: TrustedKeys = closing
            .keys
            .iter()
            .filter_map(|jwk| {
                let public = PublicKey::of_jwk(jwk).ok()?;
                let key = VerificationKey::new(public.algorithm, &public.jwk).ok()?;
                Some((public.kid, key))
            })
            .collect();
        let mut survey = Survey {
            lines: self.lines,
            digest,
            required: Requirements::new(),
            flaws: HashMap::new(),
            deleted: self.deleted,
            checkpoints: 0,
            last_checkpoint: 0,
            closing,
        };
        survey.add_checkpoints(self.checkpoints, &keys);
        let heads = survey.closing.heads.clone();
        let named = heads.into_iter().chain(survey.closing.previous);
        named.for_each(|head| survey.require(head, None));
        Ok(survey)
    }

    /// The statement of the last line.
    fn closing(&self, trusted: &TrustedKeys) -> Result<Closing, SurveyError> {
        let line = self.lines;
        if line == 0 {
            return Err(SurveyError::Empty);
        }
        if !self.first_is_entry {
            return Err(SurveyError::Foreign);
        }
        let Some(ClosingLine { statement }) = read_line(&self.last) else {
            return Err(SurveyError::NoClosing(line));
        };
        let mut signer = String::new();
        let find = |kid: &str| {
            kid.clone_into(&mut signer);
            trusted.get(kid)
        };
        verify_long(&statement, statement::CLOSING, find).map_err(|error| match error {
            TokenError::UnknownKey => SurveyError::UnknownKey { line, kid: signer },
            error => SurveyError::Closing { line, reason: error.to_string() },
        })
    }
}

impl Survey {
    fn require(&mut self, head: Head, by: Option<u64>) {
        let Head { chain, position, hash, at } = head;
        let required = Required { hash, at: at.0, by };
        self.required.entry(chain).or_default().entry(position).or_default().push(required);
    }

    /// Whether entries of this time may be missing.
    pub(super) fn may_be_removed(&self, at: Timestamp) -> bool {
        self.closing.removed_before.is_some_and(|before| at <= before.0)
    }

    fn add_checkpoints(&mut self, entries: Vec<(u64, ExportedEntry)>, keys: &TrustedKeys) {
        let mut sound: BTreeMap<u64, (u64, ExportedEntry, Checkpoint)> = BTreeMap::new();
        for (line, entry) in entries {
            match read_checkpoint(&entry, keys) {
                Err(reason) => {
                    self.flaws.insert(line, Flaw::Changed(reason));
                }
                Ok(checkpoint) if sound.contains_key(&checkpoint.number) => {
                    self.flaws.insert(line, Flaw::Doubled(checkpoint.number));
                }
                Ok(checkpoint) => {
                    sound.insert(checkpoint.number, (line, entry, checkpoint));
                }
            }
        }
        for (number, (line, _, checkpoint)) in &sound {
            let before = number.checked_sub(1).and_then(|before| sound.get(&before));
            let flaw = match (&checkpoint.previous, before) {
                (None, _) if *number > 1 => Some(Flaw::Orphan(number - 1)),
                (Some(previous), Some((_, entry, _))) if !is_at(entry, previous) => {
                    Some(Flaw::Changed(format!("it follows another checkpoint {}", number - 1)))
                }
                _ => None,
            };
            if let Some(flaw) = flaw {
                self.flaws.insert(*line, flaw);
            }
        }
        self.checkpoints = sound.len() as u64;
        self.last_checkpoint = sound.keys().next_back().copied().unwrap_or_default();
        for (number, (_, _, checkpoint)) in sound {
            let named = checkpoint.heads.into_iter().chain(checkpoint.previous);
            named.for_each(|head| self.require(head, Some(number)));
        }
    }
}

fn is_at(entry: &ExportedEntry, head: &Head) -> bool {
    (entry.chain, entry.position, entry.hash)
        == (Some(head.chain), Some(head.position), Some(head.hash))
}

/// The statement of a checkpoint's entry, or what is wrong with it.
fn read_checkpoint(entry: &ExportedEntry, keys: &TrustedKeys) -> Result<Checkpoint, String> {
    let signed: Signed = serde_json::from_str(&entry.details)
        .map_err(|_| "it holds no signed statement".to_owned())?;
    let mut signer = String::new();
    let find = |kid: &str| {
        kid.clone_into(&mut signer);
        keys.get(kid)
    };
    let checkpoint: Checkpoint = verify_long(&signed.statement, statement::CHECKPOINT, find)
        .map_err(|error| match error {
            TokenError::UnknownKey => {
                format!("it is signed by the key {signer}, which was never one of this server")
            }
            error => error.to_string(),
        })?;
    let is_its_own = entry.target == target(checkpoint.number) && entry.at == checkpoint.at;
    is_its_own.then_some(checkpoint).ok_or_else(|| "it holds the statement of another".to_owned())
}

/// How the entry of a checkpoint is named.
pub fn target(number: u64) -> String {
    format!("checkpoint:{number}")
}
