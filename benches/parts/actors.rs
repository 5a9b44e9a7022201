//! What it costs to ask an actor, and what the rate limiter adds to it.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, ArbiterHandle, Context, Handler, Message, Supervised};
use actix_web::rt::SystemRunner;
use criterion::Criterion;
use latchkey::actors::mailbox::Mailbox;
use latchkey::actors::rate_limiter::{Pass, RateLimiter, Tier};
use latchkey::actors::status::ActorStatus;
use latchkey::actors::supervisor::{Supervision, Terms};
use latchkey::clock::Clock;
use latchkey::config::settings::{RateLimitBackend, RateLimits, Tier as Limit};

use crate::measure::measure;

/// Answers at once.
struct Echo {
    status: Arc<ActorStatus>,
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Say(u64);

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.ready();
    }
}

impl Supervised for Echo {}

impl Handler<Say> for Echo {
    type Result = u64;

    fn handle(&mut self, Say(number): Say, _: &mut Context<Self>) -> u64 {
        number
    }
}

const TERMS: Terms =
    Terms { name: "bench", shard: 0, capacity: 4096, deadline: Duration::from_secs(3) };

pub(crate) fn bench(criterion: &mut Criterion, system: &SystemRunner) {
    let other_thread = Arbiter::new();
    round_trip(criterion, system, &other_thread.handle());
    rate_limit(criterion, system, &other_thread.handle());
    other_thread.stop();
}

fn round_trip(criterion: &mut Criterion, system: &SystemRunner, other_thread: &ArbiterHandle) {
    let this_thread = system.block_on(async { Arbiter::current() });
    let mut group = criterion.benchmark_group("actor_round_trip");
    for (place, arbiter, lanes) in [
        ("same_thread/1", &this_thread, 1),
        ("other_thread/1", other_thread, 1),
        ("other_thread/64", other_thread, 64),
    ] {
        let echo = Supervision::default().start(arbiter, TERMS, |status| Echo { status });
        measure(&mut group, system, place, lanes, |_| say(&echo));
    }
}

async fn say(echo: &Mailbox<Echo>) {
    assert_eq!(echo.ask(Say(7)).await, Ok(7));
}

fn rate_limit(criterion: &mut Criterion, system: &SystemRunner, other_thread: &ArbiterHandle) {
    let limiter = Supervision::default().start(other_thread, TERMS, |status| {
        RateLimiter::new(generous().into(), Clock::system(), status)
    });
    let sessions: Vec<String> = (0..64).map(|number| format!("session-{number:028}")).collect();
    let mut group = criterion.benchmark_group("rate_limit");
    for lanes in [1, 64] {
        measure(&mut group, system, &format!("pass/{lanes}"), lanes, |lane| {
            pass(&limiter, &sessions[lane])
        });
    }
}

async fn pass(limiter: &Mailbox<RateLimiter>, session: &str) {
    let answer = limiter.ask(Pass { tier: Tier::Api, key: session.to_owned() }).await;
    assert_eq!(answer, Ok(Ok(())));
}

/// Limits that nobody reaches.
fn generous() -> RateLimits {
    let tier = Limit { per: Duration::from_secs(60), burst: 1_000_000_000 };
    RateLimits {
        backend: RateLimitBackend::Memory,
        login: tier,
        token: tier,
        api: tier,
        public: tier,
        exempt: Vec::new(),
    }
}
