//! Owner of the configuration that is in force, and of reading it again.
//!
//! A reload is all or nothing. Whatever can fail comes first, one reload at a time: the file, what it names,
//! the keys of the store, the line of the audit trail. What comes last, publishing, cannot.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AtomicResponse, Context, Handler, Message, Supervised,
    WrapFuture,
};
use serde_json::json;
use tokio::sync::oneshot;

use super::db_writer::{DbWriter, WriteError, apply};
use super::key_ring::{KeyRing, KeyRingError, Keys, RotateKey, all_open};
use super::mailbox::{Drain, Mailbox};
use super::status::ActorStatus;
use crate::administration::By;
use crate::clock::Clock;
use crate::config::change::{Change, change, contradictions};
use crate::config::problem::{Problem, Problems};
use crate::config::{Loaded, Source};
use crate::in_force::{InForce, Publisher};
use crate::startup::StartError;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::operation::AppendAudit;
use crate::telemetry;
use crate::telemetry::metrics::ProviderCounters;

/// How long an answer may take: an RSA key may have to be made.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// How long the files may take to be read: one on a server that is away, or a pipe, would hold up all reloads.
const READING: Duration = Duration::from_secs(10);

/// Reads the configuration again, and answers when it is in force.
#[derive(Debug, Message)]
#[rtype(result = "Result<Reloaded, ReloadError>")]
pub struct Reload {
    /// For the audit entry.
    pub by: By,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new values are in force.
    pub applied: Vec<String>,
    /// Keys whose new values wait for a restart; the former ones are in force.
    pub needs_restart: Vec<String>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Refused(Problems),
    /// The store could not be asked, or the line of the audit trail was not confirmed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The work was interrupted.
    #[error("the configuration could not be read: {0}")]
    Interrupted(String),
}

impl From<StoreError> for ReloadError {
    fn from(error: StoreError) -> Self {
        Self::Write(WriteError::Store(error))
    }
}

impl From<super::mailbox::AskError> for ReloadError {
    fn from(error: super::mailbox::AskError) -> Self {
        Self::Write(WriteError::Ask(error))
    }
}

/// How reloads ended; shared with /metrics.
#[derive(Debug, Default)]
pub struct ReloadCounters {
    /// What was read is in force.
    pub applied: AtomicU64,
    /// The configuration could not be used.
    pub refused: AtomicU64,
    /// Something else came in between.
    pub failed: AtomicU64,
    /// When what is in force was read, in seconds since the epoch; a start counts.
    pub last_success: AtomicI64,
}

/// What the configuration is read and checked with.
#[derive(Clone)]
pub struct Means {
    /// Where it comes from; `None` if nobody has said.
    pub source: Option<Source>,
    /// For the reads.
    pub read: Arc<dyn ReadStore>,
    /// For the writes.
    pub writer: Mailbox<DbWriter>,
    /// Makes a key of an algorithm that has none.
    pub key_ring: Mailbox<KeyRing>,
    /// The published keys.
    pub keys: Keys,
    /// Tells the time.
    pub clock: Clock,
    /// How reloads end.
    pub counters: Arc<ReloadCounters>,
    /// Counts what is asked of providers, those that come by a reload included.
    pub providers: Arc<ProviderCounters>,
}

/// The owner.
pub struct Configuration {
    means: Means,
    publisher: Publisher,
    status: Arc<ActorStatus>,
}

impl Configuration {
    /// The owner of what `publisher` holds.
    pub fn new(means: Means, publisher: Publisher, status: Arc<ActorStatus>) -> Self {
        Self { means, publisher, status }
    }

    /// Puts into force what was prepared. Nothing here can fail.
    fn publish(&self, prepared: Prepared) -> Reloaded {
        let Prepared { in_force, reloaded } = prepared;
        telemetry::follow(&in_force.settings.telemetry, in_force.settings.audit.log);
        self.means.providers.know(&in_force.settings.providers);
        in_force.warn(self.means.clock.now());
        self.publisher.send_replace(Arc::new(in_force));
        reloaded
    }

    fn finish(&self, outcome: Result<Prepared, ReloadError>) -> Result<Reloaded, ReloadError> {
        let counters = &self.means.counters;
        let answer = outcome.map(|prepared| self.publish(prepared));
        let counter = match &answer {
            Ok(_) => {
                counters.last_success.store(self.means.clock.now().seconds(), Ordering::Relaxed);
                &counters.applied
            }
            Err(ReloadError::Refused(_)) => &counters.refused,
            Err(_) => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tell(&answer);
        answer
    }
}

/// What is about to be in force.
struct Prepared {
    in_force: InForce,
    reloaded: Reloaded,
}

/// Everything that can fail.
async fn prepare(
    means: Means,
    running: Arc<InForce>,
    Reload { by }: Reload,
) -> Result<Prepared, ReloadError> {
    let (prepared, file) = read_in_time(means.source.clone(), Arc::clone(&running)).await?;
    let refuse = |problem: Problem| {
        ReloadError::Refused(Problems { file: file.clone(), problems: vec![problem] })
    };
    check_secrets(&means, &running, &prepared).await?.map_err(refuse)?;
    have_signer(&means, &running, &prepared, &by).await?.map_err(refuse)?;
    let Reloaded { applied, needs_restart } = &prepared.reloaded;
    if !applied.is_empty() {
        let details = json!({ "applied": applied, "needs_restart": needs_restart });
        let by = By { at: means.clock.now(), ..by };
        let entry = by.entry("configuration.reloaded", "configuration:file".to_owned(), details);
        apply(&means.writer, AppendAudit(entry)).await?;
    }
    Ok(prepared)
}

/// As [`read`], in a thread of its own: the end of the process waits for those of the runtime, but not for a file that
/// never answers.
async fn read_in_time(
    source: Option<Source>,
    running: Arc<InForce>,
) -> Result<(Prepared, Option<String>), ReloadError> {
    let interrupted = |why: String| ReloadError::Interrupted(why);
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || {
            // Nobody waits any more, if it took too long.
            let _late = reply.send(read(source.as_ref(), &running));
        })
        .map_err(|error| interrupted(error.to_string()))?;
    let answered = tokio::time::timeout(READING, answer).await.map_err(|_| {
        interrupted(format!("a file did not answer within {} s", READING.as_secs()))
    })?;
    answered.map_err(|_| interrupted("the reading ended without an answer".to_owned()))?
}

/// Reads the configuration and what it names; the file that it is in.
fn read(
    source: Option<&Source>,
    running: &InForce,
) -> Result<(Prepared, Option<String>), ReloadError> {
    let Some(source) = source else {
        let problem = Problem {
            reason: "there is no file to read again".to_owned(),
            remedy: Some("start the server with one".to_owned()),
            ..Problem::default()
        };
        return Err(ReloadError::Refused(Problems { file: None, problems: vec![problem] }));
    };
    let Loaded { settings, file, entries, warnings } = source().map_err(ReloadError::Refused)?;
    let file = file.map(|file| file.display().to_string());
    let refuse = |problems| ReloadError::Refused(Problems { file: file.clone(), problems });
    let change = change((&running.settings, &running.entries), (settings, entries));
    let Change { settings, entries, mut applied, needs_restart } = change;
    let mut problems = contradictions(&settings);
    if let Err(error) = telemetry::filter(&settings.telemetry, settings.audit.log) {
        problems.push(problem_of("telemetry.log_level", error));
    }
    let in_force = match running.followed_by(settings, entries) {
        Ok(in_force) if problems.is_empty() => in_force,
        Ok(_) => return Err(refuse(problems)),
        Err(error) => {
            problems.push(of_start(&error));
            return Err(refuse(problems));
        }
    };
    // Certificates are renewed in their files, whose names stay.
    if let (Some(former), Some(new)) = (&running.certificate, &in_force.certificate) {
        let renewed = former.differences(new).into_iter().map(str::to_owned);
        let unnamed: Vec<String> = renewed.filter(|key| !applied.contains(key)).collect();
        applied.extend(unnamed);
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((Prepared { in_force, reloaded: Reloaded { applied, needs_restart } }, file))
}

/// What names a key in its message already, as the start tells it, under that key.
fn of_start(error: &StartError) -> Problem {
    match error {
        StartError::Tls { key, path, reason } => {
            problem_of(&format!("server.tls.{key}"), format!("{path}: {reason}"))
        }
        StartError::Avatars(error) => problem_of("avatars.store", error),
        other => problem_of("", other),
    }
}

fn problem_of(key: &str, reason: impl std::fmt::Display) -> Problem {
    Problem { key: key.to_owned(), reason: reason.to_string(), ..Problem::default() }
}

/// New server secrets must open what the former ones sealed.
async fn check_secrets(
    means: &Means,
    running: &InForce,
    prepared: &Prepared,
) -> Result<Result<(), Problem>, ReloadError> {
    let of = |in_force: &InForce| in_force.settings.server.secret_key.clone();
    if of(running) == of(&prepared.in_force) {
        return Ok(Ok(()));
    }
    let keys = means.read.keys().await?;
    let InForce { sealer, key_tokens_live_for, .. } = &prepared.in_force;
    let checked = all_open(sealer, &keys, *key_tokens_live_for, means.clock.now());
    Ok(checked.map_err(|error| Problem {
        remedy: Some(
            "keep the former secret second in the list until `latchkey keys reseal` has run".into(),
        ),
        ..problem_of(
            "server.secret_key",
            match error {
                KeyRingError::Sealed { kid, .. } => {
                    format!("does not open signing key {kid}, which another secret sealed")
                }
                other => other.to_string(),
            },
        )
    }))
}

/// Another algorithm is in force only once there is a key of it: no request is to find none.
async fn have_signer(
    means: &Means,
    running: &InForce,
    prepared: &Prepared,
    by: &By,
) -> Result<Result<(), Problem>, ReloadError> {
    let algorithm = prepared.in_force.settings.keys.algorithm;
    let signs = || means.keys.borrow().signer(algorithm, means.clock.now()).is_some();
    if algorithm == running.settings.keys.algorithm || signs() {
        return Ok(Ok(()));
    }
    let bits = Some(prepared.in_force.settings.keys.bits);
    let make = RotateKey { algorithm: Some(algorithm), bits, now: true, by: by.clone() };
    let refused = |reason: String| {
        Ok(Err(Problem {
            remedy: Some(format!(
                "have a key ready: `latchkey generate-keys --algorithm {algorithm}`"
            )),
            ..problem_of("keys.algorithm", reason)
        }))
    };
    match means.key_ring.ask(make).await? {
        Ok(_) if signs() => Ok(Ok(())),
        Ok(_) => refused(format!("is {algorithm}, and no key signs with it yet")),
        Err(KeyRingError::Write(error)) => Err(error.into()),
        Err(error) => refused(format!("is {algorithm}, which no key signs with: {error}")),
    }
}

/// One line on what became of it, and one on each problem.
fn tell(answer: &Result<Reloaded, ReloadError>) {
    match answer {
        Ok(Reloaded { applied, needs_restart }) => {
            let (applied, needs_restart) = (listed(applied), listed(needs_restart));
            if needs_restart.is_empty() {
                tracing::info!(applied, "configuration reloaded");
            } else {
                tracing::warn!(
                    applied,
                    needs_restart,
                    "configuration reloaded; the rest needs a restart"
                );
            }
        }
        Err(ReloadError::Refused(Problems { file, problems })) => {
            let file = file.as_deref();
            let count = problems.len();
            tracing::warn!(
                file,
                problems = count,
                "the configuration was not reloaded: nothing has changed"
            );
            for problem in problems {
                tracing::warn!("{}", sentence(problem));
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the configuration was not reloaded: nothing has changed");
        }
    }
}

fn listed(keys: &[String]) -> String {
    keys.join(", ")
}

/// A problem on one line.
pub fn sentence(problem: &Problem) -> String {
    let mut text = String::new();
    if let Some(line) = problem.line {
        let _infallible = write!(text, "line {line}: ");
    }
    let name = problem.variable.as_deref().unwrap_or(&problem.key);
    text.push_str(name);
    if let Some(value) = &problem.value {
        let _infallible = write!(text, " = {value}");
    }
    if !name.is_empty() {
        text.push(' ');
    }
    text.push_str(&problem.reason);
    if let Some(remedy) = &problem.remedy {
        let _infallible = write!(text, "; {remedy}");
    }
    text
}

impl Actor for Configuration {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

/// What is in force stays so.
impl Supervised for Configuration {}

impl Handler<Reload> for Configuration {
    type Result = AtomicResponse<Self, Result<Reloaded, ReloadError>>;

    /// One after the other: each compares with what the one before left in force.
    fn handle(&mut self, reload: Reload, _: &mut Context<Self>) -> Self::Result {
        let running = Arc::clone(&self.publisher.borrow());
        let preparing = prepare(self.means.clone(), running, reload);
        AtomicResponse::new(Box::pin(
            preparing.into_actor(self).map(|outcome, actor: &mut Self, _| actor.finish(outcome)),
        ))
    }
}

impl Handler<Drain> for Configuration {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Configuration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_says_where_why_and_what_to_do() {
        let problem = Problem {
            line: Some(4),
            key: "tokens.access_ttl".to_owned(),
            value: Some("\"soon\"".to_owned()),
            reason: "is not a duration".to_owned(),
            remedy: Some("write it as \"15m\"".to_owned()),
            ..Problem::default()
        };
        assert_eq!(
            sentence(&problem),
            "line 4: tokens.access_ttl = \"soon\" is not a duration; write it as \"15m\""
        );
        assert_eq!(sentence(&problem_of("", "cannot be read")), "cannot be read");
    }
}
