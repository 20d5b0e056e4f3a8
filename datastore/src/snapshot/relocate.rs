//! Moving a snapshot's directory to another namespace (datastore-layout.md §9.5). Locks, the move
//! journal and the order against the bucket are the caller's.

use std::io;

use api_types::names::{BackupDir, BackupNamespace};

use super::SnapshotStore;
use crate::disk;
use crate::local_error::{AtPath, LocalError, LocalResult};

impl SnapshotStore {
    /// Renames a snapshot's directory; the group must exist in the target namespace, the snapshot
    /// must not.
    pub fn move_snapshot_dir(
        &self,
        from: &BackupNamespace,
        to: &BackupNamespace,
        dir: &BackupDir,
    ) -> LocalResult<()> {
        let (source, target) = (self.snapshot_path(from, dir), self.snapshot_path(to, dir));
        if self.existing_dir(&from.path_of(&dir.path()))?.is_none() {
            let missing = Err(io::Error::from(io::ErrorKind::NotFound));
            return missing.at("move snapshot", &source);
        }
        // A rename would replace an empty directory without a word.
        if self.snapshot_exists(to, dir)? {
            let reason = format!("{} exists", target.display());
            return Err(LocalError::refused("move snapshot", source, reason));
        }
        disk::rename(&source, &target).at("move snapshot", &source)
    }
}
