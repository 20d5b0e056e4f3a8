//! Mark and sweep of a filesystem datastore: access times, as upstream does it on the same
//! directory (`datastore-layout.md` §9), with the digest table on top (ADR 0013).
//!
//! Every marked chunk is touched, and what was last used before the cutoff goes: both in one visit
//! of each directory, since the mark is complete before the first one. On top of upstream's rule a
//! chunk stays if it is marked or stamped by a session of this collection's time, so that a file
//! system that drops access times cannot kill a session's chunks.
//!
//! Directories have nothing to do with each other, so a few workers share them: on a disk most of
//! the time goes into waiting.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;
use api_types::status::{GarbageCollectionCacheStats, GarbageCollectionStatus};
use futures_util::future::join_all;

use crate::chunk_store::{
    ChunkStore, SweepGate, SweepMode, SweepPermission, SweepRules, SweepTally, SweepTimes,
};
use crate::digests::{DigestTable, Generation};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::local_error::LocalResult;
use crate::store::lease::SweeperLease;
use crate::task::{Aborted, TaskContext, check_abort};

use super::mark::Marked;
use super::mark_set::{MarkIter, MarkSet};
use super::progress::ProgressMeter;
use super::report::{GcReport, Tally};
use super::run::Run;
use super::tripwire::{self, DeleteGate, Gate, Listed};

/// Directories visited at once. More than cores, since a disk answers several at a time; few
/// enough that backups beside the collection get their turn.
const WORKERS: usize = 4;

/// Missing chunks that get a line each in the log; the report has all.
const MAX_MISSING_LINES: usize = 50;
/// Up to this many chunks all are counted before the first is removed, beyond a tenth of them:
/// digests are spread evenly.
const COUNT_ALL: u64 = 200_000;
/// First bytes of a digest: all, and a tenth of them.
const ALL: u16 = 256;
const TENTH: u16 = 26;
const DIRECTORIES_EACH: u64 = 256;

impl Run {
    /// Phase 1b and 2 of a filesystem datastore.
    pub(super) async fn sweep_directory(
        &self,
        marked: &Marked,
        report: &mut GcReport,
    ) -> Result<()> {
        let dry_run = self.options.dry_run;
        let chunks = Arc::clone(&self.store.chunks);
        let look = move || chunks.prefixes(0..=u16::MAX);
        let present = Arc::new(self.store.env.blocking(look).await?);
        let sweep = |mode, last| {
            let unchecked = self.options.force || dry_run;
            let wire = (!unchecked).then(|| DeleteGate::new(&self.history, &self.removals));
            Arc::new(LocalSweep {
                _lease: Arc::clone(&self.lease),
                present: Arc::clone(&present),
                chunks: Arc::clone(&self.store.chunks),
                rules: SweepRules {
                    times: SweepTimes {
                        min_atime: self.min_atime(),
                        oldest_writer: self.oldest_writer,
                    },
                    mode,
                    env: self.store.env.clone(),
                },
                gate: TableGate {
                    table: Arc::clone(&self.store.table),
                    floor: self.floor,
                    dry_run: mode == SweepMode::DryRun,
                },
                marks: marked.set.clone(),
                task: Arc::clone(&self.task),
                wire,
                next: AtomicU16::new(0),
                last,
                stopped: AtomicBool::new(false),
                progress: Mutex::new(SweepProgress {
                    // Only what is done for good is worth a line.
                    meter: (last == ALL)
                        .then(|| ProgressMeter::new(&self.store.env, "sweeping chunks", "chunks")),
                    done: 0,
                    tally: SweepTally::default(),
                }),
            })
        };
        if !(self.options.force || dry_run) {
            // What would be removed, before anything is.
            let before = self.history.facts().map_or(0, |facts| facts.chunks_left);
            let last = match before.max(marked.set.len()) {
                few if few <= COUNT_ALL => ALL,
                _ => TENTH,
            };
            sweep(SweepMode::DryRun, last).run(&self.store.env).await?;
        }
        let mode = match dry_run {
            true => SweepMode::DryRun,
            false => SweepMode::Remove,
        };
        let tally = sweep(mode, ALL).run(&self.store.env).await?;
        self.warn_of_missing(&tally.missing);
        report.missing = u64::try_from(tally.missing.len()).unwrap_or(u64::MAX);
        report.deleted = Tally {
            count: tally.removed_chunks,
            bytes: tally.removed_bytes,
        };
        // Known garbage, whatever its access time says: the next run must not take it for a
        // catastrophe.
        report.unmarked_left = tally.unmarked.saturating_sub(tally.removed_chunks);
        report.status = GarbageCollectionStatus {
            upid: self.task.upid(),
            index_file_count: marked.counts.index_files,
            index_data_bytes: marked.counts.data_bytes,
            disk_bytes: tally.disk_bytes,
            disk_chunks: tally.disk_chunks,
            removed_bytes: tally.removed_bytes,
            removed_chunks: tally.removed_chunks,
            pending_bytes: tally.pending_bytes,
            pending_chunks: tally.pending_chunks,
            removed_bad: tally.removed_bad,
            still_bad: tally.still_bad,
            cache_stats: Some(GarbageCollectionCacheStats {
                hits: marked.counts.references.saturating_sub(marked.set.len()),
                misses: marked.set.len(),
            }),
        };
        report.missing_confirmed = tally.missing;
        if dry_run {
            report.remove_nothing();
        }
        Ok(())
    }

    fn warn_of_missing(&self, missing: &[Digest]) {
        for digest in missing.iter().take(MAX_MISSING_LINES) {
            self.task.warn(&format!(
                "warning: unable to access non-existent chunk {digest}"
            ));
        }
        let more = missing.len().saturating_sub(MAX_MISSING_LINES);
        if more > 0 {
            self.task.warn(&format!(
                "warning: unable to access {more} more non-existent chunks"
            ));
        }
    }
}

/// A sweep as its workers see it.
struct LocalSweep {
    /// Workers may go on for a while when nobody waits any more: no other process may use the store
    /// until the last has ended.
    _lease: Arc<SweeperLease>,
    /// Directories that exist, in order. One that is made later holds only what is in use.
    present: Arc<Vec<u16>>,
    chunks: Arc<ChunkStore>,
    rules: SweepRules,
    gate: TableGate,
    marks: MarkSet,
    task: Arc<dyn TaskContext>,
    /// Stops the run if there is more garbage than anything explains (`gc.md` §6.5).
    wire: Option<DeleteGate>,
    /// The next first byte of digests that nobody has taken.
    next: AtomicU16,
    /// The first of them that is not to be swept.
    last: u16,
    /// Somebody failed, or nobody waits any more.
    stopped: AtomicBool,
    progress: Mutex<SweepProgress>,
}

struct SweepProgress {
    meter: Option<ProgressMeter>,
    done: u64,
    tally: SweepTally,
}

/// Stops the workers when nobody waits for them any more.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl LocalSweep {
    async fn run(self: Arc<Self>, env: &Env) -> Result<SweepTally> {
        let _stop = StopOnDrop(&self.stopped);
        // In a simulation everything happens on one thread, in one order.
        let workers = if env.is_seeded() { 1 } else { WORKERS };
        let results = join_all((0..workers).map(|_| {
            let this = Arc::clone(&self);
            env.blocking(move || this.work())
        }));
        let mut failure = None;
        for result in results.await {
            match (result, &failure) {
                // Of those that stopped because another failed, only that one has a reason.
                (Ok(()), _) | (Err(Error::Aborted), Some(_)) => {}
                (Err(error), _) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut tally = std::mem::take(&mut self.progress().tally);
        tally.missing.sort_unstable();
        Ok(tally)
    }

    fn progress(&self) -> MutexGuard<'_, SweepProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Result<()> {
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(first) = u8::try_from(next).ok().filter(|_| next < self.last) else {
                return Ok(());
            };
            let result = self.sweep_256(first).and_then(|tally| self.report(tally));
            if result.is_err() {
                self.stopped.store(true, Ordering::Relaxed);
            }
            result?;
        }
    }

    /// The directories whose names begin with that byte, and the partition of the mark beside them.
    fn sweep_256(&self, first: u8) -> Result<SweepTally> {
        let mut total = SweepTally::default();
        let mut named = Named {
            marks: self.marks.partition(first),
            next: None,
            digests: Vec::new(),
        };
        let mut present = self.present_of(first);
        while let Some(prefix) = named
            .prefix()?
            .into_iter()
            .chain(present.first().copied())
            .min()
        {
            check_abort(&*self.task)?;
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Aborted.into());
            }
            if let Some(rest) = present.strip_prefix(&[prefix]) {
                present = rest;
            }
            let named = named.of(prefix)?;
            let (chunks, rules, gate) = (&self.chunks, &self.rules, &self.gate);
            total.add(chunks.sweep_prefix(prefix, named, rules, gate, &*self.task)?);
        }
        Ok(total)
    }

    /// The directories that exist and whose names begin with that byte.
    fn present_of(&self, first: u8) -> &[u16] {
        let directories = directories(first);
        let begin = self
            .present
            .partition_point(|prefix| prefix < directories.start());
        let end = self
            .present
            .partition_point(|prefix| prefix <= directories.end());
        self.present.get(begin..end).unwrap_or_default()
    }

    /// Another 256 directories are done.
    fn report(&self, tally: SweepTally) -> Result<()> {
        let mut progress = self.progress();
        progress.tally.add(tally);
        progress.done += 1;
        let shards = u64::from(ALL);
        let (done, seen) = (progress.done, progress.tally.seen);
        if let Some(meter) = &mut progress.meter {
            let total = Some(shards * DIRECTORIES_EACH);
            meter.update(done * DIRECTORIES_EACH, total, seen, &*self.task);
        }
        let (Some(wire), tally) = (&self.wire, &progress.tally) else {
            return Ok(());
        };
        let listed = Listed {
            objects: tally.removed_chunks + tally.pending_chunks + tally.disk_chunks,
            bytes: tally.removed_bytes + tally.pending_bytes + tally.disk_bytes,
            candidates: tally.removed_chunks,
            candidate_bytes: tally.removed_bytes,
            shards_done: done,
            shards,
        };
        match wire.check(&listed) {
            Gate::Wait | Gate::Open => Ok(()),
            Gate::Tripped(trip) => Err(tripwire::stop(&trip)),
        }
    }
}

fn directories(first: u8) -> RangeInclusive<u16> {
    u16::from_be_bytes([first, 0])..=u16::from_be_bytes([first, 0xff])
}

/// The marked digests, cut by directory.
struct Named {
    marks: MarkIter,
    /// Read already, but not given yet.
    next: Option<Digest>,
    digests: Vec<Digest>,
}

impl Named {
    /// The next directory that has any.
    fn prefix(&mut self) -> Result<Option<u16>> {
        if self.next.is_none() {
            self.next = self.marks.next().transpose()?;
        }
        Ok(self.next.map(|digest| digest.prefix()))
    }

    /// Those of `prefix`; to be called with ascending prefixes.
    fn of(&mut self, prefix: u16) -> Result<&[Digest]> {
        self.digests.clear();
        while self.prefix()?.is_some_and(|next| next <= prefix) {
            self.digests.extend(self.next.take());
        }
        Ok(&self.digests)
    }
}

/// The digest's lock around each look, touch and removal.
struct TableGate {
    table: Arc<DigestTable>,
    floor: Generation,
    dry_run: bool,
}

impl SweepGate for TableGate {
    fn with_named(
        &self,
        digest: &Digest,
        touch: &mut dyn FnMut() -> LocalResult<bool>,
    ) -> LocalResult<bool> {
        self.table.with(digest, |slot| {
            let found = touch()?;
            // No running backup may commit with one that is not there.
            if !self.dry_run && (!found || self.table.has_lost()) {
                slot.set_lost(!found);
            }
            Ok(found)
        })
    }

    fn with_lock(
        &self,
        digest: &Digest,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()> {
        self.table.with(digest, |slot| {
            let stamped = slot.stamp().is_some_and(|stamp| stamp >= self.floor);
            entry(match stamped || !slot.is_ordinary() {
                true => SweepPermission::Keep,
                false => SweepPermission::Remove,
            })
        })
    }
}
