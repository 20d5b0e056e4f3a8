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
    /// If the snapshot does not exist or is in use, or the bucket or the disk refuses. A snapshot that
    /// was protected, or is to be, is protected then.
    pub async fn set_protection(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        protect: bool,
    ) -> Result<()> {
        let _change = self.change_lease()?;
        let _lock = self.locks.snapshot_exclusive(ns, dir)?;
        let was_protected = self.protection(ns, dir).await?;
        let Some((backend, client)) = self.remote(client) else {
            return self.set_local_marker(ns, dir, protect).await;
        };
        let relative = self.relative_file(ns, dir, PROTECTED_MARKER);
        let path = vec![relative.clone()];
        // Dropped, it has the object follow the local marker, whatever that is then.
        let intent = backend.cleanup.intend(&self.env, path).await?;
        self.set_local_marker(ns, dir, protect).await?;
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
            if was_protected && !protect {
                self.set_local_marker(ns, dir, true).await?;
            }
            return Err(error);
        }
        intent.done(&self.env).await
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
