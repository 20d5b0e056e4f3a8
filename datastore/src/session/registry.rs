//! The register of running writers (`gc.md` §6.1): what a collection must not overtake.
//!
//! A session registers before it looks for a base and before its first chunk, recording the
//! generation of that moment, and leaves after its last index is visible and its manifest is
//! committed, or its cleanup is done. A collection raises the generation, *then* computes its floor
//! from one look at the register, *then* lists the indexes ◆: so every session is either seen, and
//! its stamps are at or above the floor, or it stamps with the new generation.

use std::collections::BTreeMap;
use std::fs::File;

use api_types::names::{ArchiveType, SnapshotPath};

use crate::digests::{DigestTable, Generation};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An index file of a base snapshot, kept open: read by the mark even if the base has vanished.
#[derive(Debug)]
pub struct Pin {
    /// The open file.
    pub file: File,
    /// Its kind.
    pub archive_type: ArchiveType,
    /// Its path when it was opened, for messages.
    pub name: String,
}

#[derive(Debug)]
struct Entry {
    start_generation: Generation,
    started: i64,
    pins: Vec<Arc<Pin>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    sessions: BTreeMap<u64, Entry>,
    /// Marks under way, and the pins of sessions that ended meanwhile.
    marks: usize,
    ended_pins: Vec<Arc<Pin>>,
    /// Collections under way, and the snapshots whose finish began meanwhile.
    collections: usize,
    finishes: Vec<SnapshotPath>,
}

/// The running writers of one datastore in this process.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    inner: Mutex<Inner>,
}

impl SessionRegistry {
    /// Registers a writer that starts at `now` (seconds since the epoch).
    #[must_use]
    pub fn register(self: &Arc<Self>, table: &DigestTable, now: i64) -> Registration {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        // Read under the register's lock: a collection that raised the generation before its look
        // at the register either sees this entry or this entry has the new generation.
        let start_generation = table.generation();
        inner.sessions.insert(
            id,
            Entry {
                start_generation,
                started: now,
                pins: Vec::new(),
            },
        );
        drop(inner);
        Registration {
            registry: Arc::clone(self),
            id,
            start_generation,
        }
    }

    /// The floor of a collection with generation `generation`: computed once, a constant of the
    /// run ◆.
    #[must_use]
    pub fn floor(&self, generation: Generation) -> Generation {
        let inner = self.lock();
        let lowest = inner
            .sessions
            .values()
            .map(|entry| entry.start_generation)
            .min();
        lowest.map_or(generation, |lowest| lowest.min(generation))
    }

    /// The pinned index files of all sessions, to be read in every pass of the mark ◆; with those
    /// of the sessions that ended since the mark began.
    #[must_use]
    pub fn pins(&self) -> Vec<Arc<Pin>> {
        let inner = self.lock();
        let running = inner.sessions.values().flat_map(|entry| entry.pins.iter());
        running.chain(&inner.ended_pins).cloned().collect()
    }

    /// Keeps the pins of sessions that end from now on, while the guard lives.
    #[must_use]
    pub fn begin_mark(self: &Arc<Self>) -> MarkPins {
        self.lock().marks += 1;
        MarkPins {
            registry: Arc::clone(self),
        }
    }

    /// Keeps a list of the finishes that begin from now on, while the guard lives.
    #[must_use]
    pub fn begin_collection(self: &Arc<Self>) -> Finishes {
        self.lock().collections += 1;
        Finishes {
            registry: Arc::clone(self),
        }
    }

    /// A snapshot is about to be at this place, finished or moved there.
    pub(crate) fn arriving(&self, snapshot: SnapshotPath) {
        let mut inner = self.lock();
        if inner.collections > 0 {
            inner.finishes.push(snapshot);
        }
    }

    /// The snapshots whose finish began since the collection did, and those that were moved since: its
    /// mark may not know them where they are.
    #[must_use]
    pub fn recent_finishes(&self) -> Vec<SnapshotPath> {
        self.lock().finishes.clone()
    }

    /// When the longest-running writer started, seconds since the epoch.
    #[must_use]
    pub fn oldest_start(&self) -> Option<i64> {
        self.lock()
            .sessions
            .values()
            .map(|entry| entry.started)
            .min()
    }

    /// Number of running writers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Whether nobody writes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer's place in the register; left when dropped.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<SessionRegistry>,
    id: u64,
    start_generation: Generation,
}

impl Registration {
    /// The generation at registration.
    #[must_use]
    pub fn start_generation(&self) -> Generation {
        self.start_generation
    }

    /// Adds index files of the base for the mark to read.
    pub fn pin(&self, pins: Vec<Pin>) {
        let mut inner = self.registry.lock();
        if let Some(entry) = inner.sessions.get_mut(&self.id) {
            entry.pins.extend(pins.into_iter().map(Arc::new));
        }
    }
}

impl Registration {
    /// The writer begins to finish this snapshot.
    pub(super) fn finishing(&self, snapshot: SnapshotPath) {
        self.registry.arriving(snapshot);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        let Some(entry) = inner.sessions.remove(&self.id) else {
            return;
        };
        if inner.marks > 0 {
            inner.ended_pins.extend(entry.pins);
        }
    }
}

/// A mark under way, see [`SessionRegistry::begin_mark`].
#[derive(Debug)]
pub struct MarkPins {
    registry: Arc<SessionRegistry>,
}

impl Drop for MarkPins {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.marks -= 1;
        if inner.marks == 0 {
            inner.ended_pins.clear();
        }
    }
}

/// A collection under way, see [`SessionRegistry::begin_collection`].
#[derive(Debug)]
pub struct Finishes {
    registry: Arc<SessionRegistry>,
}

impl Drop for Finishes {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.collections -= 1;
        if inner.collections == 0 {
            inner.finishes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_oldest_running_start() {
        let table = DigestTable::new(3);
        let registry = Arc::new(SessionRegistry::default());
        assert_eq!(registry.floor(3), 3);
        let old = registry.register(&table, 100);
        table.raise_generation(4);
        let young = registry.register(&table, 200);
        table.raise_generation(5);
        assert_eq!(registry.floor(5), 3);
        assert_eq!(registry.oldest_start(), Some(100));
        drop(old);
        assert_eq!(registry.floor(5), 4);
        drop(young);
        assert_eq!(registry.floor(5), 5);
        assert!(registry.is_empty());
    }
}
