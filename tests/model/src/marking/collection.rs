//! A collection, from the generation to the sweep.

use crate::explore::Invariant;
use crate::rule::Rule;

use super::state::{Collection, Phase, SNAPSHOTS, Stage, State, Step};
use super::{Marking, Out};

/// The groups in the order of the walk: moves go from the one visited last to the one visited
/// first, which is the order that hurts.
const WALK: [u8; 2] = [1, 0];
/// A mark that is not complete after so many passes is given up (`GcError::Restless`).
const MAX_PASSES: u8 = 4;

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("indexes of the model are tiny")
}

fn highest(bits: u8) -> Option<usize> {
    (0..SNAPSHOTS).rev().find(|k| bits & (1 << k) != 0)
}

impl Marking {
    pub(super) fn collection_steps(&self, s: &State, out: &mut Out) {
        let mut n = *s;
        match s.gc.stage {
            Stage::Idle => {
                if s.collections > 0 {
                    n.collections -= 1;
                    n.gc = Collection {
                        stage: self.first_stage(),
                        pass: 1,
                        ..Collection::IDLE
                    };
                    out.push((Step("GC starts", 0), n));
                }
            }
            Stage::Raise => {
                n.generation += 1;
                n.gc.stage = match self.rules.has(Rule::GenBeforeScan) {
                    true if self.rules.has(Rule::ScanBeforeList) => Stage::Scan,
                    _ => Stage::Names(0),
                };
                out.push((Step("gen rises", 0), n));
            }
            Stage::Scan => {
                // Without the rule the generation that is about to be raised is the run's own.
                let early = u8::from(!self.rules.has(Rule::GenBeforeScan));
                n.gc.floor = floor(s, s.generation + early);
                if !self.rules.has(Rule::PinsEachPass) {
                    self.collect_pins(&mut n);
                }
                n.gc.stage = if !self.rules.has(Rule::ScanBeforeList) {
                    Stage::Sweep
                } else if self.rules.has(Rule::GenBeforeScan) {
                    Stage::Names(0)
                } else {
                    Stage::Raise
                };
                out.push((Step("scan", 0), n));
            }
            Stage::Names(at) => {
                if at == 0 && self.rules.has(Rule::PinsEachPass) {
                    self.collect_pins(&mut n);
                }
                let group = WALK[usize::from(at)];
                for k in 0..SNAPSHOTS {
                    if s.snapshot[k].dir && s.snapshot[k].group == group {
                        n.gc.names |= 1 << k;
                    }
                }
                n.gc.stage = Stage::Files(at);
                out.push((Step("names listed", 0), n));
            }
            Stage::Files(at) => out.push(self.files(n, at)),
            Stage::Pins => {
                if self.rules.has(Rule::PinsEachPass) {
                    self.collect_pins(&mut n);
                }
                n.gc.stage = Stage::Read;
                out.push((Step("pins collected", 0), n));
            }
            Stage::Read => out.push(self.read(n)),
            Stage::Drain => self.drain(n, out),
            Stage::BucketList => {
                for k in 0..SNAPSHOTS {
                    n.gc.listed |= u8::from(s.snapshot[k].bucket_index) << k;
                    n.gc.finished |= u8::from(s.snapshot[k].bucket_manifest) << k;
                }
                n.gc.stage = Stage::BucketRead;
                out.push((Step("bucket's indexes listed", 0), n));
            }
            Stage::BucketRead => out.push(self.read_bucket(n)),
            Stage::Sweep => out.push(self.sweep(n)),
        }
    }

    fn first_stage(&self) -> Stage {
        match self.rules.has(Rule::GenBeforeScan) {
            true => Stage::Raise,
            false => Stage::Scan,
        }
    }

    /// `SessionRegistry::pins`.
    fn collect_pins(&self, n: &mut State) {
        let pinned = n.session.iter().any(|i| i.registered && self.pins(i));
        n.gc.marked |= pinned || n.gc.ended_pins;
    }

    /// `walk_store`: the files of one named snapshot, newest first.
    fn files(&self, mut n: State, at: u8) -> (Step, State) {
        let Some(k) = highest(n.gc.names) else {
            n.gc.stage = if usize::from(at) + 1 < WALK.len() {
                Stage::Names(at + 1)
            } else {
                Stage::Pins
            };
            return (Step("group done", 0), n);
        };
        n.gc.names &= !(1 << k);
        let group = WALK[usize::from(at)];
        let snapshot = n.snapshot[k];
        if !snapshot.dir || snapshot.group != group {
            n.gc.vanished = true;
            return (Step("B#'s directory gone", small(k)), n);
        }
        if snapshot.index {
            if snapshot.manifest || self.rules.has(Rule::ManifestlessMarked) {
                n.gc.found |= 1 << k;
                n.gc.found_in = (n.gc.found_in & !(1 << k)) | (group << k);
            } else {
                n.gc.read |= 1 << k;
            }
        }
        (Step("B#'s files listed", small(k)), n)
    }

    /// `Marker::mark_found`.
    fn read(&self, mut n: State) -> (Step, State) {
        let Some(k) = highest(n.gc.found) else {
            n.gc.stage = Stage::Drain;
            return (Step("indexes read", 0), n);
        };
        n.gc.found &= !(1 << k);
        let snapshot = n.snapshot[k];
        if snapshot.index && snapshot.group == (n.gc.found_in >> k) & 1 {
            n.gc.marked |= snapshot.refs;
            n.gc.read |= 1 << k;
        } else {
            n.gc.vanished = true;
        }
        (Step("B#'s index opened", small(k)), n)
    }

    /// `Marker::drain` and the end of the pass.
    fn drain(&self, mut n: State, out: &mut Out) {
        if self.rules.has(Rule::MovesKnown) {
            // The mover has the journal's lock until its rename is done.
            if n.moving.is_some() {
                return;
            }
            for k in 0..SNAPSHOTS {
                if n.journal & (1 << k) != 0 && n.snapshot[k].index && n.snapshot[k].group == 1 {
                    n.gc.marked |= n.snapshot[k].refs;
                    n.gc.read |= 1 << k;
                }
            }
            n.journal = 0;
        }
        if n.gc.vanished && self.rules.has(Rule::AnotherPass) {
            n.gc.vanished = false;
            n.gc.pass += 1;
            n.gc.stage = Stage::Names(0);
            if n.gc.pass > MAX_PASSES {
                n.gc = Collection::IDLE;
            }
            out.push((Step("another pass", 0), n));
            return;
        }
        n.gc.stage = if self.config.bucket {
            Stage::BucketList
        } else {
            self.after_mark()
        };
        out.push((Step("moves read, mark complete", 0), n));
    }

    fn after_mark(&self) -> Stage {
        match self.rules.has(Rule::ScanBeforeList) {
            true => Stage::Sweep,
            false => Stage::Scan,
        }
    }

    /// `DataStore::mirror_check`.
    fn read_bucket(&self, mut n: State) -> (Step, State) {
        let Some(k) = highest(n.gc.listed) else {
            n.gc.stage = self.after_mark();
            return (Step("bucket's indexes read", 0), n);
        };
        n.gc.listed &= !(1 << k);
        let snapshot = n.snapshot[k];
        let known = n.gc.read & (1 << k) != 0 && snapshot.index;
        if known || !self.rules.has(Rule::BucketOnlyRead) {
            return (Step("B# known", small(k)), n);
        }
        let finished = n.gc.finished & (1 << k) != 0;
        let owned = k > 0 && !matches!(n.session[k - 1].phase, Phase::New | Phase::Over);
        let orphan = !finished && !snapshot.dir && !owned;
        if orphan && self.rules.has(Rule::OrphansAgeOut) {
            n.gc.orphans |= 1 << k;
            return (Step("B# is an orphan", small(k)), n);
        }
        n.gc.marked |= snapshot.bucket_index && snapshot.refs;
        (Step("B# read from the bucket", small(k)), n)
    }

    fn sweep(&self, mut n: State) -> (Step, State) {
        if !self.rules.has(Rule::FloorConstant) {
            n.gc.floor = floor(&n, n.generation);
        }
        let doomed = n.object && !n.gc.marked && n.stamp < n.gc.floor;
        if doomed {
            n.object = false;
            let referenced = n.snapshot.iter().any(|k| k.refs && k.is_committed());
            let used = n.session.iter().any(|i| i.uses || i.through);
            if referenced {
                n.broken = Some(Invariant::G1);
            } else if used {
                n.broken = Some(Invariant::G3);
            }
        }
        if n.stamp < n.gc.floor {
            n.stamp = 0;
        }
        for k in 0..SNAPSHOTS {
            let snapshot = n.snapshot[k];
            let owned = k > 0 && !matches!(n.session[k - 1].phase, Phase::New | Phase::Over);
            // `clear_leftovers`, `reconcile_metadata`.
            let leftover = snapshot.dir && !snapshot.manifest && !snapshot.bucket_manifest;
            if leftover && !owned {
                n.snapshot[k] = Default::default();
            } else if n.gc.orphans & (1 << k) != 0 && !snapshot.dir {
                n.snapshot[k].bucket_index = false;
            }
        }
        n.gc = Collection::IDLE;
        let text = if doomed {
            "D condemned, sent"
        } else {
            "D kept"
        };
        (Step(text, 0), n)
    }
}

/// `SessionRegistry::floor`.
fn floor(s: &State, generation: u8) -> u8 {
    (s.session.iter())
        .filter(|i| i.registered)
        .map(|i| i.start)
        .fold(generation, u8::min)
}
