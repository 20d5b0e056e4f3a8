//! Passes over the store until nothing is missed; see the rules in [`super`].

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::DIGEST_LEN;
use api_types::names::{ArchiveType, SnapshotPath};
use bytes::Bytes;

use super::books::{Books, snapshot_of};
use super::chain::Chains;
use super::marked::{IndexSource, Marked};
use super::read_index::{FileState, OpenIndex, digests_of_bytes};
use super::units;
use super::{
    EpochGuard, FIRST_QUIET_PASS, MAX_PASSES, MarkHost, MarkObserver, MarkOptions, MarkStep,
    NoObserver, PinnedIndex,
};
use crate::env::Env;
use crate::gc::error::{GcError, GcResult, OnPath};
use crate::gc::index_cache::{IndexCache, ListId};
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
    books: Mutex<Books>,
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
            books: Mutex::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Each change is complete before anything can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No archive of a group seen yet.
    fn chains(&self) -> Chains {
        // Entries in order and sorted, of this index and the last one, for each thread: a quarter
        // of what the marks themselves may take.
        let bytes = self.options.memory_limit / 4 / self.options.threads.max(1);
        Chains::new(bytes / (4 * DIGEST_LEN))
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
            (self, complete) = env.background(move || self.pass(pass)).await?;
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
        self.books().states.get(&path).copied()
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
        self.set.add_sorted(&list.digests)?;
        let digests = MarkSet::on_disk_only(&list.digests, &self.options.spill_dir)?;
        let mut books = self.books();
        books.count(&list);
        books.remember(relative, None, size, IndexSource::Bucket(digests));
        Ok(())
    }

    /// Marks a local index that the passes have not met; `false` if it is not there (any more).
    pub fn mark_path(&mut self, relative: &Path) -> GcResult<bool> {
        let kind = kind_of(relative)?;
        let path = self.options.base.join(relative);
        let outcome = self.mark_file(&path, relative, kind, None, &mut self.chains())?;
        Ok(outcome != Outcome::Gone)
    }

    /// Everything that is referenced. The lists of indexes that are gone are dropped from the
    /// cache.
    pub fn finish(self) -> GcResult<Marked> {
        self.cache.clean();
        let mut books = self
            .books
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        books.counts.cache = self.cache.stats();
        Ok(Marked {
            set: self.set.finish()?,
            counts: books.counts,
            indexes: books.indexes,
            base: self.options.base,
            cache: self.cache,
        })
    }

    /// One pass; whether nothing vanished.
    fn pass(self, pass: u32) -> GcResult<(Self, bool)> {
        self.books().counts.passes = pass;
        self.observer.at(MarkStep::PassStarted(pass));
        let mut pins = self.host.pins()?;
        let observer = Arc::clone(&self.observer);
        let walk = walk_store(&self.options.base, observer.as_ref(), self.task.as_ref())?;
        pins.extend(self.host.pins()?);
        self.observer.at(MarkStep::PinsCollected);

        let complete = AtomicBool::new(walk.vanished.is_empty());
        let (done, total) = (AtomicUsize::new(0), walk.indexes.len());
        let groups = units::by_group(&walk.indexes);
        units::for_each(&groups, self.options.threads, |group| {
            let mut chains = self.chains();
            for found in *group {
                check_abort(self.task.as_ref())?;
                if !self.mark_found(found, &mut chains)? {
                    complete.store(false, Ordering::SeqCst);
                }
                self.report(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            Ok(())
        })?;
        for pin in pins {
            self.mark_pin(pin)?;
        }
        Ok((self, complete.into_inner()))
    }

    /// Marks what the walk found; whether it was still there.
    fn mark_found(&self, found: &FoundIndex, chains: &mut Chains) -> GcResult<bool> {
        let snapshot = found.snapshot.as_ref();
        let (path, relative) = (&found.path, &found.relative);
        let outcome = self.mark_file(path, relative, found.kind, snapshot, chains)?;
        if outcome == Outcome::Marked
            && snapshot.is_none()
            && self.books().warned.insert(found.path.clone())
        {
            self.books().counts.unexpected += 1;
            self.task.warn(&format!(
                "marked chunks of an index file outside of the expected layout: '{}'",
                found.path.display()
            ));
        }
        Ok(outcome != Outcome::Gone)
    }

    fn mark_file(
        &self,
        path: &Path,
        relative: &Path,
        kind: ArchiveType,
        snapshot: Option<&SnapshotPath>,
        chains: &mut Chains,
    ) -> GcResult<Outcome> {
        let read = self.books().states.get(path).copied();
        if let Some(read) = read {
            match path.symlink_metadata() {
                Ok(metadata) if FileState::of(&metadata) == read => return Ok(Outcome::Known),
                Ok(_) => {}
                Err(error) if is_gone(&error) => return Ok(Outcome::Gone),
                Err(error) => return Err(error).on("stat index", path),
            }
        }
        self.observer.at(MarkStep::Opening(path));
        let opened = OpenIndex::open(path, kind).and_then(|open| match open {
            Some(index) => self
                .mark_open(&index, path, relative, snapshot, chains)
                .map(Some),
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
        &self,
        index: &OpenIndex,
        path: &Path,
        relative: &Path,
        snapshot: Option<&SnapshotPath>,
        chains: &mut Chains,
    ) -> GcResult<Outcome> {
        let content = index.content_id();
        let is_known = self.books().contents.contains(&content);
        if !is_known {
            let id = index.list_id();
            let archive = relative.file_name().unwrap_or_default().to_owned();
            let key = index.key(relative);
            let is_marked = |base: &ListId| self.books().lists.contains(base);
            let list = match self.cache.lookup(&key, is_marked) {
                Some(list) => match chains.shorten(archive, id, &list) {
                    Some(shorter) => {
                        self.cache.store(&key, &shorter);
                        shorter
                    }
                    None => list,
                },
                None => {
                    let entries = index.read(path, self.task.as_ref())?;
                    let list = chains.list_of(archive, id, entries);
                    self.cache.store(&key, &list);
                    list
                }
            };
            self.set.add_sorted(&list.digests)?;
            self.books().marked(content, id, &list);
        }
        {
            // If it was known, it has moved since an earlier pass, or is a pin of what the walk has
            // met.
            let mut books = self.books();
            books.states.insert(path.to_path_buf(), index.state);
            books.remember(relative, snapshot, index.state.size, IndexSource::Local);
        }
        if is_known {
            return Ok(Outcome::Known);
        }
        self.observer.at(MarkStep::Read(path));
        Ok(Outcome::Marked)
    }

    fn mark_pin(&self, pin: PinnedIndex) -> GcResult<()> {
        check_abort(self.task.as_ref())?;
        let PinnedIndex { path, kind, file } = pin;
        let index = OpenIndex::from_file(file, &path, kind)?;
        let content = index.content_id();
        if self.books().contents.contains(&content) {
            return Ok(());
        }
        // Its name may be another file's by now, so it neither uses nor fills the cache.
        let list = index.read(&path, self.task.as_ref())?.into_list();
        self.set.add_sorted(&list.digests)?;
        let mut books = self.books();
        books.marked(content, index.list_id(), &list);
        books.counts.pinned_only += 1;
        Ok(())
    }

    /// Marks what was moved; whether all of it was still there. The journal is emptied if so.
    fn drain(self, mut journal: LockedMoveJournal) -> GcResult<(Self, bool)> {
        self.observer.at(MarkStep::DrainingJournal);
        let base = self.options.base.clone();
        let drained = journal.drain(|path| {
            let Some(kind) = index_kind(path) else {
                return Ok(());
            };
            let relative = path.strip_prefix(&base).unwrap_or(path);
            let snapshot = snapshot_of(relative);
            let chains = &mut self.chains();
            match self.mark_file(path, relative, kind, snapshot.as_ref(), chains)? {
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

    /// Upstream's log line, once per percent.
    fn report(&self, done: usize, total: usize) {
        let (done, total) = (as_u64(done), as_u64(total));
        self.task
            .progress(Progress::new("mark", done, Some(total), "index files"));
        let percent = done * 100 / total.max(1);
        if self.books().is_next_percent(percent) {
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

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
