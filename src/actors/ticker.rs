//! Periodic work as messages from outside: it survives restarts of the actor, never starves behind
//! its mailbox unseen, and is tested by sending the message.

use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Handler, Message};
use tokio::time::{MissedTickBehavior, interval};

use super::mailbox::Mailbox;

/// Time for periodic work. Actors keep their own due times and compare with the clock.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// Sends [`Tick`] every `period`, at most one at a time, until the actor is gone.
pub fn start<A>(mailbox: &Mailbox<A>, period: Duration) -> tokio::task::JoinHandle<()>
where
    A: Actor + Handler<Tick>,
    A::Context: ToEnvelope<A, Tick>,
{
    let address = mailbox.downgrade();
    actix::spawn(async move {
        let mut interval = interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            let Some(address) = address.upgrade() else { return };
            // A tick lost to a restart is made up by the next one.
            let _lost = address.send(Tick).await;
        }
    })
}
