//! Reading and changing the manifest of a finished snapshot (`formats.md` §4.4).

use api_types::names::{ArchiveName, BackupDir, BackupNamespace};
use bytes::Bytes;
use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::atomic_file::Durability;
use crate::error::{Error, Result};
use crate::format::blob::{DataBlob, MAX_BLOB_PLAIN};
use crate::format::manifest::Manifest;
use crate::snapshot::SnapshotStore;
use crate::store::DataStore;

use super::mirrored::Object;

/// A manifest and the length of its file.
#[derive(Clone, Debug)]
pub(crate) struct StoredManifest {
    pub(crate) manifest: Manifest,
    pub(crate) raw_size: u64,
}

/// Reads the local manifest; blocking.
pub(crate) fn read_manifest(
    snapshots: &SnapshotStore,
    ns: &BackupNamespace,
    dir: &BackupDir,
) -> Result<StoredManifest> {
    let what = || format!("manifest of snapshot {dir}");
    let raw = snapshots
        .read_file(ns, dir, ArchiveName::MANIFEST, MAX_BLOB_PLAIN)?
        .ok_or_else(|| Error::NotFound { what: what() })?;
    let blob = DataBlob::from_bytes(Bytes::from(raw)).map_err(Error::format(what()))?;
    let manifest = Manifest::from_blob(&blob, None).map_err(Error::format(what()))?;
    Ok(StoredManifest {
        manifest,
        raw_size: blob.raw_size(),
    })
}

impl DataStore {
    /// The manifest of a finished snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Format`] if it is damaged.
    pub async fn load_manifest(&self, ns: &BackupNamespace, dir: &BackupDir) -> Result<Manifest> {
        let (snapshots, ns, dir) = (self.snapshots.clone(), ns.clone(), dir.clone());
        let read = move || read_manifest(&snapshots, &ns, &dir);
        Ok(self.env.blocking(read).await?.manifest)
    }

    /// Whether the manifest of a snapshot is in the bucket; false on a filesystem datastore.
    ///
    /// Such a snapshot is committed, whatever the local tree says: after a crash or a power loss
    /// the local manifest may be missing ◆.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(crate) async fn is_committed_in_bucket(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> Result<bool> {
        let Some((backend, client)) = self.remote(client) else {
            return Ok(false);
        };
        let relative = self.relative_file(ns, dir, ArchiveName::MANIFEST);
        let key = backend.keys.content_file(&relative)?;
        Ok(client.head_object(&key).await?.is_some())
    }

    /// Changes the unprotected part of a manifest, in the bucket and locally, under its lock.
    ///
    /// Nothing is written if `change` changes nothing.
    ///
    /// # Errors
    /// If the lock is not free within five seconds, there is no readable manifest, the prefix is
    /// not ours any more, or the bucket or the disk refuses.
    pub async fn update_manifest<F>(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        cancel: &CancellationToken,
        change: F,
    ) -> Result<()>
    where
        F: FnOnce(&mut Manifest) + Send,
    {
        let _lock = self.locks.manifest(ns, dir, cancel).await?;
        self.change_manifest(client, ns, dir, change).await
    }

    /// The same for a caller who holds the lock.
    pub(crate) async fn change_manifest<F>(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        change: F,
    ) -> Result<()>
    where
        F: FnOnce(&mut Manifest) + Send,
    {
        let before = self.load_manifest(ns, dir).await?;
        let mut manifest = before.clone();
        change(&mut manifest);
        if manifest == before {
            return Ok(());
        }
        let blob = manifest
            .to_blob()
            .map_err(Error::format(format!("manifest of {dir}")))?;
        self.write_manifest(client, ns, dir, blob.into_raw()).await
    }

    /// Replaces the manifest of a snapshot, in the bucket and locally. The caller holds its lock.
    pub(crate) async fn write_manifest(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        raw: Bytes,
    ) -> Result<()> {
        let relative = self.relative_file(ns, dir, ArchiveName::MANIFEST);
        let (ns, dir) = (ns.clone(), dir.clone());
        let object = Object::Put(raw.clone());
        self.change_mirrored(
            client,
            &relative,
            object,
            "change a manifest",
            move |snapshots| {
                snapshots.write_file(&ns, &dir, ArchiveName::MANIFEST, &raw, Durability::Synced)
            },
        )
        .await
    }
}
