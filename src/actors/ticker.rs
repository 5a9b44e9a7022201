//! Periodic work as messages from outside: it survives restarts of the actor, never starves behind
//! its mailbox unseen, and is tested by sending the message.

use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Handler, Message};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::mailbox::Mailbox;
use crate::in_force::Live;

/// Time for periodic work. Actors keep their own due times and compare with the clock.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

fn every(first: Instant, period: Duration) -> Interval {
    let mut ticks = interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Sends [`Tick`] every `period`, at most one at a time, until the actor is gone. Another period counts from
/// the next tick on.
pub fn start<A>(
    mailbox: &Mailbox<A>,
    period: impl Into<Live<Duration>>,
) -> tokio::task::JoinHandle<()>
where
    A: Actor + Handler<Tick>,
    A::Context: ToEnvelope<A, Tick>,
{
    let address = mailbox.downgrade();
    let period = period.into();
    actix::spawn(async move {
        let mut ticks = every(Instant::now(), period.now());
        loop {
            ticks.tick().await;
            let wanted = period.now();
            if wanted != ticks.period() {
                ticks = every(Instant::now() + wanted, wanted);
            }
            let Some(address) = address.upgrade() else { return };
            // A tick lost to a restart is made up by the next one.
            let _lost = address.send(Tick).await;
        }
    })
}
