//! What is in a file, zeros left out.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// Zeros are left out by as many as this.
const BLOCK: usize = 4096;

/// Why a file could not be filled.
pub enum Failure {
    /// What goes into it cannot be read.
    Read(io::Error),
    /// It cannot be written.
    Write(Errno),
}

/// Fills files; keeps its memory from file to file.
pub struct Filler {
    buffer: Vec<u8>,
}

impl Filler {
    pub fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER],
        }
    }

    /// Writes all of `content` to an empty file; how many bytes. Blocks of zeros become holes.
    pub fn fill(&mut self, file: impl AsFd, content: &mut dyn Read) -> Result<u64, Failure> {
        let file = file.as_fd();
        let (mut position, mut hole) = (0_u64, false);
        loop {
            let len = self.read(content).map_err(Failure::Read)?;
            let bytes = self.buffer.get(..len).unwrap_or_default();
            if len > 0 {
                hole = write_sparse(file, bytes, position).map_err(Failure::Write)?;
            }
            position += len as u64;
            if len < BUFFER {
                break;
            }
        }
        if hole {
            ftruncate(file, position).map_err(Failure::Write)?;
        }
        Ok(position)
    }

    /// Writes a content that is in memory likewise.
    pub fn fill_from(file: impl AsFd, content: &[u8]) -> Result<u64, Failure> {
        let (file, len) = (file.as_fd(), content.len() as u64);
        if write_sparse(file, content, 0).map_err(Failure::Write)? {
            ftruncate(file, len).map_err(Failure::Write)?;
        }
        Ok(len)
    }

    /// Fills the buffer, unless the content ends before.
    fn read(&mut self, content: &mut dyn Read) -> io::Result<usize> {
        let mut len = 0;
        while let Some(room) = self.buffer.get_mut(len..).filter(|it| !it.is_empty()) {
            match content.read(room) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }
}

/// Writes what is not zero; whether the last block was.
fn write_sparse(file: BorrowedFd<'_>, bytes: &[u8], position: u64) -> Result<bool, Errno> {
    let mut pending = 0..0;
    let mut zero = false;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let start = number * BLOCK;
        zero = is_zero(block);
        if !zero {
            if pending.is_empty() {
                pending.start = start;
            }
            pending.end = start + block.len();
        }
        if zero || pending.end == bytes.len() {
            let run = bytes.get(pending.clone()).unwrap_or_default();
            write_all(file, run, position + pending.start as u64)?;
            pending = 0..0;
        }
    }
    Ok(zero)
}

fn is_zero(block: &[u8]) -> bool {
    // The first bytes tell it of nearly all others.
    let (head, rest) = block.split_at(block.len().min(16));
    head.iter().all(|byte| *byte == 0) && rest.iter().fold(0, |all, byte| all | byte) == 0
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut position: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, position) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                position += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_become_holes_and_nothing_else_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut filler = Filler::new();
        let ones = |len: usize| vec![1; len];
        for content in [
            vec![],
            vec![0],
            vec![0; 5000],
            ones(BUFFER),
            [ones(10), vec![0; 100_000], ones(3)].concat(),
            [vec![0; BUFFER], ones(1)].concat(),
            [ones(BUFFER + 1), vec![0; 2 * BUFFER]].concat(),
            [vec![0; 4096], ones(4096), vec![0; 4096], ones(4096)].concat(),
        ] {
            let file = File::create(&path).unwrap();
            let written = filler.fill(&file, &mut &content[..]);
            assert!(matches!(written, Ok(len) if len == content.len() as u64));
            assert_eq!(std::fs::read(&path).unwrap(), content);
            let file = File::create(&path).unwrap();
            let written = Filler::fill_from(&file, &content);
            assert!(matches!(written, Ok(len) if len == content.len() as u64));
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        let file = File::create(&path).unwrap();
        let filled = filler.fill(&file, &mut io::repeat(0).take(8 << 20));
        assert!(matches!(filled, Ok(len) if len == 8 << 20));
        assert_eq!(file.metadata().unwrap().blocks(), 0);
    }
}
