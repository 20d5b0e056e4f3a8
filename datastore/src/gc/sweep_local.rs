//! Mark and sweep of a filesystem datastore: access times, as upstream does it on the same
//! directory (`datastore-layout.md` §9), with the digest table on top.
//!
//! The access time of every marked chunk is set, then what was last used before the cutoff goes.
//! On top of upstream's rule a chunk stays if it is marked or stamped by a session of this
//! collection's time, so that a file system that drops access times cannot kill a session's chunks.

use std::ops::RangeInclusive;
use std::sync::Arc;

use api_types::digest::Digest;
use api_types::status::{GarbageCollectionCacheStats, GarbageCollectionStatus};

use crate::chunk_store::{EntryKind, SweepGate, SweepMode, SweepPermission, SweepTimes};
use crate::digests::{DigestTable, Generation};
use crate::error::Result;
use crate::file_time::FileTime;
use crate::local_error::LocalResult;
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

use super::mark::Marked;
use super::mark_set::MarkSet;
use super::progress::ProgressMeter;
use super::report::{GcReport, Tally};
use super::run::Run;
use super::tripwire::{self, DeleteGate, Gate, Listed};

impl Run {
    /// Phase 1b and 2 of a filesystem datastore.
    pub(super) async fn sweep_directory(
        &self,
        marked: &Marked,
        report: &mut GcReport,
    ) -> Result<()> {
        report.missing_confirmed = self.touch_marked(&marked.set).await?;
        report.missing = u64::try_from(report.missing_confirmed.len()).unwrap_or(u64::MAX);
        let mode = if self.options.dry_run {
            SweepMode::DryRun
        } else {
            SweepMode::Remove
        };
        let wire = self.options.force || self.options.dry_run;
        let sweep = LocalSweep {
            store: Arc::clone(&self.store),
            task: Arc::clone(&self.task),
            times: SweepTimes {
                min_atime: self.min_atime(),
                oldest_writer: self.oldest_writer,
            },
            wire: (!wire).then(|| DeleteGate::new(&self.history, &self.removals)),
            expected: self
                .history
                .facts()
                .map_or(0, |facts| facts.chunks_left)
                .max(marked.set.len()),
            gate: TableGate {
                table: Arc::clone(&self.store.table),
                marks: marked.set.clone(),
                floor: self.floor,
                missing: report.missing_confirmed.clone(),
                unmarked: 0,
            },
        };
        let status = GarbageCollectionStatus {
            upid: self.task.upid(),
            index_file_count: marked.counts.index_files,
            index_data_bytes: marked.counts.data_bytes,
            cache_stats: Some(GarbageCollectionCacheStats {
                hits: marked.counts.references.saturating_sub(marked.set.len()),
                misses: marked.set.len(),
            }),
            ..GarbageCollectionStatus::default()
        };
        let (status, unmarked) = self
            .store
            .env
            .blocking(move || sweep.run(mode, status))
            .await?;
        report.deleted = Tally {
            count: status.removed_chunks,
            bytes: status.removed_bytes,
        };
        // Known garbage, whatever its access time says: the next run must not take it for a
        // catastrophe.
        report.unmarked_left = unmarked.saturating_sub(status.removed_chunks);
        report.status = status;
        if self.options.dry_run {
            report.remove_nothing();
        }
        Ok(())
    }

    /// Sets the access time of every marked chunk; returns those that are missing.
    async fn touch_marked(&self, marks: &MarkSet) -> Result<Vec<Digest>> {
        let (store, task, marks) = (
            Arc::clone(&self.store),
            Arc::clone(&self.task),
            marks.clone(),
        );
        let dry_run = self.options.dry_run;
        self.store
            .env
            .blocking(move || {
                let mut missing = Vec::new();
                let mut meter = ProgressMeter::new(&store.env, "touch used chunks", "chunks");
                for (count, digest) in (0_u64..).zip(marks.iter()) {
                    let digest = digest?;
                    if count % 1024 == 0 {
                        check_abort(&*task)?;
                        meter.update(count, Some(marks.len()), count, &*task);
                    }
                    let now = FileTime::now(&store.env);
                    let found = store.table.with(&digest, |slot| -> LocalResult<_> {
                        if dry_run {
                            return store.chunks.stat_chunk(&digest);
                        }
                        let found = store.chunks.cond_touch_chunk(&digest, now)?;
                        // No running backup may commit with one that is not there.
                        slot.set_lost(found.is_none());
                        Ok(found)
                    })?;
                    if found.is_none() {
                        if !dry_run {
                            // Evidence of what it was stays while an index needs it.
                            store.chunks.touch_bad(&digest, now)?;
                        }
                        if missing.len() < MAX_MISSING_LINES {
                            task.warn(&format!(
                                "warning: unable to access non-existent chunk {digest}"
                            ));
                        }
                        missing.push(digest);
                    }
                }
                if let Some(more) = missing.len().checked_sub(MAX_MISSING_LINES + 1) {
                    task.warn(&format!(
                        "warning: unable to access {} more non-existent chunks",
                        more + 1
                    ));
                }
                Ok(missing)
            })
            .await
    }
}

/// Missing chunks that get a line each in the log; the report has all.
const MAX_MISSING_LINES: usize = 50;
/// Directories between two looks at the tripwire and at the progress.
const PIECE: u16 = 64;
const DIRECTORIES: u64 = 0x1_0000;
/// Up to this many chunks all are counted before the first is removed, beyond a tenth of them:
/// digests are spread evenly.
const COUNT_ALL: u64 = 200_000;

/// The sweep over the chunk files.
struct LocalSweep {
    store: Arc<DataStore>,
    task: Arc<dyn TaskContext>,
    times: SweepTimes,
    /// Stops the run if there is more garbage than anything explains (`gc.md` §6.5).
    wire: Option<DeleteGate>,
    /// About how many chunks there are.
    expected: u64,
    gate: TableGate,
}

impl LocalSweep {
    fn run(
        mut self,
        mode: SweepMode,
        mut status: GarbageCollectionStatus,
    ) -> Result<(GarbageCollectionStatus, u64)> {
        self.count_first()?;
        self.gate.unmarked = 0;
        let mut meter = ProgressMeter::new(&self.store.env, "sweeping chunks", "chunks");
        let mut seen = 0;
        for first in (0..=u16::MAX).step_by(usize::from(PIECE)) {
            let last = first.saturating_add(PIECE - 1);
            seen += self.sweep(first..=last, mode, &mut status)?;
            let done = u64::from(last) + 1;
            meter.update(done, Some(DIRECTORIES), seen, &*self.task);
            self.check(done, &status)?;
        }
        Ok((status, self.gate.unmarked))
    }

    /// Counts what would be removed, before anything is.
    fn count_first(&mut self) -> Result<()> {
        if self.wire.is_none() {
            return Ok(());
        }
        let last = if self.expected <= COUNT_ALL {
            u16::MAX
        } else {
            u16::MAX / 10 + 1
        };
        let mut counted = GarbageCollectionStatus::default();
        self.sweep(0..=last, SweepMode::DryRun, &mut counted)?;
        self.check(u64::from(last) + 1, &counted)
    }

    fn sweep(
        &mut self,
        directories: RangeInclusive<u16>,
        mode: SweepMode,
        status: &mut GarbageCollectionStatus,
    ) -> Result<u64> {
        let (chunks, times, task) = (&self.store.chunks, self.times, &*self.task);
        Ok(chunks.sweep_unused_chunks(directories, times, mode, &mut self.gate, task, status)?)
    }

    fn check(&self, done: u64, status: &GarbageCollectionStatus) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        let listed = Listed {
            objects: status.removed_chunks + status.pending_chunks + status.disk_chunks,
            bytes: status.removed_bytes + status.pending_bytes + status.disk_bytes,
            candidates: status.removed_chunks,
            candidate_bytes: status.removed_bytes,
            shards_done: done,
            shards: DIRECTORIES,
        };
        match wire.check(&listed) {
            Gate::Wait | Gate::Open => Ok(()),
            Gate::Tripped(trip) => Err(tripwire::stop(&trip)),
        }
    }
}

/// The digest's lock around each look and removal.
struct TableGate {
    table: Arc<DigestTable>,
    marks: MarkSet,
    floor: Generation,
    /// Marked chunks without a file, ascending.
    missing: Vec<Digest>,
    /// Chunks met that no index needs.
    unmarked: u64,
}

impl SweepGate for TableGate {
    fn with_lock(
        &mut self,
        digest: &Digest,
        kind: EntryKind,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()> {
        // A mark that cannot be read back keeps the chunk.
        let marked = self.marks.contains(digest).unwrap_or(true);
        self.unmarked += u64::from(!marked && kind == EntryKind::Chunk);
        self.table.with(digest, |slot| {
            let stamped = slot.stamp().is_some_and(|stamp| stamp >= self.floor);
            entry(match kind {
                EntryKind::Chunk if marked => SweepPermission::Live,
                // Evidence of what a missing chunk was: a run that is no dry run has touched it.
                EntryKind::Bad(_) if self.missing.binary_search(digest).is_ok() => {
                    SweepPermission::Live
                }
                EntryKind::Chunk if stamped || !slot.is_ordinary() => SweepPermission::Keep,
                _ => SweepPermission::Remove,
            })
        })
    }
}
