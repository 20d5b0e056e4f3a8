//! What the store model remembers: a bucket, a disk, the memory of up to two processes, sessions,
//! and the one run (collection, verify, tend, rebuild) that holds the process lock exclusively.

use crate::explore::Invariant;

/// Digests, sessions, processes and snapshots at most; a configuration may use fewer.
pub const DIGESTS: usize = 2;
/// See [`DIGESTS`].
pub const SESSIONS: usize = 2;
/// See [`DIGESTS`].
pub const PROCESSES: usize = 2;
/// One from the start, one for each session.
pub const SNAPSHOTS: usize = SESSIONS + 1;

/// A chunk object.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Object {
    Absent,
    Good,
    Bad,
}

/// The local file of a chunk (`datastore::chunk_store`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum File {
    None,
    Marker,
    Payload,
    /// A payload that is durable, as for suspect digests.
    Kept,
}

/// A digest's line in the delete journal (`backend::s3::journal`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Record {
    None,
    /// Written and not synced; only without [`Rule::JournalFsync`](crate::rule::Rule::JournalFsync).
    Volatile,
    Durable,
}

/// `digests::State`, with whom it belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hold {
    Free,
    Upload(u8),
    /// `Uploading`, held by the run for a look at the object.
    Look,
    Condemned,
    Deleting,
}

/// `digests::Suspicion`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Suspect {
    No,
    Quarantine,
    /// The quarantine is over.
    Due,
}

/// A digest in a process's `DigestTable`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    pub hold: Hold,
    pub had: bool,
    pub suspect: Suspect,
    /// 0 = none.
    pub stamp: u8,
    pub lost: bool,
    /// In the memory of the journal: the record may not go yet.
    pub unresolved: bool,
}

impl Entry {
    pub const NEW: Self = Self {
        hold: Hold::Free,
        had: false,
        suspect: Suspect::No,
        stamp: 0,
        lost: false,
        unresolved: false,
    };

    pub fn is_ordinary(&self) -> bool {
        self.hold == Hold::Free && self.suspect == Suspect::No
    }
}

/// A process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Process {
    pub table: [Entry; DIGESTS],
    /// It has read the journal as it is on disk.
    pub seen: bool,
    /// A read whose data has arrived, on its way into the cache.
    pub fill: Fill,
}

/// A cache fill (`backend::s3::read`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fill {
    None,
    Fetched(u8),
    /// Only without [`Rule::FillUnderLock`](crate::rule::Rule::FillUnderLock): between look and rename.
    Checked(u8),
}

/// A session (`session::WriterSession`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Session {
    pub phase: Phase,
    pub process: u8,
    pub start: u8,
    /// Digests that it may name, as bits.
    pub known: u8,
    pub upload: Upload,
    /// The upload began while the digest was suspect.
    pub keep: bool,
    /// Snapshot that is its base, plus one.
    pub base: u8,
}

/// A session's life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    New,
    Active,
    /// Has asked for lost chunks, not sent its manifest.
    Checked,
    /// Its manifest is visible, it has not asked again.
    Visible,
    Over,
}

/// An insert under way (`backend::s3::insert`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Upload {
    None,
    Put(u8),
    /// 412: to be looked at.
    Validate(u8),
    /// The object is there, nothing is recorded yet.
    Applied(u8),
}

/// A snapshot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Snapshot {
    pub there: bool,
    pub refs: u8,
    /// Verify state `failed`.
    pub failed: bool,
}

/// The exclusive run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Run {
    pub kind: Kind,
    pub process: u8,
    pub stage: Stage,
    pub floor: u8,
    pub marked: u8,
    /// Snapshots that the mark has read.
    pub marked_snapshots: u8,
    pub listed: u8,
    pub todo: [Todo; DIGESTS],
    /// Digests with an attempt whose answer was lost.
    pub unanswered: u8,
    pub attempts: [u8; DIGESTS],
    /// Digests confirmed missing.
    pub missing: u8,
    pub resolving: Resolving,
}

/// Kinds of runs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    None,
    Collection,
    Verify,
    Tend,
    Rebuild,
}

/// Stages of a run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Quarantines end (P0).
    Resolve,
    /// Generation, floor and marks are known.
    Marked,
    /// The chunks are listed.
    Sweep,
}

/// What the run has to do with a digest.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Todo {
    Judge,
    /// Held for a HEAD.
    Head,
    Condemned,
    Recorded,
    /// `Deleting`, nothing sent yet.
    Looked,
    Sent,
    Applied,
    Denied,
    Done,
}

/// The end of one quarantine (`backend::s3::quarantine`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Resolving {
    None,
    Head(u8),
    Put(u8),
    Keep(u8),
    Drop(u8),
}

impl Run {
    pub const NONE: Self = Self {
        kind: Kind::None,
        process: 0,
        stage: Stage::Resolve,
        floor: 0,
        marked: 0,
        marked_snapshots: 0,
        listed: 0,
        todo: [Todo::Done; DIGESTS],
        unanswered: 0,
        attempts: [0; DIGESTS],
        missing: 0,
        resolving: Resolving::None,
    };
}

/// A copy of the disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DiskCopy {
    pub taken: bool,
    pub file: [File; DIGESTS],
    pub record: [Record; DIGESTS],
    pub generation: u8,
}

/// How often something may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "each counts what it is named after")]
pub struct Budget {
    pub collections: u8,
    pub crashes: u8,
    pub power_losses: u8,
    pub lost_answers: u8,
    pub denials: u8,
    pub aborts: u8,
    pub cancels: u8,
    pub stale: u8,
    pub losses: u8,
    pub verifies: u8,
    pub rebuilds: u8,
    pub fills: u8,
    pub evictions: u8,
    pub restores: u8,
    pub copies: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct State {
    pub bucket: [Object; DIGESTS],
    pub file: [File; DIGESTS],
    /// An unlink that a power loss would undo.
    pub ghost: u8,
    pub record: [Record; DIGESTS],
    /// DELETEs given up that the provider may still apply.
    pub late_delete: [u8; DIGESTS],
    /// PUTs given up that the provider may still apply.
    pub late_put: u8,
    /// DELETEs that the client library may still send; only without `NoAttemptAfterSuspect`.
    pub late_retry: u8,
    pub generation: u8,
    /// `.x-coffer/epoch` in the bucket.
    pub epoch: u8,
    pub needs_rebuild: bool,
    pub process: [Process; PROCESSES],
    pub session: [Session; SESSIONS],
    pub snapshot: [Snapshot; SNAPSHOTS],
    pub run: Run,
    pub copy: DiskCopy,
    pub budget: Budget,
    /// Not the store's knowledge: lost or damaged from outside, and not repaired since.
    pub excused: u8,
    /// … and the marker is as old as that.
    pub excused_marker: u8,
    /// A collection has ended that reported it missing.
    pub reported: u8,
    /// A step broke this.
    pub broken: Option<Invariant>,
}

/// The bit of digest, session or snapshot `index`.
pub fn bit(index: usize) -> u8 {
    1 << index
}

/// Whether `bits` has that of `index`.
pub fn has(bits: u8, index: usize) -> bool {
    bits & bit(index) != 0
}

/// `index` as the models store it.
pub fn small(index: usize) -> u8 {
    u8::try_from(index).expect("indexes of the model are tiny")
}
