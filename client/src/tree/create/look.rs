//! Looking at one file.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use pxar::{Body, Device, Entry, Metadata};
use rustix::fs::{FileType, OFlags, Stat, fstat, major, minor, readlinkat};
use rustix::io::Errno;

use super::found::{Found, FoundFile, Identity, Inside, Told, What};
use super::metadata::MetadataReader;
use super::parent::{Directory, OpenDirectories, Parent};
use super::siblings::unchanged;
use super::small;
use crate::tree::observer::Problem;
use crate::tree::report::refusal;
use crate::tree::sys::open::{open_for_reading, open_path};
use crate::tree::sys::xattr::Handle;

/// An open file.
pub struct Opened {
    pub file: OwnedFd,
    pub stat: Stat,
    /// It can be read; otherwise it is there by its path only.
    readable: bool,
}

impl Opened {
    /// What was opened to be read.
    pub fn readable(file: OwnedFd, stat: Stat) -> Self {
        Self {
            file,
            stat,
            readable: true,
        }
    }

    /// Opens a file, for reading if it is a directory or a regular file.
    pub fn open(directory: &OwnedFd, name: &[u8], kind: FileType) -> rustix::io::Result<Self> {
        let mut readable = true;
        let file = match kind {
            FileType::RegularFile => open_for_reading(directory, name, OFlags::empty()),
            FileType::Directory => open_for_reading(directory, name, OFlags::DIRECTORY),
            _ => Err(Errno::LOOP),
        };
        let file = match file {
            // Not what its directory said, or not to be read at all.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {
                readable = false;
                open_path(directory, name)?
            }
            file => file?,
        };
        let stat = fstat(file.as_fd())?;
        let opened = Self {
            file,
            stat,
            readable,
        };
        match opened.kind() {
            // It became one since its directory was read.
            kind @ (FileType::RegularFile | FileType::Directory) if !readable => {
                let flags = match kind {
                    FileType::Directory => OFlags::DIRECTORY,
                    _ => OFlags::empty(),
                };
                let file = open_for_reading(directory, name, flags)?;
                let stat = fstat(&file)?;
                Ok(Self::readable(file, stat))
            }
            _ => Ok(opened),
        }
    }

    pub fn handle(&self) -> Handle<'_> {
        match self.readable {
            true => Handle::new(&self.file),
            false => Handle::path_only(&self.file),
        }
    }

    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Something that is no directory, of which only the name is known.
#[derive(Debug)]
pub struct Unseen {
    /// Where it is.
    pub directory: Arc<Directory>,
    /// From the root.
    pub path: Vec<u8>,
    /// Where its name begins there.
    pub name: usize,
    /// What its directory says it is.
    pub kind: FileType,
    /// What the previous archive has by this path.
    pub previous: Option<Entry>,
}

/// Looks at files; keeps its memory from file to file.
pub struct Looker {
    reader: MetadataReader,
    /// What may be taken along of the files of this batch.
    room: Room,
}

/// What may be taken along of files: so much is open or in memory for a batch.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// Bytes of small files that are read.
    pub bytes: usize,
    /// Files that stay open.
    pub files: usize,
    /// Directories of other files that stay open.
    pub directories: OpenDirectories,
}

impl Room {
    /// The open file, unless there are too many of them: it is opened again then when it is its turn.
    fn keep(&mut self, file: OwnedFd) -> Option<Inside> {
        self.files = self.files.checked_sub(1)?;
        Some(Inside::Open(file))
    }
}

impl Looker {
    pub fn new() -> Self {
        Self {
            reader: MetadataReader::new(),
            room: Room::default(),
        }
    }

    /// Allows so much to be taken along from now on.
    pub fn allow(&mut self, room: Room) {
        self.room = room;
    }

    /// Looks at a file, and reads it if it is small; nothing if that is not possible.
    pub fn look(&mut self, unseen: Unseen, told: &mut Told) -> What {
        let name = unseen.path.get(unseen.name..).unwrap_or_default();
        let opened = match Opened::open(&unseen.directory.file, name, unseen.kind) {
            Ok(opened) => opened,
            Err(error) => {
                told.push((unseen.path, refusal("open", error)));
                return What::Nothing;
            }
        };
        let mut texts = Vec::new();
        let mut problem = |problem: Problem| {
            texts.push(problem.to_string());
            told.push((unseen.path.clone(), problem));
        };
        let metadata = self
            .reader
            .read(opened.handle(), &opened.stat, &mut problem);
        let body = match opened.kind() {
            FileType::RegularFile => {
                return What::Found(self.file(unseen, metadata, opened, texts));
            }
            FileType::Symlink => match readlinkat(&opened.file, c"", Vec::new()) {
                Ok(target) => Body::Symlink(target.into_bytes()),
                Err(error) => {
                    problem(refusal("read", error));
                    return What::Nothing;
                }
            },
            FileType::BlockDevice => Body::BlockDevice(device(&opened.stat)),
            FileType::CharacterDevice => Body::CharDevice(device(&opened.stat)),
            FileType::Fifo => Body::Fifo,
            FileType::Socket => Body::Socket,
            // The walk has passed by, it cannot be entered any more.
            FileType::Directory => {
                problem(Problem::Replaced);
                return What::Nothing;
            }
            FileType::Unknown => {
                problem(refusal("read", Errno::NOTSUP));
                return What::Nothing;
            }
        };
        What::Found(Found::Other {
            path: unseen.path,
            metadata: Box::new(metadata),
            body,
        })
    }

    fn file(
        &mut self,
        unseen: Unseen,
        metadata: Metadata,
        opened: Opened,
        told: Vec<String>,
    ) -> Found {
        let size = u64::try_from(opened.stat.st_size).unwrap_or_default();
        let previous = unseen.previous;
        let previous = previous.and_then(|it| unchanged(&it, &metadata, size));
        let linked = opened.stat.st_nlink > 1;
        let identity = Identity::of(&opened.stat);
        let content = match (previous, linked) {
            // Of what did not change, nothing is read; there may be more of it than files can be
            // open.
            (Some(_), _) => None,
            // Nor of a further name.
            (None, true) if opened.readable => self.room.keep(opened.file),
            (None, false) if opened.readable => self.inside(opened, size),
            (None, _) => None,
        };
        let parent = match content {
            Some(_) => Parent::closed(&unseen.directory),
            None => self.room.directories.keep(unseen.directory),
        };
        Found::File(FoundFile {
            path: unseen.path,
            parent,
            metadata: Box::new(metadata),
            size,
            identity,
            linked,
            content,
            previous,
            told,
        })
    }

    /// What is in a file, or the open file.
    fn inside(&mut self, opened: Opened, size: u64) -> Option<Inside> {
        let small = usize::try_from(size)
            .ok()
            .filter(|size| *size <= small::MAX);
        let Some(left) = small.and_then(|size| self.room.bytes.checked_sub(size)) else {
            return self.room.keep(opened.file);
        };
        self.room.bytes = left;
        // Where that fails, it is opened again when it is its turn.
        small::read(&opened.file, &opened.stat).map(Inside::Read)
    }
}

fn device(stat: &Stat) -> Device {
    Device {
        major: major(stat.st_rdev).into(),
        minor: minor(stat.st_rdev).into(),
    }
}
