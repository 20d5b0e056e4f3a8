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

/// What an image is read from.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    size: Option<u64>,
    /// Whether the file may have holes, and the system says where.
    holes: bool,
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
        if spec.is_stdin() {
            // However long it is: some of it may have been read.
            let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Ok(Self {
                file,
                size: None,
                holes: false,
            });
        }
        let mut file = File::open(spec.source())?;
        let kind = file.metadata()?.file_type();
        let size = match kind.is_file() || kind.is_block_device() {
            true => Some(file.seek(SeekFrom::End(0))?),
            false => None,
        };
        ensure!(size != Some(0), "it is empty");
        if size.is_some() {
            file.rewind()?;
        }
        Ok(Self {
            file,
            size,
            holes: kind.is_file(),
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
            if self.is_hole(position, wanted) {
                zeros.store(&sink, wanted)?;
                self.file.seek(SeekFrom::Start(position + wanted))?;
            } else {
                let mut block = Vec::with_capacity(usize::try_from(wanted)?);
                let read = (&mut self.file).take(wanted).read_to_end(&mut block);
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

    /// Whether the system knows that nothing but zeros is there.
    fn is_hole(&mut self, position: u64, length: u64) -> bool {
        use rustix::fs::SeekFrom;
        if !self.holes {
            return false;
        }
        let hole = match rustix::fs::seek(&self.file, SeekFrom::Data(position)) {
            Ok(data) => data >= position + length,
            // There is no data behind, or the file system cannot say.
            Err(rustix::io::Errno::NXIO) => self.size.is_some_and(|size| {
                let end = rustix::fs::seek(&self.file, SeekFrom::End(0));
                end.is_ok_and(|end| end >= size)
            }),
            Err(_) => {
                self.holes = false;
                false
            }
        };
        if !hole && rustix::fs::seek(&self.file, SeekFrom::Start(position)).is_err() {
            self.holes = false;
        }
        hole
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
