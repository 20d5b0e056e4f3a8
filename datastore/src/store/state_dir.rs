//! Our own files in the datastore's directory: `<base>/.x-coffer/`.
//!
//! The name begins with a dot, so that upstream's walk and its re-use check pass it by. Nothing in
//! it is needed to read the datastore; what safety depends on is the delete journal, whose absence
//! is noticed.

use std::path::{Path, PathBuf};

use crate::atomic_file::{self, ReplaceOptions};
use crate::digests::Generation;
use crate::disk;
use crate::error::{Error, Result};

/// Paths of our own files.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

/// Why the local state has to be rebuilt before it may be trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RebuildNeeded {
    /// Whether requests of a previous owner may still be under way: wait a quarantine first ◆.
    pub wait: bool,
    /// What happened, for messages.
    pub reason: String,
}

impl StateDir {
    /// The state directory of the datastore at `base`.
    #[must_use]
    pub fn of(base: &Path) -> Self {
        Self {
            dir: base.join(".x-coffer"),
        }
    }

    /// Creates the directory if it is missing.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(&self) -> Result<()> {
        disk::create_dir_all(&self.dir, 0o750).map_err(Error::io("unable to create", &self.dir))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Record of deletes that may have been sent.
    #[must_use]
    pub fn delete_journal(&self) -> PathBuf {
        self.dir.join("delete-journal")
    }

    /// Metadata paths whose object may not match: a file of each process.
    #[must_use]
    pub fn cleanup_journals(&self) -> PathBuf {
        self.dir.join("cleanup")
    }

    /// Digests whose object is damaged.
    #[must_use]
    pub fn bad_list(&self) -> PathBuf {
        self.dir.join("bad-chunks")
    }

    /// Cache of sorted digests per index file.
    #[must_use]
    pub fn mark_cache(&self) -> PathBuf {
        self.dir.join("mark-cache")
    }

    /// Temporary files of a running collection.
    #[must_use]
    pub fn spill(&self) -> PathBuf {
        self.dir.join("spill")
    }

    /// Facts of the last collection, for the tripwires of the next.
    #[must_use]
    pub fn gc_history(&self) -> PathBuf {
        self.dir.join("gc-history")
    }

    /// Removals of snapshots since the last collection.
    #[must_use]
    pub fn removal_log(&self) -> PathBuf {
        self.dir.join("removals")
    }

    /// Objects seen without any local record, with the generation of the first sighting.
    #[must_use]
    pub fn first_seen(&self) -> PathBuf {
        self.dir.join("first-seen")
    }

    /// Tree under construction by a refresh.
    #[must_use]
    pub fn refresh(&self) -> PathBuf {
        self.dir.join("refresh")
    }

    /// Snapshots being unlinked.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.dir.join("trash")
    }

    /// Says that snapshots with missing chunks may not be marked as failed yet.
    #[must_use]
    pub fn losses(&self) -> PathBuf {
        self.dir.join("losses")
    }

    fn generation(&self) -> PathBuf {
        self.dir.join("generation")
    }

    fn rebuild_needed(&self) -> PathBuf {
        self.dir.join("rebuild-needed")
    }

    /// The durable generation; 0 if there is none yet.
    ///
    /// # Errors
    /// If the file cannot be read. A damaged one counts as none: safety needs the generation only
    /// to grow within a process.
    pub fn read_generation(&self) -> Result<Generation> {
        let path = self.generation();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io("unable to read the generation", &path)(error)),
        }
    }

    /// Writes the generation, durably.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_generation(&self, generation: Generation) -> Result<()> {
        let text = format!("{generation}\n");
        Ok(atomic_file::replace(
            &self.generation(),
            text.as_bytes(),
            &ReplaceOptions::durable(),
        )?)
    }

    /// Whether the local state has to be rebuilt first, and why.
    ///
    /// # Errors
    /// If the flag cannot be read.
    pub fn read_rebuild_needed(&self) -> Result<Option<RebuildNeeded>> {
        let path = self.rebuild_needed();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let (first, rest) = text.split_once('\n').unwrap_or((text.as_str(), ""));
                // Anything but a clear "no" means waiting.
                Ok(Some(RebuildNeeded {
                    wait: first != "now",
                    reason: rest.trim().to_owned(),
                }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("unable to read", &path)(error)),
        }
    }

    /// Sets, or with `None` clears, the flag, durably.
    ///
    /// # Errors
    /// If the file cannot be written or removed.
    pub fn write_rebuild_needed(&self, needed: Option<&RebuildNeeded>) -> Result<()> {
        let path = self.rebuild_needed();
        match needed {
            Some(needed) => {
                let first = if needed.wait { "wait" } else { "now" };
                let text = format!("{first}\n{}\n", needed.reason);
                Ok(atomic_file::replace(
                    &path,
                    text.as_bytes(),
                    &ReplaceOptions::durable(),
                )?)
            }
            None => match disk::remove_file(&path) {
                Ok(()) => Ok(atomic_file::sync_dir(&self.dir)?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(Error::io("unable to remove", &path)(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_and_the_generation_survive() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::of(dir.path());
        state.create().unwrap();
        assert_eq!(state.read_generation().unwrap(), 0);
        state.write_generation(7).unwrap();
        assert_eq!(state.read_generation().unwrap(), 7);
        assert_eq!(state.read_rebuild_needed().unwrap(), None);
        for wait in [true, false] {
            let needed = RebuildNeeded {
                wait,
                reason: "takeover".into(),
            };
            state.write_rebuild_needed(Some(&needed)).unwrap();
            assert_eq!(state.read_rebuild_needed().unwrap(), Some(needed));
        }
        state.write_rebuild_needed(None).unwrap();
        assert_eq!(state.read_rebuild_needed().unwrap(), None);
    }
}
