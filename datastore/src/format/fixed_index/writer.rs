//! Writing `.fidx` files: chunks in any order, of known or growing size, or on top of a previous
//! index.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use api_types::digest::Digest;
use openssl::sha::Sha256;

use super::{DIGEST_LEN, FIXED_CHUNK_SIZE, FixedIndexReader, MAGIC};
use crate::format::FormatError;
use crate::format::index::body::Header;
use crate::format::index::temp::TempIndex;
use crate::format::index::{
    ClosedIndex, INDEX_HEADER_LEN, IndexFile, IndexIdentity, MAX_INDEX_ENTRIES,
};

const COPY_BUFFER: usize = 1 << 20;

/// A fixed index being written. Dropped without [`FixedIndexWriter::close`], it leaves nothing.
#[derive(Debug)]
pub struct FixedIndexWriter {
    temp: TempIndex,
    identity: IndexIdentity,
    size: u64,
    /// The size was not known at the start, and no chunk has shown the end of the image yet.
    growing: bool,
}

impl FixedIndexWriter {
    /// Starts the index `path` (`….fidx`) of an image of `size` bytes; without a size, the image
    /// ends with the first chunk that is shorter than the others.
    pub fn create(
        path: &Path,
        size: Option<u64>,
        identity: IndexIdentity,
    ) -> Result<Self, FormatError> {
        let name = || path.display().to_string();
        if size == Some(0) {
            return Err(FormatError::refused(
                name(),
                "an image has at least one byte",
            ));
        }
        let slots = size.unwrap_or(0).div_ceil(FIXED_CHUNK_SIZE);
        if slots > MAX_INDEX_ENTRIES {
            let why = format!("{slots} chunks are more than the {MAX_INDEX_ENTRIES} supported");
            return Err(FormatError::refused(name(), why));
        }
        let temp = TempIndex::create(path, "fidx")?;
        let writer = Self {
            temp,
            identity,
            size: size.unwrap_or(0),
            growing: size.is_none(),
        };
        // A reader that finds this file after a crash must not take it for a finished one.
        writer
            .temp
            .write_at(&writer.header(0, [0; 32]).encode(MAGIC), 0)?;
        writer.temp.set_len(INDEX_HEADER_LEN + slots * DIGEST_LEN)?;
        Ok(writer)
    }

    /// Starts an index with all digests of `previous`, to be overwritten where the image changed.
    ///
    /// Refused unless `previous` has the checksum that the client believes it has, and the new
    /// image as many chunks.
    pub fn create_reusing(
        path: &Path,
        size: u64,
        previous: &FixedIndexReader,
        expected_csum: &[u8; 32],
        identity: IndexIdentity,
    ) -> Result<Self, FormatError> {
        let refused = |why| FormatError::refused(path.display().to_string(), why);
        let (csum, _) = previous.compute_csum()?;
        if csum != *expected_csum {
            return Err(refused(format!(
                "expected csum ({}) doesn't match last backup's ({}), cannot do incremental backup",
                hex::encode(expected_csum),
                hex::encode(csum)
            )));
        }
        if previous.chunk_size() != FIXED_CHUNK_SIZE {
            let found = previous.chunk_size();
            return Err(refused(format!(
                "cannot reuse index with chunk size {found}"
            )));
        }
        let (old, new) = (previous.index_count(), size.div_ceil(FIXED_CHUNK_SIZE));
        if old != new {
            return Err(refused(format!(
                "cannot reuse index - index sizes not equal ({old} != {new})"
            )));
        }
        let writer = Self::create(path, Some(size), identity)?;
        writer.copy_digests(previous)?;
        Ok(writer)
    }

    fn copy_digests(&self, previous: &FixedIndexReader) -> Result<(), FormatError> {
        let failed = || FormatError::io("copy the previous index to", self.temp.name());
        let mut out = BufWriter::with_capacity(COPY_BUFFER, self.temp.file());
        out.seek(SeekFrom::Start(INDEX_HEADER_LEN))
            .map_err(failed())?;
        for entry in previous.entries() {
            out.write_all(entry?.digest.as_bytes()).map_err(failed())?;
        }
        out.flush().map_err(failed())
    }

    /// Length of the image: as given, or as far as it has grown.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of digests.
    #[must_use]
    pub fn index_count(&self) -> u64 {
        self.size.div_ceil(FIXED_CHUNK_SIZE)
    }

    /// Length of every chunk but the last.
    #[must_use]
    pub fn chunk_size(&self) -> u64 {
        FIXED_CHUNK_SIZE
    }

    /// Sets the chunk at `start`, of `len` bytes. Any order; a chunk may be set again.
    pub fn add_chunk(&mut self, start: u64, len: u64, digest: &Digest) -> Result<(), FormatError> {
        let size = self
            .size_with(start, len)
            .map_err(|why| FormatError::refused(self.temp.name(), why))?;
        let slot = start / FIXED_CHUNK_SIZE;
        self.temp
            .write_at(digest.as_bytes(), INDEX_HEADER_LEN + slot * DIGEST_LEN)?;
        self.size = size;
        self.growing &= size.is_multiple_of(FIXED_CHUNK_SIZE);
        Ok(())
    }

    /// The image's size once this chunk is set, or why it cannot be set.
    fn size_with(&self, start: u64, len: u64) -> Result<u64, String> {
        let end = start
            .checked_add(len)
            .ok_or("chunk data exceeds size (u64 overflow)")?;
        let size = if end <= self.size {
            self.size
        } else if !self.growing {
            return Err(format!("chunk data exceeds size ({end} > {})", self.size));
        } else if end.div_ceil(FIXED_CHUNK_SIZE) > MAX_INDEX_ENTRIES {
            return Err(format!("refusing to resize from {} to {end}", self.size));
        } else {
            end
        };
        let short_tail = end == size && len > 0 && len < FIXED_CHUNK_SIZE;
        if len != FIXED_CHUNK_SIZE && !short_tail {
            return Err(format!(
                "chunk with unexpected length ({len} != {FIXED_CHUNK_SIZE})"
            ));
        }
        if !start.is_multiple_of(FIXED_CHUNK_SIZE) {
            return Err(format!("got unaligned chunk (pos = {start})"));
        }
        Ok(size)
    }

    /// Completes the temporary file. Refused while a chunk is not set: a caller that counts may
    /// have counted one twice that was set twice.
    pub fn close(self) -> Result<ClosedIndex, FormatError> {
        let count = self.index_count();
        if count == 0 {
            return Err(FormatError::refused(self.temp.name(), "it has no chunks"));
        }
        let csum = self.hash_digests(count)?;
        let header = self.header(self.size, csum).encode(MAGIC);
        ClosedIndex::finish(self.temp, &header, csum, self.size, count)
    }

    fn hash_digests(&self, count: u64) -> Result<[u8; 32], FormatError> {
        let failed = || FormatError::io("read back index", self.temp.name());
        let mut file = self.temp.file();
        file.seek(SeekFrom::Start(INDEX_HEADER_LEN))
            .map_err(failed())?;
        let mut left = count * DIGEST_LEN;
        let mut buffer = vec![0; COPY_BUFFER];
        let mut hasher = Sha256::new();
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BUFFER);
            file.read_exact(&mut buffer[..len]).map_err(failed())?;
            let (digests, _) = buffer[..len].as_chunks::<32>();
            if let Some(hole) = digests.iter().position(|digest| *digest == [0; 32]) {
                let slot = count - left / DIGEST_LEN + hole as u64;
                let why = format!("no chunk was appended at {}", slot * FIXED_CHUNK_SIZE);
                return Err(FormatError::refused(self.temp.name(), why));
            }
            hasher.update(&buffer[..len]);
            left -= len as u64;
        }
        Ok(hasher.finish())
    }

    fn header(&self, size: u64, csum: [u8; 32]) -> Header {
        Header {
            identity: self.identity,
            csum,
            size,
            chunk_size: FIXED_CHUNK_SIZE,
        }
    }
}
