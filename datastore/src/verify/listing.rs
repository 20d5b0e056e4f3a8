//! Presence and size of all chunk objects, from one listing: what a quick run judges by
//! (`s3-backend.md` §10).
//!
//! A listing proves nothing by itself: what it lacks, or shows with an impossible size, is looked
//! at singly.

use std::sync::Arc;

use api_types::digest::Digest;
use api_types::status::GarbageCollectionStatus;
use futures_util::{StreamExt, TryStreamExt, stream};
use s3_client::ListOptions;

use crate::error::{Error, Result};
use crate::format::blob::{MAX_CHUNK_ENCODED, MAX_CHUNK_PLAIN, MIN_BLOB_ENCODED};
use crate::gc::chunk_key::ChunkKey;
use crate::gc::shards::{ShardCount, ShardPrefix};
use crate::store::DataStore;

use super::object::Remote;
use super::run::Run;

/// Shards listed at once.
const CONCURRENCY: usize = 16;
/// What the longest header adds to a chunk that does not compress.
const MAX_OVERHEAD: u64 = MAX_CHUNK_ENCODED - MAX_CHUNK_PLAIN;

/// Sizes of all chunk objects, by digest: 36 bytes of memory for each.
#[derive(Debug, Default)]
pub(super) struct ChunkSizes {
    sorted: Vec<(Digest, u32)>,
}

impl ChunkSizes {
    /// Sizes of objects in any order; of a digest listed twice the first.
    fn new(mut listed: Vec<(Digest, u32)>) -> Self {
        listed.sort_by_key(|(digest, _)| *digest);
        listed.dedup_by_key(|(digest, _)| *digest);
        Self { sorted: listed }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<u64> {
        let index = self
            .sorted
            .binary_search_by(|(listed, _)| listed.cmp(digest))
            .ok()?;
        self.sorted.get(index).map(|(_, size)| u64::from(*size))
    }

    /// Lists all chunks of the datastore.
    ///
    /// # Errors
    /// If the listing cannot be completed.
    pub(super) async fn load(store: &DataStore, remote: &Remote) -> Result<Self> {
        let expected = expected_chunks(store).await;
        let shards = ShardCount::choose(expected, 0).prefixes();
        let lists: Vec<Vec<(Digest, u32)>> = stream::iter(shards)
            .map(|prefix| list_shard(remote, prefix))
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(Self::new(lists.concat()))
    }
}

async fn list_shard(remote: &Remote, prefix: ShardPrefix) -> Result<Vec<(Digest, u32)>> {
    let keys = &remote.backend.keys;
    let chunks = keys.chunks()?;
    let shard = keys.chunk_shard(&prefix.to_string())?;
    let mut listing = remote.client.list(shard, ListOptions::default());
    let mut found = Vec::new();
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            let relative = object.key.relative_to(&chunks).unwrap_or_default();
            if let ChunkKey::Chunk(digest) = ChunkKey::classify(relative) {
                found.push((digest, u32::try_from(object.size).unwrap_or(u32::MAX)));
            }
        }
    }
    Ok(found)
}

/// Chunks that the last collection counted, to choose the number of shards by.
async fn expected_chunks(store: &DataStore) -> Option<u64> {
    let path = store.base.join(".gc-status");
    let read = move || std::fs::read(path).ok();
    let status: GarbageCollectionStatus =
        serde_json::from_slice(&store.env.blocking(read).await?).ok()?;
    Some(status.disk_chunks.saturating_add(status.pending_chunks))
}

/// Whether a chunk of `len` bytes of data can be an object of `size` bytes.
fn is_possible(size: u64, len: u64) -> bool {
    size > MIN_BLOB_ENCODED && size <= len.saturating_add(MAX_OVERHEAD)
}

impl Run<'_> {
    /// Whether the listing shows the chunk with a size that it can have, and that of the cached
    /// payload if there is one.
    pub(super) async fn is_plausible(&self, digest: Digest, len: u64) -> Result<bool> {
        let sizes = self.sizes.as_ref().ok_or_else(|| {
            Error::Refused("a quick verification needs a listing of the chunks".into())
        })?;
        let Some(size) = sizes.get(&digest).filter(|size| is_possible(*size, len)) else {
            return Ok(false);
        };
        let chunks = Arc::clone(&self.store.chunks);
        let local = self
            .store
            .env
            .blocking(move || chunks.stat_chunk(&digest))
            .await?;
        Ok(local.is_none_or(|chunk| chunk.is_marker() || chunk.size == size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn sizes_are_found_whatever_the_order_of_the_listing() {
        let sizes = ChunkSizes::new(vec![(digest(9), 3), (digest(1), 1), (digest(9), 4)]);
        assert_eq!(sizes.get(&digest(1)), Some(1));
        assert_eq!(sizes.get(&digest(9)), Some(3));
        assert_eq!(sizes.get(&digest(5)), None);
        assert_eq!(ChunkSizes::default().get(&digest(5)), None);
    }

    #[test]
    fn a_size_is_possible_between_a_header_and_the_plain_data_with_one() {
        assert!(!is_possible(0, 100));
        assert!(!is_possible(12, 100), "a header without data");
        assert!(is_possible(13, 100) && is_possible(144, 100));
        assert!(!is_possible(145, 100));
    }
}
