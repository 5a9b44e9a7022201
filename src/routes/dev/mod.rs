//! What only `latchkey dev` has.

pub mod app;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod idp;

use super::endpoint::Endpoint;

/// The development provider, the demo app, and with the feature `fault-injection` the faults.
pub fn endpoints() -> Vec<Endpoint> {
    let mut all = idp::endpoints();
    all.extend(app::endpoints());
    #[cfg(feature = "fault-injection")]
    all.push(fault::endpoint());
    all
}
