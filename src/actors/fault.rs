//! Faults on purpose, for the tests of supervision. Only with the feature `fault-injection`.

use std::time::Duration;

use actix::Message;

/// How an actor is to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Panics in the handler.
    Panic,
    /// Handles nothing for a while.
    Stall,
    /// Stops without being asked to drain.
    Stop,
}

/// How long a stalled actor handles nothing.
pub const STALL: Duration = Duration::from_secs(8);

/// Break now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Inject(pub Fault);

/// Lets an actor take [`Inject`].
macro_rules! injectable {
    ($actor:ty) => {
        impl actix::Handler<crate::actors::fault::Inject> for $actor {
            type Result = ();

            fn handle(
                &mut self,
                crate::actors::fault::Inject(fault): crate::actors::fault::Inject,
                context: &mut actix::Context<Self>,
            ) {
                use crate::actors::fault::{Fault, STALL};
                use actix::{ActorContext, AsyncContext, WrapFuture};
                match fault {
                    Fault::Panic => panic!("injected fault"),
                    Fault::Stall => context.wait(tokio::time::sleep(STALL).into_actor(self)),
                    Fault::Stop => context.stop(),
                }
            }
        }
    };
}
pub(crate) use injectable;
