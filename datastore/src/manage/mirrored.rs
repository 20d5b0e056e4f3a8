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

/// What is to become of the object of a metadata file.
pub(crate) enum Object {
    /// It is this.
    Put(Bytes),
    /// It is gone.
    Delete,
}

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

    /// Changes a metadata file: the object, while the prefix is proven ours, then the local file by
    /// `write`. If the process ends in between, the next one makes the object equal to the file again.
    /// The caller holds the locks of the change.
    pub(crate) async fn change_mirrored<F>(
        &self,
        client: Option<&S3Client>,
        relative: &str,
        object: Object,
        action: &'static str,
        write: F,
    ) -> Result<()>
    where
        F: FnOnce(&SnapshotStore) -> LocalResult<()> + Send + 'static,
    {
        let Some((backend, client)) = self.remote(client) else {
            return self.local(write).await;
        };
        let _change = self.change_lease()?;
        let path = [relative.to_owned()];
        let intent = backend.cleanup.intend(&self.env, path.to_vec()).await?;
        let changed = match object {
            Object::Put(body) => backend.put_fenced(&client, relative, body, action).await,
            Object::Delete => backend.delete_fenced(&client, relative, action).await,
        };
        if let Err(error) = changed {
            // If it may be applied all the same, the journal has it as well. Should that not be written now,
            // the path stays in its file, and the next process looks at it.
            if let Err(error) = intent.done(&self.env).await {
                tracing::warn!(%relative, %error, "unable to end the record of a change that was refused");
            }
            return Err(error);
        }
        if let Err(error) = self.local(write).await {
            drop(intent);
            backend.reconcile_held(&client, &path).await?;
            return Err(error);
        }
        intent.done(&self.env).await?;
        self.renew_reconciliation(relative).await
    }

    /// If the cleanup journal has the path, a round of it may have read the old file and be about to
    /// put it over the new object: it is made to look again.
    pub(crate) async fn renew_reconciliation(&self, relative: &str) -> Result<()> {
        match self.backend.s3() {
            Some(backend) => {
                let path = vec![relative.to_owned()];
                backend.cleanup.renew(&self.env, path).await
            }
            None => Ok(()),
        }
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
