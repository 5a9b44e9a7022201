//! The second reading of an export: the first entry that was changed, removed or inserted.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::export::{ExportedEntry, read_line};
use super::statement::Moment;
use super::survey::{Flaw, Required, Survey};
use crate::protocol::audit_chain::{Digest, commitment, hash};

/// What was done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tampering {
    /// It says something else than it did.
    Changed,
    /// It is not there any more, or not where it was.
    Removed,
    /// Latchkey did not write it, or not at this place.
    Inserted,
}

/// The first entry at which an export does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was done to it.
    pub outcome: Tampering,
    /// Where it stands; where it is missed, if it was removed.
    pub line: u64,
    /// Its chain.
    pub chain: Option<Uuid>,
    /// Its place in the chain.
    pub position: Option<u64>,
    /// It is one of those from `position` to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_position: Option<u64>,
    /// Its id.
    pub id: Option<String>,
    /// What it tells.
    pub action: Option<String>,
    /// Of when.
    pub at: Option<String>,
    /// How that is known.
    pub reason: String,
}

/// What an export holds that was not tampered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intact {
    /// Who signed it.
    pub issuer: String,
    /// When it was closed.
    pub exported_at: Moment,
    /// How many entries.
    pub entries: u64,
    /// How many chains.
    pub chains: u64,
    /// How many checkpoints.
    pub checkpoints: u64,
    /// How many keys signed them.
    pub keys: u64,
    /// The time of the oldest entry.
    pub since: Option<Moment>,
    /// The time of the newest.
    pub until: Option<Moment>,
    /// Entries of this time or before may have been removed, since they were kept long enough.
    pub removed_before: Option<Moment>,
}

/// An entry as a finding names it.
#[derive(Clone, Debug)]
struct Named {
    line: u64,
    position: u64,
    id: Uuid,
    action: String,
    at: Moment,
}

/// The chain that is being read.
#[derive(Debug)]
struct Current {
    chain: Uuid,
    /// Of the last entry.
    position: u64,
    hash: Digest,
    /// Before the last entry.
    before: Digest,
    /// The last entry.
    last: Option<Named>,
    /// The first entry after the last that is known to be the original.
    suspect: Option<Named>,
    /// What is still to come.
    required: BTreeMap<u64, Vec<Required>>,
    /// Where the signed part ends.
    end: u64,
}

/// Two entries claim one place: what comes next tells which is the original.
#[derive(Debug)]
struct Rivals {
    chain: Uuid,
    position: u64,
    first: Digest,
    if_first: Finding,
    if_second: Finding,
    second: Digest,
}

#[derive(Debug)]
enum Verdict {
    /// Nothing is wrong so far.
    Open,
    /// An entry is missed; if it comes later, what stands here was moved.
    Looking {
        chain: Uuid,
        position: u64,
        missed: Box<Finding>,
        inserted: Box<Finding>,
    },
    Rivals(Box<Rivals>),
    Settled(Box<Finding>),
}

/// Reads an export for the second time, line by line. It remembers no entries, but what is signed about them.
#[derive(Debug)]
pub struct Verifier {
    survey: Survey,
    line: u64,
    current: Option<Current>,
    verdict: Verdict,
    /// What is wrong unless something is found later that explains it: a damaged checkpoint covers nothing.
    unexplained: Option<Finding>,
    entries: u64,
    chains: u64,
    since: Option<Moment>,
    until: Option<Moment>,
}

impl Verifier {
    /// By what the first reading found.
    pub fn new(survey: Survey) -> Self {
        Self {
            survey,
            line: 0,
            current: None,
            verdict: Verdict::Open,
            unexplained: None,
            entries: 0,
            chains: 0,
            since: None,
            until: None,
        }
    }

    /// Takes the next line, with its end.
    pub fn feed(&mut self, line: &[u8]) {
        self.line += 1;
        if self.line >= self.survey.lines {
            return;
        }
        let entry = read_line::<ExportedEntry>(line);
        match &mut self.verdict {
            Verdict::Settled(_) => {}
            Verdict::Looking { .. } | Verdict::Rivals(_) => {
                if let Some(entry) = entry {
                    self.look(&entry);
                }
            }
            Verdict::Open => {
                let judged = match entry {
                    Some(entry) => self.judge(&entry),
                    None => Err(Verdict::Settled(Box::new(self.unreadable(line)))),
                };
                if let Err(verdict) = judged {
                    self.verdict = verdict;
                }
            }
        }
    }

    /// What the whole file comes to.
    ///
    /// # Errors
    /// The [`Finding`], if it does not hold.
    pub fn finish(mut self) -> Result<Intact, Box<Finding>> {
        let verdict = std::mem::replace(&mut self.verdict, Verdict::Open);
        match verdict {
            Verdict::Settled(finding) | Verdict::Looking { missed: finding, .. } => {
                return Err(finding);
            }
            Verdict::Rivals(rivals) => return Err(Box::new(rivals.if_second)),
            Verdict::Open => {}
        }
        self.line = self.survey.lines;
        let ended = self.end_chain(None).and_then(|()| self.skip_to(None, None));
        if let Err(Verdict::Looking { missed: finding, .. } | Verdict::Settled(finding)) = ended {
            return Err(finding);
        }
        self.unexplained.take().map_or_else(|| self.conclude(), |finding| Err(Box::new(finding)))
    }

    /// What the closing statement says of the whole.
    fn conclude(self) -> Result<Intact, Box<Finding>> {
        let closing = &self.survey.closing;
        let last = self.survey.last_checkpoint;
        let wrong = |outcome, reason: String| {
            let (line, none) = (self.survey.lines, None);
            Err(Box::new(Finding {
                outcome,
                line,
                chain: none,
                position: None,
                until_position: None,
                id: None,
                action: None,
                at: None,
                reason,
            }))
        };
        if closing.number != last + 1 {
            return wrong(
                Tampering::Removed,
                format!("checkpoint {} was removed", closing.number.saturating_sub(1)),
            );
        }
        if closing.entries != self.entries || closing.digest != self.survey.digest {
            return wrong(
                Tampering::Changed,
                format!(
                    "the file holds {} entries where {} were exported, or other bytes; nothing tells where",
                    self.entries, closing.entries
                ),
            );
        }
        Ok(Intact {
            issuer: closing.iss.clone(),
            exported_at: closing.at,
            entries: self.entries,
            chains: self.chains,
            checkpoints: self.survey.checkpoints,
            keys: closing.keys.len() as u64,
            since: self.since,
            until: self.until,
            removed_before: closing.removed_before,
        })
    }

    fn judge(&mut self, entry: &ExportedEntry) -> Result<(), Verdict> {
        let (Some(chain), Some(position), Some(found)) = (entry.chain, entry.position, entry.hash)
        else {
            return Err(self.inserted(entry, "it is in no chain"));
        };
        let content = entry.content();
        let follows = |chain: Uuid, position: u64, previous: Digest| {
            hash(chain, position, previous, &content) == found
        };
        let goes_on = self.current.as_ref().filter(|current| current.chain == chain);
        match (goes_on, &self.current) {
            (Some(current), _) if position == current.position + 1 => {
                if !follows(chain, position, current.hash) {
                    return Err(self.changed(
                        entry,
                        "its hash fits neither what it says nor what stands before it",
                    ));
                }
            }
            (_, Some(current)) if follows(current.chain, current.position + 1, current.hash) => {
                return Err(self.changed(entry, "it names another place than its own"));
            }
            (Some(current), _) if position == current.position => {
                let is_rival = found != current.hash && follows(chain, position, current.before);
                return Err(if is_rival {
                    self.rivals(entry, found)
                } else {
                    self.inserted(entry, "there is an entry at its place already")
                });
            }
            (Some(current), _) if position < current.position => {
                return Err(self.inserted(entry, "it stands behind entries that follow it"));
            }
            (Some(current), _) => {
                let missing = current.position + 1;
                return Err(self.missing(chain, missing, Some(entry), None));
            }
            (None, current) => {
                if position == 1 && !follows(chain, 1, Digest::NONE) {
                    return Err(self.changed(entry, "its hash does not fit what it says"));
                }
                if current.as_ref().is_some_and(|current| chain < current.chain) {
                    self.end_chain(Some(entry))?;
                    return Err(self.inserted(entry, "its chain does not go on here"));
                }
                self.end_chain(Some(entry))?;
                self.skip_to(Some(chain), Some(entry))?;
                if position != 1 {
                    return Err(if follows(chain, 1, Digest::NONE) {
                        self.changed(entry, "it names another place than its own")
                    } else {
                        self.missing(chain, 1, Some(entry), None)
                    });
                }
                self.enter_chain(chain);
            }
        }
        self.accept(entry, position, found)
    }

    /// An entry that follows what stands before it: held against all that is signed.
    fn accept(
        &mut self,
        entry: &ExportedEntry,
        position: u64,
        found: Digest,
    ) -> Result<(), Verdict> {
        let line = self.line;
        let is_covered = self.current.as_ref().is_some_and(|current| position <= current.end);
        if !is_covered {
            let reason = "no signed statement covers it: it was added behind the end of its chain, or the whole chain was";
            let finding = self.finding(Tampering::Inserted, entry, reason.to_owned());
            self.unexplained.get_or_insert(finding);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.before = current.hash;
        (current.position, current.hash) = (position, found);
        let named =
            Named { line, position, id: entry.id, action: entry.action.clone(), at: entry.at };
        let suspect = current.suspect.get_or_insert_with(|| named.clone()).clone();
        current.last = Some(named);
        if let Some(required) = current.required.remove(&position) {
            if let Some(other) = required.iter().find(|required| required.hash != found) {
                let chain = current.chain;
                let rewritten = self.rewritten(&suspect, position, other.by);
                let reason = "another entry at its place is the one that was signed for";
                let inserted = self.finding(Tampering::Inserted, entry, reason.to_owned());
                return Err(Verdict::Looking {
                    chain,
                    position,
                    missed: Box::new(rewritten),
                    inserted: Box::new(inserted),
                });
            }
            current.suspect = None;
        }
        self.judge_personal(entry)?;
        match self.survey.flaws.get(&line) {
            Some(Flaw::Changed(reason)) => {
                let reason = format!("the statement of this checkpoint does not hold: {reason}");
                return Err(self.changed(entry, &reason));
            }
            Some(Flaw::Doubled(number)) => {
                let reason = format!("there is another checkpoint {number}");
                return Err(self.inserted(entry, &reason));
            }
            Some(Flaw::Orphan(number)) => {
                let mut finding = self.finding(Tampering::Removed, entry, String::new());
                finding.reason =
                    format!("checkpoint {number} was gone when the one at this line was signed");
                return Err(Verdict::Settled(Box::new(finding)));
            }
            None => {}
        }
        self.entries += 1;
        self.since = Some(self.since.map_or(entry.at, |since| since.min(entry.at)));
        self.until = Some(self.until.map_or(entry.at, |until| until.max(entry.at)));
        Ok(())
    }

    /// Personal values fit what covers them, and are gone only where they may be.
    fn judge_personal(&mut self, entry: &ExportedEntry) -> Result<(), Verdict> {
        match (&entry.commitment, &entry.personal, &entry.salt) {
            (None, None, None) => Ok(()),
            (Some(covers), Some(personal), Some(salt)) => {
                let fits = commitment(&salt.0, personal) == *covers;
                fits.then_some(())
                    .ok_or_else(|| self.changed(entry, "its personal values are others"))
            }
            (Some(_), None, None) => {
                let deleted = &self.survey.deleted;
                let may_be_gone = deleted.contains(&entry.actor)
                    || deleted.contains(&entry.target)
                    || self.survey.may_be_removed(entry.at.0);
                if !may_be_gone {
                    let reason = "its personal values were removed, though nobody whom it is about was deleted";
                    let finding = self.finding(Tampering::Changed, entry, reason.to_owned());
                    self.unexplained.get_or_insert(finding);
                }
                Ok(())
            }
            _ => Err(self.changed(entry, "its personal values are not those that it had")),
        }
    }

    fn enter_chain(&mut self, chain: Uuid) {
        let required = self.survey.required.remove(&chain).unwrap_or_default();
        let end = required.keys().next_back().copied().unwrap_or_default();
        self.chains += 1;
        self.current = Some(Current {
            chain,
            position: 0,
            hash: Digest::NONE,
            before: Digest::NONE,
            last: None,
            suspect: None,
            required,
            end,
        });
    }

    /// The chain ends here: whatever is signed of it must have come.
    fn end_chain(&self, here: Option<&ExportedEntry>) -> Result<(), Verdict> {
        let Some(current) = &self.current else { return Ok(()) };
        let Some(end) = self.must_go_on_to(&current.required) else { return Ok(()) };
        let next = current.position + 1;
        Err(self.missing(current.chain, next, here, (end > next).then_some(end)))
    }

    /// Whatever is signed of chains before `next` must have come; `None` is the end of the file.
    fn skip_to(&mut self, next: Option<Uuid>, here: Option<&ExportedEntry>) -> Result<(), Verdict> {
        while let Some((&chain, _)) = self.survey.required.first_key_value() {
            if next.is_some_and(|next| chain >= next) {
                break;
            }
            let required = self.survey.required.remove(&chain).unwrap_or_default();
            if let Some(end) = self.must_go_on_to(&required) {
                return Err(self.missing(chain, 1, here, (end > 1).then_some(end)));
            }
        }
        Ok(())
    }

    /// The last of these places whose entry must still be there.
    fn must_go_on_to(&self, required: &BTreeMap<u64, Vec<Required>>) -> Option<u64> {
        let must_be =
            |required: &Required| required.by.is_none() || !self.survey.may_be_removed(required.at);
        required
            .iter()
            .rev()
            .find(|(_, all)| all.iter().any(must_be))
            .map(|(position, _)| *position)
    }

    /// Goes on after something was missed, until it is clear what happened.
    fn look(&mut self, entry: &ExportedEntry) {
        let place = (entry.chain, entry.position);
        let settled = match &self.verdict {
            Verdict::Looking { chain, position, inserted, .. }
                if place == (Some(*chain), Some(*position)) =>
            {
                Some(inserted.clone())
            }
            Verdict::Rivals(rivals) => {
                let is_next = place == (Some(rivals.chain), Some(rivals.position + 1));
                let follows = |previous| {
                    let position = rivals.position + 1;
                    Some(hash(rivals.chain, position, previous, &entry.content())) == entry.hash
                };
                match is_next {
                    true if follows(rivals.second) => Some(Box::new(rivals.if_first.clone())),
                    true if follows(rivals.first) => Some(Box::new(rivals.if_second.clone())),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(finding) = settled {
            self.verdict = Verdict::Settled(finding);
        }
    }
}

/// How findings are made.
impl Verifier {
    fn finding(&self, outcome: Tampering, entry: &ExportedEntry, reason: String) -> Finding {
        Finding {
            outcome,
            line: self.line,
            chain: entry.chain,
            position: entry.position,
            until_position: None,
            id: Some(entry.id.to_string()),
            action: Some(entry.action.clone()),
            at: Some(entry.at.to_string()),
            reason,
        }
    }

    fn changed(&self, entry: &ExportedEntry, reason: &str) -> Verdict {
        Verdict::Settled(Box::new(self.finding(Tampering::Changed, entry, reason.to_owned())))
    }

    fn inserted(&self, entry: &ExportedEntry, reason: &str) -> Verdict {
        Verdict::Settled(Box::new(self.finding(Tampering::Inserted, entry, reason.to_owned())))
    }

    /// The entry at a place is missed; `here` stands something else, `until` how many more.
    fn missing(
        &self,
        chain: Uuid,
        position: u64,
        here: Option<&ExportedEntry>,
        until: Option<u64>,
    ) -> Verdict {
        let was_signed = self.current.as_ref().is_some_and(|current| {
            current.chain == chain && current.required.contains_key(&position)
        });
        let removed = Finding {
            outcome: Tampering::Removed,
            line: self.line,
            chain: Some(chain),
            position: Some(position),
            until_position: until,
            id: None,
            action: None,
            at: None,
            reason: match (until, was_signed) {
                (None, true) => "a signed statement names it".to_owned(),
                (None, false) => "what follows it is there".to_owned(),
                (Some(_), _) => "signed statements name later entries of this chain".to_owned(),
            },
        };
        let inserted = here.map_or_else(
            || removed.clone(),
            |entry| {
                let reason =
                    "it stands before entries that it follows: it was moved or copied here";
                self.finding(Tampering::Inserted, entry, reason.to_owned())
            },
        );
        Verdict::Looking {
            chain,
            position,
            missed: Box::new(removed),
            inserted: Box::new(inserted),
        }
    }

    /// Of the entries since the last one that is known to be the original, some are not.
    fn rewritten(&self, suspect: &Named, position: u64, by: Option<u64>) -> Finding {
        let by = by.map_or_else(
            || "the closing statement".to_owned(),
            |number| format!("checkpoint {number}"),
        );
        let reason = format!(
            "{by} names another hash for the entry at position {position}: somebody changed, removed or inserted entries and made the hashes from there on anew"
        );
        Finding {
            outcome: Tampering::Changed,
            line: suspect.line,
            chain: self.current.as_ref().map(|current| current.chain),
            position: Some(suspect.position),
            until_position: (position > suspect.position).then_some(position),
            id: Some(suspect.id.to_string()),
            action: Some(suspect.action.clone()),
            at: Some(suspect.at.to_string()),
            reason,
        }
    }

    fn rivals(&self, second: &ExportedEntry, hash: Digest) -> Verdict {
        let Some(current) = &self.current else { return Verdict::Open };
        let reason = "two entries claim its place, and the other is the one that the next follows";
        let if_second = self.finding(Tampering::Inserted, second, reason.to_owned());
        let mut if_first = if_second.clone();
        if let Some(Named { line, id, action, at, .. }) = current.last.clone() {
            if_first.line = line;
            if_first.id = Some(id.to_string());
            if_first.action = Some(action);
            if_first.at = Some(at.to_string());
        }
        Verdict::Rivals(Box::new(Rivals {
            chain: current.chain,
            position: current.position,
            first: current.hash,
            second: hash,
            if_first,
            if_second,
        }))
    }

    /// A line that is no entry: what can still be read of it, and where it should stand.
    fn unreadable(&self, line: &[u8]) -> Finding {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        let word = |name: &str| value[name].as_str().map(str::to_owned);
        let chain = word("chain").and_then(|chain| Uuid::parse_str(&chain).ok());
        let follows = self.current.as_ref().map(|current| (current.chain, current.position + 1));
        Finding {
            outcome: Tampering::Changed,
            line: self.line,
            chain: chain.or(follows.map(|(chain, _)| chain)),
            position: value["position"].as_u64().or(follows.map(|(_, position)| position)),
            until_position: None,
            id: word("id"),
            action: word("action"),
            at: word("at"),
            reason: "the line is not as Latchkey writes an entry".to_owned(),
        }
    }
}
