//! What a mark gives: the set, the counts, and the way back from a digest to its snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use api_types::names::SnapshotPath;
use serde::Serialize;

use super::read_index::OpenIndex;
use crate::gc::error::GcResult;
use crate::gc::index_cache::{IndexCache, IndexCacheStats};
use crate::gc::mark_set::{MarkSet, sort_unique};
use crate::gc::walk::index_kind;
use crate::task::{TaskContext, check_abort};

/// What a mark has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkCounts {
    /// Indexes, each once.
    pub index_files: u64,
    /// Length of their archives.
    pub data_bytes: u64,
    /// Their entries.
    pub references: u64,
    /// Passes over the store.
    pub passes: u32,
    /// Indexes outside of the expected layout.
    pub unexpected: u64,
    /// Indexes that only a running session still has open.
    pub pinned_only: u64,
    /// How useful the cache of digest lists was.
    pub cache: IndexCacheStats,
}

/// An index that was marked.
#[derive(Clone, Debug)]
pub struct ReadIndex {
    /// Path below the store.
    pub relative: PathBuf,
    /// The snapshot it belongs to; none outside of the expected layout.
    pub snapshot: Option<SnapshotPath>,
    /// Bytes.
    pub size: u64,
    /// Where to read it again.
    pub source: IndexSource,
}

/// Where an index was read from.
#[derive(Clone, Debug)]
pub enum IndexSource {
    /// The file below the store.
    Local,
    /// The bucket; these are its digests.
    Bucket(MarkSet),
}

/// A snapshot that references missing chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AffectedSnapshot {
    /// Which one; none for indexes outside of the expected layout.
    pub snapshot: Option<SnapshotPath>,
    /// Its index files, below the store, that reference missing chunks.
    pub indexes: Vec<PathBuf>,
    /// How many of the digests asked for it references, counted per index file.
    pub missing: u64,
    /// The first of them.
    pub samples: Vec<Digest>,
}

/// A complete mark.
#[derive(Debug)]
pub struct Marked {
    /// Every referenced digest.
    pub set: MarkSet,
    /// What was counted.
    pub counts: MarkCounts,
    pub(super) indexes: Vec<ReadIndex>,
    pub(super) base: PathBuf,
    pub(super) cache: IndexCache,
}

impl Marked {
    /// The indexes that were marked, in the order of reading; one that was moved meanwhile comes
    /// with both paths.
    #[must_use]
    pub fn indexes(&self) -> &[ReadIndex] {
        &self.indexes
    }

    /// The snapshots that reference any of `digests`: by group, the newest first (that is the one
    /// the next backup would build upon). Reads the indexes again, or their cached lists; an index
    /// that is gone by now is left out. Of each snapshot, up to `max_samples` digests are given.
    pub fn affected_snapshots(
        &self,
        digests: &[Digest],
        max_samples: usize,
        task: &dyn TaskContext,
    ) -> GcResult<Vec<AffectedSnapshot>> {
        let mut missing = digests.to_vec();
        sort_unique(&mut missing);
        let mut affected: BTreeMap<Key, AffectedSnapshot> = BTreeMap::new();
        let mut seen = std::collections::HashSet::new();
        for index in &self.indexes {
            check_abort(task)?;
            let local = matches!(index.source, IndexSource::Local);
            if local && !seen.insert(&index.relative) {
                continue;
            }
            let hits = self.referenced(index, &missing, task)?;
            if hits.is_empty() {
                continue;
            }
            let entry = affected
                .entry(Key::of(index))
                .or_insert_with(|| AffectedSnapshot {
                    snapshot: index.snapshot.clone(),
                    indexes: Vec::new(),
                    missing: 0,
                    samples: Vec::new(),
                });
            entry.indexes.push(index.relative.clone());
            entry.missing += u64::try_from(hits.len()).unwrap_or(u64::MAX);
            let room = max_samples.saturating_sub(entry.samples.len());
            entry.samples.extend(hits.into_iter().take(room));
        }
        Ok(affected.into_values().collect())
    }

    /// Which of the digests in `missing` the index references.
    fn referenced(
        &self,
        index: &ReadIndex,
        missing: &[Digest],
        task: &dyn TaskContext,
    ) -> GcResult<Vec<Digest>> {
        if let IndexSource::Bucket(digests) = &index.source {
            let is_hit =
                |digest: &Digest| digests.contains(digest).map(|hit| hit.then_some(*digest));
            return missing
                .iter()
                .filter_map(|digest| is_hit(digest).transpose())
                .collect();
        }
        let path = self.base.join(&index.relative);
        let Some(kind) = index_kind(&path) else {
            return Ok(Vec::new());
        };
        let Some(open) = OpenIndex::open(&path, kind)? else {
            return Ok(Vec::new());
        };
        let cached = self.cache.peek(&open.key(&index.relative));
        let list = match cached.filter(|list| list.base.is_none()) {
            Some(list) => list,
            None => open.read(&path, task)?.into_list(),
        };
        let (few, many) = if missing.len() < list.digests.len() {
            (missing, list.digests.as_slice())
        } else {
            (list.digests.as_slice(), missing)
        };
        Ok(few
            .iter()
            .filter(|digest| many.binary_search(digest).is_ok())
            .copied()
            .collect())
    }
}

/// Groups in order, the newest snapshot of each first; odd places last, by directory.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Snapshot(String, std::cmp::Reverse<SnapshotPath>),
    Elsewhere(PathBuf),
}

impl Key {
    fn of(index: &ReadIndex) -> Self {
        match &index.snapshot {
            Some(snapshot) => Self::Snapshot(
                snapshot.group_path().path(),
                std::cmp::Reverse(snapshot.clone()),
            ),
            None => Self::Elsewhere(
                index
                    .relative
                    .parent()
                    .unwrap_or(Path::new(""))
                    .to_path_buf(),
            ),
        }
    }
}
