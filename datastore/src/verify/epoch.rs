//! The generation in the bucket, raised before the first chunk delete of a run ◆ (`gc.md` §6.6):
//! evidence for a disk that is restored from a copy older than the delete.

use s3_client::S3Client;

use crate::backend::s3::S3Backend;
use crate::error::Result;
use crate::store::DataStore;

impl DataStore {
    /// Raises the generation, here and in the bucket. The caller holds the sweeper's lease.
    pub(super) async fn raise_epoch(&self, backend: &S3Backend, client: &S3Client) -> Result<()> {
        let generation = self.table.generation() + 1;
        let state = self.state.clone();
        self.env
            .blocking(move || state.write_generation(generation))
            .await?;
        self.table.raise_generation(generation);
        backend.write_epoch(client, generation).await.map(|_| ())
    }
}
