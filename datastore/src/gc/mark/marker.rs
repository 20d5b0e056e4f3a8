//! Passes over the store until nothing is missed; see the rules in [`super`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::names::{ArchiveType, SnapshotPath};
use bytes::Bytes;

use super::marked::{IndexSource, MarkCounts, Marked, ReadIndex};
use super::read_index::{ContentId, FileState, OpenIndex, digests_of_bytes};
use super::{
    EpochGuard, FIRST_QUIET_PASS, MAX_PASSES, MarkHost, MarkObserver, MarkOptions, MarkStep,
    NoObserver, PinnedIndex,
};
use crate::env::Env;
use crate::gc::error::{GcError, GcResult, OnPath};
use crate::gc::index_cache::{IndexCache, IndexDigests};
use crate::gc::mark_set::{MarkSet, MarkSetBuilder};
use crate::gc::walk::{FoundIndex, index_kind, is_gone, walk_store};
use crate::local_error::LocalError;
use crate::locks::move_journal::{LockedMoveJournal, MoveJournal};
use crate::task::{Aborted, Progress, TaskContext, check_abort};

/// A mark under way. [`Marker::run`], then what only the bucket has, then [`Marker::finish`].
pub struct Marker {
    options: MarkOptions,
    host: Arc<dyn MarkHost>,
    observer: Arc<dyn MarkObserver>,
    task: Arc<dyn TaskContext>,
    cache: IndexCache,
    set: MarkSetBuilder,
    counts: MarkCounts,
    /// Content that is marked, wherever it was found.
    contents: HashSet<ContentId>,
    /// The state in which each path was read last.
    states: HashMap<PathBuf, FileState>,
    indexes: Vec<ReadIndex>,
    warned: HashSet<PathBuf>,
    last_percent: u64,
}

/// What became of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Marked,
    Known,
    Gone,
}

impl Marker {
    /// A mark that has read nothing yet.
    #[must_use]
    pub fn new(options: MarkOptions, host: Arc<dyn MarkHost>, task: Arc<dyn TaskContext>) -> Self {
        Self {
            cache: IndexCache::new(&options.cache_dir, options.full, options.cache_limit),
            set: MarkSetBuilder::new(options.memory_limit, &options.spill_dir),
            options,
            host,
            observer: Arc::new(NoObserver),
            task,
            counts: MarkCounts::default(),
            contents: HashSet::new(),
            states: HashMap::new(),
            indexes: Vec::new(),
            warned: HashSet::new(),
            last_percent: 0,
        }
    }

    /// The same mark, watched.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn MarkObserver>) -> Self {
        self.observer = observer;
        self
    }

    /// Makes passes until one has found nothing vanished and the moves are read.
    pub async fn run(mut self, env: &Env, moves: &MoveJournal) -> GcResult<Self> {
        let mut quiet: Option<EpochGuard> = None;
        for pass in 1..=MAX_PASSES {
            if pass >= FIRST_QUIET_PASS && quiet.is_none() {
                let host = Arc::clone(&self.host);
                quiet = tokio::select! {
                    biased;
                    () = self.task.cancel().cancelled() => return Err(Aborted.into()),
                    guard = host.hold_epoch() => Some(guard?),
                };
            }
            let complete;
            (self, complete) = env.blocking(move || self.pass(pass)).await?;
            if !complete {
                continue;
            }
            let journal = moves.lock(self.task.cancel()).await?;
            let drained;
            (self, drained) = env.blocking(move || self.drain(journal)).await?;
            if drained {
                return Ok(self);
            }
        }
        Err(GcError::Restless { passes: MAX_PASSES })
    }

    /// The state in which the mark has read the index at that path below the store, if it has.
    #[must_use]
    pub(in crate::gc) fn state_read(&self, relative: &Path) -> Option<FileState> {
        let path = self.options.base.join(relative);
        self.states.get(&path).copied()
    }

    /// Marks an index of the bucket that is not here, or not in this version. `relative` is its
    /// path below the store.
    pub fn mark_bytes(&mut self, relative: &Path, bytes: Bytes) -> GcResult<()> {
        let kind = kind_of(relative)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let list = match digests_of_bytes(bytes, relative, kind, self.task.as_ref()) {
            Err(error @ GcError::BadIndex { .. }) => {
                return self.skip_or_fail(relative, error).map(|_| ());
            }
            list => list?,
        };
        self.count(&list);
        self.set.add_sorted(&list.digests)?;
        let digests = MarkSet::on_disk_only(&list.digests, &self.options.spill_dir)?;
        self.remember(relative, None, size, IndexSource::Bucket(digests));
        Ok(())
    }

    /// Marks a local index that the passes have not met; `false` if it is not there (any more).
    pub fn mark_path(&mut self, relative: &Path) -> GcResult<bool> {
        let kind = kind_of(relative)?;
        let path = self.options.base.join(relative);
        Ok(self.mark_file(&path, relative, kind, None)? != Outcome::Gone)
    }

    /// Everything that is referenced. The lists of indexes that are gone are dropped from the
    /// cache.
    pub fn finish(mut self) -> GcResult<Marked> {
        self.cache.clean();
        self.counts.cache = self.cache.stats();
        Ok(Marked {
            set: self.set.finish()?,
            counts: self.counts,
            indexes: self.indexes,
            base: self.options.base,
            cache: self.cache,
        })
    }

    /// One pass; whether nothing vanished.
    fn pass(mut self, pass: u32) -> GcResult<(Self, bool)> {
        self.counts.passes = pass;
        self.observer.at(MarkStep::PassStarted(pass));
        let mut pins = self.host.pins()?;
        let observer = Arc::clone(&self.observer);
        let walk = walk_store(&self.options.base, observer.as_ref(), self.task.as_ref())?;
        pins.extend(self.host.pins()?);
        self.observer.at(MarkStep::PinsCollected);

        let mut complete = walk.vanished.is_empty();
        let total = walk.indexes.len();
        for (done, found) in walk.indexes.iter().enumerate() {
            check_abort(self.task.as_ref())?;
            complete &= self.mark_found(found)?;
            self.report(done + 1, total);
        }
        for pin in pins {
            self.mark_pin(pin)?;
        }
        Ok((self, complete))
    }

    /// Marks what the walk found; whether it was still there.
    fn mark_found(&mut self, found: &FoundIndex) -> GcResult<bool> {
        let snapshot = found.snapshot.as_ref();
        let outcome = self.mark_file(&found.path, &found.relative, found.kind, snapshot)?;
        if outcome == Outcome::Marked
            && snapshot.is_none()
            && self.warned.insert(found.path.clone())
        {
            self.counts.unexpected += 1;
            self.task.warn(&format!(
                "marked chunks of an index file outside of the expected layout: '{}'",
                found.path.display()
            ));
        }
        Ok(outcome != Outcome::Gone)
    }

    fn mark_file(
        &mut self,
        path: &Path,
        relative: &Path,
        kind: ArchiveType,
        snapshot: Option<&SnapshotPath>,
    ) -> GcResult<Outcome> {
        if let Some(read) = self.states.get(path) {
            match path.symlink_metadata() {
                Ok(metadata) if FileState::of(&metadata) == *read => return Ok(Outcome::Known),
                Ok(_) => {}
                Err(error) if is_gone(&error) => return Ok(Outcome::Gone),
                Err(error) => return Err(error).on("stat index", path),
            }
        }
        self.observer.at(MarkStep::Opening(path));
        let opened = OpenIndex::open(path, kind).and_then(|open| match open {
            Some(index) => self.mark_open(&index, path, relative, snapshot).map(Some),
            None => Ok(None),
        });
        match opened {
            Ok(None) => Ok(Outcome::Gone),
            Ok(Some(outcome)) => Ok(outcome),
            Err(error @ GcError::BadIndex { .. }) => self.skip_or_fail(relative, error),
            Err(error) => Err(error),
        }
    }

    fn skip_or_fail(&self, relative: &Path, error: GcError) -> GcResult<Outcome> {
        if !self
            .options
            .skip_unreadable
            .iter()
            .any(|path| path == relative)
        {
            return Err(error);
        }
        self.task.warn(&format!(
            "skipped as configured, its chunks are not protected: {error}"
        ));
        Ok(Outcome::Known)
    }

    fn mark_open(
        &mut self,
        index: &OpenIndex,
        path: &Path,
        relative: &Path,
        snapshot: Option<&SnapshotPath>,
    ) -> GcResult<Outcome> {
        let content = index.content_id();
        if self.contents.contains(&content) {
            // Moved since an earlier pass, or a pin of what the walk has met.
            self.states.insert(path.to_path_buf(), index.state);
            self.remember(relative, snapshot, index.state.size, IndexSource::Local);
            return Ok(Outcome::Known);
        }
        let key = index.key(relative);
        let list = match self.cache.lookup(&key) {
            Some(list) => list,
            None => {
                let list = index.digests(path, self.task.as_ref())?;
                self.cache.store(&key, &list);
                list
            }
        };
        self.set.add_sorted(&list.digests)?;
        self.count(&list);
        self.contents.insert(content);
        self.states.insert(path.to_path_buf(), index.state);
        self.remember(relative, snapshot, index.state.size, IndexSource::Local);
        self.observer.at(MarkStep::Read(path));
        Ok(Outcome::Marked)
    }

    fn mark_pin(&mut self, pin: PinnedIndex) -> GcResult<()> {
        check_abort(self.task.as_ref())?;
        let PinnedIndex { path, kind, file } = pin;
        let index = OpenIndex::from_file(file, &path, kind)?;
        let content = index.content_id();
        if self.contents.contains(&content) {
            return Ok(());
        }
        // Its name may be another file's by now, so it neither uses nor fills the cache.
        let list = index.digests(&path, self.task.as_ref())?;
        self.set.add_sorted(&list.digests)?;
        self.count(&list);
        self.contents.insert(content);
        self.counts.pinned_only += 1;
        Ok(())
    }

    /// Marks what was moved; whether all of it was still there. The journal is emptied if so.
    fn drain(mut self, mut journal: LockedMoveJournal) -> GcResult<(Self, bool)> {
        self.observer.at(MarkStep::DrainingJournal);
        let base = self.options.base.clone();
        let drained = journal.drain(|path| {
            let Some(kind) = index_kind(path) else {
                return Ok(());
            };
            let relative = path.strip_prefix(&base).unwrap_or(path);
            let snapshot = snapshot_of(relative);
            match self.mark_file(path, relative, kind, snapshot.as_ref())? {
                Outcome::Gone => Err(DrainStop::Gone),
                Outcome::Marked | Outcome::Known => Ok(()),
            }
        });
        match drained {
            Ok(()) => Ok((self, true)),
            Err(DrainStop::Gone) => Ok((self, false)),
            Err(DrainStop::Failed(error)) => Err(error),
        }
    }

    fn count(&mut self, list: &IndexDigests) {
        self.counts.index_files += 1;
        self.counts.data_bytes = self.counts.data_bytes.saturating_add(list.data_bytes);
        self.counts.references = self.counts.references.saturating_add(list.references);
    }

    fn remember(
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

    /// Upstream's log line, once per percent.
    fn report(&mut self, done: usize, total: usize) {
        let (done, total) = (as_u64(done), as_u64(total));
        self.task
            .progress(Progress::new("mark", done, Some(total), "index files"));
        let percent = done * 100 / total.max(1);
        if percent > self.last_percent {
            self.last_percent = percent;
            self.task.log(&format!(
                "marked {percent}% ({done} of {total} index files)"
            ));
        }
    }
}

/// Why draining the journal stopped.
enum DrainStop {
    /// A path was there when it was looked at, and gone when it was opened.
    Gone,
    Failed(GcError),
}

impl From<LocalError> for DrainStop {
    fn from(error: LocalError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<GcError> for DrainStop {
    fn from(error: GcError) -> Self {
        Self::Failed(error)
    }
}

fn kind_of(path: &Path) -> GcResult<ArchiveType> {
    index_kind(path).ok_or_else(|| GcError::BadIndex {
        path: path.to_path_buf(),
        reason: "its name is neither that of a fixed nor of a dynamic index".to_owned(),
    })
}

fn snapshot_of(relative: &Path) -> Option<SnapshotPath> {
    relative.parent()?.to_str()?.parse().ok()
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
