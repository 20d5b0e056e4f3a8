//! Opening files so that no link is followed and nothing is left where it was.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open, openat};
use rustix::io::{Errno, Result};

use super::xattr::Handle;

/// Opens what has this name in a directory, for reading, without a trace in its access time if that
/// is allowed. A link is not followed: `ELOOP`.
///
/// # Errors
/// If it cannot be opened.
pub fn open_for_reading(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    // A pipe or a device that took the place of a file must not make us wait.
    let flags = flags
        | OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    match openat(&directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        // For owners only.
        Err(Errno::PERM) => openat(directory, name, flags, Mode::empty()),
        Err(Errno::AGAIN) => open_leased(&open_path(directory, name)?),
        opened => opened,
    }
}

/// Opens a regular file of which somebody holds a lease, who must let go of it first.
fn open_leased(file: &OwnedFd) -> Result<OwnedFd> {
    if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::AGAIN);
    }
    // This very file: no pipe can have taken its place.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    open(Handle::path_only(file).proc_path(), flags, Mode::empty())
}

/// Lets reading from a regular file wait for its data, as some file systems want it.
///
/// # Errors
/// If the system has no such file open.
pub fn allow_to_wait(file: impl AsFd) -> Result<()> {
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(file, flags.difference(OFlags::NONBLOCK))
}

/// Opens whatever has this name in a directory, even a link, but not to be read.
///
/// # Errors
/// If there is nothing.
pub fn open_path(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// Opens the directory that has the last name of a path below `root`, not to be read, and gives
/// that name; no link is followed on the way.
///
/// # Errors
/// If there is none, or the path is not one of plain names.
pub fn open_parent(root: impl AsFd, path: &[u8]) -> Result<(OwnedFd, &[u8])> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let mut directory = openat(root, c".", flags, Mode::empty())?;
    let mut names = path.split(|byte| *byte == b'/');
    let last = names.next_back().unwrap_or_default();
    for name in names {
        check_name(name)?;
        directory = openat(&directory, name, flags, Mode::empty())?;
    }
    check_name(last)?;
    Ok((directory, last))
}

fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// Allows as many open files as this process may have: a directory is open for each name of a path.
pub fn raise_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without it, very deep trees are reported as errors.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
