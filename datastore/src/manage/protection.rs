//! Protection of snapshots from removal.
//!
//! The local marker errs on the safe side: it comes before the one in the bucket and goes for good
//! only after it.

use api_types::names::{BackupDir, BackupNamespace};
use bytes::Bytes;
use s3_client::S3Client;

use crate::error::{Error, Result};
use crate::snapshot::PROTECTED_MARKER;
use crate::store::DataStore;

impl DataStore {
    /// Whether a snapshot is protected.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the snapshot does not exist.
    pub async fn protection(&self, ns: &BackupNamespace, dir: &BackupDir) -> Result<bool> {
        let (ns, dir) = (ns.clone(), dir.clone());
        let info = {
            let dir = dir.clone();
            self.local(move |snapshots| snapshots.snapshot_info(&ns, &dir))
                .await?
        };
        info.map(|info| info.protected)
            .ok_or_else(|| Error::NotFound {
                what: format!("snapshot {dir}"),
            })
    }

    /// Protects a snapshot from removal, or lifts the protection.
    ///
    /// # Errors
    /// If the snapshot does not exist or is in use, or the bucket or the disk refuses. The local
    /// marker stays (or is back) then, and so the snapshot protected.
    pub async fn set_protection(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        protect: bool,
    ) -> Result<()> {
        let _lock = self.locks.snapshot_exclusive(ns, dir)?;
        self.protection(ns, dir).await?;
        self.set_local_marker(ns, dir, protect).await?;
        let Some((backend, client)) = self.remote(client) else {
            return Ok(());
        };
        let relative = self.relative_file(ns, dir, PROTECTED_MARKER);
        let done = if protect {
            backend
                .put_fenced(&client, &relative, Bytes::new(), "protect a snapshot")
                .await
        } else {
            // Also if there was no local marker: the one in the bucket would protect all the same.
            backend
                .delete_fenced(&client, &relative, "lift a protection")
                .await
        };
        if let Err(error) = done {
            if !protect {
                self.set_local_marker(ns, dir, true).await?;
            }
            // The local marker stands: the bucket's has to follow.
            backend.cleanup.add(&self.env, vec![relative]).await?;
            return Err(error);
        }
        Ok(())
    }

    async fn set_local_marker(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        protect: bool,
    ) -> Result<()> {
        let (ns, dir) = (ns.clone(), dir.clone());
        self.local(move |snapshots| snapshots.set_protected(&ns, &dir, protect))
            .await?;
        Ok(())
    }
}
