//! Mark and sweep of a filesystem datastore: access times, as upstream does it on the same
//! directory (`datastore-layout.md` §9), with the digest table on top.
//!
//! The access time of every marked chunk is set, then what was last used before the cutoff goes.
//! On top of upstream's rule a chunk stays if it is marked or stamped by a session of this
//! collection's time, so that a file system that drops access times cannot kill a session's chunks.

use std::sync::Arc;

use api_types::digest::Digest;
use api_types::status::{GarbageCollectionCacheStats, GarbageCollectionStatus};

use crate::chunk_store::{EntryKind, SweepGate, SweepMode, SweepPermission, SweepTimes};
use crate::digests::{DigestTable, Generation};
use crate::error::Result;
use crate::file_time::FileTime;
use crate::local_error::LocalResult;
use crate::task::check_abort;

use super::mark::Marked;
use super::mark_set::MarkSet;
use super::progress::ProgressMeter;
use super::report::{GcReport, Tally};
use super::run::Run;

impl Run {
    /// Phase 1b and 2 of a filesystem datastore.
    pub(super) async fn sweep_directory(
        &self,
        marked: &Marked,
        report: &mut GcReport,
    ) -> Result<()> {
        report.missing_confirmed = self.touch_marked(&marked.set).await?;
        report.missing = u64::try_from(report.missing_confirmed.len()).unwrap_or(u64::MAX);
        let (store, task) = (Arc::clone(&self.store), Arc::clone(&self.task));
        let times = SweepTimes {
            min_atime: self.min_atime(),
            oldest_writer: self.oldest_writer,
        };
        let mode = if self.options.dry_run {
            SweepMode::DryRun
        } else {
            SweepMode::Remove
        };
        let mut gate = TableGate {
            table: Arc::clone(&store.table),
            marks: marked.set.clone(),
            floor: self.floor,
        };
        let mut status = GarbageCollectionStatus {
            upid: self.task.upid(),
            index_file_count: marked.counts.index_files,
            index_data_bytes: marked.counts.data_bytes,
            cache_stats: Some(GarbageCollectionCacheStats {
                hits: marked.counts.references.saturating_sub(marked.set.len()),
                misses: marked.set.len(),
            }),
            ..GarbageCollectionStatus::default()
        };
        let status = self
            .store
            .env
            .blocking(move || {
                store
                    .chunks
                    .sweep_unused_chunks(times, mode, &mut gate, &*task, &mut status)
                    .map(|()| status)
            })
            .await?;
        report.deleted = Tally {
            count: status.removed_chunks,
            bytes: status.removed_bytes,
        };
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
                        task.warn(&format!(
                            "warning: unable to access non-existent chunk {digest}"
                        ));
                        missing.push(digest);
                    }
                }
                Ok(missing)
            })
            .await
    }
}

/// The digest's lock around each look and removal.
struct TableGate {
    table: Arc<DigestTable>,
    marks: MarkSet,
    floor: Generation,
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
        self.table.with(digest, |slot| {
            let stamped = slot.stamp().is_some_and(|stamp| stamp >= self.floor);
            entry(match kind {
                EntryKind::Chunk if marked => SweepPermission::Live,
                EntryKind::Chunk if stamped || !slot.is_ordinary() => SweepPermission::Keep,
                _ => SweepPermission::Remove,
            })
        })
    }
}
