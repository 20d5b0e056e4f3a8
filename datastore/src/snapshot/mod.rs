//! The snapshots on the local disk: namespaces, groups, snapshot directories
//! (datastore-layout.md §1, §2, §11).
//!
//! [`SnapshotStore`] is the pure local view: it names, lists, creates and removes, and takes no
//! locks; callers hold those of [`crate::locks::named`]. Symbolic links are never followed: where
//! a directory is expected, a link counts as nothing there.

mod dir;
mod group;
mod namespace;
mod relocate;
mod remove;
mod walk;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api_types::names::{BackupDir, BackupGroup, BackupNamespace};
use nix::libc;

pub use dir::{BackupInfo, GroupScan, GroupSummary, PROTECTED_MARKER, is_listed_name};
pub use group::{NOTES_FILE, OWNER_FILE};
pub use remove::TRASH_DIR_NAME;

use crate::atomic_file::{Durability, Owner, ReplaceOptions, create_dir, sync_parent};
use crate::disk;
use crate::local_error::{AtPath, LocalError, LocalResult, found};

/// Permission bits of namespaces, types, groups and snapshots.
const DIR_MODE: u32 = 0o755;

/// The snapshots below a datastore's base directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    base: PathBuf,
    owner: Option<Owner>,
}

impl SnapshotStore {
    /// A view of the snapshots below `base`.
    #[must_use]
    pub fn new(base: PathBuf) -> Self {
        Self { base, owner: None }
    }

    /// Gives new files and directories to `owner`; only a process with the right to do so (root)
    /// should ask for it.
    #[must_use]
    pub fn with_owner(mut self, owner: Option<Owner>) -> Self {
        self.owner = owner;
        self
    }

    /// The datastore's base directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Directory of a namespace.
    #[must_use]
    pub fn namespace_path(&self, ns: &BackupNamespace) -> PathBuf {
        self.full_path(&ns.path())
    }

    /// Directory of a group.
    #[must_use]
    pub fn group_path(&self, ns: &BackupNamespace, group: &BackupGroup) -> PathBuf {
        self.full_path(&ns.path_of(&group.path()))
    }

    /// Directory of a snapshot.
    #[must_use]
    pub fn snapshot_path(&self, ns: &BackupNamespace, dir: &BackupDir) -> PathBuf {
        self.full_path(&ns.path_of(&dir.path()))
    }

    fn full_path(&self, relative: &str) -> PathBuf {
        // Joining an empty path would add a slash.
        if relative.is_empty() {
            self.base.clone()
        } else {
            self.base.join(relative)
        }
    }

    /// The directory at `relative`, if every component of it is a real directory.
    fn existing_dir(&self, relative: &str) -> LocalResult<Option<PathBuf>> {
        let mut path = self.base.clone();
        for component in relative
            .split('/')
            .filter(|component| !component.is_empty())
        {
            path.push(component);
            let metadata = found(path.symlink_metadata()).at("stat", &path)?;
            if !metadata.is_some_and(|metadata| metadata.is_dir()) {
                return Ok(None);
            }
        }
        Ok(Some(path))
    }

    /// Creates the directories of `relative` that are missing; returns whether the last is new.
    fn create_dirs(&self, relative: &str) -> LocalResult<bool> {
        let mut path = self.base.clone();
        let mut created = false;
        for component in relative.split('/') {
            path.push(component);
            created = create_dir(&path, DIR_MODE, self.owner)?;
        }
        if self.existing_dir(relative)?.is_none() {
            return Err(LocalError::invalid(
                path,
                "a part of the path is not a real directory",
            ));
        }
        Ok(created)
    }

    fn file_options(&self, durability: Durability) -> ReplaceOptions {
        ReplaceOptions {
            owner: self.owner,
            durability,
            ..ReplaceOptions::default()
        }
    }
}

/// Names and kinds of a directory's entries; `None` if it is missing.
fn read_dir(path: &Path) -> LocalResult<Option<Vec<(OsString, std::fs::FileType)>>> {
    let Some(directory) = found(path.read_dir()).at("read directory", path)? else {
        return Ok(None);
    };
    let mut entries = Vec::new();
    for entry in directory {
        let entry = entry.at("read directory", path)?;
        // On file systems that do not tell the kind, this is a stat: the entry may be gone.
        if let Some(kind) = found(entry.file_type()).at("stat", &entry.path())? {
            entries.push((entry.file_name(), kind));
        }
    }
    Ok(Some(entries))
}

/// Names of the real directories in a directory, as far as they are UTF-8; `None` if it is missing.
fn sub_dirs(path: &Path) -> LocalResult<Option<Vec<String>>> {
    let Some(entries) = read_dir(path)? else {
        return Ok(None);
    };
    let directories = entries.into_iter().filter(|(_, kind)| kind.is_dir());
    Ok(Some(
        directories
            .filter_map(|(name, _)| name.into_string().ok())
            .collect(),
    ))
}

/// A whole file of at most `limit` bytes; `None` if it is missing.
fn read_file(path: &Path, limit: u64) -> LocalResult<Option<Vec<u8>>> {
    #[expect(clippy::disallowed_methods, reason = "for reading only")]
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    let Some(file) = found(opened).at("open", path)? else {
        return Ok(None);
    };
    if !file.metadata().at("stat", path)?.is_file() {
        return Err(LocalError::invalid(path, "it must be a regular file"));
    }
    let mut data = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut data)
        .at("read", path)?;
    if u64::try_from(data.len()).unwrap_or(u64::MAX) > limit {
        return Err(LocalError::invalid(
            path,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(Some(data))
}

/// Removes a file; returns whether there was one.
fn remove_file(path: &Path) -> LocalResult<bool> {
    Ok(found(disk::remove_file(path)).at("remove", path)?.is_some())
}

/// The same, waiting for the disk.
fn remove_durable(path: &Path) -> LocalResult<bool> {
    let removed = remove_file(path)?;
    if removed {
        sync_parent(path)?;
    }
    Ok(removed)
}

/// Removes an empty directory; `false` if it is missing, not empty or no directory.
fn remove_empty_dir(path: &Path) -> LocalResult<bool> {
    match disk::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).at("remove directory", path),
    }
}

#[cfg(test)]
mod tests;
