//! What is in a file, while others may be at it.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use super::found::FoundFile;
use crate::tree::observer::Problem;
use crate::tree::sys::open::allow_to_wait;
use crate::tree::sys::sparse::SparseReader;

/// Reads a file, and knows afterwards whether that went well.
pub struct Content {
    file: SparseReader,
    /// How long it is said to be, and when it was changed last.
    size: u64,
    mtime: (i64, u32),
    position: u64,
    error: Option<Errno>,
}

impl Content {
    pub fn new(content: OwnedFd, found: &FoundFile) -> Self {
        // Where that fails, reading does too.
        let _ = allow_to_wait(&content);
        let mtime = found.metadata.stat.mtime;
        Self {
            size: found.size,
            mtime: (mtime.secs, mtime.nanos),
            file: SparseReader::new(content, found.size),
            position: 0,
            error: None,
        }
    }

    /// What was wrong, when this many bytes were missing in the end.
    pub fn problem(&self, missing: u64) -> Option<Problem> {
        if let Some(error) = self.error {
            let source = io::Error::from(error);
            return Some(Problem::Unread { missing, source });
        }
        if missing > 0 {
            return Some(Problem::Shrank { missing });
        }
        let stat = fstat(self.file.file()).ok()?;
        if length(&stat) > self.size {
            return Some(Problem::Grew { size: self.size });
        }
        let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()?);
        // The time of change says nothing: names that come and go change it too.
        (mtime != self.mtime).then_some(Problem::Changed)
    }

    /// The end was met. If the file is not shorter than it was, that is not for real: it would never
    /// be seen to have changed, and what is missing would stay so in all later backups.
    fn end(&self) -> Result<(), Errno> {
        let ended_early =
            self.position < self.size && length(&fstat(self.file.file())?) >= self.size;
        match ended_early {
            true => Err(Errno::IO),
            false => Ok(()),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = !buffer.is_empty();
        let read = match self.file.read_some(buffer) {
            Ok(0) if wanted => self.end().map(|()| 0),
            read => read,
        };
        match read {
            Err(Errno::INTR) => {}
            Err(error) => self.error = Some(error),
            Ok(count) => self.position += count as u64,
        }
        Ok(read?)
    }
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pxar::Metadata;

    use super::*;
    use crate::tree::create::found::Identity;
    use crate::tree::create::parent::{Directory, Parent};

    fn content(size: u64, file: OwnedFd) -> Content {
        let directory = std::fs::File::open("/").unwrap().into();
        let directory = Directory::new(directory, &fstat(&file).unwrap());
        let identity = Identity::of(&fstat(&file).unwrap());
        let found = FoundFile {
            path: b"f".to_vec(),
            parent: Parent::closed(&directory),
            metadata: Box::new(Metadata::default()),
            size,
            identity,
            linked: false,
            content: None,
            previous: None,
            told: Vec::new(),
        };
        Content::new(file, &found)
    }

    #[test]
    fn an_end_is_believed_only_of_a_file_that_shrank() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let mut shrunken = content(20, file.try_clone().unwrap().into());
        let mut all = Vec::new();
        shrunken.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 10);
        assert!(matches!(
            shrunken.problem(10),
            Some(Problem::Shrank { missing: 10 })
        ));
        // At the end of the file, though it is as long as it was.
        let mut early = content(10, file.into());
        early.file.skip(10);
        assert!(early.read_to_end(&mut all).is_err());
        assert!(matches!(early.problem(10), Some(Problem::Unread { .. })));
    }

    #[test]
    fn a_change_is_noticed() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1).unwrap();
        let stat = fstat(&file).unwrap();
        let mut read = content(1, file.try_clone().unwrap().into());
        read.mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap());
        assert!(read.problem(0).is_none());
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(matches!(read.problem(0), Some(Problem::Changed)));
    }
}
