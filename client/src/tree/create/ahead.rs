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

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::found::{Found, Sight, Told, What};
use super::look::{Looker, Room};
use super::parent::OpenDirectories;
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
    let lookers = threads::count();
    let (jobs, waiting) = channel();
    let waiting = Mutex::new(waiting);
    let (queue, batches) = sync_channel(AHEAD * lookers);
    thread::scope(|scope| {
        // When it ends early, so do all the others, who get nothing more.
        let (jobs, queue) = (jobs, queue);
        for _ in 0..lookers {
            threads::spawn(scope, root, || look(&waiting))?;
        }
        let mut walker = walker;
        let walk = threads::spawn(scope, root, move || send(&mut walker, &jobs, &queue))?;
        take_all(batches, reporter, &mut take)?;
        walk.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Walks until the end, or until nobody takes what is found.
fn send(
    walker: &mut Walker<'_>,
    jobs: &Sender<Job>,
    queue: &SyncSender<Receiver<Batch>>,
) -> Result<(), Error> {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH
            && let Some(sight) = walker.next()?
        {
            batch.push(sight);
        }
        let last = batch.len() < BATCH;
        let (done, result) = sync_channel(1);
        let sent = jobs.send((batch, done)).is_ok() && queue.send(result).is_ok();
        if last || !sent {
            return Ok(());
        }
    }
}

/// Looks at what there is, until there will be no more.
fn look(waiting: &Mutex<Receiver<Job>>) {
    let mut looker = Looker::new();
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((mut batch, done)) = job else { return };
        looker.allow(ROOM);
        for sight in &mut batch {
            see(&mut looker, sight);
        }
        // Whoever wanted it may have given up.
        let _ = done.send(batch);
    }
}

fn see(looker: &mut Looker, sight: &mut Sight) {
    sight.what = match std::mem::replace(&mut sight.what, What::Nothing) {
        What::Unseen(unseen) => looker.look(unseen, &mut sight.told),
        seen => seen,
    };
}

fn take_all(
    batches: Receiver<Receiver<Batch>>,
    reporter: &Reporter<'_>,
    take: &mut impl FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    for batch in batches {
        for sight in batch.recv().into_iter().flatten() {
            let Sight { told, what } = sight;
            if let What::Found(found) = what {
                if let Some(path) = found.path() {
                    reporter.entry(path);
                }
                tell(reporter, told);
                take(found)?;
            } else {
                tell(reporter, told);
            }
        }
    }
    Ok(())
}

fn tell(reporter: &Reporter<'_>, told: Told) {
    for (path, problem) in told {
        reporter.problem(&path, problem);
    }
}
