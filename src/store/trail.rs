//! The chain into which a process writes its audit entries.
//!
//! Operations note their entries while they run; the store links them at the end of the transaction, when
//! it is certain which are written, and in their order. Where the chain stands is the writer's to keep: it
//! comes with each batch and goes back with the answers.

use std::time::Duration;

use uuid::Uuid;

use super::AuditRow;
use super::model::{AuditEntry, ChainedRow};
use crate::clock::Timestamp;
use crate::protocol::audit_chain::{Content, Digest, Place, SALT_LENGTH, commitment, hash};
use crate::protocol::audit_trail::statement::Moment;
use crate::protocol::random;

/// The entries of a transaction that is under way.
#[derive(Debug, Default)]
pub struct Notes(Vec<AuditEntry>);

impl Notes {
    /// Will be written with the transaction.
    pub fn add(&mut self, entry: &AuditEntry) {
        self.0.push(entry.clone());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all but the first `length`: what noted them is rolled back.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// How a process keeps its trail.
#[derive(Clone, Copy, Debug)]
pub struct TrailRules {
    /// After so long another chain begins: what is older than the retention goes chain by chain.
    pub longest_chain: Duration,
    /// Whether each entry is copied to the log.
    pub is_logged: bool,
}

impl TrailRules {
    /// The longest that a chain goes on, whatever the retention.
    const DAY: Duration = Duration::from_secs(86_400);

    /// For a trail that is kept so long.
    pub fn new(retention: Duration, is_logged: bool) -> Self {
        Self { longest_chain: Self::DAY.min(retention), is_logged }
    }
}

impl Default for TrailRules {
    fn default() -> Self {
        Self { longest_chain: Self::DAY, is_logged: false }
    }
}

/// Where a process's chain stands.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    rules: TrailRules,
    chain: Option<Chain>,
}

#[derive(Clone, Debug)]
struct Chain {
    began: Timestamp,
    last: Place,
}

/// An entry with its place in a chain, as it is stored.
#[derive(Clone, Debug)]
pub struct LinkedEntry {
    /// The entry.
    pub entry: AuditEntry,
    /// Its place.
    pub place: Place,
    /// The further facts as JSON text, without what is personal.
    pub details: String,
    /// What is personal as JSON text, with the salt of its commitment.
    pub personal: Option<([u8; SALT_LENGTH], String)>,
    /// Covers what is personal.
    pub commitment: Option<Digest>,
}

impl Trail {
    /// A trail that begins with the next entry.
    pub fn new(rules: TrailRules) -> Self {
        Self { rules, chain: None }
    }

    /// The same, to be kept by these rules from now on.
    #[must_use]
    pub fn under(self, rules: TrailRules) -> Self {
        Self { rules, ..self }
    }

    /// Gives entries their places.
    pub fn link(&mut self, Notes(entries): Notes) -> Vec<LinkedEntry> {
        entries.into_iter().map(|entry| self.link_one(entry)).collect()
    }

    /// The next entry begins another chain: nobody knows how far this one was stored.
    pub fn begin_anew(&mut self) {
        self.chain = None;
    }

    /// Copies what was just committed to the log, if that is wanted.
    pub fn tell(&self, entries: &[LinkedEntry]) {
        if !self.rules.is_logged {
            return;
        }
        for LinkedEntry { entry, place, details, .. } in entries {
            tracing::info!(
                target: "latchkey::audit",
                action = entry.action, target = entry.target, actor = %entry.actor,
                at = %Moment(entry.at), request_id = entry.request_id, details, id = %entry.id,
                chain = %place.chain, position = place.position, hash = %place.hash,
                "audit"
            );
        }
    }

    fn link_one(&mut self, entry: AuditEntry) -> LinkedEntry {
        let rules = self.rules;
        let goes_on = |chain: &Chain| entry.at < chain.began.plus(rules.longest_chain);
        let chain = self.chain.take().filter(goes_on).unwrap_or_else(|| Chain {
            began: entry.at,
            last: Place { chain: random::uuid_v7(entry.at), position: 0, hash: Digest::NONE },
        });
        let (details, personal) = AuditRow::split(&entry);
        let details = details.to_string();
        let personal = personal.map(|personal| (random::bytes(), personal.to_string()));
        let commitment = personal.as_ref().map(|(salt, personal)| commitment(salt, personal));
        let actor = entry.actor.to_string();
        let content = Content {
            id: entry.id,
            at: entry.at,
            actor: &actor,
            action: entry.action,
            target: &entry.target,
            request_id: entry.request_id.as_deref(),
            details: &details,
            commitment,
        };
        let place = next_place(&chain.last, &content);
        self.chain = Some(Chain { last: place, ..chain });
        LinkedEntry { entry, place, details, personal, commitment }
    }
}

/// The place after `last`.
fn next_place(last: &Place, content: &Content<'_>) -> Place {
    let position = last.position + 1;
    Place { position, hash: hash(last.chain, position, last.hash, content), ..*last }
}

/// Gives places to entries that were written before there were chains, in their order.
#[derive(Debug, Default)]
pub(super) struct Adoption(Option<Place>);

impl Adoption {
    /// The place of the next one; the salt and the commitment of its personal values, if it has any.
    pub(super) fn next(
        &mut self,
        row: &ChainedRow,
        personal: Option<&str>,
    ) -> (Place, Option<([u8; SALT_LENGTH], Digest)>) {
        let covered = personal.map(|personal| {
            let salt = random::bytes();
            (salt, commitment(&salt, personal))
        });
        let first = || Place { chain: random::uuid_v7(row.at), position: 0, hash: Digest::NONE };
        let content = Content {
            id: row.id,
            at: row.at,
            actor: &row.actor,
            action: &row.action,
            target: &row.target,
            request_id: row.request_id.as_deref(),
            details: &row.details,
            commitment: covered.map(|(_, commitment)| commitment),
        };
        let place = next_place(&self.0.unwrap_or_else(first), &content);
        self.0 = Some(place);
        (place, covered)
    }
}

/// The id before all UUIDv7 that are made from `moment` on.
pub(super) fn first_id_of(moment: Timestamp) -> Uuid {
    let millis = u64::try_from(moment.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::Actor;

    fn notes(seconds: &[i64]) -> Notes {
        let mut notes = Notes::default();
        for second in seconds {
            let at = Timestamp::from_seconds(*second);
            notes.add(&AuditEntry::new(at, Actor::System, "test.ran", "test:1".to_owned()));
        }
        notes
    }

    #[test]
    fn entries_follow_each_other_until_the_chain_is_old_or_uncertain() {
        let rules = TrailRules { longest_chain: Duration::from_secs(10), is_logged: false };
        let mut trail = Trail::new(rules);
        let first = trail.link(notes(&[100, 101]));
        let second = trail.link(notes(&[109, 110]));
        let chains: Vec<_> =
            first.iter().chain(&second).map(|linked| linked.place.position).collect();
        assert_eq!(chains, [1, 2, 3, 1]);
        assert_eq!(first[0].place.chain, second[0].place.chain);
        assert_ne!(first[0].place.chain, second[1].place.chain);
        trail.begin_anew();
        assert_eq!(trail.link(notes(&[111]))[0].place.position, 1);
    }

    #[test]
    fn what_is_personal_is_covered_and_kept_apart() {
        let mut entry = AuditEntry::new(
            Timestamp::from_seconds(1),
            Actor::System,
            "test.ran",
            "test:1".to_owned(),
        );
        entry.address = Some("192.0.2.1".to_owned());
        let mut notes = Notes::default();
        notes.add(&entry);
        let linked = &Trail::default().link(notes)[0];
        let (salt, personal) = linked.personal.as_ref().unwrap();
        assert!(personal.contains("192.0.2.1") && !linked.details.contains("192.0.2.1"));
        assert_eq!(linked.commitment, Some(commitment(salt, personal)));
    }
}
