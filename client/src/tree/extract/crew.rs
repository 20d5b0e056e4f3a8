//! Threads that make files while the archive is read on.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;

use pxar::Metadata;

use super::attributes::{Attributes, Inherited};
use super::content::Filler;
use super::directories::Directory;
use super::options::ExtractOptions;
use super::placer::{Item, Placer};
use crate::tree::observer::Problem;
use crate::tree::report::{Note, Notes};
use crate::tree::{Error, threads};

/// Larger files are written by the thread that reads the archive.
pub const SMALL: u64 = 1 << 20;
/// Files of a directory that are made at once.
const BATCH: usize = 32;
/// Bytes in them, but for the last one.
const BATCH_BYTES: usize = 256 << 10;
/// Batches and directories that wait for each other at most.
const MOST: usize = 32;
/// Most bytes of files that are about to be made, but for one batch.
const MOST_BYTES: usize = 16 << 20;

/// A file to be made.
pub struct Job {
    pub path: Vec<u8>,
    pub metadata: Metadata,
    pub content: Vec<u8>,
    /// Where its name is in the archive.
    pub position: u64,
}

/// Files of a directory.
struct Batch {
    directory: Arc<OwnedFd>,
    inherited: Inherited,
    jobs: Vec<Job>,
    bytes: usize,
}

/// A file that was made, or was not.
pub struct Made {
    pub path: Vec<u8>,
    /// Where its name is in the archive.
    pub position: u64,
    /// Its flags in the archive.
    pub flags: u64,
    /// How many bytes are in it; what hinders other files too is an error of its own.
    pub file: Result<Result<u64, Problem>, Error>,
    /// What else was wrong with it.
    pub notes: Vec<Note>,
}

type Task = (Batch, SyncSender<Vec<Made>>);

/// Who makes files.
pub struct Crew {
    hands: Vec<Sender<Task>>,
}

impl Crew {
    /// Does `work` with a crew for the tree at `target`.
    pub fn during<T>(
        target: &Path,
        options: &ExtractOptions,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        thread::scope(|scope| {
            // When it ends, so do they.
            let mut crew = Self { hands: Vec::new() };
            for _ in 0..threads::count() {
                let (hand, tasks) = channel();
                threads::spawn(scope, target, move || make_all(&tasks, options))?;
                crew.hands.push(hand);
            }
            work(&crew)
        })
    }

    /// All files of a directory are made by the same thread: only one at a time can make one there.
    fn make(&self, directory: usize, batch: Batch) -> Receiver<Vec<Made>> {
        let (done, made) = sync_channel(1);
        if let Some(hand) = self.hands.get(directory % self.hands.len().max(1)) {
            // If it is gone, that shows where it is waited for.
            let _ = hand.send((batch, done));
        }
        made
    }
}

/// Makes what there is, until there will be no more.
fn make_all(tasks: &Receiver<Task>, options: &ExtractOptions) {
    for (batch, done) in tasks {
        // Whoever wanted it may have given up.
        let _ = done.send(batch.make(options));
    }
}

impl Batch {
    fn make(self, options: &ExtractOptions) -> Vec<Made> {
        let (directory, inherited) = (self.directory, self.inherited);
        let make = |job: Job| job.make(&directory, inherited, options);
        self.jobs.into_iter().map(make).collect()
    }
}

impl Job {
    fn make(self, directory: &OwnedFd, inherited: Inherited, options: &ExtractOptions) -> Made {
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
        let file = placer.file(&item, |file| Filler::fill_from(file, &self.content));
        Made {
            path: self.path,
            position: self.position,
            flags: self.metadata.stat.flags,
            file,
            notes: notes.all(),
        }
    }
}

/// What was begun and is not accounted for, in the archive's order.
pub struct Pending<'a> {
    crew: &'a Crew,
    /// Files that wait for more of their directory.
    batch: Option<Batch>,
    queue: VecDeque<Begun>,
    /// Bytes of files in the queue.
    bytes: usize,
    /// Directories that had files until now.
    directories: usize,
}

/// Something that was begun.
enum Begun {
    /// Files, with how many bytes.
    Files(usize, Receiver<Vec<Made>>),
    /// A directory that was left.
    Directory(Vec<u8>, Directory),
}

/// What is to be accounted for next.
pub enum Done {
    Files(Vec<Made>),
    Directory(Vec<u8>, Directory),
}

impl<'a> Pending<'a> {
    pub fn new(crew: &'a Crew) -> Self {
        Self {
            crew,
            batch: None,
            queue: VecDeque::new(),
            bytes: 0,
            directories: 0,
        }
    }

    /// Has a file made.
    pub fn make(&mut self, directory: &Arc<OwnedFd>, inherited: Inherited, job: Job) {
        if let Some(batch) = &self.batch
            && !Arc::ptr_eq(&batch.directory, directory)
        {
            self.begin();
            self.directories += 1;
        }
        let batch = self.batch.get_or_insert_with(|| Batch {
            directory: Arc::clone(directory),
            inherited,
            jobs: Vec::with_capacity(BATCH),
            bytes: 0,
        });
        batch.bytes += job.content.len();
        batch.jobs.push(job);
        if batch.jobs.len() >= BATCH || batch.bytes >= BATCH_BYTES {
            self.begin();
        }
    }

    /// Has the files made that wait.
    fn begin(&mut self) {
        if let Some(batch) = self.batch.take() {
            let bytes = batch.bytes;
            self.bytes += bytes;
            let made = self.crew.make(self.directories, batch);
            self.queue.push_back(Begun::Files(bytes, made));
        }
    }

    /// Leaves a directory; it is done when all before it is.
    pub fn leave(&mut self, path: &[u8], directory: Directory) {
        self.begin();
        self.directories += 1;
        let left = Begun::Directory(path.to_vec(), directory);
        self.queue.push_back(left);
    }

    /// The next that is done, if any; waits for it if there are too many, or for `all`.
    pub fn next(&mut self, all: bool) -> Option<Done> {
        if all {
            self.begin();
        }
        let wait = all || self.queue.len() > MOST || self.bytes > MOST_BYTES;
        let made = match self.queue.front()? {
            Begun::Directory(..) => None,
            Begun::Files(_, made) => match made.try_recv() {
                Ok(made) => Some(made),
                Err(TryRecvError::Empty) if !wait => return None,
                // Without an answer its thread has panicked, and soon this one will.
                Err(_) => made.recv().ok(),
            },
        };
        match self.queue.pop_front()? {
            Begun::Directory(path, directory) => Some(Done::Directory(path, directory)),
            Begun::Files(bytes, _) => {
                self.bytes -= bytes;
                Some(Done::Files(made.unwrap_or_default()))
            }
        }
    }
}
