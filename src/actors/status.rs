//! What is known of each actor from outside: state, restarts, depth, times. Only counters: reading
//! them never waits for the actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::telemetry::histogram::Durations;

/// Where an actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Being built, or loading its state.
    Starting = 0,
    /// Answering.
    Running = 1,
    /// Panicked; waiting to be rebuilt.
    Restarting = 2,
    /// Drained.
    Stopped = 3,
    /// Panicked too often; it will not come back.
    Failed = 4,
}

impl State {
    /// As /ready and /metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// How an ask ended; the label `outcome` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskOutcome {
    /// Answered.
    Answered = 0,
    /// Refused at once: too many were waiting.
    Full = 1,
    /// Not answered in time.
    TimedOut = 2,
    /// The actor restarted or stopped before it answered.
    Dropped = 3,
}

impl AskOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Full, Self::TimedOut, Self::Dropped];

    /// As /metrics spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::Dropped => "dropped",
        }
    }
}

/// The counters of one actor.
#[derive(Debug)]
pub struct ActorStatus {
    /// The actor's name, as in the metrics and `/dev/fault/{actor}`.
    pub name: &'static str,
    /// Which shard, from 0.
    pub shard: usize,
    /// Most requests that may be outstanding.
    pub capacity: usize,
    state: AtomicU8,
    in_flight: AtomicUsize,
    restarts: AtomicU64,
    asks: [AtomicU64; 4],
    draining: AtomicBool,
    /// From ask to answer.
    pub ask_time: Durations,
    /// One poll of the actor: the handlers that ran without waiting.
    pub handle_time: Durations,
}

impl ActorStatus {
    pub(super) fn new(name: &'static str, shard: usize, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            shard,
            capacity,
            state: AtomicU8::new(State::Starting as u8),
            in_flight: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            asks: Default::default(),
            draining: AtomicBool::new(false),
            ask_time: Durations::of_waits(),
            handle_time: Durations::default(),
        })
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        [State::Starting, State::Running, State::Restarting, State::Stopped]
            .into_iter()
            .find(|candidate| *candidate as u8 == state)
            .unwrap_or(State::Failed)
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Called by the actor once its state is loaded and it can answer.
    pub fn ready(&self) {
        self.set_state(State::Running);
    }

    /// Requests asked and not yet answered: the mailbox's depth.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How often it was rebuilt.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// How many asks ended so.
    pub fn asks(&self, outcome: AskOutcome) -> u64 {
        self.asks[outcome as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_ask(&self, outcome: AskOutcome) {
        self.asks[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether its end is wanted.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes a place for one more request; `None` if there is none.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Slot> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(self)); // its Drop gives the place back: at once, if there is none
        (before < self.capacity).then_some(slot)
    }
}

/// A place in a mailbox, given back on drop.
#[derive(Debug)]
pub struct Slot(Arc<ActorStatus>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
