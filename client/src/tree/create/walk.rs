//! The walk through a tree, in the order of the archive.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use pxar::{Body, Device, Metadata, limits};
use rustix::fs::{AtFlags, Stat};
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open, readlinkat, stat, statat};
use rustix::io::Errno;

use super::found::{Found, FoundFile};
use super::metadata::MetadataReader;
use super::names::Names;
use super::options::{CreateOptions, Devices};
use super::siblings::{Archive, Siblings, unchanged};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::pattern::{Pattern, Rules};
use crate::tree::report::Reporter;
use crate::tree::sys::open::{allow_to_wait, open_for_reading, open_path};
use crate::tree::sys::xattr::Handle;

/// The file with patterns for its directory.
const EXCLUDE_FILE: &[u8] = b".pxarexclude";
/// Bytes of it that are read.
const EXCLUDE_FILE_MAX: u64 = 4 << 20;
/// In the archive, the file with the patterns of the command line.
pub const EXCLUDE_CLI: &[u8] = b".pxarexclude-cli";

/// A walk through a tree.
pub struct Walker<'a> {
    options: &'a CreateOptions,
    reporter: &'a Reporter<'a>,
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
    directory: OwnedFd,
    device: u64,
    names: Names,
    /// How long its path is.
    path: usize,
    /// How many rules there are without its own.
    rules: usize,
    previous: Option<Siblings<'a>>,
}

/// An open file.
struct Opened {
    file: OwnedFd,
    stat: Stat,
    /// It can be read; otherwise it is there by its path only.
    readable: bool,
}

impl Opened {
    fn handle(&self) -> Handle<'_> {
        match self.readable {
            true => Handle::new(&self.file),
            false => Handle::path_only(&self.file),
        }
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl<'a> Walker<'a> {
    /// Opens the root.
    pub fn open(
        root: &Path,
        options: &'a CreateOptions,
        previous: Option<&'a Archive>,
        reporter: &'a Reporter<'a>,
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
        let opened = Opened {
            file: directory,
            stat,
            readable: true,
        };
        let mut reader = MetadataReader::new();
        if reader.is_virtual(opened.handle(), &stat) {
            return Err(Error::NotA {
                path: root.to_path_buf(),
                wanted: "a directory with files of its own: the kernel makes them up",
            });
        }
        let mut buffer = Vec::new();
        let names = Names::read(&opened.file, &mut buffer).map_err(failed("read"))?;
        let metadata = reader.read(opened.handle(), &stat, &mut |problem| {
            reporter.problem(b"", problem);
        });
        let mut walker = Self {
            options,
            reporter,
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
        walker.enter(opened.file, stat.st_dev, names, siblings);
        Ok(walker)
    }

    /// What is known of the root.
    pub fn root(&self) -> &Metadata {
        &self.root
    }

    /// What comes next; none at the end of the root.
    pub fn next(&mut self) -> Result<Option<Found>, Error> {
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
                return Ok(Some(Found::Leave));
            };
            if let Some(found) = self.visit(start, kind)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks at the file at the path, whose name begins at `start`; none if it is left out.
    fn visit(&mut self, start: usize, kind: FileType) -> Result<Option<Found>, Error> {
        let Some(parent) = self.open.last() else {
            return Ok(None);
        };
        let name = self.path.get(start..).unwrap_or_default();
        let mut kind = kind;
        if kind == FileType::Unknown {
            let stat = statat(&parent.directory, name, AtFlags::SYMLINK_NOFOLLOW);
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
            self.reporter.problem(&self.path, Problem::Refused { why });
            return Ok(None);
        }
        self.reporter.entry(&self.path);
        match open_any(&parent.directory, name, kind) {
            Ok(opened) => match self.look(start, opened) {
                Ok(found) => return Ok(Some(found)),
                Err(error) => self.reporter.refused(&self.path, "read", error),
            },
            Err(error) => self.reporter.refused(&self.path, "open", error),
        }
        Ok(None)
    }

    /// Looks at the open file.
    fn look(&mut self, start: usize, opened: Opened) -> rustix::io::Result<Found> {
        let (path, reporter) = (&self.path, self.reporter);
        let mut problem = |problem: Problem| reporter.problem(path, problem);
        let metadata = Box::new(
            self.reader
                .read(opened.handle(), &opened.stat, &mut problem),
        );
        let name = self.path.get(start..).unwrap_or_default().to_vec();
        let body = match opened.kind() {
            FileType::Directory => return self.directory(name, metadata, opened),
            FileType::RegularFile => return Ok(self.file(&name, metadata, opened)),
            FileType::Symlink => {
                let target = readlinkat(&opened.file, c"", Vec::new())?;
                Body::Symlink(target.into_bytes())
            }
            FileType::BlockDevice => Body::BlockDevice(device(&opened.stat)),
            FileType::CharacterDevice => Body::CharDevice(device(&opened.stat)),
            FileType::Fifo => Body::Fifo,
            FileType::Socket => Body::Socket,
            FileType::Unknown => return Err(Errno::NOTSUP),
        };
        Ok(Found::Other {
            name,
            metadata,
            body,
        })
    }

    fn directory(
        &mut self,
        name: Vec<u8>,
        metadata: Box<Metadata>,
        opened: Opened,
    ) -> rustix::io::Result<Found> {
        let device = opened.stat.st_dev;
        let names = match self.is_entered(&opened) {
            false => Names::default(),
            true => Names::read(&opened.file, &mut self.buffer)?,
        };
        let siblings = match (self.previous, self.sibling(&name)) {
            (Some(archive), Some(directory)) if directory.is_directory() => {
                self.usable(Siblings::of(archive, &directory))
            }
            _ => None,
        };
        self.enter(opened.file, device, names, siblings);
        Ok(Found::Enter { name, metadata })
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

    fn enter(
        &mut self,
        directory: OwnedFd,
        device: u64,
        names: Names,
        previous: Option<Siblings<'a>>,
    ) {
        let rules = self.excluded.len();
        if names.contains(EXCLUDE_FILE) {
            self.read_exclude_file(&directory);
        }
        self.open.push(Open {
            directory,
            device,
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
                self.reporter.problem(path, Problem::Io { action, source });
                return;
            }
        };
        for pattern in Pattern::parse_lines(&text) {
            match pattern {
                Ok(pattern) => self.excluded.push(&self.path, pattern),
                Err((pattern, why)) => {
                    self.reporter
                        .problem(path, Problem::Pattern { pattern, why });
                }
            }
        }
    }

    fn file(&mut self, name: &[u8], metadata: Box<Metadata>, opened: Opened) -> Found {
        let size = u64::try_from(opened.stat.st_size).unwrap_or_default();
        let previous = self.sibling(name);
        let previous = previous.and_then(|it| unchanged(&it, &metadata, size));
        Found::File(FoundFile {
            path: self.path.clone(),
            metadata,
            size,
            identity: (opened.stat.st_dev, opened.stat.st_ino),
            linked: opened.stat.st_nlink > 1,
            content: opened.readable.then_some(opened.file),
            previous,
        })
    }

    /// What the previous archive has by this name in the directory that was entered last.
    fn sibling(&mut self, name: &[u8]) -> Option<pxar::Entry> {
        self.previous?;
        let found = self.open.last_mut()?.previous.as_mut()?.find(name);
        self.usable(found).flatten()
    }

    /// After an error nothing more is taken from the previous archive.
    fn usable<T>(&mut self, result: Result<T, pxar::Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(source) => {
                self.previous = None;
                self.reporter.problem(b"", Problem::Previous { source });
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

/// Opens a file, for reading if it is a directory or a regular file.
fn open_any(directory: &OwnedFd, name: &[u8], kind: FileType) -> rustix::io::Result<Opened> {
    let mut readable = true;
    let file = match kind {
        FileType::RegularFile => open_for_reading(directory, name, OFlags::empty()),
        FileType::Directory => open_for_reading(directory, name, OFlags::DIRECTORY),
        _ => Err(Errno::LOOP),
    };
    let file = match file {
        // Not what its directory said, or not to be read at all.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {
            readable = false;
            open_path(directory, name)?
        }
        file => file?,
    };
    let stat = fstat(file.as_fd())?;
    let opened = Opened {
        file,
        stat,
        readable,
    };
    match opened.kind() {
        // It became one since its directory was read.
        kind @ (FileType::RegularFile | FileType::Directory) if !readable => {
            let flags = match kind {
                FileType::Directory => OFlags::DIRECTORY,
                _ => OFlags::empty(),
            };
            let file = open_for_reading(directory, name, flags)?;
            let stat = fstat(&file)?;
            Ok(Opened {
                file,
                stat,
                readable: true,
            })
        }
        _ => Ok(opened),
    }
}

fn device(stat: &Stat) -> Device {
    Device {
        major: major(stat.st_rdev).into(),
        minor: minor(stat.st_rdev).into(),
    }
}
