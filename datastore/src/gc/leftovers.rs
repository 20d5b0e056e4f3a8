//! Unfinished snapshots that nobody will finish (`gc.md` §6.2 P1, G11).
//!
//! Their indexes keep their chunks as long as they exist ◆, so a session that died would keep
//! garbage for ever. One that is older than the grace period and whose lock is free in every
//! process is removed, like a forgotten snapshot; its chunks go with a later collection. The lock
//! decides, not the age: a running session holds it from before its directory exists.

use std::path::Path;

use api_types::names::{BackupNamespace, SnapshotPath};

use crate::disk;
use crate::error::{Error, Result};
use crate::snapshot::BackupInfo;
use crate::store::DataStore;

use super::history::RemovalKind;
use super::report::{GcReport, IncompleteSnapshot};
use super::run::Run;

impl Run {
    /// Finds unfinished snapshots, and removes the abandoned ones unless it is a dry run.
    pub(super) async fn clear_leftovers(&self, report: &mut GcReport) -> Result<()> {
        let store = self.store.clone();
        let oldest = self.start_time.saturating_sub(self.grace_secs);
        report.incomplete_snapshots = self
            .store
            .env
            .blocking(move || find_incomplete(&store, oldest))
            .await?;
        self.spare_committed(report).await?;
        let abandoned: Vec<SnapshotPath> = report
            .incomplete_snapshots
            .iter()
            .filter(|incomplete| incomplete.to_be_removed)
            .map(|incomplete| incomplete.snapshot.clone())
            .collect();
        if abandoned.is_empty() || self.options.dry_run {
            return Ok(());
        }
        let client = self.client.as_ref();
        let kind = RemovalKind::Cleanup;
        let forgotten = self
            .store
            .forget_snapshots(client, &abandoned, kind, self.task.cancel())
            .await;
        for (path, error) in forgotten.failed {
            self.task.warn(&format!(
                "unable to remove the unfinished snapshot {path}: {error}"
            ));
        }
        forgotten.stopped.map_or(Ok(()), Err)
    }
}

impl Run {
    /// Keeps what is committed in the bucket ◆.
    async fn spare_committed(&self, report: &mut GcReport) -> Result<()> {
        let client = self.client.as_ref();
        let abandoned = report.incomplete_snapshots.iter_mut();
        for incomplete in abandoned.filter(|incomplete| incomplete.to_be_removed) {
            let SnapshotPath { ns, dir } = &incomplete.snapshot;
            if self.store.is_committed_in_bucket(client, ns, dir).await? {
                incomplete.to_be_removed = false;
                self.task.warn(&format!(
                    "snapshot {} is finished in the bucket but not in the local tree; run \
                     's3-refresh' to repair the local tree",
                    incomplete.snapshot
                ));
            }
        }
        Ok(())
    }
}

fn find_incomplete(store: &DataStore, oldest: i64) -> Result<Vec<IncompleteSnapshot>> {
    let mut found = Vec::new();
    for ns in store.snapshots.namespaces(&BackupNamespace::root(), None)? {
        for group in store.snapshots.list_groups(&ns)? {
            for info in store.snapshots.list_snapshots(&ns, &group)? {
                if info.is_finished() {
                    continue;
                }
                let abandoned = is_old(store, &ns, &info, oldest)
                    && !info.protected
                    && store.locks.snapshot_exclusive(&ns, &info.dir).is_ok();
                let snapshot = SnapshotPath::new(ns.clone(), info.dir);
                found.push(IncompleteSnapshot {
                    snapshot,
                    to_be_removed: abandoned,
                });
            }
        }
    }
    Ok(found)
}

/// Whether nothing in the snapshot's directory was written since `oldest`.
fn is_old(store: &DataStore, ns: &BackupNamespace, info: &BackupInfo, oldest: i64) -> bool {
    let dir = store.snapshots.snapshot_path(ns, &info.dir);
    let files = info.files.iter().map(|name| dir.join(name));
    std::iter::once(dir.clone())
        .chain(files)
        .all(|path| modified(&path) <= Some(oldest))
}

/// Modification time in seconds; a path that cannot be looked at counts as just written.
fn modified(path: &Path) -> Option<i64> {
    use std::os::unix::fs::MetadataExt;
    Some(std::fs::symlink_metadata(path).map_or(i64::MAX, |metadata| metadata.mtime()))
}

/// Removes temporary files that an ended process has left beside our own files: nobody else would.
/// Younger ones may be of a writer that is at work.
pub(super) fn clear_temporary_files(store: &DataStore, oldest: i64) -> Result<()> {
    for dir in [&store.base, store.state.path(), store.chunks.chunk_dir()] {
        let entries = dir.read_dir().map_err(Error::io("unable to read", dir))?;
        for entry in entries {
            let path = entry.map_err(Error::io("unable to read", dir))?.path();
            let temporary = path
                .extension()
                .is_some_and(|extension| extension.as_encoded_bytes().starts_with(b"tmp_"));
            if temporary && path.is_file() && modified(&path) < Some(oldest) {
                disk::remove_file(&path).map_err(Error::io("unable to remove", &path))?;
            }
        }
    }
    Ok(())
}
