//! Telling what is wrong with single files.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::tree::Error;
use crate::tree::observer::{Observer, Problem};

/// Who is told what is wrong with single files.
pub trait Tell {
    fn problem(&self, path: &[u8], problem: Problem);

    /// What the system refused, and will refuse of other files for the same reason.
    fn denied(&self, path: &[u8], action: &'static str, error: Errno);

    /// What only root can do, and another user does not expect: told once, and no problem unless
    /// none is tolerated.
    fn not_root(&self, path: &[u8], action: &'static str);
}

/// Tells the observer, and counts.
pub struct Reporter<'a> {
    observer: &'a dyn Observer,
    problems: Cell<u64>,
    denied: RefCell<HashSet<(&'static str, Errno)>>,
    /// Where none is tolerated, the first problem.
    failure: RefCell<Option<(PathBuf, Problem)>>,
    strict: bool,
}

impl<'a> Reporter<'a> {
    pub fn new(observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            problems: Cell::new(0),
            denied: RefCell::default(),
            failure: RefCell::default(),
            strict: false,
        }
    }

    /// Keeps the first problem for [`Reporter::check`] if `strict`.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Fails if there was a problem and none is tolerated.
    pub fn check(&self) -> Result<(), Error> {
        match self.failure.take() {
            Some((path, problem)) => Err(Error::File { path, problem }),
            None => Ok(()),
        }
    }

    pub fn entry(&self, path: &[u8]) {
        self.observer.entry(as_path(path));
    }

    /// Tells what was noted of a file.
    pub fn pass_on(&self, path: &[u8], notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Problem(problem) => self.problem(path, problem),
                Note::Denied(action, error) => self.denied(path, action, error),
                Note::NotRoot(action) => self.not_root(path, action),
            }
        }
    }

    /// How many problems there were.
    pub fn problems(&self) -> u64 {
        self.problems.get()
    }
}

impl Tell for Reporter<'_> {
    fn problem(&self, path: &[u8], problem: Problem) {
        self.problems.set(self.problems.get() + 1);
        if !self.strict {
            self.observer.problem(as_path(path), &problem);
        } else if self.failure.borrow().is_none() {
            let failure = (as_path(path).to_path_buf(), problem);
            self.failure.replace(Some(failure));
        }
    }

    /// Told once, counted each time.
    fn denied(&self, path: &[u8], action: &'static str, error: Errno) {
        if self.denied.borrow_mut().insert((action, error)) {
            let source = io::Error::from(error);
            self.problem(path, Problem::Denied { action, source });
        } else {
            self.problems.set(self.problems.get() + 1);
        }
    }

    fn not_root(&self, path: &[u8], action: &'static str) {
        let problem = Problem::NotRoot { action };
        if self.strict {
            self.problem(path, problem);
        } else if self.denied.borrow_mut().insert((action, Errno::PERM)) {
            self.observer.problem(as_path(path), &problem);
        }
    }
}

/// Something that is wrong with a file.
pub enum Note {
    Problem(Problem),
    /// As [`Tell::denied`] was told.
    Denied(&'static str, Errno),
    /// As [`Tell::not_root`] was told.
    NotRoot(&'static str),
}

/// Notes what is wrong with one file, for a reporter on another thread.
#[derive(Default)]
pub struct Notes(RefCell<Vec<Note>>);

impl Notes {
    /// What was noted.
    pub fn all(self) -> Vec<Note> {
        self.0.into_inner()
    }
}

impl Tell for Notes {
    fn problem(&self, _path: &[u8], problem: Problem) {
        self.0.borrow_mut().push(Note::Problem(problem));
    }

    fn denied(&self, _path: &[u8], action: &'static str, error: Errno) {
        self.0.borrow_mut().push(Note::Denied(action, error));
    }

    fn not_root(&self, _path: &[u8], action: &'static str) {
        self.0.borrow_mut().push(Note::NotRoot(action));
    }
}

/// What the system refused. What is not there any more has vanished since its name was read. A stale
/// handle says no such thing: all that is mounted there may be out of reach.
pub fn refusal(action: &'static str, error: Errno) -> Problem {
    match error {
        Errno::NOENT => Problem::Vanished,
        error => Problem::Io {
            action,
            source: io::Error::from(error),
        },
    }
}

pub fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_has_vanished() {
        assert!(matches!(refusal("open", Errno::NOENT), Problem::Vanished));
        for error in [Errno::STALE, Errno::IO, Errno::ACCESS] {
            let problem = refusal("open", error);
            assert!(matches!(problem, Problem::Io { .. }), "{problem}");
        }
    }
}
