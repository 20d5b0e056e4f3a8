//! Images: blocks of one size from a file, a device or a pipe.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use bytes::Bytes;
use datastore::format::FIXED_CHUNK_SIZE;

use super::spec::Spec;
use crate::session::ChunkSink;
use crate::tree::sys::sparse::SparseReader;

/// What an image is read from.
#[derive(Debug)]
pub(super) struct Source {
    input: Input,
    size: Option<u64>,
}

#[derive(Debug)]
enum Input {
    /// A file, which may have holes, or a device.
    Sparse(SparseReader),
    Pipe(File),
}

/// What reading an image came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageEnd {
    /// Bytes that were announced and not there, stored as zeros.
    pub missing: u64,
}

impl Source {
    pub(super) fn open(spec: &Spec) -> Result<Self> {
        Self::new(spec).with_context(|| format!("failed to open '{}'", spec.source().display()))
    }

    fn new(spec: &Spec) -> Result<Self> {
        let pipe = |file| Self {
            input: Input::Pipe(file),
            size: None,
        };
        if spec.is_stdin() {
            // However long it is: some of it may have been read.
            return Ok(pipe(io::stdin().as_fd().try_clone_to_owned()?.into()));
        }
        let mut file = File::open(spec.source())?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Ok(pipe(file));
        }
        let size = file.seek(SeekFrom::End(0))?;
        ensure!(size > 0, "it is empty");
        Ok(Self {
            input: Input::Sparse(SparseReader::new(file.into(), size)),
            size: Some(size),
        })
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Hands all blocks to an upload. Blocks.
    pub(super) fn store(mut self, sink: ChunkSink) -> Result<ImageEnd> {
        let mut zeros = Zeros::default();
        let mut position = 0;
        let mut missing = 0;
        while let Some(wanted) = self.next_block(position) {
            if self.input.skip_hole(wanted) {
                zeros.store(&sink, wanted)?;
            } else {
                let mut block = Vec::with_capacity(usize::try_from(wanted)?);
                let read = (&mut self.input).take(wanted).read_to_end(&mut block);
                read.with_context(|| format!("failed to read it at byte {position}"))?;
                if self.size.is_some() {
                    missing += wanted - block.len() as u64;
                    block.resize(usize::try_from(wanted)?, 0);
                } else if block.is_empty() {
                    break;
                } else if (block.len() as u64) < wanted {
                    // The last one.
                    self.size = Some(position + block.len() as u64);
                }
                sink.store(block.into())?;
            }
            position += wanted;
        }
        ensure!(position > 0, "nothing came");
        sink.finish()?;
        Ok(ImageEnd { missing })
    }

    /// How long the block at `position` is, if there is one.
    fn next_block(&self, position: u64) -> Option<u64> {
        let left = self.size.map_or(FIXED_CHUNK_SIZE, |size| {
            size.saturating_sub(position).min(FIXED_CHUNK_SIZE)
        });
        (left > 0).then_some(left)
    }
}

impl Input {
    /// Skips a block of which the system knows that it is in a hole; whether it is.
    fn skip_hole(&mut self, length: u64) -> bool {
        let Self::Sparse(file) = self else {
            return false;
        };
        let is_hole = file.hole() >= length;
        if is_hole {
            file.skip(length);
        }
        is_hole
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Sparse(file) => file.read(buffer),
            Self::Pipe(pipe) => pipe.read(buffer),
        }
    }
}

/// Blocks of zeros, of which only the first is looked at.
#[derive(Debug, Default)]
struct Zeros(Option<(u64, Digest)>);

impl Zeros {
    fn store(&mut self, sink: &ChunkSink, length: u64) -> io::Result<()> {
        if let Some((known, digest)) = &self.0
            && *known == length
        {
            return sink.append(*digest, length);
        }
        let length_here = usize::try_from(length).map_err(io::Error::other)?;
        let block = Bytes::from(vec![0; length_here]);
        self.0 = Some((length, sink.digest(&block)));
        sink.store(block)
    }
}
