//! The walk ahead of the archive: one thread goes through the directories, some others look at the
//! files in them and read small ones, and all is taken in the order of the walk.
//!
//! ```text
//! walk ── batch ──► looked at by whoever is free ──┐
//!   └── queue of batches, in the walk's order ──► take, each once it was looked at
//! ```
//!
//! The queue bounds what is open and in memory; the oldest batch is always looked at first, so
//! nobody waits for one that nobody works on.

use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::found::{Found, Sight, Told, What};
use super::look::{Looker, Room};
use super::parent::OpenDirectories;
use super::small;
use super::walk::Walker;
use crate::tree::Error;
use crate::tree::report::{Reporter, Tell as _};
use crate::tree::threads;

/// What is looked at by one thread at once.
const BATCH: usize = 64;
/// What is open and in memory of the files in a batch.
const ROOM: Room = Room {
    bytes: 1 << 20,
    files: 8,
    directories: OpenDirectories::new(4),
};
/// The same of a file that is taken at once.
const ROOM_OF_ONE: Room = Room {
    bytes: small::MAX,
    files: 1,
    directories: OpenDirectories::new(1),
};
/// Bytes of names and attributes in a batch, but for what is in the last file.
const WEIGHT: usize = 1 << 20;
/// Batches ahead for each thread that looks at them.
const AHEAD: usize = 4;

type Batch = Vec<Sight>;

/// A batch, and where it goes.
type Job = (Batch, SyncSender<Batch>);

/// Gives all that the walk finds to `take`, and what is wrong to the reporter.
pub fn walk<'a>(
    root: &Path,
    walker: Walker<'a>,
    reporter: &Reporter<'_>,
    mut take: impl FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walker = walker;
    let looker = || {
        let mut looker = Looker::new();
        move |batch: &mut Batch| look_at(&mut looker, batch)
    };
    let mut late = Looker::new();
    let take = |batch: Batch| {
        for mut sight in batch {
            late.allow(ROOM_OF_ONE);
            see(&mut late, &mut sight);
            take_one(sight, reporter, &mut take)?;
        }
        Ok(())
    };
    let next = move || next_batch(|| walker.next());
    run(root, threads::count(), next, looker, take)
}

/// Has `lookers` threads look at the batches of `next`, and gives them to `take` in their order.
fn run<L: FnMut(&mut Batch)>(
    root: &Path,
    lookers: usize,
    next: impl FnMut() -> Result<Option<Batch>, Error> + Send,
    looker: impl Fn() -> L + Sync,
    take: impl FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let (jobs, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    let (queue, batches) = sync_channel(AHEAD * lookers);
    let looker = &looker;
    thread::scope(|scope| {
        // When it ends early, so do all the others, who get nothing more.
        let (jobs, queue, waiting) = (jobs, queue, waiting);
        let mut threads = Vec::new();
        for _ in 0..lookers {
            let waiting = Arc::clone(&waiting);
            let work = move || look(&waiting, looker());
            threads.push(threads::spawn(scope, root, work)?);
        }
        // What waits goes with the last of them.
        drop(waiting);
        let walk = threads::spawn(scope, root, move || send(root, next, &jobs, &queue))?;
        let taken = take_all(root, batches, take);
        let walked = walk.join().unwrap_or_else(|panic| resume_unwind(panic));
        for thread in threads {
            // If it has panicked, that was printed, and what it had taken is missing.
            let _ = thread.join();
        }
        taken.and(walked)
    })
}

/// What of a walk is looked at by one thread at once; none at its end.
fn next_batch(
    mut next: impl FnMut() -> Result<Option<Sight>, Error>,
) -> Result<Option<Batch>, Error> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut weight = 0;
    while batch.len() < BATCH
        && weight < WEIGHT
        && let Some(sight) = next()?
    {
        weight += sight.weight();
        batch.push(sight);
    }
    Ok((!batch.is_empty()).then_some(batch))
}

/// Walks until the end, or until nobody takes what is found.
fn send(
    root: &Path,
    mut next: impl FnMut() -> Result<Option<Batch>, Error>,
    jobs: &Sender<Job>,
    queue: &SyncSender<Receiver<Batch>>,
) -> Result<(), Error> {
    while let Some(batch) = next()? {
        let (done, result) = sync_channel(1);
        jobs.send((batch, done)).map_err(|_| unseen(root))?;
        if queue.send(result).is_err() {
            break;
        }
    }
    Ok(())
}

/// Looks at what there is, until there will be no more.
fn look(waiting: &Mutex<Receiver<Job>>, mut look_at: impl FnMut(&mut Batch)) {
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((mut batch, done)) = job else { return };
        look_at(&mut batch);
        // Whoever wanted it may have given up.
        let _ = done.send(batch);
    }
}

/// Looks at the files in a batch until they weigh too much; the others are looked at when it is
/// their turn.
fn look_at(looker: &mut Looker, batch: &mut Batch) {
    looker.allow(ROOM);
    let mut weight = 0;
    for sight in batch {
        if weight >= WEIGHT {
            break;
        }
        see(looker, sight);
        weight += sight.weight();
    }
}

fn see(looker: &mut Looker, sight: &mut Sight) {
    sight.what = match std::mem::replace(&mut sight.what, What::Nothing) {
        What::Unseen(unseen) => looker.look(unseen, &mut sight.told),
        seen => seen,
    };
}

fn take_all(
    root: &Path,
    batches: Receiver<Receiver<Batch>>,
    mut take: impl FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    for batch in batches {
        take(batch.recv().map_err(|_| unseen(root))?)?;
    }
    Ok(())
}

/// Nobody looks at a batch.
fn unseen(root: &Path) -> Error {
    Error::Io {
        action: "look at all files below",
        path: root.to_path_buf(),
        source: io::Error::other("a thread has failed; please report what it has printed"),
    }
}

fn take_one(
    sight: Sight,
    reporter: &Reporter<'_>,
    take: &mut impl FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let Sight { told, what } = sight;
    let What::Found(found) = what else {
        tell(reporter, told);
        return Ok(());
    };
    if let Some(path) = found.path() {
        reporter.entry(path);
    }
    tell(reporter, told);
    take(found)
}

fn tell(reporter: &Reporter<'_>, told: Told) {
    for (path, problem) in told {
        reporter.problem(&path, problem);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use pxar::{Metadata, Xattr};
    use rustix::fs::{FileType, Mode, OFlags, fstat, open};

    use super::*;
    use crate::tree::create::look::Unseen;
    use crate::tree::create::parent::Directory;

    fn sight(what: What) -> Sight {
        Sight {
            told: Told::new(),
            what,
        }
    }

    fn number(batch: &Batch) -> usize {
        match &batch[0].what {
            What::Found(Found::Enter { path, .. }) => path.len(),
            other => panic!("{other:?}"),
        }
    }

    /// A batch that is known by the length of a path.
    fn batch(number: usize) -> Batch {
        let path = vec![b'x'; number];
        let metadata = Box::default();
        vec![sight(What::Found(Found::Enter { path, metadata }))]
    }

    /// Runs a walk of 1000 batches, with what each thread does at first and to each batch; what was
    /// taken of them.
    fn taken(lookers: usize, begin: fn(), look: fn(usize)) -> (Vec<usize>, Result<(), Error>) {
        let (send, result) = channel();
        thread::spawn(move || {
            let mut numbers = 0..1000;
            let next = move || Ok(numbers.next().map(batch));
            let looker = || {
                begin();
                move |batch: &mut Batch| look(number(batch))
            };
            let mut taken = Vec::new();
            let take = |batch: Batch| {
                taken.push(number(&batch));
                Ok(())
            };
            let ended = run(Path::new("/tree"), lookers, next, looker, take);
            let _ = send.send((taken, ended));
        });
        match result.recv_timeout(Duration::from_secs(60)) {
            Ok(taken) => taken,
            Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
            Err(RecvTimeoutError::Disconnected) => panic!("it has panicked"),
        }
    }

    #[test]
    fn a_thread_that_fails_ends_the_walk_and_nothing_is_left_out() {
        for lookers in [1, 3] {
            let (all, ended) = taken(lookers, || (), |_| ());
            ended.unwrap();
            assert!(all.iter().copied().eq(0..1000));
            let look = |number| assert_ne!(number, 500, "a bug");
            let (some, ended) = taken(lookers, || (), look);
            let error = ended.unwrap_err().to_string();
            assert!(error.contains("'/tree'"), "{error}");
            assert!(some.iter().copied().eq(0..500), "{}", some.len());
            // None of them has come to take anything.
            let (none, ended) = taken(lookers, || panic!("a bug"), |_| ());
            assert!(none.is_empty() && ended.is_err());
        }
    }

    fn heavy(bytes: usize) -> Box<Metadata> {
        Box::new(Metadata {
            xattrs: vec![Xattr {
                name: b"user.a".to_vec(),
                value: vec![0; bytes],
            }],
            ..Metadata::default()
        })
    }

    #[test]
    fn attributes_of_directories_fill_a_batch() {
        let lengths = |bytes: usize| {
            let mut left = 100;
            let mut next = || {
                left -= 1;
                let path = b"d".to_vec();
                let metadata = heavy(bytes);
                let found = Found::Enter { path, metadata };
                Ok((left >= 0).then(|| sight(What::Found(found))))
            };
            let mut lengths = Vec::new();
            while let Some(batch) = next_batch(&mut next).unwrap() {
                lengths.push(batch.len());
            }
            lengths
        };
        assert_eq!(lengths(100), [64, 36]);
        assert_eq!(lengths(WEIGHT / 2), [2; 50]);
        assert_eq!(lengths(WEIGHT), [1; 100]);
    }

    #[test]
    fn what_weighs_too_much_is_looked_at_in_its_turn() {
        let root = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = open(root.path(), flags, Mode::empty()).unwrap();
        let stat = fstat(&directory).unwrap();
        let directory = Arc::new(Directory::new(directory, &stat));
        std::fs::write(root.path().join("f"), "content").unwrap();
        let prefix = vec![b'd'; WEIGHT / 4];
        let unseen = |_| {
            sight(What::Unseen(Unseen {
                directory: Arc::clone(&directory),
                path: [&prefix[..], b"/f"].concat(),
                name: prefix.len() + 1,
                kind: FileType::RegularFile,
                previous: None,
            }))
        };
        let mut batch: Batch = (0..6).map(unseen).collect();
        look_at(&mut Looker::new(), &mut batch);
        let seen = batch.iter().map(|it| matches!(it.what, What::Found(_)));
        assert!(seen.eq([true, true, true, true, false, false]));
    }
}
