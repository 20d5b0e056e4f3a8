//! The end of a collection: what is missing and whom it concerns, the status file, the facts for
//! the next run's tripwires, the closing lines of the task log (`gc.md` §6.2 P5).

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::SnapshotPath;
use api_types::status::{SnapshotVerifyState, VerifyState};

use api_types::upid::{Upid, UpidParts};

use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::format::index::{AnyIndexReader, IndexFile};
use crate::snapshot::BackupInfo;
use crate::store::DataStore;

use super::history::RunFacts;
use super::mark::{AffectedSnapshot, Marked};
use super::mirror::MirrorReport;
use super::price::{PriceTable, RequestCounts};
use super::report::{GcReport, closing_lines};
use super::run::Run;
use super::status_file::write_status;
use super::walk::index_kind;

/// Missing chunks named per snapshot.
const MAX_SAMPLES: usize = 10;

impl Run {
    pub(super) async fn conclude(
        &self,
        marked: &Marked,
        mirror: Option<MirrorReport>,
        report: &mut GcReport,
    ) -> Result<()> {
        report.affected =
            marked.affected_snapshots(&report.missing_confirmed, MAX_SAMPLES, &*self.task)?;
        if let Some(mirror) = mirror {
            report.orphan_metadata = mirror.orphans;
        }
        self.add_recent(marked, report).await?;
        if !self.options.dry_run {
            let complete = self.fail_snapshots(report).await;
            self.settle_losses(report, complete).await?;
        }
        if let Some(backend) = self.store.backend.s3() {
            self.finish_bucket(backend, report).await?;
        }
        for line in report
            .missing_lines()
            .into_iter()
            .chain(report.refusals.clone())
            .chain(report.versions_line())
        {
            self.task.warn(&line);
        }
        if report.healed > 0 {
            self.task.warn(&format!(
                "{} missing chunks were uploaded again from the local cache",
                report.healed
            ));
        }
        for line in closing_lines(&report.status)
            .into_iter()
            .chain(report.detail_lines())
        {
            self.task.log(&line);
        }
        if self.options.dry_run {
            let prices = self
                .options
                .prices
                .clone()
                .unwrap_or_else(PriceTable::typical);
            for line in report.dry_run_lines(&prices) {
                self.task.log(&line);
            }
        } else if report.errors.is_empty() {
            self.remember(marked, report)?;
        }
        Ok(())
    }

    async fn finish_bucket(&self, backend: &S3Backend, report: &mut GcReport) -> Result<()> {
        self.clear_leftovers(report).await?;
        if !self.options.dry_run && !report.orphan_metadata.is_empty() {
            let orphans = report.orphan_metadata.clone();
            backend.cleanup.add(&self.store.env, orphans).await?;
            if let Some(client) = &self.client {
                self.store.reconcile_metadata(backend, client).await?;
            }
        }
        if let Some(client) = &self.client {
            let counters = client.counters_of(s3_client::TaskKind::Gc);
            report.requests = requests_of(&counters.since(&self.counters_at_start));
            report.price = self
                .options
                .prices
                .as_ref()
                .map(|p| p.requests(&report.requests));
        }
        Ok(())
    }

    /// Adds the snapshots that finished too late for the mark and reference missing chunks ◆ (the
    /// interleavings are in [`crate::session`]'s `finish`). Read after the last chunk was marked as
    /// lost: whoever looks later at what is lost sees all of them.
    async fn add_recent(&self, marked: &Marked, report: &mut GcReport) -> Result<()> {
        if report.missing_confirmed.is_empty() {
            return Ok(());
        }
        let mut recent = self.store.sessions.recent_finishes();
        let known = marked
            .indexes()
            .iter()
            .filter_map(|index| index.snapshot.as_ref());
        let known: HashSet<&SnapshotPath> = known.collect();
        recent.retain(|path| !known.contains(path));
        let store = Arc::clone(&self.store);
        let missing = report.missing_confirmed.clone();
        let affected = self
            .store
            .env
            .blocking(move || -> Result<Vec<AffectedSnapshot>> {
                let found = recent.iter().map(|path| affected(&store, path, &missing));
                found.filter_map(Result::transpose).collect()
            })
            .await?;
        report.affected.extend(affected);
        Ok(())
    }

    /// A snapshot with missing chunks must not become a base: a client never uploads a chunk that
    /// it knows from its base ◆. Whether all are marked.
    async fn fail_snapshots(&self, report: &GcReport) -> bool {
        let Some(upid) = self.verify_upid() else {
            self.task
                .warn("unable to mark the affected snapshots as failed: the task has no id");
            return false;
        };
        let state = SnapshotVerifyState {
            state: VerifyState::Failed,
            upid,
        };
        let mut complete = true;
        for affected in &report.affected {
            let Some(path) = &affected.snapshot else {
                continue;
            };
            let updated = self
                .store
                .update_manifest(
                    self.client.as_ref(),
                    &path.ns,
                    &path.dir,
                    self.task.cancel(),
                    |manifest| manifest.set_verify_state(Some(&state)),
                )
                .await;
            if let Err(error) = updated {
                complete = false;
                self.task.warn(&format!(
                    "unable to mark snapshot {path} as failed, though chunks of it are missing: {error}"
                ));
            }
        }
        complete
    }

    /// Bases may be used again once every snapshot with a missing chunk says so itself.
    async fn settle_losses(&self, report: &GcReport, all_marked: bool) -> Result<()> {
        let confirmed = u64::try_from(report.missing_confirmed.len()).unwrap_or(u64::MAX);
        // More than one run looks at are missing, or not everything was looked at.
        let all_known = report.missing == confirmed && report.errors.is_empty();
        match self.store.backend.s3() {
            Some(backend) if all_known && all_marked => {
                let count = self.losses_at_start.saturating_add(confirmed);
                backend.losses.settle(&self.store.env, count).await
            }
            _ => Ok(()),
        }
    }

    /// The task's id, or one made up for a collection that runs in no worker task.
    fn verify_upid(&self) -> Option<Upid> {
        if let Some(upid) = self.task.upid().and_then(|text| text.parse().ok()) {
            return Some(upid);
        }
        let parts = UpidParts {
            node: "localhost".into(),
            pid: std::process::id(),
            pstart: 0,
            task_id: 0,
            starttime: u32::try_from(self.start_time).ok()?,
            worker_type: "garbage_collection".into(),
            worker_id: Some(self.store.name.to_string()),
            auth_id: Authid::root(),
        };
        Upid::new(parts).ok()
    }

    fn remember(&self, marked: &Marked, report: &GcReport) -> Result<()> {
        write_status(&self.store.base, &report.status)?;
        let left = report.left();
        let facts = RunFacts {
            generation: self.generation,
            finished: self.store.env.unix_secs(),
            index_files: marked.counts.index_files,
            chunks_left: report.status.disk_chunks.saturating_add(left.count),
            bytes_left: report.status.disk_bytes.saturating_add(left.bytes),
            candidates_left: left.count.saturating_add(report.unmarked_left),
            clock_offset: self
                .client
                .as_ref()
                .and_then(s3_client::S3Client::clock_offset),
        };
        facts.write(&self.store.state.gc_history())?;
        self.store.removals.forget_before(self.generation)?;
        Ok(())
    }
}

/// What a snapshot references of `missing` (sorted); `None` = nothing, or the snapshot is gone.
fn affected(
    store: &DataStore,
    path: &SnapshotPath,
    missing: &[Digest],
) -> Result<Option<AffectedSnapshot>> {
    let SnapshotPath { ns, dir } = path;
    let Some(info) = store
        .snapshots
        .snapshot_info(ns, dir)?
        .filter(BackupInfo::is_finished)
    else {
        return Ok(None);
    };
    let mut found = AffectedSnapshot {
        snapshot: Some(path.clone()),
        indexes: Vec::new(),
        missing: 0,
        samples: Vec::new(),
    };
    for name in info.index_files() {
        let relative = PathBuf::from(store.relative_file(ns, dir, name));
        let full = store.base.join(&relative);
        let what = || full.display().to_string();
        let Some(kind) = index_kind(&full) else {
            continue;
        };
        let index = AnyIndexReader::open(&full, kind).map_err(Error::format(what()))?;
        let mut entries = index.entries();
        let mut hits = BTreeSet::new();
        while let Some(entry) = entries.next_entry().map_err(Error::format(what()))? {
            if missing.binary_search(&entry.digest).is_ok() {
                hits.insert(entry.digest);
            }
        }
        if !hits.is_empty() {
            found.indexes.push(relative);
            found.missing += u64::try_from(hits.len()).unwrap_or(u64::MAX);
            let room = MAX_SAMPLES.saturating_sub(found.samples.len());
            found.samples.extend(hits.into_iter().take(room));
        }
    }
    Ok((found.missing > 0).then_some(found))
}

fn requests_of(counters: &s3_client::CounterSnapshot) -> RequestCounts {
    use s3_client::Operation;
    let of = |operation| counters.of(operation).attempts;
    let total = counters.total();
    RequestCounts {
        write: of(Operation::PutObject) + of(Operation::CopyObject),
        list: of(Operation::ListObjects) + of(Operation::ListBuckets),
        read: of(Operation::GetObject) + of(Operation::HeadObject) + of(Operation::HeadBucket),
        delete: of(Operation::DeleteObject) + of(Operation::DeleteObjects),
        uploaded_bytes: total.bytes_out,
        downloaded_bytes: total.bytes_in,
    }
}
