//! What is known of the snapshots while a process works, seen from outside.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use api_types::names::{BackupDir, BackupNamespace};
use scenarios::power::Plug;
use scenarios::{Chunk, Snapshot};

/// What must become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is committed and nobody removes it.
    Kept,
    /// It is being written: whole, or gone.
    Written,
    /// It is being removed: whole, or gone.
    Removed,
    /// Its removal has been confirmed.
    Gone,
}

impl Fate {
    /// Whether somebody has begun to remove it.
    #[must_use]
    pub fn is_removed(self) -> bool {
        matches!(self, Self::Removed | Self::Gone)
    }
}

/// All snapshots there ever were, with what must become of them.
#[derive(Debug, Default)]
pub struct Story {
    snapshots: Mutex<Vec<(Snapshot, Fate)>>,
    plug: OnceLock<Arc<Plug>>,
}

impl Story {
    /// A story in which these snapshots stay.
    #[must_use]
    pub fn keeping(snapshots: &[&Snapshot]) -> Self {
        let story = Self::default();
        for snapshot in snapshots {
            story.set(snapshot, Fate::Kept);
        }
        story
    }

    /// The same story, with this snapshot being written.
    #[must_use]
    pub fn writing(self, snapshot: &Snapshot) -> Self {
        self.set(snapshot, Fate::Written);
        self
    }

    /// The same story, with these being removed.
    #[must_use]
    pub fn removing(self, snapshots: &[&Snapshot]) -> Self {
        for snapshot in snapshots {
            self.set(snapshot, Fate::Removed);
        }
        self
    }

    /// Nothing that a process says counts after its end.
    pub(crate) fn until(&self, plug: &Arc<Plug>) {
        let _ = self.plug.set(Arc::clone(plug));
    }

    /// From now on this must become of the snapshot.
    pub fn set(&self, snapshot: &Snapshot, fate: Fate) {
        if self.plug.get().is_some_and(|plug| plug.is_pulled()) {
            return;
        }
        let mut snapshots = self.lock();
        snapshots.retain(|(other, _)| !same(other, snapshot));
        snapshots.push((snapshot.clone(), fate));
    }

    /// All snapshots.
    #[must_use]
    pub fn all(&self) -> Vec<(Snapshot, Fate)> {
        self.lock().clone()
    }

    /// Every chunk of any snapshot, once.
    #[must_use]
    pub fn chunks(&self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for (snapshot, _) in self.all() {
            for chunk in snapshot.chunks {
                if chunks.iter().all(|other| other.digest != chunk.digest) {
                    chunks.push(chunk);
                }
            }
        }
        chunks
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Snapshot, Fate)>> {
        self.snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn same(one: &Snapshot, other: &Snapshot) -> bool {
    one.ns == other.ns && one.dir == other.dir
}

/// What a snapshot in the root namespace will be once it is committed.
#[must_use]
pub fn planned(id: &str, at: i64, chunks: &[Chunk]) -> Snapshot {
    Snapshot {
        ns: BackupNamespace::root(),
        dir: BackupDir::new(scenarios::group(id), scenarios::time(at)),
        chunks: chunks.to_vec(),
    }
}
