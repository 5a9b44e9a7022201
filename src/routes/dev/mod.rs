//! What only `latchkey dev` has.

#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod idp;

use actix_web::web::ServiceConfig;

/// Adds the development provider, and with the feature `fault-injection` the faults.
pub fn configure(config: &mut ServiceConfig) {
    idp::configure(config);
    #[cfg(feature = "fault-injection")]
    fault::configure(config);
}
