//! An open directory, whose files are reached without a walk from the root.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, UtimensatFlags, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::operation::{Attribute, Operation};
use crate::file_time::FileTime;

/// An open directory. Names are those of entries in it; symbolic links are not followed.
#[derive(Debug)]
pub struct DiskDir {
    // Reading moves the position that all share.
    dir: RefCell<Dir>,
    path: PathBuf,
}

impl DiskDir {
    /// Opens a directory.
    ///
    /// # Errors
    /// If it does not exist, is something else, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            dir: RefCell::new(Dir::open(path, flags, Mode::empty())?),
            path: path.to_path_buf(),
        })
    }

    /// The path under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, in no order.
    ///
    /// # Errors
    /// If the system fails it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in self.dir.borrow_mut().iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// What the system knows of an entry.
    ///
    /// # Errors
    /// "Not found" if there is none.
    pub fn stat(&self, name: &Path) -> io::Result<FileStat> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(fstatat(&*self.dir.borrow(), name, flags)?)
    }

    /// As [`set_access_time`](super::set_access_time) of an entry.
    ///
    /// # Errors
    /// "Not found" if there is none, or if the system fails it.
    pub fn set_access_time(&self, name: &Path, time: FileTime) -> io::Result<()> {
        let action = || {
            let (time, flag) = (time.to_timespec(), UtimensatFlags::NoFollowSymlink);
            let keep = TimeSpec::UTIME_OMIT;
            Ok(utimensat(&*self.dir.borrow(), name, &time, &keep, flag)?)
        };
        let attribute = Attribute::AccessTime(time);
        self.perform(
            name,
            |path| Operation::SetAttribute { path, attribute },
            action,
        )
    }

    /// As [`remove_file`](super::remove_file) of an entry.
    ///
    /// # Errors
    /// "Not found" if there is none, or if the system fails it.
    pub fn remove_file(&self, name: &Path) -> io::Result<()> {
        let action = || {
            let flag = UnlinkatFlags::NoRemoveDir;
            Ok(unlinkat(&*self.dir.borrow(), name, flag)?)
        };
        self.perform(name, |path| Operation::RemoveFile { path }, action)
    }

    /// The whole path is put together only for somebody who looks.
    fn perform<T>(
        &self,
        name: &Path,
        operation: impl for<'a> FnOnce(&'a Path) -> Operation<'a>,
        action: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        #[cfg(feature = "simulation")]
        if super::observer::is_observed() {
            let path = self.path.join(name);
            return super::perform(&operation(&path), action);
        }
        let _ = (name, operation);
        action()
    }
}
