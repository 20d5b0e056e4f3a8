//! The file formats: what is stored, byte for byte.
//!
//! - [`blob`]: the container of every chunk and of every `*.blob` file, with its encryption
//!   ([`crypt`]);
//! - [`index`]: what both kinds of index files share; [`fixed_index`] and [`dynamic_index`] their
//!   readers and writers;
//! - [`manifest`]: `index.json.blob`, its signature and its unprotected part, on top of
//!   [`canonical_json`];
//! - [`key`]: key files and the RSA-encrypted key; [`catalog`]: the list of file names;
//! - [`zero_chunk`]: the chunk of zeros.
//!
//! Everything read here may be hostile: no reader panics, and none allocates by a length that it
//! has not compared with the length of its input or with a limit.

pub mod blob;
pub mod canonical_json;
pub mod catalog;
pub mod crypt;
pub mod dynamic_index;
mod error;
pub mod fixed_index;
pub mod index;
pub mod key;
pub mod manifest;
#[cfg(test)]
mod test_vectors;
pub mod zero_chunk;

pub use blob::{
    BlobKind, DataBlob, MAX_BLOB_PLAIN, MAX_CHUNK_ENCODED, MAX_CHUNK_PLAIN, MIN_BLOB_ENCODED,
};
pub use crypt::CryptConfig;
pub use dynamic_index::{DynamicIndexReader, DynamicIndexWriter};
pub use error::FormatError;
pub use fixed_index::{FIXED_CHUNK_SIZE, FixedIndexReader, FixedIndexWriter};
pub use index::{
    AnyIndexReader, ChunkReadInfo, ClosedIndex, IndexEntries, IndexFile, IndexIdentity,
    IndexSummary,
};
pub use key::{Kdf, KeyConfig};
pub use manifest::{ChunkUploadStats, FileInfo, Manifest, SignatureStatus};
