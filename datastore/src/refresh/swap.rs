//! Exchanging the metadata tree for a new one, by a redo log.
//!
//! The new tree is complete and on disk at `.x-coffer/refresh/new/` before the file
//! `.x-coffer/refresh/commit` appears; from that moment on the exchange is carried out, by this
//! process or by the next that opens the store, before anybody looks at a snapshot. The exchange
//! itself is four pairs of renames, each of which can be repeated: a directory still under `new/`
//! has not been moved.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::atomic_file::{self, ReplaceOptions};
use crate::disk;
use crate::error::{Error, Result};
use crate::store::state_dir::StateDir;

/// The directories of a datastore that hold metadata.
pub const TREE_DIRS: [&str; 4] = ["ct", "host", "ns", "vm"];

/// Where the new tree is built.
#[must_use]
pub fn new_tree(state: &StateDir) -> PathBuf {
    state.refresh().join("new")
}

/// Files of an earlier, interrupted build that may be taken over.
#[must_use]
pub fn partial_tree(state: &StateDir) -> PathBuf {
    state.refresh().join("partial")
}

fn old_tree(state: &StateDir) -> PathBuf {
    state.refresh().join("old")
}

fn commit_file(state: &StateDir) -> PathBuf {
    state.refresh().join("commit")
}

/// Prepares an empty tree to build in; what an interrupted build left becomes the partial tree.
///
/// # Errors
/// If directories cannot be created or removed.
pub fn prepare(state: &StateDir) -> Result<()> {
    let (new, partial) = (new_tree(state), partial_tree(state));
    if new.exists() {
        remove_tree(&partial)?;
        disk::rename(&new, &partial).map_err(Error::io("unable to rename", &new))?;
    }
    for dir in TREE_DIRS {
        let path = new.join(dir);
        disk::create_dir_all(&path, 0o755).map_err(Error::io("unable to create", &path))?;
    }
    Ok(())
}

/// Puts the finished new tree in force. `sync` makes the tree durable before the commit.
///
/// # Errors
/// If a file operation fails: before the commit file exists the old tree stays in force, after it
/// the next open completes the exchange.
pub fn exchange(base: &Path, state: &StateDir, sync: impl FnOnce() -> Result<()>) -> Result<()> {
    sync()?;
    atomic_file::replace(&commit_file(state), b"", &ReplaceOptions::durable())?;
    complete_interrupted(base, state)
}

/// Whether an exchange was committed and not completed.
#[must_use]
pub fn is_committed(state: &StateDir) -> bool {
    commit_file(state).exists()
}

/// Completes an exchange that was committed; without one, does nothing.
///
/// # Errors
/// If a rename or removal fails; it is tried again at the next open.
pub fn complete_interrupted(base: &Path, state: &StateDir) -> Result<()> {
    let commit = commit_file(state);
    if !commit.exists() {
        return Ok(());
    }
    let (new, old) = (new_tree(state), old_tree(state));
    disk::create_dir_all(&old, 0o755).map_err(Error::io("unable to create", &old))?;
    for dir in TREE_DIRS {
        let (fresh, current, retired) = (new.join(dir), base.join(dir), old.join(dir));
        if !fresh.exists() {
            continue; // moved already
        }
        if current.exists() {
            remove_tree(&retired)?;
            disk::rename(&current, &retired).map_err(Error::io("unable to rename", &current))?;
        }
        disk::rename(&fresh, &current).map_err(Error::io("unable to rename", &fresh))?;
    }
    for dir in TREE_DIRS {
        // A datastore has only the directories that it needs; one with content refuses to go.
        let _ = disk::remove_dir(&base.join(dir));
    }
    atomic_file::sync_dir(base)?;
    disk::remove_file(&commit).map_err(Error::io("unable to remove", &commit))?;
    atomic_file::sync_dir(&state.refresh())?;
    remove_tree(&state.refresh())
}

/// Removes the tree being built.
///
/// # Errors
/// If it cannot be removed.
pub fn discard(state: &StateDir) -> Result<()> {
    remove_tree(&state.refresh())
}

fn remove_tree(path: &Path) -> Result<()> {
    match disk::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("unable to remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn store(dir: &Path) -> StateDir {
        let state = StateDir::of(dir);
        state.create().unwrap();
        write(&dir.join("vm/1/owner"), "old");
        write(&dir.join("host/h/owner"), "old");
        prepare(&state).unwrap();
        write(&new_tree(&state).join("vm/1/owner"), "new");
        state
    }

    #[test]
    fn before_the_commit_the_old_tree_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = store(dir.path());
        assert!(exchange(dir.path(), &state, || Err(Error::Aborted)).is_err());
        complete_interrupted(dir.path(), &state).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("vm/1/owner")).unwrap(),
            "old"
        );
        // The next refresh may take over what was fetched.
        prepare(&state).unwrap();
        assert!(partial_tree(&state).join("vm/1/owner").exists());
    }

    /// Every point at which a crash can leave the exchange ends in the whole new tree.
    #[test]
    fn after_the_commit_the_new_tree_comes_whatever_was_done() {
        for moved in 0..=TREE_DIRS.len() {
            for half in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let state = store(dir.path());
                atomic_file::replace(&commit_file(&state), b"", &ReplaceOptions::durable())
                    .unwrap();
                let old = old_tree(&state);
                std::fs::create_dir_all(&old).unwrap();
                for (index, name) in TREE_DIRS.iter().enumerate() {
                    let current = dir.path().join(name);
                    if index < moved || (half && index == moved) {
                        let _ = std::fs::rename(&current, old.join(name));
                    }
                    if index < moved {
                        std::fs::rename(new_tree(&state).join(name), &current).unwrap();
                    }
                }
                complete_interrupted(dir.path(), &state).unwrap();
                let owner = std::fs::read_to_string(dir.path().join("vm/1/owner")).unwrap();
                assert_eq!(owner, "new", "{moved} {half}");
                assert!(!dir.path().join("host/h").exists());
                assert!(!state.refresh().exists());
            }
        }
    }
}
