//! One's turn at a small file that several processes read, change and write again.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::named::open_or_create;
use crate::local_error::{AtPath, LocalResult};

/// The turn, until it is dropped. Whoever has it does nothing but read and write one small file.
#[derive(Debug)]
pub(crate) struct Turn {
    // Closing the descriptor releases the lock.
    _file: Flock<File>,
}

impl Turn {
    /// Waits for it; blocking. `path` is a file of its own: the one that is changed is replaced.
    pub(crate) fn wait(path: &Path) -> LocalResult<Self> {
        let mut file = open_or_create(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => return Ok(Self { _file: lock }),
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(errno).at("lock", path),
            }
        }
    }
}
