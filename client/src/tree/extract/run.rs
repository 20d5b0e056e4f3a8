//! Restoring one file after the other.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use pxar::{Body, Decoder, Device, Hardlink, Inode, Input, Metadata, Node, Step};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::Summary;
use super::attributes::{Attributes, Inherited, Made};
use super::content::{Failure, Filler};
use super::directories::Directories;
use super::links::{Follow, Restored};
use super::options::ExtractOptions;
use super::place::{Place, place, refused};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::pattern::Rules;
use crate::tree::report::{Reporter, as_path};
use crate::tree::sys::flags::AFTER_NAMES;
use crate::tree::sys::open::{open_for_reading, open_parent, open_path};

/// Restores into a directory.
pub struct Extractor<'a> {
    options: &'a ExtractOptions,
    reporter: &'a Reporter<'a>,
    attributes: &'a Attributes<'a>,
    follow: &'a dyn Follow,
    directories: Directories<'a>,
    rules: Rules,
    /// What leads to the target in the archive.
    base: Vec<u8>,
    restored: Restored,
    filler: Filler,
    /// Files with flags that come after all names, and these.
    flagged: Vec<(Vec<u8>, u64)>,
    summary: Summary,
}

/// Something that is restored.
struct Item<'a> {
    /// Below the target.
    path: &'a [u8],
    name: &'a [u8],
    metadata: &'a Metadata,
}

impl<'a> Extractor<'a> {
    /// Restores what is at `base` of the archive to `target`; of the root of that, `metadata`.
    pub fn new(
        target: &Path,
        base: &[u8],
        metadata: Option<Box<Metadata>>,
        options: &'a ExtractOptions,
        attributes: &'a Attributes<'a>,
        follow: &'a dyn Follow,
    ) -> Result<Self, Error> {
        let rules = Rules::new(options.patterns.iter().cloned());
        let all = rules.is_empty();
        let metadata = metadata.filter(|_| all);
        // What is in a directory that matches is wanted.
        let ends = base.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = ends.map(|(end, _)| end).chain([base.len()]);
        let around = ends.filter_map(|end| base.get(..end).filter(|path| !path.is_empty()));
        let wanted = around.fold(all, |wanted, path| {
            rules.verdict(path, true).unwrap_or(wanted)
        });
        Ok(Self {
            options,
            reporter: attributes.reporter,
            attributes,
            follow,
            directories: Directories::open(target, options, attributes, metadata, wanted)?,
            rules,
            base: base.to_vec(),
            restored: Restored::default(),
            filler: Filler::new(),
            flagged: Vec::new(),
            summary: Summary::default(),
        })
    }

    /// Restores all that follows in the archive.
    pub fn run<I: Input>(mut self, archive: &mut Decoder<I>) -> Result<Summary, Error> {
        let mut path = Vec::new();
        while let Some(step) = archive.step()? {
            path.clear();
            path.extend_from_slice(archive.path());
            match step {
                Step::Leave => {
                    if path.is_empty() {
                        self.set_last_flags();
                    }
                    self.directories.leave(&path);
                }
                Step::Enter(node) => self.enter(&path, node, archive)?,
            }
            self.reporter.check()?;
        }
        Ok(self.finish())
    }

    fn enter<I: Input>(
        &mut self,
        path: &[u8],
        node: Node,
        archive: &mut Decoder<I>,
    ) -> Result<(), Error> {
        let name = last_name(path);
        let directory = matches!(&node, Node::Inode(it) if it.body == Body::Directory);
        let wanted = self.is_wanted(path, directory);
        match node {
            Node::Inode(inode) if directory => {
                self.directories
                    .enter(name, Box::new(inode.metadata), wanted);
                if wanted && !self.directories.is_lost() {
                    self.reporter.entry(path);
                    self.summary.entries += 1;
                    self.directories.current();
                }
                Ok(())
            }
            _ if !wanted || self.directories.is_lost() => Ok(()),
            Node::Hardlink(link) => self.link(path, &link),
            Node::Inode(inode) => {
                let position = archive.position();
                let content = match archive.contents() {
                    Ok(content) => content,
                    Err(source) => return self.unreadable(path, source),
                };
                let content = content.map(|it| Box::new(it) as Box<dyn Read>);
                if self.inode(path, &inode, content)? && matches!(inode.body, Body::File(_)) {
                    self.restored.add(position);
                }
                Ok(())
            }
        }
    }

    /// Restores something that is no directory, by one name.
    pub fn single(
        mut self,
        name: &[u8],
        inode: &Inode,
        content: Option<Box<dyn Read + '_>>,
    ) -> Result<Summary, Error> {
        if self.is_wanted(name, false) {
            self.inode(name, inode, content)?;
            self.set_last_flags();
        }
        self.reporter.check()?;
        Ok(self.finish())
    }

    /// All names are there, and the target is still open.
    fn set_last_flags(&mut self) {
        for (path, flags) in std::mem::take(&mut self.flagged) {
            let open = |target| {
                let (parent, name) = open_parent(target, &path)?;
                open_for_reading(parent, name, OFlags::empty())
            };
            match self.directories.target().map(open) {
                Some(Ok(file)) => self.attributes.after_names(&path, &file, flags),
                Some(Err(error)) => self.reporter.refused(&path, "open", error),
                None => {}
            }
        }
    }

    fn finish(mut self) -> Summary {
        self.summary.problems = self.reporter.problems();
        self.summary
    }

    fn is_wanted(&self, path: &[u8], directory: bool) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let verdict = match self.base.is_empty() {
            true => self.rules.verdict(path, directory),
            false => {
                let whole = [&self.base[..], b"/", path].concat();
                self.rules.verdict(&whole, directory)
            }
        };
        verdict.unwrap_or_else(|| self.directories.is_wanted())
    }

    /// A content that cannot be had. What is damaged in one place may be good elsewhere.
    fn unreadable(&self, path: &[u8], error: pxar::Error) -> Result<(), Error> {
        let damaged = match &error {
            pxar::Error::Corrupt { .. } => true,
            pxar::Error::Io { source, .. } => source.kind() == ErrorKind::InvalidData,
            _ => false,
        };
        if !damaged {
            return Err(error.into());
        }
        let why = error.to_string();
        self.reporter.problem(path, Problem::Refused { why });
        Ok(())
    }

    /// Restores anything but directories and hard links; whether that worked.
    fn inode(
        &mut self,
        path: &[u8],
        inode: &Inode,
        content: Option<Box<dyn Read + '_>>,
    ) -> Result<bool, Error> {
        self.reporter.entry(path);
        let item = Item {
            path,
            name: last_name(path),
            metadata: &inode.metadata,
        };
        let Some((directory, inherited)) = self.directories.current() else {
            return Ok(false);
        };
        let placer = Placer {
            directory,
            inherited,
            options: self.options,
            attributes: self.attributes,
        };
        let made = match &inode.body {
            Body::Directory => Ok(false),
            Body::File(_) => {
                let content = content.unwrap_or_else(|| Box::new(std::io::empty()));
                placer
                    .file(&item, content, &mut self.filler)?
                    .map(|bytes| self.summary.bytes += bytes)
                    .map(|()| true)
            }
            Body::Symlink(target) => placer.symlink(&item, target),
            Body::BlockDevice(device) => placer.node(&item, FileType::BlockDevice, Some(device)),
            Body::CharDevice(device) => placer.node(&item, FileType::CharacterDevice, Some(device)),
            Body::Fifo => placer.node(&item, FileType::Fifo, None),
            Body::Socket => placer.node(&item, FileType::Socket, None),
        };
        match made {
            Ok(made) => {
                self.summary.entries += u64::from(made);
                let flags = inode.metadata.stat.flags & AFTER_NAMES;
                if made && flags != 0 && matches!(inode.body, Body::File(_)) {
                    self.flagged.push((path.to_vec(), flags));
                }
                Ok(made)
            }
            Err(problem) => {
                self.reporter.problem(path, problem);
                Ok(false)
            }
        }
    }

    fn link(&mut self, path: &[u8], link: &Hardlink) -> Result<(), Error> {
        if let Some(first) = self.restored.path(link, &self.base) {
            self.reporter.entry(path);
            let Some((parent, first_name)) = self
                .directories
                .target()
                .and_then(|target| open_parent(target, first).ok())
                .filter(|_| first != path)
            else {
                let why = format!("'{}' is no file to link to", first.escape_ascii());
                self.reporter.problem(path, Problem::Refused { why });
                return Ok(());
            };
            let Some((directory, _)) = self.directories.current() else {
                return Ok(());
            };
            let name = last_name(path);
            let make = |name: &[u8]| linkat(&parent, first_name, directory, name, AtFlags::empty());
            let overwrite = self.options.overwrite.hardlinks;
            match place(directory, name, overwrite, "--overwrite-hardlinks", make) {
                Ok(()) => self.summary.entries += 1,
                Err(problem) => self.reporter.problem(path, problem),
            }
            return Ok(());
        }
        // Its first name was not restored.
        let follow = self.follow;
        match follow.follow(link) {
            Ok(Some((inode, content))) => {
                if self.inode(path, &inode, Some(content))? {
                    self.restored.add_stand_in(link.target, path);
                }
                Ok(())
            }
            Ok(None) => {
                let first = link.path.escape_ascii();
                let why = format!("its other name '{first}' was not restored; restore both");
                self.reporter.problem(path, Problem::Refused { why });
                Ok(())
            }
            Err(error) => self.unreadable(path, error),
        }
    }
}

/// Puts things into a directory.
struct Placer<'a> {
    directory: &'a OwnedFd,
    inherited: Inherited,
    options: &'a ExtractOptions,
    attributes: &'a Attributes<'a>,
}

impl Placer<'_> {
    /// Makes a file; how many bytes are in it. What hinders other files too is an error of its own.
    fn file(
        &self,
        item: &Item<'_>,
        mut content: Box<dyn Read + '_>,
        filler: &mut Filler,
    ) -> Result<Result<u64, Problem>, Error> {
        let mode = match self.options.ignore.permissions {
            true => 0o666,
            false => 0o600,
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = |name: &[u8]| openat(self.directory, name, flags, Mode::from_raw_mode(mode));
        let overwrite = self.options.overwrite.files;
        let option = "--overwrite-files";
        let (file, place) = match Place::take(self.directory, item.name, overwrite, option, make) {
            Ok(taken) => taken,
            Err(problem) => return Ok(Err(problem)),
        };
        let made = self.made(&file, true);
        self.attributes
            .before_content(item.path, &made, item.metadata);
        let written = match filler.fill(&file, &mut content) {
            Ok(written) => written,
            Err(failure) => {
                // Half a file looks like a whole one.
                place.clear();
                return failed(item.path, failure).map(Err);
            }
        };
        if let Err(problem) = place.settle() {
            return Ok(Err(problem));
        }
        self.attributes
            .after_content(item.path, &made, item.metadata);
        Ok(Ok(written))
    }

    fn symlink(&self, item: &Item<'_>, target: &[u8]) -> Result<bool, Problem> {
        let make = |name: &[u8]| symlinkat(target, self.directory, name);
        let overwrite = self.options.overwrite.symlinks;
        let option = "--overwrite-symlinks";
        place(self.directory, item.name, overwrite, option, make)?;
        self.finish_by_path(item)
    }

    fn node(
        &self,
        item: &Item<'_>,
        kind: FileType,
        device: Option<&Device>,
    ) -> Result<bool, Problem> {
        let number = |number: u64| {
            u32::try_from(number).map_err(|_| Problem::Refused {
                why: format!("no device has the number {number}"),
            })
        };
        let device = match device {
            None => 0,
            Some(device) => makedev(number(device.major)?, number(device.minor)?),
        };
        let mode = Mode::from_raw_mode(0o600);
        let make = |name: &[u8]| mknodat(self.directory, name, kind, mode, device);
        let overwrite = self.options.overwrite.files;
        let option = "--overwrite-files";
        let ignored = self.options.ignore.device_errors
            && matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        match place(self.directory, item.name, overwrite, option, make) {
            Err(Problem::Io { source, .. }) if ignored && is_no_right(&source) => Ok(false),
            Err(problem) => Err(problem),
            Ok(()) => self.finish_by_path(item),
        }
    }

    fn finish_by_path(&self, item: &Item<'_>) -> Result<bool, Problem> {
        let file = open_path(self.directory, item.name).map_err(|error| refused("open", error))?;
        let made = self.made(&file, false);
        self.attributes
            .after_content(item.path, &made, item.metadata);
        Ok(true)
    }

    fn made<'b>(&self, file: &'b OwnedFd, open: bool) -> Made<'b> {
        Made {
            file,
            open,
            inherited: self.inherited,
        }
    }
}

/// Whether devices can be made by others only, or elsewhere.
fn is_no_right(error: &std::io::Error) -> bool {
    let error = Errno::from_io_error(error);
    error.is_some_and(|it| matches!(it, Errno::PERM | Errno::ACCESS | Errno::NOTSUP))
}

/// What it means if a file cannot be filled.
fn failed(path: &[u8], failure: Failure) -> Result<Problem, Error> {
    match failure {
        Failure::Read(source) => match source.kind() {
            // The archive itself is out of reach.
            ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut => Err(pxar::Error::Io {
                action: "read",
                source,
            }
            .into()),
            _ => Ok(Problem::Io {
                action: "read what goes into it",
                source,
            }),
        },
        Failure::Write(error @ (Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO)) => {
            Err(Error::Io {
                action: "write",
                path: as_path(path).to_path_buf(),
                source: error.into(),
            })
        }
        Failure::Write(error) => Ok(refused("write it", error)),
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    let mut names = path.rsplit(|byte| *byte == b'/');
    names.next().unwrap_or_default()
}
