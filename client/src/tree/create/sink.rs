//! Where the payload of an archive in two parts goes, and the previous one.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use api_types::digest::Digest;
use pxar::ReadAt;

/// Takes the bytes of a payload stream, `X.ppxar`.
pub trait PayloadSink: Write {
    /// A file begins at this byte of the stream, which comes next
    /// ([`PayloadChunker::suggest`](crate::tree::chunker::PayloadChunker::suggest)).
    fn suggest_boundary(&mut self, position: u64);

    /// Ends the chunk that was begun, if any, and appends these chunks, which the server has from
    /// the previous backup.
    ///
    /// # Errors
    /// If the index cannot take them.
    fn inject(&mut self, chunks: &[ReusedChunk]) -> io::Result<()>;
}

impl<S: PayloadSink + ?Sized> PayloadSink for &mut S {
    fn suggest_boundary(&mut self, position: u64) {
        (**self).suggest_boundary(position);
    }

    fn inject(&mut self, chunks: &[ReusedChunk]) -> io::Result<()> {
        (**self).inject(chunks)
    }
}

/// A chunk of the previous backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReusedChunk {
    /// Its digest.
    pub digest: Digest,
    /// How long it is.
    pub size: u64,
}

/// The archive of the previous backup, in two parts.
#[derive(Clone)]
pub struct Previous {
    /// All of its `X.mpxar`.
    pub metadata: Arc<dyn ReadAt + Send + Sync>,
    /// The index of its `X.ppxar`.
    pub payload: Vec<PreviousChunk>,
}

impl fmt::Debug for Previous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Previous")
            .field("metadata", &self.metadata.size())
            .field("payload", &self.payload.len())
            .finish()
    }
}

/// An entry of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousChunk {
    /// Where the chunk ends in the stream.
    pub end: u64,
    /// Its digest.
    pub digest: Digest,
}

/// An archive in one part, which has no payload of its own.
pub(super) struct Unified<W>(pub W);

impl<W: Write> Write for Unified<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> PayloadSink for Unified<W> {
    fn suggest_boundary(&mut self, _position: u64) {}

    fn inject(&mut self, _chunks: &[ReusedChunk]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
