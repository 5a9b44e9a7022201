//! stub
use super::*;
use std::path::Path;
/// stub
pub async fn open(_p: &Path, _n: usize, _c: &Clock) -> Result<Store, OpenError> {
    unimplemented!()
}
/// stub
pub async fn migrate(_p: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    unimplemented!()
}
/// stub
pub async fn migration_status(_p: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    unimplemented!()
}
/// stub
pub async fn check_schema(_p: &Path) -> Result<(), OpenError> {
    unimplemented!()
}
