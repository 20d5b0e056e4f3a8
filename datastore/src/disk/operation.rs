//! What can be done to the disk.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::file_time::FileTime;

/// A file that is open for writing.
#[derive(Clone, Copy, Debug)]
pub struct OpenFile<'a> {
    /// The name under which it was opened; it may have another one by now.
    pub path: &'a Path,
    /// The open file itself, for its identity and for half a write.
    pub file: &'a File,
}

/// Metadata of a file or directory that is neither a name nor a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Permission bits.
    Mode(u32),
    /// User and group.
    Owner(u32, u32),
    /// Time of the last access.
    AccessTime(FileTime),
}

/// One change of the disk, or one wait for it.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A new, empty file. There was nothing at that path.
    CreateFile {
        /// Its path.
        path: &'a Path,
    },
    /// Bytes into a file.
    Write {
        /// Which file.
        file: OpenFile<'a>,
        /// Where; absent: at the file's position, or at its end if it was opened for appending.
        offset: Option<u64>,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Another length of a file.
    SetLen {
        /// Which file.
        file: OpenFile<'a>,
        /// The length.
        len: u64,
    },
    /// Another attribute of a file or directory.
    SetAttribute {
        /// Which one.
        path: &'a Path,
        /// The attribute.
        attribute: Attribute,
    },
    /// Another name; whatever had it is replaced.
    Rename {
        /// The old name.
        from: &'a Path,
        /// The new one.
        to: &'a Path,
    },
    /// A further name of a file.
    HardLink {
        /// The file.
        from: &'a Path,
        /// The new name.
        to: &'a Path,
    },
    /// Removal of a file's name.
    RemoveFile {
        /// The name.
        path: &'a Path,
    },
    /// A new, empty directory.
    CreateDir {
        /// Its path.
        path: &'a Path,
    },
    /// Removal of an empty directory.
    RemoveDir {
        /// Its path.
        path: &'a Path,
    },
    /// Waiting until a file's content is on disk.
    SyncFile {
        /// Which file.
        file: OpenFile<'a>,
    },
    /// Waiting until the names in a directory are on disk.
    SyncDir {
        /// Its path.
        path: &'a Path,
    },
    /// Waiting until everything on a file system is on disk.
    SyncFileSystem {
        /// A path on it.
        path: &'a Path,
    },
}

impl Operation<'_> {
    /// The file or directory that it is done to; of two, the first.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Write { file, .. } | Self::SetLen { file, .. } | Self::SyncFile { file } => {
                file.path
            }
            Self::Rename { from, .. } | Self::HardLink { from, .. } => from,
            Self::CreateFile { path }
            | Self::SetAttribute { path, .. }
            | Self::RemoveFile { path }
            | Self::CreateDir { path }
            | Self::RemoveDir { path }
            | Self::SyncDir { path }
            | Self::SyncFileSystem { path } => path,
        }
    }

    /// Whether it changes nothing and only waits for the disk.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(
            self,
            Self::SyncFile { .. } | Self::SyncDir { .. } | Self::SyncFileSystem { .. }
        )
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::CreateFile { .. } => write!(f, "create file {path}"),
            Self::Write { offset, bytes, .. } => {
                write!(f, "write {} bytes to {path}", bytes.len())?;
                offset.map_or(Ok(()), |offset| write!(f, " at {offset}"))
            }
            Self::SetLen { len, .. } => write!(f, "set length of {path} to {len}"),
            Self::SetAttribute { attribute, .. } => match attribute {
                Attribute::Mode(mode) => write!(f, "set mode of {path} to {mode:04o}"),
                Attribute::Owner(uid, gid) => write!(f, "set owner of {path} to {uid}:{gid}"),
                Attribute::AccessTime(time) => {
                    write!(f, "set access time of {path} to {}", time.secs())
                }
            },
            Self::Rename { to, .. } => write!(f, "rename {path} to {}", to.display()),
            Self::HardLink { to, .. } => write!(f, "link {path} as {}", to.display()),
            Self::RemoveFile { .. } => write!(f, "remove file {path}"),
            Self::CreateDir { .. } => write!(f, "create directory {path}"),
            Self::RemoveDir { .. } => write!(f, "remove directory {path}"),
            Self::SyncFile { .. } => write!(f, "sync file {path}"),
            Self::SyncDir { .. } => write!(f, "sync directory {path}"),
            Self::SyncFileSystem { .. } => write!(f, "sync file system of {path}"),
        }
    }
}
