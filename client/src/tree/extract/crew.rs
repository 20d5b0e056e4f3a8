//! Threads that make files while the archive is read on.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::batch::{Answer, Batch};
use super::options::ExtractOptions;
use crate::tree::{Error, threads};

/// Files to be made, and whom to tell.
pub type Task = (Batch, SyncSender<Answer>);

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

    /// One that takes orders and does nothing.
    #[cfg(test)]
    pub fn idle(hands: usize) -> (Self, Vec<Receiver<Task>>) {
        let (hands, tasks) = (0..hands).map(|_| channel()).unzip();
        (Self { hands }, tasks)
    }

    /// All files of a directory are made by the same thread: only one at a time can make one there.
    pub fn make(&self, batch: Batch) -> Receiver<Answer> {
        let (done, made) = sync_channel(1);
        if let Some(hand) = self.hands.get(batch.hand() % self.hands.len().max(1)) {
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
