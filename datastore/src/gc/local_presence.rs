//! Is the local record of what is in the bucket there at all?
//!
//! The chunk directory may be lost while the rest of the local state is not: a cache disk of its own
//! was exchanged, or is not mounted. Nothing live would be deleted then, but every marker would be
//! made anew by a request of its own, ten thousand in a run, without a word; and each backup would
//! upload everything again. So such a run is refused (R-R4): a refresh rebuilds the markers with one
//! request for a thousand.

use crate::chunk_store::{ChunkStore, EntryKind};
use crate::error::{Error, Result};

use super::run::Run;

/// With fewer chunks, the requests for their markers are not worth the trouble.
const MIN_CHUNKS: u64 = 10_000;

impl Run {
    /// Refuses a collection on an S3 datastore whose chunk directory is empty though the last run
    /// left chunks.
    pub(super) async fn check_local_presence(&self) -> Result<()> {
        let left = self.history.facts().map_or(0, |facts| facts.chunks_left);
        if self.store.backend.s3().is_none() || left < MIN_CHUNKS {
            return Ok(());
        }
        let chunks = self.store.chunks.clone();
        if self.store.env.blocking(move || has_chunks(&chunks)).await? {
            return Ok(());
        }
        Err(Error::NeedsRefresh {
            reason: format!(
                "the local chunk directory {} is empty, but the bucket held {left} chunks; is its \
                 file system mounted?",
                self.store.chunks.chunk_dir().display()
            ),
        })
    }
}

fn has_chunks(chunks: &ChunkStore) -> Result<bool> {
    // Ends at one of the first directories unless they are all empty.
    for directory in chunks.prefixes(0..=u16::MAX)? {
        let listing = chunks.list_prefix(directory)?;
        if listing
            .entries
            .iter()
            .any(|entry| entry.kind == EntryKind::Chunk)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
