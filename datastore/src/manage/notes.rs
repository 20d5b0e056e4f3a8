//! Notes of snapshots; those of groups are in [`super::group`].

use api_types::names::{BackupDir, BackupNamespace};
use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::store::DataStore;

impl DataStore {
    /// The notes of a snapshot, empty if there are none.
    ///
    /// # Errors
    /// If the manifest is missing or unreadable.
    pub async fn snapshot_notes(&self, ns: &BackupNamespace, dir: &BackupDir) -> Result<String> {
        let manifest = self.load_manifest(ns, dir).await?;
        Ok(manifest.notes().unwrap_or_default().to_owned())
    }

    /// Sets the notes of a snapshot; an empty text removes them.
    ///
    /// # Errors
    /// As for [`update_manifest`](Self::update_manifest).
    pub async fn set_snapshot_notes(
        &self,
        client: Option<&S3Client>,
        ns: &BackupNamespace,
        dir: &BackupDir,
        notes: &str,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let notes = Some(notes).filter(|notes| !notes.is_empty());
        self.update_manifest(client, ns, dir, cancel, |manifest| {
            manifest.set_notes(notes);
        })
        .await
    }
}
