//! What was promised to whom: the simulation's own record, made from what the store answered, never
//! from what it thinks.

pub mod labels;
pub mod places;
mod register;

use std::collections::{BTreeMap, HashMap};

use api_types::names::SnapshotPath;
use datastore::digests::Generation;

use crate::bucket::ProcId;
use crate::universe::{Set, members};

pub use labels::{Change, Labels};
pub use places::Journey;
pub use register::Register;

/// A session in the book.
pub type SessionId = u32;

/// A running session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its process.
    pub proc: ProcId,
    /// Chunks that it was told of: "duplicate" or "uploaded".
    pub told: Set,
    /// Chunks of its base's indexes.
    pub base: Set,
    /// The snapshot that it writes.
    pub snapshot: usize,
    /// Whether that was there before.
    pub again: bool,
    /// The step at which it began.
    pub began: u64,
}

/// What has become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being written.
    Open,
    /// Its manifest is in the bucket, and nobody has removed it.
    Committed,
    /// Nobody was told that it is committed, or somebody tried to remove it: it may be there or
    /// not, whole or not.
    Doubtful,
    /// Gone.
    Gone,
}

/// A snapshot in the book.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where it was last.
    pub path: SnapshotPath,
    /// The same as its directory.
    pub relative: String,
    /// Where a move may have taken it, or may not yet have taken it away.
    pub elsewhere: Vec<SnapshotPath>,
    /// Its indexes: name and chunks in order.
    pub archives: Vec<(String, Vec<u8>)>,
    /// Its blobs' names.
    pub blobs: Vec<String>,
    /// What has become of it.
    pub status: Status,
    /// Whether its client was told that it is committed.
    pub acknowledged: bool,
    /// Calls under way that may remove it.
    pub risks: u32,
    /// Whether it was written into a namespace that was being removed.
    pub doomed: bool,
    /// Whether it is protected.
    pub protected: Register<bool>,
    /// Its notes.
    pub notes: Register<String>,
    /// Whether its client was told that its log is stored.
    pub logged: bool,
    /// Chunks for whose sake it was seen to be failed, absent since.
    pub failed: Set,
    /// The session that still writes it.
    pub session: Option<SessionId>,
}

impl Snapshot {
    /// Whether it must be there, whole.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.status == Status::Committed && self.risks == 0
    }

    /// Its chunks.
    #[must_use]
    pub fn chunks(&self) -> Set {
        self.chunks_of(|_| true)
    }

    /// Whether this is the name of one of its indexes or blobs.
    #[must_use]
    pub fn has_file(&self, name: &str) -> bool {
        let mut archives = self.archives.iter();
        archives.any(|(archive, _)| archive == name) || self.blobs.iter().any(|blob| blob == name)
    }

    /// The chunks of some of its indexes, by name.
    pub fn chunks_of(&self, wanted: impl Fn(&str) -> bool) -> Set {
        let some = self.archives.iter().filter(|(name, _)| wanted(name));
        let all = some.flat_map(|(_, chunks)| chunks);
        all.fold(0, |set, &chunk| set | crate::universe::one(chunk))
    }
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    /// Running sessions.
    pub sessions: BTreeMap<SessionId, Session>,
    /// Every snapshot ever begun.
    pub snapshots: Vec<Snapshot>,
    /// Chunks that a collection reported missing, and that were not written since.
    pub reported: Set,
    /// Namespaces that are being removed, as directories.
    doomed: Vec<String>,
    by_path: HashMap<String, usize>,
    journeys: Vec<Journey>,
    labels: BTreeMap<String, Labels>,
    /// The generation of a process when the last session ended that was told of a chunk.
    ends: HashMap<(ProcId, u8), Generation>,
    next: SessionId,
    live: Option<Set>,
}

impl Book {
    /// A session begins to write a snapshot.
    pub fn begin(&mut self, proc: ProcId, path: SnapshotPath, base: Set, step: u64) -> SessionId {
        self.next += 1;
        let relative = places::directory(&path);
        let doomed = self.is_doomed(&relative);
        // Whatever had the name is gone: nobody may begin a snapshot that is there.
        let earlier = self.by_path.insert(relative.clone(), self.snapshots.len());
        if let Some(earlier) = earlier.filter(|&it| self.snapshots[it].relative == relative) {
            self.set_status(earlier, Status::Gone);
        }
        self.sessions.insert(
            self.next,
            Session {
                proc,
                told: 0,
                base,
                snapshot: self.snapshots.len(),
                again: false,
                began: step,
            },
        );
        self.snapshots.push(Snapshot {
            path,
            relative,
            elsewhere: Vec::new(),
            archives: Vec::new(),
            blobs: Vec::new(),
            status: Status::Open,
            acknowledged: false,
            risks: 0,
            doomed,
            protected: Register::of(false),
            notes: Register::of(String::new()),
            logged: false,
            failed: 0,
            session: Some(self.next),
        });
        self.follow_all(self.snapshots.len() - 1);
        self.next
    }

    /// A session begins that changes a snapshot which is there.
    pub fn begin_again(&mut self, proc: ProcId, index: usize, step: u64) -> SessionId {
        self.next += 1;
        self.sessions.insert(
            self.next,
            Session {
                proc,
                told: 0,
                base: 0,
                snapshot: index,
                again: true,
                began: step,
            },
        );
        self.snapshots[index].session = Some(self.next);
        self.next
    }

    /// Whether the directory is in a namespace that is being removed.
    #[must_use]
    pub fn is_doomed(&self, relative: &str) -> bool {
        self.doomed
            .iter()
            .any(|prefix| relative.starts_with(prefix))
    }

    /// A namespace is being removed, with whatever is written into it meanwhile.
    pub fn doom(&mut self, directory: &str) {
        self.doomed.push(directory.to_owned());
        for snapshot in &mut self.snapshots {
            snapshot.doomed |= snapshot.session.is_some() && snapshot.may_be_below(directory);
        }
        let open = |snapshot: &Snapshot| snapshot.doomed && snapshot.status == Status::Committed;
        for index in 0..self.snapshots.len() {
            if open(&self.snapshots[index]) {
                self.set_status(index, Status::Doubtful);
            }
        }
    }

    /// A namespace is not being removed any more.
    pub fn spare(&mut self, directory: &str) {
        if let Some(place) = self.doomed.iter().position(|it| it == directory) {
            self.doomed.swap_remove(place);
        }
    }

    /// A session was told that a chunk is stored.
    pub fn told(&mut self, session: SessionId, chunk: Set) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.told |= chunk;
        }
    }

    /// The snapshot that a session writes.
    pub fn snapshot_of(&mut self, session: SessionId) -> Option<&mut Snapshot> {
        let index = self.sessions.get(&session)?.snapshot;
        self.snapshots.get_mut(index)
    }

    /// A session ends; `generation` is its process's, read before it left the register.
    pub fn end(&mut self, id: SessionId, generation: Generation) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for chunk in members(session.told) {
            let end = self.ends.entry((session.proc, chunk)).or_default();
            *end = (*end).max(generation);
        }
        let snapshot = &mut self.snapshots[session.snapshot];
        snapshot.session = None;
        if snapshot.status == Status::Open {
            snapshot.status = Status::Doubtful;
        }
        self.live = None;
    }

    /// The process of a session is gone.
    pub fn crash(&mut self, proc: ProcId) {
        let ids: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.proc == proc)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end(id, 0);
        }
        self.ends.retain(|(of, _), _| *of != proc);
    }

    /// The generation in which the last session of the process ended that was told of the chunk.
    #[must_use]
    pub fn last_end(&self, proc: ProcId, chunk: u8) -> Option<Generation> {
        self.ends.get(&(proc, chunk)).copied()
    }

    /// The place of a snapshot in the book.
    #[must_use]
    pub fn find(&self, relative: &str) -> Option<usize> {
        self.by_path.get(relative).copied()
    }

    /// A manifest has arrived in the bucket. It is a commit if its session is still at it.
    pub fn manifest_put(&mut self, relative: &str) {
        let Some(index) = self.find(relative) else {
            return;
        };
        let snapshot = &mut self.snapshots[index];
        snapshot.status = match snapshot.status {
            Status::Open | Status::Doubtful if snapshot.doomed => Status::Doubtful,
            Status::Open | Status::Doubtful if snapshot.session.is_some() => Status::Committed,
            Status::Gone => Status::Doubtful,
            status => status,
        };
        self.live = None;
    }

    /// A manifest has arrived that nobody waits for any more: no commit, but the snapshot may be
    /// there again.
    pub fn late_manifest(&mut self, relative: &str) {
        if let Some(index) = self.find(relative)
            && self.snapshots[index].status != Status::Committed
        {
            self.set_status(index, Status::Doubtful);
        }
    }

    /// A chunk's object was written.
    pub fn written(&mut self, chunk: u8) {
        let kept = !crate::universe::one(chunk);
        self.reported &= kept;
        for snapshot in &mut self.snapshots {
            snapshot.failed &= kept;
        }
    }

    /// Changes the status of a snapshot.
    pub fn set_status(&mut self, index: usize, status: Status) {
        self.snapshots[index].status = status;
        self.live = None;
    }

    /// Chunks of committed snapshots.
    pub fn live(&mut self) -> Set {
        if let Some(live) = self.live {
            return live;
        }
        let needed = self
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.is_needed());
        let live = needed.fold(0, |set, snapshot| set | snapshot.chunks());
        self.live = Some(live);
        live
    }

    /// Calls that may remove a snapshot begin, or end.
    pub fn set_risks(&mut self, index: usize, risks: u32) {
        self.snapshots[index].risks = risks;
        self.live = None;
    }

    /// Chunks that running sessions of these processes were told of.
    #[must_use]
    pub fn told_to(&self, includes: impl Fn(ProcId) -> bool) -> Set {
        let sessions = self.sessions.values().filter(|s| includes(s.proc));
        sessions.fold(0, |set, session| set | session.told)
    }

    /// Chunks of the bases of running sessions of these processes.
    #[must_use]
    pub fn pinned_by(&self, includes: impl Fn(ProcId) -> bool) -> Set {
        let sessions = self.sessions.values().filter(|s| includes(s.proc));
        sessions.fold(0, |set, session| set | session.base)
    }

    /// A committed or doubtful snapshot by number.
    #[must_use]
    pub fn pick(&self, pick: u8) -> Option<usize> {
        let there: Vec<usize> = (0..self.snapshots.len())
            .filter(|&index| {
                let snapshot = &self.snapshots[index];
                snapshot.session.is_none()
                    && matches!(snapshot.status, Status::Committed | Status::Doubtful)
            })
            .collect();
        let recent = there.get(there.len().saturating_sub(50)..)?;
        recent
            .get(usize::from(pick).checked_rem(recent.len())?)
            .copied()
    }

    /// The first committed snapshot with a chunk.
    #[must_use]
    pub fn owner_of(&self, chunk: u8) -> Option<&Snapshot> {
        let has = |s: &&Snapshot| s.chunks() & crate::universe::one(chunk) != 0;
        self.snapshots.iter().filter(|s| s.is_needed()).find(has)
    }
}
