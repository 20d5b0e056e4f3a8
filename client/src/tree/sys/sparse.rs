//! Reading files without the zeros that are in no block of theirs.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::{Errno, Result, pread};

/// Files up to this length are just read: to ask for their holes would cost more than it saves.
const WORTH_ASKING: u64 = 64 << 10;

/// Reads a file from its beginning. What the system knows to be a hole is given as zeros, and not
/// read.
#[derive(Debug)]
pub struct SparseReader {
    file: OwnedFd,
    position: u64,
    /// What is here, up to where.
    extent: Extent,
    /// Whether the system is asked.
    ask: bool,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    hole: bool,
    end: u64,
}

impl SparseReader {
    /// Of a regular file or a block device, which is said to be so long.
    #[must_use]
    pub fn new(file: OwnedFd, size: u64) -> Self {
        Self {
            file,
            position: 0,
            extent: Extent {
                hole: false,
                end: 0,
            },
            ask: size > WORTH_ASKING,
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// How many bytes from here on are known to be zeros.
    pub fn hole(&mut self) -> u64 {
        let extent = self.extent();
        match extent.hole {
            true => extent.end - self.position,
            false => 0,
        }
    }

    /// Goes on behind so many bytes, as after reading them.
    pub fn skip(&mut self, count: u64) {
        self.position += count;
    }

    /// Reads some of what comes next; nothing at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let extent = self.extent();
        let left = usize::try_from(extent.end - self.position).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let count = match extent.hole {
            true => {
                buffer.fill(0);
                room
            }
            false => pread(&self.file, buffer, self.position)?,
        };
        self.position += count as u64;
        Ok(count)
    }

    fn extent(&mut self) -> Extent {
        if self.position < self.extent.end && self.extent.hole {
            // The file may have become shorter: then that was the end of it.
            let length = fstat(&self.file).map_or(0, |stat| stat.st_size);
            let length = u64::try_from(length).unwrap_or_default();
            self.extent.end = self.extent.end.min(length);
        }
        if self.position >= self.extent.end {
            self.extent = self.find();
        }
        self.extent
    }

    /// Asks what is here. What the system cannot say is read.
    fn find(&mut self) -> Extent {
        let data = |end| Extent { hole: false, end };
        if !self.ask {
            return data(u64::MAX);
        }
        let position = self.position;
        let hole = |end| Extent { hole: true, end };
        let found = match seek(&self.file, SeekFrom::Data(position)) {
            Ok(start) if start > position => Ok(hole(start)),
            Ok(_) => seek(&self.file, SeekFrom::Hole(position)).map(data),
            // All the rest is a hole, or there is no rest.
            Err(Errno::NXIO) => fstat(&self.file).map(|stat| {
                let length = u64::try_from(stat.st_size).unwrap_or_default();
                match length > position {
                    true => hole(length),
                    false => data(u64::MAX),
                }
            }),
            Err(error) => Err(error),
        };
        match found {
            Ok(extent) if extent.end > position => extent,
            _ => {
                self.ask = false;
                data(u64::MAX)
            }
        }
    }
}

impl Read for SparseReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_some(buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// Bytes that this thread has got from the system by reading.
    fn read_by_thread() -> u64 {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse().unwrap()
    }

    #[test]
    fn holes_are_zeros_that_are_not_read() {
        const MIB: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 * MIB + 7).unwrap();
        for at in [3 * MIB, 40 * MIB] {
            file.write_all_at(&[5; 100_000], at).unwrap();
        }
        let mut expected = Vec::new();
        File::read_to_end(&mut file.try_clone().unwrap(), &mut expected).unwrap();
        let mut reader = SparseReader::new(file.try_clone().unwrap().into(), 64 * MIB);
        assert_eq!(reader.hole(), 3 * MIB);
        let before = read_by_thread();
        let mut all = Vec::with_capacity(expected.len() + 1);
        reader.read_to_end(&mut all).unwrap();
        let read = read_by_thread() - before;
        assert!(all == expected);
        assert!((200_000..MIB).contains(&read), "{read} bytes were read");
        assert_eq!((reader.hole(), reader.position), (0, 64 * MIB + 7));
        // It shrinks and grows meanwhile.
        let mut reader = SparseReader::new(file.try_clone().unwrap().into(), 64 * MIB);
        reader.skip(49 * MIB);
        assert_eq!(reader.hole(), 15 * MIB + 7);
        file.set_len(50 * MIB).unwrap();
        assert_eq!(reader.hole(), MIB);
        reader.skip(MIB);
        assert_eq!(reader.read_some(&mut [1; 9]).unwrap(), 0);
        file.write_all_at(b"more", 50 * MIB).unwrap();
        let mut more = [0; 9];
        let count = reader.read_some(&mut more).unwrap();
        assert_eq!(&more[..count], b"more");
    }

    #[test]
    fn what_has_no_holes_is_read() {
        let mut zeros = SparseReader::new(File::open("/dev/zero").unwrap().into(), u64::MAX);
        let mut buffer = [1; 10];
        assert_eq!((zeros.hole(), zeros.read_some(&mut buffer)), (0, Ok(10)));
        assert_eq!(buffer, [0; 10]);
    }
}
