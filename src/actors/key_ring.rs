//! Owner of the signing keys and their life cycle.
//!
//! Keys live in the store, so every node has the same; this actor reads them, keeps parsed pairs,
//! publishes an immutable [`KeySnapshot`], and rotates. Handlers sign and verify with the snapshot
//! and never ask the actor on the way. Which key signs follows from the clock at that moment, not
//! from when the snapshot was made.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use tokio::sync::watch;

use super::db_writer::{DbWriter, WriteError, apply};
use super::mailbox::{Drain, Mailbox};
use super::revocations::{Add, Revocations};
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::administration::By;
use crate::clock::{Clock, Timestamp};
use crate::in_force::Live;
use crate::protocol::entity_tag;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::{self, KeyError, SigningKey, SigningTimes, VerificationKey};
use crate::protocol::key_life::{KeyState, Life, life, newest, next_signs_from};
use crate::protocol::sealed::{Purpose, SealError, Sealer};
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{Actor as AuditActor, AuditEntry, Revocation, RevocationKind, StoredKey};
use crate::store::operation::{
    ActivateKey, ResealKeys, RetireKey, RetireKeyOutcome, StageKey, StageKeyOutcome,
};

/// How often the store is read again: what another node or the command line did is seen so soon.
pub const POLL: Duration = Duration::from_millis(500);

/// Makes a new key the next to sign, or reports the one that already is.
#[derive(Debug, Message)]
#[rtype(result = "Result<RotateReport, KeyRingError>")]
pub struct RotateKey {
    /// Which algorithm; `None` is the configured one.
    pub algorithm: Option<Algorithm>,
    /// Bits of a new RSA key; `None` is the configured size.
    pub bits: Option<u32>,
    /// Whether it signs at once, without having been published ahead.
    pub now: bool,
    /// For the audit entries; their times are those of the changes.
    pub by: By,
}

/// What a rotation led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateReport {
    /// The key that is staged or active now.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// When it signs.
    pub signs_from: Timestamp,
    /// Whether it was made by this rotation, or was staged already.
    pub is_new: bool,
    /// The key that it replaces, and until when that stays published.
    pub replaces: Option<(String, Option<Timestamp>)>,
}

/// Takes a key out of use by hand. If it signs, another takes over first.
#[derive(Debug, Message)]
#[rtype(result = "Result<RetireKeyOutcome, KeyRingError>")]
pub struct Retire {
    /// Which key.
    pub kid: String,
    /// Whether it leaves the JWKS at once and its tokens die.
    pub compromised: bool,
    /// For the audit entry.
    pub by: AuditActor,
}

/// Seals the private halves with the first server secret; answers how many were not yet.
#[derive(Debug, Message)]
#[rtype(result = "Result<u64, KeyRingError>")]
pub struct Reseal {
    /// For the audit entry.
    pub by: AuditActor,
}

/// Reads the keys from the store and answers when they are published.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), KeyRingError>")]
pub struct Reload;

/// Why the key ring could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The writer or the store did not answer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A private half does not open with any configured server secret.
    #[error(
        "the private half of key {kid} does not open: {reason}. Is server.secret_key the one that sealed it? Put the former secret second in the list"
    )]
    Sealed {
        /// Which key.
        kid: String,
        /// Why.
        reason: SealError,
    },
    /// Keys come from files, so none is made here.
    #[error("keys come from keys.files, so none is made here: put the new file there instead")]
    FromFiles,
    /// Nothing would sign any more with what clients or the configuration need.
    #[error(
        "{kid} is the only key that signs with {algorithm}, which the configuration or a client uses: put another {algorithm} key into keys.files (`latchkey generate-keys --algorithm {algorithm} --output DIR` makes one) and start the server again, or change id_token_signed_response_alg of the clients; then retire this one"
    )]
    LastOfAlgorithm {
        /// Which key.
        kid: String,
        /// What it signs with.
        algorithm: Algorithm,
    },
    /// The work was interrupted.
    #[error("the key could not be made: {0}")]
    Interrupted(String),
}

impl From<StoreError> for KeyRingError {
    fn from(error: StoreError) -> Self {
        Self::Write(WriteError::Store(error))
    }
}

impl From<super::mailbox::AskError> for KeyRingError {
    fn from(error: super::mailbox::AskError) -> Self {
        Self::Write(WriteError::Ask(error))
    }
}

/// One published key.
pub struct PublishedKey {
    /// As stored.
    pub stored: StoredKey,
    /// Its times.
    pub life: Life,
    /// To verify with.
    verification: VerificationKey,
    /// To sign with, where this node holds the private half.
    signing: Option<Arc<SigningKey>>,
}

/// The keys at a moment: immutable, shared, all that signing and verifying need.
pub struct KeySnapshot {
    keys: Vec<PublishedKey>,
    /// Where each kid is in `keys`.
    index: HashMap<String, usize>,
    /// The JWKS document (RFC 7517 §5).
    pub jwks: actix_web::web::Bytes,
    /// Its entity tag, with quotes.
    pub etag: String,
}

impl std::fmt::Debug for KeySnapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.keys.iter().map(|key| &key.stored.kid)).finish()
    }
}

impl KeySnapshot {
    fn new(keys: Vec<PublishedKey>) -> Self {
        let documents: Vec<serde_json::Value> = keys
            .iter()
            .filter_map(|key| serde_json::from_str(&key.stored.public_jwk).ok())
            .collect();
        let jwks = serde_json::json!({ "keys": documents }).to_string();
        let etag = entity_tag::of(jwks.as_bytes());
        let index = keys.iter().enumerate().map(|(at, key)| (key.stored.kid.clone(), at)).collect();
        Self { keys, index, jwks: jwks.into(), etag }
    }

    /// The key that signs with this algorithm now; `None` if this node cannot.
    pub fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Arc<SigningKey>> {
        self.keys
            .iter()
            .find(|key| {
                key.stored.algorithm == algorithm && key.life.state(now) == KeyState::Active
            })
            .and_then(|key| key.signing.as_ref())
    }

    /// What this node signs with now, in the order in which algorithms are offered.
    pub fn algorithms(&self, now: Timestamp) -> Vec<Algorithm> {
        let signs = |algorithm: &Algorithm| self.signer(*algorithm, now).is_some();
        Algorithm::ALL.into_iter().filter(signs).collect()
    }

    /// The key that verifies tokens of this `kid`, while it is published.
    pub fn verifier(&self, kid: &str, now: Timestamp) -> Option<&VerificationKey> {
        let key = self.keys.get(*self.index.get(kid)?)?;
        (key.life.state(now) != KeyState::Removed).then_some(&key.verification)
    }

    /// The published keys, oldest first.
    pub fn keys(&self) -> &[PublishedKey] {
        &self.keys
    }
}

/// Receives the newest [`KeySnapshot`].
pub type Keys = watch::Receiver<Arc<KeySnapshot>>;

/// How keys are made and follow each other.
#[derive(Clone)]
pub struct Rules {
    /// Seals private halves.
    pub sealer: Sealer,
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// Bits of new RSA keys.
    pub bits: u32,
    /// How long a key signs; `None` is for ever.
    pub period: Option<Duration>,
    /// How long a key is published before it signs.
    pub ahead: Duration,
    /// How long a token can be valid after it was signed, with leeway.
    pub tokens_live_for: Duration,
}

/// What the key ring is made with.
#[derive(Clone)]
pub struct Means {
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// For the reads.
    pub read: Arc<dyn ReadStore>,
    /// Is told of compromised keys; `None` on the command line, which serves nobody.
    pub revocations: Option<Mailbox<Revocations>>,
    /// Tells the time.
    pub clock: Clock,
    /// How keys are made and follow each other.
    pub rules: Live<Rules>,
    /// Keys made elsewhere; if there are any, none is made here.
    pub files: Vec<Arc<SigningKey>>,
    /// Whether keys are made and rotated by the clock: by servers, not by the command line.
    pub automatic: bool,
    /// How long signatures take.
    pub signing: Arc<SigningTimes>,
}

impl Means {
    /// The rules at this moment.
    fn rules(&self) -> Rules {
        self.rules.now()
    }
}

/// The numbers of the reads of the store, in the order in which they begin. Reads overlap: a tick's and one
/// after a change. What was read earlier must not be published over what was read later.
#[derive(Clone, Debug, Default)]
struct Reads(Arc<AtomicU64>);

/// What a read found.
struct Found {
    number: u64,
    keys: Vec<StoredKey>,
    /// What ID tokens of any client are signed with.
    of_clients: Vec<Algorithm>,
}

impl Reads {
    async fn read(&self, means: &Means) -> Result<Found, KeyRingError> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let (keys, of_clients) =
            futures_util::try_join!(means.read.keys(), means.read.client_algorithms())?;
        Ok(Found { number, keys, of_clients })
    }
}

/// Which read was taken over last.
#[derive(Debug, Default)]
struct Newest(Option<u64>);

impl Newest {
    /// Whether this read began after the newest so far, which it then is.
    fn is(&mut self, number: u64) -> bool {
        let is_newer = self.0.is_none_or(|newest| newest < number);
        if is_newer {
            self.0 = Some(number);
        }
        is_newer
    }
}

/// The owner.
pub struct KeyRing {
    means: Means,
    reads: Reads,
    taken_over: Newest,
    status: Arc<ActorStatus>,
    publish: watch::Sender<Arc<KeySnapshot>>,
    parsed: HashMap<String, Arc<SigningKey>>,
    stored: Vec<StoredKey>,
    /// What ID tokens of any client are signed with.
    of_clients: Vec<Algorithm>,
    /// What there is no key for and none can be made, as the log was told.
    missing: Vec<Algorithm>,
    /// Whether a rotation by the clock is under way.
    rotating: bool,
    /// Whether the store is being read because of a tick: one read at a time, so that a store that is slow to answer
    /// is not asked by ever more, and those who have something to ask find a connection.
    following: bool,
    /// Whether something may have changed since that read began.
    is_wanted: bool,
    /// Why the store could not be read the last time, as the log was told.
    trouble: Option<String>,
}

impl Due {
    /// A key that follows `newest`.
    fn following(newest: Option<&StoredKey>, algorithm: Algorithm, signs_from: Timestamp) -> Self {
        let after = newest.map_or_else(Timestamp::default, |key| just_after(key.signs_from));
        let newest = newest.map(|key| key.kid.clone());
        Self { algorithm, signs_from, newest, after, file: None }
    }
}

fn just_after(moment: Timestamp) -> Timestamp {
    moment.plus(Duration::from_millis(1))
}

impl KeyRing {
    /// A channel for the snapshots, empty at first.
    pub fn channel() -> (watch::Sender<Arc<KeySnapshot>>, Keys) {
        watch::channel(Arc::new(KeySnapshot::new(Vec::new())))
    }

    /// The owner, which publishes to `publish`.
    pub fn new(
        means: Means,
        publish: watch::Sender<Arc<KeySnapshot>>,
        status: Arc<ActorStatus>,
    ) -> Self {
        let parsed =
            means.files.iter().map(|key| (key.public().kid.clone(), Arc::clone(key))).collect();
        Self {
            means,
            reads: Reads::default(),
            taken_over: Newest::default(),
            status,
            publish,
            parsed,
            stored: Vec::new(),
            of_clients: Vec::new(),
            missing: Vec::new(),
            rotating: false,
            following: false,
            is_wanted: false,
            trouble: None,
        }
    }

    /// Takes over what the store holds, unless something newer was; parses what is new; publishes.
    fn take_over(&mut self, found: Found) -> Result<(), KeyRingError> {
        if !self.taken_over.is(found.number) {
            return Ok(());
        }
        let stored = found.keys;
        self.of_clients = found.of_clients;
        let (now, rules) = (self.means.clock.now(), self.means.rules());
        let mut published = Vec::new();
        for key in &stored {
            let life = life(key, &stored, rules.tokens_live_for);
            if life.state(now) == KeyState::Removed {
                self.parsed.remove(&key.kid);
                continue;
            }
            let verification = VerificationKey::new(key.algorithm, &key.public_jwk)?;
            let signing = match (self.parsed.get(&key.kid), &key.sealed_private) {
                (Some(parsed), _) => Some(Arc::clone(parsed)),
                (None, None) => None,
                (None, Some(sealed)) => {
                    let opened = open(&rules.sealer, &key.kid, sealed)?;
                    self.parsed.insert(key.kid.clone(), Arc::clone(&opened));
                    Some(opened)
                }
            };
            if let Some(key) = &signing {
                key.timed_by(&self.means.signing);
            }
            published.push(PublishedKey { stored: key.clone(), life, verification, signing });
        }
        self.stored = stored;
        self.publish.send_replace(Arc::new(KeySnapshot::new(published)));
        self.tell_what_is_missing(now);
        // A client's algorithm holds nobody else up: its key is made in a moment.
        if self.can_sign(now) || !self.means.automatic {
            self.status.ready();
        }
        Ok(())
    }

    fn can_sign(&self, now: Timestamp) -> bool {
        self.publish.borrow().signer(self.means.rules().algorithm, now).is_some()
    }

    /// The configured algorithm, those of clients, and those that have keys.
    fn algorithms(&self) -> Vec<Algorithm> {
        let has_key = |algorithm: &Algorithm| newest(&self.stored, *algorithm).is_some();
        let in_use = in_use(&self.means, &self.of_clients);
        let others = Algorithm::ALL.into_iter().filter(|algorithm| !in_use.contains(algorithm));
        in_use.iter().copied().chain(others.filter(has_key)).collect()
    }

    /// With `keys.files` none is made here: the log says once what clients need and no file has.
    fn tell_what_is_missing(&mut self, now: Timestamp) {
        if self.means.files.is_empty() || !self.means.automatic {
            return;
        }
        let has_file = |algorithm: Algorithm| {
            self.means.files.iter().any(|file| file.public().algorithm == algorithm)
        };
        let missing: Vec<Algorithm> = in_use(&self.means, &self.of_clients)
            .into_iter()
            .filter(|algorithm| !has_file(*algorithm))
            .filter(|algorithm| self.publish.borrow().signer(*algorithm, now).is_none())
            .collect();
        for algorithm in missing.iter().filter(|algorithm| !self.missing.contains(algorithm)) {
            tracing::error!(
                %algorithm,
                "no key of keys.files signs with what the configuration or a client uses: put one there and start the server again"
            );
        }
        self.missing = missing;
    }

    /// The keys that the clock says are to be staged now.
    fn due(&self) -> Vec<Due> {
        let now = self.means.clock.now();
        if !self.means.files.is_empty() {
            return self.files_to_publish(now);
        }
        let (mut due, rules) = (Vec::new(), self.means.rules());
        for algorithm in self.algorithms() {
            let current = newest(&self.stored, algorithm);
            // A key whose private half is in no file any more cannot sign: it counts as none.
            let usable = current.filter(|key| self.parsed.contains_key(&key.kid));
            let next = next_signs_from(usable, rules.period, rules.ahead, now);
            if let Some(signs_from) = next {
                due.push(Due::following(current, algorithm, signs_from));
            }
        }
        due
    }

    /// Files whose public half is not in the store yet: the first of an algorithm signs at once.
    fn files_to_publish(&self, now: Timestamp) -> Vec<Due> {
        let unknown = self
            .means
            .files
            .iter()
            .find(|file| self.stored.iter().all(|stored| stored.kid != file.public().kid));
        unknown.map_or_else(Vec::new, |file| {
            let algorithm = file.public().algorithm;
            let newest = newest(&self.stored, algorithm);
            let signs_from = newest.map_or(now, |_| now.plus(self.means.rules().ahead));
            let due = Due::following(newest, algorithm, signs_from);
            vec![Due { file: Some(Arc::clone(file)), ..due }]
        })
    }

    /// Reads the store and stages what is due; resolves to the keys then stored.
    fn follow(&self) -> impl Future<Output = Result<Found, KeyRingError>> + 'static {
        let (means, reads) = (self.means.clone(), self.reads.clone());
        async move { reads.read(&means).await }
    }

    fn followed(
        result: Result<Found, KeyRingError>,
        actor: &mut Self,
        context: &mut Context<Self>,
    ) {
        match result.and_then(|found| actor.take_over(found)) {
            Ok(()) => {
                if actor.trouble.take().is_some() {
                    tracing::info!("signing keys can be read again");
                }
                actor.rotate_by_the_clock(context);
            }
            Err(error) => actor.is_in_trouble(&error),
        }
        actor.following = false;
        if actor.is_wanted {
            actor.go_on_following(context);
        }
    }

    /// Reads the store, or again once the read under way is over.
    fn go_on_following(&mut self, context: &mut Context<Self>) {
        self.is_wanted = self.following;
        if !std::mem::replace(&mut self.following, true) {
            context.spawn(self.follow().into_actor(self).map(Self::followed));
        }
    }

    /// Tells the log, once for each reason.
    fn is_in_trouble(&mut self, error: &KeyRingError) {
        let reason = error.to_string();
        if self.trouble.as_ref() != Some(&reason) {
            tracing::warn!(error = reason, "signing keys could not be read; trying again");
            self.trouble = Some(reason);
        }
    }

    fn rotate_by_the_clock(&mut self, context: &mut Context<Self>) {
        if self.rotating || !self.means.automatic {
            return;
        }
        let due = self.due();
        if due.is_empty() {
            return;
        }
        self.rotating = true;
        let (means, reads) = (self.means.clone(), self.reads.clone());
        let staging = async move {
            for due in due {
                let by = By::local(AuditActor::System, means.clock.now());
                stage(&means, due, means.rules().bits, by).await?;
            }
            reads.read(&means).await
        };
        context.spawn(staging.into_actor(self).map(
            |result: Result<Found, KeyRingError>, actor: &mut Self, _| {
                actor.rotating = false;
                if let Err(error) = result.and_then(|found| actor.take_over(found)) {
                    tracing::warn!(%error, "no signing key could be made; trying again");
                }
            },
        ));
    }
}

/// What there must be a key for: the configured algorithm, then those of clients.
fn in_use(means: &Means, of_clients: &[Algorithm]) -> Vec<Algorithm> {
    let configured = means.rules().algorithm;
    let others = of_clients.iter().copied().filter(|algorithm| *algorithm != configured);
    std::iter::once(configured).chain(others).collect()
}

fn open(sealer: &Sealer, kid: &str, sealed: &str) -> Result<Arc<SigningKey>, KeyRingError> {
    let der = sealer
        .open_bytes(Purpose::SigningKey, sealed)
        .map_err(|reason| KeyRingError::Sealed { kid: kid.to_owned(), reason })?;
    Ok(Arc::new(SigningKey::from_pkcs8(&der)?))
}

/// Tries whether a server with these secrets can sign with stored keys, those out of use apart.
///
/// # Errors
/// [`KeyRingError::Sealed`] for the first that does not open, [`KeyRingError::Key`] for one that is none.
pub fn all_open(
    sealer: &Sealer,
    keys: &[StoredKey],
    tokens_live_for: Duration,
    now: Timestamp,
) -> Result<(), KeyRingError> {
    for key in keys {
        if let Some(sealed) = &key.sealed_private
            && life(key, keys, tokens_live_for).state(now) != KeyState::Removed
        {
            open(sealer, &key.kid, sealed)?;
        }
    }
    Ok(())
}

/// A key to be staged.
#[derive(Debug)]
struct Due {
    algorithm: Algorithm,
    signs_from: Timestamp,
    /// What the caller saw as the newest: another node may be first.
    newest: Option<String>,
    /// The earliest moment after that key's turn began.
    after: Timestamp,
    /// The key, if it comes from a file; else one is made.
    file: Option<Arc<SigningKey>>,
}

/// Makes the key (off the actors' threads) and stages it, unless another node was first.
async fn stage(
    means: &Means,
    due: Due,
    bits: u32,
    by: By,
) -> Result<StageKeyOutcome, KeyRingError> {
    let (public, sealed_private) = match &due.file {
        Some(file) => (file.public().clone(), None),
        None => {
            let (sealer, algorithm) = (means.rules().sealer, due.algorithm);
            actix_web::rt::task::spawn_blocking(move || {
                let der = key::generate(algorithm, bits)?;
                let public = SigningKey::from_pkcs8(&der)?.public().clone();
                Ok::<_, KeyError>((public, Some(sealer.seal_bytes(Purpose::SigningKey, &der))))
            })
            .await
            .map_err(|error| KeyRingError::Interrupted(error.to_string()))??
        }
    };
    let now = means.clock.now();
    // Strictly after the key that it follows, so that the succession is the same for everybody.
    let signs_from = due.signs_from.max(now).max(due.after);
    let key = StoredKey {
        kid: public.kid.clone(),
        algorithm: public.algorithm,
        public_jwk: public.jwk,
        sealed_private,
        created_at: now,
        signs_from,
        retired_at: None,
        compromised: false,
    };
    let details = serde_json::json!({
        "algorithm": key.algorithm.as_str(), "signs_from": signs_from.to_rfc3339(),
    });
    let audit = By { at: now, ..by }.entry("key.staged", format!("key:{}", key.kid), details);
    let outcome = apply(&means.writer, StageKey { key, newest: due.newest, audit }).await?;
    if outcome == StageKeyOutcome::Staged {
        tracing::info!(
            kid = public.kid, algorithm = %public.algorithm, signs_from = signs_from.to_rfc3339(),
            "a signing key was staged"
        );
    }
    Ok(outcome)
}

async fn activate(means: &Means, kid: &str, at: Timestamp, by: By) -> Result<bool, KeyRingError> {
    let by = By { at, ..by };
    let audit = by.entry("key.activated", format!("key:{kid}"), serde_json::Value::Null);
    Ok(apply(&means.writer, ActivateKey { kid: kid.to_owned(), at, audit }).await?)
}

async fn rotate(means: &Means, request: RotateKey) -> Result<RotateReport, KeyRingError> {
    let rules = means.rules();
    let algorithm = request.algorithm.unwrap_or(rules.algorithm);
    let stored = means.read.keys().await?;
    let current = newest(&stored, algorithm);
    let now = means.clock.now();
    let staged = current.filter(|key| key.signs_from > now);
    // What waits for its turn can take it, wherever it comes from; only making a key is not ours.
    if !means.files.is_empty() && !staged.is_some_and(|key| has_private_half(means, key)) {
        return Err(KeyRingError::FromFiles);
    }
    let is_new = staged.is_none();
    let kid = match staged {
        Some(staged) => staged.kid.clone(),
        None => {
            let ahead = if request.now || current.is_none() { Duration::ZERO } else { rules.ahead };
            let due = Due::following(current, algorithm, now.plus(ahead));
            let bits = request.bits.unwrap_or(rules.bits);
            match stage(means, due, bits, request.by.clone()).await? {
                StageKeyOutcome::OtherIsNewer(kid) => kid,
                StageKeyOutcome::Staged => {
                    let stored = means.read.keys().await?;
                    newest(&stored, algorithm).map(|key| key.kid.clone()).unwrap_or_default()
                }
            }
        }
    };
    if request.now && !is_new {
        let before = stored
            .iter()
            .filter(|key| key.algorithm == algorithm && key.kid != kid && key.signs_from <= now)
            .map(|key| just_after(key.signs_from))
            .max();
        activate(means, &kid, before.unwrap_or(now).max(now), request.by).await?;
    }
    let stored = means.read.keys().await?;
    let signs_from = stored.iter().find(|key| key.kid == kid).map_or(now, |key| key.signs_from);
    let replaces = stored
        .iter()
        .filter(|key| key.algorithm == algorithm && key.signs_from <= signs_from && key.kid != kid)
        .max_by_key(|key| key.signs_from)
        .map(|key| {
            let life = life(key, &stored, rules.tokens_live_for);
            (key.kid.clone(), life.published_until)
        });
    Ok(RotateReport { kid, algorithm, signs_from, is_new, replaces })
}

/// Whether this process can sign with a key of the store.
fn has_private_half(means: &Means, key: &StoredKey) -> bool {
    key.sealed_private.is_some() || means.files.iter().any(|file| file.public().kid == key.kid)
}

async fn retire(means: &Means, request: Retire) -> Result<RetireKeyOutcome, KeyRingError> {
    let stored = means.read.keys().await?;
    let Some(key) = stored.iter().find(|key| key.kid == request.kid) else {
        return Ok(RetireKeyOutcome::Unknown);
    };
    let (now, tokens_live_for) = (means.clock.now(), means.rules().tokens_live_for);
    let signs_now = life(key, &stored, tokens_live_for).state(now) == KeyState::Active;
    if signs_now {
        // Another key takes over first, so that there is no moment without a signer.
        let rotation = RotateKey {
            algorithm: Some(key.algorithm),
            bits: None,
            now: true,
            by: By::local(request.by.clone(), now),
        };
        match rotate(means, rotation).await {
            Ok(_) => {}
            Err(KeyRingError::FromFiles) => {
                let of_clients = means.read.client_algorithms().await?;
                if in_use(means, &of_clients).contains(&key.algorithm) {
                    let (kid, algorithm) = (request.kid, key.algorithm);
                    return Err(KeyRingError::LastOfAlgorithm { kid, algorithm });
                }
            }
            Err(error) => return Err(error),
        }
    }
    let at = means.clock.now();
    let action = if request.compromised { "key.compromised" } else { "key.retired" };
    let tokens_live_until = at.plus(tokens_live_for);
    let outcome = apply(
        &means.writer,
        RetireKey {
            kid: request.kid.clone(),
            at,
            compromised: request.compromised,
            tokens_live_until,
            audit: AuditEntry::new(at, request.by, action, format!("key:{}", request.kid)),
        },
    )
    .await?;
    if let (true, Some(revocations)) = (request.compromised, &means.revocations) {
        let revoked =
            Revocation { kind: RevocationKind::Key, id: request.kid, until: tokens_live_until };
        revocations.ask(Add(vec![revoked])).await?;
    }
    Ok(outcome)
}

async fn reseal(means: &Means, by: AuditActor) -> Result<u64, KeyRingError> {
    let (mut sealed, sealer) = (Vec::new(), means.rules().sealer);
    for key in means.read.keys().await? {
        let Some(private) = &key.sealed_private else { continue };
        if !sealer.is_current(private) {
            let der = sealer
                .open_bytes(Purpose::SigningKey, private)
                .map_err(|reason| KeyRingError::Sealed { kid: key.kid.clone(), reason })?;
            sealed.push((key.kid, sealer.seal_bytes(Purpose::SigningKey, &der)));
        }
    }
    if sealed.is_empty() {
        return Ok(0);
    }
    let audit = AuditEntry::new(means.clock.now(), by, "key.resealed", "key:all".to_owned());
    Ok(apply(&means.writer, ResealKeys { sealed, audit }).await?)
}

impl Actor for KeyRing {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        // Held back until the keys are read. Without them the next tick tries again.
        self.following = true;
        context.wait(self.follow().into_actor(self).map(Self::followed));
    }
}

impl Supervised for KeyRing {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // The published snapshot stays: its keys are immutable and judged by the clock.
        let files = self.means.files.iter().map(|key| (key.public().kid.clone(), Arc::clone(key)));
        self.parsed = files.collect();
        self.stored.clear();
        (self.rotating, self.following, self.is_wanted) = (false, false, false);
    }
}

impl Handler<Tick> for KeyRing {
    type Result = ();

    fn handle(&mut self, Tick: Tick, context: &mut Context<Self>) {
        self.go_on_following(context);
    }
}

impl Handler<Reload> for KeyRing {
    type Result = actix::ResponseActFuture<Self, Result<(), KeyRingError>>;

    fn handle(&mut self, Reload: Reload, _: &mut Context<Self>) -> Self::Result {
        Box::pin(
            self.follow()
                .into_actor(self)
                .map(|read, actor, _| read.and_then(|found| actor.take_over(found))),
        )
    }
}

/// Does some work with the means, then publishes what the store holds, then answers.
fn then_publish<T: 'static>(
    actor: &KeyRing,
    work: impl Future<Output = Result<T, KeyRingError>> + 'static,
) -> actix::ResponseActFuture<KeyRing, Result<T, KeyRingError>> {
    let (means, reads) = (actor.means.clone(), actor.reads.clone());
    let work = async move {
        let answer = work.await?;
        Ok((answer, reads.read(&means).await?))
    };
    Box::pin(work.into_actor(actor).map(|result: Result<_, KeyRingError>, actor, _| {
        let (answer, found) = result?;
        actor.take_over(found)?;
        Ok(answer)
    }))
}

impl Handler<RotateKey> for KeyRing {
    type Result = actix::ResponseActFuture<Self, Result<RotateReport, KeyRingError>>;

    fn handle(&mut self, request: RotateKey, _: &mut Context<Self>) -> Self::Result {
        let means = self.means.clone();
        then_publish(self, async move { rotate(&means, request).await })
    }
}

impl Handler<Retire> for KeyRing {
    type Result = actix::ResponseActFuture<Self, Result<RetireKeyOutcome, KeyRingError>>;

    fn handle(&mut self, request: Retire, _: &mut Context<Self>) -> Self::Result {
        let means = self.means.clone();
        then_publish(self, async move { retire(&means, request).await })
    }
}

impl Handler<Reseal> for KeyRing {
    type Result = ResponseFuture<Result<u64, KeyRingError>>;

    fn handle(&mut self, request: Reseal, _: &mut Context<Self>) -> Self::Result {
        let means = self.means.clone();
        Box::pin(async move { reseal(&means, request.by).await })
    }
}

impl Handler<Drain> for KeyRing {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(KeyRing);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_earlier_is_not_published_over_what_was_read_later() {
        let mut newest = Newest::default();
        assert_eq!(
            [0, 2, 1, 2, 3].map(|number| newest.is(number)),
            [true, true, false, false, true]
        );
    }
}
