//! What was begun and is not accounted for.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::batch::{Answer, Batch, Made};
use super::crew::Crew;
use super::directories::{Directory, Here};

/// Batches and directories that wait for each other at most.
const MOST: usize = 32;
/// Bytes in them, but for the last one.
const MOST_BYTES: usize = 12 << 20;

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
            && (!batch.is_in(here.directory) || batch.is_full())
        {
            self.begin();
        }
        let hand = here.hand.get().unwrap_or(self.directories);
        if here.hand.replace(Some(hand)).is_none() {
            self.directories += 1;
        }
        let spare = &mut self.spare;
        self.batch
            .get_or_insert_with(|| Batch::new(here, hand, spare.pop().unwrap_or_default()))
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

    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use pxar::{Metadata, Xattr};

    use super::*;
    use crate::tree::extract::attributes::Inherited;
    use crate::tree::extract::batch::Job;
    use crate::tree::extract::crew::Task;

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
        let (crew, tasks) = Crew::idle(3);
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
            let same = |(batch, _): &Task| batch.is_in(&directories[number]);
            assert!(batches.iter().all(same));
        }
    }

    #[test]
    fn attributes_take_memory_too() {
        let (crew, tasks) = Crew::idle(1);
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
        let batches = tasks[0].try_iter().map(|(batch, _)| batch.weight());
        assert!(batches.into_iter().all(|weight| weight == 300_000));
    }
}
