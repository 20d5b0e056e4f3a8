//! The names in a directory.

use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::{Errno, Result};

/// Bytes of names that the kernel is asked for at once.
const BUFFER: usize = 256 << 10;

/// The names in a directory, in ascending order of their bytes. One piece of memory has them all.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    names: Vec<Name>,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    start: usize,
    len: usize,
    kind: FileType,
}

impl Names {
    /// Reads them; `buffer` is kept from directory to directory.
    pub fn read(directory: impl AsFd, buffer: &mut Vec<u8>) -> Result<Self> {
        buffer.clear();
        buffer.reserve(BUFFER);
        let mut found = Self::default();
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // Removed while it is read: nothing more is in it.
                Err(Errno::NOENT) => break,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            found.names.push(Name {
                start: found.bytes.len(),
                len: name.len(),
                kind: entry.file_type(),
            });
            found.bytes.extend_from_slice(name);
        }
        let bytes = &found.bytes;
        found
            .names
            .sort_unstable_by(|a, b| a.of(bytes).cmp(b.of(bytes)));
        Ok(found)
    }

    /// Whether this name is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        let found = self
            .names
            .binary_search_by(|other| other.of(&self.bytes).cmp(name));
        found.is_ok()
    }

    /// Appends the next name to `path`; gives its type, if the file system says that.
    pub fn next(&mut self, path: &mut Vec<u8>) -> Option<FileType> {
        let name = self.names.get(self.next)?;
        self.next += 1;
        path.extend_from_slice(name.of(&self.bytes));
        Some(name.kind)
    }
}

impl Name {
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}
