//! Small files of a directory, made one after the other.

use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pxar::{AclEntry, Metadata};

use super::attributes::{Attributes, Inherited};
use super::content::Filler;
use super::directories::Here;
use super::options::ExtractOptions;
use super::placer::{Item, Placer};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::report::{Note, Notes};

/// Larger files are written by the thread that reads the archive.
pub const SMALL: u64 = 128 << 10;
/// Files of a directory that are made at once.
const BATCH: usize = 32;
/// Bytes in them, contents and attributes, but for the last one.
const BATCH_BYTES: usize = 256 << 10;

/// A file to be made.
pub struct Job {
    pub path: Vec<u8>,
    pub metadata: Metadata,
    /// Where its name is in the archive.
    pub position: u64,
    /// Its content, in that of the batch.
    pub content: Range<usize>,
}

/// Files of a directory.
pub struct Batch {
    directory: Arc<OwnedFd>,
    inherited: Inherited,
    /// Who makes them.
    hand: usize,
    jobs: Vec<Job>,
    /// Bytes of their paths and attributes.
    attributes: usize,
    /// What goes into them.
    content: Vec<u8>,
}

/// A file that was made, or was not.
pub struct Made {
    pub path: Vec<u8>,
    /// Where its name is in the archive.
    pub position: u64,
    /// Its flags in the archive.
    pub flags: u64,
    /// How many bytes are in it; that the archive is out of reach is an error of its own.
    pub file: Result<Result<u64, Problem>, Error>,
    /// What else was wrong with it.
    pub notes: Vec<Note>,
}

/// What came of a batch, and its memory, for another one.
pub type Answer = (Vec<Made>, Vec<u8>);

impl Batch {
    /// An empty one, for files that this hand makes here; reuses memory.
    pub fn new(here: Here<'_>, hand: usize, content: Vec<u8>) -> Self {
        Self {
            directory: Arc::clone(here.directory),
            inherited: here.inherited,
            hand,
            jobs: Vec::with_capacity(BATCH),
            attributes: 0,
            content,
        }
    }

    /// Who makes them.
    pub fn hand(&self) -> usize {
        self.hand
    }

    /// Whether they are files of this directory.
    pub fn is_in(&self, directory: &Arc<OwnedFd>) -> bool {
        Arc::ptr_eq(&self.directory, directory)
    }

    /// Takes the content of a file of `size` bytes; where it is. After an error there is none of it.
    pub fn read(&mut self, size: usize, mut content: impl Read) -> io::Result<Range<usize>> {
        let start = self.content.len();
        self.content.resize(start + size, 0);
        let room = self.content.get_mut(start..).unwrap_or_default();
        let read = content.read_exact(room);
        if read.is_err() {
            self.content.truncate(start);
        }
        read.map(|()| start..start + size)
    }

    /// Adds a file, whose content was read last.
    pub fn add(&mut self, job: Job) {
        self.attributes += job.path.len() + weight(&job.metadata);
        self.jobs.push(job);
    }

    /// Bytes in it, contents and attributes.
    pub fn weight(&self) -> usize {
        self.content.len() + self.attributes
    }

    /// Whether it should be begun before another file is added.
    pub fn is_full(&self) -> bool {
        self.jobs.len() >= BATCH || self.weight() >= BATCH_BYTES
    }

    /// Makes all of them.
    pub fn make(self, options: &ExtractOptions) -> Answer {
        let mut made = Vec::with_capacity(self.jobs.len());
        for job in self.jobs {
            let content = self.content.get(job.content.clone()).unwrap_or_default();
            made.push(job.make(content, &self.directory, self.inherited, options));
        }
        (made, self.content)
    }
}

/// Bytes of attributes, of which a file may have a lot.
pub fn weight(metadata: &Metadata) -> usize {
    let xattrs = metadata.xattrs.iter();
    let xattrs: usize = xattrs.map(|it| it.name.len() + it.value.len()).sum();
    let acl = &metadata.acl;
    let lists = [
        &acl.users,
        &acl.groups,
        &acl.default_users,
        &acl.default_groups,
    ];
    let entries: usize = lists.iter().map(|list| list.len()).sum();
    let fcaps = metadata.fcaps.as_ref().map_or(0, Vec::len);
    xattrs + entries * size_of::<AclEntry>() + fcaps
}

impl Job {
    fn make(
        self,
        content: &[u8],
        directory: &OwnedFd,
        inherited: Inherited,
        options: &ExtractOptions,
    ) -> Made {
        let notes = Notes::default();
        let attributes = Attributes {
            ignore: options.ignore,
            reporter: &notes,
        };
        let placer = Placer {
            directory,
            inherited,
            options,
            attributes: &attributes,
        };
        let item = Item {
            path: &self.path,
            metadata: &self.metadata,
        };
        let file = placer.file(&item, |file| Filler::fill_from(file, content));
        Made {
            path: self.path,
            position: self.position,
            flags: self.metadata.stat.flags,
            file,
            notes: notes.all(),
        }
    }
}
