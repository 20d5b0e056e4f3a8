//! Configurations: each covers a topic, and is small enough to be explored whole.

use super::state::{
    Budget, DIGESTS, DiskCopy, Entry, File, Fill, Object, PROCESSES, Phase, Process, Record, Run,
    SESSIONS, SNAPSHOTS, Session, Snapshot, State, Upload, bit,
};

/// What a digest is at the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// In the bucket, known, not needed.
    Garbage,
    /// The same with a cached payload.
    CachedGarbage,
    /// In the bucket, no local file, not needed.
    Unknown,
    /// Nowhere.
    Absent,
    /// Needed by the first snapshot.
    Live,
    /// The same with a cached payload.
    CachedLive,
    /// Needed by the first snapshot, in the bucket, no local file.
    LiveUnknown,
    /// Needed by the first snapshot, lost from outside; the marker says otherwise.
    LiveLost,
    /// The same, and the marker is gone too.
    LiveLostUnmarked,
    /// Damaged from outside, no local file.
    BadUnknown,
    /// Damaged from outside, with a marker.
    Bad,
    /// The same, needed by the first snapshot.
    LiveBad,
}

/// A configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is about.
    pub name: &'static str,
    /// The digests, one initial state each.
    pub starts: &'static [&'static [Start]],
    /// Sessions.
    pub sessions: usize,
    /// Processes that open the store.
    pub processes: usize,
    /// Sessions cache payloads.
    pub cache: bool,
    /// Sessions may take a base.
    pub bases: bool,
    /// A commit takes its three steps one by one.
    pub slow_commit: bool,
    /// Snapshots may be pruned.
    pub prune: bool,
    /// PUTs that were given up may be applied later.
    pub late_puts: bool,
    /// Every state is let run dry.
    pub dry: bool,
    /// How often things happen.
    pub budget: Budget,
}

impl Config {
    /// One session, one collection, nothing goes wrong.
    pub const PLAIN: Self = Self {
        name: "plain",
        starts: &[&[Start::Garbage]],
        sessions: 1,
        processes: 1,
        cache: false,
        bases: false,
        slow_commit: false,
        prune: false,
        late_puts: false,
        dry: false,
        budget: Budget {
            collections: 1,
            crashes: 0,
            power_losses: 0,
            lost_answers: 0,
            denials: 0,
            aborts: 0,
            cancels: 0,
            stale: 0,
            losses: 0,
            verifies: 0,
            rebuilds: 0,
            fills: 0,
            evictions: 0,
            restores: 0,
            copies: 0,
        },
    };

    /// The states to begin with.
    pub fn initial(&self) -> Vec<State> {
        self.starts
            .iter()
            .map(|starts| self.initial_of(starts))
            .collect()
    }

    fn initial_of(&self, starts: &[Start]) -> State {
        let process = Process {
            table: [Entry::NEW; DIGESTS],
            seen: true,
            fill: Fill::None,
        };
        let session = Session {
            phase: Phase::New,
            process: 0,
            start: 0,
            known: 0,
            upload: Upload::None,
            keep: false,
            base: 0,
        };
        let snapshot = Snapshot {
            there: false,
            refs: 0,
            failed: false,
        };
        let mut state = State {
            bucket: [Object::Absent; DIGESTS],
            file: [File::None; DIGESTS],
            ghost: 0,
            record: [Record::None; DIGESTS],
            late_delete: [0; DIGESTS],
            late_put: 0,
            late_retry: 0,
            generation: 1,
            epoch: 0,
            needs_rebuild: false,
            process: [process; PROCESSES],
            session: [session; SESSIONS],
            snapshot: [snapshot; SNAPSHOTS],
            run: Run::NONE,
            copy: DiskCopy {
                taken: false,
                file: [File::None; DIGESTS],
                record: [Record::None; DIGESTS],
                generation: 0,
            },
            budget: self.budget,
            excused: 0,
            excused_marker: 0,
            reported: 0,
            broken: None,
        };
        for (index, start) in starts.iter().enumerate() {
            use Start as S;
            let (object, file) = match start {
                S::Garbage | S::Live => (Object::Good, File::Marker),
                S::CachedGarbage | S::CachedLive => (Object::Good, File::Payload),
                S::Unknown | S::LiveUnknown => (Object::Good, File::None),
                S::Absent | S::LiveLostUnmarked => (Object::Absent, File::None),
                S::LiveLost => (Object::Absent, File::Marker),
                S::BadUnknown => (Object::Bad, File::None),
                S::Bad | S::LiveBad => (Object::Bad, File::Marker),
            };
            state.bucket[index] = object;
            state.file[index] = file;
            if object == Object::Bad || matches!(start, S::LiveLost | S::LiveLostUnmarked) {
                state.excused |= bit(index);
                if file != File::None {
                    state.excused_marker |= bit(index);
                }
            }
            let live = matches!(
                start,
                S::Live
                    | S::CachedLive
                    | S::LiveUnknown
                    | S::LiveLost
                    | S::LiveLostUnmarked
                    | S::LiveBad
            );
            if live {
                state.snapshot[0].there = true;
                state.snapshot[0].refs |= bit(index);
            }
        }
        // Digests and sessions that the configuration does not use are over before they begin.
        for session in state.session.iter_mut().skip(self.sessions) {
            session.phase = Phase::Over;
        }
        state
    }

    /// Number of digests.
    pub fn digests(&self) -> usize {
        self.starts.first().map_or(0, |starts| starts.len())
    }
}
