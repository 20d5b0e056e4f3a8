//! Reading `.fidx` files.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use super::{DIGEST_LEN, MAGIC};
use crate::format::FormatError;
use crate::format::index::body::{Layout, Source};
use crate::format::index::{IndexBody, IndexFile, IndexIdentity};

/// A fixed index opened for reading.
#[derive(Debug)]
pub struct FixedIndexReader {
    identity: IndexIdentity,
    csum: [u8; 32],
    chunk_size: u64,
    body: IndexBody,
}

impl FixedIndexReader {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(FormatError::io("open index", name.as_str()))?;
        Self::from_file(file, name)
    }

    /// Reads an open file; `name` is for errors.
    pub fn from_file(file: File, name: impl Into<String>) -> Result<Self, FormatError> {
        Self::new(Source::file(file, name)?)
    }

    /// Reads from memory; `name` is for errors.
    pub fn from_bytes(bytes: Bytes, name: impl Into<String>) -> Result<Self, FormatError> {
        Self::new(Source::bytes(bytes, name))
    }

    fn new(source: Source) -> Result<Self, FormatError> {
        let header = source.read_header(MAGIC, "fixed index")?;
        let (size, chunk_size) = (header.size, header.chunk_size);
        if !chunk_size.is_power_of_two() {
            return Err(source.corrupt(format!("chunk size {chunk_size} is not a power of two")));
        }
        let count = size.div_ceil(chunk_size);
        if count == 0 {
            return Err(source.corrupt("it describes an empty image"));
        }
        let body_len = source.body_len();
        if count.checked_mul(DIGEST_LEN) != Some(body_len) {
            let why = format!(
                "{body_len} bytes behind the header do not hold the {count} digests of an image of {size} bytes"
            );
            return Err(source.corrupt(why));
        }
        Ok(Self {
            identity: header.identity,
            csum: header.csum,
            chunk_size,
            body: IndexBody::new(source, Layout::Fixed { size, chunk_size }, count),
        })
    }

    /// Length of every chunk but the last.
    #[must_use]
    pub fn chunk_size(&self) -> u64 {
        self.chunk_size
    }
}

impl IndexFile for FixedIndexReader {
    fn identity(&self) -> IndexIdentity {
        self.identity
    }

    fn header_csum(&self) -> [u8; 32] {
        self.csum
    }

    fn body(&self) -> &IndexBody {
        &self.body
    }
}
