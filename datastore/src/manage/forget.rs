//! Removal of snapshots, one or thousands (`s3-backend.md` §9, R-D1 to R-D9).
//!
//! A batch goes through these steps, each for all of its snapshots together:
//!
//! ```text
//! lock     snapshot exclusive, manifest; not protected, here or in the bucket
//! (0)      write all paths into the cleanup journal
//! (1)      DELETE the manifests, confirmed: from here on the snapshots are incomplete
//! (2)      DELETE the other files; what resists goes to the cleanup journal
//! (3)      rename the local directories into the trash, unlink them there; fsync their groups
//! ```
//!
//! A process that ends in between leaves (0) to the next one: it puts back what is gone from the
//! bucket and still here, or removes what is gone here and still in the bucket. A failure at (1)
//! leaves a snapshot as it was: the cleanup journal puts a manifest back whose
//! delete went through all the same. After (1) a snapshot always goes locally, so that the journal
//! then removes its leftovers from the bucket. Chunks are never touched; an index that vanishes
//! makes a running mark look again (`gc.md` §6.2 P1), and from its tenth look on wait for us by the
//! metadata epoch.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::names::{ArchiveName, BackupGroup, BackupNamespace, SnapshotPath};
use s3_client::S3Client;
use tokio::sync::RwLockReadGuard;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::gc::history::{RemovalKind, RemovalRecord, RemovalTotals};
use crate::locks::LockFile;
use crate::store::DataStore;

/// Descriptors that the locks of one snapshot take.
const LOCKS_PER_SNAPSHOT: u64 = 2;
/// Most snapshots of a batch: their manifests fill one delete request.
const MAX_BATCH: u64 = 1000;
const MIN_BATCH: u64 = 50;

/// What became of the snapshots that were to be removed.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Gone.
    pub removed: Vec<SnapshotPath>,
    /// Left alone since they are protected.
    pub protected: Vec<SnapshotPath>,
    /// Left alone, or (a local failure) left incomplete, with the reason.
    pub failed: Vec<(SnapshotPath, Error)>,
    /// Objects of removed snapshots that are still in the bucket; the cleanup journal has them.
    pub left_in_bucket: usize,
    /// Groups that were removed since they had become empty.
    pub removed_groups: u64,
    /// Why the removal was given up, with snapshots left that nothing was done to.
    pub stopped: Option<Error>,
}

/// A snapshot locked for its removal.
struct Target {
    path: SnapshotPath,
    /// Its index and blob files with their lengths, the manifest among them if it is finished.
    files: Vec<(String, u64)>,
    snapshot_lock: LockFile,
    manifest_lock: LockFile,
}

impl DataStore {
    /// Removes one snapshot, and its group if it was the last one.
    ///
    /// # Errors
    /// If it is protected, in use or does not exist, or the bucket or the disk refuses.
    pub async fn forget_snapshot(
        &self,
        client: Option<&S3Client>,
        path: &SnapshotPath,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let forgotten = self
            .forget_snapshots(
                client,
                std::slice::from_ref(path),
                RemovalKind::Forget,
                cancel,
            )
            .await;
        if !forgotten.protected.is_empty() {
            return Err(Error::Refused("cannot remove protected snapshot".into()));
        }
        let failed = forgotten.failed.into_iter().map(|(_, error)| error);
        failed.chain(forgotten.stopped).next().map_or(Ok(()), Err)
    }

    /// Removes snapshots in shared batches, in their order, and the groups that become empty.
    pub async fn forget_snapshots(
        &self,
        client: Option<&S3Client>,
        paths: &[SnapshotPath],
        kind: RemovalKind,
        cancel: &CancellationToken,
    ) -> Forgotten {
        let mut forgotten = self.remove_snapshots(client, paths, kind, cancel).await;
        let groups: BTreeSet<(&BackupNamespace, &BackupGroup)> = forgotten
            .removed
            .iter()
            .map(|path| (&path.ns, &path.dir.group))
            .collect();
        let mut removed_groups = 0;
        for (ns, group) in groups {
            match self.remove_idle_group(client, ns, group).await {
                Ok(removed) => removed_groups += u64::from(removed),
                Err(error) => {
                    tracing::warn!(%ns, %group, %error, "unable to remove an empty group");
                }
            }
        }
        forgotten.removed_groups = removed_groups;
        forgotten
    }

    /// Removes snapshots and leaves their groups alone.
    pub(super) async fn remove_snapshots(
        &self,
        client: Option<&S3Client>,
        paths: &[SnapshotPath],
        kind: RemovalKind,
        cancel: &CancellationToken,
    ) -> Forgotten {
        let mut forgotten = Forgotten::default();
        for batch in paths.chunks(batch_size(LOCKS_PER_SNAPSHOT)) {
            let generation = self.table.generation();
            let mut totals = RemovalTotals::default();
            let removed = self
                .remove_batch(client, batch, cancel, &mut forgotten, &mut totals)
                .await;
            self.record_removal(kind, generation, totals).await;
            if let Err(error) = removed {
                forgotten.stopped = Some(error);
                break;
            }
        }
        forgotten
    }

    async fn remove_batch(
        &self,
        client: Option<&S3Client>,
        batch: &[SnapshotPath],
        cancel: &CancellationToken,
        forgotten: &mut Forgotten,
        totals: &mut RemovalTotals,
    ) -> Result<()> {
        let _change = self.change_lease()?;
        let _epoch = self.share_metadata_epoch(cancel).await?;
        let mut targets = Vec::with_capacity(batch.len());
        for path in batch {
            match self.lock_target(path, cancel).await {
                Ok(Some(target)) => targets.push(target),
                Ok(None) => forgotten.protected.push(path.clone()),
                Err(Error::Aborted) => return Err(Error::Aborted),
                Err(error) => forgotten.failed.push((path.clone(), error)),
            }
        }
        let mut intent = None;
        let resisting = forgotten.failed.len();
        if let Some((backend, client)) = self.remote(client) {
            self.spare_protected(&backend, &client, &mut targets, forgotten)
                .await?;
            let all = targets.iter().flat_map(|target| self.relatives(target));
            let intended = backend.cleanup.intend(&self.env, all.collect()).await?;
            intent = Some(intended);
            let deleted = self
                .delete_manifests(&backend, &client, &mut targets, forgotten)
                .await;
            if let Err(error) = deleted {
                // Not under the locks of this removal.
                drop(targets);
                self.put_manifests_back(&backend, &client).await;
                return Err(error);
            }
            forgotten.left_in_bucket += self.delete_rest(&backend, &client, &targets).await;
        }
        let relatives: Vec<String> = targets
            .iter()
            .flat_map(|target| self.relatives(target))
            .collect();
        let groups: BTreeSet<(BackupNamespace, BackupGroup)> = targets
            .iter()
            .map(|target| (target.path.ns.clone(), target.path.dir.group.clone()))
            .collect();
        let failures = forgotten.failed.len();
        for target in targets {
            let path = target.path.clone();
            let indexes = target.indexes();
            match self.remove_locally(target).await {
                Ok(()) => {
                    totals.snapshots += 1;
                    totals.indexes += indexes.0;
                    totals.index_bytes += indexes.1;
                    forgotten.removed.push(path);
                }
                Err(error) => forgotten.failed.push((path, error)),
            }
        }
        if totals.snapshots > 0 {
            // Before the removal counts as done: after a power failure the directories would be back.
            self.local(move |snapshots| snapshots.sync_removals(&groups))
                .await?;
        }
        if let Some((backend, client)) = self.remote(client) {
            backend.cleanup.renew(&self.env, relatives).await?;
            if forgotten.failed.len() > resisting {
                self.put_manifests_back(&backend, &client).await;
            }
        }
        // What is still here although it is gone from the bucket is put back.
        match intent.filter(|_| forgotten.failed.len() == failures) {
            Some(intent) => intent.done(&self.env).await,
            None => Ok(()),
        }
    }

    /// All files of a snapshot by their paths in the bucket.
    fn relatives(&self, target: &Target) -> Vec<String> {
        let SnapshotPath { ns, dir } = &target.path;
        target
            .files
            .iter()
            .map(|(name, _)| self.relative_file(ns, dir, name))
            .collect()
    }

    /// Tells the next collection why index files are gone (`gc.md` §6.5).
    async fn record_removal(&self, kind: RemovalKind, generation: u64, totals: RemovalTotals) {
        if totals.snapshots == 0 {
            return;
        }
        let RemovalTotals {
            snapshots,
            indexes,
            index_bytes,
        } = totals;
        let record = RemovalRecord {
            kind,
            generation,
            snapshots,
            indexes,
            index_bytes,
        };
        let log = Arc::clone(&self.removals);
        if let Err(error) = self.env.blocking(move || log.append(&record)).await {
            tracing::warn!(store = %self.name, %error, "the next collection may ask why snapshots are gone");
        }
    }

    /// Shares the metadata epoch: whatever removes or moves index files holds it meanwhile.
    pub(crate) async fn share_metadata_epoch(
        &self,
        cancel: &CancellationToken,
    ) -> Result<RwLockReadGuard<'_, ()>> {
        tokio::select! {
            biased;
            guard = self.metadata_epoch.read() => Ok(guard),
            () = cancel.cancelled() => Err(Error::Aborted),
        }
    }

    /// Locks a snapshot for its removal; `None` if it is protected.
    async fn lock_target(
        &self,
        path: &SnapshotPath,
        cancel: &CancellationToken,
    ) -> Result<Option<Target>> {
        if cancel.is_cancelled() {
            return Err(Error::Aborted);
        }
        let snapshot_lock = self.locks.snapshot_exclusive(&path.ns, &path.dir)?;
        let manifest_lock = self.locks.manifest(&path.ns, &path.dir, cancel).await?;
        let info = {
            let path = path.clone();
            self.local(move |snapshots| {
                let Some(info) = snapshots.snapshot_info(&path.ns, &path.dir)? else {
                    return Ok(None);
                };
                let files = snapshots.file_sizes(&path.ns, &info)?;
                Ok(Some((info.protected, files)))
            })
            .await?
        };
        let Some((protected, files)) = info else {
            // Nothing to lock: the files would stay behind.
            snapshot_lock.remove()?;
            manifest_lock.remove()?;
            return Err(Error::NotFound {
                what: format!("snapshot {}", path.dir),
            });
        };
        if protected {
            return Ok(None);
        }
        Ok(Some(Target {
            path: path.clone(),
            files,
            snapshot_lock,
            manifest_lock,
        }))
    }

    async fn spare_protected(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        targets: &mut Vec<Target>,
        forgotten: &mut Forgotten,
    ) -> Result<()> {
        let paths: Vec<SnapshotPath> = targets.iter().map(|target| target.path.clone()).collect();
        let protected = self.protected_in_bucket(backend, client, &paths).await?;
        targets.retain(|target| !protected.contains(&target.path));
        let spared = paths.into_iter().filter(|path| protected.contains(path));
        forgotten.protected.extend(spared);
        Ok(())
    }

    /// Step (1); snapshots whose manifest resists leave the batch.
    async fn delete_manifests(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        targets: &mut Vec<Target>,
        forgotten: &mut Forgotten,
    ) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let fence = backend.ownership.check(client, "delete snapshots").await?;
        let fenced = client.signed_at(fence.signed_at);
        let manifest = |target: &Target| {
            let SnapshotPath { ns, dir } = &target.path;
            self.relative_file(ns, dir, ArchiveName::MANIFEST)
        };
        let relatives: Vec<String> = targets.iter().map(manifest).collect();
        let resisted = match &relatives[..] {
            [one] => {
                backend.delete_metadata(&fenced, one).await?;
                return Ok(());
            }
            many => backend.delete_metadata_files(&fenced, many).await?,
        };
        if resisted.is_empty() {
            return Ok(());
        }
        let mut rest = Vec::with_capacity(targets.len());
        for target in targets.drain(..) {
            let relative = manifest(&target);
            match resisted.iter().find(|(path, _)| *path == relative) {
                None => rest.push(target),
                Some((_, reason)) => {
                    let text = format!("unable to delete {relative} from the bucket: {reason}");
                    forgotten.failed.push((target.path, Error::Refused(text)));
                }
            }
        }
        *targets = rest;
        Ok(())
    }

    /// A first round over the cleanup journal, which repeats what fails here.
    async fn put_manifests_back(&self, backend: &S3Backend, client: &S3Client) {
        if let Err(error) = self.reconcile_metadata(backend, client).await {
            tracing::warn!(store = %self.name, %error, "unable to put manifests back for now");
        }
    }

    /// Step (2); returns how many objects are still there.
    async fn delete_rest(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        targets: &[Target],
    ) -> usize {
        let mut relatives: Vec<String> = targets
            .iter()
            .flat_map(|target| self.relatives(target))
            .collect();
        let manifest = format!("/{}", ArchiveName::MANIFEST);
        relatives.retain(|relative| !relative.ends_with(&manifest));
        if relatives.is_empty() {
            return 0;
        }
        let deleted = async {
            let fence = backend.ownership.check(client, "delete snapshots").await?;
            let fenced = client.signed_at(fence.signed_at);
            backend.delete_metadata_files(&fenced, &relatives).await
        };
        match deleted.await {
            Ok(resisted) => resisted.len(),
            Err(error) => {
                tracing::warn!(store = %self.name, %error, "objects of removed snapshots stay for now");
                let left = relatives.len();
                // Also if the request was never made: the snapshots are going now.
                if let Err(error) = backend.cleanup.add(&self.env, relatives).await {
                    tracing::warn!(store = %self.name, %error, "unable to record leftovers in the bucket");
                }
                left
            }
        }
    }

    /// Step (3).
    async fn remove_locally(&self, target: Target) -> Result<()> {
        self.local(move |snapshots| {
            snapshots.remove_snapshot_dir(&target.path.ns, &target.path.dir)?;
            target.manifest_lock.remove()?;
            target.snapshot_lock.remove()
        })
        .await
    }
}

impl Target {
    /// Number of index files, and bytes of them.
    fn indexes(&self) -> (u64, u64) {
        let is_index = |name: &str| name.parse().is_ok_and(|name: ArchiveName| name.is_index());
        let indexes = self.files.iter().filter(|(name, _)| is_index(name));
        indexes.fold((0, 0), |(count, bytes), (_, len)| (count + 1, bytes + len))
    }
}

/// How many snapshots may be locked at once, by the descriptors that the process may have open, if
/// each takes so many.
pub(super) fn batch_size(locks_per_snapshot: u64) -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let size = (descriptors / (2 * locks_per_snapshot)).clamp(MIN_BATCH, MAX_BATCH);
    usize::try_from(size).unwrap_or(1)
}
