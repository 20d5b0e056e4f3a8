//! Directories that forget, in memory where that has room.

use std::path::Path;

use tempfile::TempDir;

/// What must be free in memory: a test keeps a few hundred MiB, and several run at once.
const ROOM: u64 = 2 << 30;

/// A temporary directory: thousands of small files, and the 65 536 directories of a datastore, take
/// minutes to make and to remove on a busy disk.
///
/// # Errors
/// If none can be made.
pub fn scratch() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if has_room(memory) {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}

fn has_room(place: &Path) -> bool {
    rustix::fs::statvfs(place).is_ok_and(|space| space.f_bavail * space.f_frsize >= ROOM)
}
