//! The directories around what is restored.

use std::cell::Cell;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use pxar::Metadata;
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::attributes::{Attributes, Inherited, Made, has_lists};
use super::batch::weight;
use super::closing::{Closing, SEARCH};
use super::file_systems::FileSystems;
use super::options::ExtractOptions;
use super::place::refused;
use super::placer::of_one_file;
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::sys::flags::BEFORE_CONTENT;

/// The directories around what is restored next, from the target on. Each is made once something is
/// put into it.
pub struct Directories<'a> {
    options: &'a ExtractOptions,
    attributes: &'a Attributes<'a>,
    open: Vec<Directory>,
    file_systems: FileSystems,
    closing: Closing,
}

/// A directory of the archive.
pub struct Directory {
    name: Vec<u8>,
    metadata: Option<Box<Metadata>>,
    /// Whether all that is in it is wanted.
    wanted: bool,
    state: State,
    /// The last name in it that was come by.
    last: Vec<u8>,
}

enum State {
    /// Not made.
    Pending,
    Made {
        directory: Arc<OwnedFd>,
        /// What new files in it take over.
        passes_on: Inherited,
        /// Who makes its small files.
        hand: Cell<Option<usize>>,
    },
    /// Nothing can be restored into it.
    Lost,
}

/// Where something is restored to next.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    /// The directory.
    pub directory: &'a Arc<OwnedFd>,
    /// What new files in it take over.
    pub inherited: Inherited,
    /// Who makes its small files, once that is decided.
    pub hand: &'a Cell<Option<usize>>,
}

impl<'a> Directories<'a> {
    /// Opens the target, which is made if it is not there. What is known of it is restored at its
    /// end, if given.
    pub fn open(
        target: &Path,
        options: &'a ExtractOptions,
        attributes: &'a Attributes<'a>,
        metadata: Option<Box<Metadata>>,
        wanted: bool,
    ) -> Result<Self, Error> {
        let failed = |action: &'static str| {
            move |source: std::io::Error| Error::Io {
                action,
                path: target.to_path_buf(),
                source,
            }
        };
        let private = metadata.is_some() && !options.ignore.permissions;
        make_target(target, private).map_err(failed("make"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(target, flags, Mode::empty());
        let directory = directory.map_err(|error| failed("open")(error.into()))?;
        let directory = Arc::new(directory);
        let mut file_systems = FileSystems::new(target);
        file_systems.add(&directory);
        let passes_on = begin(&directory, metadata.as_deref(), attributes, b"", None);
        Ok(Self {
            options,
            attributes,
            open: vec![Directory {
                name: Vec::new(),
                metadata,
                wanted,
                state: State::Made {
                    directory,
                    passes_on,
                    hand: Cell::default(),
                },
                last: Vec::new(),
            }],
            file_systems,
            closing: Closing::default(),
        })
    }

    /// Enters a directory of the archive.
    pub fn enter(&mut self, name: &[u8], metadata: Box<Metadata>, wanted: bool) {
        let state = match self.is_lost() {
            true => State::Lost,
            false => State::Pending,
        };
        self.open.push(Directory {
            name: name.to_vec(),
            metadata: Some(metadata),
            wanted,
            state,
            last: Vec::new(),
        });
    }

    /// Comes by a name in the directory that was entered last; whether it is none that was there
    /// before, as names ascend in archives.
    pub fn is_new(&mut self, name: &[u8]) -> bool {
        let Some(directory) = self.open.last_mut() else {
            return false;
        };
        let new = directory.last.as_slice() < name;
        directory.last.clear();
        directory.last.extend_from_slice(name);
        new
    }

    /// Whether all that is in the directory that was entered last is wanted.
    pub fn is_wanted(&self) -> bool {
        self.open.last().is_some_and(|it| it.wanted)
    }

    /// Whether nothing can be restored into the directory that was entered last.
    pub fn is_lost(&self) -> bool {
        self.open
            .last()
            .is_some_and(|it| matches!(it.state, State::Lost))
    }

    /// The target.
    pub fn target(&self) -> Option<&OwnedFd> {
        match &self.open.first()?.state {
            State::Made { directory, .. } => Some(directory),
            State::Pending | State::Lost => None,
        }
    }

    /// The directory that was entered last; it and those around it are made if they are not there.
    /// None if that is not possible; what hinders others too is an error.
    pub fn current(&mut self) -> Result<Option<Here<'_>>, Error> {
        for place in 1..self.open.len() {
            let state = self.make(place)?;
            if let Some(State::Made { directory, .. }) = &state {
                self.file_systems.add(directory);
            }
            if let (Some(state), Some(directory)) = (state, self.open.get_mut(place)) {
                directory.state = state;
            }
        }
        Ok(match self.open.last().map(|it| &it.state) {
            Some(State::Made {
                directory,
                passes_on,
                hand,
            }) => Some(Here {
                directory,
                inherited: *passes_on,
                hand,
            }),
            Some(State::Pending | State::Lost) | None => None,
        })
    }

    /// Makes a directory unless that was tried before.
    fn make(&self, place: usize) -> Result<Option<State>, Error> {
        let around = place.checked_sub(1).and_then(|it| self.open.get(it));
        let (Some(parent), Some(directory)) = (around, self.open.get(place)) else {
            return Ok(None);
        };
        let state = match (&directory.state, &parent.state) {
            (
                State::Pending,
                State::Made {
                    directory: parent,
                    passes_on,
                    ..
                },
            ) => {
                let names = self.open.get(1..=place).unwrap_or_default();
                let names: Vec<&[u8]> = names.iter().map(|it| it.name.as_slice()).collect();
                let path = names.join(&b'/');
                Some(self.make_in(parent, *passes_on, directory, &path)?)
            }
            (State::Pending, State::Lost) => Some(State::Lost),
            _ => None,
        };
        Ok(state)
    }

    fn make_in(
        &self,
        parent: &OwnedFd,
        passes_on: Inherited,
        directory: &Directory,
        path: &[u8],
    ) -> Result<State, Error> {
        let reporter = self.attributes.reporter;
        let name = directory.name.as_slice();
        let mode = match self.options.ignore.permissions {
            true => 0o777,
            false => 0o700,
        };
        let existed = match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) => false,
            Err(Errno::EXIST) if self.options.allow_existing_dirs => true,
            Err(Errno::EXIST) => {
                let (what, option) = ("a directory", "--allow-existing-dirs");
                reporter.problem(path, Problem::Exists { what, option });
                return Ok(State::Lost);
            }
            Err(error) => {
                let problem = of_one_file(path, refused("make the directory", error))?;
                reporter.problem(path, problem);
                return Ok(State::Lost);
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) => {
                let action = "restore into what is there, as a directory,";
                reporter.problem(path, refused(action, error));
                return Ok(State::Lost);
            }
        };
        let inherited = (!existed).then_some(passes_on);
        let metadata = directory.metadata.as_deref();
        let passes_on = begin(&file, metadata, self.attributes, path, inherited);
        Ok(State::Made {
            directory: Arc::new(file),
            passes_on,
            hand: Cell::default(),
        })
    }

    /// Waits until all that was restored is on disk.
    pub fn sync(&self) -> Result<(), Error> {
        self.file_systems.sync()
    }

    /// Leaves the directory that was entered last. It has to be finished.
    pub fn leave(&mut self) -> Option<Directory> {
        self.open.pop()
    }

    /// Restores what is known of the directory at `path`, in which nothing will be made any more.
    pub fn finish(&mut self, path: &[u8], directory: &Directory) {
        if let State::Made {
            directory: file,
            passes_on,
            ..
        } = &directory.state
            && let Some(metadata) = &directory.metadata
        {
            let mut made = as_made(file, *passes_on);
            // Files in it may get names elsewhere. Whoever is not root needs the right to look for
            // them until then.
            if !path.is_empty() && !geteuid().is_root() {
                made.lent = SEARCH;
            }
            let mode = self.attributes.after_content(path, &made, metadata);
            if let Some(mode) = mode.filter(|mode| mode & made.lent != made.lent) {
                self.closing.add(path, mode);
            }
        }
    }

    /// All names are there, and the target is still open: takes back what directories were lent.
    pub fn close(&mut self) {
        let closing = std::mem::take(&mut self.closing);
        if let Some(target) = self.target() {
            closing.close(target, self.attributes);
        }
    }
}

impl Directory {
    /// Bytes of what is known of it.
    pub fn weight(&self) -> usize {
        self.metadata.as_deref().map_or(0, weight)
    }
}

/// Makes the target if it is not there; if `private`, nobody else may enter a new one until it has
/// the permissions of the archive.
fn make_target(target: &Path, private: bool) -> std::io::Result<()> {
    if private && let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
        match DirBuilder::new().mode(0o700).create(target) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    std::fs::create_dir_all(target)
}

/// Prepares a directory, new with what it has taken over or old; what it passes on.
fn begin(
    directory: &OwnedFd,
    metadata: Option<&Metadata>,
    attributes: &Attributes<'_>,
    path: &[u8],
    inherited: Option<Inherited>,
) -> Inherited {
    let lists = match inherited {
        Some(inherited) => inherited.lists,
        None => has_lists(directory),
    };
    let Some(metadata) = metadata else {
        return Inherited { lists, flags: 0 };
    };
    let made = as_made(directory, inherited.unwrap_or_default());
    attributes.before_content(path, &made, metadata);
    let flags = metadata.stat.flags & BEFORE_CONTENT;
    Inherited { lists, flags }
}

fn as_made(directory: &OwnedFd, inherited: Inherited) -> Made<'_> {
    Made {
        file: directory,
        open: true,
        inherited,
        lent: 0,
    }
}
