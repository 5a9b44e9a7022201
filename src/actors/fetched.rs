//! What an owner knows from somebody else's server: fetched when it is first needed, kept for a while, and
//! fetched once for all who wait. A part of an owner's state, without any of its own life.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::AskError;
use crate::clock::Timestamp;
use crate::providers::ProviderError;

/// How long a failure is answered again without asking.
const FAILURE_LIFE: Duration = Duration::from_secs(5);

/// What every caller gets.
pub(super) type Answer<T> = Result<Arc<T>, ProviderError>;

/// How long what was fetched is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    /// How long it is used.
    pub life: Duration,
    /// How often it is fetched anew because it does not do.
    pub pause: Duration,
}

/// What the owner does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the caller is answered, or waits with others.
    Nothing,
    /// Fetch, then [`Fetched::settle`].
    Fetch,
}

/// Something that is fetched, and who waits for it.
pub(super) struct Fetched<T> {
    lives: Lives,
    known: Option<(Arc<T>, Timestamp)>,
    failed: Option<(ProviderError, Timestamp)>,
    asked_at: Option<Timestamp>,
    /// Who waits for the fetch under way; `None` if there is none.
    waiting: Option<Vec<oneshot::Sender<Answer<T>>>>,
}

/// A caller and its answer.
type Caller<T> = (oneshot::Sender<Answer<T>>, Pin<Box<dyn Future<Output = Answer<T>>>>);

impl<T: 'static> Fetched<T> {
    /// Nothing yet.
    pub(super) fn new(lives: Lives) -> Self {
        Self { lives, known: None, failed: None, asked_at: None, waiting: None }
    }

    /// A caller, and the answer that it will get.
    pub(super) fn caller() -> Caller<T> {
        let (caller, answer) = oneshot::channel();
        let answer =
            async move { answer.await.unwrap_or(Err(ProviderError::Busy(AskError::Dropped))) };
        (caller, Box::pin(answer))
    }

    /// Answers a caller, or lets it wait; with `newer_than` it wants something other than that.
    pub(super) fn ask(
        &mut self,
        caller: oneshot::Sender<Answer<T>>,
        newer_than: Option<&Arc<T>>,
        now: Timestamp,
    ) -> Next {
        if let Some(answer) = self.answer(newer_than, now) {
            let _gone = caller.send(answer);
            return Next::Nothing;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.push(caller);
            return Next::Nothing;
        }
        self.waiting = Some(vec![caller]);
        self.asked_at = Some(now);
        Next::Fetch
    }

    /// What can be answered without fetching; `None` if it must be fetched, or is being fetched.
    fn answer(&self, newer_than: Option<&Arc<T>>, now: Timestamp) -> Option<Answer<T>> {
        let within = |since: Timestamp, life: Duration| now < since.plus(life);
        let fresh = self.known.as_ref().filter(|(_, since)| within(*since, self.lives.life));
        if let Some((known, _)) = fresh {
            let is_other = newer_than.is_none_or(|old| !Arc::ptr_eq(old, known));
            let may_ask =
                self.is_awaited() || self.asked_at.is_none_or(|at| !within(at, self.lives.pause));
            if is_other || !may_ask {
                return Some(Ok(Arc::clone(known)));
            }
        }
        match &self.failed {
            Some((error, since)) if !self.is_awaited() && within(*since, FAILURE_LIFE) => {
                Some(Err(error.clone()))
            }
            _ => None,
        }
    }

    /// The fetch under way is over: all who wait are answered.
    pub(super) fn settle(&mut self, answer: Answer<T>, now: Timestamp) {
        match &answer {
            Ok(fetched) => {
                self.known = Some((Arc::clone(fetched), now));
                self.failed = None;
            }
            Err(error) => self.failed = Some((error.clone(), now)),
        }
        for caller in self.waiting.take().unwrap_or_default() {
            let _gone = caller.send(answer.clone());
        }
    }

    /// Whether somebody waits for a fetch.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether it still says anything: it is awaited, or was fetched or failed lately.
    pub(super) fn is_of_use(&self, now: Timestamp) -> bool {
        let within = |since: Timestamp, life: Duration| now < since.plus(life);
        self.is_awaited()
            || self.known.as_ref().is_some_and(|(_, since)| within(*since, self.lives.life))
            || self.failed.as_ref().is_some_and(|(_, since)| within(*since, FAILURE_LIFE))
    }
}
