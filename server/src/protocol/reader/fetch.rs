//! Chunks on their way from a bucket, ahead of the client or for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::format::DataBlob;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::store::DataStore;
use s3_client::S3Client;
use tokio::task::JoinHandle;

use super::read_ahead::{Order, ReadAhead};

/// The chunks that a session may read.
pub(super) struct Chunks {
    store: Arc<DataStore>,
    /// Absent on a filesystem datastore.
    client: Option<S3Client>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: Order,
    ahead: ReadAhead<Fetch>,
}

/// A fetch under way; given up when dropped.
struct Fetch(JoinHandle<Result<DataBlob, Error>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Chunks {
    pub fn new(store: Arc<DataStore>, client: Option<S3Client>) -> Self {
        Self {
            store,
            client,
            state: Mutex::default(),
        }
    }

    /// Allows the chunks of an index to be read. Reads the whole index.
    pub fn allow(&self, index: &AnyIndexReader) -> Result<(), datastore::format::FormatError> {
        let mut entries = index.entries();
        let mut read = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            read.push((
                entry.digest,
                u32::try_from(entry.size()).unwrap_or(u32::MAX),
            ));
        }
        let order = &mut self.state().order;
        for (digest, size) in read {
            order.push(digest, size);
        }
        Ok(())
    }

    pub fn is_allowed(&self, digest: &Digest) -> bool {
        self.state().order.contains(digest)
    }

    /// Reads a chunk as it is stored.
    pub async fn read(&self, digest: Digest) -> Result<DataBlob, Error> {
        if self.client.is_some()
            && let Some(mut fetch) = self.step(digest)
            // Whatever went wrong ahead is tried again.
            && let Ok(Ok(blob)) = (&mut fetch.0).await
        {
            return Ok(blob);
        }
        let client = self.client.as_ref();
        self.store.read_chunk(client, digest, Payload::Cache).await
    }

    fn step(&self, digest: Digest) -> Option<Fetch> {
        let State { order, ahead } = &mut *self.state();
        ahead.request(order, &digest, |digest| {
            let (store, client) = (Arc::clone(&self.store), self.client.clone());
            Fetch(tokio::spawn(async move {
                store
                    .read_chunk(client.as_ref(), digest, Payload::Cache)
                    .await
            }))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
