//! A file that is open for writing.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};

use super::direct;
use super::operation::{Attribute, OpenFile, Operation};
use super::perform;
use crate::file_time::FileTime;

/// A file that is open for writing (and reading).
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Creates a file with these permission bits, less those that the process' umask takes away.
    ///
    /// # Errors
    /// "Already exists" if there is anything at that path.
    pub fn create_new(path: &Path, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        Self::create(path, &options)
    }

    /// Opens an existing file to append to it.
    ///
    /// # Errors
    /// If it does not exist or cannot be opened.
    pub fn append(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        Ok(Self::of(file, path))
    }

    /// Opens a file to append to it, creating it if it is missing.
    ///
    /// # Errors
    /// If it can be neither opened nor created.
    pub fn append_or_create(path: &Path, mode: u32) -> io::Result<Self> {
        let mut new = OpenOptions::new();
        new.read(true).append(true).create_new(true).mode(mode);
        loop {
            match Self::append(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
            match Self::create(path, &new) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
        }
    }

    fn create(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let file = perform(&Operation::CreateFile { path }, || options.open(path))?;
        Ok(Self::of(file, path))
    }

    fn of(file: File, path: &Path) -> Self {
        let path = path.to_path_buf();
        Self { file, path }
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// If the system fails it; a part may be written then.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let operation = Operation::Write {
            file: self.open_file(),
            offset: Some(offset),
            bytes,
        };
        perform(&operation, || self.file.write_all_at(bytes, offset))
    }

    /// Writes all of `bytes` at the beginning of a new file, past the page cache if there are many of
    /// them and the file system can do that: for what nobody reads soon.
    ///
    /// # Errors
    /// If the system fails it; a part may be written then.
    pub fn write_past_cache(&self, bytes: &[u8]) -> io::Result<()> {
        let operation = Operation::Write {
            file: self.open_file(),
            offset: Some(0),
            bytes,
        };
        perform(&operation, || direct::write_all(&self.file, bytes))
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// If the system fails it.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.open_file();
        perform(&Operation::SetLen { file, len }, || self.file.set_len(len))
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// If the system fails it.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.set(Attribute::Mode(mode), || {
            self.file.set_permissions(Permissions::from_mode(mode))
        })
    }

    /// Sets user and group.
    ///
    /// # Errors
    /// If the system fails it; only root may.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        self.set(Attribute::Owner(uid, gid), || {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            Ok(fchown(&self.file, Some(uid), Some(gid))?)
        })
    }

    /// Sets the time of the last access, leaving that of the last modification.
    ///
    /// # Errors
    /// If the system fails it.
    pub fn set_access_time(&self, time: FileTime) -> io::Result<()> {
        self.set(Attribute::AccessTime(time), || {
            let time = time.to_timespec();
            Ok(futimens(&self.file, &time, &TimeSpec::UTIME_OMIT)?)
        })
    }

    /// Waits until content and metadata are on disk.
    ///
    /// # Errors
    /// If the system fails it: then nothing is known of what is on disk.
    pub fn sync_all(&self) -> io::Result<()> {
        let file = self.open_file();
        perform(&Operation::SyncFile { file }, || self.file.sync_all())
    }

    /// Waits until the content, and what is needed to read it, is on disk.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        let file = self.open_file();
        perform(&Operation::SyncFile { file }, || self.file.sync_data())
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    /// If the system fails it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Reads bytes at `offset` until `buffer` is full.
    ///
    /// # Errors
    /// If the file ends before, or the system fails it.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn set(&self, attribute: Attribute, action: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let path = &self.path;
        perform(&Operation::SetAttribute { path, attribute }, action)
    }

    fn open_file(&self) -> OpenFile<'_> {
        OpenFile {
            path: &self.path,
            file: &self.file,
        }
    }
}

impl Write for &DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let operation = Operation::Write {
            file: self.open_file(),
            offset: None,
            bytes,
        };
        perform(&operation, || (&self.file).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is held back
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for &DiskFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }
}

impl Seek for &DiskFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&self.file).seek(position)
    }
}
