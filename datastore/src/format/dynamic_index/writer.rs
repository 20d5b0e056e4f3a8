//! Writing `.didx` files: strictly in order.

use std::path::Path;

use api_types::digest::Digest;
use openssl::sha::Sha256;

use super::{ENTRY_LEN, MAGIC};
use crate::format::FormatError;
use crate::format::index::body::Header;
use crate::format::index::temp::TempIndex;
use crate::format::index::{ClosedIndex, INDEX_HEADER_LEN, IndexIdentity, MAX_INDEX_ENTRIES};

/// Entries are written in blocks of about this many bytes.
const WRITE_BUFFER: usize = 64 << 10;

/// A dynamic index being written. Dropped without [`DynamicIndexWriter::close`], it leaves nothing.
pub struct DynamicIndexWriter {
    temp: TempIndex,
    identity: IndexIdentity,
    hasher: Sha256,
    pending: Vec<u8>,
    /// Where `pending` goes.
    pending_at: u64,
    size: u64,
    count: u64,
}

impl std::fmt::Debug for DynamicIndexWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamicIndexWriter")
            .field("temp", &self.temp)
            .field("size", &self.size)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl DynamicIndexWriter {
    /// Starts the index `path` (`….didx`).
    pub fn create(path: &Path, identity: IndexIdentity) -> Result<Self, FormatError> {
        let writer = Self {
            temp: TempIndex::create(path, "didx")?,
            identity,
            hasher: Sha256::new(),
            pending: Vec::new(),
            pending_at: INDEX_HEADER_LEN,
            size: 0,
            count: 0,
        };
        // A reader that finds this file after a crash must not take it for a finished one.
        writer
            .temp
            .write_at(&writer.header([0; 32]).encode(MAGIC), 0)?;
        writer.temp.set_len(INDEX_HEADER_LEN)?;
        Ok(writer)
    }

    /// Length of the archive so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of entries so far.
    #[must_use]
    pub fn index_count(&self) -> u64 {
        self.count
    }

    /// Appends a chunk of `len` bytes; `start` must be where the one before it ended.
    pub fn add_chunk(&mut self, start: u64, len: u64, digest: &Digest) -> Result<(), FormatError> {
        let refused = |why| Err(FormatError::refused(self.temp.name(), why));
        if start != self.size {
            return refused(format!(
                "append chunk failed - got strange chunk offset ({start} != {})",
                self.size
            ));
        }
        if len == 0 {
            return refused(format!("got an empty chunk at {start}"));
        }
        let Some(end) = start
            .checked_add(len)
            .filter(|_| self.count < MAX_INDEX_ENTRIES)
        else {
            return refused(format!("the archive got too long at {start}"));
        };
        let entry_at = self.pending.len();
        self.pending.extend_from_slice(&end.to_le_bytes());
        self.pending.extend_from_slice(digest.as_bytes());
        self.hasher.update(&self.pending[entry_at..]);
        self.size = end;
        self.count += 1;
        if self.pending.len() >= WRITE_BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), FormatError> {
        // Written by position: upon an error the same bytes go to the same place next time.
        self.temp.write_at(&self.pending, self.pending_at)?;
        self.pending.clear();
        self.pending_at = INDEX_HEADER_LEN + self.count * ENTRY_LEN;
        Ok(())
    }

    /// Completes the temporary file.
    pub fn close(mut self) -> Result<ClosedIndex, FormatError> {
        if self.count == 0 {
            return Err(FormatError::refused(self.temp.name(), "it has no chunks"));
        }
        self.flush()?;
        let csum = std::mem::take(&mut self.hasher).finish();
        let header = self.header(csum).encode(MAGIC);
        ClosedIndex::finish(self.temp, &header, csum, self.size, self.count)
    }

    fn header(&self, csum: [u8; 32]) -> Header {
        Header {
            identity: self.identity,
            csum,
            size: 0,
            chunk_size: 0,
        }
    }
}
