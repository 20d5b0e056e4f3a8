//! The mark: which digests does any index of the store reference? (gc.md §6.2 P1)
//!
//! Rules carried here:
//! * ◆ The mark works in passes over the whole store. A pass with a vanished entry (a directory
//!   gone when its files are listed, an index gone when it is opened) is followed by another; the
//!   mark is complete after one without. It is not enough to repeat when the *newest* snapshot
//!   vanished: that may be a running session's own, still without index files.
//! * ◆ Every pass asks for the pins: the index files that running sessions took their base from,
//!   held open, so that they are read even if the base was removed, replaced or moved.
//! * ◆ After the pass that found everything in its place, the move journal is read under its lock,
//!   and emptied only when everything in it is marked: the walk is not atomic, and a snapshot that
//!   moves from a group not yet visited to one already visited shows up nowhere else. Earlier
//!   passes leave the journal alone, so that no record is gone before the last walk.
//! * ◆ Index files count with or without manifest.
//! * An index that cannot be read, or contradicts its own header, length or checksum, ends the mark
//!   (R23): without it, its chunks would be deleted.
//! * From the tenth pass on, the store's epoch is held, so that whoever changes the set of
//!   snapshots waits.

mod books;
mod chain;
mod marked;
mod marker;
mod read_index;
mod units;

use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};

use api_types::names::ArchiveType;
use futures_util::future::BoxFuture;

pub use marked::{AffectedSnapshot, IndexSource, MarkCounts, Marked, ReadIndex};
pub use marker::Marker;
pub(in crate::gc) use read_index::FileState;

use super::error::GcResult;

/// The first pass that is made while all changes to the set of snapshots wait.
pub const FIRST_QUIET_PASS: u32 = 10;
/// More passes than this mean that somebody keeps removing snapshots by hand.
pub const MAX_PASSES: u32 = 100;

/// How to mark.
#[derive(Clone, Debug)]
pub struct MarkOptions {
    /// The datastore's directory.
    pub base: PathBuf,
    /// Where marked digests go that do not fit into memory.
    pub spill_dir: PathBuf,
    /// Bytes of marked digests to keep in memory.
    pub memory_limit: usize,
    /// Where the digest lists of indexes are kept between runs.
    pub cache_dir: PathBuf,
    /// Read every index anew.
    pub full: bool,
    /// Most bytes of digest lists to keep.
    pub cache_limit: u64,
    /// Threads that read indexes; with one, everything happens in one order on the caller's.
    pub threads: usize,
    /// Indexes (below the datastore) that may be skipped if they cannot be read: their chunks are
    /// given up, unless something else references them.
    pub skip_unreadable: Vec<PathBuf>,
}

/// An index file of the base of a running session.
#[derive(Debug)]
pub struct PinnedIndex {
    /// Where it was when the session opened it; for messages.
    pub path: PathBuf,
    /// Fixed or dynamic.
    pub kind: ArchiveType,
    /// The open file.
    pub file: File,
}

/// Keeps the set of snapshots from changing while it exists.
pub type EpochGuard = Box<dyn Any + Send>;

/// What the store supplies to the mark.
pub trait MarkHost: Send + Sync {
    /// The pins of all running sessions, and of those that ended since the mark began: a session
    /// may take its base and end between two looks at the registry. Called in every pass, before
    /// and after the walk.
    fn pins(&self) -> GcResult<Vec<PinnedIndex>>;

    /// Waits until nobody changes the set of snapshots (prune, move, destroy, re-sync), and keeps
    /// it so. Whoever waits for the end of it must not hold the move journal meanwhile.
    fn hold_epoch(&self) -> BoxFuture<'_, GcResult<EpochGuard>>;
}

/// Where the mark is; see [`MarkObserver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkStep<'a> {
    /// A pass begins (from 1).
    PassStarted(u32),
    /// The names in a directory are known, nothing in it was looked at.
    Listed(&'a Path),
    /// The pins of this pass are collected.
    PinsCollected,
    /// An index is about to be opened.
    Opening(&'a Path),
    /// An index was read.
    Read(&'a Path),
    /// The journal of moves is about to be read, under its lock.
    DrainingJournal,
}

/// Called between the steps of a mark, so that tests can change the store at each of them.
pub trait MarkObserver: Send + Sync {
    /// The mark is at `step`.
    fn at(&self, step: MarkStep<'_>) {
        let _ = step;
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl MarkObserver for NoObserver {}

#[cfg(test)]
mod tests;
