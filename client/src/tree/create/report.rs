//! Telling what is wrong with single files.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use crate::tree::observer::{Observer, Problem};

/// Tells the observer, and counts.
pub struct Reporter<'a> {
    observer: &'a dyn Observer,
    problems: Cell<u64>,
}

impl<'a> Reporter<'a> {
    pub fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            problems: Cell::new(0),
        }
    }

    pub fn entry(&self, path: &[u8]) {
        self.observer.entry(as_path(path));
    }

    pub fn problem(&self, path: &[u8], problem: &Problem) {
        self.problems.set(self.problems.get() + 1);
        self.observer.problem(as_path(path), problem);
    }

    /// What the system refused.
    pub fn refused(&self, path: &[u8], action: &'static str, error: Errno) {
        self.problem(path, &refusal(action, error));
    }

    /// How many problems there were.
    pub fn problems(&self) -> u64 {
        self.problems.get()
    }
}

/// What the system refused. What is not there any more has vanished since its name was read.
fn refusal(action: &'static str, error: Errno) -> Problem {
    match error {
        Errno::NOENT | Errno::STALE => Problem::Vanished,
        error => Problem::Io {
            action,
            source: io::Error::from(error),
        },
    }
}

pub fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
