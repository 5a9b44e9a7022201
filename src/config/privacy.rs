//! Whether files with secrets are for their owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::problem::Refusal;

/// Bits by which group or others can read or write.
const SHARED: u32 = 0o066;
/// The group can read.
const OF_THE_GROUP: u32 = 0o040;
/// Others can write.
const OPEN_TO_WRITING: u32 = 0o002;
/// In such a folder only a file's owner can replace it.
const STICKY: u32 = 0o1000;

/// Refuses a file that others can read or write, or replace because its folder is open to them. A
/// link is judged by what it leads to and by the folder that it lies in. A file that cannot be
/// looked at passes: whoever reads it will say so.
///
/// Below `credentials`, the folder in which systemd hands secrets to this service alone, a file that its group can
/// read is none that others can: the service is let in by an access list, which shows as the group's bits.
pub(super) fn check(path: &Path, shown: &str, credentials: Option<&Path>) -> Result<(), Refusal> {
    let is_handed_over = credentials.is_some_and(|folder| path.starts_with(folder));
    let shared = if is_handed_over { SHARED & !OF_THE_GROUP } else { SHARED };
    let mode = |path: &Path| fs::metadata(path).ok().map(|data| data.permissions().mode() & 0o7777);
    if let Some(mode) = mode(path)
        && mode & shared != 0
    {
        return Err(Refusal::new(format!(
            "{shown} holds a secret and is open to others (mode {mode:03o})"
        ))
        .remedy(format!("chmod 600 {shown}")));
    }
    if let Some(folder) = path.parent()
        && let Some(mode) = mode(folder)
        && mode & OPEN_TO_WRITING != 0
        && mode & STICKY == 0
    {
        return Err(Refusal::new(format!(
            "{shown} holds a secret and its folder is open to others (mode {mode:03o})"
        ))
        .remedy("chmod o-w on the folder"));
    }
    Ok(())
}
