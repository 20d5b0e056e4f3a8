//! The locks of whoever changes a metadata file, by its path.

use std::path::PathBuf;

use api_types::names::{GroupPath, SnapshotPath};

use crate::error::Result;
use crate::local_error::{LocalError, LocalResult};
use crate::locks::{LockFile, NamedLocks};

use super::reconcile::{directory_of, is_manifest};

/// The locks of a datastore's snapshots and groups.
#[derive(Clone, Debug)]
pub struct PathLocks {
    base: PathBuf,
    locks: NamedLocks,
}

/// An attempt to lock a path.
pub(super) enum Taken {
    /// Nobody changes it meanwhile.
    Held(Held),
    /// Somebody is about to.
    Busy,
}

/// The locks of one path.
#[derive(Default)]
pub(super) struct Held {
    kept: Vec<LockFile>,
    /// Of something that is not there: no lock file is to be left behind.
    spare: Vec<LockFile>,
}

impl Held {
    /// Gives the locks back.
    pub(super) fn release(self) {
        for lock in self.spare {
            // A file that stays is in nobody's way.
            let _ = lock.remove();
        }
        drop(self.kept);
    }
}

impl PathLocks {
    /// Those of the datastore at `base`.
    #[must_use]
    pub fn new(base: PathBuf, locks: NamedLocks) -> Self {
        Self { base, locks }
    }

    /// Locks what the file at `path` belongs to. A snapshot that is there is shared with its readers.
    pub(super) fn take(&self, path: &str) -> Result<Taken> {
        match self.try_take(path) {
            Ok(held) => Ok(Taken::Held(held)),
            Err(LocalError::Changed { .. }) => Ok(Taken::Busy),
            Err(error) if error.is_busy() => Ok(Taken::Busy),
            Err(error) => Err(error.into()),
        }
    }

    fn try_take(&self, path: &str) -> LocalResult<Held> {
        let mut held = Held::default();
        let directory = directory_of(path);
        let exists = self.base.join(directory).exists();
        let kept = |held: &mut Held, lock| match exists {
            true => held.kept.push(lock),
            false => held.spare.push(lock),
        };
        if let Ok(SnapshotPath { ns, dir }) = directory.parse() {
            let lock = match exists {
                true => self.locks.snapshot_shared(&ns, &dir)?,
                false => self.locks.snapshot_exclusive(&ns, &dir)?,
            };
            kept(&mut held, lock);
            if is_manifest(path) {
                kept(&mut held, self.locks.try_manifest(&ns, &dir)?);
            }
        } else if let Ok(group) = directory.parse::<GroupPath>() {
            kept(&mut held, self.locks.group(&group.ns, &group.group)?);
        }
        Ok(held)
    }
}
