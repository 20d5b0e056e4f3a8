//! The walk through a tree, in the order of the archive.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use pxar::{Metadata, limits};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, stat, statat};
use rustix::io::Errno;

use super::found::{Found, Sight, Told, What};
use super::look::{Opened, Unseen};
use super::metadata::MetadataReader;
use super::names::Names;
use super::options::{CreateOptions, Devices};
use super::parent::Directory;
use super::siblings::{Archive, Siblings};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::pattern::{Pattern, Rules};
use crate::tree::report::refusal;
use crate::tree::sys::open::{allow_to_wait, open_for_reading};

/// The file with patterns for its directory.
const EXCLUDE_FILE: &[u8] = b".pxarexclude";
/// Bytes of it that are read.
const EXCLUDE_FILE_MAX: u64 = 4 << 20;
/// In the archive, the file with the patterns of the command line.
pub const EXCLUDE_CLI: &[u8] = b".pxarexclude-cli";

/// A walk through a tree. It looks at directories only.
pub struct Walker<'a> {
    options: &'a CreateOptions,
    /// What was wrong since the last step.
    told: Told,
    reader: MetadataReader,
    /// Device numbers of file systems that are entered; none for all.
    devices: Option<HashSet<u64>>,
    excluded: Rules,
    /// From the root.
    path: Vec<u8>,
    open: Vec<Open<'a>>,
    entries: u64,
    /// For names of directories.
    buffer: Vec<u8>,
    previous: Option<&'a Archive>,
    root: Metadata,
}

/// A directory whose end was not reached.
struct Open<'a> {
    directory: Arc<Directory>,
    device: u64,
    names: Names,
    /// How long its path is.
    path: usize,
    /// How many rules there are without its own.
    rules: usize,
    previous: Option<Siblings<'a>>,
}

impl<'a> Walker<'a> {
    /// Opens the root.
    pub fn open(
        root: &Path,
        options: &'a CreateOptions,
        previous: Option<&'a Archive>,
    ) -> Result<Self, Error> {
        let failed = |action: &'static str| {
            move |error: Errno| Error::Io {
                action,
                path: root.to_path_buf(),
                source: error.into(),
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(root, flags, Mode::empty()).map_err(failed("open"))?;
        let stat = fstat(&directory).map_err(failed("open"))?;
        let opened = Opened::readable(directory, stat);
        let mut reader = MetadataReader::new();
        if reader.is_virtual(opened.handle(), &stat) {
            return Err(Error::NotA {
                path: root.to_path_buf(),
                wanted: "a directory with files of its own: the kernel makes them up",
            });
        }
        let mut buffer = Vec::new();
        let names = Names::read(&opened.file, &mut buffer).map_err(failed("read"))?;
        let mut told = Told::new();
        let metadata = reader.read(opened.handle(), &stat, &mut |problem| {
            told.push((Vec::new(), problem));
        });
        let mut walker = Self {
            options,
            told,
            reader,
            devices: devices(&options.devices, stat.st_dev)?,
            excluded: Rules::new(options.exclude.iter().cloned()),
            path: Vec::new(),
            open: Vec::new(),
            entries: 0,
            buffer,
            previous,
            root: metadata,
        };
        let siblings = previous.and_then(|archive| {
            let root = archive.root();
            walker.usable(root.and_then(|root| Siblings::of(archive, &root)))
        });
        walker.enter(opened, names, siblings);
        Ok(walker)
    }

    /// What is known of the root.
    pub fn root(&self) -> &Metadata {
        &self.root
    }

    /// What comes next; none at the end of the root.
    pub fn next(&mut self) -> Result<Option<Sight>, Error> {
        while let Some(open) = self.open.last_mut() {
            self.path.truncate(open.path);
            if open.path > 0 {
                self.path.push(b'/');
            }
            let start = self.path.len();
            let Some(kind) = open.names.next(&mut self.path) else {
                self.excluded.truncate(open.rules);
                self.open.pop();
                if self.open.is_empty() {
                    break;
                }
                return Ok(Some(self.sight(What::Found(Found::Leave))));
            };
            if let Some(what) = self.visit(start, kind)? {
                return Ok(Some(self.sight(what)));
            }
        }
        let rest = !self.told.is_empty();
        Ok(rest.then(|| self.sight(What::Nothing)))
    }

    fn sight(&mut self, what: What) -> Sight {
        let told = std::mem::take(&mut self.told);
        Sight { told, what }
    }

    /// Comes by the file at the path, whose name begins at `start`; none if it is left out.
    fn visit(&mut self, start: usize, kind: FileType) -> Result<Option<What>, Error> {
        let Some(parent) = self.open.last() else {
            return Ok(None);
        };
        let name = self.path.get(start..).unwrap_or_default();
        let mut kind = kind;
        if kind == FileType::Unknown {
            let stat = statat(&parent.directory.file, name, AtFlags::SYMLINK_NOFOLLOW);
            kind = stat.map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        let directory = kind == FileType::Directory;
        if self.excluded.verdict(&self.path, directory) == Some(true)
            || directory && self.options.skip_lost_and_found && name == b"lost+found"
            || start == 0 && name == EXCLUDE_CLI && !self.options.exclude.is_empty()
        {
            return Ok(None);
        }
        self.entries += 1;
        if self.entries > self.options.entries_max {
            return Err(Error::TooManyEntries {
                limit: self.options.entries_max,
            });
        }
        if self.path.len() > limits::PATH {
            let why = format!("paths of more than {} bytes cannot be stored", limits::PATH);
            self.tell(Problem::Refused { why });
            return Ok(None);
        }
        if directory {
            match Opened::open(&parent.directory.file, name, kind) {
                Ok(opened) if opened.kind() == FileType::Directory => {
                    return Ok(self.directory(start, opened).map(What::Found));
                }
                // Something else has its name now.
                Ok(opened) => kind = opened.kind(),
                Err(error) => {
                    self.tell(refusal("open", error));
                    return Ok(None);
                }
            }
        }
        let unseen = Unseen {
            directory: Arc::clone(&parent.directory),
            path: self.path.clone(),
            name: start,
            kind,
            previous: self.sibling(start),
        };
        Ok(Some(What::Unseen(unseen)))
    }

    fn tell(&mut self, problem: Problem) {
        self.told.push((self.path.clone(), problem));
    }

    /// Enters the directory at the path.
    fn directory(&mut self, start: usize, opened: Opened) -> Option<Found> {
        let (path, told) = (&self.path, &mut self.told);
        let mut problem = |problem: Problem| told.push((path.clone(), problem));
        let metadata = self
            .reader
            .read(opened.handle(), &opened.stat, &mut problem);
        let metadata = Box::new(metadata);
        let names = match self.is_entered(&opened) {
            false => Ok(Names::default()),
            true => Names::read(&opened.file, &mut self.buffer),
        };
        let names = match names {
            Ok(names) => names,
            Err(error) => {
                self.tell(refusal("read", error));
                return None;
            }
        };
        let siblings = match (self.previous, self.sibling(start)) {
            (Some(archive), Some(directory)) if directory.is_directory() => {
                self.usable(Siblings::of(archive, &directory))
            }
            _ => None,
        };
        self.enter(opened, names, siblings);
        let path = self.path.clone();
        Some(Found::Enter { path, metadata })
    }

    /// Whether the content of a directory is stored.
    fn is_entered(&mut self, opened: &Opened) -> bool {
        let device = opened.stat.st_dev;
        if self.open.last().is_some_and(|open| open.device == device) {
            return true;
        }
        let wanted = self.devices.as_ref().is_none_or(|it| it.contains(&device));
        wanted && !self.reader.is_virtual(opened.handle(), &opened.stat)
    }

    fn enter(&mut self, opened: Opened, names: Names, previous: Option<Siblings<'a>>) {
        let rules = self.excluded.len();
        if names.contains(EXCLUDE_FILE) {
            self.read_exclude_file(&opened.file);
        }
        self.open.push(Open {
            device: opened.stat.st_dev,
            directory: Arc::new(Directory::new(opened.file, &opened.stat)),
            names,
            path: self.path.len(),
            rules,
            previous,
        });
    }

    fn read_exclude_file(&mut self, directory: &OwnedFd) {
        let read = || -> io::Result<Vec<u8>> {
            let file = open_for_reading(directory, EXCLUDE_FILE, OFlags::empty())?;
            if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
                return Ok(Vec::new());
            }
            allow_to_wait(&file)?;
            let mut text = Vec::new();
            let file = std::fs::File::from(file);
            file.take(EXCLUDE_FILE_MAX + 1).read_to_end(&mut text)?;
            match text.len() as u64 > EXCLUDE_FILE_MAX {
                true => Err(io::ErrorKind::FileTooLarge.into()),
                false => Ok(text),
            }
        };
        let path = [&self.path[..], b"/", EXCLUDE_FILE].concat();
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        let text = match read() {
            Ok(text) => text,
            Err(source) => {
                let action = "read the patterns in";
                self.told
                    .push((path.to_vec(), Problem::Io { action, source }));
                return;
            }
        };
        for pattern in Pattern::parse_lines(&text) {
            match pattern {
                Ok(pattern) => self.excluded.push(&self.path, pattern),
                Err((pattern, why)) => {
                    self.told
                        .push((path.to_vec(), Problem::Pattern { pattern, why }));
                }
            }
        }
    }

    /// What the previous archive has by the last name of the path, which begins at `start`, in the
    /// directory that was entered last.
    fn sibling(&mut self, start: usize) -> Option<pxar::Entry> {
        self.previous?;
        let name = self.path.get(start..).unwrap_or_default();
        let found = self.open.last_mut()?.previous.as_mut()?.find(name);
        self.usable(found).flatten()
    }

    /// After an error nothing more is taken from the previous archive.
    fn usable<T>(&mut self, result: Result<T, pxar::Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(source) => {
                self.previous = None;
                self.told.push((Vec::new(), Problem::Previous { source }));
                None
            }
        }
    }
}

/// Device numbers of the file systems that are entered; none for all.
fn devices(devices: &Devices, root: u64) -> Result<Option<HashSet<u64>>, Error> {
    let Devices::Listed(paths) = devices else {
        return Ok(None);
    };
    let mut numbers = HashSet::from([root]);
    for path in paths {
        let stat = stat(path).map_err(|error| Error::Io {
            action: "find the file system of",
            path: path.clone(),
            source: error.into(),
        })?;
        numbers.insert(stat.st_dev);
    }
    Ok(Some(numbers))
}
