//! STUB
use crate::config::settings::Origin;
/// x
pub const PROVIDER_NAME: &str = "dev";
/// x
pub const CLIENT_ID: &str = "latchkey-dev";
/// x
pub fn issuer(o: &Origin) -> String { o.join("/dev/idp") }
/// x
pub struct DevelopmentProvider;
impl DevelopmentProvider { /** x */ pub fn new(_o: Origin, _s: crate::protocol::sealed::Sealer, _c: crate::clock::Clock) -> Self { Self } }
/// x
pub fn configure(_c: &mut actix_web::web::ServiceConfig) {}
