//! The physical list of index files (datastore-layout.md §9.3, step 1).
//!
//! Taken without interpreting the hierarchy, so that a garbage collection also marks indexes that
//! lie where none should.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::SnapshotStore;
use crate::local_error::{AtPath, LocalResult};
use crate::task::{TaskContext, check_abort};

impl SnapshotStore {
    /// Absolute paths of all index files below the base directory.
    ///
    /// Hidden entries are skipped, symbolic links not followed. What vanishes meanwhile is not
    /// missed; anything unreadable is an error, since its chunks would look unused — except
    /// `lost+found` at the top.
    pub fn physical_index_files(&self, task: &dyn TaskContext) -> LocalResult<BTreeSet<PathBuf>> {
        let mut indexes = BTreeSet::new();
        let mut pending = vec![self.base.clone()];
        while let Some(directory) = pending.pop() {
            check_abort(task)?;
            let entries = match directory.read_dir() {
                Err(error) if self.is_tolerated(&directory, &error) => continue,
                entries => entries.at("read directory", &directory)?,
            };
            for entry in entries {
                let entry = entry.at("read directory", &directory)?;
                if entry.file_name().as_bytes().starts_with(b".") {
                    continue;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => pending.push(path),
                    Ok(kind) if kind.is_file() && is_index(&path) => {
                        indexes.insert(path);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).at("stat", &path),
                }
            }
        }
        Ok(indexes)
    }

    pub(super) fn is_tolerated(&self, directory: &Path, error: &io::Error) -> bool {
        match error.kind() {
            // The base itself must not be missing: that is a disk that is not mounted.
            io::ErrorKind::NotFound => directory != self.base,
            io::ErrorKind::PermissionDenied => directory == self.base.join("lost+found"),
            _ => false,
        }
    }
}

fn is_index(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "fidx" || extension == "didx")
}
