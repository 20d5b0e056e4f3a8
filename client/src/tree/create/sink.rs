//! Where the payload of an archive in two parts goes, and the previous one.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use api_types::digest::Digest;
use pxar::ReadAt;

/// How many bytes of a payload are scanned at once. Where they are cut depends on it; with this
/// many, upstream's chunks of the same files come out.
pub const PIECE: usize = 4 << 20;

/// Takes the bytes of a payload stream, `X.ppxar`: [`PIECE`] of them at once, unless the stream or a
/// part of it ends.
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

/// Gathers what goes to a sink.
pub(super) struct Gathered<P> {
    sink: P,
    piece: Vec<u8>,
}

impl<P: PayloadSink> Gathered<P> {
    pub fn new(sink: P) -> Self {
        let piece = Vec::with_capacity(PIECE);
        Self { sink, piece }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.sink.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

impl<P: PayloadSink> Write for Gathered<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.piece.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(taken);
        if taken.len() == room {
            self.pass_on()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.sink.flush()
    }
}

impl<P: PayloadSink> PayloadSink for Gathered<P> {
    fn suggest_boundary(&mut self, position: u64) {
        self.sink.suggest_boundary(position);
    }

    fn inject(&mut self, chunks: &[ReusedChunk]) -> io::Result<()> {
        self.pass_on()?;
        self.sink.inject(chunks)
    }
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
