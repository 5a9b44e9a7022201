//! Signing the audit trail: what the `Auditor` and an export do alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::actors::auditor::AnnounceRemoval;
use crate::actors::db_writer::{DbWriter, WriteError, apply};
use crate::actors::key_ring::Keys;
use crate::actors::mailbox::Mailbox;
use crate::clock::{Clock, Timestamp};
use crate::in_force::Live;
use crate::protocol::audit_trail::statement::{self, Checkpoint, Head, Moment, Signed};
use crate::protocol::audit_trail::survey;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::{PublicKey, SigningKey};
use crate::protocol::sealed::Sealer;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Actor, AuditEntry, AuditPage, ChainHead, ChainedRow, StoredCheckpoint};
use crate::store::operation::AppendCheckpoint;

/// No chain goes on for longer.
const LONGEST_CHAIN: Duration = Duration::from_secs(86_400);

/// An entry is committed at most so long after the time that it tells, give or take a clock.
const MARGIN: Duration = Duration::from_secs(300);

/// How often a number is given up to another node.
const ATTEMPTS: usize = 5;

/// Checkpoints within [`MARGIN`] that are looked at, at most.
const RECENT: u32 = 1_000;

/// Signs statements about the trail.
#[derive(Clone)]
pub struct Notary {
    /// `server.public_url`.
    pub issuer: String,
    /// What to sign with, if there is a key of it.
    pub algorithm: Live<Algorithm>,
    /// How often a checkpoint is written.
    pub every: Live<Duration>,
    /// The keys.
    pub keys: Keys,
    /// Marks statements as our own.
    pub sealer: Live<Sealer>,
    /// For the reads.
    pub read: Arc<dyn ReadStore>,
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// Tells the time.
    pub clock: Clock,
}

/// When a checkpoint is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// If the last one is so old, and there is anything new.
    WhenDue,
    /// If there is anything new.
    Now,
    /// If there is a chain that is about to be removed.
    BeforeRemoval(AnnounceRemoval),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpointed {
    /// It was written, with this number.
    Written(u64),
    /// There was nothing to say.
    NotNeeded,
    /// Another node wrote one at the same moment.
    Outrun,
}

/// Why nothing could be signed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotaryError {
    /// There is no key to sign with.
    #[error(
        "there is no key to sign with: start the server once, or make one with `latchkey generate-keys`"
    )]
    NoKey,
    /// The writer or the store did not answer.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StoreError> for NotaryError {
    fn from(error: StoreError) -> Self {
        Self::Write(WriteError::Store(error))
    }
}

/// What the last checkpoint leaves to the next statement.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The number of the next one.
    pub number: u64,
    /// Its entry; `None` if there is none, or if somebody removed it.
    pub previous: Option<Head>,
    /// Which entries may be missing.
    pub removed_before: Option<Timestamp>,
    /// Which keys signed so far, as far as we know ourselves.
    pub signers: Vec<String>,
    /// When it was signed.
    at: Option<Timestamp>,
    /// Whether somebody else than Latchkey had a hand in it.
    pub is_doubtful: bool,
}

impl Notary {
    /// Where the checkpoints stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let Some(last) = self.read.last_checkpoint().await? else {
            return Ok(Standing { number: 1, ..Standing::default() });
        };
        let StoredCheckpoint { number, removed_before, entry } = last;
        let opened = entry.as_ref().and_then(|entry| self.open(&entry.details));
        let known = opened.filter(|checkpoint| checkpoint.number == number);
        let removed_before =
            known.as_ref().map_or(removed_before, |known| known.removed_before.map(|at| at.0));
        Ok(Standing {
            number: number.saturating_add(1),
            previous: entry.as_ref().and_then(head),
            removed_before,
            is_doubtful: known.is_none(),
            signers: known.map(|known| known.signers).unwrap_or_default(),
            at: entry.map(|entry| entry.at),
        })
    }

    /// A checkpoint's statement, if it is our own.
    pub fn open(&self, details: &str) -> Option<Checkpoint> {
        serde_json::from_str::<Signed>(details).ok()?.open(&self.sealer.now())
    }

    /// The key that signs now.
    ///
    /// # Errors
    /// [`NotaryError::NoKey`].
    pub fn signer(&self) -> Result<Arc<SigningKey>, NotaryError> {
        let (snapshot, now) = (Arc::clone(&self.keys.borrow()), self.clock.now());
        let algorithms = std::iter::once(self.algorithm.now()).chain(Algorithm::ALL);
        let signer = algorithms.into_iter().find_map(|one| snapshot.signer(one, now).cloned());
        signer.ok_or(NotaryError::NoKey)
    }

    /// The public halves of the keys that signed checkpoints. The store is asked for them, and not believed:
    /// a key's id is its thumbprint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn public_keys(&self, signers: &[String]) -> Result<Vec<PublicKey>, StoreError> {
        let stored = self.read.keys().await?;
        let public = stored.iter().filter_map(|key| {
            let jwk = serde_json::from_str(&key.public_jwk).ok()?;
            PublicKey::of_jwk(&jwk).ok().filter(|public| signers.contains(&public.kid))
        });
        Ok(public.collect())
    }

    /// Writes a checkpoint, if it is wanted; after one that another node wrote at the same moment, if it
    /// still is.
    ///
    /// # Errors
    /// [`NotaryError`]; then nothing was written, or it is not known.
    pub async fn checkpoint(&self, wanted: Wanted) -> Result<Checkpointed, NotaryError> {
        for _ in 1..ATTEMPTS {
            let attempt = self.attempt(wanted).await?;
            if attempt != Checkpointed::Outrun {
                return Ok(attempt);
            }
        }
        self.attempt(wanted).await
    }

    async fn attempt(&self, wanted: Wanted) -> Result<Checkpointed, NotaryError> {
        let standing = self.standing().await?;
        let now = self.clock.now();
        if matches!(wanted, Wanted::WhenDue) && !self.is_due(&standing, now) {
            return Ok(Checkpointed::NotNeeded);
        }
        let heads = match (wanted, standing.at) {
            (Wanted::BeforeRemoval(_), _) | (_, None) => self.read.chain_heads(None).await?,
            (_, Some(at)) => {
                let since = at.minus(LONGEST_CHAIN).minus(MARGIN);
                self.read.chain_heads(Some(since)).await?
            }
        };
        let removal = match wanted {
            Wanted::BeforeRemoval(AnnounceRemoval { ended_by, before })
                if heads.iter().any(|head| head.at <= ended_by) =>
            {
                Some(before)
            }
            Wanted::BeforeRemoval(_) => return Ok(Checkpointed::NotNeeded),
            Wanted::WhenDue if standing.at.is_none() && !self.is_old(&heads, now) => {
                return Ok(Checkpointed::NotNeeded);
            }
            _ => None,
        };
        let heads = self.uncovered(&standing, heads).await?;
        let own = standing.previous.map(|previous| (previous.chain, previous.position));
        let has_news = heads.iter().any(|head| Some((head.chain, head.position)) != own);
        if removal.is_none() && !has_news {
            return Ok(Checkpointed::NotNeeded);
        }
        self.write(standing, removal, heads, now).await
    }

    /// Whether the last checkpoint is old, or from a time that has not come.
    fn is_due(&self, standing: &Standing, now: Timestamp) -> bool {
        standing.at.is_none_or(|at| now.since(at) >= self.every.now() || at > now.plus(MARGIN))
    }

    /// Whether the first chain began so long ago that there should have been a checkpoint.
    fn is_old(&self, heads: &[ChainHead], now: Timestamp) -> bool {
        let began = heads.iter().filter_map(|head| began(head.place.chain)).min();
        began.is_some_and(|began| now.since(began) >= self.every.now())
    }

    /// What no checkpoint covers yet. What one has covered may be named again: it harms nobody.
    async fn uncovered(
        &self,
        standing: &Standing,
        heads: Vec<ChainHead>,
    ) -> Result<Vec<Head>, StoreError> {
        let Some(at) = standing.at else {
            return Ok(heads.into_iter().map(|head| Head::new(head.place, head.at)).collect());
        };
        let since = at.minus(MARGIN);
        let page = AuditPage {
            action: Some(statement::ACTION.to_owned()),
            since: Some(since),
            ..AuditPage::newest(RECENT)
        };
        let mut covered: HashMap<Uuid, u64> = HashMap::new();
        for row in self.read.audit(&page).await? {
            let signed: Option<Signed> = serde_json::from_value(row.details).ok();
            let heads = signed.and_then(|signed| signed.open(&self.sealer.now()));
            for head in heads.into_iter().flat_map(|checkpoint| checkpoint.heads) {
                let position = covered.entry(head.chain).or_default();
                *position = head.position.max(*position);
            }
        }
        let is_new = |head: &ChainHead| {
            head.at >= since
                && covered
                    .get(&head.place.chain)
                    .is_none_or(|covered| *covered < head.place.position)
        };
        let new = heads.into_iter().filter(is_new);
        Ok(new.map(|head| Head::new(head.place, head.at)).collect())
    }

    async fn write(
        &self,
        standing: Standing,
        removal: Option<Timestamp>,
        heads: Vec<Head>,
        now: Timestamp,
    ) -> Result<Checkpointed, NotaryError> {
        let signer = self.signer()?;
        let Standing { number, previous, removed_before, mut signers, is_doubtful, .. } = standing;
        if is_doubtful {
            tracing::error!(
                number = number.saturating_sub(1),
                "the last checkpoint of the audit trail is not as Latchkey wrote it: somebody changed the database. Export the trail and verify it"
            );
        }
        let own = &signer.public().kid;
        if !signers.contains(own) {
            signers.push(own.clone());
        }
        let removed_before = removed_before.max(removal);
        let checkpoint = Checkpoint {
            iss: self.issuer.clone(),
            at: Moment(now),
            number,
            previous,
            removed_before: removed_before.map(Moment),
            signers,
            heads,
        };
        let signed =
            Signed::new(signer.sign(statement::CHECKPOINT, &checkpoint), &self.sealer.now());
        let mut audit =
            AuditEntry::new(now, Actor::System, statement::ACTION, survey::target(number));
        audit.details = serde_json::json!({ "statement": signed.statement, "seal": signed.seal });
        let written =
            apply(&self.writer, AppendCheckpoint { number, removed_before, audit }).await?;
        Ok(if written { Checkpointed::Written(number) } else { Checkpointed::Outrun })
    }
}

/// An entry as a head of its chain.
pub fn head(entry: &ChainedRow) -> Option<Head> {
    entry.place.map(|place| Head::new(place, entry.at))
}

/// When a chain began: its id is a UUIDv7.
fn began(chain: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = chain.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Some(Timestamp::from_seconds(seconds).plus(Duration::from_nanos(u64::from(nanoseconds))))
}
