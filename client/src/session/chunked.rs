//! Streams that are cut into chunks on their way into a session.

use std::io::{self, Write};
use std::mem;

use bytes::Bytes;

use super::upload::ChunkSink;
use crate::tree::chunker::{ChunkSize, Chunker, PayloadChunker};
use crate::tree::create::{PayloadSink, ReusedChunk};

/// Where a stream is cut.
pub trait Cut {
    /// How many of these bytes belong to the chunk that ends within them; 0 if none does.
    fn cut(&mut self, bytes: &[u8]) -> usize;
}

impl Cut for Chunker {
    fn cut(&mut self, bytes: &[u8]) -> usize {
        self.scan(bytes)
    }
}

impl Cut for PayloadChunker {
    fn cut(&mut self, bytes: &[u8]) -> usize {
        self.scan(bytes)
    }
}

/// Takes the chunks of an archive in their order.
pub trait Chunks {
    /// Takes the next one.
    fn store(&mut self, data: Bytes) -> io::Result<()>;

    /// Takes one that is known.
    fn append(&mut self, chunk: &ReusedChunk) -> io::Result<()>;

    /// That was the last one.
    fn finish(self) -> io::Result<()>;
}

impl Chunks for ChunkSink {
    fn store(&mut self, data: Bytes) -> io::Result<()> {
        Self::store(self, data)
    }

    fn append(&mut self, chunk: &ReusedChunk) -> io::Result<()> {
        Self::append(self, chunk.digest, chunk.size)
    }

    fn finish(self) -> io::Result<()> {
        Self::finish(self)
    }
}

/// A stream that goes into an archive of chunks. Writing blocks.
#[derive(Debug)]
pub struct ChunkedStream<C, S = ChunkSink> {
    cut: C,
    sink: S,
    /// The chunk that did not end yet.
    open: Vec<u8>,
    /// What is allocated for a chunk at first.
    usual: usize,
}

impl<C: Cut, S: Chunks> ChunkedStream<C, S> {
    /// A stream whose chunks have this size on average.
    pub fn new(cut: C, size: ChunkSize, sink: S) -> Self {
        Self {
            cut,
            sink,
            open: Vec::new(),
            usual: size.average(),
        }
    }

    /// That is all.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_chunk()?;
        self.sink.finish()
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        self.store()
    }

    fn store(&mut self) -> io::Result<()> {
        self.sink.store(Bytes::from(mem::take(&mut self.open)))
    }

    fn scan(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.cut.cut(rest) {
                0 => {
                    self.keep(rest);
                    break;
                }
                count => {
                    self.keep(&rest[..count]);
                    self.store()?;
                    rest = &rest[count..];
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.open.capacity() == 0 {
            self.open.reserve(self.usual);
        }
        self.open.extend_from_slice(bytes);
    }
}

impl<C: Cut, S: Chunks> Write for ChunkedStream<C, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scan(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A chunk ends where the stream's content says.
        Ok(())
    }
}

impl<S: Chunks> PayloadSink for ChunkedStream<PayloadChunker, S> {
    fn suggest_boundary(&mut self, position: u64) {
        self.cut.suggest(position);
    }

    fn inject(&mut self, chunks: &[ReusedChunk]) -> io::Result<()> {
        self.end_chunk()?;
        self.cut.inject(chunks.iter().map(|chunk| chunk.size).sum());
        for chunk in chunks {
            self.sink.append(chunk)?;
        }
        Ok(())
    }
}
