//! What a mark has read so far: shared by the threads that read, each change under one lock.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use api_types::names::SnapshotPath;

use super::marked::{IndexSource, MarkCounts, ReadIndex};
use super::read_index::{ContentId, FileState};
use crate::gc::index_cache::{IndexDigests, ListId};

/// What was read, where, and how much of it.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub counts: MarkCounts,
    /// Content that is marked, wherever it was found.
    pub contents: HashSet<ContentId>,
    /// Entries that are marked ◆: a list may leave them out from then on, not before.
    pub lists: HashSet<ListId>,
    /// The state in which each path was read last.
    pub states: HashMap<PathBuf, FileState>,
    pub indexes: Vec<ReadIndex>,
    /// Paths that were warned of.
    pub warned: HashSet<PathBuf>,
    last_percent: u64,
}

impl Books {
    /// The list of this content is in the set of marks. Only the first reader of it counts.
    pub(super) fn marked(&mut self, content: ContentId, id: ListId, list: &IndexDigests) {
        self.lists.insert(id);
        if self.contents.insert(content) {
            self.count(list);
        }
    }

    /// Counts an index.
    pub(super) fn count(&mut self, list: &IndexDigests) {
        self.counts.index_files += 1;
        self.counts.data_bytes = self.counts.data_bytes.saturating_add(list.data_bytes);
        self.counts.references = self.counts.references.saturating_add(list.references);
    }

    /// Remembers where an index was, for the way back from a digest.
    pub(super) fn remember(
        &mut self,
        relative: &Path,
        snapshot: Option<&SnapshotPath>,
        size: u64,
        source: IndexSource,
    ) {
        let snapshot = snapshot.cloned().or_else(|| snapshot_of(relative));
        self.indexes.push(ReadIndex {
            relative: relative.to_path_buf(),
            snapshot,
            size,
            source,
        });
    }

    /// Whether another percent is done.
    pub(super) fn is_next_percent(&mut self, percent: u64) -> bool {
        let next = percent > self.last_percent;
        self.last_percent = self.last_percent.max(percent);
        next
    }
}

/// The snapshot that a path below the store belongs to.
pub(super) fn snapshot_of(relative: &Path) -> Option<SnapshotPath> {
    relative.parent()?.to_str()?.parse().ok()
}
