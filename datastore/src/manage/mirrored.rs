//! The two homes of a metadata file: object first, then the local file.

use std::sync::Arc;

use bytes::Bytes;
use s3_client::S3Client;

use crate::backend::s3::S3Backend;
use crate::backend::s3::cleanup::{PathLocks, ReconcileReport};
use crate::error::Result;
use crate::local_error::LocalResult;
use crate::snapshot::SnapshotStore;
use crate::store::DataStore;

impl DataStore {
    /// The bucket and the client to reach it with; `None` on a filesystem datastore.
    ///
    /// A caller without a client of its own gets the datastore's: a change must never miss the
    /// bucket.
    pub(crate) fn remote(&self, client: Option<&S3Client>) -> Option<(Arc<S3Backend>, S3Client)> {
        let backend = self.backend.s3()?;
        let client = client.cloned().unwrap_or_else(|| backend.client.clone());
        Some((Arc::clone(backend), client))
    }

    /// Runs `work` on the local view, on the blocking pool.
    pub(crate) async fn local<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&SnapshotStore) -> LocalResult<T> + Send + 'static,
    {
        let snapshots = self.snapshots.clone();
        Ok(self.env.blocking(move || work(&snapshots)).await?)
    }

    /// Writes a metadata file: the object, then the local file by `write`.
    pub(crate) async fn write_mirrored<F>(
        &self,
        client: Option<&S3Client>,
        relative: &str,
        body: Bytes,
        write: F,
    ) -> Result<()>
    where
        F: FnOnce(&SnapshotStore) -> LocalResult<()> + Send + 'static,
    {
        let remote = self.remote(client);
        if let Some((backend, client)) = &remote {
            backend.put_metadata(client, relative, body).await?;
        }
        let written = self.local(write).await;
        if let (Err(_), Some((backend, client))) = (&written, &remote) {
            self.restore_object(backend, client, relative).await?;
        }
        written?;
        self.renew_reconciliation(relative).await
    }

    /// If the cleanup journal has the path, a round of it may have read the old file and be about to
    /// put it over the new object: it is made to look again.
    pub(super) async fn renew_reconciliation(&self, relative: &str) -> Result<()> {
        match self.backend.s3() {
            Some(backend) => {
                let path = vec![relative.to_owned()];
                backend.cleanup.renew(&self.env, path).await
            }
            None => Ok(()),
        }
    }

    /// Makes the object equal to the local file again, after the local half of a change failed; as
    /// far as that does not succeed at once, the cleanup journal sees to it. The caller holds the
    /// locks of the change.
    pub(super) async fn restore_object(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        relative: &str,
    ) -> Result<()> {
        let path = [relative.to_owned()];
        backend.cleanup.add(&self.env, path.to_vec()).await?;
        backend.reconcile_held(client, &path).await
    }

    /// A round over the cleanup journal.
    pub(crate) async fn reconcile_metadata(
        &self,
        backend: &S3Backend,
        client: &S3Client,
    ) -> Result<ReconcileReport> {
        let locks = PathLocks::new(self.base.clone(), self.locks.clone());
        backend.reconcile_metadata(client, &locks).await
    }
}
