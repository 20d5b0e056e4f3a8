//! Local removal of snapshots, groups and namespaces (datastore-layout.md §11, s3-backend.md §9).
//!
//! A directory is first renamed to a hidden name in `<base>/.trash`, so that it vanishes in one
//! step, and unlinked there. What an interrupted removal leaves is found by
//! [`SnapshotStore::purge_trash`]. Locks and the order against the bucket are the caller's.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use api_types::names::{ArchiveName, BackupDir, BackupGroup, BackupNamespace, BackupTime};

use super::group::TYPES;
use super::{DIR_MODE, NOTES_FILE, OWNER_FILE, SnapshotStore};
use super::{read_dir, remove_empty_dir, remove_file};
use crate::atomic_file::{create_dir, random_characters, sync_dir, sync_parent};
use crate::disk;
use crate::local_error::{AtPath, LocalError, LocalResult, found};

/// Hidden directory below the base for what is being removed.
pub const TRASH_DIR_NAME: &str = ".trash";

impl SnapshotStore {
    /// Removes a snapshot's directory; returns whether there was one. Protected ones are refused.
    pub fn remove_snapshot_dir(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<bool> {
        if self.is_protected(ns, dir)? {
            let path = self.snapshot_path(ns, dir);
            return Err(LocalError::refused(
                "remove snapshot",
                path,
                "it is protected",
            ));
        }
        let Some(path) = self.existing_dir(&ns.path_of(&dir.path()))? else {
            return Ok(false);
        };
        self.discard(&path)
    }

    /// Removes the group's directory if no snapshot is left in it; returns whether it is gone.
    ///
    /// Anything else than what belongs to a group keeps it whole, with its owner.
    pub fn remove_group_if_empty(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> LocalResult<bool> {
        let entries = match self.existing_dir(&ns.path_of(&group.path()))? {
            Some(path) => read_dir(&path)?,
            None => None,
        };
        let Some(entries) = entries else {
            return Ok(true);
        };
        let path = self.group_path(ns, group);
        for (name, kind) in entries {
            let name = name.to_string_lossy();
            if kind.is_dir() && name.parse::<BackupTime>().is_ok() {
                return Ok(false);
            }
            if !kind.is_file() || !is_group_file(&name) {
                let reason = format!("it contains '{name}', which is not part of a backup group");
                return Err(LocalError::refused("remove group", path, reason));
            }
        }
        self.discard(&path)?;
        sync_parent(&path)?;
        Ok(true)
    }

    /// What was removed from these groups stays so, whatever happens to the power.
    pub fn sync_removals(
        &self,
        groups: &BTreeSet<(BackupNamespace, BackupGroup)>,
    ) -> LocalResult<()> {
        for (ns, group) in groups {
            if let Some(path) = self.existing_dir(&ns.path_of(&group.path()))? {
                match sync_dir(&path) {
                    // Removed, as the empty group that it was, and that is on the disk.
                    Err(error) if error.is_not_found() => {}
                    synced => synced?,
                }
            }
        }
        Ok(())
    }

    /// Removes what is empty of a namespace: the directories of the types and of its children, then
    /// its own. Returns whether the namespace is gone; one with content left stays.
    pub fn remove_namespace_dir(&self, ns: &BackupNamespace) -> LocalResult<bool> {
        let path = self.namespace_path(ns);
        if ns.is_root() {
            let reason = "the root namespace cannot be removed";
            return Err(LocalError::refused("remove namespace", path, reason));
        }
        if self.existing_dir(&ns.path())?.is_none() {
            return Ok(true);
        }
        for name in TYPES.iter().map(|ty| ty.as_str()).chain(["ns"]) {
            remove_empty_dir(&path.join(name))?;
        }
        let gone = remove_empty_dir(&path)?;
        if gone {
            sync_parent(&path)?;
        }
        Ok(gone)
    }

    /// Whether removals were interrupted, or are under way.
    pub fn has_trash(&self) -> LocalResult<bool> {
        let entries = read_dir(&self.base.join(TRASH_DIR_NAME))?;
        Ok(entries.is_some_and(|entries| !entries.is_empty()))
    }

    /// Unlinks what interrupted removals left behind; returns how many. Only while no other process
    /// removes anything; what another one that still runs has put there is its business all the
    /// same.
    pub fn purge_trash(&self) -> LocalResult<u64> {
        let trash = self.base.join(TRASH_DIR_NAME);
        let Some(metadata) = found(trash.symlink_metadata()).at("stat", &trash)? else {
            return Ok(0);
        };
        if !metadata.is_dir() {
            return Err(LocalError::invalid(trash, "it must be a directory"));
        }
        let mut purged = 0;
        for (name, kind) in read_dir(&trash)?.unwrap_or_default() {
            if is_of_another(&name.to_string_lossy()) {
                continue;
            }
            let path = trash.join(name);
            if kind.is_dir() {
                remove_tree(&path)?;
            } else {
                remove_file(&path)?;
            }
            purged += 1;
        }
        Ok(purged)
    }

    /// Renames a directory into the trash and unlinks it there; `false` if it was gone already.
    fn discard(&self, path: &Path) -> LocalResult<bool> {
        let trash = self.base.join(TRASH_DIR_NAME);
        create_dir(&trash, DIR_MODE, self.owner)?;
        let target = trash.join(format!("{}-{}", std::process::id(), random_characters()));
        match disk::rename(path, &target) {
            Ok(()) => remove_tree(&target)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // A part of the tree on a file system of its own: at least finished comes off first.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                remove_file(&path.join(ArchiveName::MANIFEST))?;
                remove_tree(path)?;
            }
            Err(error) => return Err(error).at("rename for removal", path),
        }
        Ok(true)
    }
}

/// Whether another living process has put it into the trash: names begin with the process id.
fn is_of_another(name: &str) -> bool {
    let pid = name.split_once('-').and_then(|(pid, _)| pid.parse().ok());
    pid.is_some_and(|pid: u32| {
        pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists()
    })
}

fn remove_tree(path: &Path) -> LocalResult<()> {
    found(disk::remove_dir_all(path))
        .at("remove directory", path)
        .map(|_| ())
}

/// Files that a group's directory may hold, left-overs of their replacement included.
fn is_group_file(name: &str) -> bool {
    [OWNER_FILE, NOTES_FILE].iter().any(|file| {
        let rest = name.strip_prefix(file);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(".tmp_"))
    })
}
