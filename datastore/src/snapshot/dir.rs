//! Snapshot directories: listing, creation, files, protection.

use std::path::PathBuf;

use api_types::names::{ArchiveName, BackupDir, BackupGroup, BackupNamespace, BackupTime};

use super::{DIR_MODE, SnapshotStore, read_dir, read_file, remove_durable, sub_dirs};
use crate::atomic_file::{Durability, create_exclusive, make_dir, replace, sync_parent};
use crate::local_error::{AtPath, LocalError, LocalResult, found};

/// Empty file whose presence protects a snapshot from removal.
pub const PROTECTED_MARKER: &str = ".protected";

/// A snapshot as its directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// Which snapshot.
    pub dir: BackupDir,
    /// Its index and blob files, by name; the manifest is one of them once it is finished.
    pub files: Vec<String>,
    /// Whether it is protected from removal.
    pub protected: bool,
}

impl BackupInfo {
    /// Whether it has a manifest.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.files.iter().any(|name| name == ArchiveName::MANIFEST)
    }

    /// Its index files.
    pub fn index_files(&self) -> impl Iterator<Item = &str> {
        let is_index = |name: &&str| name.ends_with(".fidx") || name.ends_with(".didx");
        self.files.iter().map(String::as_str).filter(is_index)
    }
}

/// One look at a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupScan {
    /// Its snapshots, newest first.
    pub snapshots: Vec<BackupInfo>,
    /// Snapshots that vanished between the look at the group and the look at them.
    pub vanished: u64,
}

/// What a listing of groups shows of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// Snapshots in all.
    pub count: u64,
    /// The newest finished one; the only one even if it is unfinished.
    pub last: Option<BackupInfo>,
}

impl GroupSummary {
    /// Sums up a group's snapshots, given newest first.
    #[must_use]
    pub fn of(snapshots: Vec<BackupInfo>) -> Self {
        let count = u64::try_from(snapshots.len()).unwrap_or(u64::MAX);
        let last = snapshots
            .into_iter()
            .find(|info| info.is_finished() || count == 1);
        Self { count, last }
    }
}

/// Whether a file of that name belongs to a snapshot's data: an index or a blob.
#[must_use]
pub fn is_listed_name(name: &str) -> bool {
    let suffixes = [".fidx", ".didx", ".blob"];
    suffixes.iter().any(|suffix| name.ends_with(suffix)) && !name.contains('\n')
}

impl SnapshotStore {
    /// Looks at all snapshots of a group. A missing group is a "not found" error.
    pub fn scan_group(&self, ns: &BackupNamespace, group: &BackupGroup) -> LocalResult<GroupScan> {
        let mut scan = GroupScan::default();
        for time in self.snapshot_times(ns, group)? {
            let dir = BackupDir::new(group.clone(), time);
            match self.snapshot_info(ns, &dir)? {
                Some(info) => scan.snapshots.push(info),
                None => scan.vanished += 1,
            }
        }
        Ok(scan)
    }

    /// The snapshots of a group, newest first; none if the group is missing.
    pub fn list_snapshots(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> LocalResult<Vec<BackupInfo>> {
        match self.scan_group(ns, group) {
            Ok(scan) => Ok(scan.snapshots),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Times of a group's snapshot directories, newest first. A missing group is a "not found"
    /// error.
    fn snapshot_times(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> LocalResult<Vec<BackupTime>> {
        let names = match self.existing_dir(&ns.path_of(&group.path()))? {
            Some(directory) => sub_dirs(&directory)?,
            None => None,
        };
        let Some(names) = names else {
            let missing = Err(std::io::Error::from(std::io::ErrorKind::NotFound));
            return missing.at("open group", &self.group_path(ns, group));
        };
        // A time prints exactly as it was read, so that the directory is found again.
        let parse = |name: &String| name.parse::<BackupTime>().ok();
        let mut times: Vec<BackupTime> = names.iter().filter_map(parse).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        Ok(times)
    }

    /// One snapshot; `None` if it does not exist.
    pub fn snapshot_info(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> LocalResult<Option<BackupInfo>> {
        let entries = match self.existing_dir(&ns.path_of(&dir.path()))? {
            Some(directory) => read_dir(&directory)?,
            None => None,
        };
        let Some(entries) = entries else {
            return Ok(None);
        };
        let mut info = BackupInfo {
            dir: dir.clone(),
            files: Vec::new(),
            protected: false,
        };
        for (name, kind) in entries {
            let Some(name) = name.to_str().filter(|_| kind.is_file()) else {
                continue;
            };
            if name == PROTECTED_MARKER {
                info.protected = true;
            } else if is_listed_name(name) {
                info.files.push(name.to_owned());
            }
        }
        info.files.sort_unstable();
        Ok(Some(info))
    }

    /// Whether the snapshot's directory exists.
    pub fn snapshot_exists(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<bool> {
        Ok(self.existing_dir(&ns.path_of(&dir.path()))?.is_some())
    }

    /// Whether the snapshot is finished: it has a manifest.
    pub fn has_manifest(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<bool> {
        self.has_file(ns, dir, ArchiveName::MANIFEST)
    }

    /// The newest snapshot with a manifest; `None` also if the group is missing.
    pub fn last_finished(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> LocalResult<Option<BackupDir>> {
        let times = match self.snapshot_times(ns, group) {
            Err(error) if error.is_not_found() => return Ok(None),
            times => times?,
        };
        for time in times {
            let dir = BackupDir::new(group.clone(), time);
            if self.has_manifest(ns, &dir)? {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    /// Creates the directory of a new snapshot; fails with "already exists" if it is not new. The
    /// group's directory must exist.
    pub fn create_snapshot_dir(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<()> {
        let path = self.snapshot_path(ns, dir);
        make_dir(&path, DIR_MODE, self.owner)?;
        // What is in it would be nowhere after a power failure, and the cleanup journal would have the
        // bucket follow.
        sync_parent(&path)
    }

    /// Path of a file of the snapshot; the name must be a plain file name.
    pub fn file_path(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        name: &str,
    ) -> LocalResult<PathBuf> {
        let path = self.snapshot_path(ns, dir);
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            let reason = format!("{name:?} is not a file name");
            return Err(LocalError::refused("use a file of", path, reason));
        }
        Ok(path.join(name))
    }

    /// Reads a whole file of the snapshot, of at most `limit` bytes; `None` if it is missing.
    pub fn read_file(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        name: &str,
        limit: u64,
    ) -> LocalResult<Option<Vec<u8>>> {
        read_file(&self.file_path(ns, dir, name)?, limit)
    }

    /// Writes or replaces a whole file of the snapshot.
    pub fn write_file(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        name: &str,
        data: &[u8],
        durability: Durability,
    ) -> LocalResult<()> {
        replace(
            &self.file_path(ns, dir, name)?,
            data,
            &self.file_options(durability),
        )
    }

    /// Removes a file of the snapshot, waiting for the disk; returns whether there was one.
    pub fn remove_file(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        name: &str,
    ) -> LocalResult<bool> {
        remove_durable(&self.file_path(ns, dir, name)?)
    }

    /// Lengths of the listed files, in their order; a file that vanished is left out.
    pub fn file_sizes(
        &self,
        ns: &BackupNamespace,
        info: &BackupInfo,
    ) -> LocalResult<Vec<(String, u64)>> {
        let mut sizes = Vec::with_capacity(info.files.len());
        for name in &info.files {
            let path = self.file_path(ns, &info.dir, name)?;
            if let Some(metadata) = found(path.symlink_metadata()).at("stat", &path)? {
                sizes.push((name.clone(), metadata.len()));
            }
        }
        Ok(sizes)
    }

    /// Whether the snapshot is protected from removal.
    pub fn is_protected(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<bool> {
        // Whatever has that name protects: the safe side.
        let path = self.snapshot_path(ns, dir).join(PROTECTED_MARKER);
        Ok(found(path.symlink_metadata()).at("stat", &path)?.is_some())
    }

    /// Protects the snapshot or lifts its protection; returns whether that changed anything.
    pub fn set_protected(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        protected: bool,
    ) -> LocalResult<bool> {
        let path = self.snapshot_path(ns, dir).join(PROTECTED_MARKER);
        if !protected {
            return remove_durable(&path);
        }
        match create_exclusive(&path, &[], &self.file_options(Durability::Synced)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has_file(&self, ns: &BackupNamespace, dir: &BackupDir, name: &str) -> LocalResult<bool> {
        let Some(directory) = self.existing_dir(&ns.path_of(&dir.path()))? else {
            return Ok(false);
        };
        let path = directory.join(name);
        let metadata = found(path.symlink_metadata()).at("stat", &path)?;
        Ok(metadata.is_some_and(|metadata| metadata.is_file()))
    }
}
