//! What is done to a name.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, chown, syncfs};

use super::operation::{Attribute, Operation};
use super::perform;
use crate::file_time::FileTime;

/// Gives a file or directory another name, replacing what has it.
///
/// # Errors
/// If the system fails it.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    perform(&Operation::Rename { from, to }, || {
        std::fs::rename(from, to)
    })
}

/// Gives a file a further name.
///
/// # Errors
/// If the system fails it, for example since the name is taken.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    let operation = Operation::HardLink { from, to };
    perform(&operation, || std::fs::hard_link(from, to))
}

/// Removes a file's name.
///
/// # Errors
/// If the system fails it.
pub fn remove_file(path: &Path) -> io::Result<()> {
    perform(&Operation::RemoveFile { path }, || {
        std::fs::remove_file(path)
    })
}

/// Creates a directory with these permission bits, less those that the process' umask takes away.
///
/// # Errors
/// If the system fails it, for example since the name is taken.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    perform(&Operation::CreateDir { path }, || {
        DirBuilder::new().mode(mode).create(path)
    })
}

/// Creates a directory and those that it lies in, as far as they are missing.
///
/// # Errors
/// If the system fails it, or there is something else than a directory.
pub fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut created = create_dir(path, mode);
    if let Err(error) = &created
        && error.kind() == io::ErrorKind::NotFound
        && let Some(parent) = path.parent()
    {
        create_dir_all(parent, mode)?;
        created = create_dir(path, mode);
    }
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

/// Removes an empty directory.
///
/// # Errors
/// If the system fails it, for example since it is not empty.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    perform(&Operation::RemoveDir { path }, || std::fs::remove_dir(path))
}

/// Removes a directory with all that is in it.
///
/// # Errors
/// If the system fails it; a part may be gone then.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if super::observer::is_observed() {
        return remove_one_by_one(path);
    }
    std::fs::remove_dir_all(path)
}

/// As `remove_dir_all` of the standard library, in steps that can be seen, in order of the names.
#[cfg(feature = "simulation")]
fn remove_one_by_one(path: &Path) -> io::Result<()> {
    let mut entries = path.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            remove_one_by_one(&entry.path())?;
        } else {
            remove_file(&entry.path())?;
        }
    }
    remove_dir(path)
}

/// Sets the permission bits of a file or directory.
///
/// # Errors
/// If the system fails it.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let attribute = Attribute::Mode(mode);
    perform(&Operation::SetAttribute { path, attribute }, || {
        std::fs::set_permissions(path, Permissions::from_mode(mode))
    })
}

/// Sets user and group of a file or directory.
///
/// # Errors
/// If the system fails it; only root may.
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let attribute = Attribute::Owner(uid, gid);
    perform(&Operation::SetAttribute { path, attribute }, || {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chown(path, Some(uid), Some(gid))?)
    })
}

/// Sets the time of the last access, leaving that of the last modification. Does not follow a
/// symbolic link.
///
/// # Errors
/// If the system fails it.
pub fn set_access_time(path: &Path, time: FileTime) -> io::Result<()> {
    let attribute = Attribute::AccessTime(time);
    perform(&Operation::SetAttribute { path, attribute }, || {
        let (time, flag) = (time.to_timespec(), UtimensatFlags::NoFollowSymlink);
        Ok(utimensat(
            AT_FDCWD,
            path,
            &time,
            &TimeSpec::UTIME_OMIT,
            flag,
        )?)
    })
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// If the system fails it.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = File::open(path)?;
    perform(&Operation::SyncDir { path }, || dir.sync_all())
}

/// Waits until everything on the file system of `path` is on disk.
///
/// # Errors
/// If the system fails it.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    let dir = File::open(path)?;
    perform(&Operation::SyncFileSystem { path }, || Ok(syncfs(&dir)?))
}
