//! Threads that make files while the archive is read on.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;

use pxar::{AclEntry, Metadata};

use super::attributes::{Attributes, Inherited};
use super::content::Filler;
use super::directories::{Directory, Here};
use super::options::ExtractOptions;
use super::placer::{Item, Placer};
use crate::tree::observer::Problem;
use crate::tree::report::{Note, Notes};
use crate::tree::{Error, threads};

/// Larger files are written by the thread that reads the archive.
pub const SMALL: u64 = 128 << 10;
/// Files of a directory that are made at once.
const BATCH: usize = 32;
/// Bytes in them, contents and attributes, but for the last one.
const BATCH_BYTES: usize = 256 << 10;
/// Batches and directories that wait for each other at most.
const MOST: usize = 32;
/// Bytes in them, but for the last one.
const MOST_BYTES: usize = 12 << 20;

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
type Answer = (Vec<Made>, Vec<u8>);

type Task = (Batch, SyncSender<Answer>);

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
    fn make(&self, batch: Batch) -> Receiver<Answer> {
        let (done, made) = sync_channel(1);
        if let Some(hand) = self.hands.get(batch.hand % self.hands.len().max(1)) {
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

    fn weight(&self) -> usize {
        self.content.len() + self.attributes
    }

    fn is_full(&self) -> bool {
        self.jobs.len() >= BATCH || self.weight() >= BATCH_BYTES
    }

    fn make(self, options: &ExtractOptions) -> Answer {
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

/// What was begun and is not accounted for, in the archive's order.
pub struct Pending<'a> {
    crew: &'a Crew,
    /// Files that wait for more of their directory.
    batch: Option<Batch>,
    /// Each with its weight.
    queue: VecDeque<(Begun, usize)>,
    /// Weight of all of it.
    weight: usize,
    /// Directories that had small files until now.
    directories: usize,
    /// Memory of batches that were made.
    spare: Vec<Vec<u8>>,
}

/// Something that was begun.
enum Begun {
    Files(Receiver<Answer>),
    /// A directory that was left.
    Directory(Vec<u8>, Directory),
    /// A large file that is there already, by where its name is in the archive.
    Large(u64),
}

/// What is to be accounted for next.
pub enum Done {
    Files(Vec<Made>),
    Directory(Vec<u8>, Directory),
    Large(u64),
}

impl<'a> Pending<'a> {
    pub fn new(crew: &'a Crew) -> Self {
        Self {
            crew,
            batch: None,
            queue: VecDeque::new(),
            weight: 0,
            directories: 0,
            spare: Vec::new(),
        }
    }

    /// The files that are made next, in this directory.
    pub fn batch(&mut self, here: Here<'_>) -> &mut Batch {
        if let Some(batch) = &self.batch
            && (!Arc::ptr_eq(&batch.directory, here.directory) || batch.is_full())
        {
            self.begin();
        }
        let hand = here.hand.get().unwrap_or(self.directories);
        if here.hand.replace(Some(hand)).is_none() {
            self.directories += 1;
        }
        self.batch.get_or_insert_with(|| Batch {
            directory: Arc::clone(here.directory),
            inherited: here.inherited,
            hand,
            jobs: Vec::with_capacity(BATCH),
            attributes: 0,
            content: self.spare.pop().unwrap_or_default(),
        })
    }

    /// Has the files made that wait.
    fn begin(&mut self) {
        if let Some(batch) = self.batch.take() {
            let weight = batch.weight();
            let made = self.crew.make(batch);
            self.push(Begun::Files(made), weight);
        }
    }

    fn push(&mut self, begun: Begun, weight: usize) {
        self.weight += weight;
        self.queue.push_back((begun, weight));
    }

    /// Leaves a directory; it is done when all before it is.
    pub fn leave(&mut self, path: &[u8], directory: Directory) {
        self.begin();
        let weight = directory.weight();
        self.push(Begun::Directory(path.to_vec(), directory), weight);
    }

    /// A large file was made, whose name is at `position`.
    pub fn made(&mut self, position: u64) {
        self.begin();
        self.push(Begun::Large(position), 0);
    }

    /// Whether too much was begun.
    fn is_full(&self) -> bool {
        self.queue.len() > MOST || self.weight > MOST_BYTES
    }

    /// The next that is done, if any; waits for it if there are too many, or for `all`.
    pub fn next(&mut self, all: bool) -> Option<Done> {
        if all {
            self.begin();
        }
        let wait = all || self.is_full();
        let made = match &self.queue.front()?.0 {
            Begun::Directory(..) | Begun::Large(_) => None,
            Begun::Files(made) => match made.try_recv() {
                Ok(made) => Some(made),
                Err(TryRecvError::Empty) if !wait => return None,
                // Without an answer its thread has panicked, and soon this one will.
                Err(_) => made.recv().ok(),
            },
        };
        let (begun, weight) = self.queue.pop_front()?;
        self.weight -= weight;
        match begun {
            Begun::Directory(path, directory) => Some(Done::Directory(path, directory)),
            Begun::Large(position) => Some(Done::Large(position)),
            Begun::Files(_) => {
                let (made, mut memory) = made.unwrap_or_default();
                memory.clear();
                self.spare.push(memory);
                Some(Done::Files(made))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use pxar::Xattr;

    use super::*;

    /// A crew that takes orders and does nothing.
    fn idle(hands: usize) -> (Crew, Vec<Receiver<Task>>) {
        let (hands, tasks) = (0..hands).map(|_| channel()).unzip();
        (Crew { hands }, tasks)
    }

    fn directory() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").unwrap().into())
    }

    fn job(attributes: usize) -> Job {
        let mut metadata = Metadata::default();
        metadata.xattrs.push(Xattr {
            name: Vec::new(),
            value: vec![0; attributes],
        });
        Job {
            path: Vec::new(),
            metadata,
            position: 0,
            content: 0..0,
        }
    }

    #[test]
    fn a_directory_is_one_hands_business() {
        let (crew, tasks) = idle(3);
        let mut pending = Pending::new(&crew);
        let (directories, hands) = ([directory(), directory()], [const { Cell::new(None) }; 2]);
        for number in [0, 1, 0, 0, 1, 0] {
            let here = Here {
                directory: &directories[number],
                inherited: Inherited::default(),
                hand: &hands[number],
            };
            pending.batch(here).add(job(0));
            // A large file lies between.
            pending.made(1);
        }
        for (number, expected) in [4, 2, 0].into_iter().enumerate() {
            let batches: Vec<_> = tasks[number].try_iter().collect();
            assert_eq!(batches.len(), expected);
            let same = |(batch, _): &Task| Arc::ptr_eq(&batch.directory, &directories[number]);
            assert!(batches.iter().all(same));
        }
    }

    #[test]
    fn attributes_take_memory_too() {
        let (crew, tasks) = idle(1);
        let mut pending = Pending::new(&crew);
        let (directory, hand) = (directory(), Cell::new(None));
        let here = Here {
            directory: &directory,
            inherited: Inherited::default(),
            hand: &hand,
        };
        let mut weight = 0;
        while !pending.is_full() {
            pending.batch(here).add(job(100_000));
            weight += 100_000;
            assert!(weight < 2 * MOST_BYTES, "without bound");
        }
        assert!(weight > MOST_BYTES / 2);
        let batches = tasks[0].try_iter().map(|(batch, _)| batch.jobs.len());
        assert!(batches.into_iter().all(|jobs| jobs == 3));
    }
}
