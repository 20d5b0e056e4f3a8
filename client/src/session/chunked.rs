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

/// A stream that goes into an archive of chunks. Writing blocks.
#[derive(Debug)]
pub struct ChunkedStream<C> {
    cut: C,
    sink: ChunkSink,
    /// The chunk that did not end yet.
    open: Vec<u8>,
    /// What is allocated for a chunk at first.
    usual: usize,
}

impl<C: Cut> ChunkedStream<C> {
    /// A stream whose chunks have this size on average.
    pub fn new(cut: C, size: ChunkSize, sink: ChunkSink) -> Self {
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
        self.sink.store(Bytes::from(mem::take(&mut self.open)))
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.open.capacity() == 0 {
            self.open.reserve(self.usual);
        }
        self.open.extend_from_slice(bytes);
    }
}

impl<C: Cut> Write for ChunkedStream<C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.cut.cut(rest) {
                0 => {
                    self.keep(rest);
                    break;
                }
                count => {
                    self.keep(&rest[..count]);
                    self.end_chunk()?;
                    rest = &rest[count..];
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A chunk ends where the stream's content says.
        Ok(())
    }
}

impl PayloadSink for ChunkedStream<PayloadChunker> {
    fn suggest_boundary(&mut self, position: u64) {
        self.cut.suggest(position);
    }

    fn inject(&mut self, chunks: &[ReusedChunk]) -> io::Result<()> {
        self.end_chunk()?;
        self.cut.inject(chunks.iter().map(|chunk| chunk.size).sum());
        for chunk in chunks {
            self.sink.append(chunk.digest, chunk.size)?;
        }
        Ok(())
    }
}
