//! Reading `.didx` files.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use super::{ENTRY_LEN, MAGIC};
use crate::format::FormatError;
use crate::format::index::body::{Layout, Source};
use crate::format::index::{INDEX_HEADER_LEN, IndexBody, IndexFile, IndexIdentity};

/// A dynamic index opened for reading.
#[derive(Debug)]
pub struct DynamicIndexReader {
    identity: IndexIdentity,
    csum: [u8; 32],
    body: IndexBody,
}

impl DynamicIndexReader {
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
        let header = source.read_header(MAGIC, "dynamic index")?;
        let body_len = source.body_len();
        if body_len == 0 || !body_len.is_multiple_of(ENTRY_LEN) {
            let why = format!(
                "{body_len} bytes behind the header are not one or more entries of {ENTRY_LEN}"
            );
            return Err(source.corrupt(why));
        }
        let mut size = [0; 8];
        source.read_exact_at(&mut size, INDEX_HEADER_LEN + body_len - ENTRY_LEN)?;
        let size = u64::from_le_bytes(size);
        let count = body_len / ENTRY_LEN;
        if size < count {
            // Every chunk has at least one byte; the order of the others shows when they are read.
            return Err(source.corrupt(format!("{count} chunks cannot make {size} bytes")));
        }
        Ok(Self {
            identity: header.identity,
            csum: header.csum,
            body: IndexBody::new(source, Layout::Dynamic { size }, count),
        })
    }
}

impl IndexFile for DynamicIndexReader {
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
