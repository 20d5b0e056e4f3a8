//! Extended attributes of whatever is open, readable or not.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, fgetxattr_query, flistxattr, fremovexattr, fsetxattr, getxattr,
    getxattr_query, listxattr, removexattr, setxattr,
};
use rustix::io::{Errno, Result};

/// The longest list of names and the longest value that Linux allows.
const MAX: usize = 64 << 10;
/// What nearly all of them fit into.
const USUAL: usize = 512;

/// What is asked for by name where the list of names is too long to be had.
const WELL_KNOWN: &[u8] = b"security.capability\0security.NTACL\0\
    system.posix_acl_access\0system.posix_acl_default\0";

/// Whether archives have this attribute by its own name (`pxar.md` §9).
#[must_use]
pub fn is_stored(name: &[u8]) -> bool {
    let plain = name.starts_with(b"user.") || name.starts_with(b"trusted.");
    plain || name == b"security.NTACL"
}

/// An open file. What was opened with `O_PATH` (a link, a device) has its attributes by its name in
/// `/proc`, which leads to the file itself and no further.
#[derive(Clone, Copy, Debug)]
pub struct Handle<'a> {
    fd: BorrowedFd<'a>,
    path_only: bool,
}

impl<'a> Handle<'a> {
    /// What was opened to be read or written.
    pub fn new(fd: &'a impl AsFd) -> Self {
        Self {
            fd: fd.as_fd(),
            path_only: false,
        }
    }

    /// What was opened with `O_PATH`.
    pub fn path_only(fd: &'a impl AsFd) -> Self {
        Self {
            fd: fd.as_fd(),
            path_only: true,
        }
    }

    /// Its name in `/proc`.
    #[must_use]
    pub fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// The names of its attributes. The kernel takes as much memory as it is given, so a small piece
    /// is tried first.
    fn list(&self, buffer: &mut [u8]) -> Result<usize> {
        let small = buffer.get_mut(..USUAL).unwrap_or_default();
        match self.list_into(small) {
            Err(Errno::RANGE) => self.list_into(buffer),
            listed => listed,
        }
    }

    fn list_into(&self, buffer: &mut [u8]) -> Result<usize> {
        match self.path_only {
            false => flistxattr(self.fd, buffer),
            true => listxattr(self.proc_path(), buffer),
        }
    }

    /// The value of an attribute, likewise.
    fn get(&self, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
        let small = buffer.get_mut(..USUAL).unwrap_or_default();
        match self.get_into(name, small) {
            Err(Errno::RANGE) => self.get_into(name, buffer),
            got => got,
        }
    }

    fn get_into(&self, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
        match self.path_only {
            false => fgetxattr(self.fd, name, buffer),
            true => getxattr(self.proc_path(), name, buffer),
        }
    }

    /// Whether it has an attribute.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let size = match self.path_only {
            false => fgetxattr_query(self.fd, name),
            true => getxattr_query(self.proc_path(), name),
        };
        size.is_ok()
    }

    /// Removes an attribute, if it is there.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        let removed = match self.path_only {
            false => fremovexattr(self.fd, name),
            true => removexattr(self.proc_path(), name),
        };
        match removed {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            removed => removed,
        }
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// If that is not allowed, or not possible there.
    pub fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self.path_only {
            false => fsetxattr(self.fd, name, value, XattrFlags::empty()),
            true => setxattr(self.proc_path(), name, value, XattrFlags::empty()),
        }
    }
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// Reads attributes; keeps its memory from file to file.
#[derive(Debug)]
pub struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    /// A reader.
    #[must_use]
    pub fn new() -> Self {
        Self {
            names: vec![0; MAX],
            value: vec![0; MAX],
        }
    }

    /// Gives each attribute whose name is `wanted` to `found`, in the kernel's order. A file system
    /// without attributes has none.
    ///
    /// # Errors
    /// If they cannot be read. With `E2BIG` some are larger than the system gives out; the others
    /// were given to `found`.
    pub fn read(
        &mut self,
        file: Handle<'_>,
        wanted: impl Fn(&[u8]) -> bool,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let mut too_large = false;
        let len = match file.list(&mut self.names) {
            Ok(len) => len,
            Err(Errno::TOOBIG) => {
                too_large = true;
                for (to, from) in self.names.iter_mut().zip(WELL_KNOWN) {
                    *to = *from;
                }
                WELL_KNOWN.len()
            }
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
            // Without /proc.
            Err(Errno::NOENT | Errno::NOTDIR) if file.path_only => return Ok(()),
            Err(error) => return Err(error),
        };
        let names = self.names.get(..len).unwrap_or_default();
        for name in names.split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            if !wanted(name.to_bytes()) {
                continue;
            }
            match file.get(name, &mut self.value) {
                Ok(len) => {
                    let value = self.value.get(..len).unwrap_or_default();
                    found(name.to_bytes(), value);
                }
                // Gone since it was listed.
                Err(Errno::NODATA) => {}
                Err(Errno::TOOBIG) => too_large = true,
                // It was not listed.
                Err(Errno::NOTSUP) if too_large => {}
                Err(error) => return Err(error),
            }
        }
        match too_large {
            true => Err(Errno::TOOBIG),
            false => Ok(()),
        }
    }
}
