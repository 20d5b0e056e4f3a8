//! Reading an index from its first to its last entry: large blocks, hashed on the way.

use api_types::digest::Digest;
use openssl::sha::Sha256;

use super::body::Layout;
use super::{ChunkReadInfo, INDEX_HEADER_LEN, IndexBody, IndexSummary};
use crate::format::FormatError;

/// Entries per block: about 256 KiB, so that it is still in the cache when it has been hashed.
const ENTRIES_PER_BLOCK: u64 = 1 << 13;

/// A stream of entries; one block of them is in memory. After an error it stays at its end.
pub struct IndexEntries<'a> {
    body: &'a IndexBody,
    block: Vec<u8>,
    /// First byte of the block that was not yielded.
    at: usize,
    /// Number of the next entry.
    next: u64,
    previous_end: u64,
    hasher: Sha256,
    failed: bool,
}

impl std::fmt::Debug for IndexEntries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexEntries")
            .field("body", &self.body)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<'a> IndexEntries<'a> {
    pub(super) fn new(body: &'a IndexBody) -> Self {
        Self {
            body,
            block: Vec::new(),
            at: 0,
            next: 0,
            previous_end: 0,
            hasher: Sha256::new(),
            failed: false,
        }
    }

    /// The next entry; checks that offsets ascend.
    pub fn next_entry(&mut self) -> Result<Option<ChunkReadInfo>, FormatError> {
        if self.failed || self.next >= self.body.count() {
            return Ok(None);
        }
        let entry = self.read_entry();
        self.failed = entry.is_err();
        entry.map(Some)
    }

    fn read_entry(&mut self) -> Result<ChunkReadInfo, FormatError> {
        let entry_len = if self.body.layout().entry_len() == 32 {
            32
        } else {
            40
        };
        if self.at >= self.block.len() {
            self.read_block()?;
        }
        let entry = &self.block[self.at..self.at + entry_len];
        let info = self
            .body
            .decode_entry(self.next, self.previous_end, entry)?;
        self.at += entry_len;
        self.next += 1;
        self.previous_end = info.range.end;
        Ok(info)
    }

    /// Adds the digests of the next block to `digests`; `false` at the end. The same checks as entry
    /// by entry, at the speed of copying.
    pub fn next_digests(&mut self, digests: &mut Vec<Digest>) -> Result<bool, FormatError> {
        if self.failed || self.next >= self.body.count() {
            return Ok(false);
        }
        let read = self.read_digests(digests);
        self.failed = read.is_err();
        read.map(|()| true)
    }

    fn read_digests(&mut self, digests: &mut Vec<Digest>) -> Result<(), FormatError> {
        if self.at >= self.block.len() {
            self.read_block()?;
        }
        let body = self.body;
        match body.layout() {
            Layout::Fixed { .. } => {
                let (entries, _) = self.block[self.at..].as_chunks::<32>();
                digests.extend(entries.iter().map(|entry| Digest::from_bytes(*entry)));
                self.next += entries.len() as u64;
            }
            Layout::Dynamic { .. } => {
                let (entries, _) = self.block[self.at..].as_chunks::<40>();
                for entry in entries {
                    let info = body.decode_entry(self.next, self.previous_end, entry)?;
                    digests.push(info.digest);
                    self.next += 1;
                    self.previous_end = info.range.end;
                }
            }
        }
        self.at = self.block.len();
        Ok(())
    }

    fn read_block(&mut self) -> Result<(), FormatError> {
        let entry_len = self.body.layout().entry_len();
        let count = (self.body.count() - self.next).min(ENTRIES_PER_BLOCK);
        let length = usize::try_from(count * entry_len).unwrap_or(0);
        self.block.resize(length, 0);
        self.at = 0;
        let offset = INDEX_HEADER_LEN + self.next * entry_len;
        self.body.source().read_exact_at(&mut self.block, offset)?;
        self.hasher.update(&self.block);
        Ok(())
    }

    /// Reads what is left; gives checksum, length and count of the whole index.
    pub fn finish(mut self) -> Result<IndexSummary, FormatError> {
        while self.next_entry()?.is_some() {}
        if self.failed {
            return Err(self
                .body
                .source()
                .corrupt("an earlier part of it could not be read"));
        }
        Ok(IndexSummary {
            csum: self.hasher.finish(),
            size: self.body.size(),
            count: self.body.count(),
        })
    }

    /// The digests alone.
    pub fn digests(self) -> impl Iterator<Item = Result<Digest, FormatError>> + 'a {
        self.map(|entry| entry.map(|entry| entry.digest))
    }
}

impl Iterator for IndexEntries<'_> {
    type Item = Result<ChunkReadInfo, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
