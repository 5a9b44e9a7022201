//! What the rate limiter's buckets weigh: `cargo bench --bench memory`.
//!
//! A million keys, then a second and a third: the buckets have a limit, so that the memory is flat
//! from there on.

use std::ops::Range;
use std::time::Duration;

use actix::Arbiter;
use actix_web::rt::System;
use futures_util::future::join_all;
use latchkey::actors::rate_limiter::{Pass, RateLimiter, Tier};
use latchkey::actors::shards::Shards;
use latchkey::actors::supervisor::{Supervision, Terms};
use latchkey::clock::{Clock, Timestamp};
use latchkey::config::settings::{RateLimitBackend, RateLimits, Tier as Limit};

const MILLION: u64 = 1_000_000;
const LANES: usize = 64;

fn main() {
    System::new().block_on(async {
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let limiters = limiters(&clock);
        let before = mebibytes("VmRSS:");
        for millions in 1..=3 {
            pass(&limiters, &clock, (millions - 1) * MILLION..millions * MILLION).await;
            let (now, most) = (mebibytes("VmRSS:") - before, mebibytes("VmHWM:") - before);
            println!(
                "rate limiter, {millions} million distinct keys: {now:.1} MiB, at the most {most:.1} MiB (150 allowed)"
            );
        }
    });
}

/// Two shards, as a server has. No bucket is full again before the end.
fn limiters(clock: &Clock) -> Shards<RateLimiter> {
    let limit = Limit { per: Duration::from_secs(86_400), burst: 1 };
    let limits = RateLimits {
        backend: RateLimitBackend::Memory,
        login: limit,
        token: limit,
        api: limit,
        public: limit,
        exempt: Vec::new(),
    };
    let mut supervision = Supervision::default();
    Shards::start(2, |shard| {
        let (limits, clock) = (limits.clone(), clock.clone());
        let deadline = Duration::from_secs(3);
        let terms = Terms { name: "rate_limiter", shard, capacity: 4096, deadline };
        supervision.start(&Arbiter::current(), terms, move |status| {
            RateLimiter::new(limits.into(), clock, status)
        })
    })
}

/// A request of each key, 64 in a millisecond.
async fn pass(limiters: &Shards<RateLimiter>, clock: &Clock, keys: Range<u64>) {
    for start in keys.step_by(LANES) {
        join_all((0..LANES as u64).map(|lane| async move {
            let key = format!("session-{:028}", start + lane);
            let answer = limiters.of(&key).ask(Pass { tier: Tier::Api, key }).await;
            assert_eq!(answer, Ok(Ok(())), "a new key passes");
        }))
        .await;
        clock.advance(Duration::from_millis(1));
    }
}

/// A figure of this process' memory (Linux): `VmRSS:` is what it has, `VmHWM:` the most it had.
fn mebibytes(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    kibibytes.and_then(|number| number.parse::<f64>().ok()).expect("it is a number") / 1024.0
}
