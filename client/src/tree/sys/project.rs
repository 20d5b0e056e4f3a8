//! The project whose quota a file counts for.

use std::os::fd::AsFd;

use rustix::io::{Errno, Result};

use super::ioctl::{get_fs_xattr, set_fs_xattr};

/// Its number; none if there is none.
///
/// # Errors
/// `ENOTTY` and the like where the file system has none.
pub fn project_id(fd: impl AsFd) -> Result<Option<u64>> {
    let id = get_fs_xattr(fd)?.projid;
    Ok((id != 0).then_some(id.into()))
}

/// Sets it.
///
/// # Errors
/// If that is not allowed, or not possible there.
pub fn set_project_id(fd: impl AsFd, id: u64) -> Result<()> {
    let mut attributes = get_fs_xattr(&fd)?;
    attributes.projid = u32::try_from(id).map_err(|_| Errno::INVAL)?;
    set_fs_xattr(fd, attributes)
}
