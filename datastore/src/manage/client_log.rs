//! The log that a client uploads after its backup.

use api_types::names::{ArchiveName, BackupDir, BackupNamespace};
use bytes::Bytes;
use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::atomic_file::Durability;
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::store::DataStore;

use super::mirrored::Object;

impl DataStore {
    /// Stores the client's log beside the archives of a finished snapshot.
    ///
    /// # Errors
    /// If the blob is damaged, the snapshot does not exist, is being removed or has a log already,
    /// or the bucket or the disk refuses.
    pub async fn store_client_log(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        raw: Bytes,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let name = ArchiveName::CLIENT_LOG;
        let blob = DataBlob::from_bytes(raw.clone()).map_err(Error::format(name))?;
        blob.verify_crc().map_err(Error::format(name))?;
        // The snapshot lock keeps a removal away, the manifest's a second upload.
        let _snapshot = self.locks.snapshot_shared(ns, dir)?;
        let _manifest = self.locks.manifest(ns, dir, cancel).await?;
        let (ns, dir) = (ns.clone(), dir.clone());
        let info = {
            let (ns, dir) = (ns.clone(), dir.clone());
            self.local(move |snapshots| snapshots.snapshot_info(&ns, &dir))
                .await?
        };
        let info = info.ok_or_else(|| Error::NotFound {
            what: format!("snapshot {dir}"),
        })?;
        if info.files.iter().any(|file| file == name) {
            return Err(Error::Refused("backup already contains a log.".into()));
        }
        let relative = self.relative_file(&ns, &dir, name);
        let object = Object::Put(raw.clone());
        self.change_mirrored(client, &relative, object, "store a log", move |snapshots| {
            snapshots.write_file(&ns, &dir, name, &raw, Durability::Synced)
        })
        .await
    }
}
