//! Taking the place of what is there.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use datastore::env::Env;
use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::{Errno, Result};

use crate::tree::observer::Problem;

/// Names that are tried for what takes another's place.
const ATTEMPTS: u32 = 10;

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
            && attempts.next().is_some()
        {
            // One that could be foreseen could be in the archive, or a trap.
            let random = Env::system().random_u64();
            let other = format!(".coffer-restore-{random:016x}").into_bytes();
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use rustix::fs::{Mode, OFlags, open, symlinkat};

    use super::*;

    #[test]
    fn nobody_foresees_the_name_of_what_takes_anothers_place() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = open(temporary.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let tried = RefCell::new(Vec::new());
        let make = |name: &[u8]| {
            tried.borrow_mut().push(name.to_vec());
            symlinkat("new", &directory, name)
        };
        for _ in 0..2 {
            fs::write(temporary.path().join("name"), "old").unwrap();
            place(&directory, b"name", true, "--overwrite", make).unwrap();
            assert!(temporary.path().join("name").is_symlink());
            fs::remove_file(temporary.path().join("name")).unwrap();
        }
        let tried = tried.into_inner();
        let [name, first, again, second] = &tried[..] else {
            panic!("{tried:?}");
        };
        assert_eq!([name, again], [b"name"; 2]);
        assert_ne!(first, second);
        assert!(first.starts_with(b".coffer-restore-"));
    }
}
