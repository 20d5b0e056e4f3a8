//! Restoring one file after the other.

use std::io::{ErrorKind, Read};
use std::path::Path;

use pxar::{Body, Decoder, Hardlink, Inode, Input, Metadata, Node, Payload, Step};
use rustix::fs::{AtFlags, FileType, OFlags, linkat};

use super::Summary;
use super::attributes::Attributes;
use super::batch::{Job, Made, SMALL};
use super::content::{Failure, Filler};
use super::crew::Crew;
use super::directories::{Directories, Here};
use super::links::{Follow, Restored};
use super::options::ExtractOptions;
use super::pending::{Done, Pending};
use super::place::{Place, refused};
use super::placer::{Item, Placer, failed, last_name, of_one_file};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::pattern::Rules;
use crate::tree::report::{Reporter, Tell as _};
use crate::tree::sys::flags::AFTER_NAMES;
use crate::tree::sys::open::{open_for_reading, open_parent};

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
    pending: Pending<'a>,
    /// Files with flags that come after all names, and these.
    flagged: Vec<(Vec<u8>, u64)>,
    summary: Summary,
}

/// What decides how files are restored, who is told of problems, and who helps.
type Parts<'a> = (
    &'a ExtractOptions,
    &'a Attributes<'a>,
    &'a Reporter<'a>,
    &'a Crew,
);

impl<'a> Extractor<'a> {
    /// Restores what is at `base` of the archive to `target`; of the root of that, `metadata`.
    pub fn new(
        target: &Path,
        base: &[u8],
        metadata: Option<Box<Metadata>>,
        (options, attributes, reporter, crew): Parts<'a>,
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
            reporter,
            attributes,
            follow,
            directories: Directories::open(target, options, attributes, metadata, wanted)?,
            rules,
            base: base.to_vec(),
            restored: Restored::default(),
            filler: Filler::new(),
            pending: Pending::new(crew),
            flagged: Vec::new(),
            summary: Summary::default(),
        })
    }

    /// Restores all that follows in the archive.
    pub fn run<I: Input>(mut self, archive: &mut Decoder<I>) -> Result<Summary, Error> {
        let done = self.steps(archive);
        // What came before an error is whole.
        let settled = self.settle(true);
        self.directories.close();
        done.and(settled)?;
        self.finish()
    }

    fn steps<I: Input>(&mut self, archive: &mut Decoder<I>) -> Result<(), Error> {
        let mut path = Vec::new();
        while let Some(step) = archive.step()? {
            path.clear();
            path.extend_from_slice(archive.path());
            match step {
                Step::Leave => {
                    if path.is_empty() {
                        self.settle(true)?;
                        self.set_last_flags();
                        self.directories.close();
                    }
                    if let Some(directory) = self.directories.leave() {
                        self.pending.leave(&path, directory);
                    }
                }
                Step::Enter(node) => self.enter(&path, node, archive)?,
            }
            self.settle(false)?;
            self.reporter.check()?;
        }
        Ok(())
    }

    /// Accounts for what is done; waits for `all` of it.
    fn settle(&mut self, all: bool) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(done) = self.pending.next(all) {
            match done {
                Done::Files(files) => {
                    for file in files {
                        result = result.and(self.account(file));
                    }
                }
                Done::Directory(path, directory) => self.directories.finish(&path, &directory),
                Done::Large(position) => self.restored.add(position),
            }
        }
        result
    }

    fn account(&mut self, made: Made) -> Result<(), Error> {
        self.reporter.pass_on(&made.path, made.notes);
        match made.file? {
            Ok(bytes) => {
                self.summary.bytes += bytes;
                self.restored.add(made.position);
                self.count(&made.path, made.flags);
                Ok(())
            }
            Err(problem) => self.tell(&made.path, problem),
        }
    }

    /// Tells what is wrong with a file, unless it ends the restore.
    fn tell(&self, path: &[u8], problem: Problem) -> Result<(), Error> {
        let problem = of_one_file(path, problem)?;
        self.reporter.problem(path, problem);
        Ok(())
    }

    /// Something was made; a regular file has these flags in the archive.
    fn count(&mut self, path: &[u8], flags: u64) {
        self.summary.entries += 1;
        let flags = flags & AFTER_NAMES;
        if flags != 0 {
            self.flagged.push((path.to_vec(), flags));
        }
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
        if !self.directories.is_new(name) {
            // What may be of the same name comes first.
            self.settle(true)?;
        }
        match node {
            Node::Inode(inode) if directory => {
                self.directories
                    .enter(name, Box::new(inode.metadata), wanted);
                if wanted && !self.directories.is_lost() {
                    self.reporter.entry(path);
                    self.summary.entries += 1;
                    self.directories.current()?;
                }
                Ok(())
            }
            _ if !wanted || self.directories.is_lost() => Ok(()),
            Node::Hardlink(link) => {
                self.settle(true)?;
                self.link(path, &link)
            }
            Node::Inode(inode) => {
                let position = archive.position();
                let content = match archive.contents() {
                    Ok(content) => content,
                    Err(source) => return self.unreadable(path, source),
                };
                match (&inode.body, content) {
                    (Body::File(Payload { size, .. }), Some(content)) if *size <= SMALL => {
                        let content = (*size, content);
                        self.small_file(path, inode.metadata, content, position)
                    }
                    (Body::File(_), content) => {
                        let content = content.map(|it| Box::new(it) as Box<dyn Read>);
                        if self.inode(path, &inode, content)? {
                            self.pending.made(position);
                        }
                        Ok(())
                    }
                    _ => self.inode(path, &inode, None).map(drop),
                }
            }
        }
    }

    /// Has a small file made while the archive is read on.
    fn small_file(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        (size, content): (u64, impl Read),
        position: u64,
    ) -> Result<(), Error> {
        self.reporter.entry(path);
        let Some(here) = self.directories.current()? else {
            return Ok(());
        };
        let batch = self.pending.batch(here);
        let size = usize::try_from(size).unwrap_or_default();
        match batch.read(size, content) {
            Ok(content) => batch.add(Job {
                path: path.to_vec(),
                metadata,
                position,
                content,
            }),
            Err(error) => {
                let problem = failed(Failure::Read(error))?;
                self.reporter.problem(path, problem);
            }
        }
        Ok(())
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
        self.finish()
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
                Some(Err(error)) => self.reporter.problem(&path, refused("open", error)),
                None => {}
            }
        }
    }

    /// Nothing counts as restored that a loss of power would take back.
    fn finish(mut self) -> Result<Summary, Error> {
        self.directories.sync()?;
        self.summary.problems = self.reporter.problems();
        Ok(self.summary)
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
            metadata: &inode.metadata,
        };
        let Some(here) = self.directories.current()? else {
            return Ok(false);
        };
        let placer = Placer {
            directory: here.directory,
            inherited: here.inherited,
            options: self.options,
            attributes: self.attributes,
        };
        let made = match &inode.body {
            Body::Directory => Ok(false),
            Body::File(_) => {
                let mut content = content.unwrap_or_else(|| Box::new(std::io::empty()));
                let made = placer.file(&item, |file| self.filler.fill(file, &mut content))?;
                made.map(|bytes| self.summary.bytes += bytes).map(|()| true)
            }
            Body::Symlink(target) => placer.symlink(&item, target),
            Body::BlockDevice(device) => placer.node(&item, FileType::BlockDevice, Some(device)),
            Body::CharDevice(device) => placer.node(&item, FileType::CharacterDevice, Some(device)),
            Body::Fifo => placer.node(&item, FileType::Fifo, None),
            Body::Socket => placer.node(&item, FileType::Socket, None),
        };
        match made {
            Ok(true) => {
                let flags = match inode.body {
                    Body::File(_) => inode.metadata.stat.flags,
                    _ => 0,
                };
                self.count(path, flags);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(problem) => self.tell(path, problem).map(|()| false),
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
            let Some(Here { directory, .. }) = self.directories.current()? else {
                return Ok(());
            };
            let name = last_name(path);
            let make = |name: &[u8]| linkat(&parent, first_name, directory, name, AtFlags::empty());
            let overwrite = self.options.overwrite.hardlinks;
            let option = "--overwrite-hardlinks";
            let made = Place::take(directory, name, overwrite, option, make);
            match made.and_then(|((), place)| place.settle_link()) {
                Ok(()) => self.summary.entries += 1,
                Err(problem) => self.tell(path, problem)?,
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
