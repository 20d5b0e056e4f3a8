//! Taking the place of what is there.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::{Errno, Result};

use crate::tree::observer::Problem;

/// Names that are tried for what takes another's place.
const ATTEMPTS: u32 = 1000;

/// Where something was made: where it belongs, or beside what it will replace.
pub struct Place<'a> {
    directory: BorrowedFd<'a>,
    name: &'a [u8],
    /// By which name it is there for now.
    temporary: Option<Vec<u8>>,
}

impl<'a> Place<'a> {
    /// Makes something with this name, or another one if something is there that may be replaced.
    /// `option` would allow that.
    pub fn take<T>(
        directory: &'a OwnedFd,
        name: &'a [u8],
        overwrite: bool,
        option: &'static str,
        make: impl Fn(&[u8]) -> Result<T>,
    ) -> std::result::Result<(T, Self), Problem> {
        let mut temporary = None;
        let mut made = make(name);
        let mut attempts = 0..if overwrite { ATTEMPTS } else { 0 };
        while let Err(Errno::EXIST) = made
            && let Some(attempt) = attempts.next()
        {
            let other = format!(".coffer-restore-{attempt}").into_bytes();
            made = make(&other);
            temporary = Some(other);
        }
        let made = made.map_err(|error| match error {
            Errno::EXIST => Problem::Exists {
                what: "something of this name",
                option,
            },
            error => refused("make it", error),
        })?;
        let directory = directory.as_fd();
        let place = Self {
            directory,
            name,
            temporary,
        };
        Ok((made, place))
    }

    /// It is whole: what was there goes.
    pub fn settle(self) -> std::result::Result<(), Problem> {
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        let renamed = renameat(self.directory, temporary, self.directory, self.name);
        if renamed.is_err() {
            let _ = unlinkat(self.directory, temporary, AtFlags::empty());
        }
        renamed.map_err(|error| refused("replace what is there", error))
    }

    /// The same for a further name of a file.
    pub fn settle_link(self) -> std::result::Result<(), Problem> {
        let (directory, temporary) = (self.directory, self.temporary.clone());
        self.settle()?;
        if let Some(temporary) = temporary {
            // It stays if both were names of the same file.
            let _ = unlinkat(directory, temporary, AtFlags::empty());
        }
        Ok(())
    }

    /// It did not come to anything; what was there stays.
    pub fn clear(self) {
        let name = self.temporary.as_deref().unwrap_or(self.name);
        let _ = unlinkat(self.directory, name, AtFlags::empty());
    }
}

/// Makes something that is whole at once.
pub fn place(
    directory: &OwnedFd,
    name: &[u8],
    overwrite: bool,
    option: &'static str,
    make: impl Fn(&[u8]) -> Result<()>,
) -> std::result::Result<(), Problem> {
    let ((), place) = Place::take(directory, name, overwrite, option, make)?;
    place.settle()
}

/// What the system refused.
pub fn refused(action: &'static str, error: Errno) -> Problem {
    Problem::Io {
        action,
        source: error.into(),
    }
}
