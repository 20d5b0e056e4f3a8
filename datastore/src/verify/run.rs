//! A run: which snapshots, in which order, and its log, line by line as upstream's.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::digest::Digest;
use api_types::names::{BackupGroup, BackupNamespace, BackupType, SnapshotPath};
use api_types::upid::Upid;
use s3_client::{Priority, TaskKind};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::locks::LockFile;
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

use super::chunk::Known;
use super::listing::ChunkSizes;
use super::mirror::Mirror;
use super::object::{Remote, Repairs};
use super::snapshot::SnapshotResult;
use super::{VerifyMode, VerifyOptions, VerifyReport, VerifyScope};

/// GETs at once on an S3 datastore, unless more readers are asked for: latency, not bandwidth, is
/// what one reader waits for.
const OBJECT_READERS: usize = 16;

/// What the parts of a run share.
pub(super) struct Run<'a> {
    pub(super) store: &'a Arc<DataStore>,
    pub(super) task: &'a dyn TaskContext,
    pub(super) options: VerifyOptions,
    pub(super) upid: Option<Upid>,
    pub(super) remote: Option<Remote>,
    /// Of a quick run on an S3 datastore.
    pub(super) sizes: Option<ChunkSizes>,
    /// Chunks under way at once.
    pub(super) width: usize,
    pub(super) readers: Semaphore,
    pub(super) workers: Semaphore,
    pub(super) seen: Mutex<HashMap<Digest, Known>>,
    /// Chunks in a row that could not be had.
    pub(super) trouble: AtomicU32,
    pub(super) repairs: tokio::sync::Mutex<Repairs>,
    report: Mutex<VerifyReport>,
}

/// How far a run is, for the line behind each snapshot.
#[derive(Clone, Copy, Debug)]
struct Position {
    groups: usize,
    done_groups: usize,
    snapshots: usize,
    done_snapshots: usize,
}

impl DataStore {
    /// Verifies all groups of a part of the datastore.
    ///
    /// # Errors
    /// If the task is aborted, or nothing can be had from the bucket any more. Snapshots that fail
    /// are in the report.
    pub async fn verify_datastore(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        scope: &VerifyScope<'_>,
        options: VerifyOptions,
    ) -> Result<VerifyReport> {
        let run = Run::start(self, task, options).await.map_err(aborted)?;
        let result = run.verify_all(scope).await;
        run.finish(result).await
    }

    /// Verifies the snapshots of a group.
    ///
    /// # Errors
    /// As for [`verify_datastore`](Self::verify_datastore), or if the group does not exist.
    pub async fn verify_group(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        ns: &BackupNamespace,
        group: &BackupGroup,
        options: VerifyOptions,
    ) -> Result<VerifyReport> {
        let run = Run::start(self, task, options).await.map_err(aborted)?;
        let result = run.verify_group(ns, group, None).await;
        run.finish(result).await
    }

    /// Verifies one snapshot. `lock` is its shared lock if the caller has taken it, as after a
    /// backup, when nobody may come in between.
    ///
    /// # Errors
    /// As for [`verify_datastore`](Self::verify_datastore).
    pub async fn verify_snapshot(
        self: &Arc<Self>,
        task: &dyn TaskContext,
        path: &SnapshotPath,
        lock: Option<LockFile>,
        options: VerifyOptions,
    ) -> Result<VerifyReport> {
        let run = Run::start(self, task, options).await.map_err(aborted)?;
        let result = run.verify_one(path, lock).await;
        run.finish(result).await
    }
}

/// The words of a task that was stopped.
fn aborted(error: Error) -> Error {
    match error {
        Error::Aborted => Error::Refused("verification failed - job aborted".into()),
        error => error,
    }
}

impl<'a> Run<'a> {
    async fn start(
        store: &'a Arc<DataStore>,
        task: &'a dyn TaskContext,
        options: VerifyOptions,
    ) -> Result<Self> {
        let tuning = store.tuning();
        let count = |threads: u32| usize::try_from(threads.max(1)).unwrap_or(1);
        let readers = count(
            options
                .read_threads
                .unwrap_or_else(|| tuning.verification_readers()),
        );
        let workers = count(
            options
                .verify_threads
                .unwrap_or_else(|| tuning.verification_workers()),
        );
        let remote = store
            .backend
            .s3()
            .zip(store.client(TaskKind::Verify, task.cancel()));
        let remote = remote.map(|(backend, client)| Remote {
            backend: Arc::clone(backend),
            client: client.with_priority(Priority::Background),
        });
        let readers = if remote.is_some() {
            readers.max(OBJECT_READERS)
        } else {
            readers
        };
        let sizes = match &remote {
            Some(remote) if options.mode == VerifyMode::Quick => {
                Some(ChunkSizes::load(store, remote).await?)
            }
            _ => None,
        };
        Ok(Self {
            store,
            task,
            options,
            upid: task.upid().and_then(|upid| upid.parse().ok()),
            remote,
            sizes,
            width: readers + workers,
            readers: Semaphore::new(readers),
            workers: Semaphore::new(workers),
            seen: Mutex::default(),
            trouble: AtomicU32::new(0),
            repairs: tokio::sync::Mutex::default(),
            report: Mutex::default(),
        })
    }

    async fn finish(self, result: Result<()>) -> Result<VerifyReport> {
        let finished = self.finish_repairs().await;
        result.and(finished).map_err(aborted)?;
        let report = self
            .report
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if !report.failed.is_empty() {
            self.task.log("verification failed for:");
            for failed in &report.failed {
                self.task.log(&format!("\t{failed}"));
            }
        }
        Ok(report)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut VerifyReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn note_healed(&self, message: &str) {
        self.task.warn(message);
        self.count(|report| report.healed += 1);
    }

    pub(super) fn check_abort(&self) -> Result<()> {
        Ok(check_abort(self.task)?)
    }

    async fn verify_all(&self, scope: &VerifyScope<'_>) -> Result<()> {
        self.task
            .log(&format!("verify datastore {}", self.store.name));
        let groups = self.groups(scope).await?;
        self.task.log(&format!("found {} groups", groups.len()));
        self.task.log(&format!(
            "using {} read and {} verify thread(s)",
            self.readers.available_permits(),
            self.workers.available_permits()
        ));
        for (index, (ns, group)) in groups.iter().enumerate() {
            self.check_abort()?;
            let place = Some((index, groups.len()));
            match self.verify_group(ns, group, place).await {
                Err(error) if error.is_not_found() => {
                    self.task.log(&format!("SKIPPED: group {group} vanished"));
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// The groups to verify, by type and id.
    async fn groups(&self, scope: &VerifyScope<'_>) -> Result<Vec<(BackupNamespace, BackupGroup)>> {
        let (start, max_depth) = (scope.ns.clone(), scope.max_depth);
        let found = self
            .store
            .local(move |snapshots| {
                let mut found = Vec::new();
                for ns in snapshots.namespaces(&start, max_depth)? {
                    let groups = snapshots.list_groups(&ns)?;
                    found.extend(groups.into_iter().map(|group| (ns.clone(), group)));
                }
                Ok(found)
            })
            .await?;
        let wanted = |(ns, group): &(BackupNamespace, BackupGroup)| {
            !is_benchmark(group) && (scope.may_verify)(ns, group)
        };
        let mut groups: Vec<_> = found.into_iter().filter(wanted).collect();
        groups.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
        Ok(groups)
    }

    async fn verify_group(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        place: Option<(usize, usize)>,
    ) -> Result<()> {
        let scan = {
            let (ns, group) = (ns.clone(), group.clone());
            self.store
                .local(move |snapshots| snapshots.scan_group(&ns, &group))
                .await?
        };
        let snapshots = scan.snapshots.len();
        self.task.log(&format!(
            "verify group {}:{group} ({snapshots} snapshots)",
            self.store.name
        ));
        let mirror = match &self.remote {
            Some(remote) => Some(Mirror::of_dir(remote, &ns.path_of(&group.path())).await?),
            None => None,
        };
        for (index, info) in scan.snapshots.into_iter().enumerate() {
            self.check_abort()?;
            let path = SnapshotPath::new(ns.clone(), info.dir);
            self.verify_and_count(&path, None, mirror.as_ref()).await?;
            let (done_groups, groups) = place.unwrap_or((0, 1));
            let position = Position {
                groups,
                done_groups,
                snapshots,
                done_snapshots: index + 1,
            };
            self.task.log(&position.line(place.is_some()));
        }
        Ok(())
    }

    async fn verify_one(&self, path: &SnapshotPath, lock: Option<LockFile>) -> Result<()> {
        let mirror = match &self.remote {
            Some(remote) => Some(Mirror::of_dir(remote, &path.ns.path_of(&path.dir.path())).await?),
            None => None,
        };
        self.verify_and_count(path, lock, mirror.as_ref()).await
    }

    async fn verify_and_count(
        &self,
        path: &SnapshotPath,
        lock: Option<LockFile>,
        mirror: Option<&Mirror>,
    ) -> Result<()> {
        let result = self.verify_snapshot(path, lock, mirror).await?;
        self.count(|report| match result {
            SnapshotResult::Sound => report.sound += 1,
            SnapshotResult::Skipped => report.skipped += 1,
            SnapshotResult::Failed => report.failed.push(path.to_string()),
        });
        Ok(())
    }
}

/// Where a benchmark uploads to; what it leaves is no backup.
fn is_benchmark(group: &BackupGroup) -> bool {
    group.ty == BackupType::Host && group.id.as_str() == "benchmark"
}

impl Position {
    /// The line after a snapshot; `in_store` = of a run over the whole datastore.
    #[allow(clippy::cast_precision_loss)]
    fn line(self, in_store: bool) -> String {
        let Self {
            groups,
            done_groups,
            snapshots,
            done_snapshots,
        } = self;
        let share = done_snapshots as f64 / snapshots as f64;
        let percent = (done_groups as f64 + share) / groups as f64 * 100.0;
        let details = if !in_store {
            format!("{done_snapshots}/{snapshots} snapshots")
        } else if done_snapshots == snapshots {
            format!("{}/{groups} groups", done_groups + 1)
        } else {
            format!(
                "{done_groups}/{groups} groups, {done_snapshots}/{snapshots} snapshots in group #{}",
                done_groups + 1
            )
        };
        format!("percentage done: {percent:.2}% ({details})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_real_system() {
        let at = |done_groups, done_snapshots, snapshots| Position {
            groups: 5,
            done_groups,
            snapshots,
            done_snapshots,
        };
        for (position, in_store, line) in [
            (at(0, 1, 1), true, "percentage done: 20.00% (1/5 groups)"),
            (
                at(2, 1, 2),
                true,
                "percentage done: 50.00% (2/5 groups, 1/2 snapshots in group #3)",
            ),
            (at(2, 2, 2), true, "percentage done: 60.00% (3/5 groups)"),
            (
                Position {
                    groups: 1,
                    ..at(0, 1, 2)
                },
                false,
                "percentage done: 50.00% (1/2 snapshots)",
            ),
            (
                Position {
                    groups: 1,
                    ..at(0, 2, 2)
                },
                false,
                "percentage done: 100.00% (2/2 snapshots)",
            ),
        ] {
            assert_eq!(position.line(in_store), line);
        }
    }

    #[test]
    fn the_benchmark_group_is_no_backup() {
        assert!(is_benchmark(&"host/benchmark".parse().unwrap()));
        assert!(!is_benchmark(&"vm/benchmark".parse().unwrap()));
        assert!(!is_benchmark(&"host/bench".parse().unwrap()));
    }
}
