//! Owner of rate-limit buckets: governor's GCRA over a map that belongs to the shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter as Gcra};

use super::mailbox::Drain;
use super::status::ActorStatus;
use super::ticker::Tick;
use crate::clock::{Clock, Timestamp};
use crate::config::settings::{RateLimits, Tier as Limit};
use crate::in_force::Live;

/// How often expired buckets are swept.
pub const SWEEP: Duration = Duration::from_secs(10);

/// Most buckets of one shard. At 16 bytes each and half-full tables this bounds the memory.
const MOST_BUCKETS: usize = 500_000;

/// Which limit applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Sign-in starts, callbacks, setup, name checks; by client address.
    Login,
    /// Refreshes by family; failed authentication by client and address.
    Token,
    /// Everything signed in; by session.
    Api,
    /// The rest; by address.
    Public,
}

impl Tier {
    /// All tiers, in the order of their limiters.
    pub const ALL: [Self; 4] = [Self::Login, Self::Token, Self::Api, Self::Public];

    /// As the configuration and the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Token => "token",
            Self::Api => "api",
            Self::Public => "public",
        }
    }

    fn limit(self, limits: &RateLimits) -> Limit {
        match self {
            Self::Login => limits.login,
            Self::Token => limits.token,
            Self::Api => limits.api,
            Self::Public => limits.public,
        }
    }
}

/// May this key pass? If not, when.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Wait>")]
pub struct Pass {
    /// Which limit.
    pub tier: Tier,
    /// Address, session or family, as text.
    pub key: String,
}

/// Not now, but after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// The injected clock as governor wants it: nanoseconds since the epoch.
#[derive(Clone)]
struct Nanoseconds(Clock);

fn nanoseconds(moment: Timestamp) -> Nanos {
    let millis = u64::try_from(moment.millis()).unwrap_or(0);
    Nanos::from(millis.saturating_mul(1_000_000))
}

impl GovernorClock for Nanoseconds {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        nanoseconds(self.0.now())
    }
}

/// Keys are hashes already (with a secret seed), so they are not hashed again.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Theoretical arrival times by hashed key, counted from the limiter's start. The actor is its only
/// user, so a cell is enough.
#[derive(Default)]
struct Buckets(RefCell<HashMap<u64, Nanos, BuildHasherDefault<Identity>>>);

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut buckets = self.0.borrow_mut();
        let (answer, arrival) = decide(buckets.get(key).copied())?;
        buckets.insert(*key, arrival);
        Ok(answer)
    }
}

impl Buckets {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Forgets buckets that are full again; and, if too many are left, those that will be first.
    fn sweep(&self, now: Nanos, most: usize) {
        let mut buckets = self.0.borrow_mut();
        buckets.retain(|_, arrival| *arrival > now);
        if buckets.len() > most {
            let mut arrivals: Vec<Nanos> = buckets.values().copied().collect();
            let (_, median, _) = arrivals.select_nth_unstable(most / 2);
            let median = *median;
            buckets.retain(|_, arrival| *arrival > median);
        }
        let roomy = buckets.len().saturating_mul(4).max(1024);
        if buckets.capacity() > roomy {
            buckets.shrink_to(roomy);
        }
    }
}

type Limiter = Gcra<u64, SharedBuckets, Nanoseconds, NoOpMiddleware<Nanos>>;

/// governor takes the store by value; the actor sweeps it, so both hold it.
#[derive(Clone, Default)]
struct SharedBuckets(std::rc::Rc<Buckets>);

impl StateStore for SharedBuckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, decide)
    }
}

/// One tier: its limit and its buckets.
struct Limited {
    limit: Limit,
    limiter: Limiter,
    buckets: SharedBuckets,
    /// governor counts arrival times from when a limiter was made.
    start: Nanos,
}

impl Limited {
    fn new(limit: Limit, clock: &Nanoseconds) -> Self {
        let buckets = SharedBuckets::default();
        let start = clock.now();
        let limiter = Gcra::new(quota(limit), buckets.clone(), clock.clone());
        Self { limit, limiter, buckets, start }
    }

    /// The present moment as arrival times are counted.
    fn since_start(&self, clock: &Nanoseconds) -> Nanos {
        clock.now().duration_since(self.start)
    }
}

/// One shard.
pub struct RateLimiter {
    limits: Live<RateLimits>,
    tiers: Vec<Limited>,
    clock: Nanoseconds,
    hasher: RandomState,
    status: Arc<ActorStatus>,
}

impl RateLimiter {
    /// One shard with the configured limits.
    pub fn new(limits: Live<RateLimits>, clock: Clock, status: Arc<ActorStatus>) -> Self {
        let (now, clock) = (limits.now(), Nanoseconds(clock));
        let tiers = Tier::ALL.into_iter().map(|tier| Limited::new(tier.limit(&now), &clock));
        Self { tiers: tiers.collect(), limits, clock, hasher: RandomState::new(), status }
    }

    /// Tiers whose limits are others by now begin anew; the others keep their buckets.
    fn follow_limits(&mut self) {
        let Some(limits) = self.limits.if_changed() else { return };
        for (tier, limited) in Tier::ALL.into_iter().zip(&mut self.tiers) {
            let limit = tier.limit(&limits);
            if limited.limit != limit {
                *limited = Limited::new(limit, &self.clock);
            }
        }
    }
}

/// governor counts in cells: `burst` of them, each refilled after `per / burst`.
fn quota(limit: Limit) -> Quota {
    let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
    let each = (limit.per / burst.get()).max(Duration::from_nanos(1));
    Quota::with_period(each)
        .map_or_else(|| Quota::per_second(burst), |quota| quota.allow_burst(burst))
}

impl Actor for RateLimiter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for RateLimiter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        for Limited { buckets, .. } in &self.tiers {
            buckets.0.0.borrow_mut().clear();
        }
    }
}

impl Handler<Pass> for RateLimiter {
    type Result = Result<(), Wait>;

    fn handle(&mut self, Pass { tier, key }: Pass, _: &mut Context<Self>) -> Self::Result {
        self.follow_limits();
        let limited = &self.tiers[tier as usize];
        if limited.buckets.0.len() >= MOST_BUCKETS {
            limited.buckets.0.sweep(limited.since_start(&self.clock), MOST_BUCKETS / 2);
        }
        let key = self.hasher.hash_one((tier, key));
        limited
            .limiter
            .check_key(&key)
            .map_err(|not_until| Wait(not_until.wait_time_from(self.clock.now())))
    }
}

impl Handler<Tick> for RateLimiter {
    type Result = ();

    fn handle(&mut self, Tick: Tick, _: &mut Context<Self>) {
        for limited in &self.tiers {
            limited.buckets.0.sweep(limited.since_start(&self.clock), MOST_BUCKETS);
        }
    }
}

impl Handler<Drain> for RateLimiter {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(RateLimiter);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::mailbox::Mailbox;
    use crate::actors::supervisor::{Supervision, Terms};
    use crate::config::settings::RateLimitBackend;
    use actix::Arbiter;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(burst: u32) -> RateLimits {
        let tier = Limit { per: MINUTE, burst };
        RateLimits {
            backend: RateLimitBackend::Memory,
            login: tier,
            token: tier,
            api: tier,
            public: tier,
            exempt: Vec::new(),
        }
    }

    fn limiter(burst: u32) -> (Mailbox<RateLimiter>, Clock) {
        let clock = Clock::manual(Timestamp::from_seconds(1_000_000));
        let terms = Terms { name: "rate_limiter", shard: 0, capacity: 64, deadline: MINUTE };
        let shared = clock.clone();
        let mailbox = Supervision::default().start(&Arbiter::current(), terms, move |status| {
            RateLimiter::new(limits(burst).into(), shared, status)
        });
        (mailbox, clock)
    }

    async fn pass(mailbox: &Mailbox<RateLimiter>, tier: Tier, key: &str) -> Result<(), Wait> {
        mailbox.ask(Pass { tier, key: key.to_owned() }).await.unwrap()
    }

    #[actix::test]
    async fn a_burst_passes_then_waits_exactly_as_long_as_it_is_told() {
        let (mailbox, clock) = limiter(3);
        for _ in 0..3 {
            assert_eq!(pass(&mailbox, Tier::Login, "a").await, Ok(()));
        }
        let Err(Wait(wait)) = pass(&mailbox, Tier::Login, "a").await else { panic!("passed") };
        assert_eq!(wait, Duration::from_secs(20));
        clock.advance(wait - Duration::from_millis(1));
        assert!(pass(&mailbox, Tier::Login, "a").await.is_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(pass(&mailbox, Tier::Login, "a").await, Ok(()));
    }

    #[actix::test]
    async fn keys_and_tiers_do_not_share_a_bucket() {
        let (mailbox, _) = limiter(1);
        assert_eq!(pass(&mailbox, Tier::Login, "a").await, Ok(()));
        assert!(pass(&mailbox, Tier::Login, "a").await.is_err());
        assert_eq!(pass(&mailbox, Tier::Login, "b").await, Ok(()));
        assert_eq!(pass(&mailbox, Tier::Api, "a").await, Ok(()));
    }

    #[actix::test]
    async fn a_sweep_forgets_no_bucket_that_is_not_full_again() {
        let (mailbox, clock) = limiter(1);
        assert_eq!(pass(&mailbox, Tier::Login, "a").await, Ok(()));
        clock.advance(MINUTE - Duration::from_millis(1));
        mailbox.ask(Tick).await.unwrap();
        assert!(pass(&mailbox, Tier::Login, "a").await.is_err());
        clock.advance(Duration::from_millis(1));
        mailbox.ask(Tick).await.unwrap();
        assert_eq!(pass(&mailbox, Tier::Login, "a").await, Ok(()));
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_the_oldest_go_first() {
        let buckets = Buckets::default();
        for key in 0..1000_u64 {
            buckets.0.borrow_mut().insert(key, Nanos::from(1_000 + key));
        }
        buckets.sweep(Nanos::from(1_100), 10_000);
        assert_eq!(buckets.len(), 899, "what is full again is forgotten");
        buckets.sweep(Nanos::from(1_100), 500);
        assert!(buckets.len() <= 750);
        assert!(buckets.0.borrow().contains_key(&999), "the emptiest bucket is kept");
    }
}
