//! What the marking model remembers.

use std::fmt;

use crate::explore::Invariant;

/// Snapshots: the first one and one for each session.
pub const SNAPSHOTS: usize = 3;
/// Sessions.
pub const SESSIONS: usize = 2;

/// A configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is about.
    pub name: &'static str,
    /// There is a bucket; else a directory only.
    pub bucket: bool,
    /// Sessions that may begin.
    pub sessions: usize,
    /// Sessions may take a base.
    pub bases: bool,
    /// D is there at the start, and B0 references it.
    pub first: bool,
    /// Snapshots may be pruned.
    pub prune: bool,
    /// Somebody may remove a snapshot by hand, whoever has locked it.
    pub by_hand: bool,
    /// A snapshot may move to the other group.
    pub moves: bool,
    /// A crash may lose what was not synced of a snapshot's local metadata.
    pub local_loss: bool,
    /// Every quiet state is let run dry.
    pub dry: bool,
    /// Collections.
    pub collections: u8,
    /// Crashes.
    pub crashes: u8,
}

/// The configurations explored.
pub mod topics {
    use super::Config;

    /// Sessions against the generation, the register and the walk.
    pub const REGISTER: Config = Config {
        name: "register and floor",
        bucket: false,
        sessions: 2,
        bases: false,
        first: true,
        prune: true,
        by_hand: false,
        moves: false,
        local_loss: false,
        dry: true,
        collections: 2,
        crashes: 1,
    };
    /// The same, D being uploaded.
    pub const UPLOADS: Config = Config {
        name: "register and uploads",
        first: false,
        ..REGISTER
    };
    /// Chunks known through a base that is pruned.
    pub const BASES: Config = Config {
        name: "bases and prune",
        bases: true,
        collections: 1,
        crashes: 0,
        ..REGISTER
    };
    /// The same, removed by hand.
    pub const BY_HAND: Config = Config {
        name: "bases removed by hand",
        by_hand: true,
        sessions: 1,
        ..BASES
    };
    /// Moves.
    pub const MOVES: Config = Config {
        name: "moves",
        moves: true,
        sessions: 1,
        collections: 2,
        ..BASES
    };
    /// What the bucket has and the disk has not.
    pub const BUCKET: Config = Config {
        name: "bucket and disk",
        bucket: true,
        sessions: 1,
        local_loss: true,
        ..REGISTER
    };
    /// The same with bases and two sessions.
    pub const BUCKET_BASES: Config = Config {
        name: "bucket and bases",
        sessions: 1,
        bucket: true,
        local_loss: true,
        collections: 1,
        crashes: 1,
        ..BASES
    };

    /// All of them.
    pub const ALL: &[Config] = &[
        REGISTER,
        UPLOADS,
        BASES,
        BY_HAND,
        MOVES,
        BUCKET,
        BUCKET_BASES,
    ];
}

/// A snapshot, here and in the bucket.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Snapshot {
    pub refs: bool,
    pub group: u8,
    pub dir: bool,
    pub index: bool,
    pub manifest: bool,
    pub bucket_index: bool,
    pub bucket_manifest: bool,
    /// Gone from the bucket, not yet from the disk.
    pub pruning: bool,
}

impl Snapshot {
    /// Somebody can restore it, from here or after a refresh.
    pub fn is_committed(&self) -> bool {
        (self.index && self.manifest) || (self.bucket_index && self.bucket_manifest)
    }
}

/// A session's life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd)]
pub enum Phase {
    New,
    Registered,
    /// Its base is chosen, its directory is there.
    Open,
    IndexPut,
    Visible,
    ManifestPut,
    Committed,
    Over,
}

/// A session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Session {
    pub phase: Phase,
    pub registered: bool,
    pub start: u8,
    /// It was told that D is there.
    pub uses: bool,
    /// It knows D through its base.
    pub through: bool,
    /// Its base, plus one.
    pub base: u8,
}

/// Where a collection is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    Idle,
    Raise,
    Scan,
    Names(u8),
    Files(u8),
    Pins,
    Read,
    Drain,
    BucketList,
    BucketRead,
    Sweep,
}

/// A collection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Collection {
    pub stage: Stage,
    pub pass: u8,
    pub floor: u8,
    pub names: u8,
    /// Index files found, and the group of each.
    pub found: u8,
    pub found_in: u8,
    pub vanished: bool,
    /// Read by any pass.
    pub read: u8,
    pub marked: bool,
    /// Pins of sessions that ended since the mark began reference D.
    pub ended_pins: bool,
    pub listed: u8,
    pub finished: u8,
    pub orphans: u8,
}

impl Collection {
    pub const IDLE: Self = Self {
        stage: Stage::Idle,
        pass: 0,
        floor: 0,
        names: 0,
        found: 0,
        found_in: 0,
        vanished: false,
        read: 0,
        marked: false,
        ended_pins: false,
        listed: 0,
        finished: 0,
        orphans: 0,
    };
}

/// Everything.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct State {
    pub generation: u8,
    pub object: bool,
    /// 0 = none.
    pub stamp: u8,
    pub snapshot: [Snapshot; SNAPSHOTS],
    pub session: [Session; SESSIONS],
    pub gc: Collection,
    /// The move journal: whose new path is in it, and who is being moved while it is locked.
    pub journal: u8,
    pub moving: Option<u8>,
    pub moves: bool,
    pub by_hand: bool,
    pub collections: u8,
    pub crashes: u8,
    pub broken: Option<Invariant>,
}

impl State {
    /// Nothing runs.
    pub fn is_quiet(&self) -> bool {
        let idle = |i: &Session| matches!(i.phase, Phase::New | Phase::Over);
        self.gc.stage == Stage::Idle && self.session.iter().all(idle) && self.moving.is_none()
    }
}

impl Config {
    pub(super) fn initial(&self) -> Vec<State> {
        let session = Session {
            phase: Phase::New,
            registered: false,
            start: 0,
            uses: false,
            through: false,
            base: 0,
        };
        let mut state = State {
            generation: 1,
            object: self.first,
            stamp: 0,
            snapshot: [Snapshot::default(); SNAPSHOTS],
            session: [session; SESSIONS],
            gc: Collection::IDLE,
            journal: 0,
            moving: None,
            moves: self.moves,
            by_hand: self.by_hand,
            collections: self.collections,
            crashes: self.crashes,
            broken: None,
        };
        for session in state.session.iter_mut().skip(self.sessions) {
            session.phase = Phase::Over;
        }
        if self.first {
            state.snapshot[0] = Snapshot {
                refs: true,
                group: 0,
                dir: true,
                index: true,
                manifest: true,
                bucket_index: self.bucket,
                bucket_manifest: self.bucket,
                pruning: false,
            };
        }
        vec![state]
    }
}

/// A step: what happens, and to whom (`#` in the text).
#[derive(Clone, Copy, Debug)]
pub struct Step(pub &'static str, pub u8);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('#', &self.1.to_string()))
    }
}
