//! What a session holds of the datastore: its place in the register and its locks.
//!
//! Shared by the session and by its work on the blocking pool, which a dropped call does not stop:
//! a file of the snapshot is never written after the snapshot's lock is free. When the last of them
//! ends without a commit or a complete cleanup, the session is noted as *abandoned*, in memory, with
//! every object that it may have sent; [`tend`](crate::store::tend) clears it away. (After a crash
//! there is no such note: an unfinished snapshot is found by the collection, `gc.md` §6.2 P1.)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::names::{ArchiveName, SnapshotPath};

use crate::locks::LockFile;
use crate::store::DataStore;
use crate::store::lease::WriterLease;

use super::registry::Registration;

/// A session that ended without commit and without a complete cleanup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Abandoned {
    pub snapshot: SnapshotPath,
    /// Objects that it may have put, relative to the datastore.
    pub objects: BTreeSet<String>,
    /// It created the group.
    pub group_is_new: bool,
    /// The table's count of losses when its finish looked at it; none if it never came so far.
    pub losses: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Hold {
    store: Arc<DataStore>,
    left: Mutex<Option<Abandoned>>,
    // Dropped in this order: first the register, last the process lock.
    pub registration: Registration,
    _snapshot_lock: LockFile,
    _group_lock: LockFile,
    _lease: WriterLease,
}

impl Hold {
    pub fn new(
        store: &Arc<DataStore>,
        left: Abandoned,
        registration: Registration,
        locks: (LockFile, LockFile),
        lease: WriterLease,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            left: Mutex::new(Some(left)),
            registration,
            _snapshot_lock: locks.0,
            _group_lock: locks.1,
            _lease: lease,
        })
    }

    /// The object of a file of the snapshot is about to be sent.
    pub fn may_have_sent(&self, name: &str) {
        if let Some(left) = &mut *self.left() {
            let SnapshotPath { ns, dir } = &left.snapshot;
            let relative = self.store.relative_file(ns, dir, name);
            left.objects.insert(relative);
        }
    }

    /// The finish is about to look for lost chunks, with this count of losses.
    pub fn may_finish(&self, losses: u64) {
        if let Some(left) = &mut *self.left() {
            left.losses = Some(losses);
        }
    }

    /// The objects that may have been sent: the manifest, if it is one of them, and the others.
    pub fn objects(&self) -> (Option<String>, Vec<String>) {
        let end = format!("/{}", ArchiveName::MANIFEST);
        let left = self.left();
        let all = left.iter().flat_map(|left| left.objects.iter().cloned());
        let (mut manifest, others) = all.partition::<Vec<_>, _>(|path| path.ends_with(&end));
        (manifest.pop(), others)
    }

    /// Nothing is left to be cleared away.
    pub fn settle(&self) {
        *self.left() = None;
    }

    fn left(&self) -> MutexGuard<'_, Option<Abandoned>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(left) = self.left().take() {
            self.store.abandon(left);
        }
    }
}
