//! Snapshots that move together; see the steps in [`super`].

use std::path::PathBuf;
use std::sync::Arc;

use api_types::names::{ArchiveName, BackupDir, BackupNamespace, SnapshotPath};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use s3_client::{ListOptions, S3Client};

use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::locks::LockFile;
use crate::locks::move_journal::LockedMoveJournal;
use crate::snapshot::{BackupInfo, PROTECTED_MARKER};
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

/// Descriptors that the locks of one snapshot take.
pub(super) const LOCKS_PER_SNAPSHOT: u64 = 3;
/// Requests at once for the files of a snapshot.
const CONCURRENCY: usize = 8;
/// How often to wait for the move journal.
const JOURNAL_ATTEMPTS: u32 = 30;

/// What moves from where to where, and who asks.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub store: &'a DataStore,
    pub task: &'a dyn TaskContext,
    pub client: Option<&'a S3Client>,
    pub from: &'a BackupNamespace,
    pub to: &'a BackupNamespace,
}

/// A snapshot locked for its move.
struct Moving {
    info: BackupInfo,
    old_lock: LockFile,
    old_manifest: LockFile,
    _new_lock: LockFile,
}

impl Moving {
    /// Its files but the manifest, the marker of its protection among them.
    fn files(&self) -> Vec<&str> {
        let files = self.info.files.iter().map(String::as_str);
        files
            .filter(|name| *name != ArchiveName::MANIFEST)
            .chain(self.info.protected.then_some(PROTECTED_MARKER))
            .collect()
    }
}

impl Route<'_> {
    /// Moves these snapshots; adds those that have moved to `moved`, also before an error.
    pub async fn move_batch(&self, batch: &[BackupDir], moved: &mut u64) -> Result<()> {
        let store = self.store;
        let mut waiting = Vec::with_capacity(batch.len());
        for dir in batch {
            check_abort(self.task)?;
            waiting.push(self.lock(dir).await?);
        }
        let remote = store.remote(self.client);
        let mut intent = None;
        if let Some((backend, client)) = &remote {
            for moving in &mut waiting {
                self.compare(backend, client, moving).await?;
            }
            let both = |moving: &Moving| {
                let mut paths = self.objects(self.from, moving);
                paths.extend(self.objects(self.to, moving));
                paths
            };
            let paths = waiting.iter().flat_map(both).collect();
            intent = Some(backend.cleanup.intend(&store.env, paths).await?);
        }
        let mut gone = Vec::with_capacity(waiting.len());
        let mut result = Ok(());
        for moving in waiting {
            result = self.copy_and_rename(remote.as_ref(), &moving).await;
            if result.is_err() {
                break;
            }
            self.task.log(&format!("moved {}", moving.info.dir));
            *moved += 1;
            gone.push(moving);
        }
        let chunks = Arc::clone(&store.chunks);
        store.env.blocking(move || chunks.sync_filesystem()).await?;
        let mut settled = result.is_ok();
        if let Some((backend, client)) = &remote {
            settled &= self.delete_sources(backend, client, &gone).await;
        }
        for moving in gone {
            moving.old_manifest.remove()?;
            moving.old_lock.remove()?;
        }
        match intent {
            Some(intent) if settled => intent.done(&store.env).await?,
            Some(intent) => {
                drop(intent);
                self.tidy_up().await;
            }
            None => {}
        }
        result
    }

    /// The bucket is made equal to the local tree, at once if it can be.
    async fn tidy_up(&self) {
        let store = self.store;
        // Not with the task's client: it makes no request once the task is aborted.
        if let Some((backend, client)) = store.remote(None)
            && let Err(error) = store.reconcile_metadata(&backend, &client).await
        {
            tracing::warn!(store = %store.name, %error, "objects of moved snapshots stay for now");
        }
    }

    async fn lock(&self, dir: &BackupDir) -> Result<Moving> {
        let (store, cancel) = (self.store, self.task.cancel());
        store.refuse_late_requests(self.to, dir).await?;
        if store.awaits_clearing(self.from, dir) {
            return Err(Error::Refused(format!(
                "unable to move {dir}: its backup was given up and is being cleared away; try again \
                 in a minute"
            )));
        }
        let new_lock = store.locks.snapshot_exclusive(self.to, dir)?;
        let old_lock = store.locks.snapshot_exclusive(self.from, dir)?;
        let old_manifest = store.locks.manifest(self.from, dir, cancel).await?;
        let info = {
            let (from, dir) = (self.from.clone(), dir.clone());
            store
                .local(move |snapshots| snapshots.snapshot_info(&from, &dir))
                .await?
        };
        let Some(info) = info else {
            old_manifest.remove()?;
            old_lock.remove()?;
            return Err(Error::NotFound {
                what: format!("snapshot {dir}"),
            });
        };
        Ok(Moving {
            info,
            old_lock,
            old_manifest,
            _new_lock: new_lock,
        })
    }

    /// All objects of a snapshot in a namespace, by their paths.
    fn objects(&self, ns: &BackupNamespace, moving: &Moving) -> Vec<String> {
        let files = moving.files().into_iter();
        let manifest = moving.info.is_finished().then_some(ArchiveName::MANIFEST);
        files
            .chain(manifest)
            .map(|name| self.store.relative_file(ns, &moving.info.dir, name))
            .collect()
    }

    /// Refuses a snapshot of which the bucket has what the local tree has not: it would be left
    /// behind, and deleted. A marker of protection is taken over.
    async fn compare(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        moving: &mut Moving,
    ) -> Result<()> {
        let dir = &moving.info.dir;
        let prefix = backend.keys.content_dir(&self.from.path_of(&dir.path()))?;
        let mut listing = client.list(prefix.clone(), ListOptions::default());
        while let Some(page) = listing.next_page().await {
            for object in page?.objects {
                let name = object.key.relative_to(&prefix).unwrap_or_default();
                let is_known = moving.info.files.iter().any(|file| file == name);
                if name == PROTECTED_MARKER && !moving.info.protected {
                    let (from, dir) = (self.from.clone(), dir.clone());
                    self.store
                        .local(move |snapshots| snapshots.set_protected(&from, &dir, true))
                        .await?;
                    moving.info.protected = true;
                } else if !is_known && name != PROTECTED_MARKER {
                    return Err(Error::Refused(format!(
                        "unable to move {dir}: the bucket holds {}, which is not known here; run \
                         s3-refresh on the datastore to see what it is",
                        object.key
                    )));
                }
            }
        }
        Ok(())
    }

    /// Steps (1) and (2).
    async fn copy_and_rename(
        &self,
        remote: Option<&(Arc<S3Backend>, S3Client)>,
        moving: &Moving,
    ) -> Result<()> {
        check_abort(self.task)?;
        if let Some((backend, client)) = remote {
            self.copy(backend, client, moving).await?;
        }
        let store = self.store;
        let base = store.snapshots.snapshot_path(self.to, &moving.info.dir);
        let indexes = moving.info.index_files();
        let paths: Vec<PathBuf> = indexes.map(|name| base.join(name)).collect();
        // For the rename alone: whoever wants to be alone with the tree waits for no bucket.
        let _epoch = store.share_metadata_epoch(self.task.cancel()).await?;
        let mut journal = self.lock_journal().await?;
        let (from, to) = (self.from.clone(), self.to.clone());
        let dir = moving.info.dir.clone();
        // A collection that finds a chunk missing has to find whoever names it: after its mark no
        // journal is read ◆.
        let target = SnapshotPath::new(to.clone(), dir.clone());
        store.sessions.arriving(target);
        store
            .local(move |snapshots| {
                journal.append(&paths)?;
                snapshots.move_snapshot_dir(&from, &to, &dir)
            })
            .await
    }

    /// Waits patiently: a mark that reads the journal may have much to read, and what is copied would
    /// have to be taken away again.
    async fn lock_journal(&self) -> Result<LockedMoveJournal> {
        let mut attempts = 1;
        loop {
            match self.store.moves.lock(self.task.cancel()).await {
                Err(error) if error.is_busy() && attempts < JOURNAL_ATTEMPTS => attempts += 1,
                locked => return Ok(locked?),
            }
        }
    }

    async fn copy(&self, backend: &S3Backend, client: &S3Client, moving: &Moving) -> Result<()> {
        let dir = &moving.info.dir;
        // What a late request may still change is not copied but written as it is here.
        let source = self.from.path_of(&dir.path());
        let is_settled = !backend.cleanup.has_below(&self.store.env, &source).await?;
        let copies: Vec<_> = moving
            .files()
            .into_iter()
            .map(|name| self.copy_file(backend, client, dir, name, is_settled))
            .collect();
        stream::iter(copies)
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<()>>()
            .await?;
        if moving.info.is_finished() {
            let body = self.read(dir, ArchiveName::MANIFEST).await?;
            let relative = self
                .store
                .relative_file(self.to, dir, ArchiveName::MANIFEST);
            backend.put_manifest(client, &relative, body).await?;
        }
        Ok(())
    }

    async fn copy_file(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        dir: &BackupDir,
        name: &str,
        is_settled: bool,
    ) -> Result<()> {
        let old = self.store.relative_file(self.from, dir, name);
        let new = self.store.relative_file(self.to, dir, name);
        if is_settled && backend.copy_metadata(client, &old, &new).await? {
            return Ok(());
        }
        let body = self.read(dir, name).await?;
        backend.put_metadata(client, &new, body).await
    }

    /// A file of the snapshot, whole.
    async fn read(&self, dir: &BackupDir, name: &str) -> Result<Bytes> {
        let (from, dir, name) = (self.from.clone(), dir.clone(), name.to_owned());
        let what = format!("{name} of snapshot {dir}");
        let content = self
            .store
            .local(move |snapshots| snapshots.read_file(&from, &dir, &name, u64::MAX))
            .await?;
        content.map(Bytes::from).ok_or(Error::NotFound { what })
    }

    /// Step (4); whether nothing is left at the old keys. What is left goes later.
    async fn delete_sources(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        gone: &[Moving],
    ) -> bool {
        let all = gone
            .iter()
            .flat_map(|moving| self.objects(self.from, moving));
        let suffix = format!("/{}", ArchiveName::MANIFEST);
        let (manifests, others): (Vec<_>, Vec<_>) = all.partition(|path| path.ends_with(&suffix));
        for paths in [manifests, others] {
            if paths.is_empty() {
                continue;
            }
            let deleted = async {
                let fence = backend.ownership.check(client, "move snapshots").await?;
                let fenced = client.signed_at(fence.signed_at);
                backend.delete_metadata_files(&fenced, &paths).await
            };
            match deleted.await {
                Ok(resisted) if resisted.is_empty() => {}
                Ok(resisted) => {
                    let count = resisted.len();
                    self.task.log(&format!(
                        "{count} objects at the old place could not be deleted yet"
                    ));
                    return false;
                }
                Err(error) => {
                    self.task.log(&format!(
                        "objects at the old place could not be deleted yet: {error}"
                    ));
                    return false;
                }
            }
        }
        true
    }
}

impl DataStore {
    /// Late requests of an earlier attempt would hit the objects of this one.
    async fn refuse_late_requests(&self, ns: &BackupNamespace, dir: &BackupDir) -> Result<()> {
        let Some(backend) = self.backend.s3() else {
            return Ok(());
        };
        let path = ns.path_of(&dir.path());
        if !backend.cleanup.has_below(&self.env, &path).await? {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "unable to move {dir} to namespace '{ns}': requests of an earlier attempt may still \
             reach the bucket; try again in half an hour"
        )))
    }
}
