//! What only `latchkey dev` has.

pub mod app;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod idp;

use actix_web::web::ServiceConfig;

/// Adds the development provider, the demo app, and with the feature `fault-injection` the faults.
pub fn configure(config: &mut ServiceConfig) {
    idp::configure(config);
    app::configure(config);
    #[cfg(feature = "fault-injection")]
    fault::configure(config);
}
