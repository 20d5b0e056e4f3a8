//! A finished snapshot that is to become what its source has: with chunks that were damaged here,
//! with files that differ, with the source's manifest.
//!
//! It is registered like a writer of a new snapshot, so the collection spares what it inserts until
//! its manifest is written; the group is locked against backups, the snapshot against removal. The
//! old files and the old manifest stay until each is replaced in one step, and nothing is ever
//! removed that the manifest in force lists: whenever it ends, the snapshot is at least as good as
//! it was. The one exception is a source that made another snapshot of the same time; between the
//! first file and the manifest, a verification finds the two mixed, and the next pull goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::datastore::SyncLevel;
use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType, SnapshotPath};
use bytes::Bytes;
use s3_client::{S3Client, TaskKind};
use tokio_util::sync::CancellationToken;

use crate::atomic_file::Durability;
use crate::backend::s3::insert::{InsertOutcome, Payload};
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::format::index::{AnyIndexReader, IndexFile as _};
use crate::format::manifest::{FileInfo, Manifest};
use crate::locks::LockFile;
use crate::manage::mirrored::Object;
use crate::snapshot::SnapshotStore;
use crate::store::DataStore;
use crate::store::lease::WriterLease;

use super::copy::{CopiedIndex, read_index, refuse_unknown};
use super::registry::Registration;
use super::verdict::Resynced;

/// How long it waits for somebody who compares a file with its copy in the bucket, or puts it there.
const PATIENCE: Duration = Duration::from_secs(120);

/// A snapshot that is being synced once more.
#[derive(Debug)]
pub struct ResyncSession {
    store: Arc<DataStore>,
    client: Option<S3Client>,
    cancel: CancellationToken,
    path: SnapshotPath,
    /// Chunks that an index may name, with their plaintext length.
    known: Mutex<HashMap<Digest, u32>>,
    hold: Arc<Hold>,
}

/// What the session holds of the datastore, shared with its work on files, which a dropped call does not
/// stop: no file of the snapshot is written after its locks are free.
#[derive(Debug)]
struct Hold {
    // Dropped in this order: first the register, last the process lock.
    registration: Registration,
    _snapshot_lock: LockFile,
    _group_lock: LockFile,
    _lease: WriterLease,
}

impl ResyncSession {
    /// Starts it.
    ///
    /// # Errors
    /// If the store is being collected by another process, not ours or not trustworthy, the group
    /// or the snapshot is in use, or the snapshot is not there or not finished.
    pub async fn start(
        store: &Arc<DataStore>,
        path: SnapshotPath,
        kind: TaskKind,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let lease = store.writer_lease(cancel).await?;
        let registration = store.sessions.register(&store.table, store.env.unix_secs());
        store.learn_from_others().await?;
        let group_lock = store.locks.group(&path.ns, &path.dir.group)?;
        let snapshot_lock = store.locks.snapshot_shared(&path.ns, &path.dir)?;
        if !store.snapshots.has_manifest(&path.ns, &path.dir)? {
            return Err(Error::NotFound {
                what: format!("finished snapshot {}", path.dir),
            });
        }
        Ok(Self {
            client: store.client(kind, cancel),
            cancel: cancel.clone(),
            store: Arc::clone(store),
            path,
            known: Mutex::default(),
            hold: Arc::new(Hold {
                registration,
                _snapshot_lock: snapshot_lock,
                _group_lock: group_lock,
                _lease: lease,
            }),
        })
    }

    /// Whether a file is here and is what the manifest of the source lists.
    ///
    /// # Errors
    /// If the local tree cannot be read; a damaged file is no error.
    pub async fn has_file(&self, file: &FileInfo) -> Result<bool> {
        let (ns, dir) = (&self.path.ns, &self.path.dir);
        let path = self
            .store
            .snapshots
            .file_path(ns, dir, file.filename.as_str())?;
        let (kind, size, csum) = (file.filename.archive_type(), file.size, file.csum);
        self.store
            .env
            .blocking(move || {
                if !path.is_file() {
                    return Ok(false);
                }
                let is = match kind {
                    Some(kind) if kind != ArchiveType::Blob => AnyIndexReader::open(&path, kind)
                        .and_then(|index| index.verify_csum())
                        .map(|found| found.size == size && found.csum == *csum.as_bytes()),
                    _ => {
                        let raw =
                            std::fs::read(&path).map_err(Error::io("unable to read", &path))?;
                        DataBlob::from_bytes(raw.into()).map(|blob| {
                            blob.raw_size() == size && blob.raw_csum() == *csum.as_bytes()
                        })
                    }
                };
                Ok(is.unwrap_or(false))
            })
            .await
    }

    /// As [`super::WriterSession::insert_chunk`].
    ///
    /// # Errors
    /// If the chunk does not match, or cannot be stored.
    pub async fn insert_chunk(
        &self,
        digest: Digest,
        plain_size: u32,
        blob: DataBlob,
    ) -> Result<InsertOutcome> {
        let chunk = (digest, plain_size);
        let client = self.client.as_ref();
        let outcome = self
            .store
            .accept_chunk(client, chunk, blob, Payload::Cache)
            .await?;
        self.known().insert(digest, plain_size);
        Ok(outcome)
    }

    /// As [`super::WriterSession::touch_known`].
    ///
    /// # Errors
    /// If a local file operation fails.
    pub async fn touch_known(&self, digest: Digest, plain_size: u32) -> Result<bool> {
        let known = self.store.touch_known(self.client.as_ref(), digest).await?;
        if known.is_some() {
            self.known().insert(digest, plain_size);
        }
        Ok(known.is_some())
    }

    /// Puts an index in the place of the one that is there; every chunk that it names must be known
    /// to the session ◆.
    ///
    /// # Errors
    /// If the file is damaged or names an unknown chunk, or it cannot be stored.
    pub async fn replace_index(&self, name: &ArchiveName, raw: Bytes) -> Result<()> {
        let CopiedIndex { chunks, .. } = read_index(&self.store.env, name, raw.clone()).await?;
        {
            let known = self.known();
            refuse_unknown(name, &chunks, |digest| known.get(digest).copied())?;
        }
        // Its chunks before it: the index in its place may be a good one.
        self.sync().await?;
        self.replace(name, raw).await
    }

    /// Puts a blob in the place of the one that is there.
    ///
    /// # Errors
    /// If it is damaged or the manifest, or cannot be stored.
    pub async fn replace_blob(&self, name: &ArchiveName, raw: Bytes) -> Result<()> {
        if name.is_manifest() || name.is_index() {
            return Err(Error::Refused(format!(
                "'{name}' is not the name of a blob of a snapshot"
            )));
        }
        let blob = DataBlob::from_bytes(raw.clone()).map_err(Error::format(name.to_string()))?;
        blob.verify_crc().map_err(Error::format(name.to_string()))?;
        self.replace(name, raw).await
    }

    /// To its end even if the call is dropped: otherwise the object might be the new one and the file,
    /// whose chunks the mark keeps, the old one.
    ///
    /// Under the manifest's lock: a verification that puts the copies in the bucket right must not
    /// come between the two ◆.
    async fn replace(&self, name: &ArchiveName, raw: Bytes) -> Result<()> {
        let SnapshotPath { ns, dir } = self.path.clone();
        let locks = &self.store.locks;
        let lock = locks.manifest_within(PATIENCE, &ns, &dir, &self.cancel);
        let lock = lock.await?;
        let relative = self.store.relative_file(&ns, &dir, name.as_str());
        let (name, body) = (name.clone(), raw.clone());
        let (store, client) = (Arc::clone(&self.store), self.client.clone());
        let hold = Arc::clone(&self.hold);
        let work = tokio::spawn(async move {
            let writer = Arc::clone(&hold);
            let write = move |snapshots: &SnapshotStore| {
                let written =
                    snapshots.write_file(&ns, &dir, name.as_str(), &raw, Durability::Synced);
                drop(writer);
                written
            };
            let client = client.as_ref();
            let object = Object::Put(body);
            let change = store.change_mirrored(client, &relative, object, "replace a file", write);
            change.await?;
            drop((lock, hold));
            Ok(())
        });
        match work.await {
            Ok(replaced) => replaced,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(Error::Aborted),
            },
        }
    }

    /// What was inserted is on the disk.
    async fn sync(&self) -> Result<()> {
        let store = &self.store;
        if store.tuning().sync_level() == SyncLevel::Filesystem {
            let chunks = Arc::clone(&store.chunks);
            store.env.blocking(move || chunks.sync_filesystem()).await?;
        }
        Ok(())
    }

    /// Puts the source's manifest in the place of the one that is there, byte for byte unless the
    /// snapshot still counts as failed (ADR 23): the last step.
    ///
    /// # Errors
    /// If it is damaged or another snapshot's, a chunk of the session was found missing meanwhile,
    /// somebody holds the manifest's lock, or it cannot be stored.
    pub async fn commit(self, blob: DataBlob, cancel: &CancellationToken) -> Result<Resynced> {
        let SnapshotPath { ns, dir } = &self.path;
        let manifest = Manifest::from_blob(&blob, None)
            .map_err(Error::format(format!("manifest of {dir}")))?;
        if manifest.backup_dir() != *dir {
            return Err(Error::Refused(format!(
                "unable to finish {dir}: its manifest is that of {}",
                manifest.backup_dir()
            )));
        }
        let store = &self.store;
        self.hold.registration.finishing(self.path.clone());
        // The counter before the look, as in any finish: what is marked as lost between the two is
        // looked for once more, and what is marked later is failed by the collection.
        store.learn_losses().await?;
        let losses = store.table.losses();
        let looked = self.look(&manifest, cancel).await?;
        self.check_chunks().await?;
        self.sync().await?;
        let _manifest_lock = store.locks.manifest(ns, dir, cancel).await?;
        let merged = self.merged((manifest.clone(), blob), looked).await?;
        let (raw, resynced) = merged;
        if let Some(raw) = raw {
            store
                .write_manifest(self.client.as_ref(), ns, dir, raw)
                .await?;
        }
        store.learn_losses().await?;
        if store.table.losses() != losses {
            self.check_chunks().await?;
        }
        self.remove_unlisted(&manifest, cancel).await?;
        Ok(resynced)
    }

    /// Removes what the manifest does not list, but for the client's log, which none does.
    async fn remove_unlisted(&self, manifest: &Manifest, cancel: &CancellationToken) -> Result<()> {
        let SnapshotPath { ns, dir } = &self.path;
        let store = &self.store;
        let info = store.snapshots.snapshot_info(ns, dir)?;
        let is_listed = |name: &str| {
            matches!(name, ArchiveName::MANIFEST | ArchiveName::CLIENT_LOG)
                || manifest.lookup_file(name).is_some()
        };
        let files = info.into_iter().flat_map(|info| info.files);
        let unlisted: Vec<String> = files.filter(|name| !is_listed(name)).collect();
        if unlisted.is_empty() {
            return Ok(());
        }
        // A mark that looks for an index finds it, or that it has vanished and looks again.
        let _epoch = store.share_metadata_epoch(cancel).await?;
        for name in unlisted {
            let relative = store.relative_file(ns, dir, &name);
            let (client, ns, dir) = (self.client.as_ref(), ns.clone(), dir.clone());
            let remove =
                move |snapshots: &SnapshotStore| snapshots.remove_file(&ns, &dir, &name).map(drop);
            store
                .change_mirrored(client, &relative, Object::Delete, "remove a file", remove)
                .await?;
        }
        Ok(())
    }

    /// Nothing that the session has stored or relied upon may have gone missing meanwhile ◆.
    async fn check_chunks(&self) -> Result<()> {
        let lost = self.store.lost_of(&self.known());
        self.store.refuse_lost(&self.path.dir, lost).await
    }

    pub(super) fn store(&self) -> &Arc<DataStore> {
        &self.store
    }

    pub(super) fn path(&self) -> &SnapshotPath {
        &self.path
    }

    /// Whether the chunk is one that the session has inserted or found present.
    pub(super) fn knows(&self, digest: &Digest) -> bool {
        self.known().contains_key(digest)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, u32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
