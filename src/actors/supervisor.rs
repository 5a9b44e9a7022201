//! Supervision that survives panics.
//!
//! actix's own `Supervisor` handles an actor's *completion* only: a panic kills the actor for good.
//! `Guardian` catches the unwinding around the whole actor, waits, and restarts it. Address and
//! queued messages survive; the message that panicked is lost, and its caller learns so at once.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::dev::channel::channel;
use actix::{Actor, Addr, ArbiterHandle, Context, Supervised};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::mailbox::Mailbox;
use super::status::{ActorStatus, State};
use crate::clock::Stopwatch;

/// When a restarting actor is given up.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Most restarts within `window`.
    pub restarts: usize,
    /// The window.
    pub window: Duration,
    /// Wait before the first restart of a series; doubles with each further one.
    pub first_backoff: Duration,
    /// Longest wait.
    pub longest_backoff: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restarts: 100,
            window: Duration::from_secs(60),
            first_backoff: Duration::from_millis(2),
            longest_backoff: Duration::from_secs(2),
        }
    }
}

/// What an actor is started with.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The actor's name in metrics and logs.
    pub name: &'static str,
    /// Which shard, from 0.
    pub shard: usize,
    /// Most outstanding requests.
    pub capacity: usize,
    /// How long an ask waits for its answer.
    pub deadline: Duration,
}

/// Starts actors and knows all of them.
#[derive(Debug, Default)]
pub struct Supervision {
    policy: Policy,
    statuses: Vec<Arc<ActorStatus>>,
    given_up: Arc<Notify>,
}

impl Supervision {
    /// Supervises by `policy`.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Starts a supervised actor on an arbiter. `build` gets the status, on which the actor calls
    /// `ready()` once it can answer, and the address, which reaches the actor itself.
    pub fn start<A>(
        &mut self,
        arbiter: &ArbiterHandle,
        terms: Terms,
        build: impl FnOnce(Arc<ActorStatus>) -> A + Send + 'static,
    ) -> Mailbox<A>
    where
        A: Supervised + Actor<Context = Context<A>>,
    {
        let status = ActorStatus::new(terms.name, terms.shard, terms.capacity);
        self.statuses.push(Arc::clone(&status));
        let (sender, receiver) = channel(0);
        let (policy, given_up) = (self.policy, Arc::clone(&self.given_up));
        let observed = Arc::clone(&status);
        arbiter.spawn_fn(move || {
            let context = Context::with_receiver(receiver);
            let actor = context.into_future(build(Arc::clone(&observed)));
            actix::spawn(Guardian {
                actor,
                status: observed,
                policy,
                given_up,
                restarts: VecDeque::new(),
                backoff: None,
            });
        });
        Mailbox::new(Addr::new(sender), status, terms.deadline)
    }

    /// All actors started so far.
    pub fn statuses(&self) -> &[Arc<ActorStatus>] {
        &self.statuses
    }

    /// Notified when an actor is given up: the process then drains and ends.
    pub fn given_up(&self) -> Arc<Notify> {
        Arc::clone(&self.given_up)
    }
}

/// Drives one actor and rebuilds it after a panic or a stop that nobody asked for.
struct Guardian<A: Actor<Context = Context<A>>> {
    actor: ContextFut<A, Context<A>>,
    status: Arc<ActorStatus>,
    policy: Policy,
    given_up: Arc<Notify>,
    restarts: VecDeque<Instant>,
    backoff: Option<Pin<Box<Sleep>>>,
}

impl<A: Supervised + Actor<Context = Context<A>>> Guardian<A> {
    /// Whether an actor that stopped was meant to: it was drained, or nobody can reach it any more.
    fn is_over(&mut self) -> bool {
        self.status.is_draining() || !self.actor.ctx().connected()
    }

    /// Counts, logs and sets the wait before the restart; `false` if the policy is exhausted.
    fn schedule_restart(&mut self, reason: &str) -> bool {
        let now = Instant::now();
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|at| now - *at > self.policy.window) {
            self.restarts.pop_front();
        }
        let name = self.status.name;
        let shard = self.status.shard;
        if self.restarts.len() > self.policy.restarts {
            tracing::error!(actor = name, shard, reason, "actor failed too often and is given up");
            self.status.set_state(State::Failed);
            self.given_up.notify_one();
            return false;
        }
        self.status.count_restart();
        self.status.set_state(State::Restarting);
        tracing::error!(actor = name, shard, reason, "actor failed and is restarted");
        let doublings = u32::try_from(self.restarts.len() - 1).unwrap_or(u32::MAX).min(16);
        let wait =
            (self.policy.first_backoff * 2_u32.pow(doublings)).min(self.policy.longest_backoff);
        // Jitter of up to half the wait, so that shards that fail together do not return together.
        // Not a secret, so it needs no randomness that could be gone when a process ends.
        let jitter = RandomState::new().hash_one(now).to_le_bytes()[0];
        self.backoff = Some(Box::pin(sleep(wait + wait * u32::from(jitter) / 512)));
        true
    }
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Guardian<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(backoff) = &mut this.backoff {
                ready!(backoff.as_mut().poll(context));
                this.backoff = None;
                match catch_unwind(AssertUnwindSafe(|| this.actor.restart())) {
                    Ok(true) => {}
                    Ok(false) => return Poll::Ready(()), // nobody holds an address any more
                    Err(panic) if this.schedule_restart(message_of(&*panic)) => continue,
                    Err(_) => return Poll::Ready(()),
                }
            }
            let watch = Stopwatch::start();
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.actor).poll(context)));
            this.status.handle_time.observe(watch.elapsed());
            match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) if this.is_over() => {
                    this.status.set_state(State::Stopped);
                    return Poll::Ready(());
                }
                Ok(Poll::Ready(())) if this.schedule_restart("stopped without being asked to") => {}
                Err(panic) if this.schedule_restart(message_of(&*panic)) => {}
                Ok(Poll::Ready(())) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// What a panic said.
pub(super) fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::mailbox::{AskError, Drain};
    use crate::actors::status::AskOutcome;
    use actix::{
        ActorContext, Arbiter, AsyncContext, Handler, Message, ResponseFuture, WrapFuture,
    };

    /// Long enough for any loaded machine; what waits for it does so on a paused clock.
    const DEADLINE: Duration = Duration::from_secs(60);

    struct Fragile {
        status: Arc<ActorStatus>,
        handled: u32,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
        fn started(&mut self, _: &mut Context<Self>) {
            self.status.ready();
        }
    }

    impl Supervised for Fragile {
        fn restarting(&mut self, _: &mut Context<Self>) {
            self.handled = 0;
        }
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    enum Do {
        Count,
        Panic,
        Stop,
        PanicLater,
        Slow,
    }

    impl Handler<Do> for Fragile {
        type Result = ResponseFuture<u32>;
        fn handle(&mut self, message: Do, context: &mut Context<Self>) -> Self::Result {
            self.handled += 1;
            let handled = self.handled;
            match message {
                Do::Count => Box::pin(async move { handled }),
                Do::Panic => panic!("injected"),
                Do::Stop => {
                    context.stop();
                    Box::pin(async move { handled })
                }
                Do::PanicLater => Box::pin(async { panic!("injected later") }),
                Do::Slow => {
                    context.wait(tokio::time::sleep(DEADLINE * 3).into_actor(self));
                    Box::pin(async move { handled })
                }
            }
        }
    }

    impl Handler<Drain> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Drain, context: &mut Context<Self>) {
            context.stop();
        }
    }

    fn fragile(supervision: &mut Supervision, capacity: usize) -> Mailbox<Fragile> {
        let terms = Terms { name: "fragile", shard: 0, capacity, deadline: DEADLINE };
        supervision.start(&Arbiter::current(), terms, |status| Fragile { status, handled: 0 })
    }

    #[actix::test]
    async fn a_panic_costs_one_request_not_the_actor() {
        let mailbox = fragile(&mut Supervision::default(), 8);
        let (before, lost, queued) =
            tokio::join!(mailbox.ask(Do::Count), mailbox.ask(Do::Panic), mailbox.ask(Do::Count));
        assert_eq!(before, Ok(1));
        assert_eq!(lost, Err(AskError::Dropped));
        assert_eq!(queued, Ok(1), "served by the rebuilt actor");
        assert_eq!(mailbox.status().restarts(), 1);
        assert_eq!(mailbox.status().state(), State::Running);
        assert_eq!(mailbox.status().asks(AskOutcome::Dropped), 1);
    }

    #[actix::test]
    async fn a_panic_in_an_answers_future_costs_its_caller_alone() {
        let mailbox = fragile(&mut Supervision::default(), 8);
        assert_eq!(mailbox.ask(Do::PanicLater).await, Err(AskError::Dropped));
        assert_eq!(mailbox.ask(Do::Count).await, Ok(2));
        assert_eq!(mailbox.status().restarts(), 0);
    }

    #[actix::test]
    async fn a_stop_that_nobody_asked_for_is_a_failure_and_is_restarted() {
        let mailbox = fragile(&mut Supervision::default(), 8);
        assert_eq!(mailbox.ask(Do::Stop).await, Ok(1));
        assert_eq!(mailbox.ask(Do::Count).await, Ok(1));
        assert_eq!(mailbox.status().restarts(), 1);
    }

    #[actix::test]
    async fn a_full_mailbox_refuses_at_once_and_recovers() {
        let mailbox = fragile(&mut Supervision::default(), 2);
        let asked = futures_util::future::join_all((0..5).map(|_| mailbox.ask(Do::Count))).await;
        assert_eq!(asked.iter().filter(|answer| **answer == Err(AskError::Full)).count(), 3);
        assert_eq!(mailbox.status().in_flight(), 0);
        assert!(mailbox.ask(Do::Count).await.is_ok());
    }

    #[actix::test]
    async fn what_is_offered_is_bounded_and_handled_before_what_is_asked_afterwards() {
        let mailbox = fragile(&mut Supervision::default(), 3);
        (0..5).for_each(|_| mailbox.offer(Do::Count));
        assert_eq!(mailbox.status().in_flight(), 3);
        assert_eq!(mailbox.status().asks(AskOutcome::Full), 2);
        while mailbox.status().in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mailbox.status().asks(AskOutcome::Answered), 3);
        mailbox.offer(Do::Count);
        assert_eq!(mailbox.ask(Do::Count).await, Ok(5));
    }

    #[actix::test]
    async fn a_message_that_timed_out_in_the_queue_is_not_handled() {
        tokio::time::pause();
        let mailbox = fragile(&mut Supervision::default(), 8);
        assert_eq!(mailbox.ask(Do::Slow).await, Ok(1));
        assert_eq!(mailbox.ask(Do::Count).await, Err(AskError::TimedOut));
        tokio::time::sleep(DEADLINE * 3).await;
        assert_eq!(mailbox.ask(Do::Count).await, Ok(2), "the late one was skipped");
    }

    #[actix::test]
    async fn an_actor_that_fails_too_often_is_given_up_visibly() {
        let policy = Policy { restarts: 2, ..Policy::default() };
        let mut supervision = Supervision::new(policy);
        let mailbox = fragile(&mut supervision, 8);
        for _ in 0..3 {
            assert_eq!(mailbox.ask(Do::Panic).await, Err(AskError::Dropped));
        }
        supervision.given_up().notified().await;
        assert_eq!(mailbox.status().state(), State::Failed);
        assert_eq!(mailbox.ask(Do::Count).await, Err(AskError::Dropped));
    }

    #[actix::test]
    async fn an_actor_that_nobody_can_reach_ends_without_being_a_failure() {
        let mailbox = fragile(&mut Supervision::default(), 8);
        assert_eq!(mailbox.ask(Do::Count).await, Ok(1));
        let status = Arc::clone(mailbox.status());
        drop(mailbox);
        while status.state() == State::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!((status.state(), status.restarts()), (State::Stopped, 0));
    }

    #[actix::test]
    async fn draining_answers_what_was_queued_and_ends_the_actor() {
        let mailbox = fragile(&mut Supervision::default(), 8);
        let (counted, drained) = tokio::join!(mailbox.ask(Do::Count), mailbox.drain(DEADLINE));
        assert_eq!((counted, drained), (Ok(1), true));
        assert_eq!(mailbox.ask(Do::Count).await, Err(AskError::Dropped));
        assert_eq!(mailbox.status().state(), State::Stopped);
    }
}
