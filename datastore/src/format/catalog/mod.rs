//! The catalog of a snapshot, `catalog.pcat1`: names of all files of its archives
//! (formats.md §7).
//!
//! A block per directory, children before parents; the last eight bytes say where the block of the
//! root is. The root has one directory per archive.

mod reader;
#[cfg(test)]
mod tests;
mod varint;
mod walk;
mod writer;

pub use reader::{CatalogReader, CatalogTable};
pub use walk::{CatalogPath, CatalogWalk};
pub use writer::CatalogWriter;

const OBJECT: &str = "catalog";
const MAGIC: [u8; 8] = [0x91, 0xfd, 0x60, 0xf9, 0xc4, 0x67, 0x58, 0xd5];
/// Names are shorter than this.
const NAME_LIMIT: usize = 4096;

/// What a name in the catalog stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// A directory.
    Directory {
        /// Where the block with its entries starts.
        block: u64,
    },
    /// A regular file.
    File {
        /// Its length.
        size: u64,
        /// Its modification time, seconds since the epoch.
        mtime: i64,
    },
    /// A symbolic link.
    Symlink,
    /// A further name of a file.
    Hardlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl CatalogKind {
    fn type_byte(self) -> u8 {
        match self {
            Self::Directory { .. } => b'd',
            Self::File { .. } => b'f',
            Self::Symlink => b'l',
            Self::Hardlink => b'h',
            Self::BlockDevice => b'b',
            Self::CharDevice => b'c',
            Self::Fifo => b'p',
            Self::Socket => b's',
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The name: any bytes but NUL and `/`.
    pub name: Vec<u8>,
    /// What it stands for.
    pub kind: CatalogKind,
}

/// Why these bytes cannot be the name of a directory entry.
fn name_error(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." {
        return Some("empty, '.' and '..' are not names of entries");
    }
    if name.len() >= NAME_LIMIT {
        return Some("a name has less than 4096 bytes");
    }
    name.iter()
        .any(|b| matches!(b, 0 | b'/'))
        .then_some("a name has no NUL and no '/'")
}
