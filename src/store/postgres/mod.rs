//! stub
use super::*;
/// stub
pub async fn open(_u: &crate::protocol::secret::Secret, _s: &StoreSettings, _c: &Clock) -> Result<Store, OpenError> { unimplemented!() }
/// stub
pub async fn migrate(_u: &crate::protocol::secret::Secret, _s: &StoreSettings) -> Result<Vec<MigrationStatus>, OpenError> { unimplemented!() }
/// stub
pub async fn migration_status(_u: &crate::protocol::secret::Secret, _s: &StoreSettings) -> Result<Vec<MigrationStatus>, OpenError> { unimplemented!() }
/// stub
pub async fn check_schema(_u: &crate::protocol::secret::Secret, _s: &StoreSettings) -> Result<(), OpenError> { unimplemented!() }
