//! Chunks on their way from a bucket, ahead of the client or for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api_types::digest::Digest;
use bytes::Bytes;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::format::DataBlob;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::zero_chunk::{ZERO_CHUNK_DIGEST, zero_chunk};
use datastore::store::DataStore;
use s3_client::S3Client;
use s3_client::env::Env;
use tokio::task::JoinHandle;

use super::super::memory::{Account, Memory, Share};
use super::read_ahead::{Order, ReadAhead};

/// How long what was fetched ahead waits for a client that asks for nothing; up to twice as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The chunks that a session may read.
pub(super) struct Chunks {
    store: Arc<DataStore>,
    /// Absent on a filesystem datastore.
    client: Option<S3Client>,
    state: Arc<Mutex<State>>,
    /// What is on its way to the client.
    answers: Arc<Account>,
    /// What was fetched ahead of it. Apart from the answers: it must not keep them waiting.
    ahead: Arc<Account>,
}

#[derive(Default)]
struct State {
    order: Order,
    ahead: ReadAhead<Fetch>,
    /// Chunks that were asked for.
    asked: u64,
    /// Whether somebody looks if more are.
    watched: bool,
}

/// A fetch under way; given up when dropped.
struct Fetch {
    blob: JoinHandle<Result<DataBlob, Error>>,
    _share: Share,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.blob.abort();
    }
}

impl Chunks {
    pub fn new(store: Arc<DataStore>, client: Option<S3Client>, memory: &Arc<Memory>) -> Self {
        Self {
            answers: memory.account(),
            ahead: memory.account(),
            store,
            client,
            state: Arc::default(),
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

    /// Reads a chunk as it is stored, when there is room for it.
    pub async fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        // Nobody needs to look for it.
        if digest == ZERO_CHUNK_DIGEST
            && let Ok(blob) = zero_chunk()
        {
            return Ok(blob.into_raw());
        }
        let ahead = self.client.as_ref().and_then(|_| self.step(digest));
        let size = self.state().order.size(&digest);
        let wanted = self.answers.wait_for(size.into()).await;
        let bytes = self.fetch(digest, ahead).await?.into_raw();
        drop(wanted);
        // Counted until the connection has sent it.
        Ok(self.answers.take(length(&bytes)).count(bytes))
    }

    async fn fetch(&self, digest: Digest, ahead: Option<Fetch>) -> Result<DataBlob, Error> {
        if let Some(mut fetch) = ahead
            // Whatever went wrong ahead is tried again.
            && let Ok(Ok(blob)) = (&mut fetch.blob).await
        {
            return Ok(blob);
        }
        let client = self.client.as_ref();
        self.store.read_chunk(client, digest, Payload::Cache).await
    }

    fn step(&self, digest: Digest) -> Option<Fetch> {
        let mut state = self.state();
        state.asked += 1;
        if !std::mem::replace(&mut state.watched, true) {
            tokio::spawn(forget_if_idle(
                Arc::downgrade(&self.state),
                self.store.env().clone(),
            ));
        }
        let State { order, ahead, .. } = &mut *state;
        ahead.request(order, &digest, |digest, size| {
            if !self.ahead.has_room() {
                return None;
            }
            let (store, client) = (Arc::clone(&self.store), self.client.clone());
            Some(Fetch {
                _share: self.ahead.take(size.into()),
                blob: tokio::spawn(async move {
                    store
                        .read_chunk(client.as_ref(), digest, Payload::Cache)
                        .await
                }),
            })
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops what was fetched ahead of a client that has stopped to ask: the memory is everybody's.
async fn forget_if_idle(state: Weak<Mutex<State>>, env: Env) {
    let mut asked = 0;
    loop {
        env.sleep(PATIENCE).await;
        let Some(state) = state.upgrade() else {
            return;
        };
        let mut state = lock(&state);
        if state.asked == asked {
            state.ahead.forget();
            state.watched = false;
            return;
        }
        asked = state.asked;
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
